"""Private content behind the commitments of entries, as the member keeps it that wrote them.

Payload and salt are encrypted (XChaCha20-Poly1305) with a key that the node hands in, each bound to its
entry, so a copy of the database opens nothing and rows cannot be swapped. Erasing drops both: the commitment
on the ledger then says nothing about the content any more, and the ledger stays whole. What a backup of the
database holds is not reached from here.
"""

from __future__ import annotations

from nacl.exceptions import CryptoError
from nacl.secret import Aead
from sqlalchemy import Engine, delete, insert, select, text

from ledger import canonical, commitments
from ledger.commitments import Opening
from ledger.entries import Entry
from ledger.errors import NotKept, StoreCorrupt
from ledger.schema import PAYLOADS
from ledger.store import LedgerStore

__all__ = ["PayloadStore"]


class PayloadStore:
    """Payloads and salts by txid. Thread-safe.

    Args:
        store: the member's copy of the log; its database holds the payloads too.
        key: 32 bytes that encrypt them.
    """

    def __init__(self, store: LedgerStore, key: bytes) -> None:
        self._store, self._box = store, Aead(key)

    def keep(self, entry: Entry, opening: Opening) -> None:
        """Keep what opens an entry's commitment; do it before the entry is sent.

        Raises:
            CommitmentMismatch: the entry commits to something else, or to nothing.
            StaleHead: it is kept already.
        """
        commitments.check(entry.commit or "", opening.payload, opening.salt)
        row = {
            "txid": entry.txid,
            "salt": self._seal(entry.txid, "salt", opening.salt),
            "payload": self._seal(entry.txid, "payload", opening.payload),
        }
        with self._store.transaction() as connection:
            connection.execute(insert(PAYLOADS), row)

    def opening(self, txid: str) -> Opening:
        """Return payload and salt of an entry, to disclose them.

        Raises:
            NotKept: they were erased, or this member never had them.
            StoreCorrupt: the row is not as this member wrote it.
        """
        query = select(PAYLOADS.c.payload, PAYLOADS.c.salt).where(PAYLOADS.c.txid == txid)
        rows = self._store.rows(query)
        if not rows:
            raise NotKept(f"no private content of {txid} is kept here: it was erased, or never was")
        payload, salt = rows[0]
        return Opening(self._open(txid, "payload", payload), self._open(txid, "salt", salt))

    def txids(self) -> list[str]:
        """Return the txids of the entries whose private content is kept."""
        return [row[0] for row in self._store.rows(select(PAYLOADS.c.txid).order_by(PAYLOADS.c.txid))]

    def erase(self, txid: str) -> None:
        """Drop payload and salt of an entry, for ever.

        Raises:
            NotKept: there is nothing to drop.
        """
        with self._store.transaction() as connection:
            if connection.dialect.name == "sqlite":
                connection.execute(text("PRAGMA secure_delete = ON"))
            erased = connection.execute(delete(PAYLOADS).where(PAYLOADS.c.txid == txid)).rowcount
        if not erased:
            raise NotKept(f"there is no private content of {txid} to erase")
        _empty_journal(self._store.engine)

    def move(self, old: Entry, new: Entry) -> None:
        """Keep what opens one entry for another that commits to the same, signed in its place.

        Nothing happens if it was erased meanwhile.
        """
        try:
            opening = self.opening(old.txid)
        except NotKept:
            return
        self.keep(new, opening)
        self.erase(old.txid)

    def _seal(self, txid: str, use: str, content: bytes) -> bytes:
        return bytes(self._box.encrypt(content, _context(txid, use)))

    def _open(self, txid: str, use: str, sealed: bytes) -> bytes:
        try:
            return bytes(self._box.decrypt(sealed, _context(txid, use)))
        except CryptoError:
            raise StoreCorrupt(
                f"ledger_payloads txid {txid}: {use}: expected what this member wrote"
            ) from None


def _context(txid: str, use: str) -> bytes:
    return canonical.encode({"txid": txid, "use": f"parley-payload/{use}/v1"})


def _empty_journal(engine: Engine) -> None:
    """Have SQLite write its journal back and empty it: it still holds the erased row."""
    if engine.dialect.name == "sqlite":
        with engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
            connection.execute(text("PRAGMA wal_checkpoint(TRUNCATE)"))
