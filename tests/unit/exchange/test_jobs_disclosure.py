"""Output checks: dominance and p-percent of the worst possible group, rounding, what is left out."""

from __future__ import annotations

from itertools import combinations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from exchange.errors import InvalidRequest
from exchange.jobs.disclosure import (
    ComplementarySuppression,
    Dominated,
    OutputRules,
    RoundTo,
    check_dominance,
    check_suppressed,
    rounded,
)

VALUES = st.lists(st.integers(-50, 50), min_size=3, max_size=7)


def passes(rules: OutputRules, values: list[int], people: int) -> bool:
    try:
        check_dominance(rules, np.array(values, dtype=np.int64), people, "x")
    except Dominated:
        return False
    return True


@given(VALUES, st.integers(2, 4), st.integers(1, 3), st.integers(1, 99))
@settings(max_examples=200, deadline=None)
def test_dominance_is_judged_by_the_worst_group_of_that_size(
    values: list[int], people: int, n: int, percent: int
) -> None:
    people = min(people, len(values))

    def is_dominated(group: tuple[int, ...]) -> bool:
        sizes = sorted((abs(one) for one in group), reverse=True)
        return 100 * sum(sizes[:n]) > percent * sum(sizes)

    rules = OutputRules(dominance_n=n, dominance_percent=percent)
    assert passes(rules, values, people) is not any(map(is_dominated, combinations(values, people)))


@given(VALUES, st.integers(2, 4), st.integers(1, 99))
@settings(max_examples=200, deadline=None)
def test_the_p_percent_rule_is_judged_by_the_worst_group(
    values: list[int], people: int, percent: int
) -> None:
    people = min(people, len(values))

    def tells(group: tuple[int, ...]) -> bool:
        largest, _, *rest = sorted((abs(one) for one in group), reverse=True)
        return 100 * sum(rest) < percent * largest

    assert passes(OutputRules(p_percent=percent), values, people) is not any(
        map(tells, combinations(values, people))
    )


def test_without_a_rule_nothing_is_checked() -> None:
    assert passes(OutputRules.NONE, [10**15, 0, 0], 2)


@given(st.integers(-(10**12), 10**12), st.integers(1, 10**6))
def test_rounding_is_to_the_nearest_multiple(value: int, base: int) -> None:
    got = int(rounded(np.array([value], dtype=np.int64), base)[0])
    assert got % base == 0
    assert 2 * abs(got - value) <= base


@pytest.mark.parametrize(("left_out", "fine"), [(0, True), (1, False), (9, False), (10, True)])
def test_what_is_left_out_is_nobody_or_a_cohort(left_out: int, fine: bool) -> None:
    counts = np.array([30, -1], dtype=np.int64)
    if fine:
        check_suppressed(30 + left_out, counts, 10)
    else:
        with pytest.raises(ComplementarySuppression):
            check_suppressed(30 + left_out, counts, 10)


def test_rules_are_read_back_as_they_were() -> None:
    rounding = (RoundTo("balance", "0.5"),)
    rules = OutputRules(dominance_n=2, dominance_percent=80, round_to=rounding, review=True)
    assert OutputRules.parse(rules.as_json()) == rules
    assert OutputRules.parse({}) == OutputRules.NONE
    assert (rules.base_of("balance", 2), rules.base_of("other", 2)) == (50, 1)


@pytest.mark.parametrize(
    ("value", "words"),
    [
        ({"p_percent": 100}, "p_percent"),
        ({"dominance_n": 0}, "dominance_n"),
        ({"dominance_percent": -1}, "dominance_percent"),
        ({"round_counts": 0}, "round_counts"),
        ({"round_to": [{"column": "a", "base": "0"}]}, "round_to.base"),
        ({"round_to": [{"column": "a", "base": "-1"}]}, "round_to"),
        ({"round_to": [{"column": "a", "base": "1"}, {"column": "a", "base": "2"}]}, "round_to"),
        ({"review": 1}, "review"),
        ({"surprise": True}, "surprise"),
    ],
)
def test_odd_rules_are_refused_by_name(value: dict[str, object], words: str) -> None:
    with pytest.raises(InvalidRequest, match=words):
        OutputRules.parse(value)


def test_a_base_finer_than_the_kept_digits_is_refused() -> None:
    with pytest.raises(InvalidRequest, match="base"):
        OutputRules(round_to=(RoundTo("a", "0.25"),)).base_of("a", 1)
