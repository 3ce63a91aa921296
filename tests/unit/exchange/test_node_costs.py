"""Estimates from the protocols' formulas, and what own steps teach about them."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from exchange.jobs.registry import built_in
from exchange.jobs.spec import JobSpec
from exchange.jobs.testing import example_spec
from exchange.node.costs import Costs
from exchange.store import open_node_store
from ledger.state import State
from mpc.psi import ecdh
from mpc.stats import group_sums

SPEC = JobSpec.from_json(example_spec())
MATCH, SUMS = SPEC.steps[0], SPEC.steps[1]


def ledger_state(left: int = 300, right: int = 280) -> State:
    state = State()
    for given, rows in zip(MATCH.inputs.values(), (left, right), strict=True):
        state = state.put("assets", given.asset, {"asset": given.asset, "rows": rows}, index=1)
    return state


@pytest.fixture
def costs(tmp_path: Path) -> Iterator[Costs]:
    store = open_node_store(f"sqlite:///{tmp_path}/node.sqlite")
    yield Costs(store.step_costs, built_in())
    store.close()


def estimate(costs: Costs, step: str, role: str) -> dict[str, Any]:
    found = costs.estimates(SPEC, ledger_state())
    return next(one for one in found if (one["step"], one["role"]) == (step, role))


def receipt(milliseconds: int, sent: int, received: int) -> dict[str, Any]:
    return {"duration_ms": milliseconds, "bytes_sent": sent, "bytes_received": received}


def test_bytes_and_rounds_of_an_intersection_are_those_of_the_protocol(costs: Costs) -> None:
    one = estimate(costs, MATCH.id, "left")
    assert one["sent_bytes"] == ecdh.bytes_sent(300, 280)
    assert one["received_bytes"] == ecdh.bytes_sent(280, 300)
    assert one["rounds"] == ecdh.rounds(300, 280)
    assert one["milliseconds"] > 0
    assert one["measurements"] == 0


def test_a_later_step_has_no_more_rows_than_the_smaller_input(costs: Costs) -> None:
    one = estimate(costs, SUMS.id, "measure_holder")
    measures = len(SUMS.inputs["measure_holder"].columns)
    assert one["sent_bytes"] == group_sums.bytes_sent(0, 280, 16, measures)
    assert "16 groups" in one["assumes"]


def test_where_rows_are_kept_as_groups_a_later_step_has_those_of_the_larger_input(costs: Costs) -> None:
    value = example_spec()
    value["steps"][0]["params"]["duplicates"] = "groups"
    found = costs.estimates(JobSpec.from_json(value), ledger_state())
    one = next(one for one in found if (one["step"], one["role"]) == (SUMS.id, "measure_holder"))
    measures = len(SUMS.inputs["measure_holder"].columns)
    assert one["sent_bytes"] == group_sums.bytes_sent(0, 300, 16, measures)


def test_a_step_without_a_formula_has_no_estimate(costs: Costs) -> None:
    assert {one["step"] for one in costs.estimates(SPEC, ledger_state())} == {MATCH.id, SUMS.id}


def test_more_rows_cost_more(costs: Costs) -> None:
    small, large = (costs.estimates(SPEC, ledger_state(rows, rows))[0] for rows in (1_000, 100_000))
    for name in ("milliseconds", "sent_bytes", "received_bytes", "memory_bytes"):
        assert small[name] < large[name]


def test_what_steps_took_here_corrects_the_next_estimate_and_is_shown_beside_it(costs: Costs) -> None:
    before = estimate(costs, SUMS.id, "measure_holder")
    sent, received = before["sent_bytes"] // 4, before["received_bytes"] // 4
    costs.measured(SPEC, SUMS, "measure_holder", receipt(5_000, sent, received), ledger_state())
    after = estimate(costs, SUMS.id, "measure_holder")
    assert after["measurements"] == 1
    assert abs(after["milliseconds"] - 5_000) <= 1
    assert abs(after["sent_bytes"] - sent) <= 1
    assert costs.compared(SPEC.job) == [
        {
            "step": SUMS.id,
            "role": "measure_holder",
            "expected": {name: before[name] for name in ("milliseconds", "sent_bytes", "received_bytes")},
            "actual": {"milliseconds": 5_000, "sent_bytes": sent, "received_bytes": received},
        }
    ]


def test_a_step_that_is_told_twice_counts_once(costs: Costs) -> None:
    for milliseconds in (1_000, 9_000):
        costs.measured(SPEC, MATCH, "left", receipt(milliseconds, 1, 1), ledger_state())
    assert [one["actual"]["milliseconds"] for one in costs.compared(SPEC.job)] == [1_000]


def test_one_outlier_among_many_changes_little(costs: Costs) -> None:
    for number, milliseconds in enumerate((1_000, 1_000, 60_000, 1_000, 1_000)):
        value = example_spec() | {"job": f"job-{number:026d}"}
        costs.measured(JobSpec.from_json(value), MATCH, "left", receipt(milliseconds, 1, 1), ledger_state())
    assert abs(estimate(costs, MATCH.id, "left")["milliseconds"] - 1_000) <= 1
