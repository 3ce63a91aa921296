"""Stability of columns between two sets of an owner's rows: the index, what is refused, what is shown."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from exchange.errors import InvalidRequest, JobFailed
from exchange.jobs.component import Outcome, StepContext
from exchange.jobs.disclosure import OutputRules
from exchange.jobs.spec import JobSpec, Step
from exchange.jobs.stability import COMPONENT, stability_index
from exchange.jobs.testing import JOB, nothing_lent
from mpc.randomness import SystemRandomness
from policies.column_control import Level

RNG = np.random.default_rng(3)
ROWS = 2000
EACH = ROWS // 2
YEAR = np.repeat([2023, 2024], EACH)
MOVED = np.where(YEAR == 2024, RNG.normal(1.0, 1, ROWS), RNG.normal(0.0, 1, ROWS))
STILL = RNG.normal(size=ROWS)
REGION = np.where(RNG.random(ROWS) < np.where(YEAR == 2024, 0.8, 0.5), "north", "south")
TABLE: Mapping[str, Any] = {"year": YEAR, "moved": MOVED, "still": STILL, "region": REGION}
EXPECTED, ACTUAL = ({"column": "year", "is": "=", "value": year} for year in (2023, 2024))


def step_of(
    columns: Sequence[str] = tuple(TABLE), recipients: Sequence[str] = ("did:key:zAnalyst",), **params: Any
) -> Step:
    step = {
        "id": "stable",
        "component": "model/stability",
        "version": 1,
        "parties": {"owner": "did:key:zOwner"},
        "inputs": {
            "owner": {"asset": "owner/table", "columns": [{"name": name, "decimals": 0} for name in columns]}
        },
        "after": [],
        "params": {"expected": EXPECTED, "actual": ACTUAL, "min_cohort": 50, **params},
        "recipients": list(recipients),
    }
    spec = JobSpec.from_json(
        {"v": 1, "job": JOB, "title": "t", "purpose": "p", "agreements": {}, "steps": [step]}
    )
    COMPONENT.check(spec, spec.step("stable"))
    return spec.step("stable")


def run(step: Step, table: Mapping[str, Any] = TABLE, rules: OutputRules = OutputRules.NONE) -> Outcome:
    whole = pa.table(dict(table))

    def batches(names: Sequence[str]) -> Iterator[pa.RecordBatch]:
        yield from whole.select(list(names)).to_batches(max_chunksize=70)

    return COMPONENT.run(
        StepContext(
            step=step,
            role="owner",
            ranks=("owner",),
            session=bytes(32),
            minimum_cohort=2,
            read=lambda name: batches([name]),
            channel=lambda role: pytest.fail(role),
            before={},
            earlier={},
            released={},
            rng=SystemRandomness(),
            progress=lambda done, total: None,
            hand_over=replace(nothing_lent(), rows=batches),
            rules=rules,
        )
    )


def opened(step: Step, outcome: Outcome) -> Any:
    assert COMPONENT.open_result is not None
    return COMPONENT.open_result(step, {"owner": outcome.release or b""})


def plain_index(expected: Sequence[float], actual: Sequence[float]) -> float:
    pairs = zip(expected, actual, strict=True)
    return sum((a - e) * math.log(a / e) for e, a in pairs)


def test_the_index_is_the_sum_over_bins_and_nothing_where_nothing_moved() -> None:
    got = stability_index(np.array([30_000, 70_000]), np.array([50_000, 50_000]))
    assert got == pytest.approx(plain_index([0.3, 0.7], [0.5, 0.5]), abs=1e-4)
    assert stability_index(np.array([5, 9]), np.array([5, 9])) == 0
    assert 0 < stability_index(np.array([10, 0]), np.array([0, 10])) < math.inf


def test_recipients_read_the_index_of_every_column_by_quantiles_of_the_expected_rows() -> None:
    step = step_of()
    outcome = run(step)
    table = opened(step, outcome)
    shifts = {row[0]: row[2] for row in table.rows}
    assert shifts == {"moved": "large", "still": "small", "region": "large"}
    assert table.facts == {"expected": EACH, "actual": EACH}
    edges = np.quantile(MOVED[:EACH], np.arange(1, 10) / 10)
    places = [np.searchsorted(edges, part, side="right") for part in np.split(MOVED, 2)]
    parts = [((np.bincount(one, minlength=10) + 0.5) / (EACH + 5)).tolist() for one in places]
    assert float(table.rows[0][1]) == pytest.approx(plain_index(*parts), abs=1e-4)
    north = [(np.count_nonzero(part == "north") + 0.5) / (EACH + 1) for part in np.split(REGION, 2)]
    assert float(table.rows[2][1]) == pytest.approx(
        plain_index([north[0], 1 - north[0]], [north[1], 1 - north[1]]), abs=1e-4
    )
    assert (outcome.cohort, outcome.figures) == (EACH, 2)
    assert outcome.groups is not None
    assert np.bincount(outcome.groups).tolist() == [EACH, EACH]


def test_missing_values_are_a_bin_of_their_own() -> None:
    holed = np.where((YEAR == 2024) & (RNG.random(ROWS) < 0.5), np.nan, STILL)
    texts = [None if math.isnan(one) else "x" for one in holed]
    step = step_of(["year", "still", "region"])
    table = opened(step, run(step, {**TABLE, "still": holed, "region": texts}))
    assert [row[2] for row in table.rows] == ["large", "large"]


def test_counts_are_rounded_where_the_owner_asks_for_it() -> None:
    step = step_of()
    table = opened(step, run(step, rules=OutputRules(round_counts=300)))
    assert table.facts == {"expected": 900, "actual": 900}


@pytest.mark.parametrize(
    ("change", "params", "words"),
    [
        ({}, {"min_cohort": 1001}, "at least 1001 expected rows, found fewer"),
        (
            {},
            {"actual": {"column": "year", "is": ">", "value": 2022}},
            "filters that no row passes both of",
        ),
        (
            {"still": np.where(YEAR == 2023, np.nan, STILL)},
            {},
            "still: all 1000 values of the expected",
        ),
        (
            {"region": [f"r{number}" for number in range(ROWS)]},
            {},
            "at most 256 different values",
        ),
    ],
)
def test_rows_that_do_not_do_are_refused_by_count(
    change: dict[str, Any], params: dict[str, Any], words: str
) -> None:
    with pytest.raises(JobFailed, match=words):
        run(step_of(**params), {**TABLE, **change})


@pytest.mark.parametrize(
    ("more", "words"),
    [
        (
            {"expected": {"column": "month", "is": "=", "value": 1}},
            "expected.month: expected one of year",
        ),
        ({"actual": 7}, "params.actual: expected an object"),
        ({"bins": 1}, "params.bins: expected an integer from 2 to 100"),
        ({"recipients": []}, "recipients: expected who receives the indices"),
        (
            {"columns": ["year", "still"], "actual": {"column": "still", "missing": True}},
            "inputs.owner.columns: expected a column that no filter reads",
        ),
    ],
)
def test_steps_that_make_no_sense_are_refused_by_field(more: dict[str, Any], words: str) -> None:
    with pytest.raises(InvalidRequest, match=words):
        step_of(**more)


def test_column_control_sees_figures_over_rows_that_were_compared() -> None:
    uses = [use for use in COMPONENT.uses(step_of()) if use.viewer]
    assert {use.column for use in uses} == set(TABLE)
    assert all(Level.AFTER_AGGREGATE in use.after for use in uses)
    assert {use.column for use in uses if Level.AFTER_COMPARE in use.after} == {"year"}
