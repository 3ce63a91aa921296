"""Scores of other rows by boosted trees whose parts stay with their owners."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from federated.boosting import SCORING, OwnSplit, Split, Tree, margins_of, scoring, tell_sides
from mpc.errors import InputsDisagree, InvalidInput, MalformedMessage, MpcError, ValueOutOfRange
from mpc.mesh import Mesh, mesh_run
from mpc.testing import mesh_of, mesh_outcomes, run_mesh

Floats = NDArray[np.float64]
RNG = np.random.default_rng(5)
ROWS = scoring.PIECE_ROWS + 5
COLUMNS = [[RNG.normal(size=ROWS) for _ in range(count)] for count in (1, 2, 1)]
OWN = [
    [OwnSplit(0, 0.5)],
    [OwnSplit(1, -0.2), OwnSplit(0, 0.1), OwnSplit(1, 1.0)],
    [OwnSplit(0, 0.0)],
]
BASE = (0.25, -1.0)
TREES = [
    Tree({1: Split(1, 0, 9.0), 2: Split(0, 0, 3.0), 5: Split(2, 0, 1.0)}, {3: 0.1, 4: 0.2, 10: 0.4, 11: 0.8}),
    Tree({}, {1: 2.0}),
    Tree({1: Split(1, 1, 5.0), 3: Split(1, 2, 1.0)}, {2: -0.5, 6: 0.05, 7: 0.7}),
    Tree({}, {1: -3.0}),
]


def parties(
    columns: Sequence[Sequence[Floats]] = COLUMNS, own: Sequence[Sequence[OwnSplit]] = OWN
) -> list[Callable[[Mesh], Any]]:
    def play(mesh: Mesh) -> Any:
        rank = mesh.rank
        with mesh_run(mesh, SCORING) as peers:
            if rank == 0:
                return margins_of(peers, BASE, TREES, columns[0], own[0])
            return tell_sides(peers, columns[rank], own[rank])

    return [play] * len(columns)


def plain() -> Floats:
    """Row by row."""
    margins = np.repeat(np.array(BASE)[:, None], ROWS, axis=1)
    for number, tree in enumerate(TREES):
        for row in range(ROWS):
            node = 1
            while node not in tree.leaves:
                split = tree.splits[node]
                own = OWN[split.owner][split.record]
                node = 2 * node + (COLUMNS[split.owner][own.column][row] > own.threshold)
            margins[number % 2, row] += tree.leaves[node]
    return margins


def test_margins_are_those_of_columns_in_one_place_and_cost_what_is_said() -> None:
    meshes = mesh_of(3)
    margins, *others = run_mesh(parties(), meshes)
    np.testing.assert_allclose(margins, plain(), atol=1e-12)
    assert others == [None, None]
    for rank, mesh in enumerate(meshes):
        stats = [channel.stats for channel in mesh.channels.values()]
        assert sum(one.bytes_sent for one in stats) == scoring.bytes_sent(
            rank, ROWS, [len(one) for one in OWN]
        )
        assert sum(one.rounds for one in stats) == scoring.rounds(3, rank)


def test_an_owner_of_no_split_tells_nothing_of_its_rows() -> None:
    seen: list[str] = []

    def tap(sender: int, receiver: int, label: str, payload: bytes) -> bytes | None:
        seen.append(label.rpartition("/")[2])
        return None

    def play(mesh: Mesh) -> Any:
        with mesh_run(mesh, SCORING) as peers:
            if mesh.rank:
                return tell_sides(peers, COLUMNS[1], [])
            return margins_of(peers, BASE, TREES[1::2], COLUMNS[0], [])

    margins, _ = run_mesh([play, play], mesh_of(2, tap=tap))
    np.testing.assert_allclose(margins[:, 0], [2.25, -4.0])
    assert "sides" not in seen


def test_what_the_others_receive_hangs_on_no_value() -> None:
    seen: list[list[tuple[str, bytes]]] = []
    for columns in (COLUMNS, [[-one for one in own] for own in COLUMNS]):
        got: list[tuple[str, bytes]] = []

        def tap(
            sender: int, receiver: int, label: str, payload: bytes, got: list[tuple[str, bytes]] = got
        ) -> bytes | None:
            if receiver == 1 and not label.endswith("confirm"):
                got.append((label, payload))
            return None

        run_mesh(parties(columns), mesh_of(3, tap=tap))
        seen.append(got)
    assert seen[0] == seen[1]
    assert seen[0]


def test_bad_input_and_parts_of_other_trees_end_the_run() -> None:
    fewer = [COLUMNS[0], [one[:-1] for one in COLUMNS[1]], COLUMNS[2]]
    missing = [COLUMNS[0], [np.where(COLUMNS[1][0] > 0, np.nan, 1.0), COLUMNS[1][1]], COLUMNS[2]]
    for parts, error, words in (
        (parties(fewer), InputsDisagree, "scored rows: own side has"),
        (parties(own=[OWN[0], OWN[1][:-1], OWN[2]]), InputsDisagree, "splits: own side has"),
        (parties(missing), ValueOutOfRange, "values are not finite"),
        (parties([COLUMNS[0], [], COLUMNS[2]]), InvalidInput, "expected columns of one length"),
    ):
        ended = mesh_outcomes(parts, mesh_of(3, timeout_s=4))
        assert all(isinstance(end, MpcError) for end in ended)
        assert any(isinstance(end, error) and words in str(end) for end in ended), ended


@pytest.mark.parametrize("change", [lambda payload: payload[:-1] + b"\x01", lambda payload: payload + b"\0"])
def test_sides_of_another_form_are_refused(change: Callable[[bytes], bytes]) -> None:
    def tap(sender: int, receiver: int, label: str, payload: bytes) -> bytes | None:
        return change(payload) if label.endswith("/sides") else None

    ended = mesh_outcomes(parties(), mesh_of(3, tap=tap, timeout_s=4))
    assert isinstance(ended[0], MalformedMessage)
    assert all(isinstance(end, MpcError) for end in ended)
