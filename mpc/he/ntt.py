"""Products of polynomials modulo z^N + 1 and a prime below 2^60, through the number-theoretic transform.

Public arithmetic on the residues of ciphertexts and plaintexts; no key comes here. Sums of transformed
products are kept in 128 bits and reduced once. Source: Longa, Naehrig 2016, algorithms 1 and 2;
multiplication by known factors: Shoup, as in Harvey 2014.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Final

import numpy as np
from numpy.typing import NDArray

from mpc.errors import InvalidInput
from mpc.he import ntt_loops

__all__ = ["Products", "Transform"]

_Residues = NDArray[np.uint64]
_WORD: Final = 2**64
_MOST_TERMS: Final = 128
"""Products of two residues below 2^60 whose sum fits 128 bits, with room to spare."""


@dataclass(frozen=True)
class Transform:
    """The transform of one degree, a power of two, modulo one prime p = 1 modulo twice the degree."""

    degree: int
    prime: int
    _roots: _Residues = field(init=False, repr=False)
    _inverses: _Residues = field(init=False, repr=False)
    _scale: _Residues = field(init=False, repr=False)

    def __post_init__(self) -> None:
        if self.degree & (self.degree - 1) or self.prime % (2 * self.degree) != 1 or self.prime >= 2**60:
            raise InvalidInput(f"expected a prime below 2^60 that is 1 modulo {2 * self.degree}")
        root = self._root()
        order = _bit_reversed(self.degree)
        for name, base in (("_roots", root), ("_inverses", pow(root, -1, self.prime))):
            powers = [1] * self.degree
            for at in range(1, self.degree):
                powers[at] = powers[at - 1] * base % self.prime
            object.__setattr__(self, name, self._factors([powers[at] for at in order]))
        object.__setattr__(self, "_scale", self._factors([pow(self.degree, -1, self.prime)]))

    def forward(self, values: _Residues) -> None:
        """Transform in place: uint64[degree], below the prime."""
        ntt_loops.forward(values, self._roots, np.uint64(self.prime))

    def inverse(self, values: _Residues) -> None:
        """Transform back in place."""
        ntt_loops.inverse(values, self._inverses, self._scale, np.uint64(self.prime))

    def _factors(self, values: list[int]) -> _Residues:
        """Factors with their quotients, floor(w 2^64 / p), by which a product needs no division."""
        return np.array([values, [one * _WORD // self.prime for one in values]], dtype=np.uint64)

    def _root(self) -> int:
        """A root of z^degree + 1."""
        for base in range(2, self.prime):
            root = pow(base, (self.prime - 1) // (2 * self.degree), self.prime)
            if pow(root, self.degree, self.prime) == self.prime - 1:
                return root
        raise InvalidInput(f"expected a prime, got {self.prime}")


class Products:
    """Sums of products of vectors of polynomials with polynomials, all transformed.

    Args:
        transforms: one a prime.
        sums: how many.
        parts: polynomials of a vector.
    """

    def __init__(self, transforms: tuple[Transform, ...], sums: int, parts: int) -> None:
        self._transforms = transforms
        shape = (sums, parts, len(transforms), transforms[0].degree)
        self._low, self._high = np.zeros(shape, np.uint64), np.zeros(shape, np.uint64)
        self._terms = 0

    def add(self, vectors: _Residues, by: _Residues) -> None:
        """Add the product of each vector with a polynomial of its own for each sum.

        Args:
            vectors: uint64[terms, parts, primes, degree], at most 64.
            by: uint64[terms, sums, primes, degree].
        """
        if self._terms + len(vectors) > _MOST_TERMS:
            self._low, self._terms = self._reduced(), 1
            self._high = np.zeros_like(self._low)
        ntt_loops.multiply_add(self._low, self._high, vectors, by)
        self._terms += len(vectors)

    def values(self) -> _Residues:
        """The sums, transformed back: uint64[sums, parts, primes, degree]."""
        found = self._reduced()
        for total in found:
            for part in total:
                for values, transform in zip(part, self._transforms, strict=True):
                    transform.inverse(values)
        return found

    def _reduced(self) -> _Residues:
        found = self._low.copy()
        for at, one in enumerate(self._transforms):
            word = one._factors([_WORD % one.prime])
            ntt_loops.reduce(found[:, :, at], self._high[:, :, at], word, np.uint64(one.prime))
        return found


def _bit_reversed(size: int) -> list[int]:
    bits = size.bit_length() - 1
    return [int(f"{at:0{bits}b}"[::-1], 2) if bits else 0 for at in range(size)]
