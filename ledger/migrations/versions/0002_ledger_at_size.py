"""Times of entries, snapshots of the state, and what witnesses, time stamps and private payloads need."""

from __future__ import annotations

import json
from datetime import UTC, datetime

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None

_TABLES = ("snapshots", "state", "witness_lines", "witnessed", "timestamps", "payloads")


def upgrade() -> None:
    """Create the tables, and give every entry the time of its batch."""
    time = sa.Column(
        "time",
        sa.BigInteger,
        nullable=False,
        server_default=sa.text("0"),
        comment="Unix time of its batch, in seconds",
    )
    op.add_column("ledger_entries", time)
    _fill_times(op.get_bind())
    op.create_table(
        "ledger_snapshots",
        sa.Column("name", sa.String(32), nullable=False),
        sa.Column("size", sa.BigInteger, nullable=False),
        sa.PrimaryKeyConstraint("name", name="pk_ledger_snapshots"),
    )
    op.create_table(
        "ledger_state",
        sa.Column("table", sa.String(64), nullable=False),
        sa.Column("key", sa.String(512), nullable=False),
        sa.Column("row", sa.LargeBinary, nullable=False, comment="canonical JSON"),
        sa.PrimaryKeyConstraint("table", "key", name="pk_ledger_state"),
    )
    op.create_table(
        "ledger_witness_lines",
        sa.Column("size", sa.BigInteger, autoincrement=False, nullable=False),
        sa.Column("name", sa.String(256), nullable=False),
        sa.Column("line", sa.Text, nullable=False),
        sa.PrimaryKeyConstraint("size", "name", name="pk_ledger_witness_lines"),
    )
    op.create_table(
        "ledger_witnessed",
        sa.Column("origin", sa.String(256), nullable=False),
        sa.Column("size", sa.BigInteger, nullable=False),
        sa.Column("root", sa.String(64), nullable=False),
        sa.Column("note", sa.Text, nullable=False),
        sa.PrimaryKeyConstraint("origin", name="pk_ledger_witnessed"),
    )
    op.create_table(
        "ledger_timestamps",
        sa.Column("size", sa.BigInteger, autoincrement=False, nullable=False),
        sa.Column("authority", sa.String(256), nullable=False),
        sa.Column("token", sa.LargeBinary, nullable=False),
        sa.PrimaryKeyConstraint("size", "authority", name="pk_ledger_timestamps"),
    )
    op.create_table(
        "ledger_payloads",
        sa.Column("txid", sa.String(64), nullable=False),
        sa.Column("salt", sa.LargeBinary(32), nullable=False),
        sa.Column("payload", sa.LargeBinary, nullable=False),
        sa.PrimaryKeyConstraint("txid", name="pk_ledger_payloads"),
    )


def downgrade() -> None:
    """Drop the tables and the column."""
    for table in _TABLES:
        op.drop_table(f"ledger_{table}")
    op.drop_column("ledger_entries", "time")


def _fill_times(connection: sa.Connection) -> None:
    entries = sa.table(
        "ledger_entries", sa.column("index"), sa.column("type"), sa.column("raw"), sa.column("time")
    )
    seals = (
        sa.select(entries.c.index, entries.c.raw).where(entries.c.type == "seal").order_by(entries.c.index)
    )
    first = 0
    for index, raw in connection.execute(seals).all():
        sealed = datetime.strptime(json.loads(raw)["body"]["time"], "%Y-%m-%dT%H:%M:%SZ").replace(tzinfo=UTC)
        connection.execute(
            sa.update(entries)
            .where(entries.c.index >= first, entries.c.index <= index)
            .values(time=int(sealed.timestamp()))
        )
        first = index + 1
