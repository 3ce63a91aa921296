"""A log orders in real clusters whose nodes are killed: nothing acknowledged is lost, order stays."""

from __future__ import annotations

import os
import secrets
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from ledger.engines import Engines
from ledger.errors import LedgerError, StoreUnavailable
from ledger.fsck import check
from ledger.log import Log
from ledger.orderers import Orderer
from ledger.orderers.etcd import EtcdOrderer
from ledger.orderers.nats import NatsOrderer
from ledger.state import SEAL
from ledger.store import LedgerStore, open_engine
from ledger.testing import Consortium, ManualClock, consortium, make_genesis, make_hub, make_member
from ledger.testing.clusters import Cluster, EtcdCluster, NatsCluster, etcd_cluster, nats_cluster

pytestmark = pytest.mark.clusters

RECOVERY_S = 60.0


@dataclass
class Setting:
    """A running cluster, and how a test uses it."""

    kind: str
    cluster: Cluster
    open_orderer: Callable[[str], Orderer]
    open_elsewhere: str
    """Python source of ``open_orderer`` for another process."""

    def kill_leader(self, space: str) -> None:
        if isinstance(self.cluster, NatsCluster):
            self.cluster.kill(self.cluster.stream_leader(f"parley-{space}"))
        else:
            self.cluster.kill_leader()


@pytest.fixture(scope="module", params=["etcd", "nats"])
def setting(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Setting]:
    folder = tmp_path_factory.mktemp(request.param)
    if request.param == "etcd":
        with etcd_cluster(folder) as etcd:
            yield _etcd(etcd)
    else:
        with nats_cluster(folder) as nats:
            yield _nats(nats)


def _etcd(cluster: EtcdCluster) -> Setting:
    return Setting(
        "etcd",
        cluster,
        lambda space: EtcdOrderer(cluster.endpoints, space, patience_s=3.0),
        f"from ledger.orderers.etcd import EtcdOrderer as E; orderer = E({cluster.endpoints!r}, SPACE)",
    )


def _nats(cluster: NatsCluster) -> Setting:
    arguments = f"{cluster.servers!r}, {cluster.monitors!r}, SPACE"
    return Setting(
        "nats",
        cluster,
        lambda space: NatsOrderer(cluster.servers, cluster.monitors, space, patience_s=3.0),
        f"from ledger.orderers.nats import NatsOrderer as N; orderer = N({arguments})",
    )


@pytest.fixture
def exchange(setting: Setting, space: str, tmp_path: Path) -> Iterator[Consortium]:
    """A consortium that began in its own database and has moved to the cluster since."""

    def engines(store: LedgerStore) -> Engines:
        return Engines.of(store, **{setting.kind: lambda: setting.open_orderer(space)})

    with consortium(tmp_path, "lender", "bureau", engines=engines) as made:
        made.act("lender", "member.update", {"endpoint": "before:1"})
        made.decide({"action": "engine.switch", "engine": setting.kind})
        made.act("lender", "member.update", {"endpoint": "last:1"})
        yield made


@pytest.fixture
def space() -> str:
    return secrets.token_hex(8)


class Writers:
    """Threads that submit entries again and again until each is acknowledged."""

    def __init__(self, exchange: Consortium, threads: int = 3) -> None:
        self._exchange, self._stop = exchange, threading.Event()
        self.acknowledged: dict[str, int] = {}
        self.refused: list[LedgerError] = []
        self._threads = [threading.Thread(target=self._write, args=(number,)) for number in range(threads)]

    def __enter__(self) -> Writers:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        for thread in self._threads:
            thread.join()

    def wait_for(self, more: int) -> None:
        """Wait until so many more are acknowledged."""
        target, deadline = len(self.acknowledged) + more, time.monotonic() + RECOVERY_S
        while len(self.acknowledged) < target:
            assert time.monotonic() < deadline, self.refused[-1:]
            time.sleep(0.02)

    def _write(self, thread: int) -> None:
        number = 0
        while not self._stop.is_set():
            number += 1
            raw = self._exchange.entry("lender", "member.update", {"endpoint": f"h{thread}-{number}:1"})
            while not self._stop.is_set():
                try:
                    placed = self._exchange.log.submit(raw)
                except LedgerError as refused:
                    if not refused.retryable:
                        raise
                    self.refused.append(refused)
                else:
                    self.acknowledged[placed.txid] = placed.index
                    break


