"""The ledger's tables, the same for SQLite and PostgreSQL, for the hub and for every member.

The database is not trusted for integrity: whoever changes a row here is found by start-up, by ``ledger.fsck``
and by every other member. It is trusted to keep what it says it committed.
"""

from __future__ import annotations

from sqlalchemy import BigInteger, Column, Index, LargeBinary, MetaData, String, Table, Text

__all__ = [
    "BATCHES",
    "CHECKPOINTS",
    "COSIGNATURES",
    "ENTRIES",
    "HEAD",
    "HEADS",
    "LEDGER_METADATA",
    "SUBJECTS",
    "VERSION_TABLE",
]

VERSION_TABLE = "ledger_version"
HEAD = "0001"
"""The newest revision of the tables."""

LEDGER_METADATA = MetaData(
    naming_convention={"pk": "pk_%(table_name)s", "uq": "uq_%(table_name)s_%(column_0_name)s"}
)

ENTRIES = Table(
    "ledger_entries",
    LEDGER_METADATA,
    Column("index", BigInteger, primary_key=True, autoincrement=False),
    Column("txid", String(64), nullable=False, unique=True),
    Column("type", String(64), nullable=False),
    Column("actor", String(256), nullable=False),
    Column("leaf", LargeBinary(32), nullable=False),
    Column("raw", LargeBinary, nullable=False),
    Column("code", String(64), nullable=True, comment="why the entry was refused; null where it was not"),
    Index("ix_ledger_entries_type", "type", "index"),
    Index("ix_ledger_entries_actor", "actor", "index"),
)
"""Every entry, seals included, in log order."""

SUBJECTS = Table(
    "ledger_subjects",
    LEDGER_METADATA,
    Column("subject", String(256), primary_key=True),
    Column("index", BigInteger, primary_key=True, autoincrement=False),
)
"""Which DIDs and ids an entry concerns: made from the entries, for search."""

CHECKPOINTS = Table(
    "ledger_checkpoints",
    LEDGER_METADATA,
    Column("size", BigInteger, primary_key=True, autoincrement=False),
    Column("note", Text, nullable=False, comment="as signed by the log, without cosignatures"),
)
"""One checkpoint per size, ever: the primary key is what keeps a second root out."""

COSIGNATURES = Table(
    "ledger_cosignatures",
    LEDGER_METADATA,
    Column("size", BigInteger, primary_key=True, autoincrement=False),
    Column("name", String(256), primary_key=True),
    Column("line", Text, nullable=False),
)
"""Members' cosignature lines, at most one per checkpoint and name."""

HEADS = Table(
    "ledger_heads",
    LEDGER_METADATA,
    Column("name", String(32), primary_key=True),
    Column("size", BigInteger, nullable=False),
    Column("root", String(64), nullable=False),
)
"""One row: the size and root this store stands at. It moves by compare-and-swap only."""

BATCHES = Table(
    "ledger_batches",
    LEDGER_METADATA,
    Column("height", BigInteger, primary_key=True, autoincrement=False),
    Column("data", LargeBinary, nullable=False),
)
"""What the SQL order engine ordered and has not trimmed yet."""
