"""A consortium in one process, for tests: real TLS and gRPC on loopback, real databases, directories apart.

The hub and the nodes are the very objects that the daemons run. Tests may give a node another clock, an
observer of its frames, or another connection to the hub, and so play a hub that lies.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from exchange.config import amend, hub_settings, node_settings
from exchange.hub import setup as hub_setup
from exchange.hub.daemon import Hub
from exchange.hub.files import KEYS_FILE as HUB_KEYS_FILE
from exchange.identity import Cost, NodeKeys
from exchange.keyring import KeyRingFile
from exchange.local.processes import free_ports
from exchange.node import setup as node_setup
from exchange.node.daemon import Node
from exchange.sdk import NodeClient, Profile

__all__ = ["CHEAP", "NAMES", "ConsortiumInProcess"]

NAMES = ("lender", "bureau", "analyst", "regulator")
CHEAP = Cost(1, 8192)
"""Argon2id at its smallest: test keys protect nothing."""

_NET = "test.parley"
_PASSPHRASE = "correct horse battery staple"  # noqa: S105 - of test keys
_HOST = "127.0.0.1"


@dataclass
class ConsortiumInProcess:
    """Four members by default, all of them founders. A context manager starts and stops it.

    Args:
        root: an empty folder; ``root/hub`` and ``root/<name>`` become data directories. names: the members;
        one called ``regulator`` gets that role. sources: folders from which nodes may read data. options:
        further arguments for ``Node`` by member name, such as ``clock``, ``observer`` or ``connect``.
        connectors: members whose nodes get a Dataspace Protocol connector.
    """

    root: Path
    names: Sequence[str] = NAMES
    sources: Sequence[Path] = ()
    options: Mapping[str, dict[str, Any]] = field(default_factory=dict)
    endpoints: Mapping[str, str] = field(default_factory=dict)
    environ: Mapping[str, str] = field(default_factory=dict)
    connectors: Sequence[str] = ()
    nodes: dict[str, Node] = field(default_factory=dict)
    profiles: dict[str, Profile] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self._stack = ExitStack()

    def __enter__(self) -> Self:
        self.form()
        self.hub = self._stack.enter_context(self.open_hub())
        for name in self.names:
            self.nodes[name] = self._stack.enter_context(self.open_node(name))
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stack.close()

    def form(self) -> None:
        """Make every directory, sign the genesis at each founder, join all nodes."""
        ports = iter(free_ports(2 + 2 * len(self.names)))
        member_bind, operator_bind = (f"{_HOST}:{next(ports)}" for _ in range(2))
        record = hub_setup.init(
            self.root / "hub",
            net=_NET,
            origin=f"{_NET}/log",
            member_bind=member_bind,
            operator_bind=operator_bind,
            host=_HOST,
            passphrase=_PASSPHRASE,
            cost=CHEAP,
        )
        enrolments = []
        for name in self.names:
            api_bind, party_bind = (f"{_HOST}:{next(ports)}" for _ in range(2))
            made = node_setup.init(
                self.root / name,
                name=name,
                title=name.title(),
                role="regulator" if name == "regulator" else "participant",
                net=_NET,
                api_bind=api_bind,
                party_bind=party_bind,
                party_endpoint=self.endpoints.get(name, party_bind),
                source_roots=self.sources,
                passphrase=_PASSPHRASE,
                cost=CHEAP,
            )
            enrolments.append(made.enrolment)
            self.profiles[name] = Profile(name, f"https://{api_bind}", made.certificate, made.tokens)
        draft = hub_setup.draft_genesis(self.root / "hub", enrolments, _PASSPHRASE)
        for name in self.names:
            draft = node_setup.sign_genesis(self.root / name, draft, _PASSPHRASE)
        genesis = hub_setup.install_genesis(self.root / "hub", draft)
        for name in self.names:
            node_setup.join(
                self.root / name, hub_url=f"https://{member_bind}", hub_record=record, genesis=genesis
            )
        for name, port in zip(self.connectors, free_ports(len(self.connectors)), strict=True):
            address = f"{_HOST}:{port}"
            values = {"dataspace_bind": address, "dataspace_url": f"https://{address}"}
            amend(self.root / name, values)

    def open_hub(self) -> Hub:
        """The hub of ``root/hub``, not started."""
        directory = self.root / "hub"
        keys = NodeKeys.load(directory / HUB_KEYS_FILE, _PASSPHRASE)
        return Hub(hub_settings(directory, {}), keys)

    def open_node(self, name: str) -> Node:
        """The node of ``root/<name>``, not started."""
        directory = self.root / name
        keys = KeyRingFile(directory / node_setup.KEYS_FILE, _PASSPHRASE)
        return Node(node_settings(directory, self.environ), keys, **self.options.get(name, {}))

    def client(self, name: str) -> NodeClient:
        """A client of one node, closed with the consortium."""
        return self._stack.enter_context(NodeClient(self.profiles[name]))

    def did(self, name: str) -> str:
        """A member's DID."""
        return self.nodes[name].services.keys.did
