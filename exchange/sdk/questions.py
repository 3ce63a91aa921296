"""Write the specs of the two questions a command line can ask: who matches, and statistics by group.

A spec is the canonical JSON object whose digest is approved, recorded and executed. These functions are
pure: the caller gives the job's id and the agreements. Anyone may write the object by hand instead; the
format is in ``docs/protocols.md``.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from exchange.errors import InvalidRequest

__all__ = [
    "Identifier",
    "Measure",
    "Reference",
    "Share",
    "Side",
    "joint_spec",
    "matching_spec",
    "statistics_spec",
]

DEFAULT_RULES = ("nfkc", "trim", "upper", "remove-spaces", "remove-hyphens")
MAX_DECIMALS = 9
_EXPECTED = "OWNER/ASSET:COLUMN"


@dataclass(frozen=True)
class Reference:
    """A column of an asset, written ``OWNER/ASSET:COLUMN``."""

    asset: str
    column: str

    @classmethod
    def parse(cls, text: str) -> Reference:
        """Read the written form.

        Raises:
            InvalidRequest: it has another form.
        """
        asset, colon, column = text.partition(":")
        owner, slash, slug = asset.partition("/")
        if not (colon and slash and owner and slug and column):
            raise InvalidRequest("column", _EXPECTED, text)
        return cls(asset, column)


@dataclass(frozen=True)
class Identifier:
    """The column that names a person, and the rules that make both owners' spellings equal."""

    reference: Reference
    rules: tuple[str, ...] = DEFAULT_RULES


@dataclass(frozen=True)
class Measure:
    """A column to be summed, as fixed point with ``decimals`` decimal places."""

    reference: Reference
    decimals: int = 0

    @classmethod
    def parse(cls, text: str) -> Measure:
        """Read ``OWNER/ASSET:COLUMN[:DECIMALS]``.

        Raises:
            InvalidRequest: it has another form, or more than nine decimals.
        """
        head, colon, last = text.rpartition(":")
        if not colon or ":" not in head:
            return cls(Reference.parse(text))
        if not last.isdigit() or int(last) > MAX_DECIMALS:
            raise InvalidRequest("decimals", f"0 to {MAX_DECIMALS}", last)
        return cls(Reference.parse(head), int(last))


@dataclass(frozen=True)
class Side:
    """One owner's part in a question: the owner's DID, and the agreement under which its asset is used."""

    owner: str
    agreement: str
    identifier: Identifier

    @property
    def asset(self) -> str:
        """The asset this side brings."""
        return self.identifier.reference.asset


@dataclass(frozen=True)
class Share:
    """One owner's table among several with the same columns, and the agreement under which it is used."""

    owner: str
    asset: str
    agreement: str


def _column(name: str, decimals: int = 0) -> dict[str, Any]:
    return {"name": name, "decimals": decimals}


def _match(left: Side, right: Side, minimum_matches: int) -> dict[str, Any]:
    if left.asset == right.asset:
        raise InvalidRequest("identifiers", "columns of two different assets", f"twice {left.asset}")
    return {
        "id": "match",
        "component": "psi/ecdh",
        "version": 1,
        "parties": {"left": left.owner, "right": right.owner},
        "inputs": {
            role: {"asset": side.asset, "columns": [_column(side.identifier.reference.column)]}
            for role, side in (("left", left), ("right", right))
        },
        "after": [],
        "params": {
            "normalise": {"left": list(left.identifier.rules), "right": list(right.identifier.rules)},
            "minimum_matches": minimum_matches,
        },
        "recipients": [],
    }


def _report(reader: str, after: str) -> dict[str, Any]:
    return {
        "id": "report",
        "component": "report/table",
        "version": 1,
        "parties": {"reader": reader},
        "inputs": {},
        "after": [after],
        "params": {"plot": "bar"},
        "recipients": [reader],
    }


def _spec(
    job: str, title: str, purpose: str, sides: Sequence[Side], steps: Sequence[Mapping[str, Any]]
) -> dict[str, Any]:
    return {
        "v": 1,
        "job": job,
        "title": title,
        "purpose": purpose,
        "agreements": {side.asset: side.agreement for side in sides},
        "steps": [dict(step) for step in steps],
    }


def matching_spec(
    *, job: str, title: str, purpose: str, reader: str, left: Side, right: Side, minimum_matches: int
) -> dict[str, Any]:
    """Ask how many people both owners know.

    Args:
        job: id of the new job.
        title: what people see in lists.
        purpose: a DPV term, e.g. ``dpv:CustomerSolvencyMonitoring``.
        reader: DID of the member to whom the result is sealed.
        left: one owner's side.
        right: the other owner's side.
        minimum_matches: below this number the owners' nodes stop the job.
    """
    match = _match(left, right, minimum_matches) | {"recipients": [reader]}
    return _spec(job, title, purpose, (left, right), (match, _report(reader, "match")))


