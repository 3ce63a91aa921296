"""Work in slices: parts, order, and calls within calls."""

from __future__ import annotations

import pytest

from mpc import cores


@pytest.mark.parametrize(("size", "least"), [(0, 1), (1, 1), (7, 1), (7, 4), (1000, 10)])
def test_slices_make_up_the_range_in_order(size: int, least: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cores, "count", lambda: 3)
    parts = cores.over_slices(lambda part: list(range(size)[part]), size, least)
    assert [item for part in parts for item in part] == list(range(size))
    assert len(parts) <= 3
    assert len(parts) == 1 or min(map(len, parts)) >= least


def test_a_call_within_a_slice_stays_on_its_core() -> None:
    def inner(part: slice) -> int:
        return sum(cores.over_slices(lambda own: own.stop - own.start, part.stop - part.start))

    assert sum(cores.over_slices(inner, 100)) == 100
    assert sum(cores.over_slices(inner, 100)) == 100


def test_what_a_slice_raises_comes_out() -> None:
    with pytest.raises(ZeroDivisionError):
        cores.over_slices(lambda part: 1 // part.start, 100)
