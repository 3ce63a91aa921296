"""How a copy of the log stands, as hub and node show it: on their pages and as metrics."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from prometheus_client.core import GaugeMetricFamily, Metric

from ledger.errors import LedgerError
from ledger.membership import Network, electorate
from ledger.standing import FinalCheckpoint, final_checkpoint
from ledger.store import LedgerStore
from ledger.tables import State
from ledger.times import show_time

__all__ = ["Standing", "describe_standing", "gauge", "show_time", "standing_metrics"]


@dataclass(frozen=True)
class Standing:
    """What people read: the engine in use, and the final checkpoint; None where there is none to be read."""

    engine: str
    size: int
    final: FinalCheckpoint | None

    @property
    def quorum(self) -> str:
        """Cosignatures that make a checkpoint final, of how many."""
        return "" if self.final is None else f"{self.final.quorum}/{len(self.final.cosigners)}"

    @property
    def time(self) -> str:
        """The median of the times at which members cosigned the final checkpoint."""
        return "" if self.final is None else show_time(self.final.time)

    def rows(self, yes_no: Sequence[str]) -> list[tuple[str, str, str, str, str]]:
        """Each member's last cosignature: name, size, entries behind, time, and whether on the final one."""
        return [
            (
                one.name,
                "" if one.size is None else str(one.size),
                str(self.size - (one.size or 0)),
                "" if one.time is None else show_time(one.time),
                yes_no[0] if one.is_on_final else yes_no[1],
            )
            for one in (self.final.cosigners if self.final else ())
        ]


def describe_standing(store: LedgerStore, size: int, final_size: int, state: State) -> Standing:
    """Read how a copy of the log stands.

    Args:
        store: where it is kept.
        size: its entries.
        final_size: those below a checkpoint with a quorum.
        state: names the members that may cosign, and the order engine.
    """
    network = Network.of(state)
    try:
        final = final_checkpoint(store, final_size, electorate(state)) if final_size else None
    except LedgerError:
        final = None
    return Standing("" if network is None else network.engine, size, final)


def standing_metrics(standing: Standing, final_size: int, now: float) -> Iterator[Metric]:
    """Turn it into gauges; ``now`` is Unix time."""
    size, final = standing.size, standing.final
    yield gauge("parley_ledger_entries", "Entries in this copy of the log, seals included", size)
    yield gauge("parley_ledger_final_entries", "Entries below the final checkpoint", final_size)
    readable = float(final is not None or not final_size)
    yield gauge("parley_ledger_store_up", "Whether the database shows the final checkpoint", readable)
    engine = GaugeMetricFamily("parley_order_engine", "1 for the engine in use", labels=["kind"])
    engine.add_metric([standing.engine], 1)
    yield engine
    if final is None:
        return
    age = max(0.0, now - final.time)
    yield gauge("parley_ledger_final_age_seconds", "Since a quorum had cosigned the final checkpoint", age)
    yield gauge("parley_ledger_quorum", "Cosignatures that make a checkpoint final", final.quorum)
    lag = GaugeMetricFamily(
        "parley_ledger_cosignature_lag_entries",
        "Entries between a member's last cosignature and the end of the log",
        labels=["member"],
    )
    ages = GaugeMetricFamily(
        "parley_ledger_cosignature_age_seconds", "Since a member's last cosignature", labels=["member"]
    )
    for one in final.cosigners:
        lag.add_metric([one.name], size - (one.size or 0))
        if one.time is not None:
            ages.add_metric([one.name], max(0.0, now - one.time))
    yield lag
    yield ages


def gauge(name: str, words: str, value: float) -> Metric:
    """One number."""
    return GaugeMetricFamily(name, words, value=value)
