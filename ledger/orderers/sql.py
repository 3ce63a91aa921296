"""Order by the primary key of a table in the hub's own database."""

from __future__ import annotations

from collections.abc import Iterator

from sqlalchemy import Connection, Engine, delete, func, insert, select
from sqlalchemy.exc import IntegrityError, SQLAlchemyError

from ledger.errors import OrderConflict, StoreUnavailable
from ledger.orderers import Faults
from ledger.schema import BATCHES

__all__ = ["SqlOrderer"]

_PAGE = 100
_ORIGIN = b""
"""The row below an order's first height, where that is not 0. No batch is empty."""


class SqlOrderer:
    """One database, one operator, no fault of it survived. The caller disposes of ``engine``."""

    kind = "sql"
    faults: Faults = "none"
    max_batch = 16 * 1024 * 1024

    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    def reference(self, height: int) -> str:
        """Return the height: this engine has nothing else to say."""
        return str(height)

    def begin(self, height: int) -> None:
        """Write the row below ``height``; see ``Orderer.begin``."""
        try:
            with self._engine.execution_options(isolation_level="SERIALIZABLE").begin() as connection:
                head, start = _next_height(connection), _start(connection)
                if start == height:
                    return
                if head and not start < head < height:
                    raise OrderConflict(f"expected an order that starts at {height}, it started at {start}")
                connection.execute(delete(BATCHES))
                connection.execute(insert(BATCHES), {"height": height - 1, "data": _ORIGIN})
        except IntegrityError as exc:
            raise OrderConflict("another writer began an order") from exc
        except SQLAlchemyError as exc:
            raise StoreUnavailable(f"the order was not begun: {type(exc).__name__}") from exc

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
                old = BATCHES.c.height < min(below, last)
                connection.execute(delete(BATCHES).where(old, func.length(BATCHES.c.data) > 0))
        except SQLAlchemyError as exc:
            raise StoreUnavailable(f"the order could not be trimmed: {type(exc).__name__}") from exc

    def close(self) -> None:
        """Do nothing: the engine is the caller's."""

    def _read(self, height: int) -> list[tuple[int, bytes]]:
        query = (
            select(BATCHES.c.height, BATCHES.c.data)
            .where(BATCHES.c.height >= height, func.length(BATCHES.c.data) > 0)
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


def _start(connection: Connection) -> int:
    query = select(BATCHES.c.height).where(func.length(BATCHES.c.data) == 0)
    origin = connection.execute(query).scalar()
    return 0 if origin is None else int(origin) + 1
