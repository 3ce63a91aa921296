"""The words of Parley's ODRL profile: left operands, the operators each admits, actions.

Everything the evaluator understands is in these tables; what is not in them is refused. ODRL 2.2 defines the
operators and six of the operands; the others belong to the profile and are declared in ``context.jsonld`` and
``profile.ttl``, which ship with the package.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from importlib import resources
from types import MappingProxyType
from typing import Final

__all__ = [
    "ACTIONS",
    "CONTEXT",
    "DUTIES",
    "DUTY_PARTIES",
    "OPERANDS",
    "PROFILE",
    "Operand",
    "Operator",
    "ValueKind",
    "context_document",
    "includes",
    "profile_document",
]

PROFILE: Final = "https://w3id.org/parley/odrl/1"
CONTEXT: Final = ("http://www.w3.org/ns/odrl.jsonld", f"{PROFILE}/context.jsonld")


class Operator(StrEnum):
    """ODRL 2.2 operators that some operand of the profile admits."""

    EQ = "eq"
    NEQ = "neq"
    LT = "lt"
    LTEQ = "lteq"
    GT = "gt"
    GTEQ = "gteq"
    HAS_PART = "hasPart"
    IS_A = "isA"
    IS_ANY_OF = "isAnyOf"
    IS_NONE_OF = "isNoneOf"
    IS_PART_OF = "isPartOf"


class ValueKind(StrEnum):
    """What a request states about an operand, and so how its constraints are compared."""

    PURPOSE = "purpose"
    TEXTS = "texts"
    INTEGER = "integer"
    INSTANT = "instant"
    DURATION = "duration"
    RATE = "rate"
    DECIMAL = "decimal"
    LEVELS = "levels"
    HELD = "held"


@dataclass(frozen=True)
class Operand:
    """A left operand: the kind of its value and the operators that make sense for it."""

    kind: ValueKind
    operators: frozenset[Operator]


_ORDER = frozenset({Operator.LT, Operator.LTEQ, Operator.GT, Operator.GTEQ})
_MEMBERSHIP = frozenset({Operator.EQ, Operator.IS_ANY_OF, Operator.IS_NONE_OF, Operator.IS_PART_OF})

_NUMBER = _ORDER | {Operator.EQ, Operator.NEQ}
_UPPER = frozenset({Operator.LT, Operator.LTEQ})

OPERANDS: Final[Mapping[str, Operand]] = MappingProxyType(
    {
        "purpose": Operand(
            ValueKind.PURPOSE, frozenset({Operator.IS_A, Operator.IS_ANY_OF, Operator.IS_NONE_OF})
        ),
        "recipient": Operand(ValueKind.TEXTS, _MEMBERSHIP | {Operator.NEQ}),
        "recipientCredential": Operand(ValueKind.HELD, frozenset({Operator.HAS_PART, Operator.IS_ANY_OF})),
        "dateTime": Operand(ValueKind.INSTANT, _NUMBER),
        "elapsedTime": Operand(ValueKind.DURATION, _UPPER | {Operator.EQ}),
        "count": Operand(ValueKind.INTEGER, _NUMBER),
        "payAmount": Operand(ValueKind.INTEGER, _NUMBER),
        "rate": Operand(ValueKind.RATE, frozenset({Operator.LTEQ})),
        "technique": Operand(ValueKind.TEXTS, _MEMBERSHIP),
        "columns": Operand(ValueKind.TEXTS, _MEMBERSHIP),
        "columnControl": Operand(ValueKind.LEVELS, frozenset({Operator.IS_PART_OF})),
        "minCohort": Operand(ValueKind.INTEGER, _NUMBER),
        "minParties": Operand(ValueKind.INTEGER, _NUMBER),
        "outputType": Operand(ValueKind.TEXTS, _MEMBERSHIP),
        "codeDigest": Operand(ValueKind.TEXTS, _MEMBERSHIP),
        "threatModel": Operand(ValueKind.TEXTS, _MEMBERSHIP),
        "epsilonBudget": Operand(ValueKind.DECIMAL, _UPPER),
        "deltaBudget": Operand(ValueKind.DECIMAL, _UPPER),
        "pointsBudget": Operand(ValueKind.INTEGER, _UPPER),
    }
)

# ODRL 2.2 vocabulary, "included in": every action here is a kind of use.
ACTIONS: Final[Mapping[str, str | None]] = MappingProxyType(
    {
        "use": None,
        "aggregate": "use",
        "anonymize": "use",
        "derive": "use",
        "distribute": "use",
        "execute": "use",
        "read": "use",
    }
)

# Actions of ODRL 2.2 that an obligation may ask for, besides those above.
DUTIES: Final = frozenset({"compensate", "delete", "inform", "obtainConsent", "reviewPolicy"})

# Who a duty concerns, by the property of ODRL 2.2 that names them.
DUTY_PARTIES: Final[Mapping[str, str]] = MappingProxyType(
    {"compensate": "compensatedParty", "inform": "informedParty", "obtainConsent": "consentingParty"}
)


def includes(broad: str, narrow: str) -> bool:
    """Whether doing ``narrow`` is a way of doing ``broad``. Unknown actions include nothing."""
    current: str | None = narrow
    while current is not None and current in ACTIONS:
        if current == broad:
            return True
        current = ACTIONS[current]
    return False


def context_document() -> bytes:
    """Read the JSON-LD context of the profile, as published at the second IRI of ``CONTEXT``."""
    return resources.files(__package__).joinpath("context.jsonld").read_bytes()


def profile_document() -> bytes:
    """Read the profile in Turtle, as published at ``PROFILE``; a test compares it with these tables."""
    return resources.files(__package__).joinpath("profile.ttl").read_bytes()
