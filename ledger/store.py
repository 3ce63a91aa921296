"""Where a hub or a member keeps the log: SQLAlchemy Core, on SQLite or PostgreSQL.

The store is not trusted for integrity, see ``ledger.schema``. It keeps three promises that callers build on:
a transaction is all or nothing and durable when it returns; the head moves from a known size and root only; a
size has one checkpoint and a ``txid`` one entry, ever.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from operator import attrgetter
from pathlib import Path
from typing import Any, TypeVar

from sqlalchemy import (
    Connection,
    Engine,
    Executable,
    Select,
    TableClause,
    bindparam,
    column,
    create_engine,
    delete,
    event,
    insert,
    inspect,
    make_url,
    select,
    table,
    update,
)
from sqlalchemy.exc import IntegrityError, SQLAlchemyError

from ledger import canonical
from ledger.batches import Batch
from ledger.driver import insert_many, known_among
from ledger.entries import Entry
from ledger.errors import NotCanonical, StaleHead, StoreCorrupt, StoreUnavailable
from ledger.merkle import leaf_hash
from ledger.schema import (
    CARRIED,
    CHECKPOINTS,
    COSIGNATURES,
    ENTRIES,
    HEAD,
    HEADS,
    SNAPSHOTS,
    STATE,
    VERSION_TABLE,
)
from ledger.tables import Row, State, Table, changes

__all__ = [
    "LedgerStore",
    "Record",
    "Snapshot",
    "StoredHead",
    "migrate",
    "open_engine",
    "records_of",
    "typed",
    "upgrade",
]

_T = TypeVar("_T")

_HEAD = "log"
_PRAGMAS = (
    "journal_mode = WAL",
    "synchronous = FULL",
    "busy_timeout = 30000",
    "cache_size = -65536",
    "wal_autocheckpoint = 16384",
)
"""The log of 64 MiB lets pages of the index on txids, which are hit at random, be written back together."""

_PAGE = 1000
_MAX_BOUND = 500
"""Values in one IN list; well below the limits of both databases."""


@dataclass(frozen=True)
class Record:
    """An entry at its place, with the columns the store keeps beside its bytes."""

    index: int
    txid: str
    type: str
    actor: str
    leaf: bytes
    raw: bytes
    code: str | None
    time: int
    _parsed: Entry | None = field(default=None, repr=False, compare=False)

    @classmethod
    def of(cls, index: int, entry: Entry, code: str | None, time: int) -> Record:
        """Make the row of an entry in a batch of Unix time ``time``."""
        leaf = leaf_hash(entry.raw)
        return cls(index, entry.txid, entry.type, entry.actor, leaf, entry.raw, code, time, entry)

    @property
    def entry(self) -> Entry:
        """The entry, parsed from its bytes."""
        return self._parsed or Entry.parse(self.raw)


_entry_row = attrgetter(*(column.name for column in ENTRIES.columns))


@dataclass(frozen=True)
class StoredHead:
    """The size and Merkle root (hex) that a store stands at."""

    size: int
    root: str


@dataclass(frozen=True)
class Snapshot:
    """The state that the first ``size`` entries make."""

    size: int
    state: State


def open_engine(url: str) -> Engine:
    """Open a database; a SQLite file gets a write-ahead log that is synced at every commit."""
    engine = create_engine(url)
    if make_url(url).get_backend_name() == "sqlite":
        event.listen(engine, "connect", _prepare_sqlite)
    return engine


def _prepare_sqlite(connection: Any, _: object) -> None:  # noqa: ANN401 - the driver's own connection
    for pragma in _PRAGMAS:
        connection.execute(f"PRAGMA {pragma}")


def upgrade(engine: Engine) -> None:
    """Bring the ledger's tables to this build's version.

    Raises:
        StoreUnavailable: the database cannot be reached or refuses.
    """
    migrate(engine, Path(__file__).parent / "migrations", VERSION_TABLE, HEAD)


def migrate(engine: Engine, scripts: Path, version_table: str, head: str) -> None:
    """Run an Alembic tree up to ``head``, which stands in ``version_table`` when it is done.

    A database that is there already is left alone, without loading Alembic: most starts find it so.

    Raises:
        StoreUnavailable: the database cannot be reached or refuses.
    """
    with _transaction(engine) as connection:
        if inspect(connection).has_table(version_table):
            version = table(version_table, column("version_num"))
            if connection.scalar(select(version.c.version_num)) == head:
                return
        from alembic import command
        from alembic.config import Config

        config = Config()
        config.set_main_option("script_location", str(scripts).replace("%", "%%"))
        config.set_main_option("path_separator", "os")
        config.attributes["connection"] = connection
        command.upgrade(config, head)


@contextmanager
def _transaction(engine: Engine) -> Iterator[Connection]:
    try:
        with engine.begin() as connection:
            yield connection
    except IntegrityError as exc:
        raise StaleHead("another writer came first: a row with this key is there already") from exc
    except UnicodeDecodeError as exc:  # SQLite's own message, about a description that is damaged
        raise StoreCorrupt("the database cannot be read: its file is damaged") from exc
    except SQLAlchemyError as exc:
        raise StoreUnavailable(f"the database did not carry out a request: {type(exc).__name__}") from exc


class LedgerStore:
    """One log in one database. Thread-safe; writers are kept apart by the head's compare-and-swap."""

    def __init__(self, engine: Engine) -> None:
        self.engine = engine

    @contextmanager
    def transaction(self) -> Iterator[Connection]:
        """Write several things at once, or nothing.

        Raises:
            StaleHead: another writer came first.
            StoreUnavailable: the database did not carry it out; whether it was committed may be unknown.
        """
        with _transaction(self.engine) as connection:
            yield connection

    def append(self, connection: Connection, records: Sequence[Record]) -> None:
        """Write entries. What they concern is written later, by ``ledger.postings``."""
        insert_many(connection, ENTRIES, [_entry_row(record) for record in records])

    def move_head(self, connection: Connection, old: StoredHead | None, new: StoredHead) -> None:
        """Compare-and-swap the head.

        Raises:
            StaleHead: the stored head is not ``old``.
        """
        if old is None:
            connection.execute(insert(HEADS), {"name": _HEAD, "size": new.size, "root": new.root})
            return
        moved = connection.execute(
            update(HEADS)
            .where(HEADS.c.name == _HEAD, HEADS.c.size == old.size, HEADS.c.root == old.root)
            .values(size=new.size, root=new.root)
        )
        if moved.rowcount != 1:
            raise StaleHead(f"expected the stored head at size {old.size}")

    def put_checkpoint(self, connection: Connection, size: int, note: bytes) -> None:
        """Write the log's checkpoint of one size, once and for ever."""
        connection.execute(insert(CHECKPOINTS), {"size": size, "note": note.decode()})

    def head(self) -> StoredHead | None:
        """Return where the store stands; None if it is empty."""
        rows = self.rows(select(HEADS.c.size, HEADS.c.root).where(HEADS.c.name == _HEAD))
        if not rows:
            return None
        return StoredHead(
            typed(rows[0][0], int, "ledger_heads: size"), typed(rows[0][1], str, "ledger_heads: root")
        )

    def records(self, start: int, stop: int) -> list[Record]:
        """Return the entries from ``start`` up to ``stop``, in log order."""
        query = select(ENTRIES).where(ENTRIES.c["index"] >= start, ENTRIES.c["index"] < stop)
        return self._records(query.order_by(ENTRIES.c["index"]))

    def pick(self, indexes: Sequence[int]) -> list[Record]:
        """Return the entries at these indexes, in the order asked for.

        Raises:
            StoreCorrupt: one of them is missing.
        """
        found: dict[int, Record] = {}
        for start in range(0, len(indexes), _MAX_BOUND):
            part = list(indexes[start : start + _MAX_BOUND])
            records = self._records(select(ENTRIES).where(ENTRIES.c["index"].in_(part)))
            found.update((record.index, record) for record in records)
        for index in indexes:
            if index not in found:
                raise StoreCorrupt(f"ledger_entries index {index}: expected an entry, found none")
        return [found[index] for index in indexes]

    def pages(self, stop: int | None = None, *, after: int = -1) -> Iterator[list[Record]]:
        """Walk the entries after index ``after`` and below ``stop`` in log order, some at a time."""
        while True:
            query = select(ENTRIES).where(ENTRIES.c["index"] > after)
            if stop is not None:
                query = query.where(ENTRIES.c["index"] < stop)
            page = self._records(query.order_by(ENTRIES.c["index"]).limit(_PAGE))
            if not page:
                return
            yield page
            after = page[-1].index

    def raws(self, start: int, stop: int) -> list[bytes]:
        """Return the entries' bytes from ``start`` up to ``stop``, in log order."""
        index = ENTRIES.c["index"]
        query = select(ENTRIES.c.raw).where(index >= start, index < stop).order_by(index)
        return [typed(row[0], bytes, "ledger_entries: raw") for row in self.rows(query)]

    def leaves(self, start: int, stop: int) -> list[bytes]:
        """Return the leaf hashes from ``start`` up to ``stop``, in log order."""
        index = ENTRIES.c["index"]
        query = select(ENTRIES.c.leaf).where(index >= start, index < stop).order_by(index)
        return [typed(row[0], bytes, "ledger_entries: leaf") for row in self.rows(query)]

    def stored_bytes(self, stop: int) -> Iterator[tuple[int, bytes, bytes]]:
        """Walk ``(index, raw, leaf)`` below ``stop`` in log order, some in memory at a time."""
        index = ENTRIES.c["index"]
        query = select(index, ENTRIES.c.raw, ENTRIES.c.leaf).where(index < stop).order_by(index)
        for index, raw, leaf in self.stream(query):
            yield index, typed(raw, bytes, f"ledger_entries index {index}: raw"), leaf

    def snapshot(self) -> Snapshot | None:
        """Return the stored snapshot; None if there is none.

        Raises:
            StoreCorrupt: a row is not a canonical JSON object.
        """
        sizes = self.rows(select(SNAPSHOTS.c.size).where(SNAPSHOTS.c.name == _HEAD))
        if not sizes:
            return None
        return Snapshot(typed(sizes[0][0], int, "ledger_snapshots: size"), self._state(STATE))

    def carried(self) -> State:
        """Return the state that the log of the epoch before leaves to this one; empty in a first log.

        Raises:
            StoreCorrupt: a row is not a canonical JSON object.
        """
        return self._state(CARRIED)

    def move_snapshot(self, old: Snapshot | None, new: Snapshot) -> None:
        """Replace the stored snapshot ``old`` by a later one, writing only what differs.

        Raises:
            StaleHead: another process has moved it.
        """
        rows = [
            {"table": table, "key": key, "row": canonical.encode(dict(row))}
            for table, key, row in changes(old.state if old else State(), new.state)
        ]
        with self.transaction() as connection:
            if old is None:
                connection.execute(insert(SNAPSHOTS), {"name": _HEAD, "size": new.size})
            else:
                is_old = (SNAPSHOTS.c.name == _HEAD) & (SNAPSHOTS.c.size == old.size)
                if connection.execute(update(SNAPSHOTS).where(is_old).values(size=new.size)).rowcount != 1:
                    raise StaleHead(f"expected the stored snapshot at size {old.size}")
            if rows:
                replaced = (STATE.c.table == bindparam("of")) & (STATE.c.key == bindparam("at"))
                connection.execute(
                    delete(STATE).where(replaced), [{"of": row["table"], "at": row["key"]} for row in rows]
                )
                connection.execute(insert(STATE), rows)

    def find(self, txid: str) -> Record | None:
        """Return the entry with this txid."""
        found = self._records(select(ENTRIES).where(ENTRIES.c.txid == txid))
        return found[0] if found else None

    def known(self, txids: frozenset[str], *, below: int | None = None) -> frozenset[str]:
        """Return those of the txids that the log has; only at indexes below ``below`` if that is given."""
        if not txids:
            return frozenset()
        query, values = known_among(self.engine.dialect.name, txids, below)
        return frozenset(row[0] for row in self.rows(query, values))

    def checkpoint(self, size: int) -> bytes | None:
        """Return the log's checkpoint of one size, without cosignatures."""
        rows = self.rows(select(CHECKPOINTS.c.note).where(CHECKPOINTS.c.size == size))
        return _note(size, rows[0][0]) if rows else None

    def checkpoints(self) -> Iterator[tuple[int, bytes]]:
        """Walk ``(size, note)`` of all checkpoints by size, some in memory at a time."""
        query = select(CHECKPOINTS.c.size, CHECKPOINTS.c.note).order_by(CHECKPOINTS.c.size)
        for size, note in self.stream(query):
            yield size, _note(size, note)

    def cosignatures(self, size: int) -> dict[str, str]:
        """Return the cosignature lines on one checkpoint, by key name."""
        query = select(COSIGNATURES.c.name, COSIGNATURES.c.line).where(COSIGNATURES.c.size == size)
        where = f"ledger_cosignatures at size {size}"
        return {
            typed(name, str, f"{where}: name"): typed(line, str, f"{where}: line")
            for name, line in self.rows(query.order_by(COSIGNATURES.c.name))
        }

    def cosigned_sizes(self) -> list[int]:
        """Return the sizes that have a cosignature, the largest first."""
        query = select(COSIGNATURES.c.size).distinct().order_by(COSIGNATURES.c.size.desc())
        return [typed(row[0], int, "ledger_cosignatures: size") for row in self.rows(query)]

    def add_cosignatures(self, size: int, lines: Sequence[tuple[str, str]]) -> None:
        """Keep cosignature lines ``(key name, line)``; a name's first line on a size stays."""
        have = self.cosignatures(size)
        rows = [{"size": size, "name": name, "line": line} for name, line in lines if name not in have]
        if not rows:
            return
        with self.transaction() as connection:
            connection.execute(insert(COSIGNATURES), rows)

    def rows(self, query: Executable, values: Mapping[str, object] | None = None) -> list[Any]:
        """Run a query; for readers that check the tables themselves."""
        with _transaction(self.engine) as connection:
            return list(connection.execute(query, values))

    def stream(self, query: Select[Any]) -> Iterator[Any]:
        """Run a query and yield its rows, some thousand of them in memory at a time."""
        with _transaction(self.engine) as connection:
            with connection.execution_options(yield_per=_PAGE).execute(query) as result:
                for part in result.partitions():
                    yield from part

    def _state(self, rows: TableClause) -> State:
        tables: dict[str, dict[str, Row]] = {}
        for name, key, raw in self.stream(select(rows)):
            where = f"{rows.name} table {name} key {key}: row"
            try:
                row = canonical.decode(typed(raw, bytes, where))
            except NotCanonical as exc:
                raise StoreCorrupt(f"{where}: {exc}") from exc
            if not isinstance(row, dict):
                raise StoreCorrupt(f"{where}: expected an object")
            tables.setdefault(name, {})[key] = row
        return State({name: Table.of(found) for name, found in tables.items()})

    def _records(self, query: Select[Any]) -> list[Record]:
        return [_record(row._mapping) for row in self.rows(query)]


