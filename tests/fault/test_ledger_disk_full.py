"""A disk that is full: nothing acknowledged is lost, errors may be retried, all goes on when there is room.

On a small file system of its own where the test may mount one, and with SQLite's own limit everywhere.
"""

from __future__ import annotations

import os
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

import pytest
from sqlalchemy import Engine, event

from ledger.errors import LogClosed, StoreUnavailable
from ledger.fsck import check
from ledger.log import Log
from ledger.mirror import Mirror
from ledger.store import LedgerStore, open_engine, upgrade
from ledger.testing import (
    Consortium,
    ManualClock,
    consortium,
    draft_entry,
    make_genesis,
    make_hub,
    make_member,
)

HUB = make_hub()
MEMBER = make_member("lender")
GENESIS = make_genesis(HUB, [MEMBER])
CLOCK = ManualClock()


@dataclass(frozen=True)
class Disk:
    """A database on a disk that is small until it is ``enlarged``."""

    engine: Engine
    enlarge: Callable[[], None]


@contextmanager
def mounted(folder: Path) -> Iterator[Disk]:
    """A file system of 1 MiB."""
    folder.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", str(folder)]
    if os.geteuid() != 0 or subprocess.run(mount, capture_output=True, check=False).returncode != 0:
        pytest.skip("this test may not mount a file system here")
    engine = open_engine(f"sqlite:///{folder}/ledger.sqlite")
    try:
        yield Disk(
            engine,
            lambda: subprocess.run(["mount", "-o", "remount,size=64m", str(folder)], check=True) and None,
        )
    finally:
        engine.dispose()
        subprocess.run(["umount", "-l", str(folder)], check=True)


@contextmanager
def limited(folder: Path) -> Iterator[Disk]:
    """A database that SQLite lets grow to 60 pages."""
    folder.mkdir()
    engine, pages = open_engine(f"sqlite:///{folder}/ledger.sqlite"), [60]

    @event.listens_for(engine, "checkout")
    def limit(connection: object, *_: object) -> None:
        connection.execute(f"PRAGMA max_page_count = {pages[0]}")  # type: ignore[attr-defined]

    try:
        yield Disk(engine, lambda: pages.__setitem__(0, 100_000))
    finally:
        engine.dispose()


@pytest.fixture(params=[limited, mounted], ids=["limit", "file system"])
def disk(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Disk]:
    with request.param(tmp_path / "disk") as made:
        yield made


def signed(number: int) -> bytes:
    body = {"endpoint": f"h{number}:1", "padding": "x" * 20_000}
    return draft_entry(MEMBER, "asset.burn", body).sign(MEMBER.kid, MEMBER.tx).encode()


def fill(log: Log, acknowledged: dict[bytes, int]) -> None:
    for number in range(500):
        raw = signed(number)
        acknowledged[raw] = log.submit(raw).index


def test_a_hubs_disk_is_full(disk: Disk) -> None:
    upgrade(disk.engine)
    store = LedgerStore(disk.engine)
    acknowledged: dict[bytes, int] = {}
    with Log.create(store, GENESIS, HUB.cosign, HUB.tx, clock=CLOCK, linger_s=0.0) as log:
        with pytest.raises(StoreUnavailable) as full:
            fill(log, acknowledged)
        assert full.value.retryable
        lost = signed(1000)
        with pytest.raises(StoreUnavailable):
            log.submit(lost)
        with suppress(StoreUnavailable):
            log.promise(lost)
        while log.pending:  # what was promised is tried once more, and answered for, before there is room
            time.sleep(0.01)
        size = log.size
        assert log.entry_bundle(0, 2)  # readers go on
        disk.enlarge()
        assert log.submit(lost).index >= size
        assert {raw: log.submit(raw).index for raw in acknowledged} == acknowledged
    with Log.open(store, HUB.cosign, HUB.tx, clock=CLOCK, linger_s=0.0) as log:
        assert {raw: log.submit(raw).index for raw in acknowledged} == acknowledged
    assert check(store, GENESIS) == []


def test_a_hub_whose_disk_is_full_when_it_starts(disk: Disk) -> None:
    upgrade(disk.engine)
    store = LedgerStore(disk.engine)
    with Log.create(store, GENESIS, HUB.cosign, HUB.tx, clock=CLOCK, linger_s=0.0) as log:
        with suppress(StoreUnavailable):
            fill(log, {})
        size = log.size
    with Log.open(store, HUB.cosign, HUB.tx, clock=CLOCK, linger_s=0.0) as log:
        assert log.size == size
        with pytest.raises((StoreUnavailable, LogClosed)):
            log.submit(signed(1000))
        disk.enlarge()
        assert log.submit(signed(1000)).index == size
    assert check(store, GENESIS) == []


def follow(exchange: Consortium, mirror: Mirror) -> None:
    lender = exchange.members["lender"]
    for number in range(500):
        body = {"endpoint": f"h{number}:1", "padding": "x" * 20_000}
        exchange.log.submit(draft_entry(lender, "asset.burn", body).sign(lender.kid, lender.tx).encode())
        mirror.sync()


@pytest.fixture
def exchange(tmp_path: Path) -> Iterator[Consortium]:
    with consortium(tmp_path, "lender", "bureau") as made:
        yield made


def test_a_members_disk_is_full(exchange: Consortium, disk: Disk) -> None:
    """It cosigns what it has kept and nothing else, and catches up."""
    upgrade(disk.engine)
    mirror = exchange.new_mirror("bureau", store=LedgerStore(disk.engine))
    with pytest.raises(StoreUnavailable) as full:
        follow(exchange, mirror)
    assert full.value.retryable
    assert exchange.hub_store.cosignatures(exchange.log.size) == {}
    with pytest.raises(StoreUnavailable):
        mirror.sync()
    disk.enlarge()
    while mirror.sync():
        pass
    exchange.mirrors["lender"].sync()
    mirror.sync()
    assert mirror.final_size == exchange.log.size
    assert check(mirror.store, exchange.genesis) == []
