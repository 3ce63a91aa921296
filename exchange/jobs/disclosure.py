"""Output checks that an owner sets for an asset: dominance, rounding, complementary suppression, review.

The rules are those of statistical disclosure control (Hundepool et al. 2012). An owner checks what it can
know. Where the other party holds the groups, the holder of the measures knows how many people each released
group has, not which: so it checks the worst group of that size that its rows could make. That never passes a
group in which somebody dominates, and may refuse one in which nobody does.
"""

from __future__ import annotations

from dataclasses import dataclass, fields
from decimal import Decimal, InvalidOperation
from typing import Annotated, ClassVar

import numpy as np
from numpy.typing import NDArray

from exchange.errors import ExchangeError, InvalidRequest
from exchange.web.kinds import Rule, read_as

__all__ = [
    "CohortDiffers",
    "ComplementarySuppression",
    "Dominated",
    "MemoryLost",
    "OutputRules",
    "ReleaseRefused",
    "ReleaseWithheld",
    "RoundTo",
    "RowLevel",
    "SmallCohort",
    "check_dominance",
    "check_suppressed",
    "rounded",
]


class ReleaseRefused(ExchangeError):
    """An output check of the owner does not let a result go."""

    code = "release.refused"
    blame = "caller"


class SmallCohort(ReleaseRefused):
    """A released figure is about fewer people than the minimum cohort."""

    code = "release.small-cohort"


class Dominated(ReleaseRefused):
    """One person or a few could make up too much of a released sum."""

    code = "release.dominance"


class RowLevel(ReleaseRefused):
    """The output has as many figures as people, so it is their rows."""

    code = "release.row-level"


class ComplementarySuppression(ReleaseRefused):
    """What is left out is about so few people that a total gives it away."""

    code = "release.complementary"


class CohortDiffers(ReleaseRefused):
    """The people behind a figure differ by a few from those behind a figure that was released before."""

    code = "release.differencing"


class MemoryLost(ReleaseRefused):
    """The ledger knows a release of this owner that its node does not remember."""

    code = "release.memory-lost"


class ReleaseWithheld(ReleaseRefused):
    """A person at the owner's node does not let the result go, or nobody did in time."""

    code = "release.withheld"


@dataclass(frozen=True)
class RoundTo:
    """Values of a column are rounded to multiples of ``base``, so every sum of them is one."""

    column: Annotated[str, Rule("a column name", minimum=1, maximum=200)]
    base: Annotated[str, Rule("a positive decimal number", pattern=r"[0-9]{1,15}(\.[0-9]{1,9})?")]


@dataclass(frozen=True)
class OutputRules:
    """What an owner asks of every output that its asset goes into; the default asks nothing more.

    Attributes:
        dominance_n: with ``dominance_percent``: the n largest contributors to a sum may not make up more.
        dominance_percent: see ``dominance_n``; 0: no such rule.
        p_percent: the second largest contributor may not be able to tell the largest to within p percent.
        round_to: columns whose values are rounded before they are summed.
        round_counts: released counts are rounded down to multiples of this.
        complementary: leave out further groups until those left out have the minimum cohort together.
        review: a person looks at each output before it is released.
    """

    dominance_n: Annotated[int, Rule("how many contributors, 1 to 10", minimum=1, maximum=10)] = 1
    dominance_percent: Annotated[int, Rule("0 to 99; 0 for none", minimum=0, maximum=99)] = 0
    p_percent: Annotated[int, Rule("0 to 99; 0 for none", minimum=0, maximum=99)] = 0
    round_to: Annotated[tuple[RoundTo, ...], Rule("columns and bases", maximum=64)] = ()
    round_counts: Annotated[int, Rule("1 to 1000; 1 for none", minimum=1, maximum=1000)] = 1
    complementary: bool = False
    review: bool = False

    NONE: ClassVar[OutputRules]

    def __post_init__(self) -> None:
        for one in self.round_to:
            if not _number(one.base) > 0:
                raise InvalidRequest("round_to.base", "a positive decimal number", repr(one.base)[:40])
        if len({one.column for one in self.round_to}) != len(self.round_to):
            raise InvalidRequest("round_to", "each column once", "a column named twice")

    @staticmethod
    def parse(value: object) -> OutputRules:
        """Read the rules from JSON; a member that is absent has its default.

        Raises:
            InvalidRequest: naming the member that does not fit.
        """
        return read_as(OutputRules, value, "rules")

    def as_json(self) -> dict[str, object]:
        """Write the rules as ``parse`` reads them."""
        written: dict[str, object] = {one.name: getattr(self, one.name) for one in fields(self)}
        return written | {"round_to": [{"column": r.column, "base": r.base} for r in self.round_to]}

    def base_of(self, column: str, decimals: int) -> int:
        """The base of a column in units of its last kept digit; 1 where it is not rounded.

        Raises:
            InvalidRequest: the base is finer than the digits that are kept.
        """
        for one in self.round_to:
            if one.column == column:
                scaled = _number(one.base).scaleb(decimals)
                if scaled != scaled.to_integral_value() or scaled >= 2**62:
                    raise InvalidRequest("round_to.base", f"a multiple of 10^-{decimals}", one.base)
                return int(scaled)
        return 1


OutputRules.NONE = OutputRules()


def rounded(values: NDArray[np.int64], base: int) -> NDArray[np.int64]:
    """Round each value to the nearest multiple of ``base``; half away from zero."""
    if base == 1:
        return values
    half = np.abs(values) % base * 2 >= base
    quotient = np.abs(values) // base + half
    nearest: NDArray[np.int64] = np.sign(values) * quotient * base
    return nearest


def check_dominance(rules: OutputRules, values: NDArray[np.int64], people: int, column: str) -> None:
    """Check that nobody dominates a sum over any ``people`` of these values.

    Args:
        rules: the owner's.
        values: the contributions of all matched people, of which an unknown ``people`` are in the group.
        people: size of the smallest released group.
        column: for the message.

    Raises:
        Dominated: a group of that size could be dominated.
    """
    if not rules.dominance_percent and not rules.p_percent:
        return
    sizes = sorted(abs(value) for value in values.tolist())
    if rules.dominance_percent:
        n = min(rules.dominance_n, people)
        top, rest = sum(sizes[len(sizes) - n :]), sum(sizes[: people - n])
        if 100 * top > rules.dominance_percent * (top + rest):
            raise Dominated(
                f"column {column}: {n} of {people} people could make up more than "
                f"{rules.dominance_percent} % of a group's sum"
            )
    if rules.p_percent and 100 * sum(sizes[: max(people - 2, 0)]) < rules.p_percent * sizes[-1]:
        raise Dominated(
            f"column {column}: in a group of {people} people one could tell another's value to within "
            f"{rules.p_percent} %"
        )


def check_suppressed(rows: int, counts: NDArray[np.int64], minimum: int) -> None:
    """Check, as the party that does not know the groups, that what is left out is not about a few people.

    Raises:
        ComplementarySuppression: it is.
    """
    left_out = rows - int(counts[counts > 0].sum())
    if 0 < left_out < minimum:
        raise ComplementarySuppression(
            f"expected at least {minimum} people in the groups that are left out together, or none"
        )


def _number(text: str) -> Decimal:
    try:
        return Decimal(text)
    except InvalidOperation:
        raise InvalidRequest("round_to.base", "a positive decimal number", repr(text)[:40]) from None
