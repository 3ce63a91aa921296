"""The order engines that a hub's settings name, for ``ledger.log``."""

from __future__ import annotations

import ssl
from collections.abc import Callable
from pathlib import Path

from exchange.config import HubSettings
from ledger.engines import Engines
from ledger.errors import EngineUnusable
from ledger.membership import genesis_hash
from ledger.orderers import Orderer
from ledger.orderers.etcd import EtcdOrderer
from ledger.store import LedgerStore

__all__ = ["open_engines"]


def open_engines(store: LedgerStore, settings: HubSettings, genesis: bytes) -> Engines:
    """Return the engines of a hub; a cluster is connected to when the ledger first needs it.

    A cluster may serve several ledgers: each has a part of its own, named by the hash of its genesis.
    """
    space = genesis_hash(genesis)
    others: dict[str, Callable[[], Orderer]] = {}
    if settings.etcd_endpoints:
        others["etcd"] = lambda: _etcd(settings, space)
    if settings.nats_servers:
        others["nats"] = lambda: _nats(settings, space)
    return Engines.of(store, **others)


def _etcd(settings: HubSettings, space: str) -> Orderer:
    tls = _tls("etcd", settings.etcd_ca, settings.etcd_certificate, settings.etcd_key)
    return EtcdOrderer(settings.etcd_endpoints, space, tls=tls)


def _nats(settings: HubSettings, space: str) -> Orderer:
    try:
        from ledger.orderers.nats import NatsOrderer
    except ModuleNotFoundError as exc:
        raise EngineUnusable(
            "the order engine nats needs a package that is not installed: pip install '.[nats]'"
        ) from exc
    tls = _tls("nats", settings.nats_ca, settings.nats_certificate, settings.nats_key)
    return NatsOrderer(settings.nats_servers, settings.nats_monitors, space, tls=tls)


def _tls(engine: str, ca: Path | None, certificate: Path | None, key: Path | None) -> ssl.SSLContext | None:
    if ca is None and certificate is None:
        return None
    try:
        context = ssl.create_default_context(cafile=ca)
        if certificate is not None:
            context.load_cert_chain(certificate, key, password="")
    except OSError as exc:
        reason = exc.reason if isinstance(exc, ssl.SSLError) else exc.strerror
        raise EngineUnusable(
            f"expected readable PEM files as {engine}_ca, {engine}_certificate and {engine}_key, got {reason}"
        ) from exc
    return context
