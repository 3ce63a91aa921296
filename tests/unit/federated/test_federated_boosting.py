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
    costs,
    fixed_point,
    messages,
)
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
ONE_SPLIT = replace(SETTINGS, trees=1, depth=1)
TWO = ((0, 1), (2, 3, 4))
THREE = ((0,), (1, 3), (2, 4))


def binned(columns: Sequence[int], bins: int = SETTINGS.bins, rows: int = ROWS) -> Binned:
    return bin_columns([COLUMNS[one][:rows] for one in columns], [f"c{one}" for one in columns], bins)


def parties(
    owned: Sequence[Sequence[int]],
    settings: Settings = SETTINGS,
    label: Floats = LABEL,
    rows: Sequence[int] = (ROWS, ROWS, ROWS),
    least: Sequence[int] = (1, 1, 1),
    other: Sequence[Settings] = (),
) -> list[Callable[[Mesh], Any]]:
    def play(mesh: Mesh) -> Any:
        rank = mesh.rank
        own = binned(owned[rank], settings.bins, rows[rank])
        rng = DeterministicRandomness(bytes([rank]) * 16)
        with mesh_run(mesh, SPEC) as peers:
            if rank == 0:
                return boosting.label_holder(peers, settings, own, label, rng, least_rows=least[0])
            agreed = other[rank] if other else settings
            return boosting.feature_owner(peers, agreed, own, rng, least_rows=least[rank])

    return [play] * len(owned)


def pooled(settings: Settings, label: Floats) -> tuple[list[dict[int, float]], Floats]:
    """The same trees from the columns in one place, node by node: leaf weights by node, and margins."""
    is_logistic = settings.objective is Objective.LOGISTIC
    mean = label.mean()
    margins = np.full(ROWS, np.log(mean / (1 - mean)) if is_logistic else mean)
    everything = binned(range(5), settings.bins)
    trees = []
    for _ in range(settings.trees):
        predicted = 1 / (1 + np.exp(-margins)) if is_logistic else margins
        g, h = predicted - label, predicted * (1 - predicted) if is_logistic else np.ones(ROWS)
        leaves: dict[int, float] = {}
        added = np.zeros(ROWS)
        open_nodes = [(ROOT, np.ones(ROWS, dtype=bool))]
        while open_nodes:
            node, rows = open_nodes.pop()
            best, goes_left = 1e-6, None
            if node < 2**settings.depth:
                for codes, cuts in zip(everything.codes, everything.cuts, strict=True):
                    for cut in range(len(cuts)):
                        left = rows & (codes <= cut)
                        right = rows & ~left
                        if min(h[left].sum(), h[right].sum()) < settings.min_child_weight:
                            continue
                        parts = [
                            g[one].sum() ** 2 / (h[one].sum() + settings.l2) for one in (left, right, rows)
                        ]
                        if (gain := parts[0] + parts[1] - parts[2]) > best:
                            best, goes_left = gain, left
            if goes_left is None:
                leaves[node] = -settings.rate * g[rows].sum() / (h[rows].sum() + settings.l2)
                added[rows] = leaves[node]
            else:
                open_nodes += [(2 * node, goes_left), (2 * node + 1, rows & ~goes_left)]
        trees.append(leaves)
        margins = margins + added
    return trees, margins


def check_trees(holder: Ensemble, settings: Settings, label: Floats) -> None:
    trees, margins = pooled(settings, label)
    for tree, expected in zip(holder.trees, trees, strict=True):
        assert tree.leaves.keys() == expected.keys()
        for node, weight in expected.items():
            assert tree.leaves[node] == pytest.approx(weight, abs=1e-9)
    np.testing.assert_allclose(holder.margins, margins, atol=1e-9)


def replayed(holder: Ensemble, parts: Sequence[OwnPart], owned: Sequence[Sequence[int]]) -> Floats:
    """The margins from all owners' parts put together."""
    records = [holder.own, *(part.own for part in parts)]
    margins = np.full(ROWS, holder.base)
    for tree in holder.trees:
        place = np.full(ROWS, ROOT)
        for node in sorted(tree.splits):
            one = tree.splits[node]
            own = records[one.owner][one.record]
            right = COLUMNS[owned[one.owner][own.column]] > own.threshold
            place = np.where(place == node, 2 * place + right, place)
        margins += np.array([tree.leaves[int(leaf)] for leaf in place])
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


def test_what_an_owner_receives_hangs_neither_on_the_label_nor_on_the_rows_of_a_node() -> None:
    """Only how many nodes are examined and its own splits may differ: ciphertexts are of one size."""
    seen: list[list[tuple[str, int]]] = []
    for label in (LABEL, 1 - LABEL):
        got: list[tuple[str, int]] = []

        def tap(
            sender: int, receiver: int, label_: str, payload: bytes, got: list[tuple[str, int]] = got
        ) -> bytes | None:
            if receiver == 1 and not label_.endswith("splits"):
                got.append((label_, len(payload)))
            return None

        settings = replace(SETTINGS, trees=1, depth=2)
        holder, _ = run_mesh(parties(TWO, settings, label), mesh_of(2, tap=tap))
        assert holder.asked == (1, 1)
        seen.append(got)
    assert seen[0] == seen[1]


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
        ("terms", lambda payload: messages.encode_terms(ROWS, ONE_SPLIT, ())),
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
        (parties(TWO, least=(1, ROWS + 1)), CohortTooSmall, "at least 701 rows"),
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
    for label, error, words in (
        ([0, 1, 2, -1], ValueOutOfRange, "label y: 2 of 4 values are neither 0 nor 1"),
        ([1, 1, 1], InvalidInput, "label y: all 3 values are equal"),
        ([0, np.nan], ValueOutOfRange, "label y: 1 of 2 values are neither"),
    ):
        with pytest.raises(error, match=words):
            check_label(np.array(label, dtype=np.float64), "y", Objective.LOGISTIC)
    check_label(np.array([0.0, 5.0]), "y", Objective.SQUARED)
    with pytest.raises(ValueOutOfRange, match="label y: 1 of 2 values are not finite"):
        check_label(np.array([0.0, np.inf]), "y", Objective.SQUARED)


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
