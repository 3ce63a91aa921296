"""Gradient boosted trees over columns of several owners on secret shares: no gradient, sum or split is seen.

`federated.boosting.bin_columns` prepares an owner's columns at its own node, `train` grows complete trees on
shares, `Forest` is what whoever learns the trees makes of them, and `costs` states what is sent.
docs/models-boosting.md says who learns what.
"""

from federated.shared_boosting.forest import Forest
from federated.shared_boosting.settings import SPEC, Settings, check_sizes
from federated.shared_boosting.training import train

__all__ = ["SPEC", "Forest", "Settings", "check_sizes", "train"]
