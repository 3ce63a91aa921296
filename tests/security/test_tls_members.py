"""Who may connect is decided by the members' certificates of this moment, on real loopback TLS."""

from __future__ import annotations

import ssl
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime
from http.client import HTTPSConnection
from typing import Any

import pytest

from exchange import tls
from exchange.web.server import PEER, Server, serve

NOW = datetime.now(UTC)


@dataclass(frozen=True)
class Identity:
    key: bytes
    der: bytes

    @classmethod
    def make(cls, name: str) -> Identity:
        return cls(*tls.self_signed(f"{name}.parley.internal", now=NOW))


@dataclass
class Hub:
    identity: Identity
    members: list[bytes]
    server: Server
    seen: list[bytes] = field(default_factory=list)

    def connect(self, caller: Identity | None, pinned: bytes | None = None) -> HTTPSConnection:
        context = tls.client_context(
            caller.key if caller else None, caller.der if caller else None, pinned or self.identity.der
        )
        return HTTPSConnection("127.0.0.1", self.server.port, context=context, timeout=5)

    def get(self, caller: Identity | None, pinned: bytes | None = None) -> int:
        connection = self.connect(caller, pinned)
        try:
            return fetch(connection)
        finally:
            connection.close()


def fetch(connection: HTTPSConnection) -> int:
    connection.request("GET", "/")
    response = connection.getresponse()
    response.read()
    return response.status


@pytest.fixture(scope="module")
def lender() -> Identity:
    return Identity.make("lender")


@pytest.fixture(scope="module")
def stranger() -> Identity:
    return Identity.make("stranger")


@pytest.fixture
def hub(lender: Identity) -> Iterator[Hub]:
    identity = Identity.make("hub")
    members = [lender.der]
    seen: list[bytes] = []

    def app(environ: dict[str, Any], start_response: Callable[..., object]) -> list[bytes]:
        seen.append(environ[PEER])
        start_response("200 OK", [("Content-Length", "2")])
        return [b"ok"]

    context = tls.server_context(identity.key, identity.der, lambda: list(members))
    with serve(app, "127.0.0.1:0", context, threads=4) as server:  # type: ignore[arg-type]
        yield Hub(identity, members, server, seen)


def test_a_member_is_served_and_known_by_its_certificate(hub: Hub, lender: Identity) -> None:
    assert hub.get(lender) == 200
    assert hub.seen == [lender.der]


def test_an_unknown_client_certificate_is_refused(hub: Hub, stranger: Identity) -> None:
    with pytest.raises((ssl.SSLError, ConnectionError)):
        hub.get(stranger)
    assert hub.seen == []


def test_a_client_without_a_certificate_is_refused(hub: Hub) -> None:
    with pytest.raises((ssl.SSLError, ConnectionError)):
        hub.get(None)
    assert hub.seen == []


def test_a_client_refuses_another_server_than_the_pinned_one(
    hub: Hub, lender: Identity, stranger: Identity
) -> None:
    with pytest.raises(ssl.SSLCertVerificationError):
        hub.get(lender, pinned=stranger.der)
    assert hub.seen == []


def test_a_certificate_of_the_same_name_and_another_key_is_refused(hub: Hub) -> None:
    with pytest.raises((ssl.SSLError, ConnectionError)):
        hub.get(Identity.make("lender"))
    assert hub.seen == []


def test_an_added_member_is_accepted_without_a_restart(hub: Hub, stranger: Identity) -> None:
    hub.members.append(stranger.der)
    assert hub.get(stranger) == 200


def test_a_removed_member_is_refused(hub: Hub, lender: Identity) -> None:
    assert hub.get(lender) == 200
    hub.members.clear()
    with pytest.raises((ssl.SSLError, ConnectionError)):
        hub.get(lender)
    assert len(hub.seen) == 1


def test_a_removed_member_loses_the_connection_it_already_has(hub: Hub, lender: Identity) -> None:
    connection = hub.connect(lender)
    assert fetch(connection) == 200
    assert fetch(connection) == 200
    hub.members.clear()
    with pytest.raises((ssl.SSLError, ConnectionError)):
        fetch(connection)
    connection.close()
    assert len(hub.seen) == 2


def test_tls_1_2_is_refused(hub: Hub, lender: Identity) -> None:
    context = tls.client_context(lender.key, lender.der, hub.identity.der)
    context.minimum_version = context.maximum_version = ssl.TLSVersion.TLSv1_2
    connection = HTTPSConnection("127.0.0.1", hub.server.port, context=context, timeout=5)
    with pytest.raises((ssl.SSLError, ConnectionError)):
        fetch(connection)
    connection.close()
