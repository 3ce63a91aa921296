"""Checking a ledger database: recompute everything from the entries, and name what differs.

What arbitrates is what nobody with the database alone can make: the log's signature on a checkpoint, and
behind it the signatures on the entries. Every column of every ledger table follows from those, so a single
changed value is named by table, row and column. If the bytes of an entry were changed, the state after it
cannot be recomputed; what does not depend on the state is still checked.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

from sqlalchemy import select

from ledger import canonical
from ledger.batches import Head, verify_batch
from ledger.checkpoints import Checkpoint, open_checkpoint, verify_cosignature
from ledger.entries import Entry
from ledger.errors import InvalidBatch, LedgerError, MalformedEntry, MalformedNote, StoreCorrupt
from ledger.membership import Electorates, Network
from ledger.merkle import Tree, leaf_hash
from ledger.notes import Note, NoteSignature
from ledger.postings import VERSION, terms
from ledger.schema import (
    BATCHES,
    CHECKPOINTS,
    COSIGNATURES,
    HEADS,
    INDEXED,
    POSTINGS,
    SNAPSHOTS,
    STATE,
)
from ledger.state import EPOCH, SEAL, apply
from ledger.store import LedgerStore
from ledger.stored_rows import StoredEntries, StoredRows
from ledger.tables import State, changes
from ledger.tiles import decode_entries
from ledger.times import parse_time

__all__ = ["Problem", "check"]

_NOTHING = "nothing"
_POSTINGS = select(POSTINGS).order_by(POSTINGS.c.term, POSTINGS.c.type, POSTINGS.c["index"])
_STEP = 65_536
"""Entries whose rows of the search index are compared one by one at once, where their sums differ."""


@dataclass(frozen=True)
class Problem:
    """One thing that is not as the signed entries make it."""

    where: str
    expected: str
    actual: str

    def __str__(self) -> str:
        return f"{self.where}: expected {self.expected}, found {self.actual}"


@dataclass
class _Log:
    """What the checks share: the rows as stored, and what was recomputed from them."""

    rows: StoredRows
    entries: StoredEntries
    network: Network | None
    carried: State
    notes: dict[int, Note] = field(default_factory=dict)
    tree: Tree = field(default_factory=Tree)
    electorates: Electorates = field(default_factory=Electorates)
    seals: list[int] = field(default_factory=list)
    refused: dict[int, str] = field(default_factory=dict)
    executed: int = 0


def check(store: LedgerStore, genesis: bytes | None = None) -> list[Problem]:
    """Check all ledger tables of a database.

    Args:
        store: the hub's or a member's; it is only read.
        genesis: the genesis entry if the caller has it. Without it, a database whose whole content was
            replaced by another log's is found to be in order.

    Returns:
        Every problem; empty if there is none.

    Raises:
        StoreUnavailable: the database cannot be read.
    """
    rows = StoredRows(store)
    first = genesis if genesis is not None else _bytes(rows[0].raw) if len(rows) else b""
    carried, problems = _read_carried(store, first)
    log = _Log(rows, StoredEntries(rows), _network(carried, first), carried)
    if problems:  # no state can be recomputed from these rows
        return [*problems, *_check_bytes(log), *_check_columns(log)]
    problems += _check_genesis(log, genesis)
    problems += _check_checkpoints(store, log)
    problems += _check_bytes(log)
    problems += _check_columns(log)
    problems += _check_batches_replay(store, log)
    problems += _check_heads(store, log)
    problems += _check_cosignatures(store, log)
    problems += _check_postings(store, log)
    problems += _check_order(store, log)
    return problems


def _network(carried: State, genesis: bytes) -> Network | None:
    try:
        entry = Entry.parse(genesis)
        return Network.of(apply(carried, entry, index=0, time=parse_time(entry.exp)))
    except LedgerError:
        return None


def _read_carried(store: LedgerStore, first: bytes) -> tuple[State, list[Problem]]:
    """Read what the log of the epoch before left, and compare it with the root that entry 0 states."""
    try:
        carried = store.carried()
    except StoreCorrupt as exc:
        return State(), [Problem("ledger_carried", "rows that can be read", str(exc))]
    try:
        entry = Entry.parse(first)
        expected = entry.body["previous"]["state"] if entry.type == EPOCH else State().root().hex()
    except (MalformedEntry, KeyError, TypeError):
        return carried, []
    found = carried.root().hex()
    if found == expected:
        return carried, []
    return carried, [Problem("ledger_carried", f"rows with the state root {expected}", found)]


def _check_genesis(log: _Log, genesis: bytes | None) -> Iterator[Problem]:
    if not len(log.rows):
        yield Problem("ledger_entries", "a genesis", _NOTHING)
    elif log.network is None:
        yield Problem(
            "ledger_entries index 0: raw",
            "a genesis that follows from what is carried",
            _show(log.rows[0].raw),
        )
    elif genesis is not None and log.rows[0].raw != genesis:
        yield Problem("ledger_entries index 0: raw", _show(genesis), _show(log.rows[0].raw))


def _check_checkpoints(store: LedgerStore, log: _Log) -> Iterator[Problem]:
    """Check the log's signatures; compare roots later, when the entries' bytes are judged."""
    for size, raw in store.stream(select(CHECKPOINTS).order_by(CHECKPOINTS.c.size)):
        where = f"ledger_checkpoints size {size}"
        if log.network is None:
            return
        if not isinstance(raw, str):
            yield Problem(f"{where}: note", "text", _show(raw))
            continue
        try:
            checkpoint, note = open_checkpoint(raw.encode(), log.network.log)
        except LedgerError as exc:
            yield Problem(f"{where}: note", "a checkpoint signed by the log", str(exc))
            continue
        if len(note.signatures) != 1:
            yield Problem(f"{where}: note", "the log's signature alone", f"{len(note.signatures)} signatures")
        if checkpoint.size != size:
            yield Problem(f"{where}: size", str(checkpoint.size), _show(size))
        else:
            log.notes[size] = note


def _check_bytes(log: _Log) -> Iterator[Problem]:
    """Find out whether bytes or leaf hashes were changed: one of them leads to the signed root."""
    rows = log.rows
    if rows.beyond is not None:
        yield Problem(f"ledger_entries index {len(rows)}: index", "an entry", f"index {rows.beyond}")
    size = max((size for size in log.notes if size <= len(rows)), default=0)
    root = _root(log.notes[size]) if size else None
    log.tree = _tree(rows, _by_raw)
    raw_is_signed = root == log.tree.root(size)
    column_is_signed = False
    if not raw_is_signed:
        by_column = _tree(rows, _by_column)
        column_is_signed = root == by_column.root(size)
        log.tree = by_column if column_is_signed else log.tree
    for index, row in enumerate(rows):
        if _by_raw(row) == row.leaf and isinstance(row.raw, bytes):
            continue
        where = f"ledger_entries index {index}"
        if raw_is_signed:
            yield Problem(f"{where}: leaf", _by_raw(row).hex(), _show(row.leaf))
        else:
            column = "raw" if column_is_signed else "raw or leaf"
            yield Problem(f"{where}: {column}", f"bytes with leaf hash {_show(row.leaf)}", _show(row.raw))
    if root is not None and not raw_is_signed and not column_is_signed:
        yield Problem(
            f"ledger_entries below {size}", f"the signed root {root.hex()}", log.tree.root(size).hex()
        )
    for size, note in log.notes.items():
        known = size <= len(log.rows)
        if not known or _root(note) != log.tree.root(size):
            actual = log.tree.root(size).hex() if known else f"{len(log.rows)} entries"
            yield Problem(f"ledger_checkpoints size {size}: note", f"root {_root(note).hex()}", actual)


def _check_columns(log: _Log) -> Iterator[Problem]:
    for index, row in enumerate(log.rows):
        if _by_raw(row) != log.tree.leaf(index):
            log.entries.unread.add(index)
            continue
        where = f"ledger_entries index {index}"
        try:
            entry = Entry.parse(row.raw)
        except MalformedEntry as exc:
            log.entries.unread.add(index)
            yield Problem(f"{where}: raw", "an entry", str(exc))
            continue
        if entry.type == SEAL:
            log.seals.append(index)
        for name in ("txid", "type", "actor"):
            if getattr(row, name) != getattr(entry, name):
                yield Problem(f"{where}: {name}", getattr(entry, name), _show(getattr(row, name)))


def _check_batches_replay(store: LedgerStore, log: _Log) -> Iterator[Problem]:
    """Execute all batches up to the first entry whose bytes were changed; compare the snapshot on the way."""
    head = Head.empty(log.carried)
    sizes = store.rows(select(SNAPSHOTS))
    snapshot = sizes[0].size if sizes else None
    if snapshot is not None and snapshot - 1 not in log.seals:
        yield Problem("ledger_snapshots: size", "the end of a batch", _show(snapshot))
    if [row.name for row in sizes] not in ([], ["log"]):
        yield Problem("ledger_snapshots: name", "one row, of the log", _show(sizes[0].name))
    for seal in log.seals:
        span = range(head.size, seal + 1)
        if any(index not in log.entries for index in span):
            return
        try:
            entries = [log.entries[index] for index in span]
            batch = verify_batch(head, entries, now=None, seen=lambda _: frozenset())
        except InvalidBatch as exc:
            yield Problem(f"ledger_entries index {exc.index}: raw: {exc.what}", exc.expected, exc.actual)
            return
        for index, code in zip(span, [*batch.codes, None], strict=True):
            if code is not None:
                log.refused[index] = code
            if log.rows[index].code != code:
                yield Problem(f"ledger_entries index {index}: code", _show(code), _show(log.rows[index].code))
            if log.rows[index].time != batch.time:
                yield Problem(
                    f"ledger_entries index {index}: time", _show(batch.time), _show(log.rows[index].time)
                )
        head, log.executed = batch.head, batch.head.size
        log.electorates.record(head.state, head.size)
        if head.size == snapshot:
            yield from _check_snapshot(store, head.state)
    if head.size != len(log.rows):
        yield Problem(f"ledger_entries index {head.size}", "a batch that ends with a seal", _NOTHING)


def _check_snapshot(store: LedgerStore, state: State) -> Iterator[Problem]:
    expected = {(table, key): canonical.encode(dict(row)) for table, key, row in changes(State(), state)}
    for table, key, row in store.rows(select(STATE)):
        where = f"ledger_state table {table} key {key}"
        wanted = expected.pop((table, key), None)
        if row != wanted:
            yield Problem(f"{where}: row", _show(wanted), _show(row))
    for table, key in sorted(expected):
        yield Problem(f"ledger_state table {table} key {key}: row", "the row", _NOTHING)


def _check_heads(store: LedgerStore, log: _Log) -> Iterator[Problem]:
    rows = store.rows(select(HEADS))
    expected = {"name": "log", "size": len(log.rows), "root": log.tree.root().hex()}
    if len(rows) != 1:
        yield Problem("ledger_heads", "one row", f"{len(rows)}")
    for row in rows:
        for name, value in expected.items():
            if getattr(row, name) != value:
                yield Problem(f"ledger_heads: {name}", _show(value), _show(getattr(row, name)))
    if len(log.rows) and len(log.rows) not in log.notes:
        yield Problem(f"ledger_checkpoints size {len(log.rows)}", "the head's checkpoint", _NOTHING)


def _check_cosignatures(store: LedgerStore, log: _Log) -> Iterator[Problem]:
    query = select(COSIGNATURES).order_by(COSIGNATURES.c.size, COSIGNATURES.c.name)
    for size, name, line in store.stream(query):
        where = f"ledger_cosignatures size {size} name {name}"
        note = log.notes.get(size)
        if note is None:
            yield Problem(f"{where}: size", "a signed checkpoint of this size", _NOTHING)
            continue
        vkeys = {vkey.name: vkey for vkey in log.electorates.at(size).vkeys}
        if name not in vkeys:
            yield Problem(f"{where}: name", "an active member's key", _show(name))
            continue
        try:
            signature = NoteSignature.parse(line if isinstance(line, str) else "")
            verify_cosignature(note.text, signature, vkeys[name])
        except LedgerError as exc:
            yield Problem(f"{where}: line", "that member's cosignature of this size", str(exc))
            continue
        if signature.encode() != line:
            yield Problem(f"{where}: line", _show(signature.encode()), _show(line))


def _check_postings(store: LedgerStore, log: _Log) -> Iterator[Problem]:
    """Check the search index as far as it says it is; a hub has none."""
    size = 0
    for row in store.rows(select(INDEXED)):
        if row.version != VERSION:
            yield Problem("ledger_indexed: version", str(VERSION), _show(row.version))
        elif not isinstance(row.size, int) or not 0 < row.size <= len(log.rows):
            yield Problem("ledger_indexed: size", f"1 to {len(log.rows)}", _show(row.size))
        else:
            size = row.size
    expected, found = _Sum(), _Sum()
    for index in range(size):
        for term, kind in _terms(log, index):
            expected.add(term, kind, index)
    group: tuple[object, object] = (None, None)
    ordinal = 0
    for term, kind, index, stored in store.stream(_POSTINGS):
        group, ordinal = (group, ordinal + 1) if (term, kind) == group else ((term, kind), 0)
        found.add(term, kind, index)
        if not isinstance(index, int) or not 0 <= index < size:
            yield Problem(_posting(term, kind, index) + ": term, type, index", _NOTHING, "a row")
        elif stored != ordinal:
            yield Problem(_posting(term, kind, index) + ": ordinal", str(ordinal), _show(stored))
    if expected != found:
        for start in range(0, size, _STEP):
            yield from _compare_postings(store, log, range(start, min(start + _STEP, size)))


def _compare_postings(store: LedgerStore, log: _Log, span: range) -> Iterator[Problem]:
    """Name the rows that are missing or too many, for the entries of a span."""
    missing = {
        (term, kind, index)
        for index in span
        if index in log.entries and index < log.executed
        for term, kind in _terms(log, index)
    }
    at = POSTINGS.c["index"]
    for term, kind, index, _ in store.stream(_POSTINGS.where(at >= span.start, at < span.stop)):
        if (term, kind, index) in missing:
            missing.remove((term, kind, index))
        elif index in log.entries and index < log.executed:
            yield Problem(_posting(term, kind, index) + ": term, type, index", _NOTHING, "a row")
    for term, kind, index in sorted(missing):
        yield Problem(_posting(term, kind, index), "a row", _NOTHING)


def _terms(log: _Log, index: int) -> Iterator[tuple[str, str]]:
    """Yield the terms and the type of an entry's rows, if the entry can be read."""
    entry = log.entries.get(index)
    if entry is not None:
        for term in terms(entry.actor, entry.body, log.refused.get(index)):
            yield term, entry.type


