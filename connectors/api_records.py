"""Pages of a JSON API as Arrow record batches: every value exactly of its declared type, or an error.

The error says which page, record and column, and what kind of value stands there; never the value.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, date, datetime
from decimal import Context, Decimal, Inexact, InvalidOperation
from types import MappingProxyType
from typing import Any, Final, NoReturn

import pyarrow as pa

from connectors.api_options import ApiColumn, pointed
from connectors.errors import InvalidValues

__all__ = ["decode", "record_batch", "records_of"]

_MOST_DIGITS: Final = 38
_INT64: Final = range(-(2**63), 2**63)
_EXACT: Final = Context(prec=2 * _MOST_DIGITS, traps=[Inexact, InvalidOperation])
_NAMES: Final = MappingProxyType(
    {
        bool: "a truth value",
        int: "an integer",
        Decimal: "a number with a point",
        str: "a text",
        dict: "an object",
    }
)


def decode(body: bytes, place: str) -> object:
    """Read a page's JSON; numbers with a point stay exact.

    Raises:
        InvalidValues: it is no JSON in UTF-8, nested too deeply, or has a name twice in one object.
    """
    try:
        return json.loads(
            body.decode("utf-8"),
            parse_float=Decimal,
            parse_constant=_no_constant,
            object_pairs_hook=_distinct,
        )
    except (ValueError, RecursionError, InvalidOperation):
        # Not chained: the cause quotes the page.
        raise InvalidValues(place, "JSON in UTF-8 with distinct names") from None


def records_of(document: object, pointer: str, place: str) -> list[Mapping[str, object]]:
    """Find the list of records in a page.

    Raises:
        InvalidValues: there is no list of objects there.
    """
    found = pointed(document, pointer)
    if not isinstance(found, list):
        raise InvalidValues(f"{place}, {pointer or 'the whole'}", "a list of records", _kind(found))
    for number, record in enumerate(found, 1):
        if not isinstance(record, dict):
            raise InvalidValues(f"{place}, record {number}", "an object", _kind(record))
    return found


def record_batch(
    records: Sequence[Mapping[str, object]], columns: Sequence[ApiColumn], place: str
) -> pa.RecordBatch:
    """Put records into a batch of the declared columns. Other members of a record are passed over.

    Raises:
        InvalidValues: a record lacks a column's member, or holds a value of another type.
    """
    arrays = []
    for column in columns:
        read = _reader(column)
        values: list[object] = []
        for number, record in enumerate(records, 1):
            value = record.get(column.member, _ABSENT)
            if value is None:
                values.append(None)
                continue
            try:
                values.append(read(value))
            except (ValueError, TypeError, ArithmeticError):
                # Not chained: the cause quotes the value.
                where = f"{place}, record {number}, column {column.name}"
                raise InvalidValues(where, column.type, _kind(value)) from None
        arrays.append(pa.array(values, column.arrow))
    schema = pa.schema([(column.name, column.arrow) for column in columns])
    return pa.RecordBatch.from_arrays(arrays, schema=schema)


_ABSENT: Final = object()


def _kind(value: object) -> str:
    if value is _ABSENT or value is None:
        return "nothing"
    return _NAMES.get(type(value), "a list" if isinstance(value, list) else "another value")


def _reader(column: ApiColumn) -> Callable[[Any], object]:
    if column.type.startswith("decimal/"):
        return lambda value: _decimal(value, column.arrow.scale)
    return _READERS[column.type]


def _decimal(value: object, scale: int) -> Decimal:
    """A JSON number, or a text as many APIs write amounts, with no more decimals than declared."""
    if isinstance(value, bool) or not isinstance(value, int | str | Decimal):
        raise TypeError
    number = Decimal(value)
    if not number.is_finite() or number.adjusted() >= _MOST_DIGITS - scale:
        raise ValueError
    return number.quantize(Decimal(1).scaleb(-scale), context=_EXACT)


def _integer(value: object) -> int:
    if type(value) is not int or value not in _INT64:
        raise ValueError
    return value


def _float(value: object) -> float:
    if isinstance(value, bool) or not isinstance(value, int | Decimal):
        raise TypeError
    number = float(value)
    if not math.isfinite(number) or (isinstance(value, int) and int(number) != value):
        raise ValueError
    return number


def _boolean(value: object) -> bool:
    if not isinstance(value, bool):
        raise TypeError
    return value


def _text(value: object) -> str:
    if not isinstance(value, str):
        raise TypeError
    value.encode()  # refuses halves of surrogate pairs
    return value


def _date(value: object) -> date:
    if not isinstance(value, str):
        raise TypeError
    return date.fromisoformat(value)


def _timestamp(value: object) -> datetime:
    return _moment(value, zoned=False)


def _timestamp_utc(value: object) -> datetime:
    return _moment(value, zoned=True).astimezone(UTC)


def _moment(value: object, *, zoned: bool) -> datetime:
    if not isinstance(value, str):
        raise TypeError
    moment = datetime.fromisoformat(value)
    if (moment.tzinfo is not None) is not zoned:
        raise ValueError
    return moment


_READERS: Final[Mapping[str, Callable[[Any], object]]] = MappingProxyType(
    {
        "boolean": _boolean,
        "date": _date,
        "float": _float,
        "integer": _integer,
        "text": _text,
        "timestamp": _timestamp,
        "timestamp-utc": _timestamp_utc,
    }
)


def _distinct(pairs: list[tuple[str, object]]) -> dict[str, object]:
    found = dict(pairs)
    if len(found) != len(pairs):
        raise ValueError
    return found


def _no_constant(_: str) -> NoReturn:
    raise ValueError
