"""Uploads to a mirror (C2SP tlog-mirror, ``add-entries``): the bytes of a request and of its interim answers.

A request names a log and an interval of its entries. It carries the first of the entry packages into which
the draft cuts it, at multiples of 256, each with a proof that ties it to the checkpoint at the end.
"""

from __future__ import annotations

import base64
import binascii
import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

from ledger.checkpoints import MAX_SIZE
from ledger.errors import MalformedNote
from ledger.merkle import HASH_SIZE
from ledger.subtrees import HashOf, subtree_proof
from ledger.tiles import TILE_WIDTH, encode_entries

__all__ = [
    "INFO_MEDIA",
    "MAX_PACKAGES",
    "MirrorInfo",
    "Package",
    "Read",
    "Span",
    "UploadHeader",
    "encode_upload",
]

MAX_PACKAGES = 32
"""Packages that a client puts into one request at most."""

INFO_MEDIA = "text/x.tlog.mirror-info"

Read = Callable[[int], bytes]
"""Returns as many of the next bytes as asked for, fewer at the end only."""

_MAX_PROOF = 63
_MAX_TICKET = 4096
_NUMBER = re.compile(r"0|[1-9][0-9]{0,18}")


@dataclass(frozen=True)
class Span:
    """One package's entries, ``start`` to ``end``, in the subtree ``tree_start`` to ``end``."""

    tree_start: int
    start: int
    end: int


@dataclass(frozen=True)
class UploadHeader:
    """What stands before the packages.

    Attributes:
        origin: the log.
        start: index of the first entry of the interval.
        end: size of the checkpoint at its end.
        ticket: what the mirror gave the client; opaque to it.
    """

    origin: str
    start: int
    end: int
    ticket: bytes = b""

    def encode(self) -> bytes:
        """Write the header."""
        origin = self.origin.encode()
        interval = self.start.to_bytes(8, "big") + self.end.to_bytes(8, "big")
        return _with_length(origin) + interval + _with_length(self.ticket)

    @classmethod
    def read(cls, read: Read) -> UploadHeader:
        """Read the header off a body.

        Raises:
            MalformedNote: the body ends in it, or it does not have that form.
        """
        try:
            origin = _exactly(read, int.from_bytes(_exactly(read, 2), "big")).decode()
        except UnicodeDecodeError as exc:
            raise MalformedNote("expected an origin in UTF-8") from exc
        start, end = (int.from_bytes(_exactly(read, 8), "big") for _ in range(2))
        ticket = _exactly(read, int.from_bytes(_exactly(read, 2), "big"))
        if not start <= end <= MAX_SIZE:
            raise MalformedNote(f"expected a start and an end up to {MAX_SIZE}")
        return cls(origin, start, end, ticket)

    def spans(self) -> Iterator[Span]:
        """Cut the interval into packages."""
        start = self.start
        while start < self.end:
            tree_start = start - start % TILE_WIDTH
            end = min(self.end, tree_start + TILE_WIDTH)
            yield Span(tree_start, start, end)
            start = end


@dataclass(frozen=True)
class Package:
    """Some entries and the subtree consistency proof that they are the log's."""

    entries: tuple[bytes, ...]
    proof: tuple[bytes, ...]

    def encode(self) -> bytes:
        """Write the package."""
        return encode_entries(self.entries) + bytes([len(self.proof)]) + b"".join(self.proof)

    @classmethod
    def read(cls, read: Read, count: int) -> Package:
        """Read a package of ``count`` entries off a body.

        Raises:
            MalformedNote: the body ends in it, or its proof has more than 63 hashes.
        """
        entries = tuple(_exactly(read, int.from_bytes(_exactly(read, 2), "big")) for _ in range(count))
        hashes = _exactly(read, 1)[0]
        if hashes > _MAX_PROOF:
            raise MalformedNote(f"expected at most {_MAX_PROOF} hashes, got {hashes}")
        return cls(entries, tuple(_exactly(read, HASH_SIZE) for _ in range(hashes)))


@dataclass(frozen=True)
class MirrorInfo:
    """How to go on: the size of a pending checkpoint, the next entry wanted, and a ticket."""

    size: int
    next: int
    ticket: bytes = b""

    def encode(self) -> bytes:
        """Write the body of a 202 or 409 answer."""
        return f"{self.size}\n{self.next}\n{base64.b64encode(self.ticket).decode()}\n".encode()

    @classmethod
    def parse(cls, body: bytes) -> MirrorInfo:
        """Read the body of a 202 or 409 answer.

        Raises:
            MalformedNote: another form.
        """
        try:
            lines = body.decode("ascii").split("\n")
            ticket = base64.b64decode(lines[2], validate=True) if len(lines) == 4 else b""
        except (UnicodeDecodeError, binascii.Error) as exc:
            raise MalformedNote("expected two numbers and a ticket in base64") from exc
        if len(lines) != 4 or not all(_NUMBER.fullmatch(line) for line in lines[:2]):
            raise MalformedNote("expected two numbers and a ticket, each on a line")
        info = cls(int(lines[0]), int(lines[1]), ticket)
        if max(info.size, info.next) > MAX_SIZE or len(ticket) > _MAX_TICKET or info.encode() != body:
            raise MalformedNote(f"expected numbers up to {MAX_SIZE} and a ticket of {_MAX_TICKET} bytes")
        return info


def encode_upload(
    header: UploadHeader,
    entries: Callable[[int, int], Sequence[bytes]],
    hash_of: HashOf,
    *,
    max_packages: int = MAX_PACKAGES,
    max_bytes: int = 1 << 25,
) -> bytes:
    """Write a request with the first packages of its interval.

    Args:
        header: log and interval.
        entries: returns the log's entries from one index up to another.
        hash_of: the log's tree, of at least ``header.end`` leaves.
        max_packages: how many packages at most.
        max_bytes: the last package is the one that reaches this size.
    """
    body = bytearray(header.encode())
    for number, span in enumerate(header.spans()):
        if number >= max_packages or len(body) >= max_bytes:
            break
        proof = subtree_proof(span.tree_start, span.end, header.end, hash_of)
        body += Package(tuple(entries(span.start, span.end)), tuple(proof)).encode()
    return bytes(body)


def _with_length(data: bytes) -> bytes:
    return len(data).to_bytes(2, "big") + data


def _exactly(read: Read, size: int) -> bytes:
    data = read(size) if size else b""
    if len(data) != size:
        raise MalformedNote(f"the body ends within {size} bytes that belong together")
    return data
