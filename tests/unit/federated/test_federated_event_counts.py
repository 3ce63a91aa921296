"""Events by bin on shares: those of the pooled rows, at the stated cost, to the owner of the bins alone."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from federated.binning import groups_of
from federated.merging import summed
from federated.vertical import event_counts
from federated.vertical.event_counts import SPEC, Layout, expected, group_events, own_events
from mpc import replicated
from mpc.errors import InvalidInput, MpcError, ValueOutOfRange
from mpc.mesh import Mesh
from mpc.testing import DeterministicRandomness, mesh_of, mesh_outcomes, run_mesh

RNG = np.random.default_rng(5)
ROWS, BINS, LEAST = 700, 9, 4


def example(columns: tuple[int, ...], rows: int = ROWS, bins: int = BINS) -> tuple[list[Any], Any]:
    """Bins of each owner's columns, some empty and some without events, and a label."""
    label = RNG.random(rows) < 0.2
    codes: list[Any] = []
    for count in columns:
        drawn = np.minimum(RNG.geometric(0.3, (count, rows)) - 1, bins - 1).astype(np.uint8)
        drawn[:, label & (drawn == 1).any(axis=0)] = 0
        codes.append(drawn if count else None)
    return codes, label


def parties(
    codes: list[Any],
    label: Any,
    layout: Layout,
    measured: list[Any] | None = None,
    seen: list[Any] | None = None,
) -> Any:
    def play(mesh: Mesh) -> Any:
        rank = mesh.rank

        def progress(done: int, total: int) -> None:
            if seen is not None:
                seen.append((rank, done, total))

        with replicated.run(mesh, SPEC, DeterministicRandomness(bytes([rank]) * 16)) as rt:
            own = codes[rank] if rank < len(codes) else None
            groups = group_events(rt, layout, label if rank == 0 else None, own, progress)
            opened = own_events(rt, layout, groups)
            rounds = rt.rounds
        if measured is not None:
            measured.append((rank, rounds, sum(one.stats.bytes_sent for one in mesh.channels.values())))
        return opened

    return play


def plain(codes: Any, label: Any, layout: Layout) -> Any:
    """The same from the pooled rows: int64[bins, columns]."""
    found = np.zeros((layout.bins, len(codes)), dtype=np.int64)
    for column, own in enumerate(codes):
        events = np.bincount(own[label], minlength=layout.bins)
        others = np.bincount(own[~label], minlength=layout.bins)
        starts = groups_of(np.stack([events, others]), layout.least)
        ends = [*(np.flatnonzero(starts)[1:] - 1).tolist(), layout.bins - 1]
        found[ends, column] = summed(events, starts)
    return found


