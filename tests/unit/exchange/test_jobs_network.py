"""Networks as steps of a job: weights and scores for those who may have them, bad input refused, costs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from exchange.errors import InvalidRequest, JobFailed
from exchange.jobs.component import Component, StepContext
from exchange.jobs.network.component import COMPONENT, settings_of
from exchange.jobs.network.part import NetworkPart
from exchange.jobs.registry import built_in
from exchange.jobs.regression import part
from exchange.jobs.regression.held_out import HeldOut
from exchange.jobs.scoring.network import COMPONENT as SCORE
from exchange.jobs.spec import JobSpec, Step
from exchange.jobs.testing import JOB, aligned_roles, nothing_lent
from federated.network import Settings, initial
from federated.vertical import Family, Layout
from ledger import canonical
from mpc.errors import CohortTooSmall, InputsDisagree, InvalidInput, MalformedMessage, ValueOutOfRange
from mpc.mesh import Mesh
from mpc.randomness import SystemRandomness
from mpc.testing import mesh_of, mesh_outcomes, run_mesh
from policies.column_control import Level

Table = Mapping[str, Any]
ROWS = 260
DRAW = np.random.default_rng(41)
INCOME, AGE, DEBT = DRAW.normal(3000, 900, ROWS), DRAW.integers(18, 80, ROWS), DRAW.normal(0, 1e6, ROWS)
FIRST: Table = {
    "default": ((INCOME > 3000) ^ (AGE > 49)).astype(np.int64),
    "loss": 20 + 5 * np.maximum(0, (INCOME - 3000) / 900) - 3 * np.maximum(0, (AGE - 49) / 18),
    "income": INCOME,
}
SECOND: Table = {"age": AGE, "debt": DEBT}
LABELS = {"logistic": "default", "linear": "loss"}
RECIPIENT = "did:key:zAnalyst"
SMALL = {"units": 3, "epochs": 2, "batch": 130}


def spec_of(
    params: Mapping[str, Any] | None = None,
    *,
    family: str = "logistic",
    columns: Mapping[str, Sequence[str]] | None = None,
    recipients: Sequence[str] | None = None,
    score: Mapping[str, Any] | None = None,
) -> JobSpec:
    """Match, train, score; ``score`` replaces fields of the last."""
    label = LABELS[family]
    inputs = columns or {"owner-1": (label, "income"), "owner-2": ("age", "debt")}
    owners = {role: f"did:key:z{role}" for role in inputs}
    helped = owners | ({"helper-1": "did:key:zHelper"} if len(inputs) == 2 else {})
    chosen = {"label": label, "family": family, "coefficients": "recipients", "min_cohort": 20, **SMALL}
    chosen |= params or {}
    if recipients is None:
        recipients = [RECIPIENT] if chosen["coefficients"] == "recipients" else []
    read = {
        role: {"asset": f"{role}/table", "columns": [{"name": name, "decimals": 0} for name in names]}
        for role, names in inputs.items()
    }
    steps: list[dict[str, Any]] = [
        {"id": "match", "component": "psi/ecdh", "parties": helped, "inputs": read},
        {
            "id": "train",
            "component": "model/network",
            "parties": helped,
            "inputs": read,
            "after": ["match"],
            "params": chosen,
            "recipients": list(recipients),
        },
        {
            "id": "score",
            "component": "model/score-network",
            "parties": helped,
            "inputs": read,
            "after": ["match", "train"],
            "params": {"min_cohort": 20},
            "recipients": [owners["owner-1"]],
            **(score or {}),
        },
    ]
    empty: dict[str, Any] = {"version": 1, "inputs": {}, "after": [], "params": {}, "recipients": []}
    return JobSpec.from_json(
        {
            "v": 1,
            "job": JOB,
            "title": "t",
            "purpose": "p",
            "agreements": {},
            "steps": [empty | step for step in steps],
        }
    )


def checked(params: Mapping[str, Any] | None = None, **more: Any) -> JobSpec:
    spec = spec_of(params, **more)
    COMPONENT.check(spec, spec.step("train"))
    COMPONENT.uses(spec.step("train"))
    return spec


def play(
    spec: JobSpec,
    step_id: str = "train",
    tables: Sequence[Table] = (FIRST, SECOND),
    rows: Mapping[str, Any] | None = None,
    *,
    parts: Sequence[bytes] = (),
    minimum: int = 2,
) -> list[Any]:
    """The roles of a step, each to be called with its mesh; ``parts`` are those of a split network."""
    step = spec.step(step_id)
    component: Component = {"train": COMPONENT, "score": SCORE}[step_id]

    def earlier(rank: int, role: str) -> dict[str, bytes]:
        aligned = np.asarray((rows or {}).get(role, np.arange(ROWS)))
        return {"match": aligned.astype("<i8").tobytes()} | ({"train": parts[rank]} if parts else {})

    before = {name: spec.step(name) for name in step.after}
    return aligned_roles(component, step, tables, earlier, before=before, minimum_cohort=minimum)


def released(step: Step, outcomes: Sequence[Any]) -> dict[str, bytes]:
    return {role: one.release for role, (one, _) in zip(COMPONENT.ranks(step), outcomes, strict=True)}


def opened(step: Step, releases: Mapping[str, bytes]) -> Any:
    assert COMPONENT.open_result is not None
    return COMPONENT.open_result(step, releases)


def fitted(weights: Any, units: int, chosen: Any = slice(None)) -> Any:
    """What a network of all weights says of rows, in the clear; the chosen ones scale the columns."""
    columns = [np.asarray(one, dtype=float) for one in (INCOME, AGE, DEBT)]
    x = [(one - one[chosen].mean()) / one[chosen].std() for one in columns]
    hidden, output = np.split(np.asarray(weights), [units * 4])
    ones = np.ones((1, ROWS))
    activations = np.clip(hidden.reshape(units, 4) @ np.vstack([ones, *x]), 0, 64)
    return output @ np.vstack([ones, activations])


def all_weights(parts: Sequence[NetworkPart]) -> Any:
    first, second = (one.own for one in parts)
    hidden = np.hstack([first.intercepts[:, None], first.columns, second.columns])
    return np.concatenate([hidden.reshape(-1), first.output])


def test_recipients_read_all_weights_and_no_owner_any() -> None:
    spec = checked({"loss": "owners", "epochs": 12, "batch": 65})
    step = spec.step("train")
    outcomes = run_mesh(play(spec))
    table = opened(step, released(step, outcomes))
    assert table.columns == ("party", "column", "unit", "weight")
    assert [row[:3] for row in table.rows] == [
        *(
            (role, name, unit)
            for unit in (1, 2, 3)
            for role, name in (
                ("owner-1", "(intercept)"),
                ("owner-1", "income"),
                ("owner-2", "age"),
                ("owner-2", "debt"),
            )
        ),
        ("owner-1", "(output)", None),
        *(("owner-1", "(output)", unit) for unit in (1, 2, 3)),
    ]
    assert (table.facts["family"], table.facts["units"], table.facts["epochs"]) == ("logistic", 3, 12)
    assert len(table.facts["losses"]) == 12
    chances = 1 / (1 + np.exp(-fitted([float(row[3]) for row in table.rows], 3)))
    brier = np.mean((chances - FIRST["default"]) ** 2)
    assert brier < float(table.facts["losses"][-1]) + 0.01
    assert float(table.facts["losses"][-1]) < float(table.facts["losses"][0])
    assert all(outcome.local == b"" for outcome, _ in outcomes)
    assert all(outcome.cohort == ROWS for outcome, _ in outcomes)
    assert outcomes[2][0].rows is None


@pytest.mark.parametrize("family", list(LABELS))
def test_a_split_network_is_read_by_its_owners_and_scores_rows_for_one(family: str) -> None:
    """Of the rows held out: what both parts say together, for the label's owner alone."""
    params = {"coefficients": "split", "test_percent": 30, "loss": "owners", "rate_micro": 100_000}
    spec = checked(
        params, family=family, recipients=[RECIPIENT], score={"params": {"min_cohort": 20, "part": "test"}}
    )
    SCORE.check(spec, spec.step("score"))
    step, (first, second, helper) = spec.step("train"), run_mesh(play(spec))
    assert first[0].cohort == 182
    assert helper[0].local == b""
    table = opened(step, released(step, [first, second, helper]))
    assert [row[3] for row in table.rows] == [None] * 16
    assert len(table.facts["losses"]) == 2
    parts = [NetworkPart.decode(one.local) for one, _ in (first, second)]
    assert (parts[0].columns, parts[1].columns) == (("income",), ("age", "debt"))
    assert (len(parts[0].output), parts[1].output, parts[1].intercepts) == (4, (), ())
    assert parts[0].held_out == parts[1].held_out
    kept, held = parts[0].held_out.train(ROWS), parts[0].held_out.test(ROWS)
    assert first[0].rows.tolist() == kept.tolist()
    assert float(parts[1].means[0]) == pytest.approx(AGE[kept].mean())
    assert len(parts[0].losses) == 2

    rows = [shown(one.local, spec) for one, _ in (first, second)]
    ends = [[unit, "(output)"] for unit in (None, 1, 2, 3)]
    assert [row[:2] for row in rows[0]["rows"]][-4:] == ends
    assert [row[:2] for row in rows[0]["rows"]][:2] == [[1, "(intercept)"], [1, "income"]]
    assert [row[:3] for row in rows[1]["rows"]][:2] == [
        [1, "age", parts[1].weights[0][0]],
        [1, "debt", parts[1].weights[0][1]],
    ]
    assert ("label_mean" in rows[0]["facts"]) == (family == "linear")
    assert "label_mean" not in rows[1]["facts"]

    local = [one.local for one, _ in (first, second)]
    ended = run_mesh(play(spec, "score", parts=local))
    assert [one.files for one, _ in ended[1:]] == [{}, {}]
    assert all(one.release is None for one, _ in ended)
    lines = [line.split(",") for line in ended[0][0].files["scores.csv"].decode().splitlines()]
    assert lines[0] == ["row", "score"]
    assert [int(line[0]) for line in lines[1:]] == sorted(held.tolist())
    expected = fitted(all_weights(parts), 3, kept)[np.sort(held)]
    expected = Family(family).mean_of(expected)
    if family == "linear":
        kept_label = np.asarray(FIRST["loss"])[kept]
        expected = expected * kept_label.std() + kept_label.mean()
    np.testing.assert_allclose([float(line[1]) for line in lines[1:]], expected, atol=0.01)

    assert SCORE.estimate_after is not None
    model = [spec.step("match"), step]
    estimate = SCORE.estimate_after(spec.step("score"), model, dict.fromkeys(step.inputs, len(held)))
    for role, (_, sent) in zip(SCORE.ranks(spec.step("score")), ended, strict=True):
        assert estimate[role].sent_bytes == sent
        assert estimate[role].work_ns > 0


