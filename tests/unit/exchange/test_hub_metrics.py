from collections.abc import Sequence

from prometheus_client import generate_latest

from exchange.hub.metrics import HubMetrics
from ledger.errors import LedgerError, MalformedEntry, Refusal, StoreUnavailable
from ledger.log import Placed


class Clock:
    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


def value(metrics: HubMetrics, name: str, **labels: str) -> float | None:
    return metrics.registry.get_sample_value(name, labels)


def hand_in(metrics: HubMetrics, clock: Clock, seconds: float, answers: list[Placed | LedgerError]) -> None:
    def submit(raws: Sequence[bytes]) -> list[Placed | LedgerError]:
        clock.now += seconds
        return answers

    assert metrics.timed(submit, [b""] * len(answers)) == answers


def test_submissions_are_timed_to_ordered_and_to_final() -> None:
    clock = Clock()
    metrics = HubMetrics(clock)
    hand_in(metrics, clock, 0.03, [Placed(4, "a", None), Placed(5, "b", "entry.expired")])
    assert value(metrics, "parley_submitted_entries_total") == 2
    assert value(metrics, "parley_submission_ordered_seconds_bucket", le="0.035") == 1
    assert value(metrics, "parley_submission_ordered_seconds_bucket", le="0.02") == 0
    metrics.final(5)
    assert value(metrics, "parley_submission_final_seconds_count") == 0
    clock.now += 0.5
    metrics.final(6)
    metrics.final(6)
    assert value(metrics, "parley_submission_final_seconds_count") == 1
    assert value(metrics, "parley_submission_final_seconds_bucket", le="0.75") == 1
    assert value(metrics, "parley_submission_final_seconds_bucket", le="0.5") == 0


def test_what_is_turned_away_and_what_fails_is_counted_by_code() -> None:
    clock = Clock()
    metrics = HubMetrics(clock)
    refused: list[Placed | LedgerError] = [Refusal("entry.bad-signature", "x"), MalformedEntry("x")]
    hand_in(metrics, clock, 1, [*refused, StoreUnavailable("x")])
    assert value(metrics, "parley_refused_entries_total", code="entry.bad-signature") == 1
    assert value(metrics, "parley_refused_entries_total", code="ledger.malformed-entry") == 1
    assert value(metrics, "parley_failed_entries_total", code=StoreUnavailable.code) == 1
    assert value(metrics, "parley_submission_ordered_seconds_count") == 0
    assert value(metrics, "parley_submitted_entries_total") == 0
    assert b"parley_refused_entries_total" in generate_latest(metrics.registry)
