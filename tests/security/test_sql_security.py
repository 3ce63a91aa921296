"""A changed message gives no output to anybody, and what a party sees does not depend on the values."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pyarrow as pa
import pytest

from exchange.sql.binding import bind
from exchange.sql.execution import Executed, Own, execute
from exchange.sql.program import Program, compile_query
from exchange.sql.testing import JOINING, catalog_of, own_table
from mpc.mesh import Mesh
from mpc.psi import ecdh
from mpc.randomness import SystemRandomness
from mpc.testing import mesh_of, mesh_outcomes

JOIN = (
    "SELECT two.t, COUNT(*) AS n, SUM(CASE WHEN one.x > two.y THEN one.x ELSE 0 END) AS s "
    "FROM a.one JOIN b.two ON one.id = two.id WHERE one.x > 1 GROUP BY two.t"
)
UNION = "SELECT t, SUM(x) AS s FROM (SELECT t, x FROM a.one UNION ALL SELECT t, y FROM b.two) AS u GROUP BY t"


def tables(shift: int) -> dict[str, pa.Table]:
    """Tables whose keys, groups and missing values are at the same places whatever ``shift`` is."""
    return {
        "a/one": pa.table(
            {
                "id": [f"k{i}" for i in range(6)],
                "x": [None if i == 2 else i * shift for i in range(6)],
                "t": ["p" if i % 2 else "q" for i in range(6)],
            }
        ),
        "b/two": pa.table(
            {
                "id": [f"k{i}" for i in range(2, 9)],
                "y": [i - shift for i in range(7)],
                "t": ["p" if i % 3 else "r" for i in range(7)],
            }
        ),
    }


def play(query: str, shift: int = 1, **options: Any) -> list[Executed | Exception]:
    given = tables(shift)
    program = compile_query(bind(query, catalog_of(given)), 1)
    owns: list[Own | None] = [
        own_table(table.name, part, given[part.asset]) for table in program.tables for part in table.parts
    ]
    return mesh_outcomes([role(program, own) for own in (*owns, None)], mesh_of(3, **options))


def role(program: Program, own: Own | None) -> Callable[[Mesh], Executed]:
    return lambda mesh: execute(mesh, program, own, SystemRandomness(), JOINING)


def messages(query: str, shift: int = 1) -> list[tuple[int, int, str, int]]:
    """Sender, receiver, label and size of everything that passes."""
    seen: list[tuple[int, int, str, int]] = []

    def tap(sender: int, receiver: int, label: str, payload: bytes) -> None:
        seen.append((sender, receiver, label, len(payload)))

    ended = play(query, shift, tap=tap)
    assert not any(isinstance(end, Exception) for end in ended), ended
    return seen


PSI = f"{ecdh.SPEC.name}/{ecdh.SPEC.version}"
CHANGED = {
    JOIN: [
        *(f"{PSI}/{name}" for name in ("terms", "masked", "double-masked", "confirm")),
        "sql/query/1/partners",
        "sql/query/1/rows",
        "sql/query/1/shape",
        "sql/query/1/confirm",
        "sql/query/1/keys",
        "sql/query/1/input",
        "sql/query/1/planes",
        "sql/query/1/product",
    ],
    UNION: ["sql/query/1/shape", "sql/query/1/input", "sql/query/1/product"],
}


def test_the_list_of_messages_is_complete() -> None:
    for query, names in CHANGED.items():
        seen = {label for _, _, label, size in messages(query) if size}
        assert seen <= {*CHANGED[JOIN], *names}
    assert {label for _, _, label, size in messages(JOIN) if size} == set(CHANGED[JOIN])


CASES = [(query, name) for query, names in CHANGED.items() for name in names]
NAMES = [f"{'join' if query == JOIN else 'union'}-{name}" for query, name in CASES]


@pytest.mark.parametrize("change", ["flipped", "truncated", "emptied"])
@pytest.mark.parametrize(("query", "name"), CASES, ids=NAMES)
def test_a_changed_message_gives_no_output_to_anybody(query: str, name: str, change: str) -> None:
    done: list[str] = []

    def tap(sender: int, receiver: int, label: str, payload: bytes) -> bytes | None:
        if label != name or done or not payload:
            return None
        done.append(label)
        if change == "flipped":
            return payload[:-1] + bytes([payload[-1] ^ 1])
        return payload[:-1] if change == "truncated" else b""

    ended = play(query, tap=tap, timeout_s=2)
    assert done
    assert all(isinstance(end, Exception) for end in ended), ended


@pytest.mark.parametrize("query", [JOIN, UNION], ids=["join", "union"])
def test_labels_and_sizes_of_what_a_party_sees_do_not_depend_on_the_values(query: str) -> None:
    assert sorted(messages(query, 1)) == sorted(messages(query, 1_000_003))


def test_a_value_does_not_pass_in_the_clear() -> None:
    seen: list[bytes] = []
    canary = 0x1122334455

    def tap(sender: int, receiver: int, label: str, payload: bytes) -> None:
        seen.append(payload)

    play(JOIN, canary, tap=tap)
    play(UNION, canary, tap=tap)
    for factor in range(1, 6):
        assert not any((factor * canary).to_bytes(8, "little") in payload for payload in seen)
