"""What a step of joint statistics asks: cells by keys, figures of measures, quantiles, and a filter.

The cells are public: a key is a column with a dictionary of labels, or a column of numbers with the edges of
bins. A row whose label is not in the dictionary is in the cell ``(other)``. Two keys and more make a
contingency table; a key with edges and no measure is a histogram.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from decimal import Decimal, InvalidOperation
from typing import Annotated, Final, Literal

from exchange.errors import InvalidRequest
from exchange.jobs.privacy import Bounds, Privacy
from exchange.jobs.spec import ColumnInput, Step
from exchange.web.kinds import Rule, read_as
from mpc.stats.joint import Pick, Query

__all__ = ["OTHER", "PICKS", "Key", "Measure", "Question", "check_keys", "check_measures"]

OTHER: Final = "(other)"
MAX_CELLS: Final = 4_096
PICKS: Final = {"minimum": 0, "median": 500, "maximum": 1_000}
"""Statistics that are one row's value, with their place in thousandths."""

_THOUSAND: Final = 1_000
_SQUARED: Final = frozenset({"variance", "deviation"})
_DECIMAL = r"-?[0-9]{1,15}(\.[0-9]{1,9})?"

Statistic = Literal["sum", "mean", "variance", "deviation", "minimum", "median", "maximum"]


@dataclass(frozen=True)
class Key:
    """A column to group by: by a dictionary of labels, or by the edges of bins, lower edge included."""

    column: Annotated[str, Rule("a column name", minimum=1, maximum=200)]
    labels: Annotated[tuple[str, ...], Rule("labels", maximum=MAX_CELLS)] = ()
    edges: Annotated[tuple[str, ...], Rule("ascending decimal numbers", maximum=MAX_CELLS)] = ()

    @property
    def cells(self) -> int:
        """How many cells the key makes."""
        return len(self.edges or self.labels) + 1

    def names(self) -> tuple[str, ...]:
        """The cells' names as a result shows them."""
        if not self.edges:
            return (*self.labels, OTHER)
        inner = (f"[{low}, {high})" for low, high in zip(self.edges, self.edges[1:], strict=False))
        return (f"< {self.edges[0]}", *inner, f">= {self.edges[-1]}")

    def numbers(self, decimals: int, where: str) -> list[int]:
        """The edges in units of the last digit that is kept."""
        found = [_units(edge, decimals, where) for edge in self.edges]
        if found != sorted(set(found)):
            raise InvalidRequest(where, "ascending edges, each once", "others")
        return found

    def check(self, where: str) -> None:
        """Refuse a key that has neither or both, or a label twice."""
        if bool(self.labels) == bool(self.edges):
            raise InvalidRequest(where, "labels or edges", "both" if self.labels else "neither")
        if len(set(self.labels)) != len(self.labels) or OTHER in self.labels:
            raise InvalidRequest(f"{where}.labels", f"each label once and none {OTHER}", "others")
        self.numbers(9, f"{where}.edges")


@dataclass(frozen=True)
class Measure:
    """A column to compute figures of.

    Attributes:
        column: its name.
        statistics: which.
        quantiles: further ones, such as ``0.9``, with at most three decimals.
        bounds: the range of all values, for minimum, maximum and quantiles; values outside are refused.
    """

    column: Annotated[str, Rule("a column name", minimum=1, maximum=200)]
    statistics: Annotated[tuple[Statistic, ...], Rule("statistics", maximum=7)] = ()
    quantiles: Annotated[tuple[str, ...], Rule("decimals between 0 and 1", maximum=20)] = ()
    bounds: Bounds | None = None

    def picks(self) -> tuple[tuple[str, int], ...]:
        """Statistics that are one row's value: name, and place in thousandths."""
        named = [(name, PICKS[name]) for name in self.statistics if name in PICKS]
        return (*named, *((f"quantile {text}", _units(text, 3, "quantiles")) for text in self.quantiles))

    @property
    def is_squared(self) -> bool:
        """Whether the sum of squares is needed."""
        return bool(_SQUARED & set(self.statistics))

    def check(self, where: str) -> None:
        """Refuse a measure of nothing, or one that is picked from without bounds."""
        if not self.statistics and not self.quantiles:
            raise InvalidRequest(f"{where}.statistics", "at least one statistic or quantile", "none")
        if len(set(self.statistics)) != len(self.statistics) or len(set(self.quantiles)) != len(
            self.quantiles
        ):
            raise InvalidRequest(where, "each statistic and quantile once", "one twice")
        if any(not 0 < place < _THOUSAND for _, place in self.picks()[len(self._named()) :]):
            raise InvalidRequest(f"{where}.quantiles", "decimals between 0 and 1", "another")
        if self.picks() and self.bounds is None:
            raise InvalidRequest(f"{where}.bounds", "the range of the values that are picked from", "nothing")

    def _named(self) -> list[str]:
        return [name for name in self.statistics if name in PICKS]


