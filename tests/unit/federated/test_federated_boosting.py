"""Boosted trees over columns of several owners: the trees of pooled columns, at the stated cost."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from federated import boosting
from federated.boosting import (
    SPEC,
    Binned,
    Ensemble,
    Objective,
    OwnPart,
    Settings,
    auc,
    bin_columns,
    check_label,
    confusion,
    costs,
    fixed_point,
    messages,
    objectives,
)
from federated.boosting.sampling import drawn_weights
from federated.boosting.stopping import kept_of
from federated.boosting.trees import ROOT, Histogram, best_split
from mpc.errors import (
    CohortTooSmall,
    InputsDisagree,
    InvalidInput,
    MalformedMessage,
    MpcError,
    ValueOutOfRange,
)
from mpc.he import subset_sums
from mpc.mesh import Mesh, mesh_run
from mpc.testing import DeterministicRandomness, mesh_of, mesh_outcomes, run_mesh

pytest.importorskip("tenseal", reason="TenSEAL is an extra")

Floats = NDArray[np.float64]
RNG = np.random.default_rng(12)
ROWS = 700
COLUMNS = [
    RNG.normal(size=ROWS),
    RNG.integers(0, 4, ROWS).astype(np.float64),
    RNG.normal(size=ROWS),
    np.full(ROWS, 3.0),
    RNG.exponential(size=ROWS),
]
FITTED = 1.5 * COLUMNS[0] - COLUMNS[1] * (COLUMNS[2] > 0) + np.sin(3 * COLUMNS[4])
LABEL = (RNG.random(ROWS) < 1 / (1 + np.exp(-FITTED))).astype(np.float64)
SETTINGS = Settings(trees=2, depth=3, bins=16, min_child_weight=2.0)
KIND = np.digitize(FITTED + RNG.normal(size=ROWS), [-1.0, 1.0]).astype(np.float64)
CLASSES = replace(SETTINGS, objective=Objective.SOFTMAX, classes=3)
ONE_SPLIT = replace(SETTINGS, trees=1, depth=1)
TWO = ((0, 1), (2, 3, 4))
THREE = ((0,), (1, 3), (2, 4))


def binned(columns: Sequence[int], bins: int = SETTINGS.bins, rows: int = ROWS, held_out: int = 0) -> Binned:
    names = [f"c{one}" for one in columns]
    return bin_columns([COLUMNS[one][:rows] for one in columns], names, bins, held_out=held_out)


def parties(
    owned: Sequence[Sequence[int]],
    settings: Settings = SETTINGS,
    label: Floats = LABEL,
    rows: Sequence[int] = (ROWS, ROWS, ROWS),
    least: Sequence[int] = (1, 1, 1),
    other: Sequence[Settings] = (),
    held_out: Sequence[int] = (0, 0, 0),
) -> list[Callable[[Mesh], Any]]:
    def play(mesh: Mesh) -> Any:
        rank = mesh.rank
        own, tested = binned(owned[rank], settings.bins, rows[rank], held_out[rank]), held_out[rank]
        rng = DeterministicRandomness(bytes([rank]) * 16)
        with mesh_run(mesh, SPEC) as peers:
            if rank == 0:
                return boosting.label_holder(
                    peers, settings, own, label, rng, held_out=tested, least_rows=least[0]
                )
            agreed = other[rank] if other else settings
            return boosting.feature_owner(peers, agreed, own, rng, held_out=tested, least_rows=least[rank])

    return [play] * len(owned)


def pooled(settings: Settings, label: Floats, held_out: int = 0) -> tuple[list[dict[int, float]], Floats]:
    """The same trees from the columns in one place, node by node: leaf weights by node, and margins."""
    trained = np.arange(ROWS) < ROWS - held_out
    margins = np.repeat(starts(settings, label[trained])[:, None], ROWS, axis=1)
    everything = binned(range(5), settings.bins, held_out=held_out)
    rng = DeterministicRandomness(bytes(16))
    trees: list[dict[int, float]] = []
    losses: list[float] = []
    after: list[Floats] = []
    while len(after) < settings.trees:
        g, h = derivatives(settings, margins, label)
        weights = np.zeros(ROWS)
        weights[trained] = drawn_weights(np.abs(g[:, trained]).sum(axis=0), settings, rng)
        margins = margins.copy()
        for number in range(settings.classes):
            rng.bytes(16)  # for the rounding, of which there is none here
            leaves, added = pooled_tree(everything, weights * g[number], weights * h[number], settings)
            trees.append(leaves)
            margins[number] += added
        after.append(margins)
        if settings.patience:
            losses.append(objectives.loss(margins[:, ~trained], label[~trained], settings.objective))
            if len(losses) - int(np.argmin(losses)) > settings.patience:
                break
    kept = int(np.argmin(losses)) + 1 if settings.patience else len(after)
    return trees[: kept * settings.classes], after[kept - 1]


def starts(settings: Settings, label: Floats) -> Floats:
    if settings.objective is Objective.SOFTMAX:
        return np.array([np.log(np.mean(label == one)) for one in range(settings.classes)])
    mean = label.mean()
    return np.array([np.log(mean / (1 - mean)) if settings.objective is Objective.LOGISTIC else mean])


def derivatives(settings: Settings, margins: Floats, label: Floats) -> tuple[Floats, Floats]:
    if settings.objective is Objective.SQUARED:
        return margins - label, np.ones_like(margins)
    if settings.objective is Objective.LOGISTIC:
        predicted = 1 / (1 + np.exp(-margins))
        return predicted - label, predicted * (1 - predicted)
    predicted = np.exp(margins) / np.exp(margins).sum(axis=0)
    truth = np.stack([label == one for one in range(settings.classes)])
    return predicted - truth, 2 * predicted * (1 - predicted)


def pooled_tree(
    everything: Binned, g: Floats, h: Floats, settings: Settings
) -> tuple[dict[int, float], Floats]:
    def weight(rows: Any, low: float, high: float) -> float:
        total = float(g[rows].sum())
        beyond = max(total - settings.l1, 0) if total > 0 else min(total + settings.l1, 0)
        return float(min(max(-beyond / (h[rows].sum() + settings.l2), low), high))

    def lowered(rows: Any, low: float, high: float) -> float:
        w = weight(rows, low, high)
        return float(-2 * g[rows].sum() * w - (h[rows].sum() + settings.l2) * w**2 - 2 * settings.l1 * abs(w))

    directions = [one for own in settings.monotone for one in own] or [0] * 5
    leaves: dict[int, float] = {}
    added = np.zeros(ROWS)
    open_nodes = [(ROOT, np.ones(ROWS, dtype=bool), -np.inf, np.inf)]
    while open_nodes:
        node, rows, low, high = open_nodes.pop()
        best, goes_left, way = max(1e-6, settings.gamma), None, 0
        if node < 2**settings.depth:
            columns = zip(everything.codes, everything.cuts, directions, strict=True)
            for codes, cuts, direction in columns:
                for cut in range(len(cuts)):
                    left = rows & (codes <= cut)
                    right = rows & ~left
                    if min(h[left].sum(), h[right].sum()) < settings.min_child_weight:
                        continue
                    if direction * (weight(right, low, high) - weight(left, low, high)) < 0:
                        continue
                    gain = lowered(left, low, high) + lowered(right, low, high) - lowered(rows, low, high)
                    if gain > best:
                        best, goes_left, way = gain, left, direction
        if goes_left is None:
            leaves[node] = settings.rate * weight(rows, low, high)
            added[rows] = leaves[node]
            continue
        right = rows & ~goes_left
        middle = (weight(goes_left, low, high) + weight(right, low, high)) / 2
        ends = {0: ((low, high), (low, high)), 1: ((low, middle), (middle, high))}
        of_left, of_right = ends[abs(way)][::-1] if way < 0 else ends[way]
        open_nodes += [(2 * node, goes_left, *of_left), (2 * node + 1, right, *of_right)]
    return leaves, added


def check_trees(holder: Ensemble, settings: Settings, label: Floats, held_out: int = 0) -> None:
    trees, margins = pooled(settings, label, held_out)
    for tree, expected in zip(holder.trees, trees, strict=True):
        assert tree.leaves.keys() == expected.keys()
        for node, weight in expected.items():
            assert tree.leaves[node] == pytest.approx(weight, abs=1e-9)
    np.testing.assert_allclose(holder.margins, margins, atol=1e-9)


def replayed(
    holder: Ensemble,
    parts: Sequence[OwnPart],
    owned: Sequence[Sequence[int]],
    columns: Sequence[Floats] = COLUMNS,
) -> Floats:
    """The margins from all owners' parts put together."""
    records = [holder.own, *(part.own for part in parts)]
    classes = len(holder.base)
    margins = np.repeat(np.array(holder.base)[:, None], ROWS, axis=1)
    for number, tree in enumerate(holder.trees):
        place = np.full(ROWS, ROOT)
        for node in sorted(tree.splits):
            one = tree.splits[node]
            own = records[one.owner][one.record]
            right = columns[owned[one.owner][own.column]] > own.threshold
            place = np.where(place == node, 2 * place + right, place)
        margins[number % classes] += np.array([tree.leaves[int(leaf)] for leaf in place])
    return margins


