"""The ledger's tables, the same for SQLite and PostgreSQL, for the hub and for every member.

The database is not trusted for integrity: whoever changes a row here is found by start-up, by ``ledger.fsck``
and by every other member. It is trusted to keep what it says it committed.
"""

from __future__ import annotations

from sqlalchemy import BigInteger, Column, LargeBinary, MetaData, String, Table, Text

__all__ = [
    "BATCHES",
    "CARRIED",
    "CHECKPOINTS",
    "COSIGNATURES",
    "ENTRIES",
    "HEAD",
    "HEADS",
    "INDEXED",
    "LEDGER_METADATA",
    "MIRRORED",
    "MIRRORED_TILES",
    "PAYLOADS",
    "PENDING",
    "POSTINGS",
    "PROMISES",
    "SNAPSHOTS",
    "STATE",
    "TIMESTAMPS",
    "VERSION_TABLE",
    "WITNESSED",
    "WITNESS_LINES",
]

VERSION_TABLE = "ledger_version"
HEAD = "0007"
"""The newest revision of the tables."""

LEDGER_METADATA = MetaData(
    naming_convention={"pk": "pk_%(table_name)s", "uq": "uq_%(table_name)s_%(column_0_name)s"}
)

_ORDERED_TEXT = Text().with_variant(Text(collation="C"), "postgresql")
"""Text that both databases sort by its bytes."""

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
    Column("time", BigInteger, nullable=False, comment="Unix time of its batch, in seconds"),
)
"""Every entry, seals included, in log order."""

POSTINGS = Table(
    "ledger_postings",
    LEDGER_METADATA,
    Column("term", _ORDERED_TEXT, primary_key=True),
    Column("type", _ORDERED_TEXT, primary_key=True),
    Column("index", BigInteger, primary_key=True, autoincrement=False),
    Column("ordinal", BigInteger, nullable=False, comment="rows before it with this term and type"),
    sqlite_with_rowid=False,
)
"""The search index, made from the entries: which of them a term leads to; see ``ledger.postings``."""

INDEXED = Table(
    "ledger_indexed",
    LEDGER_METADATA,
    Column("version", BigInteger, primary_key=True, autoincrement=False),
    Column("size", BigInteger, nullable=False, comment="entries below it are in the search index"),
)
"""One row: how far the search index is. It moves by compare-and-swap only."""

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

SNAPSHOTS = Table(
    "ledger_snapshots",
    LEDGER_METADATA,
    Column("name", String(32), primary_key=True),
    Column("size", BigInteger, nullable=False),
)
"""One row: the size at which ``ledger_state`` stands. Start-up executes only the entries after it."""

STATE = Table(
    "ledger_state",
    LEDGER_METADATA,
    Column("table", String(64), primary_key=True),
    Column("key", String(512), primary_key=True),
    Column("row", LargeBinary, nullable=False, comment="canonical JSON"),
)
"""The state at the snapshot's size, row by row. Its root has to be the one that the seal there states."""

CARRIED = Table(
    "ledger_carried",
    LEDGER_METADATA,
    Column("table", String(64), primary_key=True),
    Column("key", String(512), primary_key=True),
    Column("row", LargeBinary, nullable=False, comment="canonical JSON"),
)
"""The state that the log of the epoch before leaves to this one; empty in a network's first log. Its root has
to be the one that entry 0 states."""

WITNESS_LINES = Table(
    "ledger_witness_lines",
    LEDGER_METADATA,
    Column("size", BigInteger, primary_key=True, autoincrement=False),
    Column("name", String(256), primary_key=True),
    Column("line", Text, nullable=False),
)
"""Cosignature lines of witnesses outside the consortium. They do not count for finality."""

WITNESSED = Table(
    "ledger_witnessed",
    LEDGER_METADATA,
    Column("origin", String(256), primary_key=True),
    Column("size", BigInteger, nullable=False),
    Column("root", String(64), nullable=False),
    Column("note", Text, nullable=False),
)
"""What this process cosigned last as a witness of other logs: one row per log, moved by compare-and-swap."""

PENDING = Table(
    "ledger_pending",
    LEDGER_METADATA,
    Column("origin", String(256), primary_key=True),
    Column("size", BigInteger, primary_key=True, autoincrement=False),
    Column("note", Text, nullable=False),
)
"""Checkpoints of other logs up to which a mirror takes entries: the last few of each."""

MIRRORED = Table(
    "ledger_mirrored",
    LEDGER_METADATA,
    Column("origin", String(256), primary_key=True),
    Column("next", BigInteger, nullable=False, comment="index of the first entry that is not here"),
    Column("size", BigInteger, nullable=False, comment="of the mirror checkpoint"),
    Column("note", Text, nullable=True),
)
"""Where a mirror's copy of another log stands: one row per log, moved by compare-and-swap."""

MIRRORED_TILES = Table(
    "ledger_mirrored_tiles",
    LEDGER_METADATA,
    Column("origin", String(256), primary_key=True),
    Column("level", BigInteger, primary_key=True, autoincrement=False, comment="-1: the entries"),
    Column("number", BigInteger, primary_key=True, autoincrement=False),
    Column("data", LargeBinary, nullable=False),
)
"""A mirror's copies of other logs: tiles and entry bundles, as far as they are filled."""

TIMESTAMPS = Table(
    "ledger_timestamps",
    LEDGER_METADATA,
    Column("size", BigInteger, primary_key=True, autoincrement=False),
    Column("authority", String(256), primary_key=True),
    Column("token", LargeBinary, nullable=False),
    Column("certificates", LargeBinary, nullable=False, comment="PEM"),
)
"""RFC 3161 answers over checkpoints, with the certificates of their authorities."""

PAYLOADS = Table(
    "ledger_payloads",
    LEDGER_METADATA,
    Column("txid", String(64), primary_key=True),
    Column("salt", LargeBinary(32), nullable=False),
    Column("payload", LargeBinary, nullable=False),
)
"""Private content behind commitments. Deleting a row erases the content and leaves the ledger whole."""

PROMISES = Table(
    "ledger_promises",
    LEDGER_METADATA,
    Column("txid", String(64), primary_key=True),
    Column("raw", LargeBinary, nullable=False),
    Column("promise", Text, nullable=False),
    Column("evidence", Text, nullable=True, comment="file that shows it was not kept"),
)
"""The hub's promises to sequence an entry: at the hub those it owes, at a member those it holds."""
