"""The two statements on which a ledger spends its time, in the terms of the databases' drivers."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import Any

from sqlalchemy import Connection, Table, TextClause, text

from ledger import canonical

__all__ = ["insert_many", "known_among"]

_KNOWN = {
    # CROSS JOIN keeps SQLite's planner from walking the log and looking each entry up in the list.
    "sqlite": text(
        "SELECT txid FROM json_each(:txids) CROSS JOIN ledger_entries"
        ' WHERE txid = json_each.value AND "index" < :below'
    ),
    "postgresql": text('SELECT txid FROM ledger_entries WHERE txid = ANY(:txids) AND "index" < :below'),
}


def insert_many(connection: Connection, into: Table, rows: Sequence[tuple[Any, ...]]) -> None:
    """Insert rows of all columns of a table."""
    names = [connection.dialect.identifier_preparer.quote(name) for name in into.columns.keys()]
    mark = "?" if connection.dialect.paramstyle == "qmark" else "%s"
    values = ", ".join([mark] * len(names))
    statement = f"INSERT INTO {into.name} ({', '.join(names)}) VALUES ({values})"  # noqa: S608 - our own names
    connection.exec_driver_sql(statement, list(rows))


def known_among(
    database: str, txids: Collection[str], below: int | None
) -> tuple[TextClause, dict[str, object]]:
    """Ask which of the txids the log has below an index: a statement and its values."""
    wanted = list(txids)
    among: object = canonical.encode(wanted).decode() if database == "sqlite" else wanted
    return _KNOWN[database], {"txids": among, "below": canonical.MAX_INTEGER if below is None else below}
