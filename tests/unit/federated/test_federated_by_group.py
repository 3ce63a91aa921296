"""Evaluation by group on shares: as on pooled rows, small groups untold, at the stated cost."""

from __future__ import annotations

from dataclasses import replace
from itertools import pairwise
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from federated import metrics
from federated.vertical import by_group, evaluation
from federated.vertical.by_group import MAX_GROUPS, GroupFigures, Grouping, kept_groups
from federated.vertical.evaluation import EVALUATION, Sizes
from federated.vertical.scoring import SCORE_FRACTION
from federated.vertical.settings import Family
from mpc import replicated
from mpc.errors import CohortTooSmall, InvalidInput, MpcError
from mpc.mesh import Mesh
from mpc.replicated import costs
from mpc.testing import DeterministicRandomness, mesh_of, mesh_outcomes, run_mesh

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]
UNIT = 2**SCORE_FRACTION
LEAST = 15


def played(sizes: Sizes, parties: int, table: Any, measured: list[Any] | None = None) -> Any:
    parts, label, codes = table

    def play(mesh: Mesh) -> Any:
        with replicated.run(mesh, EVALUATION, DeterministicRandomness(bytes([mesh.rank]) * 16)) as rt:
            assert sizes.by is not None
            results = evaluation.evaluate(
                rt,
                sizes,
                parts[rt.rank] if rt.rank < sizes.owners else None,
                label if rt.rank == 0 else None,
                codes=codes if rt.rank == sizes.by.holder else None,
                least=LEAST,
            )
            told, rounds = rt.open(results, [0]), rt.rounds
        if measured is not None:
            sent = sum(one.stats.bytes_sent for one in mesh.channels.values())
            measured.append((rt.rank, rounds, sent))
        return told

    return [play] * parties


def table_of(owners: int, codes: Ints, steps: int = 256, slope: float = 1.0) -> tuple[Any, Floats, Floats]:
    """Parts of scores that repeat, the fitted values that they add up to, and labels of 0 and 1."""
    rng = np.random.default_rng(len(codes) + owners)
    parts = [
        np.rint(rng.normal(0, slope, len(codes)) * UNIT / steps).astype(np.int64) * steps
        for _ in range(owners)
    ]
    parts[0] += codes * 256
    fitted: Floats = np.sum(parts, axis=0) / UNIT
    label = (rng.random(len(codes)) < 1 / (1 + np.exp(-fitted))).astype(np.float64)
    return parts, fitted, label


def groups_of(sizes: Sizes, parties: int, table: Any, **unit: float) -> GroupFigures:
    results = run_mesh(played(sizes, parties, table))[0]
    found = evaluation.opened(sizes, results, **unit).groups
    assert found is not None
    return found


def histograms(sizes: Sizes, fitted: Floats, codes: Ints) -> Ints:
    """Rows of each group by bin of score; equal scores stand in the order of their rows."""
    edges = metrics.bin_edges(sizes.rows, sizes.bins)
    ranked = codes[np.argsort(-fitted, kind="stable")]
    assert sizes.by is not None
    return np.array(
        [
            [np.count_nonzero(ranked[low:high] == group) for low, high in pairwise(edges)]
            for group in range(sizes.by.groups)
        ]
    )


def index(counts: Ints, base: Ints) -> float:
    a, e = ((one + 0.5) / (one + 0.5).sum() for one in (counts, base))
    return float(np.sum((a - e) * np.log(a / e)))


