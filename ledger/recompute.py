"""Recomputing a whole log from the bytes of its entries, batch by batch, to the state root at every seal.

This is what a member did while the log grew, done again from the genesis by somebody who has only the bytes:
nothing that was stored beside them is used. The first batch that is not what the validity function makes of
it ends the run.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass

from ledger.batches import Batch, Head, verify_batch
from ledger.checkpoints import open_checkpoint
from ledger.entries import Entry
from ledger.errors import InvalidBatch, MalformedEntry, UnverifiedNote
from ledger.membership import Electorates, Network, genesis_hash
from ledger.merkle import Tree, leaf_hash
from ledger.state import SEAL
from ledger.tables import State
from ledger.verification import Verifier

__all__ = ["Compared", "Recomputed", "recompute"]

_TXID_PREFIX = 32
"""Hexadecimal digits of a txid by which a repeated one is found: 128 bits."""


@dataclass(frozen=True)
class Compared:
    """A checkpoint of a recomputed log: its size, how many members cosigned it, whether they are a quorum."""

    size: int
    cosigned: int
    is_final: bool


@dataclass(frozen=True)
class Recomputed:
    """What a log is, by its bytes alone.

    Attributes:
        head: where it stands after its last seal.
        tree: over all entries.
        electorates: who made a checkpoint final at every size.
        refused: how many entries the validity function refuses.
        genesis: hash of the genesis.
    """

    head: Head
    tree: Tree
    electorates: Electorates
    refused: int
    genesis: str

    def compare(self, raw: bytes) -> Compared:
        """Compare a checkpoint, perhaps cosigned, with the entries below it.

        Raises:
            InvalidBatch: it has another root, or is beyond the last entry.
            MalformedNote, UnverifiedNote: it is no checkpoint, or not this log's.
        """
        network = Network.of(self.head.state)
        if network is None:
            raise UnverifiedNote("expected a log with a network, got none")
        checkpoint, note = open_checkpoint(raw, network.log)
        size = checkpoint.size
        if size > len(self.tree):
            raise InvalidBatch("checkpoint", len(self.tree), f"{size} entries", f"{len(self.tree)}")
        if (root := self.tree.root(size)) != checkpoint.root:
            raise InvalidBatch(f"root below {size}", size - 1, checkpoint.root.hex(), root.hex())
        electorate = self.electorates.at(size)
        signed = electorate.cosigners(note)
        return Compared(size, len(signed), electorate.is_final(signed))


def recompute(
    pages: Iterable[Sequence[bytes]],
    *,
    genesis: str | None = None,
    carried: State | None = None,
    verifier: Verifier | None = None,
    on_batch: Callable[[Batch], None] = lambda _: None,
) -> Recomputed:
    """Execute all entries of a log.

    Args:
        pages: the entries' bytes from index 0 on, some at a time.
        genesis: the hash that the genesis must have.
        carried: what the log of the epoch before leaves to this one.
        verifier: checks signatures, perhaps in processes of its own.
        on_batch: called after each batch with what was recomputed.

    Raises:
        InvalidBatch: the first difference, with the index of the entry that shows it.
    """
    run = _Run(verifier or Verifier(), on_batch, carried)
    for page in pages:
        run.take(page, genesis)
    if run.pending or not run.head.size:
        raise InvalidBatch("batch", len(run.tree), "a seal at its end", "the end of the entries")
    return Recomputed(run.head, run.tree, run.electorates, run.refused, run.genesis)


class _Run:
    """One pass over a log."""

    def __init__(self, verifier: Verifier, on_batch: Callable[[Batch], None], carried: State | None) -> None:
        self._verifier, self._on_batch = verifier, on_batch
        self._txids: set[bytes] = set()
        self.head: Head = Head.empty(carried)
        self.tree, self.electorates = Tree(), Electorates()
        self.pending: list[Entry] = []
        self.refused, self.genesis = 0, ""

    def take(self, raws: Sequence[bytes], genesis: str | None) -> None:
        entries = list(self._parsed(raws, genesis))
        self._verifier.mark(self.head.state, entries)
        for entry in entries:
            self.pending.append(entry)
            if entry.type == SEAL:
                self._execute()

    def _parsed(self, raws: Sequence[bytes], genesis: str | None) -> Iterator[Entry]:
        for raw in raws:
            index = self.tree.append(leaf_hash(raw))
            if index == 0:
                self.genesis = genesis_hash(raw)
                if genesis is not None and genesis != self.genesis:
                    raise InvalidBatch("genesis", 0, genesis, self.genesis)
            try:
                yield Entry.parse(raw)
            except MalformedEntry as exc:
                raise InvalidBatch("entry", index, "an entry", str(exc)) from exc

    def _execute(self) -> None:
        batch = verify_batch(self.head, self.pending, now=None, seen=self._seen)
        self._txids.update(bytes.fromhex(entry.txid[:_TXID_PREFIX]) for entry in self.pending)
        self.refused += sum(code is not None for code in batch.codes)
        self.head, self.pending = batch.head, []
        self.electorates.record(self.head.state, self.head.size)
        self._on_batch(batch)

    def _seen(self, txids: frozenset[str]) -> frozenset[str]:
        return frozenset(txid for txid in txids if bytes.fromhex(txid[:_TXID_PREFIX]) in self._txids)
