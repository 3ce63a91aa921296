"""How far processes are, on every database: one position, moved by compare-and-swap."""

from __future__ import annotations

import os
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from pathlib import Path

import pytest

from exchange.store import DataspaceRepository, open_node_store
from exchange.store.testing import postgresql_schema

NOW = datetime(2026, 11, 26, tzinfo=UTC)


@pytest.fixture(params=["sqlite", pytest.param("postgresql", marks=pytest.mark.postgresql)])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[DataspaceRepository]:
    if request.param == "sqlite":
        kept = open_node_store(f"sqlite:///{tmp_path}/node.sqlite", clock=lambda: NOW)
        yield kept.dataspace
        kept.close()
        return
    with postgresql_schema(os.environ["PARLEY_TEST_POSTGRESQL"]) as url:
        kept = open_node_store(url, clock=lambda: NOW)
        yield kept.dataspace
        kept.close()


def test_a_process_moves_from_where_it_stands_only(store: DataspaceRepository) -> None:
    assert store.find("negotiation", "n") is None
    assert not store.advance("negotiation", "n", "did:x:peer", 1, 2, "OFFERED")
    store.begin("negotiation", "n", "did:x:peer", 0, "REQUESTING")
    kept = store.find("negotiation", "n")
    assert kept is not None
    assert (kept.position, kept.state, kept.updated) == (0, "REQUESTING", NOW)
    assert store.advance("negotiation", "n", "did:x:peer", 0, 1, "REQUESTED")
    assert not store.advance("negotiation", "n", "did:x:peer", 0, 1, "REQUESTED")
    assert store.find("transfer", "n") is None
    assert [one.pid for one in store.all()] == ["n"]


def test_failures_are_counted_until_the_process_moves(store: DataspaceRepository) -> None:
    assert store.fail("negotiation", "n", "dataspace.unreachable") == 0
    store.begin("negotiation", "n", "did:x:peer", 0, "REQUESTING")
    assert [store.fail("negotiation", "n", "dataspace.unreachable") for _ in range(2)] == [1, 2]
    store.begin("negotiation", "n", "did:x:peer", 0, "REQUESTING")
    kept = store.find("negotiation", "n")
    assert kept is not None
    assert (kept.tries, kept.problem) == (2, "dataspace.unreachable")
    store.advance("negotiation", "n", "did:x:peer", 0, 1, "REQUESTED")
    kept = store.find("negotiation", "n")
    assert kept is not None
    assert (kept.tries, kept.problem) == (0, None)


def test_of_two_that_move_at_once_one_does(store: DataspaceRepository) -> None:
    with ThreadPoolExecutor(4) as pool:
        moved = list(
            pool.map(lambda _: store.advance("transfer", "t", "did:x:peer", 0, 1, "REQUESTED"), range(4))
        )
    assert sorted(moved) == [False, False, False, True]
