"""Neural networks over columns of several owners, on secret shares."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import KW_ONLY, dataclass
from typing import Any, ClassVar

from exchange.sdk.estimators.remote import ByLoss, OnShares, Roles, micro, reading, step

__all__ = ["NeuralNetwork"]


@dataclass
class NeuralNetwork(OnShares, ByLoss):
    """A network of `model/network` with one hidden layer, under the names of scikit-learn; on all rows.

    The caller learns how the error fell, in the unit of the label's variance where it is a number; so do the
    owners. A network is not put in service.

    Args:
        client: of the caller's node; the caller is an owner or not.
        purpose: a DPV term, allowed by each agreement.
        helper: DID of a member without data that computes along; needed for two tables, none for more.
        rules: that bring identifiers to one form.
        min_cohort: fewest rows trained on.
        timeout_s: how long ``fit`` waits for the owners, in seconds.
        family: ``logistic`` of a label of 0 and 1, ``linear`` of a number; of the same name in the step.
        hidden_layer_sizes: units of the one hidden layer, ``units`` of the step.
        max_iter: passes over the rows, ``epochs``.
        batch_size: rows of a step, ``batch``.
        learning_rate_init: step size, ``rate_micro``.
        alpha: penalty of the squared weights, ``l2_micro``.
        coefficients: who learns the weights: ``split``, each owner those of its own columns; ``recipients``,
            the caller all of them, as the lines of ``table_`` (party, column, unit, weight).
    """

    _: KW_ONLY
    family: str = "logistic"
    hidden_layer_sizes: int = 8
    max_iter: int = 30
    batch_size: int = 256
    learning_rate_init: float = 0.5
    alpha: float = 0.0
    coefficients: str = "split"

    what: ClassVar[str] = "neural network"

    def _steps(self, roles: Roles) -> Sequence[dict[str, Any]]:
        params = {
            "label": roles.label,
            "family": self.family,
            "coefficients": self.coefficients,
            "min_cohort": self.min_cohort,
            "units": self.hidden_layer_sizes,
            "epochs": self.max_iter,
            "batch": self.batch_size,
            **micro(rate=self.learning_rate_init, l2=self.alpha),
            "loss": "owners",
        }
        train = step("train", "model/network", roles.computing, roles.inputs, ["match"], params, roles.reader)
        return train, reading(roles)