def sound(exchange: Consortium, writers: Writers | None = None) -> None:
    """What was acknowledged is where it was said to be, at the hub and at every member."""
    exchange.settle()
    for store in (exchange.hub_store, *(mirror.store for mirror in exchange.mirrors.values())):
        for txid, index in writers.acknowledged.items() if writers else ():
            record = store.find(txid)
            assert record is not None
            assert record.index == index
        assert check(store, exchange.genesis) == []
    for mirror in exchange.mirrors.values():
        assert mirror.final_size == exchange.log.size


def engines_of(exchange: Consortium) -> list[str]:
    records = exchange.hub_store.records(0, exchange.log.size)
    return [record.entry.body["engine"]["kind"] for record in records if record.type == SEAL]


def test_a_leader_killed_while_the_log_writes_costs_time_and_nothing_else(
    setting: Setting, space: str, exchange: Consortium
) -> None:
    with Writers(exchange) as writers:
        writers.wait_for(10)
        setting.kill_leader(space)
        writers.wait_for(20)
        setting.cluster.restart()
        setting.kill_leader(space)
        writers.wait_for(20)
    setting.cluster.restart()
    sound(exchange, writers)
    assert set(engines_of(exchange)[-5:]) == {setting.kind}
    exchange.reopen()
    sound(exchange)


def test_without_a_quorum_the_log_refuses_and_recovers(setting: Setting, exchange: Consortium) -> None:
    exchange.act("lender", "member.update", {"endpoint": "h1:1"})
    size = exchange.log.size
    raw = exchange.entry("lender", "member.update", {"endpoint": "h2:1"})
    setting.cluster.kill("n0", "n1")
    with pytest.raises(StoreUnavailable) as refused:
        exchange.log.submit(raw)
    assert refused.value.retryable
    assert exchange.log.size == size
    exchange.settle()
    setting.cluster.restart()
    deadline = time.monotonic() + RECOVERY_S
    while True:
        try:
            placed = exchange.log.submit(raw)
            break
        except LedgerError as error:
            if not error.retryable or time.monotonic() > deadline:
                raise
    assert placed.index == size
    sound(exchange)


def test_a_cluster_killed_as_a_whole_comes_back_with_everything(
    setting: Setting, exchange: Consortium
) -> None:
    with Writers(exchange) as writers:
        writers.wait_for(10)
        setting.cluster.kill(*setting.cluster.running)
        setting.cluster.restart()
        writers.wait_for(10)
    sound(exchange, writers)


HUB_PROCESS = """
import sys
from ledger.engines import Engines
from ledger.log import Log
from ledger.store import LedgerStore, open_engine, upgrade
from ledger.testing import ManualClock, draft_entry, make_genesis, make_hub, make_member

KIND, SPACE = sys.argv[2:4]
OPEN
hub, members = make_hub(), [make_member(name) for name in ("lender", "bureau")]
engine = open_engine(sys.argv[1])
upgrade(engine)
store = LedgerStore(engine)
log = Log.create(
    store, make_genesis(hub, members, engine=KIND), hub.cosign, hub.tx, clock=ManualClock(), linger_s=0.0,
    engines=Engines.of(store, **{KIND: lambda: orderer}),
)
member, number = members[0], 0
while True:
    number += 1
    draft = draft_entry(member, "member.update", {"endpoint": f"h{number}:1"})
    placed = log.submit(draft.sign(member.kid, member.tx).encode())
    print(placed.index, placed.txid, flush=True)
"""


def test_a_killed_hub_finds_in_the_cluster_what_it_had_ordered(
    setting: Setting, space: str, tmp_path: Path
) -> None:
    hub, members = make_hub(), [make_member(name) for name in ("lender", "bureau")]
    genesis = make_genesis(hub, members, engine=setting.kind)
    url = f"sqlite:///{tmp_path}/killed.sqlite"
    source = HUB_PROCESS.replace("OPEN", setting.open_elsewhere)
    command = [sys.executable, "-P", "-c", source, url, setting.kind, space]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        lines = [process.stdout.readline().split() for _ in range(7)]
        os.kill(process.pid, signal.SIGKILL)
    engine = open_engine(url)
    store = LedgerStore(engine)
    engines = Engines.of(store, **{setting.kind: lambda: setting.open_orderer(space)})
    with Log.open(store, hub.cosign, hub.tx, clock=ManualClock(), engines=engines) as log:
        for index, txid in lines:
            record = store.find(txid)
            assert record is not None
            assert record.index == int(index)
        assert engines.at(setting.kind).head() == log._head.height
    assert check(store, genesis) == []
    engines.close()
    engine.dispose()
