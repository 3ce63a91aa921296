"""Keeping the search index of a node's copy close to what is final, in a thread of its own.

A commit writes no index (see ``ledger.postings``). Without this thread the first search after many entries
would have to wait for it. While entries pour in, the thread leaves the processor to those who commit and
cosign, up to a backlog that a search takes in by itself within seconds.
"""

from __future__ import annotations

import logging
import threading

from exchange.node.ledger_client import LedgerClient
from ledger.errors import LedgerError

__all__ = ["MOST_BEHIND", "Indexer"]

_log = logging.getLogger(__name__)

MOST_BEHIND = 65_536
"""Entries that may wait for a quieter moment."""

_QUIET_S = 1.0
"""Without anything new becoming final; entries that came before then share the pages they are written to."""


class Indexer:
    """Takes what becomes final into the search index. Register ``wake`` with ``LedgerClient.on_change``."""

    def __init__(self, ledger: LedgerClient) -> None:
        self._ledger = ledger
        self._wanted, self._stopping = threading.Event(), threading.Event()
        self._thread = threading.Thread(target=self._run, name="search-indexer", daemon=True)

    def start(self) -> None:
        """Begin with what is final already."""
        self._wanted.set()
        self._thread.start()

    def wake(self) -> None:
        """More may have become final."""
        self._wanted.set()

    def stop(self) -> None:
        """End after the page in hand."""
        self._stopping.set()
        self._wanted.set()
        if self._thread.is_alive():
            self._thread.join()

    def _run(self) -> None:
        postings = self._ledger.mirror.index.postings
        while self._wanted.wait() and not self._stopping.is_set():
            self._wanted.clear()
            is_busy = self._wanted.wait(_QUIET_S)
            try:
                if is_busy and self._ledger.final_size - postings.size() < MOST_BEHIND:
                    continue
                postings.extend(self._ledger.final_size, lambda: not self._stopping.is_set())
            except LedgerError as error:
                _log.warning("the search index stays where it is: %s", error)
