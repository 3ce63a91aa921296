"""Runs the parts of a Flower app, one call after the other, without any of Flower's network.

`mpc.engines.worker` loads this file beside it, in an interpreter that has `flwr` and not this package, and
encloses itself before any of it runs. The app is ``app.py`` in the working directory: it makes one
``ClientApp`` and one ``ServerApp``. Arrays come and go as files of float64, one after the other in the order
agreed; everything else as JSON. What this file checks, it checks for the sake of whoever writes an app: the
app is in the same process, so `mpc.engines.flower` believes nothing that comes from it.
"""

from __future__ import annotations

import importlib.util
import math
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, Final, NoReturn

Converse = Callable[[Mapping[str, object]], Any]
Shapes = Mapping[str, list[int]]

ASKED, REPLIED, ROWS = "asked.f64", "replied.f64", "rows.npy"
"""Arrays of a message, arrays of the answer, and an owner's rows: a file each."""
_NODE: Final = 1
"""The one node that a ``ServerApp`` sees: all owners."""
_SERVER: Final = 0
_WEIGHT: Final = "num-examples"
_KINDS: Final = ("train", "evaluate")
_MOST_LOOKS: Final = 5
"""How often a strategy may ask who is there and send nothing: one that waits for more waits for ever."""


def version(task: Mapping[str, Any], converse: Converse) -> dict[str, object]:
    """Say what is installed, after what an app needs has been loaded."""
    import flwr
    import flwr.app
    import flwr.clientapp
    import flwr.serverapp

    return {"version": flwr.__version__}


def client(task: Mapping[str, Any], converse: Converse) -> NoReturn:
    """Answer one message after the other over the owner's rows, until this process is ended."""
    from flwr.app import ConfigRecord, Context, Message, RecordDict
    from flwr.clientapp import ClientApp

    _identify(_NODE)
    app = _made(ClientApp)
    context = Context(
        run_id=1, node_id=_NODE, node_config={"rows": ROWS}, state=RecordDict(), run_config=task["config"]
    )
    asked = converse({"ready": True})
    while True:
        content = RecordDict(
            {
                asked["arrays"]: _record(task["shapes"], ASKED),
                asked["config_record"]: ConfigRecord(asked["config"]),
            }
        )
        message = Message(content, dst_node_id=_NODE, message_type=asked["kind"])
        message.metadata.__dict__["_message_id"] = "1"
        reply = app(message, context)
        if reply.has_error():
            raise ValueError("the app answers with an error")
        metrics = _only(reply.content.metric_records, "MetricRecord")
        if asked["kind"] == "train":
            _write(_only(reply.content.array_records, "ArrayRecord"), task["shapes"], REPLIED)
        told = {name: metrics[name] for name in (_WEIGHT, *task["metrics"][asked["kind"]])}
        asked = converse({"examples": told.pop(_WEIGHT), "metrics": told})


def server(task: Mapping[str, Any], converse: Converse) -> dict[str, object]:
    """Have the app train by its strategy; its last arrays are those it leaves in ``context.state``."""
    from flwr.app import Context, RecordDict
    from flwr.serverapp import ServerApp

    _identify(_SERVER)
    app = _made(ServerApp)
    context = Context(
        run_id=1, node_id=_SERVER, node_config={}, state=RecordDict(), run_config=task["config"]
    )
    app(_grid(task["shapes"], converse), context)
    _write(_only(context.state.array_records, "ArrayRecord in context.state"), task["shapes"], ASKED)
    return {}


PARTS: Final = {"app-version": version, "client-app": client, "server-app": server}


