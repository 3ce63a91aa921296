"""A new log epoch at the hub: drafted from its own database, installed when a quorum of members has signed.

The new log key waits in the key file beside the one in use until the epoch is installed. Installing may be
cut off at any moment and is then done again with the same command.

Another operator may take over: a hub that never ran goes on from the copy of a member's node on this machine,
with keys of its own.
"""

from __future__ import annotations

import json
import os
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from exchange.config import amend, hub_settings, node_settings
from exchange.errors import Conflict, InvalidRequest
from exchange.hub.drafts import assembled, decode_draft, encode_draft
from exchange.hub.files import GENESIS_FILE, KEYS_FILE, RECORD_FILE
from exchange.hub.setup import hub_record, write_file
from exchange.keyring import KeyRing, KeyRingFile
from exchange.store import HubStore
from exchange.store import upgrade as upgrade_hub
from ledger.archive import archive, begin_anew
from ledger.entries import Entry
from ledger.epochs import Final, check_founding, confirm, draft_epoch, last_final, log_vkey
from ledger.errors import InvalidEpoch
from ledger.keys import SigningKey
from ledger.membership import Network
from ledger.readonly import opened_read_only
from ledger.rules.epochs import epoch_of
from ledger.state import EPOCH
from ledger.store import LedgerStore, open_engine, upgrade
from ledger.tables import State
from ledger.times import Clock, system_clock

__all__ = ["Drafted", "archive_names", "install_epoch", "new_epoch"]


@dataclass(frozen=True)
class Drafted:
    """A drafted epoch: the draft for the members, and what the new log goes on from."""

    draft: bytes
    final: Final


def new_epoch(
    directory: Path, passphrase: str, *, copy: Path | None = None, clock: Clock = system_clock
) -> Drafted:
    """Draft the next epoch from the last checkpoint that a quorum cosigned, with a new log key.

    Drafting again uses the log key of the earlier draft. The hub in ``directory`` may be running.

    Args:
        directory: the hub's.
        passphrase: opens its keys.
        copy: directory of a node whose copy of the log is read, not the hub's own database.
        clock: gives the draft's id and expiry.

    Raises:
        InvalidEpoch: no checkpoint is final.
        InvalidBatch: the database is not what its entries make it.
    """
    record = hub_record(directory)
    with opened_read_only(_database(directory, copy)) as engine:
        final = last_final(LedgerStore(engine))
    file = KeyRingFile(directory / KEYS_FILE, passphrase)
    ring = file.read()
    if len(ring.sets) == 1 and ring.current.cosign.public == final.network.log.public:
        ring = ring.followed_by(replace(ring.current, cosign=SigningKey.generate()))
        file.replace(ring)
    keys = ring.sets[-1]
    hub = {name: record[name] for name in ("did", "name", "tx", "tls")}
    draft = draft_epoch(final, hub, keys.cosign, clock).sign(keys.kid, keys.tx)
    check_founding(final.state, Entry.parse(draft.encode()), time=clock(), signed=False)
    return Drafted(encode_draft(draft), final)


def install_epoch(
    directory: Path,
    draft: bytes,
    passphrase: str,
    *,
    copy: Path | None = None,
    clock: Clock = system_clock,
) -> tuple[bytes, State]:
    """Leave the old log and make the hub ready to begin the new one. The hub must not be running.

    The old log is archived in ``directory`` as ``epoch-<n>.sqlite``, its genesis as ``epoch-<n>.json``.
    Papers of jobs that the carried state does not know are dropped.

    Args:
        directory: the hub's.
        draft: with the signatures.
        passphrase: opens the hub's keys.
        copy: as for ``new_epoch``.
        clock: the epoch begins no earlier than the old log's last seal.

    Returns:
        The entry that begins the epoch, and the carried state, for every member.

    Raises:
        InvalidRequest: the draft is not of this hub.
        InvalidEpoch: a signature is missing, or this hub's own database says otherwise.
        StaleHead: the hub is running.
    """
    raw = assembled(decode_draft(draft, EPOCH))
    entry, settings = Entry.parse(raw), hub_settings(directory, os.environ)
    file = KeyRingFile(directory / KEYS_FILE, passphrase)
    ring, record = file.read(), hub_record(directory)
    engine = open_engine(settings.database)
    try:
        upgrade_hub(engine, "hub")
        upgrade(engine)
        store = LedgerStore(engine)
        head, carried = store.head(), store.carried()
        if head is not None or not carried.table_roots():
            if _read(directory / GENESIS_FILE) == raw:
                return raw, carried
            carried = _confirmed(store, entry, copy)
        check_founding(carried, entry, time=clock())
        _require_ours(entry, carried, ring, record)
        database, genesis = archive_names(directory, epoch_of(carried))
        if head is not None:
            archive(store, database)
        if head is not None or not store.carried().table_roots():
            begin_anew(store, head, carried)
        HubStore(engine, clock).keep_only(carried.rows("jobs").keys())
    finally:
        engine.dispose()
    before = _read(directory / GENESIS_FILE)
    if before is not None and before != raw:
        write_file(genesis, before)
    file.replace(KeyRing((ring.sets[-1],)))
    write_file(directory / RECORD_FILE, json.dumps({**record, "log": entry.body["log"]}, indent=1).encode())
    amend(directory, {"origin": entry.body["origin"]})
    write_file(directory / GENESIS_FILE, raw)
    return raw, carried


def archive_names(directory: Path, epoch: int) -> tuple[Path, Path]:
    """Name the files in which the log of an epoch and its first entry are kept."""
    return directory / f"epoch-{epoch}.sqlite", directory / f"epoch-{epoch}.json"


def _database(directory: Path, copy: Path | None) -> str:
    return (hub_settings(directory, os.environ) if copy is None else node_settings(copy, {})).database


def _confirmed(store: LedgerStore, entry: Entry, copy: Path | None) -> State:
    if copy is None:
        return confirm(store, entry).state
    with opened_read_only(node_settings(copy, {}).database) as engine:
        return confirm(LedgerStore(engine), entry).state


def _read(path: Path) -> bytes | None:
    return path.read_bytes() if path.exists() else None


def _require_ours(entry: Entry, carried: State, ring: KeyRing, record: dict[str, Any]) -> None:
    network = Network.of(carried)
    if network is None:
        raise InvalidEpoch("expected a carried state with a network")
    hub = {name: record[name] for name in ("did", "name", "tx", "tls")}
    if entry.body["hub"] != hub:
        raise InvalidRequest("draft: hub", "the record of this hub", "another one")
    if entry.body["log"] != log_vkey(carried, ring.sets[-1].cosign).encode():
        raise Conflict("expected the log key that this hub drafted the epoch with, found another")
