"""Bins, how they are joined, weight of evidence and information value."""

from __future__ import annotations

from fractions import Fraction
from itertools import pairwise, product
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from federated.binning import Bins, Missing, category_bins, edge_bins, groups_of, quantile_bins
from federated.merging import by_chi_square, monotone, optimal, summed
from federated.woe import EMPTY, information_value, weights_of_evidence
from mpc.errors import InvalidInput, ValueOutOfRange

NAN = float("nan")
RNG = np.random.default_rng(12)


def counts(*numbers: int) -> Any:
    return np.array(numbers, dtype=np.int64)


def marks(*starts: int) -> Any:
    return np.array(starts, dtype=np.bool_)


def test_weight_of_evidence_has_the_sign_and_the_totals_of_the_convention() -> None:
    """The figures of optbinning 1.0.0 for these counts, as it prints them."""
    others, events = counts(90, 60, 50), counts(10, 40, 50)
    expected = [1.504077, -0.287682, -0.693147]
    np.testing.assert_allclose(weights_of_evidence(events, others), expected, atol=5e-7)
    assert information_value(events, others) == pytest.approx(0.728482, abs=5e-7)


def test_an_empty_cell_counts_as_half_a_row_and_totals_stay() -> None:
    events, others = counts(0, 20), counts(30, 50)
    expected = np.log([(30 / 80) / (EMPTY / 20), (50 / 80) / (20 / 20)])
    np.testing.assert_allclose(weights_of_evidence(events, others), expected)
    for absent in (counts(0, 0), others), (others, counts(0, 0)):
        with pytest.raises(InvalidInput, match="one of the two is absent"):
            information_value(*absent)


def test_quantile_bins_hold_about_equally_many_rows() -> None:
    values = RNG.normal(size=1003)
    bins = quantile_bins(values, 10, "x")
    codes = bins.of_numbers(values, "x")
    assert bins.count == 10
    assert np.ptp(np.bincount(codes)) <= 2
    for number, edge in enumerate(bins.edges):
        assert values[codes == number + 1].min() == edge > values[codes == number].max()


@pytest.mark.parametrize(
    ("values", "count", "edges"),
    [([5.0] * 9, 4, ()), ([0.0] * 8 + [1.0], 4, ()), ([0.0] * 5 + [1.0] * 5, 4, (1.0,)), ([1, 2], 5, (2.0,))],
)
def test_repeated_values_make_fewer_bins_and_none_is_empty(
    values: list[float], count: int, edges: tuple[float, ...]
) -> None:
    bins = quantile_bins(np.array(values, dtype=float), count, "x")
    assert bins.edges == edges
    assert np.bincount(bins.of_numbers(np.array(values, dtype=float), "x"), minlength=bins.count).min() > 0


def test_rows_without_a_value_are_a_bin_of_their_own_until_it_is_joined() -> None:
    values = np.array([NAN, 1.0, 2.0, 3.0, NAN])
    bins = edge_bins(values, [2.0, 3.0], "x")
    assert bins.names() == ["missing", "(-inf, 2)", "[2, 3)", "[3, inf)"]
    assert bins.of_numbers(values, "x").tolist() == [0, 1, 2, 3, 0]
    joined = bins.merged(marks(1, 0, 1, 0))
    assert joined.names() == ["(-inf, 2) or missing", "[2, inf)"]
    assert joined.of_numbers(values, "x").tolist() == [0, 0, 1, 1, 0]
    assert bins.merged(marks(1, 1, 0, 1)).names() == ["missing", "(-inf, 3)", "[3, inf)"]
    whole = edge_bins(values[1:4], [2.0], "x")
    with pytest.raises(InvalidInput, match="column x: 2 of 5 rows have no value, and no bin"):
        whole.of_numbers(values, "x")


def test_categories_stand_from_the_rarest_on_and_join() -> None:
    labels, codes = ["b", "a", "c", "unused"], np.array([0, 0, 0, 1, 2, 2, -1])
    bins = category_bins(labels, codes, "x")
    assert bins.names() == ["missing", "a", "c", "b"]
    assert bins.of_categories(labels, codes, "x").tolist() == [3, 3, 3, 1, 2, 2, 0]
    joined = bins.merged(marks(1, 1, 0, 1))
    assert joined.names() == ["missing", "a | c", "b"]
    other_order = joined.of_categories(["c", "b"], np.array([0, 1, -1]), "x")
    assert other_order.tolist() == [1, 2, 0]
    with pytest.raises(InvalidInput, match="column x: 2 of 3 rows have a category without a bin"):
        joined.of_categories(["new", "a"], np.array([0, 0, 1]), "x")
    assert bins.merged(marks(1, 0, 1, 1)).missing is Missing.WITH_FIRST
    assert bins.reordered([2, 0, 1]).names() == ["missing", "b", "a", "c"]


@pytest.mark.parametrize(
    ("values", "error", "words"),
    [
        ([1.0, np.inf, -np.inf], ValueOutOfRange, "column x: 2 of 3 values are not finite"),
        ([NAN, NAN], InvalidInput, "column x: none of 2 rows has a value"),
    ],
)
def test_values_that_have_no_bin_are_refused(values: list[float], error: type[Exception], words: str) -> None:
    with pytest.raises(error, match=words):
        quantile_bins(np.array(values), 3, "x")
    with pytest.raises(error, match=words):
        edge_bins(np.array(values), [0.0], "x")
    with pytest.raises(InvalidInput, match="ascending"):
        edge_bins(np.array([1.0]), [2.0, 2.0], "x")
    with pytest.raises(InvalidInput, match="none of 1 rows"):
        category_bins(["a"], np.array([-1]), "x")
    with pytest.raises(InvalidInput, match="marks of 2 bins"):
        Bins((1.0,), (), Missing.NOWHERE).merged(marks(1, 1, 1))