def _grid(shapes: Shapes, converse: Converse) -> Any:  # noqa: ANN401 - a class of flwr's
    """A grid of one node. What is pushed is answered at once, by the mean of all owners."""
    from flwr.app import Message, MetricRecord, RecordDict
    from flwr.serverapp import Grid

    class AllOwners(Grid):  # type: ignore[misc]  # flwr is not installed where this is checked
        """The owners together, as one node."""

        def __init__(self) -> None:
            self._looks, self._sent, self._replies = 0, 0, dict[str, Any]()

        def set_run(self, run: Any) -> None:  # noqa: ANN401
            """There is one run."""

        @property
        def run(self) -> Any:  # noqa: ANN401
            """There is nothing to say of it."""
            raise NotImplementedError

        def create_message(
            self,
            content: Any,  # noqa: ANN401
            message_type: str,
            dst_node_id: int,
            group_id: str,
            ttl: float | None = None,
        ) -> Any:  # noqa: ANN401
            """Make a message to the one node."""
            return Message(content, dst_node_id, message_type, ttl=ttl, group_id=group_id)

        def get_node_ids(self) -> Iterable[int]:
            """The one node."""
            self._looks += 1
            if self._looks > _MOST_LOOKS:
                raise ValueError("the strategy waits for more than one node")
            return [_NODE]

        def push_messages(self, messages: Iterable[Any]) -> Iterable[str]:
            """Have all owners answer, one message after the other."""
            return [self._asked(message) for message in messages]

        def pull_messages(self, message_ids: Iterable[str]) -> Iterable[Any]:
            """The answers that are there."""
            return [self._replies.pop(number) for number in message_ids if number in self._replies]

        def send_and_receive(self, messages: Iterable[Any], *, timeout: float | None = None) -> Iterable[Any]:
            """Both."""
            return self.pull_messages(self.push_messages(messages))

        def _asked(self, message: Any) -> str:  # noqa: ANN401
            kind, content = message.metadata.message_type, message.content
            if kind not in _KINDS or message.metadata.dst_node_id != _NODE:
                raise ValueError(f"expected a message to the one node, of kind {' or '.join(_KINDS)}")
            if content.metric_records or len(content.config_records) > 1:
                raise ValueError("expected an ArrayRecord and at most one ConfigRecord in a message")
            _write(_only(content.array_records, "ArrayRecord"), shapes, ASKED)
            (arrays,), (config,) = content.array_records, content.config_records or {"config": {}}
            values = content.config_records[config] if content.config_records else {}
            told = converse({"kind": kind, "arrays": arrays, "config_record": config, "config": dict(values)})
            records: dict[str, Any] = {
                "metrics": MetricRecord({_WEIGHT: told["examples"], **told["metrics"]})
            }
            if kind == "train":
                records["arrays"] = _record(shapes, REPLIED)
            self._looks, self._sent = 0, self._sent + 1
            number = str(self._sent)
            message.metadata.__dict__["_message_id"] = number
            self._replies[number] = Message(RecordDict(records), reply_to=message)
            return number

    return AllOwners()


def _identify(node: int) -> None:
    """Say who this process is; flwr 1.41 makes every message from it and offers no other way."""
    from flwr.supercore.task_identity import TaskIdentity

    TaskIdentity.task_id, TaskIdentity.run_id, TaskIdentity.node_id = 1, 1, node


def _made(kind: type) -> Any:  # noqa: ANN401 - an app of that kind
    """The one app of a kind that ``app.py`` makes."""
    found = importlib.util.spec_from_file_location("app", Path("app.py"))
    if found is None or found.loader is None:
        raise ModuleNotFoundError("app")
    module = importlib.util.module_from_spec(found)
    found.loader.exec_module(module)
    return _only({name: one for name, one in vars(module).items() if isinstance(one, kind)}, kind.__name__)


def _only(records: Mapping[str, Any], what: str) -> Any:  # noqa: ANN401
    if len(records) != 1:
        raise ValueError(f"expected one {what}, got {len(records)}")
    return next(iter(records.values()))


def _record(shapes: Shapes, name: str) -> Any:  # noqa: ANN401 - an ArrayRecord
    """Read arrays from a file."""
    import numpy as np
    from flwr.app import Array, ArrayRecord

    numbers = np.fromfile(name, dtype="<f8")
    parts = np.split(numbers, list(_ends(shapes))[:-1])
    return ArrayRecord(
        {key: Array(part.reshape(shape)) for (key, shape), part in zip(shapes.items(), parts, strict=True)}
    )


def _write(record: Any, shapes: Shapes, name: str) -> None:  # noqa: ANN401 - an ArrayRecord
    """Write arrays to a file, if they are those agreed."""
    import numpy as np

    found = {key: one.numpy() for key, one in record.items()}
    if {key: list(one.shape) for key, one in found.items()} != dict(shapes):
        raise ValueError("expected arrays of the names and shapes that were agreed, got others")
    np.concatenate([found[key].ravel() for key in shapes]).astype("<f8").tofile(name)


def _ends(shapes: Shapes) -> Iterator[int]:
    at = 0
    for shape in shapes.values():
        at += math.prod(shape)
        yield at
