"""The etcd order engine passes the conformance suite on a cluster of three real servers."""

import base64
import secrets
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, closing, contextmanager
from pathlib import Path

import httpx
import pytest
from sqlalchemy import Engine

from ledger.orderers.etcd import EtcdOrderer
from ledger.testing import OrdererContract, throw_away_engine
from ledger.testing.clusters import EtcdCluster, etcd_cluster

pytestmark = pytest.mark.clusters


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[EtcdCluster]:
    with etcd_cluster(tmp_path_factory.mktemp("etcd")) as running:
        yield running


def keys_of(cluster: EtcdCluster, space: str) -> list[str]:
    start, end = (base64.b64encode(f"parley/{space}{last}".encode()).decode() for last in "/0")
    body = {"key": start, "range_end": end, "keys_only": True}
    answer = httpx.post(f"{cluster.endpoints[0]}/v3/kv/range", json=body).json()
    return [base64.b64decode(kv["key"]).decode().removeprefix(f"parley/{space}/") for kv in answer["kvs"]]


def test_trimming_leaves_nothing_behind(cluster: EtcdCluster, tmp_path: Path) -> None:
    """Neither old batches nor their parts, nor parts of writers that lost; and the old revisions are gone."""
    large = bytes(3 * 1024 * 1024)
    with (
        closing(EtcdOrderer(cluster.endpoints, "trimmed")) as orderer,
        throw_away_engine("sqlite", tmp_path) as engine,
        engine.connect() as connection,
    ):
        orderer.propose(0, large, connection)
        for height in (1, 2):
            orderer.propose(height, b"small", connection)
        assert len(keys_of(cluster, "trimmed")) == 1 + 3 + 3
        body = {"key": base64.b64encode(b"parley/trimmed/head").decode()}
        before = httpx.post(f"{cluster.endpoints[0]}/v3/kv/range", json=body).json()["header"]["revision"]
        orderer.trim(2)
        assert keys_of(cluster, "trimmed") == ["b/0000000000000002", "head"]
        old = httpx.post(f"{cluster.endpoints[0]}/v3/kv/range", json={**body, "revision": before})
        assert "compacted" in old.json()["error"]
        orderer.trim(2)


class TestEtcdOrderer(OrdererContract):
    @pytest.fixture
    def engine(self, tmp_path: Path) -> Iterator[Engine]:
        with throw_away_engine("sqlite", tmp_path) as opened:
            yield opened

    @pytest.fixture
    def open_orderer(self, cluster: EtcdCluster) -> Iterator[Callable[[], EtcdOrderer]]:
        space, opened = secrets.token_hex(8), []

        def open_one() -> EtcdOrderer:
            opened.append(EtcdOrderer(cluster.endpoints, space, patience_s=3.0))
            return opened[-1]

        yield open_one
        for orderer in opened:
            orderer.close()

    @pytest.fixture
    def outage(self, cluster: EtcdCluster) -> Callable[[], AbstractContextManager[None]]:
        @contextmanager
        def without_a_majority() -> Iterator[None]:
            cluster.kill("n0", "n2")
            try:
                yield
            finally:
                cluster.restart()

        return without_a_majority