@pytest.mark.parametrize("owned", [TWO, THREE])
def test_trees_are_those_of_pooled_columns_and_cost_what_the_formulas_say(
    owned: Sequence[Sequence[int]],
) -> None:
    meshes = mesh_of(len(owned))
    holder, *others = run_mesh(parties(owned), meshes)
    check_trees(holder, SETTINGS, LABEL)
    np.testing.assert_allclose(replayed(holder, others, owned), holder.margins, atol=1e-12)
    assert {one.owner for tree in holder.trees for one in tree.splits.values()} == set(range(len(owned)))
    assert holder.losses[1] < holder.losses[0]
    columns = [len(one) for one in owned[1:]]
    sent = costs.sent(holder.sizes, columns, holder.asked, holder.won)
    for rank, mesh in enumerate(meshes):
        stats = [channel.stats for channel in mesh.channels.values()]
        assert sum(one.bytes_sent for one in stats) == sent[rank]
        assert sum(one.rounds for one in stats) == costs.rounds(rank, len(owned), holder.asked)
    most, splits = costs.most(SETTINGS)
    assert all(asked <= bound for asked, bound in zip(holder.asked, most, strict=True))
    assert all(sum(won) <= bound for won, bound in zip(holder.won, splits, strict=True))


def test_nodes_that_do_not_fit_side_by_side_take_turns(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(subset_sums, "MULTIPLIER_BYTES", 1)
    settings = replace(SETTINGS, trees=1)
    meshes = mesh_of(2)
    holder, _ = run_mesh(parties(TWO, settings), meshes)
    assert holder.asked[-1] == 2
    check_trees(holder, settings, LABEL)
    assert [mesh.channels[1 - mesh.rank].stats.bytes_sent for mesh in meshes] == costs.sent(
        holder.sizes, [3], holder.asked, holder.won
    )


def test_growth_ends_when_the_rows_held_out_say_so_and_later_trees_are_dropped() -> None:
    settings = replace(SETTINGS, trees=20, rate=1.0, bins=8, min_child_weight=4.0, patience=2)
    meshes = mesh_of(3)
    holder, *others = run_mesh(parties(THREE, settings, held_out=(150, 150, 150)), meshes)
    kept, grown = len(holder.trees), len(holder.losses)
    assert grown == kept + 2 < 20
    assert holder.held_out_losses[kept - 1] == min(holder.held_out_losses)
    assert [one.rounds for one in others] == [kept, kept]
    check_trees(holder, settings, LABEL, 150)
    np.testing.assert_allclose(replayed(holder, others, THREE), holder.margins, atol=1e-12)
    used = [one for tree in holder.trees for one in tree.splits.values()]
    records = [len(part.own) for part in (holder, *others)]
    assert [sum(one.owner == rank for one in used) for rank in range(3)] == records
    sent = costs.sent(holder.sizes, [len(one) for one in THREE[1:]], holder.asked, holder.won, grown)
    for rank, mesh in enumerate(meshes):
        stats = [channel.stats for channel in mesh.channels.values()]
        assert sum(one.bytes_sent for one in stats) == sent[rank]
        assert sum(one.rounds for one in stats) == costs.rounds(rank, 3, holder.asked, grown)


def test_rows_held_out_without_a_patience_are_scored_and_shape_no_tree() -> None:
    settings = replace(SETTINGS, trees=1)
    changed = np.concatenate([LABEL[:-100], 1 - LABEL[-100:]])
    ends = [run_mesh(parties(TWO, settings, label, held_out=(100,) * 3)) for label in (LABEL, changed)]
    for (holder, other), label in zip(ends, (LABEL, changed), strict=True):
        check_trees(holder, settings, label, 100)
        assert (len(holder.held_out_losses), other.rounds) == (1, 1)
    assert ends[0][0].trees[0].leaves == pytest.approx(ends[1][0].trees[0].leaves, abs=1e-12)


@pytest.mark.parametrize(
    ("grown", "kept", "words"),
    [
        (2, 1, "expected 0 after 2 rounds, got 1"),
        (3, 2, "expected 0 or 1 after 3 rounds, got 2"),
        (5, 0, "expected 3 to 5 after the last round, got 0"),
        (5, 2, "expected 3 to 5 after the last round, got 2"),
        (5, 6, "expected 3 to 5 after the last round, got 6"),
    ],
)
def test_an_end_of_growth_too_early_or_too_late_is_refused(grown: int, kept: int, words: str) -> None:
    settings = replace(SETTINGS, trees=5, patience=2)
    with pytest.raises(MalformedMessage, match=words):
        messages.decode_kept(messages.encode_kept(kept), grown, settings)


def test_a_peer_that_ends_growth_after_one_tree_ends_the_run() -> None:
    settings = replace(ONE_SPLIT, trees=4, patience=2)

    def tap(sender: int, receiver: int, label: str, payload: bytes) -> bytes | None:
        return messages.encode_kept(1) if label.endswith("/kept") else None

    ended = mesh_outcomes(parties(TWO, settings, held_out=(90,) * 3), mesh_of(2, tap=tap, timeout_s=4))
    assert isinstance(ended[1], MalformedMessage)
    assert isinstance(ended[0], MpcError)


def test_the_first_of_equal_losses_counts_and_the_last_tree_ends_growth() -> None:
    settings = replace(SETTINGS, trees=6, patience=2)
    assert [kept_of([0.5, 0.4, 0.4, 0.41][:seen], settings) for seen in range(1, 5)] == [0, 0, 0, 2]
    assert kept_of([0.6, 0.5, 0.4, 0.3, 0.2, 0.25], settings) == 5


def test_trees_of_classes_are_those_of_pooled_columns_in_the_messages_of_one_tree() -> None:
    meshes = mesh_of(3)
    holder, *others = run_mesh(parties(THREE, CLASSES, KIND), meshes)
    check_trees(holder, CLASSES, KIND)
    np.testing.assert_allclose(replayed(holder, others, THREE), holder.margins, atol=1e-12)
    assert len(holder.trees) == 3 * CLASSES.trees
    assert holder.losses[1] < holder.losses[0]
    assert len(holder.asked) == CLASSES.trees * CLASSES.depth
    assert 3 < max(holder.asked) <= 6
    sent = costs.sent(holder.sizes, [len(one) for one in THREE[1:]], holder.asked, holder.won)
    for rank, mesh in enumerate(meshes):
        stats = [channel.stats for channel in mesh.channels.values()]
        assert sum(one.bytes_sent for one in stats) == sent[rank]
        assert sum(one.rounds for one in stats) == costs.rounds(rank, 3, holder.asked)
    most, splits = costs.most(CLASSES)
    assert all(asked <= bound for asked, bound in zip(holder.asked, most, strict=True))
    assert all(sum(won) <= bound for won, bound in zip(holder.won, splits, strict=True))


def test_trees_of_classes_end_early_on_drawn_rows_as_pooled_ones_do() -> None:
    settings = replace(CLASSES, trees=12, depth=2, rate=1.0, bins=8, min_child_weight=6.0, patience=1)
    settings = replace(settings, top_rate=0.5, other_rate=0.2)
    holder, other = run_mesh(parties(TWO, settings, KIND, held_out=(150,) * 3))
    assert len(holder.trees) == 3 * other.rounds < 36
    check_trees(holder, settings, KIND, 150)
    np.testing.assert_allclose(replayed(holder, [other], TWO), holder.margins, atol=1e-12)


def test_a_round_of_more_trees_than_classes_is_refused() -> None:
    settings = replace(CLASSES, trees=1, depth=1)

    def tap(sender: int, receiver: int, label: str, payload: bytes) -> bytes | None:
        return bytes([4]) + payload[1:] if label.endswith("/nodes") else None

    ended = mesh_outcomes(parties(TWO, settings, KIND), mesh_of(2, tap=tap, timeout_s=4))
    assert isinstance(ended[1], MalformedMessage)
    assert "expected at most 3 of this level, got 4" in str(ended[1])


def test_classes_are_told_apart_and_counted() -> None:
    margins = np.array([[2.0, 0, 0, 1], [1, 3, 0, 0], [0, 0, 1, 1]])
    expected = [[1, 0, 0], [0, 1, 1], [1, 0, 0]]
    np.testing.assert_array_equal(confusion(margins, np.array([0.0, 1, 1, 2])), expected)
    chances = objectives.scores(margins, Objective.SOFTMAX)
    np.testing.assert_allclose(chances.sum(axis=0), 1)
    np.testing.assert_allclose(
        objectives.loss(margins, np.array([0.0, 1, 1, 2]), Objective.SOFTMAX),
        -np.log(chances[[0, 1, 1, 2], range(4)]).mean(),
    )


@pytest.mark.parametrize(
    ("objective", "classes"), [("softmax", 1), ("softmax", 17), ("logistic", 2), ("squared", 3)]
)
def test_classes_that_do_not_fit_the_objective_are_refused(objective: str, classes: int) -> None:
    with pytest.raises(InvalidInput, match=f"classes: expected .* where the objective is {objective}"):
        replace(SETTINGS, objective=Objective(objective), classes=classes)


def test_scores_rise_or_fall_with_a_column_where_that_is_asked_for() -> None:
    free = replace(SETTINGS, trees=3, depth=4, min_child_weight=1.0)
    settings = replace(free, monotone=((-1, 0), (1, 0, 1)))
    ends = [run_mesh(parties(TWO, one)) for one in (settings, free)]
    check_trees(ends[0][0], settings, LABEL)
    for column, direction in ((0, -1), (2, 1), (4, 1)):
        lines = []
        for holder, other in ends:
            steps = []
            for value in np.quantile(COLUMNS[column], np.linspace(0, 1, 9)):
                moved = [
                    np.full(ROWS, value) if number == column else one for number, one in enumerate(COLUMNS)
                ]
                steps.append(replayed(holder, [other], TWO, moved)[0])
            lines.append(direction * np.diff(steps, axis=0))
        assert lines[0].min() >= -1e-12
        assert lines[1].min() < 0


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"monotone": ((1, 2), (0, 0, 0))}, "monotone: expected directions of 1, 0 and -1"),
        (
            {"objective": Objective.SOFTMAX, "classes": 3, "monotone": ((1,),)},
            "monotone: expected no directions where the objective is softmax",
        ),
    ],
)
def test_directions_that_there_are_not_are_refused(change: dict[str, Any], words: str) -> None:
    with pytest.raises(InvalidInput, match=words):
        replace(SETTINGS, **change)


