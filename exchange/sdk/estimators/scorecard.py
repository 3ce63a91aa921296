"""Scorecards over the weights of evidence of columns of several owners."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import KW_ONLY, dataclass
from typing import Any, ClassVar

from exchange.sdk.connection import Json
from exchange.sdk.estimators.regression import Descent
from exchange.sdk.estimators.remote import ByLoss, Roles, reading, step

__all__ = ["Scorecard"]


@dataclass
class Scorecard(Descent, ByLoss):
    """Points for the bins of columns: `model/woe`, then `model/scorecard`, which is trained on all rows.

    Points stay with the owners of the bins. The caller learns how the error fell; so do the owners.

    Args:
        client: of the caller's node; the caller is an owner or not.
        purpose: a DPV term, allowed by each agreement.
        helper: DID of a member without data that computes along; needed for two tables, none for more.
        rules: that bring identifiers to one form.
        min_cohort: fewest rows trained on, and of a bin.
        epochs, batch, rate, momentum, l2: as in `LogisticRegression`.
        timeout_s: how long ``fit`` waits for the owners, in seconds.
        bins: most fine bins of a column, besides that of missing values.
        final_bins: most bins after they are joined.
        min_events: fewest events, and fewest other rows, of a bin.
        merge: how bins are joined: ``monotone``, ``optimal``, ``chi-square`` or ``none``.
        pdo: points that double the odds against an event.
        base_score: the score at the base odds.
        base_odds: other rows to one event at the base score.
        lowest, highest: limits of a score.
        points: ``whole``, rounded in each bin, or ``exact``.
    """

    _: KW_ONLY
    bins: int = 20
    final_bins: int = 10
    min_events: int = 5
    merge: str = "monotone"
    pdo: int = 20
    base_score: int = 600
    base_odds: int = 50
    lowest: int = 300
    highest: int = 850
    points: str = "whole"

    what: ClassVar[str] = "scorecard"

    def predict(self, model: str, persons: Sequence[str]) -> list[float | None]:
        """Ask for the points of persons, as the owner of the label; None where there are none."""
        return self._asked(model, persons, "score")

    def predict_proba(self, model: str, persons: Sequence[str]) -> list[float | None]:
        """Ask for the chances of an event, as the owner of the label; None where there are none."""
        return self._asked(model, persons, "probability")

    def explain(self, model: str, persons: Sequence[str]) -> list[tuple[float | None, list[Json]]]:
        """Ask for the points of persons with the reasons, as the owner of the label.

        Returns:
            Of each person the points, and the columns that take points off, each with ``owner``, ``column``
            and ``points``, the worst first: of each owner as many as it filed with its part of the model.
        """
        answers = self.client.score(model, persons, self.purpose)
        return [(one["score"], list(one["reasons"])) for one in answers]

    def _steps(self, roles: Roles) -> Sequence[dict[str, Any]]:
        weighing = {
            "label": roles.label,
            "iv": "split",
            "min_cohort": self.min_cohort,
            "min_events": self.min_events,
            "bins": self.bins,
            "final_bins": self.final_bins,
            "merge": self.merge,
        }
        scaling = {
            "pdo": self.pdo,
            "base_score": self.base_score,
            "base_odds": self.base_odds,
            "lowest": self.lowest,
            "highest": self.highest,
            "points": self.points,
        }
        training = self._training(roles.label) | {"loss": "owners"} | scaling
        weigh = step("weigh", "model/woe", roles.computing, roles.inputs, ["match"], weighing, roles.reader)
        train = step(
            "train",
            "model/scorecard",
            roles.computing,
            roles.inputs,
            ["match", "weigh"],
            training,
            roles.reader,
        )
        return weigh, train, reading(roles)