@pytest.mark.parametrize(
    ("numbers", "least", "starts"),
    [
        ([[5, 5, 5]], 5, [1, 1, 1]),
        ([[2, 3, 5, 4]], 5, [1, 0, 1, 0]),
        ([[9, 1, 1]], 5, [1, 0, 0]),
        ([[1, 1, 1]], 5, [1, 0, 0]),
        ([[9, 0, 9, 9], [0, 9, 9, 0]], 1, [1, 0, 1, 0]),
    ],
)
def test_groups_have_enough_of_everything(numbers: list[list[int]], least: int, starts: list[int]) -> None:
    assert groups_of(np.array(numbers), least).tolist() == [bool(one) for one in starts]


def test_groups_of_random_counts_reach_the_minimum_and_no_more_could_be_cut() -> None:
    for _ in range(200):
        numbers = RNG.integers(0, 9, (2, 12))
        starts = groups_of(numbers, 6)
        if numbers.sum(axis=1).min() < 6:
            assert starts.sum() == 1
            continue
        assert summed(numbers, starts).min() >= 6
        first = numbers[:, : int(np.flatnonzero(starts)[1])] if starts.sum() > 1 else numbers[:, :-1]
        shorter = np.cumsum(first, axis=1)[:, :-1].min(axis=0)
        assert starts.sum() == 1 or not np.any(shorter >= 6)


def test_monotone_bins_follow_the_direction_that_keeps_more_information() -> None:
    events, others = counts(30, 20, 25, 10, 5), counts(70, 80, 75, 90, 95)
    starts = monotone(events, others)
    assert starts.tolist() == [True, True, False, True, True]
    woe = weights_of_evidence(summed(events, starts), summed(others, starts))
    assert np.all(np.diff(woe) > 0)
    turned, left = events[::-1], others[::-1]
    falling = monotone(turned, left)
    assert np.all(np.diff(weights_of_evidence(summed(turned, falling), summed(left, falling))) < 0)


def isotonic(events: Any, rows: Any) -> list[float]:
    """The rising fit at bin k: the largest, over runs that start up to k, of the least mean of such a run."""
    places = range(len(events))

    def mean(i: int, j: int) -> float:
        return float(events[i : j + 1].sum() / rows[i : j + 1].sum())

    return [max(min(mean(i, j) for j in places[k:]) for i in places[: k + 1]) for k in places]


def test_monotone_bins_of_random_counts_are_those_of_isotonic_regression() -> None:
    for _ in range(50):
        events, others = RNG.integers(1, 30, 8), RNG.integers(1, 30, 8)
        rows = events + others
        starts = monotone(events, others)
        sizes = np.diff([*np.flatnonzero(starts), 8])
        fitted = np.repeat(summed(events, starts) / summed(rows, starts), sizes)
        rising, falling = isotonic(events, rows), isotonic(events[::-1], rows[::-1])[::-1]
        assert np.allclose(fitted, rising) or np.allclose(fitted, falling)


def trends(events: Any, rows: Any) -> bool:
    shares = [Fraction(*map(int, one)) for one in zip(events, rows, strict=True)]
    steps = [right - left for left, right in pairwise(shares)]
    return all(step > 0 for step in steps) or all(step < 0 for step in steps)


@settings(max_examples=60, deadline=None)
@given(
    st.lists(st.tuples(st.integers(0, 9), st.integers(1, 9)), min_size=1, max_size=7).filter(
        lambda pairs: any(pair[0] for pair in pairs)
    ),
    st.integers(1, 7),
)
def test_optimal_bins_are_the_best_of_all_that_have_a_trend(
    pairs: list[tuple[int, int]], at_most: int
) -> None:
    events, others = np.array(pairs, dtype=np.int64).T
    best = max(
        information_value(summed(events, starts), summed(others, starts))
        for marks in product([True, False], repeat=len(pairs) - 1)
        for starts in [np.array([True, *marks])]
        if starts.sum() <= at_most and trends(summed(events, starts), summed(events + others, starts))
    )
    starts = optimal(events, others, at_most)
    assert starts[0]
    assert starts.sum() <= at_most
    assert trends(summed(events, starts), summed(events + others, starts))
    found = information_value(summed(events, starts), summed(others, starts))
    assert found == pytest.approx(best, rel=1e-12)


def test_optimal_bins_are_none_without_one_of_the_classes() -> None:
    with pytest.raises(InvalidInput, match="events and other rows"):
        optimal(counts(0, 0), counts(3, 4), 2)


def test_chi_square_joins_like_neighbours_and_no_more_than_asked() -> None:
    events, others = counts(10, 11, 50, 52, 90), counts(90, 89, 50, 48, 10)
    assert by_chi_square(events, others, 5).tolist() == [True, False, True, False, True]
    assert by_chi_square(events, others, 2).sum() == 2
    assert by_chi_square(events, others, 4, threshold=0).sum() == 4
    assert by_chi_square(events[:1], others[:1], 3).tolist() == [True]
    none = counts(0, 0, 5)
    assert by_chi_square(none, counts(9, 9, 1), 3).tolist() == [True, False, True]