def test_an_owner_of_the_label_alone_keeps_intercepts_and_the_output_and_learns_scores() -> None:
    columns = {"owner-1": ("default",), "owner-2": ("age", "debt")}
    spec = checked({"coefficients": "split"}, columns=columns)
    first, second, _ = run_mesh(play(spec))
    parts = [NetworkPart.decode(one.local) for one, _ in (first, second)]
    assert parts[0].columns == ()
    assert {row[1] for row in shown(first[0].local, spec)["rows"]} == {"(intercept)", "(output)"}
    ended = run_mesh(play(spec, "score", parts=[one.local for one, _ in (first, second)]))
    lines = ended[0][0].files["scores.csv"].decode().splitlines()[1:]
    own = [one.own for one in parts]
    x = np.vstack([np.ones(ROWS), *((one - one.mean()) / one.std() for one in (AGE.astype(float), DEBT))])
    hidden = np.hstack([own[0].intercepts[:, None], own[1].columns])
    chances = 1 / (1 + np.exp(-own[0].output @ np.vstack([np.ones(ROWS), np.maximum(hidden @ x, 0)])))
    np.testing.assert_allclose([float(line.split(",")[1]) for line in lines], chances, atol=0.005)


def shown(local: bytes, spec: JobSpec) -> Any:
    """What ``model/part`` shows of an owner's part."""
    reader = Step("read", "model/part", 1, {"reader": "did:key:zMe"}, {}, ("train",), {}, ())
    context = StepContext(
        step=reader,
        role="reader",
        ranks=("reader",),
        session=b"s",
        minimum_cohort=2,
        read=lambda name: iter(()),
        channel=lambda role: pytest.fail(role),
        before={"train": spec.step("train")},
        earlier={"train": local},
        released={},
        rng=SystemRandomness(),
        progress=lambda done, total: None,
        hand_over=nothing_lent(),
    )
    return canonical.decode(part.COMPONENT.run(context).files["result.json"])


