"""Options of sources, sealed; a table of a database is the kind ``table``."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "node_0008"
down_revision = "node_0007"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Add the column and rename the kind."""
    op.add_column("node_assets", sa.Column("sealed_options", sa.LargeBinary, nullable=True))
    assets = sa.table("node_assets", sa.column("kind", sa.String))
    op.execute(assets.update().where(assets.c.kind == "sql").values(kind="table"))
