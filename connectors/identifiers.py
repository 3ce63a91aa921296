"""Bring identifiers of people or firms into one form, so that two owners' spellings of one identifier match.

Rules are applied in the order given, by Arrow's vectorised kernels. Both parties of an intersection apply the
same rules or miss matches. Nothing here repairs data: what is empty or doubled after normalising is counted
and refused.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from types import MappingProxyType
from typing import Final

import pyarrow as pa
import pyarrow.compute as pc

from connectors.errors import DuplicateIdentifiers, EmptyIdentifiers, UnknownRule, WrongColumnType

__all__ = ["RULES", "check", "normalise", "to_bytes"]

RULES: Final[Mapping[str, Callable[[pa.Array], pa.Array]]] = MappingProxyType(
    {
        "nfkc": lambda array: pc.utf8_normalize(array, form="NFKC"),
        "trim": pc.utf8_trim_whitespace,
        "upper": pc.utf8_upper,
        "lower": pc.utf8_lower,
        "remove-spaces": lambda array: _remove(array, r"[\s\p{Z}]+"),
        "remove-hyphens": lambda array: _remove(array, r"\p{Pd}+"),
        "digits-only": lambda array: _remove(array, r"[^0-9]+"),
    }
)


def normalise(array: pa.Array, rules: Sequence[str], column: str = "identifier") -> pa.Array:
    """Apply rules in order.

    Args:
        array: texts or integers; an integer is taken as its digits.
        rules: names in ``RULES``: ``nfkc`` (Unicode's compatibility form; full-width digits become ASCII),
            ``trim``, ``upper``, ``lower``, ``remove-spaces``, ``remove-hyphens`` (every kind of dash),
            ``digits-only`` (ASCII digits).
        column: how an error names the column.

    Returns:
        string[n]; missing values stay missing.

    Raises:
        UnknownRule: a rule does not exist.
        WrongColumnType: the column holds neither text nor integers.
    """
    for rule in rules:
        if rule not in RULES:
            raise UnknownRule(rule, tuple(RULES))
    texts = _texts(array, column)
    for rule in rules:
        texts = RULES[rule](texts)
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
