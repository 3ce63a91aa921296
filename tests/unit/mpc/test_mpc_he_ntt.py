"""Products modulo z^N + 1: those of the schoolbook, and sums of many of them."""

from __future__ import annotations

import numpy as np
import pytest

from mpc.errors import InvalidInput
from mpc.he.ntt import Products, Transform

PRIME = 1152921504606748673
RNG = np.random.default_rng(4)


def schoolbook(left: list[int], right: list[int]) -> list[int]:
    size = len(left)
    found = [0] * size
    for i, one in enumerate(left):
        for j, other in enumerate(right):
            sign = 1 if i + j < size else -1
            found[(i + j) % size] += sign * one * other
    return [value % PRIME for value in found]


@pytest.mark.parametrize("degree", [2, 8, 64])
@pytest.mark.parametrize("terms", [1, 128, 129, 300])
def test_sums_of_products_are_those_of_the_schoolbook(degree: int, terms: int) -> None:
    transform = Transform(degree, PRIME)
    left, right = RNG.integers(PRIME - 2**40, PRIME, (2, degree), dtype=np.uint64)
    expected = [value * terms % PRIME for value in schoolbook(left.tolist(), right.tolist())]
    total = Products((transform,), 2, 1)
    transform.forward(left)
    transform.forward(right)
    both = np.stack([right, np.zeros_like(right)])[:, None]
    for done in range(0, terms, 50):
        count = min(50, terms - done)
        total.add(np.stack([left[None, None]] * count), np.stack([both] * count))
    assert total.values()[:, 0, 0].tolist() == [expected, [0] * degree]


def test_transforming_back_and_forth_changes_nothing() -> None:
    transform = Transform(8192, PRIME)
    values = RNG.integers(0, PRIME, 8192, dtype=np.uint64)
    there = values.copy()
    transform.forward(there)
    assert not np.array_equal(there, values)
    transform.inverse(there)
    np.testing.assert_array_equal(there, values)


@pytest.mark.parametrize(("degree", "prime"), [(8192, 2**61 - 1), (6, PRIME), (8192, 65539)])
def test_moduli_without_a_transform_are_refused(degree: int, prime: int) -> None:
    with pytest.raises(InvalidInput, match="prime"):
        Transform(degree, prime)
