"""A hub opens the order engines that its settings name, when it needs them."""

import sys
from dataclasses import replace
from pathlib import Path

import pytest

from exchange.config import HubSettings
from exchange.hub.engines import open_engines
from ledger.errors import EngineUnusable, StoreUnavailable
from ledger.store import LedgerStore, open_engine

NOWHERE = "http://127.0.0.1:9"


@pytest.fixture
def store(tmp_path: Path) -> LedgerStore:
    return LedgerStore(open_engine(f"sqlite:///{tmp_path}/hub.sqlite"))


@pytest.fixture
def settings(tmp_path: Path) -> HubSettings:
    return HubSettings(
        directory=tmp_path,
        net="example",
        origin="hub.example/log",
        member_bind="127.0.0.1:7001",
        operator_bind="127.0.0.1:7002",
        database="sqlite://",
        verify_processes=0,
        public_url=None,
    )


def test_a_hub_without_clusters_orders_in_its_database(store: LedgerStore, settings: HubSettings) -> None:
    engines = open_engines(store, settings, b"genesis")
    assert engines.at("sql").kind == "sql"
    for kind in ("etcd", "nats"):
        with pytest.raises(EngineUnusable, match=f"settings for the order engine {kind}, found those of sql"):
            engines.at(kind)


def test_clusters_are_connected_to_when_they_are_needed(store: LedgerStore, settings: HubSettings) -> None:
    named = replace(
        settings, etcd_endpoints=(NOWHERE,), nats_servers=("nats://127.0.0.1:9",), nats_monitors=(NOWHERE,)
    )
    engines = open_engines(store, named, b"genesis")
    with pytest.raises(StoreUnavailable, match="etcd at"):
        engines.at("etcd")
    with pytest.raises(EngineUnusable, match="/varz"):
        engines.at("nats")


def test_files_for_tls_that_cannot_be_read_are_told(
    store: LedgerStore, settings: HubSettings, tmp_path: Path
) -> None:
    named = replace(settings, etcd_endpoints=("https://127.0.0.1:9",), etcd_ca=tmp_path / "missing.pem")
    with pytest.raises(EngineUnusable, match=r"PEM files as etcd_ca.*No such file"):
        open_engines(store, named, b"genesis").at("etcd")
    wrong = tmp_path / "wrong.pem"
    wrong.write_text("not PEM")
    named = replace(named, etcd_ca=None, etcd_certificate=wrong, etcd_key=wrong)
    with pytest.raises(EngineUnusable, match="PEM files as etcd_ca, etcd_certificate and etcd_key"):
        open_engines(store, named, b"genesis").at("etcd")


def test_a_missing_package_is_told(
    store: LedgerStore, settings: HubSettings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "nats", None)
    for name in [name for name in sys.modules if name.startswith(("nats.", "ledger.orderers.nats"))]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.delitem(sys.modules, "ledger.orderers.jetstream", raising=False)
    named = replace(settings, nats_servers=("nats://127.0.0.1:9",), nats_monitors=(NOWHERE,))
    with pytest.raises(EngineUnusable, match=r"pip install '\.\[nats\]'"):
        open_engines(store, named, b"genesis").at("nats")
