"""Clusters of rows by columns of several owners, on secret shares."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import KW_ONLY, dataclass
from decimal import Decimal, InvalidOperation
from typing import Any, Self

from exchange.errors import InvalidRequest
from exchange.sdk.estimators.remote import OnShares, RemoteTable, Roles, by_role, reading, step

__all__ = ["Bounds", "KMeans"]

Bounds = Mapping[str, Mapping[str, tuple[float | str, float | str]]]
"""By asset and column, lower and upper: numbers, or decimal texts."""


@dataclass
class KMeans(OnShares):
    """Clusters of `model/kmeans-columns`, under the names of scikit-learn.

    The caller learns, of each cluster with ``min_cohort`` rows or more, its rows, its width and its centre.

    Args:
        client: of the caller's node; the caller is an owner or not.
        purpose: a DPV term, allowed by each agreement.
        helper: DID of a member without data that computes along; needed for two tables, none for more.
        rules: that bring identifiers to one form.
        min_cohort: fewest rows of a cluster that is told; there must be so many for each cluster.
        timeout_s: how long ``fit`` waits for the owners, in seconds.
        bounds: of every feature, by which it is scaled and to which its values are clipped. They are public,
            and say how much a column counts.
        n_clusters: how many at most, ``clusters`` of the step.
        random_state: of the first centres, which are drawn within the bounds, ``seed``.
        max_iter: most steps, ``rounds``.
        end: ``rounds``, after all of them; ``settled``, also after a step in which fewer rows than
            ``min_cohort`` changed their cluster, so all parties learn after how many.
    """

    _: KW_ONLY
    bounds: Bounds
    n_clusters: int = 8
    random_state: int = 0
    max_iter: int = 20
    end: str = "rounds"

    def spec(self, tables: Sequence[RemoteTable]) -> dict[str, Any]:
        """Write the job that ``fit`` submits.

        Args:
            tables: two to sixteen.

        Raises:
            InvalidRequest: too few tables, an asset or a column twice, no third party to compute between two
                owners, or bounds of other columns or that are no numbers; by field.
        """
        return self._job(f"clusters of {', '.join(table.asset for table in tables)}", tables)

    def fit(self, tables: Sequence[RemoteTable]) -> Self:
        """Find the clusters; sets ``job_``, ``report_``, ``table_`` and ``files_``.

        Args:
            tables: as in `spec`.

        Raises:
            InvalidRequest: as in `spec`.
            NodeProblem: the caller's node refuses the job.
            JobRefused: an owner's node refuses it.
            JobFailed: it failed.
            TimedOut: it goes on after ``timeout_s``.
        """
        self._train(self.spec(tables))
        return self

    @property
    def feature_names_(self) -> list[tuple[str, str]]:
        """Role and name of each column of the centres: ``owner-1`` is the owner of the first table."""
        return list(dict.fromkeys((str(line[3]), str(line[4])) for line in self._told()))

    @property
    def cluster_centers_(self) -> list[list[float]]:
        """The centre of each cluster that is told, in the units of the columns."""
        found: dict[int, list[float]] = {}
        for line in self._told():
            found.setdefault(line[0], []).append(float(line[5]))
        return list(found.values())

    @property
    def cluster_sizes_(self) -> list[int]:
        """The rows of each cluster that is told."""
        return list({line[0]: int(line[1]) for line in self._told()}.values())

    @property
    def inertia_(self) -> float:
        """Squared distances of the rows of these clusters from their centres, with the bounds as units."""
        return float(self._fitted()["inertia"])

    @property
    def n_iter_(self) -> int:
        """By how many steps the centres moved."""
        return int(self._fitted()["steps"])

    def score(self) -> float:
        """Return `inertia_`, negated: the greater the better."""
        return -self.inertia_

    def _told(self) -> list[list[Any]]:
        self._fitted()
        return self.table_

    def _columns(self, table: RemoteTable) -> Sequence[tuple[str, int]]:
        own = self.bounds.get(table.asset, {})
        if set(own) != set(table.features):
            expected = f"lower and upper of {', '.join(table.features)} of {table.asset}"
            raise InvalidRequest("bounds", expected, ", ".join(own) or "none")
        return [(name, max(map(_digits, _numbers(name, own[name])))) for name in table.features]

    def _steps(self, roles: Roles) -> Sequence[dict[str, Any]]:
        stated = {
            role: {name: _stated(name, ends) for name, ends in own.items()}
            for role, own in by_role("bounds", self.bounds, roles).items()
        }
        params = {
            "clusters": self.n_clusters,
            "bounds": stated,
            "seed": self.random_state,
            "min_cohort": self.min_cohort,
            "rounds": self.max_iter,
            "end": self.end,
        }
        train = step(
            "train", "model/kmeans-columns", roles.computing, roles.inputs, ["match"], params, roles.reader
        )
        return train, reading(roles)


def _numbers(column: str, ends: Sequence[float | str]) -> list[Decimal]:
    """Bounds of a column as they are written.

    Raises:
        InvalidRequest: something else than two finite numbers.
    """
    try:
        found = [Decimal(str(end)).normalize() for end in ends]
    except InvalidOperation:
        found = []
    if len(found) != 2 or not all(one.is_finite() for one in found):
        raise InvalidRequest(f"bounds.{column}", "two numbers, lower and upper", "another value")
    return found


def _digits(number: Decimal) -> int:
    """Decimal digits behind the point."""
    return max(0, -int(number.as_tuple().exponent))


def _stated(column: str, ends: Sequence[float | str]) -> dict[str, str]:
    lower, upper = (f"{one:f}" for one in _numbers(column, ends))
    return {"lower": lower, "upper": upper}
