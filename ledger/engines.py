"""Which order engine a log uses: as the network's parameters say, across ``engine.switch``.

The engine of a batch is the one that the state before it names, and its seal says which that was. Governance
changes the parameter, and the next height begins in the engine that it names then. Whether that has been done
is seen from the log itself: its last seal names another engine than its state. So a crash between any two
steps is recovered by doing the next one again.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress

from ledger.batches import Head
from ledger.errors import EngineUnusable, StoreCorrupt, StoreUnavailable
from ledger.membership import Network
from ledger.orderers import Orderer
from ledger.orderers.sql import SqlOrderer
from ledger.state import SEAL
from ledger.store import LedgerStore
from ledger.tables import State

__all__ = ["Engines", "Order"]

_KEPT_BATCHES = 64
_SQL = "sql"


class Engines:
    """The order engines that a hub may use, by kind; each is opened when the log first comes to it.

    Args:
        openers: what one of them raises is what a caller of ``at`` gets; the next call tries again.
    """

    def __init__(self, openers: Mapping[str, Callable[[], Orderer]]) -> None:
        self._openers = dict(openers)
        self._opened: dict[str, Orderer] = {}

    @classmethod
    def of(cls, store: LedgerStore, **others: Callable[[], Orderer]) -> Engines:
        """Let a log order in its own database, and in others by kind."""
        return cls({_SQL: lambda: SqlOrderer(store.engine), **others})

    def at(self, kind: str) -> Orderer:
        """Return the engine of a kind.

        Raises:
            EngineUnusable: there is none, or it may lose what it acknowledges.
            StoreUnavailable: it does not answer.
        """
        if kind not in self._opened:
            if kind not in self._openers:
                known = ", ".join(sorted(self._openers))
                raise EngineUnusable(f"expected settings for the order engine {kind}, found those of {known}")
            self._opened[kind] = self._openers[kind]()
        return self._opened[kind]

    def close(self) -> None:
        """Close every engine that was opened."""
        while self._opened:
            self._opened.popitem()[1].close()


class Order:
    """The order of one log across its engines. Not thread-safe: the thread that sequences has it.

    Args:
        store: the log's.
        engines: the engines it may use.
    """

    def __init__(self, store: LedgerStore, engines: Engines) -> None:
        self._store, self._engines = store, engines
        self._founding = _SQL
        self._current: Orderer | None = None
        self._ends: deque[tuple[int, int]] = deque()

    def found(self, state: State) -> None:
        """Let a log that has no entry yet begin in the engine that its genesis names."""
        self._founding = _engine(state, self._founding)

    def engine(self, head: Head) -> Orderer:
        """Return the engine of the next batch; if the last one switched to it, its order begins here.

        Raises:
            EngineUnusable, StoreUnavailable: see ``Engines.at``.
            OrderConflict: the engine holds another order.
        """
        kind = _engine(head.state, self._founding)
        if self._current is None or self._current.kind != kind:
            orderer = self._engines.at(kind)
            if head.size and self._last_engine(head.size) != kind:
                orderer.begin(head.height)
            self._current = orderer
        return self._current

    def follow(self, head: Callable[[], Head]) -> Iterator[bytes]:
        """Yield the batches beyond the head, across switches; ``head`` must move with each of them.

        Raises:
            EngineUnusable, OrderConflict: see ``engine``.
            StoreCorrupt: the engine left out a height.
            StoreUnavailable: an engine does not answer, or has less than the log.
        """
        self._current = None
        while True:
            orderer = self.engine(head())
            if (end := orderer.head()) < head().height:
                raise StoreUnavailable(
                    f"expected the order engine {orderer.kind} to have {head().height} as its next height, "
                    f"got {end}: it lost batches, or answers from the past"
                )
            for height, batch in orderer.follow(head().height):
                if height != head().height:
                    raise StoreCorrupt(f"expected a batch at height {head().height}, the engine has {height}")
                yield batch
                if _engine(head().state, self._founding) != orderer.kind:
                    break
            else:
                return

    def trim(self, orderer: Orderer, head: Head, final_size: int) -> None:
        """Let an engine forget batches now and then; one that cannot do it now does it later.

        ``sql`` commits a batch with its entries, so a few of its batches are enough. Any other engine keeps
        them until a quorum of members holds them.

        Args:
            orderer: the engine that ordered the last batch.
            head: the log's after that batch.
            final_size: of the largest checkpoint that a quorum cosigned.
        """
        shares_store = orderer.kind == _SQL
        if head.height % _KEPT_BATCHES == 0:
            self._ends.append((head.size, head.height))
        below = 0
        while self._ends and (shares_store or self._ends[0][0] <= final_size):
            below = self._ends.popleft()[1]
        if below:
            with suppress(StoreUnavailable):
                orderer.trim(below - _KEPT_BATCHES if shares_store else below)

    def _last_engine(self, size: int) -> str:
        """Return the engine that the last seal of a log of this size names."""
        seal = self._store.records(size - 1, size)
        if not seal or seal[0].type != SEAL:
            raise StoreCorrupt(f"ledger_entries index {size - 1}: expected a seal")
        return str(seal[0].entry.body["engine"]["kind"])


def _engine(state: State, default: str) -> str:
    network = Network.of(state)
    return default if network is None else network.engine
