"""Sets of texts by fingerprint: the same answers where fingerprints collide."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mpc.engines import texts
from mpc.engines.texts import TextSet, buffers

WORDS = st.lists(st.text(st.characters(exclude_categories=["Cs"]), max_size=4), max_size=20)


def array(words: list[str]) -> pa.Array:
    return pa.array(words, pa.large_string())


def two_values(given_texts: pa.Array) -> np.ndarray:
    return np.array([len(word) % 2 for word in given_texts.to_pylist()], np.uint64)


@pytest.fixture(params=["distinct", "colliding"])
def fingerprints(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    if request.param == "colliding":
        monkeypatch.setattr(texts, "_fingerprints", two_values)


@settings(max_examples=30, deadline=None)
@given(WORDS)
def test_repeats_are_counted(words: list[str]) -> None:
    assert TextSet.of(array(words)).repeats() == len(words) - len(set(words))


def test_repeats_are_counted_where_fingerprints_collide(fingerprints: None) -> None:
    assert TextSet.of(array(["a", "b", "a", "cc", "", "a", "cc"])).repeats() == 3


def test_texts_are_found_in_one_order_at_both_ends(fingerprints: None) -> None:
    shared = ["b", "d", "ff", "身", ""]
    one, two = array(["a", *shared]), array([*reversed(shared), "zz", "y"])
    found = array(shared[::-1])
    first, second = (TextSet.of(own).find(TextSet.of(found)) for own in (one, two))
    assert first is not None
    assert second is not None
    assert one.take(pa.array(first)).equals(two.take(pa.array(second)))
    assert set(one.take(pa.array(first)).to_pylist()) == set(shared)


@pytest.mark.parametrize("foreign", ["q", "qq"])
def test_a_text_that_is_not_there_is_not_found(fingerprints: None, foreign: str) -> None:
    assert TextSet.of(array(["a", "bb", "c"])).find(TextSet.of(array(["a", foreign]))) is None


def test_an_empty_set_is_a_set() -> None:
    empty = TextSet.of(array([]))
    assert empty.repeats() == 0
    found = TextSet.of(array(["a"])).find(empty)
    assert found is not None
    assert len(found) == 0


def test_the_buffers_of_a_slice_begin_at_its_start() -> None:
    ends, content = buffers(array(["ab", "c", "", "身"])[1:])
    assert ends.tolist() == [0, 1, 1, 4]
    assert content.tobytes() == "c身".encode()
