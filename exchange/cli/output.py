"""Where the command line writes: results on standard output, everything for a person on standard error.

``text`` prints tables; ``json`` prints one envelope; ``jsonl`` prints one envelope per item or event and a
last one with ``terminal: true``. The envelope is
``{"schema_version", "status", "data"}`` or ``{"schema_version", "status", "error_code", "message", "hint"}``.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import IO, TYPE_CHECKING, Protocol

from exchange.cli import messages

if TYPE_CHECKING:
    from rich.console import Console, RenderableType

    from exchange.errors import PublicFace

__all__ = ["SCHEMA_VERSION", "Bar", "Output", "failure", "fields", "plain", "rows", "success"]

SCHEMA_VERSION = "1"

_STEERING = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069]")


def success(data: object) -> dict[str, object]:
    """Wrap a result in the envelope."""
    return {"schema_version": SCHEMA_VERSION, "status": "ok", "data": data}


def failure(code: str, message: str, hint: str) -> dict[str, object]:
    """Wrap an error in the envelope."""
    return {
        "schema_version": SCHEMA_VERSION,
        "status": "error",
        "error_code": code,
        "message": message,
        "hint": hint,
    }


class Bar(Protocol):
    """A progress bar: ``at`` moves it."""

    def at(self, done: int, total: int, text: str) -> None:
        """Show that ``done`` of ``total`` parts are ready."""


class _Silent:
    def at(self, done: int, total: int, text: str) -> None:
        """Show nothing."""


class Output:
    """The two streams of one call, and the format of its result."""

    def __init__(self, format_: str, language: str, stdout: IO[str], stderr: IO[str]) -> None:
        self.format, self.language = format_, language
        self._stdout, self._stderr = stdout, stderr

    @property
    def console(self) -> Console:
        """The console for people, on standard error."""
        from rich.console import Console

        return Console(file=self._stderr, markup=False, highlight=False, emoji=False)

    def text(self, key: str, **values: object) -> str:
        """A message in the language of this call."""
        return messages.text(self.language, key, **values)

    def note(self, key: str, **values: object) -> None:
        """Tell a person something that is not the result."""
        self._stderr.write(messages.text(self.language, key, **values) + "\n")
        self._stderr.flush()

    def result(self, data: object, view: RenderableType | str) -> None:
        """Print the result: ``data`` for programs, ``view`` for people."""
        if self.format == "json":
            self._line(success(data))
        elif self.format == "jsonl":
            items = data if isinstance(data, list) else [data]
            for number, item in enumerate(items):
                self._line(success(item) | ({"terminal": True} if number == len(items) - 1 else {}))
            if not items:
                self._line(success(None) | {"terminal": True})
        elif isinstance(view, str):
            self._stdout.write(view + "\n")
        else:
            from rich.console import Console

            width = None if self._stdout.isatty() else 160
            Console(file=self._stdout, width=width, markup=False, highlight=False, emoji=False).print(view)
        self._stdout.flush()

    def document(self, data: Mapping[str, object], view: RenderableType, *, is_sound: bool) -> None:
        """Print a report that is a document of its own: its keys stand beside the envelope's, not below."""
        if self.format == "text":
            self.result(data, view)
            return
        envelope = {"schema_version": SCHEMA_VERSION, "status": "ok" if is_sound else "error"}
        self._line(envelope | dict(data) | ({"terminal": True} if self.format == "jsonl" else {}))
        self._stdout.flush()

    def event(self, data: Mapping[str, object]) -> None:
        """Print one event of a wait; only ``jsonl`` shows events."""
        if self.format == "jsonl":
            self._line(success(dict(data)))
            self._stdout.flush()

    def problem(self, face: PublicFace) -> None:
        """Print an error: an envelope on standard output for programs, two lines for people."""
        hint = ""
        for key in (f"hint.{face.code}", f"hint.exit-{face.exit_code}"):
            if messages.has(key):
                hint = messages.text(self.language, key)
                break
        if self.format != "text":
            envelope = failure(face.code, face.detail, hint)
            self._line(envelope | ({"terminal": True} if self.format == "jsonl" else {}))
            self._stdout.flush()
        label = messages.text(self.language, "error.label")
        self._stderr.write(f"{label} [{face.code}] {face.detail}\n")
        for reason in _reasons(face.extra):
            self._stderr.write(f"  - {reason}\n")
        if hint:
            self._stderr.write(f"{hint}\n")
        self._stderr.flush()

    @contextmanager
    def progress(self, key: str, **values: object) -> Iterator[Bar]:
        """Show a progress bar on standard error while the block runs; nothing when it is not a terminal."""
        if not self._stderr.isatty():
            yield _Silent()
            return
        from rich.progress import BarColumn, Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

        columns = (
            SpinnerColumn(),
            TextColumn("{task.description}"),
            BarColumn(),
            TextColumn("{task.fields[detail]}"),
            TimeElapsedColumn(),
        )
        with Progress(*columns, console=self.console, transient=True) as progress:
            task = progress.add_task(messages.text(self.language, key, **values), total=None, detail="")

            class Shown:
                def at(self, done: int, total: int, text: str) -> None:
                    """Move the bar."""
                    progress.update(task, completed=done, total=total, detail=text)

            yield Shown()

    def _line(self, value: object) -> None:
        self._stdout.write(json.dumps(value, ensure_ascii=False, sort_keys=True) + "\n")


def _reasons(extra: Mapping[str, object]) -> Sequence[str]:
    reasons = extra.get("reasons")
    return [str(reason) for reason in reasons] if isinstance(reasons, list | tuple) else []


def rows(
    items: Sequence[Mapping[str, object]], columns: Sequence[str], title: str | None = None
) -> RenderableType:
    """Lay out ``items`` as a table; headings are the API's own words."""
    from rich.table import Table

    table = Table(title=None if title is None else plain(title), title_justify="left")
    for field in columns:
        numbers = [item.get(field) for item in items]
        right = bool(numbers) and all(isinstance(value, int | float) for value in numbers)
        table.add_column(field, justify="right" if right else "left", overflow="fold")
    for item in items:
        table.add_row(*(_cell(item.get(field)) for field in columns))
    return table


def fields(values: Mapping[str, object]) -> RenderableType:
    """Lay out one thing as names and values."""
    from rich.table import Table

    table = Table(show_header=False, box=None, pad_edge=False)
    table.add_column(style="bold")
    table.add_column(overflow="fold")
    for name, value in values.items():
        table.add_row(name, _cell(value))
    return table


def _cell(value: object) -> str:
    if value is None:
        return ""
    if isinstance(value, dict):
        return plain(json.dumps(value, ensure_ascii=False, sort_keys=True))
    if isinstance(value, list | tuple):
        return ", ".join(_cell(part) for part in value)
    return plain(str(value))


def plain(text: str) -> str:
    """Replace what would steer a terminal or turn its writing round: texts may come from other members."""
    return _STEERING.sub("\N{REPLACEMENT CHARACTER}", text)