@pytest.mark.parametrize("held_out", [0, 100])
def test_trees_of_drawn_rows_and_penalised_weights_are_those_of_pooled_columns(held_out: int) -> None:
    settings = replace(SETTINGS, l1=0.7, top_rate=0.3, other_rate=0.2)
    holder, other = run_mesh(parties(TWO, settings, held_out=(held_out,) * 3))
    check_trees(holder, settings, LABEL, held_out)
    np.testing.assert_allclose(replayed(holder, [other], TWO), holder.margins, atol=1e-12)
    assert holder.trees != run_mesh(parties(TWO, held_out=(held_out,) * 3))[0].trees


def test_rows_of_large_gradients_count_and_those_drawn_stand_for_the_rest() -> None:
    settings = replace(SETTINGS, top_rate=0.2, other_rate=0.1)
    magnitudes, rng = np.abs(RNG.normal(size=500)), DeterministicRandomness(bytes(16))
    drawn = [drawn_weights(magnitudes, settings, rng) for _ in range(400)]
    top = magnitudes >= np.sort(magnitudes)[-100]
    for weights in drawn:
        assert np.all(weights[top] == 1)
        assert sorted(set(weights[~top])) == [0, 8]
        assert weights.sum() == 500
    assert np.any(drawn[0] != drawn[1])
    # Six standard deviations of a mean of 400 draws.
    np.testing.assert_allclose(np.mean(drawn, axis=0), 1, atol=6 * 8 * np.sqrt(1 / 8 * 7 / 8 / 400))
    np.testing.assert_array_equal(drawn_weights(magnitudes, SETTINGS, rng), np.ones(500))


