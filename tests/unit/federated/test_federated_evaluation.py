"""Scores of a split model and their evaluation on shares: as on pooled rows, at the stated cost."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from federated import metrics
from federated.vertical import evaluation, scoring
from federated.vertical.evaluation import EVALUATION, Evaluation, Sizes
from federated.vertical.scoring import PART_LIMIT, PIECE_ROWS, SCORE_FRACTION, open_scores, part_of_scores
from federated.vertical.settings import Family
from mpc import replicated
from mpc.errors import InputsDisagree, InvalidInput, MpcError, ValueOutOfRange
from mpc.mesh import Mesh
from mpc.replicated import costs
from mpc.testing import DeterministicRandomness, mesh_of, mesh_outcomes, run_mesh

Floats = NDArray[np.float64]
RNG = np.random.default_rng(12)
UNIT = 2**SCORE_FRACTION


def rng_of(mesh: Mesh) -> DeterministicRandomness:
    return DeterministicRandomness(bytes([mesh.rank]) * 16)


def sent_by(mesh: Mesh) -> int:
    return sum(one.stats.bytes_sent for one in mesh.channels.values())


def parts_of(owners: int, rows: int, steps: int) -> tuple[list[NDArray[np.int64]], Floats]:
    """Parts in multiples of a step, so that scores repeat, and the fitted values that they add up to."""
    parts = [np.rint(RNG.normal(0, 1.2, rows) * UNIT / steps).astype(np.int64) * steps for _ in range(owners)]
    return parts, np.sum(parts, axis=0) / UNIT


def logistic(fitted: Floats) -> Floats:
    chances: Floats = 1 / (1 + np.exp(-fitted))
    return chances


def played(sizes: Sizes, parties: int, parts: Any, label: Floats, measured: list[Any] | None = None) -> Any:
    def play(mesh: Mesh) -> Any:
        with replicated.run(mesh, EVALUATION, rng_of(mesh)) as rt:
            own = parts[rt.rank] if rt.rank < sizes.owners else None
            results = evaluation.evaluate(rt, sizes, own, label if rt.rank == 0 else None)
            told = rt.open(results, [0])
            rounds = rt.rounds
        if measured is not None:
            measured.append((rt.rank, rounds, sent_by(mesh)))
        return told

    return [play] * parties


def evaluated(sizes: Sizes, parties: int, parts: Any, label: Floats, **unit: float) -> Evaluation:
    results, *others = run_mesh(played(sizes, parties, parts, label))
    assert all(one is None for one in others)
    return evaluation.opened(sizes, results, **unit)


def test_parts_add_up_to_the_fitted_values_of_pooled_rows() -> None:
    x, weights, means, deviations = (
        RNG.normal(2, 5, (3, 50)),
        np.array([1.0, -2, 0.5]),
        np.ones(3),
        np.full(3, 4.0),
    )
    own = [
        part_of_scores(
            list(x[some]), ["c"] * len(x[some]), means[some], deviations[some], weights[some], start
        )
        for some, start in ((slice(0, 1), -0.25), (slice(1, 3), 0.0))
    ]
    np.testing.assert_allclose(np.sum(own, axis=0) / UNIT, weights @ ((x - 1) / 4) - 0.25, atol=1 / UNIT)


@pytest.mark.parametrize(
    ("column", "words"),
    [
        ([1.0, np.nan, np.inf], "column income: 2 of 3 values are missing or not finite"),
        ([0.0, 300.0, -300.0], "scores: 2 of 3 values are not below 256, unlike rows trained on"),
    ],
)
def test_rows_that_cannot_be_scored_are_refused_by_count(column: list[float], words: str) -> None:
    one = np.ones(1)
    with pytest.raises(ValueOutOfRange, match=words):
        part_of_scores([np.array(column)], ["income"], one * 0, one, one, 0.0)


@pytest.mark.parametrize(("owners", "rows"), [(2, 9), (3, PIECE_ROWS + 3), (5, 4)])
def test_the_label_holder_gets_sums_at_the_stated_cost(owners: int, rows: int) -> None:
    parts, fitted = parts_of(owners, rows, 1)

    def play(mesh: Mesh) -> Any:
        scores = open_scores(mesh, parts[mesh.rank], rng_of(mesh))
        assert sent_by(mesh) == scoring.bytes_sent(mesh.rank, owners, rows)
        assert sum(one.stats.rounds for one in mesh.channels.values()) == scoring.rounds(owners)
        return scores

    first, *others = run_mesh([play] * owners)
    np.testing.assert_array_equal(first, fitted)
    assert others == [None] * (owners - 1)


def test_what_a_third_owner_sends_is_masked_and_changed_sums_are_refused() -> None:
    parts = [np.zeros(40, dtype=np.int64)] * 3
    seen: list[bytes] = []

    def tap(sender: int, receiver: int, message: str, payload: bytes) -> bytes | None:
        if not message.endswith("/masked"):
            return None
        seen.append(payload[24:])
        return payload[:-1] + bytes([payload[-1] ^ 1])

    play = [lambda mesh: open_scores(mesh, parts[mesh.rank], rng_of(mesh))] * 3
    ended = mesh_outcomes(play, mesh_of(3, tap=tap, timeout_s=3))
    assert all(isinstance(end, MpcError) for end in ended)
    assert all(np.count_nonzero(np.frombuffer(one, "<u8")) > 35 for one in seen)


def test_owners_with_other_numbers_of_rows_are_refused() -> None:
    play = [lambda mesh: open_scores(mesh, np.zeros(4 + mesh.rank, dtype=np.int64), rng_of(mesh))] * 2
    assert all(isinstance(end, InputsDisagree) for end in mesh_outcomes(play))
    with pytest.raises(InvalidInput, match="at least two owners"):
        open_scores(Mesh(0, b"s", {}), np.zeros(1, dtype=np.int64), DeterministicRandomness(bytes(16)))


@pytest.mark.parametrize(("owners", "parties", "steps"), [(2, 3, 1024), (4, 4, 1)])
def test_a_logistic_model_is_evaluated_as_on_pooled_rows(owners: int, parties: int, steps: int) -> None:
    rows = 301
    parts, fitted = parts_of(owners, rows, steps)
    label = (RNG.random(rows) < logistic(fitted)).astype(np.float64)
    found = evaluated(Sizes(Family.LOGISTIC, rows, owners, 7), parties, parts, label)
    assert found.auc == pytest.approx(metrics.auc(fitted, label), abs=1e-12)
    assert found.ks == pytest.approx(metrics.ks(fitted, label), abs=1e-12)
    assert found.brier == pytest.approx(metrics.brier(logistic(fitted), label), abs=0.0032)
    assert found.errors is None
    assert found.binned.rows.tolist() == [43] * 7
    # Rows of equal score at an edge are split in the order in which they stand.
    order = np.argsort(-fitted, kind="stable")
    np.testing.assert_array_equal(found.binned.labels, label[order].reshape(7, 43).sum(axis=1))
    chances = logistic(fitted)[order].reshape(7, 43).mean(axis=1)
    np.testing.assert_allclose(found.binned.scores / 43, chances, atol=0.0032)


def test_scores_beyond_the_reach_of_the_logistic_function_count_as_certain() -> None:
    fitted = np.concatenate([np.full(20, 200.0), np.linspace(-2, 2, 20), np.full(20, -200.0)])
    label = (fitted > 0).astype(np.float64)
    parts = [np.rint(fitted / 2 * UNIT).astype(np.int64)] * 2
    found = evaluated(Sizes(Family.LOGISTIC, 60, 2, 3), 3, parts, label)
    assert (found.auc, found.ks) == (1, 1)
    np.testing.assert_allclose(found.binned.scores, [20, 10, 0], atol=20 * 0.0032)


@pytest.mark.parametrize(("owners", "parties"), [(2, 3), (4, 4)])
def test_a_linear_model_is_evaluated_as_on_pooled_rows(owners: int, parties: int) -> None:
    parts, fitted = parts_of(owners, 300, 1)
    label: Floats = fitted + RNG.normal(size=300)
    found = evaluated(Sizes(Family.LINEAR, 300, owners, 4), parties, parts, label, mean=7.0, deviation=3.0)
    expected = metrics.regression(3 * fitted + 7, 3 * label + 7)
    assert found.errors is not None
    assert (found.auc, found.ks, found.brier) == (None, None, None)
    np.testing.assert_allclose(
        [found.errors.mse, found.errors.mae, found.errors.r2],
        [expected.mse, expected.mae, expected.r2],
        rtol=1e-3,
    )
    bins = metrics.Binned.of(3 * fitted + 7, 3 * label + 7, 4)
    np.testing.assert_allclose(found.binned.labels, bins.labels, rtol=1e-3)
    np.testing.assert_allclose(found.binned.scores, bins.scores, rtol=1e-3)


@pytest.mark.parametrize(("owners", "parties"), [(2, 3), (4, 4)])
def test_a_poisson_model_is_evaluated_as_on_pooled_rows(owners: int, parties: int) -> None:
    parts, fitted = parts_of(owners, 300, 1)
    parts, fitted = [part // 4 for part in parts], fitted / 4
    expected_counts = 2.5 * np.exp(fitted)
    label: Floats = RNG.poisson(expected_counts).astype(np.float64)
    found = evaluated(Sizes(Family.POISSON, 300, owners, 4), parties, parts, label / 2.5, deviation=2.5)
    expected = metrics.regression(expected_counts, label)
    assert found.errors is not None
    assert (found.auc, found.ks, found.brier) == (None, None, None)
    np.testing.assert_allclose(
        [found.errors.mse, found.errors.mae, found.errors.r2],
        [expected.mse, expected.mae, expected.r2],
        rtol=0.02,
    )
    bins = metrics.Binned.of(expected_counts, label, 4)
    np.testing.assert_allclose(found.binned.labels, bins.labels, rtol=0.05)
    np.testing.assert_allclose(found.binned.scores, bins.scores, rtol=0.01)


@pytest.mark.parametrize("family", list(Family))
@pytest.mark.parametrize(("owners", "parties"), [(2, 3), (4, 4)])
@pytest.mark.parametrize(("rows", "bins"), [(40, 4), (65, 1)])
def test_rounds_and_bytes_are_those_of_the_formulas(
    family: Family, owners: int, parties: int, rows: int, bins: int
) -> None:
    parts, _ = parts_of(owners, rows, 1)
    label = (RNG.random(rows) < 0.5).astype(np.float64)
    sizes = Sizes(family, rows, owners, bins)
    measured: list[Any] = []
    run_mesh(played(sizes, parties, parts, label, measured))
    spent, whole = evaluation.cost(sizes, parties) + costs.opened(sizes.results, [0]), costs.run(parties)
    assert len(measured) == parties
    for rank, rounds, sent in measured:
        assert rounds == spent.rounds + whole.rounds
        assert sent == evaluation.sent(sizes, spent, rank) + (whole.sent[0] if rank < 3 else whole.outside)


@pytest.mark.parametrize("name", ["keys", "input", "product", "planes", "shuffle", "open", "confirm"])
def test_a_changed_message_ends_the_run_without_output(name: str) -> None:
    parts, _ = parts_of(2, 20, 1)
    changed: list[str] = []

    def tap(sender: int, receiver: int, message: str, payload: bytes) -> bytes | None:
        if message.endswith(f"/{name}") and not changed:
            changed.append(message)
            return bytes([payload[0] ^ 1]) + payload[1:]
        return None

    roles = played(Sizes(Family.LOGISTIC, 20, 2, 2), 3, parts, np.arange(20) % 2.0)
    ended = mesh_outcomes(roles, mesh_of(3, tap=tap, timeout_s=3))
    assert changed
    assert all(isinstance(end, MpcError) for end in ended)


def test_what_does_not_fit_the_sizes_is_refused() -> None:
    parts, _ = parts_of(2, 20, 1)
    for label, error in ((np.zeros(19), InvalidInput), (np.full(20, float(PART_LIMIT)), ValueOutOfRange)):
        ended = mesh_outcomes(played(Sizes(Family.LINEAR, 20, 2, 2), 3, parts, label))
        assert isinstance(ended[0], error)
        assert all(isinstance(end, Exception) for end in ended)
    with pytest.raises(InvalidInput, match="1 to 20 bins, got 21"):
        Sizes(Family.LOGISTIC, 20, 2, 21)
    with pytest.raises(InvalidInput, match="expected at most 29026 rows of 16 owners, got 30000"):
        Sizes(Family.LINEAR, 30_000, 16, 10)
