"""Correlations on shares: those of pooled rows, at the stated cost, closed below a threshold."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from federated.vertical import Layout, correlation, costs, standardise
from federated.vertical.correlation import (
    SPEC,
    correlate,
    correlations,
    inflation,
    own_products,
    placed,
    selected,
)
from mpc import replicated
from mpc.errors import InvalidInput, MpcError, ValueOutOfRange
from mpc.mesh import Mesh
from mpc.replicated import costs as runtime_costs
from mpc.testing import DeterministicRandomness, mesh_of, mesh_outcomes, run_mesh

Floats = NDArray[np.float64]
RNG = np.random.default_rng(5)
ROWS = 1000


def example(columns: tuple[int, ...], rows: int = ROWS) -> list[Floats]:
    """Standardised columns of each owner that go together."""
    mixed = RNG.normal(size=(sum(columns), rows)) + 0.7 * RNG.normal(size=rows)
    x = standardise(list(mixed), [str(number) for number in range(len(mixed))]).values
    edges = np.cumsum((0, *columns))
    return [x[low:high] for low, high in pairwise(edges)]


def parties(
    features: list[Floats], layout: Layout, threshold: float = 0.0, measured: list[Any] | None = None
) -> Any:
    def play(mesh: Mesh) -> Any:
        rank = mesh.rank
        with replicated.run(mesh, SPEC, DeterministicRandomness(bytes([rank]) * 16)) as rt:
            own = features[rank] if rank < len(features) else None
            found = correlate(rt, layout, own, threshold)
            rounds = rt.rounds
            sent = sum(one.stats.bytes_sent for one in mesh.channels.values())
            opened = rt.open(found, [0])
        if measured is not None:
            measured.append((rank, rounds, sent))
        return opened

    return play


def matrix_of(features: list[Floats], layout: Layout, cross: Any, threshold: float = 0.0) -> Floats:
    products = placed(layout, cross)
    edges = np.cumsum((0, *layout.columns))
    for (low, high), own in zip(pairwise(edges), features, strict=True):
        products[low:high, low:high] = own_products(layout, own, threshold)
    return correlations(layout.rows, products)


@pytest.mark.parametrize(("columns", "size"), [((3, 2), 3), ((2, 1, 2), 3), ((1, 2, 1, 1), 4)])
def test_correlations_are_those_of_pooled_rows(columns: tuple[int, ...], size: int) -> None:
    features, layout = example(columns), Layout(ROWS, columns)
    opened, *others = run_mesh([parties(features, layout)] * size)
    assert others == [None] * (size - 1)
    got = matrix_of(features, layout, opened)
    np.testing.assert_allclose(got, np.corrcoef(np.vstack(features)), atol=5e-6)
    expected = np.diag(np.linalg.inv(np.corrcoef(np.vstack(features))))
    np.testing.assert_allclose(inflation(got), expected, rtol=1e-4)


def test_chunks_of_rows_add_up(monkeypatch: pytest.MonkeyPatch) -> None:
    for module in (correlation, costs):
        monkeypatch.setattr(module, "CHUNK_ROWS", 300)
    features, layout = example((2, 2)), Layout(ROWS, (2, 2))
    measured: list[Any] = []
    opened = run_mesh([parties(features, layout, measured=measured)] * 3)[0]
    np.testing.assert_allclose(
        matrix_of(features, layout, opened), np.corrcoef(np.vstack(features)), atol=5e-6
    )
    assert {rounds for _, rounds, _ in measured} == {costs.correlation(layout).rounds + 1}
    assert costs.correlation(layout).rounds == 4 * 3


def test_correlations_below_the_threshold_stay_closed() -> None:
    features, layout = example((2, 2)), Layout(ROWS, (2, 2))
    # One column that goes against the others, and one that hardly goes with any.
    features[1][0] = -features[1][0]
    noise = RNG.normal(size=ROWS)
    features[1][1] = (noise - noise.mean()) / noise.std()
    got = matrix_of(features, layout, run_mesh([parties(features, layout, 0.2)] * 3)[0], 0.2)
    expected = np.corrcoef(np.vstack(features))
    assert np.any((expected < 0) & (expected <= -0.2))
    assert np.any(np.abs(expected) < 0.2)
    np.testing.assert_allclose(got, np.where(np.abs(expected) < 0.2, 0, expected), atol=5e-6)


@pytest.mark.parametrize("threshold", [0.0, 0.5])
@pytest.mark.parametrize(("columns", "size"), [((3, 2), 3), ((1, 2, 1, 1), 4)])
def test_rounds_and_bytes_are_those_of_the_formulas(
    threshold: float, columns: tuple[int, ...], size: int
) -> None:
    layout = Layout(300, columns)
    measured: list[Any] = []
    run_mesh([parties(example(columns, 300), layout, threshold, measured)] * size)
    cost = costs.correlation(layout, threshold)
    keys = runtime_costs.run(size)
    assert len(measured) == size
    for rank, rounds, sent in measured:
        assert rounds == cost.rounds + keys.rounds
        # What is sent before the end: the keys, without the comparison of transcripts.
        before = 16 if rank < 3 else 64
        assert sent == costs.sent(layout, cost, rank) + before


@pytest.mark.parametrize("name", ["keys", "input", "product", "planes", "open", "confirm"])
def test_a_changed_message_ends_the_run_without_output(name: str) -> None:
    layout = Layout(40, (1, 1))
    changed: list[str] = []

    def tap(sender: int, receiver: int, message: str, payload: bytes) -> bytes | None:
        if message.endswith(f"/{name}") and not changed:
            changed.append(message)
            return bytes([payload[0] ^ 1]) + payload[1:]
        return None

    play = parties(example((1, 1), 40), layout, 0.5)
    ended = mesh_outcomes([play] * 3, mesh_of(3, tap=tap, timeout_s=3))
    assert changed
    assert all(isinstance(end, MpcError) for end in ended)


@pytest.mark.parametrize("bad", [np.nan, np.inf, 128.0])
def test_a_value_that_cannot_be_encoded_is_refused_before_it_is_shared(bad: float) -> None:
    features = example((1, 1), 40)
    features[1] = features[1].copy()
    features[1][0, 7] = bad
    ended = mesh_outcomes([parties(features, Layout(40, (1, 1)))] * 3)
    assert isinstance(ended[1], ValueOutOfRange)
    assert "1 of 40" in str(ended[1])
    assert all(isinstance(end, Exception) for end in ended)


@pytest.mark.parametrize(
    ("layout", "words"), [(Layout(2**23 + 1, (1, 1)), "8388609 rows"), (Layout(40, (2, 0)), "0 columns")]
)
def test_layouts_that_do_not_fit_are_refused(layout: Layout, words: str) -> None:
    ended = mesh_outcomes([parties(example((1, 1), 40), layout)] * 3)
    assert all(isinstance(end, InvalidInput) and words in str(end) for end in ended)


def test_columns_that_others_make_up_have_no_inflation_and_the_rest_keep_theirs() -> None:
    first, second, third, fourth = RNG.normal(size=(4, ROWS))
    third = third + first
    made = first - 2 * second
    got = inflation(np.corrcoef([first, second, third, made, fourth]))
    assert np.isnan(got[[0, 1, 3]]).all()
    alone = np.diag(np.linalg.inv(np.corrcoef([first, second, third, fourth])))
    assert got[4] == pytest.approx(alone[3], rel=1e-6)


def test_inflation_is_what_a_regression_on_the_other_columns_leaves() -> None:
    x = np.vstack(example((4,)))
    for number, factor in enumerate(inflation(np.corrcoef(x))):
        others = np.delete(x, number, axis=0)
        weights = np.linalg.lstsq(others.T, x[number], rcond=None)[0]
        left = ((x[number] - weights @ others) ** 2).mean()
        assert factor == pytest.approx(1 / left, rel=1e-6)


def test_columns_are_left_out_by_inflation_until_none_exceeds_the_most() -> None:
    first, second, third = RNG.normal(size=(3, ROWS))
    near = first + 0.2 * RNG.normal(size=ROWS)
    matrix = np.corrcoef([first, near, second, third, second - third])
    stays = selected(matrix, 5)
    assert len(stays) == 3
    assert inflation(matrix[np.ix_(stays, stays)]).max() <= 5
    assert selected(matrix, 10_000) == [0, 1, *(place for place in stays if place > 1)]
    assert selected(np.ones((3, 3)), 1) == [2]
