"""What every set protocol asks of a party's own items, and how it hashes them."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Sequence
from typing import Final

import numpy as np
from numpy.typing import NDArray

from mpc.errors import DuplicateItems, InvalidInput

MAX_ITEM_BYTES: Final = 1024


def check_items(items: Sequence[bytes], most: int) -> None:
    """Check that items are at most ``most``, distinct, and of 1 to `MAX_ITEM_BYTES` bytes each.

    Raises:
        InvalidInput: they are not; `DuplicateItems` counts repeats.
    """
    if len(items) > most:
        raise InvalidInput(f"expected at most {most} items, got {len(items)}")
    misfits = sum(not 0 < len(item) <= MAX_ITEM_BYTES for item in items)
    if misfits:
        raise InvalidInput(f"items are 1 to {MAX_ITEM_BYTES} bytes each: {misfits} of {len(items)} are not")
    repeats = len(items) - len(set(items))
    if repeats:
        raise DuplicateItems(repeats)


def digests(items: Iterable[bytes], key: bytes, size: int) -> NDArray[np.uint8]:
    """Hash byte strings under a key of at most 64 bytes.

    Returns:
        uint8[n, size], size at most 64.

    Security: a pseudorandom function of the items where the key is secret, else a random oracle bound to it.
    Leaks: nothing; local.
    Cost: local; 1 microsecond an item.
    Source: BLAKE2b with a key, RFC 7693.
    """
    keyed, joined = hashlib.blake2b(digest_size=size, key=key), bytearray()
    for item in items:
        state = keyed.copy()
        state.update(item)
        joined += state.digest()
    return np.frombuffer(bytes(joined), np.uint8).reshape(-1, size)