@pytest.mark.parametrize(
    ("owners", "parties", "holder", "follows_first"), [(2, 3, 1, False), (3, 3, 0, True), (4, 4, 3, False)]
)
def test_figures_of_each_group_are_those_of_its_pooled_rows(
    owners: int, parties: int, holder: int, follows_first: bool
) -> None:
    codes = np.random.default_rng(owners).permutation(np.repeat([0, 1, 2, 3, -1], [90, 60, 50, 40, 21]))
    parts, fitted, label = table_of(owners, codes)
    label[(codes == 1) & (np.cumsum((codes == 1) & (label == 1)) > LEAST - 1)] = 0
    by = Grouping(holder, 5, (250_000, 500_000), follows_first)
    sizes = Sizes(Family.LOGISTIC, len(codes), owners, 6, by)
    found = groups_of(sizes, parties, (parts, label, codes))
    counts = histograms(sizes, fitted, codes)
    chances = 1 / (1 + np.exp(-fitted))
    assert found.rows.tolist() == [90, 60, 50, 40, 0]
    assert not found.labels[4]
    assert not found.scores[4]
    assert np.isnan(found.stability[4])
    for group in range(4):
        inside = codes == group
        assert found.labels[group] == label[inside].sum()
        assert found.scores[group] == pytest.approx(chances[inside].sum(), abs=0.0032 * inside.sum())
        for place, cutoff in enumerate((0.25, 0.5)):
            flagged = inside & (fitted >= np.log(cutoff / (1 - cutoff)))
            assert found.selected[group, place] == flagged.sum()
            hits = np.count_nonzero(flagged & (label == 1))
            assert found.true_positives[group, place] == (hits if found.told[group] else 0)
        base = counts[0] if follows_first else np.diff(metrics.bin_edges(sizes.rows, sizes.bins))
        assert found.stability[group] == pytest.approx(index(counts[group], base), abs=1e-5)
        if found.told[group]:
            expected = metrics.auc(fitted[inside], label[inside])
            assert found.auc[group] == pytest.approx(expected, abs=1e-12)
    # Group 1 has 14 rows of label 1, and the rest has enough of either with it.
    assert found.told.tolist() == [True, False, True, True, False]
    assert np.isnan(found.auc[[1, 4]]).all()
    assert np.isnan(found.mse).all()


def test_the_smallest_groups_rates_go_with_those_that_would_follow_from_them() -> None:
    codes = np.repeat([0, 1, 2], [56, 60, 64])
    parts, fitted, _ = table_of(2, codes)
    label = (np.arange(180) % 2).astype(np.float64)
    label[codes == 1] = (np.arange(60) < 3).astype(np.float64)
    sizes = Sizes(Family.LOGISTIC, 180, 2, 4, Grouping(1, 3, (500_000,)))
    found = groups_of(sizes, 3, (parts, label, codes))
    # Group 1 has 3 rows of label 1; alone untold, its rates would be the rest of those of all rows.
    assert found.told.tolist() == [False, False, True]
    assert found.true_positives[:2].tolist() == [[0], [0]]
    assert found.labels.tolist() == [28, 3, 32]
    assert found.true_positives[2, 0] == np.count_nonzero((codes == 2) & (label == 1) & (fitted >= 0))


@pytest.mark.parametrize(("family", "rtol"), [(Family.LINEAR, 1e-3), (Family.POISSON, 5e-3)])
def test_models_of_numbers_have_errors_by_group(family: Family, rtol: float) -> None:
    codes = np.random.default_rng(4).permutation(np.repeat([0, 1, -1], [70, 50, 20]))
    parts, fitted, _ = table_of(2, codes, steps=1, slope=0.5)
    mean, deviation = (7.0, 3.0) if family is Family.LINEAR else (0.0, 2.5)
    expected = family.mean_of(fitted) * deviation + mean
    label = expected + np.random.default_rng(5).normal(0, 1, len(codes)) ** 2
    sizes = Sizes(family, len(codes), 2, 5, Grouping(1, 3, (), True))
    table = (parts, (label - mean) / deviation, codes)
    found = groups_of(sizes, 3, table, mean=mean, deviation=deviation)
    counts = histograms(sizes, fitted, codes)
    assert found.rows.tolist() == [70, 50, 0]
    for group in (0, 1):
        inside = codes == group
        assert found.labels[group] == pytest.approx(label[inside].sum(), rel=rtol)
        assert found.scores[group] == pytest.approx(expected[inside].sum(), rel=rtol)
        squares = np.mean((expected[inside] - label[inside]) ** 2)
        assert found.mse[group] == pytest.approx(squares, rel=rtol)
        assert found.stability[group] == pytest.approx(index(counts[group], counts[0]), abs=1e-5)
    assert np.isnan([found.mse[2], found.stability[2], *found.auc]).all()
    assert found.selected.shape == (3, 0)


