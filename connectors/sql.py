"""Tables of a relational database, through SQLAlchemy Core.

Columns are reflected, statements are built from the reflected table (never from text), and rows stream in
batches inside one read-only transaction, so a reader sees one state of the table. SQLite files are opened
read-only; a missing file is not created.

Rows come in a defined order, since Parley numbers them: by primary key where there is one; else in SQLite by
row id, which is the order of insertion, and elsewhere by all columns.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any, Final
from urllib.parse import quote

import pyarrow as pa
from sqlalchemy import (
    ColumnElement,
    Engine,
    Inspector,
    MetaData,
    Table,
    collate,
    column,
    create_engine,
    inspect,
    select,
    type_coerce,
)
from sqlalchemy.engine import URL
from sqlalchemy.exc import DBAPIError, NoSuchTableError, SQLAlchemyError
from sqlalchemy.pool import NullPool
from sqlalchemy.types import NullType, String

from connectors.connector import BATCH_ROWS, require_columns
from connectors.errors import MissingTable, SourceUnreachable
from connectors.spec import display_url
from connectors.sql_types import arrow_type, column_array

__all__ = ["SqlConnector"]

CONNECT_TIMEOUT_S: Final = 10
# Collations that compare bytes, so that the order does not depend on a locale.
_BYTE_COLLATION: Final = {"sqlite": "BINARY", "postgresql": "C"}


class SqlConnector:
    """One table or view of a database. Made by ``sqlite`` or ``server``."""

    def __init__(self, engine: Engine, source: str, table: str, secrets: Sequence[str] = ()) -> None:
        """Reflect the table.

        Args:
            engine: opened read-only where the database allows.
            source: how errors name the database.
            table: name of a table or view, ``schema.table`` where needed.
            secrets: texts that must not appear in an error, such as the password.
        """
        self._engine, self._source, self._secrets = engine, source, tuple(secrets)
        with self._errors_named("connecting"):
            inspector = inspect(engine)
            self._table = _reflect(inspector, engine, table)
            views = inspector.get_view_names(schema=self._table.schema)
        self._order = _order(self._table, engine.dialect.name, is_view=self._table.name in views)
        self._schema = pa.schema([(c.name, arrow_type(c)) for c in self._table.columns])

    def __repr__(self) -> str:
        return f"SqlConnector({self._source}, {self._table.fullname})"

    @staticmethod
    def sqlite(path: Path, table: str) -> SqlConnector:
        """Open a SQLite file read-only."""

        def connect() -> sqlite3.Connection:
            return sqlite3.connect(f"file:{quote(str(path))}?mode=ro", uri=True, check_same_thread=False)

        return SqlConnector(
            create_engine("sqlite+pysqlite://", creator=connect, poolclass=NullPool, hide_parameters=True),
            f"sqlite:///{path}",
            table,
        )

    @staticmethod
    def server(url: URL, table: str) -> SqlConnector:
        """Connect to a database server; transactions are read-only and see one state."""
        engine = create_engine(
            url,
            poolclass=NullPool,
            hide_parameters=True,
            isolation_level="REPEATABLE READ",
            execution_options={"postgresql_readonly": True},
            connect_args={"connect_timeout": CONNECT_TIMEOUT_S},
        )
        return SqlConnector(engine, display_url(url), table, _secrets(url))

    def schema(self) -> pa.Schema:
        """Names and Arrow types of all columns, in the table's order."""
        return self._schema

    def batches(self, columns: Sequence[str], *, batch_rows: int = BATCH_ROWS) -> Iterator[pa.RecordBatch]:
        """Read some columns of every row, in the table's order."""
        return self._stream(require_columns(columns, self._schema), batch_rows)

    def close(self) -> None:
        """Close what is open."""
        self._engine.dispose()

    def _stream(self, names: tuple[str, ...], batch_rows: int) -> Iterator[pa.RecordBatch]:
        schema = pa.schema([self._schema.field(name) for name in names])
        chosen: list[ColumnElement[Any]] = [self._table.columns[name] for name in names]
        if self._engine.dialect.name == "sqlite":
            # Values as stored: SQLAlchemy would turn numbers into decimals through binary floats.
            chosen = [type_coerce(c, NullType()).label(name) for c, name in zip(chosen, names, strict=True)]
        statement = select(*chosen).select_from(self._table).order_by(*self._order)
        with self._errors_named("reading"), self._engine.connect() as connection:
            streaming = connection.execution_options(stream_results=True, yield_per=batch_rows)
            with closing(streaming.execute(statement)) as result:
                for rows in result.partitions(batch_rows):
                    arrays = [
                        column_array(values, field)
                        for values, field in zip(zip(*rows, strict=True), schema, strict=True)
                    ]
                    yield pa.RecordBatch.from_arrays(arrays, schema=schema)

    @contextmanager
    def _errors_named(self, doing: str) -> Iterator[None]:
        try:
            yield
        except DBAPIError as exc:
            # Not chained: the driver's text may quote rows, and its parameters the password.
            reason = f"{doing} failed ({type(exc.orig).__name__})"
            if doing == "connecting":
                reason += f": {self._first_line(exc.orig)}"
            raise SourceUnreachable(self._source, reason) from None
        except SQLAlchemyError as exc:
            raise SourceUnreachable(self._source, f"{doing} failed ({type(exc).__name__})") from None

    def _first_line(self, error: BaseException | None) -> str:
        line = str(error).partition("\n")[0][:300]
        for secret in self._secrets:
            line = line.replace(secret, "***")
        return line


def _reflect(inspector: Inspector, engine: Engine, table: str) -> Table:
    schema, _, name = table.rpartition(".")
    candidates = [(None, table)] + ([(schema, name)] if schema else [])
    for in_schema, bare in candidates:
        try:
            return Table(bare, MetaData(), schema=in_schema, autoload_with=engine, resolve_fks=False)
        except NoSuchTableError:
            continue
    raise MissingTable(table, sorted({*inspector.get_table_names(), *inspector.get_view_names()}))


def _order(table: Table, dialect: str, *, is_view: bool) -> list[ColumnElement[Any]]:
    if table.primary_key.columns:
        return list(table.primary_key.columns)
    if dialect == "sqlite" and not is_view:
        alias = next((a for a in ("rowid", "_rowid_", "oid") if a not in table.columns), None)
        if alias is not None:
            return [column(alias)]
    collation = _BYTE_COLLATION[dialect]
    return [collate(c, collation) if isinstance(c.type, String) else c for c in table.columns]


def _secrets(url: URL) -> tuple[str, ...]:
    given = [str(url.password or "")]
    given += [str(value) for key, value in url.query.items() if "password" in key.lower()]
    return tuple(variant for secret in given if secret for variant in {secret, quote(secret)})
