"""Eligibility checks: vouching for attributes, asking for a proof about them, concluding with pass or fail.

As an issuer this organisation signs a person's attributes and forgets the values. As a verifier it asks for
predicates under keys that are on the ledger, checks one presentation for each request, and puts pass or fail
on record with a salted commitment to the presentation, which stays here. No attribute is on the ledger.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any

from exchange.credentials import data_integrity, predicates
from exchange.credentials.data_integrity import AUTHENTICATION
from exchange.credentials.errors import CredentialInvalid
from exchange.credentials.holders import check_answer, request_digest
from exchange.credentials.predicates import VALID_UNTIL, Definition, Private
from exchange.credentials.presentations import Asked, Predicate
from exchange.errors import Conflict, InvalidRequest, NotFound
from exchange.node.ledger_client import FinalEntry
from exchange.node.services import NodeServices
from ledger import commitments
from ledger.commitments import Opening
from ledger.entries import new_id
from ledger.tables import Row
from ledger.times import format_time, parse_time
from policies.purposes import BROADER, is_known

__all__ = ["Answer", "Concluded", "Eligibility"]

_KEY, _OFFER, _REQUEST, _ALL = "predicate-key", "predicate-offer", "eligibility", "all"


@dataclass(frozen=True)
class Answer:
    """What a holder answers. ``None`` as presentation: it could or would not prove what was asked.

    Attributes:
        presentation: the proof.
        holder: a pseudonym to put on record, if the holder wishes.
        sig: the pseudonym's signature over the request and the presentation.
    """

    presentation: str | None = field(repr=False)
    holder: str | None = None
    sig: str | None = None


@dataclass(frozen=True)
class Concluded:
    """What a check came to. ``revealed`` is for the verifier's own people and not on the ledger."""

    outcome: str
    revealed: Mapping[str, str] = field(repr=False)
    entry: FinalEntry


