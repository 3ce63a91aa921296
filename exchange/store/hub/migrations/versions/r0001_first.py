"""Specifications, sealed results and progress."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "hub_0001"
down_revision = None
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Make the tables."""
    op.create_table(
        "hub_specs",
        sa.Column("job", sa.String(80), primary_key=True),
        sa.Column("spec", sa.LargeBinary, nullable=False),
        sa.Column("stored", sa.String(20), nullable=False),
    )
    op.create_table(
        "hub_results",
        sa.Column("job", sa.String(80), primary_key=True),
        sa.Column("step", sa.String(80), primary_key=True),
        sa.Column("sender", sa.String(200), primary_key=True),
        sa.Column("recipient", sa.String(200), primary_key=True),
        sa.Column("sealed", sa.LargeBinary, nullable=False),
        sa.Column("stored", sa.String(20), nullable=False),
    )
    op.create_table(
        "hub_progress",
        sa.Column("job", sa.String(80), primary_key=True),
        sa.Column("step", sa.String(80), primary_key=True),
        sa.Column("party", sa.String(200), primary_key=True),
        sa.Column("done", sa.BigInteger, nullable=False),
        sa.Column("total", sa.BigInteger, nullable=False),
        sa.Column("updated", sa.String(20), nullable=False),
    )


def downgrade() -> None:
    """Drop the tables with everything in them."""
    for table in ("hub_progress", "hub_results", "hub_specs"):
        op.drop_table(table)
