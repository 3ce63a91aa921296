"""Interoperation with `tlog-scales`, another implementation of C2SP's formats: theirs by us, ours by them.

Checkpoints, Ed25519 and ML-DSA-44 signatures and cosignatures, tiles, entry bundles, inclusion and
consistency proofs. Every case has tampered twins that both sides refuse.
"""

from __future__ import annotations

import base64
import io
import logging
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from cryptography.exceptions import InvalidSignature as TheirInvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from ledger.checkpoints import Cosigner, open_checkpoint, signers
from ledger.errors import InvalidConsistencyProof, InvalidInclusionProof, LedgerError, UnverifiedNote
from ledger.keys import SigningKey
from ledger.membership import Network, active_members
from ledger.merkle import Tree, leaf_hash, verify_consistency, verify_inclusion
from ledger.mirror_store import SqlMirrorStore
from ledger.mldsa import MlDsaKey
from ledger.notes import Note, NoteSignature, Vkey
from ledger.proofs import Proof, verify_proof
from ledger.raw_mirror import RawMirror
from ledger.subtrees import subtree_proof
from ledger.testing import Consortium, consortium, throw_away_engine
from ledger.tiles import TILE_WIDTH, decode_entries, hash_from_tiles, tile_path
from ledger.trust import TrustPolicy, encode_policy
from ledger.uploads import UploadHeader, encode_upload
from ledger.witness import AddCheckpoint, Witness, parse_lines

pytest.importorskip("tlog_scales")
from tlog_scales import reader, signing, tlog, writer

pytestmark = pytest.mark.interop

ORIGIN = "scales.example/log"
SEED, STRONG_SEED = bytes([5] * 32), bytes([6] * 32)
ENTRIES = [b"entry %d" % number for number in range(700)]
STAGES = (1, 255, 256, 300, 700)


class Theirs:
    """A log that `tlog-scales` writes, one checkpoint a stage."""

    def __init__(self, root: Path) -> None:
        self.root = root
        plain = signing.PlainEd25519Signer(ORIGIN, Ed25519PrivateKey.from_private_bytes(SEED))
        strong = signing.MLDSA44CosignatureSigner(ORIGIN, STRONG_SEED)
        self.log = Vkey.parse(plain.vkey.serialize())
        self.strong = Vkey.parse(strong.vkey.serialize())
        made = writer.TilesWriter.create(root, ORIGIN)
        self.notes: dict[int, bytes] = {}
        done = 0
        for stage in STAGES:
            for entry in ENTRIES[done:stage]:
                made.add_leaf(entry)
            made.commit([plain, strong], gc=False)
            self.notes[stage] = (root / "checkpoint").read_bytes()
            done = stage

    def tile(self, level: int, number: int, width: int) -> bytes:
        """A tile as it lies on disk, the smallest that has ``width`` hashes."""
        for wide in range(width, TILE_WIDTH + 1):
            path = self.root / "tile" / str(level) / tile_path(number, wide)
            if path.is_file():
                return path.read_bytes()
        raise FileNotFoundError(f"level {level}, number {number}")

    def hash_of(self, start: int, stop: int) -> bytes:
        return hash_from_tiles(self.tile, start, stop)


@pytest.fixture(scope="module")
def theirs(tmp_path_factory: pytest.TempPathFactory) -> Theirs:
    return Theirs(tmp_path_factory.mktemp("scales") / "log")


@pytest.fixture(autouse=True)
def quiet() -> None:
    """They log whole signatures that do not verify, and here many do not."""
    logging.getLogger("tlog_scales").setLevel(logging.CRITICAL)


