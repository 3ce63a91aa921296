"""Private records about identity, each sealed: reviews, credentials, keys of attributes, open requests.

Records are JSON objects. Each is encrypted (XChaCha20-Poly1305) and bound to its kind, name and parent, so a
copy of the database opens nothing and rows cannot be swapped. A record is written once; a later fact is
another record under the same parent.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import datetime
from typing import Any

from nacl.exceptions import CryptoError
from nacl.secret import Aead
from sqlalchemy import Engine, Row, String, delete, select
from sqlalchemy import LargeBinary as Bytes
from sqlalchemy.orm import Mapped, mapped_column

from exchange.errors import Conflict, SealBroken
from exchange.store.engine import Moment, keep, transaction
from exchange.store.node.models import NodeBase
from ledger import canonical

__all__ = ["Vault", "VaultRow"]


class VaultRow(NodeBase):
    """A sealed record."""

    __tablename__ = "node_vault"

    kind: Mapped[str] = mapped_column(String(40), primary_key=True)
    record: Mapped[str] = mapped_column(String(200), primary_key=True)
    parent: Mapped[str] = mapped_column(String(200), index=True)
    sealed: Mapped[bytes] = mapped_column(Bytes)
    stored: Mapped[datetime] = mapped_column(Moment)


_VAULT = NodeBase.metadata.tables[VaultRow.__tablename__]


class Vault:
    """Sealed records by kind and name.

    Args:
        engine: the node's database.
        clock: aware time in UTC.
        key: 32 bytes that seal records; None: none is written or read.
    """

    def __init__(self, engine: Engine, clock: Callable[[], datetime], key: bytes | None) -> None:
        self._engine, self._clock = engine, clock
        self._box = None if key is None else Aead(key)

    def add(self, kind: str, record: str, content: Mapping[str, Any], *, parent: str = "") -> bool:
        """Keep a record; tells whether it is new. One that is here already stays as it is.

        Raises:
            Conflict: this store was opened without a key.
        """
        sealed = bytes(
            self._opened().encrypt(canonical.encode(dict(content)), _context(kind, record, parent))
        )
        values = {"kind": kind, "record": record, "parent": parent, "sealed": sealed, "stored": self._clock()}
        with transaction(self._engine) as connection:
            return keep(connection, _VAULT, values, replace=False)

    def find(self, kind: str, record: str) -> dict[str, Any] | None:
        """Return a record.

        Raises:
            SealBroken: it is not as this node wrote it; Conflict: as in ``add``.
        """
        wanted = select(_VAULT).where(_VAULT.c.kind == kind, _VAULT.c.record == record)
        with transaction(self._engine) as connection:
            row = connection.execute(wanted).one_or_none()
        return None if row is None else self._content(row)

    def of(self, kind: str, parent: str) -> list[dict[str, Any]]:
        """Return the records of a kind under a parent, by name; raises as ``find`` does."""
        wanted = select(_VAULT).where(_VAULT.c.kind == kind, _VAULT.c.parent == parent)
        with transaction(self._engine) as connection:
            rows = connection.execute(wanted.order_by(_VAULT.c.record)).all()
        return [self._content(row) for row in rows]

    def take(self, kind: str, record: str) -> dict[str, Any] | None:
        """Return a record and drop it: of several callers at once, one gets it."""
        found = self.find(kind, record)
        wanted = (_VAULT.c.kind == kind) & (_VAULT.c.record == record)
        with transaction(self._engine) as connection:
            is_mine = connection.execute(delete(_VAULT).where(wanted)).rowcount == 1
        return found if is_mine else None

    def _content(self, row: Row[Any]) -> dict[str, Any]:
        try:
            plain = self._opened().decrypt(row.sealed, _context(row.kind, row.record, row.parent))
        except CryptoError:
            raise SealBroken(f"expected a {row.kind} that this node sealed, got another record") from None
        content = canonical.decode(bytes(plain))
        if not isinstance(content, dict):
            raise SealBroken(f"expected a {row.kind} that this node sealed, got another record")
        return content

    def _opened(self) -> Aead:
        if self._box is None:
            raise Conflict("expected a key to seal records with, got none")
        return self._box


def _context(kind: str, record: str, parent: str) -> bytes:
    return canonical.encode({"kind": kind, "parent": parent, "record": record, "use": "parley-vault/v1"})