def test_only_an_owner_of_a_split_network_reads_its_part() -> None:
    for coefficients, party, at in (
        ("split", "did:key:zowner-2", None),
        ("split", "did:key:zHelper", "steps.read.parties.reader"),
        ("recipients", "did:key:zowner-2", "steps.train.params.coefficients"),
    ):
        before = checked({"coefficients": coefficients}).step("train")
        reader = Step("read", "model/part", 1, {"reader": party}, {}, ("train",), {}, ())
        if at is None:
            part.COMPONENT.check_follows(reader, before)
            continue
        with pytest.raises(InvalidRequest) as caught:
            part.COMPONENT.check_follows(reader, before)
        assert caught.value.field == at


def test_training_starts_at_weights_that_the_session_gives() -> None:
    spec = checked({"epochs": 1, "batch": 4096, "rate_micro": 10_000})
    step = spec.step("train")
    table = opened(step, released(step, run_mesh(play(spec))))
    start = initial(Layout(ROWS, (1, 2)), settings_of(step), mesh_of(3)[0].session) * 2.0**-20
    np.testing.assert_allclose([float(row[3]) for row in table.rows], start, atol=0.02)


def test_releases_of_different_runs_or_of_some_parties_are_refused() -> None:
    spec = checked()
    step = spec.step("train")
    one, other = (released(step, run_mesh(play(spec))) for _ in range(2))
    for role in one:
        with pytest.raises(JobFailed, match="not of one run"):
            opened(step, one | {role: other[role]})
    with pytest.raises(JobFailed, match="shares of 3 parties"):
        opened(step, {"owner-1": one["owner-1"]})
    with pytest.raises(MalformedMessage):
        opened(step, one | {"owner-1": one["owner-1"] + b"\0"})