@pytest.mark.parametrize(
    ("top", "other", "words"),
    [
        (0.0, 0.5, "top_rate: expected 0.01 to 1, got 0.0"),
        (1.1, 0.0, "top_rate: expected 0.01 to 1, got 1.1"),
        (0.5, 0.0, "other_rate: expected 0.01 to 1, got 0.0"),
        (1.0, 0.1, "expected at most 1 together, got 1.0 and 0.1"),
        (0.6, 0.5, "expected at most 1 together, got 0.6 and 0.5"),
        (np.nan, 0.0, "top_rate: expected 0.01 to 1, got nan"),
    ],
)
def test_rates_out_of_range_are_refused(top: float, other: float, words: str) -> None:
    with pytest.raises(InvalidInput, match=words):
        replace(SETTINGS, top_rate=top, other_rate=other)


def test_squared_error_grows_the_trees_of_pooled_columns() -> None:
    settings = replace(SETTINGS, objective=Objective.SQUARED, trees=1, gamma=0.0)
    label = 50 * FITTED
    holder, *_ = run_mesh(parties(TWO, settings, label))
    check_trees(holder, settings, label)


def test_a_tree_that_ends_early_says_so_and_costs_less() -> None:
    settings = replace(SETTINGS, min_child_weight=55.0, trees=2, depth=5)
    meshes = mesh_of(2)
    holder, _ = run_mesh(parties(TWO, settings), meshes)
    assert holder.asked[-1] == 0
    check_trees(holder, settings, LABEL)
    sent = costs.sent(holder.sizes, [3], holder.asked, holder.won)
    for rank, mesh in enumerate(meshes):
        (channel,) = mesh.channels.values()
        assert channel.stats.bytes_sent == sent[rank]
        assert channel.stats.rounds == costs.rounds(rank, 2, holder.asked)


