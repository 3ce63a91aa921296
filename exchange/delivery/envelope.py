"""The digital envelope: a content encrypted in pieces under a fresh key, and a head for its reader alone.

The pieces are libsodium's secretstream (XChaCha20-Poly1305), so none can be altered, left out, repeated or
moved, and a content that was cut short does not open. The head holds the key and a SHA-256 of each piece: a
reader checks every piece as it comes and fetches again what is missing. The head itself is sealed to the
reader by whoever sends it.

Source: https://doc.libsodium.org/secret-key_cryptography/secretstream; the construction follows STREAM,
Hoang, Reyhanitabar, Rogaway, Vizar 2015, https://eprint.iacr.org/2015/189.
"""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, BinaryIO, Final

from nacl import bindings as sodium
from nacl.exceptions import CryptoError

from exchange.errors import SealBroken
from exchange.web.kinds import Rule, read_as
from ledger import base64url, canonical

__all__ = [
    "MAX_PIECES",
    "PIECE_SIZE",
    "SEALED_SIZE",
    "Head",
    "open_envelope",
    "piece_length",
    "seal_envelope",
]

PIECE_SIZE: Final = 256 * 1024
"""Bytes of content in every piece but the last."""

MAX_PIECES: Final = 131_072
"""A content of at most 32 GiB: the head stays below 6 MiB."""

_OVERHEAD: Final = sodium.crypto_secretstream_xchacha20poly1305_ABYTES
SEALED_SIZE: Final = PIECE_SIZE + _OVERHEAD
"""Bytes of every encrypted piece but the last."""

_MORE: Final = sodium.crypto_secretstream_xchacha20poly1305_TAG_MESSAGE
_LAST: Final = sodium.crypto_secretstream_xchacha20poly1305_TAG_FINAL
_DIGEST_SIZE: Final = 32


@dataclass(frozen=True)
class Head:
    """What the reader needs: names, sizes, the digests of the pieces, and the key.

    Attributes:
        v: version of this format.
        name: file name for the reader.
        media: media type of the content.
        size: bytes of the content.
        content: SHA-256 of the content, lower-case hex.
        mark: how the content is marked for its receiver, or ``none``.
        stream: the secretstream header, base64url.
        pieces: SHA-256 of each encrypted piece, one after another, base64url.
        key: the content key, base64url; not in ``repr``.
    """

    v: Annotated[int, Rule("version 1 of this format", minimum=1, maximum=1)]
    name: Annotated[str, Rule("a file name", pattern=r"[A-Za-z0-9][A-Za-z0-9._-]{0,199}")]
    media: Annotated[str, Rule("a media type", pattern=r"[a-z]+/[A-Za-z0-9.+-]{1,100}")]
    size: Annotated[int, Rule("bytes", minimum=0, maximum=PIECE_SIZE * MAX_PIECES)]
    content: Annotated[str, Rule("SHA-256 in lower-case hex", pattern="[0-9a-f]{64}")]
    mark: Annotated[str, Rule("the kind of mark", minimum=1, maximum=40)]
    stream: str
    pieces: str
    key: str = field(repr=False)

    def encode(self) -> bytes:
        """Encode, to be sealed to the reader."""
        return canonical.encode(dict(vars(self)))

    @classmethod
    def decode(cls, raw: bytes) -> Head:
        """Decode what ``encode`` made.

        Raises:
            InvalidRequest: a field is missing, unknown or of another form.
            SealBroken: the digests do not fit the size.
        """
        head = read_as(cls, canonical.decode(raw), "head")
        if len(head.digests) != _count(head.size):
            raise SealBroken(f"expected {_count(head.size)} pieces for {head.size} bytes, got another number")
        return head

    @property
    def digests(self) -> list[bytes]:
        """SHA-256 of each encrypted piece."""
        joined = base64url.decode(self.pieces)
        return [joined[at : at + _DIGEST_SIZE] for at in range(0, len(joined), _DIGEST_SIZE)]


def piece_length(head: Head, number: int) -> int:
    """Bytes of an encrypted piece."""
    whole = min(PIECE_SIZE, head.size - number * PIECE_SIZE)
    return whole + _OVERHEAD


def seal_envelope(content: Iterable[bytes], out: BinaryIO, *, name: str, media: str, mark: str) -> Head:
    """Write a content, encrypted under a fresh key, and return the head that opens it.

    Args:
        content: the bytes, in parts of any length.
        out: takes the encrypted pieces.
        name: file name for the reader.
        media: media type.
        mark: how it is marked.

    Raises:
        SealBroken: there are more pieces than ``MAX_PIECES``.
    """
    key = sodium.crypto_secretstream_xchacha20poly1305_keygen()
    state = sodium.crypto_secretstream_xchacha20poly1305_state()
    stream = sodium.crypto_secretstream_xchacha20poly1305_init_push(state, key)
    whole, size, digests = hashlib.sha256(), 0, bytearray()
    for part, is_last in _with_last(_pieces(content)):
        if len(digests) >= _DIGEST_SIZE * MAX_PIECES:
            raise SealBroken(f"expected a content of at most {PIECE_SIZE * MAX_PIECES} bytes")
        whole.update(part)
        size += len(part)
        sealed = sodium.crypto_secretstream_xchacha20poly1305_push(
            state, part, None, _LAST if is_last else _MORE
        )
        digests += hashlib.sha256(sealed).digest()
        out.write(sealed)
    return Head(
        v=1,
        name=name,
        media=media,
        size=size,
        content=whole.hexdigest(),
        mark=mark,
        stream=base64url.encode(stream),
        pieces=base64url.encode(bytes(digests)),
        key=base64url.encode(key),
    )


def open_envelope(head: Head, path: Path) -> Iterator[bytes]:
    """Yield the content of a complete envelope, part by part, each authenticated before it is yielded.

    Whoever writes the parts away MUST discard them if this raises.

    Raises:
        SealBroken: a piece was altered, is missing or too many, or the content is not what the head says.
    """
    state = sodium.crypto_secretstream_xchacha20poly1305_state()
    whole = hashlib.sha256()
    try:
        sodium.crypto_secretstream_xchacha20poly1305_init_pull(
            state, base64url.decode(head.stream), base64url.decode(head.key)
        )
        with path.open("rb") as file:
            last = _count(head.size) - 1
            for number in range(last + 1):
                sealed = file.read(piece_length(head, number))
                part, tag = sodium.crypto_secretstream_xchacha20poly1305_pull(state, sealed, None)
                if (tag == _LAST) != (number == last):
                    raise SealBroken("expected the last piece last")
                whole.update(part)
                yield part
            if file.read(1):
                raise SealBroken("expected no more pieces")
    except (CryptoError, ValueError) as exc:
        raise SealBroken("expected the pieces as they were sealed") from exc
    if not hmac.compare_digest(whole.hexdigest(), head.content):
        raise SealBroken("expected the content that the head names")


def _count(size: int) -> int:
    return max(1, -(-size // PIECE_SIZE))


def _pieces(content: Iterable[bytes]) -> Iterator[bytes]:
    """Cut parts of any length into pieces; an empty content is one empty piece."""
    held = bytearray()
    empty = True
    for part in content:
        held += part
        while len(held) >= PIECE_SIZE:
            yield bytes(held[:PIECE_SIZE])
            del held[:PIECE_SIZE]
            empty = False
    if held or empty:
        yield bytes(held)


def _with_last(pieces: Iterator[bytes]) -> Iterator[tuple[bytes, bool]]:
    current = next(pieces)
    for following in pieces:
        yield current, False
        current = following
    yield current, True
