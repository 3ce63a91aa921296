"""What somebody may try with a credential: each way is refused, by its name."""

from __future__ import annotations

import json
from typing import Any

import pytest

from exchange.credentials import documents
from exchange.credentials.data_integrity import secure
from exchange.credentials.documents import Document
from exchange.credentials.errors import CredentialInvalid, DidUnresolved
from exchange.credentials.multibase import encode58
from exchange.credentials.testing import GENESIS, HOLDER, ISSUER, METHOD, NOW, credential, resolver
from exchange.credentials.verification import Checks, verify
from ledger.keys import SigningKey

CHECKS = Checks(resolver(), NOW, GENESIS)


def reason(document: Document) -> str:
    with pytest.raises(CredentialInvalid) as caught:
        verify(document, CHECKS)
    return caught.value.reason


def with_proof(**changes: Any) -> Document:
    made = credential()
    proof = {name: value for name, value in {**made["proof"], **changes}.items() if value is not ...}
    return {**made, "proof": proof}


def signed(**changes: Any) -> Document:
    """A credential that its issuer itself signed with other content."""
    made = {name: value for name, value in credential().items() if name != "proof"}
    made = {name: value for name, value in {**made, **changes}.items() if value is not ...}
    return secure(made, ISSUER.key, METHOD, NOW)


@pytest.mark.parametrize(
    "value", ["", "z", encode58(bytes(64)), encode58(b"\0" * 63), "u" + "A" * 86, None, 7, ["z1"]]
)
def test_an_empty_or_made_up_signature(value: object) -> None:
    assert reason(with_proof(proofValue=value)) in {"bad-signature", "malformed"}


def test_no_proof_several_proofs_and_another_kind_of_proof() -> None:
    assert reason({**credential(), "proof": [credential()["proof"]]}) == "no-proof"
    assert reason({**credential(), "proof": None}) == "no-proof"
    assert reason(with_proof(cryptosuite="eddsa-rdfc-2022")) == "unknown-cryptosuite"
    assert reason(with_proof(type="Ed25519Signature2020")) == "unknown-cryptosuite"
    assert reason(with_proof(cryptosuite=...)) == "unknown-cryptosuite"


def test_a_signature_by_another_key() -> None:
    assert reason(credential(key=SigningKey.generate())) == "bad-signature"


def test_a_key_that_the_ledger_does_not_know_of_the_issuer() -> None:
    method = f"{ISSUER.did}#{ISSUER.did.removeprefix('did:key:')}"
    with pytest.raises(DidUnresolved):
        verify(credential(method=method), CHECKS)


def test_a_claim_altered_after_signing() -> None:
    made = credential()
    made["credentialSubject"]["role"] = "regulator"
    assert reason(made) == "bad-signature"


def test_a_life_prolonged_after_signing() -> None:
    assert reason({**credential(), "validUntil": "2099-01-01T00:00:00Z"}) == "bad-signature"


def test_somebody_else_as_the_issuer() -> None:
    own = f"{HOLDER.did}#{HOLDER.did.removeprefix('did:key:')}"
    assert reason(credential(key=HOLDER.key, method=own)) == "wrong-issuer"
    assert reason({**credential(), "issuer": HOLDER.did}) == "bad-signature"


def test_the_proof_of_one_credential_on_another() -> None:
    assert reason({**credential(number=2), "proof": credential(number=1)["proof"]}) == "bad-signature"


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({"proofPurpose": "authentication"}, "wrong-purpose"),
        ({"created": "2026-11-26T12:10:00Z"}, "proof-from-the-future"),
        ({"expires": "2026-11-26T11:00:00Z"}, "proof-expired"),
        ({"created": "yesterday"}, "malformed"),
        ({"domain": "bank.example"}, "malformed"),
        ({"challenge": "x"}, "malformed"),
        ({"previousProof": "urn:x"}, "malformed"),
        ({"@context": ["https://www.w3.org/ns/credentials/v2"]}, "context-differs"),
        ({"@context": ...}, "bad-signature"),
    ],
    ids=lambda value: str(value)[:40],
)
def test_another_word_in_the_proof(changes: dict[str, Any], expected: str) -> None:
    assert reason(with_proof(**changes)) == expected


V2 = "https://www.w3.org/ns/credentials/v2"


