"""Gradient boosted trees over columns of several owners that nobody sees in clear (SecureBoost).

`bin_columns` prepares an owner's columns at its own node, `label_holder` and `feature_owner` grow the trees,
`costs` states what is sent; `margins_of` and `tell_sides` score other rows. docs/models-boosting.md says who
learns what.
"""

from federated.boosting.binning import Binned, bin_columns
from federated.boosting.objectives import auc, check_label, confusion, scores
from federated.boosting.protocol import Ensemble, OwnPart, feature_owner, label_holder
from federated.boosting.scoring import SCORING, followed, margins_of, sides, splits_of, tell_sides
from federated.boosting.settings import SPEC, Objective, Settings, Sizes
from federated.boosting.trees import OwnSplit, Split, Tree

__all__ = [
    "SCORING",
    "SPEC",
    "Binned",
    "Ensemble",
    "Objective",
    "OwnPart",
    "OwnSplit",
    "Settings",
    "Sizes",
    "Split",
    "Tree",
    "auc",
    "bin_columns",
    "check_label",
    "confusion",
    "feature_owner",
    "followed",
    "label_holder",
    "margins_of",
    "scores",
    "sides",
    "splits_of",
    "tell_sides",
]