@pytest.mark.parametrize(
    ("change", "error", "words"),
    [
        ({"default": np.arange(ROWS) % 3}, ValueOutOfRange, "label default: 86 of 260 values are neither"),
        (
            {"default": np.zeros(ROWS, np.int64)},
            InvalidInput,
            "label default: all 260 values are of one class",
        ),
        ({"income": np.full(ROWS, 5.0)}, InvalidInput, "column income: all 260 values are equal"),
        ({"income": np.where(np.arange(ROWS) == 3, np.inf, INCOME)}, Exception, "income"),
        ({"income": pa.array([None, *INCOME[1:].tolist()])}, Exception, "income"),
    ],
)
def test_bad_rows_end_the_step_for_all_before_anything_is_released(
    change: dict[str, Any], error: type[Exception], words: str
) -> None:
    ended = mesh_outcomes(play(checked(), tables=({**FIRST, **change}, SECOND)), mesh_of(3, timeout_s=5))
    assert isinstance(ended[0], error)
    assert words in str(ended[0])
    assert all(isinstance(end, Exception) for end in ended)


def test_misaligned_and_too_few_rows_end_the_step() -> None:
    """Three units of three columns have 16 weights: ten rows for each are needed."""
    few = {role: np.arange(159) for role in ("owner-1", "owner-2")}
    enough = {role: np.arange(160) for role in few}
    run_mesh(play(checked(), rows=enough))
    for roles, error in (
        (play(checked(), rows={"owner-2": np.arange(50)}), InputsDisagree),
        (play(checked(), rows=few), CohortTooSmall),
        (play(checked({"min_cohort": ROWS + 1})), CohortTooSmall),
        (play(checked(), minimum=ROWS + 1), CohortTooSmall),
        (play(checked({"test_percent": 50})), CohortTooSmall),
    ):
        ended = mesh_outcomes(roles, mesh_of(3, timeout_s=5))
        assert any(isinstance(end, error) for end in ended), ended
        assert all(isinstance(end, Exception) for end in ended)


