"""A neural network with one hidden layer over columns of several owners, trained and applied on shares.

`federated.vertical.standardise` prepares an owner's columns at its own node, `train` runs mini-batch gradient
descent on shares, `score` applies a split network, `initial` says where training starts, and `costs` states
what is sent. docs/models-network.md says who learns what.
"""

from federated.network.scoring import SCORING, score
from federated.network.settings import SPEC, Settings, check_sizes
from federated.network.training import Trained, train
from federated.network.weights import OwnWeights, initial, own_weights

__all__ = [
    "SCORING",
    "SPEC",
    "OwnWeights",
    "Settings",
    "Trained",
    "check_sizes",
    "initial",
    "own_weights",
    "score",
    "train",
]
