"""Estimators in the manner of scikit-learn, over tables that stay at their owners.

``fit`` submits a job that aligns the rows of the tables, trains on shares, and evaluates on rows that were
held out; it waits until every owner's node has decided and computed. What an owner does not allow is refused
there. The model stays split between the owners. The owner of the label puts it in service with ``publish``
and asks for single persons; docs/models.md and docs/scoring.md say who learns what.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar, Final, Self

from exchange.errors import InvalidRequest
from exchange.sdk.client import NodeClient
from exchange.sdk.connection import Json
from exchange.sdk.questions import DEFAULT_RULES
from ledger.entries import new_id
from ledger.times import system_clock

__all__ = ["LinearRegression", "LogisticRegression", "PoissonRegression", "RemoteTable"]

_MILLION: Final = 10**6


@dataclass(frozen=True)
class RemoteTable:
    """One owner's part in a model.

    Attributes:
        owner: DID.
        asset: its id, ``owner/name``.
        key: the column that names a person.
        features: columns that explain the label.
        agreement: under which the asset is used; None: the caller's own asset, which needs none.
    """

    owner: str
    asset: str
    key: str
    features: tuple[str, ...]
    agreement: str | None = None


@dataclass
class _Regression:
    """What all families have in common; see `LogisticRegression` for the parameters."""

    client: NodeClient
    purpose: str
    helper: str | None = None
    rules: Sequence[str] = DEFAULT_RULES
    min_cohort: int = 50
    test_percent: int = 20
    epochs: int = 30
    batch: int = 1024
    rate: float = 0.5
    momentum: float = 0.9
    l2: float = 0.0
    patience: int = 0
    timeout_s: float = 3600.0

    job_: str = field(default="", init=False)
    report_: dict[str, Any] = field(default_factory=dict, init=False)
    files_: dict[str, bytes] = field(default_factory=dict, init=False)

    family: ClassVar[str]
    measure: ClassVar[str]

    def spec(self, tables: Sequence[RemoteTable], label: str) -> dict[str, Any]:
        """Write the job that ``fit`` submits.

        Args:
            tables: two to sixteen, first that of the owner of the label.
            label: a column of the first table.

        Raises:
            InvalidRequest: too few tables, an asset twice, or no third party to compute between two owners.
        """
        assets = [table.asset for table in tables]
        if len(tables) < 2 or len(set(assets)) != len(assets):
            raise InvalidRequest("tables", "two or more different assets", ", ".join(assets) or "none")
        if (len(tables) == 2) != (self.helper is not None):
            raise InvalidRequest(
                "helper", "a member with two tables, none with more", f"{len(tables)} tables"
            )
        reader = str(self.client.node()["did"])
        owners = {f"owner-{number}": table for number, table in enumerate(tables, start=1)}
        parties = {role: table.owner for role, table in owners.items()}
        computing = parties if self.helper is None else parties | {"helper-1": self.helper}
        inputs = {
            role: _input(table.asset, *((label,) if role == "owner-1" else ()), *table.features)
            for role, table in owners.items()
        }
        part = "test" if self.test_percent else "all"
        steps = (
            self._aligning(tables),
            _step("train", f"model/{self.family}", computing, inputs, ["match"], self._training(label)),
            _step(
                "score",
                "model/score",
                parties,
                inputs,
                ["match", "train"],
                {"scores": "shared", "part": part, "min_cohort": self.min_cohort},
            ),
            _step(
                "evaluate",
                "model/evaluate",
                computing,
                inputs,
                ["score"],
                {"label": label, "min_cohort": self.min_cohort},
                reader,
            ),
            _step("report", "report/evaluation", {"reader": reader}, {}, ["evaluate"], {}),
        )
        return {
            "v": 1,
            "job": new_id("job", system_clock),
            "title": f"{self.family} regression of {label}",
            "purpose": self.purpose,
            "agreements": {table.asset: table.agreement for table in tables if table.agreement},
            "steps": list(steps),
        }

    def fit(self, tables: Sequence[RemoteTable], label: str) -> Self:
        """Train and evaluate; sets ``job_``, ``report_`` (the measures) and ``files_`` (with the plots).

        Args:
            tables: as in `spec`.
            label: as in `spec`.

        Raises:
            InvalidRequest: as in `spec`.
            NodeProblem: the caller's node refuses the job.
            JobFailed: an owner refused it, or it failed.
            TimedOut: it goes on after ``timeout_s``.
        """
        job = str(self.client.submit(self.spec(tables, label))["job"])
        self.client.wait_job(job, timeout_s=self.timeout_s)
        answer, files = self.client.result(job)
        self.job_, self.report_, self.files_ = job, dict(answer["facts"]), files
        return self

    def score(self) -> float:
        """Return how good the model is on the rows that were held out."""
        return float(self._fitted()[self.measure])

    def publish(self, model: str, part: Mapping[str, Any]) -> Json:
        """Draft a version of a model, as the owner of the label; the other owners file their parts.

        Args:
            model: its id, ``owner/name``.
            part: how the caller's part is served, as ``NodeClient.draft_model`` has it.
        """
        self._fitted()
        return self.client.draft_model(model, job=self.job_, step="train", purposes=[self.purpose], part=part)

    def _asked(self, model: str, persons: Sequence[str], what: str) -> list[float | None]:
        return [one[what] for one in self.client.score(model, persons, self.purpose)]

    def _fitted(self) -> dict[str, Any]:
        if not self.report_:
            raise InvalidRequest("estimator", "one that fit was called on", "another")
        return self.report_

    def _aligning(self, tables: Sequence[RemoteTable]) -> dict[str, Any]:
        several = len(tables) > 2
        first, others = ("leader", "party-{}") if several else ("left", "right")
        roles = {first: tables[0]} | {others.format(n): one for n, one in enumerate(tables[1:], start=1)}
        params = {
            "normalise": {role: list(self.rules) for role in roles},
            "minimum_matches": self.min_cohort,
        }
        return _step(
            "match",
            "psi/many" if several else "psi/ecdh",
            {role: table.owner for role, table in roles.items()},
            {role: _input(table.asset, table.key) for role, table in roles.items()},
            [],
            params | ({"receivers": "all"} if several else {}),
        )

    def _training(self, label: str) -> dict[str, Any]:
        micro = {"rate": self.rate, "momentum": self.momentum, "l2": self.l2}
        return {
            "label": label,
            "coefficients": "split",
            "min_cohort": self.min_cohort,
            "test_percent": self.test_percent,
            "epochs": self.epochs,
            "batch": self.batch,
            "patience": self.patience,
            **{f"{name}_micro": round(value * _MILLION) for name, value in micro.items()},
        }


@dataclass
class LogisticRegression(_Regression):
    """The chance of a label of 0 and 1, over columns of several owners.

    Args:
        client: of the caller's node; the caller learns the measures, and is an owner or not.
        purpose: a DPV term, allowed by each agreement.
        helper: DID of a member without data that computes along; needed for two tables, none for more.
        rules: that bring identifiers to one form.
        min_cohort: fewest rows of anything that comes out.
        test_percent: of the aligned rows, held out to evaluate on; 0: on the rows trained on.
        epochs: most passes over the rows.
        batch: rows of a step.
        rate: step size.
        momentum: part of the last step that is taken again.
        l2: penalty of the squared coefficients.
        patience: epochs in a row that do not lower the loss on the rows held out, after which training ends;
            0: it does not end before ``epochs``.
        timeout_s: how long ``fit`` waits for the owners, in seconds.
    """

    family: ClassVar[str] = "logistic"
    measure: ClassVar[str] = "auc"

    def predict_proba(self, model: str, persons: Sequence[str]) -> list[float | None]:
        """Ask for the chances of persons, as the owner of the label; None where there is none."""
        return self._asked(model, persons, "probability")

    def decision_function(self, model: str, persons: Sequence[str]) -> list[float | None]:
        """Ask for the log odds of persons, as the owner of the label; None where there is none."""
        return self._asked(model, persons, "score")


class _Expected(_Regression):
    """A regression of which a score is the expected value of the label."""

    def predict(self, model: str, persons: Sequence[str]) -> list[float | None]:
        """Ask for the expected values of persons, as the owner of the label; None where there is none."""
        return self._asked(model, persons, "score")


@dataclass
class LinearRegression(_Expected):
    """The mean of a number, over columns of several owners; parameters as in `LogisticRegression`."""

    family: ClassVar[str] = "linear"
    measure: ClassVar[str] = "r2"


@dataclass
class PoissonRegression(_Expected):
    """The mean of a label that counts; tables and parameters as in `LogisticRegression`."""

    family: ClassVar[str] = "poisson"
    measure: ClassVar[str] = "r2"


def _input(asset: str, *columns: str) -> dict[str, Any]:
    return {"asset": asset, "columns": [{"name": name, "decimals": 0} for name in columns]}


def _step(
    id_: str,
    component: str,
    parties: Mapping[str, str],
    inputs: Mapping[str, Any],
    after: Sequence[str],
    params: Mapping[str, Any],
    *recipients: str,
) -> dict[str, Any]:
    return {
        "id": id_,
        "component": component,
        "version": 1,
        "parties": dict(parties),
        "inputs": dict(inputs),
        "after": list(after),
        "params": dict(params),
        "recipients": list(recipients),
    }
