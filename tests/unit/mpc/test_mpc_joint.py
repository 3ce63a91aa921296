"""Pooled figures: exact over all owners' rows, small cells closed, quantiles by bisection, no more said."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mpc.errors import (
    CohortTooSmall,
    InputsDisagree,
    InvalidInput,
    MalformedMessage,
    MpcError,
    SharesDisagree,
    ValueOutOfRange,
)
from mpc.mesh import Mesh
from mpc.replicated.links import Links
from mpc.stats import joint
from mpc.stats.joint import Part, Pick, Query
from mpc.stats.joint_shares import JointFigures, JointShares, combine, from_integers, to_integers
from mpc.testing import DeterministicRandomness, mesh_of, mesh_outcomes

LOW, HIGH = -50, 70
PICKS = tuple(Pick(0, LOW, HIGH, place, 1000) for place in (0, 250, 500, 1000))


@dataclass
class Owner:
    """Rows of one owner: their cells, and one value each."""

    cells: Any
    values: Any

    def part(self, k: int, closed: Sequence[int] = ()) -> Part:
        order = np.lexsort((self.values, self.cells))
        cells, values = self.cells[order], self.values[order]
        shut = np.zeros(k, dtype=np.bool_)
        shut[list(closed)] = True
        sums = [int(values[cells == cell].sum()) for cell in range(k)]
        starts = np.searchsorted(cells, np.arange(k + 1))
        return Part(np.bincount(cells, minlength=k), sums, shut, (values,), (starts,))


def owners_of(seed: int, sizes: Sequence[int], k: int) -> list[Owner]:
    draw = np.random.Generator(np.random.PCG64(seed))
    return [Owner(draw.integers(0, k, size), draw.integers(LOW, HIGH + 1, size)) for size in sizes]


def play(
    parts: Sequence[Part],
    query: Query,
    *,
    minimum: Sequence[int] = (3,),
    complementary: Sequence[int] = (),
    tap: Any = None,
    seed: int = 1,
) -> tuple[list[Any], list[Mesh]]:
    every: list[Part | None] = [*parts, *([None] if len(parts) == 2 else [])]

    def role(rank: int, part: Part | None) -> Callable[[Mesh], Any]:
        return lambda mesh: joint.run(
            mesh,
            query,
            part,
            min_cohort=minimum[rank % len(minimum)],
            rng=DeterministicRandomness(bytes((rank, seed)) * 8),
            complementary=rank in complementary,
        )

    meshes = mesh_of(len(every), tap=tap, timeout_s=10)
    return mesh_outcomes([role(rank, part) for rank, part in enumerate(every)], meshes), meshes


def figures(ended: Sequence[Any], owners: int) -> JointFigures:
    for end in ended:
        if isinstance(end, Exception):
            raise end
    return combine(ended[:owners])


def expected(owners: Sequence[Owner], k: int, minimum: int, closed: Sequence[int] = ()) -> JointFigures:
    cells = np.concatenate([owner.cells for owner in owners])
    values = np.concatenate([owner.values for owner in owners])
    counts = np.bincount(cells, minlength=k)
    opened = [cell for cell in range(k) if counts[cell] >= minimum and cell not in closed]
    inside = [np.sort(values[cells == cell]) for cell in opened]
    quantiles = [
        tuple(int(np.quantile(some, pick.numerator / 1000, method="inverted_cdf")) for pick in PICKS)
        for some in inside
    ]
    return JointFigures(
        tuple(opened),
        tuple(len(some) for some in inside),
        tuple((int(some.sum()),) for some in inside),
        tuple(quantiles),
    )


@settings(max_examples=8, deadline=None)
@given(st.integers(0, 10**6), st.lists(st.integers(0, 12), min_size=2, max_size=5), st.integers(1, 6))
def test_figures_are_those_of_the_pooled_rows(seed: int, sizes: list[int], k: int) -> None:
    owners = owners_of(seed, sizes, k)
    ended, _ = play([owner.part(k) for owner in owners], Query(len(owners), k, 1, PICKS))
    assert figures(ended, len(owners)) == expected(owners, k, 3)


def test_the_largest_minimum_holds_and_a_cell_is_judged_by_all_rows_together() -> None:
    cells = [np.array([0, 0, 1]), np.array([0, 0, 1]), np.array([0, 1, 2, 2, 2, 2])]
    owners = [Owner(one, np.ones(len(one), dtype=np.int64)) for one in cells]
    ended, _ = play([owner.part(3) for owner in owners], Query(3, 3, 1), minimum=(2, 5, 4))
    assert figures(ended, 3).opened == (0,)


def test_a_cell_that_one_owner_closes_looks_like_a_small_one() -> None:
    owners = owners_of(3, (9, 9, 9), 2)
    runs = [
        play(
            [owner.part(2, closed=shut) for owner, shut in zip(owners, closing, strict=True)], Query(3, 2, 1)
        )
        for closing in (((), (1,), ()), ((0,), (), (0, 1)))
    ]
    assert figures(runs[0][0], 3).opened == (0,)
    assert figures(runs[1][0], 3).opened == ()


@pytest.mark.parametrize(("sizes", "refused"), [((4, 2), True), ((4, 3), False), ((4, 0), False)])
def test_closed_cells_with_few_rows_end_the_run_where_an_owner_asks_for_it(
    sizes: tuple[int, int], refused: bool
) -> None:
    rows = np.repeat([0, 1], sizes)
    owners = [Owner(rows[part::2], rows[part::2]) for part in (0, 1)]
    parts = [owner.part(2, closed=(1,)) for owner in owners]
    ended, _ = play(parts, Query(2, 2, 1), complementary=(1,))
    if refused:
        assert all(isinstance(end, CohortTooSmall) for end in ended)
    else:
        assert figures(ended, 2).opened == (0,)


@pytest.mark.parametrize("owners", [2, 3, 5])
@pytest.mark.parametrize("complementary", [(), (1,)], ids=["plain", "complementary"])
def test_measured_rounds_and_bytes_are_the_declared_ones(
    owners: int, complementary: tuple[int, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    held: dict[int, Links] = {}
    start = Links.__init__

    def kept(self: Links, peers: Any) -> None:
        start(self, peers)
        held[peers.rank] = self

    monkeypatch.setattr(Links, "__init__", kept)
    query = Query(owners, 70, 1, PICKS)
    parts = [owner.part(70) for owner in owners_of(5, [150] * owners, 70)]
    ended, meshes = play(parts, query, complementary=complementary, minimum=(1,))
    opened = len(figures(ended, owners).opened)
    assert 0 < opened
    for rank, mesh in enumerate(meshes):
        sent = sum(channel.stats.bytes_sent for channel in mesh.channels.values())
        assert sent == joint.bytes_sent(rank, query, opened, complementary=bool(complementary)), rank
        assert held[rank].rounds == joint.rounds(query, opened, complementary=bool(complementary))


@pytest.mark.parametrize(
    "other",
    [Query(3, 4, 1, PICKS), Query(3, 3, 1, PICKS[:2]), Query(3, 3, 1, PICKS, b"else")],
    ids=["cells", "quantiles", "meaning"],
)
def test_parties_that_ask_different_things_do_not_go_on(other: Query) -> None:
    query, owners = Query(3, 3, 1, PICKS), owners_of(1, (5, 5, 5), 3)
    roles = [
        lambda mesh, asked=asked, owner=owner: joint.run(
            mesh, asked, owner.part(asked.cells), min_cohort=2, rng=DeterministicRandomness(bytes(16))
        )
        for asked, owner in zip((query, query, other), owners, strict=True)
    ]
    ended = mesh_outcomes(roles)
    assert any(isinstance(end, InputsDisagree) for end in ended)
    assert all(isinstance(end, MpcError) for end in ended)


CHANGES: dict[str, Callable[[bytes], bytes]] = {
    "flip": lambda raw: raw[:-1] + bytes((raw[-1] ^ 1,)),
    "truncate": lambda raw: raw[:-1],
    "extend": lambda raw: raw + b"\0",
    "empty": lambda raw: b"",
}
MESSAGES = ["query", "mask-key", "keys", "masked", "planes", "product", "open", "confirm"]


@pytest.mark.parametrize("change", CHANGES)
@pytest.mark.parametrize("name", MESSAGES)
def test_a_changed_message_leaves_every_owner_without_output(name: str, change: str) -> None:
    hit = []

    def tap(sender: int, receiver: int, label: str, payload: bytes) -> bytes | None:
        if label == f"stats/joint/1/{name}" and not hit:
            hit.append((sender, receiver))
            return CHANGES[change](payload)
        return None

    owners = owners_of(2, (6, 6, 6, 6), 2)
    ended, _ = play([owner.part(2) for owner in owners], Query(4, 2, 1, PICKS[:1]), tap=tap)
    assert hit
    assert all(isinstance(end, MpcError) for end in ended)


def test_every_message_is_among_those_that_are_tampered_with() -> None:
    seen: set[str] = set()

    def tap(sender: int, receiver: int, label: str, payload: bytes) -> None:
        seen.add(label.removeprefix("stats/joint/1/"))

    play([owner.part(2) for owner in owners_of(2, (6, 6, 6, 6), 2)], Query(4, 2, 1, PICKS[:1]), tap=tap)
    assert seen == {*MESSAGES, "agreed"}


def _transcript(owners: Sequence[Owner], seed: int = 1) -> list[tuple[int, int, str, bytes]]:
    seen: list[tuple[int, int, str, bytes]] = []
    query = Query(len(owners), 300, 1)
    ended, _ = play(
        [owner.part(300) for owner in owners],
        query,
        tap=lambda *message: seen.append(message),
        minimum=(10**6,),
        seed=seed,
    )
    assert figures(ended, len(owners)).opened == ()
    return seen


def test_what_passes_has_one_shape_and_what_owners_enter_is_uniform() -> None:
    owners, others = owners_of(1, (90, 40, 60, 10), 300), owners_of(2, (1, 400, 0, 70), 300)
    first, second = _transcript(owners), _transcript(others)

    def shape(seen: list[tuple[int, int, str, bytes]]) -> list[tuple[int, int, str, int]]:
        return sorted((sender, receiver, label, len(payload)) for sender, receiver, label, payload in seen)

    assert shape(first) == shape(second)
    for seen in (first, second):
        entered = [raw for _, _, label, raw in seen if label.endswith(("/masked", "/planes", "/product"))]
        for raw in entered:
            bits = np.unpackbits(np.frombuffer(raw, dtype=np.uint8))
            if len(bits) > 10_000:
                assert abs(bits.mean() - 0.5) < 4.5 / np.sqrt(len(bits))  # nine deviations


def test_three_computing_parties_together_see_no_counts_of_one_owner() -> None:
    """What rank 3 enters is its counts plus a mask that only the owners' pairs know."""
    owners = owners_of(1, (30, 30, 30, 30), 300)
    entered = [
        {(receiver, label): raw for sender, receiver, label, raw in _transcript(owners, seed) if sender == 3}
        for seed in (1, 2)
    ]
    masked = [one[(1, "stats/joint/1/masked")] for one in entered]
    assert masked[0] != masked[1]
    counts = owners[3].part(300).counts.astype("<u8").tobytes()
    assert counts not in masked


