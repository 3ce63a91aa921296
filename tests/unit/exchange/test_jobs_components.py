"""The three components together, over channels in memory: the answer is exact, small groups stay in."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import pyarrow as pa
import pytest

from connectors.errors import DuplicateIdentifiers, EmptyIdentifiers
from exchange.errors import JobFailed
from exchange.jobs.component import Outcome, StepContext
from exchange.jobs.disclosure import ComplementarySuppression, Dominated, OutputRules, RoundTo
from exchange.jobs.registry import built_in
from exchange.jobs.spec import JobSpec, Step
from exchange.jobs.testing import example_spec, nothing_lent
from mpc.channel import Channel
from mpc.errors import PeerAborted, ResultSizeRefused
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

    def play(
        self, step: Step, role: str, channel: Channel, *, minimum: int, rules: OutputRules = OutputRules.NONE
    ) -> Outcome:
        def read(name: str) -> Iterator[pa.RecordBatch]:
            yield from self.table.select([name]).to_batches(max_chunksize=7)

        outcome = (
            built_in()
            .get(step.component)
            .run(
                StepContext(
                    step=step,
                    role=role,
                    ranks=tuple(step.parties),
                    session=b"session of the step",
                    minimum_cohort=minimum,
                    read=read,
                    channel=lambda _: channel,
                    before={},
                    earlier=self.kept,
                    released={},
                    rng=SystemRandomness(),
                    progress=lambda done, total: None,
                    hand_over=nothing_lent(),
                    rules=rules,
                )
            )
        )
        self.kept[step.id] = outcome.local
        return outcome


def play(
    spec: JobSpec,
    loans: pa.Table,
    people: pa.Table,
    minimum: int = 1,
    rules: tuple[OutputRules, OutputRules] = (OutputRules.NONE, OutputRules.NONE),
) -> Mapping[str, Mapping[str, bytes]]:
    """Both owners' releases, by step and role."""
    lender, bureau = Party(loans), Party(people)
    released: dict[str, dict[str, bytes]] = {}
    for step in spec.steps[:2]:
        (left, right), (first, second) = tuple(step.parties), (lender, bureau)
        ended = outcomes(
            partial(first.play, step, left, minimum=minimum, rules=rules[0]),
            partial(second.play, step, right, minimum=minimum, rules=rules[1]),
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
                ranks=("reader",),
                session=b"session of the step",
                minimum_cohort=0,
                read=lambda name: iter(()),
                channel=lambda role: pytest.fail("the reader opens no channel"),
                before={name: spec.step(name) for name in step.after},
                earlier={},
                released={name: released[name] for name in step.after},
                rng=SystemRandomness(),
                progress=lambda done, total: None,
                hand_over=nothing_lent(),
            )
        )
    )


def statistics_spec(minimum: int = 5, alter: Callable[[Any], object] = lambda steps: None) -> JobSpec:
    value = example_spec()
    value["steps"][0]["params"]["minimum_matches"] = minimum
    value["steps"][0]["params"]["normalise"] = {
        "left": ["nfkc", "upper", "remove-spaces"],
        "right": ["upper"],
    }
    value["steps"][1]["params"]["min_cohort"] = minimum
    value["steps"][1]["inputs"]["measure_holder"]["columns"].append({"name": "bill", "decimals": 2})
    alter(value["steps"])
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
    with pytest.raises(ResultSizeRefused):
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


def test_values_are_rounded_before_they_are_summed_and_counts_down() -> None:
    lender = OutputRules(round_to=(RoundTo("bill", "10"),))
    released = play(statistics_spec(), LOANS, PEOPLE, rules=(lender, OutputRules(round_counts=5)))
    result = json.loads(read(statistics_spec(), released).files["result.json"])
    assert result["rounded_to"] == {"bill": "10.00"}
    by_group = {row["group"]: row for row in result["groups"]}
    assert (by_group["high"]["count"], by_group["low"]["count"]) == (15, 20)
    exact = sum(10 * round((i + 0.25) / 10) for i in range(20, 36))
    assert by_group["high"]["sums"]["bill"] == f"{exact:.2f}"


def test_complementary_suppression_takes_the_next_group_with_it() -> None:
    both = OutputRules(complementary=True)
    released = play(statistics_spec(), LOANS, PEOPLE, rules=(both, both))
    result = json.loads(read(statistics_spec(), released).files["result.json"])
    assert [row["group"] for row in result["groups"]] == ["low"]
    assert result["suppressed_groups"] == 2


def test_an_owner_that_asks_for_complementary_suppression_refuses_an_answer_without_it() -> None:
    with pytest.raises(ComplementarySuppression):
        play(statistics_spec(), LOANS, PEOPLE, rules=(OutputRules(complementary=True), OutputRules.NONE))


@pytest.mark.parametrize(("percent", "fine"), [(12, False), (13, True)])
def test_a_sum_that_somebody_could_dominate_is_refused(percent: int, fine: bool) -> None:
    spec = statistics_spec(alter=lambda steps: steps[1]["inputs"]["measure_holder"]["columns"].pop(0))
    rules = (OutputRules(dominance_percent=percent), OutputRules.NONE)
    if fine:
        assert "measure_holder" in play(spec, LOANS, PEOPLE, rules=rules)["stats"]
    else:
        with pytest.raises(Dominated, match="bill"):
            play(spec, LOANS, PEOPLE, rules=rules)


@pytest.mark.parametrize("mechanism", ["laplace", "gaussian"])
def test_with_privacy_values_are_clipped_and_noise_is_in_every_released_figure(mechanism: str) -> None:
    privacy = {
        "mechanism": mechanism,
        "epsilon_micro": 90_000_000,
        "delta_exponent": 6,
        "bounds": {"default": {"lower": "0", "upper": "1"}, "bill": {"lower": "0", "upper": "10"}},
    }
    spec = statistics_spec(alter=lambda steps: steps[1]["params"].update(privacy=privacy))
    built_in().check(spec)
    released = play(spec, LOANS, PEOPLE)
    result = json.loads(read(spec, released).files["result.json"])
    by_group = {row["group"]: row for row in result["groups"]}
    assert result["noise"]["mechanism"] == mechanism
    deviation = float(result["noise"]["deviations"]["bill"])
    # clipped at 10 each; eight standard deviations: below 1e-4 for Laplace, 1e-14 for Gaussian
    for group, people in (("high", 16), ("low", 21)):
        assert abs(float(by_group[group]["sums"]["bill"]) - 10 * people) < 8 * deviation + 1
        assert by_group[group]["count"] >= 5
    assert result["suppressed_groups"] == 1
