"""Subjects at an identity provider, linked to accounts."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "node_0012"
down_revision = "node_0011"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Make the table."""
    op.create_table(
        "node_subjects",
        sa.Column("issuer", sa.String(255), primary_key=True),
        sa.Column("subject", sa.String(255), primary_key=True),
        sa.Column("account", sa.String(40), nullable=False),
    )
    op.create_index("ix_node_subjects_account", "node_subjects", ["account"])
