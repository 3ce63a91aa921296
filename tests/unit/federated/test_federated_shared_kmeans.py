"""k-means on shares: the clusters of plaintext Lloyd, at the stated cost, bad input refused, nothing seen."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from itertools import pairwise
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from federated.horizontal.clusters import Clusters, directions, start
from federated.shared_kmeans import SPEC, Centres, costs, own_centres, own_columns, train, training
from federated.shared_kmeans import settings as limits
from federated.shared_kmeans.settings import Widths
from federated.vertical import Layout
from mpc import replicated
from mpc.errors import InvalidInput, MpcError, ValueOutOfRange
from mpc.mesh import Mesh
from mpc.replicated import costs as runtime_costs
from mpc.testing import DeterministicRandomness, mesh_of, mesh_outcomes, run_mesh

Floats = NDArray[np.float64]
ROWS = 240
MIDDLES = np.array([[0.15, 0.2, 0.3, 0.8], [0.5, 0.8, 0.25, 0.3], [0.85, 0.35, 0.75, 0.6]])
PRECISE = 2.0**-20
"""Of the range of a column."""


class Gone(Exception):
    """The process of an owner ends."""


def agreed_of(columns: int, **change: Any) -> Clusters:
    names = tuple(f"c{number}" for number in range(columns))
    given: dict[str, Any] = {"count": 3, "seed": 5, "least": 10, "rounds": 6, **change}
    return Clusters(names, (-10.0,) * columns, (30.0,) * columns, **given)


def example(columns: Sequence[int], rows: int = ROWS, *, spread: float = 0.06) -> list[Floats]:
    """Columns of each owner, of rows around three middles, some beyond the bounds."""
    draw = np.random.default_rng(37)
    width = sum(columns)
    points = MIDDLES[draw.integers(0, 3, rows), :width] + draw.normal(0, spread, (rows, width))
    points[:2] = [[-0.2] * width, [1.4] * width]
    values = (-10 + 40 * points).T
    return [values[low:high] for low, high in pairwise(np.cumsum((0, *columns)))]


def lloyd(
    agreed: Clusters, parts: Sequence[Floats], *, ends_early: bool = False
) -> tuple[Any, Any, Any, int]:
    """The textbook in clear: sizes (0 of small clusters), squared distances and means, and the steps."""
    low, high = np.array(agreed.lower), np.array(agreed.upper)
    points = (np.clip(np.vstack(parts).T, low, high) - low) / (high - low)
    centres, codes = start(agreed), np.full(len(points), -1)
    for step in range(1, agreed.rounds + 1):
        before = codes
        codes = np.array([int(np.argmin([np.sum((row - one) ** 2) for one in centres])) for row in points])
        sizes = np.bincount(codes, minlength=agreed.count)
        beside = points[codes == sizes.argmax()].mean(axis=0) + directions(agreed) / 1024
        means = np.array(
            [points[codes == at].mean(axis=0) if sizes[at] else beside[at] for at in range(agreed.count)]
        )
        if ends_early and step > 1 and np.count_nonzero(codes != before) < agreed.least:
            break
        centres = np.where((sizes >= agreed.least)[:, None], means, beside)
    shown = sizes >= agreed.least
    if 0 < sizes[~shown].sum() < agreed.least:
        shown &= sizes != sizes[shown].min()
    inertia = np.array([np.sum((points[codes == at] - means[at]) ** 2) for at in range(agreed.count)])
    return np.where(shown, sizes, 0), inertia, low + means * (high - low), step


def play_of(
    parts: Sequence[Floats],
    agreed: Clusters,
    *,
    ends_early: bool = False,
    opens: Callable[[Any, Layout, Any], Any] = lambda rt, layout, trained: rt.open(trained.clusters, [0]),
    measured: list[Any] | None = None,
) -> Callable[[Mesh], Any]:
    layout = Layout(parts[0].shape[1], tuple(map(len, parts)))

    def play(mesh: Mesh) -> Any:
        rank = mesh.rank
        with replicated.run(mesh, SPEC, DeterministicRandomness(bytes([rank]) * 16)) as rt:
            own = None
            if rank < len(parts):
                own = own_columns(agreed, training.places_of(layout, rank), list(parts[rank]))
            trained = train(rt, layout, agreed, own, ends_early=ends_early)
            opened = opens(rt, layout, trained)
            rounds = rt.rounds
        if measured is not None:
            sent = sum(channel.stats.bytes_sent for channel in mesh.channels.values())
            measured.append((rank, rounds, sent, trained.steps))
        return opened, trained.steps, trained.is_settled

    return play


def found(
    parts: Sequence[Floats], agreed: Clusters, *, size: int = 3, ends_early: bool = False
) -> tuple[Centres, int, bool]:
    """Train on shares and open to rank 0; how many steps all took, and whether they ended it."""
    (opened, steps, is_settled), *others = run_mesh([play_of(parts, agreed, ends_early=ends_early)] * size)
    assert all(one == (None, steps, is_settled) for one in others)
    return Centres.of(opened, agreed), steps, is_settled


def assert_plain(parts: Sequence[Floats], agreed: Clusters, *, size: int = 3, **more: Any) -> Centres:
    centres, steps, is_settled = found(parts, agreed, size=size, **more)
    sizes, inertia, means, expected_steps = lloyd(agreed, parts, **more)
    shown = np.flatnonzero(sizes)
    assert centres.inertia == pytest.approx(inertia[shown], abs=ROWS * (len(agreed.names) + 1) / 2**21)
    assert centres.numbers.tolist() == (shown + 1).tolist()
    assert centres.rows.tolist() == sizes[shown].tolist()
    np.testing.assert_allclose(centres.values, means[shown], rtol=0, atol=40 * PRECISE)
    assert steps == expected_steps
    assert is_settled == (bool(more) and steps < agreed.rounds)
    return centres


@pytest.mark.parametrize(("columns", "size"), [((1, 2), 3), ((2, 1, 1), 3), ((1, 1, 1, 1), 4)])
def test_clusters_are_those_of_lloyds_algorithm_on_pooled_columns(
    columns: tuple[int, ...], size: int
) -> None:
    parts = example(columns)
    for seed in (1, 5):
        centres = assert_plain(parts, agreed_of(sum(columns), seed=seed), size=size)
        assert centres.rows.sum() == ROWS


def test_the_middles_of_well_parted_rows_are_found_in_chunks_too(monkeypatch: pytest.MonkeyPatch) -> None:
    parts, agreed = example((2, 2)), agreed_of(4)
    whole, _, _ = found(parts, agreed)
    for module in (training, costs):
        monkeypatch.setattr(module, "CHUNK_CELLS", 300)
    chunked = assert_plain(parts, agreed)
    np.testing.assert_allclose(chunked.values, whole.values, atol=40 * PRECISE)
    order = whole.values[:, 0].argsort()
    np.testing.assert_allclose(whole.values[order], -10 + 40 * MIDDLES, atol=1)


def test_an_early_end_comes_when_fewer_rows_than_the_least_change() -> None:
    parts = example((1, 2))
    agreed = agreed_of(3, rounds=30)
    centres = assert_plain(parts, agreed, ends_early=True)
    assert len(centres.numbers) == 3
    steps = [found(parts, replace(agreed, least=least), ends_early=True)[1] for least in (1, 60)]
    assert steps[0] > steps[1]


def test_small_clusters_are_put_beside_the_largest_and_split_it() -> None:
    """All rows are in one corner of the bounds, so most centres begin without any."""
    draw = np.random.default_rng(4)
    parts = [draw.uniform(-10, -4, (1, 200)), draw.uniform(-10, -4, (2, 200))]
    agreed = agreed_of(3, count=4, rounds=8)
    assert (np.bincount(nearest_of(parts, agreed), minlength=4) == 0).sum() >= 2
    centres = assert_plain(parts, agreed)
    assert len(centres.numbers) == 4


def nearest_of(parts: Sequence[Floats], agreed: Clusters) -> Any:
    points = (np.vstack(parts).T + 10) / 40
    return ((points[:, None] - start(agreed)[None]) ** 2).sum(axis=2).argmin(axis=1)


@pytest.mark.parametrize(
    ("sizes", "least", "shown"),
    [
        ((30, 25, 25, 20), 20, (1, 2, 3, 4)),
        ((50, 40, 12, 11), 20, (1, 2)),
        ((50, 40, 30, 6), 20, (1, 2)),
        ((50, 30, 30, 6), 20, (1,)),
        ((80, 6, 5, 4), 20, ()),
    ],
    ids=["all large", "two small", "few rows", "few rows and two alike", "one large"],
)
def test_small_clusters_stay_closed_and_the_smallest_of_the_others_where_they_have_few_rows(
    sizes: tuple[int, ...], least: int, shown: tuple[int, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    apart = np.array([[0.1, 0.1], [0.5, 0.5], [0.9, 0.9], [0.9, 0.1]])
    monkeypatch.setattr(training, "start", lambda agreed: apart)
    draw = np.random.default_rng(1)
    points = np.repeat(apart, sizes, axis=0) + draw.uniform(-0.05, 0.05, (sum(sizes), 2))
    parts = list((-10 + 40 * points).T[:, None])
    centres, _, _ = found(parts, agreed_of(2, count=4, least=least, rounds=1))
    assert tuple(centres.numbers.tolist()) == shown
    for number, rows, values in zip(centres.numbers, centres.rows, centres.values, strict=True):
        members = np.repeat(np.arange(4), sizes) == number - 1
        assert rows == sizes[number - 1]
        np.testing.assert_allclose(values, np.vstack(parts)[:, members].mean(axis=1), atol=40 * PRECISE)


def test_each_owner_is_told_the_centres_in_its_own_columns() -> None:
    parts, agreed = example((1, 2, 1)), agreed_of(4)
    whole, _, _ = found(parts, agreed, size=4)
    ended = run_mesh([play_of(parts, agreed, opens=own_centres)] * 4)
    assert ended[3][0] is None
    for rank, places in enumerate((slice(0, 1), slice(1, 3), slice(3, 4))):
        own = Centres.of(ended[rank][0], agreed, places)
        assert own.rows.tolist() == whole.rows.tolist()
        np.testing.assert_allclose(own.values, whole.values[:, places], atol=40 * PRECISE)


def test_values_on_the_bounds_keep_what_is_compared_in_the_stated_width() -> None:
    for columns in range(1, limits.MAX_COLUMNS + 1):
        farthest = columns * (2**limits.FRACTION + training._ASIDE + 4) ** 2
        assert farthest < 2 ** (Widths.of(Layout(9, (columns, 0))).distance - 1)
    corners = np.array([[0.0, 0], [1, 1], [0, 1], [1, 0]]).repeat(12, axis=0)
    parts = list((-10 + 40 * corners).T[:, None])
    assert_plain(parts, agreed_of(2, count=4, least=6))


@pytest.mark.parametrize(
    ("columns", "size", "change", "ends_early"),
    [
        ((1, 1), 3, {"count": 2, "rounds": 1}, False),
        ((1, 2), 3, {"rounds": 3}, True),
        ((1, 1, 1, 1), 4, {"count": 5, "rounds": 2}, True),
        ((1, 1, 1), 4, {"rounds": 2}, False),
    ],
)
def test_rounds_and_bytes_are_as_stated(
    columns: tuple[int, ...], size: int, change: dict[str, Any], ends_early: bool
) -> None:
    parts, agreed = example(columns, 130), agreed_of(sum(columns), **change)
    layout, measured = Layout(130, columns), list[Any]()
    run_mesh([play_of(parts, agreed, ends_early=ends_early, measured=measured)] * size)
    whole = runtime_costs.run(size)
    opened = runtime_costs.opened(agreed.count * (2 + len(agreed.names)), [0])
    for rank, rounds, sent, steps in measured:
        trained = costs.training(layout, agreed, size, steps, ends_early=ends_early)
        assert rounds == trained.rounds + whole.rounds + opened.rounds
        own = whole.sent[rank] + opened.sent[rank] if rank < 3 else whole.outside
        assert sent == costs.sent(layout, trained, rank) + own


def test_rounds_and_bytes_of_split_centres_are_as_stated() -> None:
    parts, agreed, measured = example((1, 1, 1, 1), 60), agreed_of(4, rounds=1), list[Any]()
    run_mesh([play_of(parts, agreed, opens=own_centres, measured=measured)] * 4)
    layout, whole = Layout(60, (1, 1, 1, 1)), runtime_costs.run(4)
    cost = costs.training(layout, agreed, 4, 1) + costs.own_centres(layout, agreed)
    for rank, rounds, sent, _ in measured:
        assert rounds == cost.rounds + whole.rounds
        own = whole.sent[rank] if rank < 3 else whole.outside
        assert sent == costs.sent(layout, cost, rank) + own


@pytest.mark.parametrize("label", ["keys", "input", "product", "planes", "open", "confirm"])
def test_a_changed_message_ends_the_run_for_everybody(label: str) -> None:
    seen = list[str]()

    def tap(sender: int, receiver: int, name: str, payload: bytes) -> bytes | None:
        if name.endswith(f"/{label}"):
            seen.append(name)
            if len(seen) == 1:
                return bytes([payload[0] ^ 1]) + payload[1:]
        return None

    play = play_of(example((1, 1), 80), agreed_of(2, rounds=1))
    ended = mesh_outcomes([play] * 3, mesh_of(3, tap=tap, timeout_s=5))
    assert seen
    assert all(isinstance(end, MpcError) for end in ended)


@pytest.mark.parametrize("rank", [0, 1, 2])
def test_a_party_that_leaves_ends_the_run_for_the_others(rank: int) -> None:
    seen = list[str]()

    def tap(sender: int, receiver: int, name: str, payload: bytes) -> None:
        if sender == rank and name.endswith("/product"):
            seen.append(name)
            if len(seen) == 5:
                raise Gone

    play = play_of(example((1, 1), 80), agreed_of(2, rounds=2))
    ended = mesh_outcomes([play] * 3, mesh_of(3, tap=tap, timeout_s=5))
    assert isinstance(ended.pop(rank), Gone)
    assert all(isinstance(end, MpcError) for end in ended)


def transcript(parts: Sequence[Floats], agreed: Clusters) -> list[tuple[int, int, str, bytes]]:
    """All messages of a run in which nobody learns the clusters: from whom, to whom, what."""
    seen = list[tuple[int, int, str, bytes]]()
    play = play_of(parts, agreed, opens=lambda rt, layout, trained: None)
    run_mesh([play] * 3, mesh_of(3, tap=lambda *message: seen.append(message)))
    return sorted(seen, key=lambda message: message[:2])


def test_messages_hang_on_public_sizes_alone_and_nothing_is_opened() -> None:
    agreed = agreed_of(2, rounds=3)
    corner = [np.arange(90.0)[None] % 2 - 10, np.arange(90.0)[None] % 3 - 10]
    shapes = [
        [(*message[:3], len(message[3])) for message in transcript(parts, agreed)]
        for parts in (example((1, 1), 90), corner)
    ]
    assert shapes[0] == shapes[1]
    assert not any(name.endswith("/open") for *_, name, _ in shapes[0])


def test_what_a_computing_party_receives_is_uniform() -> None:
    parts = [np.arange(90.0)[None] % 2, np.arange(90.0)[None] % 3]
    messages = transcript(parts, agreed_of(2, rounds=4))
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


def test_the_early_end_alone_is_told() -> None:
    seen = list[tuple[str, int]]()

    def tap(sender: int, receiver: int, name: str, payload: bytes) -> None:
        if name.endswith("/open"):
            seen.append((name, len(payload)))

    parts, agreed = example((1, 1), 90), agreed_of(2, rounds=4, least=1)
    play = play_of(parts, agreed, ends_early=True, opens=lambda rt, layout, trained: None)
    ended = run_mesh([play] * 3, mesh_of(3, tap=tap))
    steps = ended[0][1]
    assert steps > 1
    assert len(seen) == 3 * (steps - 1)
    assert {size for _, size in seen} == {8}


@pytest.mark.parametrize(
    ("columns", "kind", "words"),
    [
        ([[np.nan, 1.0, 2.0], [1.0, 2, 3]], ValueOutOfRange, "column c1: 1 of 3 values are missing"),
        ([[1.0, 1, 2], [1.0, np.inf, -np.inf]], ValueOutOfRange, "column c2: 2 of 3 values are missing"),
        ([[1.0, 1, 1], [1.0, 2, 3]], InvalidInput, "column c1: all 3 values are equal within the bounds"),
        ([[1.0, 2, 3], [31.0, 40, 50]], InvalidInput, "column c2: all 3 values are equal within the bounds"),
        ([[1.0, 2, 3]], InvalidInput, "expected c1, c2, got 1"),
    ],
)
def test_columns_that_do_not_fit_are_refused_at_their_owner(
    columns: list[Any], kind: type[Exception], words: str
) -> None:
    with pytest.raises(kind, match=words):
        own_columns(agreed_of(3), slice(1, 3), [np.array(one, dtype=float) for one in columns])


def test_columns_are_scaled_by_the_bounds_and_clipped_to_them() -> None:
    scaled = own_columns(agreed_of(3), slice(1, 2), [np.array([-50.0, -10, 0, 30, 31])])
    np.testing.assert_allclose(scaled, [[0, 0, 0.25, 1, 1]])


def refusal(own: Any, layout: Layout, agreed: Clusters) -> Any:
    """What stops rank 0."""

    def play(mesh: Mesh) -> Any:
        with replicated.run(mesh, SPEC, DeterministicRandomness(bytes([mesh.rank]) * 16)) as rt:
            other = np.linspace(0, 1, layout.rows)[None] if mesh.rank == 1 else None
            return train(rt, layout, agreed, own if mesh.rank == 0 else other)

    ended = mesh_outcomes([play] * 3)
    assert all(isinstance(end, MpcError) for end in ended)
    return ended[0]


def test_arrays_that_do_not_fit_the_layout_or_the_unit_cube_are_refused() -> None:
    layout, agreed, good = Layout(40, (1, 1)), agreed_of(2, rounds=1), np.linspace(0, 1, 40)[None]
    for wrong, kind, words in (
        (None, InvalidInput, "shape"),
        (good[:, :-1], InvalidInput, "shape"),
        (good * 2, ValueOutOfRange, "20 of 40 values are not from 0 to 1"),
        (np.where(good == 1, np.nan, good), ValueOutOfRange, "1 of 40 values"),
    ):
        got = refusal(wrong, layout, agreed)
        assert isinstance(got, kind)
        assert words in str(got)


@pytest.mark.parametrize(
    ("words", "layout", "agreed"),
    [
        ("columns: expected the 3 that were agreed, got 2", Layout(100, (1, 1)), agreed_of(3)),
        ("rows: expected at least 30 for 3 clusters, got 29", Layout(29, (1, 1)), agreed_of(2)),
        ("rows: expected at most", Layout(limits.MAX_ROWS + 1, (1, 1)), agreed_of(2)),
        ("columns: expected at most 256", Layout(100, (256, 1)), agreed_of(257)),
        ("rows times columns and clusters", Layout(limits.MAX_ROWS, (30, 1)), agreed_of(31)),
    ],
)
def test_sizes_beyond_their_limits_are_refused(words: str, layout: Layout, agreed: Clusters) -> None:
    with pytest.raises(InvalidInput, match=f"^{words}"):
        limits.check_sizes(layout, agreed)


def test_numbers_that_are_no_clusters_are_refused() -> None:
    agreed, one = agreed_of(2, count=2), 2**limits.FRACTION
    good = np.array([[10, -8, one // 2, one + 3], [0, 0, 0, 0]])
    centres = Centres.of(good, agreed)
    assert (centres.numbers.tolist(), centres.rows.tolist(), centres.inertia.tolist()) == ([1], [10], [0])
    assert centres.values.tolist() == [[10.0, 30.0]]
    for row, column, value, words in (
        (0, 0, 9, "numbers of rows"),
        (0, 0, -10, "numbers of rows"),
        (0, 0, 2**21, "numbers of rows"),
        (1, 1, 1, "nothing of small clusters"),
        (1, 2, 1, "nothing of small clusters"),
        (0, 1, -241, "within the bounds"),
        (0, 1, 21 * one, "within the bounds"),
        (0, 2, -4, "within the bounds"),
        (0, 3, one + 4, "within the bounds"),
    ):
        wrong = good.copy()
        wrong[row, column] = value
        with pytest.raises(InvalidInput, match=f"clusters: expected .*{words}"):
            Centres.of(wrong, agreed)
    with pytest.raises(InvalidInput, match=r"clusters: expected 2 of 2 columns, got .* \(2, 3\)"):
        Centres.of(good[:, :3], agreed)