def _posting(term: object, kind: object, index: object) -> str:
    return f"ledger_postings term {term!r} type {kind} index {index}"


@dataclass
class _Sum:
    """A sum over rows in any order: two lots of rows that are alike have the same one."""

    value: int = 0

    def add(self, *row: object) -> None:
        digest = hashlib.sha256(repr(row).encode()).digest()
        self.value = (self.value + int.from_bytes(digest)) % (1 << 256)


def _check_order(store: LedgerStore, log: _Log) -> Iterator[Problem]:
    """Check what the SQL order engine still keeps; a member's database has none of it.

    Its rows are the last batches that it ordered. Below the first one after a switch lies an empty row.
    """
    rows = store.rows(select(BATCHES).order_by(BATCHES.c.height))
    starts = [0, *(seal + 1 for seal in log.seals)]
    heights = [height for height, seal in enumerate(log.seals) if _engine(log.entries.get(seal)) == "sql"]
    if rows and rows[0].data == b"":
        below = rows.pop(0).height
        begins = [height - 1 for height in [*heights, len(log.seals)] if height - 1 not in heights]
        if below not in begins:
            yield Problem(f"ledger_batches height {below}: height", "the height of a switch", _show(below))
    for position, (height, data) in enumerate(rows, len(heights) - len(rows)):
        where = f"ledger_batches height {height}"
        expected = heights[position] if position >= 0 else None
        if height != expected:
            yield Problem(f"{where}: height", _show(expected), _show(height))
            continue
        span = range(starts[height], log.seals[height] + 1)
        if any(index not in log.entries for index in span):
            continue
        try:
            ordered = decode_entries(_bytes(data))
        except MalformedNote as exc:
            yield Problem(f"{where}: data", "a batch", str(exc))
            continue
        if ordered != [log.entries[index].raw for index in span]:
            yield Problem(f"{where}: data", f"the entries from {span.start} to {span.stop - 1}", _show(data))


