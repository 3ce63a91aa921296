"""The three components together, over channels in memory: the answer is exact, small groups stay in."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from functools import partial

import pyarrow as pa
import pytest

from connectors.errors import DuplicateIdentifiers, EmptyIdentifiers
from exchange.errors import JobFailed
from exchange.jobs.component import Outcome, StepContext
from exchange.jobs.registry import built_in
from exchange.jobs.spec import JobSpec, Step
from exchange.jobs.testing import example_spec
from mpc.channel import Channel
from mpc.errors import PeerAborted
from mpc.randomness import SystemRandomness
from mpc.testing import outcomes

LOANS = pa.table(
    {
        "customer_id": [f" a {i:03d}" for i in range(60)],
        "default": [i % 3 == 0 for i in range(60)],
        "bill": [float(i) + 0.25 for i in range(60)],
    }
)
PEOPLE = pa.table(
    {
        "person_id": [f"A{i:03d}" for i in range(20, 90)],
        "band": ["high" if i < 36 else "low" if i < 57 else "tiny" for i in range(20, 90)],
    }
)
"""Matched: 20 to 59; of them 16 high, 21 low, 3 tiny."""


@dataclass
class Party:
    """One owner: its table, and what it kept of earlier steps."""

    table: pa.Table
    kept: dict[str, bytes] = field(default_factory=dict)

    def play(self, step: Step, role: str, channel: Channel, *, minimum: int) -> Outcome:
        def read(name: str) -> Iterator[pa.RecordBatch]:
            yield from self.table.select([name]).to_batches(max_chunksize=7)

        outcome = (
            built_in()
            .get(step.component)
            .run(
                StepContext(
                    step=step,
                    role=role,
                    minimum_cohort=minimum,
                    read=read,
                    channel=lambda _: channel,
                    earlier=self.kept,
                    released={},
                    rng=SystemRandomness(),
                    progress=lambda done, total: None,
                )
            )
        )
        self.kept[step.id] = outcome.local
        return outcome


def play(
    spec: JobSpec, loans: pa.Table, people: pa.Table, minimum: int = 1
) -> Mapping[str, Mapping[str, bytes]]:
    """Both owners' releases, by step and role."""
    lender, bureau = Party(loans), Party(people)
    released: dict[str, dict[str, bytes]] = {}
    for step in spec.steps[:2]:
        (left, right), (first, second) = tuple(step.parties), (lender, bureau)
        ended = outcomes(
            partial(first.play, step, left, minimum=minimum),
            partial(second.play, step, right, minimum=minimum),
        )
        for role, outcome in zip((left, right), ended, strict=True):
            if isinstance(outcome, Exception) and not isinstance(outcome, PeerAborted):
                raise outcome
            if isinstance(outcome, Outcome) and outcome.release is not None:
                released.setdefault(step.id, {})[role] = outcome.release
    return released


def read(spec: JobSpec, released: Mapping[str, Mapping[str, bytes]]) -> Outcome:
    step = spec.steps[2]
    return (
        built_in()
        .get(step.component)
        .run(
            StepContext(
                step=step,
                role="reader",
                minimum_cohort=0,
                read=lambda name: iter(()),
                channel=lambda role: pytest.fail("the reader opens no channel"),
                earlier={},
                released={name: released[name] for name in step.after},
                rng=SystemRandomness(),
                progress=lambda done, total: None,
            )
        )
    )


def statistics_spec(minimum: int = 5) -> JobSpec:
    value = example_spec()
    value["steps"][0]["params"]["minimum_matches"] = minimum
    value["steps"][0]["params"]["normalise"] = {
        "left": ["nfkc", "upper", "remove-spaces"],
        "right": ["upper"],
    }
    value["steps"][1]["params"]["min_cohort"] = minimum
    value["steps"][1]["inputs"]["measure_holder"]["columns"].append({"name": "bill", "decimals": 2})
    return JobSpec.from_json(value)


def test_the_answer_equals_plaintext_and_small_groups_stay_in() -> None:
    spec = statistics_spec(minimum=5)
    outcome = read(spec, play(spec, LOANS, PEOPLE))
    result = json.loads(outcome.files["result.json"])
    assert result["suppressed_groups"] == 1
    assert result["matched"] == 16 + 21
    by_group = {row["group"]: row for row in result["groups"]}
    assert set(by_group) == {"high", "low"}
    high = range(20, 36)
    assert by_group["high"]["count"] == 16
    assert by_group["high"]["sums"] == {
        "default": str(sum(i % 3 == 0 for i in high)),
        "bill": f"{sum(i + 0.25 for i in high):.2f}",
    }
    assert by_group["high"]["means"]["bill"] == f"{sum(i + 0.25 for i in high) / 16:.6f}"
    assert "tiny" not in outcome.files["result.json"].decode()


def test_the_report_has_a_table_and_plots_people_can_open() -> None:
    spec = statistics_spec()
    files = read(spec, play(spec, LOANS, PEOPLE)).files
    rows = list(csv.reader(io.StringIO(files["table.csv"].decode())))
    assert rows[0] == ["band", "count", "sum default", "sum bill", "mean default", "mean bill"]
    assert len(rows) == 3
    assert files["plot.png"].startswith(b"\x89PNG")
    assert b"<svg" in files["plot.svg"]


def test_the_agreed_minimum_wins_over_a_laxer_step() -> None:
    spec = statistics_spec(minimum=5)
    with pytest.raises(JobFailed, match="smaller than the minimum cohort 30"):
        play(spec, LOANS, PEOPLE, minimum=30)


def test_too_small_an_intersection_ends_the_run() -> None:
    with pytest.raises(JobFailed, match="expected at least 41 matches"):
        play(statistics_spec(minimum=41), LOANS, PEOPLE)


def test_duplicate_identifiers_are_counted_not_shown() -> None:
    doubled = pa.concat_tables([LOANS, LOANS.slice(0, 2)])
    with pytest.raises(DuplicateIdentifiers) as caught:
        play(statistics_spec(), doubled, PEOPLE)
    assert "2" in str(caught.value)
    assert "a 000" not in str(caught.value).lower()


def test_identifiers_that_normalise_to_nothing_are_refused() -> None:
    blank = LOANS.set_column(0, "customer_id", pa.array(["  ", *LOANS.column(0).to_pylist()[1:]]))
    with pytest.raises(EmptyIdentifiers):
        play(statistics_spec(), blank, PEOPLE)