@pytest.mark.parametrize(
    "context",
    [
        V2,
        [V2],
        [V2, "https://attacker.example/context.jsonld"],
        [V2, "https://w3id.org/parley/credentials/1/context.jsonld", "https://attacker.example/c"],
        ["https://w3id.org/parley/credentials/1/context.jsonld", V2],
        [V2, {"role": "https://attacker.example/#none"}],
        ["https://www.w3.org/2018/credentials/v1"],
        {"@import": "https://attacker.example/"},
        "file:///etc/passwd",
        None,
        [],
    ],
    ids=str,
)
def test_an_unknown_context_is_refused_though_the_issuer_signed_it(
    context: object, monkeypatch: pytest.MonkeyPatch
) -> None:
    def no_connection(*_: object, **__: object) -> None:
        raise AssertionError("a context was fetched")

    monkeypatch.setattr("socket.socket.connect", no_connection)
    assert reason(signed(**{"@context": context})) == "unknown-context"


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({"termsOfUse": [{"type": "NotForYou"}]}, "unknown-member"),
        ({"refreshService": {"id": "https://x.example", "type": "X"}}, "unknown-member"),
        ({"evidence": []}, "unknown-member"),
        ({"relatedResource": []}, "unknown-member"),
        ({"type": ["VerifiableCredential"]}, "unknown-type"),
        ({"type": ["VerifiableCredential", "MembershipCredential", "AuditorCredential"]}, "unknown-type"),
        ({"type": ["MembershipCredential", "VerifiableCredential"]}, "unknown-type"),
        ({"type": ["VerifiableCredential", "AdministratorCredential"]}, "unknown-schema"),
        ({"credentialSchema": {"id": "https://x.example/s.json", "type": "JsonSchema"}}, "unknown-schema"),
        ({"credentialSchema": ...}, "malformed"),
        ({"validUntil": ...}, "malformed"),
        ({"validUntil": "2020-01-01T00:00:00Z"}, "malformed"),
        ({"validFrom": "2026-11-25"}, "malformed"),
        ({"issuer": {"id": ISSUER.did}}, "malformed"),
        ({"id": ""}, "malformed"),
        ({"id": "x" * 2000}, "malformed"),
        ({"credentialSubject": [credential()["credentialSubject"]]}, "schema"),
        ({"credentialSubject": {**credential()["credentialSubject"], "licence": "all"}}, "schema"),
        ({"credentialSubject": {"id": HOLDER.did, "genesis": GENESIS, "name": "x"}}, "schema"),
        ({"credentialStatus": {"type": "StatusList2021Entry"}}, "unknown-status"),
        ({"credentialStatus": "https://x.example"}, "unknown-status"),
        (
            {
                "credentialStatus": {
                    "type": "BitstringStatusListEntry",
                    "statusPurpose": "message",
                    "statusListIndex": "1",
                    "statusListCredential": "https://x.example",
                }
            },
            "unknown-status",
        ),
        (
            {
                "credentialStatus": {
                    "type": "BitstringStatusListEntry",
                    "statusPurpose": "revocation",
                    "statusListIndex": "131072",
                    "statusListCredential": "https://x.example",
                }
            },
            "malformed",
        ),
    ],
    ids=lambda value: str(value)[:50],
)
def test_a_document_outside_the_model_is_refused_though_the_issuer_signed_it(
    changes: dict[str, Any], expected: str
) -> None:
    assert reason(signed(**changes)) == expected


def test_a_refusal_shows_no_claim() -> None:
    claims = {**credential()["credentialSubject"], "name": 17, "role": "S3CRET"}
    with pytest.raises(CredentialInvalid) as caught:
        verify(signed(credentialSubject=claims), CHECKS)
    assert "S3CRET" not in str(caught.value)
    assert "17" not in str(caught.value)


@pytest.mark.parametrize(
    "raw",
    [
        '{"issuer": "a", "issuer": "b"}',
        '{"a": {"b": 1, "b": 2}}',
        '{"a": NaN}',
        '{"a": Infinity}',
        '{"a": 9007199254740993}',
        '{"a": "\\ud800"}',
        "[]",
        '"text"',
        "",
        "{",
        "\ufeff{}",
        '{"a":' * 30 + "1" + "}" * 30,
        "[" * 100_000,
        json.dumps({"a": "x" * documents.MAX_SIZE}),
        b"\xff\xfe{}",
    ],
    ids=lambda value: str(value)[:20],
)
def test_a_hostile_document_is_not_read(raw: str | bytes) -> None:
    with pytest.raises(CredentialInvalid) as caught:
        documents.read(raw)
    assert caught.value.reason == "malformed"


def test_a_document_at_the_limit_of_depth_is_read() -> None:
    inner = documents.MAX_DEPTH - 1
    assert documents.read('{"a":' * inner + "1" + "}" * inner)
