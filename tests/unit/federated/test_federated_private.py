"""Federated averaging with private rows: what a row can change, what is drawn, and what is told."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from federated.horizontal import (
    SPEC,
    Columns,
    Family,
    Guard,
    Private,
    Settings,
    Table,
    Terms,
    Trained,
    aggregate,
    costs,
    predicted,
    train,
)
from federated.horizontal.encoding import LIMBS
from federated.horizontal.models import clipped_gradients, initial, losses_and_gradient
from federated.horizontal.private import UNITS, bounded, private_update, sampled, scales_within, sensitivity
from mpc.aggregation import secagg
from mpc.errors import InvalidInput, MpcError
from mpc.mesh import Mesh
from mpc.randomness import SystemRandomness
from mpc.testing import DeterministicRandomness, mesh_of, mesh_outcomes

Floats = NDArray[np.float64]
NAMES = ("debt", "income")
LABEL = "late"
SESSION = b"a run with private rows"
PRIVATE = Private((0.0, -5.0, 0.0), (100.0, 5.0, 1.0), clip=1.0, sample=200_000, steps=3)
SETTINGS = Settings(Family.LOGISTIC, rounds=2, rate=0.5, private=PRIVATE)


def silent(sensitivity: int, count: int) -> NDArray[np.int64]:
    """No noise: for tests of everything else."""
    return np.zeros(count, dtype=np.int64)


def table_of(number: int, rows: int = 120) -> Table:
    draw = np.random.default_rng(number)
    x = draw.uniform([-10, -6], [110, 6], (rows, 2))
    label = (draw.random(rows) < 1 / (1 + np.exp(-(x[:, 0] - 50) / 20 + x[:, 1] / 2))).astype(np.float64)
    return Table(NAMES, x, LABEL, label)


TABLES = {number: table_of(number) for number in (1, 2, 3)}


def run(
    settings: Settings = SETTINGS,
    noise: Callable[[int, int], NDArray[np.int64]] | None = silent,
    *,
    tap: Callable[[int, int, str, bytes], bytes | None] | None = None,
    meshes: list[Mesh] | None = None,
    tables: dict[int, Table] = TABLES,
) -> list[Any]:
    """Rank 0 is the aggregator; what each role returned or raised."""
    count = len(tables)
    terms, columns = Terms(SPEC, count, 3, SESSION, 4.0), Columns((*NAMES, LABEL), 1)

    def play(mesh: Mesh) -> Any:
        if mesh.rank == 0:
            return aggregate(mesh.channels, terms, settings, columns)
        others = {rank: channel for rank, channel in mesh.channels.items() if rank}
        rng = DeterministicRandomness(bytes([mesh.rank]) * 16)
        table = tables[mesh.rank]
        own = mesh.channels[0]
        return train(own, others, terms, mesh.rank, settings, columns, table, rng, noise=noise)

    return mesh_outcomes([play] * (count + 1), meshes or mesh_of(count + 1, SESSION, tap=tap))


def model_of(ended: list[Any]) -> Trained:
    first: Trained
    first, *others = ended
    assert all(isinstance(end, Trained) for end in ended), ended
    for other in others:
        np.testing.assert_array_equal(other.parameters, first.parameters)
        assert (other.losses, other.rows, other.owners) == (first.losses, first.rows, first.owners)
    return first


# gradients of rows


@pytest.mark.parametrize("family", list(Family))
@pytest.mark.parametrize("hidden", [(), (4,), (3, 2)])
@pytest.mark.parametrize("largest", [0.05, 0.5, 1000.0])
def test_gradients_of_rows_are_clipped_one_by_one(
    family: Family, hidden: tuple[int, ...], largest: float
) -> None:
    settings = replace(SETTINGS, family=family, hidden=hidden)
    draw = np.random.default_rng(3)
    x, y = draw.normal(size=(20, 2)), draw.integers(0, 2, 20).astype(np.float64)
    at = initial(settings, 2, b"seed") + draw.normal(size=settings.parameters(2)) / 3
    expected, clipped = np.zeros(len(at)), 0
    for row in range(20):
        _, gradient = losses_and_gradient(settings, at, x[row : row + 1], y[row : row + 1])
        norm = float(np.linalg.norm(gradient))
        clipped += norm > largest
        expected += gradient * min(1.0, largest / norm)
    np.testing.assert_allclose(clipped_gradients(settings, at, x, y, largest), expected, atol=1e-12)
    assert (clipped > 0) == (largest < 1000)


def test_no_row_has_no_gradient() -> None:
    found = clipped_gradients(SETTINGS, np.ones(3), np.zeros((0, 2)), np.zeros(0), 1.0)
    np.testing.assert_array_equal(found, np.zeros(3))


@pytest.mark.parametrize("hidden", [(), (5,)])
def test_a_row_changes_the_sums_of_a_step_by_no_more_than_the_sensitivity(hidden: tuple[int, ...]) -> None:
    """One row is there or not, however far away it is; the sums are read from how the parameters moved."""
    private = replace(PRIVATE, sample=10**6, steps=1)
    settings = replace(SETTINGS, hidden=hidden, rate=1e-3, private=private)
    model = initial(settings, 2, b"seed") * 3
    draw = np.random.default_rng(8)
    for far in (1.0, 1e3, 1e9):
        x, y = draw.normal(size=(40, 2)), draw.integers(0, 2, 40).astype(np.float64)
        x[7] *= far
        y[7] = predicted(settings, model, x[7:8])[0] < 0  # its class is the other one
        sums = []
        for rows in (np.arange(40), np.delete(np.arange(40), 7)):
            moved = private_update(settings, private, model, x[rows], y[rows], SystemRandomness(), silent)
            sums.append(-moved / settings.rate * len(rows) * UNITS / private.clip)
        apart = float(np.linalg.norm(sums[0] - sums[1]))
        assert apart <= sensitivity(len(model))
        assert far == 1.0 or apart > UNITS / 4


def test_noise_is_added_to_the_sums_and_nowhere_else() -> None:
    private = replace(PRIVATE, sample=500_000, steps=1)
    table, model = table_of(1), np.array([0.1, -0.2, 0.3])
    features, label = scales_within(private, Family.LOGISTIC).of(bounded(private, table))
    drawn = np.array([5, -(2**22), 2**30], dtype=np.int64)
    asked = []

    def noise(sensitivity: int, count: int) -> NDArray[np.int64]:
        asked.append((sensitivity, count))
        return drawn

    moved = [
        private_update(
            replace(SETTINGS, rate=1e-4, clip=16),
            private,
            model,
            features,
            label,
            DeterministicRandomness(bytes(16)),
            one,
        )
        for one in (silent, noise)
    ]
    expected = -1e-4 * drawn / UNITS / (120 * 0.5)
    np.testing.assert_allclose(moved[1] - moved[0], expected, rtol=1e-6, atol=1e-16)
    assert asked == [(UNITS + 4, 3)]


# which rows are drawn


@pytest.mark.parametrize("sample", [1_000, 200_000, 900_000])
def test_each_row_is_drawn_with_the_stated_chance_and_independently(sample: int) -> None:
    rng, times = DeterministicRandomness(b"which rows draw."), 400
    drawn = np.zeros((times, 500))
    for time in range(times):
        drawn[time, sampled(500, sample, rng)] = 1
    chance = sample / 1e6
    spread = np.sqrt(chance * (1 - chance))
    assert abs(drawn.mean() - chance) < 5 * spread / np.sqrt(drawn.size)
    sizes = drawn.sum(axis=1)
    # Of independent draws the size of a step varies; of a fixed size it would not.
    assert sizes.var() == pytest.approx(500 * spread**2, rel=0.5)
    assert abs((drawn[:, 0] * drawn[:, 1]).mean() - chance**2) < 5 * spread / np.sqrt(times)


def test_all_rows_are_drawn_where_the_chance_is_one() -> None:
    np.testing.assert_array_equal(sampled(5, 10**6, SystemRandomness()), np.arange(5))


# runs


def test_without_noise_and_sampling_it_is_gradient_descent_on_pooled_rows() -> None:
    private = replace(PRIVATE, clip=16.0, sample=10**6, steps=1)
    settings = replace(SETTINGS, rounds=6, private=private)
    found = model_of(run(settings))
    rows = np.concatenate([table.features for table in TABLES.values()])
    y = np.concatenate([table.label for table in TABLES.values()])
    x = np.column_stack(
        [np.ones(len(y)), np.clip(rows[:, 0], 0, 100) / 50 - 1, np.clip(rows[:, 1], -5, 5) / 5]
    )
    w = np.zeros(3)
    for _ in range(6):
        w -= 0.5 * x.T @ (1 / (1 + np.exp(-x @ w)) - y) / len(y)
    np.testing.assert_allclose(found.parameters, w, atol=1e-5)
    assert found.scales.means.tolist() == [50.0, 0.0, 0.0]
    assert found.scales.deviations.tolist() == [50.0, 5.0, 1.0]
    assert (found.losses, found.rows) == ((), 360)


def test_every_owner_draws_its_own_noise_for_every_step() -> None:
    draws = []
    generator = np.random.default_rng(1)

    def noise(sensitivity: int, count: int) -> NDArray[np.int64]:
        found = np.rint(generator.normal(0, sensitivity, count)).astype(np.int64)
        draws.append(tuple(found.tolist()))
        return found

    model_of(run(noise=noise))
    assert len(set(draws)) == 3 * SETTINGS.rounds * PRIVATE.steps


def test_nothing_is_entered_but_rows_and_updates(monkeypatch: pytest.MonkeyPatch) -> None:
    real, entered = secagg.owner, list[int]()

    def play(channel: Any, vector: Any, **more: Any) -> Any:
        entered.append(len(vector))
        return real(channel, vector, **more)

    monkeypatch.setattr(secagg, "owner", play)
    model_of(run())
    assert sorted(entered) == sorted([*[LIMBS + 3] * 3 * SETTINGS.rounds, *[LIMBS] * 3])


def test_a_linear_label_is_scaled_by_its_bounds() -> None:
    private = replace(PRIVATE, lower=(0.0, -5.0, 10.0), upper=(100.0, 5.0, 20.0), clip=16.0, sample=10**6)
    settings = replace(SETTINGS, family=Family.LINEAR, private=private)
    tables = {number: replace(table, label=table.label * 30) for number, table in TABLES.items()}
    found = model_of(run(settings, tables=tables))
    assert (found.scales.means[-1], found.scales.deviations[-1]) == (15.0, 5.0)
    np.testing.assert_array_equal(np.unique(bounded(private, tables[1]).label), [10.0, 20.0])


def test_an_owner_may_leave() -> None:
    def tap(sender: int, receiver: int, label: str, payload: bytes) -> None:
        if sender == 2 and label.endswith("/masked"):
            raise ConnectionError

    ended = run(tables={**TABLES, 4: table_of(4)}, tap=tap)
    assert isinstance(ended.pop(2), ConnectionError)
    assert model_of(ended).owners == (1, 3, 4)


def test_owners_do_not_judge_models_where_rows_are_private() -> None:
    with pytest.raises(InvalidInput, match="guard"):
        replace(SETTINGS, guard=Guard(20, 1.0))


def test_noise_that_is_missing_or_out_of_place_is_refused() -> None:
    for settings, noise in ((SETTINGS, None), (replace(SETTINGS, private=None), silent)):
        ended = run(settings, noise)
        assert all(isinstance(end, InvalidInput) and "noise" in str(end) for end in ended[1:])
        assert isinstance(ended[0], MpcError)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"clip": 0.0}, "clip of a row"),
        ({"clip": -1.0}, "clip of a row"),
        ({"clip": np.nan}, "clip of a row"),
        ({"clip": 17.0}, "clip of a row"),
        ({"sample": 0}, "sample"),
        ({"sample": 10**6 + 1}, "sample"),
        ({"steps": 0}, "steps"),
        ({"upper": (0.0, 5.0, 1.0)}, "bounds"),
        ({"lower": (-np.inf, 0.0, 0.0)}, "bounds"),
        ({"upper": (np.nan, 5.0, 1.0)}, "bounds"),
    ],
)
def test_settings_out_of_range_are_refused(change: dict[str, Any], words: str) -> None:
    with pytest.raises(InvalidInput, match=words):
        replace(PRIVATE, **change)


@pytest.mark.parametrize("rounds", [1, 3])
def test_measured_rounds_and_bytes_are_the_declared_ones(rounds: int) -> None:
    meshes, settings = mesh_of(4, SESSION), replace(SETTINGS, rounds=rounds)
    model_of(run(settings, meshes=meshes))
    for rank, mesh in enumerate(meshes):
        stats = [channel.stats for channel in mesh.channels.values()]
        role, times = ("owner", 1) if rank else ("aggregator", 3)
        assert sum(one.bytes_sent for one in stats) == times * costs.sent(role, 3, 2, settings)
        assert sum(one.rounds for one in stats) == times * costs.receiving_phases(role, 3, settings)
    received = sum(channel.stats.bytes_received for channel in meshes[1].channels.values())
    assert received == costs.sent("aggregator", 3, 2, settings) + costs.compared(3, settings)
