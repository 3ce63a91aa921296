"""What a step asks: declared columns, a condition, groups, figures; read strictly, checked before it runs."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from decimal import Decimal, InvalidOperation
from fractions import Fraction
from itertools import product
from typing import Any, Final, cast

from exchange.errors import InvalidRequest
from exchange.jobs.secret_columns.nodes import BOUND, Declared, Kind, Node, compile_text, truth
from exchange.jobs.spec import ColumnInput, Step
from mpc.replicated.selection import MAX_PART

__all__ = [
    "FIGURES",
    "MAX_CELLS",
    "Figure",
    "Key",
    "Query",
    "check_columns",
    "check_figures",
    "check_keys",
    "declared_columns",
]

MAX_CELLS: Final = 256
MAX_LABELS: Final = 64
MAX_FIGURES: Final = 16
MAX_CORRELATED: Final = 8
FIGURES: Final = ("correlation", "maximum", "mean", "minimum", "quantile", "sum", "variance")
_NAME: Final = 60


@dataclass(frozen=True)
class Key:
    """A grouping: a name, the labels of its groups, and the number of each row's group."""

    name: str
    labels: tuple[str, ...]
    node: Node


@dataclass(frozen=True)
class Figure:
    """One figure of every group.

    Attributes:
        name: of its column in the result; of a correlation, the start of the names.
        kind: one of `FIGURES`.
        nodes: what it is of: one number, or two to eight for a correlation.
        part: of a quantile.
    """

    name: str
    kind: str
    nodes: tuple[Node, ...]
    part: Fraction = Fraction(1)


@dataclass(frozen=True)
class Query:
    """A compiled step.

    Attributes:
        columns: the declared columns, by role and name.
        where: which rows count; None for all.
        keys: up to two groupings; every combination of their labels is a cell.
        figures: besides the number of rows of every cell.
    """

    columns: Mapping[tuple[str, str], Declared]
    where: Node | None
    keys: tuple[Key, ...]
    figures: tuple[Figure, ...]

    @classmethod
    def of(cls, step: Step) -> Query:
        """Compile the parameters of a step whose declaration has been checked.

        Raises:
            InvalidRequest: what does not fit, by its place.
        """
        at = f"steps.{step.id}.params"
        columns = declared_columns(step)
        where = _where(step, columns, at)
        keys = tuple(
            _key(one, columns, f"{at}.by[{number}]")
            for number, one in enumerate(cast("list[dict[str, Any]]", step.params.get("by", [])))
        )
        figures = tuple(
            _figure(one, columns, f"{at}.figures[{number}]")
            for number, one in enumerate(cast("list[dict[str, Any]]", step.params.get("figures", [])))
        )
        query = cls(columns, where, keys, figures)
        if query.cells > MAX_CELLS:
            raise InvalidRequest(f"{at}.by", f"at most {MAX_CELLS} combinations of labels", str(query.cells))
        names = [*(key.name for key in keys), "rows", *(figure.name for figure in figures)]
        if len(set(names)) < len(names):
            raise InvalidRequest(at, "names that differ, from one another and from 'rows'", ", ".join(names))
        return query

    @property
    def cells(self) -> int:
        """Number of combinations of labels."""
        count = 1
        for key in self.keys:
            count *= len(key.labels)
        return count

    @property
    def labels(self) -> list[tuple[str, ...]]:
        """The labels of every cell, in order."""
        return list(product(*(key.labels for key in self.keys)))


def check_columns(value: object, at: str) -> None:
    """Check the form of the declarations of columns."""
    for name, declared in _mapping(value, at).items():
        fields = _mapping(declared, f"{at}.{name}")
        kind = fields.get("kind")
        if kind == "number":
            _fields(fields, {"kind", "lower", "upper"}, f"{at}.{name}")
            for end in ("lower", "upper"):
                _decimal(fields[end], f"{at}.{name}.{end}")
        elif kind == "category":
            _fields(fields, {"kind", "labels"}, f"{at}.{name}")
            _labels(fields["labels"], f"{at}.{name}.labels")
        elif kind == "truth":
            _fields(fields, {"kind"}, f"{at}.{name}")
        else:
            raise InvalidRequest(f"{at}.{name}.kind", "number, category or truth", repr(kind)[:40])


def check_keys(value: object, at: str) -> None:
    """Check the form of the groupings."""
    for number, one in enumerate(_list(value, at, 0, 2)):
        fields = _mapping(one, f"{at}[{number}]")
        _fields(fields, {"name", "of"}, f"{at}[{number}]")
        for name in fields:
            _text(fields[name], f"{at}[{number}].{name}", _NAME if name == "name" else None)


def check_figures(value: object, at: str) -> None:
    """Check the form of the figures."""
    for number, one in enumerate(_list(value, at, 0, MAX_FIGURES)):
        place = f"{at}[{number}]"
        fields = _mapping(one, place)
        kind = fields.get("figure")
        if kind not in FIGURES:
            raise InvalidRequest(f"{place}.figure", f"one of {', '.join(FIGURES)}", repr(kind)[:40])
        _fields(fields, {"name", "figure", "of"} | ({"part"} if kind == "quantile" else set()), place)
        _text(fields["name"], f"{place}.name", _NAME)
        if kind == "correlation":
            for index, text in enumerate(_list(fields["of"], f"{place}.of", 2, MAX_CORRELATED)):
                _text(text, f"{place}.of[{index}]")
        else:
            _text(fields["of"], f"{place}.of")
        if kind == "quantile" and not 0 < _decimal(fields["part"], f"{place}.part") <= 1:
            raise InvalidRequest(f"{place}.part", "a decimal text above 0, at most 1", fields["part"])


