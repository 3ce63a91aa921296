"""Components by which an owner delivers: ``delivery/table``, ``delivery/marked-table`` and ``delivery/file``.

Each writes an envelope at the owner's node and releases its head, sealed to the receiver. Which of them an
agreement admits is written in it: an owner who wants its tables marked names ``delivery/marked-table`` alone.
All need columns at level ``PLAINTEXT``.
"""

from __future__ import annotations

import itertools
import os
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Final, cast

import pyarrow as pa
import pyarrow.csv
import pyarrow.parquet

from exchange.delivery.envelope import Head, seal_envelope
from exchange.delivery.image_marks import MEDIA, ImageMark
from exchange.delivery.table_marks import TableMark
from exchange.errors import InvalidRequest, JobFailed
from exchange.jobs.component import (
    Component,
    Outcome,
    Param,
    RoleInput,
    StepContext,
    one_of,
    source,
    text_like,
    whole_number,
)
from exchange.jobs.spec import Step
from policies.column_control import Level
from policies.plans import Plan, Reveal

__all__ = ["ENVELOPE", "FILE", "MARKED_TABLE", "SENDERS", "TABLE", "table_mark"]

ENVELOPE: Final = "envelope"
"""Name of the envelope in the step's folder."""

_ANY_ROLE: Final = frozenset({"identifier", "feature", "label", "measure", "group", "time", "text"})
_TABLE_MEDIA: Final = {"csv": "text/csv", "parquet": "application/vnd.apache.parquet"}
_MAX_IMAGE: Final = 64 * 1024 * 1024
_READ_SIZE: Final = 1024 * 1024
_SIGNS: Final = {b"\x89PNG\r\n\x1a\n": "PNG", b"\xff\xd8\xff": "JPEG"}


def table_mark(step: Step, key: bytes) -> TableMark:
    """The mark that a ``delivery/marked-table`` step puts into its table."""
    decimals = {column.name: column.decimals for column in step.inputs["owner"].columns}
    marked = cast("list[str]", step.params["marked"])
    return TableMark(
        key,
        str(step.params["anchor"]),
        {name: decimals[name] for name in marked},
        cast(int, step.params["mark_every"]),
    )


def _send_table(context: StepContext) -> Outcome:
    return _table(context, context.hand_over.rows(_columns(context.step)), "none")


def _send_marked_table(context: StepContext) -> Outcome:
    names = _columns(context.step)
    mark = table_mark(context.step, context.hand_over.mark_key)
    for name in (mark.anchor, *mark.columns):
        if name not in names:
            raise InvalidRequest(f"steps.{context.step.id}.params", f"one of {', '.join(names)}", name)
    return _table(context, mark.mark(context.hand_over.rows(names)), "last digits")


def _table(context: StepContext, batches: Iterator[pa.RecordBatch], mark: str) -> Outcome:
    kind, folder = str(context.step.params["format"]), context.hand_over.folder
    plain = folder / "content"
    try:
        rows = _write_table(batches, plain, kind)
        floor = max(context.number("min_cohort"), context.minimum_cohort)
        if rows < floor:
            raise JobFailed(f"step {context.step.id}: expected at least {floor} rows, found fewer")
        name = f"{context.step.params['name']}.{kind}"
        head = _sealed(context, _parts(plain), name, _TABLE_MEDIA[kind], mark)
    finally:
        plain.unlink(missing_ok=True)
    return Outcome(local=b"", release=head.encode(), cohort=rows)


def _send_file(context: StepContext) -> Outcome:
    """An image gets a mark; any other file cannot carry one, and the head says so."""
    content = _content(context)
    first = next(content, b"")
    kind = next((kind for sign, kind in _SIGNS.items() if first.startswith(sign)), None)
    parts: Iterable[bytes] = itertools.chain((first,), content)
    media, mark, ending = "application/octet-stream", "none", ""
    if kind is not None:
        image = _held(parts)
        parts, mark = [ImageMark(context.hand_over.mark_key).mark(image)], "brightness"
        media, ending = MEDIA[kind], f".{kind.lower()}"
    name = str(context.step.params["name"]).removesuffix(ending) + ending
    head = _sealed(context, parts, name, media, mark)
    return Outcome(local=b"", release=head.encode(), cohort=context.minimum_cohort)


def _content(context: StepContext) -> Iterator[bytes]:
    (column,) = _columns(context.step)
    for batch in context.read(column):
        for part in batch.column(0):
            yield part.as_py()


