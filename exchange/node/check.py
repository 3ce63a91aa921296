"""``parley ledger fsck`` and ``replay``: a member's own database, checked without a running node.

The directory of a node is enough, also a copy or a backup of one, and nothing in it is changed.
"""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path

from exchange.config import node_settings
from exchange.errors import Conflict
from exchange.node.tile_source import TileSource
from ledger import fsck as ledger_fsck
from ledger.batches import Batch
from ledger.bundle.exporting import cosigned
from ledger.carried import read_carried
from ledger.checkpoints import Checkpoint
from ledger.errors import InvalidBatch, LedgerError
from ledger.fsck import Problem
from ledger.membership import genesis_hash
from ledger.notes import Note
from ledger.readonly import damage, opened_read_only
from ledger.recompute import Compared, Recomputed, recompute
from ledger.store import LedgerStore, Record
from ledger.tables import State
from ledger.verification import Verifier

__all__ = ["Progress", "Replayed", "fsck", "replay", "replay_tiles"]

Progress = Callable[[int, int], None]
"""Called with how many entries are done, and of how many."""


def fsck(directory: Path) -> list[Problem]:
    """Check the ledger tables of the node in ``directory``; works beside a running node.

    Returns:
        Everything that is wrong, damage to the file first; empty where all is as it was signed.

    Raises:
        Conflict: the node has not joined a hub, so there is no genesis to check against.
        StoreUnavailable, StoreCorrupt: there is no ledger database, or one of another version.
    """
    genesis = _genesis(directory)
    with _store(directory) as store:
        problems = damage(store.engine)
        try:
            return [*problems, *ledger_fsck.check(store, genesis)]
        except LedgerError as error:
            return [*problems, Problem("ledger tables", "tables that can be read", str(error))]


@dataclass(frozen=True)
class Replayed:
    """A log that was recomputed whole, and the final checkpoint it was compared with, if there is one."""

    log: Recomputed
    final: Compared | None


def replay(directory: Path, *, on_progress: Progress, processes: int = 0) -> Replayed:
    """Recompute the copy of the node in ``directory`` from its entries to the state root at every seal.

    Besides the bytes, what the database says of each entry is compared: type, actor, code, time.

    Raises:
        InvalidBatch: the first difference.
        StoreUnavailable, StoreCorrupt: the database cannot be read.
    """
    genesis = genesis_hash(_genesis(directory))
    with _store(directory) as store, closing(Verifier(processes)) as verifier:
        head = store.head()
        columns = _Columns(store, on_progress, head.size if head else 0)
        log = recompute(
            columns.raws(),
            genesis=genesis,
            carried=store.carried(),
            verifier=verifier,
            on_batch=columns.compare,
        )
        final = (log.compare(cosigned(store, size).encode()) for size in store.cosigned_sizes())
        return Replayed(log, next((one for one in final if one.is_final), None))


def replay_tiles(
    place: str,
    *,
    genesis: str | None,
    on_progress: Progress,
    processes: int = 0,
    carried: Path | None = None,
) -> Replayed:
    """Recompute a log that is served, or kept in a folder, as tiles, up to its checkpoint.

    Args:
        place: a folder or an address, below which ``checkpoint`` and ``tile`` are.
        genesis: the hash that the genesis must have; None takes any.
        on_progress: called with how many entries are done, and of how many.
        processes: for checking signatures, beside this one.
        carried: file of what the log began with, for one of a later epoch.

    Raises:
        InvalidBatch: the first difference.
        InvalidEpoch: the file is not one of a carried state.
        NotFound, HubUnreachable: a file is not there.
        MalformedNote, UnverifiedNote: a file is not what it should be.
    """
    began = None if carried is None else _carried(carried)
    source = TileSource(place)
    raw = source.checkpoint()
    size = Checkpoint.parse(Note.parse(raw).text).size
    with closing(Verifier(processes)) as verifier:
        log = recompute(
            source.entries(size),
            genesis=genesis,
            carried=began,
            verifier=verifier,
            on_batch=lambda batch: on_progress(batch.head.size, size),
        )
    return Replayed(log, log.compare(raw))


class _Columns:
    """The rows of a database: their bytes are recomputed, and then their other columns compared."""

    def __init__(self, store: LedgerStore, on_progress: Progress, size: int) -> None:
        self._store, self._on_progress, self._size = store, on_progress, size
        self._waiting: deque[Record] = deque()

    def raws(self) -> Iterator[list[bytes]]:
        following = 0
        for page in self._store.pages():
            for record in page:
                if record.index != following:
                    raise InvalidBatch("stored entry", following, "a row", "none")
                following += 1
            self._waiting.extend(page)
            yield [record.raw for record in page]
        if following != self._size:
            raise InvalidBatch(
                "stored entry", following, f"{self._size} rows, as the head says", f"{following}"
            )

    def compare(self, batch: Batch) -> None:
        for entry, code in zip([*batch.entries, batch.seal], [*batch.codes, None], strict=True):
            record = self._waiting.popleft()
            expected = Record.of(record.index, entry, code, batch.time)
            for name in ("txid", "type", "actor", "leaf", "code", "time"):
                if (actual := getattr(record, name)) != (wanted := getattr(expected, name)):
                    raise InvalidBatch(f"stored {name}", record.index, str(wanted), str(actual))
        self._on_progress(batch.head.size, self._size)


@contextmanager
def _store(directory: Path) -> Iterator[LedgerStore]:
    with opened_read_only(node_settings(directory, os.environ).database) as engine:
        yield LedgerStore(engine)


def _carried(path: Path) -> State:
    with path.open("rb") as lines:
        return read_carried(lines)


def _genesis(directory: Path) -> bytes:
    settings = node_settings(directory, os.environ)
    if settings.hub is None:
        raise Conflict(f"node {settings.name} has not joined a hub yet: it has no genesis to check against")
    return settings.hub.genesis.read_bytes()
