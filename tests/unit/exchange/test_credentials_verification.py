"""A credential that is as it should be holds; the ledger and the status lists have the last word."""

from __future__ import annotations

import gzip
from datetime import timedelta
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from exchange.credentials import model, status, subjects
from exchange.credentials.data_integrity import secure
from exchange.credentials.documents import Document, canonical, read
from exchange.credentials.errors import CredentialInvalid
from exchange.credentials.multibase import encode64
from exchange.credentials.status import LIST_SIZE, StatusEntry, encode_bits, is_set
from exchange.credentials.testing import GENESIS, ISSUER, METHOD, NOW, credential, issuer_state, resolver
from exchange.credentials.verification import Checks, verify

ADDRESS = "https://issuer.example/v1/status-lists/revocation"


def reason(document: Document, checks: Checks) -> str:
    with pytest.raises(CredentialInvalid) as caught:
        verify(document, checks)
    return caught.value.reason


def checks(**changes: Any) -> Checks:
    return Checks(**{"resolver": resolver(), "now": NOW, "genesis": GENESIS, **changes})


def test_a_sound_credential_holds() -> None:
    found = verify(credential(), checks())
    assert found.credential.kind == "MembershipCredential"
    assert found.credential.issuer == ISSUER.did
    assert not found.on_ledger


def test_the_context_protects_its_words() -> None:
    context = read(subjects.context_document())["@context"]
    assert context["@protected"] is True
    assert context["@vocab"] == f"{subjects.PROFILE}#"


@pytest.mark.parametrize("kind", list(subjects.KINDS))
def test_every_type_has_a_schema_with_an_address_of_its_own(kind: str) -> None:
    document = subjects.schema_document(kind)
    assert document["$id"] == subjects.schema_id(kind)
    subject = document["properties"]["credentialSubject"]
    assert {"id", "genesis"} <= set(subject["required"])
    assert subject["additionalProperties"] is False


@pytest.mark.parametrize(
    ("offset", "expected"),
    [(-timedelta(days=2), "proof-from-the-future"), (timedelta(days=400), "expired")],
)
def test_a_credential_counts_in_its_time_alone(offset: timedelta, expected: str) -> None:
    assert reason(credential(), checks(now=NOW + offset)) == expected


def test_a_credential_for_later_does_not_count_yet() -> None:
    later = credential(valid_from=NOW + timedelta(days=1))
    assert reason(later, checks()) == "not-yet-valid"


def test_a_credential_of_another_network_does_not_count_here() -> None:
    assert reason(credential(), checks(genesis="ab" * 32)) == "wrong-network"


def on_ledger(document: Document, **changes: Any) -> Checks:
    row = {
        "digest": model.digest(document),
        "issuer": ISSUER.did,
        "issued": 7,
        "status": "valid",
        **changes,
    }
    return checks(resolver=resolver(issuer_state().put("credentials", document["id"], row, index=7)))


def test_the_ledger_has_the_last_word_on_what_is_on_it() -> None:
    document = credential()
    assert verify(document, on_ledger(document)).on_ledger
    assert reason(document, on_ledger(document, status="revoked")) == "revoked"
    assert reason(document, on_ledger(document, status="suspended")) == "suspended"
    assert reason(document, on_ledger(document, digest="00" * 32)) == "altered"


def test_a_credential_of_a_member_that_was_removed_does_not_count() -> None:
    document = credential()
    found = on_ledger(document)
    assert found.resolver.state is not None
    row = found.resolver.state.rows("members")[ISSUER.did]
    state = found.resolver.state.put("members", ISSUER.did, {**row, "status": "removed"}, index=9)
    assert reason(document, checks(resolver=resolver(state))) == "issuer-removed"


ENTRY = StatusEntry("revocation", 94_567, ADDRESS)


def signed_list(*places: int, **changes: Any) -> Document:
    made = {"address": ADDRESS, "purpose": "revocation", "issuer": ISSUER.did, "now": NOW, **changes}
    return status.sign_list(
        made["address"], made["purpose"], places, made["issuer"], ISSUER.key, METHOD, made["now"]
    )


def test_a_status_list_tells_who_is_revoked_and_nobody_else() -> None:
    document = credential(status=(ENTRY,))
    assert verify(document, checks(lists=lambda _: signed_list(1, ENTRY.index - 1)))
    assert reason(document, checks(lists=lambda _: signed_list(ENTRY.index))) == "revoked"
    suspension = StatusEntry("suspension", 3, ADDRESS)
    listed = signed_list(3, purpose="suspension")
    assert reason(credential(status=(suspension,)), checks(lists=lambda _: listed)) == "suspended"
    assert reason(document, checks()) == "status-unknown"


def resigned(document: Document, **subject: Any) -> Document:
    """A list with another subject, signed again by its issuer."""
    unsigned = {name: value for name, value in document.items() if name != "proof"}
    unsigned["credentialSubject"] = {**unsigned["credentialSubject"], **subject}
    return secure(unsigned, ISSUER.key, METHOD, NOW)


@pytest.mark.parametrize(
    ("document", "expected"),
    [
        (signed_list(address="https://issuer.example/other"), "status-list-wrong"),
        (signed_list(purpose="suspension"), "status-list-wrong"),
        (signed_list(now=NOW - timedelta(days=2)), "status-list-stale"),
        (signed_list(issuer="did:key:z6Mkother"), "status-list-wrong"),
        ({**signed_list(), "validUntil": "2099-01-01T00:00:00Z"}, "status-list-forged"),
        ({**signed_list(), "x": 1}, "status-list-malformed"),
        (resigned(signed_list(), encodedList=encode64(gzip.compress(bytes(100)))), "status-list-malformed"),
        (resigned(signed_list(), encodedList=encode64(gzip.compress(bytes(10**8)))), "status-list-malformed"),
        (resigned(signed_list(), encodedList=encode64(b"no gzip")), "status-list-malformed"),
        (resigned(signed_list(), encodedList=encode_bits([]) + "!"), "malformed"),
    ],
    ids=[
        "another list",
        "another purpose",
        "stale",
        "another issuer",
        "longer life",
        "unknown member",
        "too short",
        "bomb",
        "no gzip",
        "no base64url",
    ],
)
def test_a_status_list_that_is_not_the_issuers_own_fresh_one_is_refused(
    document: Document, expected: str
) -> None:
    assert reason(credential(status=(ENTRY,)), checks(lists=lambda _: document)) == expected


@settings(max_examples=30)
@given(st.sets(st.integers(0, LIST_SIZE - 1), max_size=20), st.integers(0, LIST_SIZE - 1))
def test_exactly_the_places_that_were_set_are_set(places: set[int], other: int) -> None:
    bits = status._bits(encode_bits(places))
    assert all(is_set(bits, place) for place in places)
    assert is_set(bits, other) == (other in places)


JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**53) + 1, 2**53 - 1)
    | st.floats(-1e15, 1e15, allow_nan=False)
    | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=12,
)


@given(st.dictionaries(st.text(max_size=5), JSON, max_size=4))
def test_what_is_read_is_what_was_written(value: dict[str, Any]) -> None:
    try:
        written = canonical(value)
    except CredentialInvalid:
        return  # a lone surrogate
    assert canonical(read(written)) == written
