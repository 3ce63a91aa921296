"""Build a hub from its directory and run it until it is told to stop."""

from __future__ import annotations

import json
import os
import sys
import threading
from contextlib import ExitStack
from pathlib import Path
from types import TracebackType
from typing import Self

from exchange import heap, logs
from exchange.config import HubSettings, hub_settings
from exchange.errors import Conflict
from exchange.hub.app import create_member_app, create_operator_app
from exchange.hub.engines import open_engines
from exchange.hub.files import GENESIS_FILE, KEYS_FILE
from exchange.hub.members import Members
from exchange.hub.metrics import HubMetrics
from exchange.hub.relay import Relay
from exchange.hub.services import HubServices
from exchange.hub.witnesses import WitnessFeed
from exchange.identity import NodeKeys
from exchange.signals import call_at_end
from exchange.store import HubStore, open_engine, upgrade
from exchange.tls import server_context
from exchange.web.server import Server
from ledger.engines import Engines
from ledger.log import Log
from ledger.membership import genesis_hash
from ledger.store import LedgerStore
from ledger.store import upgrade as upgrade_ledger
from ledger.times import Clock, system_clock
from ledger.verification import Verifier

__all__ = ["Hub", "run"]

_OPERATOR_THREADS = 4


class Hub:
    """A running hub; a context manager starts and stops it.

    Opening it reads the log back and checks it: a hub whose database contradicts itself does not start.

    Args:
        settings: from ``hub_settings``; a genesis must be installed.
        keys: the hub's.
        clock: aware time in UTC.
    """

    def __init__(self, settings: HubSettings, keys: NodeKeys, *, clock: Clock = system_clock) -> None:
        genesis = _genesis(settings.directory)
        with ExitStack() as undo:
            self._engine = open_engine(settings.database)
            undo.callback(self._engine.dispose)
            upgrade(self._engine, "hub")
            upgrade_ledger(self._engine)
            store = LedgerStore(self._engine)
            self._engines = open_engines(store, settings, genesis)
            undo.callback(self._engines.close)
            verifier, metrics = Verifier(settings.verify_processes), HubMetrics()
            self._log = _open_log(store, self._engines, genesis, keys, clock, verifier)
            metrics.watch(self._log, store, verifier, clock)
            undo.pop_all()
        members = Members(lambda: self._log.next_state)
        self.services = HubServices(
            settings=settings,
            genesis=genesis_hash(genesis),
            log=self._log,
            store=store,
            members=members,
            relay=Relay(lambda: self._log.state, HubStore(self._engine, clock)),
            metrics=metrics,
            witnesses=WitnessFeed(
                self._log, self._engine, settings.origin, settings.witnesses, settings.mirrors
            ),
            clock=clock,
        )
        self._members = Server(
            create_member_app(self.services),
            settings.member_bind,
            server_context(keys.tls_key, keys.tls_cert, members.certificates),
        )
        self._operator = Server(
            create_operator_app(self.services),
            settings.operator_bind,
            server_context(keys.tls_key, keys.tls_cert, None),
            threads=_OPERATOR_THREADS,
        )

    @property
    def member_port(self) -> int:
        """Where members connect."""
        return self._members.port

    @property
    def operator_port(self) -> int:
        """Where the operator's page is."""
        return self._operator.port

    def start(self) -> None:
        """Listen.

        Raises:
            OSError: an address cannot be bound; nothing keeps running.
        """
        try:
            self._members.start()
            self._operator.start()
        except OSError:
            self.stop()
            raise
        self.services.witnesses.start()

    def stop(self) -> None:
        """Take no more entries, end the long polls, let requests finish, close the database."""
        self.services.witnesses.stop()
        self._log.close()
        self._members.stop()
        self._operator.stop()
        self._engines.close()
        self._engine.dispose()

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()


def run(directory: Path, passphrase: str) -> None:
    """Run the hub of ``directory`` until SIGTERM or SIGINT; a line of JSON on stdout says it is up."""
    logs.configure()
    settings = hub_settings(directory, os.environ)
    stop = threading.Event()
    call_at_end(stop.set)
    with Hub(settings, NodeKeys.load(directory / KEYS_FILE, passphrase)):
        ready = {
            "ready": True,
            "member": f"https://{settings.member_bind}",
            "operator": f"https://{settings.operator_bind}",
        }
        sys.stdout.write(json.dumps(ready) + "\n")
        sys.stdout.flush()
        heap.settle()
        stop.wait()


def _genesis(directory: Path) -> bytes:
    try:
        return (directory / GENESIS_FILE).read_bytes()
    except FileNotFoundError:
        raise Conflict(
            f"expected a genesis in {directory}, found none; see `parley hub draft-genesis`"
        ) from None


def _open_log(
    store: LedgerStore, engines: Engines, genesis: bytes, keys: NodeKeys, clock: Clock, verifier: Verifier
) -> Log:
    if store.head() is None:
        return Log.create(
            store, genesis, keys.cosign, keys.tx, clock=clock, engines=engines, verifier=verifier
        )
    log = Log.open(store, keys.cosign, keys.tx, clock=clock, engines=engines, verifier=verifier)
    if log.genesis != genesis:
        log.close()
        expected, actual = genesis_hash(genesis), genesis_hash(log.genesis)
        raise Conflict(f"expected the log of genesis {expected}, the database holds that of {actual}")
    return log