def _engine(seal: Entry | None) -> str:
    """Return the kind of engine a seal names; ``sql`` where the seal cannot be read."""
    body = seal.body if seal is not None and seal.type == SEAL else {}
    engine = body.get("engine")
    return str(engine.get("kind")) if isinstance(engine, dict) else "sql"


def _tree(rows: StoredRows, leaf: Callable[[Any], bytes]) -> Tree:
    """The tree over all rows; its leaves are read back when they are needed."""
    return Tree(map(leaf, rows), leaves=lambda start, stop: [leaf(row) for row in rows.part(start, stop)])


def _by_raw(row: Any) -> bytes:  # noqa: ANN401 - a row of the database
    return leaf_hash(_bytes(row.raw))


def _by_column(row: Any) -> bytes:  # noqa: ANN401 - a row of the database
    return row.leaf if _is_hash(row.leaf) else bytes(32)


def _root(note: Note) -> bytes:
    return Checkpoint.parse(note.text).root


def _bytes(value: object) -> bytes:
    return value if isinstance(value, bytes) else b""


def _is_hash(value: object) -> bool:
    return isinstance(value, bytes) and len(value) == 32


def _show(value: object) -> str:
    if isinstance(value, bytes):
        return f"{len(value)} bytes with SHA-256 {hashlib.sha256(value).hexdigest()}"
    return _NOTHING if value is None else repr(value)[:100]