@pytest.mark.parametrize("gamma", [1e5, 25.0])
def test_a_tree_whose_nodes_gain_too_little_ends_at_every_owner(gamma: float) -> None:
    settings = replace(SETTINGS, gamma=gamma, depth=5)
    holder, other = run_mesh(parties(TWO, settings), mesh_of(2, timeout_s=5))
    check_trees(holder, settings, LABEL)
    assert (0 in holder.asked, other.rounds) == (True, 2)


def test_what_an_owner_receives_hangs_neither_on_the_label_nor_on_the_rows_of_a_node_or_those_drawn() -> None:
    """Only how many nodes are examined and its own splits may differ: ciphertexts are of one size."""
    seen: list[list[tuple[str, int]]] = []
    for label, rate in ((LABEL, 1.0), (1 - LABEL, 1.0), (LABEL, 0.6)):
        got: list[tuple[str, int]] = []

        def tap(
            sender: int, receiver: int, label_: str, payload: bytes, got: list[tuple[str, int]] = got
        ) -> bytes | None:
            if receiver == 1 and not label_.endswith("splits"):
                got.append((label_, len(payload)))
            return None

        settings = replace(SETTINGS, trees=1, depth=2, top_rate=rate, other_rate=(1 - rate) / 2)
        holder, _ = run_mesh(parties(TWO, settings, label), mesh_of(2, tap=tap))
        assert holder.asked == (1, 1)
        seen.append(got)
    assert seen[0] == seen[1] == seen[2]