def altered(raw: bytes) -> list[bytes]:
    """A checkpoint with each part changed: origin, size, root, and a bit of its first signature."""
    text, lines = raw.decode().split("\n\n")
    origin, size, root = text.split("\n")
    first, *rest = lines.splitlines()
    blob = bytearray(base64.b64decode(first.split(" ")[2]))
    blob[-1] ^= 1
    forged = " ".join((*first.split(" ")[:2], base64.b64encode(bytes(blob)).decode()))
    other_root = base64.b64encode(bytes(32)).decode()
    return [
        f"{changed}\n\n{signed}\n".encode()
        for changed, signed in [
            (f"{origin}x\n{size}\n{root}", lines.rstrip("\n")),
            (f"{origin}\n{size}0\n{root}", lines.rstrip("\n")),
            (f"{origin}\n{size}\n{other_root}", lines.rstrip("\n")),
            (text, "\n".join((forged, *rest))),
        ]
    ]


# theirs, read by us


def test_their_checkpoints_open(theirs: Theirs) -> None:
    for size, raw in theirs.notes.items():
        checkpoint, note = open_checkpoint(raw, theirs.log)
        assert (checkpoint.size, checkpoint.root) == (size, Tree(map(leaf_hash, ENTRIES[:size])).root())
        assert note.encode() == raw
        assert set(signers(note, [theirs.log, theirs.strong])) == {theirs.log, theirs.strong}
        for wrong in altered(raw):
            with pytest.raises(UnverifiedNote):
                open_checkpoint(wrong, theirs.log)
            with pytest.raises(UnverifiedNote):
                assert signers(Note.parse(wrong), [theirs.log, theirs.strong]) == {}


def test_their_tiles_give_their_root_and_entries(theirs: Theirs) -> None:
    entries: list[bytes] = []
    for number, width in ((0, 256), (1, 256), (2, 188)):
        entries += decode_entries((theirs.root / "tile" / "entries" / tile_path(number, width)).read_bytes())
    assert entries == ENTRIES
    for size, raw in theirs.notes.items():
        assert theirs.hash_of(0, size) == open_checkpoint(raw, theirs.log)[0].root


def test_their_proofs_verify_with_us(theirs: Theirs) -> None:
    source = reader.TilesReader(writer.backend.LocalBackend(theirs.root))
    source.set_size(700)
    roots = {size: open_checkpoint(raw, theirs.log)[0].root for size, raw in theirs.notes.items()}
    for index in (0, 1, 254, 255, 256, 511, 512, 698, 699):
        path = source.get_inclusion_proof(index, 700).node_hashes
        verify_inclusion(roots[700], 700, index, leaf_hash(ENTRIES[index]), path)
        with pytest.raises(InvalidInclusionProof):
            verify_inclusion(roots[700], 700, index, leaf_hash(b"other"), path)
        with pytest.raises(InvalidInclusionProof):
            verify_inclusion(roots[700], 700, index, leaf_hash(ENTRIES[index]), path[:-1])
    for old in STAGES[:-1]:
        for new in STAGES[STAGES.index(old) + 1 :]:
            path = source.get_consistency_proof(old, new).node_hashes
            verify_consistency(old, roots[old], new, roots[new], path)
            assert path == subtree_proof(0, old, new, theirs.hash_of)
            for wrong in ([*path[:-1], bytes(32)], [*path, bytes(32)]):
                with pytest.raises(InvalidConsistencyProof):
                    verify_consistency(old, roots[old], new, roots[new], wrong)


def test_a_proof_file_over_their_log_meets_a_policy(theirs: Theirs) -> None:
    policy = TrustPolicy.parse(f"log {theirs.log.encode()}\nquorum none\n".encode())
    path = Tree(map(leaf_hash, ENTRIES)).inclusion_proof(42)
    proof = Proof(42, tuple(path), theirs.notes[700])
    assert verify_proof(Proof.parse(proof.encode()), leaf_hash(ENTRIES[42]), policy).log == theirs.log
    for wrong in (replace(proof, index=43), replace(proof, checkpoint=altered(theirs.notes[700])[2])):
        with pytest.raises(LedgerError):
            verify_proof(wrong, leaf_hash(ENTRIES[42]), policy)


