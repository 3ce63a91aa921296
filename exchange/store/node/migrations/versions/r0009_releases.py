"""Outputs that this owner lets go, with the people behind them, and the output checks of its assets."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "node_0009"
down_revision = "node_0008"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Make the tables."""
    op.create_table(
        "node_output_rules",
        sa.Column("asset", sa.String(200), primary_key=True),
        sa.Column("rules", sa.Text, nullable=False),
        sa.Column("set_by", sa.String(200), nullable=False),
        sa.Column("stored", sa.String(20), nullable=False),
    )
    op.create_table(
        "node_releases",
        sa.Column("job", sa.String(80), primary_key=True),
        sa.Column("step", sa.String(80), primary_key=True),
        sa.Column("asset", sa.String(200), nullable=False),
        sa.Column("digest", sa.String(64), nullable=False),
        sa.Column("shape", sa.String(64), nullable=False),
        sa.Column("is_exact", sa.Boolean, nullable=False),
        sa.Column("minimum", sa.Integer, nullable=False),
        sa.Column("cohort", sa.LargeBinary, nullable=False),
        sa.Column("state", sa.String(10), nullable=False),
        sa.Column("stored", sa.String(20), nullable=False),
    )
    op.create_index("ix_node_releases_asset", "node_releases", ["asset"])
