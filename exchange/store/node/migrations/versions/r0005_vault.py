"""Sealed records about identity: reviews, credentials, keys of attributes, open requests."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "node_0005"
down_revision = "node_0004"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Make the table."""
    op.create_table(
        "node_vault",
        sa.Column("kind", sa.String(40), primary_key=True),
        sa.Column("record", sa.String(200), primary_key=True),
        sa.Column("parent", sa.String(200), nullable=False),
        sa.Column("sealed", sa.LargeBinary, nullable=False),
        sa.Column("stored", sa.String(20), nullable=False),
    )
    op.create_index("ix_node_vault_parent", "node_vault", ["parent"])
