"""SHA-256 in lanes, against hashlib."""

from __future__ import annotations

import hashlib

import numpy as np
import pytest
from numpy.typing import NDArray

from connectors import sha256_lanes
from connectors.sha256_lanes import LANES


def as_bytes(digest: NDArray[np.uint32]) -> bytes:
    return digest.astype(">u4").tobytes()


@pytest.mark.parametrize("prefix_size", [0, 17, 64, 65])
@pytest.mark.parametrize("count", [1, LANES - 1, LANES, 3 * LANES + 1])
def test_messages_of_all_lengths_around_a_block(prefix_size: int, count: int) -> None:
    draw = np.random.default_rng(7)
    sizes = draw.integers(0, 200, count)
    sizes[: min(count, 12)] = [0, 55, 56, 63, 64, 119, 120, 127, 128, 1, 47, 38][:count]
    ends = np.concatenate([[0], np.cumsum(sizes)]).astype(np.int64)
    content = draw.integers(0, 256, ends[-1] + 1, dtype=np.uint8)
    prefix = draw.integers(0, 256, prefix_size, dtype=np.uint8)
    found = sha256_lanes.digests(prefix, ends, content)
    for number, digest in enumerate(found):
        message = prefix.tobytes() + content[ends[number] : ends[number + 1]].tobytes()
        assert as_bytes(digest) == hashlib.sha256(message).digest()


@pytest.mark.parametrize("count", [0, 1, LANES, LANES + 1])
def test_parents_are_those_of_rfc_6962(count: int) -> None:
    nodes = np.random.default_rng(8).integers(0, 2**32, (2 * count, 8), dtype=np.uint32)
    found = sha256_lanes.parents(nodes)
    assert len(found) == count
    for number, digest in enumerate(found):
        pair = as_bytes(nodes[2 * number]) + as_bytes(nodes[2 * number + 1])
        assert as_bytes(digest) == hashlib.sha256(b"\x01" + pair).digest()
