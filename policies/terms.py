"""Terms of use as people state them, and their one form as an ODRL policy of the profile.

``to_offer`` and ``to_agreement`` write terms as a single permission; ``from_policy`` reads exactly that form
back and refuses any other, so that nothing a policy says is lost on the way to a screen. ``narrower`` is the
check in front of a signature: an agreement may allow less than its offer, never more.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Final

from policies import purposes
from policies.constraints import parse_instant
from policies.errors import InvalidPolicy, InvalidTerms, TermsExceedOffer
from policies.odrl import MAX_INTEGER, MAX_ITEMS, MAX_TEXT, Constraint, LogicalConstraint, Permission, Policy

__all__ = ["Terms", "from_policy", "narrower", "to_agreement", "to_offer"]

_LISTS: Final = ("purposes", "operations", "columns", "output_types")
_FIELDS: Final = ("purposes", "operations", "columns", "uses", "expires", "min_cohort", "output_types")


@dataclass(frozen=True, kw_only=True)
class Terms:
    """What a consumer may do with an asset.

    Lists are kept sorted and without repetition, purposes with the ``dpv:`` prefix.

    Attributes:
        purposes: DPV terms; a narrower purpose is covered too.
        operations: names of the components that may run, such as ``psi/ecdh``.
        columns: the columns they may read.
        uses: how many jobs, at least 1.
        expires: first instant at which no job may start; UTC, whole seconds.
        min_cohort: least number of persons behind any released figure, at least 1.
        output_types: kinds of output that may be released, such as ``table/aggregate``.

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

    def __post_init__(self) -> None:
        for field in _LISTS:
            object.__setattr__(self, field, _texts(field, getattr(self, field)))
        object.__setattr__(self, "purposes", tuple(sorted({purposes.canonical(p) for p in self.purposes})))
        for purpose in self.purposes:
            if not purposes.is_known(purpose):
                raise InvalidTerms("purposes", f"terms among {sorted(purposes.BROADER)}", repr(purpose))
        for field in ("uses", "min_cohort"):
            _positive(field, getattr(self, field))
        if self.expires.tzinfo is None:
            raise InvalidTerms("expires", "a time with a zone", "another value")
        object.__setattr__(self, "expires", self.expires.astimezone(UTC))
        if self.expires.microsecond:
            raise InvalidTerms("expires", "whole seconds", "a fraction of a second")

    @staticmethod
    def parse(value: object) -> Terms:
        """Read terms from JSON: the attributes by name, ``expires`` like ``2026-11-23T10:00:00Z``.

        Raises:
            InvalidTerms: naming the first field that is missing, unknown or of another form.
        """
        if not isinstance(value, Mapping):
            raise InvalidTerms("terms", "an object", type(value).__name__)
        for field in value:
            if field not in _FIELDS:
                raise InvalidTerms(str(field)[:64], f"one of {', '.join(_FIELDS)}", "an unknown field")
        for field in _FIELDS:
            if field not in value:
                raise InvalidTerms(field, "a value", "nothing")
        expires = parse_instant(value["expires"]) if isinstance(value["expires"], str) else None
        if expires is None:
            raise InvalidTerms("expires", "a time like 2026-11-23T10:00:00Z", "another form")
        lists = {field: _texts(field, value[field]) for field in _LISTS}
        return Terms(**lists, uses=value["uses"], min_cohort=value["min_cohort"], expires=expires)

    def as_json(self) -> dict[str, object]:
        """Write the terms as JSON; ``Terms.parse`` reads them back equal."""
        return {
            "purposes": list(self.purposes),
            "operations": list(self.operations),
            "columns": list(self.columns),
            "uses": self.uses,
            "expires": _write_instant(self.expires),
            "min_cohort": self.min_cohort,
            "output_types": list(self.output_types),
        }


