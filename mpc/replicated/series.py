"""Trigonometric series of shared numbers: one sharing by party 0 and one product, however many the terms.

Sines and cosines of a sum of shares are exact: with x = s + t modulo 2^64, s at party 0 and t at parties 1
and 2, and complex coefficients c_k,

    Re(c_k exp(i w k x)) = cos(w k s) Re(c_k exp(i w k t)) - sin(w k s) Im(c_k exp(i w k t))

and a period that divides 2^64 makes the wrap of the ring invisible. Party 0 shares its sines and cosines, the
other two know theirs with the coefficients in them, and the 2 K products are added before they are masked.
Nothing is compared and nothing truncated, however many fractional bits x has.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from mpc.errors import InvalidInput
from mpc.replicated.sharing import Shared

if TYPE_CHECKING:
    from mpc.replicated.runtime import Runtime

__all__ = ["Series"]

Words = NDArray[np.uint64]


@dataclass(frozen=True)
class Series:
    """A sum of sines and cosines, without a constant.

    Attributes:
        period_bits: the period is 2^period_bits.
        sines: coefficients of sin(2 pi k x / period), k from 1.
        cosines: as many, of cos(2 pi k x / period).
        left: fractional bits of party 0's sines and cosines.
        right: fractional bits of the others', with the coefficients in them.
    """

    period_bits: int
    sines: tuple[float, ...]
    cosines: tuple[float, ...]
    left: int
    right: int

    @property
    def fraction(self) -> int:
        """Fractional bits of the result."""
        return self.left + self.right

    def of(self, rt: Runtime, a: Shared, fraction: int) -> Shared:
        """Evaluate the series.

        Args:
            rt: the run.
            a: shared int64[n], x with ``fraction`` fractional bits.
            fraction: 7 to 57.

        Returns:
            int64[n] with `fraction` of this series fractional bits; magnitudes have to stay below 2^63.

        Raises:
            InvalidInput: ``a`` has more than one axis, or such a fraction no place in the ring.

        Security: semi-honest, one of three; party 0 sees s, uniform by itself. Leaks: nothing. Cost: two
        rounds; 8 bytes a value and party, and 16 a term more from party 0. Source: Fourier series on shares:
        Zheng, Zhang, Chow, Peng, Tan, Li, Yin 2023, "Secure Softmax/Sigmoid for Machine-learning
        Computation"; here with replicated shares and fitted coefficients.
        """
        if len(a.shape) != 1 or not 7 <= fraction <= 57:
            raise InvalidInput(f"expected one axis and 7 to 57 fractional bits, got {a.shape} and {fraction}")
        period, terms = self.period_bits + fraction, len(self.sines)
        own = other = None
        if rt.rank == 0:
            turned = _powers(a.shares[0] + a.shares[1], period, terms)
            own = np.concatenate([_fixed(turned.real, self.left), _fixed(turned.imag, self.left)])
        if rt.rank in (1, 2):
            coefficients = np.array(self.cosines) - 1j * np.array(self.sines)
            turned = _powers(a.shares[2 - rt.rank], period, terms) * coefficients[:, None]
            other = np.concatenate([_fixed(turned.real, self.right), _fixed(-turned.imag, self.right)])
        left = rt.input_words("input", 0, own, (2 * terms, a.rows), add=True)
        products: Words | None = None
        if rt.computes:
            products = rt.zero((a.rows,))
        if products is not None and other is not None:
            # The known share is party 1's second and party 2's first; see the formula of a product.
            factor = left[0] if rt.rank == 1 else left[0] + left[1]
            products += (factor * other).sum(axis=0, dtype=np.uint64)
        return Shared(rt.reshare("product", products, (a.rows,)))


def _powers(words: Words, period: int, terms: int) -> NDArray[np.complex128]:
    """exp(i k angle) for k from 1, [terms, n], where 2^period words are a full turn."""
    inside = words & np.uint64(2**period - 1)
    turns = np.exp(2j * np.pi * (inside.astype(np.float64) * 2.0**-period))
    return np.cumprod(np.broadcast_to(turns, (terms, len(words))), axis=0)


def _fixed(values: NDArray[np.float64], fraction: int) -> Words:
    words: Words = np.rint(values * 2.0**fraction).astype(np.int64).view(np.uint64)
    return words
