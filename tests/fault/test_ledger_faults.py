"""Commits that fail, fail after all, or end with the process: nothing acknowledged is lost or doubled."""

import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import Connection, text

from ledger.engines import Engines
from ledger.errors import LedgerError, LogClosed, OrderConflict, StaleHead, StoreCorrupt, StoreUnavailable
from ledger.fsck import check
from ledger.log import Log
from ledger.orderers.sql import SqlOrderer
from ledger.schema import LEDGER_METADATA
from ledger.store import LedgerStore, open_engine
from ledger.testing import (
    Consortium,
    ManualClock,
    consortium,
    draft_entry,
    make_genesis,
    make_hub,
    make_member,
    throw_away_engine,
)

HUB = make_hub()
MEMBERS = [make_member(name) for name in ("lender", "bureau")]
GENESIS = make_genesis(HUB, MEMBERS)
CLOCK = ManualClock()


class FaultyStore(LedgerStore):
    """Fails at a chosen moment of its next transactions."""

    def __init__(self, store: LedgerStore) -> None:
        super().__init__(store.engine)
        self.before_commit = 0
        self.after_commit = 0
        self.down_after_commit = False
        self.down = False

    @contextmanager
    def transaction(self) -> Iterator[Connection]:
        with super().transaction() as connection:
            yield connection
            if self.before_commit:
                self.before_commit -= 1
                raise StoreUnavailable("the disk is full")
        if self.down_after_commit:
            self.down_after_commit, self.down = False, True
            raise StoreUnavailable("the database went down")
        if self.after_commit:
            self.after_commit -= 1
            raise StoreUnavailable("the connection was lost")

    def rows(self, query: Any, values: Any = None) -> list[Any]:
        if self.down:
            raise StoreUnavailable("the database is down")
        return super().rows(query, values)


@pytest.fixture(params=["sqlite", pytest.param("postgresql", marks=pytest.mark.postgresql)])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[FaultyStore]:
    with throw_away_engine(request.param, tmp_path) as engine:
        yield FaultyStore(LedgerStore(engine))


def signed(number: int) -> bytes:
    member = MEMBERS[number % 2]
    return (
        draft_entry(member, "member.update", {"endpoint": f"h{number}:1"})
        .sign(member.kid, member.tx)
        .encode()
    )


def create(store: LedgerStore, **changes: Any) -> Log:
    return Log.create(store, GENESIS, HUB.cosign, HUB.tx, clock=CLOCK, linger_s=0.0, **changes)


def reopen(store: LedgerStore, **changes: Any) -> Log:
    return Log.open(store, HUB.cosign, HUB.tx, clock=CLOCK, linger_s=0.0, **changes)


def test_a_commit_that_fails_leaves_nothing(store: FaultyStore) -> None:
    with create(store) as log:
        store.before_commit = 1
        raw = signed(1)
        with pytest.raises(StoreUnavailable):
            log.submit(raw)
        assert (log.size, store.head().size) == (2, 2)  # type: ignore[union-attr]
        assert log.submit(raw).index == 2
        assert log.submit(signed(2)).index == 4
    assert check(store, GENESIS) == []


def test_a_commit_that_fails_after_all_is_acknowledged(store: FaultyStore) -> None:
    with create(store) as log:
        store.after_commit = 1
        raw = signed(1)
        placed = log.submit(raw)
        assert (placed.index, log.size) == (2, 4)
        assert log.submit(raw) == placed
        assert log.submit(signed(2)).index == 4
    assert check(store, GENESIS) == []


def test_a_log_waits_for_its_store_to_come_back(store: FaultyStore) -> None:
    with create(store) as log:
        raw = signed(1)
        store.down_after_commit = True
        for _ in range(3):
            with pytest.raises(StoreUnavailable):
                log.submit(raw)
        store.down = False
        assert log.submit(raw).index == 2
        assert log.size == 4
    assert check(store, GENESIS) == []


def test_a_log_whose_published_entries_are_gone_closes(store: FaultyStore) -> None:
    with create(store) as log:
        log.submit(signed(1))
        with store.engine.begin() as connection:
            for table in LEDGER_METADATA.sorted_tables:
                connection.execute(table.delete())
        with pytest.raises(LedgerError):
            log.submit(signed(2))
        with pytest.raises(LogClosed):
            log.submit(signed(2))


def test_a_genesis_that_fails_leaves_an_empty_store(store: FaultyStore) -> None:
    store.before_commit = 1
    with pytest.raises(StoreUnavailable):
        create(store)
    with create(store) as log:
        assert log.size == 2


