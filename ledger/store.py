"""Where a hub or a member keeps the log: SQLAlchemy Core, on SQLite or PostgreSQL.

The store is not trusted for integrity, see ``ledger.schema``. It keeps three promises that callers build on:
a transaction is all or nothing and durable when it returns; the head moves from a known size and root only; a
size has one checkpoint and a ``txid`` one entry, ever.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from sqlalchemy import (
    Connection,
    Engine,
    Select,
    column,
    create_engine,
    event,
    insert,
    inspect,
    make_url,
    select,
    table,
    update,
)
from sqlalchemy.exc import IntegrityError, SQLAlchemyError

from ledger.entries import Entry, subjects
from ledger.errors import StaleHead, StoreCorrupt, StoreUnavailable
from ledger.merkle import leaf_hash
from ledger.schema import CHECKPOINTS, COSIGNATURES, ENTRIES, HEAD, HEADS, SUBJECTS, VERSION_TABLE

__all__ = ["LedgerStore", "Record", "StoredHead", "migrate", "open_engine", "upgrade"]

_T = TypeVar("_T")

_HEAD = "log"
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

    @classmethod
    def of(cls, index: int, entry: Entry, code: str | None) -> Record:
        """Make the row of an entry."""
        return cls(index, entry.txid, entry.type, entry.actor, leaf_hash(entry.raw), entry.raw, code)

    @property
    def entry(self) -> Entry:
        """The entry, parsed from its bytes."""
        return Entry.parse(self.raw)


@dataclass(frozen=True)
class StoredHead:
    """The size and Merkle root (hex) that a store stands at."""

    size: int
    root: str


def open_engine(url: str) -> Engine:
    """Open a database; a SQLite file gets a write-ahead log that is synced at every commit."""
    engine = create_engine(url)
    if make_url(url).get_backend_name() == "sqlite":
        event.listen(engine, "connect", _prepare_sqlite)
    return engine


def _prepare_sqlite(connection: Any, _: object) -> None:  # noqa: ANN401 - the driver's own connection
    for pragma in ("journal_mode = WAL", "synchronous = FULL", "busy_timeout = 30000"):
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
        """Write entries and what they concern."""
        rows = [
            {"subject": subject, "index": record.index}
            for record in records
            for subject in sorted(subjects(record.entry))
        ]
        connection.execute(insert(ENTRIES), [vars(record) for record in records])
        connection.execute(insert(SUBJECTS), rows)

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
            _typed(rows[0][0], int, "ledger_heads: size"), _typed(rows[0][1], str, "ledger_heads: root")
        )

    def records(self, start: int, stop: int) -> list[Record]:
        """Return the entries from ``start`` up to ``stop``, in log order."""
        query = select(ENTRIES).where(ENTRIES.c["index"] >= start, ENTRIES.c["index"] < stop)
        return self._records(query.order_by(ENTRIES.c["index"]))

    def pages(self, stop: int | None = None) -> Iterator[list[Record]]:
        """Walk all entries in log order, some at a time."""
        after = -1
        while True:
            query = select(ENTRIES).where(ENTRIES.c["index"] > after)
            if stop is not None:
                query = query.where(ENTRIES.c["index"] < stop)
            page = self._records(query.order_by(ENTRIES.c["index"]).limit(_PAGE))
            if not page:
                return
            yield page
            after = page[-1].index

    def find(self, txid: str) -> Record | None:
        """Return the entry with this txid."""
        found = self._records(select(ENTRIES).where(ENTRIES.c.txid == txid))
        return found[0] if found else None

    def known(self, txids: frozenset[str], *, below: int | None = None) -> frozenset[str]:
        """Return those of the txids that the log has; only at indexes below ``below`` if that is given."""
        wanted = sorted(txids)
        found: set[str] = set()
        for start in range(0, len(wanted), _MAX_BOUND):
            part = wanted[start : start + _MAX_BOUND]
            query = select(ENTRIES.c.txid).where(ENTRIES.c.txid.in_(part))
            if below is not None:
                query = query.where(ENTRIES.c["index"] < below)
            found.update(row[0] for row in self.rows(query))
        return frozenset(found)

    def search(
        self,
        *,
        below: int,
        subjects: Sequence[str] = (),
        type: str | None = None,
        actor: str | None = None,
        after: int = -1,
        limit: int = 100,
    ) -> list[Record]:
        """Return entries after index ``after`` and below ``below``, in log order, at most ``limit``.

        Args:
            below: only entries with a smaller index.
            subjects: DIDs and ids; an entry that concerns any of them is found. None: all entries.
            type: the entry type.
            actor: the DID that acted.
            after: the last index of the page before.
            limit: size of a page.
        """
        index = ENTRIES.c["index"]
        query = select(ENTRIES).where(index > after, index < below)
        if subjects:
            concerned = select(SUBJECTS.c["index"]).where(SUBJECTS.c.subject.in_(list(subjects)))
            query = query.where(index.in_(concerned))
        if type is not None:
            query = query.where(ENTRIES.c.type == type)
        if actor is not None:
            query = query.where(ENTRIES.c.actor == actor)
        return self._records(query.order_by(index).limit(limit))

    def checkpoint(self, size: int) -> bytes | None:
        """Return the log's checkpoint of one size, without cosignatures."""
        rows = self.rows(select(CHECKPOINTS.c.note).where(CHECKPOINTS.c.size == size))
        return _note(size, rows[0][0]) if rows else None

    def checkpoints(self) -> dict[int, bytes]:
        """Return all checkpoints by size."""
        rows = self.rows(select(CHECKPOINTS.c.size, CHECKPOINTS.c.note).order_by(CHECKPOINTS.c.size))
        return {size: _note(size, note) for size, note in rows}

    def cosignatures(self, size: int) -> dict[str, str]:
        """Return the cosignature lines on one checkpoint, by key name."""
        query = select(COSIGNATURES.c.name, COSIGNATURES.c.line).where(COSIGNATURES.c.size == size)
        where = f"ledger_cosignatures at size {size}"
        return {
            _typed(name, str, f"{where}: name"): _typed(line, str, f"{where}: line")
            for name, line in self.rows(query.order_by(COSIGNATURES.c.name))
        }

    def cosigned_sizes(self) -> list[int]:
        """Return the sizes that have a cosignature, the largest first."""
        query = select(COSIGNATURES.c.size).distinct().order_by(COSIGNATURES.c.size.desc())
        return [row[0] for row in self.rows(query)]

    def add_cosignatures(self, size: int, lines: Sequence[tuple[str, str]]) -> None:
        """Keep cosignature lines ``(key name, line)``; a name's first line on a size stays."""
        have = self.cosignatures(size)
        rows = [{"size": size, "name": name, "line": line} for name, line in lines if name not in have]
        if not rows:
            return
        with self.transaction() as connection:
            connection.execute(insert(COSIGNATURES), rows)

    def rows(self, query: Select[Any]) -> list[Any]:
        """Run a query; for readers that check the tables themselves."""
        with _transaction(self.engine) as connection:
            return list(connection.execute(query))

    def _records(self, query: Select[Any]) -> list[Record]:
        return [_record(row._mapping) for row in self.rows(query)]


def _record(row: Mapping[str, Any]) -> Record:
    """Make a record of a row; SQLite gives whatever type somebody wrote, not the column's."""
    where = f"ledger_entries index {row['index']}"
    return Record(
        index=_typed(row["index"], int, f"{where}: index"),
        txid=_typed(row["txid"], str, f"{where}: txid"),
        type=_typed(row["type"], str, f"{where}: type"),
        actor=_typed(row["actor"], str, f"{where}: actor"),
        leaf=_typed(row["leaf"], bytes, f"{where}: leaf"),
        raw=_typed(row["raw"], bytes, f"{where}: raw"),
        code=None if row["code"] is None else _typed(row["code"], str, f"{where}: code"),
    )


def _note(size: int, note: object) -> bytes:
    return _typed(note, str, f"ledger_checkpoints size {size}: note").encode()


def _typed(value: object, kind: type[_T], where: str) -> _T:
    if not isinstance(value, kind):
        raise StoreCorrupt(f"{where}: expected {kind.__name__}, found {type(value).__name__}")
    return value
