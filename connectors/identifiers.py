"""Bring identifiers of people or firms into one form, so that two owners' spellings of one identifier match.

Rules are applied in the order given, by Arrow's vectorised kernels. Both parties of an intersection apply the
same rules or miss matches. Nothing here repairs data: what is empty or doubled after normalising is counted
and refused.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from types import MappingProxyType
from typing import Final

import pyarrow as pa
import pyarrow.compute as pc

from connectors.errors import (
    DuplicateIdentifiers,
    EmptyIdentifiers,
    InvalidIdentifiers,
    UnknownRule,
    WrongColumnType,
)

__all__ = ["RULES", "check", "compose", "count_empty", "framed", "is_rule", "normalise", "to_bytes"]

_RESIDENT_WEIGHTS: Final = (7, 9, 10, 5, 8, 4, 2, 1, 6, 3, 7, 9, 10, 5, 8, 4, 2)
_RESIDENT_CHECKS: Final = "10X98765432"
_RESIDENT_FORM: Final = r"^[1-9]\d{5}(18|19|20)\d{2}(0[1-9]|1[0-2])(0[1-9]|[12]\d|3[01])\d{3}[\dX]$"
_E164_FORM: Final = r"^\+[1-9]\d{6,14}$"
_E164_RULE: Final = re.compile(r"e164-[1-9][0-9]{0,2}")

RULES: Final[Mapping[str, Callable[[pa.Array], pa.Array]]] = MappingProxyType(
    {
        "nfkc": lambda array: pc.utf8_normalize(array, form="NFKC"),
        "trim": pc.utf8_trim_whitespace,
        "upper": pc.utf8_upper,
        "lower": pc.utf8_lower,
        "remove-spaces": lambda array: _remove(array, r"[\s\p{Z}]+"),
        "remove-hyphens": lambda array: _remove(array, r"\p{Pd}+"),
        "digits-only": lambda array: _remove(array, r"[^0-9]+"),
        "resident-id-cn": lambda array: _resident_ids(array),
        "e164-86": lambda array: _phones(array, "86"),
    }
)
"""Known rules by name. ``e164-86`` stands for ``e164-`` and any country calling code."""


def is_rule(name: str) -> bool:
    """Whether ``normalise`` knows a rule of that name."""
    return name in RULES or _E164_RULE.fullmatch(name) is not None


def normalise(array: pa.Array, rules: Sequence[str], column: str = "identifier") -> pa.Array:
    """Apply rules in order.

    Args:
        array: texts or integers; an integer is taken as its digits.
        rules: names in ``RULES``: ``nfkc`` (Unicode's compatibility form; full-width digits become ASCII),
            ``trim``, ``upper``, ``lower``, ``remove-spaces``, ``remove-hyphens`` (every kind of dash),
            ``digits-only`` (ASCII digits), ``resident-id-cn`` (Chinese resident identity numbers: full-width
            and spaces brought to ASCII, 15 digits extended to 18, the check digit checked), ``e164-CODE``
            (telephone numbers in the form of E.164; those without a country get the calling code CODE).
        column: how an error names the column.

    Returns:
        string[n]; missing values stay missing.

    Raises:
        UnknownRule: a rule does not exist.
        InvalidIdentifiers: values that are no identity or telephone numbers, with their number.
        WrongColumnType: the column holds neither text nor integers.
    """
    for rule in rules:
        if not is_rule(rule):
            raise UnknownRule(rule, tuple(RULES))
    texts = _texts(array, column)
    for rule in rules:
        before = texts
        texts = RULES[rule](texts) if rule in RULES else _phones(texts, rule.removeprefix("e164-"))
        invalid = texts.null_count - before.null_count
        if invalid:
            raise InvalidIdentifiers(column, rule, invalid)
    return texts


def check(array: pa.Array, column: str = "identifier") -> pa.Array:
    """Check that every identifier is present and distinct, and return them.

    Raises:
        EmptyIdentifiers: with the number of rows that have none.
        DuplicateIdentifiers: with the number of rows beyond the first of each identifier.
    """
    empty = len(array) - (pc.sum(pc.greater(pc.utf8_length(array), 0)).as_py() or 0)
    if empty:
        raise EmptyIdentifiers(column, empty)
    surplus = len(array) - pc.count_distinct(array).as_py()
    if surplus:
        raise DuplicateIdentifiers(column, surplus)
    return array


def count_empty(columns: Sequence[pa.Array]) -> int:
    """Count the rows in which one of some columns is missing or empty."""
    present = pa.scalar(True)
    for array in columns:
        present = pc.and_(present, pc.fill_null(pc.greater(pc.binary_length(array), 0), False))
    return len(columns[0]) - (pc.sum(present).as_py() or 0)


def compose(columns: Sequence[pa.Array]) -> pa.Array:
    """Make one identifier a row of several columns, none missing: string[n].

    One column stays as it is; several are ``framed``.
    """
    return columns[0] if len(columns) == 1 else framed(columns)


def framed(columns: Sequence[pa.Array]) -> pa.Array:
    """Put the values of a row one after the other, each preceded by its length in bytes and a colon.

    Different rows of values make different texts, string[n], and none is empty. No value may be missing.
    """
    parts = [
        part
        for array in columns
        for part in (pc.cast(pc.binary_length(array), pa.string()), pa.scalar(":"), array)
    ]
    return pc.binary_join_element_wise(*parts, "")


def to_bytes(array: pa.Array) -> list[bytes]:
    """List identifiers as UTF-8, the form in which a set protocol takes them; none may be missing."""
    items: list[bytes] = array.cast(pa.binary()).to_pylist()
    return items


def _texts(array: pa.Array, column: str) -> pa.Array:
    if isinstance(array, pa.ChunkedArray):
        array = array.combine_chunks()
    kind = array.type
    textual = pa.types.is_string(kind) or pa.types.is_large_string(kind) or kind == pa.string_view()
    if pa.types.is_dictionary(kind):
        return _texts(array.dictionary_decode(), column)
    if not textual and not pa.types.is_integer(kind):
        raise WrongColumnType(column, "text or integers", str(kind))
    return array.cast(pa.string())


def _remove(array: pa.Array, pattern: str) -> pa.Array:
    return pc.replace_substring_regex(array, pattern, "")


def _resident_ids(array: pa.Array) -> pa.Array:
    """GB 11643: 17 digits with a check digit by ISO 7064, MOD 11-2; older numbers lack century and check."""
    texts = _remove(pc.utf8_upper(pc.utf8_normalize(array, form="NFKC")), r"[\s\p{Z}]+")
    is_old = pc.match_substring_regex(texts, r"^\d{15}$")
    with_century = pc.binary_join_element_wise(
        pc.utf8_slice_codeunits(texts, 0, 6), pa.scalar("19"), pc.utf8_slice_codeunits(texts, 6, 15), ""
    )
    body = pc.if_else(is_old, with_century, pc.utf8_slice_codeunits(texts, 0, 17))
    is_digits = pc.match_substring_regex(body, r"^\d{17}$")
    body = pc.if_else(is_digits, body, pa.scalar("0" * 17))
    total = pa.scalar(0, pa.int32())
    for position, weight in enumerate(_RESIDENT_WEIGHTS):
        digit = pc.cast(pc.utf8_slice_codeunits(body, position, position + 1), pa.int32())
        total = pc.add(total, pc.multiply(digit, pa.scalar(weight, pa.int32())))
    remainder = pc.subtract(total, pc.multiply(pc.divide(total, 11), 11))
    check_digit = pc.take(pa.array(list(_RESIDENT_CHECKS)), remainder)
    whole = pc.binary_join_element_wise(body, check_digit, "")
    fits = pc.or_(is_old, pc.equal(whole, texts))
    is_valid = pc.and_(pc.and_(fits, is_digits), pc.match_substring_regex(whole, _RESIDENT_FORM))
    return pc.if_else(is_valid, whole, pa.scalar(None, pa.string()))


def _phones(array: pa.Array, country: str) -> pa.Array:
    """E.164: plus, country, national number; ``00`` stands for the plus, a leading 0 is the trunk's."""
    texts = pc.utf8_normalize(array, form="NFKC")
    texts = pc.replace_substring_regex(_remove(texts, r"[\s\p{Z}\p{Pd}()./]+"), r"^00", "+")
    is_national = pc.invert(pc.starts_with(texts, "+"))
    national = pc.replace_substring_regex(texts, r"^0", "")
    with_country = pc.binary_join_element_wise(pa.scalar(f"+{country}"), national, "")
    numbers = pc.if_else(is_national, with_country, texts)
    return pc.if_else(pc.match_substring_regex(numbers, _E164_FORM), numbers, pa.scalar(None, pa.string()))