@pytest.mark.parametrize("key", ["log", "strong"])
def test_our_witness_cosigns_their_log_and_they_verify_it(theirs: Theirs, tmp_path: Path, key: str) -> None:
    known = [getattr(theirs, key)]
    cosigning = [
        Cosigner("witness.example/w", SigningKey.from_seed(SEED)),
        Cosigner("witness.example/w", MlDsaKey.from_seed(SEED)),
    ]
    with throw_away_engine("sqlite", tmp_path) as engine:
        witness = Witness(SqlMirrorStore(engine), lambda _: known, cosigning)
        mirror_keys = [Cosigner("witness.example/m", SigningKey.from_seed(STRONG_SEED))]
        mirror = RawMirror(SqlMirrorStore(engine), lambda _: known, mirror_keys)
        old = 0
        for size, raw in theirs.notes.items():
            proof = subtree_proof(0, old, size, theirs.hash_of) if old else []
            answer = witness.add_checkpoint(AddCheckpoint(old, tuple(proof), raw).encode())
            assert answer.status == 200
            body = encode_upload(UploadHeader(ORIGIN, old, size), lambda a, b: ENTRIES[a:b], theirs.hash_of)
            mirrored = mirror.add_entries(io.BytesIO(body).read)
            assert mirrored.status == 200
            lines = parse_lines(answer.body) + parse_lines(mirrored.body)
            check_by_them(raw, lines, [*witness.vkeys, *mirror.vkeys])
            old = size
        # the last one has a bad plain signature, which is nothing to a witness that knows the other key only
        for wrong in altered(theirs.notes[700])[1 : None if key == "log" else 3]:
            assert witness.add_checkpoint(AddCheckpoint(700, (), wrong).encode()).status in (403, 422)


def check_by_them(raw: bytes, lines: list[NoteSignature], vkeys: list[Vkey]) -> None:
    """Our lines verify on their side, and changed ones do not."""
    checkpoint = tlog.Checkpoint.from_text(raw.decode())
    known = signing.VkeySet(*(signing.Vkey.from_string(vkey.encode()) for vkey in vkeys))
    parsed = [signing.NoteSignature.from_line(line.encode().rstrip("\n")) for line in lines]
    assert len(known.verify(parsed, checkpoint)) == len(lines) == len(vkeys)
    forged = [replace(line, payload=line.payload[:-1] + bytes([line.payload[-1] ^ 1])) for line in parsed]
    later = [replace(line, payload=line.payload[:7] + b"\x00" + line.payload[8:]) for line in parsed]
    assert known.verify([*forged, *later], checkpoint) == set()
    assert known.verify(parsed, replace(checkpoint, size=checkpoint.size + 1)) == set()


# ours, read by them


class OurBackend:
    """Our log's tiles, as their reader asks for them."""

    def __init__(self, tile: Callable[[int, int, int], bytes], bundle: Callable[[int, int], bytes]) -> None:
        self._tile, self._bundle = tile, bundle

    def get(self, *path: str) -> bytes | None:
        kind, level, *place = path
        assert kind == "tile"
        width = int(place[-1]) if place[-2:-1] and place[-2].endswith(".p") else TILE_WIDTH
        parts = place[:-1] if width < TILE_WIDTH else place
        digits = "".join(part.removeprefix("x").removesuffix(".p") for part in parts)
        if level == "entries":
            return self._bundle(int(digits), width)
        return self._tile(int(level), int(digits), width)


@pytest.fixture(scope="module")
def ours(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Consortium]:
    with consortium(tmp_path_factory.mktemp("ours"), "lender", "bureau", "lab", "office") as exchange:
        lender = exchange.members["lender"].did
        for number in range(140):
            body = {"member": lender, "endpoint": f"lender.example:{number + 1}"}
            exchange.act("lender", "member.update", body)
            if number == 20:
                exchange.settle()
        exchange.settle()
        yield exchange


def their_reader(exchange: Consortium, size: int) -> reader.TilesReader:
    made = reader.TilesReader(OurBackend(exchange.log.tile, exchange.log.entry_bundle))
    made.set_size(size)
    return made


