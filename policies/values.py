"""Values of the profile: how a right operand and a stated fact are read, and when one meets the other.

A fact that is missing or of another kind reads as no values, a right operand that is no value for its
operand as None. Numbers are whole or decimal texts, read exactly; there are no floats anywhere.
"""

from __future__ import annotations

import operator
import re
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from types import MappingProxyType
from typing import Any, Final, TypeGuard

from policies import purposes
from policies.column_control import Level
from policies.durations import parse_duration, parse_rate
from policies.vocabulary import Operator, ValueKind

__all__ = ["bound_of", "parse_instant", "predicate", "texts", "uses_within", "values_of"]

_DECIMAL: Final = re.compile(r"\d{1,16}(\.\d{1,40})?", re.ASCII)
_INSTANT: Final = re.compile(r"\d{4}-\d{2}-\d{2}T\d{2}:\d{2}:\d{2}Z", re.ASCII)
_LIST_OPERATORS: Final = frozenset(
    {Operator.HAS_PART, Operator.IS_ANY_OF, Operator.IS_NONE_OF, Operator.IS_PART_OF}
)

_COMPARISONS: Final[Mapping[str, Callable[[Any, Any], bool]]] = MappingProxyType(
    {
        Operator.EQ: operator.eq,
        Operator.NEQ: operator.ne,
        Operator.LT: operator.lt,
        Operator.LTEQ: operator.le,
        Operator.GT: operator.gt,
        Operator.GTEQ: operator.ge,
    }
)


def bound_of(kind: ValueKind, relation: Operator, right: object) -> Sequence[Any] | None:
    """Read a right operand as the values to compare with, or None when it is no value for its operand."""
    if isinstance(right, tuple) and relation not in _LIST_OPERATORS:
        return None
    items = right if isinstance(right, tuple) else (right,)
    if kind is ValueKind.INTEGER:
        return items if all(_is_whole(item) for item in items) else None
    if kind is ValueKind.DECIMAL:
        return _all_read(items, _decimal)
    if not all(isinstance(item, str) for item in items):
        return None
    match kind:
        case ValueKind.PURPOSE:
            return items if all(purposes.is_known(str(item)) for item in items) else None
        case ValueKind.LEVELS:
            return _level_bound(items)
        case ValueKind.INSTANT:
            return _all_read(items, parse_instant)
        case ValueKind.DURATION:
            return _all_read(items, parse_duration)
        case ValueKind.RATE:
            return _all_read(items, parse_rate)
    return items


def values_of(kind: ValueKind, fact: object) -> tuple[Any, ...]:
    """Read a fact as the values a constraint is checked for; none when it is missing or of another kind."""
    match kind:
        case ValueKind.INTEGER:
            return (fact,) if _is_whole(fact) and fact >= 0 else ()
        case ValueKind.INSTANT:
            return (fact,) if isinstance(fact, datetime) and fact.tzinfo is not None else ()
        case ValueKind.TEXTS | ValueKind.LEVELS | ValueKind.HELD:
            return texts(fact) or ()
        case ValueKind.PURPOSE:
            return (fact,) if isinstance(fact, str) and fact else ()
        case ValueKind.DURATION:
            return (fact,) if isinstance(fact, timedelta) and fact >= timedelta(0) else ()
        case ValueKind.DECIMAL:
            if _is_whole(fact) or (isinstance(fact, Decimal) and fact.is_finite()):
                return (Decimal(fact),) if fact >= 0 else ()
            return ()
        case ValueKind.RATE:
            return _ages(fact)


def predicate(kind: ValueKind, relation: Operator, bound: Sequence[Any]) -> Callable[[Any], bool]:
    """Read an operator and its bound once, into whether one stated value meets them."""
    if kind is ValueKind.PURPOSE:
        broad = frozenset(map(purposes.canonical, bound))
        if relation is Operator.IS_NONE_OF:
            return lambda value: purposes.is_known(value) and broad.isdisjoint(purposes.broader(value))
        return lambda value: not broad.isdisjoint(purposes.broader(value))
    if kind is ValueKind.LEVELS:
        return lambda value: _admitted(value, bound[0])
    if kind is ValueKind.HELD:
        asked, every = frozenset(bound), relation is Operator.HAS_PART
        return lambda value: asked <= _held(value) if every else not asked.isdisjoint(_held(value))
    if kind is ValueKind.RATE:
        return lambda value: uses_within(value, bound) <= int(bound[0][0])
    if relation in _COMPARISONS:
        compare, limit = _COMPARISONS[relation], bound[0]
        return lambda value: compare(value, limit)
    items = frozenset(bound)
    if relation is Operator.IS_NONE_OF:
        return lambda value: value not in items
    return lambda value: value in items


def uses_within(ages: Sequence[timedelta], bound: Sequence[tuple[int, int]]) -> int:
    """How many uses fall into the time of a rate, the one that is asked for included."""
    window = timedelta(seconds=bound[0][1])
    return 1 + sum(age < window for age in ages)


def texts(fact: object) -> tuple[str, ...] | None:
    """Read a fact as distinct texts in order, or None when it is not a collection of texts."""
    if not isinstance(fact, set | frozenset | list | tuple):
        return None
    for item in fact:
        if not isinstance(item, str):
            return None
    return tuple(sorted(set(fact)))


def parse_instant(text: str) -> datetime | None:
    """Read ``2026-11-23T10:00:00Z``, or None for any other form."""
    if _INSTANT.fullmatch(text) is None:
        return None
    try:
        return datetime.strptime(text, "%Y-%m-%dT%H:%M:%SZ").replace(tzinfo=UTC)
    except ValueError:
        return None


def _is_whole(value: object) -> TypeGuard[int]:
    return isinstance(value, int) and not isinstance(value, bool)


def _decimal(value: object) -> Decimal | None:
    if _is_whole(value):
        return Decimal(value)
    return Decimal(value) if isinstance(value, str) and _DECIMAL.fullmatch(value) else None


def _all_read(items: Sequence[Any], read: Callable[[Any], Any]) -> Sequence[Any] | None:
    values = tuple(map(read, items))
    return None if None in values else values


def _ages(fact: object) -> tuple[Any, ...]:
    """Read how long ago each earlier use was; one value, which may be the empty tuple."""
    if not isinstance(fact, list | tuple) or not all(isinstance(age, timedelta) for age in fact):
        return ()
    return (tuple(fact),)


def _held(value: str) -> frozenset[str]:
    """Read ``TYPE|TYPE``, what one recipient holds; the empty text is nothing."""
    return frozenset(filter(None, value.split("|")))


def _level_bound(items: Sequence[Any]) -> Sequence[Any] | None:
    """Read ``COLUMN:LEVEL`` texts as the levels of each column."""
    levels: dict[str, set[str]] = {}
    for item in items:
        column, _, level = item.rpartition(":")
        if not column or level not in set(Level):
            return None
        levels.setdefault(column, set()).add(level)
    return (levels,)


def _admitted(use: str, levels: Mapping[str, set[str]]) -> bool:
    """Whether ``COLUMN:LEVEL|LEVEL``, the levels that would admit a use, meets those of the column."""
    column, _, needed = use.rpartition(":")
    given = levels.get(column)
    if given is None:
        return False
    ways = set(needed.split("|"))
    return needed == Level.ENCRYPTED_ONLY or Level.PLAINTEXT in given or not ways.isdisjoint(given)
