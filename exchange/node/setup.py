"""Make a node: keys, settings file, first people. Each function touches one data directory only.

What needs the database is imported where it is used: signing and joining need none, and start at once.
"""

from __future__ import annotations

import os
import secrets
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from exchange.config import amend, node_settings, private_directory, save
from exchange.errors import Conflict, InvalidRequest
from exchange.hub.setup import add_signature
from exchange.identity import MODERATE, Cost, NodeKeys
from exchange.keyring import KeyRingFile
from ledger.entries import Entry
from ledger.membership import KeyUse

if TYPE_CHECKING:
    from exchange.node.people.building import PeopleServices

__all__ = [
    "COSIGNED_FILE",
    "GENESIS_FILE",
    "KEYS_FILE",
    "PEOPLE_MARK_FILE",
    "Initialised",
    "add_person",
    "init",
    "invite_person",
    "join",
    "rotate_keys",
    "sign_genesis",
]

KEYS_FILE = "keys"
GENESIS_FILE = "genesis.json"
COSIGNED_FILE = "cosigned.json"
PEOPLE_MARK_FILE = "people-record.json"


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
    dataspace_bind: str | None = None,
    dataspace_url: str | None = None,
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
            "dataspace_bind": dataspace_bind,
            "dataspace_url": dataspace_url,
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


def rotate_keys(
    directory: Path, uses: Collection[KeyUse], passphrase: str, *, discard: bool = False
) -> tuple[dict[str, object], NodeKeys]:
    """Make new keys next to those in use, which go on counting until the ledger names the new ones.

    Args:
        directory: the node's own.
        uses: which keys to replace.
        passphrase: opens the key file.
        discard: forget the keys of an earlier rotation, one that was not and will not be accepted.

    Returns:
        The signed rotation, which any member proposes, and the keys as they will be.

    Raises:
        Conflict: a rotation is under way already; nothing is changed.
    """
    file = KeyRingFile(directory / KEYS_FILE, passphrase)
    ring = file.read()
    if len(ring.sets) > 1 and not discard:
        raise Conflict("a rotation of this node's keys is under way; discard it only if it was not accepted")
    host = node_settings(directory, os.environ).party_endpoint.rpartition(":")[0]
    keys = ring.current.rotated(uses, host)
    file.replace(ring.followed_by(keys))
    return keys.rotation(ring.current), keys


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
    path = directory / GENESIS_FILE
    path.write_bytes(genesis)
    path.chmod(0o600)
    amend(
        directory,
        {"hub_url": hub_url, "hub_certificate": hub_record["tls"], "genesis": GENESIS_FILE},
    )


def add_person(directory: Path, name: str, roles: Sequence[str]) -> str:
    """Make an account at this node; returns its token, which is shown this once and has no end."""
    return _add_people(directory, {name: list(roles)})[name]


def invite_person(directory: Path, name: str) -> str:
    """Invite a person to choose a new password, and open the account if it is locked; returns the invitation.

    For a node whose administrators cannot sign in any more.
    """
    from exchange.node.people import OPERATOR
    from exchange.node.people.roles import State

    with _people(directory) as services:
        if services.people.named(name).state == State.LOCKED:
            services.people.set_state(name, State.ACTIVE, OPERATOR)
        return services.sign_in.invite_again(name, OPERATOR)


def _add_people(directory: Path, wanted: Mapping[str, Sequence[str]]) -> dict[str, str]:
    from exchange.node.people import OPERATOR, NewAccount
    from exchange.node.people.roles import State

    made = {}
    with _people(directory) as services, services.people.store.changing() as change:
        for name, roles in wanted.items():
            account = services.people.added(change, NewAccount(name, tuple(roles)), OPERATOR, State.ACTIVE)
            _, made[name] = services.tokens.issued(change, account, "first", account.roles, None, OPERATOR)
    return made


@contextmanager
def _people(directory: Path) -> Iterator[PeopleServices]:
    from exchange.node.people.building import build
    from exchange.store import open_node_store
    from ledger.store import upgrade

    settings = node_settings(directory, os.environ)
    store = open_node_store(settings.database, people_mark=directory / PEOPLE_MARK_FILE)
    upgrade(store.engine)  # so that starting the node need not load the migration library
    yield build(settings, store.people, secrets.token_bytes(32))  # nothing is sealed or opened here
    store.close()


def _first_people(directory: Path) -> dict[str, str]:
    """Make one account per role; returns their tokens."""
    from exchange.node.people import Role

    return _add_people(directory, {each.value: [each.value] for each in Role})
