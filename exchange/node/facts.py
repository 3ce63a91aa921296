"""The facts of a request, as an owner's node knows them: what the job is, never what somebody says of it.

Each left operand of the profile has its fact here or none. A fact that this node cannot establish is left
out, which leaves its constraint unknown and so permits nothing.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from decimal import Decimal
from typing import Any, Final

from exchange.credentials.holdings import held_types
from exchange.jobs.registry import code_digest
from exchange.jobs.spec import Step
from exchange.node.budgets import loss_of
from exchange.node.job_request import Request
from ledger.rules.approvals import standing
from ledger.rules.budgets import epsilon
from ledger.state import State
from ledger.times import parse_time
from policies.column_control import ColumnUse
from policies.values import parse_instant

__all__ = ["Answer", "answer_facts", "facts_of", "fulfilled", "since"]

_BOUNDS: Final = ("min_cohort", "minimum_matches")


def facts_of(
    asset: str,
    agreement: Mapping[str, Any],
    request: Request,
    steps: Sequence[Step],
    uses: Iterable[ColumnUse],
) -> dict[str, object]:
    """Establish the facts of a job's use of one asset.

    Args:
        asset: the asset's id.
        agreement: the row of the agreement that covers it.
        request: the job.
        steps: the steps in which anything is computed from the asset.
        uses: who comes to see what of its columns, from the job's compiled plan.
    """
    submitter, limits = request.job["submitter"], agreement["limits"]
    recipients = {did for step in steps for did in step.recipients}
    price = int(limits.get("price", 0))
    facts: dict[str, object] = {
        "action": "use",
        "target": asset,
        "assignee": submitter,
        "fulfilled": fulfilled(request.state, agreement, price) | _consented(request),
        "purpose": request.spec.purpose,
        "recipient": recipients or {submitter},
        "recipientCredential": {
            "|".join(sorted(held_types(request.state, did, request.now))) for did in recipients or {submitter}
        },
        "dateTime": request.now,
        "elapsedTime": since(agreement["policy"].get("timestamp"), request.now),
        "count": int(agreement["uses"]) + 1,
        "payAmount": price,
        "pointsBudget": int(agreement.get("points", 0)) + price,
        "technique": {step.component for step in steps},
        "columns": {
            column.name
            for step in steps
            for given in step.inputs.values()
            if given.asset == asset
            for column in given.columns
        },
        "columnControl": {f"{use.column}:{'|'.join(use.needed)}" for use in uses},
        "minCohort": _declared_cohort(steps),
        "minParties": min((len(set(step.parties.values())) for step in steps), default=0),
        "outputType": {request.registry.get(step.component).output_type for step in steps if step.recipients},
        "codeDigest": {code_digest()},
    }
    facts |= _privacy(asset, agreement, request)
    adversaries = _adversaries(steps, request)
    if adversaries is not None:
        facts["threatModel"] = adversaries
    if "rate" in limits:
        facts["rate"] = tuple(
            max(request.now - parse_time(time), timedelta(0)) for time in agreement.get("times", ())
        )
    return facts


@dataclass(frozen=True, kw_only=True)
class Answer:
    """An answer that an owner's node may give at once, between two entries of the ledger.

    Attributes:
        purpose: a DPV term.
        technique: what an agreement names as the operation.
        output_type: what it names as the output type.
        adversary: whom the protocol stands.
        parties: members that take part.
        uses: who comes to see what of the asset's columns.
        count: uses that are in no receipt yet, with those of this answer.
        price: points of a use.
        fee: points of all those uses.
    """

    purpose: str
    technique: str
    output_type: str
    adversary: str
    parties: int
    uses: tuple[ColumnUse, ...]
    count: int
    price: int
    fee: int


def answer_facts(
    state: State, agreement: Mapping[str, Any], answer: Answer, now: datetime
) -> dict[str, object]:
    """Establish the facts of an answer about one person or one key, under an agreement; none about rates."""
    consumer = agreement["consumer"]
    return {
        "action": "use",
        "target": agreement["asset"],
        "assignee": consumer,
        "fulfilled": fulfilled(state, agreement, answer.price),
        "purpose": answer.purpose,
        "recipient": {consumer},
        "recipientCredential": {"|".join(sorted(held_types(state, consumer, now)))},
        "dateTime": now,
        "elapsedTime": since(agreement["policy"].get("timestamp"), now),
        "count": agreement["uses"] + answer.count,
        "payAmount": answer.price,
        "pointsBudget": agreement.get("points", 0) + answer.fee,
        "technique": {answer.technique},
        "columns": {use.column for use in answer.uses},
        "columnControl": {f"{use.column}:{'|'.join(use.needed)}" for use in answer.uses},
        "minCohort": 1,
        "minParties": answer.parties,
        "outputType": {answer.output_type},
        "codeDigest": {code_digest()},
        "threatModel": {answer.adversary},
    }


def since(timestamp: object, now: datetime) -> timedelta | None:
    """How long ago the agreement was made; None, which is no fact, where that is no time."""
    made = parse_instant(timestamp) if isinstance(timestamp, str) else None
    return None if made is None else now - made


def _declared_cohort(steps: Sequence[Step]) -> int:
    """The smallest group that a releasing step's own bound lets out; 0 where one states no bound.

    Where nothing is released, the bounds on what the parties themselves see.
    """
    releasing = [step for step in steps if step.recipients] or steps
    bounds = (next((step.params[name] for name in _BOUNDS if name in step.params), 0) for step in releasing)
    return min((int(str(bound)) for bound in bounds), default=0)


def _adversaries(steps: Sequence[Step], request: Request) -> set[str] | None:
    """What corrupted parties the protocols stand; None where parties meet without a stated protocol."""
    found = set()
    for step in steps:
        claim = request.registry.get(step.component).protocol
        if claim is not None:
            found.add(claim.adversary.value)
        elif len(set(step.parties.values())) > 1:
            return None
    return found


def _privacy(asset: str, agreement: Mapping[str, Any], request: Request) -> dict[str, object]:
    """Epsilon and delta with this job; none where a release is exact, because it has no epsilon."""
    exponent = agreement["limits"].get("delta_exponent")
    loss = loss_of(request.spec, asset, request.registry)
    if exponent is None or loss is None:
        return {}
    spent = agreement.get("rdp", [0] * len(loss))
    total = epsilon([one + more for one, more in zip(spent, loss, strict=True)], exponent)
    return {
        "epsilonBudget": Decimal(total).scaleb(-6),
        "deltaBudget": Decimal(1).scaleb(-int(exponent)),
    }


def fulfilled(state: State, agreement: Mapping[str, Any], price: int) -> set[str]:
    """The duties that stand fulfilled for every use, by this node's own ledger.

    An entry informs every active member; the agreement is final because the consumer signed that it has read
    this very policy; a price is charged by the entry that spends a use. That something was deleted elsewhere
    no node can see.
    """
    active = {did for did, row in state.rows("members").items() if row["status"] == "active"}
    done = {"inform", "reviewPolicy", *(f"inform {did}" for did in active)}
    if price:
        done |= {"compensate", f"compensate {agreement['provider']}"}
    return done


def _consented(request: Request) -> set[str]:
    """Consent to a job is what its approvals on the ledger say."""
    approved = set(standing(request.state, request.job)["approved"])
    done = {f"obtainConsent {did}" for did in approved}
    return done | ({"obtainConsent"} if request.me in approved else set())
