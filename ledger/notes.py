"""Signed notes and verifier keys (C2SP signed-note v1.0.0).

A note is UTF-8 text that ends in a newline, a blank line, and signature lines. Signatures by unknown keys are
ignored; a signature by a known key that does not verify makes the whole note invalid.

Key types: plain Ed25519 here; cosignatures (Ed25519 and ML-DSA-44) in ``ledger.checkpoints``.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import re
from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import Literal

from ledger.errors import InvalidSignature, MalformedKey, MalformedNote, UnverifiedNote
from ledger.keys import PUBLIC_SIZE, SigningKey, verify_signature
from ledger.mldsa import MLDSA44_PUBLIC_SIZE

__all__ = [
    "COSIGNATURE_V1",
    "ED25519",
    "MLDSA44",
    "KeyType",
    "Note",
    "NoteSignature",
    "Vkey",
    "check_key_name",
    "sign",
    "verify",
]

KeyType = Literal[1, 4, 6]
ED25519: KeyType = 0x01
COSIGNATURE_V1: KeyType = 0x04
MLDSA44: KeyType = 0x06

MAX_SIGNATURES = 128
"""The specification asks for at least 16; a consortium may have more members than that."""

_PUBLIC_SIZES = {ED25519: PUBLIC_SIZE, COSIGNATURE_V1: PUBLIC_SIZE, MLDSA44: MLDSA44_PUBLIC_SIZE}
_MAX_NAME = 255
_FORBIDDEN_IN_NAME = re.compile(r"[\s+\x00-\x1f]")
_CONTROL = re.compile(r"[\x00-\x09\x0b-\x1f]")
_ID_SIZE = 4
_LINE_START = "— "


def check_key_name(name: str) -> str:
    """Return a key name if it is 1 to 255 bytes of UTF-8 without Unicode spaces, plus and control characters.

    Raises:
        MalformedKey: it is not.
    """
    if not _is_key_name(name):
        raise MalformedKey(f"expected a key name of 1 to {_MAX_NAME} bytes without spaces and plus")
    return name


@dataclass(frozen=True)
class Vkey:
    """A verifier key: name, type, public key (32 bytes for Ed25519, 1,312 for ML-DSA-44)."""

    name: str
    type: KeyType
    public: bytes

    def __post_init__(self) -> None:
        check_key_name(self.name)
        size = _PUBLIC_SIZES[self.type]
        if len(self.public) != size:
            raise MalformedKey(f"expected a public key of {size} bytes, got {len(self.public)}")

    @property
    def id(self) -> bytes:
        """Return the key id: the first four bytes of a hash over name, type and key."""
        return hashlib.sha256(self.name.encode() + b"\n" + bytes([self.type]) + self.public).digest()[
            :_ID_SIZE
        ]

    def encode(self) -> str:
        """Write as ``name+hexid+base64(type || key)``."""
        material = base64.b64encode(bytes([self.type]) + self.public).decode()
        return f"{self.name}+{self.id.hex()}+{material}"

    @classmethod
    def parse(cls, text: str) -> Vkey:
        """Read a verifier key of type Ed25519, cosignature/v1 or ML-DSA-44.

        Raises:
            MalformedKey: another type, or the id does not belong to name and key.
        """
        parts = text.split("+", 2)
        if len(parts) != 3:
            raise MalformedKey("expected a verifier key like name+id+key")
        try:
            material = _decode_base64(parts[2])
        except MalformedNote as exc:
            raise MalformedKey("expected the verifier key's material in base64") from exc
        kind = {bytes([known]): known for known in _PUBLIC_SIZES}.get(material[:1])
        if kind is None:
            raise MalformedKey("expected a verifier key of type Ed25519, cosignature/v1 or ML-DSA-44")
        vkey = cls(parts[0], kind, material[1:])
        if vkey.encode() != text:
            raise MalformedKey("the verifier key's id does not belong to its name and key")
        return vkey


@dataclass(frozen=True)
class NoteSignature:
    """One signature line. ``payload`` is what follows the key id; its form depends on the key type."""

    name: str
    key_id: bytes
    payload: bytes

    def encode(self) -> str:
        """Write the line, with its newline."""
        return f"{_LINE_START}{self.name} {base64.b64encode(self.key_id + self.payload).decode()}\n"

    @classmethod
    def parse(cls, line: str) -> NoteSignature:
        """Read one line, with its newline.

        Raises:
            MalformedNote: the line does not have that form.
        """
        name, separator, encoded = line.removeprefix(_LINE_START).removesuffix("\n").partition(" ")
        if not (line.startswith(_LINE_START) and line.endswith("\n") and separator):
            raise MalformedNote("expected a signature line like — name base64")
        blob = _decode_base64(encoded)
        if not _is_key_name(name) or len(blob) <= _ID_SIZE:
            raise MalformedNote("expected a key name, and a key id followed by a signature")
        return cls(name, blob[:_ID_SIZE], blob[_ID_SIZE:])

    def is_by(self, vkey: Vkey) -> bool:
        """Tell whether this line names ``vkey``; the signature is not checked."""
        return self.name == vkey.name and self.key_id == vkey.id


@dataclass(frozen=True)
class Note:
    """Text and its signature lines, parsed and not yet verified."""

    text: str
    signatures: tuple[NoteSignature, ...]

    @classmethod
    def parse(cls, raw: bytes) -> Note:
        """Read a signed note.

        Raises:
            MalformedNote: the bytes are not one.
        """
        try:
            whole = raw.decode()
        except UnicodeDecodeError as exc:
            raise MalformedNote("expected UTF-8") from exc
        if _CONTROL.search(whole):
            raise MalformedNote("expected no control characters but newlines")
        text, separator, lines = whole.rpartition("\n\n")
        if not separator or not lines.endswith("\n"):
            raise MalformedNote("expected text, a blank line and signature lines")
        split = lines[:-1].split("\n")
        if len(split) > MAX_SIGNATURES:
            raise MalformedNote(f"expected at most {MAX_SIGNATURES} signatures")
        return cls(text + "\n", tuple(NoteSignature.parse(line + "\n") for line in split))

    def encode(self) -> bytes:
        """Write the note."""
        return (self.text + "\n" + "".join(line.encode() for line in self.signatures)).encode()

    def with_signature(self, signature: NoteSignature) -> Note:
        """Return the note with one more line."""
        return replace(self, signatures=(*self.signatures, signature))


def sign(text: str, name: str, key: SigningKey) -> NoteSignature:
    """Sign ``text`` as key ``name`` with plain Ed25519."""
    return NoteSignature(name, Vkey(name, ED25519, key.public).id, key.sign(text.encode()))


def verify(note: Note, vkeys: Iterable[Vkey]) -> tuple[Vkey, ...]:
    """Check the plain Ed25519 signatures of known keys.

    Args:
        note: a parsed note.
        vkeys: the known keys, of type Ed25519.

    Returns:
        The keys that signed, at least one.

    Raises:
        UnverifiedNote: no known key signed, or a known key's signature does not verify.
    """
    signers: list[Vkey] = []
    for vkey in vkeys:
        for line in note.signatures:
            if not line.is_by(vkey):
                continue
            try:
                verify_signature(vkey.public, note.text.encode(), line.payload)
            except InvalidSignature as exc:
                raise UnverifiedNote(f"the signature by {vkey.name} does not verify") from exc
            if vkey not in signers:
                signers.append(vkey)
    if not signers:
        raise UnverifiedNote("expected a signature by a known key, got none")
    return tuple(signers)


def _is_key_name(name: str) -> bool:
    try:
        size = len(name.encode())
    except UnicodeEncodeError:
        return False
    return 1 <= size <= _MAX_NAME and _FORBIDDEN_IN_NAME.search(name) is None


def _decode_base64(text: str) -> bytes:
    try:
        data = base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError) as exc:
        raise MalformedNote("expected base64") from exc
    if base64.b64encode(data).decode() != text:
        raise MalformedNote("expected the canonical base64 spelling")
    return data
