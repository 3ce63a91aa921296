"""Boosting on shares: the trees of plaintext growth, at the stated cost, bad input refused, nothing seen."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import pairwise
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from federated.boosting import Settings as PlainSettings
from federated.boosting import bin_columns, fixed_point, objectives
from federated.boosting.binning import Binned
from federated.boosting.growth import Growth, grow, own_sums
from federated.boosting.settings import Objective
from federated.boosting.trees import Best, Split
from federated.shared_boosting import SPEC, Forest, Settings, costs, train, training
from federated.shared_boosting import settings as limits
from federated.shared_boosting.settings import Scales
from federated.vertical import Layout
from mpc import replicated
from mpc.errors import InvalidInput, MpcError, ValueOutOfRange
from mpc.mesh import Mesh
from mpc.replicated import costs as runtime_costs
from mpc.testing import DeterministicRandomness, mesh_of, mesh_outcomes, run_mesh

Floats = NDArray[np.float64]
ROWS = 600
SETTINGS = Settings(trees=3, depth=2, bins=8, tells_thresholds=True)


def example(columns: Sequence[int], rows: int = ROWS, *, noise: float = 1.0) -> tuple[list[Floats], Floats]:
    """Columns of each owner, and a label of 0 and 1 that hangs on all of them."""
    rng = np.random.default_rng(37)
    x = rng.normal(size=(sum(columns), rows))
    fitted = np.linspace(2, 1, len(x)) @ np.where(x > 0.3, 1.0, -0.6) + x[0] * x[-1]
    label = (fitted + noise * rng.logistic(size=rows) > 0).astype(np.float64)
    return [x[low:high] for low, high in pairwise(np.cumsum((0, *columns)))], label


def binned(columns: Floats, bins: int) -> Binned:
    return bin_columns(list(columns), [str(number) for number in range(len(columns))], bins)


def grown(
    parts: Sequence[Floats],
    label: Any,
    settings: Settings,
    *,
    size: int = 3,
    measured: list[Any] | None = None,
) -> Forest:
    """Grow on shares and open to rank 0."""
    layout = Layout(parts[0].shape[1], tuple(map(len, parts)))

    def play(mesh: Mesh) -> Any:
        rank = mesh.rank
        with replicated.run(mesh, SPEC, DeterministicRandomness(bytes([rank]) * 16)) as rt:
            own = binned(parts[rank], settings.bins) if rank < len(parts) and len(parts[rank]) else None
            told = train(rt, layout, settings, own, label if rank == 0 else None)
            rounds = rt.rounds
            opened = rt.open(told, [0])
        if measured is not None:
            sent = sum(channel.stats.bytes_sent for channel in mesh.channels.values())
            measured.append((rank, rounds, sent))
        return opened

    opened, *others = run_mesh([play] * size)
    assert all(one is None for one in others)
    return Forest.of(opened, layout, settings)


def plain(
    columns: Floats, label: Floats, settings: Settings
) -> tuple[list[dict[int, tuple[int, int]]], Floats]:
    """The splits of every tree by node, and the margins, of the growth of `federated.boosting` in clear."""
    agreed = PlainSettings(
        trees=settings.trees, depth=settings.depth, bins=settings.bins, rate=settings.rate, l2=settings.l2,
        gamma=settings.gamma, min_child_weight=settings.least_rows / 4,
    )  # fmt: skip
    made = binned(columns, settings.bins)
    margins = np.full(len(label), objectives.margin_of(label.mean(), Objective.LOGISTIC))
    trees = []
    for _ in range(settings.trees):
        g, h = objectives.gradients(margins, label, Objective.LOGISTIC)
        numbers, splits = fixed_point.quantise(g, h, DeterministicRandomness(bytes(16))), {}
        growth = Growth(agreed, made.counts, numbers, g, h)

        def ask_sums(nodes: Sequence[Any], numbers: Any = numbers) -> Any:
            return [own_sums(made, numbers, rows) for _, rows in nodes]

        def ask_sides(chosen: Mapping[Any, Best], splits: Any = splits) -> Any:
            splits.update({node: (best.column, best.cut) for (_, node), best in chosen.items()})
            return {
                node: (Split(0, 0, best.gain), made.codes[best.column] <= best.cut)
                for node, best in chosen.items()
            }

        ((_, added),) = grow([growth], ask_sums, ask_sides)
        margins = margins + added
        trees.append(splits)
    return trees, margins


def splits_of(forest: Forest) -> list[dict[int, tuple[int, int]]]:
    """By node, without those that leave all rows on the left."""
    return [
        {node: (int(at), int(cut)) for node, (at, cut) in enumerate(zip(*one, strict=True), 1) if at >= 0}
        for one in zip(forest.columns, forest.cuts, strict=True)
    ]


@pytest.mark.parametrize(("columns", "size"), [((2, 2), 3), ((0, 3), 3), ((1, 1, 1, 1), 4)])
def test_trees_are_those_of_plaintext_growth_at_the_same_bins(columns: tuple[int, ...], size: int) -> None:
    parts, label = example(columns, noise=0.1)
    forest, pooled = grown(parts, label, SETTINGS, size=size), np.vstack(parts)
    trees, margins = plain(pooled, label, SETTINGS)
    assert splits_of(forest) == trees
    together = binned(pooled, SETTINGS.bins)
    np.testing.assert_allclose(forest.margins(together.codes), margins, atol=0.05)
    chances = objectives.scores(margins, Objective.LOGISTIC)
    assert forest.errors[-1] == pytest.approx(np.mean((chances - label) ** 2), abs=0.005)
    assert (np.diff(forest.errors) < 0).all()
    cuts = together.cuts
    chosen = forest.columns >= 0
    assert chosen.any()
    for at, cut, threshold in zip(
        forest.columns[chosen], forest.cuts[chosen], forest.thresholds[chosen], strict=True
    ):
        assert cuts[at][cut] == threshold


def test_on_random_data_the_scores_are_as_good() -> None:
    settings = Settings(trees=10, depth=3, bins=16, least_rows=20)
    parts, label = example((3, 2), 2000, noise=2)
    forest, pooled = grown(parts, label, settings), np.vstack(parts)
    _, margins = plain(pooled, label, settings)
    good = objectives.auc(margins, label)
    assert 0.75 < good < 0.999
    assert objectives.auc(forest.margins(binned(pooled, settings.bins).codes), label) == pytest.approx(
        good, abs=0.005
    )


def test_every_leaf_has_the_least_rows_or_none() -> None:
    settings = Settings(trees=3, depth=3, bins=8, least_rows=60)
    parts, label = example((2, 1), 400, noise=2)
    forest, pooled = grown(parts, label, settings), np.vstack(parts)
    np.testing.assert_array_equal(forest.thresholds, 0)
    codes = binned(pooled, settings.bins).codes
    for columns, cuts, weights in zip(forest.columns, forest.cuts, forest.weights, strict=True):
        node = np.ones(pooled.shape[1], dtype=np.int64)
        for _ in range(settings.depth):
            at = columns[node - 1]
            goes_right = (at >= 0) & (codes[at, np.arange(len(node))] > cuts[node - 1])
            node = 2 * node + goes_right
        sizes = np.bincount(node, minlength=2 * settings.leaves)[settings.leaves :]
        assert set(np.flatnonzero((sizes > 0) & (sizes < 60))) == set()
        np.testing.assert_allclose(weights[sizes == 0], 0, atol=1e-5)
        assert (sizes > 0).sum() > 1


def test_where_no_split_is_worth_it_the_trees_are_one_leaf() -> None:
    parts, label = example((1, 1), 100)
    settings = Settings(trees=2, depth=2, bins=4, gamma=1e6)
    forest = grown(parts, label, settings)
    assert (forest.columns == -1).all()
    np.testing.assert_allclose(forest.weights[:, 1:], 0, atol=1e-5)
    np.testing.assert_allclose(
        forest.margins(binned(np.vstack(parts), settings.bins).codes), forest.base, atol=0.02
    )


def test_columns_with_one_value_are_never_split() -> None:
    parts, label = example((2, 1), 200, noise=0.1)
    parts[0][0] = 7.0
    forest = grown(parts, label, SETTINGS)
    assert set(np.unique(forest.columns)) <= {-1, 1, 2}
    assert (forest.columns > 0).any()


def test_far_margins_stay_where_they_belong() -> None:
    """Beyond the reach of the sine series, where it would turn back, chances are 0 and 1."""
    margins = np.array([-5000.0, -124, -64, -61, -59, -1, 0, 2, 59, 61, 64, 124, 5000])

    def play(mesh: Mesh) -> Any:
        with replicated.run(mesh, SPEC, DeterministicRandomness(bytes([mesh.rank]) * 16)) as rt:
            shared = rt.constant(np.rint(margins * 2**limits.MARGIN_FRACTION).astype(np.int64))
            return rt.open(training._centred(rt, shared), [0, 1, 2])

    for opened in run_mesh([play] * 3):
        chances = opened * 2.0**-limits.SUM_FRACTION + 0.5
        np.testing.assert_allclose(chances, 1 / (1 + np.exp(-margins.clip(-99, 99))), atol=0.0033)


def test_scales_keep_what_is_divided_and_compared_in_the_ring() -> None:
    for rows in (2, 10, 999, 10_000, limits.MAX_ROWS):
        for l2 in (0.1, 1, 100):
            for gamma in (0, 1e6):
                scales = Scales.of(rows, Settings(l2=l2, gamma=gamma))
                assert (rows * (0.25 + 2**-25) + l2) * 2**scales.divisor + 2 < 2**29
                assert 1.004 * rows * 2 ** (scales.divisor + 20) < 2**52
                assert l2 * 2**scales.divisor > 2
                assert scales.weight + scales.divisor >= limits.SUM_FRACTION
                factor, weight = 1.004 * rows * 2**scales.factor + 1, 1.004 * rows / l2 * 2**scales.weight + 3
                assert factor * weight + gamma * 2**scales.score < 1.1 * 2**60
                assert min(scales.factor, scales.weight) >= 5


@pytest.mark.parametrize(
    ("columns", "size", "settings"),
    [
        ((2, 1), 3, Settings(trees=1, depth=1, bins=2)),
        ((0, 2), 3, Settings(trees=2, depth=2, bins=4)),
        ((1, 1, 1, 1), 4, Settings(trees=1, depth=3, bins=3)),
        ((1, 1, 1), 4, Settings(trees=1, depth=1, bins=3)),
    ],
)
def test_rounds_and_bytes_are_as_stated(columns: tuple[int, ...], size: int, settings: Settings) -> None:
    parts, label = example(columns, 130)
    layout, measured = Layout(130, columns), list[Any]()
    grown(parts, label, settings, size=size, measured=measured)
    trained = costs.training(layout, settings)
    whole = runtime_costs.run(size)
    opened = runtime_costs.opened(settings.told, [0])
    for rank, rounds, sent in measured:
        assert rounds == trained.rounds + whole.rounds
        own = whole.sent[rank] + opened.sent[rank] if rank < 3 else whole.outside
        assert sent == costs.sent(layout, settings, trained, rank) + own


@pytest.mark.parametrize("label", ["keys", "input", "product", "planes", "open", "confirm"])
def test_a_changed_message_ends_the_run_for_everybody(label: str) -> None:
    parts, target = example((1, 1), 80)
    layout, settings, seen = Layout(80, (1, 1)), Settings(trees=1, depth=1, bins=3), list[str]()

    def tap(sender: int, receiver: int, name: str, payload: bytes) -> bytes | None:
        if name.endswith(f"/{label}"):
            seen.append(name)
            if len(seen) == 1:
                return bytes([payload[0] ^ 1]) + payload[1:]
        return None

    def play(mesh: Mesh) -> Any:
        rank = mesh.rank
        with replicated.run(mesh, SPEC, DeterministicRandomness(bytes([rank]) * 16)) as rt:
            own = binned(parts[rank], settings.bins) if rank < 2 else None
            told = train(rt, layout, settings, own, target if rank == 0 else None)
            opened = rt.open(told, [0])
        return opened

    ended = mesh_outcomes([play] * 3, mesh_of(3, tap=tap, timeout_s=5))
    assert seen
    assert all(isinstance(end, MpcError) for end in ended)


def transcript(
    parts: Sequence[Floats], label: Floats, settings: Settings
) -> list[tuple[int, int, str, bytes]]:
    """All messages of a run in which nobody learns the trees: from whom, to whom, what."""
    layout, seen = Layout(len(label), tuple(map(len, parts))), list[tuple[int, int, str, bytes]]()

    def play(mesh: Mesh) -> None:
        rank = mesh.rank
        with replicated.run(mesh, SPEC, DeterministicRandomness(bytes([rank]) * 16)) as rt:
            own = binned(parts[rank], settings.bins) if rank < len(parts) else None
            train(rt, layout, settings, own, label if rank == 0 else None)

    run_mesh([play] * 3, mesh_of(3, tap=lambda *message: seen.append(message)))
    return sorted(seen, key=lambda message: message[:2])


def test_messages_hang_on_public_sizes_alone_and_nothing_is_opened() -> None:
    settings = Settings(trees=2, depth=2, bins=4)
    parts, label = example((1, 1), 90)
    constant = [np.ones((1, 90)), np.arange(90.0)[None] % 2]
    shapes = [
        [(*message[:3], len(message[3])) for message in transcript(*one, settings)]
        for one in ((parts, label), (constant, np.arange(90) % 2.0))
    ]
    assert shapes[0] == shapes[1]
    assert not any(name.endswith("/open") for *_, name, _ in shapes[0])


def test_what_a_computing_party_receives_is_uniform() -> None:
    parts, label = [np.arange(90.0)[None], np.arange(90.0)[None] % 2], np.arange(90) % 2.0
    messages = transcript(parts, label, Settings(trees=2, depth=2, bins=4))
    for rank in range(3):
        # Bits past the last value of a plane are no secret.
        words = [
            np.frombuffer(payload, dtype="<u8")
            for _, receiver, name, payload in messages
            if receiver == rank and name.endswith(("/product", "/input")) and len(payload) > 8 * 90
        ]
        octets = np.concatenate(words).view(np.uint8)
        ones = np.unpackbits(octets.reshape(-1, 8), axis=1).mean(axis=0)
        # Six deviations of a fair coin; the runs are drawn from fixed keys.
        assert len(octets) > 8 * 1000
        np.testing.assert_allclose(ones, 0.5, atol=6 * 0.5 / np.sqrt(len(octets) / 8))


def refusal(own: Binned | None, label: Any, layout: Layout, settings: Settings = SETTINGS) -> Any:
    """What stops rank 0."""

    def play(mesh: Mesh) -> Any:
        rank = mesh.rank
        with replicated.run(mesh, SPEC, DeterministicRandomness(bytes([rank]) * 16)) as rt:
            others = binned(np.arange(2.0 * layout.rows).reshape(2, -1)[:1], 2) if rank == 1 else None
            return train(rt, layout, settings, own if rank == 0 else others, label if rank == 0 else None)

    ended = mesh_outcomes([play] * 3)
    assert all(isinstance(end, MpcError) for end in ended)
    return ended[0]


def test_labels_and_columns_that_do_not_fit_are_refused() -> None:
    x, layout = np.arange(20.0)[None], Layout(20, (1, 1))
    own, good = binned(x, 8), np.arange(20) % 2.0
    for label, kind, text in (
        (None, InvalidInput, "shape"),
        (good[:-1], InvalidInput, "shape"),
        (np.ones(20), InvalidInput, "all 20 values are equal"),
        (good * 2, ValueOutOfRange, "10 of 20 values are neither 0 nor 1"),
        (np.where(np.arange(20) == 3, np.nan, good), ValueOutOfRange, "1 of 20 values"),
    ):
        got = refusal(own, label, layout)
        assert isinstance(got, kind)
        assert text in str(got)
    for wrong in (None, binned(x[:, :-1], 8), binned(np.vstack([x, x]), 8), binned(x, 16)):
        assert isinstance(refusal(wrong, good, layout), InvalidInput)
    with pytest.raises(ValueOutOfRange):
        binned(np.full((1, 20), np.nan), 8)


@pytest.mark.parametrize(
    ("name", "layout", "settings"),
    [
        ("rows", Layout(limits.MAX_ROWS + 1, (1, 1)), SETTINGS),
        ("columns", Layout(10, (limits.MAX_COLUMNS, 1)), SETTINGS),
        ("rows times columns times cuts", Layout(limits.MAX_ROWS, (64, 64)), Settings(bins=16)),
    ],
)
def test_sizes_beyond_their_limits_are_refused(name: str, layout: Layout, settings: Settings) -> None:
    with pytest.raises(InvalidInput, match=f"^{name}: expected at most"):
        limits.check_sizes(layout, settings)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("trees", 0),
        ("trees", 101),
        ("depth", 0),
        ("depth", 6),
        ("bins", 1),
        ("bins", 33),
        ("rate", 0.0),
        ("rate", 1.5),
        ("l2", 0.0),
        ("l2", 101.0),
        ("gamma", -1.0),
        ("least_rows", 0),
    ],
)
def test_settings_beyond_their_limits_are_refused(name: str, value: Any) -> None:
    with pytest.raises(InvalidInput, match=f"^{name}: expected"):
        Settings(**{name: value})


def test_numbers_that_are_no_trees_are_refused() -> None:
    settings, layout = Settings(trees=1, depth=1, bins=4), Layout(100, (0, 1))
    good = np.array([0, 3, 2**30, 0, 5, -5, 25 << 24])
    forest = Forest.of(good, layout, settings)
    assert (forest.columns.tolist(), forest.cuts.tolist(), forest.errors.tolist()) == ([[0]], [[2]], [0.25])
    for wrong in (good[:-1], *(np.where(np.arange(7) == at, value, good) for at, value in ((1, 4), (2, -1)))):
        with pytest.raises(InvalidInput, match="trees: expected"):
            Forest.of(wrong, layout, settings)
