from __future__ import annotations

import copy
import json
from datetime import UTC, datetime
from pathlib import Path

import pytest

from exchange import tls
from exchange.errors import Conflict, KeyFileDamaged, KeyFileExposed, SealBroken, WrongPassphrase
from exchange.identity import ENROLMENT_DOMAIN, Cost, NodeKeys, seal_to
from exchange.keyring import KeyRing, KeyRingFile
from ledger import base64url, canonical
from ledger.errors import InvalidSignature
from ledger.keys import public_from_did_key, verify_signature
from ledger.notes import COSIGNATURE_V1, Vkey
from ledger.rules.rotation import rotation_message

NOW = datetime(2026, 11, 23, 10, tzinfo=UTC)
CHEAP = Cost(1, 8192)


@pytest.fixture(scope="module")
def keys() -> NodeKeys:
    return NodeKeys.generate("lender", "test-net", "127.0.0.1", clock=lambda: NOW)


@pytest.fixture
def path(tmp_path: Path, keys: NodeKeys) -> Path:
    path = tmp_path / "keys" / "node.keys"
    keys.save(path, "correct horse", cost=CHEAP)
    return path


def test_the_did_is_the_entry_key(keys: NodeKeys) -> None:
    assert keys.did.startswith("did:key:z6Mk")
    assert public_from_did_key(keys.did) == keys.tx.public
    assert keys.kid == f"{keys.did}#tx-1"
    assert keys.cosign.public != keys.tx.public


def test_the_certificate_names_member_and_did(keys: NodeKeys) -> None:
    assert tls.dns_name(keys.tls_cert) == "lender.parley.internal"
    assert keys.did.encode() in keys.tls_cert


def test_member_record_holds_public_halves_only(keys: NodeKeys) -> None:
    record = keys.member_record("participant", "The Lender Ltd", "127.0.0.1:7001")
    assert record == {
        "did": keys.did,
        "name": "lender",
        "title": "The Lender Ltd",
        "role": "participant",
        "tx": {"kid": keys.kid, "alg": "EdDSA", "public": base64url.encode(keys.tx.public)},
        "cosign": Vkey("test-net/lender", COSIGNATURE_V1, keys.cosign.public).encode(),
        "tls": base64url.encode(keys.tls_cert),
        "seal": base64url.encode(keys.seal_public),
        "endpoint": "127.0.0.1:7001",
    }


def test_enrolment_proves_both_ledger_keys(keys: NodeKeys) -> None:
    record = keys.member_record("participant", "The Lender Ltd", "127.0.0.1:7001")
    enrolment = keys.enrolment(record)
    assert (enrolment["v"], enrolment["member"]) == (1, record)
    proofs = enrolment["proofs"]
    assert isinstance(proofs, dict)
    message = ENROLMENT_DOMAIN + canonical.encode(record)
    verify_signature(keys.tx.public, message, base64url.decode(proofs["tx"]))
    verify_signature(keys.cosign.public, message, base64url.decode(proofs["cosign"]))
    altered = ENROLMENT_DOMAIN + canonical.encode(record | {"endpoint": "elsewhere:1"})
    with pytest.raises(InvalidSignature):
        verify_signature(keys.tx.public, altered, base64url.decode(proofs["tx"]))


def test_saved_keys_load_again(keys: NodeKeys, path: Path) -> None:
    assert NodeKeys.load(path, "correct horse") == keys


def test_the_key_file_is_private(path: Path) -> None:
    assert path.stat().st_mode & 0o777 == 0o600
    assert path.parent.stat().st_mode & 0o777 == 0o700
    assert [file.name for file in path.parent.iterdir()] == [path.name]


def test_no_secret_stands_in_the_key_file_or_in_a_repr(keys: NodeKeys, path: Path) -> None:
    text = path.read_text()
    for secret in (keys.tx.seed, keys.cosign.seed, keys.seal):
        for form in (base64url.encode(secret), secret.hex(), repr(secret)):
            assert form not in text
            assert form not in repr(keys)
    assert "PRIVATE" not in text
    assert "PRIVATE" not in repr(keys)


def test_keys_are_never_overwritten(keys: NodeKeys, path: Path) -> None:
    before = path.read_bytes()
    with pytest.raises(Conflict):
        keys.save(path, "another", cost=CHEAP)
    assert path.read_bytes() == before
    assert len(list(path.parent.iterdir())) == 1


def test_a_wrong_passphrase_is_named(path: Path) -> None:
    with pytest.raises(WrongPassphrase, match=r"node\.keys"):
        NodeKeys.load(path, "wrong horse")


def test_a_readable_key_file_is_refused(path: Path) -> None:
    path.chmod(0o640)
    with pytest.raises(KeyFileExposed, match=r"expected mode 0600 for node\.keys, got 0640"):
        NodeKeys.load(path, "correct horse")


def test_a_missing_key_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(KeyFileDamaged, match="there is none"):
        NodeKeys.load(tmp_path / "none.keys", "x")


@pytest.mark.parametrize("position", [0, 30, -1])
def test_an_altered_box_is_told_from_a_wrong_passphrase(path: Path, position: int) -> None:
    document = json.loads(path.read_text())
    box = bytearray(base64url.decode(document["box"]))
    box[position] ^= 1
    path.write_text(json.dumps(document | {"box": base64url.encode(bytes(box))}))
    with pytest.raises(KeyFileDamaged, match="altered"):
        NodeKeys.load(path, "correct horse")


