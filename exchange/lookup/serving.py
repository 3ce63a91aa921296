"""The owner's side of a call: public files of its releases, and answers to tickets that were admitted."""

from __future__ import annotations

import hashlib
import threading
from collections.abc import Generator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from exchange.errors import Conflict, TimedOut
from exchange.lookup.admission import Admission
from exchange.lookup.errors import LookupRefused
from exchange.lookup.tickets import request_digest
from exchange.node.ledger_client import LedgerClient

if TYPE_CHECKING:
    from mpc.pir.server import ListServer

__all__ = ["PUBLIC_FILES", "Desk", "Folders"]

PUBLIC_FILES: Final = ("manifest", "hint", "stash", "delta")
_CATCH_UP_S: Final = 3.0


class Folders:
    """Where this owner keeps its releases."""

    def __init__(self, root: Path) -> None:
        self.root = root

    def service(self, service: str) -> Path:
        """The folder of a service; its name tells nothing."""
        return self.root / hashlib.sha256(service.encode()).hexdigest()[:24]

    def release(self, service: str, release: int) -> Path:
        """The folder of a release."""
        return self.service(service) / str(release)


class Desk:
    """Answers calls. Thread-safe.

    Args:
        ledger: this node's view of the ledger.
        admission: decides on tickets.
        folders: the releases.
        me: this owner's DID.
        seed: 32 bytes, from which the services' keys are derived.
    """

    def __init__(
        self, ledger: LedgerClient, admission: Admission, folders: Folders, me: str, seed: bytes
    ) -> None:
        self._ledger, self._admission, self._folders, self._me = ledger, admission, folders, me
        self._seed = seed
        self._lock = threading.Lock()
        self._open: dict[tuple[str, int], ListServer] = {}

    def file(self, service: str, release: int, name: str) -> Path | None:
        """A public file of a release that is on the ledger.

        Who asks may have the release's entry on its copy a moment before it is on this node's.
        """
        path = self._folders.release(service, release) / name
        if name not in PUBLIC_FILES or not path.is_file():
            return None

        def row() -> Mapping[str, Any] | None:
            found = self._ledger.final("lookups", service)
            return None if found is None or found["release"] < release else found

        try:
            found = self._ledger.wait_until(row, _CATCH_UP_S, f"release {release} of {service}")
        except TimedOut:
            return None
        return path if found["owner"] == self._me and found["status"] == "open" else None

    def call(self, caller: str, ticket: bytes, blinded: bytes) -> Generator[bytes, bytes, None]:
        """Answer a call: yields the evaluated keys, then an answer for each message of queries sent in.

        Raises:
            LookupRefused: the ticket is not good.
            MpcError: a message has another form, or names another release.
        """
        from mpc.pir.messages import BlindedKeys, Queries
        from mpc.randomness import SystemRandomness

        admitted = self._admission.admit(caller, ticket, request_digest(blinded))
        server = self._server(admitted)
        keys = BlindedKeys.decode(blinded, server.manifest)
        left = len(keys)
        if left != admitted["count"]:
            raise LookupRefused(("ticket.wrong-count",), f"the ticket is for {admitted['count']} keys")
        message = yield server.evaluate(keys, SystemRandomness()).encode()
        while left:
            queries = Queries.decode(message, server.manifest)
            left -= len(queries.vectors)
            if left < 0:
                raise LookupRefused(("lookup.too-many",), "more was asked than keys were evaluated")
            message = yield server.answer(queries).encode()

    def _server(self, ticket: Mapping[str, Any]) -> ListServer:
        """The release that a ticket names, opened once."""
        from exchange.lookup.building import oprf_key
        from mpc.pir.manifest import Manifest
        from mpc.pir.server import ListServer

        service, release = str(ticket["service"]), int(ticket["release"])
        with self._lock:
            if (service, release) not in self._open:
                folder = self._folders.release(service, release)
                try:
                    epoch = Manifest.decode((folder / "manifest").read_bytes()).epoch
                except FileNotFoundError:
                    raise LookupRefused(("lookup.wrong-release",), "the release is not here") from None
                key = oprf_key(self._seed, service, epoch)
                self._open = {
                    place: server
                    for place, server in self._open.items()
                    if place[0] != service or place[1] >= release - 1
                }
                self._open[service, release] = ListServer(folder, key)
            server = self._open[service, release]
        row = self._ledger.final("lookups", service)
        if row is not None and row["release"] == release and row["manifest"] != server.manifest.digest.hex():
            raise Conflict("this node's files are not those of the release on the ledger")
        return server
