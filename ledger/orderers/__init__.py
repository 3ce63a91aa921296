"""Order engines: who decides which batch comes next.

An engine orders opaque batches by height and knows nothing of entries. What it says is checked by every
member, so it is trusted for availability and order only, and never as the archive: a hub trims it when the
members hold a batch. The conformance suite is ``ledger.testing.OrdererContract``.

| module | engine | survives |
| --- | --- | --- |
| ``sql`` | a table in the hub's own database | nothing: one database, one operator |
| ``etcd`` | a key per batch in an etcd cluster | the crash of a minority of its servers |
| ``nats`` | a JetStream stream with three replicas | the same; every server must sync every write |

``sql`` is always there; import the others where they are used, ``nats`` needs the extra of that name.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Literal, Protocol

from sqlalchemy import Connection

__all__ = ["Faults", "Orderer"]

Faults = Literal["none", "crash", "byzantine"]


class Orderer(Protocol):
    """Orders batches by height without gap. Thread-safe."""

    @property
    def kind(self) -> str:
        """What the network's parameters and each seal call this engine."""

    @property
    def faults(self) -> Faults:
        """Which faults of its own machines it survives."""

    @property
    def max_batch(self) -> int:
        """The largest batch it takes, in bytes."""

    def reference(self, height: int) -> str:
        """Return what the seal of this height says about the engine. Pure."""

    def begin(self, height: int) -> None:
        """Declare that this engine's order starts at ``height``. An engine that never began starts at 0.

        Doing it again is allowed. An order that holds batches and ended below ``height`` is over, because a
        ledger that moved on from it comes back: it is forgotten, and a new one starts.

        Raises:
            OrderConflict: an order is open here that started elsewhere. Nothing is changed.
            StoreUnavailable: not carried out, or not known to be; beginning again is safe.
        """

    def propose(self, height: int, batch: bytes, connection: Connection) -> None:
        """Put ``batch`` at ``height`` if that is the next height and nobody came first.

        When it returns, the batch MUST be durable, or durable together with the transaction of
        ``connection``: an engine that shares the database writes in it, so that order and integration commit
        at once; any other engine ignores it, and a batch it ordered is integrated by recovery if the
        transaction fails.

        Raises:
            OrderConflict: another batch has this height, or a height before it is missing.
            StoreUnavailable: not carried out, or not known to be; ``follow`` tells later.
        """

    def follow(self, height: int) -> Iterator[tuple[int, bytes]]:
        """Yield ``(height, batch)`` from ``height`` to the present end, without gap or duplicate.

        Trimmed batches are missing at the front.

        Raises:
            StoreCorrupt: the engine holds something that is no batch of this order.
            StoreUnavailable: it cannot be read now.
        """

    def head(self) -> int:
        """Return the next free height."""

    def trim(self, below: int) -> None:
        """Forget batches below a height that is integrated everywhere. The last batch MUST be kept."""

    def close(self) -> None:
        """Let go of connections and threads; what was ordered stays. Safe to call twice."""
