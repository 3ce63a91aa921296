"""Build a witness from its directory and run it until it is told to stop."""

from __future__ import annotations

import json
import os
import sys
import threading
from pathlib import Path
from types import TracebackType
from typing import Self

from exchange import logs as logging_setup
from exchange.config import WitnessSettings, witness_settings
from exchange.signals import call_at_end
from exchange.store import open_engine
from exchange.tls import server_context
from exchange.web.server import Server
from exchange.witness.app import UPLOAD_LIMIT, WitnessServices, create_app
from exchange.witness.files import KEYS_FILE
from exchange.witness.keys import WitnessKeys
from exchange.witness.logs import KnownLogs
from ledger.mirror_store import SqlMirrorStore
from ledger.raw_mirror import RawMirror
from ledger.store import upgrade
from ledger.times import Clock, system_clock
from ledger.witness import Witness

__all__ = ["WitnessDaemon", "run"]

_THREADS = 8


class WitnessDaemon:
    """A running witness; a context manager starts and stops it.

    Args:
        settings: from ``witness_settings``.
        keys: the witness's.
        clock: aware time in UTC.
    """

    def __init__(self, settings: WitnessSettings, keys: WitnessKeys, *, clock: Clock = system_clock) -> None:
        self._engine = open_engine(settings.database)
        upgrade(self._engine)
        logs, store = KnownLogs(settings.directory), SqlMirrorStore(self._engine)
        self.services = WitnessServices(
            name=settings.name,
            logs=logs,
            witness=Witness(store, logs, keys.witness_cosigners, clock),
            mirror=RawMirror(store, logs, keys.mirror_cosigners, clock) if settings.mirror else None,
        )
        self._server = Server(
            create_app(self.services),
            settings.bind,
            server_context(keys.tls_key, keys.tls_cert, None),
            threads=_THREADS,
            body_limit=UPLOAD_LIMIT,
        )

    @property
    def port(self) -> int:
        """Where it listens."""
        return self._server.port

    def start(self) -> None:
        """Listen.

        Raises:
            OSError: the address cannot be bound.
        """
        self._server.start()

    def stop(self) -> None:
        """Let requests finish, close the database."""
        self._server.stop()
        self._engine.dispose()

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()


def run(directory: Path, passphrase: str) -> None:
    """Run the witness of ``directory`` until SIGTERM or SIGINT; a line of JSON on stdout says it is up."""
    logging_setup.configure()
    settings = witness_settings(directory, os.environ)
    stop = threading.Event()
    call_at_end(stop.set)
    with WitnessDaemon(settings, WitnessKeys.load(directory / KEYS_FILE, passphrase)):
        sys.stdout.write(json.dumps({"ready": True, "url": f"https://{settings.bind}"}) + "\n")
        sys.stdout.flush()
        stop.wait()
