"""Checkpoints and their cosignatures (C2SP tlog-checkpoint v1.0.0, tlog-cosignature v1.0.1).

A checkpoint is the text ``origin, size, root``, signed by the log as a note. A member's cosignature binds a
time and the whole text. Here it also makes the additional statement that the member's key was enrolled for:
the member recomputed every entry below that size and holds them durably.
"""

from __future__ import annotations

import base64
import binascii
import re
from collections.abc import Iterable
from dataclasses import dataclass

from ledger import notes
from ledger.errors import InvalidSignature, MalformedNote, UnverifiedNote
from ledger.keys import SIGNATURE_SIZE, SigningKey, verify_signature
from ledger.merkle import HASH_SIZE
from ledger.notes import COSIGNATURE_V1, Note, NoteSignature, Vkey

__all__ = [
    "Checkpoint",
    "cosign",
    "cosignature_time",
    "cosigners",
    "open_checkpoint",
    "verify_cosignature",
]

_SIZE = re.compile(r"0|[1-9][0-9]{0,15}")
_TIME_SIZE = 8


@dataclass(frozen=True)
class Checkpoint:
    """What a log says of itself: ``size`` entries with this Merkle root."""

    origin: str
    size: int
    root: bytes

    def encode(self) -> str:
        """Write the note text."""
        return f"{self.origin}\n{self.size}\n{base64.b64encode(self.root).decode()}\n"

    @classmethod
    def parse(cls, text: str) -> Checkpoint:
        """Read the note text. Extension lines are refused: this log never writes any.

        Raises:
            MalformedNote: another form.
        """
        lines = text.split("\n")
        if len(lines) != 4 or lines[3] or not lines[0] or _SIZE.fullmatch(lines[1]) is None:
            raise MalformedNote("expected a checkpoint: origin, size and root")
        try:
            root = base64.b64decode(lines[2], validate=True)
        except (binascii.Error, ValueError) as exc:
            raise MalformedNote("expected the root in base64") from exc
        checkpoint = cls(lines[0], int(lines[1]), root)
        if len(root) != HASH_SIZE or checkpoint.encode() != text:
            raise MalformedNote(f"expected a root of {HASH_SIZE} bytes in canonical base64")
        return checkpoint


def open_checkpoint(raw: bytes, log: Vkey) -> tuple[Checkpoint, Note]:
    """Read a checkpoint signed by ``log``. Cosignatures are not checked here.

    Raises:
        MalformedNote: not a checkpoint.
        UnverifiedNote: not signed by the log, or its origin is not the log's name.
    """
    note = Note.parse(raw)
    notes.verify(note, [log])
    checkpoint = Checkpoint.parse(note.text)
    if checkpoint.origin != log.name:
        raise UnverifiedNote("the checkpoint's origin is not the name of the log that signed it")
    return checkpoint, note


def cosign(text: str, name: str, key: SigningKey, time_s: int) -> NoteSignature:
    """Cosign a checkpoint's text at Unix time ``time_s``."""
    signature = key.sign(_cosigned_message(text, time_s))
    key_id = Vkey(name, COSIGNATURE_V1, key.public).id
    return NoteSignature(name, key_id, time_s.to_bytes(_TIME_SIZE, "big") + signature)


def verify_cosignature(text: str, line: NoteSignature, vkey: Vkey) -> int:
    """Check one cosignature line and return its Unix time.

    Raises:
        UnverifiedNote: the line is not by ``vkey``, or does not verify.
    """
    if vkey.type != COSIGNATURE_V1 or not line.is_by(vkey):
        raise UnverifiedNote(f"expected a cosignature by {vkey.name}")
    time_s = cosignature_time(line)
    try:
        verify_signature(vkey.public, _cosigned_message(text, time_s), line.payload[_TIME_SIZE:])
    except InvalidSignature as exc:
        raise UnverifiedNote(f"the cosignature by {vkey.name} does not verify") from exc
    return time_s


def cosignature_time(line: NoteSignature) -> int:
    """Return the Unix time in a cosignature line.

    Raises:
        UnverifiedNote: the line does not have a cosignature's length.
    """
    if len(line.payload) != _TIME_SIZE + SIGNATURE_SIZE:
        raise UnverifiedNote("expected a cosignature: a time and an Ed25519 signature")
    return int.from_bytes(line.payload[:_TIME_SIZE], "big")


def cosigners(note: Note, vkeys: Iterable[Vkey]) -> dict[Vkey, NoteSignature]:
    """Return the valid cosignatures of known keys on a note.

    Raises:
        UnverifiedNote: a known key's cosignature does not verify.
    """
    found: dict[Vkey, NoteSignature] = {}
    for vkey in vkeys:
        for line in note.signatures:
            if line.is_by(vkey):
                verify_cosignature(note.text, line, vkey)
                found.setdefault(vkey, line)
    return found


def _cosigned_message(text: str, time_s: int) -> bytes:
    return f"cosignature/v1\ntime {time_s}\n{text}".encode()
