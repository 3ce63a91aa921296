"""Joint models: parts, accounts of what was answered and signed for, who asked how often."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "node_0014"
down_revision = "node_0013"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Make the tables."""
    op.create_table(
        "node_model_parts",
        sa.Column("model", sa.String(200), primary_key=True),
        sa.Column("version", sa.BigInteger(), primary_key=True, autoincrement=False),
        sa.Column("sealed", sa.LargeBinary(), nullable=False),
        sa.Column("filing", sa.JSON(), nullable=False),
        sa.Column("built", sa.BigInteger(), nullable=False),
        sa.Column("failure", sa.Text(), nullable=False),
        sa.Column("changed", sa.String(20), nullable=False),
    )
    counts = ("number", "seen", "floor", "count", "calls", "sent_count")
    windows = ("minute", "in_minute", "day", "in_day")
    op.create_table(
        "node_score_accounts",
        sa.Column("account", sa.String(580), primary_key=True),
        sa.Column("agreement", sa.String(40), nullable=False),
        sa.Column("consumer", sa.String(220), nullable=False),
        sa.Column("model", sa.String(200), nullable=False),
        sa.Column("since", sa.String(20), nullable=False),
        sa.Column("last", sa.LargeBinary(), nullable=False),
        sa.Column("sent", sa.LargeBinary(), nullable=False),
        *(sa.Column(name, sa.BigInteger(), nullable=False) for name in (*counts, *windows)),
    )
    for columns in (("agreement",), ("consumer", "model")):
        op.create_index(f"ix_node_score_accounts_{columns[0]}", "node_score_accounts", list(columns))
    op.create_table(
        "node_score_signed",
        sa.Column("account", sa.String(580), primary_key=True),
        sa.Column("number", sa.BigInteger(), nullable=False),
        sa.Column("total", sa.BigInteger(), nullable=False),
    )
    op.create_table(
        "node_score_questions",
        sa.Column("day", sa.String(10), primary_key=True),
        sa.Column("person", sa.String(200), primary_key=True),
        sa.Column("model", sa.String(200), primary_key=True),
        sa.Column("version", sa.BigInteger(), primary_key=True, autoincrement=False),
        sa.Column("purpose", sa.String(256), primary_key=True),
        sa.Column("calls", sa.BigInteger(), nullable=False),
        sa.Column("persons", sa.BigInteger(), nullable=False),
    )
