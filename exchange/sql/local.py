"""Expressions over the rows of one owner, calculated there in the clear, by whole columns.

Numbers are int64 in units of their last digit, with a mask of those that have a value; truth values are two
masks, of the rows for which they are true and false. A missing number is 0 under its mask.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable, Mapping
from typing import Any, Final, cast

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from connectors import filters
from connectors.arrow_filters import to_arrow
from connectors.errors import InvalidFilter, InvalidValues, WrongColumnType
from exchange.sql.expressions import (
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
    columns_in,
    number,
)
from exchange.sql.pushdown import as_filter
from mpc import fixed_point

__all__ = ["LocalRows", "days_of", "type_named", "type_of"]

Mask = NDArray[np.bool_]
Numbers = tuple[NDArray[np.int64], Mask]
Truths = tuple[Mask, Mask]

_HASH_BITS: Final = 61
_NAMED: Final[Mapping[str, SqlType]] = {
    "bool": SqlType(Kind.BOOLEAN),
    "date32[day]": SqlType(Kind.DATE),
    **dict.fromkeys(("string", "large_string", "string_view"), SqlType(Kind.TEXT)),
    **dict.fromkeys(("halffloat", "float", "double"), SqlType(Kind.FLOAT)),
    **dict.fromkeys((f"{sign}int{bits}" for sign in ("", "u") for bits in (8, 16, 32, 64)), number()),
}
_ARITHMETIC: Final[Mapping[str, Callable[..., Any]]] = {"+": np.add, "-": np.subtract, "*": np.multiply}
_COMPARE: Final[Mapping[str, Callable[..., Any]]] = {"=": np.equal, "<": np.less, "<=": np.less_equal}


def type_of(kind: pa.DataType) -> SqlType | None:
    """The type that a column has in queries; None for columns that no query reads."""
    if pa.types.is_boolean(kind):
        return SqlType(Kind.BOOLEAN)
    if pa.types.is_integer(kind):
        return number()
    if pa.types.is_decimal(kind) and 0 <= kind.scale <= fixed_point.MAX_DECIMALS:
        return number(kind.scale)
    if pa.types.is_floating(kind):
        return SqlType(Kind.FLOAT)
    if pa.types.is_date32(kind):
        return SqlType(Kind.DATE)
    return SqlType(Kind.TEXT) if _is_text(kind) else None


def type_named(text: str) -> SqlType | None:
    """The type of a column from its Arrow type's name, as the catalog has it."""
    inner = re.fullmatch(r"dictionary<values=(\w+), .*>", text)
    name = inner[1] if inner else text
    found = re.fullmatch(r"decimal(?:128|256)\(\d+, (\d)\)", name)
    if found:
        return number(int(found[1]))
    return _NAMED.get(name)