@pytest.mark.parametrize("name", ["terms", "key", "nodes", "blocks", "sums", "splits", "sides", "confirm"])
def test_a_changed_message_ends_the_run_without_output(name: str) -> None:
    changed: list[str] = []

    def tap(sender: int, receiver: int, label: str, payload: bytes) -> bytes | None:
        if label.endswith(f"/{name}") and not changed:
            changed.append(label)
            return bytes([payload[0] ^ 1]) + payload[1:]
        return None

    ended = mesh_outcomes(parties(TWO, ONE_SPLIT), mesh_of(2, tap=tap, timeout_s=4))
    assert changed
    assert all(isinstance(end, MpcError) for end in ended), ended


@pytest.mark.parametrize(
    ("name", "change"),
    [
        ("blocks", lambda payload: payload[:-1]),
        ("sums", lambda payload: payload + bytes(8)),
        ("terms", lambda payload: messages.encode_terms(ROWS, 0, ONE_SPLIT, ())),
        ("sides", lambda payload: payload + b"\0"),
        ("splits", lambda payload: messages.encode_splits([(9, 0)])),
        ("splits", lambda payload: messages.encode_splits([(0, 200)])),
        ("splits", lambda payload: messages.encode_splits([(0, 0), (0, 1)])),
        ("nodes", lambda payload: bytes([2]) + payload[1:]),
        ("nodes", lambda payload: payload[:8] + bytes([3]) + payload[9:]),
        ("key", lambda payload: payload[:-1]),
    ],
)
def test_a_message_of_another_form_is_refused(name: str, change: Callable[[bytes], bytes]) -> None:
    def tap(sender: int, receiver: int, label: str, payload: bytes) -> bytes | None:
        return change(payload) if label.endswith(f"/{name}") else None

    ended = mesh_outcomes(parties(TWO, ONE_SPLIT), mesh_of(2, tap=tap, timeout_s=4))
    receiver = ended[0] if name in ("terms", "sums", "sides") else ended[1]
    assert isinstance(receiver, MalformedMessage), receiver
    assert all(isinstance(end, MpcError) for end in ended)