def statistics_spec(
    *,
    job: str,
    title: str,
    purpose: str,
    reader: str,
    sides: Sequence[Side],
    measures: Sequence[Measure],
    group: Reference,
    min_cohort: int,
    privacy: Mapping[str, Any] | None = None,
) -> dict[str, Any]:
    """Ask for counts, sums and means over the people both owners know, by a group.

    The measures are one owner's columns, the group is the other's.

    Args:
        job: id of the new job.
        title: what people see in lists.
        purpose: a DPV term.
        reader: DID of the member to whom the result is sealed.
        sides: the two owners' sides, in any order.
        measures: columns to sum, all of one asset.
        group: the column to group by, of the other asset.
        min_cohort: groups with fewer people are left out by the owners' nodes.
        privacy: noise for differential privacy: ``mechanism``, ``epsilon_micro``, ``delta_exponent`` and
            ``bounds`` by measure; None: the answer is exact.

    Raises:
        InvalidRequest: measures and group do not belong to the two sides as they should.
    """
    by_asset = {side.asset: side for side in sides}
    owners = {measure.reference.asset for measure in measures}
    expected = "measures of one asset and the group of the other"
    if len(by_asset) != 2 or len(owners) != 1 or {*owners, group.asset} != set(by_asset):
        raise InvalidRequest("columns", expected, ", ".join(sorted({*owners, group.asset})) or "none")
    measured, grouped = by_asset[owners.pop()], by_asset[group.asset]
    statistics = {
        "id": "statistics",
        "component": "stats/group-sums",
        "version": 1,
        "parties": {"measure_holder": measured.owner, "group_holder": grouped.owner},
        "inputs": {
            "measure_holder": {
                "asset": measured.asset,
                "columns": [_column(measure.reference.column, measure.decimals) for measure in measures],
            },
            "group_holder": {"asset": grouped.asset, "columns": [_column(group.column)]},
        },
        "after": ["match"],
        "params": {"min_cohort": min_cohort, **({} if privacy is None else {"privacy": dict(privacy)})},
        "recipients": [reader],
    }
    steps = (_match(measured, grouped, min_cohort), statistics, _report(reader, "statistics"))
    return _spec(job, title, purpose, (measured, grouped), steps)


def joint_spec(
    *,
    job: str,
    title: str,
    purpose: str,
    reader: str,
    shares: Sequence[Share],
    min_cohort: int,
    keys: Sequence[Mapping[str, Any]] = (),
    measures: Sequence[Mapping[str, Any]] = (),
    together: bool = False,
    where: Mapping[str, Any] | None = None,
    privacy: Mapping[str, Any] | None = None,
    decimals: Mapping[str, int] | None = None,
    helper: str | None = None,
) -> dict[str, Any]:
    """Ask for statistics over the rows of several owners' tables that have the same columns.

    Args:
        job: id of the new job.
        title: what people see in lists.
        purpose: a DPV term.
        reader: DID of the member to whom the result is sealed.
        shares: two to thirty owners' tables.
        min_cohort: cells with fewer rows of all owners together stay closed.
        keys: columns to group by, each ``column`` with ``labels`` or ``edges``.
        measures: ``column`` with ``statistics``, ``quantiles`` and ``bounds``.
        together: covariance and correlation of every two measures.
        where: a filter of rows.
        privacy: noise for differential privacy.
        decimals: decimal places kept of a column; 0 where it is not named.
        helper: DID of a member without data that computes along; needed for two owners.

    Raises:
        InvalidRequest: no column is named, or one asset twice.
    """
    from exchange.jobs.statistics_filters import columns_of

    named = [str(one.get("column")) for one in (*keys, *measures)]
    columns = tuple(dict.fromkeys((*named, *(() if where is None else columns_of(where)))))
    if not columns:
        raise InvalidRequest("columns", "a key, a measure or a filter", "none")
    assets = {share.asset: share for share in shares}
    if len(assets) != len(shares):
        raise InvalidRequest("shares", "each asset once", "one twice")
    roles = {f"owner-{number}": share for number, share in enumerate(shares, start=1)}
    kept = decimals or {}
    optional = {
        "keys": [dict(one) for one in keys],
        "measures": [dict(one) for one in measures],
        "together": together,
        "where": where,
        "privacy": privacy,
    }
    statistics = {
        "id": "statistics",
        "component": "stats/joint",
        "version": 1,
        "parties": {role: share.owner for role, share in roles.items()}
        | ({} if helper is None else {"helper-1": helper}),
        "inputs": {
            role: {"asset": share.asset, "columns": [_column(name, kept.get(name, 0)) for name in columns]}
            for role, share in roles.items()
        },
        "after": [],
        "params": {"min_cohort": min_cohort} | {name: value for name, value in optional.items() if value},
        "recipients": [reader],
    }
    read = {
        "id": "report",
        "component": "report/result",
        "version": 1,
        "parties": {"reader": reader},
        "inputs": {},
        "after": ["statistics"],
        "params": {},
        "recipients": [],
    }
    return {
        "v": 1,
        "job": job,
        "title": title,
        "purpose": purpose,
        "agreements": {share.asset: share.agreement for share in shares},
        "steps": [statistics, read],
    }