class LocalRows:
    """The rows of one table at its owner.

    Args:
        read: one column of the asset by its name in the query.
        rows: numbers of the asset's rows that stand in the query, -1 where a left join found none.
        bits: numbers reach 2^bits in no column.
    """

    def __init__(self, read: Callable[[str], pa.Array], rows: NDArray[np.int64], bits: int) -> None:
        self._read, self._rows, self._bits = read, rows, bits
        self._arrays: dict[str, pa.Array] = {}
        self._known: dict[Expression, Numbers] = {}

    def __len__(self) -> int:
        return len(self._rows)

    def array(self, column: Column) -> pa.Array:
        """The column over these rows.

        Raises:
            WrongColumnType: it is not of the type that the query was planned with.
        """
        if column.name not in self._arrays:
            array = self._read(column.name)
            if pa.types.is_dictionary(array.type):
                array = array.dictionary_decode()
            if type_of(array.type) != column.type:
                raise WrongColumnType(column.name, str(column.type), str(array.type))
            places = pa.array(self._rows, mask=self._rows < 0)
            self._arrays[column.name] = array.take(places)
        return self._arrays[column.name]

    def has_missing(self, column: Column) -> bool:
        """Whether some row has no value in a column."""
        return bool(self.array(column).null_count)

    def numbers(self, node: Expression) -> Numbers:
        """The values of a number or date, int64[n], and which rows have one."""
        if node not in self._known:
            self._known[node] = self._numbers(node)
        return self._known[node]

    def truths(self, node: Expression) -> Truths:
        """For which rows a condition is true, and for which false."""
        pushed = as_filter(node)
        if pushed is not None:
            try:
                return self._filtered(pushed, node)
            except InvalidFilter:
                pass  # a constant that the column could not hold; compared as numbers below
        match node:
            case Literal(value=value):
                return np.full(len(self), value is True), np.full(len(self), value is False)
            case Compare():
                return self._compared(node)
            case Not(part):
                holds, fails = self.truths(part)
                return fails, holds
            case IsNull(part):
                missing = ~self.present(part)
                return missing, ~missing
            case IsTrue(part):
                holds, _ = self.truths(part)
                return holds, ~holds
            case Logic(operator, parts):
                found = [self.truths(part) for part in parts]
                holds, fails = (np.stack([one[i] for one in found]) for i in range(2))
                if operator == "and":
                    return holds.all(axis=0), fails.any(axis=0)
                return holds.any(axis=0), fails.all(axis=0)
            case Case():
                return self._case(node, self.truths)
        raise TypeError(f"{type(node).__name__} is no condition over rows")

    def present(self, node: Expression) -> Mask:
        """Which rows have a value."""
        if node.type.kind is Kind.BOOLEAN:
            holds, fails = self.truths(node)
            return holds | fails
        if isinstance(node, Column):
            return _valid(self.array(node))
        if node.type.kind is Kind.TEXT:
            return _valid(self.texts(node))
        return self.numbers(node)[1]

    def texts(self, node: Expression) -> pa.Array:
        """The values of a text."""
        match node:
            case Column():
                return self.array(node).cast(pa.string())
            case Literal(value=constant):
                return pa.array([constant], pa.string()).take(pa.array(np.zeros(len(self), dtype=np.int64)))
            case Case():
                found = self.texts(node.otherwise)
                for test, value in reversed(node.branches):
                    found = pc.if_else(pa.array(self.truths(test)[0]), self.texts(value), found)
                return found
        raise TypeError(f"{type(node).__name__} is no text over rows")

    def hashes(self, node: Expression) -> Numbers:
        """Texts as numbers that are equal where the texts are; two texts share one with chance 2^-61."""
        array = self.texts(node)
        encoded = array.dictionary_encode()
        digests = [
            int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "big") >> (64 - _HASH_BITS)
            for text in encoded.dictionary.to_pylist()
        ]
        codes = encoded.indices.fill_null(0).to_numpy(zero_copy_only=False)
        valid = _valid(array)
        table = np.array([*digests, 0], dtype=np.int64)
        return np.where(valid, table[codes], 0), valid

    def codes(self, node: Expression) -> NDArray[np.int64]:
        """Values of any type as numbers from 1, equal where they are; 0 where there is none."""
        array = self.texts(node) if node.type.kind is Kind.TEXT else None
        if array is None:
            values, valid = self.comparable(node)
            array = pa.array(values, mask=~valid)
        indices = array.dictionary_encode().indices.fill_null(-1)
        return np.asarray(indices.to_numpy(zero_copy_only=False), dtype=np.int64) + 1

    def comparable(self, node: Expression) -> Numbers:
        """Values of any type as numbers that are equal where they are."""
        if node.type.kind is Kind.TEXT:
            return self.hashes(node)
        if node.type.kind is Kind.BOOLEAN:
            holds, fails = self.truths(node)
            return holds.astype(np.int64), holds | fails
        return self.numbers(node)

    def _numbers(self, node: Expression) -> Numbers:
        match node:
            case Literal(value=None):
                return np.zeros(len(self), dtype=np.int64), np.zeros(len(self), dtype=np.bool_)
            case Literal(value=value):
                days = days_of(value) if node.type.kind is Kind.DATE else cast(int, value)
                return np.full(len(self), days, dtype=np.int64), np.ones(len(self), dtype=np.bool_)
            case Column():
                return self._column(node)
            case Arithmetic():
                (left, has_left), (right, has_right) = self.numbers(node.left), self.numbers(node.right)
                made = _ARITHMETIC[node.operator](left, right)
                valid = has_left & has_right
                return np.where(valid, made, 0), valid
            case Case():
                return self._case(node, self.numbers)
            case Cast():
                return self._cast(node)
        raise TypeError(f"{type(node).__name__} is no number over rows")

    def _case(self, node: Case, of: Callable[[Expression], tuple[Any, Mask]]) -> tuple[Any, Mask]:
        first, second = of(node.otherwise)
        for test, value in reversed(node.branches):
            holds, _ = self.truths(test)
            one, two = of(value)
            first, second = np.where(holds, one, first), np.where(holds, two, second)
        return first, second

    def _column(self, node: Column) -> Numbers:
        array = self.array(node)
        valid = _valid(array)
        if node.type.kind is Kind.DATE:
            return _filled(array.cast(pa.int32()), np.int64), valid
        if pa.types.is_decimal(array.type):
            values, high = _decimal_words(array, valid)
            lost = int(np.count_nonzero(high != values >> 63))
        else:
            try:
                values, lost = _filled(array.cast(pa.int64()), np.int64), 0
            except pa.ArrowInvalid:
                raise InvalidValues(f"column {node.name}", "signed integers of at most 64 bits") from None
        return self._bounded(node.name, values, lost), valid

    def _bounded(self, name: str, values: NDArray[np.int64], lost: int = 0) -> NDArray[np.int64]:
        beyond = lost + int(np.count_nonzero((values >= 2**self._bits) | (values <= -(2**self._bits))))
        if beyond:
            expected = f"values below 2^{self._bits} units of the last digit ({beyond} are not)"
            raise InvalidValues(f"column {name}", expected)
        return values

    def _cast(self, node: Cast) -> Numbers:
        part = node.part
        if part.type.kind is Kind.FLOAT:
            column = cast(Column, part)
            array = self.array(column)
            values = fixed_point.encode(_filled(array.cast(pa.float64()), np.float64), node.type.scale)
            return self._bounded(column.name, values), _valid(array)
        values, valid = self.numbers(part)
        digits = node.type.scale - part.type.scale
        if digits >= 0:
            return values * 10**digits, valid
        return _rounded(values, 10**-digits), valid

    def _compared(self, node: Compare) -> Truths:
        if node.left.type.kind is Kind.TEXT:
            one, other = self.texts(node.left), self.texts(node.right)
            made = {"=": pc.equal, "<": pc.less, "<=": pc.less_equal}[node.operator](one, other)
            valid = _valid(made)
            holds = _filled(made, np.bool_)
            return holds & valid, ~holds & valid
        (left, has_left), (right, has_right) = self.comparable(node.left), self.comparable(node.right)
        holds = _COMPARE[node.operator](left, right)
        valid = has_left & has_right
        return holds & valid, ~holds & valid

    def _filtered(self, pushed: filters.Filter, node: Expression) -> Truths:
        names = filters.names(pushed)
        columns = {column.name: column for column in columns_in(node)}
        table = pa.table({name: self.array(columns[name]) for name in names})
        filters.check(pushed, table.schema)
        numbered = table.append_column("\0", pa.array(np.arange(len(self))))
        masks = []
        for one in (pushed, filters.Not(pushed)):
            kept = numbered.filter(to_arrow(one, table.schema)).column("\0").to_numpy()
            mask = np.zeros(len(self), dtype=np.bool_)
            mask[kept] = True
            masks.append(mask)
        return masks[0], masks[1]


