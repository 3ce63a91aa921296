"""k-means over columns of several owners on secret shares: no distance, sum, count or row's cluster is seen.

`own_columns` scales an owner's columns at its own node by the agreed bounds, `train` runs Lloyd's algorithm
on shares, `Centres` is what whoever learns them makes of the clusters, `assign` tells one owner which cluster
its rows are nearest to, and `costs` states what training sends.
docs/models-clusters.md says who learns what.
"""

from federated.shared_kmeans.assignment import ASSIGNMENT, assign, assignment_cost, assignment_sent, nearness
from federated.shared_kmeans.centres import Centres
from federated.shared_kmeans.settings import SPEC, check_sizes
from federated.shared_kmeans.training import Trained, own_centres, own_columns, scaled, train

__all__ = [
    "ASSIGNMENT",
    "SPEC",
    "Centres",
    "Trained",
    "assign",
    "assignment_cost",
    "assignment_sent",
    "check_sizes",
    "nearness",
    "own_centres",
    "own_columns",
    "scaled",
    "train",
]
