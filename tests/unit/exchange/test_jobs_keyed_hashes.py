"""Keyed hashes of many texts, against hashlib."""

from __future__ import annotations

import hashlib

import numpy as np
import pyarrow as pa
import pytest

from exchange.jobs import keyed_hashes


@pytest.mark.parametrize("few", [0, 1000], ids=["compiled", "hashlib"])
@pytest.mark.parametrize("key", [b"k", bytes(range(32)), bytes(64)])
def test_hashes_are_those_of_blake2b(few: int, key: bytes, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(keyed_hashes, "_FEW", few)
    draw = np.random.default_rng(5)
    texts = [draw.bytes(size) for size in (1, 7, 8, 127, 128, 129, 255, 256, 257, 600, *range(2, 40))]
    array = pa.array([b"left out", *texts], pa.large_binary())[1:]
    expected = [
        int.from_bytes(hashlib.blake2b(text, digest_size=8, key=key).digest(), "little") for text in texts
    ]
    assert keyed_hashes.keyed_hashes(array, key).tolist() == expected


def test_an_empty_text_is_hashed_too(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(keyed_hashes, "_FEW", 0)
    found = keyed_hashes.keyed_hashes(pa.array([b"", b"a"], pa.large_binary()), b"k")
    expected = hashlib.blake2b(b"", digest_size=8, key=b"k").digest()
    assert int(found[0]) == int.from_bytes(expected, "little")