def to_offer(
    terms: Terms, assigner: str, assignee: str | None = None, target: str | None = None
) -> dict[str, object]:
    """Write terms as an ODRL offer; without ``assignee`` it is open to every member."""
    return Policy(
        type="Offer", assigner=assigner, assignee=assignee, target=target, permission=_permission(terms)
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
        timestamp=_write_instant(timestamp.astimezone(UTC)),
        permission=_permission(terms),
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
    constraints = permission[0].constraint
    where = "$.permission[0].constraint"
    if len(constraints) != len(_FIELDS):
        raise InvalidPolicy(where, f"the {len(_FIELDS)} constraints of the terms", f"{len(constraints)}")
    atomic = [part for part in constraints[1:] if isinstance(part, Constraint)]
    values = {part.left_operand: part.right_operand for part in atomic}
    expires = parse_instant(str(values.get("dateTime")))
    try:
        terms = Terms(
            purposes=_read_purposes(constraints[0]),
            operations=_texts("technique", values.get("technique")),
            columns=_texts("columns", values.get("columns")),
            uses=_positive("count", values.get("count")),
            expires=expires or _missing_expiry(),
            min_cohort=_positive("minCohort", values.get("minCohort")),
            output_types=_texts("outputType", values.get("outputType")),
        )
    except InvalidTerms as exc:
        raise InvalidPolicy(f"{where} ({exc.field})", exc.expected, exc.actual) from exc
    # Writing the terms again and comparing leaves no operator, order or connective unchecked.
    if _permission(terms) != permission:
        raise InvalidPolicy(where, "the constraints in the form that terms are written in", "another form")
    return terms


def narrower(agreement: Terms, offer: Terms) -> Terms:
    """Check that an agreement allows no more than its offer, and return it.

    Raises:
        TermsExceedOffer: listing every clause that allows more.
    """
    clauses: list[str] = []
    unmet = [
        narrow
        for narrow in agreement.purposes
        if not any(purposes.is_a(narrow, broad) for broad in offer.purposes)
    ]
    if unmet:
        clauses.append(f"purposes: {', '.join(unmet)} is not within {', '.join(offer.purposes)}")
    for field in ("operations", "columns", "output_types"):
        extra = sorted(set(getattr(agreement, field)) - set(getattr(offer, field)))
        if extra:
            clauses.append(f"{field}: {', '.join(extra)} not among {', '.join(getattr(offer, field))}")
    if agreement.uses > offer.uses:
        clauses.append(f"uses: {agreement.uses} is more than {offer.uses}")
    if agreement.expires > offer.expires:
        later, latest = _write_instant(agreement.expires), _write_instant(offer.expires)
        clauses.append(f"expires: {later} is after {latest}")
    if agreement.min_cohort < offer.min_cohort:
        clauses.append(f"min_cohort: {agreement.min_cohort} is less than {offer.min_cohort}")
    if clauses:
        raise TermsExceedOffer(clauses)
    return agreement


def _permission(terms: Terms) -> tuple[Permission]:
    covered = tuple(Constraint("purpose", "isA", purpose) for purpose in terms.purposes)
    return (
        Permission(
            "use",
            (
                covered[0] if len(covered) == 1 else LogicalConstraint("or", covered),
                Constraint("technique", "isPartOf", terms.operations),
                Constraint("columns", "isPartOf", terms.columns),
                Constraint("count", "lteq", terms.uses),
                Constraint("dateTime", "lt", _write_instant(terms.expires)),
                Constraint("minCohort", "gteq", terms.min_cohort),
                Constraint("outputType", "isPartOf", terms.output_types),
            ),
        ),
    )


def _read_purposes(constraint: Constraint | LogicalConstraint) -> tuple[str, ...]:
    parts = constraint.parts if isinstance(constraint, LogicalConstraint) else (constraint,)
    return tuple(str(part.right_operand) for part in parts if isinstance(part, Constraint))


def _texts(field: str, value: object) -> tuple[str, ...]:
    if isinstance(value, str) or not isinstance(value, Sequence | set | frozenset):
        raise InvalidTerms(field, "a list of texts", type(value).__name__)
    if not 1 <= len(value) <= MAX_ITEMS:
        raise InvalidTerms(field, f"1 to {MAX_ITEMS} texts", f"{len(value)}")
    texts: set[str] = set()
    for item in value:
        if not isinstance(item, str) or not 1 <= len(item) <= MAX_TEXT:
            raise InvalidTerms(field, f"texts of 1 to {MAX_TEXT} characters", "another value")
        texts.add(item)
    return tuple(sorted(texts))


def _positive(field: str, value: object) -> int:
    if not isinstance(value, int) or isinstance(value, bool) or not 1 <= value <= MAX_INTEGER:
        raise InvalidTerms(field, "a whole number of at least 1", repr(value)[:32])
    return value


def _missing_expiry() -> datetime:
    raise InvalidTerms("dateTime", "a time like 2026-11-23T10:00:00Z", "another form or nothing")


def _write_instant(instant: datetime) -> str:
    return instant.replace(tzinfo=None).isoformat(timespec="seconds") + "Z"
