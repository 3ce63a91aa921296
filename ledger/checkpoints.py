"""Checkpoints and their cosignatures (C2SP tlog-checkpoint v1.0.0, tlog-cosignature).

A checkpoint is the text ``origin, size, root``, signed by the log as a note. A cosignature binds a time and
the tree head: with Ed25519 the whole text, with ML-DSA-44 the cosigner's name, the origin, the size and the
root. A member's cosignature also makes the additional statement that its key was enrolled for: the member
recomputed every entry below that size and holds them durably.
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
from ledger.mldsa import MLDSA44_SIGNATURE_SIZE, MlDsaKey, verify_mldsa44
from ledger.notes import COSIGNATURE_V1, ED25519, MLDSA44, Note, NoteSignature, Vkey

__all__ = [
    "MAX_SIZE",
    "Checkpoint",
    "Cosigner",
    "cosign",
    "cosignature_time",
    "cosigners",
    "median_time",
    "open_checkpoint",
    "signers",
    "verify_cosignature",
]

MAX_SIZE = (1 << 63) - 1
"""Largest tree size and largest time: what a database column and a cosignature hold."""

_SIZE = re.compile(r"0|[1-9][0-9]{0,18}")
_TIME_SIZE = 8
_PAYLOAD_SIZES = {
    COSIGNATURE_V1: _TIME_SIZE + SIGNATURE_SIZE,
    MLDSA44: _TIME_SIZE + MLDSA44_SIGNATURE_SIZE,
}
_SUBTREE_LABEL = b"subtree/v1\n\x00"


@dataclass(frozen=True)
class Checkpoint:
    """What a log says of itself: ``size`` entries with this Merkle root.

    ``extensions`` are further lines that mean nothing here. Parley's log never writes any.
    """

    origin: str
    size: int
    root: bytes
    extensions: tuple[str, ...] = ()

    def encode(self) -> str:
        """Write the note text."""
        lines = (self.origin, str(self.size), base64.b64encode(self.root).decode(), *self.extensions)
        return "".join(f"{line}\n" for line in lines)

    @classmethod
    def parse(cls, text: str) -> Checkpoint:
        """Read the note text.

        Raises:
            MalformedNote: another form.
        """
        lines = text.split("\n")
        if len(lines) < 4 or lines.pop() or not all(lines) or _SIZE.fullmatch(lines[1]) is None:
            raise MalformedNote("expected a checkpoint: origin, size and root")
        try:
            root = base64.b64decode(lines[2], validate=True)
        except (binascii.Error, ValueError) as exc:
            raise MalformedNote("expected the root in base64") from exc
        checkpoint = cls(lines[0], int(lines[1]), root, tuple(lines[3:]))
        if checkpoint.size > MAX_SIZE:
            raise MalformedNote(f"expected a size of at most {MAX_SIZE}")
        if len(root) != HASH_SIZE or checkpoint.encode() != text:
            raise MalformedNote(f"expected a root of {HASH_SIZE} bytes in canonical base64")
        return checkpoint


@dataclass(frozen=True)
class Cosigner:
    """A name and a key that cosign checkpoints under it."""

    name: str
    key: SigningKey | MlDsaKey

    @property
    def vkey(self) -> Vkey:
        """What others verify the cosignatures with."""
        kind = COSIGNATURE_V1 if isinstance(self.key, SigningKey) else MLDSA44
        return Vkey(self.name, kind, self.key.public)

    def cosign(self, text: str, time_s: int) -> NoteSignature:
        """Cosign a checkpoint's text at Unix time ``time_s``.

        Raises:
            MalformedNote: an ML-DSA-44 key, and the text is not a checkpoint or its origin is too long.
        """
        vkey = self.vkey
        signature = self.key.sign(_cosigned_message(vkey, text, time_s))
        return NoteSignature(self.name, vkey.id, time_s.to_bytes(_TIME_SIZE, "big") + signature)


def open_checkpoint(raw: bytes, log: Vkey) -> tuple[Checkpoint, Note]:
    """Read a checkpoint of this network's ``log``. Cosignatures are not checked here.

    Raises:
        MalformedNote: not a checkpoint, or one with extension lines.
        UnverifiedNote: not signed by the log, or its origin is not the log's name.
    """
    note = Note.parse(raw)
    notes.verify(note, [log])
    checkpoint = Checkpoint.parse(note.text)
    if checkpoint.origin != log.name:
        raise UnverifiedNote("the checkpoint's origin is not the name of the log that signed it")
    if checkpoint.extensions:
        raise MalformedNote(f"expected no extension lines, got {len(checkpoint.extensions)}")
    return checkpoint, note


def cosign(text: str, name: str, key: SigningKey | MlDsaKey, time_s: int) -> NoteSignature:
    """Cosign a checkpoint's text as key ``name`` at Unix time ``time_s``."""
    return Cosigner(name, key).cosign(text, time_s)


