"""Models, trees and clusters over the rows of several owners that have the same columns.

`training` plays the roles of ``horizontal/fedavg``, `boosting` those of ``horizontal/boosting``, `kmeans`
those of ``horizontal/kmeans``, `apps` those of ``horizontal/app``, `rounds` are the steps of any such
protocol, `costs` states what they send.
docs/models-horizontal.md says who learns what.
"""

from federated.horizontal.boosting import Boosted, aggregate_trees, boost, margins_of
from federated.horizontal.clusters import Clusters
from federated.horizontal.kmeans import Clustered, aggregate_clusters, cluster
from federated.horizontal.models import predicted
from federated.horizontal.rounds import Terms
from federated.horizontal.settings import SPEC, Family, Guard, Private, Settings
from federated.horizontal.standardise import Scales, Table
from federated.horizontal.training import Columns, Trained, aggregate, train
from federated.horizontal.trees import Boosting

__all__ = [
    "SPEC",
    "Boosted",
    "Boosting",
    "Clustered",
    "Clusters",
    "Columns",
    "Family",
    "Guard",
    "Private",
    "Scales",
    "Settings",
    "Table",
    "Terms",
    "Trained",
    "aggregate",
    "aggregate_clusters",
    "aggregate_trees",
    "boost",
    "cluster",
    "margins_of",
    "predicted",
    "train",
]
