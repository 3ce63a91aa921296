"""The database of a hub or node, which it shares with its copy of the ledger; SQLite or PostgreSQL."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path
from typing import Final, Literal

from sqlalchemy import (
    Connection,
    Dialect,
    Engine,
    String,
    Table,
    TypeDecorator,
)
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.exc import SQLAlchemyError

import ledger.errors
from exchange.errors import ExchangeError
from ledger.store import migrate, open_engine
from ledger.times import format_time, parse_time

__all__ = ["Moment", "Schema", "StoreUnavailable", "keep", "open_engine", "transaction", "upgrade"]

Schema = Literal["hub", "node"]

HEADS: Final[Mapping[Schema, str]] = {"hub": "hub_0002", "node": "node_0015"}
"""The newest revision of each tree."""


class StoreUnavailable(ExchangeError):
    """The database did not carry out a request."""

    code = "store.unavailable"
    blame = "operator"
    retryable = True


class Moment(TypeDecorator[datetime]):
    """An aware time in whole seconds, kept as text that sorts: ``2026-11-23T10:00:00Z``."""

    impl = String(20)
    cache_ok = True

    def process_bind_param(self, value: datetime | None, dialect: Dialect) -> str | None:
        """Write a time."""
        return None if value is None else format_time(value)

    def process_result_value(self, value: str | None, dialect: Dialect) -> datetime | None:
        """Read a time."""
        return None if value is None else parse_time(value)


def upgrade(engine: Engine, schema: Schema) -> None:
    """Bring the tables of ``schema`` to this build's version; what they hold stays.

    Raises:
        StoreUnavailable: the database cannot be reached or refuses.
    """
    scripts = Path(__file__).parent / schema / "migrations"
    try:
        migrate(engine, scripts, f"{schema}_version", HEADS[schema])
    except ledger.errors.StoreUnavailable as error:
        raise StoreUnavailable(str(error)) from error


@contextmanager
def transaction(engine: Engine) -> Iterator[Connection]:
    """A transaction that ends with the block: committed, or undone where anything is raised.

    Raises:
        StoreUnavailable: the database did not carry it out.
    """
    try:
        with engine.begin() as connection:
            yield connection
    except SQLAlchemyError as error:
        # the driver's text may quote values, so only its kind is told
        raise StoreUnavailable(f"the database did not carry out a request: {type(error).__name__}") from error


def keep(connection: Connection, table: Table, values: Mapping[str, object], *, replace: bool) -> bool:
    """Insert a row. Where its key exists already, replace the rest of the row or leave it as it is.

    Returns:
        Whether anything was written.
    """
    insert = sqlite.insert if connection.dialect.name == "sqlite" else postgresql.insert
    statement = insert(table).values(**values)
    key = [column.name for column in table.primary_key]
    rest = {name: statement.excluded[name] for name in values if name not in key}
    if replace:
        statement = statement.on_conflict_do_update(index_elements=key, set_=rest)
    else:
        statement = statement.on_conflict_do_nothing()
    counted = statement.execution_options(preserve_rowcount=True)  # else psycopg's count of an INSERT is lost
    return connection.execute(counted).rowcount == 1
