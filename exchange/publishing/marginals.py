"""Noisy distributions of single columns, and values drawn from them, for a twin.

Every count gets two-sided geometric noise (the discrete Laplace mechanism) of scale 1/epsilon. A category is
kept when at least ``FLOOR`` rows have it and its noisy count is above ``FLOOR`` plus twice the scale; the
rest are pooled. Ranges end at the half per cent quantiles of a sample, rounded outwards to two digits, so
that nobody stands at the end of one.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

__all__ = ["FLOOR", "Categories", "Histogram", "bounds", "noisy"]

FLOOR: Final = 10
"""Rows that a category, or a combination of values, must have to be shown."""

_BINS: Final = 40
_MOST_DECIMALS: Final = 6
_POOL: Final = "other"

Numbers = NDArray[np.float64]


def noisy(counts: NDArray[np.int64], epsilon: float, rng: np.random.Generator) -> NDArray[np.int64]:
    """Counts with noise, none below zero."""
    stop = 1 - math.exp(-epsilon)
    noise = rng.geometric(stop, len(counts)) - rng.geometric(stop, len(counts))
    return np.maximum(counts + noise, 0)


def bounds(sample: Numbers) -> tuple[float, float]:
    """The ends of the range that is shown of a sample of finite numbers."""
    low, high = np.quantile(sample, (0.005, 0.995))
    step = 10.0 ** (math.floor(math.log10(max(abs(low), abs(high), 1e-9))) - 1)
    first, last = math.floor(low / step) * step, math.ceil(high / step) * step
    # The quotient of a tiny number is none, and a product may be rounded inwards.
    return (first if first <= low else first - step), (last if last >= high else last + step)


class Histogram:
    """Distribution of a column of numbers or times, taken in batch by batch."""

    def __init__(self, kind: pa.DataType, sample: Numbers) -> None:
        self._kind = kind
        self._low, self._high = bounds(sample)
        if self._high <= self._low:
            self._high = self._low + 1.0
        self._decimals = _decimals(sample)
        self._counts = np.zeros(_BINS, dtype=np.int64)
        self._nulls = 0

    def add(self, array: pa.Array) -> None:
        """Count one batch."""
        self._nulls += array.null_count
        numbers = numbers_of(array)
        inside = np.clip(numbers, self._low, np.nextafter(self._high, self._low))
        self._counts += np.histogram(inside, _BINS, (self._low, self._high))[0]

    def draw(self, count: int, epsilon: float, rng: np.random.Generator) -> pa.Array:
        """Draw values of the column's type."""
        counts = noisy(np.append(self._counts, self._nulls), epsilon, rng)
        chosen = rng.choice(_BINS + 1, count, p=_shares(counts))
        width = (self._high - self._low) / _BINS
        drawn = self._low + (chosen + rng.random(count)) * width
        return _typed(drawn, chosen == _BINS, self._kind, self._decimals)


@dataclass
class _Seen:
    counts: dict[Any, int]
    nulls: int = 0


class Categories:
    """Distribution of a column of few values, taken in batch by batch."""

    def __init__(self, kind: pa.DataType) -> None:
        self._kind, self._seen = kind, _Seen({})

    def add(self, array: pa.Array) -> None:
        """Count one batch."""
        self._seen.nulls += array.null_count
        for counted in pc.value_counts(array.drop_null()).to_pylist():
            value = counted["values"]
            self._seen.counts[value] = self._seen.counts.get(value, 0) + counted["counts"]

    def draw(self, count: int, epsilon: float, rng: np.random.Generator) -> pa.Array:
        """Draw values; those that too few rows have are drawn as ``other``, or not at all if no text."""
        names = list(self._seen.counts)
        exact = np.array([*self._seen.counts.values(), self._seen.nulls], dtype=np.int64)
        counts = noisy(exact, epsilon, rng)
        rare = (exact[:-1] < FLOOR) | (counts[:-1] < FLOOR + 2 / epsilon)
        pooled = int(counts[:-1][rare].sum())
        kept = [name for name, is_rare in zip(names, rare, strict=True) if not is_rare]
        is_text = pa.types.is_string(self._kind) or pa.types.is_large_string(self._kind)
        shown = [*kept, _POOL if is_text else None, None]
        chosen = rng.choice(len(shown), count, p=_shares(np.array([*counts[:-1][~rare], pooled, counts[-1]])))
        return pa.array([shown[place] for place in chosen], self._kind)


def numbers_of(array: pa.Array) -> Numbers:
    """The finite values of a column of numbers or times, times as their whole units."""
    present = array.drop_null()
    kind = present.type
    if pa.types.is_date(kind):
        present = present.cast(pa.date32()).cast(pa.int32())
    elif pa.types.is_timestamp(kind):
        present = present.cast(pa.int64())
    elif pa.types.is_time(kind):
        present = present.cast(pa.int32() if pa.types.is_time32(kind) else pa.int64())
    numbers: NDArray[np.float64] = present.cast(pa.float64(), safe=False).to_numpy(zero_copy_only=False)
    finite: NDArray[np.float64] = numbers[np.isfinite(numbers)]
    return finite


def _decimals(sample: Numbers) -> int:
    """Digits behind the point that tell the sample's values apart from their roundings."""
    for decimals in range(_MOST_DECIMALS):
        if np.allclose(sample, np.round(sample, decimals), rtol=0, atol=10.0 ** -(decimals + 4)):
            return decimals
    return _MOST_DECIMALS


def _shares(counts: NDArray[np.int64]) -> Numbers:
    total = counts.sum()
    return counts / total if total else np.full(len(counts), 1 / len(counts))


def _typed(drawn: Numbers, missing: NDArray[np.bool_], kind: pa.DataType, decimals: int) -> pa.Array:
    lowest, highest = _limits(kind)
    drawn = np.clip(drawn, lowest, highest)
    rounded = np.round(drawn, decimals)
    if pa.types.is_floating(kind):
        return pa.array(rounded, pa.float64(), mask=missing).cast(kind)
    if pa.types.is_decimal(kind):
        scale = min(decimals, kind.scale)
        texts = [f"{value:.{scale}f}" for value in rounded]
        return pa.array(texts, pa.string(), mask=missing).cast(kind)
    whole = pa.array(np.round(drawn).astype(np.int64), pa.int64(), mask=missing)
    if pa.types.is_date(kind):
        return whole.cast(pa.int32()).cast(pa.date32()).cast(kind)
    if pa.types.is_time32(kind):
        return whole.cast(pa.int32()).cast(kind)
    return whole.cast(kind)


def _limits(kind: pa.DataType) -> tuple[float, float]:
    """The least and the greatest value of a type; rounding outwards may have passed them."""
    if pa.types.is_integer(kind):
        bits = min(kind.bit_width, 63)
        top = 2.0 ** (bits if pa.types.is_unsigned_integer(kind) and bits < 63 else bits - 1) - 1
        return (0.0 if pa.types.is_unsigned_integer(kind) else -top), top
    if pa.types.is_decimal(kind):
        top = 10.0 ** min(kind.precision - kind.scale, 15) - 10.0**-kind.scale
        return -top, top
    return -math.inf, math.inf


Marginals = Mapping[str, Histogram | Categories]
