"""Keyed hashes of many short texts: BLAKE2b (RFC 7693) with 8 bytes of output.

Many are hashed by a compiled loop (``keyed_hash_loops``), without the interpreter lock; few by ``hashlib``,
for which the compiler need not be loaded. The tests compare both.
"""

from __future__ import annotations

import hashlib
from typing import Final

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

__all__ = ["DIGEST_BYTES", "keyed_hashes"]

DIGEST_BYTES: Final = 8
_FEW: Final = 65_536
_BLOCK: Final = 128


def keyed_hashes(texts: pa.LargeBinaryArray, key: bytes) -> NDArray[np.uint64]:
    """Hash each text under ``key``, of 1 to 64 bytes; shape ``(len(texts),)``, digests read little-endian."""
    if len(texts) < _FEW or pc.min(pc.binary_length(texts)).as_py() == 0:
        keyed, digests = hashlib.blake2b(digest_size=DIGEST_BYTES, key=key), bytearray()
        for text in texts.to_pylist():
            one = keyed.copy()
            one.update(text)
            digests += one.digest()
        return np.frombuffer(bytes(digests), dtype="<u8").astype(np.uint64)
    from exchange.jobs import keyed_hash_loops  # loads the compiler

    _, ends, content = texts.buffers()
    out = np.empty(len(texts), np.uint64)
    keyed_hash_loops.hash_all(
        np.frombuffer(key.ljust(_BLOCK, b"\0"), np.uint8),
        len(key),
        np.frombuffer(ends, np.int64, len(texts) + 1, texts.offset * 8),
        np.frombuffer(content, np.uint8),
        out,
    )
    return out
