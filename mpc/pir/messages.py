"""The messages of a keyword query. Each names the version of the list, and decodes to exactly its shape."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final, Self

import numpy as np
from numpy.typing import NDArray

from mpc import wire
from mpc.errors import MalformedMessage, StaleVersion
from mpc.oprf import rfc9497
from mpc.pir.manifest import DIGEST_BYTES, Manifest
from mpc.ristretto255 import ELEMENT_BYTES

MAX_KEYS: Final = 10_000
QUERY_WORD_BYTES: Final = 4
ANSWER_WORD_BYTES: Final = 2


@dataclass(frozen=True)
class BlindedKeys:
    """Client to server: q blinded keys.

    Attributes:
        version: digest of the manifest.
        elements: q elements, 32 bytes each.
    """

    version: bytes
    elements: bytes

    def __len__(self) -> int:
        return len(self.elements) // ELEMENT_BYTES

    def encode(self) -> bytes:
        """Encode for the wire."""
        return _encode(self.version, _rows(self.elements, ELEMENT_BYTES))

    @classmethod
    def decode(cls, payload: bytes, manifest: Manifest) -> Self:
        """Decode 1 to `MAX_KEYS` elements; membership in the group is checked by `rfc9497.evaluate`.

        Raises:
            MalformedMessage: another form, or another number of elements.
            StaleVersion: the message names another version than ``manifest``.
        """
        version, elements = _decode("blinded", payload, manifest, ELEMENT_BYTES, None)
        return cls(version, elements.tobytes())


@dataclass(frozen=True)
class EvaluatedKeys:
    """Server to client: the blinded keys under the server's key, and the proof.

    Attributes:
        elements: q elements, 32 bytes each.
        proof: 64 bytes.
    """

    elements: bytes
    proof: bytes

    def encode(self) -> bytes:
        """Encode for the wire."""
        rows = _rows(self.elements, ELEMENT_BYTES)
        return wire.encode_array(rows) + wire.encode_array(np.frombuffer(self.proof, dtype=np.uint8))

    @classmethod
    def decode(cls, payload: bytes, count: int) -> Self:
        """Decode exactly ``count`` elements.

        Raises:
            MalformedMessage: another form, or another number of elements.
        """
        reader = wire.Reader("evaluated", payload)
        elements = reader.array("elements", "u1", (count, ELEMENT_BYTES))
        proof = reader.array("proof", "u1", (rfc9497.PROOF_BYTES,))
        reader.finish()
        return cls(elements.tobytes(), proof.tobytes())


@dataclass(frozen=True, eq=False)
class Queries:
    """Client to server: q encrypted choices of a bin.

    Attributes:
        version: digest of the manifest.
        vectors: uint32[q, columns].
    """

    version: bytes
    vectors: NDArray[np.uint32]

    def encode(self) -> bytes:
        """Encode for the wire."""
        return _encode(self.version, _bytes_of(self.vectors, "<u4"))

    @classmethod
    def joined(cls, parts: Sequence[Self]) -> Self:
        """Join messages of one version."""
        return cls(parts[0].version, np.concatenate([part.vectors for part in parts]))

    @classmethod
    def decode(cls, payload: bytes, manifest: Manifest, count: int | None = None) -> Self:
        """Decode ``count`` vectors of one word a column, or any number from 1 to `MAX_KEYS`.

        Raises:
            MalformedMessage: another form, or another number of vectors.
            StaleVersion: the message names another version than ``manifest``.
        """
        width = QUERY_WORD_BYTES * manifest.shape.columns
        version, words = _decode("query", payload, manifest, width, count)
        return cls(version, words.view("<u4").astype(np.uint32, copy=False))


@dataclass(frozen=True, eq=False)
class Answers:
    """Server to client: the bin each query chose, encrypted; of one size, whether it holds the key or not.

    Attributes:
        vectors: uint16[q, rows].
    """

    vectors: NDArray[np.uint16]

    def encode(self) -> bytes:
        """Encode for the wire."""
        return wire.encode_array(_bytes_of(self.vectors, "<u2"))

    @classmethod
    def joined(cls, parts: Sequence[Self]) -> Self:
        """Join the answers of several messages."""
        return cls(np.concatenate([part.vectors for part in parts]))

    @classmethod
    def decode(cls, payload: bytes, manifest: Manifest, count: int) -> Self:
        """Decode exactly ``count`` vectors of one word a row.

        Raises:
            MalformedMessage: another form, or another number of vectors.
        """
        reader = wire.Reader("answer", payload)
        words = reader.array("vectors", "u1", (count, ANSWER_WORD_BYTES * manifest.shape.rows))
        reader.finish()
        return cls(words.view("<u2").astype(np.uint16, copy=False))


def _encode(version: bytes, rows: NDArray[np.uint8]) -> bytes:
    return wire.encode_array(np.frombuffer(version, dtype=np.uint8)) + wire.encode_array(rows)


def _decode(
    what: str, payload: bytes, manifest: Manifest, width: int, count: int | None
) -> tuple[bytes, NDArray[np.uint8]]:
    reader = wire.Reader(what, payload)
    version = reader.array("version", "u1", (DIGEST_BYTES,)).tobytes()
    if version != manifest.digest:
        raise StaleVersion(manifest.number)
    rows = reader.array("rows", "u1", (count, width))
    reader.finish()
    if not 1 <= len(rows) <= MAX_KEYS:
        raise MalformedMessage(f"{what}: expected 1 to {MAX_KEYS} rows, got {len(rows)}")
    return version, rows


def _rows(data: bytes, width: int) -> NDArray[np.uint8]:
    return np.frombuffer(data, dtype=np.uint8).reshape(-1, width)


def _bytes_of(words: NDArray[Any], dtype: str) -> NDArray[np.uint8]:
    return np.ascontiguousarray(words, dtype=dtype).view(np.uint8)
