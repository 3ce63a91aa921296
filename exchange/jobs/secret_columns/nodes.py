"""Expressions with types: what each value is, who holds it, and between which bounds it lies.

Every number is an integer at a public number of decimals with public bounds, which follow from the bounds of
the columns through every operation. So what does not fit 61 bits is refused before anything runs, comparisons
cost what their bounds need, and no value can wrap. A value of one owner's columns alone is that owner's to
compute in the clear; only where two owners meet does secret sharing begin.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from decimal import Decimal
from enum import StrEnum
from typing import Final

from exchange.errors import InvalidRequest
from exchange.jobs.secret_columns.language import Call, Column, Literal, Tree, parse
from mpc import fixed_point
from mpc.replicated.division import MAX_DIVISOR_BITS

__all__ = ["BOUND", "RATIO_DECIMALS", "Declared", "Kind", "Node", "compile_text", "square", "truth"]

BOUND: Final = 2**61
"""Every value of every expression stays below this magnitude, in units of its last decimal."""
RATIO_DECIMALS: Final = 6
"""Decimals of a quotient."""
_MAX_DECIMALS: Final = 18


class Kind(StrEnum):
    """What a value is."""

    NUMBER = "number"
    TRUTH = "truth"
    CATEGORY = "category"

    @property
    def shown(self) -> str:
        """As messages say it."""
        return "truth value" if self is Kind.TRUTH else self.value


@dataclass(frozen=True)
class Declared:
    """A column as the step declares it: bounds in units of the last decimal, or labels."""

    role: str
    name: str
    kind: Kind
    decimals: int = 0
    lower: int = 0
    upper: int = 0
    labels: tuple[str, ...] = ()


@dataclass(frozen=True)
class Node:
    """One value a row.

    Attributes:
        op: how it is made from ``args``; see ``exchange.jobs.secret_columns.evaluate``.
        args: the operands.
        kind: what it is; truth values and categories are numbers from 0 on as well.
        holders: roles whose columns are in it: none for a constant, one for what that owner computes itself.
        decimals: the value is an integer over 10^decimals.
        lower: least value, in units of the last decimal.
        upper: largest value.
        labels: of a category, by number.
        number: of a constant, or the public operand of ``scale``, ``shift`` and ``quotient``.
        column: what ``column`` reads.
    """

    op: str
    args: tuple[Node, ...] = ()
    kind: Kind = Kind.NUMBER
    holders: frozenset[str] = frozenset()
    decimals: int = 0
    lower: int = 0
    upper: int = 0
    labels: tuple[str, ...] = ()
    number: int = 0
    column: str = ""

    @property
    def is_constant(self) -> bool:
        """Whether every party knows it."""
        return not self.holders

    @property
    def magnitude(self) -> int:
        """The largest absolute value."""
        return max(abs(self.lower), abs(self.upper))


def compile_text(text: str, columns: Mapping[tuple[str, str], Declared], field_name: str) -> Node:
    """Parse an expression and give every part of it a type, holders and bounds.

    Args:
        text: the expression.
        columns: the declared columns by role and name.
        field_name: of the specification, for errors.

    Raises:
        InvalidRequest: syntax, an unknown or ambiguous column, a wrong type, a divisor that may be zero, or a
            value that may not fit; with the place in the text.
    """
    return _Compiler(columns, field_name).node(parse(text, field_name))


def truth(node: Node) -> Node:
    """A truth value as the number 0 or 1; a number as it is."""
    return (
        node if node.kind is Kind.NUMBER else _derived("number", (node,), lower=node.lower, upper=node.upper)
    )


def square(node: Node) -> Node:
    """The square of a number, computed by its owner where it has one."""
    return _product(node, node)


class _Compiler:
    def __init__(self, columns: Mapping[tuple[str, str], Declared], field_name: str) -> None:
        self._columns, self._field = columns, field_name

    def node(self, tree: Tree) -> Node:
        match tree:
            case Literal():
                return self._literal(tree)
            case Column():
                return self._column(tree)
            case Call():
                made = self._call(tree, [self.node(operand) for operand in tree.operands])
                if made.magnitude >= BOUND or made.decimals > _MAX_DECIMALS:
                    reach = Decimal(made.magnitude).scaleb(-made.decimals)
                    raise self._error(
                        tree,
                        "values below 2^61 units of 18 decimals; narrow the bounds or keep fewer decimals",
                        f"up to {reach:.3g} at {made.decimals} decimals of {tree.name!r}",
                    )
                return made

    def _error(self, tree: Tree, expected: str, actual: str) -> InvalidRequest:
        return InvalidRequest(self._field, expected, f"{actual} at character {tree.at + 1}")

    def _literal(self, tree: Literal) -> Node:
        value = tree.value
        if isinstance(value, bool):
            return Node("constant", kind=Kind.TRUTH, lower=int(value), upper=int(value), number=int(value))
        if isinstance(value, str):
            return Node("constant", kind=Kind.CATEGORY, labels=(value,))
        decimals = max(0, -int(value.normalize().as_tuple().exponent))
        if decimals > fixed_point.MAX_DECIMALS or abs(value) >= BOUND:
            raise self._error(
                tree, f"a number below 2^61 of at most {fixed_point.MAX_DECIMALS} decimals", str(value)
            )
        number = int(value.scaleb(decimals))
        return Node("constant", decimals=decimals, lower=number, upper=number, number=number)

    def _column(self, tree: Column) -> Node:
        found = [
            one
            for (role, name), one in self._columns.items()
            if name == tree.name and tree.owner in (None, role.replace("-", ""))
        ]
        if len(found) != 1:
            known = ", ".join(sorted(f"{role.replace('-', '')}.{name}" for role, name in self._columns))
            shown = tree.name if tree.owner is None else f"{tree.owner}.{tree.name}"
            several = "an unknown column" if not found else "a column of several owners"
            raise self._error(tree, f"one of {known}", f"{several}, {shown},")
        (one,) = found
        return Node(
            "column",
            kind=one.kind,
            holders=frozenset({one.role}),
            decimals=one.decimals,
            lower=one.lower,
            upper=one.upper,
            labels=one.labels,
            column=one.name,
        )

    def _call(self, tree: Call, args: list[Node]) -> Node:
        match tree.name:
            case "not" | "and" | "or":
                self._require(tree, Kind.TRUTH, args)
                return _logic(tree.name, *args)
            case "=":
                return self._equality(tree, *args)
            case "<" | "<=" | ">" | ">=":
                self._require(tree, Kind.NUMBER, args)
                return _comparison(tree.name, *args)
            case "case":
                return self._case(tree, args)
            case "round":
                return self._rounded(tree, *args)
        self._require(tree, Kind.NUMBER, args)
        match tree.name:
            case "+":
                return _sum(*args)
            case "-":
                return _sum(args[0], _scaled(args[1], -1))
            case "*":
                return _product(*args)
            case "/":
                return self._ratio(tree, *args)
            case "negate":
                return _scaled(args[0], -1)
            case "abs":
                return _absolute(args[0])
        return _extreme(tree.name, args)

    def _require(self, tree: Call, kind: Kind, args: list[Node]) -> None:
        for operand, arg in zip(tree.operands, args, strict=True):
            if arg.kind is not kind:
                raise self._error(operand, f"a {kind.shown} for {tree.name!r}", f"a {arg.kind.shown}")

    def _equality(self, tree: Call, left: Node, right: Node) -> Node:
        if left.kind is not right.kind:
            raise self._error(tree, f"a {left.kind.shown} on both sides of '='", f"a {right.kind.shown}")
        if left.kind is Kind.CATEGORY:
            if len(left.labels) == 1 and left.is_constant:
                left, right = right, left
            unknown = [label for label in right.labels if right.is_constant and label not in left.labels]
            if unknown:
                raise self._error(tree, f"one of the labels {', '.join(left.labels)}", repr(unknown[0]))
            labels = left.labels if right.is_constant else right.labels
            if labels != left.labels:
                raise self._error(tree, "categories with the same labels", "different labels")
            right = _relabelled(right, left.labels)
        return _zero(_sum(truth(left), _scaled(truth(right), -1)))

    def _case(self, tree: Call, args: list[Node]) -> Node:
        conditions, values = args[:-1:2], [*args[1:-1:2], args[-1]]
        for operand, condition in zip(tree.operands[::2], conditions, strict=False):
            if condition.kind is not Kind.TRUTH:
                raise self._error(operand, "a truth value as condition", f"a {condition.kind.shown}")
        kinds = {value.kind for value in values}
        if len(kinds) > 1:
            raise self._error(tree, "values of one kind", ", ".join(sorted(kinds)))
        if kinds == {Kind.CATEGORY}:
            labels = tuple(dict.fromkeys(label for value in values for label in value.labels))
            if any(not value.is_constant and value.labels != labels for value in values):
                raise self._error(tree, "texts, or categories that have all labels", "other labels")
            values = [_relabelled(value, labels) for value in values]
        result = values[-1]
        for condition, value in zip(reversed(conditions), reversed(values[:-1]), strict=True):
            result = _choice(condition, value, result)
        return result

    def _rounded(self, tree: Call, value: Node, places: Node) -> Node:
        self._require(tree, Kind.NUMBER, [value, places])
        if not places.is_constant or places.decimals or not 0 <= places.number <= fixed_point.MAX_DECIMALS:
            raise self._error(tree, f"a constant of 0 to {fixed_point.MAX_DECIMALS} places", "something else")
        if value.decimals <= places.number:
            return value
        return _quotient(value, 10 ** (value.decimals - places.number), places.number)

    def _ratio(self, tree: Call, dividend: Node, divisor: Node) -> Node:
        if divisor.upper < 0:
            dividend, divisor = _scaled(dividend, -1), _scaled(divisor, -1)
        if divisor.lower <= 0:
            raise self._error(
                tree.operands[1], "a divisor whose bounds leave out zero", "one that may be zero"
            )
        places = RATIO_DECIMALS + divisor.decimals - dividend.decimals
        if places >= 0:
            dividend = _scaled(dividend, 10**places)
        else:
            dividend = _quotient(dividend, 10**-places, dividend.decimals + places)
        if dividend.magnitude >= BOUND:
            raise self._error(
                tree, f"a dividend below 2^61 at {RATIO_DECIMALS} more decimals", "a larger one"
            )
        if divisor.is_constant:
            return _quotient(dividend, divisor.number, RATIO_DECIMALS)
        if divisor.upper.bit_length() > MAX_DIVISOR_BITS:
            raise self._error(
                tree.operands[1], f"a divisor below 2^{MAX_DIVISOR_BITS} units", f"up to {divisor.upper}"
            )
        return _derived(
            "divide",
            (dividend, divisor),
            decimals=RATIO_DECIMALS,
            lower=dividend.lower // divisor.lower - 3 if dividend.lower < 0 else -3,
            upper=dividend.upper // divisor.lower + 4 if dividend.upper > 0 else 3,
        )


def _derived(
    op: str,
    args: tuple[Node, ...],
    *,
    kind: Kind = Kind.NUMBER,
    decimals: int = 0,
    lower: int = 0,
    upper: int = 1,
    labels: tuple[str, ...] = (),
    number: int = 0,
) -> Node:
    """A node of some operands, folded where all of them are constants with one value."""
    holders = frozenset[str]().union(*(arg.holders for arg in args))
    node = Node(op, args, kind, holders, decimals, lower, upper, labels, number)
    if holders:
        return node
    value = _CONSTANT[op](node, *(arg.number for arg in args))
    return Node("constant", (), kind, holders, decimals, value, value, labels, value)


_CONSTANT: Mapping[str, Callable[..., int]] = {
    "add": lambda node, a, b: a + b,
    "and": lambda node, a, b: a & b,
    "mul": lambda node, a, b: a * b,
    "negative": lambda node, a: int(a < 0),
    "not": lambda node, a: 1 - a,
    "number": lambda node, a: a,
    "or": lambda node, a, b: a | b,
    "quotient": lambda node, a: (2 * a + node.number) // (2 * node.number),
    "scale": lambda node, a: a * node.number,
    "select": lambda node, c, a, b: a if c else b,
    "zero": lambda node, a: int(a == 0),
}


def _scaled(node: Node, factor: int, *, places: int = 0) -> Node:
    """The product with a public integer; ``places`` of its digits are decimals that the value gets."""
    if factor == 1:
        return node
    ends = sorted((node.lower * factor, node.upper * factor))
    decimals = node.decimals + places
    return _derived("scale", (node,), decimals=decimals, lower=ends[0], upper=ends[1], number=factor)


def _aligned(left: Node, right: Node) -> tuple[Node, Node]:
    decimals = max(left.decimals, right.decimals)
    first, second = (
        _scaled(one, 10 ** (decimals - one.decimals), places=decimals - one.decimals) for one in (left, right)
    )
    return first, second


def _sum(left: Node, right: Node) -> Node:
    left, right = _aligned(left, right)
    if left.is_constant:
        left, right = right, left
    shifts = right.is_constant and not left.is_constant
    return _derived(
        "shift" if shifts else "add",
        (left,) if shifts else (left, right),
        decimals=left.decimals,
        lower=left.lower + right.lower,
        upper=left.upper + right.upper,
        number=right.number if shifts else 0,
    )


def _product(left: Node, right: Node) -> Node:
    if left.is_constant:
        left, right = right, left
    if right.is_constant:
        return _scaled(left, right.number, places=right.decimals)
    corners = [a * b for a in (left.lower, left.upper) for b in (right.lower, right.upper)]
    lower = 0 if left == right and min(corners) < 0 else min(corners)
    decimals = left.decimals + right.decimals
    return _derived("mul", (left, right), decimals=decimals, lower=lower, upper=max(corners))


def _quotient(node: Node, divisor: int, decimals: int) -> Node:
    if divisor == 1:
        return node
    lower, upper = node.lower // divisor - 2, node.upper // divisor + 3
    return _derived("quotient", (node,), decimals=decimals, lower=lower, upper=upper, number=divisor)


def _logic(name: str, *args: Node) -> Node:
    return _derived(name, args, kind=Kind.TRUTH)


def _zero(node: Node) -> Node:
    return _derived("zero", (node,), kind=Kind.TRUTH)


def _comparison(sign: str, left: Node, right: Node) -> Node:
    if sign in (">", "<="):
        left, right = right, left
    less = _derived("negative", (_sum(left, _scaled(right, -1)),), kind=Kind.TRUTH)
    return less if sign in ("<", ">") else _logic("not", less)


def _choice(condition: Node, left: Node, right: Node) -> Node:
    if left.kind is Kind.TRUTH:
        taken = _logic("and", condition, left)
        return _logic("or", taken, _logic("and", _logic("not", condition), right))
    left, right = _aligned(left, right)
    return _derived(
        "select",
        (condition, left, right),
        kind=left.kind,
        decimals=left.decimals,
        lower=min(left.lower, right.lower),
        upper=max(left.upper, right.upper),
        labels=left.labels,
    )


def _absolute(node: Node) -> Node:
    chosen = _choice(_comparison("<", node, Node("constant")), _scaled(node, -1), node)
    lower = 0 if node.lower <= 0 <= node.upper else min(abs(node.lower), abs(node.upper))
    return _bounded(chosen, lower, node.magnitude)


def _extreme(name: str, args: list[Node]) -> Node:
    pick = min if name == "min" else max
    best = args[0]
    for node in args[1:]:
        one, other = _aligned(best, node)
        chosen = _choice(_comparison("<" if name == "min" else ">", one, other), one, other)
        best = _bounded(chosen, pick(one.lower, other.lower), pick(one.upper, other.upper))
    return best


def _bounded(node: Node, lower: int, upper: int) -> Node:
    """The same value, known to lie between narrower bounds."""
    if node.is_constant:
        return node
    return Node(
        node.op, node.args, node.kind, node.holders, node.decimals, lower, upper, node.labels, node.number
    )


def _relabelled(node: Node, labels: tuple[str, ...]) -> Node:
    """A text constant as its number among labels; another category as it is."""
    if not node.is_constant:
        return node
    number = labels.index(node.labels[node.number])
    return Node("constant", kind=Kind.CATEGORY, lower=number, upper=number, labels=labels, number=number)
