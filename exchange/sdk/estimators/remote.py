"""What all estimators do: align the rows of several owners' tables, submit the job, read its answer."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import KW_ONLY, dataclass, field
from typing import Any, ClassVar, Final, Self, TypeVar

from exchange.errors import InvalidRequest
from exchange.sdk.client import NodeClient
from exchange.sdk.connection import Json
from exchange.sdk.questions import DEFAULT_RULES
from ledger.entries import new_id
from ledger.times import system_clock

__all__ = [
    "ByLoss",
    "Estimator",
    "OnShares",
    "RemoteTable",
    "Roles",
    "Served",
    "Supervised",
    "by_role",
    "micro",
    "reading",
    "step",
]

_MILLION: Final = 10**6
_Given = TypeVar("_Given")


@dataclass(frozen=True)
class RemoteTable:
    """One owner's part in a model.

    Attributes:
        owner: DID.
        asset: its id, ``owner/name``.
        key: the column that names a person.
        features: columns that the model is made of, without the label.
        agreement: under which the asset is used; None: the caller's own asset, which needs none.
    """

    owner: str
    asset: str
    key: str
    features: tuple[str, ...]
    agreement: str | None = None


@dataclass(frozen=True)
class Roles:
    """Who plays what in the steps behind the one that aligns rows.

    Attributes:
        owners: DID by role, ``owner-1`` first.
        computing: these, and the helper where there is one.
        inputs: of a step by role, as a job has them.
        reader: DID of the caller.
        label: a column of ``owner-1``; empty where nothing is explained.
    """

    owners: Mapping[str, str]
    computing: Mapping[str, str]
    inputs: Mapping[str, Any]
    reader: str
    label: str


@dataclass
class Estimator(ABC):
    """A model over columns of several owners; subclasses say which steps train it.

    Args:
        client: of the caller's node; the caller is an owner or not.
        purpose: a DPV term, allowed by each agreement.
        rules: that bring identifiers to one form.
        min_cohort: fewest rows of anything that comes out, ``min_cohort`` of every step.
        timeout_s: how long ``fit`` waits for the owners, in seconds.

    Attributes:
        job_: the job that ``fit`` submitted.
        report_: the facts of its answer.
        table_: the lines of its answer.
        files_: its files by name, with plots where there are some.
    """

    client: NodeClient
    purpose: str
    _: KW_ONLY
    rules: Sequence[str] = DEFAULT_RULES
    min_cohort: int = 50
    timeout_s: float = 3600.0

    job_: str = field(default="", init=False)
    report_: dict[str, Any] = field(default_factory=dict, init=False)
    table_: list[list[Any]] = field(default_factory=list, init=False)
    files_: dict[str, bytes] = field(default_factory=dict, init=False)

    @abstractmethod
    def _steps(self, roles: Roles) -> Sequence[dict[str, Any]]:
        """The steps behind ``match``, the last of which the caller reads."""

    def _computing(self, owners: Mapping[str, str]) -> Mapping[str, str]:
        """Who computes, by role."""
        return owners

    def _columns(self, table: RemoteTable) -> Sequence[tuple[str, int]]:
        """The features of a table, and of each the decimal digits that the inputs of the job state."""
        return [(name, 0) for name in table.features]

    def _job(self, title: str, tables: Sequence[RemoteTable], label: str = "") -> dict[str, Any]:
        assets = [table.asset for table in tables]
        if len(tables) < 2 or len(set(assets)) != len(assets):
            raise InvalidRequest("tables", "two or more different assets", ", ".join(assets) or "none")
        roles = self._roles(tables, label)
        return {
            "v": 1,
            "job": new_id("job", system_clock),
            "title": title,
            "purpose": self.purpose,
            "agreements": {table.asset: table.agreement for table in tables if table.agreement},
            "steps": [self._aligning(tables), *self._steps(roles)],
        }

    def _roles(self, tables: Sequence[RemoteTable], label: str) -> Roles:
        by_number = {f"owner-{number}": table for number, table in enumerate(tables, start=1)}
        owners = {role: table.owner for role, table in by_number.items()}
        explained = {"owner-1": [(label, 0)]} if label else {}
        inputs = {
            role: _input(table.asset, *explained.get(role, []), *self._columns(table))
            for role, table in by_number.items()
        }
        return Roles(owners, self._computing(owners), inputs, str(self.client.node()["did"]), label)

    def _aligning(self, tables: Sequence[RemoteTable]) -> dict[str, Any]:
        several = len(tables) > 2
        first, others = ("leader", "party-{}") if several else ("left", "right")
        roles = {first: tables[0]} | {others.format(n): one for n, one in enumerate(tables[1:], start=1)}
        params = {
            "normalise": {role: list(self.rules) for role in roles},
            "minimum_matches": self.min_cohort,
        }
        return step(
            "match",
            "psi/many" if several else "psi/ecdh",
            {role: table.owner for role, table in roles.items()},
            {role: _input(table.asset, (table.key, 0)) for role, table in roles.items()},
            [],
            params | ({"receivers": "all"} if several else {}),
        )

    def _train(self, spec: Mapping[str, Any]) -> None:
        """Submit a job, wait until it ends, and keep its answer."""
        job = str(self.client.submit(spec)["job"])
        self.client.wait_job(job, timeout_s=self.timeout_s)
        answer, files = self.client.result(job)
        self.job_, self.files_ = job, files
        self.report_, self.table_ = dict(answer["facts"]), list(answer["rows"])

    def _fitted(self) -> dict[str, Any]:
        if not self.report_:
            raise InvalidRequest("estimator", "one that fit was called on", "another")
        return self.report_


@dataclass
class OnShares(Estimator):
    """An estimator that three parties compute on secret shares: the first three owners, or two and a helper.

    Args:
        helper: DID of a member without data that computes along; needed for two tables, none for more.
    """

    helper: str | None = None

    def _computing(self, owners: Mapping[str, str]) -> Mapping[str, str]:
        if (len(owners) == 2) != (self.helper is not None):
            raise InvalidRequest(
                "helper", "a member with two tables, none with more", f"{len(owners)} tables"
            )
        return owners if self.helper is None else {**owners, "helper-1": self.helper}


class Supervised(Estimator):
    """An estimator that explains a label."""

    what: ClassVar[str]
    """What it fits, for the title of the job."""

    def spec(self, tables: Sequence[RemoteTable], label: str) -> dict[str, Any]:
        """Write the job that ``fit`` submits.

        Args:
            tables: two to sixteen, first that of the owner of the label.
            label: a column of the first table.

        Raises:
            InvalidRequest: too few tables, an asset or a column twice, no third party to compute between two
                owners, or a parameter that does not fit the tables; by field.
        """
        return self._job(f"{self.what} of {label}", tables, label)

    def fit(self, tables: Sequence[RemoteTable], label: str) -> Self:
        """Train; sets ``job_``, ``report_`` (what the caller was told), ``table_`` and ``files_``.

        Args:
            tables: as in `spec`.
            label: as in `spec`.

        Raises:
            InvalidRequest: as in `spec`.
            NodeProblem: the caller's node refuses the job.
            JobRefused: an owner's node refuses it.
            JobFailed: it failed.
            TimedOut: it goes on after ``timeout_s``.
        """
        self._train(self.spec(tables, label))
        return self

    @abstractmethod
    def score(self) -> float:
        """Return how good the model is, the greater the better."""


class Served(Supervised):
    """An estimator whose model the owners' nodes serve."""

    def publish(self, model: str, part: Mapping[str, Any]) -> Json:
        """Draft a version of a model, as the owner of the label; the other owners file their parts.

        Args:
            model: its id, ``owner/name``.
            part: how the caller's part is served, as ``NodeClient.draft_model`` has it.
        """
        self._fitted()
        return self.client.draft_model(model, job=self.job_, step="train", purposes=[self.purpose], part=part)

    def _asked(self, model: str, persons: Sequence[str], what: str) -> list[Any]:
        return [one[what] for one in self.client.score(model, persons, self.purpose)]


