"""A Flower app as a step of a job: what is agreed, what a node must have, what comes of it; no app runs."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from exchange.cli.checks import probe
from exchange.errors import InvalidRequest, JobFailed
from exchange.jobs.component import Component, Outcome
from exchange.jobs.disclosure import OutputRules
from exchange.jobs.flower import component as flower_component
from exchange.jobs.flower import parts
from exchange.jobs.flower.component import agreed_of, component_of
from exchange.jobs.flower.installation import MAX_APP_BYTES, Flower
from exchange.jobs.flower.model import JointArrays
from exchange.jobs.horizontal import Held
from exchange.jobs.joint_model import READER
from exchange.jobs.registry import built_in
from exchange.jobs.spec import JobSpec, Step
from exchange.jobs.testing import JOB, OwnersRun
from exchange.node.enforcement import engine_reasons
from federated.horizontal.apps import SPEC, Agreed, Asked, Kind, Replied
from mpc.engines import flower
from mpc.errors import EngineFailed, MalformedMessage, MpcError, ValueOutOfRange

ANALYST = "did:key:zAnalyst"
OWNERS = 4
COLUMNS = ("debt", "late")
SOURCE = b"client, server = 1, 2\n"
APP = hashlib.sha256(SOURCE).hexdigest()
CHOSEN: dict[str, Any] = {
    "app": APP,
    "arrays": [{"name": "weights", "shape": [2, 1]}, {"name": "bias", "shape": []}],
    "model": "recipients",
    "min_cohort": 20,
    "threshold": 3,
    "patience_s": 4,
    "messages": 3,
    "train_metrics": ["loss"],
    "config": {"rate": "0.1", "deep": True, "rounds": 2},
}


def spec_of(owners: int = OWNERS, recipients: list[str] | None = None, **params: Any) -> JobSpec:
    roles = [f"owner-{number}" for number in range(1, owners + 1)]
    step = {
        "id": "train",
        "component": "bridge/flower",
        "version": 1,
        "parties": {"aggregator": ANALYST} | {role: f"did:key:z{role}" for role in roles},
        "inputs": {
            role: {"asset": f"{role}/t", "columns": [{"name": one, "decimals": 0} for one in COLUMNS]}
            for role in roles
        },
        "after": [],
        "params": {name: value for name, value in (CHOSEN | params).items() if value is not None},
        "recipients": [ANALYST] if recipients is None else recipients,
    }
    return JobSpec.from_json(
        {"v": 1, "job": JOB, "title": "t", "purpose": "p", "agreements": {}, "steps": [step]}
    )


def step_of(owners: int = OWNERS, recipients: list[str] | None = None, **params: Any) -> Step:
    spec = spec_of(owners, recipients, **params)
    component_of(Flower()).check(spec, spec.steps[0])
    return spec.steps[0]


@pytest.fixture
def installed(tmp_path: Path) -> Flower:
    """A node that has the app, and an interpreter that is never started here."""
    (tmp_path / f"{APP}.py").write_bytes(SOURCE)
    return Flower(tmp_path / "python", tmp_path)


TABLES = {
    number: pa.table({"late": [number % 2] * (20 + number), "debt": [float(number)] * (20 + number)})
    for number in range(1, OWNERS + 1)
}


@pytest.fixture
def played(installed: Flower, monkeypatch: pytest.MonkeyPatch) -> Component:
    """The component with a stand-in for both parts of the app: two rounds, weights go to the mean debt."""

    @contextmanager
    def answering(*part: Any) -> Iterator[Any]:
        *_, config, patience_s, watch, rows = part
        watch()
        assert (config, patience_s, rows.dtype.names) == (CHOSEN["config"], 4, COLUMNS)

        def answer(asked: Asked) -> Replied:
            if asked.kind is Kind.EVALUATE:
                return Replied(len(rows), (), np.zeros(0))
            return Replied(len(rows), (2.0,), 0.5 * asked.arrays + 0.5 * rows["debt"].mean())

        yield answer

    def serve(*part: Any) -> Any:
        ask = part[-1]
        arrays = ask(Asked(Kind.TRAIN, b"", np.zeros(3))).arrays
        ask(Asked(Kind.EVALUATE, b"", arrays))
        return ask(Asked(Kind.TRAIN, b"", arrays)).arrays

    monkeypatch.setattr(flower_component, "answering", answering)
    monkeypatch.setattr(flower_component, "serve", serve)
    return component_of(installed)


MEAN = sum((20 + number) * number for number in TABLES) / 90
LINES = [(1, "train", 90, "loss", "2"), (2, "evaluate", 90, None, None), (3, "train", 90, "loss", "2")]

# what comes of it


def test_the_recipients_read_arrays_and_metrics(played: Component) -> None:
    found = OwnersRun(played, step_of(), TABLES).result()
    assert found.columns == ("array", "place", "value")
    assert [row[:2] for row in found.rows] == [("weights", 0), ("weights", 1), ("bias", 0)]
    np.testing.assert_allclose([float(str(row[2])) for row in found.rows], [0.75 * MEAN] * 3, atol=1e-6)
    assert found.facts["shapes"] == {"weights": [2, 1], "bias": []}
    assert found.facts["messages"] == [list(line) for line in LINES]
    assert found.facts["absent"] == []


def test_of_arrays_of_the_owners_the_recipients_read_the_metrics(played: Component) -> None:
    run = OwnersRun(played, step_of(model="owners"), TABLES)
    found = run.result()
    assert found.columns == ("message", "kind", "examples", "metric", "mean")
    assert list(found.rows) == LINES
    assert not JointArrays.decode(run.outcome("aggregator").release or b"").values
    context: Any = type("Context", (), {"earlier": {"train": run.outcome("owner-2").local}})
    context.step, context.before = replace(run.step, after=("train",)), {"train": run.step}
    assert READER.run(context).files["table.csv"].decode().count("\n") == 4


def test_an_owner_that_is_gone_is_absent_and_its_rows_are_not_in_the_mean(played: Component) -> None:
    run = OwnersRun(played, step_of(), TABLES, gone=(4,))
    facts = run.result().facts
    assert facts["absent"] == ["did:key:zowner-4"]
    assert (run.outcome("owner-1").absent, run.outcome("aggregator").cohort) == (("owner-4",), 66)


def test_too_few_owners_or_rows_have_no_result(played: Component) -> None:
    few = OwnersRun(played, step_of(), TABLES, gone=(2, 3))
    assert not any(isinstance(end, Outcome) for end in few.ends.values())
    small = OwnersRun(played, step_of(min_cohort=24), TABLES)
    assert "at least 24 rows" in str(small.ends["owner-1"])
    assert not any(isinstance(end, Outcome) for end in small.ends.values())


@pytest.mark.parametrize(
    ("rules", "minimum", "words"),
    [
        (OutputRules(p_percent=10), 0, "cannot be checked"),
        (OutputRules(dominance_percent=10), 0, "cannot be checked"),
        (OutputRules(round_counts=5), 0, "counts are not rounded"),
        (OutputRules.NONE, 21, "at least this owner's minimum"),
    ],
)
def test_an_owner_whose_rules_no_app_keeps_takes_no_part(
    played: Component, rules: OutputRules, minimum: int, words: str
) -> None:
    run = OwnersRun(played, step_of(), TABLES, rules=rules, minimum=minimum)
    assert words in str(run.ends["owner-1"])
    assert not run.released()


def test_values_that_are_missing_end_at_their_owner(played: Component) -> None:
    debt = pa.array([None, *[1.0] * 21], pa.float64())
    run = OwnersRun(played, step_of(), {**TABLES, 2: TABLES[2].set_column(1, "debt", debt)})
    assert "debt" in str(run.ends["owner-2"])
    assert run.result().facts["absent"] == ["did:key:zowner-2"]


def test_releases_that_do_not_fit_are_refused(played: Component) -> None:
    run = OwnersRun(played, step_of(), TABLES)
    released, joint = run.released(), JointArrays.decode(run.released()["aggregator"])
    assert played.open_result is not None
    with pytest.raises(JobFailed, match="another model"):
        played.open_result(run.step, released | {"owner-2": Held("0" * 64).encode()})
    for other in (
        replace(joint, app="0" * 64),
        replace(joint, shapes=((1, 2), ())),
        replace(joint, names=("bias", "weights")),
        joint.without_values(),
    ):
        told = dict.fromkeys(joint.present, Held.of(other.encode()).encode())
        with pytest.raises(JobFailed, match="other figures"):
            played.open_result(run.step, told | {"aggregator": other.encode()})
    short = replace(joint, values=joint.values[:8])
    told = dict.fromkeys(joint.present, Held.of(short.encode()).encode())
    with pytest.raises(JobFailed, match="expected the numbers of 2 arrays"):
        played.open_result(run.step, told | {"aggregator": short.encode()})
    other = replace(joint, metrics=((), ()))
    told = dict.fromkeys(joint.present, Held.of(other.encode()).encode())
    with pytest.raises(JobFailed, match="the metrics of message 1"):
        played.open_result(run.step, told | {"aggregator": other.encode()})


# what a node must have


def test_a_node_without_exactly_that_app_refuses_by_digest(installed: Flower, tmp_path: Path) -> None:
    spec, me = spec_of(), "did:key:zowner-1"
    with_it = replace(built_in(installed).get("bridge/flower"), engine=built_in().get("psi/ecdh").engine)
    one = [with_it]
    registry: Any = type("One", (), {"get": lambda self, name, at="": one[0]})()
    assert engine_reasons(spec, me, registry) == ()
    assert engine_reasons(spec, "did:key:zStranger", registry) == ()
    for source in (SOURCE + b"\n", None):
        (tmp_path / f"{APP}.py").unlink()
        if source is not None:
            (tmp_path / f"{APP}.py").write_bytes(source)
        (reason,) = engine_reasons(spec, me, registry)
        assert reason.code == "app.absent"
        assert f"{APP}.py" in reason.text
    run = OwnersRun(component_of(installed), step_of(), TABLES)
    assert all("expected the app" in str(end) for end in run.ends.values())


def test_a_node_without_the_interpreter_refuses_with_the_line_that_installs_it() -> None:
    found = engine_reasons(spec_of(), "did:key:zowner-1", built_in())
    assert [reason.code for reason in found] == ["engine.absent", "app.absent"]
    assert flower.INSTALL in found[0].text


def test_a_file_that_is_too_large_is_no_app(tmp_path: Path) -> None:
    for size, is_one in ((MAX_APP_BYTES, True), (MAX_APP_BYTES + 1, False)):
        source = b"#" * size
        digest = hashlib.sha256(source).hexdigest()
        (tmp_path / f"{digest}.py").write_bytes(source)
        assert (Flower(None, tmp_path).source(digest) == source) is is_one


def test_the_doctor_says_whether_there_is_one(monkeypatch: pytest.MonkeyPatch) -> None:
    def row(environment: dict[str, str]) -> dict[str, object]:
        return next(row for row in probe(environment=environment) if row["name"] == "flower")

    assert (row({})["state"], row({})["install"]) == ("absent", flower.INSTALL)
    monkeypatch.setattr(flower, "version", lambda python: f"1.41.0 of {python}")
    assert row({"PARLEY_FLOWER_PYTHON": "/opt/flower/bin/python"}) == {
        "name": "flower",
        "kind": "extra",
        "version": "1.41.0 of /opt/flower/bin/python",
        "state": "present",
        "install": "",
    }


# what is agreed


@pytest.mark.parametrize(
    ("at", "params"),
    [
        ("app", {"app": APP[:-1]}),
        ("app", {"app": "../" + APP[3:]}),
        ("arrays", {"arrays": []}),
        ("arrays", {"arrays": {"weights": [1]}}),
        ("arrays", {"arrays": [{"name": "a", "shape": [1]}] * 2}),
        ("arrays", {"arrays": [{"name": "a", "shape": [1001, 1000]}]}),
        ("arrays", {"arrays": [{"name": "a", "shape": [0]}]}),
        ("arrays", {"arrays": [{"name": "a b", "shape": [1]}]}),
        ("arrays", {"arrays": [{"name": "a", "shape": [1] * 9}]}),
        ("model", {"model": "everybody"}),
        ("messages", {"messages": 0}),
        ("messages", {"messages": None}),
        ("train_metrics", {"train_metrics": ["a", "a"]}),
        ("train_metrics", {"train_metrics": ["num-examples"]}),
        ("evaluate_metrics", {"evaluate_metrics": [""]}),
        ("evaluate_metrics", {"evaluate_metrics": list(map(str, range(65)))}),
        ("config", {"config": []}),
        ("config.rate", {"config": {"rate": ["0.1"]}}),
        ("config.long", {"config": {"long": "x" * 1000}}),
        ("config", {"config": {str(number): 1 for number in range(65)}}),
        ("clip_micro", {"clip_micro": 17_000_000}),
        ("threshold", {"threshold": 2}),
        ("patience_s", {"patience_s": 0}),
    ],
    ids=str,
)
def test_parameters_are_refused_by_name(at: str, params: dict[str, Any]) -> None:
    with pytest.raises(InvalidRequest, match=rf"params\.{at}"):
        step_of(**params)


def test_parameters_become_what_is_agreed() -> None:
    found = agreed_of(step_of(clip_micro=500_000, evaluate_metrics=["right"]))
    shapes = {"weights": (2, 1), "bias": ()}
    assert found == Agreed(shapes, {Kind.TRAIN: ("loss",), Kind.EVALUATE: ("right",)}, 3, 0.5, 20)
    assert (list(found.shapes), found.count) == (["weights", "bias"], 3)


def test_specifications_that_do_not_fit_are_refused() -> None:
    with pytest.raises(InvalidRequest, match="who receives the arrays"):
        step_of(recipients=[])
    assert step_of(model="owners", recipients=[]).recipients == ()
    with pytest.raises(InvalidRequest, match="3 to 30"):
        step_of(2)
    assert component_of(Flower()).protocol is SPEC


def test_the_estimate_states_what_is_sent(played: Component) -> None:
    step = step_of(messages=3)
    run = OwnersRun(played, step, TABLES)
    assert played.estimate is not None
    estimates = played.estimate(step, dict.fromkeys(step.inputs, 80))
    # One of the three messages asks for an evaluation, which enters no arrays.
    less = 8 * 3
    for rank, role in enumerate(run.ranks):
        stats = [channel.stats for channel in run.meshes[rank].channels.values()]
        sent = sum(one.bytes_sent for one in stats)
        metric = 8 * 3
        assert estimates[role].sent_bytes == sent + (less + metric if rank else 0)
        assert estimates[role].rounds == sum(one.rounds for one in stats)


# a conversation, with the process replaced


class Script:
    """A part of an app that says these messages and leaves these numbers."""

    def __init__(self, *said: Any, numbers: tuple[float, ...] = (1.0, 2.0, 3.0)) -> None:
        self.said, self.numbers = list(said), np.array(numbers)
        self.got: list[Any] = []

    def heard(self) -> Any:
        return self.said.pop(0)

    def take(self, name: str) -> Any:
        return self.numbers

    def put(self, name: str, numbers: Any) -> None:
        self.got.append((name, numbers.tolist()))

    def reply(self, message: Any) -> None:
        self.got.append(message)


def scripted(monkeypatch: pytest.MonkeyPatch, script: Script) -> list[Any]:
    started: list[Any] = []

    @contextmanager
    def running(*arguments: Any) -> Iterator[Script]:
        started.append(arguments)
        yield script

    monkeypatch.setattr(flower, "running", running)
    return started


def test_a_server_app_asks_and_is_answered(monkeypatch: pytest.MonkeyPatch) -> None:
    said = {"kind": "train", "arrays": "a", "config_record": "c", "config": {"lr": 0.5}, "more": 1}
    script = Script(said, said | {"kind": "evaluate"}, None)
    (started,) = [scripted(monkeypatch, script)]
    asked = []

    def ask(one: Asked) -> Replied:
        asked.append(one)
        is_train = one.kind is Kind.TRAIN
        return Replied(90, (0.25,) if is_train else (), np.zeros(3 if is_train else 0))

    agreed = agreed_of(step_of())
    last = parts.serve(Path("/p"), Path("/b"), SOURCE, agreed, {"rounds": 2}, 9, lambda: None, ask)
    assert last.tolist() == [1.0, 2.0, 3.0]
    assert [one.kind for one in asked] == [Kind.TRAIN, Kind.EVALUATE]
    assert asked[0].text == b'{"arrays":"a","config_record":"c","config":{"lr":0.5}}'
    assert script.got == [
        ("replied.f64", [0.0, 0.0, 0.0]),
        {"examples": 90, "metrics": {"loss": 0.25}},
        {"examples": 90, "metrics": {}},
    ]
    assert started[0][2] == {
        "task": "server-app",
        "shapes": {"weights": [2, 1], "bias": []},
        "metrics": {"train": ["loss"], "evaluate": []},
        "config": {"rounds": 2},
    }


@pytest.mark.parametrize(
    "said",
    [
        {},
        {"kind": "query", "arrays": "a", "config_record": "c", "config": {}},
        {"kind": "train", "arrays": "a"},
        {"kind": "train", "arrays": "a", "config_record": "c", "config": {"long": "x" * 2048}},
    ],
    ids=str,
)
def test_a_server_app_that_asks_for_something_else_is_ended(
    monkeypatch: pytest.MonkeyPatch, said: dict[str, Any]
) -> None:
    scripted(monkeypatch, Script(said))
    with pytest.raises(EngineFailed, match="the app: expected a"):
        parts.serve(
            Path("/p"), Path("/b"), SOURCE, agreed_of(step_of()), {}, 9, lambda: None, lambda asked: None
        )  # type: ignore[arg-type, return-value]


TEXT = b'{"arrays":"a","config_record":"c","config":{}}'


@pytest.mark.parametrize(
    ("said", "text", "kind", "words"),
    [
        ({}, TEXT, ValueOutOfRange, "num-examples"),
        ({"examples": 2.0}, TEXT, ValueOutOfRange, "num-examples"),
        ({"examples": True}, TEXT, ValueOutOfRange, "num-examples"),
        ({"examples": 2}, TEXT, ValueOutOfRange, "metrics loss"),
        ({"examples": 2, "metrics": {"other": 1.0}}, TEXT, ValueOutOfRange, "metrics loss"),
        ({"examples": 2, "metrics": {"loss": "1"}}, TEXT, ValueOutOfRange, "metrics loss"),
        ({"examples": 2, "metrics": {"loss": 10**400}}, TEXT, ValueOutOfRange, "metrics loss"),
        ({"examples": 2, "metrics": {"loss": [1.0]}}, TEXT, ValueOutOfRange, "metrics loss"),
        ({}, b"", MalformedMessage, "its records by name"),
        ({}, b"[]", MalformedMessage, "its records by name"),
        ({}, b'{"arrays":"a"}', MalformedMessage, "its records by name"),
    ],
    ids=str,
)
def test_a_client_app_that_answers_otherwise_is_not_believed(
    monkeypatch: pytest.MonkeyPatch, said: dict[str, Any], text: bytes, kind: type[MpcError], words: str
) -> None:
    scripted(monkeypatch, Script({"ready": True}, said))
    agreed, rows = agreed_of(step_of()), np.zeros(3, dtype=[("debt", "<f8")])
    with (
        parts.answering(Path("/p"), Path("/b"), SOURCE, agreed, {}, 9, lambda: None, rows) as answer,
        pytest.raises(kind, match=words),
    ):
        answer(Asked(Kind.TRAIN, text, np.zeros(3)))


def test_a_client_app_answers_with_the_metrics_agreed_and_no_other(monkeypatch: pytest.MonkeyPatch) -> None:
    script = Script({"ready": True}, {"examples": 2, "metrics": {"loss": 1, "row-7": 4.5}})
    scripted(monkeypatch, script)
    agreed, rows = agreed_of(step_of()), np.zeros(3, dtype=[("debt", "<f8")])
    with parts.answering(Path("/p"), Path("/b"), SOURCE, agreed, {}, 9, lambda: None, rows) as answer:
        found = answer(Asked(Kind.TRAIN, TEXT, np.zeros(3)))
    assert (found.rows, found.metrics, found.arrays.tolist()) == (2, (1.0,), [1.0, 2.0, 3.0])
    assert script.got[1] == {"kind": "train", "arrays": "a", "config_record": "c", "config": {}}
