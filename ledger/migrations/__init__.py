"""Alembic tree of the ledger's tables; run by ``ledger.store.upgrade``."""