@pytest.mark.parametrize(
    ("change", "error"),
    [
        ({"counts": np.zeros(3, np.int64)}, InvalidInput),
        ({"figures": [1]}, InvalidInput),
        ({"figures": [2**120, 0]}, ValueOutOfRange),
        ({"counts": np.array([2**41, 5])}, ValueOutOfRange),
        ({"values": ()}, InvalidInput),
        ({"values": (np.array([HIGH + 1] * 5),)}, ValueOutOfRange),
    ],
    ids=["cells", "figures", "large-figure", "large-count", "no-values", "outside-bounds"],
)
def test_own_figures_that_do_not_fit_are_refused_and_all_end(change: dict[str, Any], error: type) -> None:
    whole = Owner(np.array([0, 0, 0, 1, 1]), np.arange(5)).part(2)
    parts = [whole, replace(whole, **change), whole]
    ended, _ = play(parts, Query(3, 2, 1, PICKS))
    assert isinstance(ended[1], error)
    assert all(isinstance(end, MpcError) for end in ended)


@pytest.mark.parametrize(
    "make",
    [
        lambda: Query(1, 2, 1),
        lambda: Query(31, 2, 1),
        lambda: Query(2, 0, 1),
        lambda: Query(2, 2, 1025),
        lambda: Pick(0, 0, 1, 2, 1),
        lambda: Pick(0, 0, 1, 1, 1001),
        lambda: Pick(0, 2, 1, 1, 1),
        lambda: Pick(0, 0, 2**62, 1, 1),
    ],
)
def test_questions_out_of_range_are_refused(make: Callable[[], object]) -> None:
    with pytest.raises(InvalidInput):
        make()


def _shares(opened: Sequence[int] = (1, 0, 1), extra: int = 0) -> JointShares:
    cells = sum(opened)
    return JointShares(
        np.array(opened, dtype=np.uint8),
        from_integers(range(2 * cells + extra)),
        np.zeros((cells, 1), dtype=np.int64),
    )


def test_shares_are_written_and_read_and_refuse_anything_else() -> None:
    raw = _shares().encode()
    read = JointShares.decode(raw)
    assert np.array_equal(read.shares, _shares().shares)
    for bad in (raw[:-1], raw + b"\0", b"\2" + raw[1:], raw[:32] + b"\2" + raw[33:]):
        with pytest.raises(MalformedMessage):
            JointShares.decode(bad)
    with pytest.raises(InvalidInput):
        _shares(extra=1)


@pytest.mark.parametrize("other", [_shares((1, 1, 0)), _shares((1, 0, 0))])
def test_shares_of_another_run_do_not_combine(other: JointShares) -> None:
    with pytest.raises(SharesDisagree):
        combine([_shares(), other])


@given(st.lists(st.integers(-(2**120) + 1, 2**120 - 1), max_size=5))
def test_figures_are_written_in_twos_complement(values: list[int]) -> None:
    assert to_integers(from_integers(values)) == values
