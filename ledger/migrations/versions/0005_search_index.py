"""The search index. It is made from the entries when somebody searches, so nothing is copied here."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0005"
down_revision = "0004"
branch_labels = None
depends_on = None

_ORDERED_TEXT = sa.Text().with_variant(sa.Text(collation="C"), "postgresql")


def upgrade() -> None:
    """Drop what earlier builds searched by, and create the index, empty."""
    op.drop_index("ix_ledger_entries_type", "ledger_entries")
    op.drop_index("ix_ledger_entries_actor", "ledger_entries")
    op.drop_table("ledger_subjects")
    op.create_table(
        "ledger_postings",
        sa.Column("term", _ORDERED_TEXT, nullable=False),
        sa.Column("type", _ORDERED_TEXT, nullable=False),
        sa.Column("index", sa.BigInteger, autoincrement=False, nullable=False),
        sa.Column("ordinal", sa.BigInteger, nullable=False, comment="rows before it with this term and type"),
        sa.PrimaryKeyConstraint("term", "type", "index", name="pk_ledger_postings"),
        sqlite_with_rowid=False,
    )
    op.create_table(
        "ledger_indexed",
        sa.Column("version", sa.BigInteger, autoincrement=False, nullable=False),
        sa.Column("size", sa.BigInteger, nullable=False, comment="entries below it are in the search index"),
        sa.PrimaryKeyConstraint("version", name="pk_ledger_indexed"),
    )


def downgrade() -> None:
    """Drop the index; the earlier one stays empty until the ledger is read into it again."""
    op.drop_table("ledger_indexed")
    op.drop_table("ledger_postings")
    op.create_table(
        "ledger_subjects",
        sa.Column("subject", sa.String(256), nullable=False),
        sa.Column("index", sa.BigInteger, autoincrement=False, nullable=False),
        sa.PrimaryKeyConstraint("subject", "index", name="pk_ledger_subjects"),
    )
    op.create_index("ix_ledger_entries_type", "ledger_entries", ["type", "index"])
    op.create_index("ix_ledger_entries_actor", "ledger_entries", ["actor", "index"])