def test_owners_that_do_not_agree_or_have_too_few_rows_end_the_run() -> None:
    for parts, error, words in (
        (
            parties(TWO, rows=(ROWS, ROWS - 1)),
            InputsDisagree,
            "aligned rows: own side has 700, the other party",
        ),
        (parties(TWO, other=[SETTINGS, replace(SETTINGS, depth=4)]), InputsDisagree, "depth: own side has"),
        (
            parties(TWO, CLASSES, KIND, other=[CLASSES, replace(CLASSES, classes=4)]),
            InputsDisagree,
            "classes: own",
        ),
        (parties(TWO, least=(1, ROWS + 1)), CohortTooSmall, "at least 701 rows"),
        (parties(TWO, held_out=(50, 50), least=(1, 51)), CohortTooSmall, "at least 51 rows"),
        (parties(TWO, held_out=(50, 51)), InputsDisagree, "rows held out: own side has 5"),
        (
            parties(TWO, replace(SETTINGS, monotone=((1,), (0, 1, 0)))),
            InvalidInput,
            "monotone: expected directions of [2, 3] columns",
        ),
        (parties(TWO, replace(SETTINGS, patience=1)), InvalidInput, "patience: expected 0 where no rows"),
        (
            parties(((0,), (3,))),
            InvalidInput,
            "columns: expected one with different values, all 1 are constant",
        ),
    ):
        ended = mesh_outcomes(parts, mesh_of(2, timeout_s=5))
        assert all(isinstance(end, MpcError) for end in ended)
        assert any(isinstance(end, error) and words in str(end) for end in ended), ended


def test_bins_hold_about_as_many_rows_and_few_values_have_their_own() -> None:
    made = binned(range(5), 16)
    assert made.counts == (15, 3, 15, 0, 15)
    sizes = np.bincount(made.codes[0])
    assert sizes.max() <= ROWS // 16 + 2
    np.testing.assert_array_equal(made.codes[1], COLUMNS[1])
    for codes, cuts, column in zip(made.codes, made.cuts, COLUMNS, strict=True):
        for cut, threshold in enumerate(cuts):
            np.testing.assert_array_equal(codes <= cut, column <= threshold)
    for bad, error, words in (
        ([0.0, np.nan, np.inf], ValueOutOfRange, "column c: 2 of 3 values are not finite"),
        ([], InvalidInput, "expected columns of one length, with rows"),
    ):
        with pytest.raises(error, match=words):
            bin_columns([np.array(bad)], ["c"], 8)


