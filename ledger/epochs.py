"""A new log epoch, prepared offline: what the old log leaves, and who agrees; see ``ledger.rules.epochs``.

Each member judges by its own copy: ``last_final`` recomputes a store from its first entry and finds the last
checkpoint that a quorum cosigned, and ``confirm`` compares an epoch entry with it. So neither the hub nor
whoever hands the files round has to be believed.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Any

from ledger.bundle.exporting import cosigned
from ledger.entries import Draft, Entry, new_ulid
from ledger.errors import InvalidEpoch, LedgerError, Refusal
from ledger.keys import SigningKey
from ledger.membership import Network, electorate
from ledger.merkle import Tree
from ledger.notes import ED25519, Note, Vkey
from ledger.recompute import Recomputed, recompute
from ledger.rules.epochs import epoch_of, next_origin
from ledger.state import EPOCH, apply
from ledger.store import LedgerStore
from ledger.tables import Row, State
from ledger.times import Clock, format_time, system_clock

__all__ = [
    "Final",
    "check_founding",
    "confirm",
    "draft_epoch",
    "keep_cosignatures",
    "last_final",
    "log_vkey",
]

_SIGNING_TIME = timedelta(days=30)
_UNSIGNED = "epoch.no-quorum"


@dataclass(frozen=True)
class Final:
    """The last checkpoint of a log that a quorum cosigned.

    Attributes:
        genesis: hash of the log's first entry.
        size: entries under it.
        note: the checkpoint with its cosignatures.
        state: what those entries make.
        time: of the seal that ends it.
        tree: over the whole copy, of ``size`` entries at least.
    """

    genesis: str
    size: int
    note: Note
    state: State
    time: datetime
    tree: Tree

    @property
    def network(self) -> Network:
        """The constants of the exchange, as of this checkpoint."""
        network = Network.of(self.state)
        if network is None:
            raise InvalidEpoch("expected a state with a network")
        return network

    def body(self) -> dict[str, Any]:
        """Return how an epoch entry names it."""
        return {
            "genesis": self.genesis,
            "origin": self.network.origin,
            "size": self.size,
            "checkpoint": self.note.encode().decode(),
            "state": self.state.root().hex(),
            "time": format_time(self.time),
        }


def last_final(store: LedgerStore) -> Final:
    """Recompute a copy of a log and find its last final checkpoint.

    Raises:
        InvalidEpoch: no checkpoint of it is final.
        InvalidBatch: the copy is not what its entries make it.
    """
    whole = _recomputed(store, None)
    for size in store.cosigned_sizes():
        note = cosigned(store, size)
        if whole.compare(note.encode()).is_final:
            return _final(store, whole, size, note)
    raise InvalidEpoch("expected a checkpoint that a quorum cosigned, found none")


def confirm(store: LedgerStore, entry: Entry) -> Final:
    """Compare what an epoch entry says of the log before with one's own copy of that log.

    Returns:
        The checkpoint, as this copy has it.

    Raises:
        InvalidEpoch: the copy says otherwise, knows of a later final checkpoint, or does not reach so far.
        InvalidBatch: the copy is not what its entries make it.
    """
    previous = _previous(entry)
    whole, size = _recomputed(store, None), previous["size"]
    if whole.genesis != previous["genesis"]:
        raise InvalidEpoch(
            f"expected the log of genesis {previous['genesis']}, this copy is of {whole.genesis}"
        )
    if size > whole.head.size:
        raise InvalidEpoch(f"expected a copy of at least {size} entries, this one has {whole.head.size}")
    raw = previous["checkpoint"].encode()
    try:
        compared = whole.compare(raw)
    except LedgerError as exc:
        raise InvalidEpoch(f"the checkpoint is not one of this copy: {exc}") from exc
    if compared.size != size or not compared.is_final:
        raise InvalidEpoch(f"expected a checkpoint of {size} entries that a quorum cosigned")
    for other in store.cosigned_sizes():
        if other > size and whole.compare(cosigned(store, other).encode()).is_final:
            raise InvalidEpoch(f"a quorum cosigned {other} entries of this copy, the epoch begins at {size}")
    found = _final(store, whole, size, Note.parse(raw))
    for name, value in found.body().items():
        if previous[name] != value:
            raise InvalidEpoch(f"{name}: expected {value}, as this copy has it, got {previous[name]}")
    return found


def draft_epoch(final: Final, hub: Mapping[str, Any], log: SigningKey, clock: Clock = system_clock) -> Draft:
    """Draft the entry that begins the epoch after ``final``, unsigned.

    Args:
        final: what the new log goes on from.
        hub: the hub's record as in a genesis: ``did``, ``name``, ``tx``, ``tls``.
        log: the new log key.
        clock: gives the entry's id and expiry.
    """
    vkey = log_vkey(final.state, log)
    body = {
        "name": final.network.name,
        "epoch": epoch_of(final.state) + 1,
        "previous": final.body(),
        "origin": vkey.name,
        "log": vkey.encode(),
        "hub": dict(hub),
    }
    expires = format_time(clock() + _SIGNING_TIME)
    return Draft(final.network.name, EPOCH, hub["did"], body, exp=expires, seq=new_ulid(clock))


def keep_cosignatures(store: LedgerStore, final: Final) -> None:
    """Keep the quorum's cosignatures in a copy that has the checkpoint and may not have seen all of them."""
    if store.checkpoint(final.size) is None:
        own = tuple(line for line in final.note.signatures if line.is_by(final.network.log))
        with store.transaction() as connection:
            store.put_checkpoint(connection, final.size, replace(final.note, signatures=own[:1]).encode())
    lines = electorate(final.state).cosigners(final.note).items()
    store.add_cosignatures(final.size, [(vkey.name, line.encode()) for vkey, line in lines])


