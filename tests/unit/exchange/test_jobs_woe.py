"""Weight of evidence as a step of a job: each owner's own bins, bad input refused, costs known."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import date
from decimal import Decimal
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from exchange.errors import InvalidRequest, JobFailed
from exchange.jobs.component import StepContext
from exchange.jobs.scorecard import reader
from exchange.jobs.scorecard.columns import fine_bins, read_column
from exchange.jobs.scorecard.tables import BinnedColumn, OwnBins, binned
from exchange.jobs.scorecard.woe import COMPONENT
from exchange.jobs.spec import JobSpec, Step
from exchange.jobs.testing import JOB, nothing_lent
from ledger import canonical
from mpc.channel import Channel
from mpc.errors import CohortTooSmall, InputsDisagree, InvalidInput, ValueOutOfRange
from mpc.mesh import Mesh
from mpc.randomness import SystemRandomness
from mpc.testing import mesh_of, mesh_outcomes, run_mesh
from policies.column_control import Level

Table = Mapping[str, Any]
RNG = np.random.default_rng(8)
ROWS = 600
AGE, INCOME = RNG.integers(18, 80, ROWS), RNG.normal(3000, 900, ROWS)
DEBT = np.where(RNG.random(ROWS) < 0.1, np.nan, RNG.normal(0, 1e6, ROWS))
REGION = np.array(["north", "south", "west", "isle"])[RNG.choice(4, ROWS, p=[0.4, 0.3, 0.27, 0.03])]
LATE = (
    RNG.random(ROWS)
    < 1 / (1 + np.exp(1.2 + (INCOME - 3000) / 900 + (AGE - 49) / 18 - 0.8 * (REGION == "south")))
).astype(np.int64)
FIRST: Table = {"late": LATE, "income": INCOME}
SECOND: Table = {"age": AGE, "debt": DEBT, "region": REGION}
RECIPIENT = "did:key:zAnalyst"
COLUMNS = {"owner-1": ("late", "income"), "owner-2": ("age", "debt", "region")}


def spec_of(
    params: dict[str, Any],
    columns: Mapping[str, Sequence[str]] = COLUMNS,
    recipients: Sequence[str] | None = None,
) -> JobSpec:
    helper = ["helper-1"] if len(columns) == 2 else []
    chosen = {"label": "late", "iv": "recipients", "min_cohort": 20, "bins": 8} | params
    if recipients is None:
        recipients = [RECIPIENT] if chosen["iv"] == "recipients" else []
    step: dict[str, Any] = {
        "id": "bins",
        "component": "model/woe",
        "version": 1,
        "parties": {role: f"did:key:z{role}" for role in [*columns, *helper]},
        "inputs": {
            role: {"asset": f"{role}/table", "columns": [{"name": name, "decimals": 0} for name in names]}
            for role, names in columns.items()
        },
        "after": ["match"],
        "params": chosen,
        "recipients": list(recipients),
    }
    match = step | {"id": "match", "component": "psi/ecdh", "after": [], "recipients": []}
    return JobSpec.from_json(
        {"v": 1, "job": JOB, "title": "t", "purpose": "p", "agreements": {}, "steps": [match, step]}
    )


def checked(params: dict[str, Any], **more: Any) -> JobSpec:
    spec = spec_of(params, **more)
    COMPONENT.check(spec, spec.step("bins"))
    COMPONENT.uses(spec.step("bins"))
    return spec


def play(
    spec: JobSpec, tables: Sequence[Table] = (FIRST, SECOND), rows: Mapping[str, Any] | None = None
) -> Any:
    """The roles of the step, each to be called with its mesh."""
    step = spec.step("bins")
    ranks = COMPONENT.ranks(step)

    def role(mesh: Mesh) -> Any:
        own = ranks[mesh.rank]
        table = tables[mesh.rank] if mesh.rank < len(tables) else {}
        aligned = np.asarray((rows or {}).get(own, np.arange(ROWS)))

        def read(name: str) -> Any:
            values = pa.array(table[name], from_pandas=True)
            return iter([pa.record_batch([values], names=[name])])

        def channel(other: str) -> Channel:
            return mesh.channels[ranks.index(other)]

        outcome = COMPONENT.run(
            StepContext(
                step=step,
                role=own,
                ranks=ranks,
                session=mesh.session,
                minimum_cohort=2,
                read=read,
                channel=channel,
                before={},
                earlier={"match": aligned.astype("<i8").tobytes()} if table else {},
                released={},
                rng=SystemRandomness(),
                progress=lambda done, total: None,
                hand_over=nothing_lent(),
            )
        )
        return outcome, sum(one.stats.bytes_sent for one in mesh.channels.values())

    return [role] * len(ranks)


def owned(outcomes: Sequence[Any]) -> dict[str, BinnedColumn]:
    return {
        column.name: column
        for outcome, _ in outcomes
        if outcome.local
        for column in OwnBins.decode(outcome.local).columns
    }


def plain_bin(column: BinnedColumn, values: Any) -> Any:
    """Which bin each value is in, from the words of the bins alone."""
    if column.categories:
        places = {label: i for i, several in enumerate(column.categories) for label in several}
        return np.array([places[value] for value in values])
    alone = column.missing == "alone"
    edges = [float(edge) for edge in column.edges]
    return np.array([0 if np.isnan(v) else alone + sum(v >= edge for edge in edges) for v in values])


def check_figures(column: BinnedColumn, values: Any, label: Any) -> None:
    """Rows, events, weights and information value are those of the pooled rows."""
    codes = plain_bin(column, values)
    rows, events = np.bincount(codes), np.bincount(codes[label == 1])
    assert (list(column.rows), list(column.events)) == (rows.tolist(), events.tolist())
    others = rows - events
    woe = np.log((others / others.sum()) / (events / events.sum()))
    iv = ((others / others.sum() - events / events.sum()) * woe).sum()
    np.testing.assert_allclose([float(one) for one in column.woe], woe, atol=1e-6)
    assert float(column.iv) == pytest.approx(iv, abs=1e-6)


@pytest.mark.parametrize("merge", ["monotone", "optimal", "chi-square", "none"])
def test_each_owner_holds_the_figures_of_pooled_rows_of_its_own_columns(merge: str) -> None:
    outcomes = run_mesh(play(checked({"merge": merge, "min_events": 6, "final_bins": 4})))
    columns = owned(outcomes)
    assert list(columns) == ["income", "age", "debt", "region"]
    for name, values in {**FIRST, **SECOND}.items():
        if name != "late":
            check_figures(columns[name], values, LATE)
    for column in columns.values():
        assert min(column.rows) >= 20
        assert min(column.events) >= 6
        assert min(r - e for r, e in zip(column.rows, column.events, strict=True)) >= 6
    assert columns["debt"].missing == "alone"
    assert "isle" in {label for several in columns["region"].categories for label in several}
    numbers = [len(columns[name].edges) + 1 for name in ("income", "age", "debt")]
    assert max(numbers) <= (8 if merge == "none" else 4)
    if merge in ("monotone", "optimal"):
        woe = [float(one) for one in columns["age"].woe]
        assert woe == sorted(woe) or woe == sorted(woe, reverse=True)


def test_recipients_read_information_values_and_only_where_the_step_says_so() -> None:
    spec = checked({})
    outcomes = run_mesh(play(spec))
    assert COMPONENT.open_result is not None
    released = {"owner-1": outcomes[0][0].release, "owner-2": outcomes[1][0].release}
    table = COMPONENT.open_result(spec.step("bins"), released)
    columns = owned(outcomes)
    assert table.columns == ("party", "column", "iv")
    assert [row[:2] for row in table.rows] == [
        ("owner-1", "income"),
        ("owner-2", "age"),
        ("owner-2", "debt"),
        ("owner-2", "region"),
    ]
    assert [row[2] for row in table.rows] == [columns[str(row[1])].iv for row in table.rows]
    assert outcomes[2][0].release is None
    assert outcomes[2][0].local == b""
    with pytest.raises(JobFailed, match="2 owners"):
        COMPONENT.open_result(spec.step("bins"), {"owner-1": released["owner-1"]})
    with pytest.raises(JobFailed, match="other columns"):
        COMPONENT.open_result(spec.step("bins"), dict.fromkeys(released, released["owner-1"]))
    split = run_mesh(play(checked({"iv": "split"}, recipients=[RECIPIENT])))
    told = {"owner-1": split[0][0].release, "owner-2": split[1][0].release}
    shown = COMPONENT.open_result(spec_of({"iv": "split"}).step("bins"), told)
    assert [row[2] for row in shown.rows] == [None] * 4
    assert all(column.iv.encode() not in one for column in columns.values() for one in told.values())
    assert owned(split) == columns


def test_given_edges_are_kept_and_three_owners_need_no_helper() -> None:
    columns = {"owner-1": ("late",), "owner-2": ("age",), "owner-3": ("debt", "region")}
    edges = {"owner-2.age": ["30", "45.5"], "owner-3.debt": ["0"]}
    spec = checked({"edges": edges, "merge": "none"}, columns=columns)
    found = owned(run_mesh(play(spec, ({"late": LATE}, {"age": AGE}, SECOND))))
    assert list(found) == ["age", "debt", "region"]
    assert found["age"].edges == ("30.0", "45.5")
    assert found["debt"].bins.names() == ["missing", "(-inf, 0)", "[0, inf)"]
    for name in found:
        check_figures(found[name], SECOND[name], LATE)


@pytest.mark.parametrize(
    ("values", "names"),
    [
        (pa.array([True, None, False]), ["missing", "false", "true"]),
        (pa.array(["b", None, "a"]).dictionary_encode(), ["missing", "a", "b"]),
        (pa.array([date(2024, 1, 2), None, date(2023, 1, 2)]), ["missing", "2023-01-02", "2024-01-02"]),
        (pa.array([Decimal("2.5"), None, Decimal("1")]), ["missing", "(-inf, 2.5)", "[2.5, inf)"]),
        (
            pa.array([2**60, None, -(2**60)]),
            ["missing", "(-inf, 1.15292150461e+18)", "[1.15292150461e+18, inf)"],
        ),
    ],
)
def test_columns_of_any_kind_have_bins(values: pa.Array, names: list[str]) -> None:
    """The row that is read twice and the one that is not read are those of the alignment."""
    batches = [pa.record_batch([values], names=["x"]), pa.record_batch([values], names=["x"])]
    column = read_column(lambda name: batches, "x", np.array([4, 0, 2, 0]))
    made = fine_bins(column, 2, None, 1)
    assert made.bins.names() == names
    assert made.codes.tolist() == [0, 2, 1, 2]
    assert made.rows.tolist() == [1, 1, 2]


def test_rows_are_those_that_the_intersection_aligned() -> None:
    swapped = RNG.permutation(ROWS)
    tables = (FIRST, {name: np.asarray(values)[swapped] for name, values in SECOND.items()})
    moved = owned(run_mesh(play(checked({}), tables, rows={"owner-2": np.argsort(swapped)})))
    assert moved == owned(run_mesh(play(checked({}))))


@pytest.mark.parametrize(
    ("change", "error", "words"),
    [
        ({"late": np.arange(ROWS) % 3}, ValueOutOfRange, "label late: 200 of 600 values are neither"),
        ({"late": np.zeros(ROWS, np.int64)}, InvalidInput, "label late: all 600 values are of one class"),
        (
            {"late": (np.arange(ROWS) < 3).astype(np.int64)},
            ValueOutOfRange,
            "label: expected 5 events and",
        ),
        ({"income": np.where(np.arange(ROWS) == 3, np.inf, INCOME)}, ValueOutOfRange, "income: 1 of 600"),
        ({"income": np.full(ROWS, np.nan)}, InvalidInput, "income: none of 600 rows has a value"),
        ({"income": [f"{n}" for n in range(300)] * 2}, InvalidInput, "income: expected at most 8 categories"),
        ({"income": [f"{n}" for n in range(ROWS * 2)]}, InvalidInput, "income: expected at most 1000"),
        ({"income": [[1]] * ROWS}, Exception, "income"),
    ],
)
def test_bad_rows_end_the_step_for_all(change: dict[str, Any], error: type[Exception], words: str) -> None:
    spec = checked({"min_cohort": 2})
    rows = {"owner-1": np.arange(len(next(iter(change.values()))))}
    rows["owner-2"] = np.arange(len(rows["owner-1"])) % ROWS
    label = {"late": np.resize(LATE, len(rows["owner-1"]))}
    ended = mesh_outcomes(play(spec, ({**FIRST, **label, **change}, SECOND), rows), mesh_of(3, timeout_s=5))
    assert isinstance(ended[0], error)
    assert words in str(ended[0])
    assert all(isinstance(end, Exception) for end in ended)


def test_misaligned_and_too_few_rows_end_the_step() -> None:
    ended = mesh_outcomes(play(checked({}), rows={"owner-2": np.arange(50)}))
    assert any(isinstance(end, InputsDisagree) for end in ended)
    assert all(isinstance(end, Exception) for end in ended)
    for params, rows in (
        ({}, 59),
        ({"min_cohort": 601}, ROWS),
        ({"min_cohort": 2}, 269),
        ({"min_events": 301}, ROWS),
    ):
        few = {"owner-1": np.arange(rows), "owner-2": np.arange(rows)}
        ended = mesh_outcomes(play(checked(params), rows=few))
        assert all(isinstance(end, CohortTooSmall) for end in ended), params


@pytest.mark.parametrize(
    ("params", "more", "words"),
    [
        ({"label": "age"}, {}, "one of owner-1's late, income"),
        ({}, {"recipients": []}, "who receives the information values"),
        ({"iv": "all"}, {}, "one of split, recipients"),
        ({"bins": 1}, {}, "2 to 127"),
        ({"merge": "tree"}, {}, "one of monotone, optimal, chi-square, none"),
        ({"edges": {"owner-2.late": ["1"]}}, {}, "owners and columns of the step"),
        ({"edges": {"owner-1.late": ["1"]}}, {}, "owners and columns of the step"),
        ({"edges": {"owner-2.age": ["1", "1"]}}, {}, "ascending order"),
        ({"edges": {"owner-2.age": ["old"]}}, {}, "params.edges.owner-2.age: expected decimal texts"),
        ({"edges": {"owner-2.age": "1"}}, {}, "a list of 1 to 126 decimal texts"),
        ({"edges": {"owner-2.age": ["1", "2", "3"]}, "bins": 3}, {}, "fewer edges than the 3 bins"),
        ({"edges": ["1"]}, {}, "an object of edges"),
    ],
)
def test_steps_that_make_no_sense_are_refused_by_field(
    params: dict[str, Any], more: dict[str, Any], words: str
) -> None:
    with pytest.raises(InvalidRequest) as caught:
        checked(params, **more)
    assert words in str(caught.value), str(caught.value)


@pytest.mark.parametrize(
    ("columns", "tables"),
    [
        (COLUMNS, (FIRST, SECOND)),
        (
            {"owner-1": ("late",), "owner-2": ("age",), "owner-3": ("debt",), "owner-4": ("region",)},
            (FIRST, SECOND, SECOND, SECOND),
        ),
    ],
)
def test_the_estimate_is_what_a_run_sends(columns: Mapping[str, Sequence[str]], tables: Any) -> None:
    spec = checked({}, columns=columns)
    step = spec.step("bins")
    outcomes = run_mesh(play(spec, tables))
    assert COMPONENT.estimate is not None
    estimate = COMPONENT.estimate(step, dict.fromkeys(columns, ROWS))
    for role, (_, sent) in zip(COMPONENT.ranks(step), outcomes, strict=True):
        assert sent == estimate[role].sent_bytes
    assert COMPONENT.estimate(step, dict.fromkeys(columns, 9)) == {}


def test_column_control_sees_that_owners_learn_events_by_their_own_bins() -> None:
    uses = COMPONENT.uses(checked({"iv": "split"}).step("bins"))
    shown = {(use.column, use.viewer) for use in uses if use.viewer}
    assert shown == {("late", "did:key:zowner-2")}
    assert all(Level.AFTER_AGGREGATE in use.after for use in uses if use.viewer)
    told = COMPONENT.uses(checked({}).step("bins"))
    assert {use.column for use in told if use.viewer == RECIPIENT} == {
        "late",
        "income",
        "age",
        "debt",
        "region",
    }


def test_an_owner_reads_its_own_bins() -> None:
    column = BinnedColumn(
        "age", ("30",), (), "alone", (20, 40, 40), (5, 5, 20), ("0.1", "0.2", "-0.3"), "0.4"
    )
    step = Step("read", "model/bins", 1, {"reader": "did:key:zMe"}, {}, ("bins",), {}, ())
    outcome = reader.COMPONENT.run(
        StepContext(
            step=step,
            role="reader",
            ranks=("reader",),
            session=b"s",
            minimum_cohort=2,
            read=lambda name: iter(()),
            channel=lambda role: pytest.fail(role),
            before={"bins": spec_of({}).step("bins")},
            earlier={"bins": OwnBins((column,)).encode()},
            released={},
            rng=SystemRandomness(),
            progress=lambda done, total: None,
            hand_over=nothing_lent(),
        )
    )
    assert outcome.release is None
    shown: Any = canonical.decode(outcome.files["result.json"])
    assert shown["rows"][:2] == [["age", "missing", 20, 5, "0.1"], ["age", "(-inf, 30)", 40, 5, "0.2"]]
    assert shown["facts"] == {"iv": {"age": "0.4"}}


@pytest.mark.parametrize(
    ("merge", "names"),
    [
        ("none", ["a or missing", "d", "b", "c"]),
        ("monotone", ["a or missing", "d", "b | c"]),
        ("optimal", ["a or missing", "d", "b | c"]),
        ("chi-square", ["a or missing", "d", "b | c"]),
    ],
)
def test_categories_are_joined_by_their_share_of_events_and_missing_values_stay_first(
    merge: str, names: list[str]
) -> None:
    labels = ["missing", *(name for name in "abcd" for _ in range(40 * (1 + ord(name) - ord("a"))))]
    values = pa.array([None if name == "missing" else name for name in labels])
    column = read_column(lambda name: [pa.record_batch([values], names=["x"])], "x", np.arange(len(labels)))
    fine = fine_bins(column, 4, None, 2)
    assert fine.bins.names() == ["a or missing", "b", "c", "d"]
    events = np.array([20, 60, 90, 8])
    made = binned(fine, np.ones(4, dtype=np.bool_), events, merge, 2)
    assert made.bins.names() == names
    assert list(made.rows)[:2] == [41, 160]
    assert list(made.events)[:2] == [20, 8]
