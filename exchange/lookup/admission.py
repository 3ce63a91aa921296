"""Does this ticket give a right to an answer? Decided at the owner's node, by its own copy of the ledger.

Agreement, purpose, column control and policy are judged as for a job; what is new is that many queries are
answered between two entries of the ledger. So tickets that are in no receipt yet count as spent, a ticket is
kept before it is answered, and no number of an account's running total is answered twice. All reasons are
collected, so that the asking side can mend its request at once.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Final

from exchange.errors import Conflict
from exchange.lookup.errors import LookupRefused
from exchange.lookup.tickets import LIFE_S
from exchange.node.facts import Answer, answer_facts
from exchange.node.grants import check_same
from exchange.node.job_request import Reason
from exchange.node.ledger_client import LedgerClient
from exchange.store import KeptTicket, LookupRepository
from ledger import canonical
from ledger.errors import NotCanonical, Refusal
from ledger.rules.lookups import account, check_ticket, price_of
from ledger.state import State
from ledger.times import parse_time
from policies import column_control, plans
from policies.column_control import ColumnUse
from policies.errors import PoliciesError
from policies.plans import Join, Reveal, Source
from policies.prepared import prepare
from policies.purposes import is_a
from policies.sentences import say

__all__ = ["OUTPUT_TYPE", "TECHNIQUE", "Admission", "column_uses"]

TECHNIQUE: Final = "pir/keyword"
"""What an agreement names as the operation."""

OUTPUT_TYPE: Final = "lookup/record"
"""What an agreement names as the output type: single records, or that there is none."""

_MINUTE, _DAY = timedelta(minutes=1), timedelta(days=1)


@dataclass(frozen=True)
class _Question:
    """A ticket that its consumer signed, and the rows it is judged by."""

    ticket: Mapping[str, Any]
    service: Mapping[str, Any]
    agreement: Mapping[str, Any]
    consumer: str
    state: State
    now: datetime


def column_uses(service: Mapping[str, Any], consumer: str) -> tuple[ColumnUse, ...]:
    """Who comes to see what of the asset's columns when a member asks a service."""
    keys = tuple(key["column"] for key in service["keys"])
    record = tuple(service["record"])
    matched = Join("found", "list", "asked", tuple((name, name) for name in keys))
    return tuple(
        use
        for use in plans.uses(
            (
                Source("list", service["asset"], service["owner"], keys + record),
                Source("asked", "", consumer, keys),
                matched,
                Reveal("found", tuple(f"list.{name}" for name in record), (consumer,)),
            )
        )
        if use.asset
    )


