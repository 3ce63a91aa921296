"""Does this ticket give a right to a partial score? Decided at the owner's node, by its copy of the ledger.

Agreement, purpose, column control and policy are judged as for a job, and as for an anonymous lookup answers
that are in no receipt yet count as spent, and a ticket is counted before it is answered. All reasons are
collected, so that the asking side can mend its request at once.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final

from exchange.errors import Conflict
from exchange.node.facts import Answer, answer_facts
from exchange.node.grants import check_same
from exchange.node.job_request import Reason
from exchange.node.ledger_client import LedgerClient
from exchange.scoring.errors import ScoreRefused
from exchange.store import Answered, ScoringRepository
from ledger import canonical
from ledger.errors import Refusal
from ledger.rules.models import account, check_ticket, key_of, price_of
from ledger.state import State
from ledger.times import parse_time
from mpc.spec import Adversary
from policies import column_control, plans
from policies.column_control import ColumnUse
from policies.errors import PoliciesError
from policies.plans import Compute, Join, Reveal, Source
from policies.prepared import prepare
from policies.purposes import is_a
from policies.sentences import say

__all__ = ["LIFE_S", "OUTPUT_TYPE", "TECHNIQUE", "Admission", "column_uses"]

TECHNIQUE: Final = "model/score"
"""What an agreement names as the operation."""

OUTPUT_TYPE: Final = "score/partial"
"""What an agreement names as the output type: what an owner's columns add to one person's score."""

LIFE_S: Final = 600
"""Seconds before and after its time in which a ticket is answered: clocks differ, calls are retried."""


@dataclass(frozen=True)
class _Question:
    """A ticket that its consumer signed, and the rows it is judged by."""

    ticket: Mapping[str, Any]
    row: Mapping[str, Any]
    part: Mapping[str, Any]
    agreement: Mapping[str, Any]
    consumer: str
    state: State
    now: datetime


def column_uses(part: Mapping[str, Any], owner: str, viewer: str) -> tuple[ColumnUse, ...]:
    """Who comes to see what of an asset's columns when the label holder asks for a partial score.

    Args:
        part: names asset, key and columns.
        owner: of the part.
        viewer: the label holder.
    """
    key, columns = str(part["key"]), tuple(part["columns"])
    plan = (
        Source("rows", part["asset"], owner, tuple(dict.fromkeys((key, *columns)))),
        Source("asked", "", viewer, (key,)),
        Join("found", "rows", "asked", ((key, key),)),
        Compute("scored", "found", "partial", tuple(f"rows.{name}" for name in columns)),
        Reveal("scored", ("partial",), (viewer,)),
    )
    return tuple(use for use in plans.uses(plan) if use.asset)


class Admission:
    """Decides on tickets and counts those that are answered. Thread-safe.

    Args:
        ledger: this node's view of the ledger.
        kept: what was answered.
        me: this owner's DID.
        clock: aware time in UTC.
        is_ready: whether this owner has the table of a version.
    """

    def __init__(
        self,
        ledger: LedgerClient,
        kept: ScoringRepository,
        me: str,
        clock: Callable[[], datetime],
        is_ready: Callable[[Mapping[str, Any]], bool],
    ) -> None:
        self._ledger, self._kept, self._me, self._clock = ledger, kept, me, clock
        self._is_ready = is_ready
        self._lock = threading.Lock()

    def admit(self, consumer: str, shown: object, persons: int) -> Mapping[str, Any]:
        """Decide on a ticket, and count it; returns the row of the version that it is for.

        Args:
            consumer: who shows it.
            shown: the ticket, decoded.
            persons: whom the call asks about.

        Raises:
            ScoreRefused: with every reason.
            Conflict: this node does not know yet, or not any more, what the ledger says.
            StoreUnavailable: the count could not be written; the ticket counts as answered until a restart.
        """
        if not self._ledger.is_caught_up:
            raise Conflict("this node's copy of the ledger is not caught up yet")
        question = self._read(consumer, shown)
        reasons = self._rights(question)
        if question.ticket["count"] != persons:
            reasons.append(Reason("ticket.wrong-count", f"the ticket is not for {persons} persons"))
        with self._lock:
            waiting = self._kept.unreported(question.ticket["agreement"])
            reasons += self._policy_reasons(question, waiting) + self._quotas(question, waiting)
            if not reasons and not self._kept.answer(_counted(question)):
                reasons.append(Reason("ticket.replayed", "its number in the account was there before"))
        if reasons:
            raise ScoreRefused(
                tuple(reason.code for reason in reasons), "; ".join(reason.text for reason in reasons)
            )
        self._kept.secure()
        return question.row

    def _read(self, consumer: str, shown: object) -> _Question:
        state = self._ledger.state
        try:
            ticket = check_ticket(state, shown, consumer)
        except Refusal as refusal:
            raise ScoreRefused((refusal.code,), str(refusal)) from refusal
        row = state.rows("models")[key_of(ticket)]
        agreement = state.rows("agreements")[ticket["agreement"]]
        if agreement["provider"] != self._me:
            raise ScoreRefused(("model.foreign-part",), "the agreement is with another owner")
        part = row["parts"][self._me]
        return _Question(ticket, row, part, agreement, consumer, state, self._clock())

    def _rights(self, question: _Question) -> list[Reason]:
        """What stands against the ticket however little was asked before."""
        ticket, row, agreement = question.ticket, question.row, question.agreement
        limits = agreement["limits"]
        expected = {
            "member.not-active": question.state.rows("members")[question.consumer]["status"] == "active",
            "model.not-published": row["status"] == "published",
            "model.not-ready": row["status"] != "published" or self._is_ready(row),
            "asset.withdrawn": question.state.rows("assets")[question.part["asset"]]["status"] == "published",
            "agreement.revoked": agreement["status"] == "final",
            "agreement.expired": question.now < parse_time(limits["expires"]),
            "model.approval-needed": "approval" not in limits,
            "model.epsilon-limited": "epsilon_micro" not in limits,
            "model.rate-limited": "rate" not in limits,
            "model.purpose": any(is_a(ticket["purpose"], purpose) for purpose in row["purposes"]),
            "ticket.stale": abs((question.now - parse_time(ticket["time"])).total_seconds()) <= LIFE_S,
        }
        return [Reason(code, _WORDS[code]) for code, holds in expected.items() if not holds]

    def _policy_reasons(self, question: _Question, waiting: int) -> list[Reason]:
        agreement, count = question.agreement, question.ticket["count"]
        price = price_of(agreement)
        uses = column_uses(question.part, self._me, question.consumer)
        answer = Answer(
            purpose=question.ticket["purpose"],
            technique=TECHNIQUE,
            output_type=OUTPUT_TYPE,
            adversary=Adversary.SEMI_HONEST.value,
            parties=len(question.row["parties"]),
            uses=uses,
            count=waiting + count,
            price=price,
            fee=(waiting + count) * price,
        )
        try:
            prepared = prepare(agreement["policy"])
            check_same(prepared.policy, agreement)
            report = prepared.evaluate(answer_facts(question.state, agreement, answer, question.now))
        except PoliciesError as error:
            return [Reason("policy.invalid", str(error))]
        reasons = [Reason(finding.code, say(finding)) for finding in report.refusals]
        schema = question.state.rows("assets")[question.part["asset"]]["schema"]
        try:
            column_control.check(uses, column_control.levels_of(schema))
        except PoliciesError as error:
            reasons.append(Reason(error.code, str(error)))
        return reasons

    def _quotas(self, question: _Question, waiting: int) -> list[Reason]:
        """What was answered before that leaves no room for the ticket; asked with the lock held."""
        ticket, agreement = question.ticket, question.agreement
        count = ticket["count"]
        asset = question.state.get("budgets", agreement["asset"]) or {"limits": {}, "uses": 0}
        spent = {
            "agreement.uses-exhausted": (agreement["limits"].get("uses"), agreement["uses"] + waiting, count),
            "asset.uses-exhausted": (asset["limits"].get("uses"), asset["uses"] + waiting, count),
            "agreement.points-exhausted": (
                agreement["limits"].get("points"),
                agreement.get("points", 0) + waiting * price_of(agreement),
                count * price_of(agreement),
            ),
        }
        reasons = [
            Reason(code, f"{more} would be spent, {limit - before} are left")
            for code, (limit, before, more) in spent.items()
            if limit is not None and before + more > limit
        ]
        asked = self._kept.answered_now(question.consumer, ticket["model"], question.now)
        for span, limit in question.part["rates"].items():
            if asked[span] + count > limit:
                text = f"{limit} persons a {span} are allowed, {asked[span]} were answered"
                reasons.append(Reason("model.rate-exceeded", text))
        return reasons


def _counted(question: _Question) -> Answered:
    ticket = question.ticket
    return Answered(
        account=account(ticket),
        agreement=ticket["agreement"],
        consumer=question.consumer,
        model=ticket["model"],
        number=ticket["number"],
        count=ticket["count"],
        raw=canonical.encode(dict(ticket)),
        now=question.now,
    )


_WORDS: Final[Mapping[str, str]] = {
    "member.not-active": "the asking member is not active",
    "model.not-published": "the version is not published, or is withdrawn",
    "model.not-ready": "the owner's table of partial scores is not made",
    "asset.withdrawn": "the asset is withdrawn",
    "agreement.revoked": "the agreement is revoked",
    "agreement.expired": "the agreement has expired",
    "model.approval-needed": "the agreement asks for an approval of each use",
    "model.epsilon-limited": "a score is exact, and the agreement limits epsilon",
    "model.rate-limited": "the agreement limits jobs by time, which covers no scores",
    "model.purpose": "the purpose is none of the model's",
    "ticket.stale": "the ticket is too old, or from the future",
}
