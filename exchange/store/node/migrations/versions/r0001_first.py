"""Assets, people, decisions, jobs, checkpoints and the outbox."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "node_0001"
down_revision = None
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Make the tables."""
    op.create_table(
        "node_assets",
        sa.Column("asset", sa.String(200), primary_key=True),
        sa.Column("version", sa.Integer, primary_key=True),
        sa.Column("kind", sa.String(20), nullable=False),
        sa.Column("location", sa.Text, nullable=False),
        sa.Column("sealed_location", sa.LargeBinary, nullable=True),
        sa.Column("source_table", sa.String(200), nullable=True),
        sa.Column("salt", sa.LargeBinary, nullable=False),
        sa.Column("columns", sa.JSON, nullable=False),
        sa.Column("text_columns", sa.JSON, nullable=False),
    )
    op.create_table(
        "node_people",
        sa.Column("name", sa.String(100), primary_key=True),
        sa.Column("roles", sa.JSON, nullable=False),
        sa.Column("token_digest", sa.String(64), nullable=False),
        sa.Column("created", sa.String(20), nullable=False),
        sa.UniqueConstraint("token_digest", name="node_people_token"),
    )
    op.create_table(
        "node_decisions",
        sa.Column("position", sa.Integer, primary_key=True),
        sa.Column("negotiation", sa.String(80), nullable=False),
        sa.Column("approver", sa.String(100), nullable=False),
        sa.Column("role", sa.String(40), nullable=False),
        sa.Column("decision", sa.String(20), nullable=False),
        sa.Column("reason", sa.Text, nullable=False),
        sa.Column("decided", sa.String(20), nullable=False),
        sa.UniqueConstraint("negotiation", "approver", name="node_decisions_once"),
    )
    op.create_table(
        "node_jobs",
        sa.Column("job", sa.String(80), primary_key=True),
        sa.Column("spec", sa.LargeBinary, nullable=False),
        sa.Column("stored", sa.String(20), nullable=False),
    )
    op.create_table(
        "node_begun",
        sa.Column("job", sa.String(80), primary_key=True),
        sa.Column("step", sa.String(80), primary_key=True),
        sa.Column("begun", sa.String(20), nullable=False),
    )
    op.create_table(
        "node_checkpoints",
        sa.Column("job", sa.String(80), primary_key=True),
        sa.Column("step", sa.String(80), primary_key=True),
        sa.Column("sealed", sa.LargeBinary, nullable=False),
        sa.Column("stored", sa.String(20), nullable=False),
    )
    op.create_table(
        "node_outbox",
        sa.Column("position", sa.Integer, primary_key=True),
        sa.Column("txid", sa.String(64), nullable=False),
        sa.Column("type", sa.String(40), nullable=False),
        sa.Column("raw", sa.LargeBinary, nullable=False),
        sa.Column("state", sa.String(10), nullable=False),
        sa.UniqueConstraint("txid", name="node_outbox_txid"),
    )
    op.create_index("ix_node_outbox_state", "node_outbox", ["state"])


def downgrade() -> None:
    """Drop the tables with everything in them."""
    for table in (
        "node_outbox",
        "node_checkpoints",
        "node_begun",
        "node_jobs",
        "node_decisions",
        "node_people",
        "node_assets",
    ):
        op.drop_table(table)
