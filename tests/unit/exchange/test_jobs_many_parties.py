"""Components of many owners: who sees what of which column, windows, ranges, and releases that do not fit."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, date, datetime
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from connectors.errors import WrongColumnType
from exchange.errors import InvalidRequest, JobFailed
from exchange.jobs import over_threshold, psi_many, psi_sum
from exchange.jobs.component import Component
from exchange.jobs.over_threshold import ByHolders, Range, grouped, in_utc
from exchange.jobs.psi_sum import SumShares
from exchange.jobs.releases import Cardinality
from exchange.jobs.spec import JobSpec, Step
from exchange.jobs.testing import JOB
from policies import column_control
from policies.column_control import Level
from policies.errors import ColumnControlExceeded

ANALYST = "did:key:zAnalyst"
WINDOW = {"from": "2026-01-01T00:00:00Z", "until": "2026-02-01T00:00:00Z"}
PARAMS: dict[str, dict[str, Any]] = {
    "psi/many": {"minimum_matches": 5, "receivers": "all"},
    "psi/over-threshold": {
        "threshold": 2,
        "capacity": 100,
        "minimum_matches": 5,
        "result": "by-holders",
        "window": WINDOW,
    },
    "psi/sum": {"min_cohort": 5, "figures": "variance"},
}
INPUTS: dict[str, dict[str, tuple[str, ...]]] = {
    "psi/many": dict.fromkeys(("leader", "party-1", "party-2"), ("person",)),
    "psi/over-threshold": dict.fromkeys(("party-1", "party-2", "party-3"), ("person", "opened")),
    "psi/sum": {"left": ("person", "balance"), "right": ("person", "income")},
}
COMPONENTS = {one.name: one for one in (psi_many.COMPONENT, over_threshold.COMPONENT, psi_sum.COMPONENT)}
HELPERS = {"psi/over-threshold": "aggregator", "psi/sum": "helper"}


def step_of(name: str, **changes: Any) -> Step:
    roles = INPUTS[name]
    parties = {role: f"did:key:z{role}" for role in roles}
    if name in HELPERS:
        parties[HELPERS[name]] = ANALYST
    step = {
        "id": "many",
        "component": name,
        "version": 1,
        "parties": parties,
        "inputs": {
            role: {"asset": f"{role}/t", "columns": [{"name": one, "decimals": 1} for one in columns]}
            for role, columns in roles.items()
        },
        "after": [],
        "params": {"normalise": {role: ["trim"] for role in roles}} | PARAMS[name] | changes,
        "recipients": [ANALYST],
    }
    spec = JobSpec.from_json(
        {"v": 1, "job": JOB, "title": "t", "purpose": "p", "agreements": {}, "steps": [step]}
    )
    COMPONENTS[name].check(spec, spec.steps[0])
    return spec.steps[0]


def is_admitted(component: Component, step: Step, asset: str, levels: Mapping[str, str]) -> bool:
    uses = [use for use in component.uses(step) if use.asset == asset]
    assert {use.column for use in uses} == set(levels)
    try:
        column_control.check(uses, {name: {"*": level} for name, level in levels.items()})
    except ColumnControlExceeded:
        return False
    return True


@pytest.mark.parametrize(
    ("name", "asset", "levels", "admitted"),
    [
        ("psi/many", "leader/t", {"person": "AFTER_JOIN"}, True),
        ("psi/many", "party-2/t", {"person": "AFTER_AGGREGATE"}, False),
        ("psi/over-threshold", "party-3/t", {"person": "AFTER_JOIN", "opened": "AFTER_COMPARE"}, True),
        ("psi/over-threshold", "party-1/t", {"person": "AFTER_JOIN", "opened": "AFTER_AGGREGATE"}, False),
        ("psi/over-threshold", "party-1/t", {"person": "AFTER_AGGREGATE", "opened": "AFTER_COMPARE"}, False),
        ("psi/sum", "left/t", {"person": "AFTER_AGGREGATE", "balance": "AFTER_AGGREGATE"}, True),
        ("psi/sum", "right/t", {"person": "AFTER_JOIN", "income": "AFTER_AGGREGATE"}, True),
        ("psi/sum", "right/t", {"person": "AFTER_JOIN", "income": "AFTER_COMPARE"}, False),
        ("psi/sum", "right/t", {"person": "ENCRYPTED_ONLY", "income": "AFTER_AGGREGATE"}, False),
    ],
)
def test_column_control(name: str, asset: str, levels: dict[str, str], admitted: bool) -> None:
    assert is_admitted(COMPONENTS[name], step_of(name), asset, levels) is admitted


def test_where_the_leader_alone_receives_no_party_is_shown_matches() -> None:
    uses = psi_many.COMPONENT.uses(step_of("psi/many", receivers="leader"))
    shown = {use.viewer for use in uses if Level.AFTER_AGGREGATE not in use.after}
    assert shown == {"did:key:zleader"}


def test_owners_of_a_sum_are_shown_nothing_of_each_other() -> None:
    assert {use.viewer for use in psi_sum.COMPONENT.uses(step_of("psi/sum"))} == {ANALYST}


@pytest.mark.parametrize("name", COMPONENTS)
def test_the_estimate_is_of_every_role_and_grows_with_the_rows(name: str) -> None:
    component, step = COMPONENTS[name], step_of(name)
    assert component.estimate is not None
    few, many = (component.estimate(step, dict.fromkeys(INPUTS[name], rows)) for rows in (10, 100))
    assert set(few) == set(step.parties)
    assert sum(one.work_ns for one in few.values()) < sum(one.work_ns for one in many.values())
    received = sum(one.received_bytes for one in many.values())
    assert received == pytest.approx(sum(one.sent_bytes for one in many.values()), rel=0.2)


@pytest.mark.parametrize(
    ("name", "changes", "words"),
    [
        ("psi/many", {"receivers": "some"}, "receivers"),
        ("psi/many", {"normalise": {"leader": []}}, "normalise"),
        ("psi/over-threshold", {"threshold": 4}, "threshold"),
        ("psi/over-threshold", {"window": {"from": "x", "until": "y"}}, "window.from"),
        ("psi/over-threshold", {"window": WINDOW | {"until": WINDOW["from"]}}, "window"),
        ("psi/sum", {"figures": "median"}, "figures"),
        ("psi/sum", {"min_cohort": True}, "min_cohort"),
    ],
)
def test_bad_parameters_are_refused_by_name(name: str, changes: dict[str, Any], words: str) -> None:
    with pytest.raises(InvalidRequest, match=words):
        step_of(name, **changes)


@settings(max_examples=30, deadline=None)
@given(
    counts=st.lists(st.integers(0, 30), min_size=4, max_size=8),
    threshold=st.integers(2, 3),
    minimum=st.integers(0, 40),
)
def test_every_range_has_the_minimum_and_all_are_in_one(
    counts: list[int], threshold: int, minimum: int
) -> None:
    array = np.array([0] * threshold + counts[threshold:], dtype=np.int64)
    minimum = min(minimum, int(array.sum()))
    ranges = grouped(array, threshold, minimum)
    assert [one.least for one in ranges] == [threshold, *(one.most + 1 for one in ranges[:-1])]
    assert ranges[-1].most == len(array) - 1
    assert [one.matched for one in ranges] == [array[one.least : one.most + 1].sum() for one in ranges]
    assert all(one.matched >= minimum for one in ranges)


@pytest.mark.parametrize(
    ("array", "expected"),
    [
        (pa.array([date(2026, 1, 2), None]), [datetime(2026, 1, 2, tzinfo=UTC), None]),
        (pa.array([datetime(2026, 1, 2, 3)]), [datetime(2026, 1, 2, 3, tzinfo=UTC)]),  # noqa: DTZ001
        (
            pa.array([datetime(2026, 1, 2, 3, tzinfo=UTC)], pa.timestamp("ns", "Asia/Shanghai")),
            [datetime(2026, 1, 2, 3, tzinfo=UTC)],
        ),
    ],
)
def test_dates_and_times_of_any_zone_are_compared_in_utc(array: pa.Array, expected: list[Any]) -> None:
    assert in_utc(array, "t").to_pylist() == expected


def test_a_text_is_no_time() -> None:
    with pytest.raises(WrongColumnType, match="column t"):
        in_utc(pa.array(["2026-01-01"]), "t")


def test_parties_that_state_different_counts_give_no_result() -> None:
    released = {"leader": 7, "party-1": 7, "party-2": 8}
    with pytest.raises(JobFailed, match="2 different"):
        psi_many.COMPONENT.open_result(  # type: ignore[misc]
            step_of("psi/many"), {role: Cardinality(count).encode() for role, count in released.items()}
        )


def test_an_aggregator_whose_ranges_do_not_make_up_the_parties_count_gives_no_result() -> None:
    step, count = step_of("psi/over-threshold"), Cardinality(7).encode()
    for ranges in ((Range(2, 2, 5), Range(3, 3, 1)), ()):
        told = ByHolders(7, ranges).encode()
        with pytest.raises(JobFailed, match="do not make up 7"):
            over_threshold.COMPONENT.open_result(  # type: ignore[misc]
                step, {"party-1": count, "party-2": count, "party-3": count, "aggregator": told}
            )


def test_shares_give_exact_sums_means_and_variances() -> None:
    step = step_of("psi/sum")
    values = {"left": [15, -25, 40], "right": [10**8, 3, 5]}  # with one decimal
    released: dict[str, bytes] = {}
    helper: dict[str, tuple[str, ...]] = {}
    for side, numbers in values.items():
        totals = [sum(numbers), sum(number * number for number in numbers)]
        masks = [2**63 + 11, 5]
        released[side] = SumShares(**{side: tuple(map(str, masks))}).encode()
        helper[side] = tuple(str((total - mask) % 2**64) for total, mask in zip(totals, masks, strict=True))
    released["helper"] = SumShares(helper["left"], helper["right"], 3).encode()
    table = psi_sum.COMPONENT.open_result(step, released)  # type: ignore[misc]
    assert table.columns == ("side", "column", "sum", "mean", "variance")
    assert table.rows[0] == ("left", "balance", "3.0", "1.000000", "10.750000")
    assert table.rows[1][:3] == ("right", "income", "10000000.8")
    assert table.facts == {"matched": 3}


def test_shares_of_other_columns_give_no_result() -> None:
    released = dict.fromkeys(("left", "right"), SumShares(("1",)).encode())
    released["helper"] = SumShares(("1",), ("1",), 3).encode()
    with pytest.raises(JobFailed, match="not of 1 columns"):
        psi_sum.COMPONENT.open_result(step_of("psi/sum"), released)  # type: ignore[misc]
