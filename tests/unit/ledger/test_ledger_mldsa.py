"""ML-DSA-44 keys and cosignatures."""

import pickle  # noqa: TID251 - to see that it is refused

import pytest

from ledger.checkpoints import Checkpoint, Cosigner, cosigners, signers, verify_cosignature
from ledger.errors import InvalidSignature, MalformedKey, MalformedNote, UnverifiedNote
from ledger.keys import SigningKey
from ledger.mldsa import MLDSA44_PUBLIC_SIZE, MLDSA44_SIGNATURE_SIZE, MlDsaKey, verify_mldsa44
from ledger.notes import MLDSA44, Note, NoteSignature, Vkey, sign

KEY = MlDsaKey.from_seed(bytes(range(32)))
WITNESS = Cosigner("witness.example/w1", KEY)
TEXT = Checkpoint("example.org/log", 7, bytes(range(32))).encode()


def test_signatures_verify_and_forgeries_do_not() -> None:
    signature = KEY.sign(b"message")
    assert (len(KEY.public), len(signature)) == (MLDSA44_PUBLIC_SIZE, MLDSA44_SIGNATURE_SIZE)
    verify_mldsa44(KEY.public, b"message", signature)
    for public, message, tried in [
        (KEY.public, b"massage", signature),
        (MlDsaKey.generate().public, b"message", signature),
        (KEY.public, b"message", bytes(len(signature))),
        (KEY.public, b"message", signature[:-1]),
        (KEY.public[:-1], b"message", signature),
    ]:
        with pytest.raises(InvalidSignature):
            verify_mldsa44(public, message, tried)


def test_keys_come_from_their_seed_and_stay_in_memory() -> None:
    assert MlDsaKey.from_seed(KEY.seed) == KEY
    assert KEY.seed.hex() not in repr(KEY)
    with pytest.raises(MalformedKey, match="32 bytes"):
        MlDsaKey.from_seed(b"short")
    with pytest.raises(TypeError):
        pickle.dumps(KEY)


def test_a_cosignature_binds_name_time_origin_size_and_root() -> None:
    line = WITNESS.cosign(TEXT, 1_700_000_000)
    assert WITNESS.vkey.type == MLDSA44
    assert verify_cosignature(TEXT, line, WITNESS.vkey) == 1_700_000_000
    message = (
        b"subtree/v1\n\x00"
        + bytes([18]) + b"witness.example/w1"
        + (1_700_000_000).to_bytes(8, "big")
        + bytes([15]) + b"example.org/log"
        + bytes(8)
        + (7).to_bytes(8, "big")
        + bytes(range(32))
    )  # fmt: skip
    verify_mldsa44(KEY.public, message, line.payload[8:])
    later = NoteSignature(line.name, line.key_id, (1).to_bytes(8, "big") + line.payload[8:])
    renamed = Vkey("witness.example/w2", MLDSA44, KEY.public)
    for text, tried, vkey in [
        (TEXT.replace("7", "8"), line, WITNESS.vkey),
        (TEXT.replace("log", "lag"), line, WITNESS.vkey),
        (TEXT, later, WITNESS.vkey),
        (TEXT, NoteSignature(renamed.name, renamed.id, line.payload), renamed),
        (TEXT, NoteSignature(line.name, line.key_id, line.payload[:72]), WITNESS.vkey),
        ("no checkpoint\n", line, WITNESS.vkey),
    ]:
        with pytest.raises(UnverifiedNote):
            verify_cosignature(text, tried, vkey)


def test_extension_lines_are_not_part_of_it() -> None:
    """As the specification says; with Ed25519 they are."""
    line = WITNESS.cosign(TEXT, 5)
    assert verify_cosignature(TEXT + "extension\n", line, WITNESS.vkey) == 5


def test_an_origin_that_does_not_fit_is_refused() -> None:
    with pytest.raises(MalformedNote, match="255"):
        WITNESS.cosign(Checkpoint("x" * 256, 7, bytes(32)).encode(), 5)


def test_a_log_may_sign_with_either_key_type() -> None:
    plain = SigningKey.from_seed(bytes([1] * 32))
    strong = Cosigner("example.org/log", KEY)
    note = Note(TEXT, (sign(TEXT, "example.org/log", plain), strong.cosign(TEXT, 9)))
    log = Vkey("example.org/log", 1, plain.public)
    assert list(signers(note, [log, strong.vkey])) == [strong.vkey, log]
    assert list(cosigners(note, [strong.vkey])) == [strong.vkey]
    assert signers(note, [Vkey("example.org/log", 1, bytes(32))]) == {}


def test_verifier_keys_round_trip() -> None:
    assert Vkey.parse(WITNESS.vkey.encode()) == WITNESS.vkey
    with pytest.raises(MalformedKey, match="1312 bytes"):
        Vkey("name", MLDSA44, bytes(32))
