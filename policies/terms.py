"""Terms of use as people state them, and their one form as an ODRL policy of the profile.

``to_offer`` and ``to_agreement`` write terms as a single permission; ``from_policy`` reads exactly that form
back and refuses any other, so that nothing a policy says is lost on the way to a screen. ``narrower`` is the
check in front of a signature: an agreement may allow less than its offer, never more.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Final

from policies import clauses, purposes
from policies.errors import InvalidPolicy, InvalidTerms
from policies.narrowing import narrower
from policies.odrl import Policy
from policies.values import parse_instant
from policies.written_terms import permission_of, terms_values

__all__ = ["Terms", "from_policy", "narrower", "read", "to_agreement", "to_offer"]

_LISTS: Final = ("purposes", "operations", "columns", "output_types")
_FIELDS: Final = ("purposes", "operations", "columns", "uses", "expires", "min_cohort", "output_types")
_OPTIONAL_LISTS: Final = ("recipients", "credentials", "code_digests", "threat_models", "organisations")
_OPTIONAL: Final = (
    *_OPTIONAL_LISTS,
    "column_control",
    "min_parties",
    "epsilon_micro",
    "delta_exponent",
    "points",
    "price",
    "rate",
    "approval",
)


@dataclass(frozen=True, kw_only=True)
class Terms:
    """What a consumer may do with an asset.

    Lists are kept sorted and without repetition, purposes with the ``dpv:`` prefix and without those that a
    broader one of them covers. An optional clause that is not stated limits nothing.

    Attributes:
        purposes: DPV terms; a narrower purpose is covered too.
        operations: names of the components that may run, such as ``psi/ecdh``.
        columns: the columns they may read.
        uses: how many jobs, at least 1.
        expires: first instant at which no job may start; UTC, whole seconds.
        min_cohort: least number of persons behind any released figure, at least 1.
        output_types: kinds of output that may be released, such as ``table/aggregate``.
        recipients: DIDs that may receive a release.
        credentials: types of credential that every recipient must hold.
        column_control: ``COLUMN:LEVEL``, one for each column: no step may show more of it.
        min_parties: least number of distinct participants in any step that reads the asset.
        code_digests: SHA-256 digests of the code that may run.
        threat_models: adversaries the protocols must be secure against, such as ``semi-honest``.
        epsilon_micro: privacy loss that all jobs together may spend, in millionths.
        delta_exponent: k of the delta 10**-k that goes with it.
        points: points that all jobs together may spend.
        price: points that each job pays.
        rate: at most so many jobs within so many seconds.
        approval: ``once`` for the agreement, or ``per-job``.
        organisations: DIDs whose approval each job needs.

    Raises:
        InvalidTerms: a clause is empty, out of range or an unknown purpose.
    """

    purposes: tuple[str, ...]
    operations: tuple[str, ...]
    columns: tuple[str, ...]
    uses: int
    expires: datetime
    min_cohort: int
    output_types: tuple[str, ...]
    recipients: tuple[str, ...] = ()
    credentials: tuple[str, ...] = ()
    column_control: tuple[str, ...] = ()
    min_parties: int | None = None
    code_digests: tuple[str, ...] = ()
    threat_models: tuple[str, ...] = ()
    epsilon_micro: int | None = None
    delta_exponent: int | None = None
    points: int | None = None
    price: int | None = None
    rate: tuple[int, int] | None = None
    approval: str = "once"
    organisations: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        for field in _LISTS:
            object.__setattr__(self, field, clauses.texts(field, getattr(self, field)))
        object.__setattr__(self, "purposes", _covering(self.purposes))
        for field in ("uses", "min_cohort"):
            clauses.positive(field, getattr(self, field))
        if self.expires.tzinfo is None:
            raise InvalidTerms("expires", "a time with a zone", "another value")
        object.__setattr__(self, "expires", self.expires.astimezone(UTC))
        if self.expires.microsecond:
            raise InvalidTerms("expires", "whole seconds", "a fraction of a second")
        self._check_optional()

    def _check_optional(self) -> None:
        for field in _OPTIONAL_LISTS:
            if getattr(self, field) != ():
                object.__setattr__(self, field, clauses.texts(field, getattr(self, field)))
        if self.code_digests:
            clauses.digests("code_digests", self.code_digests)
        if self.column_control != ():
            levels = clauses.levels("column_control", self.column_control, self.columns)
            object.__setattr__(self, "column_control", levels)
        for field in ("min_parties", "epsilon_micro", "points", "price"):
            if getattr(self, field) is not None:
                clauses.positive(field, getattr(self, field))
        if self.delta_exponent is not None:
            clauses.whole("delta_exponent", self.delta_exponent, 1, clauses.MAX_DELTA_EXPONENT)
        if (self.epsilon_micro is None) is not (self.delta_exponent is None):
            missing = "epsilon_micro" if self.epsilon_micro is None else "delta_exponent"
            raise InvalidTerms(missing, "epsilon_micro and delta_exponent together", "nothing")
        if (self.points is None) is not (self.price is None):
            missing = "points" if self.points is None else "price"
            raise InvalidTerms(missing, "points and price together", "nothing")
        if self.rate is not None:
            object.__setattr__(self, "rate", clauses.rate("rate", self.rate))
        if self.approval not in clauses.APPROVALS:
            raise InvalidTerms("approval", " or ".join(clauses.APPROVALS), repr(self.approval)[:32])

    @staticmethod
    def parse(value: object) -> Terms:
        """Read terms from JSON: the attributes by name, ``expires`` like ``2026-11-23T10:00:00Z``.

        Raises:
            InvalidTerms: naming the first field that is missing, unknown or of another form.
        """
        if not isinstance(value, Mapping):
            raise InvalidTerms("terms", "an object", type(value).__name__)
        for field in value:
            if field not in _FIELDS and field not in _OPTIONAL:
                raise InvalidTerms(
                    str(field)[:64], f"one of {', '.join((*_FIELDS, *_OPTIONAL))}", "an unknown field"
                )
        for field in _FIELDS:
            if field not in value:
                raise InvalidTerms(field, "a value", "nothing")
        expires = parse_instant(value["expires"]) if isinstance(value["expires"], str) else None
        if expires is None:
            raise InvalidTerms("expires", "a time like 2026-11-23T10:00:00Z", "another form")
        members: dict[str, object] = dict(value)
        for field in (*_LISTS, *_OPTIONAL_LISTS, "column_control"):
            if field in members:
                members[field] = clauses.texts(field, members[field])
        for field in _OPTIONAL:
            if field in members and members[field] is None:
                raise InvalidTerms(field, "a value, or no such field", "null")
        if "rate" in members:
            members["rate"] = clauses.rate("rate", members["rate"])
        return Terms(**(members | {"expires": expires}))  # type: ignore[arg-type]  # checked above and on making

    def as_json(self) -> dict[str, object]:
        """Write the terms as JSON; ``Terms.parse`` reads them back equal."""
        written: dict[str, object] = {
            "purposes": list(self.purposes),
            "operations": list(self.operations),
            "columns": list(self.columns),
            "uses": self.uses,
            "expires": clauses.write_instant(self.expires),
            "min_cohort": self.min_cohort,
            "output_types": list(self.output_types),
        }
        for field in _OPTIONAL:
            stated = getattr(self, field)
            if field == "approval":
                if stated != "once":
                    written[field] = stated
            elif field == "rate" and stated is not None:
                written[field] = {"jobs": stated[0], "seconds": stated[1]}
            elif stated not in ((), None):
                written[field] = list(stated) if isinstance(stated, tuple) else stated
        return written

    def limits(self) -> dict[str, object]:
        """What the ledger itself counts and holds jobs to; clauses that are not stated are absent."""
        limits: dict[str, object] = {"uses": self.uses, "expires": clauses.write_instant(self.expires)}
        for field in ("epsilon_micro", "delta_exponent", "points", "price"):
            if getattr(self, field) is not None:
                limits[field] = getattr(self, field)
        if self.rate is not None:
            limits["rate"] = {"jobs": self.rate[0], "seconds": self.rate[1]}
        if self.organisations or self.approval == "per-job":
            limits["approval"] = {
                "organisations": list(self.organisations),
                "per_job": self.approval == "per-job",
            }
        return limits


def to_offer(
    terms: Terms, assigner: str, assignee: str | None = None, target: str | None = None
) -> dict[str, object]:
    """Write terms as an ODRL offer; without ``assignee`` it is open to every member."""
    return Policy(
        type="Offer", assigner=assigner, assignee=assignee, target=target, permission=(permission_of(terms),)
    ).as_json()


def to_agreement(
    terms: Terms, uid: str, assigner: str, assignee: str, target: str, timestamp: datetime
) -> dict[str, object]:
    """Write terms as an ODRL agreement between two participants."""
    return Policy(
        type="Agreement",
        uid=uid,
        assigner=assigner,
        assignee=assignee,
        target=target,
        timestamp=clauses.write_instant(timestamp),
        permission=(permission_of(terms),),
    ).as_json()


def from_policy(document: object) -> Terms:
    """Read the terms back from an offer or agreement of the form ``to_offer`` writes.

    Raises:
        InvalidPolicy: the document is no policy of the profile, or says something terms cannot.
    """
    policy = Policy.parse(document)
    permission = policy.permission
    if policy.prohibition or policy.obligation or len(permission) != 1 or permission[0].action != "use":
        raise InvalidPolicy("$", "one permission to use and no other rule", "other rules")
    where = "$.permission[0].constraint"
    try:
        values = terms_values(permission[0])
        terms = Terms(**values)  # type: ignore[arg-type]  # Terms checks each value
    except InvalidTerms as exc:
        raise InvalidPolicy(f"{where} ({exc.field})", exc.expected, exc.actual) from exc
    # Writing the terms again and comparing leaves no operator, order or connective unchecked.
    if permission_of(terms) != permission[0]:
        raise InvalidPolicy(where, "the constraints in the form that terms are written in", "another form")
    return terms


def read(document: object) -> Terms | None:
    """Read the terms back, or None where a policy says what no terms can."""
    try:
        return from_policy(document)
    except InvalidPolicy:
        return None


def _covering(named: tuple[str, ...]) -> tuple[str, ...]:
    """The purposes in canonical form, without those that another of them covers."""
    known = sorted({purposes.canonical(purpose) for purpose in named})
    for purpose in known:
        if not purposes.is_known(purpose):
            raise InvalidTerms("purposes", f"terms among {sorted(purposes.BROADER)}", repr(purpose))
    return tuple(
        purpose
        for purpose in known
        if not any(other != purpose and purposes.is_a(purpose, other) for other in known)
    )
