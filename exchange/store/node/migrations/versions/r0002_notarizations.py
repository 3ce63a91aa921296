"""Notarizations: fingerprints and salts behind this participant's own entries."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "node_0002"
down_revision = "node_0001"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Make the table."""
    op.create_table(
        "node_notarizations",
        sa.Column("notarization", sa.String(80), primary_key=True),
        sa.Column("entry", sa.LargeBinary, nullable=False),
        sa.Column("leaves", sa.LargeBinary, nullable=False),
        sa.Column("stored", sa.String(20), nullable=False),
    )
