"""Tables of a relational database, through SQLAlchemy Core.

Columns are reflected, statements are built from the reflected table (never from text), and rows stream in
batches inside one read-only transaction, so a reader sees one state of the table. SQLite files are opened
read-only; a missing file is not created.

Rows come in a defined order, since Parley numbers them: by primary key where there is one; else in SQLite by
row id, which is the order of insertion, and elsewhere by all columns. Servers keep the rows that are not yet
read (a named cursor, an unbuffered result), so memory does not grow with the table.
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
    Connection,
    CursorResult,
    Engine,
    Inspector,
    MetaData,
    String,
    Table,
    UniqueConstraint,
    column,
    create_engine,
    event,
    func,
    inspect,
    select,
)
from sqlalchemy.engine import URL
from sqlalchemy.exc import ArgumentError, DBAPIError, NoSuchTableError, SQLAlchemyError
from sqlalchemy.pool import NullPool

from connectors.arrow_filters import to_arrow
from connectors.connector import BATCH_ROWS, rebatch, require_columns
from connectors.errors import InvalidSource, InvalidValues, MissingTable, SourceUnreachable, WrongColumnType
from connectors.filters import Filter, check, names
from connectors.spec import display_url
from connectors.sql_filters import as_read, by_bytes, pushed_down, to_sqlalchemy
from connectors.sql_types import arrow_type, column_array

__all__ = ["SqlConnector"]

CONNECT_TIMEOUT_S: Final = 10
_MYSQL_SESSION: Final = (
    "SET SESSION TRANSACTION READ ONLY",
    # TIMESTAMP columns are shown in the session's zone; sorting looks at 1,024 bytes of a text unless told.
    "SET SESSION time_zone = '+00:00', max_sort_length = 65536",
)


class SqlConnector:
    """One table or view of a database. Made by ``sqlite`` or ``server``."""

    def __init__(
        self,
        engine: Engine,
        source: str,
        table: str,
        secrets: Sequence[str] = (),
        order_by: str | None = None,
    ) -> None:
        """Reflect the table.

        Args:
            engine: opened read-only where the database allows.
            source: how errors name the database.
            table: name of a table or view, ``schema.table`` where needed.
            secrets: texts that must not appear in an error, such as the password.
            order_by: a column of distinct integers that orders the rows, instead of what the table offers.
        """
        self._engine, self._source, self._secrets = engine, source, tuple(secrets)
        with self._errors_named("connecting"):
            inspector = inspect(engine)
            self._table = _reflect(inspector, engine, table)
            views = inspector.get_view_names(schema=self._table.schema)
        self._schema = pa.schema([(c.name, arrow_type(c)) for c in self._table.columns])
        if order_by is None:
            self._order = _order(self._table, engine.dialect.name, is_view=self._table.name in views)
        else:
            self._order = [_distinct(self._table, order_by, self._schema)]

    def __repr__(self) -> str:
        return f"SqlConnector({self._source}, {self._table.fullname})"

    @staticmethod
    def sqlite(path: Path, table: str, order_by: str | None = None) -> SqlConnector:
        """Open a SQLite file read-only."""

        def connect() -> sqlite3.Connection:
            return sqlite3.connect(f"file:{quote(str(path))}?mode=ro", uri=True, check_same_thread=False)

        return SqlConnector(
            create_engine("sqlite+pysqlite://", creator=connect, poolclass=NullPool, hide_parameters=True),
            f"sqlite:///{path}",
            table,
            order_by=order_by,
        )

    @staticmethod
    def server(url: URL, table: str, order_by: str | None = None) -> SqlConnector:
        """Connect to a database server; transactions are read-only and see one state."""
        postgresql = url.get_backend_name() == "postgresql"
        arguments: dict[str, object] = {"connect_timeout": CONNECT_TIMEOUT_S}
        try:
            engine = create_engine(
                url,
                poolclass=NullPool,
                hide_parameters=True,
                isolation_level="REPEATABLE READ",
                execution_options={"postgresql_readonly": True} if postgresql else {},
                connect_args=arguments if postgresql else arguments | {"charset": "utf8mb4"},
            )
        except (ArgumentError, ValueError):
            raise InvalidSource("location", "options with values the driver knows", "others") from None
        except ModuleNotFoundError as exc:
            extra = "postgresql" if postgresql else "mariadb"
            reason = f"{exc.name} is not installed (pip install 'parley-exchange[{extra}]')"
            raise SourceUnreachable(display_url(url), reason) from None
        if not postgresql:
            event.listen(engine, "connect", _begin_mysql_session)
        return SqlConnector(engine, display_url(url), table, _secrets(url), order_by)

    def schema(self) -> pa.Schema:
        """Names and Arrow types of all columns, in the table's order."""
        return self._schema

    def batches(
        self, columns: Sequence[str], *, where: Filter | None = None, batch_rows: int = BATCH_ROWS
    ) -> Iterator[pa.RecordBatch]:
        """Read some columns of every row, or of those a filter keeps, in the table's order."""
        chosen = require_columns(columns, self._schema)
        if where is None:
            return self._stream(chosen, None, batch_rows)
        check(where, self._schema)
        if pushed_down(where, self._table, self._engine.dialect.name):
            return self._stream(chosen, where, batch_rows)
        return self._filtered(chosen, where, batch_rows)

    def extent(self, name: str, most: int | None) -> tuple[int, int | None]:
        """Count the rows whose value in a column of integers is at most ``most``, and find the largest."""
        cell = self._table.columns[name]
        statement = select(func.count(), func.max(cell)).select_from(self._table)
        statement = statement.where(cell.is_not(None) if most is None else cell <= most)
        with self._errors_named("reading"), self._engine.connect() as connection:
            rows, highest = connection.execute(statement).one()
        if highest is not None and not isinstance(highest, int):
            raise InvalidValues(f"column {name}", "values that are exactly integers")
        return int(rows), highest

    def close(self) -> None:
        """Close what is open."""
        self._engine.dispose()

    def _filtered(self, chosen: tuple[str, ...], where: Filter, batch_rows: int) -> Iterator[pa.RecordBatch]:
        read = tuple(dict.fromkeys((*chosen, *names(where))))
        kept = to_arrow(where, self._schema)
        batches = (batch.filter(kept).select(list(chosen)) for batch in self._stream(read, None, batch_rows))
        yield from rebatch(batches, batch_rows)

    def _stream(
        self, chosen: tuple[str, ...], where: Filter | None, batch_rows: int
    ) -> Iterator[pa.RecordBatch]:
        schema = pa.schema([self._schema.field(name) for name in chosen])
        dialect = self._engine.dialect.name
        cells = [as_read(self._table.columns[name], dialect).label(None) for name in chosen]
        statement = select(*cells).select_from(self._table).order_by(*self._order)
        if where is not None:
            statement = statement.where(to_sqlalchemy(where, self._table, dialect))
        with self._errors_named("reading"), self._engine.connect() as connection:
            streaming = connection.execution_options(stream_results=True, yield_per=batch_rows)
            with closing(streaming.execute(statement)) as result, _left_early(connection, result):
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
        except (SQLAlchemyError, ValueError, OSError) as exc:  # of the driver, which wraps not all of its own
            raise SourceUnreachable(self._source, f"{doing} failed ({type(exc).__name__})") from None

    def _first_line(self, error: BaseException | None) -> str:
        line = str(error).partition("\n")[0][:300]
        for secret in self._secrets:
            line = line.replace(secret, "***")
        return line


