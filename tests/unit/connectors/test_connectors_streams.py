"""Append-only streams: a prefix stays what it was, whatever is appended, and a changed one is refused."""

from __future__ import annotations

import os
import shutil
import sqlite3
import uuid
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet
import pytest
from sqlalchemy import Column, Integer, MetaData, Table, Text, create_engine

from connectors import (
    Connector,
    EmptyTable,
    InvalidSource,
    SourceOutsideRoots,
    SourceSpec,
    SourceUnreachable,
    StreamChanged,
    WrongColumnType,
    dataset_version,
    open_source,
)
from connectors.segments import append
from connectors.spec import pinned

SALT = bytes(32)


def batch(*numbers: int) -> pa.Table:
    return pa.table({"n": list(numbers), "t": [f"row {number}" for number in numbers]})


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    made = tmp_path / "stream"
    made.mkdir()
    append(made, batch(1, 2))
    append(made, batch(3), suffix="parquet")
    append(made, batch(4, 5, 6))
    return made


def opened(folder: Path, **options: object) -> Connector:
    return open_source(SourceSpec("stream", folder.name, options=options), roots=[folder.parent])


def numbers(connector: Connector) -> list[int]:
    return [n for found in connector.batches(["n"]) for n in found.column(0).to_pylist()]


class TestFolder:
    def test_rows_come_in_the_order_of_appending(self, folder: Path) -> None:
        assert numbers(opened(folder)) == [1, 2, 3, 4, 5, 6]
        assert sorted(path.name for path in folder.iterdir()) == [
            "000000000001.arrow",
            "000000000002.parquet",
            "000000000003.arrow",
        ]

    def test_a_prefix_is_read_up_to_its_position(self, folder: Path) -> None:
        assert numbers(opened(folder, position=2)) == [1, 2, 3]

    def test_a_published_prefix_keeps_its_version_while_the_stream_grows(self, folder: Path) -> None:
        spec = SourceSpec("stream", "stream")
        before = open_source(spec, roots=[folder.parent])
        kept = pinned(spec, before)
        version = dataset_version(before, SALT)
        append(folder, batch(7))
        assert dataset_version(open_source(kept, roots=[folder.parent]), SALT) == version
        assert dataset_version(open_source(spec, roots=[folder.parent]), SALT) != version

    def test_another_kind_of_source_is_not_pinned(self, tmp_path: Path) -> None:
        pa.parquet.write_table(batch(1), tmp_path / "t.parquet")
        spec = SourceSpec("file", "t.parquet")
        assert pinned(spec, open_source(spec, roots=[tmp_path])) is spec

    def test_a_segment_is_read_only_and_a_number_is_given_once(self, folder: Path) -> None:
        first = folder / "000000000001.arrow"
        assert first.stat().st_mode & 0o222 == 0
        (folder / "000000000004.arrow").symlink_to(first)
        with pytest.raises(SourceOutsideRoots):
            append(folder, batch(7))

    @pytest.mark.parametrize(
        "rows", [pa.table({"n": pa.array([], pa.int64()), "t": []}), pa.table({"n": [1]})]
    )
    def test_other_columns_or_no_rows_are_not_appended(self, folder: Path, rows: pa.Table) -> None:
        with pytest.raises(InvalidSource, match="batch"):
            append(folder, rows)
        assert len(list(folder.iterdir())) == 3

    def test_an_append_that_fails_leaves_nothing(self, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        def fail(*_: object) -> None:
            raise OSError("disk full")

        monkeypatch.setattr(os, "link", fail)
        with pytest.raises(OSError, match="disk full"):
            append(folder, batch(7))
        assert len(list(folder.iterdir())) == 3

    def test_a_stream_of_nothing_is_unreachable(self, tmp_path: Path) -> None:
        (tmp_path / "empty").mkdir()
        with pytest.raises(SourceUnreachable, match="expected a segment, found 0"):
            opened(tmp_path / "empty")

    def test_a_position_beyond_the_end_is_unreachable(self, folder: Path) -> None:
        with pytest.raises(SourceUnreachable, match="expected 4 segments, found 3"):
            opened(folder, position=4)


def rewritten(folder: Path, number: int, suffix: str, rows: pa.Table) -> None:
    """An owner who edits an old segment, and keeps what it says of itself."""
    path = folder / f"{number:012}.{suffix}"
    before = pa.parquet.read_schema(path) if suffix == "parquet" else pa.ipc.open_file(path).schema
    path.unlink()
    rows = rows.replace_schema_metadata(before.metadata)
    if suffix == "parquet":
        pa.parquet.write_table(rows, path)
    else:
        with pa.ipc.new_file(path, rows.schema) as writer:
            writer.write_table(rows)


def one_byte(folder: Path) -> None:
    path = folder / "000000000001.arrow"
    path.chmod(0o600)
    content = bytearray(path.read_bytes())
    content[content.index(b"row 2")] ^= 1
    path.write_bytes(bytes(content))


def swapped(folder: Path) -> None:
    first, third = folder / "000000000001.arrow", folder / "000000000003.arrow"
    first.rename(folder / "x")
    third.rename(first)
    (folder / "x").rename(third)


CHANGES: dict[str, tuple[Callable[[Path], object], str]] = {
    "one byte": (one_byte, "segment 1 of stream"),
    "rows of the first": (lambda f: rewritten(f, 1, "arrow", batch(1, 9)), "segment 1 of stream"),
    "rows of the second": (lambda f: rewritten(f, 2, "parquet", batch(9)), "segment 2 of stream"),
    "rows of the last": (lambda f: rewritten(f, 3, "arrow", batch(4, 5)), "segment 3 of stream"),
    "order": (swapped, "segment 1 of stream: expected the number 1"),
    "removed": (lambda f: (f / "000000000002.parquet").unlink(), "segment 2 of stream: expected one file"),
    "doubled": (
        lambda f: shutil.copy(f / "000000000002.parquet", f / "000000000002.arrow"),
        "segment 3 of stream: expected one file",
    ),
    "first removed, second renumbered": (
        lambda f: (
            (f / "000000000002.parquet").rename(f / "000000000001.parquet")
            and (f / "000000000001.arrow").unlink()
        ),
        "segment 2 of stream: expected one file",
    ),
}


@pytest.mark.parametrize("change", CHANGES)
def test_a_changed_segment_is_refused_by_number(folder: Path, change: str) -> None:
    spec = SourceSpec("stream", "stream")
    kept = pinned(spec, open_source(spec, roots=[folder.parent]))
    alter, said = CHANGES[change]
    alter(folder)
    with pytest.raises(StreamChanged, match=said):
        open_source(kept, roots=[folder.parent])


def test_a_file_that_was_never_appended_is_no_segment(tmp_path: Path) -> None:
    (tmp_path / "s").mkdir()
    pa.parquet.write_table(batch(1), tmp_path / "s" / "000000000001.parquet")
    with pytest.raises(StreamChanged, match="segment 1 of s: expected the number 1"):
        opened(tmp_path / "s")


@pytest.mark.parametrize("name", ["notes.txt", "1.arrow", "000000000004.csv"])
def test_another_file_in_the_folder_is_refused(folder: Path, name: str) -> None:
    (folder / name).write_text("x")
    with pytest.raises(InvalidSource, match="numbered segments only"):
        opened(folder)


def test_a_segment_that_is_a_link_out_of_the_folder_is_refused(folder: Path, tmp_path: Path) -> None:
    secret = tmp_path / "secret.arrow"
    shutil.copy(folder / "000000000001.arrow", secret)
    (folder / "000000000004.arrow").symlink_to(secret)
    with pytest.raises(SourceOutsideRoots):
        opened(folder)


@pytest.mark.parametrize("location", ["../stream", "/etc", "link"])
def test_a_folder_outside_the_roots_is_refused(folder: Path, tmp_path: Path, location: str) -> None:
    root = tmp_path / "root"
    root.mkdir()
    (root / "link").symlink_to(folder)
    with pytest.raises(SourceOutsideRoots):
        open_source(SourceSpec("stream", location), roots=[root])


@pytest.mark.parametrize(
    ("location", "table", "options", "field"),
    [
        ("s", None, {"position": 0}, "options.position"),
        ("s", None, {"position": True}, "options.position"),
        ("s", None, {"digest": "00"}, "options.position"),
        ("s", None, {"sequence": "n"}, "options"),
        ("s", "t", {}, "table"),
        ("sqlite:///s.db", None, {"sequence": "n"}, "table"),
        ("sqlite:///s.db", "t", {}, "options.sequence"),
        ("sqlite:///s.db", "t", {"sequence": "n", "rows": 3}, "options.position"),
        ("sqlite:///s.db", "t", {"sequence": "n", "digest": "00"}, "options"),
    ],
)
def test_a_description_that_does_not_fit_is_refused(
    location: str, table: str | None, options: dict[str, object], field: str
) -> None:
    with pytest.raises(InvalidSource) as caught:
        SourceSpec("stream", location, table, options)
    assert caught.value.field == field


def sqlite_stream(folder: Path, declared: str) -> Connector:
    with closing(sqlite3.connect(folder / "s.db")) as database, database:
        database.execute(f"CREATE TABLE s ({declared})")
        database.execute("INSERT INTO s (n, t) VALUES (2, 'b'), (1, 'a'), (5, 'c')")
    return open_source(SourceSpec("stream", "sqlite:///s.db", "s", {"sequence": "n"}), roots=[folder])


@pytest.mark.parametrize(
    "declared",
    ["n INTEGER PRIMARY KEY, t TEXT", "n INTEGER UNIQUE, t TEXT", "t TEXT PRIMARY KEY, n BIGINT, UNIQUE (n)"],
)
def test_a_table_is_read_in_the_order_of_its_sequence(tmp_path: Path, declared: str) -> None:
    assert numbers(sqlite_stream(tmp_path, declared)) == [1, 2, 5]


@pytest.mark.parametrize(
    ("declared", "error"),
    [
        ("n INTEGER, t TEXT", InvalidSource),
        ("n INTEGER, t TEXT, UNIQUE (n, t)", InvalidSource),
        ("n REAL UNIQUE, t TEXT", WrongColumnType),
    ],
)
def test_a_sequence_must_be_distinct_integers(tmp_path: Path, declared: str, error: type[Exception]) -> None:
    with pytest.raises(error):
        sqlite_stream(tmp_path, declared)


@pytest.fixture(
    params=[
        "sqlite",
        pytest.param("PARLEY_TEST_POSTGRESQL", marks=pytest.mark.postgresql),
        pytest.param("PARLEY_TEST_MARIADB", marks=pytest.mark.mariadb),
    ]
)
def location(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    if request.param == "sqlite":
        return f"sqlite:///{tmp_path}/s.db"
    if not os.environ.get(request.param):
        pytest.skip(f"{request.param} names no server")
    return os.environ[request.param]


@pytest.fixture
def table(location: str) -> Iterator[Table]:
    made = Table(
        f"stream_{uuid.uuid4().hex}",
        MetaData(),
        Column("n", Integer, primary_key=True, autoincrement=False),
        Column("t", Text),
    )
    engine = create_engine(location)
    made.create(engine)
    try:
        yield made
    finally:
        made.drop(engine)
        engine.dispose()


def test_a_prefix_of_a_table_is_kept(location: str, table: Table, tmp_path: Path) -> None:
    engine = create_engine(location)
    spec = SourceSpec("stream", location, table.name, {"sequence": "n"})
    with pytest.raises(EmptyTable):
        open_source(spec, roots=[tmp_path])
    with engine.begin() as connection:
        connection.execute(table.insert(), [{"n": n, "t": f"row {n}"} for n in (1, 3, 4)])
    before = open_source(spec, roots=[tmp_path])
    kept = pinned(spec, before)
    assert kept.options == {"sequence": "n", "position": 4, "rows": 3}
    version = dataset_version(before, SALT)
    with engine.begin() as connection:
        connection.execute(table.insert(), [{"n": 5, "t": "later"}])
    assert numbers(open_source(spec, roots=[tmp_path])) == [1, 3, 4, 5]
    assert dataset_version(open_source(kept, roots=[tmp_path]), SALT) == version
    for change in (table.insert().values(n=2, t="late"), table.delete().where(table.c.n < 3)):
        with engine.begin() as connection:
            connection.execute(change)
        with pytest.raises(StreamChanged, match="expected 3, found"):
            open_source(kept, roots=[tmp_path])
    engine.dispose()
