"""The examples that the C2SP specifications print: read, understood, written back byte for byte."""

import base64
import json
from pathlib import Path
from typing import Any

import pytest

from ledger.checkpoints import Checkpoint, cosignature_time
from ledger.errors import MalformedNote
from ledger.notes import Note
from ledger.witness import AddCheckpoint, parse_lines

EXAMPLES: dict[str, Any] = json.loads((Path(__file__).parent / "examples.json").read_text("utf-8"))


def test_a_note_with_blank_lines_in_its_text() -> None:
    note = Note.parse(EXAMPLES["note"].encode())
    assert note.encode() == EXAMPLES["note"].encode()
    assert note.text.count("\n\n") == 1
    assert [line.name for line in note.signatures] == ["quasimodo.example/salvatore"]
    with pytest.raises(MalformedNote):
        Checkpoint.parse(note.text)


@pytest.mark.parametrize("name", ["checkpoint", "cosigned"])
def test_checkpoints(name: str) -> None:
    raw = EXAMPLES[name]["note"].encode()
    note = Note.parse(raw)
    checkpoint = Checkpoint.parse(note.text)
    assert note.encode() == raw
    assert checkpoint.encode() == note.text
    assert (checkpoint.origin, checkpoint.size) == (
        EXAMPLES["checkpoint"]["origin"],
        EXAMPLES["checkpoint"]["size"],
    )
    assert base64.b64encode(checkpoint.root).decode() == "CsUYapGGPo4dkMgIAUqom/Xajj7h2fB2MPA3j2jxq2I="


def test_the_time_of_a_cosignature() -> None:
    (line,) = [
        line
        for line in Note.parse(EXAMPLES["cosigned"]["note"].encode()).signatures
        if line.name == EXAMPLES["cosigned"]["name"]
    ]
    assert cosignature_time(line) == EXAMPLES["cosigned"]["time"]


def test_a_request_to_a_witness() -> None:
    body = EXAMPLES["add_checkpoint"]["body"].encode()
    request = AddCheckpoint.parse(body)
    assert request.encode() == body
    assert (request.old, len(request.proof)) == (
        EXAMPLES["add_checkpoint"]["old"],
        EXAMPLES["add_checkpoint"]["hashes"],
    )
    assert Checkpoint.parse(Note.parse(request.checkpoint).text).size == EXAMPLES["add_checkpoint"]["size"]


@pytest.mark.parametrize("name", ["witness_answer", "mirror_answer"])
def test_answers_of_cosigners(name: str) -> None:
    body = EXAMPLES[name]["body"]
    lines = parse_lines(body.encode())
    assert [line.name for line in lines] == EXAMPLES[name]["names"]
    assert "".join(line.encode() for line in lines) == body
