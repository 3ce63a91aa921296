"""Anonymous lookups: services, answered tickets, accounts, questions."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "node_0013"
down_revision = "node_0012"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Make the tables."""
    op.create_table(
        "node_lookup_services",
        sa.Column("service", sa.String(200), primary_key=True),
        sa.Column("request", sa.JSON(), nullable=False),
        sa.Column("state", sa.String(20), nullable=False),
        sa.Column("failure", sa.Text(), nullable=False),
        sa.Column("changed", sa.String(20), nullable=False),
    )
    op.create_table(
        "node_lookup_tickets",
        sa.Column("ticket", sa.String(40), primary_key=True),
        sa.Column("account", sa.String(560), nullable=False),
        sa.Column("agreement", sa.String(40), nullable=False),
        sa.Column("consumer", sa.String(220), nullable=False),
        sa.Column("service", sa.String(200), nullable=False),
        sa.Column("count", sa.BigInteger(), nullable=False),
        sa.Column("total", sa.BigInteger(), nullable=False),
        sa.Column("fee", sa.BigInteger(), nullable=False),
        sa.Column("raw", sa.LargeBinary(), nullable=False),
        sa.Column("state", sa.String(10), nullable=False),
        sa.Column("answered", sa.String(20), nullable=False),
    )
    for columns in (
        ("account", "total"),
        ("agreement", "state"),
        ("consumer", "service", "answered"),
        ("state",),
    ):
        op.create_index(f"ix_node_lookup_tickets_{columns[0]}", "node_lookup_tickets", list(columns))
    op.create_table(
        "node_lookup_accounts",
        sa.Column("account", sa.String(560), primary_key=True),
        sa.Column("total", sa.BigInteger(), nullable=False),
        sa.Column("owed", sa.BigInteger(), nullable=False),
    )
    op.create_table(
        "node_lookup_questions",
        sa.Column("ticket", sa.String(40), primary_key=True),
        sa.Column("service", sa.String(200), nullable=False),
        sa.Column("agreement", sa.String(40), nullable=False),
        sa.Column("purpose", sa.String(256), nullable=False),
        sa.Column("release", sa.BigInteger(), nullable=False),
        sa.Column("count", sa.BigInteger(), nullable=False),
        sa.Column("fee", sa.BigInteger(), nullable=False),
        sa.Column("person", sa.String(200), nullable=False),
        sa.Column("asked", sa.String(20), nullable=False),
    )
    for column in ("service", "asked"):
        op.create_index(f"ix_node_lookup_questions_{column}", "node_lookup_questions", [column])
