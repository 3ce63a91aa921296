"""Notarization: fingerprints of documents under one signed entry, each with a compact proof of its own.

The fingerprint of a document is the SHA-256 of its bytes. A leaf is the salted commitment to a fingerprint,
``SHA-256(0x02 || salt || fingerprint)``: without the salt, whoever reads the ledger could hash every document
of a guessable form (a report with four unknown digits) and find the one on record. The prefix 0x02 keeps
leaves apart from inner nodes (0x01) and from leaves of the log (0x00). Above the leaves the tree is that of
RFC 9162, section 2.1.1. The entry states root and count; position, salt and path are in the proof, which goes
to whoever holds the document. Dropping every copy of the salt erases the fingerprint and nothing else.

Why this form: decision 0012.
"""

from __future__ import annotations

import hashlib
import secrets
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ledger import canonical
from ledger.canonical import JsonValue
from ledger.commitments import SALT_SIZE, commit
from ledger.entries import Entry
from ledger.errors import InvalidInclusionProof, InvalidNotarization, NotCanonical, Refusal
from ledger.merkle import HASH_SIZE, node_hash, verify_inclusion
from ledger.rules import shapes
from ledger.rules.evidence import MAX_FINGERPRINTS

__all__ = [
    "MAX_FINGERPRINTS",
    "NOTARIZE",
    "Batch",
    "Place",
    "Proof",
    "fingerprint_file",
    "notarize_digests",
]

NOTARIZE = "evidence.notarize"

_ALGORITHM = "sha-256"
_VERSION = 1
_MAX_PATH = (MAX_FINGERPRINTS - 1).bit_length()
_MAX_PROOF_SIZE = 16 * 1024
_ITEM = HASH_SIZE + SALT_SIZE

_PROOF = shapes.record(
    {
        "v": shapes.constant(_VERSION),
        "net": shapes.SENTENCE,
        "genesis": shapes.DIGEST,
        "notarization": shapes.identifier("notarization"),
        "txid": shapes.DIGEST,
        "index": shapes.COUNT,
        "alg": shapes.constant(_ALGORITHM),
        "digest": shapes.DIGEST,
        "salt": shapes.DIGEST,
        "position": shapes.COUNT,
        "count": shapes.POSITIVE,
        "path": shapes.list_of(shapes.DIGEST, most=_MAX_PATH, distinct=False),
    }
)


def fingerprint_file(path: Path) -> bytes:
    """Return the SHA-256 of a file of any size, read in pieces; 32 bytes.

    Raises:
        OSError: the file cannot be read.
    """
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").digest()


@dataclass(frozen=True)
class Place:
    """Where the entry of a batch stands, and on which ledger: network, genesis hash, txid, log index."""

    net: str
    genesis: str
    txid: str
    index: int


@dataclass(frozen=True)
class Batch:
    """1 to 1,000 fingerprints with their salts, and the tree over them.

    Attributes:
        notarization: the id of the batch.
        digests: the fingerprints, 32 bytes each; the same document may stand there twice.
        salts: one of 32 bytes for each.
        levels: the tree, leaves first, root last.
    """

    notarization: str
    digests: tuple[bytes, ...]
    salts: tuple[bytes, ...] = field(repr=False)
    levels: tuple[Sequence[bytes], ...] = field(repr=False)

    @property
    def root(self) -> bytes:
        """The root that the entry states."""
        return self.levels[-1][0]

    def body(self, *, kind: str | None = None, note: str | None = None) -> dict[str, JsonValue]:
        """Return the body of the entry ``evidence.notarize``.

        Args:
            kind: what sort of documents, at most 64 characters; every member can read it.
            note: words of the notarizing member, at most 256 characters; every member can read them.
        """
        body: dict[str, JsonValue] = {
            "notarization": self.notarization,
            "alg": _ALGORITHM,
            "count": len(self.digests),
            "root": self.root.hex(),
        }
        return body | {name: text for name, text in (("kind", kind), ("note", note)) if text}

    def path(self, position: int) -> tuple[bytes, ...]:
        """Return the audit path of one leaf (RFC 9162, section 2.1.3.1), at most ten hashes."""
        path = []
        for level in self.levels[:-1]:
            sibling = position ^ 1
            if sibling < len(level):
                path.append(level[sibling])
            position >>= 1
        return tuple(path)

    def proof(self, position: int, place: Place) -> Proof:
        """Return the proof of one document, once the entry has its place in the log."""
        digest, salt = self.digests[position], self.salts[position]
        return Proof(place, self.notarization, position, len(self.digests), digest, salt, self.path(position))

    def encode(self) -> bytes:
        """Return fingerprints and salts, 64 bytes for each document, for the notarizing member's store."""
        return b"".join(part for pair in zip(self.digests, self.salts, strict=True) for part in pair)

    @classmethod
    def decode(cls, notarization: str, data: bytes) -> Batch:
        """Read what ``encode`` wrote."""
        items = [data[start : start + _ITEM] for start in range(0, len(data), _ITEM)]
        return notarize_digests(
            [item[:HASH_SIZE] for item in items],
            notarization=notarization,
            salts=[item[HASH_SIZE:] for item in items],
        )


