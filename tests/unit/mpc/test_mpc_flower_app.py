"""The two parts of an app as its process calls them, with a stand-in for the few classes of flwr they use.

With flwr itself: ``tests/integration/test_exchange_flower.py``.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import numpy as np
import pytest

from mpc.engines import flower_app

SHAPES = {"w": [2, 1], "b": []}
TASK = {"shapes": SHAPES, "metrics": {"train": ["loss"], "evaluate": []}, "config": {"rounds": 2}}


class Array:
    def __init__(self, numbers: Any) -> None:
        self._numbers = np.asarray(numbers)

    def numpy(self) -> Any:
        return self._numbers


class ArrayRecord(dict[str, Any]):
    pass


class ConfigRecord(dict[str, Any]):
    pass


class MetricRecord(dict[str, Any]):
    pass


class RecordDict(dict[str, Any]):
    def _of(self, kind: type) -> dict[str, Any]:
        return {name: one for name, one in self.items() if isinstance(one, kind)}

    array_records = property(lambda self: self._of(ArrayRecord))
    config_records = property(lambda self: self._of(ConfigRecord))
    metric_records = property(lambda self: self._of(MetricRecord))


class Message:
    def __init__(
        self,
        content: Any = None,
        dst_node_id: int = 0,
        message_type: str = "",
        *,
        reply_to: Any = None,
        error: bool = False,
    ) -> None:
        self.content, self._error = content, error
        sent = SimpleNamespace(message_id="", dst_node_id=dst_node_id, message_type=message_type)
        self.metadata = sent if reply_to is None else SimpleNamespace(answers=reply_to.metadata._message_id)

    def has_error(self) -> bool:
        return self._error


class App:
    """A ``ClientApp`` or a ``ServerApp``: what it does is a function."""

    def __init__(self, act: Callable[..., Any]) -> None:
        self.act = act

    def __call__(self, *given: Any) -> Any:
        return self.act(*given)


@pytest.fixture
def flwr(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Mapping[str, ModuleType]:
    """The modules that are imported of it; the working directory is a spool."""
    made = {
        "flwr.app": {
            "Array": Array,
            "ArrayRecord": ArrayRecord,
            "ConfigRecord": ConfigRecord,
            "Context": SimpleNamespace,
            "Message": Message,
            "MetricRecord": MetricRecord,
            "RecordDict": RecordDict,
        },
        "flwr.clientapp": {"ClientApp": App},
        "flwr.serverapp": {"ServerApp": App, "Grid": object},
        "flwr.supercore.task_identity": {"TaskIdentity": SimpleNamespace()},
    }
    modules = {"flwr": ModuleType("flwr"), "flwr.supercore": ModuleType("flwr.supercore")}
    modules |= {name: ModuleType(name) for name in made}
    for name, members in made.items():
        vars(modules[name]).update(members)
    vars(modules["flwr"]).update(
        {"__version__": "1", **{one: modules[f"flwr.{one}"] for one in ("app", "clientapp", "serverapp")}}
    )
    for name, module in modules.items():
        monkeypatch.setitem(sys.modules, name, module)
    monkeypatch.chdir(tmp_path)
    return modules


def installed(monkeypatch: pytest.MonkeyPatch, act: Callable[..., Any]) -> None:
    """Have this be what ``app.py`` makes."""
    monkeypatch.setattr(flower_app, "_made", lambda kind: App(act))


def record(w: tuple[float, float] = (1.0, 2.0), b: float = 3.0) -> ArrayRecord:
    # In another order than agreed, and in another kind of number.
    return ArrayRecord({"b": Array(np.float32(b)), "w": Array(np.array(w)[:, None])})


def numbers(path: str) -> list[float]:
    return [float(one) for one in np.fromfile(path, dtype="<f8")]


def put(path: str, *values: float) -> None:
    np.array(values, dtype="<f8").tofile(path)


# the server


def conversing(said: list[Any]) -> Callable[[Mapping[str, object]], Any]:
    """All owners: they add 1 to every number."""

    def converse(message: Mapping[str, object]) -> Any:
        said.append((message, numbers("asked.f64")))
        put("replied.f64", *(one + 1 for one in numbers("asked.f64")))
        return {"examples": 90, "metrics": {"loss": 0.5} if message["kind"] == "train" else {}}

    return converse


def test_a_server_sees_one_node_whose_answer_is_the_mean(
    flwr: Mapping[str, ModuleType], monkeypatch: pytest.MonkeyPatch
) -> None:
    said: list[Any] = []

    def main(grid: Any, context: Any) -> None:
        assert context.run_config == {"rounds": 2}
        (node,) = grid.get_node_ids()
        content = RecordDict({"arrays": record(), "setup": ConfigRecord({"lr": 0.5})})
        messages = [Message(content, node, "train"), Message(RecordDict({"m": record()}), node, "evaluate")]
        trained, judged = grid.send_and_receive(messages, timeout=5)
        assert [one.metadata.answers for one in (trained, judged)] == ["1", "2"]
        assert trained.content["metrics"] == {"num-examples": 90, "loss": 0.5}
        assert judged.content["metrics"] == {"num-examples": 90}
        assert "arrays" not in judged.content
        found = trained.content["arrays"]
        assert {name: one.numpy().tolist() for name, one in found.items()} == {"w": [[2.0], [3.0]], "b": 4.0}
        assert grid.pull_messages(["1", "2"]) == []
        context.state["result"] = found

    installed(monkeypatch, main)
    assert flower_app.server(TASK, conversing(said)) == {}
    train = {"kind": "train", "arrays": "arrays", "config_record": "setup", "config": {"lr": 0.5}}
    judge = {"kind": "evaluate", "arrays": "m", "config_record": "config", "config": {}}
    assert said == [(train, [1.0, 2.0, 3.0]), (judge, [1.0, 2.0, 3.0])]
    assert numbers("asked.f64") == [2.0, 3.0, 4.0]
    assert vars(flwr["flwr.supercore.task_identity"])["TaskIdentity"].node_id == 0


@pytest.mark.parametrize(
    ("content", "node", "kind", "words"),
    [
        (RecordDict({"a": record()}), 2, "train", "to the one node"),
        (RecordDict({"a": record()}), 1, "query", "to the one node"),
        (RecordDict(), 1, "train", "expected one ArrayRecord, got 0"),
        (RecordDict({"a": record(), "b": record()}), 1, "train", "expected one ArrayRecord, got 2"),
        (RecordDict({"a": record(), "m": MetricRecord()}), 1, "train", "at most one ConfigRecord"),
        (
            RecordDict({"a": record(), "c": ConfigRecord(), "d": ConfigRecord()}),
            1,
            "train",
            "at most one ConfigRecord",
        ),
        (RecordDict({"a": ArrayRecord({"w": Array(np.zeros((2, 1)))})}), 1, "train", "names and shapes"),
        (
            RecordDict({"a": ArrayRecord({"w": Array(np.zeros(2)), "b": Array(0.0)})}),
            1,
            "train",
            "names and shapes",
        ),
    ],
)
def test_a_server_that_asks_for_something_else_is_told(
    flwr: Mapping[str, ModuleType],
    monkeypatch: pytest.MonkeyPatch,
    content: RecordDict,
    node: int,
    kind: str,
    words: str,
) -> None:
    said: list[Any] = []
    installed(monkeypatch, lambda grid, context: grid.push_messages([Message(content, node, kind)]))
    with pytest.raises(ValueError, match=words):
        flower_app.server(TASK, conversing(said))
    assert said == []


def test_a_strategy_that_waits_for_more_nodes_is_ended(
    flwr: Mapping[str, ModuleType], monkeypatch: pytest.MonkeyPatch
) -> None:
    def main(grid: Any, context: Any) -> None:
        while len(grid.get_node_ids()) < 2:
            pass

    installed(monkeypatch, main)
    with pytest.raises(ValueError, match="more than one node"):
        flower_app.server(TASK, conversing([]))


@pytest.mark.parametrize("left", [{}, {"a": record(), "b": record()}])
def test_a_server_leaves_one_result(
    flwr: Mapping[str, ModuleType], monkeypatch: pytest.MonkeyPatch, left: dict[str, Any]
) -> None:
    installed(monkeypatch, lambda grid, context: context.state.update(left))
    with pytest.raises(ValueError, match=r"expected one ArrayRecord in context\.state"):
        flower_app.server(TASK, conversing([]))


# the client


class Ended(Exception):
    """Nobody asks any more."""


def asking(said: list[Any], *messages: Any) -> Callable[[Mapping[str, object]], Any]:
    waiting = list(messages)

    def converse(message: Mapping[str, object]) -> Any:
        said.append(message)
        if not waiting:
            raise Ended
        put("asked.f64", 1.0, 2.0, 3.0)
        return waiting.pop(0)

    return converse


def asked(kind: str) -> dict[str, Any]:
    return {"kind": kind, "arrays": "arrays", "config_record": "config", "config": {"server-round": 1}}


def test_a_client_answers_one_message_after_the_other(
    flwr: Mapping[str, ModuleType], monkeypatch: pytest.MonkeyPatch
) -> None:
    def act(message: Any, context: Any) -> Message:
        assert context.node_config == {"rows": "rows.npy"}
        assert message.content["config"] == {"server-round": 1}
        context.state.setdefault("seen", []).append(message.metadata.message_type)
        w, b = (message.content["arrays"][name].numpy() for name in ("w", "b"))
        assert (w.shape, b.shape) == ((2, 1), ())
        metrics = MetricRecord({"num-examples": 7, "loss": 0.25, "other": len(context.state["seen"])})
        content = RecordDict({"a": ArrayRecord({"b": Array(b + 1), "w": Array(w + 1)}), "m": metrics})
        return Message(content, reply_to=message)

    installed(monkeypatch, act)
    said: list[Any] = []
    with pytest.raises(Ended):
        flower_app.client(TASK, asking(said, asked("evaluate"), asked("train")))
    assert said == [
        {"ready": True},
        {"examples": 7, "metrics": {}},
        {"examples": 7, "metrics": {"loss": 0.25}},
    ]
    assert numbers("replied.f64") == [2.0, 3.0, 4.0]


@pytest.mark.parametrize(
    ("content", "kind"),
    [
        (RecordDict({"a": record()}), ValueError),
        (RecordDict({"m": MetricRecord({"num-examples": 7, "loss": 1.0})}), ValueError),
        (RecordDict({"a": record(), "m": MetricRecord({"num-examples": 7})}), KeyError),
        (RecordDict({"a": record(), "m": MetricRecord({"loss": 1.0})}), KeyError),
        (
            RecordDict(
                {"a": ArrayRecord({"v": Array(1.0)}), "m": MetricRecord({"num-examples": 7, "loss": 1})}
            ),
            ValueError,
        ),
        (None, ValueError),
    ],
)
def test_a_client_that_answers_otherwise_is_told(
    flwr: Mapping[str, ModuleType],
    monkeypatch: pytest.MonkeyPatch,
    content: RecordDict | None,
    kind: type[Exception],
) -> None:
    installed(
        monkeypatch,
        lambda message, context: Message(content, reply_to=message, error=content is None),
    )
    said: list[Any] = []
    with pytest.raises(kind):
        flower_app.client(TASK, asking(said, asked("train")))
    assert said == [{"ready": True}]


# the file


@pytest.mark.parametrize(
    ("source", "count"), [("", 0), ("one = App(1)\ntwo = App(2)", 2), ("one = App(1)", 1)]
)
def test_a_file_makes_one_app_of_each_kind(
    flwr: Mapping[str, ModuleType], monkeypatch: pytest.MonkeyPatch, source: str, count: int
) -> None:
    vars(flwr["flwr"])["App"] = App
    Path("app.py").write_text(f"from flwr import App\n{source}\n")
    if count == 1:
        assert flower_app._made(App).act == 1
        return
    with pytest.raises(ValueError, match=f"expected one App, got {count}"):
        flower_app._made(App)


def test_the_version_is_what_flwr_says(flwr: Mapping[str, ModuleType]) -> None:
    assert flower_app.version(TASK, conversing([])) == {"version": "1"}
