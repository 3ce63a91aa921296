"""What a node measures: how its copy of the ledger stands, and what went wrong while following the log."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import suppress

from prometheus_client import CollectorRegistry
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from exchange.errors import ExchangeError
from exchange.node.services import NodeServices
from exchange.standing import describe_standing, gauge, standing_metrics
from ledger.errors import LedgerError

__all__ = ["node_registry"]


def node_registry(services: NodeServices) -> CollectorRegistry:
    """Make the registry of one node; everything in it is read when it is asked."""
    registry = CollectorRegistry(auto_describe=False)
    registry.register(_Copy(services))
    return registry


class _Copy(Collector):
    def __init__(self, services: NodeServices) -> None:
        self._services = services

    def collect(self) -> Iterator[Metric]:
        """Read the copy and its database."""
        services, ledger = self._services, self._services.ledger
        mirror = ledger.mirror
        final_size, state = mirror.final
        found = describe_standing(mirror.store, mirror.size, final_size, state)
        yield from standing_metrics(found, final_size, services.clock().timestamp())
        diverged = float(ledger.divergence is not None)
        yield gauge("parley_ledger_diverged", "1 if the hub's log differs from this copy", diverged)
        errors = CounterMetricFamily(
            "parley_ledger_sync_errors", "Rounds of following the log that failed", labels=["code"]
        )
        for code, count in sorted(ledger.sync_errors.items()):
            errors.add_metric([code], count)
        yield errors
        indexed = GaugeMetricFamily("parley_search_indexed_entries", "Entries in the search index")
        pending = GaugeMetricFamily("parley_outbox_pending_entries", "Own entries without an outcome")
        with suppress(LedgerError, ExchangeError):  # a database that does not answer is shown above
            indexed.add_metric([], mirror.index.postings.size())
            pending.add_metric([], len(services.store.outbox.pending()))
        yield indexed
        yield pending
