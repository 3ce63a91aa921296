"""Joint statistics that survive drop-outs: the same as from pooled rows, what is refused, who is in it."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime
from decimal import Decimal
from fractions import Fraction
from typing import Any

import duckdb
import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from exchange.errors import InvalidRequest, JobFailed
from exchange.jobs.aggregate_question import from_words, to_words
from exchange.jobs.aggregate_result import Totals
from exchange.jobs.aggregate_statistics import COMPONENT
from exchange.jobs.component import Outcome, StepContext
from exchange.jobs.disclosure import OutputRules, RoundTo
from exchange.jobs.registry import built_in
from exchange.jobs.spec import JobSpec, Step
from exchange.jobs.testing import JOB, example_spec, nothing_lent
from exchange.node.enforcement import decide
from exchange.node.job_request import draft_row
from ledger.state import State
from mpc.aggregation import secagg
from mpc.channel import Channel
from mpc.errors import MpcError, TooFewParties
from mpc.randomness import SystemRandomness
from mpc.testing import channel_pair
from policies import column_control
from policies.errors import ColumnControlExceeded

ANALYST = "did:key:zAnalyst"
OWNERS = 4
BANDS = ("high", "low")


def step_of(owners: int = OWNERS, columns: tuple[str, ...] = ("band", "debt"), **params: Any) -> Step:
    roles = [f"owner-{number}" for number in range(1, owners + 1)]
    grouped = {"groups": {"column": "band", "labels": list(BANDS)}} if "band" in columns else {}
    step = {
        "id": "sums",
        "component": "stats/aggregate",
        "version": 1,
        "parties": {"aggregator": ANALYST} | {role: f"did:key:z{role}" for role in roles},
        "inputs": {
            role: {
                "asset": f"{role}/t",
                "columns": [{"name": one, "decimals": 2 * (one != "band")} for one in columns],
            }
            for role in roles
        },
        "after": [],
        "params": {"min_cohort": 5, "threshold": 3, "patience_s": 2} | grouped | params,
        "recipients": [ANALYST],
    }
    spec = spec_of(step)
    COMPONENT.check(spec, spec.steps[0])
    return spec.steps[0]


def spec_of(*steps: Any) -> JobSpec:
    return JobSpec.from_json(
        {"v": 1, "job": JOB, "title": "t", "purpose": "p", "agreements": {}, "steps": list(steps)}
    )


def table_of(number: int, high: int = 20, low: int = 15, other: int = 0) -> pa.Table:
    generator = np.random.Generator(np.random.PCG64(number))
    bands = ["high"] * high + ["low"] * low + ["rare"] * other
    debts = generator.integers(-(10**8), 10**8, len(bands)).tolist()
    schema = pa.schema({"band": pa.string(), "debt": pa.decimal128(12, 2)})
    return pa.table({"band": bands, "debt": [Decimal(debt).scaleb(-2) for debt in debts]}, schema)


class Run:
    """One run of all roles over channels in memory; ``gone`` owners never send a word."""

    def __init__(
        self,
        step: Step,
        tables: dict[int, pa.Table],
        *,
        gone: tuple[int, ...] = (),
        rules: OutputRules = OutputRules.NONE,
        minimum: int = 0,
    ) -> None:
        self.step, self.rules, self.minimum = step, rules, minimum
        self.pairs = {number: channel_pair(b"session of %d" % number) for number in tables}
        self.ends: dict[str, Outcome | Exception] = {}
        for number in gone:
            self.pairs[number][1].abort("gone")
        roles = [(f"owner-{number}", table) for number, table in tables.items() if number not in gone]
        threads = [
            threading.Thread(target=self._play, args=one, daemon=True)
            for one in (*roles, ("aggregator", None))
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()

    def _play(self, role: str, table: pa.Table | None) -> None:
        def read(name: str) -> Iterator[pa.RecordBatch]:
            assert table is not None
            column = table.select([name])
            yield from column.to_batches(max_chunksize=7) or [pa.RecordBatch.from_pylist([], column.schema)]

        def channel(peer: str) -> Channel:
            if role == "aggregator":
                return self.pairs[int(peer.removeprefix("owner-"))][0]
            return self.pairs[int(role.removeprefix("owner-"))][1]

        context = StepContext(
            step=self.step,
            role=role,
            ranks=COMPONENT.ranks(self.step),
            session=b"session of the step",
            minimum_cohort=self.minimum if table is not None else 0,
            read=read,
            channel=channel,
            late_channel=channel,
            before={},
            earlier={},
            released={},
            rng=SystemRandomness(),
            progress=lambda done, total: None,
            hand_over=nothing_lent(),
            rules=self.rules if table is not None else OutputRules.NONE,
        )
        try:
            self.ends[role] = COMPONENT.run(context)
        except (JobFailed, MpcError) as error:
            self.ends[role] = error
            if table is not None:
                channel("aggregator").abort(error.code)

    def outcome(self, role: str) -> Outcome:
        found = self.ends[role]
        assert isinstance(found, Outcome), found
        return found

    def result(self) -> Any:
        released = {
            role: end.release
            for role, end in self.ends.items()
            if isinstance(end, Outcome) and end.release is not None
        }
        assert COMPONENT.open_result is not None
        return COMPONENT.open_result(self.step, released)


def pooled(*tables: pa.Table) -> list[tuple[Any, ...]]:
    with duckdb.connect() as database:
        database.register("pooled", pa.concat_tables(tables))
        query = """SELECT if(band IN ('high', 'low'), band, '(other)') AS b, count(*), sum(debt)::VARCHAR,
            avg(debt::DOUBLE), var_samp(debt::DOUBLE) FROM pooled GROUP BY b ORDER BY b = '(other)', b"""
        return database.execute(query).fetchall()


def assert_same(rows: Any, expected: list[tuple[Any, ...]], owners: int) -> None:
    assert [row[:4] for row in rows] == [(band, owners, count, total) for band, count, total, *_ in expected]
    for row, (*_, mean, variance) in zip(rows, expected, strict=True):
        assert float(row[4]) == pytest.approx(mean, abs=1e-6, rel=1e-12)
        assert float(row[5]) == pytest.approx(variance, rel=1e-12)


def test_figures_are_those_of_the_pooled_rows() -> None:
    tables = {number: table_of(number, other=6) for number in range(1, OWNERS + 1)}
    run = Run(step_of(), tables)
    found = run.result()
    assert found.columns == ("band", "owners", "rows", "sum debt", "mean debt", "variance debt")
    assert_same(found.rows, pooled(*tables.values()), OWNERS)
    assert (found.facts["absent"], found.facts["suppressed"]) == ([], 0)
    assert run.outcome("owner-1").absent == run.outcome("aggregator").absent == ()
    assert (run.outcome("owner-1").cohort, run.outcome("owner-1").figures) == (6, 3)


def test_an_owner_that_is_gone_is_absent_and_everybody_says_so() -> None:
    tables = {number: table_of(number, other=6) for number in range(1, OWNERS + 1)}
    run = Run(step_of(), tables, gone=(3,))
    assert_same(run.result().rows, pooled(*(tables[number] for number in (1, 2, 4))), 3)
    facts = run.result().facts
    assert facts["absent"] == ["did:key:zowner-3"]
    assert facts["present"] == [f"did:key:zowner-{number}" for number in (1, 2, 4)]
    for role in ("owner-1", "owner-2", "owner-4", "aggregator"):
        assert run.outcome(role).absent == ("owner-3",)


def test_fewer_than_the_threshold_have_no_result() -> None:
    run = Run(step_of(), {number: table_of(number) for number in range(1, OWNERS + 1)}, gone=(2, 3))
    assert isinstance(run.ends["aggregator"], TooFewParties)
    assert not any(isinstance(end, Outcome) for end in run.ends.values())


def test_an_owner_enters_no_group_below_its_own_minimum() -> None:
    tables = {number: table_of(number, low=4 if number == 1 else 15) for number in range(1, OWNERS + 1)}
    run = Run(step_of(), tables)
    high, low, other = run.result().rows
    assert (high[1:3], low[1:3]) == ((4, 80), (3, 45))
    assert other == ("(other)", None, None, None, None, None)
    outcome = run.outcome("owner-1")
    assert outcome.groups is not None
    assert outcome.groups.tolist() == [0] * 20 + [-1] * 4
    assert (outcome.cohort, outcome.figures) == (20, 1)


def test_an_owner_with_nothing_to_enter_leaves_and_the_others_go_on() -> None:
    tables = {number: table_of(number, *((4, 3) if number == 2 else ())) for number in range(1, OWNERS + 1)}
    run = Run(step_of(), tables)
    assert isinstance(run.ends["owner-2"], JobFailed)
    assert run.result().facts["absent"] == ["did:key:zowner-2"]


def test_the_minimum_of_an_agreement_counts_where_it_is_larger() -> None:
    tables = {number: table_of(number) for number in range(1, OWNERS + 1)}
    found = Run(step_of(), tables, minimum=16).result()
    assert [row[1] for row in found.rows] == [4, None, None]
    run = Run(step_of(), tables, minimum=21)
    assert all(isinstance(run.ends[f"owner-{number}"], JobFailed) for number in tables)
    assert isinstance(run.ends["aggregator"], TooFewParties)


def test_what_two_owners_entered_is_not_released() -> None:
    tables = {number: table_of(number, other=9 if number < 3 else 0) for number in range(1, OWNERS + 1)}
    run = Run(step_of(), tables)
    assert run.result().rows[2] == ("(other)", None, None, None, None, None)
    assert Totals.decode(run.outcome("aggregator").release or b"").cells[2] == ()


def test_a_job_with_no_group_that_three_entered_fails() -> None:
    sizes = {1: (9, 0), 2: (9, 0), 3: (0, 9), 4: (0, 9)}
    run = Run(step_of(), {number: table_of(number, *size) for number, size in sizes.items()})
    assert isinstance(run.ends["aggregator"], JobFailed)


def test_without_groups_all_rows_are_one() -> None:
    tables = {number: table_of(number) for number in (1, 2, 3)}
    found = Run(step_of(3, ("debt",)), tables).result()
    ((owners, rows, total, *_),) = found.rows
    expected = sum(Fraction(value) for table in tables.values() for value in table["debt"].to_pylist())
    assert (owners, rows, Fraction(total)) == (3, 105, expected)
    assert found.columns[0] == "owners"


def test_the_rules_of_an_owner_hold() -> None:
    tables = {number: table_of(number) for number in range(1, OWNERS + 1)}
    closed = Run(step_of(), tables, rules=OutputRules(p_percent=99, dominance_percent=1))
    assert isinstance(closed.ends["owner-1"], JobFailed)
    counted = Run(step_of(), tables, rules=OutputRules(round_counts=10))
    assert isinstance(counted.ends["owner-1"], JobFailed)
    rounded = Run(step_of(), tables, rules=OutputRules(round_to=(RoundTo("debt", "1000"),)))
    assert all(Decimal(row[3]) % 1000 == 0 for row in rounded.result().rows[:2])
    few = {number: table_of(number, other=2) for number in tables}
    left_out = Run(step_of(), few, rules=OutputRules(complementary=True))
    assert [row[1] for row in left_out.result().rows] == [4, None, None]


def test_an_empty_table_leaves() -> None:
    tables = {number: table_of(number, *((0, 0) if number == 4 else ())) for number in range(1, OWNERS + 1)}
    run = Run(step_of(), tables)
    assert isinstance(run.ends["owner-4"], JobFailed)
    assert run.result().facts["absent"] == ["did:key:zowner-4"]


def test_releases_that_do_not_fit_are_refused() -> None:
    run = Run(step_of(), {number: table_of(number) for number in range(1, OWNERS + 1)})
    released = {role: run.outcome(role).release or b"" for role in run.ends}
    totals = Totals.decode(released["aggregator"])
    assert COMPONENT.open_result is not None
    one_missing = {role: release for role, release in released.items() if role != "owner-2"}
    with pytest.raises(JobFailed, match="different owners as present"):
        COMPONENT.open_result(run.step, one_missing)
    lied = Totals(totals.present[:-1], totals.cells).encode()
    with pytest.raises(JobFailed, match="different owners as present"):
        COMPONENT.open_result(run.step, released | {"aggregator": lied})
    for cells in (
        totals.cells[:-1],
        (("4", "80"), *totals.cells[1:]),
        (("1", "1", "0", "0"), *totals.cells[1:]),
    ):
        with pytest.raises(JobFailed, match="other figures"):
            COMPONENT.open_result(run.step, released | {"aggregator": Totals(totals.present, cells).encode()})
    with pytest.raises(InvalidRequest):
        Totals.decode(Totals(totals.present, (("many",),)).encode())


@pytest.mark.parametrize(
    ("at", "params"),
    [
        ("threshold", {"threshold": 2}),
        ("threshold", {"threshold": 5}),
        ("threshold", {"threshold": True}),
        ("min_cohort", {"min_cohort": 1}),
        ("patience_s", {"patience_s": 0}),
        ("patience_s", {"patience_s": 601}),
        ("groups.column", {"groups": {"column": "income", "labels": ["a"]}}),
        ("groups.labels", {"groups": {"column": "band", "labels": []}}),
        ("groups.labels", {"groups": {"column": "band", "labels": ["a", "a"]}}),
        ("groups.labels", {"groups": {"column": "band", "labels": ["(other)"]}}),
        ("groups", {"groups": ["band"]}),
        ("privacy", {"privacy": {}}),
    ],
    ids=str,
)
def test_parameters_are_refused_by_name(at: str, params: dict[str, Any]) -> None:
    with pytest.raises(InvalidRequest, match=rf"params\.{at}"):
        step_of(**params)


def test_more_than_half_of_many_owners_stay() -> None:
    with pytest.raises(InvalidRequest, match="4 to 7"):
        step_of(7, threshold=3)
    assert COMPONENT.survives(step_of(7, threshold=4)) == {
        "parties": [f"did:key:zowner-{number}" for number in range(1, 8)],
        "threshold": 4,
    }


def test_a_submission_that_states_other_absences_is_refused() -> None:
    step, registry = step_of(), built_in()
    spec = replace(spec_of(example_spec()["steps"][0]), steps=(step,))
    stated = {"parties": [f"did:key:zowner-{number}" for number in range(1, 5)], "threshold": 3}
    assert registry.summary(spec)[0]["absences"] == stated
    assert all("absences" not in one for one in registry.summary(JobSpec.from_json(example_spec())))
    now, state = datetime(2026, 11, 26, tzinfo=UTC), State()
    for absences in ({}, {"absences": stated | {"threshold": 4}}):
        row = draft_row(spec, ANALYST)
        row["steps"] = [{**row["steps"][0], **absences}]
        found = decide(spec.encode(), row, state, "did:key:zowner-1", registry, now)
        assert [reason.code for reason in found.reasons] == ["job.spec-mismatch"]


@pytest.mark.parametrize("owners", [2, 31])
def test_three_to_thirty_owners_take_part(owners: int) -> None:
    with pytest.raises(InvalidRequest, match="3 to 30"):
        step_of(owners, threshold=max(3, owners // 2 + 1) if owners < 31 else 16)


def test_each_column_is_named_once() -> None:
    with pytest.raises(InvalidRequest, match="each column once"):
        step_of(columns=("debt", "debt"))


def test_figures_by_group_are_what_the_owner_allows() -> None:
    uses = [use for use in COMPONENT.uses(step_of()) if use.asset == "owner-2/t"]
    allowed = {"band": {"*": "AFTER_GROUP_BY"}, "debt": {"*": "AFTER_AGGREGATE"}}
    column_control.check(uses, allowed)
    with pytest.raises(ColumnControlExceeded):
        column_control.check(uses, allowed | {"band": {"*": "ENCRYPTED_ONLY"}})


@given(st.lists(st.lists(st.integers(-(2**126), 2**126), min_size=2, max_size=2), min_size=1, max_size=30))
def test_words_add_up_as_the_figures_do(figures: list[list[int]]) -> None:
    words = np.sum([to_words(one) for one in figures], axis=0, dtype=np.uint64)
    assert from_words(words) == [sum(column) for column in zip(*figures, strict=True)]


def test_the_estimate_states_what_is_sent() -> None:
    step = step_of()
    run = Run(step, {number: table_of(number) for number in range(1, OWNERS + 1)})
    assert COMPONENT.estimate is not None
    estimates = COMPONENT.estimate(step, dict.fromkeys(step.inputs, 35))
    assert isinstance(run.ends["aggregator"], Outcome)
    for number, (aggregator, owner) in run.pairs.items():
        found = estimates[f"owner-{number}"]
        assert (found.sent_bytes, found.received_bytes) == (
            owner.stats.bytes_sent,
            owner.stats.bytes_received,
        )
        assert found.rounds == owner.stats.rounds == secagg.rounds("owner")
        assert estimates["aggregator"].sent_bytes == OWNERS * aggregator.stats.bytes_sent
