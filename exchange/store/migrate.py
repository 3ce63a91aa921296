"""What the two Alembic environments have in common."""

from __future__ import annotations

from alembic import context
from sqlalchemy import MetaData

__all__ = ["run"]


def run(metadata: MetaData, version_table: str) -> None:
    """Run the migrations asked for on the connection that ``upgrade`` opened, in its transaction."""
    context.configure(
        connection=context.config.attributes["connection"],
        target_metadata=metadata,
        version_table=version_table,
    )
    with context.begin_transaction():
        context.run_migrations()
