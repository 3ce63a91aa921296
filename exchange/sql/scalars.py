"""The expressions of a query: types checked, sugar taken off, errors with their place.

``BETWEEN``, ``IN``, ``>``, ``<>``, ``COALESCE`` and ``CASE x WHEN`` become the few operations that the rest
works on. Numbers of different scales are brought to the larger one by exact casts.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import date
from decimal import Decimal, InvalidOperation
from itertools import islice
from typing import Final

from sqlglot import exp

from exchange.sql.expressions import (
    BOOLEAN,
    DATE,
    MAX_SCALE,
    NULL,
    REAL,
    TEXT,
    Aggregate,
    Arithmetic,
    Case,
    Cast,
    Column,
    Compare,
    Expression,
    IsNull,
    IsTrue,
    Kind,
    Literal,
    Logic,
    Not,
    SqlType,
    aggregates_in,
    number,
    walk,
)
from exchange.sql.syntax import Text, shown
from mpc.fixed_point import MAX_DECIMALS

__all__ = ["MAX_LEVELS", "Scalars"]

MAX_LEVELS: Final = 120
"""How deep an expression may be once it is read; a chain of n additions is n deep."""
MAX_SIZE: Final = 6_000
MAX_VALUES: Final = 1_000
MAX_BRANCHES: Final = 32

_FIGURES: Final[Mapping[type, str]] = {
    exp.Sum: "sum",
    exp.Avg: "avg",
    exp.Min: "min",
    exp.Max: "max",
    exp.Variance: "var_sample",
    exp.VariancePop: "var_population",
    exp.Stddev: "stddev_sample",
    exp.StddevSamp: "stddev_sample",
    exp.StddevPop: "stddev_population",
}
_ARITHMETIC: Final[Mapping[type, str]] = {exp.Add: "+", exp.Sub: "-", exp.Mul: "*", exp.Div: "/"}
_COMPARE: Final[Mapping[type, tuple[str, bool, bool]]] = {
    exp.EQ: ("=", False, False),
    exp.NEQ: ("=", False, True),
    exp.LT: ("<", False, False),
    exp.LTE: ("<=", False, False),
    exp.GT: ("<", True, False),
    exp.GTE: ("<=", True, False),
}
"""Of each comparison: the operator it becomes, whether its sides change places, whether it is negated."""

Resolve = Callable[[exp.Column], Expression]
Places = dict[Expression, tuple[int, int]]


class Scalars:
    """Binds expressions; ``aggregates`` says whether figures over rows may stand in them."""

    def __init__(self, source: Text, resolve: Resolve, places: Places, *, aggregates: bool) -> None:
        self._source, self._resolve, self._places = source, resolve, places
        self._aggregates = aggregates
        self._level = 0

    def condition(self, node: exp.Expression) -> Expression:
        """A truth value.

        Raises:
            InvalidQuery: it is something else.
        """
        found = self.value(node)
        if found.type.kind is Kind.NULL:
            return Literal(None, BOOLEAN)
        if found.type.kind is not Kind.BOOLEAN:
            raise self._source.error(node, "a condition", str(found.type))
        return found

    def value(self, node: exp.Expression) -> Expression:
        """Any expression.

        Raises:
            InvalidQuery: an operation outside the subset, or operands that do not fit.
        """
        self._level += 1
        try:
            if self._level > MAX_LEVELS:
                raise self._source.error(
                    node, f"an expression at most {MAX_LEVELS} levels deep", "a deeper one"
                )
            found = self._value(node)
            # Sugar repeats its operands, so that a short text may stand for a large tree.
            if sum(1 for _ in islice(walk(found), MAX_SIZE + 1)) > MAX_SIZE:
                raise self._source.error(node, f"an expression of at most {MAX_SIZE} parts", "more")
            self._places.setdefault(found, self._source.place(node))
            return found
        finally:
            self._level -= 1

    def _value(self, node: exp.Expression) -> Expression:
        match node:
            case exp.Paren():
                return self.value(node.this)
            case exp.Column():
                return self._resolve(node)
            case exp.Literal() | exp.Boolean() | exp.Null():
                return self._literal(node)
            case exp.Neg():
                return self._negative(node)
            case exp.And() | exp.Or():
                parts = tuple(self.condition(part) for part in _chain(node))
                return Logic("and" if isinstance(node, exp.And) else "or", parts)
            case exp.Not():
                return Not(self.condition(node.this))
            case exp.Is():
                return self._is(node)
            case exp.Between():
                low = self._compare(node, "<=", node.args["low"], node.this)
                return Logic("and", (low, self._compare(node, "<=", node.this, node.args["high"])))
            case exp.In():
                return self._in(node)
            case exp.Case():
                return self._case(node)
            case exp.Coalesce():
                return self._coalesce(node)
            case exp.Cast():
                return self._cast(node)
            case exp.Count():
                return self._count(node)
        if type(node) in _ARITHMETIC:
            return self._arithmetic(node, _ARITHMETIC[type(node)])
        if type(node) in _COMPARE:
            operator, swapped, negated = _COMPARE[type(node)]
            sides = (node.expression, node.this) if swapped else (node.this, node.expression)
            made = self._compare(node, operator, *sides)
            return Not(made) if negated else made
        if type(node) in _FIGURES:
            return self._figure(node, _FIGURES[type(node)])
        if isinstance(node, exp.Anonymous):
            raise self._source.error(node, "a function of the supported subset", shown(node.name))
        raise self._source.unsupported(node, "an expression of the supported subset")

    def _literal(self, node: exp.Expression) -> Literal:
        if isinstance(node, exp.Null):
            return Literal(None, NULL)
        if isinstance(node, exp.Boolean):
            return Literal(bool(node.this), BOOLEAN)
        if node.is_string:
            if "\0" in node.name:
                raise self._source.error(node, "a text without NUL", "one with NUL")
            return Literal(node.name, TEXT)
        try:
            read = Decimal(node.name)
            scale = max(-int(read.as_tuple().exponent), 0)
        except (InvalidOperation, ValueError):
            raise self._source.error(node, "a number", shown(node.name)) from None
        if "e" in node.name.lower() or scale > MAX_SCALE or abs(read.scaleb(scale)) >= 2**62:
            expected = f"a number below 2^62 units of its last digit, of at most {MAX_SCALE} after the point"
            raise self._source.error(node, expected, shown(node.name))
        return Literal(int(read.scaleb(scale)), number(scale))

    def _negative(self, node: exp.Neg) -> Expression:
        part = self._numeric(node.this)
        if isinstance(part, Literal) and isinstance(part.value, int):
            return Literal(-part.value, part.type)
        return Arithmetic("-", Literal(0, part.type), part, part.type)

    def _numeric(self, node: exp.Expression) -> Expression:
        return self._as_number(node, self.value(node))

    def _as_number(self, node: exp.Expression, found: Expression) -> Expression:
        if found.type.kind is Kind.FLOAT:
            expected = "CAST(… AS DECIMAL(18, digits)) of a floating column"
            raise self._source.error(node, expected, "the column itself")
        if found.type.kind is Kind.NULL:
            return Literal(None, number())
        if found.type.kind is not Kind.NUMBER:
            raise self._source.error(node, "a number", str(found.type))
        return found

    def _arithmetic(self, node: exp.Expression, operator: str) -> Expression:
        left, right = self.value(node.this), self.value(node.expression)
        if operator == "/" or Kind.REAL in (left.type.kind, right.type.kind):
            return self._quotient(node, operator, left, right)
        left, right = self._as_number(node.this, left), self._as_number(node.expression, right)
        if operator == "*":
            scale = left.type.scale + right.type.scale
            if scale > MAX_SCALE:
                raise self._source.error(node, f"a product with at most {MAX_SCALE} digits", str(scale))
            return Arithmetic("*", left, right, number(scale))
        left, right = _aligned(left, right)
        return Arithmetic(operator, left, right, left.type)

    def _quotient(
        self, node: exp.Expression, operator: str, left: Expression, right: Expression
    ) -> Expression:
        """Arithmetic that the recipient does on figures it has been shown."""
        for part, side in ((node.this, left), (node.expression, right)):
            if side.type.kind not in (Kind.NUMBER, Kind.REAL):
                raise self._source.error(part, "a number", str(side.type))
        if not self._aggregates or not aggregates_in(left, right):
            raise self._source.error(node, f"{operator} over aggregates of SELECT alone", "one over rows")
        return Arithmetic(operator, left, right, REAL)

    def _compare(
        self, at: exp.Expression, operator: str, one: exp.Expression, other: exp.Expression
    ) -> Expression:
        return self._compared(at, operator, self.value(one), self.value(other))

    def _compared(self, at: exp.Expression, operator: str, left: Expression, right: Expression) -> Expression:
        kinds = (left.type.kind, right.type.kind)
        if Kind.NULL in kinds:
            return Literal(None, BOOLEAN)
        if Kind.REAL in kinds:
            return self._compared(at, operator, *self._multiplied_out(at, left, right))
        if kinds in ((Kind.FLOAT, Kind.NUMBER), (Kind.NUMBER, Kind.FLOAT)):
            column, constant = (left, right) if kinds[0] is Kind.FLOAT else (right, left)
            if not isinstance(column, Column) or not isinstance(constant, Literal):
                raise self._source.error(at, "CAST(… AS DECIMAL(18, digits)) of a floating column", "float")
            return Compare(operator, left, right)
        if kinds[0] is not kinds[1] or kinds[0] is Kind.FLOAT:
            raise self._source.error(at, f"sides of one type, {left.type}", str(right.type))
        if kinds[0] is Kind.BOOLEAN and operator != "=":
            raise self._source.error(at, "= or <> for truth values", operator)
        if kinds[0] is Kind.NUMBER:
            left, right = _aligned(left, right)
        return Compare(operator, left, right)

    def _multiplied_out(
        self, at: exp.Expression, left: Expression, right: Expression
    ) -> tuple[Expression, Expression]:
        """A mean is a sum over a count: both sides times the counts, which are not negative."""
        sums: list[Expression] = []
        counts: list[Expression | None] = []
        for side in (left, right):
            is_mean = isinstance(side, Aggregate) and side.figure == "avg"
            if side.type.kind is Kind.REAL and not is_mean:
                raise self._source.error(at, "AVG or an exact figure", "a figure of the recipient")
            if isinstance(side, Aggregate) and side.figure == "avg" and side.part is not None:
                sums.append(Aggregate("sum", side.part, side.part.type))
                counts.append(Aggregate("count", side.part, number()))
            else:
                sums.append(side)
                counts.append(None)
        products = []
        for side, factor in zip(sums, reversed(counts), strict=True):
            if side.type.kind is not Kind.NUMBER:
                raise self._source.error(at, "a number to compare with AVG", str(side.type))
            products.append(side if factor is None else Arithmetic("*", side, factor, side.type))
        return products[0], products[1]

    def _is(self, node: exp.Is) -> Expression:
        if isinstance(node.expression, exp.Null):
            return IsNull(self.value(node.this))
        if isinstance(node.expression, exp.Boolean):
            part = self.condition(node.this)
            return IsTrue(part if node.expression.this else Not(part))
        raise self._source.unsupported(node, "IS NULL, IS TRUE or IS FALSE")

    def _in(self, node: exp.In) -> Expression:
        values = node.expressions
        if not values or any(
            value for name, value in node.args.items() if name not in ("this", "expressions")
        ):
            raise self._source.error(node, "IN and a list of constants", "another form of IN")
        if len(values) > MAX_VALUES:
            raise self._source.error(node, f"at most {MAX_VALUES} values", str(len(values)))
        left = self.value(node.this)
        parts = tuple(self._compared(value, "=", left, self.value(value)) for value in values)
        return parts[0] if len(parts) == 1 else Logic("or", parts)

    def _case(self, node: exp.Case) -> Expression:
        tests, values = [], []
        self._require_few(node, node.args["ifs"])
        for branch in node.args["ifs"]:
            test = (
                self.condition(branch.this)
                if node.this is None
                else self._compare(branch, "=", node.this, branch.this)
            )
            tests.append(test)
            values.append((branch.args["true"], self.value(branch.args["true"])))
        default = node.args.get("default")
        values.append((node, Literal(None, NULL)) if default is None else (default, self.value(default)))
        found = self._alike(values)
        return Case(tuple(zip(tests, found[:-1], strict=True)), found[-1], found[0].type)

    def _coalesce(self, node: exp.Coalesce) -> Expression:
        nodes = [node.this, *node.expressions]
        self._require_few(node, nodes)
        found = self._alike([(one, self.value(one)) for one in nodes])
        *before, last = found
        branches = tuple((Not(IsNull(one)), one) for one in before)
        return Case(branches, last, last.type) if branches else last

    def _require_few(self, node: exp.Expression, branches: list[exp.Expression]) -> None:
        if len(branches) > MAX_BRANCHES:
            raise self._source.error(node, f"at most {MAX_BRANCHES} branches", str(len(branches)))

    def _alike(self, values: list[tuple[exp.Expression, Expression]]) -> list[Expression]:
        """Values of one type, from which null takes its own."""
        typed = [value for _, value in values if value.type.kind is not Kind.NULL]
        if not typed:
            raise self._source.error(values[0][0], "a value in some branch", "NULL in all")
        scale = max(value.type.scale for value in typed)
        wanted = SqlType(typed[0].type.kind, scale)
        for node, value in values:
            if value.type.kind is Kind.FLOAT or value.type.kind is Kind.REAL:
                raise self._source.error(node, "an exact number", str(value.type))
            if value.type.kind not in (wanted.kind, Kind.NULL):
                raise self._source.error(node, f"values of one type, {wanted}", str(value.type))
        return [
            Literal(None, wanted) if value.type.kind is Kind.NULL else _rescaled(value, wanted.scale)
            for _, value in values
        ]

    def _cast(self, node: exp.Cast) -> Expression:
        kind = node.to.this
        if kind == exp.DataType.Type.DATE and isinstance(node.this, exp.Literal):
            try:
                return Literal(date.fromisoformat(node.this.name), DATE)
            except ValueError:
                raise self._source.error(node, "a date like 2026-12-31", shown(node.this.name)) from None
        sizes = [param.name for param in node.to.expressions]
        if kind != exp.DataType.Type.DECIMAL or len(sizes) != 2 or not all(size.isdigit() for size in sizes):
            raise self._source.error(node, "CAST(… AS DECIMAL(18, digits))", node.to.sql()[:40])
        precision, scale = (int(size) for size in sizes)
        part = self.value(node.this)
        loses = part.type.kind is Kind.FLOAT or scale < part.type.scale
        if not scale <= precision <= MAX_SCALE or (loses and scale > MAX_DECIMALS):
            raise self._source.error(node, "DECIMAL of at most 18 digits, 9 after the point", ",".join(sizes))
        if part.type.kind not in (Kind.NUMBER, Kind.FLOAT) or (loses and aggregates_in(part)):
            raise self._source.error(node, "a cast of a number of the rows", str(part.type))
        return part if part.type == number(scale) else Cast(part, number(scale))

    def _count(self, node: exp.Count) -> Expression:
        self._require_aggregates(node)
        if isinstance(node.this, exp.Star):
            return Aggregate("count", None, number())
        return Aggregate("count", self._part(node), number())

    def _figure(self, node: exp.Expression, figure: str) -> Expression:
        self._require_aggregates(node)
        part = self._part(node)
        is_pick = figure in ("min", "max")
        if part.type.kind is Kind.DATE and is_pick:
            return Aggregate(figure, part, part.type)
        if part.type.kind is not Kind.NUMBER:
            hint = "CAST(… AS DECIMAL(18, digits))" if part.type.kind is Kind.FLOAT else "a number"
            raise self._source.error(node, f"{node.key.upper()} of {hint}", str(part.type))
        is_exact = is_pick or figure == "sum"
        return Aggregate(figure, part, part.type if is_exact else REAL)

    def _part(self, node: exp.Expression) -> Expression:
        extra = [name for name, value in node.args.items() if value and name not in ("this", "big_int")]
        if node.this is None or extra:
            raise self._source.error(node, f"{node.key.upper()} of one expression", "another form")
        return Scalars(self._source, self._resolve, self._places, aggregates=False).value(node.this)

    def _require_aggregates(self, node: exp.Expression) -> None:
        if not self._aggregates:
            raise self._source.error(node, "a value of one row", f"the aggregate {node.key.upper()}")


def _chain(node: exp.Expression) -> list[exp.Expression]:
    """The operands of a run of the same connector, from the left."""
    stack: list[exp.Expression] = [node]
    found: list[exp.Expression] = []
    while stack:
        here = stack.pop()
        if type(here) is type(node):
            stack += [here.expression, here.this]
        else:
            found.append(here)
    return found


def _aligned(left: Expression, right: Expression) -> tuple[Expression, Expression]:
    scale = max(left.type.scale, right.type.scale)
    return _rescaled(left, scale), _rescaled(right, scale)


def _rescaled(part: Expression, scale: int) -> Expression:
    if part.type.kind is not Kind.NUMBER or part.type.scale == scale:
        return part
    if isinstance(part, Literal):
        if part.value is None:
            return Literal(None, number(scale))
        return Literal(int(part.value) * 10 ** (scale - part.type.scale), number(scale))  # type: ignore[arg-type]  # a number's value is an integer
    return Cast(part, number(scale))
