"""Published signed notes, and faults made from them."""

import json
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

from ledger import notes
from ledger.errors import MalformedNote, UnverifiedNote

CASES = json.loads((Path(__file__).parent / "signed_note.json").read_text())["cases"]


@pytest.mark.parametrize("case", CASES, ids=lambda case: case["name"])
def test_signed_note(case: dict[str, Any]) -> None:
    vkey = notes.Vkey.parse(case["vkey"])
    assert vkey.encode() == case["vkey"]
    if case["valid"]:
        note = notes.Note.parse(case["note"].encode())
        assert notes.verify(note, [vkey]) == (vkey,)
        assert note.encode() == case["note"].encode()
        Ed25519PublicKey.from_public_bytes(vkey.public).verify(note.signatures[0].payload, note.text.encode())
    else:
        with pytest.raises((MalformedNote, UnverifiedNote)):
            notes.verify(notes.Note.parse(case["note"].encode()), [vkey])
