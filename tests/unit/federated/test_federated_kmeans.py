"""k-means over owners: the clusters of pooled rows, whoever leaves; small clusters stay unsaid."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from federated.horizontal import Clustered, Clusters, Terms, aggregate_clusters, cluster, costs
from federated.horizontal.clusters import start
from federated.horizontal.encoding import LIMBS, from_limbs
from federated.horizontal.kmeans import SPEC
from mpc.aggregation import secagg
from mpc.errors import (
    InvalidInput,
    MalformedMessage,
    ModelsDisagree,
    MpcError,
    TooFewParties,
    ValueOutOfRange,
)
from mpc.mesh import Mesh
from mpc.testing import DeterministicRandomness, mesh_of, mesh_outcomes

Floats = NDArray[np.float64]
SESSION = b"a run of k-means"
AGREED = Clusters(("debt", "age"), (0.0, -10.0), (1000.0, 90.0), count=3, seed=5, least=5, rounds=40)
MIDDLES = np.array([[150.0, 0.0], [500.0, 70.0], [850.0, 20.0]])


class Gone(Exception):
    """The process of an owner ends."""


def owners_of(count: int, rows: int = 60) -> dict[int, Floats]:
    """Rows around three middles, of which each owner has other parts; some beyond the bounds."""
    found = {}
    for number in range(1, count + 1):
        draw = np.random.default_rng(number)
        part = np.roll([0.6, 0.3, 0.1], number)
        found[number] = MIDDLES[draw.choice(3, rows, p=part)] + draw.normal(size=(rows, 2)) * [60.0, 8.0]
    return found


def lloyd(agreed: Clusters, rows: Floats, first: Floats) -> tuple[Floats, list[int], float, int]:
    """The textbook, row by row, on pooled rows: centres, sizes, inertia and steps.

    Of clusters below the least, it splits the widest as the protocol has it.
    """
    low, high = np.array(agreed.lower), np.array(agreed.upper)
    points = (np.minimum(np.maximum(rows, low), high) - low) / (high - low)
    signs = np.random.Generator(np.random.PCG64([agreed.seed, 1])).choice([-1.0, 1.0], first.shape)
    centres, codes = first.copy(), [-1] * len(points)
    for step in range(agreed.rounds + 1):
        before = codes
        codes = [int(np.argmin([np.sum((point - one) ** 2) for one in centres])) for point in points]
        members = [points[np.array(codes) == at] for at in range(agreed.count)]
        wide = [float(np.sum((own - one) ** 2)) for own, one in zip(members, centres, strict=True)]
        large = [at for at in range(agreed.count) if len(members[at]) >= agreed.least]
        changed = sum(one != other for one, other in zip(codes, before, strict=True))
        if step == agreed.rounds or (step and changed < agreed.least):
            break
        moved = centres.copy()
        for at in large:
            moved[at] = members[at].mean(axis=0)
        spreads = [
            np.sqrt(((own - own.mean(axis=0)) ** 2).sum(axis=0).sum()) if len(own) else 0 for own in members
        ]
        split = sorted(large, key=lambda at: -spreads[at])
        for at in sorted(set(range(agreed.count)) - set(large)):
            if split:
                one = split.pop(0)
                moved[at] = moved[one] + spreads[one] / np.sqrt(len(members[one]) * len(low)) * signs[at]
        centres = np.clip(moved, 0, 1)
    sizes = [len(members[at]) if at in large else 0 for at in range(agreed.count)]
    return low + centres * (high - low), sizes, sum(wide[at] for at in large), step


def run(
    tables: Mapping[int, Floats],
    agreed: Clusters = AGREED,
    *,
    tap: Callable[[int, int, str, bytes], bytes | None] | None = None,
    meshes: list[Mesh] | None = None,
) -> list[Any]:
    """Rank 0 is the aggregator; what each role returned or raised."""
    count = len(tables)
    terms = Terms(SPEC, count, max(3, count // 2 + 1), SESSION, 4.0)

    def play(mesh: Mesh) -> Any:
        if mesh.rank == 0:
            return aggregate_clusters(mesh.channels, terms, agreed)
        others = {rank: channel for rank, channel in mesh.channels.items() if rank}
        rng = DeterministicRandomness(bytes([mesh.rank]) * 16)
        return cluster(mesh.channels[0], others, terms, mesh.rank, agreed, tables[mesh.rank], rng)

    return mesh_outcomes([play] * (count + 1), meshes or mesh_of(count + 1, SESSION, tap=tap))


def found_of(ended: list[Any]) -> Clustered:
    """The one outcome that all parties hold."""
    first: Clustered
    first, *others = ended
    assert all(isinstance(end, Clustered) for end in ended), ended
    for other in others:
        np.testing.assert_array_equal(other.centres, first.centres)
        np.testing.assert_array_equal(other.rows, first.rows)
        np.testing.assert_array_equal(other.inertia, first.inertia)
        assert (other.steps, other.is_settled, other.owners) == (first.steps, first.is_settled, first.owners)
    return first


def assert_pooled(found: Clustered, agreed: Clusters, rows: Floats) -> None:
    centres, sizes, inertia, steps = lloyd(agreed, rows, start(agreed))
    np.testing.assert_allclose(found.centres, centres, rtol=0, atol=1e-6)
    assert found.rows.tolist() == sizes
    assert found.inertia.sum() == pytest.approx(inertia, abs=1e-6)
    assert found.steps == steps


# the clusters of pooled rows


@pytest.mark.parametrize("seed", range(5))
def test_clusters_are_those_of_lloyds_algorithm_on_pooled_rows(seed: int) -> None:
    tables, agreed = owners_of(4), replace(AGREED, seed=seed)
    found = found_of(run(tables, agreed))
    rows = np.concatenate(list(tables.values()))
    assert_pooled(found, agreed, rows)
    assert found.is_settled
    assert found.rows.sum() == 240


def test_the_middles_of_well_parted_rows_are_found() -> None:
    found = found_of(run(owners_of(3, 200)))
    order = found.centres[:, 0].argsort()
    np.testing.assert_allclose(found.centres[order], MIDDLES, atol=15)


def test_codes_are_the_nearest_of_the_last_centres() -> None:
    tables = owners_of(3)
    ended = run(tables)
    scale = np.array(AGREED.upper) - np.array(AGREED.lower)
    for number, rows in tables.items():
        kept = np.clip(rows, AGREED.lower, AGREED.upper)
        distances = (((kept[:, None] - ended[number].centres[None]) / scale) ** 2).sum(axis=2)
        np.testing.assert_array_equal(ended[number].codes, distances.argmin(axis=1))
    assert len(ended[0].codes) == 0


def test_the_start_is_public_within_the_bounds_and_of_different_points() -> None:
    for seed in range(20):
        agreed = replace(AGREED, seed=seed, count=8)
        first = start(agreed)
        np.testing.assert_array_equal(first, start(agreed))
        assert first.shape == (8, 2)
        assert ((first >= 0) & (first < 1)).all()
        assert len(np.unique(first, axis=0)) == 8
    assert not np.array_equal(start(AGREED), start(replace(AGREED, seed=6)))


def test_an_empty_cluster_takes_a_part_of_the_widest() -> None:
    """All rows are in one corner of the bounds, so most centres begin without any."""
    draw = np.random.default_rng(4)
    tables = {number: draw.uniform([0, -10], [30, -7], (80, 2)) for number in (1, 2, 3)}
    agreed = replace(AGREED, count=4)
    found = found_of(run(tables, agreed))
    assert_pooled(found, agreed, np.concatenate(list(tables.values())))
    assert (found.rows >= agreed.least).all()


def test_rounds_that_are_too_few_end_unsettled() -> None:
    tables, agreed = owners_of(3), replace(AGREED, rounds=1)
    found = found_of(run(tables, agreed))
    assert_pooled(found, agreed, np.concatenate(list(tables.values())))
    assert (found.steps, found.is_settled) == (1, False)


# small clusters


def entered_words(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """What owners enter, in order."""
    real, entered = secagg.owner, list[Any]()

    def play(channel: Any, vector: Any, **more: Any) -> Any:
        entered.append(vector.copy())
        return real(channel, vector, **more)

    monkeypatch.setattr(secagg, "owner", play)
    return entered


def test_sums_of_small_clusters_are_never_entered(monkeypatch: pytest.MonkeyPatch) -> None:
    """Two rows are far from all others: they are a cluster of their own, and too few."""
    tables = {number: np.tile([[100.0, 0.0], [130.0, 5.0]], (30, 1)) for number in (1, 2, 3)}
    tables[2][7:9] = [[990.0, 88.0], [985.0, 89.0]]
    agreed = replace(AGREED, count=2, seed=0)
    apart = np.array([[0.1, 0.1], [1.0, 1.0]])
    monkeypatch.setattr("federated.horizontal.kmeans.start", lambda agreed: apart)
    entered = entered_words(monkeypatch)
    found = found_of(run(tables, replace(agreed, rounds=1)))
    assert_of_start = lloyd(replace(agreed, rounds=1), np.concatenate(list(tables.values())), apart)
    np.testing.assert_allclose(found.centres, assert_of_start[0], atol=1e-6)
    sums = [from_limbs(words) for words in entered if len(words) == LIMBS * (1 + 2 * (2 + 2))]
    assert len(sums) == 3
    for numbers in sums:
        near, far = np.array(numbers[1:]).reshape(-1, 2)[:2].T, numbers[7:]
        assert near[0].all()
        assert not near[1].any()
        assert not any(far)


def test_a_cluster_below_the_least_is_not_shown() -> None:
    tables = {number: np.tile([[100.0, 0.0], [130.0, 5.0]], (30, 1)) for number in (1, 2, 3)}
    tables[2][7] = [990.0, 88.0]
    found = found_of(run(tables, replace(AGREED, count=3, least=4, rounds=3)))
    assert ((found.rows == 0) | (found.rows >= 4)).all()
    assert (found.inertia[found.rows == 0] == 0).all()


# refusals and attacks


@pytest.mark.parametrize("leaves", [False, True])
def test_more_clusters_than_rows_are_refused(leaves: bool) -> None:
    tables = owners_of(4, 10)
    agreed = replace(AGREED, count=9 if not leaves else 7)
    ended = run(tables, agreed, tap=leaving(4, 0, "masked") if leaves else None)
    expected = f"at least {agreed.count * 5} rows of all owners together"
    assert any(isinstance(end, InvalidInput) and expected in str(end) for end in ended)
    assert not any(isinstance(end, Clustered) for end in ended)


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_rows_that_are_not_finite_never_leave_their_owner(bad: float) -> None:
    tables = owners_of(4)
    tables[2][3, 1] = bad
    ended = run(tables)
    assert isinstance(ended[2], ValueOutOfRange)
    assert "column age: 1 of 60 values are missing or not finite" in str(ended.pop(2))
    found = found_of(ended)
    assert found.owners == (1, 3, 4)
    assert_pooled(found, AGREED, np.concatenate([tables[number] for number in (1, 3, 4)]))


def test_rows_of_another_shape_are_refused() -> None:
    for rows in (np.zeros((4, 3)), np.zeros(4), np.zeros((0, 2))):
        with pytest.raises(InvalidInput, match="rows of 2 columns"):
            AGREED.scaled(rows)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"count": 1}, "clusters"),
        ({"count": 65}, "clusters"),
        ({"least": 0}, "least"),
        ({"rounds": 0}, "rounds"),
        ({"seed": -1}, "seed"),
        ({"upper": (0.0, 90.0)}, "bounds of debt"),
        ({"lower": (np.nan, 0.0)}, "bounds of debt"),
        ({"upper": (1.0, np.inf)}, "bounds of age"),
        ({"names": (), "lower": (), "upper": ()}, "columns"),
    ],
)
def test_settings_out_of_range_are_refused(change: dict[str, Any], words: str) -> None:
    with pytest.raises(InvalidInput, match=words):
        replace(AGREED, **change)


def leaving(owner: int, round_: int, message: str) -> Callable[[int, int, str, bytes], None]:
    """The owner ends before it sends this message of this round, counted from 0."""
    seen = [0]

    def tap(sender: int, receiver: int, label: str, payload: bytes) -> None:
        if sender == owner and receiver == 0 and label.endswith(f"/{message}"):
            if seen[0] == round_:
                raise Gone
            seen[0] += 1

    return tap


@pytest.mark.parametrize("round_", range(5))
def test_an_owner_may_leave_at_any_round(round_: int) -> None:
    tables = owners_of(4)
    ended = run(tables, tap=leaving(2, round_, "masked"))
    assert isinstance(ended.pop(2), Gone)
    found = found_of(ended)
    assert found.owners == (1, 3, 4)
    assert found.rows.sum() == 180


def test_too_few_survivors_have_no_clusters() -> None:
    taps = [leaving(1, 1, "masked"), leaving(3, 2, "keys")]

    def tap(*sent: Any) -> None:
        for one in taps:
            one(*sent)

    ended = run(owners_of(4), tap=tap)
    assert isinstance(ended[0], TooFewParties)
    assert not any(isinstance(end, Clustered) for end in ended)


def test_an_aggregator_that_tells_owners_different_centres_is_found() -> None:
    seen = [0]

    def tap(sender: int, receiver: int, label: str, payload: bytes) -> bytes | None:
        if (sender, receiver) == (0, 2) and label == "horizontal/kmeans/1/piece":
            seen[0] += 1
            if seen[0] == 2:
                words = np.frombuffer(payload[24:], dtype=np.float64).copy()
                words[0] += 1e-9
                return payload[:24] + words.tobytes()
        return None

    ended = run(owners_of(4), tap=tap)
    assert isinstance(ended[2], ModelsDisagree)
    assert not any(isinstance(end, Clustered) for end in ended)


@pytest.mark.parametrize(
    ("round_", "bad"),
    [
        (1, [180.0, 0.0, 2.0, 90.0, 88.0]),
        (1, [180.0, 0.0, 90.0, 90.5, 0.0]),
        (2, [2.0] * 6),
        (2, [np.nan] * 6),
    ],
    ids=["small", "parts of rows", "beyond the bounds", "not finite"],
)
def test_numbers_that_no_rows_have_are_refused_by_the_owners(round_: int, bad: list[float]) -> None:
    """An aggregator that lies to all alike."""
    seen: dict[int, int] = {}

    def tap(sender: int, receiver: int, label: str, payload: bytes) -> bytes | None:
        if sender == 0 and label == "horizontal/kmeans/1/piece":
            seen[receiver] = seen.get(receiver, 0) + 1
            if seen[receiver] == round_:
                return payload[:24] + np.array(bad).tobytes()
        return None

    ended = run(owners_of(3), tap=tap)
    assert any(isinstance(end, MalformedMessage) for end in ended[1:]), ended
    assert not any(isinstance(end, Clustered) for end in ended)


@pytest.mark.parametrize(
    ("at", "words"),
    [
        (1, lambda vector: np.append(vector[:6], vector[6:] * np.uint64(3))),
        (2, lambda vector: np.append(vector[:21], vector[21:] * np.uint64(1000))),
        (2, lambda vector: np.append(vector[:12], vector[12:] + np.uint64(2**50))),
        (1, lambda vector: vector[:-1]),
        (2, lambda vector: np.append(vector, vector[:1])),
    ],
    ids=["counts", "scaled sums", "inertia", "too short", "too long"],
)
def test_totals_that_rows_within_the_bounds_cannot_have_are_refused(
    at: int, words: Callable[[Any], Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    real, seen = secagg.owner, [0]

    def play(channel: Any, vector: Any, *, number: int, **more: Any) -> Any:
        if number == 2:
            seen[0] += 1
            vector = words(vector) if seen[0] == at else vector
        return real(channel, vector, number=number, **more)

    monkeypatch.setattr(secagg, "owner", play)
    ended = run(owners_of(3))
    assert isinstance(ended[0], MalformedMessage), ended
    assert all(isinstance(end, MpcError) for end in ended)


@pytest.mark.parametrize("owners", [3, 5])
@pytest.mark.parametrize("rounds", [1, 40])
def test_measured_rounds_and_bytes_are_the_declared_ones(owners: int, rounds: int) -> None:
    meshes, agreed = mesh_of(owners + 1, SESSION), replace(AGREED, rounds=rounds)
    steps = found_of(run(owners_of(owners, 40), agreed, meshes=meshes)).steps
    for rank, mesh in enumerate(meshes):
        stats = [channel.stats for channel in mesh.channels.values()]
        sent, phases = sum(one.bytes_sent for one in stats), sum(one.rounds for one in stats)
        role, times = ("owner", 1) if rank else ("aggregator", owners)
        assert sent == times * costs.kmeans_sent(role, owners, agreed, steps)
        assert phases == times * costs.kmeans_receiving_phases(role, owners, steps)
    received = [channel.stats.bytes_received for channel in meshes[1].channels.values()]
    assert sum(received) == costs.kmeans_sent("aggregator", owners, agreed, steps) + costs.kmeans_compared(
        owners, steps
    )