def test_packed_sums_are_exact_whatever_rows_they_are_over() -> None:
    g, h = RNG.normal(size=5000), RNG.random(5000)
    made = fixed_point.quantise(g, h, DeterministicRandomness(bytes(16)))
    packed = made.packed()
    for rows in (RNG.random(5000) < 0.3, g < 0, g > 0, np.ones(5000, dtype=bool)):
        got_g, got_h = fixed_point.unpack(np.array([packed[rows].sum() % 2**44]))
        assert (got_g[0], got_h[0]) == (made.g[rows].sum(), made.h[rows].sum())
        assert got_g[0] / made.g_scale == pytest.approx(g[rows].sum(), abs=0.5)
        assert got_h[0] / made.h_scale == pytest.approx(h[rows].sum(), abs=0.5)


def test_gradients_out_of_range_are_refused_before_encryption() -> None:
    rng = DeterministicRandomness(bytes(16))
    for g, h in (([np.nan, 1.0], [1.0, 1.0]), ([1.0, 1.0], [1.0, -1.0]), ([np.inf, 0.0], [1.0, 1.0])):
        with pytest.raises(ValueOutOfRange, match="1 of 2 rows are out of range"):
            fixed_point.quantise(np.array(g), np.array(h), rng)
    made = fixed_point.quantise(np.ones(4), np.ones(4), rng)
    with pytest.raises(ValueOutOfRange, match="expected sums of at most"):
        replace(made, g=made.g * 4).packed()


def test_a_label_that_cannot_be_explained_is_refused() -> None:
    squared = replace(SETTINGS, objective=Objective.SQUARED)
    for label, settings, error, words in (
        ([0, 1, 2, -1], SETTINGS, ValueOutOfRange, "label y: 2 of 4 values are neither 0 nor 1"),
        ([1, 1, 1], SETTINGS, InvalidInput, "label y: all 3 values are equal"),
        ([0, np.nan], SETTINGS, ValueOutOfRange, "label y: 1 of 2 values are neither"),
        ([0, np.inf], squared, ValueOutOfRange, "label y: 1 of 2 values are not finite"),
        ([0, 1, 2, 3], CLASSES, ValueOutOfRange, "label y: 1 of 4 values are no class from 0 to 2"),
        ([0, 1, 2, -1, 0.5, np.nan], CLASSES, ValueOutOfRange, "label y: 3 of 6 values are no class"),
        ([0, 2, 2], CLASSES, InvalidInput, "label y: expected rows of 3 classes, got rows of 2"),
    ):
        with pytest.raises(error, match=words):
            check_label(np.array(label, dtype=np.float64), "y", settings)
    check_label(np.array([0.0, 5.0]), "y", squared)
    check_label(np.array([0.0, 2.0, 1.0]), "y", CLASSES)


def test_no_split_is_made_where_none_gains_enough() -> None:
    histogram = Histogram(np.array([4.0, -4.0]), np.array([3.0, 3.0]), 0.0, 9.0)
    found = best_split(histogram, [2], Settings(l2=1.0))
    assert found is not None
    assert (found.column, found.cut) == (0, 0)
    assert found.gain == pytest.approx(16 / 4 + 16 / 7)
    assert best_split(histogram, [2], Settings(gamma=6.5)) is None
    assert best_split(histogram, [2], Settings(min_child_weight=4.0)) is None
    assert best_split(replace(histogram, g=np.zeros(2)), [2], Settings()) is None


def test_the_area_under_the_curve_counts_ties_half() -> None:
    label = np.array([0.0, 1, 0, 1, 1])
    margins = np.array([1.0, 2, 2, 3, 0])
    wins = [(a > b) + (a == b) / 2 for a in margins[label == 1] for b in margins[label == 0]]
    assert auc(margins, label) == pytest.approx(np.mean(wins))


@pytest.mark.parametrize(
    "change", [{"trees": 0}, {"depth": 9}, {"rate": 0.0}, {"l2": -1.0}, {"bins": 65}, {"gamma": np.nan}]
)
def test_settings_out_of_range_are_refused(change: dict[str, Any]) -> None:
    with pytest.raises(InvalidInput, match=next(iter(change))):
        replace(SETTINGS, **change)
