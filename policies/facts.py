"""The facts of a request as JSON, for documents, vectors and questions that people ask ahead of a job.

A node that decides establishes facts itself; nothing read here ever starts a job.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from decimal import Decimal
from types import MappingProxyType
from typing import Final

from policies.durations import parse_duration
from policies.errors import InvalidFacts
from policies.values import parse_instant, texts, values_of
from policies.vocabulary import OPERANDS, ValueKind

__all__ = ["parse"]

_SCOPE: Final = ("action", "assignee", "target")


def parse(value: object) -> dict[str, object]:
    """Read facts by name: left operands of the profile, ``action``, ``assignee``, ``target``, ``fulfilled``.

    Times are like ``2026-11-23T10:00:00Z``, durations like ``P30D``, decimals texts like ``0.5``; ``rate``
    lists how long ago each earlier use was.

    Raises:
        InvalidFacts: naming the first fact that is unknown or of another form.
    """
    if not isinstance(value, Mapping):
        raise InvalidFacts("facts", "an object", type(value).__name__)
    facts: dict[str, object] = {}
    for name, stated in value.items():
        if name in _SCOPE:
            if not isinstance(stated, str) or not stated:
                raise InvalidFacts(name, "a text", type(stated).__name__)
            facts[name] = stated
        elif name == "fulfilled":
            done = texts(stated)
            if done is None:
                raise InvalidFacts(name, "a list of texts", type(stated).__name__)
            facts[name] = frozenset(done)
        elif name in OPERANDS:
            facts[name] = _read(name, OPERANDS[name].kind, stated)
        else:
            known = ", ".join((*_SCOPE, "fulfilled", *OPERANDS))
            raise InvalidFacts(str(name)[:64], f"one of {known}", "an unknown fact")
    return facts


def _read(name: str, kind: ValueKind, stated: object) -> object:
    read, expected = _READERS[kind]
    fact = read(stated)
    if fact is None or not values_of(kind, fact):
        raise InvalidFacts(name, expected, "another form")
    return fact


def _durations(stated: object) -> object:
    if not isinstance(stated, list):
        return None
    ages = tuple(parse_duration(age) if isinstance(age, str) else None for age in stated)
    return None if None in ages else ages


def _decimal(stated: object) -> object:
    try:
        return Decimal(stated) if isinstance(stated, str | int) and not isinstance(stated, bool) else None
    except ArithmeticError:
        return None


_TEXTS: Final = (texts, "a list of texts")
_READERS: Final[Mapping[ValueKind, tuple[Callable[[object], object], str]]] = MappingProxyType(
    {
        ValueKind.PURPOSE: (lambda stated: stated, "a purpose"),
        ValueKind.TEXTS: _TEXTS,
        ValueKind.LEVELS: _TEXTS,
        ValueKind.HELD: _TEXTS,
        ValueKind.INTEGER: (lambda stated: stated, "a whole number, 0 or more"),
        ValueKind.INSTANT: (
            lambda stated: parse_instant(stated) if isinstance(stated, str) else None,
            "a time like 2026-11-23T10:00:00Z",
        ),
        ValueKind.DURATION: (
            lambda stated: parse_duration(stated) if isinstance(stated, str) else None,
            "a duration like P30D",
        ),
        ValueKind.RATE: (_durations, "a list of durations"),
        ValueKind.DECIMAL: (_decimal, "a decimal text like 0.5"),
    }
)
