"""Interoperation with Go's transparency log code (golang.org/x/mod, Debian's package): theirs and ours.

Runs where `go` and the package are installed: `make test-interop` installs them. Elsewhere it is skipped.
"""

from __future__ import annotations

import base64
import json
import os
import shutil
import subprocess
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest

from ledger.checkpoints import Checkpoint, cosign, open_checkpoint, verify_cosignature
from ledger.errors import InvalidConsistencyProof, InvalidInclusionProof, LedgerError, UnverifiedNote
from ledger.keys import SigningKey
from ledger.merkle import Tree, leaf_hash, verify_consistency, verify_inclusion
from ledger.notes import COSIGNATURE_V1, ED25519, Note, NoteSignature, Vkey, sign

GOPATH = Path("/usr/share/gocode")
MODULE = GOPATH / "src" / "golang.org" / "x" / "mod" / "sumdb" / "note"
GO = shutil.which("go")

pytestmark = [
    pytest.mark.interop,
    pytest.mark.skipif(GO is None or not MODULE.is_dir(), reason="make test-interop installs Go and x/mod"),
]

NAME = "example.org/log"
KEY = SigningKey.from_seed(bytes([7] * 32))
LOG = Vkey(NAME, ED25519, KEY.public)
ENTRIES = [b"entry %d" % number for number in range(300)]
TREE = Tree(map(leaf_hash, ENTRIES))
TEXT = Checkpoint(NAME, 300, TREE.root()).encode()

Ask = Callable[..., list[Any]]


def b64(data: bytes) -> str:
    return base64.b64encode(data).decode()


@pytest.fixture(scope="module")
def ask(tmp_path_factory: pytest.TempPathFactory) -> Ask:
    """Compile the counterpart without a network; return what puts questions to it."""
    folder = tmp_path_factory.mktemp("go")
    program = folder / "counterpart"
    environment = {
        **os.environ,
        "GO111MODULE": "off",
        "GOPATH": str(GOPATH),
        "GOCACHE": str(folder / "cache"),
        "GOFLAGS": "",
        "CGO_ENABLED": "0",
    }
    source = Path(__file__).parent / "go" / "main.go"
    subprocess.run([str(GO), "build", "-o", str(program), str(source)], env=environment, check=True)

    def put(*questions: Mapping[str, object]) -> list[Any]:
        text = json.dumps(questions)
        done = subprocess.run([str(program)], input=text, capture_output=True, text=True, check=True)
        return list(json.loads(done.stdout))

    return put


def test_notes_signed_by_us_open_there(ask: Ask) -> None:
    note = Note(TEXT, (sign(TEXT, NAME, KEY), NoteSignature("grease", b"abcd", b"\xff" * 9)))
    good, changed, stranger = ask(
        {"op": "note.open", "text": note.encode().decode(), "key": LOG.encode()},
        {"op": "note.open", "text": note.encode().decode().replace("300", "301"), "key": LOG.encode()},
        {
            "op": "note.open",
            "text": note.encode().decode(),
            "key": Vkey("other", ED25519, KEY.public).encode(),
        },
    )
    assert good == {"ok": TEXT}
    assert "error" in changed
    assert "error" in stranger


def test_notes_signed_there_open_with_us(ask: Ask) -> None:
    secret = f"PRIVATE+KEY+{NAME}+{LOG.id.hex()}+{b64(bytes([ED25519]) + KEY.seed)}"
    (answer,) = ask({"op": "note.sign", "text": TEXT, "key": secret})
    raw = answer["ok"].encode()
    checkpoint, note = open_checkpoint(raw, LOG)
    assert checkpoint.size == 300
    assert note.encode() == raw == Note(TEXT, (sign(TEXT, NAME, KEY),)).encode()
    with pytest.raises(UnverifiedNote):
        open_checkpoint(raw.replace(b"300", b"301"), LOG)