class Eligibility:
    """This organisation as an issuer of attributes and as a verifier of predicates."""

    def __init__(self, services: NodeServices) -> None:
        self._services, self._vault = services, services.store.vault

    def define(self, name: str, version: str, attributes: tuple[str, ...]) -> tuple[Definition, FinalEntry]:
        """Make a key for attributes and put its public half on the ledger.

        Raises:
            InvalidRequest: an attribute twice, or one that every definition has.
        """
        if len(set(attributes)) != len(attributes) or VALID_UNTIL in attributes:
            raise InvalidRequest("attributes", f"distinct names other than {VALID_UNTIL}", "others")
        identifier = new_id("definition", self._services.clock)
        definition, private = predicates.define(
            identifier, self._services.keys.did, name, version, attributes
        )
        self._vault.add(_KEY, identifier, {"key": private.key, "proof": private.proof})
        body = definition.as_json()
        del body["issuer"]
        return definition, self._services.ledger.write("predicate.define", body)

    def retire(self, definition: str, reason: str) -> FinalEntry:
        """Take a key of this organisation out of use."""
        self._private(definition)
        return self._services.ledger.write("predicate.retire", {"definition": definition, "reason": reason})

    def offer(self, definition: str) -> dict[str, Any]:
        """Offer a credential under a definition of this organisation; the holder gets the answer.

        Raises:
            NotFound: it has made no such definition, or it is retired.
        """
        found, private = self._in_use(definition), self._private(definition)
        offered = predicates.offer(found, private)
        identifier = new_id("offer", self._services.clock)
        self._vault.add(_OFFER, identifier, {"definition": definition, "offer": offered})
        return {"offer": identifier, "offered": offered, "definition": found.as_json()}

    def issue(self, offer: str, request: str, values: Mapping[str, int | str], valid_until: datetime) -> str:
        """Sign a person's attributes for the request that answers an offer; an offer is used once.

        Args:
            offer: its id.
            request: from the holder.
            values: of every attribute but ``valid-until``; they are not kept.
            valid_until: the last day on which the credential counts.

        Raises:
            NotFound: no such offer, or it was used. InvalidRequest: other attributes, or another request.
        """
        kept = self._vault.find(_OFFER, offer)
        if kept is None:
            raise NotFound(f"no open offer {offer}")
        definition, private = self._in_use(kept["definition"]), self._private(kept["definition"])
        try:
            made = predicates.issue(
                definition, private, kept["offer"], request, {**values, VALID_UNTIL: _day(valid_until)}
            )
        except CredentialInvalid as error:
            raise InvalidRequest("values", "the attributes of the definition", error.reason) from error
        if self._vault.take(_OFFER, offer) is None:
            raise NotFound(f"no open offer {offer}")
        return made

    def ask(self, asked: Asked, purpose: str, expires_s: int) -> dict[str, Any]:
        """Ask for a proof; the holder gets the signed answer. Every credential used must be valid today.

        Raises:
            NotFound: a definition that is not on the ledger, or retired. InvalidRequest: an unknown purpose,
            or what cannot be asked.
        """
        if not is_known(purpose):
            raise InvalidRequest("purpose", f"one of {', '.join(BROADER)}", repr(purpose))
        now = self._services.clock()
        still_valid = tuple(
            Predicate(definition, VALID_UNTIL, ">=", _day(now)) for definition in asked.definitions
        )
        whole = Asked((*asked.predicates, *still_valid), asked.revealed)
        definitions = [self._in_use(definition) for definition in asked.definitions]
        try:
            request = predicates.ask(whole, definitions)
        except CredentialInvalid as error:
            raise InvalidRequest("predicates", "what the definitions have", str(error)) from error
        identifier = new_id("eligibility", self._services.clock)
        content = {
            "eligibility": identifier,
            "verifier": self._services.keys.did,
            "net": self._services.net,
            "purpose": purpose,
            "definitions": list(asked.definitions),
            "request": request,
            "expires": format_time(now + timedelta(seconds=expires_s)),
        }
        self._vault.add(_REQUEST, identifier, content, parent=_ALL)
        keys = self._services.keys
        return data_integrity.secure(content, keys.tx, keys.kid, now, purpose=AUTHENTICATION)

    def open_requests(self) -> list[dict[str, Any]]:
        """Return the requests that wait for an answer."""
        return self._vault.of(_REQUEST, _ALL)

    def conclude(self, eligibility: str, answer: Answer) -> Concluded:
        """Check an answer and put the outcome on the ledger; each request is concluded once.

        Raises:
            NotFound: no such open request. Conflict: it has expired. InvalidRequest: what was given is no
            presentation, or the pseudonym did not sign it; the request stays open.
        """
        kept = self._vault.find(_REQUEST, eligibility)
        if kept is None:
            raise NotFound(f"no open request {eligibility}")
        if parse_time(kept["expires"]) <= self._services.clock():
            self._vault.take(_REQUEST, eligibility)
            raise Conflict(f"{eligibility} has expired: ask again")
        definitions = [self._in_use(definition) for definition in kept["definitions"]]
        outcome, revealed = self._judged(kept, answer, definitions)
        if self._vault.take(_REQUEST, eligibility) is None:
            raise NotFound(f"no open request {eligibility}")
        body: dict[str, object] = {
            "eligibility": eligibility,
            "request": request_digest(kept),
            "purpose": kept["purpose"],
            "definitions": kept["definitions"],
            "outcome": outcome,
        }
        body |= {"holder": answer.holder} if answer.holder is not None else {}
        payload = (answer.presentation or "").encode()
        commitment, salt = commitments.commit(payload)
        entry = self._services.ledger.sign("evidence.eligibility", body, commit=commitment)
        self._services.payloads.keep(entry, Opening(payload, salt))
        return Concluded(outcome, revealed, self._services.ledger.send(entry))

    def concluded(self) -> list[Row]:
        """Return what the ledger says of concluded checks, by anybody."""
        return list(self._services.ledger.final_rows("eligibility"))

    def definitions(self) -> list[Row]:
        """Return all definitions on the ledger."""
        return list(self._services.ledger.final_rows("definitions"))

    def _judged(
        self, kept: Mapping[str, Any], answer: Answer, definitions: list[Definition]
    ) -> tuple[str, Mapping[str, str]]:
        if (answer.holder is None) != (answer.sig is None):
            raise InvalidRequest("holder", "a pseudonym and its signature", "one without the other")
        try:
            if answer.holder is not None and answer.sig is not None:
                check_answer(answer.holder, answer.sig, request_digest(kept), answer.presentation or "")
            if answer.presentation is None:
                return "fail", {}
            return "pass", predicates.check(answer.presentation, kept["request"], definitions)
        except CredentialInvalid as error:
            if error.reason != "not-proved":
                raise InvalidRequest("presentation", "the answer to this request", str(error)) from error
            return "fail", {}

    def _in_use(self, definition: str) -> Definition:
        row = self._services.ledger.awaited("definitions", definition)
        if row is None or row["status"] != "in-use":
            raise NotFound(f"no definition {definition} in use on the ledger")
        return Definition.of(row)

    def _private(self, definition: str) -> Private:
        kept = self._vault.find(_KEY, definition)
        if kept is None:
            raise NotFound(f"this organisation has made no definition {definition}")
        return Private(kept["key"], kept["proof"])


def _day(time: datetime) -> int:
    return int(time.strftime("%Y%m%d"))