@pytest.mark.parametrize("family", list(Family))
@pytest.mark.parametrize(("owners", "parties", "holder"), [(2, 3, 1), (4, 4, 3), (4, 4, 0)])
@pytest.mark.parametrize(("rows", "cutoffs"), [(40, ()), (65, (100_000, 500_000))])
def test_rounds_and_bytes_are_those_of_the_formulas(
    family: Family, owners: int, parties: int, holder: int, rows: int, cutoffs: tuple[int, ...]
) -> None:
    codes = np.arange(rows) % 3
    parts, _, label = table_of(owners, codes)
    by = Grouping(holder, 3, cutoffs if family is Family.LOGISTIC else ())
    sizes = Sizes(family, rows, owners, 4, by)
    measured: list[Any] = []
    run_mesh(played(sizes, parties, (parts, label, codes), measured))
    spent, whole = evaluation.cost(sizes, parties) + costs.opened(sizes.results, [0]), costs.run(parties)
    assert len(measured) == parties
    for rank, rounds, sent in measured:
        assert rounds == spent.rounds + whole.rounds
        assert sent == evaluation.sent(sizes, spent, rank) + (whole.sent[0] if rank < 3 else whole.outside)


def test_small_groups_are_untold_and_never_one_alone() -> None:
    codes = np.repeat([0, 1, 2, 3], [50, 20, 16, 7])
    # Of seven rows alone, the rest of all rows would tell.
    assert np.bincount(kept_groups(codes, 4, 15) + 1).tolist() == [23, 50, 20]
    assert np.bincount(kept_groups(codes, 4, 17) + 1).tolist() == [23, 50, 20]
    assert kept_groups(codes, 5, 7).tolist() == codes.tolist()
    for small in (codes, np.zeros(10, dtype=np.int64)):
        with pytest.raises(CohortTooSmall, match="at least 51 rows"):
            kept_groups(small, 4, 51)
    with pytest.raises(CohortTooSmall):
        kept_groups(np.repeat([0, 1], [20, 3]), 2, 15)


@pytest.mark.parametrize("name", ["input", "product", "planes", "shuffle", "open"])
def test_a_changed_message_ends_the_run_without_output(name: str) -> None:
    codes = np.arange(24) % 2
    parts, _, label = table_of(2, codes)
    seen: list[str] = []

    def tap(sender: int, receiver: int, message: str, payload: bytes) -> bytes | None:
        if not message.endswith(f"/{name}"):
            return None
        seen.append(message)
        # What is entered of the groups comes after the parts and the label.
        return bytes([payload[0] ^ 1]) + payload[1:] if len(seen) == 5 else None

    sizes = Sizes(Family.LOGISTIC, 24, 2, 2, Grouping(1, 2))
    ended = mesh_outcomes(played(sizes, 3, (parts, label, codes)), mesh_of(3, tap=tap, timeout_s=3))
    assert len(seen) >= 5
    assert all(isinstance(end, MpcError) for end in ended)


def test_groups_that_do_not_fit_are_refused() -> None:
    by = Grouping(1, 2)
    for change, words in (
        ({"groups": 1}, "2 to 36 groups, got 1"),
        ({"groups": MAX_GROUPS + 1}, "2 to 36 groups, got 37"),
        ({"cutoffs": (1, 2, 3, 4, 5, 6)}, "at most 5 ascending cutoffs, got 6"),
        ({"cutoffs": (2, 1)}, "ascending cutoffs"),
        ({"cutoffs": (0,)}, "cutoffs between 0 and 1"),
        ({"cutoffs": (by_group.MILLION,)}, "cutoffs between 0 and 1"),
    ):
        with pytest.raises(InvalidInput, match=words):
            replace(by, **change)  # type: ignore[arg-type]
    with pytest.raises(InvalidInput, match="none of a linear model, got 1"):
        Sizes(Family.LINEAR, 20, 2, 2, Grouping(1, 2, (500_000,)))
    with pytest.raises(InvalidInput, match="a holder of the groups below 2, got 2"):
        Sizes(Family.LOGISTIC, 20, 2, 2, Grouping(2, 2))
    with pytest.raises(InvalidInput, match="rows by group, got 1073741824"):
        Sizes(Family.LOGISTIC, 2**30, 2, 2, by)
    parts, _, label = table_of(2, np.arange(20) % 2)
    for codes in (np.zeros(19, dtype=np.int64), np.full(20, 2), np.full(20, -2), np.zeros(20)):
        table = (parts, label, codes)
        ended = mesh_outcomes(played(Sizes(Family.LOGISTIC, 20, 2, 2, by), 3, table), mesh_of(3, timeout_s=5))
        assert isinstance(ended[1], InvalidInput)
        assert all(isinstance(end, Exception) for end in ended)
