"""Figures of a private run beside the same in plaintext, and how far they are apart."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal

__all__ = ["Figure", "Tolerance", "beside"]

Value = Decimal | float | int | str | None
"""What a figure is; None where one side does not have it."""


@dataclass(frozen=True)
class Tolerance:
    """By how much a figure may differ where a component rounds: by either is enough."""

    absolute: float = 0.0
    relative: float = 0.0


@dataclass(frozen=True)
class Figure:
    """One figure of a result, of the private run and in plaintext."""

    name: str
    private: Value
    plain: Value

    @property
    def absolute(self) -> float:
        """The difference; infinite where one side has another text, or nothing."""
        if isinstance(self.private, str | None) or isinstance(self.plain, str | None):
            return 0.0 if self.private == self.plain else math.inf
        difference = abs(float(Decimal(self.private) - Decimal(self.plain)))
        return math.inf if math.isnan(difference) else difference

    @property
    def relative(self) -> float:
        """The difference in parts of the plaintext; infinite where that alone is 0."""
        if self.absolute in (0.0, math.inf):
            return self.absolute
        assert isinstance(self.plain, Decimal | float | int)  # noqa: S101 - a finite difference has numbers
        return self.absolute / abs(float(self.plain)) if self.plain else math.inf

    def is_within(self, tolerance: Tolerance) -> bool:
        """Whether the figure differs by no more than it may."""
        return self.absolute <= tolerance.absolute or self.relative <= tolerance.relative

    def as_json(self) -> dict[str, object]:
        """Write the figure; numbers as decimal texts."""
        return {"name": self.name, "private": _text(self.private), "plaintext": _text(self.plain)}


def beside(
    private: Mapping[tuple[str, ...], Sequence[Value]],
    plain: Mapping[tuple[str, ...], Sequence[Value]],
    names: Iterable[str],
) -> list[Figure]:
    """Put two tables beside each other by the names of their rows; a row that one lacks has no figures there.

    Where rows have no figures at all, their names are compared.

    Args:
        private: figures by the name of the row.
        plain: the same in plaintext.
        names: of the figures of a row, in order.
    """
    return list(_beside(private, plain, list(names)))


def _beside(
    private: Mapping[tuple[str, ...], Sequence[Value]],
    plain: Mapping[tuple[str, ...], Sequence[Value]],
    names: Sequence[str],
) -> Iterator[Figure]:
    nothing: list[Value] = [None] * len(names)
    for row in sorted({*private, *plain}):
        if not names:
            name = " / ".join(row)
            yield Figure(name, name if row in private else None, name if row in plain else None)
        sides = zip(names, private.get(row, nothing), plain.get(row, nothing), strict=True)
        for name, one, other in sides:
            yield Figure(": ".join(part for part in (" / ".join(row), name) if part), one, other)


def _text(value: Value) -> str | None:
    return f"{value:.12g}" if isinstance(value, float) else None if value is None else str(value)
