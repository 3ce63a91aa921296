"""Estimators in the manner of scikit-learn, over tables that stay at their owners.

``fit`` submits a job that aligns the rows of the tables and trains; it waits until every owner's node has
decided and computed, and reads what the caller was told. What an owner does not allow is refused there. A
model that the nodes serve stays split between the owners: the owner of the label puts it in service with
``publish`` and asks for single persons; docs/models.md and docs/scoring.md say who learns what.
"""

from exchange.sdk.estimators.boosting import GradientBoosting
from exchange.sdk.estimators.clusters import KMeans
from exchange.sdk.estimators.network import NeuralNetwork
from exchange.sdk.estimators.regression import LinearRegression, LogisticRegression, PoissonRegression
from exchange.sdk.estimators.remote import RemoteTable
from exchange.sdk.estimators.scorecard import Scorecard

__all__ = [
    "GradientBoosting",
    "KMeans",
    "LinearRegression",
    "LogisticRegression",
    "NeuralNetwork",
    "PoissonRegression",
    "RemoteTable",
    "Scorecard",
]
