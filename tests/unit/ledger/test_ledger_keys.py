"""Keys, DIDs, base64url, commitments, times."""

import pickle  # noqa: TID251 - the test shows that keys refuse it
from datetime import UTC, datetime

import pytest
from cryptography.exceptions import InvalidSignature as ForeignInvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

from ledger import base64url, commitments, keys, times
from ledger.errors import CommitmentMismatch, InvalidSignature, MalformedKey

SEED = bytes(range(32))
KEY = keys.SigningKey.from_seed(SEED)


def test_signatures_agree_with_another_implementation() -> None:
    foreign = Ed25519PrivateKey.from_private_bytes(SEED)
    assert foreign.public_key().public_bytes_raw() == KEY.public
    assert foreign.sign(b"message") == KEY.sign(b"message")
    Ed25519PublicKey.from_public_bytes(KEY.public).verify(KEY.sign(b"x"), b"x")
    with pytest.raises(ForeignInvalidSignature):
        foreign.public_key().verify(KEY.sign(b"x"), b"y")


def test_every_changed_byte_of_a_signature_is_refused() -> None:
    signature = KEY.sign(b"message")
    keys.verify_signature(KEY.public, b"message", signature)
    for i in range(64):
        changed = bytes([*signature[:i], signature[i] ^ 1, *signature[i + 1 :]])
        with pytest.raises(InvalidSignature):
            keys.verify_signature(KEY.public, b"message", changed)


@pytest.mark.parametrize(
    ("public", "signature"), [(b"", bytes(64)), (bytes(32), b""), (bytes(32), bytes(64))]
)
def test_wrong_lengths_and_small_order_points_are_refused(public: bytes, signature: bytes) -> None:
    with pytest.raises(InvalidSignature):
        keys.verify_signature(public, b"", signature)


def test_secrets_stay_out_of_repr_and_pickle() -> None:
    assert SEED.hex() not in repr(KEY)
    assert "seed" not in repr(KEY)
    assert "secret" not in repr(KEY)
    with pytest.raises(TypeError):
        pickle.dumps(KEY)


def test_did_key_of_a_published_example() -> None:
    did = "did:key:z6MkiTBz1ymuepAQ4HEHYSF1H8quG5GLVVQR3djdX3mDooWp"  # W3C did:key test vector
    public = keys.public_from_did_key(did)
    assert public.hex() == "3b6a27bcceb6a42d62a3a8d02a6f0d73653215771de243a63ac048a18b59da29"
    assert keys.did_key(public) == did


@pytest.mark.parametrize(
    "did",
    [
        "did:web:example.org",
        "did:key:z",
        "did:key:z6Mk0",
        "did:key:z" + "2" * 200,
        "did:key:z6LSbysY2xFMR",
        "did:key:z1",
    ],
)
def test_other_dids_are_refused(did: str) -> None:
    with pytest.raises(MalformedKey):
        keys.public_from_did_key(did)


def test_a_padded_did_is_refused() -> None:
    with pytest.raises(MalformedKey):
        keys.public_from_did_key(keys.did_key(KEY.public).replace("did:key:z", "did:key:z1"))


def test_seeds_and_keys_have_their_length() -> None:
    with pytest.raises(MalformedKey):
        keys.SigningKey.from_seed(b"short")
    with pytest.raises(MalformedKey):
        keys.did_key(b"short")
    assert keys.SigningKey.generate().seed != keys.SigningKey.generate().seed


@pytest.mark.parametrize("text", ["YQ==", "Y+", "YR", "a", "!!!!", "YQ\n"])
def test_base64url_has_one_spelling(text: str) -> None:
    with pytest.raises(ValueError, match="base64url"):
        base64url.decode(text)
    assert base64url.decode("YQ") == b"a"


def test_commitments_open_only_with_payload_and_salt() -> None:
    salted, salt = commitments.commit(b"payload")
    commitments.check(salted, b"payload", salt)
    for payload, other in [(b"payloaD", salt), (b"payload", bytes(32)), (b"payload", b"")]:
        with pytest.raises(CommitmentMismatch):
            commitments.check(salted, payload, other)
    with pytest.raises(ValueError, match="salt of 32 bytes"):
        commitments.commit(b"payload", b"short")


@pytest.mark.parametrize(
    "text", ["2026-11-23T10:00:00+00:00", "2026-02-30T10:00:00Z", "2026-11-23 10:00:00Z", ""]
)
def test_times_have_one_spelling(text: str) -> None:
    with pytest.raises(ValueError):  # noqa: PT011 - strptime words its own message
        times.parse_time(text)


def test_times_round_trip() -> None:
    moment = datetime(2026, 11, 23, 10, 0, 0, tzinfo=UTC)
    assert times.parse_time(times.format_time(moment)) == moment
    assert times.system_clock().tzinfo is UTC
