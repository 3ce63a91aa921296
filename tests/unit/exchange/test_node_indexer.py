import time
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest

from exchange.node import indexer
from exchange.node.indexer import Indexer
from exchange.node.ledger_client import LedgerClient
from ledger.errors import StoreUnavailable
from ledger.testing import Consortium, consortium


def eventually(holds: Callable[[], bool]) -> bool:
    deadline = time.monotonic() + 10
    while not holds() and time.monotonic() < deadline:
        time.sleep(0.01)
    return holds()


def follower(exchange: Consortium) -> Any:
    mirror = exchange.mirrors["lender"]
    return SimpleNamespace(mirror=mirror, final_size=mirror.final_size)


@pytest.fixture(autouse=True)
def short_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(indexer, "_QUIET_S", 0.05)


def test_what_becomes_final_is_indexed_without_a_search(tmp_path: Path) -> None:
    with consortium(tmp_path, "lender", "bureau") as exchange:
        exchange.settle()
        ledger = follower(exchange)
        made = Indexer(cast(LedgerClient, ledger))
        made.start()
        postings = ledger.mirror.index.postings
        assert eventually(lambda: postings.size() == ledger.final_size == 2)
        exchange.act("lender", "member.update", {"endpoint": "host:1"})
        exchange.settle()
        ledger.final_size = ledger.mirror.final_size
        made.wake()
        assert eventually(lambda: postings.size() == ledger.final_size == 4)
        made.stop()
        made.stop()


def test_a_database_that_fails_is_tried_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with consortium(tmp_path, "lender", "bureau") as exchange:
        exchange.settle()
        ledger = follower(exchange)
        postings, failures = ledger.mirror.index.postings, [StoreUnavailable("gone")]
        real = postings.extend

        def extend(stop: int, go_on: Callable[[], bool]) -> None:
            if failures:
                raise failures.pop()
            real(stop, go_on)

        monkeypatch.setattr(postings, "extend", extend)
        made = Indexer(cast(LedgerClient, ledger))
        made.start()
        assert eventually(lambda: not failures)
        made.wake()
        assert eventually(lambda: postings.size() == 2)
        made.stop()


def test_a_busy_ledger_is_indexed_when_it_is_quiet_or_too_far_behind(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with consortium(tmp_path, "lender", "bureau") as exchange:
        exchange.settle()
        ledger = follower(exchange)
        monkeypatch.setattr(indexer, "_QUIET_S", 0.5)
        postings, made = ledger.mirror.index.postings, Indexer(cast(LedgerClient, ledger))
        made.start()
        for _ in range(100):
            made.wake()
            time.sleep(0.002)
        assert postings.size() == 0
        assert eventually(lambda: postings.size() == 2)
        exchange.act("lender", "member.update", {"endpoint": "host:1"})
        exchange.settle()
        ledger.final_size = ledger.mirror.final_size
        monkeypatch.setattr(indexer, "MOST_BEHIND", 1)
        assert eventually(lambda: [made.wake(), postings.size()][1] == 4)
        made.stop()


def test_stopping_ends_a_long_round(tmp_path: Path) -> None:
    with consortium(tmp_path, "lender", "bureau") as exchange:
        exchange.settle()
        asked: list[bool] = []

        def go_on() -> bool:
            asked.append(True)
            return False

        postings = exchange.mirrors["lender"].index.postings
        postings.extend(2, go_on)
        assert (postings.size(), asked) == (0, [True])
