"""Passwords, one-time codes, sessions, and the count of failed attempts."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "node_0010"
down_revision = "node_0009"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Make the tables."""
    op.create_table(
        "node_secrets",
        sa.Column("account", sa.String(40), primary_key=True),
        sa.Column("password", sa.Text, nullable=False),
        sa.Column("totp", sa.LargeBinary, nullable=False),
        sa.Column("totp_pending", sa.LargeBinary, nullable=False),
        sa.Column("totp_step", sa.Integer, nullable=False),
        sa.Column("invitation", sa.String(64), nullable=False),
        sa.Column("invitation_ends", sa.String(20), nullable=True),
    )
    op.create_table(
        "node_recovery_codes",
        sa.Column("digest", sa.String(64), primary_key=True),
        sa.Column("account", sa.String(40), nullable=False),
    )
    op.create_index("ix_node_recovery_codes_account", "node_recovery_codes", ["account"])
    op.create_table(
        "node_sessions",
        sa.Column("id", sa.String(40), primary_key=True),
        sa.Column("account", sa.String(40), nullable=False),
        sa.Column("digest", sa.String(64), nullable=False),
        sa.Column("stage", sa.String(12), nullable=False),
        sa.Column("carrier", sa.String(10), nullable=False),
        sa.Column("how", sa.String(20), nullable=False),
        sa.Column("address", sa.String(64), nullable=False),
        sa.Column("roles", sa.JSON, nullable=False),
        sa.Column("created", sa.String(20), nullable=False),
        sa.Column("seen", sa.String(20), nullable=False),
        sa.Column("ends", sa.String(20), nullable=False),
        sa.UniqueConstraint("digest", name="node_sessions_digest"),
    )
    op.create_index("ix_node_sessions_account", "node_sessions", ["account"])
    op.create_table(
        "node_standings",
        sa.Column("key", sa.String(64), primary_key=True),
        sa.Column("failures", sa.Integer, nullable=False),
        sa.Column("last", sa.String(20), nullable=False),
        sa.Column("until", sa.String(20), nullable=False),
    )
