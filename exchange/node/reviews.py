"""Reviewing parties and data sources: people of this organisation check documents, one concludes.

The documents stay with this organisation; what is kept of each is its digest, with the checker's words,
sealed. The ledger gets role, time and outcome of each check and a salted commitment to the rest. Who
concludes has made none of the checks.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

from exchange.errors import Conflict, Forbidden, InvalidRequest, NotFound
from exchange.node.ledger_client import FinalEntry
from exchange.node.people import Person, Role
from exchange.node.services import NodeServices
from ledger import base64url, canonical, commitments
from ledger.entries import new_id
from ledger.rules.reviews import REQUIRED_CHECKS
from ledger.times import format_time

__all__ = ["CheckRequest", "Reviews"]

_REVIEW, _CHECK, _CONCLUDED = "review", "review-check", "review-concluded"
_ALL = "all"

Outcome = Literal["passed", "failed"]


@dataclass(frozen=True)
class CheckRequest:
    """What a person found.

    Attributes:
        check: what was checked, such as ``real-name``.
        outcome: ``passed`` or ``failed``.
        documents: SHA-256 of each document that was looked at, lower-case hex.
        note: in the person's own words; stays here.
    """

    check: str
    outcome: Outcome
    documents: tuple[str, ...]
    note: str


class Reviews:
    """This organisation's reviews of others."""

    def __init__(self, services: NodeServices) -> None:
        self._services, self._vault = services, services.store.vault

    def open(self, kind: Literal["member", "asset"], subject: str, person: Person) -> dict[str, Any]:
        """Open a review of an organisation, by DID, or of a data source, by asset id.

        Raises:
            InvalidRequest: it is this organisation's own.
        """
        own = (self._services.keys.did, f"{self._services.settings.name}/")
        if subject == own[0] or subject.startswith(own[1]):
            raise InvalidRequest("subject", "another organisation or its data source", "this one's own")
        review = new_id("review", self._services.clock)
        opened = format_time(self._services.clock())
        content = {"review": review, "kind": kind, "subject": subject, "by": person.name, "opened": opened}
        self._vault.add(_REVIEW, review, content, parent=_ALL)
        return self.show(review)

    def check(self, review: str, asked: CheckRequest, person: Person) -> dict[str, Any]:
        """Keep what a person found.

        Raises:
            NotFound: no such review. Conflict: it is concluded.
        """
        self._open_one(review)
        role = _acting(person)
        time = format_time(self._services.clock())
        evidence = {
            "review": review,
            "check": asked.check,
            "outcome": asked.outcome,
            "documents": list(asked.documents),
            "note": asked.note,
            "by": person.name,
            "role": role,
            "time": time,
        }
        commitment, salt = commitments.commit(canonical.encode(evidence))
        kept = {"evidence": evidence, "salt": base64url.encode(salt), "commitment": commitment}
        self._vault.add(_CHECK, new_id("check", self._services.clock), kept, parent=review)
        return self.show(review)

    def conclude(self, review: str, person: Person) -> tuple[dict[str, Any], FinalEntry]:
        """Put the review on the ledger: it passed if each check did and none that is asked for is missing.

        Raises:
            NotFound: no such review. Conflict: it is concluded, or checks are missing. Forbidden: this person
            made one of the checks.
        """
        opened = self._open_one(review)
        checks = self._vault.of(_CHECK, review)
        if any(kept["evidence"]["by"] == person.name for kept in checks):
            raise Forbidden(f"expected somebody who made none of the checks, {person.name} made one")
        passed = all(kept["evidence"]["outcome"] == "passed" for kept in checks)
        missing = set(REQUIRED_CHECKS[opened["kind"]]) - {kept["evidence"]["check"] for kept in checks}
        if not checks or (passed and missing):
            raise Conflict(f"expected the checks {', '.join(sorted(missing))}, found none of them")
        body = {
            "review": review,
            "outcome": "passed" if passed else "failed",
            "checks": [_public(kept) for kept in checks],
            {"member": "holder", "asset": "asset"}[opened["kind"]]: opened["subject"],
        }
        entry = self._services.ledger.write(f"review.{opened['kind']}", body)
        self._vault.add(_CONCLUDED, review, {"by": person.name, "txid": entry.txid}, parent=review)
        return self.show(review), entry

    def withdraw(self, review: str, reason: str) -> FinalEntry:
        """Take a concluded review back: credentials on it count no more.

        Raises:
            NotFound: this organisation has concluded no such review.
        """
        row = self._services.ledger.final("reviews", review)
        if row is None or row["reviewer"] != self._services.keys.did:
            raise NotFound(f"this organisation has concluded no review {review}")
        return self._services.ledger.write("review.withdraw", {"review": review, "reason": reason})

    def show(self, review: str) -> dict[str, Any]:
        """Return a review with everything that is kept of it here.

        Raises:
            NotFound: no such review.
        """
        opened = self._vault.find(_REVIEW, review)
        if opened is None:
            raise NotFound(f"this organisation keeps no review {review}")
        concluded = self._vault.of(_CONCLUDED, review)
        row = self._services.ledger.final("reviews", review)
        return {
            **opened,
            "checks": self._vault.of(_CHECK, review),
            "concluded": concluded[0] if concluded else None,
            "outcome": None if row is None else row["outcome"],
            "status": "open" if row is None else row["status"],
        }

    def all(self) -> list[dict[str, Any]]:
        """Return all reviews of this organisation, the first one first."""
        return [self.show(str(opened["review"])) for opened in self._vault.of(_REVIEW, _ALL)]

    def _open_one(self, review: str) -> dict[str, Any]:
        shown = self.show(review)
        if shown["concluded"] is not None or shown["outcome"] is not None:
            raise Conflict(f"{review} is concluded")
        return shown


def _public(kept: dict[str, Any]) -> dict[str, Any]:
    evidence = kept["evidence"]
    shown = {name: evidence[name] for name in ("check", "role", "time", "outcome")}
    return {**shown, "evidence": kept["commitment"]}


def _acting(person: Person) -> str:
    """The role in which somebody reviews: the first that fits."""
    roles: Sequence[Role] = (Role.AUDITOR, Role.APPROVER, Role.STEWARD, Role.ADMINISTRATOR)
    return next(role.value for role in roles if role in person.roles)
