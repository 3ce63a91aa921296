"""Approvals of any subject: requests, decisions, rules, delegations; notices.

The decisions on negotiations that are still open are people's to take again: they were not bound to a digest.
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "node_0003"
down_revision = "node_0002"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Make the tables, and drop the one of decisions that were bound to no digest."""
    op.create_table(
        "node_approval_requests",
        sa.Column("request", sa.String(80), primary_key=True),
        sa.Column("kind", sa.String(20), nullable=False),
        sa.Column("subject", sa.String(200), nullable=False),
        sa.Column("digest", sa.String(64), nullable=False),
        sa.Column("card", sa.LargeBinary, nullable=False),
        sa.Column("rule", sa.JSON, nullable=False),
        sa.Column("requester", sa.String(300), nullable=False),
        sa.Column("opened", sa.String(20), nullable=False),
        sa.Column("expires", sa.String(20), nullable=False),
        sa.Column("seal", sa.LargeBinary, nullable=False),
        sa.UniqueConstraint("kind", "subject", "digest", name="node_approval_requests_once"),
    )
    op.create_table(
        "node_approval_decisions",
        sa.Column("position", sa.Integer, primary_key=True),
        sa.Column("request", sa.String(80), nullable=False),
        sa.Column("approver", sa.String(100), nullable=False),
        sa.Column("role", sa.String(40), nullable=False),
        sa.Column("department", sa.String(200), nullable=False),
        sa.Column("behalf", sa.String(100), nullable=False),
        sa.Column("decision", sa.String(20), nullable=False),
        sa.Column("reason", sa.Text, nullable=False),
        sa.Column("digest", sa.String(64), nullable=False),
        sa.Column("decided", sa.String(20), nullable=False),
        sa.Column("seal", sa.LargeBinary, nullable=False),
        sa.UniqueConstraint("request", "approver", name="node_approval_decisions_once"),
    )
    op.create_table(
        "node_approval_closed",
        sa.Column("request", sa.String(80), primary_key=True),
        sa.Column("outcome", sa.String(20), nullable=False),
        sa.Column("reason", sa.Text, nullable=False),
        sa.Column("closed", sa.String(20), nullable=False),
        sa.Column("seal", sa.LargeBinary, nullable=False),
    )
    op.create_table(
        "node_approval_rules",
        sa.Column("position", sa.Integer, primary_key=True),
        sa.Column("scope", sa.String(220), nullable=False),
        sa.Column("version", sa.Integer, nullable=False),
        sa.Column("rule", sa.JSON, nullable=False),
        sa.Column("author", sa.String(100), nullable=False),
        sa.Column("reason", sa.Text, nullable=False),
        sa.Column("made", sa.String(20), nullable=False),
        sa.Column("seal", sa.LargeBinary, nullable=False),
        sa.UniqueConstraint("scope", "version", name="node_approval_rules_once"),
    )
    op.create_table(
        "node_delegations",
        sa.Column("delegation", sa.String(80), primary_key=True),
        sa.Column("grantor", sa.String(100), nullable=False),
        sa.Column("grantee", sa.String(100), nullable=False),
        sa.Column("role", sa.String(40), nullable=False),
        sa.Column("department", sa.String(200), nullable=False),
        sa.Column("begins", sa.String(20), nullable=False),
        sa.Column("ends", sa.String(20), nullable=False),
        sa.Column("made", sa.String(20), nullable=False),
        sa.Column("seal", sa.LargeBinary, nullable=False),
    )
    op.create_table(
        "node_delegation_ends",
        sa.Column("delegation", sa.String(80), primary_key=True),
        sa.Column("ended", sa.String(20), nullable=False),
    )
    op.create_table(
        "node_notices",
        sa.Column("position", sa.Integer, primary_key=True),
        sa.Column("notice", sa.String(80), nullable=False),
        sa.Column("kind", sa.String(40), nullable=False),
        sa.Column("subject", sa.String(200), nullable=False),
        sa.Column("person", sa.String(100), nullable=False),
        sa.Column("role", sa.String(40), nullable=False),
        sa.Column("facts", sa.JSON, nullable=False),
        sa.Column("made", sa.String(20), nullable=False),
        sa.UniqueConstraint("notice", name="node_notices_once"),
    )
    op.create_index("ix_node_notices_person", "node_notices", ["person"])
    op.create_index("ix_node_notices_role", "node_notices", ["role"])
    op.create_table(
        "node_notices_read",
        sa.Column("notice", sa.String(80), primary_key=True),
        sa.Column("person", sa.String(100), primary_key=True),
        sa.Column("read", sa.String(20), nullable=False),
    )
    op.drop_table("node_decisions")
