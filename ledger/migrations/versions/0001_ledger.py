"""The first schema: entries, subjects, checkpoints, cosignatures, heads, batches."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Create the tables."""
    op.create_table(
        "ledger_entries",
        sa.Column("index", sa.BigInteger, autoincrement=False, nullable=False),
        sa.Column("txid", sa.String(64), nullable=False),
        sa.Column("type", sa.String(64), nullable=False),
        sa.Column("actor", sa.String(256), nullable=False),
        sa.Column("leaf", sa.LargeBinary(32), nullable=False),
        sa.Column("raw", sa.LargeBinary, nullable=False),
        sa.Column(
            "code", sa.String(64), nullable=True, comment="why the entry was refused; null where it was not"
        ),
        sa.PrimaryKeyConstraint("index", name="pk_ledger_entries"),
        sa.UniqueConstraint("txid", name="uq_ledger_entries_txid"),
    )
    op.create_index("ix_ledger_entries_type", "ledger_entries", ["type", "index"])
    op.create_index("ix_ledger_entries_actor", "ledger_entries", ["actor", "index"])
    op.create_table(
        "ledger_subjects",
        sa.Column("subject", sa.String(256), nullable=False),
        sa.Column("index", sa.BigInteger, autoincrement=False, nullable=False),
        sa.PrimaryKeyConstraint("subject", "index", name="pk_ledger_subjects"),
    )
    op.create_table(
        "ledger_checkpoints",
        sa.Column("size", sa.BigInteger, autoincrement=False, nullable=False),
        sa.Column("note", sa.Text, nullable=False, comment="as signed by the log, without cosignatures"),
        sa.PrimaryKeyConstraint("size", name="pk_ledger_checkpoints"),
    )
    op.create_table(
        "ledger_cosignatures",
        sa.Column("size", sa.BigInteger, autoincrement=False, nullable=False),
        sa.Column("name", sa.String(256), nullable=False),
        sa.Column("line", sa.Text, nullable=False),
        sa.PrimaryKeyConstraint("size", "name", name="pk_ledger_cosignatures"),
    )
    op.create_table(
        "ledger_heads",
        sa.Column("name", sa.String(32), nullable=False),
        sa.Column("size", sa.BigInteger, nullable=False),
        sa.Column("root", sa.String(64), nullable=False),
        sa.PrimaryKeyConstraint("name", name="pk_ledger_heads"),
    )
    op.create_table(
        "ledger_batches",
        sa.Column("height", sa.BigInteger, autoincrement=False, nullable=False),
        sa.Column("data", sa.LargeBinary, nullable=False),
        sa.PrimaryKeyConstraint("height", name="pk_ledger_batches"),
    )


def downgrade() -> None:
    """Drop the tables."""
    for table in ("batches", "heads", "cosignatures", "checkpoints", "subjects", "entries"):
        op.drop_table(f"ledger_{table}")
