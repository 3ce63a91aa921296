"""Matrix products, their truncation, logistic, exponential and logarithm on shares, within their errors."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from mpc import replicated
from mpc.errors import InvalidInput
from mpc.mesh import Mesh
from mpc.replicated import SPEC, Runtime, Shared, exponential, logarithm, logistic
from mpc.testing import DeterministicRandomness, mesh_outcomes, run_mesh


def opened(inputs: list[NDArray[np.int64]], program: Any) -> NDArray[np.int64]:
    """What party 2 learns of a program over inputs of the parties 0 and 1."""

    def play(mesh: Mesh) -> Any:
        with replicated.run(mesh, SPEC, DeterministicRandomness(bytes([mesh.rank]) * 16)) as rt:
            shared = [
                rt.share(owner, values if owner == rt.rank else None, values.shape)
                for owner, values in enumerate(inputs)
            ]
            return rt.open(program(rt, shared), [2])

    return np.asarray(run_mesh([play] * 3)[2])


@settings(max_examples=25, deadline=None)
@given(
    sizes=st.tuples(st.integers(1, 5), st.integers(1, 40), st.integers(1, 5)),
    bits=st.integers(1, 30),
    seed=st.integers(0, 2**32),
)
def test_a_truncated_matrix_product_is_within_one_of_the_exact_one(
    sizes: tuple[int, int, int], bits: int, seed: int
) -> None:
    rng = np.random.default_rng(seed)
    left, right = (rng.integers(-(2**27), 2**27, (side, sizes[1])) for side in (sizes[0], sizes[2]))

    def program(rt: Runtime, xs: list[Shared]) -> Shared:
        return rt.quotient(rt.dot(*xs), 2**bits)

    exact = left @ right.T
    error = np.abs(opened([left, right], program) * 2**bits - exact)
    assert error.max() <= 2**bits


@pytest.mark.parametrize("fraction", [7, 20, 34, 50])
def test_the_logistic_function_is_within_its_error(fraction: int) -> None:
    x = np.linspace(-logistic.REACH, logistic.REACH, 4001)
    encoded = np.rint(x * 2.0**fraction).astype(np.int64)
    got = opened([encoded], lambda rt, xs: rt.sigmoid(xs[0], fraction)) * 2.0**-logistic.FRACTION
    exact = 1 / (1 + np.exp(-encoded * 2.0**-fraction))
    assert np.abs(got + 0.5 - exact).max() < logistic.ERROR
    assert np.abs(got + 0.5 - exact).max() > 0.002


@pytest.mark.parametrize("fraction", [7, 20, 34, 50])
def test_the_exponential_function_is_within_its_error(fraction: int) -> None:
    x = np.linspace(-exponential.REACH, exponential.REACH, 4001)
    encoded = np.trunc(x * 2.0**fraction).astype(np.int64)
    got = opened([encoded], lambda rt, xs: rt.exponential(xs[0], fraction)) * 2.0**-exponential.FRACTION
    error = np.abs(got - np.exp(encoded * 2.0**-fraction)).max()
    assert 0.0002 < error < exponential.ERROR


def test_beyond_its_reach_the_exponential_function_is_wrong_but_bounded() -> None:
    x = np.linspace(-40, 40, 4001)
    encoded = np.rint(x * 2.0**20).astype(np.int64)
    got = opened([encoded], lambda rt, xs: rt.exponential(xs[0], 20)) * 2.0**-exponential.FRACTION
    assert 0 < got.min() < got.max() < 750


@pytest.mark.parametrize("grows", [False, True])
def test_a_matrix_or_a_fraction_that_has_no_period_is_refused(grows: bool) -> None:
    x = np.ones((2, 2), dtype=np.int64)
    for values, fraction in ((x, 20), (x[0], 6), (x[0], 58)):

        def play(mesh: Mesh, values: Any = values, fraction: int = fraction) -> object:
            with replicated.run(mesh, SPEC, DeterministicRandomness(bytes([mesh.rank]) * 16)) as rt:
                return (rt.exponential if grows else rt.sigmoid)(rt.constant(values), fraction)

        assert all(isinstance(end, InvalidInput) for end in mesh_outcomes([play] * 3))


@pytest.mark.parametrize("bits", [2, 11, 25, 26, logarithm.MAX_BITS])
def test_the_logarithm_is_within_its_error(bits: int) -> None:
    spread = np.unique(np.exp(np.linspace(0, bits * np.log(2), 500)).astype(np.int64))
    near = [2**place + step for place in range(bits) for step in (-1, 0, 1)]
    x = np.unique([*spread, *near])
    x = x[(x >= 1) & (x < 2**bits)]
    got = opened([x], lambda rt, xs: logarithm.logarithm(rt, xs[0], bits=bits)) * 2.0**-logarithm.FRACTION
    assert np.abs(got - np.log(x)).max() < logarithm.ERROR


@pytest.mark.parametrize("bits", [1, logarithm.MAX_BITS + 1])
def test_a_logarithm_of_too_many_bits_is_refused(bits: int) -> None:
    def play(mesh: Mesh) -> object:
        with replicated.run(mesh, SPEC, DeterministicRandomness(bytes([mesh.rank]) * 16)) as rt:
            return logarithm.logarithm(rt, rt.constant(np.ones(2, dtype=np.int64)), bits=bits)

    assert all(isinstance(end, InvalidInput) for end in mesh_outcomes([play] * 3))
