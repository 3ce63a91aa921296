"""All examples, by name."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Final

from exchange.examples import (
    boosting,
    clusters,
    deliveries,
    encrypted,
    horizontal,
    inference,
    intersections,
    lookups,
    many,
    network,
    pooled,
    preparation,
    queries,
    regression,
    scorecard,
    secret_columns,
)
from exchange.examples.stage import Stage

__all__ = ["EXAMPLES", "Example"]

Answers = tuple[object, object]
"""The joint answer and the same from plaintext."""


@dataclass(frozen=True)
class Example:
    """One example.

    Attributes:
        name: as a command names it; ``example.NAME`` in the catalogue of messages says what it asks.
        ask: publishes, agrees and computes; returns the joint answer and the one from plaintext.
        components: what its jobs are made of, as the outcome of a run says too.
        tolerance: by how much a number may differ, where a protocol rounds.
    """

    name: str
    ask: Callable[[Stage], Answers]
    components: tuple[str, ...]
    tolerance: float = 0.0


EXAMPLES: Final[Mapping[str, Example]] = {
    example.name: example
    for example in (
        Example(
            "aggregate-statistics", pooled.present, ("report/result", "stats/aggregate"), tolerance=0.00001
        ),
        Example("anonymous-lookup", lookups.anonymous, ()),
        Example("boosting", boosting.fit, ("model/boosting", "psi/ecdh", "report/result"), tolerance=0.00001),
        Example(
            "boosting-part",
            boosting.own_part,
            ("model/boosting", "model/trees", "psi/ecdh"),
            tolerance=0.00001,
        ),
        Example(
            "boosting-scores",
            boosting.scored,
            ("model/boosting", "model/score-trees", "psi/ecdh"),
            tolerance=0.00001,
        ),
        Example(
            "boosting-shared",
            boosting.on_shares,
            ("model/boosting-shared", "psi/ecdh", "report/result"),
            tolerance=0.005,
        ),
        Example("common-customers", many.common, ("psi/many", "report/result")),
        Example("common-debts", many.hidden_figures, ("psi/sum", "report/result")),
        Example(
            "correlation",
            preparation.correlation,
            ("model/correlation", "psi/ecdh", "report/result"),
            tolerance=0.001,
        ),
        Example("customers-at-several", many.at_several, ("psi/over-threshold", "report/result")),
        Example("debts-by-group", intersections.by_group, ("psi/ecdh", "report/table", "stats/group-sums")),
        Example("delivered-file", deliveries.document, ("delivery/file", "delivery/receive")),
        Example(
            "delivered-marked-table",
            deliveries.marked_table,
            ("delivery/marked-table", "delivery/receive"),
            tolerance=1.0,
        ),
        Example("delivered-table", deliveries.table, ("delivery/receive", "delivery/table")),
        Example("encrypted-scores", encrypted.scores, ("he/scoring",), tolerance=0.001),
        Example("encrypted-sums", encrypted.sums, ("he/open", "he/sums")),
        Example(
            "expression",
            secret_columns.asked_of("compute/expression", has_helper=True),
            ("compute/expression", "psi/ecdh", "report/result"),
        ),
        Example(
            "expression-aby3",
            secret_columns.asked_of("compute/expression-aby3", has_helper=True),
            ("compute/expression-aby3", "psi/ecdh", "report/result"),
        ),
        Example(
            "expression-cheetah",
            secret_columns.asked_of("compute/expression-cheetah", has_helper=False),
            ("compute/expression-cheetah", "psi/ecdh", "report/result"),
        ),
        Example(
            "expression-hidden",
            secret_columns.asked_of("compute/expression", has_helper=True, is_hidden=True),
            ("compute/expression", "psi/shared", "report/result"),
        ),
        Example(
            "federated-averaging",
            horizontal.averaged,
            ("model/fedavg", "report/result"),
            tolerance=0.15,
        ),
        Example(
            "federated-averaging-owner",
            horizontal.own_model,
            ("model/fedavg", "model/joint"),
            tolerance=0.15,
        ),
        Example(
            "federated-boosting",
            horizontal.boosted,
            ("model/fedboost", "report/result"),
            tolerance=0.00001,
        ),
        Example(
            "federated-clusters",
            horizontal.clustered,
            ("model/kmeans", "report/result"),
            tolerance=0.00001,
        ),
        Example(
            "federated-flower-app",
            horizontal.app_averaged,
            ("bridge/flower", "report/result"),
            tolerance=0.00001,
        ),
        Example("few-in-a-large-set", intersections.few, ("psi/unbalanced",)),
        Example(
            "joined-clusters",
            clusters.joined,
            ("model/kmeans-columns", "psi/ecdh", "report/result"),
            tolerance=0.01,
        ),
        Example(
            "joined-clusters-rows",
            clusters.assigned,
            ("model/assign-clusters", "model/kmeans-columns", "psi/ecdh"),
        ),
        Example("joint-statistics", pooled.statistics, ("report/result", "stats/joint"), tolerance=0.00001),
        Example("large-sets", intersections.large, ("psi/rr22", "report/table")),
        Example("matches-counted", intersections.counted, ("psi/cardinality", "report/result")),
        Example("matches-for-one", intersections.one_receiver, ("psi/ecdh",)),
        Example("matches-of-several-keys", intersections.repeated, ("psi/ecdh", "report/table")),
        Example(
            "network-scores-aby3",
            inference.scored_by("model/inference-aby3", has_helper=True),
            ("model/inference-aby3",),
            tolerance=0.00001,
        ),
        Example(
            "network-scores-cheetah",
            inference.scored_by("model/inference-cheetah", has_helper=False),
            ("model/inference-cheetah",),
            tolerance=0.00001,
        ),
        Example(
            "network-trained",
            network.fit,
            ("model/network", "psi/ecdh", "report/result"),
            tolerance=0.05,
        ),
        Example(
            "network-trained-scores",
            network.scored,
            ("model/network", "model/score-network", "psi/ecdh"),
            tolerance=0.03,
        ),
        Example(
            "payments-by-group",
            intersections.paid_by_group,
            ("psi/ecdh", "report/table", "stats/group-sums"),
        ),
        Example(
            "prepared-columns",
            preparation.prepared,
            ("model/linear", "model/prepare", "psi/ecdh", "report/result"),
            tolerance=0.05,
        ),
        Example(
            "regression-by-group",
            regression.by_group,
            ("model/evaluate", "model/logistic", "model/score", "psi/ecdh", "report/evaluation"),
            tolerance=0.03,
        ),
        Example(
            "regression-counts",
            regression.counted,
            ("model/poisson", "psi/ecdh", "report/result"),
            tolerance=0.05,
        ),
        Example(
            "regression-evaluated",
            regression.evaluated,
            ("model/evaluate", "model/logistic", "model/score", "psi/ecdh", "report/evaluation"),
            tolerance=0.02,
        ),
        Example(
            "regression-linear",
            regression.linear,
            ("model/linear", "psi/ecdh", "report/result"),
            tolerance=0.05,
        ),
        Example(
            "regression-logistic",
            regression.logistic,
            ("model/logistic", "psi/ecdh", "report/result"),
            tolerance=0.05,
        ),
        Example(
            "regression-part",
            regression.own_part,
            ("model/logistic", "model/part", "psi/ecdh"),
            tolerance=0.05,
        ),
        Example(
            "regression-scores",
            regression.scored,
            ("model/logistic", "model/score", "psi/ecdh"),
            tolerance=0.02,
        ),
        Example(
            "scorecard-bins", scorecard.own_bins, ("model/bins", "model/woe", "psi/ecdh"), tolerance=1e-6
        ),
        Example(
            "scorecard-points",
            scorecard.points,
            ("model/scorecard", "model/woe", "psi/ecdh", "report/result"),
            tolerance=1.0,
        ),
        Example(
            "scorecard-values",
            scorecard.information_values,
            ("model/woe", "psi/ecdh", "report/result"),
            tolerance=1e-6,
        ),
        Example("sql", queries.joined_by("sql/query"), ("report/result", "sql/query")),
        Example("sql-fast", queries.joined_by("sql/query-rr22"), ("report/result", "sql/query-rr22")),
        Example("sql-rows", queries.kept_by("sql/rows"), ("report/result", "sql/rows")),
        Example("sql-rows-fast", queries.kept_by("sql/rows-rr22"), ("report/result", "sql/rows-rr22")),
        Example("stability", preparation.stability, ("model/stability", "report/result"), tolerance=0.001),
    )
}
"""All examples, by name; every registered component is in one of them."""