def records_of(batch: Batch) -> list[Record]:
    """Make the rows of a batch, its seal last."""
    codes = [*batch.codes, None]
    return [
        Record.of(batch.first + position, entry, code, batch.time)
        for position, (entry, code) in enumerate(zip([*batch.entries, batch.seal], codes, strict=True))
    ]


def _record(row: Mapping[str, Any]) -> Record:
    """Make a record of a row; SQLite gives whatever type somebody wrote, not the column's."""
    where = f"ledger_entries index {row['index']}"
    return Record(
        index=typed(row["index"], int, f"{where}: index"),
        txid=typed(row["txid"], str, f"{where}: txid"),
        type=typed(row["type"], str, f"{where}: type"),
        actor=typed(row["actor"], str, f"{where}: actor"),
        leaf=typed(row["leaf"], bytes, f"{where}: leaf"),
        raw=typed(row["raw"], bytes, f"{where}: raw"),
        code=None if row["code"] is None else typed(row["code"], str, f"{where}: code"),
        time=typed(row["time"], int, f"{where}: time"),
    )


def _note(size: int, note: object) -> bytes:
    return typed(note, str, f"ledger_checkpoints size {size}: note").encode()


def typed(value: object, kind: type[_T], where: str) -> _T:
    """Return a value that a database gave, if it has the column's type.

    Raises:
        StoreCorrupt: it has another one.
    """
    if not isinstance(value, kind):
        raise StoreCorrupt(f"{where}: expected {kind.__name__}, found {type(value).__name__}")
    return value
