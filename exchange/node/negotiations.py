"""Negotiating an agreement in Dataspace Protocol states; each message is an entry its sender signs.

People ask, offer, accept, approve and reject. What follows from their decisions is the nodes' duty, because
it decides nothing: to write what an owner's people decided, to check that what was agreed is what was
proposed last and still can be, to put it in force.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping
from contextlib import suppress
from datetime import datetime
from typing import Any

from exchange.errors import Conflict, InvalidRequest, NotFound, TimedOut
from exchange.jobs.registry import Registry
from exchange.node.approvals import LIFETIME, Approvals, RequestState, Standing
from exchange.node.ledger_client import FinalEntry, LedgerClient
from exchange.node.negotiation_cards import negotiation_card
from exchange.node.people import Person
from exchange.node.rounds import rounds
from exchange.store import KeptRequest
from ledger import canonical
from ledger.entries import new_id
from policies import approvals, terms
from policies.errors import PoliciesError, TermsExceedOffer

__all__ = ["Negotiations"]

_PEOPLES_TURN = ("REQUESTED", "ACCEPTED")
_CATCH_UP_S = 1.0
"""What is final at the other side's node reaches this one's copy a little later."""


class Negotiations:
    """One participant's side of its negotiations, as consumer or as provider."""

    def __init__(
        self,
        ledger: LedgerClient,
        did: str,
        people: Approvals,
        registry: Registry,
        clock: Callable[[], datetime],
    ) -> None:
        self._registry = registry
        self._ledger, self._did, self._people, self._clock = ledger, did, people, clock
        self._seen: dict[str, tuple[int, int]] = {}
        people.watch("negotiation", self._is_over)
        people.guard("negotiation", self._guard)

    def request(self, asset: str, wanted: terms.Terms) -> str:
        """Ask the owner of ``asset`` for an agreement; returns the negotiation's id.

        Raises:
            NotFound: no such asset in the catalog.
        """
        row = self._published(asset)
        negotiation = new_id("negotiation", self._clock)
        body = self._proposal(negotiation, asset, row, wanted, self._did)
        self._ledger.write("negotiation.request", {**body, "provider": row["owner"]})
        return negotiation

    def offer(self, asset: str, consumer: str, terms_: terms.Terms) -> str:
        """Offer an own asset to a member that has not asked; returns the negotiation's id.

        Args:
            asset: its id.
            consumer: the member's name or DID.
            terms_: what it may do.

        Raises:
            NotFound: no such asset of this participant, or no such member.
        """
        row = self._published(asset)
        if row["owner"] != self._did:
            raise NotFound(f"this participant has no asset {asset}")
        members = self._ledger.final_rows("members")
        did = next((one["did"] for one in members if consumer in (one["did"], one["name"])), None)
        if did is None or did == self._did:
            raise NotFound(f"there is no other member called {consumer}")
        negotiation = new_id("negotiation", self._clock)
        body = self._proposal(negotiation, asset, row, terms_, did)
        self._ledger.write("negotiation.offer", {**body, "consumer": did, "round": 1})
        return negotiation

    def counter(self, negotiation: str, changes: Mapping[str, object]) -> int:
        """Answer the other side's last proposal with one that differs in some clauses.

        Args:
            negotiation: its id.
            changes: clauses of ``Terms`` by name; the others stay as proposed last.

        Returns:
            The number of the round.

        Raises:
            Conflict: it is not this side's turn.
            InvalidRequest: nothing differs.
        """
        is_provider = self._mine(negotiation, "provider", "consumer")["provider"] == self._did
        row = self._turn(negotiation, "REQUESTED" if is_provider else "OFFERED")
        last = terms.from_policy(row["offer"])
        proposed = terms.Terms.parse({**last.as_json(), **changes})
        if proposed == last:
            raise InvalidRequest("terms", "a clause that differs from the last round's", "none")
        number = int(row.get("round", 1)) + 1
        body = self._proposal(
            negotiation, row["asset"], self._published(row["asset"]), proposed, row["consumer"]
        )
        other = "consumer" if is_provider else "provider"
        entry = "negotiation.offer" if is_provider else "negotiation.request"
        self._ledger.write(entry, {**body, other: row[other], "round": number})
        return number

    def accept(self, negotiation: str, number: int) -> None:
        """Take, as the consumer, the owner's offer of a round as it is.

        Raises:
            Conflict: there is no offer to take, or another round than this one is the last.
        """
        self._mine(negotiation, "consumer")
        row = self._turn(negotiation, "OFFERED")
        if row.get("round", 1) != number:
            raise Conflict(f"negotiation {negotiation} is in round {row.get('round', 1)}, not in {number}")
        self._ledger.write("negotiation.accept", {"negotiation": negotiation, "round": number})

    def approve(self, negotiation: str, person: Person, reason: str, *, behalf: str = "") -> Standing:
        """Approve, as a person of the owner, what was asked, or the own offer that was accepted.

        The duty ``conclude`` writes the agreement when no approval is missing.

        Raises:
            TermsExceedOffer: what was asked goes beyond what this owner offers; the clauses are named.
            Conflict: the negotiation is in another state, or this person has decided already.
            Forbidden: this person may not decide it.
        """
        self._mine(negotiation, "provider")
        request = self._request(self._turn(negotiation, *_PEOPLES_TURN))
        return self._people.decide(request.request, person, approvals.Verdict.APPROVE, reason, behalf=behalf)

    def reject(self, negotiation: str, person: Person, reason: str, *, behalf: str = "") -> None:
        """End a negotiation without an agreement: as the consumer, or as a person who may decide.

        Raises:
            Conflict, Forbidden: as in ``approve``.
        """
        row = self._mine(negotiation, "provider", "consumer")
        if row["provider"] == self._did and row["state"] in _PEOPLES_TURN:
            request = self._request(row)
            self._people.decide(request.request, person, approvals.Verdict.REJECT, reason, behalf=behalf)
        else:
            self._terminate(negotiation, reason)

    def conclude(self, negotiation: str) -> None:
        """The provider's duty: ask its people, and write what they decided once they have."""
        row = self._mine(negotiation, "provider")
        if row["state"] not in _PEOPLES_TURN:
            return
        mark = self._people.changes, int(row["index"])
        if self._seen.get(negotiation) == mark:
            return
        try:
            standing = self._people.of(self._request(row).request)
        except PoliciesError as exc:
            self._terminate(negotiation, f"the offer cannot be read: {exc.code}")
            return
        if standing.state is RequestState.APPROVED:
            try:
                self._check_grantable(row, standing.request)
            except (Conflict, PoliciesError) as exc:
                self._terminate(negotiation, str(exc)[:500])
            else:
                self._agree(row, standing)
        elif standing.state is not RequestState.PENDING:
            self._terminate(negotiation, standing.reason)
        self._seen[negotiation] = mark

    def _guard(self, request: KeptRequest) -> None:
        """What must hold whenever a person approves a request, by whichever way."""
        row = self._ledger.final("negotiations", request.subject)
        if row is None or row["state"] not in _PEOPLES_TURN or _digest(row) != request.digest:
            raise Conflict(f"negotiation {request.subject} is not what this request is about any more")
        self._check_grantable(row, request)

    def _check_grantable(self, row: Mapping[str, Any], request: KeptRequest) -> None:
        """Check that what was asked may be granted now.

        Raises:
            TermsExceedOffer: it goes beyond what this owner offers; the clauses are named.
            Conflict: the asset has changed, the time is over, or the rule wants more to approve each job.
        """
        asset = self._ledger.final("assets", row["asset"])
        if asset is None or asset["version"] != row["version"] or asset["status"] != "published":
            raise Conflict(f"asset {row['asset']} has changed since it was asked for")
        asked = terms.from_policy(row["offer"])
        if row["state"] == "REQUESTED":
            terms.narrower(asked, terms.from_policy(asset["offer"]))
        if asked.expires <= self._clock():
            raise Conflict(f"negotiation {row['negotiation']} asks for an agreement that has expired")
        lacking = sorted(set(request.rule.organisations) - set(asked.organisations))
        if lacking:
            names = [(self._ledger.final("members", did) or {"name": did})["name"] for did in lacking]
            raise Conflict(f"expected that each job needs the approval of {', '.join(names)} too")

    def _is_over(self, request: KeptRequest) -> str | None:
        row = self._ledger.final("negotiations", request.subject)
        if row is None or row["state"] not in _PEOPLES_TURN:
            return f"the negotiation is {'not on record' if row is None else row['state']}"
        return None if _digest(row) == request.digest else "other terms were proposed meanwhile"

    def _request(self, row: Mapping[str, Any]) -> KeptRequest:
        """The request to this owner's people for exactly what was asked."""
        asked = terms.from_policy(row["offer"])
        asset = self._ledger.final("assets", row["asset"])
        grades = [approvals.Sensitivity(column["sensitivity"]) for column in asset["schema"]] if asset else []
        card = negotiation_card(row, self._ledger.state, self._registry, self.exceeding(row))
        return self._people.open(
            "negotiation",
            row["negotiation"],
            _digest(row),
            card,
            self._people.rules.for_asset(row["asset"], grades),
            row["consumer"],
            min(asked.expires, self._clock() + LIFETIME),
        )

    def _agree(self, row: Mapping[str, Any], standing: Standing) -> None:
        asked = terms.from_policy(row["offer"])
        agreement = new_id("agreement", self._clock)
        policy = terms.to_agreement(
            asked, agreement, self._did, row["consumer"], row["asset"], timestamp=self._clock()
        )
        self._ledger.write(
            "negotiation.agree",
            {
                "negotiation": row["negotiation"],
                "agreement": {"id": agreement, "policy": policy, "limits": asked.limits()},
                "approvals": standing.for_ledger(),
            },
        )

    def _terminate(self, negotiation: str, reason: str) -> FinalEntry:
        return self._ledger.write("negotiation.terminate", {"negotiation": negotiation, "reason": reason})

    def revoke(self, agreement: str, reason: str) -> FinalEntry:
        """Take back an agreement this owner has given; no new job starts under it."""
        row = self._ledger.final("agreements", agreement)
        if row is None or row["provider"] != self._did:
            raise NotFound(f"this participant has given no agreement {agreement}")
        return self._ledger.write("agreement.revoke", {"agreement": agreement, "reason": reason})

    def verify(self, negotiation: str) -> None:
        """The consumer's duty: accept the agreement if it says what was asked, else terminate."""
        row = self._mine(negotiation, "consumer")
        given = row["agreement"]
        try:
            same = terms.from_policy(given["policy"]) == terms.from_policy(row["offer"])
        except PoliciesError:
            same = False
        if same and given["limits"] == row["limits"]:
            self._ledger.write("negotiation.verify", {"negotiation": negotiation})
        else:
            self._terminate(negotiation, "the agreement differs from the request")

    def finalize(self, negotiation: str) -> None:
        """The provider's duty: put a verified agreement in force if the asset still is what was agreed on."""
        row = self._mine(negotiation, "provider")
        asset = self._ledger.final("assets", row["asset"])
        if asset is None or asset["status"] != "published" or asset["version"] != row["version"]:
            self._terminate(negotiation, "the asset has changed since it was agreed on")
        else:
            self._ledger.write("negotiation.finalize", {"negotiation": negotiation})

    def history(self, negotiation: str) -> list[dict[str, Any]]:
        """Tell who proposed or did what when, and which clauses changed from round to round."""
        names = {row["did"]: row["name"] for row in self._ledger.final_rows("members")}
        return rounds(self._ledger.mirror, negotiation, names)

    def exceeding(self, row: Mapping[str, Any]) -> tuple[str, ...]:
        """The clauses in which a request goes beyond the owner's offer, for the approver's page."""
        asset = self._ledger.final("assets", row["asset"])
        if asset is None:
            return ("asset",)
        try:
            terms.narrower(terms.from_policy(row["offer"]), terms.from_policy(asset["offer"]))
        except TermsExceedOffer as exc:
            return exc.clauses
        return ()

    def _published(self, asset: str) -> Mapping[str, Any]:
        row = self._ledger.awaited("assets", asset)
        if row is None or row["status"] != "published":
            raise NotFound(f"no asset {asset} in the catalog")
        return row

    @staticmethod
    def _proposal(
        negotiation: str, asset: str, row: Mapping[str, Any], proposed: terms.Terms, consumer: str
    ) -> dict[str, object]:
        return {
            "negotiation": negotiation,
            "asset": asset,
            "version": row["version"],
            "offer": terms.to_offer(proposed, row["owner"], consumer, asset),
            "limits": proposed.limits(),
        }

    def _turn(self, negotiation: str, *wanted: str) -> Mapping[str, Any]:
        """The negotiation's row once it is in one of the wanted states.

        What the other side has only just written is waited for a moment.

        Raises:
            Conflict: it is in another state.
        """

        def settled() -> Mapping[str, Any] | None:
            row = self._ledger.state.rows("negotiations")[negotiation]
            is_open = row["state"] in ("REQUESTED", "OFFERED")
            return None if is_open and row["state"] not in wanted else row

        with suppress(TimedOut):
            row = self._ledger.wait_until(settled, _CATCH_UP_S, "the other side")
            if row["state"] in wanted:
                return row
        state = self._ledger.state.rows("negotiations")[negotiation]["state"]
        raise Conflict(f"negotiation {negotiation} is {state}, not {' or '.join(wanted)}")

    def _mine(self, negotiation: str, *sides: str) -> Mapping[str, Any]:
        row = self._ledger.awaited("negotiations", negotiation)
        if row is None or self._did not in {row[side] for side in sides}:
            raise NotFound(f"this participant has no negotiation {negotiation} as {' or '.join(sides)}")
        return row


def _digest(row: Mapping[str, Any]) -> str:
    """SHA-256 over what was proposed last, which is what people decide on."""
    named = ("negotiation", "asset", "version", "consumer", "offer", "limits", "round")
    proposed = {name: row[name] for name in named if name in row}
    return hashlib.sha256(canonical.encode(proposed)).hexdigest()