def test_a_party_that_drops_ends_the_step_for_all() -> None:
    def gone(mesh: Mesh) -> Any:
        for one in mesh.channels.values():
            one.close()

    first, *_, helper = play(checked())
    ended = mesh_outcomes([first, gone, helper], mesh_of(3, timeout_s=5))
    assert isinstance(ended[0], Exception)
    assert isinstance(ended[2], Exception)


def test_scores_of_too_few_rows_or_of_another_model_are_refused() -> None:
    held = HeldOut("ab", 0)
    common: dict[str, Any] = {"family": "logistic", "epochs": 1, "losses": (), "held_out": held}
    common |= {"label_mean": "0", "label_deviation": "1"}
    first = NetworkPart(
        columns=("income",),
        weights=(("1",),) * 3,
        intercepts=("0",) * 3,
        output=("0", "1", "1", "1"),
        means=("3000",),
        deviations=("900",),
        **common,
    )
    second = NetworkPart(
        columns=("age", "debt"),
        weights=(("1", "0"),) * 3,
        intercepts=(),
        output=(),
        means=("49", "0"),
        deviations=("18", "1e6"),
        **common,
    )
    spec, parts = checked({"coefficients": "split"}), [first.encode(), second.encode()]
    few = {role: np.arange(19) for role in ("owner-1", "owner-2")}
    other = NetworkPart.decode(first.encode())
    other = NetworkPart(**{**vars(other), "columns": ("wealth",)})
    for roles, words in (
        (play(spec, "score", parts=parts, rows=few), "at least 20 rows to score"),
        (play(spec, "score", parts=[other.encode(), parts[1]]), "a model of columns as they are"),
    ):
        ended = mesh_outcomes(roles, mesh_of(3, timeout_s=5))
        assert isinstance(ended[0], JobFailed)
        assert words in str(ended[0])
        assert all(isinstance(end, Exception) for end in ended)
    far = {**FIRST, "income": np.where(np.arange(ROWS) == 3, 1e9, INCOME)}
    ended = mesh_outcomes(play(spec, "score", (far, SECOND), parts=parts), mesh_of(3, timeout_s=5))
    assert isinstance(ended[0], ValueOutOfRange)
    assert "1 of 260 values are not below 128" in str(ended[0])
    misaligned = play(spec, "score", parts=parts, rows={"owner-2": np.arange(50)})
    assert any(isinstance(end, InputsDisagree) for end in mesh_outcomes(misaligned, mesh_of(3, timeout_s=5)))


MANY = {"owner-1": ["default"]} | {f"owner-{i}": [f"c{j}" for j in range(64)] for i in range(2, 6)}


