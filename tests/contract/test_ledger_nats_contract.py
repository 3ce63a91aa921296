"""The NATS order engine passes the conformance suite on a cluster of three real servers."""

import asyncio
import secrets
from collections.abc import Awaitable, Callable, Iterator, Sequence
from contextlib import AbstractContextManager, closing, contextmanager
from pathlib import Path
from typing import Any

import nats
import pytest
from nats.js import JetStreamContext
from nats.js.api import StreamConfig
from sqlalchemy import Engine, create_engine

from ledger.errors import EngineUnusable, StoreCorrupt, StoreUnavailable
from ledger.orderers.nats import NatsOrderer
from ledger.testing import OrdererContract, throw_away_engine
from ledger.testing.clusters import ClusterTls, NatsCluster, nats_cluster

pytestmark = pytest.mark.clusters


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[NatsCluster]:
    with nats_cluster(tmp_path_factory.mktemp("nats")) as running:
        yield running


class TestNatsOrderer(OrdererContract):
    @pytest.fixture
    def engine(self, tmp_path: Path) -> Iterator[Engine]:
        with throw_away_engine("sqlite", tmp_path) as opened:
            yield opened

    @pytest.fixture
    def open_orderer(self, cluster: NatsCluster) -> Iterator[Callable[[], NatsOrderer]]:
        space, opened = secrets.token_hex(8), []

        def open_one() -> NatsOrderer:
            opened.append(NatsOrderer(cluster.servers, cluster.monitors, space, patience_s=3.0))
            return opened[-1]

        yield open_one
        for orderer in opened:
            orderer.close()

    @pytest.fixture
    def outage(self, cluster: NatsCluster) -> Callable[[], AbstractContextManager[None]]:
        @contextmanager
        def without_a_majority() -> Iterator[None]:
            cluster.kill("n0", "n2")
            try:
                yield
            finally:
                cluster.restart()

        return without_a_majority


def open_at(cluster: NatsCluster, space: str, monitors: Sequence[str] | None = None) -> None:
    NatsOrderer(cluster.servers, monitors or cluster.monitors, space, patience_s=3.0).close()


def make_stream(cluster: NatsCluster, name: str, **settings: Any) -> None:
    config = StreamConfig(name=f"parley-{name}", subjects=[f"parley.{name}.*"], **settings)
    on_stream(cluster, lambda stream: stream.add_stream(config))


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"num_replicas": 1, "storage": "file"}, "num_replicas: expected at least 3, got 1"),
        ({"num_replicas": 3, "storage": "memory"}, "storage: expected file, got memory"),
        ({"num_replicas": 3, "storage": "file", "max_msgs": 10}, "max_msgs: expected -1, got 10"),
        ({"num_replicas": 3, "storage": "file", "max_bytes": 10_000}, "max_bytes: expected -1, got 10000"),
        ({"num_replicas": 3, "storage": "file", "max_age": 60.0}, "max_age: expected 0"),
        ({"num_replicas": 3, "storage": "file", "retention": "workqueue"}, "retention: expected limits"),
    ],
)
def test_a_stream_that_may_lose_batches_is_refused(
    cluster: NatsCluster, settings: dict[str, Any], words: str
) -> None:
    space = secrets.token_hex(8)
    make_stream(cluster, space, **settings)
    with pytest.raises(EngineUnusable, match=words):
        open_at(cluster, space)


def test_a_server_without_a_monitoring_url_is_refused(cluster: NatsCluster) -> None:
    with pytest.raises(EngineUnusable, match="every server of the cluster, got none for n2"):
        open_at(cluster, "unmonitored", cluster.monitors[:2])


def test_a_server_that_is_away_is_refused(cluster: NatsCluster) -> None:
    cluster.kill("n1")
    try:
        with pytest.raises(EngineUnusable, match="settings at /varz, got ConnectError"):
            open_at(cluster, "away")
    finally:
        cluster.restart()


def test_one_server_that_syncs_now_and_then_is_refused(tmp_path: Path) -> None:
    with nats_cluster(tmp_path, sync=("always", "2m", "always")) as running:
        with pytest.raises(EngineUnusable, match="expected sync_interval: always") as refused:
            open_at(running, "lazy")
    assert running.monitors[1] in str(refused.value)


def test_clients_and_servers_show_certificates(tmp_path: Path) -> None:
    tls = ClusterTls.make(tmp_path)
    with nats_cluster(tmp_path, tls) as running:
        orderer = NatsOrderer(running.servers, running.monitors, "secure", tls=tls.context(), patience_s=30.0)
        with closing(orderer), closing(create_engine("sqlite://").connect()) as connection:
            orderer.propose(0, b"first", connection)
            assert list(orderer.follow(0)) == [(0, b"first")]
        with pytest.raises(EngineUnusable, match="/varz"):
            open_at(running, "secure")


def test_a_server_that_offers_no_tls_is_not_spoken_to(cluster: NatsCluster, tmp_path: Path) -> None:
    with pytest.raises(StoreUnavailable, match="expected a server to connect to"):
        NatsOrderer(
            cluster.servers,
            cluster.monitors,
            "plain",
            tls=ClusterTls.make(tmp_path).context(),
            patience_s=2.0,
        )


async def _with_stream(cluster: NatsCluster, act: Callable[[JetStreamContext], Awaitable[object]]) -> None:
    client = await nats.connect(cluster.servers)
    await act(client.jetstream())
    await client.close()


def on_stream(cluster: NatsCluster, act: Callable[[JetStreamContext], Awaitable[object]]) -> None:
    asyncio.run(_with_stream(cluster, act))


@pytest.mark.parametrize(
    "headers",
    [
        {},
        {"Parley-Head": "one", "Parley-Start": "0", "Parley-Part": "1/1"},
        {"Parley-Head": "1", "Parley-Start": "-1", "Parley-Part": "1/1"},
        {"Parley-Head": "1", "Parley-Start": "0", "Parley-Part": "all"},
        {"Parley-Head": "1", "Parley-Start": "0", "Parley-Part": "1/2"},
        {"Parley-Head": "1", "Parley-Start": "0", "Parley-Part": "2/2"},
    ],
)
def test_messages_that_are_not_ours_are_told(cluster: NatsCluster, headers: dict[str, str]) -> None:
    space = secrets.token_hex(8)
    with closing(NatsOrderer(cluster.servers, cluster.monitors, space, patience_s=3.0)) as orderer:
        on_stream(cluster, lambda stream: stream.publish(f"parley.{space}.0", b"rogue", headers=headers))
        with pytest.raises(StoreCorrupt):
            list(orderer.follow(0))


def test_a_part_that_somebody_deleted_is_told(cluster: NatsCluster) -> None:
    space = secrets.token_hex(8)
    with (
        closing(NatsOrderer(cluster.servers, cluster.monitors, space, patience_s=3.0)) as orderer,
        closing(create_engine("sqlite://").connect()) as connection,
    ):
        orderer.propose(0, bytes(3 * 1024 * 1024), connection)
        on_stream(cluster, lambda stream: stream.delete_msg(f"parley-{space}", 2))
        with pytest.raises(StoreCorrupt, match="batch 0: part 2 of 4 is missing"):
            list(orderer.follow(0))
        on_stream(cluster, lambda stream: stream.delete_stream(f"parley-{space}"))
        with pytest.raises(StoreUnavailable, match="stream not found"):
            orderer.head()
