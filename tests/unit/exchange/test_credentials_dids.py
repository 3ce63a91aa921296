"""DIDs: names, documents, addresses; whose key counts, by the ledger's word first."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import httpx
import pytest

from exchange.credentials.dids import (
    key_document,
    member_document,
    parse_document,
    path_of_web,
    url_of_web,
    web_did,
    web_did_at,
)
from exchange.credentials.errors import CredentialInvalid, DidUnresolved
from exchange.credentials.multibase import decode58, encode58, encode64, public_of
from exchange.credentials.resolution import Resolver, WebHosts
from ledger import base64url
from ledger.algorithms import SM2_SM3
from ledger.keys import SigningKey, did_key
from ledger.membership import key_row
from ledger.tables import State

PURPOSE = "assertionMethod"


def member(first: SigningKey, now: SigningKey, number: int) -> dict[str, Any]:
    did = did_key(first.public)
    key = {"kid": f"{did}#tx-{number}", "alg": "EdDSA", "public": base64url.encode(now.public)}
    return {"did": did, "tx": key, "seal": base64url.encode(bytes(range(32))), "status": "active"}


def rotated(first: SigningKey, second: SigningKey) -> State:
    """A member that replaced its first key at index 10."""
    did, row = did_key(first.public), member(first, second, 2)
    old = {"kid": f"{did}#tx-1", "alg": "EdDSA", "public": base64url.encode(first.public)}
    state = State().put("members", did, row, index=10)
    state = state.put("keys", key_row(did, "tx", 1), {"key": old, "from": 0, "until": 10}, index=10)
    return state.put("keys", key_row(did, "tx", 2), {"key": row["tx"], "from": 10, "until": None}, index=10)


def unresolved(act: Callable[[], object]) -> None:
    with pytest.raises(DidUnresolved):
        act()


FIRST, SECOND = SigningKey.from_seed(bytes(32)), SigningKey.from_seed(bytes(range(32)))
DID = did_key(FIRST.public)


def test_a_did_key_resolves_offline_to_its_one_key() -> None:
    document = key_document(DID)
    name = f"{DID}#{DID.removeprefix('did:key:')}"
    assert parse_document(document, DID).key(name, PURPOSE) == FIRST.public
    assert Resolver()(name, PURPOSE) == FIRST.public


@pytest.mark.parametrize(
    "did", ["did:key:z6Mk", "did:key:zDnaerx9CtbPJ1q36T5Ln5wYt3MQYeGRG5ehnPAmxcf5mDZpv", "did:example:1", "x"]
)
def test_other_dids_lead_nowhere(did: str) -> None:
    unresolved(lambda: Resolver().document(did))
    unresolved(lambda: Resolver()(f"{did}#key", PURPOSE))


@pytest.mark.parametrize("method", ["", DID, f"{DID}#", "#key", "did:key:z6Mk/path#x", f"{DID}#wrong"])
def test_a_verification_method_names_a_did_and_a_key_of_it(method: str) -> None:
    unresolved(lambda: Resolver()(method, PURPOSE))


def test_a_member_that_changed_its_key_is_not_believed_under_the_old_one() -> None:
    state = rotated(FIRST, SECOND)
    now = Resolver(state)
    assert now(f"{DID}#tx-2", PURPOSE) == SECOND.public
    unresolved(lambda: now(f"{DID}#tx-1", PURPOSE))
    unresolved(lambda: now(f"{DID}#{DID.removeprefix('did:key:')}", PURPOSE))
    assert Resolver(state, at=9)(f"{DID}#tx-1", PURPOSE) == FIRST.public
    unresolved(lambda: Resolver(state, at=10)(f"{DID}#tx-1", PURPOSE))
    unresolved(lambda: Resolver(state, at=9)(f"{DID}#tx-2", PURPOSE))


def test_a_removed_member_vouches_for_nothing() -> None:
    state = rotated(FIRST, SECOND)
    state = state.put("members", DID, {**state.rows("members")[DID], "status": "removed"}, index=11)
    unresolved(lambda: Resolver(state)(f"{DID}#tx-2", PURPOSE))


def test_a_member_document_shows_its_keys_as_multikeys() -> None:
    row = member(FIRST, SECOND, 2)
    document = member_document(row, "did:web:lender.example")
    assert document["alsoKnownAs"] == [DID]
    names = [method["id"] for method in document["verificationMethod"]]
    assert names == ["did:web:lender.example#tx-2", "did:web:lender.example#seal"]
    assert public_of(document["verificationMethod"][0]["publicKeyMultibase"]) == SECOND.public
    assert decode58(document["verificationMethod"][1]["publicKeyMultibase"])[:2] == b"\xec\x01"
    assert document["keyAgreement"] == ["did:web:lender.example#seal"]


def test_a_member_that_signs_with_another_algorithm_has_no_assertion_key() -> None:
    row = member(FIRST, SECOND, 2)
    document = member_document({**row, "tx": {**row["tx"], "alg": SM2_SM3}})
    assert document["assertionMethod"] == []


@pytest.mark.parametrize(
    ("did", "url"),
    [
        ("did:web:example.com", "https://example.com/.well-known/did.json"),
        ("did:web:example.com:user:alice", "https://example.com/user/alice/did.json"),
        ("did:web:example.com%3A3000", "https://example.com:3000/.well-known/did.json"),
        ("did:web:example.com%3A3000:user:alice", "https://example.com:3000/user/alice/did.json"),
    ],
)
def test_the_addresses_are_those_of_the_did_web_method(did: str, url: str) -> None:
    assert url_of_web(did) == url
    assert url.endswith(path_of_web(did))


@pytest.mark.parametrize(
    "did",
    [
        "did:web:",
        "did:web:127.0.0.1",
        "did:web:2130706433",
        "did:web:localhost%2Fx",
        "did:web:a..b",
        "did:web:example.com:..:secret",
        "did:web:example.com:%2e%2e",
        "did:web:example.com:",
        "did:web:user@example.com",
        "did:web:example.com%3A80%3A90",
        "did:web:-a.example",
    ],
)
def test_a_did_web_that_would_lead_elsewhere_is_refused(did: str) -> None:
    unresolved(lambda: url_of_web(did))


def test_a_host_with_a_port_is_named_with_its_colon_escaped() -> None:
    assert web_did("hub.example:8443", "members", "lender") == "did:web:hub.example%3A8443:members:lender"


WEB = "did:web:lender.example"


def served(document: object, status: int = 200, host: str = "lender.example") -> WebHosts:
    def answer(request: httpx.Request) -> httpx.Response:
        return httpx.Response(
            status, content=json.dumps(document).encode(), headers={"Location": "https://x/"}
        )

    return WebHosts(WebHosts.with_public_roots([host]).trusted, httpx.MockTransport(answer))


def test_a_did_web_is_believed_where_it_shows_the_ledgers_keys() -> None:
    state = rotated(FIRST, SECOND)
    document = member_document(state.rows("members")[DID], WEB)
    assert Resolver(state, fetch=served(document))(f"{WEB}#tx-2", PURPOSE) == SECOND.public


def test_a_did_web_that_shows_other_keys_than_the_ledger_is_refused() -> None:
    state = rotated(FIRST, SECOND)
    forged = member_document(member(FIRST, SigningKey.generate(), 2), WEB)
    unresolved(lambda: Resolver(state, fetch=served(forged))(f"{WEB}#tx-2", PURPOSE))


@pytest.mark.parametrize(
    "hosts",
    [
        served({}, host="other.example"),
        served(member_document(member(FIRST, SECOND, 2), "did:web:other.example")),
        served(member_document(member(FIRST, SECOND, 2), WEB), status=302),
        served({"id": WEB, "x": "y" * 70_000}),
        served([1, 2]),
        served({"id": WEB, "verificationMethod": "none"}),
    ],
    ids=["untrusted host", "another DID", "redirect", "too large", "no object", "no list"],
)
def test_a_document_from_the_web_that_is_not_right_is_refused(hosts: WebHosts) -> None:
    unresolved(lambda: Resolver(fetch=hosts)(f"{WEB}#tx-2", PURPOSE))


def test_without_trusted_hosts_nothing_is_fetched() -> None:
    unresolved(lambda: Resolver().document(WEB))


def test_a_method_under_a_foreign_controller_does_not_count() -> None:
    document = member_document(member(FIRST, SECOND, 2), WEB)
    document["verificationMethod"][0]["controller"] = "did:web:other.example"
    unresolved(lambda: Resolver(fetch=served(document))(f"{WEB}#tx-2", PURPOSE))


def test_base58_keeps_leading_zeros_and_refuses_foreign_texts() -> None:
    for data in (b"", b"\0", b"\0\0\1", bytes(64), FIRST.public):
        assert decode58(encode58(data)) == data
    for text in ("", "m123", "z0OIl", "z" + "2" * 600, None):
        with pytest.raises(CredentialInvalid):
            decode58(text)
    assert encode64(b"\xff").startswith("u")


@pytest.mark.parametrize(
    ("url", "expected"),
    [
        ("https://bank.example:443", "did:web:bank.example"),
        ("https://bank.example:7001", "did:web:bank.example%3A7001"),
        ("https://127.0.0.1:7001", None),
        ("https://[::1]:7001", None),
        (None, None),
    ],
)
def test_a_did_web_needs_an_address_with_a_host_name(url: str | None, expected: str | None) -> None:
    assert web_did_at(url) == expected
