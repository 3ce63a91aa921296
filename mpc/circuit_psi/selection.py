"""Rows that one party holds and another chooses, as additive shares of the two; a third party deals.

    holder, rows v[n]                chooser, choice c                    dealer
                                                     1. masks a, r  <---  from one seed, to the holder
                                            order o, a[o] - r       <---  to the chooser
      2. c o^-1                <---
      3. v[c o^-1] - a         --->
      share r                          share v[c] - r

c is extended by rows of zeros to a permutation of all n rows and as many zeros as are chosen; o is a random
one. The holder sees one uniform permutation, the chooser masked rows, the dealer nothing. Modulo 2^64.
"""

from __future__ import annotations

import numpy as np
from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes
from numpy.typing import NDArray

from mpc.randomness import random_permutation

NONE = -1
Words = NDArray[np.uint64]


class SeedStream:
    """Randomness that two parties have in common: AES-256 in counter mode under a seed of one use."""

    def __init__(self, seed: bytes) -> None:
        self._encryptor = Cipher(algorithms.AES(seed), modes.CTR(bytes(16))).encryptor()

    def bytes(self, count: int, /) -> bytes:
        """Return the next ``count`` bytes."""
        return self._encryptor.update(bytes(count))

    def words(self, *shape: int) -> Words:
        """Return the next words, uniform."""
        drawn = np.frombuffer(self.bytes(8 * int(np.prod(shape))), "<u8")
        return drawn.astype(np.uint64).reshape(shape)


def masks(seed: bytes, rows: int, chosen: int, columns: int) -> tuple[Words, Words]:
    """The masks a, uint64[rows + chosen, m], of all rows with the zeros, and r, uint64[chosen, m]."""
    stream = SeedStream(seed)
    return stream.words(rows + chosen, columns), stream.words(chosen, columns)


def order(seed: bytes, rows: int, chosen: int) -> NDArray[np.int64]:
    """The random permutation o of ``rows + chosen``."""
    return random_permutation(SeedStream(seed), rows + chosen)


def translation(mask_seed: bytes, order_seed: bytes, rows: int, chosen: int, columns: int) -> Words:
    """The dealer's message to the chooser, a[o] - r: uint64[chosen, m]."""
    a, r = masks(mask_seed, rows, chosen, columns)
    translated: Words = a[order(order_seed, rows, chosen)[:chosen]] - r
    return translated


def arrangement(choice: NDArray[np.int64], rows: int, shuffled: NDArray[np.int64]) -> NDArray[np.int64]:
    """The chooser's message to the holder: uniform, whatever the choice.

    Args:
        choice: int64[chosen], distinct rows, or `NONE` for a row of zeros.
        rows: how many the holder has.
        shuffled: the permutation o.

    Returns:
        int64[rows + chosen]: which row, zeros included, the holder puts at each place.
    """
    chosen = len(choice)
    full = np.where(choice == NONE, rows + np.arange(chosen), choice)
    rest = np.setdiff1d(np.arange(rows + chosen), full, assume_unique=True)
    placed = np.empty(rows + chosen, np.int64)
    placed[shuffled] = np.concatenate([full, rest])
    return placed


def masked(values: NDArray[np.int64], placed: NDArray[np.int64], a: Words) -> Words:
    """The holder's message to the chooser: uint64[rows + chosen, m], uniform to it."""
    zeros = np.zeros((len(placed) - len(values), values.shape[1]), np.int64)
    sent: Words = np.concatenate([values, zeros])[placed].view(np.uint64) - a
    return sent


def opened(sent: Words, shuffled: NDArray[np.int64], translated: Words) -> Words:
    """The chooser's share: uint64[chosen, m]."""
    share: Words = sent[shuffled[: len(translated)]] + translated
    return share
