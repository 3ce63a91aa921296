"""A hub whose ledger begins in an etcd cluster, over TLS, and comes back to it."""

from dataclasses import replace
from pathlib import Path

import pytest

from exchange.hub.testing import found
from ledger.errors import EngineUnusable
from ledger.fsck import check
from ledger.state import SEAL
from ledger.store import LedgerStore, open_engine
from ledger.testing.clusters import ClusterTls, etcd_cluster

pytestmark = pytest.mark.clusters


def test_a_hub_orders_in_etcd_from_its_genesis_on(tmp_path: Path) -> None:
    tls = ClusterTls.make(tmp_path)
    with etcd_cluster(tmp_path, tls) as cluster:
        founded = found(tmp_path / "hub", "lender", "bureau", engine="etcd")
        with pytest.raises(EngineUnusable, match="found those of sql"):
            founded.hub()
        settings = replace(
            founded.settings,
            etcd_endpoints=tuple(cluster.endpoints),
            etcd_ca=tls.ca,
            etcd_certificate=tls.certificate,
            etcd_key=tls.key,
        )
        founded = replace(founded, settings=settings)
        for number in range(2):
            with founded.hub() as hub:
                raw = founded.entry("lender", "member.update", {"endpoint": f"h{number}:1"})
                assert hub.services.log.submit(raw).code is None
    engine = open_engine(settings.database)
    store = LedgerStore(engine)
    seals = [record.entry for record in store.records(0, 100) if record.type == SEAL]
    assert [seal.body["engine"]["kind"] for seal in seals] == ["etcd"] * 3
    assert check(store, founded.genesis) == []
    engine.dispose()
