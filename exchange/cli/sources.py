"""Where the rows of an asset are, as a person tells it: a file, a database table, or a description in a file.

A description is the JSON of ``connectors.spec.SourceSpec``: kind, location, table, options. Where a text in
it would be a secret, ``{"env": "NAME"}`` takes it from the environment, so the file holds none.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from functools import reduce
from pathlib import Path
from typing import Any, TypeVar

import click

from exchange.cli.framework import LazyGroup, command, invocation, option
from exchange.cli.output import fields
from exchange.errors import InvalidRequest

__all__ = ["append", "source_of", "source_options", "stream"]

Function = TypeVar("Function", bound=Callable[..., Any])

FILE_SUFFIXES = frozenset({".csv", ".parquet", ".pq", ".arrow", ".feather"})
_MEMBERS = ("kind", "location", "table", "options")
_LONGEST = 1 << 20

stream = LazyGroup("stream", {"append": "exchange.cli.sources:append"}, "stream")


def source_options(function: Function) -> Function:
    """Declare the options that tell a source: ``source``, ``table`` and ``described`` of the command."""
    declared = (
        option("--source", key="source"),
        option("--table", key="table"),
        option(
            "--source-file", "described", key="source_file", type=click.Path(path_type=Path, dir_okay=False)
        ),
    )
    return reduce(lambda decorated, declare: declare(decorated), reversed(declared), function)


def source_of(
    file: Path | None,
    source: str | None,
    table: str | None,
    described: Path | None = None,
    environ: Mapping[str, str] | None = None,
) -> dict[str, Any]:
    """Describe where the rows are: a file, a database URL with a table, or a description.

    A file's suffix says whether it holds a table or is a document.

    Raises:
        InvalidRequest: a description of another form; it is not quoted.
    """
    if sum(given is not None for given in (file, source, described)) != 1:
        raise click.UsageError("expected one of FILE, --source URL, --source-file FILE")
    if described is not None:
        if table is not None:
            raise click.UsageError("expected --table with --source only")
        return _described(described, environ or {})
    if source is not None:
        if table is None:
            raise click.UsageError("expected --table with --source")
        return {"kind": "table", "location": source, "table": table}
    path = Path(str(file))
    kind = "file" if path.suffix.lower() in FILE_SUFFIXES else "document"
    return {"kind": kind, "location": str(path.resolve()), "table": table}


def _described(path: Path, environ: Mapping[str, str]) -> dict[str, Any]:
    try:
        content = path.read_bytes()
        found = json.loads(content) if len(content) <= _LONGEST else None
    except OSError as error:
        raise InvalidRequest("--source-file", "a readable file", error.strerror or "an error") from None
    except (ValueError, RecursionError):
        found = None
    if not isinstance(found, dict) or not set(found) <= set(_MEMBERS):
        expected = f"a JSON object with {', '.join(_MEMBERS)}, at most {_LONGEST} bytes"
        raise InvalidRequest("--source-file", expected, "something else")
    made: dict[str, Any] = _filled(found, environ)
    return made


def _filled(value: Any, environ: Mapping[str, str]) -> Any:  # noqa: ANN401 - any JSON
    if isinstance(value, list):
        return [_filled(item, environ) for item in value]
    if not isinstance(value, dict):
        return value
    if set(value) == {"env"} and isinstance(value["env"], str):
        if value["env"] not in environ:
            raise InvalidRequest("--source-file", f"the variable {value['env']} in the environment", "none")
        return environ[value["env"]]
    return {name: _filled(item, environ) for name, item in value.items()}


@command("stream.append")
@click.argument("folder", type=click.Path(path_type=Path, file_okay=False, exists=True))
@click.argument("file", type=click.Path(path_type=Path, dir_okay=False, exists=True))
@click.pass_context
def append(context: click.Context, folder: Path, file: Path) -> None:
    """Append a table to an append-only stream as its next segment."""
    import pyarrow as pa

    from connectors import SourceSpec, open_source, segments

    path = file.resolve()
    table = open_source(SourceSpec("file", path.name), roots=[path.parent])
    rows = pa.Table.from_batches(table.batches(table.schema().names), table.schema())
    made = {"stream": folder.resolve().name, "segment": segments.append(folder, rows), "rows": rows.num_rows}
    invocation(context).output.result(made, fields(made))