def notarize_digests(
    digests: Sequence[bytes], *, notarization: str, salts: Sequence[bytes] | None = None
) -> Batch:
    """Build the tree over a batch of fingerprints, in one pass of one hash for each leaf and each node.

    Args:
        digests: 1 to 1,000 fingerprints of 32 bytes.
        notarization: a fresh id, from ``new_id("notarization", clock)``.
        salts: one of 32 random bytes for each; drawn here if left out.

    Raises:
        ValueError: too few or too many, or one of another length.
    """
    count = len(digests)
    if not 1 <= count <= MAX_FINGERPRINTS:
        raise ValueError(f"expected 1 to {MAX_FINGERPRINTS} fingerprints, got {count}")
    if salts is None:
        drawn = secrets.token_bytes(SALT_SIZE * count)
        salts = [drawn[start : start + SALT_SIZE] for start in range(0, len(drawn), SALT_SIZE)]
    if {len(digest) for digest in digests} != {HASH_SIZE} or {len(salt) for salt in salts} != {SALT_SIZE}:
        raise ValueError(f"expected fingerprints of {HASH_SIZE} bytes and salts of {SALT_SIZE}")
    level: Sequence[bytes] = [_leaf(digest, salt) for digest, salt in zip(digests, salts, strict=True)]
    levels = [level]
    while len(level) > 1:
        parents = [node_hash(level[i], level[i + 1]) for i in range(0, len(level) - 1, 2)]
        if len(level) % 2:
            parents.append(level[-1])
        level = parents
        levels.append(level)
    return Batch(notarization, tuple(digests), tuple(salts), tuple(levels))


@dataclass(frozen=True)
class Proof:
    """What shows that one document was notarized, given the ledger or an evidence bundle of it.

    Attributes:
        place: where the entry stands.
        notarization: the id of the batch.
        position: which of the batch's documents, from 0.
        count: documents in the batch.
        digest: the fingerprint, 32 bytes.
        salt: 32 bytes.
        path: the audit path to the root that the entry states.
    """

    place: Place
    notarization: str
    position: int
    count: int
    digest: bytes
    salt: bytes = field(repr=False)
    path: tuple[bytes, ...] = field(repr=False)

    def as_json(self) -> dict[str, Any]:
        """Return the proof as the object that a ``.parley-proof`` file holds."""
        return {
            "v": _VERSION,
            "net": self.place.net,
            "genesis": self.place.genesis,
            "notarization": self.notarization,
            "txid": self.place.txid,
            "index": self.place.index,
            "alg": _ALGORITHM,
            "digest": self.digest.hex(),
            "salt": self.salt.hex(),
            "position": self.position,
            "count": self.count,
            "path": [node.hex() for node in self.path],
        }

    def encode(self) -> bytes:
        """Write a ``.parley-proof`` file: canonical JSON, at most about 1.3 KB."""
        return canonical.encode(self.as_json())

    @classmethod
    def parse(cls, data: bytes) -> Proof:
        """Read a ``.parley-proof`` file.

        Raises:
            InvalidNotarization: not canonical JSON, or not the form of a proof.
        """
        if len(data) > _MAX_PROOF_SIZE:
            raise InvalidNotarization("proof", f"expected at most {_MAX_PROOF_SIZE} bytes, got {len(data)}")
        try:
            value = canonical.decode(data)
        except NotCanonical as exc:
            raise InvalidNotarization("proof", str(exc)) from exc
        return cls.of(value)

    @classmethod
    def of(cls, value: object) -> Proof:
        """Read the object that ``as_json`` returns.

        Raises:
            InvalidNotarization: it does not have that form.
        """
        try:
            found: Mapping[str, Any] = _PROOF(value, "proof")
        except Refusal as exc:
            raise InvalidNotarization("proof", str(exc)) from exc
        return cls(
            Place(found["net"], found["genesis"], found["txid"], found["index"]),
            found["notarization"],
            found["position"],
            found["count"],
            bytes.fromhex(found["digest"]),
            bytes.fromhex(found["salt"]),
            tuple(bytes.fromhex(node) for node in found["path"]),
        )

    def check(self, entry: Entry, index: int) -> None:
        """Check that the fingerprint is under the root of ``entry``, which stands at ``index`` and is valid.

        Raises:
            InvalidNotarization: the entry is another one, or the path does not lead to its root.
        """
        if entry.txid != self.place.txid or index != self.place.index or entry.net != self.place.net:
            raise InvalidNotarization("txid", "expected the entry that the proof names, got another one")
        body = entry.body
        if entry.type != NOTARIZE or body["notarization"] != self.notarization:
            raise InvalidNotarization("notarization", f"expected the batch of an entry {NOTARIZE}")
        if body["count"] != self.count:
            raise InvalidNotarization("count", f"expected {body['count']} documents, got {self.count}")
        leaf, root = _leaf(self.digest, self.salt), bytes.fromhex(body["root"])
        try:
            verify_inclusion(root, self.count, self.position, leaf, self.path)
        except InvalidInclusionProof as exc:
            raise InvalidNotarization("path", f"the fingerprint is not in the batch: {exc}") from exc


def _leaf(digest: bytes, salt: bytes) -> bytes:
    return bytes.fromhex(commit(digest, salt)[0])
