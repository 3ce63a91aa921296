"""The log of an epoch that is over: kept beside the database as a file, and its place made free.

Both steps may be cut off at any moment and done again: the archive gets its name when it is whole and on
disk, and the database changes from the old log to the carried state in one transaction.
"""

from __future__ import annotations

from pathlib import Path

import sqlalchemy
from sqlalchemy import Connection, delete, insert, select

from ledger import canonical
from ledger.errors import StaleHead
from ledger.schema import (
    BATCHES,
    CARRIED,
    CHECKPOINTS,
    COSIGNATURES,
    ENTRIES,
    HEADS,
    INDEXED,
    POSTINGS,
    PROMISES,
    SNAPSHOTS,
    STATE,
    TIMESTAMPS,
    WITNESS_LINES,
)
from ledger.store import LedgerStore, StoredHead, open_engine, upgrade
from ledger.tables import State, changes

__all__ = ["archive", "begin_anew"]

_KEPT = (ENTRIES, CHECKPOINTS, COSIGNATURES, HEADS, CARRIED, BATCHES, TIMESTAMPS, WITNESS_LINES, PROMISES)
_MADE_AGAIN = (POSTINGS, INDEXED, SNAPSHOTS, STATE)
_AT_ONCE = 1000


def archive(store: LedgerStore, path: Path) -> None:
    """Copy a log into a SQLite file of its own, from whatever database it is in.

    What follows from the entries is left out, and so are the private payloads behind them: those stay where
    they are, so that erasing one erases it. A file of this name that is there already is replaced.

    Args:
        store: holds the log; nobody may write to it meanwhile.
        path: the file; gets this name when it is whole.
    """
    staged = path.with_name(path.name + ".new")
    for leftover in (staged, Path(f"{staged}-wal"), Path(f"{staged}-shm")):
        leftover.unlink(missing_ok=True)
    staged.touch(mode=0o600)
    engine = open_engine(f"sqlite:///{staged}")
    try:
        upgrade(engine)
        with LedgerStore(engine).transaction() as connection:
            for table in _KEPT:
                _copy(store, table, connection)
        with engine.connect() as connection:
            connection.exec_driver_sql("PRAGMA journal_mode = DELETE")
    finally:
        engine.dispose()
    staged.replace(path)


def begin_anew(store: LedgerStore, head: StoredHead | None, carried: State) -> None:
    """Take a log out of its database and leave there what it hands on, all in one transaction.

    Args:
        store: holds the log, archived already.
        head: where it stood when it was archived; None if there is no log.
        carried: what the next log begins with.

    Raises:
        StaleHead: it does not stand there any more.
    """
    with store.transaction() as connection:
        if head is not None:
            where = (HEADS.c.size == head.size) & (HEADS.c.root == head.root)
            if connection.execute(delete(HEADS).where(where)).rowcount != 1:
                raise StaleHead(f"expected the stored head at size {head.size}")
        elif connection.execute(select(HEADS)).first() is not None:
            raise StaleHead("expected no log, found one")
        for table in (*_KEPT, *_MADE_AGAIN):
            connection.execute(delete(table))
        rows = []
        for name, key, row in changes(State(), carried):
            rows.append({"table": name, "key": key, "row": canonical.encode(dict(row))})
            if len(rows) == _AT_ONCE:
                connection.execute(insert(CARRIED), rows)
                rows = []
        if rows:
            connection.execute(insert(CARRIED), rows)


def _copy(store: LedgerStore, table: sqlalchemy.Table, connection: Connection) -> None:
    rows = []
    for row in store.stream(select(table)):
        rows.append(dict(row._mapping))
        if len(rows) == _AT_ONCE:
            connection.execute(insert(table), rows)
            rows = []
    if rows:
        connection.execute(insert(table), rows)
