"""A live ledger moves between order engines, and the hub dies at every step of it."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import Connection, Engine

from ledger.checkpoints import open_checkpoint
from ledger.engines import Engines
from ledger.entries import new_id
from ledger.errors import EngineUnusable, LedgerError, LogClosed, StoreUnavailable
from ledger.fsck import check
from ledger.membership import Network
from ledger.orderers.sql import SqlOrderer
from ledger.state import SEAL
from ledger.store import LedgerStore
from ledger.testing import Consortium, consortium, throw_away_engine
from ledger.tiles import encode_entries
from ledger.times import system_clock

pytestmark = pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")


class Killed(BaseException):
    """The process ends here."""


class Steps:
    """Counts the steps that leave something behind, and ends the process at one of them."""

    def __init__(self) -> None:
        self.taken, self.last = 0, 0

    def take(self) -> None:
        self.taken += 1
        if self.taken == self.last:
            raise Killed


class Elsewhere(SqlOrderer):
    """An engine with a database of its own, as etcd is; what it orders is durable at once."""

    kind = "etcd"

    def __init__(self, own: Engine, steps: Steps) -> None:
        super().__init__(own)
        self._own, self._steps = own, steps

    def begin(self, height: int) -> None:
        self._steps.take()
        super().begin(height)
        self._steps.take()

    def propose(self, height: int, batch: bytes, connection: Connection) -> None:
        with self._own.begin() as own:
            super().propose(height, batch, own)
        self._steps.take()


class Here(SqlOrderer):
    def __init__(self, own: Engine, steps: Steps) -> None:
        super().__init__(own)
        self._steps = steps

    def begin(self, height: int) -> None:
        self._steps.take()
        super().begin(height)
        self._steps.take()


class Hub:
    """A consortium whose hub has two engines and starts again when it was killed."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.steps = folder, Steps()
        self.fails: list[Exception] = []

    @contextmanager
    def run(self) -> Iterator[Consortium]:
        with throw_away_engine("sqlite", self.folder) as own:

            def open_elsewhere() -> Elsewhere:
                if self.fails:
                    raise self.fails.pop()
                return Elsewhere(own, self.steps)

            def engines(store: LedgerStore) -> Engines:
                watch(store, self.steps)
                return Engines({"sql": lambda: Here(store.engine, self.steps), "etcd": open_elsewhere})

            with consortium(self.folder, "lender", "bureau", engines=engines) as exchange:
                yield exchange


def watch(store: LedgerStore, steps: Steps) -> None:
    """Take a step before each commit of the hub's and one after it."""
    if "transaction" in vars(store):
        return
    original = store.transaction

    @contextmanager
    def transaction() -> Iterator[Connection]:
        with original() as connection:
            yield connection
            steps.take()
        steps.take()

    store.transaction = transaction  # type: ignore[method-assign]


@pytest.fixture
def hub(tmp_path: Path) -> Hub:
    return Hub(tmp_path)


def switch(engine: str) -> dict[str, Any]:
    return {"action": "engine.switch", "engine": engine}


def new_proposal() -> str:
    return new_id("proposal", system_clock)


def kinds(exchange: Consortium) -> list[str]:
    records = exchange.hub_store.records(0, exchange.log.size)
    return [record.entry.body["engine"]["kind"] for record in records if record.type == SEAL]


def persist(exchange: Consortium, act: Callable[[], object]) -> None:
    """Do something until it is acknowledged; start the hub again when it was killed."""
    for _ in range(5):
        try:
            act()
        except LogClosed:
            exchange.reopen()
        else:
            return
    raise AssertionError("the hub does not come back")


def move(exchange: Consortium, number: int) -> None:
    raw = exchange.entry("lender", "member.update", {"endpoint": f"h{number}:1"})
    persist(exchange, lambda: exchange.log.submit(raw))


def sound(exchange: Consortium) -> None:
    """Every member followed, what is final is one log from the genesis on, and all databases agree."""
    exchange.settle()
    network = Network.of(exchange.log.state)
    assert network is not None
    for mirror in exchange.mirrors.values():
        assert mirror.final_size == exchange.log.size
        assert check(mirror.store, exchange.genesis) == []
        assert not list(exchange.evidence("lender").glob("*"))
    checkpoint, _ = open_checkpoint(exchange.log.checkpoint(), network.log)
    assert (checkpoint.origin, checkpoint.size) == (network.origin, exchange.log.size)
    assert check(exchange.hub_store, exchange.genesis) == []