@pytest.mark.parametrize(
    "change",
    [
        {"v": 2},
        {"kdf": "md5"},
        {"memory": 1 << 40},
        {"passes": 10**9},
        {"passes": "3"},
        {"salt": "AA"},
        {"salt": None},
        {"box": "!"},
        {"check": 5},
    ],
)
def test_a_damaged_header_is_refused_before_any_work(path: Path, change: dict[str, object]) -> None:
    path.write_text(json.dumps(json.loads(path.read_text()) | change))
    with pytest.raises(KeyFileDamaged):
        NodeKeys.load(path, "correct horse")


@pytest.mark.parametrize("raw", [b"", b"{", b"[]", b"\xff", b"{}"])
def test_what_is_no_key_file_is_refused(path: Path, raw: bytes) -> None:
    path.write_bytes(raw)
    with pytest.raises(KeyFileDamaged):
        NodeKeys.load(path, "correct horse")


def test_keys_are_not_copied_or_serialised(keys: NodeKeys) -> None:
    with pytest.raises(TypeError):
        copy.deepcopy(keys)


def test_sealed_text_opens_for_its_reader_and_use_only(keys: NodeKeys) -> None:
    other = NodeKeys.generate("other", "test-net", "127.0.0.1", clock=lambda: NOW)
    sealed = seal_to(keys.seal_public, b"result", b"job-1/stats")
    assert keys.open_sealed(sealed, b"job-1/stats") == b"result"
    assert b"result" not in sealed
    with pytest.raises(SealBroken, match="this use"):
        keys.open_sealed(sealed, b"job-2/stats")
    with pytest.raises(SealBroken, match="this node's key"):
        other.open_sealed(sealed, b"job-1/stats")


@pytest.mark.parametrize("position", [0, 40, -1])
def test_altered_sealed_text_does_not_open(keys: NodeKeys, position: int) -> None:
    sealed = bytearray(seal_to(keys.seal_public, b"result", b"c"))
    sealed[position] ^= 1
    with pytest.raises(SealBroken):
        keys.open_sealed(bytes(sealed), b"c")


@pytest.mark.parametrize("size", [0, 10, 47, 48])
def test_short_sealed_text_does_not_open(keys: NodeKeys, size: int) -> None:
    with pytest.raises(SealBroken):
        keys.open_sealed(bytes(size), b"c")


def test_rotated_keys_are_new_where_asked_and_stay_elsewhere(keys: NodeKeys) -> None:
    after = keys.rotated(("tx", "seal"), "127.0.0.1", clock=lambda: NOW)
    assert (after.did, after.kid) == (keys.did, f"{keys.did}#tx-2")
    assert after.tx != keys.tx
    assert (after.cosign, after.tls_cert) == (keys.cosign, keys.tls_cert)
    assert after.storage_key(b"x") == keys.storage_key(b"x")
    sealed = seal_to(keys.seal_public, b"result", b"job-1")
    assert after.open_sealed(sealed, b"job-1") == b"result"
    rotation = after.rotation(keys)
    assert set(rotation["new"]) == {"tx", "seal"}
    assert set(rotation["proofs"]) == {"tx"}
    every = keys.rotated(("tx", "cosign", "tls", "seal"), "127.0.0.1", clock=lambda: NOW)
    proofs = {use: base64url.decode(proof) for use, proof in every.rotation(keys)["proofs"].items()}
    message = rotation_message(every.rotation(keys))
    verify_signature(every.tx.public, message, proofs["tx"])
    verify_signature(every.cosign.public, message, proofs["cosign"])
    assert keys.did.encode() in every.tls_cert


def test_a_key_file_holds_both_sets_until_one_is_dropped(keys: NodeKeys, path: Path) -> None:
    file = KeyRingFile(path, "correct horse")
    after = keys.rotated(("tx", "cosign"), "127.0.0.1")
    assert file.read() == KeyRing((keys,))
    file.replace(file.read().followed_by(after))
    ring = KeyRingFile(path, "correct horse").read()
    assert ring == file.read() == KeyRing((keys, after))
    assert NodeKeys.load(path, "correct horse") == keys
    record = after.member_record("participant", "The Lender Ltd", "127.0.0.1:1")
    assert ring.named_by(record) == after
    assert ring.named_by(None) is None
    assert ring.named_by(record | {"seal": "AAAA"}) is None
    file.replace(ring.since(after))
    assert file.read() == KeyRing((after,))
    assert [found.name for found in path.parent.iterdir()] == [path.name]
    assert path.stat().st_mode & 0o777 == 0o600


def test_a_key_file_is_replaced_by_whoever_opens_it(keys: NodeKeys, path: Path) -> None:
    before = path.read_bytes()
    with pytest.raises(WrongPassphrase):
        KeyRingFile(path, "wrong horse").replace(KeyRing((keys,)))
    assert path.read_bytes() == before
    path.unlink()
    with pytest.raises(KeyFileDamaged, match="there is none"):
        KeyRingFile(path, "correct horse").read()