def log_vkey(state: State, log: SigningKey) -> Vkey:
    """Return the verifier key of the next epoch's log."""
    return Vkey(next_origin(state), ED25519, log.public)


def check_founding(carried: State, entry: Entry, *, time: datetime, signed: bool = True) -> State:
    """Check an epoch entry against the carried state, as every member does when the log begins.

    Args:
        carried: the state that the log before leaves.
        entry: the entry.
        time: when the log begins.
        signed: False while members' signatures are still being gathered.

    Returns:
        The state after it; the carried one while signatures are missing.

    Raises:
        InvalidEpoch: it does not follow.
    """
    if entry.type != EPOCH:
        raise InvalidEpoch(f"expected an entry of type {EPOCH}, got {entry.type}")
    try:
        return apply(carried, entry, index=0, time=time)
    except Refusal as refusal:
        if signed or refusal.code != _UNSIGNED:
            raise InvalidEpoch(f"{refusal.code}: {refusal}") from refusal
        return carried


def _previous(entry: Entry) -> Row:
    previous = entry.body.get("previous")
    names = {"genesis", "origin", "size", "checkpoint", "state", "time"}
    if entry.type != EPOCH or not isinstance(previous, dict) or set(previous) != names:
        raise InvalidEpoch("expected an entry that begins an epoch")
    if type(previous["size"]) is not int or not isinstance(previous["checkpoint"], str):
        raise InvalidEpoch("previous: expected a size and a checkpoint")
    return previous


def _final(store: LedgerStore, whole: Recomputed, size: int, note: Note) -> Final:
    head = whole.head if size == whole.head.size else _recomputed(store, size).head
    if head.time is None:
        raise InvalidEpoch("expected a checkpoint of at least one batch")
    return Final(whole.genesis, size, note, head.state, head.time, whole.tree)


def _recomputed(store: LedgerStore, stop: int | None) -> Recomputed:
    if store.head() is None:
        raise InvalidEpoch("expected a copy of the log before, this database has none")
    pages = ([record.raw for record in page] for page in store.pages(stop))
    return recompute(pages, carried=store.carried())
