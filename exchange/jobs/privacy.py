"""Differential privacy of grouped sums: what a step states, what that costs, and how much noise it takes.

Two groupings are neighbours if one of the matched people is in one of them only. Each value is clipped to
the stated bounds, so one person changes one group's count by 1 and its sum of a measure by at most the larger
bound in absolute value: that is the sensitivity, in both the L1 and the L2 norm. The loss is divided equally
among the counts and the measures.

Laplace: discrete Laplace noise of scale ``sensitivity * parts / epsilon`` is epsilon / parts -DP for each
part (Ghosh, Roughgarden, Sundararajan 2009); an epsilon-DP release has Renyi loss min(epsilon, a epsilon^2 /
2) at order a (Bun, Steinke 2016, proposition 3.3). Gaussian: discrete Gaussian noise with variance
``sensitivity^2 / (2 rho)`` has Renyi loss a rho (Canonne, Kamath, Steinke 2020); rho is the largest number of
millionths with which the whole step stays within epsilon at its delta.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal, InvalidOperation
from typing import Annotated, Literal

from exchange.errors import InvalidRequest
from exchange.jobs.spec import ColumnInput, Step
from exchange.web.kinds import Rule, read_as
from ledger.rules.budgets import ORDERS, epsilon

__all__ = ["Bounds", "Privacy", "check_privacy", "ranges_of"]

_MILLION = 10**6
_LARGEST = 2**53
_DECIMAL = r"-?[0-9]{1,15}(\.[0-9]{1,9})?"


@dataclass(frozen=True)
class Bounds:
    """The range that values of a measure are clipped to."""

    lower: Annotated[str, Rule("a decimal number", pattern=_DECIMAL)]
    upper: Annotated[str, Rule("a decimal number", pattern=_DECIMAL)]

    def encoded(self, decimals: int, where: str) -> tuple[int, int]:
        """Both bounds in units of the last kept digit.

        Raises:
            InvalidRequest: they have more digits than are kept, or are no range.
        """
        ends = []
        for name in ("lower", "upper"):
            text = str(getattr(self, name))
            scaled = _decimal(text, f"{where}.{name}").scaleb(decimals)
            if scaled != scaled.to_integral_value():
                raise InvalidRequest(f"{where}.{name}", f"at most {decimals} decimals", text)
            ends.append(int(scaled))
        low, high = ends
        if not low < high or max(-low, high) >= _LARGEST:
            raise InvalidRequest(where, "lower below upper, both of less than 2^53 units", f"{low} to {high}")
        return low, high


def ranges_of(
    bounds: Mapping[str, Bounds], columns: Sequence[ColumnInput], where: str
) -> list[tuple[int, int]]:
    """The bounds of columns in units of their last kept digit, in the order of the columns.

    Raises:
        InvalidRequest: the bounds are not those of the columns, or are no ranges.
    """
    names = sorted(column.name for column in columns)
    if sorted(bounds) != names:
        raise InvalidRequest(where, f"the bounds of {', '.join(names)}", ", ".join(sorted(bounds)) or "none")
    return [bounds[column.name].encoded(column.decimals, f"{where}.{column.name}") for column in columns]


@dataclass(frozen=True)
class Privacy:
    """The parameter ``privacy`` of a step.

    Attributes:
        mechanism: which noise.
        epsilon_micro: the loss of the whole step, in millionths; of Gaussian noise at ``delta_exponent``.
        delta_exponent: k of delta = 10 ** -k; Laplace noise needs none and spends as if delta were 0.
        bounds: of every measure, by column.
    """

    mechanism: Literal["laplace", "gaussian"]
    epsilon_micro: Annotated[int, Rule("millionths, 1 to 100,000,000", minimum=1, maximum=100 * _MILLION)]
    delta_exponent: Annotated[int, Rule("1 to 30", minimum=1, maximum=30)]
    bounds: dict[str, Bounds]

    @staticmethod
    def of(step: Step) -> Privacy | None:
        """The privacy that a step states; None where its answer is exact."""
        value = step.params.get("privacy")
        return None if value is None else read_as(Privacy, value, f"steps.{step.id}.params.privacy")

    def sensitivities(self, measures: tuple[ColumnInput, ...]) -> tuple[int, ...]:
        """By how much one person changes the count, then each measure's sum, in encoded units.

        Raises:
            InvalidRequest: the bounds are not those of the measures.
        """
        ranges = ranges_of(self.bounds, measures, "privacy.bounds")
        return (1, *(max(-low, high) for low, high in ranges))

    def rho_micro(self) -> int:
        """The zero-concentrated loss of all Gaussian noise of the step together, in millionths.

        Raises:
            InvalidRequest: epsilon is so small that not one millionth is left.
        """
        low, high = 0, 2 * self.epsilon_micro
        while low < high:
            middle = (low + high + 1) // 2
            within = epsilon(_gaussian_loss(middle), self.delta_exponent) <= self.epsilon_micro
            low, high = (middle, high) if within else (low, middle - 1)
        if low == 0:
            raise InvalidRequest(
                "privacy.epsilon_micro", "more at this delta for Gaussian noise", str(self.epsilon_micro)
            )
        return low

    def loss(self, parts: int) -> tuple[int, ...]:
        """What the step spends: Renyi loss at ``ORDERS`` in millionths, rounded up, over ``parts`` parts."""
        if self.mechanism == "gaussian":
            return _gaussian_loss(self.rho_micro())
        total = self.epsilon_micro
        # parts * min(e, a e^2 / 2) with e = total / parts millionths and a in quarters
        return tuple(min(total, -(-order * total * total // (8 * parts * _MILLION))) for order in ORDERS)

    def scales(self, sensitivities: tuple[int, ...]) -> tuple[float, ...]:
        """The scale of the noise of each part: Laplace's b, or the Gaussian's standard deviation."""
        parts = len(sensitivities)
        if self.mechanism == "laplace":
            return tuple(one * parts * _MILLION / self.epsilon_micro for one in sensitivities)
        rho = self.rho_micro() / parts / _MILLION
        return tuple(one / math.sqrt(2 * rho) for one in sensitivities)

    def allowed(self, parts: int) -> float:
        """What the noise of one part may lose: epsilon for Laplace, rho for Gaussian."""
        total = self.epsilon_micro if self.mechanism == "laplace" else self.rho_micro()
        return total / parts / _MILLION

    def deviation(self, scale: float) -> float:
        """Standard deviation of the noise that one party adds at a scale."""
        return scale if self.mechanism == "gaussian" else math.sqrt(2) * scale


def check_privacy(value: object, at: str) -> None:
    """The parameter's own check; its bounds are compared with the measures by the component."""
    stated = read_as(Privacy, value, at)
    if stated.mechanism == "gaussian":
        stated.rho_micro()


def _gaussian_loss(rho_micro: int) -> tuple[int, ...]:
    return tuple(-(-order * rho_micro // 4) for order in ORDERS)


def _decimal(text: str, where: str) -> Decimal:
    try:
        return Decimal(text)
    except InvalidOperation:
        raise InvalidRequest(where, "a decimal number", repr(text)[:40]) from None


def noise_as_json(mechanism: str, deviations: Mapping[str, float]) -> dict[str, object]:
    """What a result says of the noise in it: its kind, and each part's standard deviation in its own unit."""
    return {"mechanism": mechanism, "deviations": {name: f"{one:.6g}" for name, one in deviations.items()}}
