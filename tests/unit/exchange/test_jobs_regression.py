"""Regression as steps of a job: coefficients for those who may have them, bad input refused, costs known."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from exchange.errors import InvalidRequest, JobFailed
from exchange.jobs.component import StepContext
from exchange.jobs.intersection import rows_of
from exchange.jobs.regression import part
from exchange.jobs.regression.component import LINEAR, LOGISTIC, POISSON
from exchange.jobs.regression.held_out import HeldOut
from exchange.jobs.regression.part import ModelPart
from exchange.jobs.spec import JobSpec, Step
from exchange.jobs.testing import JOB, nothing_lent
from ledger import canonical
from mpc.channel import Channel
from mpc.errors import CohortTooSmall, InputsDisagree, MalformedMessage, MpcError, ValueOutOfRange
from mpc.mesh import Mesh
from mpc.randomness import SystemRandomness
from mpc.testing import mesh_of, mesh_outcomes, run_mesh
from policies.column_control import Level

Table = Mapping[str, Any]
RNG = np.random.default_rng(7)
ROWS = 400
INCOME, AGE, DEBT = RNG.normal(3000, 900, ROWS), RNG.integers(18, 80, ROWS), RNG.normal(0, 1e6, ROWS)
FITTED = (INCOME - 3000) / 900 - (AGE - 49) / 18 + DEBT / 2e6
FIRST: Table = {
    "default": (RNG.random(ROWS) < 1 / (1 + np.exp(-FITTED))).astype(np.int64),
    "loss": FITTED * 50 + 20 + RNG.normal(size=ROWS),
    "claims": np.random.default_rng(5).poisson(4 * np.exp(FITTED / 4)),
    "income": INCOME,
}
COMPONENTS = {one.name: one for one in (LINEAR, LOGISTIC, POISSON)}
LABELS = {"model/linear": "loss", "model/logistic": "default", "model/poisson": "claims"}
SECOND: Table = {"age": AGE, "debt": DEBT}
USED = {"owner-1": ("income",), "owner-2": ("age", "debt")}
RECIPIENT = "did:key:zAnalyst"
FAST = {"epochs": 3, "batch": 200}


def spec_of(
    params: dict[str, Any],
    component: str = "model/logistic",
    columns: Mapping[str, Sequence[str]] | None = None,
    recipients: Sequence[str] | None = None,
) -> JobSpec:
    label = LABELS[component]
    inputs = columns or {"owner-1": (label, *USED["owner-1"]), "owner-2": USED["owner-2"]}
    helper = ["helper-1"] if len(inputs) == 2 else []
    chosen = {"label": label, "coefficients": "recipients", "min_cohort": 20} | params
    if recipients is None:
        recipients = [RECIPIENT] if chosen["coefficients"] == "recipients" else []
    step: dict[str, Any] = {
        "id": "train",
        "component": component,
        "version": 1,
        "parties": {role: f"did:key:z{role}" for role in [*inputs, *helper]},
        "inputs": {
            role: {"asset": f"{role}/table", "columns": [{"name": name, "decimals": 0} for name in names]}
            for role, names in inputs.items()
        },
        "after": ["match"],
        "params": chosen,
        "recipients": list(recipients),
    }
    match = step | {"id": "match", "component": "psi/ecdh", "after": [], "recipients": []}
    return JobSpec.from_json(
        {"v": 1, "job": JOB, "title": "t", "purpose": "p", "agreements": {}, "steps": [match, step]}
    )


def checked(params: dict[str, Any], component: str = "model/logistic", **more: Any) -> JobSpec:
    spec = spec_of(params, component, **more)
    declared = COMPONENTS[component]
    declared.check(spec, spec.step("train"))
    declared.uses(spec.step("train"))
    return spec


def play(
    spec: JobSpec,
    tables: Sequence[Table] = (FIRST, SECOND),
    rows: Mapping[str, Any] | None = None,
    told: list[Any] | None = None,
) -> Any:
    """The roles of the step, each to be called with its mesh."""
    step = spec.step("train")
    ranks = LOGISTIC.ranks(step)

    def role(mesh: Mesh) -> Any:
        own = ranks[mesh.rank]
        table = tables[mesh.rank] if mesh.rank < len(tables) else {}
        aligned = np.asarray((rows or {}).get(own, np.arange(ROWS)))

        def read(name: str) -> Any:
            return iter([pa.record_batch([pa.array(table[name])], names=[name])])

        def channel(other: str) -> Channel:
            return mesh.channels[ranks.index(other)]

        def progress(done: int, total: int) -> None:
            if told is not None:
                told.append((own, done, total))

        context = StepContext(
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
            progress=progress,
            hand_over=nothing_lent(),
        )
        outcome = COMPONENTS[step.component].run(context)
        return outcome, sum(one.stats.bytes_sent for one in mesh.channels.values())

    return [role] * len(ranks)


def expected(table: Table, other: Table, label: str) -> Any:
    """Coefficients on pooled rows, of standardised columns, the intercept first."""
    columns = [np.asarray(one, dtype=float) for one in (table["income"], other["age"], other["debt"])]
    x = np.vstack([np.ones(ROWS), *((one - one.mean()) / one.std() for one in columns)])
    y = np.asarray(table[label], dtype=float)
    if label == "loss":
        return np.linalg.lstsq(x.T, (y - y.mean()) / y.std(), rcond=None)[0]
    w = np.zeros(len(x))
    for _ in range(30):
        if label == "claims":
            mean = variance = np.exp(w @ x) * y.mean()
        else:
            mean = 1 / (1 + np.exp(-w @ x))
            variance = mean * (1 - mean)
        w -= np.linalg.solve((x * variance) @ x.T, x @ (mean - y))
    return w


def opened(spec: JobSpec, outcomes: Sequence[Any]) -> Any:
    step = spec.step("train")
    assert LOGISTIC.open_result is not None
    releases = {role: one.release for role, (one, _) in zip(LOGISTIC.ranks(step), outcomes, strict=True)}
    return LOGISTIC.open_result(step, releases)


@pytest.mark.parametrize(("component", "label"), list(LABELS.items()))
def test_recipients_read_all_coefficients_and_no_owner_any(component: str, label: str) -> None:
    params = {"epochs": 120, "batch": 400, "rate_micro": 300_000, "loss": "owners"}
    told: list[Any] = []
    spec = checked(params, component)
    outcomes = run_mesh(play(spec, told=told))
    table = opened(spec, outcomes)
    assert [row[:2] for row in table.rows] == [
        ("owner-1", "(intercept)"),
        ("owner-1", "income"),
        ("owner-2", "age"),
        ("owner-2", "debt"),
    ]
    got = [float(row[2]) for row in table.rows]
    np.testing.assert_allclose(got, expected(FIRST, SECOND, label), atol=0.03)
    assert table.facts["epochs"] == 120
    assert len(table.facts["losses"]) == 120
    assert float(table.facts["losses"][-1]) < float(table.facts["losses"][0])
    assert all(outcome.local == b"" for outcome, _ in outcomes)
    assert all(outcome.cohort == ROWS for outcome, _ in outcomes)
    assert [one for one in told if one[0] == "helper-1"] == [("helper-1", n, 120) for n in range(1, 121)]


def errors_of(component: str, coefficients: Any) -> Any:
    """Standard errors on pooled rows of given coefficients."""
    columns = [np.asarray(one, dtype=float) for one in (FIRST["income"], SECOND["age"], SECOND["debt"])]
    x = np.vstack([np.ones(ROWS), *((one - one.mean()) / one.std() for one in columns)])
    fitted = np.asarray(coefficients) @ x
    if component == "model/linear":
        residual = (FIRST["loss"] - FIRST["loss"].mean()) / FIRST["loss"].std() - fitted
        variance, scale = np.ones(ROWS), residual @ residual / (ROWS - len(x))
    elif component == "model/poisson":
        variance, scale = np.exp(fitted), 1 / FIRST["claims"].mean()
    else:
        chance = 1 / (1 + np.exp(-fitted))
        variance, scale = chance * (1 - chance), 1.0
    return np.sqrt(scale * np.diag(np.linalg.inv((x * variance) @ x.T)))


@pytest.mark.parametrize("component", list(COMPONENTS))
@pytest.mark.parametrize("coefficients", ["recipients", "split"])
def test_standard_errors_go_where_coefficients_go(component: str, coefficients: str) -> None:
    params = {"epochs": 20, "batch": 400, "rate_micro": 100_000, "standard_errors": "told"}
    spec = checked(params | {"coefficients": coefficients}, component, recipients=[RECIPIENT])
    outcomes = run_mesh(play(spec))
    table = opened(spec, outcomes)
    if coefficients == "recipients":
        assert table.columns == ("party", "column", "coefficient", "standard error")
        got, errors = ([float(row[place]) for row in table.rows] for place in (2, 3))
    else:
        assert table.columns == ("party", "column", "coefficient")
        assert [row[2] for row in table.rows] == [None] * 4
        first, second = (ModelPart.decode(outcome.local) for outcome, _ in outcomes[:2])
        got = [float(one) for one in (first.intercept, *first.coefficients, *second.coefficients)]
        errors = [float(one) for one in (*first.errors, *second.errors[1:])]
        assert second.errors[0] == "0"
    np.testing.assert_allclose(errors, errors_of(component, got), rtol=5e-3)


@pytest.mark.parametrize("more", [{"l2_micro": 1}, {"patience": 1, "test_percent": 20}])
def test_standard_errors_of_what_is_no_maximum_of_the_likelihood_are_refused(more: dict[str, int]) -> None:
    with pytest.raises(InvalidRequest, match="standard_errors: expected none with an l2_micro or a patience"):
        checked({"standard_errors": "told"} | more)


def test_of_a_split_model_each_owner_holds_its_own_columns_and_no_coefficient_is_released() -> None:
    spec = checked({"coefficients": "split", "epochs": 120, "batch": 400}, recipients=[RECIPIENT])
    outcomes = run_mesh(play(spec))
    (lender, _), (bureau, _), (helper, _) = outcomes
    assert lender.release == bureau.release == helper.release
    table = opened(spec, outcomes)
    assert [row[2] for row in table.rows] == [None] * 4
    assert table.facts == {"epochs": 120, "losses": []}
    assert helper.local == b""
    first, second = ModelPart.decode(lender.local), ModelPart.decode(bureau.local)
    assert (first.columns, second.columns) == (("income",), ("age", "debt"))
    assert second.intercept == "0"
    got = [float(one) for one in (first.intercept, *first.coefficients, *second.coefficients)]
    np.testing.assert_allclose(got, expected(FIRST, SECOND, "default"), atol=0.03)
    assert float(second.means[0]) == pytest.approx(AGE.mean())
    assert float(second.deviations[1]) == pytest.approx(DEBT.std())
    assert first.losses == ()


def test_the_label_holder_of_a_model_of_counts_keeps_their_mean() -> None:
    spec = checked({"coefficients": "split", "epochs": 120, "batch": 400}, "model/poisson")
    parts = [ModelPart.decode(outcome.local) for outcome, _ in run_mesh(play(spec))[:2]]
    assert (parts[0].label_mean, float(parts[0].label_deviation)) == ("0", FIRST["claims"].mean())
    assert (parts[1].label_mean, parts[1].label_deviation) == ("0", "1")
    got = [float(one) for one in (parts[0].intercept, *parts[0].coefficients, *parts[1].coefficients)]
    np.testing.assert_allclose(got, expected(FIRST, SECOND, "claims"), atol=0.01)


@pytest.mark.parametrize(("counts", "words"), [(-1, "400 of 400 values are below 0"), (0, "values are 0")])
def test_a_label_that_counts_nothing_is_refused(counts: int, words: str) -> None:
    table = {**FIRST, "claims": np.full(ROWS, counts)}
    spec = checked(FAST, "model/poisson")
    ended = mesh_outcomes(play(spec, (table, SECOND)), mesh_of(3, timeout_s=5))
    assert words in str(ended[0])
    assert all(isinstance(end, Exception) for end in ended)


def test_an_owner_reads_its_part_of_a_split_model() -> None:
    held = ModelPart(
        "logistic", ("income",), ("0.5",), ("3000",), ("900",), "-0.25", "0", "1", 7, (), HeldOut("0", 0)
    )
    trained = checked(FAST).step("train")
    reader = Step("read", "model/part", 1, {"reader": "did:key:zMe"}, {}, ("train",), {}, ())
    context = StepContext(
        step=reader,
        role="reader",
        ranks=("reader",),
        session=b"s",
        minimum_cohort=2,
        read=lambda name: iter(()),
        channel=lambda role: pytest.fail(role),
        before={"train": trained},
        earlier={"train": held.encode()},
        released={},
        rng=SystemRandomness(),
        progress=lambda done, total: None,
        hand_over=nothing_lent(),
    )
    outcome = part.COMPONENT.run(context)
    assert outcome.release is None
    shown: Any = canonical.decode(outcome.files["result.json"])
    assert shown["rows"] == [["income", "0.5", "3000", "900"]]
    assert shown["facts"]["intercept"] == "-0.25"


def test_shares_of_one_party_alone_are_noise_and_all_are_needed() -> None:
    spec = checked(FAST)
    step = spec.step("train")
    first, second = (
        {role: one.release for role, (one, _) in zip(LOGISTIC.ranks(step), run_mesh(play(spec)), strict=True)}
        for _ in range(2)
    )
    assert LOGISTIC.open_result is not None
    for role in first:
        assert first[role] != second[role]
        with pytest.raises(JobFailed, match="one run"):
            LOGISTIC.open_result(step, first | {role: second[role]})
        with pytest.raises(JobFailed, match="3 parties"):
            LOGISTIC.open_result(step, {name: one for name, one in first.items() if name != role})
        for bad in (first[role][:-1], first[role] + b"\0"):
            with pytest.raises(MalformedMessage):
                LOGISTIC.open_result(step, first | {role: bad})


@pytest.mark.parametrize(
    ("change", "error", "words"),
    [
        ({"default": np.arange(ROWS) % 3}, ValueOutOfRange, "label default: 133 of 400 values are neither"),
        ({"default": np.zeros(ROWS, np.int64)}, MpcError, "label default: all 400 values are of one class"),
        ({"income": np.full(ROWS, 5.0)}, MpcError, "column income: all 400 values are equal"),
        ({"income": np.where(np.arange(ROWS) == 3, np.nan, INCOME)}, Exception, "income"),
        ({"income": np.where(np.arange(ROWS) == 3, np.inf, INCOME)}, Exception, "income"),
    ],
)
def test_bad_rows_end_the_step_for_all_before_anything_is_released(
    change: dict[str, Any], error: type[Exception], words: str
) -> None:
    ended = mesh_outcomes(play(checked(FAST), ({**FIRST, **change}, SECOND)), mesh_of(3, timeout_s=5))
    assert isinstance(ended[0], error)
    assert words in str(ended[0])
    assert all(isinstance(end, Exception) for end in ended)


def test_misaligned_and_too_few_rows_end_the_step() -> None:
    ended = mesh_outcomes(play(checked(FAST), rows={"owner-2": np.arange(50)}))
    assert any(isinstance(end, InputsDisagree) for end in ended)
    assert all(isinstance(end, Exception) for end in ended)
    few = {"owner-1": np.arange(39), "owner-2": np.arange(39)}
    assert all(isinstance(end, CohortTooSmall) for end in mesh_outcomes(play(checked(FAST), rows=few)))
    wanted = mesh_outcomes(play(checked(FAST | {"min_cohort": 500})))
    assert all(isinstance(end, CohortTooSmall) for end in wanted)


@pytest.mark.parametrize(
    ("params", "more", "words"),
    [
        ({"label": "age"}, {}, "one of owner-1's default, income"),
        ({}, {"recipients": []}, "who receives the coefficients"),
        ({"coefficients": "all"}, {}, "one of split, recipients"),
        ({"epochs": 0}, {}, "1 to 1000"),
        ({"rate_micro": 3_000_000}, {}, "10000 to 2000000"),
        ({"loss": "everybody"}, {}, "one of hidden, owners"),
        ({"patience": 101, "test_percent": 20}, {}, "0 to 100"),
        ({"patience": 2}, {}, "0 where test_percent is 0"),
    ],
)
def test_steps_that_make_no_sense_are_refused_by_field(
    params: dict[str, Any], more: dict[str, Any], words: str
) -> None:
    with pytest.raises(InvalidRequest) as caught:
        checked(params, **more)
    assert words in str(caught.value), str(caught.value)


def test_a_helper_is_for_two_owners_and_three_need_none() -> None:
    third = {"owner-1": ("default", "income"), "owner-2": ("age",), "owner-3": ("debt",)}
    spec = checked(FAST, columns=third)
    outcomes = run_mesh(play(spec, (FIRST, {"age": AGE}, {"debt": DEBT})))
    assert [row[0] for row in opened(spec, outcomes).rows] == ["owner-1", "owner-1", "owner-2", "owner-3"]


@pytest.mark.parametrize(
    ("coefficients", "held", "patience", "errors"),
    [
        ("split", 0, 0, "told"),
        ("split", 25, 0, "none"),
        ("recipients", 0, 0, "told"),
        ("recipients", 25, 3, "none"),
    ],
)
@pytest.mark.parametrize("component", COMPONENTS.values(), ids=lambda one: str(one.name))
def test_the_estimate_is_what_a_run_sends(
    component: Any, coefficients: str, held: int, patience: int, errors: str
) -> None:
    params = {"coefficients": coefficients, "rate_micro": 100_000, "test_percent": held}
    params |= {"patience": patience, "standard_errors": errors}
    spec = checked(FAST | params, component.name)
    step = spec.step("train")
    outcomes = run_mesh(play(spec))
    estimate = component.estimate(step, {"owner-1": ROWS, "owner-2": ROWS})
    for role, (_, sent) in zip(component.ranks(step), outcomes, strict=True):
        assert sent == estimate[role].sent_bytes


def test_column_control_sees_a_fit_for_recipients_or_for_the_owners() -> None:
    for coefficients, viewers in (
        ("recipients", {RECIPIENT}),
        ("split", {"did:key:zowner-1", "did:key:zowner-2"}),
    ):
        uses = LOGISTIC.uses(checked({"coefficients": coefficients}).step("train"))
        assert {use.viewer for use in uses} - {""} >= viewers - {""}
        shown = [use for use in uses if use.viewer]
        assert {use.column for use in shown} == {"default", "income", "age", "debt"}
        assert all(Level.AFTER_AGGREGATE in use.after for use in shown)


def test_a_model_is_trained_without_the_rows_held_out_and_its_owners_agree_on_them() -> None:
    spec = checked({"coefficients": "split", "epochs": 160, "batch": 400, "test_percent": 30})
    outcomes = [outcome for outcome, _ in run_mesh(play(spec))]
    assert outcomes[0].cohort == 280
    first, second = (ModelPart.decode(one.local) for one in outcomes[:2])
    assert first.held_out == second.held_out
    assert first.held_out.percent == 30
    kept, held = first.held_out.train(ROWS), first.held_out.test(ROWS)
    assert sorted([*kept, *held]) == list(range(ROWS))
    assert len(held) == 120
    assert outcomes[0].rows.tolist() == kept.tolist()
    assert kept.tolist() != sorted(kept)
    assert float(second.means[0]) == pytest.approx(AGE[kept].mean())
    few = {"owner-1": np.arange(50), "owner-2": np.arange(50)}
    ended = mesh_outcomes(play(checked({"test_percent": 30}), rows=few))
    assert all(isinstance(end, CohortTooSmall) for end in ended)


def test_rows_are_those_that_the_intersection_aligned() -> None:
    swapped = RNG.permutation(ROWS)
    tables = (FIRST, {name: np.asarray(values)[swapped] for name, values in SECOND.items()})
    back = np.argsort(swapped)
    assert rows_of(back.astype("<i8").tobytes()).tolist() == back.tolist()
    spec = checked({"epochs": 120, "batch": 400})
    table = opened(spec, run_mesh(play(spec, tables, rows={"owner-2": back})))
    got = [float(row[2]) for row in table.rows]
    np.testing.assert_allclose(got, expected(FIRST, SECOND, "default"), atol=0.03)


@pytest.mark.parametrize("component", list(COMPONENTS))
def test_training_ends_early_on_the_rows_held_out_and_says_after_how_many_epochs(component: str) -> None:
    params = {"coefficients": "split", "epochs": 200, "test_percent": 30, "patience": 4, "batch": 100}
    spec = checked(params | {"rate_micro": 100_000}, component, recipients=[RECIPIENT])
    outcomes = run_mesh(play(spec))
    facts = opened(spec, outcomes).facts
    assert 4 < facts["epochs"] < 200
    parts = [ModelPart.decode(outcome.local) for outcome, _ in outcomes[:2]]
    assert {part.epochs for part in parts} == {facts["epochs"]}
    assert outcomes[0][0].cohort == 280
    label = LABELS[component]
    got = [float(one) for one in (parts[0].intercept, *parts[0].coefficients, *parts[1].coefficients)]
    np.testing.assert_allclose(got, expected(FIRST, SECOND, label), atol=0.3)


def test_bad_rows_among_those_held_out_end_the_step_before_anything_is_shared() -> None:
    params = FAST | {"test_percent": 30, "patience": 2}
    spec = checked(params)
    (place, *_) = HeldOut.of(mesh_of(3)[0].session, spec.step("train")).test(ROWS)
    for name, bad, words in (("default", 2, "label default: 1 of 120"), ("income", 1e9, "1 of 400 values")):
        table = {**FIRST, name: np.where(np.arange(ROWS) == place, bad, FIRST[name])}
        ended = mesh_outcomes(play(spec, (table, SECOND)), mesh_of(3, timeout_s=5))
        assert isinstance(ended[0], ValueOutOfRange)
        assert words in str(ended[0])
        assert all(isinstance(end, Exception) for end in ended)


def test_a_patience_needs_as_many_rows_held_out_as_an_owner_asks_for() -> None:
    spec = checked(FAST | {"test_percent": 10, "patience": 2, "min_cohort": 41})
    assert all(isinstance(end, CohortTooSmall) for end in mesh_outcomes(play(spec)))
    run_mesh(play(checked(FAST | {"test_percent": 10, "patience": 2, "min_cohort": 40})))
