"""Promises in the ledger's own tables: the hub keeps those it owes there, a member those it holds."""

from __future__ import annotations

from dataclasses import dataclass

from sqlalchemy import delete, insert, select, update

from ledger.schema import PROMISES
from ledger.store import LedgerStore, typed

__all__ = ["Kept", "PromiseStore"]


@dataclass(frozen=True)
class Kept:
    """An entry, the hub's promise about it, and the evidence file if it was not kept."""

    txid: str
    raw: bytes
    promise: bytes
    evidence: str | None


class PromiseStore:
    """Promises by txid. Thread-safe."""

    def __init__(self, store: LedgerStore) -> None:
        self._store = store

    def put(self, txid: str, raw: bytes, promise: bytes) -> Kept:
        """Keep a promise, durably; the first one about an entry stays, and is returned.

        Raises:
            StaleHead: another process is keeping one at this moment.
        """
        for kept in self._rows(txid):
            return kept
        with self._store.transaction() as connection:
            connection.execute(insert(PROMISES), {"txid": txid, "raw": raw, "promise": promise.decode()})
        return Kept(txid, raw, promise, None)

    def put_evidence(self, txid: str, path: str) -> None:
        """Note that a promise was not kept, and the file that shows it."""
        with self._store.transaction() as connection:
            connection.execute(update(PROMISES).where(PROMISES.c.txid == txid).values(evidence=path))

    def drop(self, txid: str) -> None:
        """Forget a promise that was kept."""
        with self._store.transaction() as connection:
            connection.execute(delete(PROMISES).where(PROMISES.c.txid == txid))

    def all(self) -> list[Kept]:
        """Return all promises, by txid."""
        return self._rows()

    def _rows(self, txid: str | None = None) -> list[Kept]:
        query = select(PROMISES.c.txid, PROMISES.c.raw, PROMISES.c.promise, PROMISES.c.evidence)
        if txid is not None:
            query = query.where(PROMISES.c.txid == txid)
        return [
            Kept(
                typed(row.txid, str, "ledger_promises: txid"),
                typed(row.raw, bytes, f"ledger_promises txid {row.txid}: raw"),
                typed(row.promise, str, f"ledger_promises txid {row.txid}: promise").encode(),
                row.evidence,
            )
            for row in self._store.rows(query.order_by(PROMISES.c.txid))
        ]
