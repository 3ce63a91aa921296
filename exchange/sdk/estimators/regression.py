"""Regressions over columns of several owners, evaluated on rows that were held out."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import KW_ONLY, dataclass
from typing import Any, ClassVar

from exchange.sdk.estimators.remote import OnShares, Roles, Served, micro, step

__all__ = ["Descent", "LinearRegression", "LogisticRegression", "PoissonRegression"]


@dataclass
class Descent(OnShares, Served):
    """A model whose split coefficients are found by gradient descent on shares.

    Args:
        epochs: most passes over the rows.
        batch: rows of a step.
        rate: step size.
        momentum: part of the last step that is taken again.
        l2: penalty of the squared coefficients.
    """

    _: KW_ONLY
    epochs: int = 30
    batch: int = 1024
    rate: float = 0.5
    momentum: float = 0.9
    l2: float = 0.0

    def _training(self, label: str) -> dict[str, Any]:
        return {
            "label": label,
            "coefficients": "split",
            "min_cohort": self.min_cohort,
            "epochs": self.epochs,
            "batch": self.batch,
            **micro(rate=self.rate, momentum=self.momentum, l2=self.l2),
        }


@dataclass
class _Regression(Descent):
    """What all families have in common; see `LogisticRegression` for the parameters."""

    _: KW_ONLY
    test_percent: int = 20
    patience: int = 0

    family: ClassVar[str]
    measure: ClassVar[str]

    def score(self) -> float:
        """Return how good the model is on the rows that were held out."""
        return float(self._fitted()[self.measure])

    def _steps(self, roles: Roles) -> Sequence[dict[str, Any]]:
        held_out = {"test_percent": self.test_percent, "patience": self.patience}
        part = "test" if self.test_percent else "all"
        return (
            step(
                "train",
                f"model/{self.family}",
                roles.computing,
                roles.inputs,
                ["match"],
                self._training(roles.label) | held_out,
            ),
            step(
                "score",
                "model/score",
                roles.owners,
                roles.inputs,
                ["match", "train"],
                {"scores": "shared", "part": part, "min_cohort": self.min_cohort},
            ),
            step(
                "evaluate",
                "model/evaluate",
                roles.computing,
                roles.inputs,
                ["score"],
                {"label": roles.label, "min_cohort": self.min_cohort},
                roles.reader,
            ),
            step("report", "report/evaluation", {"reader": roles.reader}, {}, ["evaluate"], {}),
        )


@dataclass
class LogisticRegression(_Regression):
    """The chance of a label of 0 and 1, over columns of several owners.

    Args:
        client: of the caller's node; the caller learns the measures, and is an owner or not.
        purpose: a DPV term, allowed by each agreement.
        helper: DID of a member without data that computes along; needed for two tables, none for more.
        rules: that bring identifiers to one form.
        min_cohort: fewest rows of anything that comes out.
        test_percent: of the aligned rows, held out to evaluate on; 0: on the rows trained on.
        epochs: most passes over the rows.
        batch: rows of a step.
        rate: step size.
        momentum: part of the last step that is taken again.
        l2: penalty of the squared coefficients.
        patience: epochs in a row that do not lower the loss on the rows held out, after which training ends;
            0: it does not end before ``epochs``.
        timeout_s: how long ``fit`` waits for the owners, in seconds.
    """

    what: ClassVar[str] = "logistic regression"
    family: ClassVar[str] = "logistic"
    measure: ClassVar[str] = "auc"

    def predict_proba(self, model: str, persons: Sequence[str]) -> list[float | None]:
        """Ask for the chances of persons, as the owner of the label; None where there is none."""
        return self._asked(model, persons, "probability")

    def decision_function(self, model: str, persons: Sequence[str]) -> list[float | None]:
        """Ask for the log odds of persons, as the owner of the label; None where there is none."""
        return self._asked(model, persons, "score")


class _Expected(_Regression):
    """A regression of which a score is the expected value of the label."""

    def predict(self, model: str, persons: Sequence[str]) -> list[float | None]:
        """Ask for the expected values of persons, as the owner of the label; None where there is none."""
        return self._asked(model, persons, "score")


@dataclass
class LinearRegression(_Expected):
    """The mean of a number, over columns of several owners; parameters as in `LogisticRegression`."""

    what: ClassVar[str] = "linear regression"
    family: ClassVar[str] = "linear"
    measure: ClassVar[str] = "r2"


@dataclass
class PoissonRegression(_Expected):
    """The mean of a label that counts; tables and parameters as in `LogisticRegression`."""

    what: ClassVar[str] = "poisson regression"
    family: ClassVar[str] = "poisson"
    measure: ClassVar[str] = "r2"
