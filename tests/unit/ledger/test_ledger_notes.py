"""Notes, checkpoints, cosignatures, proof and policy files, tiles."""

import base64

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

from ledger import checkpoints, merkle, notes, proofs, tiles, trust
from ledger.checkpoints import Checkpoint
from ledger.errors import MalformedKey, MalformedNote, UnverifiedNote
from ledger.keys import SigningKey
from ledger.notes import Note, NoteSignature, Vkey

LOG_KEY = SigningKey.from_seed(bytes([1] * 32))
MEMBER_KEY = SigningKey.from_seed(bytes([2] * 32))
LOG = Vkey("example.org/log", notes.ED25519, LOG_KEY.public)
MEMBER = Vkey("net/lender", notes.COSIGNATURE_V1, MEMBER_KEY.public)
CHECKPOINT = Checkpoint("example.org/log", 7, bytes(range(32)))


def signed(text: str = CHECKPOINT.encode()) -> Note:
    return Note(text, (notes.sign(text, LOG.name, LOG_KEY),))


def test_a_checkpoint_opens_with_the_log_key() -> None:
    checkpoint, note = checkpoints.open_checkpoint(signed().encode(), LOG)
    assert checkpoint == CHECKPOINT
    assert note == signed()


def test_a_checkpoint_needs_the_log_key_and_its_own_origin() -> None:
    other = SigningKey.from_seed(bytes([3] * 32))
    with pytest.raises(UnverifiedNote, match="got none"):
        checkpoints.open_checkpoint(signed().encode(), Vkey("example.org/log", notes.ED25519, other.public))
    foreign = Checkpoint("example.org/other", 7, bytes(32)).encode()
    with pytest.raises(UnverifiedNote, match="origin"):
        checkpoints.open_checkpoint(signed(foreign).encode(), LOG)


@pytest.mark.parametrize(
    "text",
    [
        "example.org/log\n07\n" + "A" * 43 + "=\n",
        "example.org/log\n-7\n" + "A" * 43 + "=\n",
        "example.org/log\n7\nAAAA\n",
        "example.org/log\n7\n!!!!\n",
        "example.org/log\n7\n" + "A" * 43 + "=\n\n",
        "example.org/log\n7\n" + "A" * 43 + "=\nextension",
        "example.org/log\n9223372036854775808\n" + "A" * 43 + "=\n",
        "\n7\n" + "A" * 43 + "=\n",
        "example.org/log\n7\n",
    ],
)
def test_other_checkpoint_texts_are_refused(text: str) -> None:
    with pytest.raises(MalformedNote):
        Checkpoint.parse(text)


def test_extension_lines_are_read_and_not_taken_from_our_own_log() -> None:
    text = CHECKPOINT.encode() + "one\nsecond line\n"
    assert Checkpoint.parse(text).extensions == ("one", "second line")
    assert Checkpoint.parse(text).encode() == text
    with pytest.raises(MalformedNote, match="extension lines, got 2"):
        checkpoints.open_checkpoint(signed(text).encode(), LOG)


def test_lines_by_unknown_keys_of_any_name_are_ignored() -> None:
    strange = [NoteSignature("日志/é", b"\xff" * 4, b"x"), NoteSignature("a\u200bb", bytes(4), bytes(5000))]
    note = Note.parse(signed().with_signature(strange[0]).with_signature(strange[1]).encode())
    assert note.signatures[1:] == tuple(strange)
    assert checkpoints.open_checkpoint(note.encode(), LOG)[0] == CHECKPOINT


@pytest.mark.parametrize("name", ["", "a b", "a\u00a0b", "a\u3000b", "a+b", "a\u2028b", "é" * 128, "\ud800"])
def test_key_names_have_no_spaces_and_no_plus(name: str) -> None:
    with pytest.raises(MalformedKey, match="key name"):
        notes.check_key_name(name)
    assert notes.check_key_name("é" * 127) == "é" * 127


def test_a_time_beyond_63_bits_is_no_cosignature() -> None:
    line = checkpoints.cosign(CHECKPOINT.encode(), MEMBER.name, MEMBER_KEY, 1 << 63)
    with pytest.raises(UnverifiedNote, match="a time of at most"):
        checkpoints.verify_cosignature(CHECKPOINT.encode(), line, MEMBER)


def test_a_cosignature_binds_time_and_text() -> None:
    text = CHECKPOINT.encode()
    line = checkpoints.cosign(text, MEMBER.name, MEMBER_KEY, 1_700_000_000)
    assert checkpoints.verify_cosignature(text, line, MEMBER) == 1_700_000_000
    Ed25519PublicKey.from_public_bytes(MEMBER.public).verify(
        line.payload[8:], b"cosignature/v1\ntime 1700000000\n" + text.encode()
    )
    moved = NoteSignature(line.name, line.key_id, (1).to_bytes(8, "big") + line.payload[8:])
    for bad_text, bad_line in [(text, moved), (text.replace("7", "8"), line)]:
        with pytest.raises(UnverifiedNote):
            checkpoints.verify_cosignature(bad_text, bad_line, MEMBER)
    with pytest.raises(UnverifiedNote, match="expected a cosignature by"):
        checkpoints.verify_cosignature(text, line, LOG)
    with pytest.raises(UnverifiedNote, match="a time and"):
        checkpoints.cosignature_time(NoteSignature("x", bytes(4), b"short"))


