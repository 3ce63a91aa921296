"""What a mirror holds of other logs."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Create the tables."""
    op.create_table(
        "ledger_pending",
        sa.Column("origin", sa.String(256), nullable=False),
        sa.Column("size", sa.BigInteger, autoincrement=False, nullable=False),
        sa.Column("note", sa.Text, nullable=False),
        sa.PrimaryKeyConstraint("origin", "size", name="pk_ledger_pending"),
    )
    op.create_table(
        "ledger_mirrored",
        sa.Column("origin", sa.String(256), nullable=False),
        sa.Column("next", sa.BigInteger, nullable=False, comment="index of the first entry that is not here"),
        sa.Column("size", sa.BigInteger, nullable=False, comment="of the mirror checkpoint"),
        sa.Column("note", sa.Text, nullable=True),
        sa.PrimaryKeyConstraint("origin", name="pk_ledger_mirrored"),
    )
    op.create_table(
        "ledger_mirrored_tiles",
        sa.Column("origin", sa.String(256), nullable=False),
        sa.Column("level", sa.BigInteger, autoincrement=False, nullable=False, comment="-1: the entries"),
        sa.Column("number", sa.BigInteger, autoincrement=False, nullable=False),
        sa.Column("data", sa.LargeBinary, nullable=False),
        sa.PrimaryKeyConstraint("origin", "level", "number", name="pk_ledger_mirrored_tiles"),
    )


def downgrade() -> None:
    """Drop the tables."""
    for table in ("mirrored_tiles", "mirrored", "pending"):
        op.drop_table(f"ledger_{table}")
