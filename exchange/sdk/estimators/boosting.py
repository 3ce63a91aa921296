"""Gradient boosted trees over columns of several owners, who compute among themselves."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import KW_ONLY, dataclass, field
from typing import Any, ClassVar

from exchange.errors import InvalidRequest
from exchange.sdk.estimators.remote import Roles, Served, by_role, micro, reading, step

__all__ = ["GradientBoosting"]

_OBJECTIVES = ("logistic", "squared")


@dataclass
class GradientBoosting(Served):
    """Trees of `model/boosting`, under the names that XGBoost gives its parameters; no helper computes.

    The columns of other owners than the label's have to allow ``AFTER_COMPARE``; docs/models-boosting.md says
    what the owner of the label learns of them. The caller learns the loss after each tree, and of a label of
    0 and 1 the area under the curve.

    Args:
        client: of the caller's node; the caller is an owner or not.
        purpose: a DPV term, allowed by each agreement.
        rules: that bring identifiers to one form.
        min_cohort: fewest rows trained on and held out, and of either label under a curve.
        timeout_s: how long ``fit`` waits for the owners, in seconds.
        objective: ``logistic`` of a label of 0 and 1, ``squared`` of a number; of the same name in the step.
        n_estimators: how many trees, ``trees`` of the step.
        max_depth: most splits between a root and a leaf, ``depth``.
        max_bin: most bins of a column, ``bins``.
        learning_rate: by which leaf weights are shrunk, ``rate_micro``.
        reg_lambda: penalty of squared leaf weights, ``l2_micro``.
        reg_alpha: penalty of the magnitudes of leaf weights, ``l1_micro``.
        gamma: least gain of a split, ``gamma_micro``.
        min_child_weight: least sum of hessians at either side of a split, ``min_child_weight_micro``.
        monotone_constraints: by asset and column, 1 where scores may not fall with it, -1 where they may not
            rise, ``monotone``.
        test_percent: of the aligned rows, held out to evaluate on; 0: on the rows trained on.
        early_stopping_rounds: trees in a row that do not lower the loss on the rows held out, after which
            growth ends, ``patience``; 0: never.
    """

    _: KW_ONLY
    objective: str = "logistic"
    n_estimators: int = 20
    max_depth: int = 5
    max_bin: int = 32
    learning_rate: float = 0.3
    reg_lambda: float = 1.0
    reg_alpha: float = 0.0
    gamma: float = 0.0
    min_child_weight: float = 1.0
    monotone_constraints: Mapping[str, Mapping[str, int]] = field(default_factory=dict)
    test_percent: int = 20
    early_stopping_rounds: int = 0

    what: ClassVar[str] = "boosted trees"

    @property
    def n_estimators_(self) -> int:
        """How many trees are kept."""
        return int(self._fitted()["trees"])

    @property
    def loss_curve_(self) -> list[float]:
        """The loss after each tree on the rows held out, or on those trained on where none is.

        It is the cross-entropy, or half the squared error; there are more of them than trees kept where
        growth ended early.
        """
        place = 2 if self._fitted()["held_out"] else 1
        return [float(line[place]) for line in self.table_]

    def score(self) -> float:
        """Return how good the trees are on the rows held out, or on those trained on where none is.

        It is the area under the curve, or with the objective ``squared`` the mean squared error, negated.

        Raises:
            InvalidRequest: the caller was told no area, as either label has fewer rows than the minimum.
        """
        if self.objective == "squared":
            return -2 * self.loss_curve_[self.n_estimators_ - 1]
        told = self._fitted()
        name = "held_out_auc" if told["held_out"] else "auc"
        if name not in told:
            raise InvalidRequest(name, "min_cohort rows of either label", "fewer of one")
        return float(told[name])

    def predict_proba(self, model: str, persons: Sequence[str]) -> list[float | None]:
        """Ask for the chances of persons, as the owner of the label; None where there is none.

        Raises:
            InvalidRequest: the label is a number.
        """
        self._check_objective("logistic")
        return self._asked(model, persons, "probability")

    def decision_function(self, model: str, persons: Sequence[str]) -> list[float | None]:
        """Ask for the log odds of persons, as `predict_proba` for their chances."""
        self._check_objective("logistic")
        return self._asked(model, persons, "score")

    def predict(self, model: str, persons: Sequence[str]) -> list[float | None]:
        """Ask for the expected values of persons, as the owner of the label; None where there is none.

        Raises:
            InvalidRequest: the label is 0 and 1.
        """
        self._check_objective("squared")
        return self._asked(model, persons, "score")

    def _check_objective(self, *expected: str) -> None:
        if self.objective not in expected:
            raise InvalidRequest("objective", " or ".join(expected), self.objective)

    def _steps(self, roles: Roles) -> Sequence[dict[str, Any]]:
        self._check_objective(*_OBJECTIVES)
        monotone = by_role("monotone_constraints", self.monotone_constraints, roles)
        params = {
            "label": roles.label,
            "min_cohort": self.min_cohort,
            "objective": self.objective,
            "trees": self.n_estimators,
            "depth": self.max_depth,
            "bins": self.max_bin,
            **micro(
                rate=self.learning_rate,
                l2=self.reg_lambda,
                l1=self.reg_alpha,
                gamma=self.gamma,
                min_child_weight=self.min_child_weight,
            ),
            "test_percent": self.test_percent,
            "patience": self.early_stopping_rounds,
            "loss": "recipients",
            **({"monotone": {role: dict(one) for role, one in monotone.items()}} if monotone else {}),
        }
        train = step("train", "model/boosting", roles.owners, roles.inputs, ["match"], params, roles.reader)
        return train, reading(roles)
