"""Make a node: keys, settings file, first people. Each function touches one data directory only.

What needs the database is imported where it is used: signing and joining need none, and start at once.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from exchange.config import amend, node_settings, private_directory, save
from exchange.errors import Conflict, InvalidRequest
from exchange.hub.setup import add_signature
from exchange.identity import MODERATE, Cost, NodeKeys
from ledger.entries import Entry

if TYPE_CHECKING:
    from exchange.node.people import People

__all__ = ["KEYS_FILE", "Initialised", "add_person", "init", "join", "sign_genesis"]

KEYS_FILE = "keys"
_GENESIS_FILE = "genesis.json"


@dataclass(frozen=True)
class Initialised:
    """What a new node shows: its enrolment for the others, its certificate and its people's tokens."""

    enrolment: dict[str, Any]
    certificate: bytes
    tokens: dict[str, str]


def init(
    directory: Path,
    *,
    name: str,
    title: str,
    role: Literal["participant", "regulator"],
    net: str,
    api_bind: str,
    party_bind: str,
    party_endpoint: str,
    source_roots: Sequence[Path],
    passphrase: str,
    cost: Cost = MODERATE,
) -> Initialised:
    """Generate keys that never leave ``directory``, write the settings, make one account per role.

    Raises:
        Conflict: the directory holds a node already; nothing is changed.
        ConfigError: a setting cannot be used; nothing is written.
    """
    private_directory(directory)
    if (directory / KEYS_FILE).exists():
        raise Conflict(f"{directory} holds a node already")
    save(
        directory,
        "node",
        {
            "name": name,
            "title": title,
            "role": role,
            "net": net,
            "api_bind": api_bind,
            "party_bind": party_bind,
            "party_endpoint": party_endpoint,
            "source_roots": [str(root) for root in source_roots],
        },
    )
    keys = NodeKeys.generate(name, net, party_endpoint.rpartition(":")[0])
    keys.save(directory / KEYS_FILE, passphrase, cost=cost)
    tokens = _first_people(directory)
    enrolment = keys.enrolment(keys.member_record(role=role, title=title, endpoint=party_endpoint))
    return Initialised(enrolment, keys.tls_cert, tokens)


def sign_genesis(directory: Path, draft: bytes, passphrase: str) -> bytes:
    """Add this founder's signature to a drafted genesis.

    Raises:
        InvalidRequest: the draft does not list this node with exactly its keys.
    """
    return add_signature(draft, NodeKeys.load(directory / KEYS_FILE, passphrase))


def join(directory: Path, *, hub_url: str, hub_record: Mapping[str, Any], genesis: bytes) -> None:
    """Pin the hub's certificate and the genesis entry; from now on the node accepts no other.

    Raises:
        InvalidRequest: the genesis names another hub or another network.
    """
    settings = node_settings(directory, os.environ)
    entry = Entry.parse(genesis)
    for field in ("net", "did", "tls"):
        actual = entry.body["name"] if field == "net" else entry.body["hub"][field]
        expected = settings.net if field == "net" else hub_record[field]
        if actual != expected:
            raise InvalidRequest(f"genesis {field}", str(expected)[:80], str(actual)[:80])
    path = directory / _GENESIS_FILE
    path.write_bytes(genesis)
    path.chmod(0o600)
    amend(
        directory,
        {"hub_url": hub_url, "hub_certificate": hub_record["tls"], "genesis": _GENESIS_FILE},
    )


def add_person(directory: Path, name: str, roles: Sequence[str]) -> str:
    """Make an account at this node; returns its token, which is shown this once."""
    return _people(directory).add(name, roles)


def _people(directory: Path) -> People:
    from exchange.node.people import People
    from exchange.store import open_node_store
    from ledger.store import upgrade

    store = open_node_store(node_settings(directory, os.environ).database)
    upgrade(store.engine)  # so that starting the node need not load the migration library
    return People(store.people)


def _first_people(directory: Path) -> dict[str, str]:
    """Make one account per role; returns their tokens."""
    from exchange.node.people import Role

    people = _people(directory)
    return {each.value: people.add(each.value, [each.value]) for each in Role}
