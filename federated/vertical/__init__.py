"""Regression and correlation over columns of several owners that nobody sees in clear.

`standardise` prepares an owner's columns at its own node, `train` runs mini-batch gradient descent on shares,
`correlation` multiplies columns on shares, `scoring` and `evaluation` say how good a trained model is, and
`costs` states what they send. docs/models.md says who learns what.
"""

from federated.vertical.settings import SPEC, Family, Layout, Settings
from federated.vertical.standardise import Standardised, check_label, standardise
from federated.vertical.training import Trained, own_coefficients, train

__all__ = [
    "SPEC",
    "Family",
    "Layout",
    "Settings",
    "Standardised",
    "Trained",
    "check_label",
    "own_coefficients",
    "standardise",
    "train",
]
