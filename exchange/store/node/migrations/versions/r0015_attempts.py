"""Attempts at steps, and what a step under way keeps to go on from."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "node_0015"
down_revision = "node_0014"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Add the columns, make the table."""
    op.add_column("node_begun", sa.Column("attempts", sa.Integer(), nullable=False, server_default="1"))
    op.add_column("node_begun", sa.Column("is_last", sa.Boolean(), nullable=False, server_default=sa.false()))
    op.create_table(
        "node_step_states",
        sa.Column("job", sa.String(80), primary_key=True),
        sa.Column("step", sa.String(80), primary_key=True),
        sa.Column("number", sa.BigInteger(), primary_key=True, autoincrement=False),
        sa.Column("sealed", sa.LargeBinary(), nullable=False),
    )
