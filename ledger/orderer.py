"""Order engines: who decides which batch comes next.

An engine orders opaque batches by height and knows nothing of entries. What it says is checked by every
member, so it is trusted for availability and order only. Its conformance suite is
``ledger.testing.OrdererContract``.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Literal, Protocol

from sqlalchemy import Connection, Engine, delete, func, insert, select
from sqlalchemy.exc import IntegrityError, SQLAlchemyError

from ledger.errors import OrderConflict, StoreUnavailable
from ledger.schema import BATCHES

__all__ = ["Faults", "Orderer", "SqlOrderer"]

Faults = Literal["none", "crash", "byzantine"]

_PAGE = 100


class Orderer(Protocol):
    """Orders batches by height, starting at 0."""

    @property
    def kind(self) -> str:
        """What the genesis and each seal call this engine."""

    @property
    def faults(self) -> Faults:
        """Which faults of its own machines it survives."""

    @property
    def max_batch(self) -> int:
        """The largest batch it takes, in bytes."""

    def reference(self, height: int) -> str:
        """Return what the seal of this height says about the engine. Pure."""

    def propose(self, height: int, batch: bytes, connection: Connection) -> None:
        """Put ``batch`` at ``height`` if that is the next height and nobody came first.

        When it returns, the batch MUST be durable, or durable together with the transaction of
        ``connection``: an engine that shares the database writes in it, so that order and integration commit
        at once; any other engine ignores it, and a batch it ordered is integrated by recovery if the
        transaction fails.

        Raises:
            OrderConflict: another batch has this height, or a height before it is missing.
            StoreUnavailable: not carried out, or not known to be; ``follow`` tells later.
        """

    def follow(self, height: int) -> Iterator[tuple[int, bytes]]:
        """Yield ``(height, batch)`` from ``height`` to the present end, without gap or duplicate."""

    def head(self) -> int:
        """Return the next free height."""

    def trim(self, below: int) -> None:
        """Forget batches below a height that is integrated everywhere. The last batch MUST be kept."""


class SqlOrderer:
    """Order by the primary key of a table: one database, one operator, no fault of it survived."""

    kind = "sql"
    faults: Faults = "none"
    max_batch = 16 * 1024 * 1024

    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    def reference(self, height: int) -> str:
        """Return the height: this engine has nothing else to say."""
        return str(height)

    def propose(self, height: int, batch: bytes, connection: Connection) -> None:
        """Insert the batch in the caller's transaction; see ``Orderer.propose``."""
        try:
            following = _next_height(connection)
            if height != following:
                raise OrderConflict(f"expected height {following}, got {height}")
            connection.execute(insert(BATCHES), {"height": height, "data": batch})
        except IntegrityError as exc:
            raise OrderConflict(f"height {height} was taken by another writer") from exc
        except SQLAlchemyError as exc:
            raise StoreUnavailable(f"the batch was not ordered: {type(exc).__name__}") from exc

    def follow(self, height: int) -> Iterator[tuple[int, bytes]]:
        """Yield batches in order."""
        while True:
            page = self._read(height)
            yield from page
            if len(page) < _PAGE:
                return
            height = page[-1][0] + 1

    def head(self) -> int:
        """Return the next free height."""
        try:
            with self._engine.connect() as connection:
                return _next_height(connection)
        except SQLAlchemyError as exc:
            raise StoreUnavailable(f"the order could not be read: {type(exc).__name__}") from exc

    def trim(self, below: int) -> None:
        """Delete batches below a height, but not the last one."""
        try:
            with self._engine.begin() as connection:
                last = _next_height(connection) - 1
                connection.execute(delete(BATCHES).where(BATCHES.c.height < min(below, last)))
        except SQLAlchemyError as exc:
            raise StoreUnavailable(f"the order could not be trimmed: {type(exc).__name__}") from exc

    def _read(self, height: int) -> list[tuple[int, bytes]]:
        query = (
            select(BATCHES.c.height, BATCHES.c.data)
            .where(BATCHES.c.height >= height)
            .order_by(BATCHES.c.height)
            .limit(_PAGE)
        )
        try:
            with self._engine.connect() as connection:
                return [(row.height, row.data) for row in connection.execute(query)]
        except SQLAlchemyError as exc:
            raise StoreUnavailable(f"the order could not be read: {type(exc).__name__}") from exc


def _next_height(connection: Connection) -> int:
    last = connection.execute(select(func.max(BATCHES.c.height))).scalar()
    return 0 if last is None else int(last) + 1
