"""Minima on shares: a tournament of pairs."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from mpc.replicated.runtime import Runtime
from mpc.replicated.sharing import Shared

__all__ = ["columns", "masked", "minimum"]


def masked(rt: Runtime, values: Shared, membership: Shared, bits: int) -> Shared:
    """Values [n] where they belong to a group, and 2^bits elsewhere: [groups, n]. One round."""
    beyond = rt.add_public(rt.scale(values, 0), 2**bits)
    count = membership.shape[1]
    products = rt.mul(membership, rt.sub(values, beyond).reshape(1, count))
    return rt.add(products, beyond.reshape(1, count))


def minimum(rt: Runtime, values: Shared, bits: int) -> Shared:
    """The least of each row of [groups, n], magnitudes at most 2^bits.

    Security: as the runtime's. Leaks: nothing. Cost: ceil(log2 n) times a comparison and a selection, of
    groups x (n - 1) values in all. Source: folklore.
    """
    groups, count = values.shape
    while count > 1:
        half = count // 2
        left, right = values[:, :half], values[:, half : 2 * half]
        one, other = left.reshape(groups * half), right.reshape(groups * half)
        better = rt.select(rt.less(one, other, bits=min(bits + 2, 64)), one, other).reshape(groups, half)
        values = better if count % 2 == 0 else columns([better, values[:, 2 * half :]])
        count = values.shape[1]
    return values.reshape(groups)


def columns(parts: Sequence[Shared]) -> Shared:
    """Columns [n] or blocks of columns [n, k] beside one another."""
    blocks = [part.shares if part.shares.ndim == 3 else part.shares[:, :, None] for part in parts]
    return Shared(np.concatenate(blocks, axis=2))