def test_roots_and_proofs_are_the_same(ask: Ask) -> None:
    entries = [b64(entry) for entry in ENTRIES]
    sizes = (1, 2, 3, 7, 8, 128, 255, 256, 257, 300)
    roots = ask(*({"op": "tree.root", "entries": entries[:size], "size": size} for size in sizes))
    assert [answer["ok"] for answer in roots] == [b64(TREE.root(size)) for size in sizes]
    places = [(index, size) for size in sizes for index in {0, size // 2, size - 1}]
    proofs = ask(
        *({"op": "record.prove", "entries": entries[:size], "size": size, "index": i} for i, size in places)
    )
    for (index, size), answer in zip(places, proofs, strict=True):
        path = [base64.b64decode(node) for node in answer["ok"]]
        assert path == TREE.inclusion_proof(index, size)
        verify_inclusion(TREE.root(size), size, index, leaf_hash(ENTRIES[index]), path)
        with pytest.raises(InvalidInclusionProof):
            verify_inclusion(TREE.root(size), size, index, leaf_hash(b"other"), path)
    pairs = [(old, new) for old in sizes for new in sizes if old < new]
    proofs = ask(
        *({"op": "tree.prove", "entries": entries[:new], "size": new, "old": old} for old, new in pairs)
    )
    for (old, new), answer in zip(pairs, proofs, strict=True):
        path = [base64.b64decode(node) for node in answer["ok"]]
        assert path == TREE.consistency_proof(old, new)
        verify_consistency(old, TREE.root(old), new, TREE.root(new), path)
        with pytest.raises(InvalidConsistencyProof):
            verify_consistency(old, bytes(32), new, TREE.root(new), path)


def test_proofs_by_us_verify_there(ask: Ask) -> None:
    path = TREE.inclusion_proof(200, 300)
    record: dict[str, object] = {
        "op": "record.check", "proof": [b64(node) for node in path], "size": 300, "index": 200,
        "root": b64(TREE.root()), "leaf": b64(leaf_hash(ENTRIES[200])),
    }  # fmt: skip
    grown = TREE.consistency_proof(129, 300)
    consistent: dict[str, object] = {
        "op": "tree.check", "proof": [b64(node) for node in grown], "size": 300, "old": 129,
        "root": b64(TREE.root()), "old_root": b64(TREE.root(129)),
    }  # fmt: skip
    good, *bad = ask(
        record,
        {**record, "index": 201},
        {**record, "leaf": b64(leaf_hash(b"other"))},
        {**record, "proof": [b64(node) for node in path[:-1]]},
    )
    assert good == {"ok": True}
    assert all("error" in answer for answer in bad)
    good, *bad = ask(
        consistent,
        {**consistent, "old_root": b64(bytes(32))},
        {**consistent, "proof": [b64(node) for node in [*grown[:-1], bytes(32)]]},
    )
    assert good == {"ok": True}
    assert all("error" in answer for answer in bad)


def test_cosignatures_both_ways(ask: Ask) -> None:
    witness = Vkey("witness.example/w", COSIGNATURE_V1, KEY.public)
    line = cosign(TEXT, witness.name, KEY, 1_679_315_147)
    question = {"op": "cosignature.verify", "public": b64(KEY.public), "text": TEXT}
    good, changed, later = ask(
        {**question, "payload": b64(line.payload)},
        {**question, "payload": b64(line.payload), "text": TEXT.replace("300", "301")},
        {**question, "payload": b64(bytes(8) + line.payload[8:])},
    )
    assert good == {"ok": 1_679_315_147}
    assert "error" in changed
    assert "error" in later
    (answer,) = ask({"op": "cosignature.sign", "seed": b64(KEY.seed), "text": TEXT, "time": 5})
    theirs = NoteSignature(witness.name, witness.id, base64.b64decode(answer["ok"]))
    assert verify_cosignature(TEXT, theirs, witness) == 5
    with pytest.raises(LedgerError):
        verify_cosignature(TEXT.replace("300", "301"), theirs, witness)
