"""The connector of a node: its HTTPS server, its processes, and what it sends to other connectors."""

from __future__ import annotations

from collections.abc import Collection
from typing import Final

from exchange.dataspace.app import create_app
from exchange.dataspace.client import Connectors
from exchange.dataspace.courses import Together
from exchange.dataspace.messages import MAX_BYTES
from exchange.dataspace.messenger import Messenger
from exchange.dataspace.negotiations import NegotiationCourses
from exchange.dataspace.processes import Processes
from exchange.dataspace.transfers import JobCourses
from exchange.dataspace.vocabulary import VERSION
from exchange.node.services import NodeServices
from exchange.tls import server_context
from exchange.web.server import Server
from ledger import base64url

__all__ = ["Connector", "announced", "needs_announcement"]

_THREADS: Final = 24
"""A message may wait here for its entry; see ``Processes``."""


class Connector:
    """One node's connector. ``start`` and ``stop`` it with the node.

    Args:
        services: of a node whose settings say where the connector is.
        bind: where it listens.
        base: its base address, as others reach it.
    """

    def __init__(self, services: NodeServices, bind: str, base: str) -> None:
        ledger, keys, store = services.ledger, services.keys, services.store.dataspace
        self._connectors = Connectors(ledger, keys)
        self.processes = Processes(
            ledger=ledger,
            did=keys.did,
            store=store,
            courses={
                "negotiation": NegotiationCourses(ledger, keys.did),
                "transfer": Together("transfer", (JobCourses(ledger, keys.did),)),
            },
            connectors=self._connectors,
            base=base,
        )
        self._messenger = Messenger(ledger, self.processes, store)
        ledger.on_change(self._messenger.wake)
        guests = services.settings.dataspace_guests

        def trusted() -> Collection[bytes]:
            rows = ledger.next_state.rows("members").values()
            return {*guests, *(base64url.decode(row["tls"]) for row in rows if row["status"] == "active")}

        self.app = create_app(services, self.processes, self._connectors, base, self._messenger.again)
        context = server_context(keys.tls_key, keys.tls_cert, trusted, admits_strangers=True)
        self._server = Server(self.app, bind, context, threads=_THREADS, body_limit=MAX_BYTES)

    @property
    def connectors(self) -> Connectors:
        """The other members' connectors."""
        return self._connectors

    def start(self) -> None:
        """Listen, and send what is owed.

        Raises:
            OSError: the address cannot be bound.
        """
        self._server.start()
        self._messenger.start()

    def stop(self) -> None:
        """Take and send nothing more."""
        self._messenger.stop()
        self._server.stop()
        self._connectors.close()


def announced(services: NodeServices) -> str | None:
    """Return the base address that this node's settings give to its connector."""
    url = services.settings.dataspace_url
    return None if url is None else f"{url}/{VERSION}"


def needs_announcement(services: NodeServices) -> bool:
    """Whether this participant's member record says something else about its connector than its settings."""
    row = services.ledger.next_state.get("members", services.keys.did)
    return row is not None and row["status"] == "active" and row.get("dataspace") != announced(services)