def _held(parts: Iterable[bytes]) -> bytes:
    held = bytearray()
    for part in parts:
        held += part
        if len(held) > _MAX_IMAGE:
            raise InvalidRequest("image", f"at most {_MAX_IMAGE} bytes, to be marked", "more")
    return bytes(held)


def _sealed(context: StepContext, parts: Iterable[bytes], name: str, media: str, mark: str) -> Head:
    """Write the envelope so that it is there whole or not at all."""
    folder = context.hand_over.folder
    unfinished = folder / f"{ENVELOPE}.new"
    with unfinished.open("wb") as out:
        head = seal_envelope(parts, out, name=name, media=media, mark=mark)
        out.flush()
        os.fsync(out.fileno())
    unfinished.replace(folder / ENVELOPE)
    return head


def _parts(path: Path) -> Iterator[bytes]:
    with path.open("rb") as file:
        while part := file.read(_READ_SIZE):
            yield part


def _write_table(batches: Iterator[pa.RecordBatch], path: Path, kind: str) -> int:
    first = next(batches, None)
    if first is None:
        return 0
    rows = 0
    path.touch(mode=0o600)
    with path.open("wb") as out:
        writer: pa.csv.CSVWriter | pa.parquet.ParquetWriter
        if kind == "csv":
            writer = pa.csv.CSVWriter(out, first.schema)
        else:
            writer = pa.parquet.ParquetWriter(out, first.schema)
        with writer:
            for batch in itertools.chain((first,), batches):
                writer.write_batch(batch)
                rows += batch.num_rows
    return rows


def _columns(step: Step) -> list[str]:
    return [column.name for column in step.inputs["owner"].columns]


def _plan(step: Step) -> Plan:
    """The receiver sees every value of the named columns."""
    given = source(step, "owner")
    return (given, Reveal(given.id, given.columns, step.recipients))


def _check_names(value: object, at: str) -> None:
    expected = "a list of 1 to 16 column names"
    if not isinstance(value, list) or not 1 <= len(value) <= 16:
        raise InvalidRequest(at, expected, repr(value)[:40])
    if len(set(map(str, value))) != len(value) or not all(isinstance(name, str) and name for name in value):
        raise InvalidRequest(at, expected, repr(value)[:40])


_NAME: Final = Param(
    "file name for the receiver, without ending", text_like("[A-Za-z0-9][A-Za-z0-9._-]{0,99}")
)
_TABLE_PARAMS: Final = {
    "format": Param("csv or parquet", one_of("csv", "parquet")),
    "min_cohort": Param("smallest number of rows that may be delivered", whole_number(1, 2**31)),
    "name": _NAME,
}
_WHOLE_ROWS: Final = RoleInput(1, 512, _ANY_ROLE, Level.PLAINTEXT)

TABLE = Component(
    name="delivery/table",
    version=1,
    summary="The owner delivers the named columns, row by row, to the participant who asked.",
    roles={"owner": _WHOLE_ROWS},
    params=_TABLE_PARAMS,
    output_type="table/rows",
    needs=frozenset(),
    protocol=None,
    run=_send_table,
    plan=_plan,
    is_delivery=True,
)

MARKED_TABLE = Component(
    name="delivery/marked-table",
    version=1,
    summary="The owner delivers the named columns, with a mark in them that tells this delivery from others.",
    roles={"owner": _WHOLE_ROWS},
    params={
        **_TABLE_PARAMS,
        "anchor": Param("the column that names a row", text_like(".{1,200}")),
        "marked": Param("numbers whose last digit may change by one", _check_names),
        "mark_every": Param("one row in so many is marked", whole_number(2, 1000)),
    },
    output_type="table/rows",
    needs=frozenset(),
    protocol=None,
    run=_send_marked_table,
    plan=_plan,
    is_delivery=True,
)

FILE = Component(
    name="delivery/file",
    version=1,
    summary="The owner delivers a file to the participant who asked; an image carries a mark.",
    roles={"owner": RoleInput(1, 1, _ANY_ROLE, Level.PLAINTEXT)},
    params={"name": _NAME, "min_cohort": Param("1: a file has no groups", whole_number(1, 1))},
    output_type="file",
    needs=frozenset(),
    protocol=None,
    run=_send_file,
    plan=_plan,
    is_delivery=True,
)

SENDERS: Final[Sequence[Component]] = (TABLE, MARKED_TABLE, FILE)
