"""Alembic environment: migrates on the connection that ``ledger.store.upgrade`` hands over."""

from __future__ import annotations

from alembic import context

from ledger.schema import LEDGER_METADATA, VERSION_TABLE

context.configure(
    connection=context.config.attributes["connection"],
    target_metadata=LEDGER_METADATA,
    version_table=VERSION_TABLE,
)
with context.begin_transaction():
    context.run_migrations()
