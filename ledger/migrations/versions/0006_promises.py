"""The hub keeps the entries it has promised, a member the promises it holds."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0006"
down_revision = "0005"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Make the table."""
    op.create_table(
        "ledger_promises",
        sa.Column("txid", sa.String(64), nullable=False),
        sa.Column("raw", sa.LargeBinary, nullable=False),
        sa.Column("promise", sa.Text, nullable=False),
        sa.Column("evidence", sa.Text, nullable=True, comment="file that shows it was not kept"),
        sa.PrimaryKeyConstraint("txid", name="pk_ledger_promises"),
    )


def downgrade() -> None:
    """Drop the table."""
    op.drop_table("ledger_promises")
