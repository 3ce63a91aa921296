"""Use an exchange from Python: one client for the caller's own node.

``Profile.load(home, "analyst").client()`` gives a :class:`NodeClient` whose methods carry the words of the
API; :func:`statistics_spec`, :func:`joint_spec` and :func:`matching_spec` write job specs;
:class:`LogisticRegression`, :class:`LinearRegression`, :class:`PoissonRegression`, :class:`GradientBoosting`,
:class:`Scorecard`, :class:`NeuralNetwork` and :class:`KMeans` are estimators over several owners' tables;
:func:`truth_check` plays a job on synthetic twins. The package asks only the caller's
own node, trusts only the certificate in the profile, and holds no key of the organisation: a token says which
role calls, the node decides.
"""

from exchange.sdk.client import FINISHED, NodeClient
from exchange.sdk.deliveries import delivery_spec, file_spec, marked
from exchange.sdk.estimators import (
    GradientBoosting,
    KMeans,
    LinearRegression,
    LogisticRegression,
    NeuralNetwork,
    PoissonRegression,
    RemoteTable,
    Scorecard,
)
from exchange.sdk.problems import NodeProblem
from exchange.sdk.profiles import Profile, default_home
from exchange.sdk.questions import (
    Identifier,
    Measure,
    Reference,
    Share,
    Side,
    joint_spec,
    matching_spec,
    statistics_spec,
)
from exchange.sdk.truth import truth_check

__all__ = [
    "FINISHED",
    "GradientBoosting",
    "Identifier",
    "KMeans",
    "LinearRegression",
    "LogisticRegression",
    "Measure",
    "NeuralNetwork",
    "NodeClient",
    "NodeProblem",
    "PoissonRegression",
    "Profile",
    "Reference",
    "RemoteTable",
    "Scorecard",
    "Share",
    "Side",
    "default_home",
    "delivery_spec",
    "file_spec",
    "joint_spec",
    "marked",
    "matching_spec",
    "statistics_spec",
    "truth_check",
]
