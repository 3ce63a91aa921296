"""Papers of asset versions: drafts, quality reports, reviews, twins."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "node_0006"
down_revision = "node_0005"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Make the table."""
    op.create_table(
        "node_asset_papers",
        sa.Column("asset", sa.String(200), primary_key=True),
        sa.Column("version", sa.Integer, primary_key=True),
        sa.Column("kind", sa.String(10), primary_key=True),
        sa.Column("content", sa.LargeBinary, nullable=False),
        sa.Column("salt", sa.LargeBinary, nullable=False),
        sa.Column("stored", sa.String(20), nullable=False),
    )
