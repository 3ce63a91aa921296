"""Checking a ledger database: recompute everything from the entries, and name what differs.

What arbitrates is what nobody with the database alone can make: the log's signature on a checkpoint, and
behind it the signatures on the entries. Every column of every ledger table follows from those, so a single
changed value is named by table, row and column. If the bytes of an entry were changed, the state after it
cannot be recomputed; what does not depend on the state is still checked.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

from sqlalchemy import select

from ledger.batches import EMPTY_HEAD, Head, verify_batch
from ledger.checkpoints import Checkpoint, open_checkpoint, verify_cosignature
from ledger.entries import Entry, subjects
from ledger.errors import InvalidBatch, LedgerError, MalformedEntry, MalformedNote
from ledger.membership import Electorates, Network
from ledger.merkle import Tree, leaf_hash
from ledger.notes import Note, NoteSignature
from ledger.schema import BATCHES, CHECKPOINTS, COSIGNATURES, ENTRIES, HEADS, SUBJECTS
from ledger.state import SEAL, apply
from ledger.store import LedgerStore
from ledger.tables import State
from ledger.tiles import decode_entries
from ledger.times import parse_time

__all__ = ["Problem", "check"]

_NOTHING = "nothing"


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

    rows: Sequence[Any]
    network: Network | None
    notes: dict[int, Note] = field(default_factory=dict)
    entries: dict[int, Entry] = field(default_factory=dict)
    tree: Tree = field(default_factory=Tree)
    electorates: Electorates = field(default_factory=Electorates)
    seals: list[int] = field(default_factory=list)


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
    rows = store.rows(select(ENTRIES).order_by(ENTRIES.c["index"]))
    first = genesis if genesis is not None else _bytes(rows[0].raw) if rows else b""
    log = _Log(rows, _network(first))
    problems = list(_check_genesis(log, genesis))
    problems += _check_checkpoints(store, log)
    problems += _check_bytes(log)
    problems += _check_columns(log)
    problems += _check_batches_replay(log)
    problems += _check_heads(store, log)
    problems += _check_cosignatures(store, log)
    problems += _check_subjects(store, log)
    problems += _check_order(store, log)
    return problems


def _network(genesis: bytes) -> Network | None:
    try:
        entry = Entry.parse(genesis)
        return Network.of(apply(State(), entry, index=0, time=parse_time(entry.exp)))
    except LedgerError:
        return None


def _check_genesis(log: _Log, genesis: bytes | None) -> Iterator[Problem]:
    if not log.rows:
        yield Problem("ledger_entries", "a genesis", _NOTHING)
    elif log.network is None:
        yield Problem("ledger_entries index 0: raw", "a genesis", _show(log.rows[0].raw))
    elif genesis is not None and log.rows[0].raw != genesis:
        yield Problem("ledger_entries index 0: raw", _show(genesis), _show(log.rows[0].raw))


def _check_checkpoints(store: LedgerStore, log: _Log) -> Iterator[Problem]:
    """Check the log's signatures; compare roots later, when the entries' bytes are judged."""
    for size, raw in store.rows(select(CHECKPOINTS).order_by(CHECKPOINTS.c.size)):
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
    for index, row in enumerate(log.rows):
        if row.index != index:
            yield Problem(f"ledger_entries index {index}: index", "an entry", f"index {row.index}")
            log.rows = log.rows[:index]
            break
    by_raw = [leaf_hash(_bytes(row.raw)) for row in log.rows]
    by_column = [row.leaf if _is_hash(row.leaf) else bytes(32) for row in log.rows]
    size = max((size for size in log.notes if size <= len(log.rows)), default=0)
    root = _root(log.notes[size]) if size else None
    log.tree = Tree(by_raw)
    raw_is_signed = root == log.tree.root(size)
    column_is_signed = root == Tree(by_column).root(size)
    if column_is_signed and not raw_is_signed:
        log.tree = Tree(by_column)
    for index, row in enumerate(log.rows):
        if by_raw[index] == row.leaf and isinstance(row.raw, bytes):
            continue
        where = f"ledger_entries index {index}"
        if raw_is_signed:
            yield Problem(f"{where}: leaf", by_raw[index].hex(), _show(row.leaf))
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
        if leaf_hash(_bytes(row.raw)) != log.tree.leaf(index):
            continue
        where = f"ledger_entries index {index}"
        try:
            entry = log.entries[index] = Entry.parse(row.raw)
        except MalformedEntry as exc:
            yield Problem(f"{where}: raw", "an entry", str(exc))
            continue
        if entry.type == SEAL:
            log.seals.append(index)
        for name in ("txid", "type", "actor"):
            if getattr(row, name) != getattr(entry, name):
                yield Problem(f"{where}: {name}", getattr(entry, name), _show(getattr(row, name)))


def _check_batches_replay(log: _Log) -> Iterator[Problem]:
    """Execute all batches up to the first entry whose bytes were changed."""
    head: Head = EMPTY_HEAD
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
            if log.rows[index].code != code:
                yield Problem(f"ledger_entries index {index}: code", _show(code), _show(log.rows[index].code))
        head = batch.head
        log.electorates.record(head.state, head.size)
    if head.size != len(log.rows):
        yield Problem(f"ledger_entries index {head.size}", "a batch that ends with a seal", _NOTHING)


def _check_heads(store: LedgerStore, log: _Log) -> Iterator[Problem]:
    rows = store.rows(select(HEADS))
    expected = {"name": "log", "size": len(log.rows), "root": log.tree.root().hex()}
    if len(rows) != 1:
        yield Problem("ledger_heads", "one row", f"{len(rows)}")
    for row in rows:
        for name, value in expected.items():
            if getattr(row, name) != value:
                yield Problem(f"ledger_heads: {name}", _show(value), _show(getattr(row, name)))
    if log.rows and len(log.rows) not in log.notes:
        yield Problem(f"ledger_checkpoints size {len(log.rows)}", "the head's checkpoint", _NOTHING)


def _check_cosignatures(store: LedgerStore, log: _Log) -> Iterator[Problem]:
    query = select(COSIGNATURES).order_by(COSIGNATURES.c.size, COSIGNATURES.c.name)
    for size, name, line in store.rows(query):
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


def _check_subjects(store: LedgerStore, log: _Log) -> Iterator[Problem]:
    found = {(subject, index) for subject, index in store.rows(select(SUBJECTS))}
    expected = {(subject, index) for index, entry in log.entries.items() for subject in subjects(entry)}
    unread = set(range(len(log.rows))) - set(log.entries)
    for subject, index in sorted(expected - found):
        yield Problem(f"ledger_subjects index {index}: subject", subject, _NOTHING)
    for subject, index in sorted(found - expected, key=repr):
        if index not in unread:
            yield Problem(f"ledger_subjects subject {subject}: index", _NOTHING, _show(index))


def _check_order(store: LedgerStore, log: _Log) -> Iterator[Problem]:
    """Check what the SQL order engine still keeps; a member's database has none of it."""
    rows = store.rows(select(BATCHES).order_by(BATCHES.c.height))
    starts = [0, *(seal + 1 for seal in log.seals)]
    for position, (height, data) in enumerate(rows):
        where = f"ledger_batches height {height}"
        expected = len(log.seals) - len(rows) + position
        if height != expected:
            yield Problem(f"{where}: height", str(expected), _show(height))
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