@pytest.mark.parametrize(("columns", "size"), [((0, 2), 3), ((0, 1, 2), 3), ((0, 1, 0, 2), 4)])
@pytest.mark.parametrize("chunk_words", [2**20, 1000])
def test_each_owner_learns_the_groups_and_events_of_pooled_rows_of_its_own_columns(
    columns: tuple[int, ...], size: int, chunk_words: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(event_counts, "CHUNK_WORDS", chunk_words)
    codes, label = example(columns)
    layout = Layout(ROWS, columns, BINS, LEAST)
    measured: list[Any] = []
    seen: list[Any] = []
    ended = run_mesh([parties(codes, label, layout, measured, seen)] * size)
    for rank, opened in enumerate(ended):
        if rank < len(columns) and columns[rank]:
            assert opened.tolist() == plain(codes[rank], label, layout).tolist()
            assert (opened > 0).sum() > columns[rank]
        else:
            assert opened is None
    sent, rounds = expected(layout, size)
    assert sorted(measured) == [(rank, rounds, sent[rank]) for rank in range(size)]
    assert [done for rank, done, total in seen if rank == 0][-1] == ROWS


@pytest.mark.parametrize(("rows", "bins"), [(40, 1), (63, 2), (64, 21), (5000, 100)])
def test_counts_fill_words_without_running_into_each_other(rows: int, bins: int) -> None:
    codes, label = example((0, 2), rows, bins)
    codes[1][0] = bins - 1
    label[:2] = True, False
    layout = Layout(rows, (0, 2), bins, 1)
    assert layout.bins_per_word * layout.count_bits <= 62
    ended = run_mesh([parties(codes, label, layout)] * 3)
    assert ended[1].tolist() == plain(codes[1], label, layout).tolist()
    assert ended[1][-1, 0] == label.sum()


def test_no_group_has_few_events_or_few_other_rows() -> None:
    codes, label = example((0, 3))
    layout = Layout(ROWS, (0, 3), BINS, 30)
    opened = run_mesh([parties(codes, label, layout)] * 3)[1]
    for column, own in enumerate(codes[1]):
        ends = np.flatnonzero(opened[:, column])
        groups = np.searchsorted(ends, own)
        for counts in (np.bincount(groups[label]), np.bincount(groups[~label])):
            assert counts.min() >= 30


@pytest.mark.parametrize("name", ["keys", "input", "product", "planes", "open", "confirm"])
def test_a_changed_message_ends_the_run_without_output(name: str) -> None:
    codes, label = example((0, 1), 60, 3)
    changed: list[str] = []

    def tap(sender: int, receiver: int, message: str, payload: bytes) -> bytes | None:
        if message.endswith(f"/{name}") and not changed:
            changed.append(message)
            return bytes([payload[0] ^ 1]) + payload[1:]
        return None

    play = parties(codes, label, Layout(60, (0, 1), 3, 1))
    ended = mesh_outcomes([play] * 3, mesh_of(3, tap=tap, timeout_s=3))
    assert changed
    assert all(isinstance(end, MpcError) for end in ended)


@pytest.mark.parametrize(
    ("change", "error", "words"),
    [
        (
            {"label": np.zeros(60, np.bool_)},
            ValueOutOfRange,
            "label: expected 2 events and",
        ),
        ({"label": np.arange(60) != 3}, ValueOutOfRange, "label: expected 2 events and"),
        ({"label": np.ones(59, np.bool_)}, InvalidInput, "label: expected bool"),
        ({"codes": np.full((1, 60), 3, np.uint8)}, ValueOutOfRange, "bins: 60 of 60 are not below 3"),
        ({"codes": np.zeros((1, 59), np.uint8)}, InvalidInput, "bins: expected the shape"),
        ({"codes": None}, InvalidInput, "expected bins at the owners of columns"),
    ],
)
def test_inputs_that_do_not_fit_end_the_run_for_all(
    change: dict[str, Any], error: type[Exception], words: str
) -> None:
    codes, label = example((0, 1), 60, 3)
    label[:2], label[2:4] = True, False
    codes[1] = change.get("codes", codes[1])
    play = parties(codes, change.get("label", label), Layout(60, (0, 1), 3, 2))
    ended = mesh_outcomes([play] * 3, mesh_of(3, timeout_s=3))
    assert all(isinstance(end, Exception) for end in ended)
    found = ended[0 if "label" in change else 1]
    assert isinstance(found, error)
    assert words in str(found)


@pytest.mark.parametrize(
    "sizes",
    [(10, (0, 1), 0, 1), (10, (0, 1), 129, 1), (10, (0, 1), 3, 11), (10, (1, 1), 3, 1), (10, (0,), 3, 1)],
)
def test_sizes_that_cannot_be_are_refused(sizes: tuple[Any, ...]) -> None:
    with pytest.raises(InvalidInput):
        Layout(*sizes)


def test_messages_of_other_owners_do_not_depend_on_the_bins() -> None:
    """Sizes and labels are the same for any bins, and what an owner sends of them is masked."""

    def transcript(codes: list[Any], label: Any) -> list[Any]:
        messages: list[Any] = []

        def tap(sender: int, receiver: int, message: str, payload: bytes) -> None:
            messages.append((sender, receiver, message, payload))

        play = parties(codes, label, Layout(300, (0, 1), 4, 2))
        run_mesh([play] * 3, mesh_of(3, tap=tap))
        return messages

    codes, label = example((0, 1), 300, 4)
    others = [None, np.zeros((1, 300), np.uint8)]
    first, second = transcript(codes, label), transcript(others, label)
    shapes = [sorted((*one[:3], len(one[3])) for one in several) for several in (first, second)]
    assert shapes[0] == shapes[1]
    inputs = b"".join(one[3] for one in first if one[0] == 1 and one[2].endswith("/input"))
    share_of_ones = np.unpackbits(np.frombuffer(inputs, np.uint8)).mean()
    assert abs(share_of_ones - 0.5) < 6 * 0.5 / np.sqrt(8 * len(inputs))