def verify_cosignature(text: str, line: NoteSignature, vkey: Vkey) -> int:
    """Check one cosignature line and return its Unix time.

    Raises:
        UnverifiedNote: the line is not by ``vkey``, or does not verify.
    """
    if vkey.type not in _PAYLOAD_SIZES or not line.is_by(vkey):
        raise UnverifiedNote(f"expected a cosignature by {vkey.name}")
    if len(line.payload) != _PAYLOAD_SIZES[vkey.type]:
        raise UnverifiedNote(f"expected a cosignature of the type of {vkey.name}'s key, got another length")
    time_s = cosignature_time(line)
    signature = line.payload[_TIME_SIZE:]
    verify = verify_signature if vkey.type == COSIGNATURE_V1 else verify_mldsa44
    try:
        verify(vkey.public, _cosigned_message(vkey, text, time_s), signature)
    except (InvalidSignature, MalformedNote) as exc:
        raise UnverifiedNote(f"the cosignature by {vkey.name} does not verify") from exc
    return time_s


def cosignature_time(line: NoteSignature) -> int:
    """Return the Unix time in a cosignature line.

    Raises:
        UnverifiedNote: the line does not have a cosignature's length, or its time is beyond ``MAX_SIZE``.
    """
    if len(line.payload) not in _PAYLOAD_SIZES.values():
        raise UnverifiedNote("expected a cosignature: a time and a signature by Ed25519 or ML-DSA-44")
    time_s = int.from_bytes(line.payload[:_TIME_SIZE], "big")
    if time_s > MAX_SIZE:
        raise UnverifiedNote(f"expected a time of at most {MAX_SIZE}")
    return time_s


def median_time(times: Iterable[int]) -> int:
    """Return the lower median of cosignature times: what a checkpoint's time is taken to be.

    As long as fewer than half of the cosigners lie about the time, two honest times enclose it.

    Args:
        times: Unix times, one of each cosigner; at least one.
    """
    ordered = sorted(times)
    return ordered[(len(ordered) - 1) // 2]


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


def signers(note: Note, vkeys: Iterable[Vkey]) -> dict[Vkey, NoteSignature]:
    """Return the valid signatures of known keys of any type on a checkpoint.

    A log may sign with a cosignature too.

    Raises:
        UnverifiedNote: a known key's signature does not verify.
    """
    known = list(vkeys)
    found = cosigners(note, [vkey for vkey in known if vkey.type != ED25519])
    plain = [
        vkey for vkey in known if vkey.type == ED25519 and any(line.is_by(vkey) for line in note.signatures)
    ]
    if plain:
        for vkey in notes.verify(note, plain):
            found[vkey] = next(line for line in note.signatures if line.is_by(vkey))
    return found


def _cosigned_message(vkey: Vkey, text: str, time_s: int) -> bytes:
    if vkey.type == COSIGNATURE_V1:
        return f"cosignature/v1\ntime {time_s}\n{text}".encode()
    checkpoint = Checkpoint.parse(text)
    origin = checkpoint.origin.encode()
    if len(origin) > 255:
        raise MalformedNote(f"expected an origin of at most 255 bytes, got {len(origin)}")
    start, end = (0).to_bytes(8, "big"), checkpoint.size.to_bytes(8, "big")
    parts = (_short(vkey.name.encode()), time_s.to_bytes(_TIME_SIZE, "big"), _short(origin), start, end)
    return _SUBTREE_LABEL + b"".join(parts) + checkpoint.root


def _short(data: bytes) -> bytes:
    """Write a byte string of at most 255 bytes behind its length (RFC 8446, section 3.4)."""
    return bytes([len(data)]) + data
