"""The replicated state: immutability, order, and its root."""

import pytest

from ledger.merkle import EMPTY_ROOT
from ledger.tables import State, Table, combine_table_roots


def filled(count: int) -> State:
    state = State()
    for i in range(count):
        state = state.put("assets", f"asset-{i}", {"n": i}, index=i)
    return state


def test_put_leaves_the_old_state_alone() -> None:
    old = filled(3)
    new = old.put("assets", "asset-1", {"n": 9}, index=7)
    assert old.get("assets", "asset-1") == {"n": 1, "index": 1}
    assert new.get("assets", "asset-1") == {"n": 9, "index": 7}
    assert len(new.rows("assets")) == 3
    assert old.root() != new.root()


def test_the_root_does_not_depend_on_the_order_of_writes() -> None:
    forward, backward = State(), State()
    for i in range(50):
        forward = forward.put("t", f"k{i}", {}, index=0)
        backward = backward.put("t", f"k{49 - i}", {}, index=0)
    assert forward.root() == backward.root()


def test_the_root_depends_on_table_key_and_row() -> None:
    base = State().put("t", "k", {"a": 1}, index=0)
    others = [
        State().put("u", "k", {"a": 1}, index=0),
        State().put("t", "l", {"a": 1}, index=0),
        State().put("t", "k", {"a": 2}, index=0),
        State().put("t", "k", {"a": 1}, index=1),
        base.put("t", "l", {}, index=0),
        State(),
    ]
    assert len({state.root() for state in [base, *others]}) == 7


def test_one_table_can_be_checked_with_the_roots_of_the_others() -> None:
    state = filled(40).put("members", "did", {"name": "x"}, index=1)
    roots = state.table_roots()
    roots["members"] = Table.of(state.rows("members")).root
    assert combine_table_roots(roots) == state.root()


def test_tables_are_mappings_in_key_order() -> None:
    table = filled(30).rows("assets")
    assert list(table) == sorted(table)
    assert "asset-3" in table
    assert "asset-99" not in table
    assert State().rows("assets").get("x") is None
    assert State().root() == EMPTY_ROOT


@pytest.mark.parametrize("count", [0, 1, 2, 3, 100, 1000])
def test_a_table_built_at_once_is_the_one_built_row_by_row(count: int) -> None:
    rows = {f"key-{number}": {"value": number} for number in range(count)}
    one_by_one = Table()
    for key, row in rows.items():
        one_by_one = one_by_one.put(key, row)
    at_once = Table.of(rows)
    assert (at_once.root, len(at_once), dict(at_once)) == (one_by_one.root, count, rows)
    assert at_once.put("another", {}).root == one_by_one.put("another", {}).root