def test_a_live_ledger_moves_there_and_back(hub: Hub) -> None:
    with hub.run() as exchange:
        move(exchange, 0)
        before = exchange.log.checkpoint_of(exchange.log.size)
        for engine in ("etcd", "sql", "etcd"):
            exchange.decide(switch(engine))
            for number in range(3):
                move(exchange, number)
        sound(exchange)
        assert exchange.log.checkpoint_of(4) == before
        there, back = ["etcd"] * 6, ["sql"] * 6
        # The batch after the decision carries it out and is the last of the engine that is left.
        assert kinds(exchange) == [*["sql"] * 6, *there, *back, "etcd", "etcd"]
        exchange.reopen()
        move(exchange, 9)
        sound(exchange)


@pytest.mark.parametrize("there", [True, False], ids=["sql-to-etcd", "etcd-to-sql"])
def test_a_hub_that_dies_at_any_step_of_a_switch_goes_on(tmp_path: Path, there: bool) -> None:
    last = 0
    while True:
        last += 1
        folder = tmp_path / str(last)
        folder.mkdir()
        hub = Hub(folder)
        with hub.run() as exchange:
            if not there:
                exchange.decide(switch("etcd"))
                move(exchange, 0)
                move(exchange, 1)
            proposal = new_proposal()
            exchange.act(
                "lender",
                "gov.propose",
                {"proposal": proposal, "actions": [switch("etcd" if there else "sql")]},
            )
            exchange.act("bureau", "gov.vote", {"proposal": proposal, "approve": True})
            execute = exchange.entry("lender", "gov.execute", {"proposal": proposal})
            hub.steps.taken, hub.steps.last = 0, last
            persist(exchange, lambda: exchange.log.submit(execute))  # noqa: B023 - called at once
            for number in range(3):
                move(exchange, number)
            is_killed = hub.steps.taken >= last
            hub.steps.last = 0
            sound(exchange)
            left, entered = ("sql", "etcd") if there else ("etcd", "sql")
            assert kinds(exchange)[-3:] == [left, entered, entered]
        if not is_killed:
            break
    assert last > 10


def test_an_engine_without_settings_is_told_and_the_ledger_waits(tmp_path: Path) -> None:
    with consortium(tmp_path, "lender", "bureau") as exchange:
        exchange.decide(switch("nats"))
        move(exchange, 0)
        for _ in range(2):
            with pytest.raises(EngineUnusable, match="order engine nats, found those of sql"):
                exchange.act("lender", "member.update", {"endpoint": "h1:1"})
        sound(exchange)
        with pytest.raises(EngineUnusable):
            exchange.reopen()


def test_an_engine_that_is_away_at_the_switch_is_waited_for(hub: Hub) -> None:
    with hub.run() as exchange:
        exchange.decide(switch("etcd"))
        move(exchange, 0)
        hub.fails = [StoreUnavailable("it does not answer")] * 4
        with pytest.raises(StoreUnavailable):
            exchange.act("lender", "member.update", {"endpoint": "h1:1"})
        hub.fails = []
        move(exchange, 1)
        assert kinds(exchange)[-2:] == ["sql", "etcd"]
        sound(exchange)


def test_an_engine_that_lost_batches_is_told(hub: Hub, tmp_path: Path) -> None:
    with hub.run() as exchange:
        exchange.decide(switch("etcd"))
        for number in range(3):
            move(exchange, number)
        orderer: Any = exchange.log._order.engine(exchange.log._head)
        with orderer._own.begin() as connection:
            connection.exec_driver_sql("DELETE FROM ledger_batches")
        with pytest.raises(StoreUnavailable, match="lost batches"):
            exchange.reopen()


def test_an_engine_that_alters_a_batch_is_not_believed(hub: Hub) -> None:
    with hub.run() as exchange:
        exchange.decide(switch("etcd"))
        for number in range(3):
            move(exchange, number)
        height = exchange.log._head.height
        orderer: Any = exchange.log._order.engine(exchange.log._head)
        forged = encode_entries(
            [exchange.entry("lender", "member.update", {"endpoint": "evil:1"}), exchange.genesis]
        )
        with orderer._own.begin() as connection:
            orderer.propose(height, forged, connection)
        exchange.log.close()
        with pytest.raises(LedgerError, match="seal"):
            exchange.reopen()
        assert check(exchange.hub_store, exchange.genesis) == []


def test_batches_are_trimmed_once_a_quorum_holds_them(hub: Hub) -> None:
    with hub.run() as exchange:
        exchange.decide(switch("etcd"))
        for number in range(70):
            move(exchange, number)
        orderer = exchange.log._order.engine(exchange.log._head)
        begun = next(iter(orderer.follow(0)))[0]
        move(exchange, 70)
        assert next(iter(orderer.follow(0)))[0] == begun
        exchange.settle()
        move(exchange, 71)
        assert next(iter(orderer.follow(0)))[0] == 64
        sound(exchange)
