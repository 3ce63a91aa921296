"""Fixed-point encoding: exact rounding and refusals."""

from __future__ import annotations

from decimal import Decimal

import numpy as np
import pytest

from mpc import fixed_point
from mpc.errors import InvalidInput, ValueOutOfRange


def test_ties_go_to_the_even_neighbour() -> None:
    values = [Decimal("0.005"), Decimal("0.015"), Decimal("-0.005"), Decimal("-0.015"), 3]
    assert fixed_point.encode(values, 2).tolist() == [0, 2, 0, -2, 300]
    assert fixed_point.encode(np.array([0.5, 1.5, 2.5, -0.5, -1.5]), 0).tolist() == [0, 2, 2, 0, -2]


def test_floats_are_taken_as_the_binary_fraction_they_hold() -> None:
    # 2.675 is stored below, 0.125 exactly, 1.005 below, 0.145 below its decimal form.
    assert fixed_point.encode(np.array([2.675, 0.125, 1.005, 0.145]), 2).tolist() == [267, 12, 100, 14]


def test_large_and_tiny_values() -> None:
    assert fixed_point.encode(np.array([9e16, -9e16, 1e-300]), 2).tolist() == [9 * 10**18, -9 * 10**18, 0]
    assert fixed_point.encode([Decimal("1e-400"), Decimal(2**63 - 1)], 0).tolist() == [0, 2**63 - 1]
    assert fixed_point.encode(np.array([2**63 - 1, -(2**63) + 1]), 0).tolist() == [2**63 - 1, -(2**63) + 1]
    assert fixed_point.encode(np.array([[1, 2], [3, 4]], dtype=np.uint8), 9)[1, 1] == 4 * 10**9


@pytest.mark.parametrize(
    "values",
    [
        np.array([np.inf, 1.0]),
        np.array([np.nan, 1.0]),
        np.array([1e17, 1.0]),
        np.array([-1e308, 1.0]),
        np.array([2**62, 1]),
        np.array([-(2**63), 1]),
        np.array([2**63, 1], dtype=np.uint64),
        [Decimal("NaN"), 1],
        [Decimal("-Infinity"), 1],
        [Decimal("1e400"), 1],
        [2**62, 1],
    ],
    ids=repr,
)
def test_what_does_not_fit_is_refused_and_counted(values: object) -> None:
    with pytest.raises(ValueOutOfRange, match=r"^1 of 2 values"):
        fixed_point.encode(values, 2)  # type: ignore[arg-type]


@pytest.mark.parametrize("decimals", [-1, 10])
def test_decimals_outside_the_range_are_refused(decimals: int) -> None:
    with pytest.raises(InvalidInput):
        fixed_point.encode([1], decimals)
    with pytest.raises(InvalidInput):
        fixed_point.decode(np.zeros(1, dtype=np.int64), decimals)


def test_other_arrays_are_refused() -> None:
    for array in (np.array(["1"]), np.zeros(1, dtype=np.float32), np.array([True])):
        with pytest.raises(InvalidInput):
            fixed_point.encode(array, 2)


def test_decoding_keeps_shape_and_decimals() -> None:
    decoded = fixed_point.decode(np.array([[-5, 100], [0, 2**63 - 1]]), 2)
    assert decoded.shape == (2, 2)
    assert [str(value) for value in decoded.flat] == ["-0.05", "1.00", "0.00", "92233720368547758.07"]
