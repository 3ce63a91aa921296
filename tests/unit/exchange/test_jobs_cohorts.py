"""Cohorts of releases: by how few people two of them differ, over groups and all groups together."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from exchange.errors import InvalidRequest
from exchange.jobs.cohorts import LEFT_OUT, Cohort, smallest_difference
from mpc.errors import SecretNotSerialisable

KEY = b"k" * 32
PEOPLE = st.dictionaries(st.integers(0, 14), st.sampled_from([LEFT_OUT, 0, 1, 2]), max_size=15)


def cohort(groups: dict[int, int]) -> Cohort:
    names = [b"person %d" % number for number in groups]
    return Cohort.of(names, np.array(list(groups.values()), dtype=np.int64), KEY)


def figures(groups: dict[int, int]) -> list[set[int]]:
    """The people behind each figure, by plain sets."""
    found = [{one for one, at in groups.items() if at == group} for group in (0, 1, 2)]
    return [people for people in [*found, set().union(*found)] if people]


@given(PEOPLE, PEOPLE)
@settings(max_examples=200, deadline=None)
def test_the_smallest_difference_is_that_of_plain_sets(new: dict[int, int], old: dict[int, int]) -> None:
    differences = [len(one ^ other) for one in figures(new) for other in figures(old)]
    expected = min((size for size in differences if size), default=0)
    assert smallest_difference(cohort(new), cohort(old)) == expected


@given(PEOPLE)
@settings(max_examples=50, deadline=None)
def test_a_cohort_is_read_back_as_it_was(groups: dict[int, int]) -> None:
    made = cohort(groups)
    again = Cohort.decode(made.encode())
    assert np.array_equal(again.people, made.people)
    assert np.array_equal(again.groups, made.groups)
    assert np.all(np.diff(made.people.astype(object)) > 0)


def test_identical_groups_reveal_nothing_new_and_one_person_more_does() -> None:
    first = {number: number % 3 for number in range(30)}
    assert smallest_difference(cohort(first), cohort(first)) == 20  # one group against another
    single = dict.fromkeys(range(30), 0)
    assert smallest_difference(cohort(single), cohort(single)) == 0
    assert smallest_difference(cohort({**single, 30: 0}), cohort(single)) == 1
    assert smallest_difference(cohort({**single, 30: LEFT_OUT}), cohort(single)) == 0


def test_hashes_depend_on_the_key_and_nothing_prints() -> None:
    groups = np.zeros(1, dtype=np.int64)
    one, other = (Cohort.of([b"jane"], groups, key).people for key in (b"a" * 32, b"b" * 32))
    assert one != other
    made = Cohort.of([b"jane"], groups, KEY)
    assert repr(made) == "<Cohort: not shown>"
    with pytest.raises(SecretNotSerialisable):
        made.__reduce_ex__(2)


@pytest.mark.parametrize("raw", [b"", b"cohort/2", b"cohort/1x", cohort({1: 0}).encode()[:-1]])
def test_other_bytes_are_no_cohort(raw: bytes) -> None:
    with pytest.raises(InvalidRequest):
        Cohort.decode(raw)
