"""Models over the rows of several owners that have the same columns: federated averaging.

`training` plays the roles of ``horizontal/fedavg``, `rounds` are the steps of any such protocol, `costs`
states what it sends. docs/models-horizontal.md says who learns what.
"""

from federated.horizontal.models import predicted
from federated.horizontal.rounds import Terms
from federated.horizontal.settings import SPEC, Family, Settings
from federated.horizontal.standardise import Scales, Table
from federated.horizontal.training import Columns, Trained, aggregate, train

__all__ = [
    "SPEC",
    "Columns",
    "Family",
    "Scales",
    "Settings",
    "Table",
    "Terms",
    "Trained",
    "aggregate",
    "predicted",
    "train",
]
