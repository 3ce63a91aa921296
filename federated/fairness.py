"""How far groups of rows differ in what a model says of them, from counts of each group.

Plain arithmetic; nothing here communicates. Every figure is about the groups that it is given: of those that
are too small to be told nothing is known.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from federated.metrics import Confusion

__all__ = ["Fairness", "fairness"]


@dataclass(frozen=True)
class Fairness:
    """Differences between groups at one cutoff; None where fewer than two groups have what is compared.

    Attributes:
        parity_difference: demographic parity: the largest less the smallest part of selected rows.
        parity_ratio: the smallest by the largest; a disparate impact where it is below 0.8, the four-fifths
            rule. None where no group has selected rows.
        opportunity_difference: equal opportunity: the same of true positive rates.
        odds_difference: equalised odds: the larger of the differences of true and of false positive rates.
        predictive_difference: predictive parity: the same of the part of selected rows that have label 1, of
            groups with selected rows.
    """

    parity_difference: float | None
    parity_ratio: float | None
    opportunity_difference: float | None
    odds_difference: float | None
    predictive_difference: float | None


def fairness(selected: Sequence[tuple[int, int]], counts: Sequence[Confusion]) -> Fairness:
    """Compare groups.

    Args:
        selected: of each group, how many rows are selected, and how many there are, at least one.
        counts: of each group whose rates are known, at least one row of either label.

    Security: local. Leaks: nothing; local. Cost: local. Source: demographic parity and disparate impact:
    Feldman et al. 2015; equal opportunity, equalised odds: Hardt, Price, Srebro 2016; predictive parity:
    Chouldechova 2017.
    """
    parts = [some / of for some, of in selected]
    ratio = min(parts) / max(parts) if len(parts) > 1 and max(parts) > 0 else None
    true = _difference([one.recall for one in counts])
    false = _difference([one.fall_out for one in counts])
    odds = None if true is None or false is None else max(true, false)
    chosen = [one.precision for one in counts if one.true_positives + one.false_positives]
    return Fairness(_difference(parts), ratio, true, odds, _difference(chosen))


def _difference(rates: Sequence[float]) -> float | None:
    return max(rates) - min(rates) if len(rates) > 1 else None
