"""What the log of the epoch before leaves to this one, row by row. Empty in a network's first log."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0007"
down_revision = "0006"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Create the table, empty."""
    op.create_table(
        "ledger_carried",
        sa.Column("table", sa.String(64), nullable=False),
        sa.Column("key", sa.String(512), nullable=False),
        sa.Column("row", sa.LargeBinary, nullable=False, comment="canonical JSON"),
        sa.PrimaryKeyConstraint("table", "key", name="pk_ledger_carried"),
    )


def downgrade() -> None:
    """Drop the table; a log that began with a carried state cannot be read without it."""
    op.drop_table("ledger_carried")
