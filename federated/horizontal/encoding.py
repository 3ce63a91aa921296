"""Numbers as words of 64 bits that may be added up over the owners, each after a guard of its range.

Sums of columns are of any magnitude: they travel as three limbs of 58 bits with 64 fractional bits, so that
none is carried. Updates are small: one word each, with 24 fractional bits, times the owner's rows.
"""

from __future__ import annotations

from collections.abc import Sequence
from fractions import Fraction
from typing import Final

import numpy as np
from numpy.typing import NDArray

from federated.horizontal.models import Floats
from federated.horizontal.settings import MAX_CLIP, MAX_ROWS
from mpc.errors import ValueOutOfRange

__all__ = ["FRACTION", "LIMBS", "from_limbs", "from_words", "to_limbs", "to_words"]

Words = NDArray[np.uint64]

FRACTION: Final = 24
"""Fractional bits of an update and of a mean loss."""
LIMBS: Final = 3
_LIMB_BITS: Final = 58
_SUM_FRACTION: Final = 64
_SUM_BITS: Final = LIMBS * _LIMB_BITS
_LARGEST_SUM: Final = 2.0**100
"""Of thirty owners' sums below it, with 64 fractional bits, 170 bits hold the total."""


def to_limbs(sums: Sequence[float], names: Sequence[str]) -> Words:
    """Encode sums over own rows: uint64[3 n].

    Raises:
        ValueOutOfRange: a sum is not finite or 2^100 or more; it is named.
    """
    mask, modulus, limbs = 2**_LIMB_BITS - 1, 2**_SUM_BITS, list[int]()
    for total, name in zip(sums, names, strict=True):
        if not abs(total) < _LARGEST_SUM:
            raise ValueOutOfRange(f"{name}: the sum over own rows is not below 2^100 in magnitude")
        encoded = round(Fraction(total) * 2**_SUM_FRACTION) % modulus
        limbs += [encoded >> (_LIMB_BITS * place) & mask for place in range(LIMBS)]
    return np.array(limbs, dtype=np.uint64)


def from_limbs(words: Words) -> list[float]:
    """Read the total of what `to_limbs` wrote: n sums."""
    modulus, read = 2**_SUM_BITS, list[float]()
    for limbs in words.reshape(-1, LIMBS).tolist():
        total = sum(limb << (_LIMB_BITS * place) for place, limb in enumerate(limbs)) % modulus
        signed = total - modulus if total >= modulus // 2 else total
        read.append(float(Fraction(signed, 2**_SUM_FRACTION)))
    return read


def to_words(values: Floats, rows: int, what: str) -> Words:
    """Encode values, weighted by own rows: uint64[n].

    Raises:
        ValueOutOfRange: a value is not finite or above `MAX_CLIP` in magnitude, counted; or there are more
            than `MAX_ROWS` rows.
    """
    misfits = int(np.count_nonzero(~(np.abs(values) <= MAX_CLIP)))
    if misfits:
        raise ValueOutOfRange(f"{what}: {misfits} of {values.size} values are not finite or above {MAX_CLIP}")
    if rows > MAX_ROWS:
        raise ValueOutOfRange(f"rows: expected at most {MAX_ROWS}, got {rows}")
    weighted: Words = (np.rint(values * 2.0**FRACTION).astype(np.int64) * rows).view(np.uint64)
    return weighted


def from_words(words: Words, rows: int) -> Floats:
    """Read the mean over all rows of what `to_words` wrote: float64[n]."""
    return words.view(np.int64) / (rows * 2.0**FRACTION)
