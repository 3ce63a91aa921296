"""The node's repositories over one database."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime

from sqlalchemy import Engine

from exchange.store.engine import open_engine, upgrade
from exchange.store.node.assets import AssetRepository
from exchange.store.node.jobs import JobRepository
from exchange.store.node.outbox import Outbox
from exchange.store.node.people import DecisionLog, PeopleRepository
from ledger.times import system_clock

__all__ = ["NodeStore", "open_node_store"]


class NodeStore:
    """Everything a node keeps besides the ledger; safe to use from several threads.

    Args:
        engine: a database whose node schema is up to date.
        clock: aware time in UTC.
        location_key: 32 bytes that seal source locations with credentials; None: those are refused.
    """

    def __init__(
        self, engine: Engine, clock: Callable[[], datetime], location_key: bytes | None = None
    ) -> None:
        self.engine = engine
        self.assets = AssetRepository(engine, location_key)
        self.people = PeopleRepository(engine, clock)
        self.decisions = DecisionLog(engine, clock)
        self.jobs = JobRepository(engine, clock)
        self.outbox = Outbox(engine)

    def close(self) -> None:
        """Close the database; the store cannot be used after."""
        self.engine.dispose()


def open_node_store(
    url: str, *, clock: Callable[[], datetime] = system_clock, location_key: bytes | None = None
) -> NodeStore:
    """Open a node's database and bring its tables up to date.

    Raises:
        StoreUnavailable: the database cannot be reached.
    """
    engine = open_engine(url)
    upgrade(engine, "node")
    return NodeStore(engine, clock, location_key)
