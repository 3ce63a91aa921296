"""The owner's node says which budget a job does not fit, and states what it lets a job spend."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import pytest

from exchange.jobs.registry import built_in
from exchange.jobs.spec import JobSpec
from exchange.jobs.testing import ANALYST, LENDER, example_spec
from exchange.node.budgets import budget_reasons, loss_of, shown, spends
from exchange.node.job_request import Request
from ledger.rules.budgets import ORDERS
from ledger.state import State

LOANS = "lender/loans"
PRIVACY = {
    "mechanism": "laplace",
    "epsilon_micro": 1_000_000,
    "delta_exponent": 6,
    "bounds": {"default": {"lower": "0", "upper": "1"}},
}


def spec_of(privacy: object = None, *, cardinality: bool = False) -> JobSpec:
    value = example_spec()
    if privacy is not None:
        value["steps"][1]["params"]["privacy"] = privacy
    if cardinality:
        value["steps"][0]["recipients"] = [ANALYST]
    return JobSpec.from_json(value)


def state_of(limits: dict[str, Any], budget: dict[str, Any] | None = None, **spent: Any) -> State:
    agreement = {"agreement": "agreement-1", "provider": LENDER, "consumer": ANALYST, "asset": LOANS}
    row = agreement | {"limits": {"uses": 3, **limits}, "uses": 0} | spent
    state = State().put("assets", LOANS, {"owner": LENDER, "asset": LOANS}, index=1)
    state = state.put("agreements", "agreement-1", row, index=2)
    if budget is None:
        return state
    empty = {"asset": LOANS, "limits": {}, "uses": 0, "open": [], "changes": 0, "reason": ""}
    return state.put("budgets", LOANS, empty | budget, index=3)


def codes(spec: JobSpec, state: State) -> list[str]:
    request = Request(
        spec=spec,
        raw=spec.encode(),
        job={},
        state=state,
        me=LENDER,
        registry=built_in(),
        now=datetime(2026, 11, 26, tzinfo=UTC),
    )
    return [reason.code for reason in budget_reasons(request)]


EPSILON = {"epsilon_micro": 1_500_000, "delta_exponent": 6}


@pytest.mark.parametrize(
    ("spec", "state", "expected"),
    [
        (spec_of(), state_of({}), []),
        (spec_of(), state_of(EPSILON), ["budget.epsilon-required"]),
        (spec_of(PRIVACY), state_of(EPSILON), []),
        (spec_of(PRIVACY, cardinality=True), state_of(EPSILON), ["budget.epsilon-required"]),
        (spec_of(PRIVACY), state_of(EPSILON, rdp=[800_000] * len(ORDERS)), ["agreement.epsilon-exhausted"]),
        (spec_of(), state_of({}, {"limits": EPSILON}), ["budget.epsilon-required"]),
        (spec_of(), state_of({}, {"limits": {"uses": 2}, "uses": 2}), ["asset.uses-exhausted"]),
        (spec_of(), state_of({"points": 10, "price": 6}, points=5), ["agreement.points-exhausted"]),
        (spec_of(), state_of({"points": 10, "price": 5}, points=5), []),
    ],
)
def test_what_a_budget_does_not_cover_is_a_reason(spec: JobSpec, state: State, expected: list[str]) -> None:
    assert codes(spec, state) == expected


def test_only_noised_releases_have_a_loss_to_state() -> None:
    registry = built_in()
    assert loss_of(spec_of(), LOANS, registry) is None
    assert spends(spec_of(), ["agreement-1"], registry) == []
    stated = spends(spec_of(PRIVACY), ["agreement-1"], registry)
    assert stated == [{"agreement": "agreement-1", "rdp": loss_of(spec_of(PRIVACY), LOANS, registry)}]


def test_budgets_are_shown_to_owner_and_consumer() -> None:
    state = state_of(EPSILON, {"limits": {"uses": 5}, "uses": 2, "changes": 1, "reason": "more"})
    owned = {line["kind"]: line for line in shown(state, LENDER)}
    assert (owned["asset"]["uses"], owned["asset"]["uses_limit"]) == (2, 5)
    assert owned["asset"]["reason"] == "more"
    assert owned["agreement"]["epsilon_limit_micro"] == 1_500_000
    assert [line["kind"] for line in shown(state, ANALYST)] == ["agreement"]
    assert shown(state, "did:key:zNobody") == []