class ByLoss(Supervised):
    """An estimator of which the caller is told the loss of every epoch, on the rows trained on."""

    @property
    def loss_curve_(self) -> list[float]:
        """The mean squared error of each epoch, every row's before the step that it is in."""
        return [float(loss) for loss in self._fitted()["losses"]]

    def score(self) -> float:
        """Return the mean squared error of the last epoch, negated: the rows are those trained on."""
        return -self.loss_curve_[-1]


def step(
    id_: str,
    component: str,
    parties: Mapping[str, str],
    inputs: Mapping[str, Any],
    after: Sequence[str],
    params: Mapping[str, Any],
    *recipients: str,
) -> dict[str, Any]:
    """A step of a job."""
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


def reading(roles: Roles) -> dict[str, Any]:
    """The step by which the caller reads what the step ``train`` has told it."""
    return step("report", "report/result", {"reader": roles.reader}, {}, ["train"], {})


def micro(**values: float) -> dict[str, int]:
    """Parameters that a step states in millionths, under their names there."""
    return {f"{name}_micro": round(value * _MILLION) for name, value in values.items()}


def by_role(named: str, given: Mapping[str, _Given], roles: Roles) -> dict[str, _Given]:
    """What is given by asset, by the role of its owner.

    Raises:
        InvalidRequest: an asset that is none of the tables.
    """
    assets = {str(one["asset"]): role for role, one in roles.inputs.items()}
    if unknown := sorted(set(given) - set(assets)):
        raise InvalidRequest(named, f"assets among {', '.join(sorted(assets))}", ", ".join(unknown))
    return {assets[asset]: value for asset, value in given.items()}


def _input(asset: str, *columns: tuple[str, int]) -> dict[str, Any]:
    if len(dict(columns)) != len(columns):
        raise InvalidRequest("tables", f"features of {asset} once each, and not the label", "one twice")
    return {"asset": asset, "columns": [{"name": name, "decimals": digits} for name, digits in columns]}