def test_cosigners_ignores_strangers_and_refuses_forgeries() -> None:
    note = signed()
    line = checkpoints.cosign(note.text, MEMBER.name, MEMBER_KEY, 5)
    stranger = checkpoints.cosign(note.text, "net/stranger", LOG_KEY, 5)
    assert checkpoints.cosigners(note.with_signature(line).with_signature(stranger), [MEMBER]) == {
        MEMBER: line
    }
    forged = NoteSignature(line.name, line.key_id, bytes(72))
    with pytest.raises(UnverifiedNote):
        checkpoints.cosigners(note.with_signature(line).with_signature(forged), [MEMBER])


def test_a_key_that_signed_twice_is_one_signer() -> None:
    note = signed().with_signature(*signed().signatures)
    assert notes.verify(note, [LOG, LOG]) == (LOG,)


def test_a_known_key_with_a_bad_signature_spoils_the_note() -> None:
    note = signed().with_signature(NoteSignature(LOG.name, LOG.id, bytes(64)))
    with pytest.raises(UnverifiedNote, match="does not verify"):
        notes.verify(note, [LOG])


@pytest.mark.parametrize(
    "text",
    [
        "name",
        "name+00000000+AAAA",
        "name+00000000+" + LOG.encode().split("+", 2)[2],
        "na me+" + LOG.encode().split("+", 1)[1],
        LOG.encode() + "=",
        LOG.encode().replace(LOG.encode().split("+", 2)[2], base64.b64encode(b"\x01short").decode()),
        "name+00000000+" + base64.b64encode(b"\x06" + bytes(32)).decode(),
    ],
)
def test_other_verifier_keys_are_refused(text: str) -> None:
    with pytest.raises(MalformedKey):
        Vkey.parse(text)


def test_verifier_keys_round_trip() -> None:
    assert Vkey.parse(MEMBER.encode()) == MEMBER
    assert Vkey.parse(LOG.encode()) == LOG


@pytest.mark.parametrize(
    "raw",
    [
        b"\xff\n\n",
        b"text\n\n",
        "text\n\n— name\n".encode(),
        b"text\n\n- name AAAAAAAA\n",
        "text\n\n— name AAAA\n".encode(),
        "text\n\n— name AAAAAAB=\n".encode(),
        "text\n\n— na+me AAAAAAAA\n".encode(),
        ("text\n\n" + "— name AAAAAAAA\n" * 129).encode(),
    ],
)
def test_other_notes_are_refused(raw: bytes) -> None:
    with pytest.raises(MalformedNote):
        Note.parse(raw)


def test_proof_files_round_trip() -> None:
    for path in ((), (bytes(32), bytes([9] * 32))):
        for extra in (None, b"\x00context"):
            proof = proofs.Proof(3, path, signed().encode(), extra)
            assert proofs.Proof.parse(proof.encode()) == proof


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"c2sp.org/tlog-proof@v1\nindex 3\n",
        b"c2sp.org/tlog-proof@v2\nindex 3\n\n",
        b"c2sp.org/tlog-proof@v1\nindex 03\n\n",
        b"c2sp.org/tlog-proof@v1\nindex 3\nAAAA\n\n",
        b"c2sp.org/tlog-proof@v1\nindex 3\n%%%%\n\n",
        b"c2sp.org/tlog-proof@v1\nindex 3\n" + (b"A" * 42 + b"B=\n") + b"\n",
        b"c2sp.org/tlog-proof@v1\nindex 3\n" + (b"A" * 43 + b"=\n") * 64 + b"\n",
        b"c2sp.org/tlog-proof@v1\nextra AAAA\n\n",
        b"c2sp.org/tlog-proof@v1\nextra \nindex 3\n\n",
        b"c2sp.org/tlog-proof@v1\nextra AAB=\nindex 3\n\n",
        b"c2sp.org/tlog-proof@v1\nindex 3\nextra AAAA\n\n",
        b"c2sp.org/tlog-proof@v1\nindex 9223372036854775808\n\n",
        b"\xff\n\n",
    ],
)
def test_other_proof_files_are_refused(data: bytes) -> None:
    with pytest.raises(MalformedNote):
        proofs.Proof.parse(data)


def test_policy_files_name_log_witnesses_and_quorum() -> None:
    other = Vkey("net/bureau", notes.COSIGNATURE_V1, LOG_KEY.public)
    assert trust.encode_policy(LOG, [MEMBER, other], 2).decode().splitlines() == [
        f"log {LOG.encode()}",
        f"witness net/bureau {other.encode()}",
        f"witness net/lender {MEMBER.encode()}",
        "group members 2 net/bureau net/lender",
        "quorum members",
    ]


def test_entry_bundles_round_trip_and_refuse_a_cut() -> None:
    entries = [b"", b"a", b"b" * 300]
    data = tiles.encode_entries(entries)
    assert tiles.decode_entries(data) == entries
    for size in (1, 3, len(data) - 1):
        with pytest.raises(MalformedNote):
            tiles.decode_entries(data[:size])


@pytest.mark.parametrize(
    ("number", "width", "path"),
    [(0, 256, "000"), (1234067, 256, "x001/x234/067"), (5, 17, "005.p/17"), (1000, 1, "x001/000.p/1")],
)
def test_tile_paths(number: int, width: int, path: str) -> None:
    assert tiles.tile_path(number, width) == path


def test_hash_sizes_agree() -> None:
    assert len(CHECKPOINT.root) == merkle.HASH_SIZE