def test_our_checkpoint_and_cosignatures_verify_with_them(ours: Consortium) -> None:
    network = Network.of(ours.log.state)
    assert network is not None
    raw = ours.log.checkpoint()
    checkpoint = tlog.Checkpoint.from_text(raw.decode())
    assert checkpoint.serialize().encode() == raw
    log = signing.Vkey.from_string(network.log.encode())
    checkpoint.verify(log)
    members = [signing.Vkey.from_string(row["cosign"]) for row in active_members(ours.log.state).values()]
    assert len(signing.VkeySet(*members).verify(checkpoint.signatures, checkpoint)) == 4
    for wrong in altered(raw):
        bad = tlog.Checkpoint.from_text(wrong.decode())
        with pytest.raises(TheirInvalidSignature):
            bad.verify(log)
    moved = tlog.Checkpoint.from_text(altered(raw)[1].decode())
    assert signing.VkeySet(*members).verify(moved.signatures, moved) == set()


def test_our_tiles_entries_and_proofs_verify_with_them(ours: Consortium) -> None:
    size = ours.log.final_size
    assert size > TILE_WIDTH
    root = tlog.Checkpoint.from_text(ours.log.checkpoint().decode()).root_hash
    source = their_reader(ours, size)
    assert source.calculate_root_hash() == root
    entries = [record.raw for record in ours.hub_store.records(0, size)]
    tree = Tree(map(leaf_hash, entries))
    for index in (0, 1, 200, 255, 256, size - 1):
        assert source.get_entry(index) == entries[index]
        path = tree.inclusion_proof(index)
        assert path == source.get_inclusion_proof(index, size).node_hashes
        tlog.InclusionProof(index, size, path).check(leaf_hash(entries[index]), root)
        for wrong in (path[:-1], [*path[:-1], bytes(32)], [*path, bytes(32)]):
            with pytest.raises(tlog.InclusionProofInvalid):
                tlog.InclusionProof(index, size, wrong).check(leaf_hash(entries[index]), root)
    for old in (1, 43, 256, size - 1):
        path = tree.consistency_proof(old, size)
        tlog.ConsistencyProof(old, size, path).check(tree.root(old), root)
        for wrong in (path[:-1], [*path[:-1], bytes(32)]):
            with pytest.raises(tlog.ConsistencyProofInvalid):
                tlog.ConsistencyProof(old, size, wrong).check(tree.root(old), root)
        with pytest.raises(tlog.ConsistencyProofInvalid):
            tlog.ConsistencyProof(old, size, path).check(bytes(32), root)


def test_our_proof_file_verifies_with_them(ours: Consortium) -> None:
    """Their parts put together as the draft says: index, hashes and checkpoint of our `.tlog-proof`."""
    size = ours.log.final_size
    entries = [record.raw for record in ours.hub_store.records(0, size)]
    network = Network.of(ours.log.state)
    assert network is not None
    path = Tree(map(leaf_hash, entries)).inclusion_proof(7)
    text = Proof(7, tuple(path), ours.log.checkpoint(), extra=b"context").encode().decode()
    head, note = text.split("\n\n", 1)
    _, _, index, *hashes = head.split("\n")
    checkpoint = tlog.Checkpoint.from_text(note)
    checkpoint.verify(signing.Vkey.from_string(network.log.encode()))
    nodes = [base64.b64decode(node) for node in hashes]
    proof = tlog.InclusionProof(int(index.removeprefix("index ")), checkpoint.size, nodes)
    proof.check(leaf_hash(entries[7]), checkpoint.root_hash)
    with pytest.raises(tlog.InclusionProofInvalid):
        proof.check(leaf_hash(entries[8]), checkpoint.root_hash)
    cosigning = [Vkey.parse(row["cosign"]) for row in active_members(ours.log.state).values()]
    policy = TrustPolicy.parse(encode_policy(network.log, cosigning, 3))
    assert len(verify_proof(Proof.parse(text.encode()), leaf_hash(entries[7]), policy).times) == 4