@pytest.mark.parametrize(
    ("params", "more", "at"),
    [
        ({"label": "age"}, {}, "params.label"),
        ({}, {"recipients": []}, "recipients"),
        ({"family": "poisson"}, {}, "params.family"),
        ({"coefficients": "all"}, {}, "params.coefficients"),
        ({}, {"columns": MANY}, "inputs"),
        ({"units": 33}, {}, "params.units"),
        ({"epochs": 0}, {}, "params.epochs"),
        ({"rate_micro": 3_000_000}, {}, "params.rate_micro"),
        ({"momentum_micro": 1}, {}, "params.momentum_micro"),
        ({"loss": "everybody"}, {}, "params.loss"),
    ],
)
def test_a_step_that_does_not_fit_is_refused_by_name(params: Any, more: Any, at: str) -> None:
    with pytest.raises(InvalidRequest) as caught:
        checked(params, **more)
    assert caught.value.field == f"steps.train.{at}"


@pytest.mark.parametrize(
    ("params", "score", "at"),
    [
        ({}, {"recipients": [RECIPIENT]}, "score.recipients"),
        ({}, {"recipients": []}, "score.recipients"),
        ({}, {"after": ["match"]}, "score.after"),
        ({}, {"params": {"min_cohort": 20, "part": "test"}}, "score.params.part"),
        ({"coefficients": "recipients"}, {}, "train.params.coefficients"),
    ],
)
def test_scores_that_make_no_sense_are_refused_by_field(params: Any, score: Any, at: str) -> None:
    spec = checked({"coefficients": "split", **params}, score=score)
    with pytest.raises(InvalidRequest) as caught:
        built_in().get("model/score-network").check(spec, spec.step("score"))
    assert caught.value.field == f"steps.{at}"


def test_parameters_have_the_meaning_of_the_settings() -> None:
    spec = checked({"rate_micro": 50_000, "l2_micro": 1_000, "loss": "owners"}, family="linear")
    assert settings_of(spec.step("train")) == Settings(
        Family.LINEAR, units=3, epochs=2, batch=130, rate=0.05, l2=0.001, tells_loss=True
    )


@pytest.mark.parametrize("coefficients", ["split", "recipients"])
@pytest.mark.parametrize("owners", [2, 4])
def test_the_estimate_is_what_is_sent(coefficients: str, owners: int) -> None:
    columns = {"owner-1": ("default", "income")} | {f"owner-{n}": ("age",) for n in range(2, owners + 1)}
    params = {"coefficients": coefficients, "units": 1, "epochs": 1, "test_percent": 10, "loss": "owners"}
    spec = checked(params, columns=columns)
    assert COMPONENT.estimate is not None
    expected = COMPONENT.estimate(spec.step("train"), dict.fromkeys(columns, ROWS))
    outcomes = run_mesh(play(spec, tables=(FIRST, *[SECOND] * (owners - 1))))
    for role, (_, sent) in zip(COMPONENT.ranks(spec.step("train")), outcomes, strict=True):
        assert expected[role].sent_bytes == sent
        assert expected[role].work_ns > 0


def test_column_control_sees_a_fit_and_scores_row_by_row() -> None:
    owners = {"did:key:zowner-1", "did:key:zowner-2"}
    for coefficients, viewers in (("recipients", {RECIPIENT}), ("split", owners)):
        spec = checked({"coefficients": coefficients})
        uses = [use for use in COMPONENT.uses(spec.step("train")) if use.viewer]
        assert {use.viewer for use in uses} == viewers
        assert {use.column for use in uses} == {"default", "income", "age", "debt"}
        assert all(Level.AFTER_AGGREGATE in use.after for use in uses)
    uses = [use for use in SCORE.uses(spec.step("score")) if use.viewer]
    assert {use.viewer for use in uses} == {"did:key:zowner-1"}
    assert all(Level.AFTER_AGGREGATE not in use.after for use in uses)