def declared_columns(step: Step, *, keys: int = 0) -> dict[tuple[str, str], Declared]:
    """What a step declares of its columns, by role and name.

    Args:
        step: its ``columns`` have been checked in form.
        keys: so many columns of each role come first and are not declared.

    Raises:
        InvalidRequest: other columns are declared than the step reads, or bounds do not fit.
    """
    at = f"steps.{step.id}.params"
    given = cast("dict[str, dict[str, Any]]", step.params["columns"])
    read = {
        f"{role.replace('-', '')}.{column.name}": (role, column)
        for role, taken in step.inputs.items()
        for column in taken.columns[keys:]
    }
    if set(given) != set(read):
        expected = f"a declaration of each of {', '.join(sorted(read))}"
        raise InvalidRequest(f"{at}.columns", expected, ", ".join(sorted(given)) or "nothing")
    return {
        (role, column.name): _declaration(role, column, given[name], f"{at}.columns.{name}")
        for name, (role, column) in read.items()
    }


def _declaration(role: str, column: ColumnInput, given: dict[str, Any], at: str) -> Declared:
    kind = Kind(given["kind"])
    if kind is not Kind.NUMBER:
        labels = tuple(given.get("labels", ()))
        upper = len(labels) - 1 if kind is Kind.CATEGORY else 1
        return Declared(role, column.name, kind, upper=upper, labels=labels)
    ends = [Decimal(given[end]).scaleb(column.decimals) for end in ("lower", "upper")]
    lower, upper = (int(end) for end in ends)
    is_whole = all(end == end.to_integral_value() for end in ends)
    if not (is_whole and lower <= upper and max(abs(lower), abs(upper)) < BOUND):
        expected = f"bounds in order, of at most {column.decimals} decimals and below 2^61 units"
        raise InvalidRequest(at, expected, f"{given['lower']} to {given['upper']}")
    return Declared(role, column.name, kind, column.decimals, lower, upper)


def _where(step: Step, columns: Mapping[tuple[str, str], Declared], at: str) -> Node | None:
    if "where" not in step.params:
        return None
    node = compile_text(str(step.params["where"]), columns, f"{at}.where")
    if node.kind is not Kind.TRUTH or node.is_constant:
        raise InvalidRequest(f"{at}.where", "a truth value that depends on a column", f"a {node.kind.shown}")
    return node


def _key(one: dict[str, Any], columns: Mapping[tuple[str, str], Declared], at: str) -> Key:
    node = compile_text(one["of"], columns, f"{at}.of")
    if node.kind is Kind.NUMBER or node.is_constant:
        raise InvalidRequest(
            f"{at}.of", "a category or truth value that depends on a column", f"a {node.kind.shown}"
        )
    labels = node.labels if node.kind is Kind.CATEGORY else ("false", "true")
    return Key(one["name"], labels, node)


def _figure(one: dict[str, Any], columns: Mapping[tuple[str, str], Declared], at: str) -> Figure:
    kind, texts = one["figure"], one["of"] if isinstance(one["of"], list) else [one["of"]]
    compiled = [compile_text(text, columns, f"{at}.of") for text in texts]
    for node in compiled:
        if node.kind is Kind.CATEGORY or node.is_constant:
            expected = "numbers or truth values that depend on a column"
            raise InvalidRequest(f"{at}.of", expected, f"a {node.kind.shown}")
        if kind in ("correlation", "variance") and node.magnitude**2 >= BOUND:
            expected = f"values whose squares stay below 2^61 units, for a {kind}"
            raise InvalidRequest(f"{at}.of", expected, f"values up to {node.magnitude} units")
    nodes = tuple(truth(node) for node in compiled)
    if kind != "quantile":
        return Figure(one["name"], kind, nodes)
    part = Fraction(Decimal(one["part"]))
    if part.denominator > MAX_PART:
        raise InvalidRequest(f"{at}.part", "at most 6 decimals", one["part"])
    return Figure(one["name"], kind, nodes, part)


def _mapping(value: object, at: str) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise InvalidRequest(at, "an object", type(value).__name__)
    return value


def _list(value: object, at: str, least: int, most: int) -> list[Any]:
    if not isinstance(value, list) or not least <= len(value) <= most:
        raise InvalidRequest(at, f"a list of {least} to {most}", repr(value)[:40])
    return value


def _fields(value: dict[str, Any], names: set[str], at: str) -> None:
    if set(value) != names:
        raise InvalidRequest(at, f"the fields {', '.join(sorted(names))}", ", ".join(sorted(value)) or "none")


def _text(value: object, at: str, longest: int | None = None) -> None:
    if not isinstance(value, str) or not value or (longest is not None and len(value) > longest):
        size = "a text" if longest is None else f"a text of 1 to {longest} characters"
        raise InvalidRequest(at, size, repr(value)[:40])


def _decimal(value: object, at: str) -> Decimal:
    try:
        number = Decimal(value) if isinstance(value, str) and len(value) <= 40 else None
    except InvalidOperation:
        number = None
    if number is None or not number.is_finite() or abs(number.adjusted()) > 40:
        raise InvalidRequest(at, "a decimal number as text", repr(value)[:40])
    return number


def _labels(value: object, at: str) -> None:
    labels = _list(value, at, 1, MAX_LABELS)
    for index, label in enumerate(labels):
        _text(label, f"{at}[{index}]", 100)
    if len(set(labels)) < len(labels):
        raise InvalidRequest(at, "labels that differ", "a label twice")