@contextmanager
def _left_early(connection: Connection, result: CursorResult[Any]) -> Iterator[None]:
    """Hang up where a read ends before its last row: MySQL's driver would fetch all the others first."""
    try:
        yield
    except BaseException:
        cursor: Any = result.cursor
        if cursor is not None and connection.dialect.name in ("mysql", "mariadb"):
            # The driver has no call for this: it forgets that rows are coming, then loses the connection.
            cursor._result.unbuffered_active = False
            cursor.connection = None
            connection.invalidate()
        raise


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
    return [by_bytes(c, dialect) if isinstance(c.type, String) else c for c in table.columns]


def _distinct(table: Table, name: str, schema: pa.Schema) -> ColumnElement[Any]:
    require_columns([name], schema)
    if not pa.types.is_integer(schema.field(name).type):
        raise WrongColumnType(name, "integers", str(schema.field(name).type))
    keys: list[set[str]] = [{c.name for c in table.primary_key.columns}]
    keys += [{c.name for c in index.columns} for index in table.indexes if index.unique]
    unique = [found for found in table.constraints if isinstance(found, UniqueConstraint)]
    keys += [{c.name for c in found.columns} for found in unique]
    if {name} not in keys:
        raise InvalidSource("options.sequence", "a column that the database keeps distinct", "another")
    return table.columns[name]


def _begin_mysql_session(connection: Any, _: object) -> None:  # noqa: ANN401 - a driver's connection
    with closing(connection.cursor()) as cursor:
        for statement in _MYSQL_SESSION:
            cursor.execute(statement)


def _secrets(url: URL) -> tuple[str, ...]:
    given = [str(url.password or "")]
    given += [str(value) for key, value in url.query.items() if "password" in key.lower()]
    return tuple(variant for secret in given if secret for variant in {secret, quote(secret)})