@dataclass(frozen=True)
class Question:
    """The parameters of a step, read.

    Attributes:
        keys: in the order of the result's columns; none: one cell of all rows.
        measures: columns and their figures.
        together: covariances and correlations of every two measures too.
        privacy: noise, if any.
        decimals: kept of each column.
    """

    keys: tuple[Key, ...]
    measures: tuple[Measure, ...]
    together: bool
    privacy: Privacy | None
    decimals: dict[str, int]

    @classmethod
    def of(cls, step: Step) -> Question:
        """Read the parameters of a step whose roles all read the same columns."""
        columns = next(iter(step.inputs.values())).columns
        return cls(
            read_as(tuple[Key, ...], step.params.get("keys", []), "keys"),
            read_as(tuple[Measure, ...], step.params.get("measures", []), "measures"),
            bool(step.params.get("together", False)),
            Privacy.of(step),
            {column.name: column.decimals for column in columns},
        )

    @property
    def cells(self) -> int:
        """How many cells there are."""
        return math.prod(key.cells for key in self.keys)

    def columns(self) -> tuple[str, ...]:
        """What keys and measures read, each once."""
        return tuple(dict.fromkeys((*(k.column for k in self.keys), *(m.column for m in self.measures))))

    def products(self) -> tuple[tuple[int, int], ...]:
        """Which two measures' products are summed; the same twice for a sum of squares."""
        size = len(self.measures)
        if self.together:
            return tuple((one, other) for one in range(size) for other in range(one, size))
        return tuple((place, place) for place, one in enumerate(self.measures) if one.is_squared)

    def query(self, owners: int, meaning: bytes = b"") -> Query:
        """What the protocol is asked."""
        picks = []
        for column, measure in enumerate(self.measures):
            if measure.bounds is not None:
                low, high = measure.bounds.encoded(self.decimals[measure.column], "bounds")
                picks += [Pick(column, low, high, place, _THOUSAND) for _, place in measure.picks()]
        figures = len(self.measures) + len(self.products())
        return Query(owners, self.cells, figures, tuple(picks), meaning)

    def sensitivities(self) -> tuple[int, ...]:
        """By how much one row changes a count, then each sum."""
        assert self.privacy is not None  # noqa: S101 - narrows for the type checker
        named = tuple(ColumnInput(one.column, self.decimals[one.column]) for one in self.measures)
        return self.privacy.sensitivities(named)

    def check(self, at: str) -> None:
        """Refuse what does not fit together.

        Raises:
            InvalidRequest: by name.
        """
        if self.cells > MAX_CELLS:
            raise InvalidRequest(f"{at}.keys", f"at most {MAX_CELLS} cells", str(self.cells))
        for name in self.columns():
            if name not in self.decimals:
                raise InvalidRequest(
                    f"{at}.measures", f"columns of the inputs: {', '.join(self.decimals)}", name
                )
        if len({measure.column for measure in self.measures}) != len(self.measures):
            raise InvalidRequest(f"{at}.measures", "each column once", "one twice")
        if self.together and len(self.measures) < 2:
            raise InvalidRequest(f"{at}.together", "at least two measures", str(len(self.measures)))
        if self.privacy is not None:
            if self.products() or any(measure.picks() for measure in self.measures):
                raise InvalidRequest(f"{at}.privacy", "counts, sums and means only", "other statistics")
            self.sensitivities()
        self.query(2)


def check_keys(value: object, at: str) -> None:
    """The parameter's own check."""
    for place, key in enumerate(read_as(tuple[Key, ...], value, at)):
        key.check(f"{at}[{place}]")


def check_measures(value: object, at: str) -> None:
    """The parameter's own check."""
    for place, measure in enumerate(read_as(tuple[Measure, ...], value, at)):
        measure.check(f"{at}[{place}]")


def _units(text: str, decimals: int, where: str) -> int:
    """A decimal text in units of the last digit that is kept."""
    try:
        scaled = Decimal(text).scaleb(decimals)
        whole = int(scaled) if len(text) <= 30 and scaled == scaled.to_integral_value() else None
    except (InvalidOperation, ValueError, OverflowError):
        whole = None
    if whole is None or not -(2**62) < whole < 2**62:
        raise InvalidRequest(where, f"a decimal number with at most {decimals} decimals", repr(text)[:40])
    return whole
