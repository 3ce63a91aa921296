"""Rows are assigned to the nearest of split centres: as in clear, at the stated cost, to one owner alone."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import pairwise
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from federated.shared_kmeans import ASSIGNMENT, assign, assignment_cost, assignment_sent, nearness
from federated.shared_kmeans import assignment as module
from federated.shared_kmeans import settings as limits
from federated.vertical import Layout
from mpc import replicated
from mpc.errors import InvalidInput, MpcError, ValueOutOfRange
from mpc.mesh import Mesh
from mpc.replicated import costs as runtime_costs
from mpc.testing import DeterministicRandomness, mesh_of, mesh_outcomes, run_mesh

Floats = NDArray[np.float64]
ROWS = 150


class Gone(Exception):
    """The process of an owner ends."""


def example(
    columns: Sequence[int], clusters: int, rows: int = ROWS, seed: int = 3
) -> tuple[list[Floats], list[Floats]]:
    """By owner the centres and the rows, in the unit cube."""
    draw, width = np.random.default_rng(seed), sum(columns)
    centres, points = draw.random((clusters, width)), draw.random((width, rows))
    edges = list(pairwise(np.cumsum((0, *columns))))
    return [centres[:, low:high] for low, high in edges], [points[low:high] for low, high in edges]


def play_of(
    centres: Sequence[Floats], columns: Sequence[Floats], *, measured: list[Any] | None = None
) -> Callable[[Mesh], Any]:
    layout, clusters = Layout(columns[0].shape[1], tuple(map(len, columns))), len(centres[0])

    def play(mesh: Mesh) -> Any:
        rank = mesh.rank
        own = nearness(centres[rank], columns[rank]) if rank < len(columns) else None
        with replicated.run(mesh, ASSIGNMENT, DeterministicRandomness(bytes([rank]) * 16)) as rt:
            found = assign(rt, layout, clusters, own)
            rounds = rt.rounds
        if measured is not None:
            sent = sum(channel.stats.bytes_sent for channel in mesh.channels.values())
            measured.append((rank, rounds, sent))
        return found

    return play


@pytest.mark.parametrize(
    ("columns", "size", "clusters"),
    [((1, 2), 3, 3), ((2, 1, 1), 3, 7), ((1, 1, 1, 1), 4, 2), ((1, 1, 1), 4, 1)],
)
def test_the_first_owner_alone_learns_the_nearest_centre_of_each_row(
    columns: tuple[int, ...], size: int, clusters: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "CHUNK_CELLS", 400)
    centres, points = example(columns, clusters)
    found, *others = run_mesh([play_of(centres, points)] * size)
    distances = ((np.vstack(points).T[:, None] - np.hstack(centres)[None]) ** 2).sum(axis=2)
    np.testing.assert_array_equal(found, distances.argmin(axis=1))
    assert all(one is None for one in others)


def test_of_centres_as_near_the_first_counts() -> None:
    centres = [np.array([[0.25], [0.75], [0.25]]), np.array([[0.5], [0.5], [0.5]])]
    points = [np.array([[0.5, 0.0, 1.0, 0.25]]), np.array([[0.0, 1.0, 0.5, 0.5]])]
    found, *_ = run_mesh([play_of(centres, points)] * 3)
    assert found.tolist() == [0, 0, 1, 0]


def test_what_is_compared_fits_the_stated_width() -> None:
    for columns in range(1, limits.MAX_COLUMNS + 1):
        farthest = columns * 2**limits.FRACTION + 16
        assert farthest < 2 ** (module._bits(Layout(9, (columns, 0))) - 1)
    corners = [np.array([[0.0], [1.0]]), np.array([[0.0], [1.0]])]
    points = [np.array([[0.0, 1.0, 0.4]]), np.array([[0.0, 1.0, 0.4]])]
    assert run_mesh([play_of(corners, points)] * 3)[0].tolist() == [0, 1, 0]


@pytest.mark.parametrize(
    ("columns", "size", "clusters"), [((1, 1), 3, 2), ((1, 2), 3, 5), ((1, 1, 1, 1), 4, 3), ((1, 1, 1), 4, 1)]
)
def test_rounds_and_bytes_are_as_stated(columns: tuple[int, ...], size: int, clusters: int) -> None:
    centres, points = example(columns, clusters, 130)
    measured, layout = list[Any](), Layout(130, columns)
    run_mesh([play_of(centres, points, measured=measured)] * size)
    cost, whole = assignment_cost(layout, clusters), runtime_costs.run(size)
    for rank, rounds, sent in measured:
        assert rounds == cost.rounds + whole.rounds
        own = whole.sent[rank] if rank < 3 else whole.outside
        assert sent == assignment_sent(layout, clusters, cost, rank) + own


@pytest.mark.parametrize("label", ["keys", "input", "product", "planes", "open", "confirm"])
def test_a_changed_message_ends_the_run_for_everybody(label: str) -> None:
    seen = list[str]()

    def tap(sender: int, receiver: int, name: str, payload: bytes) -> bytes | None:
        if name.endswith(f"/{label}"):
            seen.append(name)
            if len(seen) == 1:
                return bytes([payload[0] ^ 1]) + payload[1:]
        return None

    ended = mesh_outcomes([play_of(*example((1, 1), 3))] * 3, mesh_of(3, tap=tap, timeout_s=5))
    assert seen
    assert all(isinstance(end, MpcError) for end in ended)


def test_a_party_that_leaves_ends_the_run_for_the_others() -> None:
    def tap(sender: int, receiver: int, name: str, payload: bytes) -> None:
        if sender == 1 and name.endswith("/product"):
            raise Gone

    ended = mesh_outcomes([play_of(*example((1, 1), 3))] * 3, mesh_of(3, tap=tap, timeout_s=5))
    assert isinstance(ended.pop(1), Gone)
    assert all(isinstance(end, MpcError) for end in ended)


def test_messages_hang_on_public_sizes_alone_and_only_the_first_owner_is_told() -> None:
    shapes = []
    for seed in (1, 2):
        seen = list[tuple[int, int, str, bytes]]()
        meshes = mesh_of(3, tap=lambda *message, seen=seen: seen.append(message))
        run_mesh([play_of(*example((1, 1), 3, seed=seed))] * 3, meshes)
        opened = [message for message in seen if message[2].endswith("/open")]
        assert [(receiver, len(payload)) for _, receiver, _, payload in opened] == [(0, 8 * ROWS)]
        shapes.append(sorted((*message[:3], len(message[3])) for message in seen))
    assert shapes[0] == shapes[1]


def refusal(own: Any, layout: Layout, clusters: int) -> Any:
    """What stops rank 0."""

    def play(mesh: Mesh) -> Any:
        with replicated.run(mesh, ASSIGNMENT, DeterministicRandomness(bytes([mesh.rank]) * 16)) as rt:
            other = np.zeros((layout.rows, clusters)) if mesh.rank == 1 else None
            return assign(rt, layout, clusters, own if mesh.rank == 0 else other)

    ended = mesh_outcomes([play] * 3)
    assert all(isinstance(end, MpcError) for end in ended)
    return ended[0]


def test_parts_that_do_not_fit_are_refused_before_anything_is_sent_of_them() -> None:
    layout, good = Layout(10, (1, 1)), np.zeros((10, 2))
    for wrong, kind, words in (
        (None, InvalidInput, r"shape (10, 2)"),
        (good[:-1], InvalidInput, "shape"),
        (good + 1.5, ValueOutOfRange, "20 of 20 values are not within 1"),
        (np.where(np.arange(20).reshape(10, 2) == 3, np.nan, good), ValueOutOfRange, "1 of 20 values"),
    ):
        got = refusal(wrong, layout, 2)
        assert isinstance(got, kind)
        assert words in str(got)
    for sizes, clusters in ((layout, 0), (Layout(limits.MAX_ROWS + 1, (1, 1)), 1)):
        assert "at most 1048576 rows" in str(refusal(None, sizes, clusters))
