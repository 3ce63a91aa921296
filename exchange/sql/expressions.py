"""Typed expressions of a query: what the binder makes and everything after it works on.

Expressions are values: equal ones compare equal, so a plan computes each of them once. A number is an integer
or a decimal with a stated number of digits behind the point; its calculations are exact. Truth values follow
SQL's three-valued logic.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, fields
from datetime import date
from enum import StrEnum
from typing import Final

__all__ = [
    "BOOLEAN",
    "DATE",
    "FLOAT",
    "MAX_SCALE",
    "NULL",
    "REAL",
    "TEXT",
    "Aggregate",
    "Arithmetic",
    "Case",
    "Cast",
    "Column",
    "Compare",
    "Expression",
    "Function",
    "IsNull",
    "IsTrue",
    "Kind",
    "Literal",
    "Logic",
    "Not",
    "SqlType",
    "aggregates_in",
    "children",
    "columns_in",
    "number",
    "tables_in",
    "walk",
]

MAX_SCALE: Final = 18
"""Digits behind the point of an exact number; a 64-bit integer has no more."""


class Kind(StrEnum):
    """What sort of value an expression has."""

    BOOLEAN = "boolean"
    NUMBER = "number"
    FLOAT = "float"
    TEXT = "text"
    DATE = "date"
    REAL = "real"
    NULL = "null"


@dataclass(frozen=True)
class SqlType:
    """A kind and, of exact numbers, the digits behind the point."""

    kind: Kind
    scale: int = 0

    def __str__(self) -> str:
        return f"number({self.scale})" if self.scale else self.kind.value

    @classmethod
    def parse(cls, text: str) -> SqlType:
        """Read what ``str`` writes.

        Raises:
            ValueError: it is no type.
        """
        found = re.fullmatch(r"(number)\(([1-9]|1[0-8])\)", text)
        return cls(Kind.NUMBER, int(found[2])) if found else cls(Kind(text))


BOOLEAN: Final = SqlType(Kind.BOOLEAN)
TEXT: Final = SqlType(Kind.TEXT)
DATE: Final = SqlType(Kind.DATE)
FLOAT: Final = SqlType(Kind.FLOAT)
"""A floating column: compared with literals as it stands, calculated with after a cast to a decimal."""
REAL: Final = SqlType(Kind.REAL)
"""Means, variances and quotients, which the recipient calculates from exact numbers."""
NULL: Final = SqlType(Kind.NULL)


def number(scale: int = 0) -> SqlType:
    """The type of exact numbers with so many digits behind the point."""
    return SqlType(Kind.NUMBER, scale)


@dataclass(frozen=True)
class Column:
    """A column of a table of the query."""

    table: str
    name: str
    type: SqlType


@dataclass(frozen=True)
class Literal:
    """A constant. A number is the integer that its type's scale makes of it; None is null."""

    value: bool | int | str | float | date | None
    type: SqlType


@dataclass(frozen=True)
class Arithmetic:
    """``left operator right``, one of + - * and, over aggregates alone, /."""

    operator: str
    left: Expression
    right: Expression
    type: SqlType


@dataclass(frozen=True)
class Compare:
    """``left operator right``, one of = < <=; unknown where a side is null."""

    operator: str
    left: Expression
    right: Expression
    type: SqlType = BOOLEAN


@dataclass(frozen=True)
class Logic:
    """``and`` or ``or`` of at least two parts."""

    operator: str
    parts: tuple[Expression, ...]
    type: SqlType = BOOLEAN


@dataclass(frozen=True)
class Not:
    """The opposite; unknown stays unknown."""

    part: Expression
    type: SqlType = BOOLEAN


@dataclass(frozen=True)
class IsNull:
    """Whether there is no value; never unknown."""

    part: Expression
    type: SqlType = BOOLEAN


@dataclass(frozen=True)
class IsTrue:
    """Whether a condition holds; false where it is unknown."""

    part: Expression
    type: SqlType = BOOLEAN


@dataclass(frozen=True)
class Case:
    """The value of the first branch whose condition holds, else the last one."""

    branches: tuple[tuple[Expression, Expression], ...]
    otherwise: Expression
    type: SqlType


@dataclass(frozen=True)
class Cast:
    """A number with another scale, rounded half to even where digits are lost."""

    part: Expression
    type: SqlType


@dataclass(frozen=True)
class Function:
    """``upper``, ``lower`` or ``trim`` of a text, in join keys."""

    name: str
    part: Expression
    type: SqlType = TEXT


@dataclass(frozen=True)
class Aggregate:
    """A figure over the rows of a group; ``part`` is None for ``count(*)``."""

    figure: str
    part: Expression | None
    type: SqlType


Expression = (
    Column
    | Literal
    | Arithmetic
    | Compare
    | Logic
    | Not
    | IsNull
    | IsTrue
    | Case
    | Cast
    | Function
    | Aggregate
)


def children(node: Expression) -> tuple[Expression, ...]:
    """The expressions directly under one."""
    if isinstance(node, Case):
        return (*(part for branch in node.branches for part in branch), node.otherwise)
    found: list[Expression] = []
    for field in fields(node):
        value = getattr(node, field.name)
        found += value if isinstance(value, tuple) else [value] if isinstance(value, Expression) else []
    return tuple(found)


def walk(node: Expression) -> Iterator[Expression]:
    """An expression and everything under it, from the left."""
    stack = [node]
    while stack:
        here = stack.pop()
        yield here
        stack += reversed(children(here))


def columns_in(*nodes: Expression) -> tuple[Column, ...]:
    """The columns of some expressions, each once, in order of appearance."""
    return tuple(dict.fromkeys(found for node in nodes for found in walk(node) if isinstance(found, Column)))


def tables_in(node: Expression) -> frozenset[str]:
    """The tables whose columns an expression is made from."""
    return frozenset(column.table for column in columns_in(node))


def aggregates_in(*nodes: Expression) -> tuple[Aggregate, ...]:
    """The aggregates of some expressions, each once, in order of appearance."""
    return tuple(
        dict.fromkeys(found for node in nodes for found in walk(node) if isinstance(found, Aggregate))
    )
