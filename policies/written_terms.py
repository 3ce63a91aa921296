"""Terms as the constraints and duties of one permission, and the values read back out of them.

Reading is lenient on purpose: ``terms.from_policy`` writes what was read again and compares, so whatever is
not in exactly this form is refused there.
"""

from __future__ import annotations

from decimal import Decimal, InvalidOperation
from typing import TYPE_CHECKING, Final, NoReturn

from policies.clauses import write_instant
from policies.durations import parse_rate, write_rate
from policies.errors import InvalidTerms
from policies.odrl import Constraint, Duty, LogicalConstraint, Permission, RightOperand
from policies.values import parse_instant

if TYPE_CHECKING:
    from policies.terms import Terms

__all__ = ["permission_of", "terms_values"]

# Field of the terms, left operand, operator; in the order in which they are written.
_LISTS: Final = {
    "operations": ("technique", "isPartOf"),
    "columns": ("columns", "isPartOf"),
    "output_types": ("outputType", "isPartOf"),
    "recipients": ("recipient", "isPartOf"),
    "credentials": ("recipientCredential", "hasPart"),
    "column_control": ("columnControl", "isPartOf"),
    "code_digests": ("codeDigest", "isPartOf"),
    "threat_models": ("threatModel", "isPartOf"),
}
_NUMBERS: Final = {
    "uses": ("count", "lteq"),
    "min_cohort": ("minCohort", "gteq"),
    "min_parties": ("minParties", "gteq"),
    "price": ("payAmount", "gteq"),
    "points": ("pointsBudget", "lteq"),
}
_MICRO: Final = 1_000_000


def permission_of(terms: Terms) -> Permission:
    """Write terms as a permission to use."""
    covered = tuple(Constraint("purpose", "isA", purpose) for purpose in terms.purposes)
    constraints: list[Constraint | LogicalConstraint] = [
        covered[0] if len(covered) == 1 else LogicalConstraint("or", covered),
        _written(terms, "operations"),
        _written(terms, "columns"),
        _written(terms, "uses"),
        Constraint("dateTime", "lt", write_instant(terms.expires)),
        _written(terms, "min_cohort"),
        _written(terms, "output_types"),
    ]
    for field in (
        "recipients",
        "credentials",
        "column_control",
        "min_parties",
        "code_digests",
        "threat_models",
    ):
        if getattr(terms, field):
            constraints.append(_written(terms, field))
    if terms.epsilon_micro is not None and terms.delta_exponent is not None:
        constraints.append(Constraint("epsilonBudget", "lteq", _decimal(terms.epsilon_micro)))
        constraints.append(Constraint("deltaBudget", "lteq", f"{Decimal(1).scaleb(-terms.delta_exponent):f}"))
    for field in ("price", "points"):
        if getattr(terms, field) is not None:
            constraints.append(_written(terms, field))
    if terms.rate is not None:
        constraints.append(Constraint("rate", "lteq", write_rate(*terms.rate)))
    duties = []
    if terms.approval == "per-job":
        duties.append(Duty("obtainConsent"))
    if terms.organisations:
        duties.append(Duty("obtainConsent", party=terms.organisations))
    return Permission("use", tuple(constraints), duty=tuple(duties))


def terms_values(permission: Permission) -> dict[str, object]:
    """Read the values of the terms out of a permission; a clause that is not there is left out.

    Raises:
        InvalidTerms: a clause that terms must have is missing or has no readable value.
    """
    atomic = [part for part in permission.constraint if isinstance(part, Constraint)]
    found: dict[str, RightOperand] = {part.left_operand: part.right_operand for part in atomic}
    values: dict[str, object] = {"purposes": _purposes(permission)}
    for field, (operand, _) in (_LISTS | _NUMBERS).items():
        if operand in found:
            values[field] = found[operand]
    for field in ("operations", "columns", "uses", "min_cohort", "output_types"):
        if field not in values:
            raise InvalidTerms(field, "a constraint", "none")
    expires = parse_instant(str(found.get("dateTime")))
    if expires is None:
        raise InvalidTerms("dateTime", "a time like 2026-11-23T10:00:00Z", "another form or nothing")
    values["expires"] = expires
    if "epsilonBudget" in found:
        values["epsilon_micro"] = int(_number("epsilonBudget", found) * _MICRO)
    if "deltaBudget" in found:
        values["delta_exponent"] = -_number("deltaBudget", found).adjusted()
    if "rate" in found:
        values["rate"] = parse_rate(str(found["rate"])) or _unreadable("rate")
    for duty in permission.duty:
        if duty.party:
            values["organisations"] = duty.party
        else:
            values["approval"] = "per-job"
    return values


def _written(terms: Terms, field: str) -> Constraint:
    operand, operator = (_LISTS | _NUMBERS)[field]
    return Constraint(operand, operator, getattr(terms, field))


def _decimal(micro: int) -> str:
    whole, rest = divmod(micro, _MICRO)
    return f"{whole}.{rest:06d}".rstrip("0").rstrip(".")


def _number(operand: str, found: dict[str, RightOperand]) -> Decimal:
    try:
        number = Decimal(str(found[operand]))
    except InvalidOperation:
        _unreadable(operand)
    # A text may spell a number of any size; beyond this none of the terms can mean it.
    if not number.is_finite() or not Decimal("1e-30") <= number <= Decimal(2**53):
        _unreadable(operand)
    return number


def _unreadable(operand: str) -> NoReturn:
    raise InvalidTerms(operand, "a readable value", "another form")


def _purposes(permission: Permission) -> tuple[str, ...]:
    first = permission.constraint[0] if permission.constraint else None
    parts = first.parts if isinstance(first, LogicalConstraint) else (first,)
    return tuple(str(part.right_operand) for part in parts if isinstance(part, Constraint))
