"""The words of Parley's ODRL profile: left operands, the operators each admits, actions.

Everything the evaluator understands is in these tables; what is not in them is refused. ODRL 2.2 defines the
operators and the operands ``purpose``, ``recipient``, ``dateTime`` and ``count``; the others belong to the
profile and are declared in ``context.jsonld``, which ships with the package.
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
    "OPERANDS",
    "PROFILE",
    "Operand",
    "Operator",
    "ValueKind",
    "context_document",
    "includes",
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
    IS_A = "isA"
    IS_ANY_OF = "isAnyOf"
    IS_NONE_OF = "isNoneOf"
    IS_PART_OF = "isPartOf"


class ValueKind(StrEnum):
    """What a request states about an operand, and so how its constraints are compared."""

    PURPOSE = "purpose"
    TEXT = "text"
    TEXTS = "texts"
    INTEGER = "integer"
    INSTANT = "instant"


@dataclass(frozen=True)
class Operand:
    """A left operand: the kind of its value and the operators that make sense for it."""

    kind: ValueKind
    operators: frozenset[Operator]


_ORDER = frozenset({Operator.LT, Operator.LTEQ, Operator.GT, Operator.GTEQ})
_MEMBERSHIP = frozenset({Operator.EQ, Operator.IS_ANY_OF, Operator.IS_NONE_OF, Operator.IS_PART_OF})

OPERANDS: Final[Mapping[str, Operand]] = MappingProxyType(
    {
        "purpose": Operand(
            ValueKind.PURPOSE, frozenset({Operator.IS_A, Operator.IS_ANY_OF, Operator.IS_NONE_OF})
        ),
        "recipient": Operand(ValueKind.TEXT, _MEMBERSHIP | {Operator.NEQ}),
        "dateTime": Operand(ValueKind.INSTANT, _ORDER),
        "count": Operand(ValueKind.INTEGER, _ORDER | {Operator.EQ, Operator.NEQ}),
        "minCohort": Operand(ValueKind.INTEGER, _ORDER | {Operator.EQ, Operator.NEQ}),
        "technique": Operand(ValueKind.TEXTS, _MEMBERSHIP),
        "columns": Operand(ValueKind.TEXTS, _MEMBERSHIP),
        "outputType": Operand(ValueKind.TEXTS, _MEMBERSHIP),
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
