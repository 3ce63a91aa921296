"""Opening a ledger database to look at it only: a copy, a backup, a damaged file, one that a node is using.

Nothing is written, not even by the database itself where that can be helped. What is no database, or one of
another version, is told as such instead of being brought up to date.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import quote

from sqlalchemy import Engine, column, create_engine, event, inspect, make_url, select, table
from sqlalchemy.exc import DBAPIError, SQLAlchemyError

from ledger.errors import StoreCorrupt, StoreUnavailable
from ledger.fsck import Problem
from ledger.schema import HEAD, VERSION_TABLE

__all__ = ["damage", "opened_read_only"]

_MAGIC = b"SQLite format 3\0"
_MOST_PROBLEMS = 100


@contextmanager
def opened_read_only(url: str) -> Iterator[Engine]:
    """Open a database for reading; closed at the end.

    Raises:
        StoreUnavailable: there is none, or it cannot be read.
        StoreCorrupt: it is no ledger database, or one of another version.
    """
    parsed = make_url(url)
    if parsed.get_backend_name() == "sqlite":
        engine = _open_sqlite(Path(str(parsed.database)))
    else:
        engine = create_engine(parsed)
        event.listen(engine, "connect", _forbid_writing)
    try:
        _check_version(engine)
        yield engine
    finally:
        engine.dispose()


def damage(engine: Engine) -> list[Problem]:
    """Ask SQLite whether the file's own structure holds together; PostgreSQL sees to that itself."""
    if engine.dialect.name != "sqlite":
        return []
    try:
        with engine.connect() as connection:
            rows = connection.exec_driver_sql(f"PRAGMA integrity_check({_MOST_PROBLEMS})").all()
    except SQLAlchemyError as exc:
        return [Problem("database file", "pages that can be read", _kind(exc))]
    return [
        Problem("database file", "pages that fit together", str(row[0]).replace("\n", "; "))
        for row in rows
        if row[0] != "ok"
    ]


def _open_sqlite(path: Path) -> Engine:
    try:
        with path.open("rb") as file:
            found = file.read(len(_MAGIC))
    except OSError as exc:
        raise StoreUnavailable(f"expected a database at {path}, found none to read: {exc.strerror}") from exc
    if found != _MAGIC:
        what = "another file" if found else "an empty one"
        raise StoreCorrupt(f"expected a SQLite database at {path}, found {what}")
    log = Path(f"{path}-wal")
    unused = not log.exists() or not log.stat().st_size  # nobody has it open, so it cannot change under us
    mode = "mode=ro&immutable=1" if unused else "mode=ro"
    engine = create_engine(f"sqlite:///file:{quote(os.fspath(path))}?{mode}&uri=true")
    event.listen(engine, "connect", _forbid_writing)
    return engine


def _forbid_writing(connection: Any, _: object) -> None:  # noqa: ANN401 - the driver's own connection
    if hasattr(connection, "read_only"):
        connection.read_only = True
    else:
        connection.execute("PRAGMA query_only = ON")
        connection.execute("PRAGMA busy_timeout = 30000")


def _check_version(engine: Engine) -> None:
    try:
        with engine.connect() as connection:
            if not inspect(connection).has_table(VERSION_TABLE):
                raise StoreCorrupt("expected a ledger database, found one without a ledger's tables")
            versions = table(VERSION_TABLE, column("version_num"))
            version = connection.scalar(select(versions.c.version_num))
    except SQLAlchemyError as exc:
        raise StoreUnavailable(f"the database cannot be read: {_kind(exc)}") from exc
    if version != HEAD:
        raise StoreCorrupt(
            f"expected a ledger database of version {HEAD}, found {version!r}; the process that owns it "
            "brings it up to date when it starts"
        )


def _kind(exc: SQLAlchemyError) -> str:
    cause = exc.orig if isinstance(exc, DBAPIError) else None
    return type(exc).__name__ if cause is None else f"{type(cause).__name__}: {cause}"[:200]