def _is_text(kind: pa.DataType) -> bool:
    return bool(pa.types.is_string(kind) or pa.types.is_large_string(kind) or kind == pa.string_view())


def _valid(array: pa.Array) -> Mask:
    return np.asarray(array.is_valid().to_numpy(zero_copy_only=False), dtype=np.bool_)


def _filled(array: pa.Array, kind: Any) -> NDArray[Any]:  # noqa: ANN401 - a numpy type
    zero = pa.scalar(False if kind is np.bool_ else 0, array.type)
    return np.asarray(array.fill_null(zero).to_numpy(zero_copy_only=False)).astype(kind)


def _decimal_words(array: pa.Array, valid: Mask) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Low and high words of decimals, 0 where there is none."""
    wide = array.cast(pa.decimal128(38, array.type.scale))
    words = np.frombuffer(wide.buffers()[1], dtype="<i8")[2 * wide.offset : 2 * (wide.offset + len(wide))]
    pairs = words.reshape(-1, 2)
    return np.where(valid, pairs[:, 0], 0), np.where(valid, pairs[:, 1], 0)


def _rounded(values: NDArray[np.int64], unit: int) -> NDArray[np.int64]:
    """Divided by a power of ten, half to even."""
    quotients, rest = np.divmod(values, unit)
    up = (2 * rest > unit) | ((2 * rest == unit) & (quotients % 2 == 1))
    return np.asarray(quotients + up, dtype=np.int64)


def days_of(value: object) -> int:
    """A date as days since 1970."""
    return int(np.datetime64(str(value), "D").astype(np.int64))
