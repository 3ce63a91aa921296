"""A new log epoch at a node: signed after a look at its own copy, and joined, with the old log archived."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

from exchange.config import amend, node_settings
from exchange.errors import Conflict, InvalidRequest
from exchange.hub.drafts import decode_draft, encode_draft
from exchange.hub.epochs import archive_names
from exchange.hub.setup import write_file
from exchange.identity import NodeKeys
from exchange.keyring import KeyRingFile
from exchange.node.setup import COSIGNED_FILE, GENESIS_FILE, KEYS_FILE
from ledger import bundle
from ledger.archive import archive, begin_anew
from ledger.carried import read_carried
from ledger.entries import Entry
from ledger.epochs import Final, check_founding, confirm, keep_cosignatures
from ledger.high_water import HighWater
from ledger.membership import active_members, genesis_hash
from ledger.readonly import opened_read_only
from ledger.state import EPOCH
from ledger.store import LedgerStore, open_engine, upgrade
from ledger.tables import State
from ledger.times import Clock, system_clock

__all__ = ["Joined", "join_epoch", "sign_epoch"]


@dataclass(frozen=True)
class Joined:
    """What a node keeps of the log it left: the whole of it, and a bundle that leads from it to the new one.

    Attributes:
        genesis: hash of the entry that begins the new epoch.
        archive: the old log; None if this node had none.
        bundle: evidence of the old log's last final checkpoint; None if the node's copy did not have it.
    """

    genesis: str
    archive: Path | None
    bundle: Path | None


def sign_epoch(directory: Path, draft: bytes, passphrase: str, *, clock: Clock = system_clock) -> bytes:
    """Sign a drafted epoch as a member, if this node's own copy of the log says the same.

    Doing it again changes nothing. The node may be running.

    Raises:
        InvalidEpoch: this node's copy says otherwise, or the epoch does not follow.
        InvalidBatch: the copy is not what its entries make it.
        Conflict: this node's keys are not those of an active member under that checkpoint, or its copy is
            behind what it cosigned: there may be a later final checkpoint.
    """
    parsed = decode_draft(draft, EPOCH)
    entry = Entry.parse(parsed.encode())
    with opened_read_only(node_settings(directory, os.environ).database) as engine:
        final = confirm(LedgerStore(engine), entry)
    _check_not_behind(directory, final)
    check_founding(final.state, entry, time=clock(), signed=False)
    keys = _member_keys(directory, passphrase, final.state)
    if keys is None:
        raise Conflict("expected this node's keys among those of the active members, found others")
    if any(signature.kid == keys.kid for signature in parsed.sigs):
        return draft
    return encode_draft(parsed.sign(keys.kid, keys.tx))


def join_epoch(
    directory: Path,
    raw: bytes,
    passphrase: str,
    *,
    carried_file: Path | None = None,
    pinned: str | None = None,
    hub_url: str | None = None,
    clock: Clock = system_clock,
) -> Joined:
    """Leave the old log and follow the new one. The node must not be running.

    Keys, people, assets and everything else in the data directory stay. The old log is archived as
    ``epoch-<n>.sqlite``. What the new log begins with is taken from this node's own copy; a node whose copy
    does not reach so far, or was shown another history, takes it from ``carried_file`` and must be told the
    hash of the epoch's entry, by another way than the files came.

    Args:
        directory: the node's.
        raw: the entry that begins the epoch.
        passphrase: opens the node's keys.
        carried_file: what the new log begins with.
        pinned: hash of ``raw``, as the operator got it.
        hub_url: the hub's address, if another operator took over.
        clock: the epoch begins after the old log's last seal.

    Raises:
        InvalidEpoch: the epoch does not follow from this node's copy, or a signature is missing.
        InvalidRequest: ``pinned`` is not the hash of the entry, or the file or the hash is missing.
        StaleHead: the node is running.
    """
    settings, genesis, entry = node_settings(directory, os.environ), genesis_hash(raw), Entry.parse(raw)
    if pinned is not None and pinned != genesis:
        raise InvalidRequest("--pin", genesis, pinned)
    number = entry.body.get("epoch")
    if entry.type != EPOCH or type(number) is not int:
        raise InvalidRequest("--epoch", f"an entry of type {EPOCH} with its number", entry.type)
    if settings.hub is None:
        raise Conflict(f"node {settings.name} has not joined a hub yet: parley node join")
    before = settings.hub.genesis.read_bytes()
    engine = open_engine(settings.database)
    try:
        upgrade(engine)
        store = LedgerStore(engine)
        head, carried, final = store.head(), store.carried(), None
        database, founding = archive_names(directory, number - 1)
        evidence = database.with_suffix(".zip")
        moved = head is None and bool(carried.table_roots())
        if before == raw and (moved or store.raws(0, 1) == [raw]):
            return _joined(genesis, database, evidence)
        if pinned is not None:
            carried, moved = _from_file(carried_file), False
        elif not moved:
            final = confirm(store, entry)
            carried = final.state
        check_founding(carried, entry, time=clock())
        if not moved:
            if head is not None:
                archive(store, database)
            if final is not None and (keys := _member_keys(directory, passphrase, final.state)) is not None:
                write_file(evidence, _evidence(database, final, keys))
            begin_anew(store, head, carried)
    finally:
        engine.dispose()
    if before != raw:
        write_file(founding, before)
        if (directory / COSIGNED_FILE).exists():  # it is of the old log, as what is archived
            (directory / COSIGNED_FILE).replace(database.with_suffix(".cosigned.json"))
    write_file(directory / GENESIS_FILE, raw)
    hub = {"hub_certificate": entry.body["hub"]["tls"], "hub_url": hub_url or settings.hub.url}
    amend(directory, {"genesis": GENESIS_FILE, **hub})
    return _joined(genesis, database, evidence)


def _check_not_behind(directory: Path, final: Final) -> None:
    """Refuse to go by a copy that an old backup brought back."""
    mark, size = HighWater(directory / COSIGNED_FILE, final.genesis), len(final.tree)
    if mark.size > size or (mark.size and final.tree.root(mark.size) != mark.root):
        raise Conflict(
            f"expected the copy of which this node cosigned {mark.size} entries, this one has {size}"
        )


def _from_file(path: Path | None) -> State:
    if path is None:
        raise InvalidRequest("--carried", "the file that came with the epoch, because --pin is given", "none")
    with path.open("rb") as lines:
        return read_carried(lines)


def _member_keys(directory: Path, passphrase: str, state: State) -> NodeKeys | None:
    ring = KeyRingFile(directory / KEYS_FILE, passphrase).read()
    return ring.named_by(active_members(state).get(ring.current.did))


def _evidence(database: Path, final: Final, keys: NodeKeys) -> bytes:
    """Export the old log's governance under its last final checkpoint, from the archive."""
    engine = open_engine(f"sqlite:///{database}")
    try:
        store = LedgerStore(engine)
        keep_cosignatures(store, final)
        return bundle.export(
            store,
            final.size,
            (),
            tree=final.tree,
            state=final.state,
            did=keys.did,
            kid=keys.kid,
            key=keys.tx,
        )
    finally:
        engine.dispose()


def _joined(genesis: str, database: Path, evidence: Path) -> Joined:
    return Joined(genesis, database if database.exists() else None, evidence if evidence.exists() else None)
