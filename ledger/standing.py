"""How a copy of the log stands: its sizes, its final checkpoint, and who cosigned it and what before."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from sqlalchemy import select

from ledger.bundle.exporting import cosigned
from ledger.checkpoints import Checkpoint, cosignature_time, median_time
from ledger.membership import Electorate
from ledger.notes import NoteSignature
from ledger.schema import COSIGNATURES
from ledger.store import LedgerStore, typed

__all__ = ["Cosigner", "FinalCheckpoint", "final_checkpoint"]


@dataclass(frozen=True)
class Cosigner:
    """One member's key: the last checkpoint it cosigned, when (Unix time), and whether the final one too.

    ``size`` and ``time`` are None where no cosignature of this key is stored.
    """

    name: str
    size: int | None
    time: int | None
    is_on_final: bool


@dataclass(frozen=True)
class FinalCheckpoint:
    """The largest checkpoint with a quorum.

    Attributes:
        size: entries below it.
        root: Merkle root of these entries, 32 bytes.
        quorum: how many cosignatures it takes.
        time: median of its cosignatures' Unix times, which no minority of the cosigners can move.
        cosigners: the members that may cosign, by key name.
    """

    size: int
    root: bytes
    quorum: int
    time: int
    cosigners: Sequence[Cosigner]


def final_checkpoint(store: LedgerStore, size: int, electorate: Electorate) -> FinalCheckpoint:
    """Describe the final checkpoint of a store.

    Args:
        store: a member's copy or the hub's.
        size: its final size.
        electorate: the members that count there.

    Raises:
        NotFinal: there is no checkpoint of this size.
    """
    note = cosigned(store, size)
    checkpoint = Checkpoint.parse(note.text)
    times = {line.name: cosignature_time(line) for line in note.signatures[1:]}
    names = sorted(vkey.name for vkey in electorate.vkeys)
    counted = [times[name] for name in names if name in times]
    return FinalCheckpoint(
        size=size,
        root=checkpoint.root,
        quorum=electorate.quorum,
        time=median_time(counted) if counted else 0,
        cosigners=[_cosigner(store, name, name in times) for name in names],
    )


def _cosigner(store: LedgerStore, name: str, is_on_final: bool) -> Cosigner:
    query = (
        select(COSIGNATURES.c.size, COSIGNATURES.c.line)
        .where(COSIGNATURES.c.name == name)
        .order_by(COSIGNATURES.c.size.desc())
        .limit(1)
    )
    for size, line in store.rows(query):
        where = f"ledger_cosignatures size {size}: line"
        return Cosigner(
            name, size, cosignature_time(NoteSignature.parse(typed(line, str, where))), is_on_final
        )
    return Cosigner(name, None, None, is_on_final)
