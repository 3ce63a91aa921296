"""The state that one log leaves to the next, as a file: canonical JSON lines.

The first line is ``["parley-carried/v1", <state root>]``, then comes ``[table, key, row]`` for every row, in
ascending order.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

from ledger import canonical
from ledger.errors import InvalidEpoch, NotCanonical
from ledger.tables import Row, State, Table

__all__ = ["read_carried", "write_carried"]

_FORM = "parley-carried/v1"


def write_carried(state: State) -> Iterator[bytes]:
    """Write a state as the lines of a file."""
    yield canonical.encode([_FORM, state.root().hex()]) + b"\n"
    for name in sorted(state.table_roots()):
        for key, row in state.rows(name).items():
            yield canonical.encode([name, key, dict(row)]) + b"\n"


def read_carried(lines: Iterable[bytes]) -> State:
    """Read a state from the lines of a file.

    Raises:
        InvalidEpoch: a line is not what ``write_carried`` writes, naming it, or the rows have another root.
    """
    numbered = enumerate(lines, 1)
    number, first = next(numbered, (1, b""))
    head = _line(number, first, 2)
    if head[0] != _FORM:
        raise InvalidEpoch(f"line 1: expected {_FORM}")
    tables: dict[str, dict[str, Row]] = {}
    before = ("", "")
    for number, line in numbered:
        name, key, row = _line(number, line, 3)
        if not isinstance(name, str) or not isinstance(key, str) or not isinstance(row, dict):
            raise InvalidEpoch(f"line {number}: expected a table, a key and a row")
        if (name, key) <= before:
            raise InvalidEpoch(f"line {number}: expected rows in ascending order")
        before = (name, key)
        tables.setdefault(name, {})[key] = row
    state = State({name: Table.of(found) for name, found in tables.items()})
    if state.root().hex() != head[1]:
        raise InvalidEpoch(f"expected rows with the state root {head[1]}, got {state.root().hex()}")
    return state


def _line(number: int, line: bytes, count: int) -> list[Any]:
    try:
        value = canonical.decode(line.removesuffix(b"\n"))
    except NotCanonical as exc:
        raise InvalidEpoch(f"line {number}: {exc}") from exc
    if not line.endswith(b"\n") or not isinstance(value, list) or len(value) != count:
        raise InvalidEpoch(f"line {number}: expected a list of {count} and the line's end")
    return value
