"""Standing permissions with their uses and ends, what steps cost, and calls of the webhook that are owed."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "node_0011"
down_revision = "node_0010"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Make the tables."""
    op.create_table(
        "node_permissions",
        sa.Column("permission", sa.String(80), primary_key=True),
        sa.Column("bound", sa.String(10), nullable=False),
        sa.Column("digest", sa.String(64), nullable=False),
        sa.Column("submitter", sa.String(300), nullable=False),
        sa.Column("times", sa.Integer, nullable=False),
        sa.Column("until", sa.String(20), nullable=False),
        sa.Column("job", sa.String(80), nullable=False),
        sa.Column("author", sa.String(100), nullable=False),
        sa.Column("made", sa.String(20), nullable=False),
        sa.Column("seal", sa.LargeBinary, nullable=False),
    )
    op.create_index("ix_node_permissions_digest", "node_permissions", ["digest"])
    op.create_table(
        "node_permission_uses",
        sa.Column("permission", sa.String(80), primary_key=True),
        sa.Column("job", sa.String(80), primary_key=True),
        sa.Column("used", sa.String(20), nullable=False),
    )
    op.create_table(
        "node_permission_ends",
        sa.Column("permission", sa.String(80), primary_key=True),
        sa.Column("author", sa.String(100), nullable=False),
        sa.Column("reason", sa.Text, nullable=False),
        sa.Column("ended", sa.String(20), nullable=False),
    )
    op.create_table(
        "node_step_costs",
        sa.Column("job", sa.String(80), primary_key=True),
        sa.Column("step", sa.String(80), primary_key=True),
        sa.Column("component", sa.String(100), nullable=False),
        sa.Column("role", sa.String(40), nullable=False),
        sa.Column("work", sa.BigInteger, nullable=False),
        sa.Column("expected", sa.JSON, nullable=False),
        sa.Column("actual", sa.JSON, nullable=False),
        sa.Column("measured", sa.String(20), nullable=False),
    )
    op.create_index("ix_node_step_costs_component", "node_step_costs", ["component"])
    op.create_table(
        "node_webhook_calls",
        sa.Column("notice", sa.String(80), primary_key=True),
        sa.Column("kind", sa.String(40), nullable=False),
        sa.Column("subject", sa.String(200), nullable=False),
        sa.Column("attempts", sa.Integer, nullable=False),
        sa.Column("due", sa.String(20), nullable=False),
    )