class Admission:
    """Decides on tickets and keeps those that are answered. Thread-safe.

    Args:
        ledger: this node's view of the ledger.
        kept: the tickets that were answered.
        me: this owner's DID.
        clock: aware time in UTC.
    """

    def __init__(
        self,
        ledger: LedgerClient,
        kept: LookupRepository,
        me: str,
        clock: Callable[[], datetime],
    ) -> None:
        self._ledger, self._kept, self._me, self._clock = ledger, kept, me, clock
        self._lock = threading.Lock()

    def admit(self, consumer: str, raw: bytes, request: str) -> Mapping[str, Any]:
        """Decide on a ticket, and keep it.

        The same ticket for the same blinded keys is good again while it lives: its caller lost the answer.

        Args:
            consumer: who shows it.
            raw: the ticket.
            request: the digest of the blinded keys that came with it.

        Raises:
            LookupRefused: with every reason.
            Conflict: this node does not know yet, or not any more, what the ledger says.
        """
        if not self._ledger.is_caught_up:
            raise Conflict("this node's copy of the ledger is not caught up yet")
        question = self._read(consumer, raw)
        ticket = question.ticket
        reasons = self._rights(question)
        if ticket["request"] != request:
            reasons.append(Reason("ticket.wrong-request", "the ticket was signed for another call"))
        with self._lock:
            before = self._kept.ticket(ticket["ticket"])
            if before is None:
                reasons += self._quotas(question)
            elif before.raw != raw:
                reasons.append(Reason("ticket.replayed", "the ticket's id is in use"))
            if reasons:
                raise LookupRefused(
                    tuple(reason.code for reason in reasons), "; ".join(reason.text for reason in reasons)
                )
            if before is None:
                self._kept.add_ticket(_kept(question, raw))
        return ticket

    def _read(self, consumer: str, raw: bytes) -> _Question:
        state = self._ledger.state
        try:
            ticket = check_ticket(state, canonical.decode(raw), consumer)
        except Refusal as refusal:
            raise LookupRefused((refusal.code,), str(refusal)) from refusal
        except NotCanonical:
            raise LookupRefused(("ticket.malformed",), "expected a ticket as canonical JSON") from None
        service, agreement = (
            state.rows("lookups")[ticket["service"]],
            state.rows("agreements")[ticket["agreement"]],
        )
        return _Question(ticket, service, agreement, consumer, state, self._clock())

    def _rights(self, question: _Question) -> list[Reason]:
        """What stands against the ticket however little was asked before."""
        ticket, service, agreement = question.ticket, question.service, question.agreement
        asset = question.state.rows("assets")[service["asset"]]
        member = question.state.rows("members")[question.consumer]
        expected = {
            "member.not-active": member["status"] == "active",
            "lookup.foreign-service": service["owner"] == self._me,
            "lookup.withdrawn": service["status"] == "open",
            "lookup.wrong-release": ticket["release"] >= service["release"] - 1,
            "asset.withdrawn": asset["status"] == "published",
            "agreement.revoked": agreement["status"] == "final",
            "agreement.expired": question.now < parse_time(agreement["limits"]["expires"]),
            "lookup.approval-needed": "approval" not in agreement["limits"],
            "lookup.purpose": any(is_a(ticket["purpose"], purpose) for purpose in service["purposes"]),
            "ticket.wrong-fee": ticket["fee"] == ticket["count"] * price_of(agreement, service),
            "ticket.stale": abs((question.now - parse_time(ticket["time"])).total_seconds()) <= LIFE_S,
        }
        reasons = [Reason(code, _WORDS[code]) for code, holds in expected.items() if not holds]
        return reasons + self._policy_reasons(question, asset["schema"])

    def _policy_reasons(self, question: _Question, schema: list[Mapping[str, Any]]) -> list[Reason]:
        agreement = question.agreement
        uses = column_uses(question.service, question.consumer)
        try:
            prepared = prepare(agreement["policy"])
            check_same(prepared.policy, agreement)
            report = prepared.evaluate(self._facts(question, uses))
        except PoliciesError as error:
            return [Reason("policy.invalid", str(error))]
        reasons = [Reason(finding.code, say(finding)) for finding in report.refusals]
        try:
            column_control.check(uses, column_control.levels_of(schema))
        except PoliciesError as error:
            reasons.append(Reason(error.code, str(error)))
        return reasons

    def _facts(self, question: _Question, uses: tuple[ColumnUse, ...]) -> dict[str, object]:
        from mpc.pir.keyword import SPEC

        ticket, service, agreement = question.ticket, question.service, question.agreement
        waiting, owed = self._kept.unreported(ticket["agreement"])
        is_new = self._kept.ticket(ticket["ticket"]) is None
        count, fee = (ticket["count"], ticket["fee"]) if is_new else (0, 0)
        price = price_of(agreement, service)
        answer = Answer(
            purpose=ticket["purpose"],
            technique=TECHNIQUE,
            output_type=OUTPUT_TYPE,
            adversary=SPEC.adversary.value,
            parties=2,
            uses=uses,
            count=waiting + count,
            price=price,
            fee=owed + fee,
        )
        facts = answer_facts(question.state, agreement, answer, question.now)
        if "rate" in agreement["limits"]:
            window = timedelta(seconds=agreement["limits"]["rate"]["seconds"])
            moments = self._kept.moments(ticket["agreement"], question.now - window)
            facts["rate"] = tuple(max(question.now - moment, timedelta(0)) for moment in moments)
        return facts

    def _quotas(self, question: _Question) -> list[Reason]:
        """What was answered before that leaves no room for the ticket; asked with the lock held."""
        ticket, agreement = question.ticket, question.agreement
        count, total = ticket["count"], ticket["total"]
        first = total - count + 1
        reported = question.state.get("lookup_accounts", account(ticket)) or {"total": 0}
        if first <= reported["total"] or self._kept.is_signed_for(account(ticket), first, total):
            return [Reason("ticket.replayed", "its place in the account's total is taken")]
        waiting, owed = self._kept.unreported(ticket["agreement"])
        asset = question.state.get("budgets", agreement["asset"]) or {"limits": {}, "uses": 0}
        room = {
            "agreement.uses-exhausted": _left(agreement["limits"], "uses", agreement["uses"] + waiting),
            "asset.uses-exhausted": _left(asset["limits"], "uses", asset["uses"] + waiting),
        }
        reasons = [
            Reason(code, f"{count} queries were asked, {left} are left")
            for code, left in room.items()
            if left is not None and count > left
        ]
        points = _left(agreement["limits"], "points", agreement.get("points", 0) + owed)
        if points is not None and ticket["fee"] > points:
            text = f"the queries cost {ticket['fee']} points, {points} are left"
            reasons.append(Reason("agreement.points-exhausted", text))
        for span, window in (("minute", _MINUTE), ("day", _DAY)):
            limit = question.service["rates"].get(span)
            if limit is None:
                continue
            asked = self._kept.answered_since(question.consumer, ticket["service"], question.now - window)
            if asked + count > limit:
                text = f"{limit} queries a {span} are allowed, {asked} were answered"
                reasons.append(Reason("lookup.rate-exceeded", text))
        return reasons


def _left(limits: Mapping[str, Any], name: str, spent: int) -> int | None:
    return limits[name] - spent if name in limits else None


def _kept(question: _Question, raw: bytes) -> KeptTicket:
    ticket = question.ticket
    return KeptTicket(
        ticket=ticket["ticket"],
        account=account(ticket),
        agreement=ticket["agreement"],
        consumer=question.consumer,
        service=ticket["service"],
        count=ticket["count"],
        total=ticket["total"],
        fee=ticket["fee"],
        raw=raw,
        answered=question.now,
    )


_WORDS: Final[Mapping[str, str]] = {
    "member.not-active": "the asking member is not active",
    "lookup.foreign-service": "the service is another member's",
    "lookup.withdrawn": "the service is withdrawn",
    "lookup.wrong-release": "the release is not served any more",
    "asset.withdrawn": "the asset is withdrawn",
    "agreement.revoked": "the agreement is revoked",
    "agreement.expired": "the agreement has expired",
    "lookup.approval-needed": "the agreement asks for an approval of each use",
    "lookup.purpose": "the purpose is none of the service's",
    "ticket.wrong-fee": "the ticket offers another fee than the price",
    "ticket.stale": "the ticket is too old, or from the future",
}
