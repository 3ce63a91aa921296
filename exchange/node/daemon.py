"""Build a node from its directory and run it until it is told to stop."""

from __future__ import annotations

import json
import os
import sys
import threading
from collections.abc import Callable, Mapping
from datetime import datetime
from pathlib import Path
from types import TracebackType

from exchange import logs
from exchange.config import NodeSettings, node_settings
from exchange.errors import Conflict, InvalidRequest
from exchange.identity import NodeKeys
from exchange.jobs.registry import built_in
from exchange.node.app import create_app
from exchange.node.assets import Assets
from exchange.node.duties import DutyKind
from exchange.node.duty_worker import DutyWorker
from exchange.node.hub_client import HubClient
from exchange.node.jobs import Jobs
from exchange.node.ledger_client import LedgerClient
from exchange.node.negotiations import Negotiations
from exchange.node.services import NodeServices
from exchange.node.sessions import Sessions
from exchange.node.setup import KEYS_FILE
from exchange.rpc.channel import Observer, PartyListener
from exchange.signals import call_at_end
from exchange.store import open_node_store
from exchange.tls import server_context
from exchange.web.server import Server
from ledger import base64url
from ledger.membership import genesis_hash
from ledger.mirror import Mirror
from ledger.store import LedgerStore, upgrade
from ledger.times import system_clock

__all__ = ["Node", "run"]


class Node:
    """A running node; a context manager starts and stops it.

    Args:
        settings: from ``node_settings``; the node must have joined a hub.
        keys: this participant's keys.
        clock: aware time in UTC.
        observer: sees every frame that other parties exchange with this node; for transcript tests.
        connect: makes the connection to the hub from its address, this node's keys and the hub's certificate.
    """

    def __init__(
        self,
        settings: NodeSettings,
        keys: NodeKeys,
        *,
        clock: Callable[[], datetime] = system_clock,
        observer: Observer | None = None,
        connect: Callable[[str, NodeKeys, bytes], HubClient] = HubClient,
    ) -> None:
        if settings.hub is None:
            raise Conflict(f"node {settings.name} has not joined a hub yet: parley node join")
        genesis = settings.hub.genesis.read_bytes()
        store = open_node_store(
            settings.database, clock=clock, location_key=keys.storage_key(b"source locations")
        )
        upgrade(store.engine)
        hub = connect(settings.hub.url, keys, settings.hub.certificate)
        mirror = Mirror(
            LedgerStore(store.engine),
            hub,
            genesis,
            cosigner=keys.cosign,
            clock=clock,
            evidence=settings.directory / "evidence",
        )
        ledger = LedgerClient(
            mirror=mirror,
            source=hub,
            keys=keys,
            net=settings.net,
            outbox=store.outbox,
            clock=clock,
            final_timeout_s=settings.final_timeout_s,
        )
        sessions = Sessions()
        self._listener = PartyListener(
            settings.party_bind,
            keys,
            members=lambda: _certificates(ledger),
            expects=sessions.expects,
            clock=clock,
            max_skew_s=settings.max_clock_skew_s,
            observer=observer,
        )
        self.services = NodeServices(
            settings=settings,
            net=settings.net,
            genesis=genesis_hash(genesis),
            keys=keys,
            store=store,
            hub=hub,
            ledger=ledger,
            assets=Assets(settings, store, ledger, keys.did),
            registry=built_in(),
            listener=self._listener,
            sessions=sessions,
            clock=clock,
            observer=observer,
        )
        jobs = Jobs(self.services)
        negotiations = Negotiations(ledger, keys.did, store.decisions, clock)
        self._duties = DutyWorker(
            ledger,
            keys.did,
            {
                DutyKind.ACKNOWLEDGE_MEMBERSHIP: lambda _: _write(ledger, "member.ack", {}),
                DutyKind.EXECUTE_PROPOSAL: lambda key: _write(ledger, "gov.execute", {"proposal": key}),
                DutyKind.VERIFY_AGREEMENT: negotiations.verify,
                DutyKind.FINALIZE_NEGOTIATION: negotiations.finalize,
                DutyKind.DECIDE_JOB: jobs.decide,
                DutyKind.RUN_JOB: jobs.run,
            },
        )
        ledger.on_change(self._duties.look)
        app = create_app(self.services, negotiations, jobs)
        self._server = Server(app, settings.api_bind, server_context(keys.tls_key, keys.tls_cert, None))

    def __enter__(self) -> Node:
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    @property
    def api_port(self) -> int:
        """Where the node's API listens."""
        return self._server.port

    def start(self) -> None:
        """Check the clock against the hub's, then listen and follow the ledger.

        Raises:
            InvalidRequest: this machine's clock and the hub's differ by more than the consortium allows.
        """
        _check_clock(self.services)
        self._listener.start()
        self._server.start()
        self.services.ledger.start()

    def stop(self) -> None:
        """Stop taking requests, then duties, then the ledger."""
        self.services.ledger.stop()
        self._server.stop()
        self._duties.stop()
        self._listener.stop()
        self.services.hub.close()
        self.services.store.close()


def run(directory: Path, passphrase: str) -> None:
    """Run the node of ``directory`` until SIGTERM or SIGINT; a line of JSON on stdout says it is up."""
    logs.configure()
    settings = node_settings(directory, os.environ)
    stop = threading.Event()
    call_at_end(stop.set)
    with Node(settings, NodeKeys.load(directory / KEYS_FILE, passphrase)):
        ready = {"ready": True, "api": f"https://{settings.api_bind}", "party": settings.party_endpoint}
        sys.stdout.write(json.dumps(ready) + "\n")
        sys.stdout.flush()
        stop.wait()


def _certificates(ledger: LedgerClient) -> Mapping[str, bytes]:
    """Certificates of members whose data plane may be talked to."""
    return {
        str(row["did"]): base64url.decode(row["tls"])
        for row in ledger.final_rows("members")
        if row["status"] == "active"
    }


def _check_clock(services: NodeServices) -> None:
    skew_s, allowed_s = services.hub.skew(services.clock()), services.settings.max_clock_skew_s
    if abs(skew_s) > allowed_s:
        raise InvalidRequest(
            "clock",
            f"at most {allowed_s} s away from the hub's",
            f"{skew_s:+.0f} s; set this machine's clock",
        )


def _write(ledger: LedgerClient, entry_type: str, body: Mapping[str, object]) -> None:
    ledger.write(entry_type, body)
