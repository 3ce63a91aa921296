"""Another member's connector for tests, which does what the test says and nothing by itself.

It is a member with its own node and keys: it signs the ledger entry of whatever it does, as every member
must, and sends the message afterwards, or a message without an entry, which no connector should take. Its
server records what comes in, and may be told to ask for a later try.
"""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from types import TracebackType
from typing import Any, Self, TypeVar
from urllib.parse import urlsplit

import httpx
from flask import Flask, Response, request

from exchange.config import amend
from exchange.dataspace.messages import process
from exchange.dataspace.vocabulary import VERSION
from exchange.node.daemon import Node
from exchange.testing import ConsortiumInProcess
from exchange.tls import client_context, self_signed, server_context
from exchange.web.server import Server
from ledger import base64url
from policies import terms

__all__ = ["Arrived", "Kit", "Stand", "on_the_wire", "publish", "terms_of"]

_WAIT_S = 60.0

T = TypeVar("T")


@dataclass(frozen=True)
class Arrived:
    """A message that came in: the path below the base address, and its content."""

    path: str
    content: Mapping[str, Any]


@dataclass
class Kit:
    """A connector in place of the one of ``node``, whose own is not started. A context manager.

    Args:
        node: a member's; it was given an address for its connector and performs no duties.
    """

    node: Node
    arrived: list[Arrived] = field(default_factory=list)
    busy: set[str] = field(default_factory=set)
    """Paths at which messages are turned away with 503."""

    def __post_init__(self) -> None:
        settings, keys = self.node.services.settings, self.node.services.keys
        self._changed = threading.Condition()
        self._clients: dict[str, httpx.Client] = {}
        self._lock = threading.Lock()
        app = Flask("exchange.dataspace.kit", static_folder=None)
        app.add_url_rule("/<path:path>", view_func=self._take, methods=["POST"])
        context = server_context(keys.tls_key, keys.tls_cert, self._certificates)
        self._server = Server(app, str(settings.dataspace_bind), context)

    @property
    def base(self) -> str:
        """The base address."""
        return f"{self.node.services.settings.dataspace_url}/{VERSION}"

    @property
    def did(self) -> str:
        """The member's DID."""
        return self.node.services.keys.did

    def __enter__(self) -> Self:
        self._server.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._server.stop()
        for client in self._clients.values():
            client.close()

    def write(self, entry_type: str, body: Mapping[str, object]) -> None:
        """Sign an entry as this member and wait until it is final."""
        self.node.services.ledger.write(entry_type, body)

    def announce(self) -> None:
        """Put the address into the member's record, as a node with duties does by itself."""
        services = self.node.services
        endpoint = services.settings.party_endpoint
        self.write("member.update", {"endpoint": endpoint, "dataspace": self.base})

    def until(self, found: Callable[[], T | None]) -> T:
        """Wait until the node's copy of the ledger shows something."""
        return self.node.services.ledger.wait_until(found, _WAIT_S, "the ledger")

    def post(self, did: str, path: str, content: Mapping[str, object] | bytes) -> httpx.Response:
        """Send a message to a member's connector."""
        body = content if isinstance(content, bytes) else json.dumps(content).encode()
        headers = {"Content-Type": "application/json"}
        return self._client(did).post(f"{self._address(did)}/{path}", content=body, headers=headers)

    def get(self, did: str, path: str) -> httpx.Response:
        """Ask a member's connector."""
        return self._client(did).get(f"{self._address(did)}/{path}")

    def state(self, did: str, path: str) -> str:
        """The state of a process at a member's connector; empty where it tells none."""
        answer = self.get(did, path)
        return str(answer.json()["state"]) if answer.is_success else ""

    def wait(self, path: str, pid: str, count: int = 1) -> Mapping[str, Any]:
        """Wait for message number ``count`` at ``path`` about a process and return it.

        Raises:
            TimeoutError: it has not come.
        """
        deadline = time.monotonic() + _WAIT_S
        with self._changed:
            while True:
                found = [
                    one.content
                    for one in self.arrived
                    if one.path == path and pid in (one.content["consumerPid"], one.content["providerPid"])
                ]
                if len(found) >= count:
                    return found[count - 1]
                if time.monotonic() > deadline:
                    raise TimeoutError(f"no message at {path}")
                self._changed.wait(1.0)

    def _take(self, path: str) -> Response:
        place = path.removeprefix(f"{VERSION}/")
        content = json.loads(request.get_data())
        if place in self.busy:
            return Response(status=503)
        pid = content.get("consumerPid") or content["providerPid"]
        with self._changed:
            self.arrived.append(Arrived(place, {"consumerPid": pid, "providerPid": pid, **content}))
            self._changed.notify_all()
        kind = "ContractNegotiation" if place.startswith("negotiations") else "TransferProcess"
        first = place.rpartition("/")[2] in ("request", "offers") and place.count("/") == 1
        answer = json.dumps(process(kind, pid, "REQUESTED"))
        return Response(answer, 201 if first else 200, content_type="application/json")

    def row(self, table: str, key: str) -> Mapping[str, Any]:
        """A row of the node's copy of the ledger, once it is there."""
        return self.until(lambda: self.node.services.ledger.final(table, key))

    def _row(self, did: str) -> Mapping[str, Any]:
        return self.row("members", did)

    def _address(self, did: str) -> str:
        return str(self._row(did)["dataspace"])

    def _certificates(self) -> set[bytes]:
        rows = self.node.services.ledger.state.rows("members").values()
        return {base64url.decode(row["tls"]) for row in rows}

    def _client(self, did: str) -> httpx.Client:
        keys = self.node.services.keys
        with self._lock:
            if did not in self._clients:
                certificate = base64url.decode(self._row(did)["tls"])
                self._clients[did] = httpx.Client(
                    verify=client_context(keys.tls_key, keys.tls_cert, certificate),
                    timeout=_WAIT_S,
                    trust_env=False,
                )
            return self._clients[did]

    def anonymous(self, did: str, address: str) -> httpx.Response:
        """Ask a member's connector without showing a certificate; ``address`` begins with a slash."""
        certificate = base64url.decode(self._row(did)["tls"])
        parts = urlsplit(self._address(did))
        with httpx.Client(verify=client_context(None, None, certificate), trust_env=False) as client:
            return client.get(f"{parts.scheme}://{parts.netloc}{address}")