def test_two_hubs_on_one_database_do_not_fork_the_log(store: FaultyStore) -> None:
    with create(store) as one, reopen(store) as two:
        first = one.submit(signed(1))
        raw = signed(2)
        with pytest.raises((OrderConflict, StaleHead)):
            two.submit(raw)
        second = two.submit(raw)
        assert (first.index, second.index, two.size) == (2, 4, 6)
        assert two.submit(signed(3)).index == 6
    assert check(store, GENESIS) == []


def test_what_an_engine_ordered_is_integrated_after_a_crash(store: FaultyStore, tmp_path: Path) -> None:
    """An engine with a database of its own orders, then the hub's store fails: the batch is not lost."""
    with throw_away_engine("sqlite", tmp_path) as elsewhere:

        class Remote(SqlOrderer):
            def propose(self, height: int, batch: bytes, connection: Connection) -> None:
                with elsewhere.begin() as own:
                    super().propose(height, batch, own)

        with create(store, engines=Engines({"sql": lambda: Remote(elsewhere)})) as log:
            store.before_commit = 1
            raw = signed(1)
            assert log.submit(raw).index == 2
            store.before_commit = 2
            lost = signed(2)
            with pytest.raises(StoreUnavailable):
                log.submit(lost)
        with reopen(store, engines=Engines({"sql": lambda: Remote(elsewhere)})) as log:
            assert log.size == 6
            assert log.submit(lost).index == 4
        assert check(store, GENESIS) == []


def test_an_order_that_is_not_ours_is_refused(store: FaultyStore, tmp_path: Path) -> None:
    create(store).close()
    orderer = SqlOrderer(store.engine)
    with store.engine.begin() as connection:
        orderer.propose(1, b"\x00\x02{}", connection)
    with pytest.raises(Exception, match="an entry"):
        reopen(store)
    with store.engine.begin() as connection:
        connection.execute(text("UPDATE ledger_batches SET height = 7 WHERE height = 1"))
    with pytest.raises(StoreCorrupt, match="height 1"):
        reopen(store)


HUB_PROCESS = """
import sys
from pathlib import Path
from ledger.log import Log
from ledger.store import LedgerStore, open_engine, upgrade
from ledger.testing import ManualClock, draft_entry, make_genesis, make_hub, make_member

hub, members = make_hub(), [make_member(name) for name in ("lender", "bureau")]
engine = open_engine(sys.argv[1])
upgrade(engine)
log = Log.create(
    LedgerStore(engine), make_genesis(hub, members), hub.cosign, hub.tx, clock=ManualClock(), linger_s=0.0
)
member, number = members[0], 0
while True:
    number += 1
    draft = draft_entry(member, "member.update", {"endpoint": f"h{number}:1"})
    placed = log.submit(draft.sign(member.kid, member.tx).encode())
    print(placed.index, placed.txid, flush=True)
"""


def test_a_hub_killed_at_any_moment_loses_nothing_it_acknowledged(tmp_path: Path) -> None:
    for acknowledged in (1, 4, 9):
        url = f"sqlite:///{tmp_path}/killed-{acknowledged}.sqlite"
        command = [sys.executable, "-P", "-c", HUB_PROCESS, url]
        with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
            assert process.stdout is not None
            lines = [process.stdout.readline().split() for _ in range(acknowledged)]
            os.kill(process.pid, signal.SIGKILL)
        engine = open_engine(url)
        store = LedgerStore(engine)
        with reopen(store) as log:
            for index, txid in lines:
                record = store.find(txid)
                assert record is not None
                assert record.index == int(index)
            assert log.submit(signed(1)).code is None
        assert check(store, GENESIS) == []
        engine.dispose()


@pytest.fixture
def exchange(tmp_path: Path) -> Iterator[Consortium]:
    with consortium(tmp_path, "lender", "bureau", "regulator") as made:
        yield made


@pytest.mark.parametrize("method", ["move_head", "append", "put_checkpoint", "add_cosignatures", "send"])
def test_a_member_killed_between_any_two_steps_goes_on(exchange: Consortium, method: str) -> None:
    class Killed(BaseException):
        """The process ends here."""

    exchange.act("lender", "member.update", {"endpoint": "a:1"})
    store = exchange.new_store()
    doomed = exchange.new_mirror("bureau", store=store)

    def die(original: Callable[..., object]) -> Callable[..., None]:
        def act(*args: Any, **kwargs: Any) -> None:
            if method != "send":
                original(*args, **kwargs)
            raise Killed

        return act

    target: Any = doomed._source if method == "send" else store
    name = "add_cosignature" if method == "send" else method
    setattr(target, name, die(getattr(target, name)))
    with pytest.raises(Killed):
        doomed.sync()
    again = exchange.new_mirror("bureau", store=LedgerStore(store.engine))
    again.sync()
    exchange.mirrors["lender"].sync()
    exchange.mirrors["regulator"].sync()
    again.sync()
    assert again.final_size == 4
    assert check(again.store, exchange.genesis) == []
