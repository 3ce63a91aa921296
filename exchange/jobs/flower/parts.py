"""The two parts of an app as callables: an owner's answers, and the server that asks for them.

Between them and the app are a process, a file and lines of JSON (`mpc.engines.flower`). Nothing of the app is
believed: what it says is read field by field, and refused by name.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from federated.horizontal.apps import TEXT_BYTES, Agreed, Answer, Ask, Asked, Kind, Replied
from mpc.engines import flower
from mpc.errors import EngineFailed, MalformedMessage, ValueOutOfRange

__all__ = ["Config", "answering", "serve"]

Config = Mapping[str, str | int | bool]
_TEXT: Final = ("arrays", "config_record", "config")
"""Of a message: the names of its two records, and what the second holds."""


@contextmanager
def answering(
    python: Path,
    base: Path,
    source: bytes,
    agreed: Agreed,
    config: Config,
    patience_s: float,
    watch: Callable[[], None],
    rows: NDArray[np.void],
) -> Iterator[Answer]:
    """Run an app's ``ClientApp`` over an owner's rows.

    Args:
        python: an interpreter that has flwr.
        base: folder in which its spool is made.
        source: of the app.
        agreed: what it answers.
        config: of the run, for the app.
        patience_s: how long each answer may take.
        watch: called every second while an answer is waited for; what it raises ends the app.
        rows: a field for each column.

    Raises:
        EngineFailed: it does not start. Answers raise it too, and ``ValueOutOfRange`` for what is no number.
    """
    task = {"task": "client-app", **_task(agreed, config)}
    with flower.running(python, base, task, source, agreed.count, patience_s, rows, watch) as app:
        app.heard()

        def answer(asked: Asked) -> Replied:
            try:
                text = json.loads(asked.text)
                message = {name: text[name] for name in _TEXT}
            except (ValueError, KeyError, TypeError, RecursionError):
                raise MalformedMessage("message: expected its records by name, got another text") from None
            app.put(flower.ASKED, asked.arrays)
            app.reply({"kind": asked.kind.name.lower(), **message})
            told = app.heard() or {}
            return Replied(
                _examples(told.get("examples")),
                _metrics(told.get("metrics"), agreed.named(asked.kind)),
                app.take(flower.REPLIED) if asked.kind is Kind.TRAIN else np.zeros(0),
            )

        yield answer


def serve(
    python: Path,
    base: Path,
    source: bytes,
    agreed: Agreed,
    config: Config,
    patience_s: float,
    watch: Callable[[], None],
    ask: Ask,
) -> NDArray[np.float64]:
    """Run an app's ``ServerApp`` to its end; its last arrays: float64[count].

    Args:
        python: an interpreter that has flwr.
        base: folder in which its spool is made.
        source: of the app.
        agreed: what it may ask.
        config: of the run, for the app.
        patience_s: how long it may take between messages.
        watch: called every second while it is waited for; what it raises ends the app.
        ask: gets a message to all owners, and their mean answer back.

    Raises:
        EngineFailed: it does not start, fails, or says what is no message.
    """
    task = {"task": "server-app", **_task(agreed, config)}
    with flower.running(python, base, task, source, agreed.count, patience_s, None, watch) as app:
        while (told := app.heard()) is not None:
            replied = ask(_asked(told, app.take(flower.ASKED)))
            if replied.arrays.size:
                app.put(flower.REPLIED, replied.arrays)
            names = agreed.named(Kind[str(told["kind"]).upper()])
            metrics = dict(zip(names, replied.metrics, strict=True))
            app.reply({"examples": replied.rows, "metrics": metrics})
        return app.take(flower.ASKED)


def _task(agreed: Agreed, config: Config) -> dict[str, object]:
    return {
        "shapes": {name: list(shape) for name, shape in agreed.shapes.items()},
        "metrics": {kind.name.lower(): list(agreed.named(kind)) for kind in (Kind.TRAIN, Kind.EVALUATE)},
        "config": dict(config),
    }


def _asked(told: Mapping[str, Any], arrays: NDArray[np.float64]) -> Asked:
    kind = {"train": Kind.TRAIN, "evaluate": Kind.EVALUATE}.get(str(told.get("kind")))
    if kind is None or not set(_TEXT) <= set(told):
        raise EngineFailed("the app: expected a message of training or evaluation, got another")
    text = json.dumps({name: told[name] for name in _TEXT}, separators=(",", ":")).encode()
    if len(text) > TEXT_BYTES:
        raise EngineFailed(f"the app: expected a ConfigRecord of less than {TEXT_BYTES} bytes, got more")
    return Asked(kind, text, arrays)


def _examples(value: object) -> int:
    if not isinstance(value, int) or isinstance(value, bool):
        raise ValueOutOfRange("num-examples: expected a whole number from the app, got another value")
    return value


def _metrics(told: object, names: tuple[str, ...]) -> tuple[float, ...]:
    values = told if isinstance(told, dict) else {}
    found = [values.get(name) for name in names]
    misfits = [name for name, one in zip(names, found, strict=True) if not _is_number(one)]
    if misfits:
        raise ValueOutOfRange(f"metrics {', '.join(misfits)}: expected a number from the app, got none")
    return tuple(float(one) for one in found if one is not None)


def _is_number(value: object) -> bool:
    """Whole numbers that no float holds are none."""
    return isinstance(value, float) or (type(value) is int and abs(value) < 2**1000)