class Stand(ConsortiumInProcess):
    """Members with connectors, and those of ``puppets``, whose own connectors do not run.

    The first puppet's node does nothing by itself at all.
    """

    puppets: tuple[str, ...] = ("kit", "bureau")
    guest: tuple[bytes, bytes] | None = None
    """Key and certificate of a connector outside, which may read the lender's catalog."""

    def form(self) -> None:
        """Make every directory, sign the genesis at each founder, join all nodes."""
        super().form()
        self.guest = self_signed("guest.example", now=datetime.now(UTC))
        amend(self.root / "lender", {"dataspace_guests": [base64url.encode(self.guest[1])]})

    def open_node(self, name: str) -> Node:
        """The node of ``root/<name>``, not started."""
        node = super().open_node(name)
        if name in self.puppets:
            node._connector = None
        if name == self.puppets[0]:
            node._duties._acts = {kind: lambda _: None for kind in node._duties._acts}
        return node

    def settle(self, kit: Kit, assets: int) -> None:
        """Wait until the kit's node knows so many assets, and a connector of every member.

        Raises:
            TimeoutError: it does not.
        """
        ledger, deadline = kit.node.services.ledger, time.monotonic() + _WAIT_S
        while len(ledger.state.rows("assets")) < assets or not all(
            row.get("dataspace") for row in ledger.state.rows("members").values()
        ):
            if time.monotonic() > deadline:
                raise TimeoutError("the members have not all announced their connectors")
            time.sleep(0.05)


def publish(stand: ConsortiumInProcess, owner: str, name: str, rows: Path) -> None:
    """Publish a file with the columns ``customer_id`` and ``balance``."""
    roles = [("customer_id", "identifier", "AFTER_JOIN"), ("balance", "measure", "AFTER_AGGREGATE")]
    stand.client(owner).publish(
        {
            "name": name,
            "title": name.title(),
            "source": {"kind": "file", "location": str(rows)},
            "columns": [
                {"name": column, "role": role, "sensitivity": "internal", "control": control}
                for column, role, control in roles
            ],
            "terms": terms_of(10).as_json(),
        }
    )


def terms_of(uses: int) -> terms.Terms:
    """Terms for such a file."""
    return terms.Terms(
        purposes=("dpv:CustomerSolvencyMonitoring",),
        operations=("psi/ecdh",),
        columns=("customer_id", "balance"),
        uses=uses,
        expires=datetime(2099, 1, 1, tzinfo=UTC),
        min_cohort=10,
        output_types=("aggregate",),
    )


def on_the_wire(policy: Mapping[str, Any]) -> dict[str, Any]:
    """What the protocol makes of a policy: no context of its own, whole numbers as typed values."""

    def written(value: Any) -> Any:  # noqa: ANN401 - JSON in, JSON out
        if isinstance(value, dict):
            return {name: written(item) for name, item in value.items()}
        if isinstance(value, list | tuple):
            return [written(item) for item in value]
        return {"@type": "xsd:integer", "@value": str(value)} if isinstance(value, int) else value

    return {name: written(item) for name, item in policy.items() if name != "@context"}
