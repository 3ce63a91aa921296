"""How far the messages of each process of the Dataspace Protocol are."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "node_0007"
down_revision = "node_0006"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Make the table."""
    op.create_table(
        "node_dataspace",
        sa.Column("kind", sa.String(12), primary_key=True),
        sa.Column("pid", sa.String(160), primary_key=True),
        sa.Column("peer", sa.String(256), nullable=False),
        sa.Column("position", sa.Integer, nullable=False),
        sa.Column("state", sa.String(12), nullable=False),
        sa.Column("tries", sa.Integer, nullable=False),
        sa.Column("problem", sa.String(80), nullable=True),
        sa.Column("updated", sa.String(20), nullable=False),
    )
