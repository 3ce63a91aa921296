"""How long a party thinks that the rest of a step takes."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "hub_0002"
down_revision = "hub_0001"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Add the column."""
    op.add_column("hub_progress", sa.Column("left_s", sa.BigInteger, nullable=True))
