"""Negotiating an agreement in Dataspace Protocol states; each message is an entry its sender signs.

People ask, approve and reject. The two acts that follow from an approval, verifying and finalising, are the
nodes' duties, because they decide nothing: they check that what was agreed is what was asked.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import datetime
from typing import Any

from exchange.errors import Conflict, NotFound
from exchange.node.ledger_client import FinalEntry, LedgerClient
from exchange.store import DecisionLog
from ledger.entries import new_id
from ledger.times import format_time
from policies import approvals, terms
from policies.errors import PoliciesError, TermsExceedOffer

__all__ = ["Negotiations"]


class Negotiations:
    """One participant's side of its negotiations, as consumer or as provider."""

    def __init__(
        self, ledger: LedgerClient, did: str, decisions: DecisionLog, clock: Callable[[], datetime]
    ) -> None:
        self._ledger, self._did, self._decisions, self._clock = ledger, did, decisions, clock

    def request(self, asset: str, wanted: terms.Terms) -> str:
        """Ask the owner of ``asset`` for an agreement; returns the negotiation's id.

        Raises:
            NotFound: no such asset in the catalog.
        """
        row = self._ledger.awaited("assets", asset)
        if row is None or row["status"] != "published":
            raise NotFound(f"no asset {asset} in the catalog")
        negotiation = new_id("negotiation", self._clock)
        self._ledger.write(
            "negotiation.request",
            {
                "negotiation": negotiation,
                "asset": asset,
                "version": row["version"],
                "provider": row["owner"],
                "offer": terms.to_offer(wanted, row["owner"], self._did, asset),
                "limits": _limits(wanted),
            },
        )
        return negotiation

    def approve(self, negotiation: str, approver: str, role: str, reason: str) -> str | None:
        """Decide, as a person of the owner, for what was asked.

        Returns:
            The agreement's id when this decision was the last one needed, else ``None``.

        Raises:
            TermsExceedOffer: what was asked goes beyond what this owner offers; the clauses are named.
            Conflict: the negotiation is in another state, or this person has decided already.
        """
        row = self._mine(negotiation, "provider")
        if row["state"] != "REQUESTED":
            raise Conflict(f"negotiation {negotiation} is {row['state']}, not REQUESTED")
        asset = self._ledger.final("assets", row["asset"])
        if asset is None or asset["version"] != row["version"] or asset["status"] != "published":
            raise Conflict(f"asset {row['asset']} has changed since it was asked for")
        asked = terms.from_policy(row["offer"])
        terms.narrower(asked, terms.from_policy(asset["offer"]))
        if asked.expires <= self._clock():
            raise Conflict(f"negotiation {negotiation} asks for an agreement that has expired")
        decision = approvals.Decision.parse(
            {"approver": approver, "role": role, "decision": "approve", "reason": reason}
        )
        self._decisions.add(negotiation, decision)
        decisions = self._decisions.of(negotiation)
        grades = [approvals.Sensitivity(column["sensitivity"]) for column in asset["schema"]]
        if not approvals.satisfied(approvals.rule_for(grades), decisions):
            return None
        agreement = new_id("agreement", self._clock)
        policy = terms.to_agreement(
            asked, agreement, self._did, row["consumer"], row["asset"], timestamp=self._clock()
        )
        self._ledger.write(
            "negotiation.agree",
            {
                "negotiation": negotiation,
                "agreement": {"id": agreement, "policy": policy, "limits": _limits(asked)},
                "approvals": [one.as_json() for one in decisions],
            },
        )
        return agreement

    def reject(self, negotiation: str, reason: str) -> FinalEntry:
        """End a negotiation without an agreement, as either side."""
        self._mine(negotiation, "provider", "consumer")
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
            self.reject(negotiation, "the agreement differs from the request")

    def finalize(self, negotiation: str) -> None:
        """The provider's duty: put a verified agreement in force."""
        self._ledger.write("negotiation.finalize", {"negotiation": negotiation})

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

    def _mine(self, negotiation: str, *sides: str) -> Mapping[str, Any]:
        row = self._ledger.awaited("negotiations", negotiation)
        if row is None or self._did not in {row[side] for side in sides}:
            raise NotFound(f"this participant has no negotiation {negotiation} as {' or '.join(sides)}")
        return row


def _limits(agreed: terms.Terms) -> dict[str, object]:
    return {"uses": agreed.uses, "expires": format_time(agreed.expires)}
