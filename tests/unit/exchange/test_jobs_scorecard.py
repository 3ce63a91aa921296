"""A scorecard as a step of a job: points for those who may have them, bad input refused, costs known."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from exchange.errors import InvalidRequest, JobFailed
from exchange.jobs.component import StepContext
from exchange.jobs.scorecard import reader
from exchange.jobs.scorecard.card import COMPONENT, scale_of
from exchange.jobs.scorecard.tables import BinnedColumn, OwnBins, OwnCard, ScoredColumn, StatedScale
from exchange.jobs.spec import JobSpec, Step
from exchange.jobs.testing import JOB, nothing_lent
from federated.scorecard import Scale
from federated.woe import information_value, weights_of_evidence
from ledger import canonical
from mpc.channel import Channel
from mpc.errors import InvalidInput
from mpc.mesh import Mesh
from mpc.randomness import SystemRandomness
from mpc.testing import mesh_of, mesh_outcomes, run_mesh
from policies.column_control import Level

Table = Mapping[str, Any]
RNG = np.random.default_rng(18)
ROWS = 450
AGE, INCOME = RNG.integers(18, 80, ROWS), RNG.normal(3000, 900, ROWS)
REGION = np.array(["north", "south", "west"])[RNG.integers(0, 3, ROWS)]
LATE = (RNG.random(ROWS) < 1 / (1 + np.exp(1 + (INCOME - 3000) / 700 + (AGE - 49) / 20))).astype(np.int64)
FIRST: Table = {"late": LATE, "income": INCOME}
SECOND: Table = {"age": AGE, "region": REGION}
EDGES = {"income": (2400.0, 3600.0), "age": (30.0, 45.0, 60.0)}
REGIONS = ("north", "south", "west")
RECIPIENT = "did:key:zAnalyst"
COLUMNS = {"owner-1": ("late", "income"), "owner-2": ("age", "region")}
FACTOR = 20 / math.log(2)


def codes_of(name: str) -> Any:
    if name == "region":
        return np.array([REGIONS.index(one) for one in REGION])
    return np.searchsorted(EDGES[name], {**FIRST, **SECOND}[name], side="right")


def binned(name: str) -> BinnedColumn:
    codes = codes_of(name)
    rows, events = np.bincount(codes), np.bincount(codes[LATE == 1])
    return BinnedColumn(
        name=name,
        edges=tuple(map(repr, EDGES.get(name, ()))),
        categories=tuple((one,) for one in REGIONS) if name == "region" else (),
        missing="nowhere",
        rows=tuple(rows.tolist()),
        events=tuple(events.tolist()),
        woe=tuple(f"{one:.12g}" for one in weights_of_evidence(events, rows - events)),
        iv=f"{information_value(events, rows - events):.12g}",
    )


BINS = {
    "owner-1": OwnBins((binned("income"),)).encode(),
    "owner-2": OwnBins((binned("region"), binned("age"))).encode(),
}


def _inputs(second: str = "owner-2", *names: str) -> dict[str, Any]:
    """What each owner reads, or other columns or another table of the second one."""
    given = {"owner-1": ("owner-1", COLUMNS["owner-1"]), "owner-2": (second, names or COLUMNS["owner-2"])}
    return {
        role: {"asset": f"{table}/table", "columns": [{"name": name, "decimals": 0} for name in several]}
        for role, (table, several) in given.items()
    }


def spec_of(params: dict[str, Any], **more: Any) -> JobSpec:
    chosen = {"label": "late", "coefficients": "recipients", "min_cohort": 20, "epochs": 80, "batch": 450}
    step: dict[str, Any] = {
        "id": "card",
        "component": "model/scorecard",
        "version": 1,
        "parties": {role: f"did:key:z{role}" for role in [*COLUMNS, "helper-1"]},
        "inputs": _inputs(),
        "after": ["match", "bins"],
        "params": chosen | params,
        "recipients": [RECIPIENT],
    }
    match = step | {"id": "match", "component": "psi/ecdh", "after": [], "recipients": []}
    made = {"label": "late", "iv": "split", "min_cohort": 20}
    bins = step | {"id": "bins", "component": "model/woe", "after": ["match"], "params": made}
    bins |= more.pop("bins", {})
    steps = [match, bins, step | more]
    return JobSpec.from_json(
        {"v": 1, "job": JOB, "title": "t", "purpose": "p", "agreements": {}, "steps": steps}
    )


def checked(params: dict[str, Any], **more: Any) -> JobSpec:
    spec = spec_of(params, **more)
    COMPONENT.check(spec, spec.step("card"))
    COMPONENT.uses(spec.step("card"))
    return spec


def play(
    spec: JobSpec, tables: Sequence[Table] = (FIRST, SECOND), rows: Mapping[str, Any] | None = None
) -> Any:
    """The roles of the step, each to be called with its mesh."""
    step = spec.step("card")
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
                before={name: spec.step(name) for name in step.after},
                earlier={"match": aligned.astype("<i8").tobytes(), "bins": BINS[own]} if table else {},
                released={},
                rng=SystemRandomness(),
                progress=lambda done, total: None,
                hand_over=nothing_lent(),
            )
        )
        return outcome, sum(one.stats.bytes_sent for one in mesh.channels.values())

    return [role] * len(ranks)


def opened(spec: JobSpec, outcomes: Sequence[Any]) -> Any:
    step = spec.step("card")
    assert COMPONENT.open_result is not None
    releases = {role: one.release for role, (one, _) in zip(COMPONENT.ranks(step), outcomes, strict=True)}
    return COMPONENT.open_result(step, releases)


def expected() -> tuple[float, dict[str, Any]]:
    """Base points and the points of each bin, from Newton's method on the pooled rows' weights."""
    names = ("income", "age", "region")
    weights = {name: np.array([float(one) for one in binned(name).woe]) for name in names}
    values = [weights[name][codes_of(name)] for name in names]
    x = np.vstack([np.ones(ROWS), *((one - one.mean()) / one.std() for one in values)])
    w = np.zeros(len(x))
    for _ in range(30):
        p = 1 / (1 + np.exp(-w @ x))
        w -= np.linalg.solve((x * (p * (1 - p))) @ x.T, x @ (p - LATE))
    points = {
        name: -FACTOR * coefficient * (weights[name] - own.mean()) / own.std()
        for name, own, coefficient in zip(names, values, w[1:], strict=True)
    }
    return 600 - FACTOR * (math.log(50) + w[0]), points


def test_recipients_read_the_points_of_pooled_rows_by_bin_and_no_owner_any() -> None:
    spec = checked({"points": "exact"})
    outcomes = run_mesh(play(spec))
    table = opened(spec, outcomes)
    base, points = expected()
    assert table.columns == ("party", "column", "bin", "woe", "points")
    assert table.rows[0][:2] == ("owner-1", "(base)")
    assert float(table.rows[0][4]) == pytest.approx(base, abs=1)
    for role, name in (("owner-1", "income"), ("owner-2", "age"), ("owner-2", "region")):
        found = [row for row in table.rows if row[:2] == (role, name)]
        assert [row[2] for row in found] == list(range(1, len(points[name]) + 1))
        assert [row[3] for row in found] == list(binned(name).woe)
        np.testing.assert_allclose([float(row[4]) for row in found], points[name], atol=1)
    assert table.facts["epochs"] == 80
    assert table.facts["scale"]["pdo"] == "20"
    assert all(outcome.local == b"" for outcome, _ in outcomes)
    assert not any(edge.encode() in one.release for one, _ in outcomes for edge in binned("age").edges)


def test_of_a_split_card_each_owner_holds_the_points_of_its_own_bins() -> None:
    spec = checked({"coefficients": "split"})
    outcomes = run_mesh(play(spec))
    (lender, _), (bureau, _), (helper, _) = outcomes
    assert lender.release == bureau.release == helper.release
    assert [row[4] for row in opened(spec, outcomes).rows] == [None] * 4
    assert helper.local == b""
    first, second = OwnCard.decode(lender.local), OwnCard.decode(bureau.local)
    base, points = expected()
    assert float(first.base) == pytest.approx(base, abs=1.5)
    assert second.base == "0"
    assert [column.binned.name for column in second.columns] == ["age", "region"]
    for column in (*first.columns, *second.columns):
        got = [float(one) for one in column.points]
        assert got == [round(one) for one in got]
        np.testing.assert_allclose(got, points[column.binned.name], atol=1.5)


def test_rows_outside_the_intersection_need_no_bin() -> None:
    """Here a category that has no bin, in a row that was not aligned."""
    table = {"age": np.append(AGE, 200), "region": np.append(REGION, "overseas")}
    spec = checked({"epochs": 2})
    run_mesh(play(spec, (FIRST, table)))
    rows = {"owner-1": np.arange(ROWS), "owner-2": np.arange(1, ROWS + 1)}
    ended = mesh_outcomes(play(spec, (FIRST, table), rows), mesh_of(3, timeout_s=5))
    assert isinstance(ended[1], InvalidInput)
    assert "column region: 1 of 450 rows have a category without a bin" in str(ended[1])
    assert all(isinstance(end, Exception) for end in ended)


def test_a_card_ends_early_on_the_rows_held_out() -> None:
    spec = checked({"points": "exact", "epochs": 200, "test_percent": 20, "patience": 3})
    table = opened(spec, run_mesh(play(spec)))
    assert 3 < table.facts["epochs"] < 200
    assert float(table.rows[0][4]) == pytest.approx(expected()[0], abs=30)


def test_a_release_of_other_columns_is_refused() -> None:
    spec = checked({"epochs": 2})
    outcomes = run_mesh(play(spec))
    turned = spec_of({}, inputs=_inputs("owner-2", "region", "age"))
    with pytest.raises(JobFailed, match="other columns"):
        opened(turned, outcomes)


@pytest.mark.parametrize(
    ("params", "more", "words"),
    [
        ({"label": "age"}, {}, "one of owner-1's late, income"),
        ({"coefficients": "all"}, {}, "one of split, recipients"),
        ({"pdo": 0}, {}, "1 to 1000"),
        ({"points": "half"}, {}, "one of whole, exact"),
        ({"lowest": 900}, {}, "params.highest: expected more than 900, got 850"),
        ({}, {"recipients": []}, "who receives the coefficients"),
        ({}, {"after": ["match"]}, "the step that aligned the rows, then model/woe"),
        ({}, {"after": ["bins", "match"]}, "another order"),
        ({}, {"bins": {"inputs": _inputs("owner-2", "age")}}, "columns of step bins"),
        ({}, {"bins": {"inputs": _inputs("elsewhere", "age", "region")}}, "columns of step bins"),
        ({}, {"bins": {"params": {"label": "income"}}}, "params.label: expected that of step bins"),
        ({}, {"bins": {"parties": {"owner-1": "did:key:zx", "owner-2": "did:key:zy"}}}, "as in step bins"),
    ],
)
def test_steps_that_make_no_sense_are_refused_by_field(
    params: dict[str, Any], more: dict[str, Any], words: str
) -> None:
    with pytest.raises(InvalidRequest) as caught:
        checked(params, **more)
    assert words in str(caught.value), str(caught.value)


@pytest.mark.parametrize("coefficients", ["split", "recipients"])
def test_the_estimate_is_what_a_run_sends(coefficients: str) -> None:
    spec = checked({"coefficients": coefficients, "epochs": 2})
    step = spec.step("card")
    assert COMPONENT.estimate is not None
    estimate = COMPONENT.estimate(step, {"owner-1": ROWS, "owner-2": ROWS})
    for role, (_, sent) in zip(COMPONENT.ranks(step), run_mesh(play(spec)), strict=True):
        assert sent == estimate[role].sent_bytes


def test_column_control_sees_a_fit_for_recipients_or_for_the_owners() -> None:
    for coefficients, viewers in (
        ("recipients", {RECIPIENT}),
        ("split", {"did:key:zowner-1", "did:key:zowner-2", RECIPIENT}),
    ):
        shown = [u for u in COMPONENT.uses(checked({"coefficients": coefficients}).step("card")) if u.viewer]
        assert {use.viewer for use in shown} == viewers
        assert {use.column for use in shown} == {"late", "income", "age", "region"}
        assert all(Level.AFTER_AGGREGATE in use.after for use in shown)


def test_the_scale_has_defaults() -> None:
    scale = scale_of(spec_of({"pdo": 40}).step("card"))
    assert (scale.pdo, scale.base_score, scale.base_odds, scale.is_whole) == (40, 600, 50, True)


@pytest.mark.parametrize(
    ("params", "who", "words"),
    [
        ({"coefficients": "recipients"}, "did:key:zowner-2", "params.coefficients: expected split"),
        ({"coefficients": "split"}, "did:key:zhelper-1", "parties.reader: expected an owner in step card"),
        ({"coefficients": "split"}, RECIPIENT, "parties.reader: expected an owner in step card"),
    ],
)
def test_points_are_read_by_an_owner_that_has_some(params: dict[str, Any], who: str, words: str) -> None:
    spec = checked(params)
    read = Step("read", "model/bins", 1, {"reader": who}, {}, ("card",), {}, ())
    whole = replace(spec, steps=(*spec.steps, read))
    with pytest.raises(InvalidRequest) as caught:
        reader.COMPONENT.check(whole, read)
    assert words in str(caught.value), str(caught.value)
    split = checked({"coefficients": "split"})
    own = replace(read, parties={"reader": "did:key:zowner-2"})
    reader.COMPONENT.check(replace(split, steps=(*split.steps, own)), own)


def test_an_owner_reads_the_points_of_its_own_bins() -> None:
    held = OwnCard((ScoredColumn(binned("income"), ("-12", "0", "9")),), "571", 7, StatedScale.of(Scale()))
    step = Step("read", "model/bins", 1, {"reader": "did:key:zMe"}, {}, ("card",), {}, ())
    outcome = reader.COMPONENT.run(
        StepContext(
            step=step,
            role="reader",
            ranks=("reader",),
            session=b"s",
            minimum_cohort=2,
            read=lambda name: iter(()),
            channel=lambda role: pytest.fail(role),
            before={"card": spec_of({}).step("card")},
            earlier={"card": held.encode()},
            released={},
            rng=SystemRandomness(),
            progress=lambda done, total: None,
            hand_over=nothing_lent(),
        )
    )
    shown: Any = canonical.decode(outcome.files["result.json"])
    assert shown["columns"] == ["column", "bin", "woe", "points"]
    assert [[row[1], row[3]] for row in shown["rows"]] == [
        ["(-inf, 2400)", "-12"],
        ["[2400, 3600)", "0"],
        ["[3600, inf)", "9"],
    ]
    assert shown["facts"] == {"base": "571", "epochs": 7}
