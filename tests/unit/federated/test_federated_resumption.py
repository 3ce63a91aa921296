"""Runs that are cut off and go on: the same model, and what is played again tells nothing new."""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping
from dataclasses import replace
from itertools import count, pairwise
from typing import Any

import numpy as np
import pytest

from federated import boosting, network, shared_boosting, shared_kmeans, vertical
from federated.boosting import Ensemble, OwnPart, bin_columns
from federated.boosting.fixed_point import quantise
from federated.checkpoints import HELD, Arrays, Checkpoints, decode, encode
from federated.horizontal import (
    SPEC,
    Boosting,
    Clustered,
    Clusters,
    Columns,
    Family,
    Guard,
    Settings,
    Table,
    Terms,
    Trained,
    aggregate,
    aggregate_clusters,
    aggregate_trees,
    boost,
    cluster,
    local,
    rounds,
    train,
)
from federated.horizontal.boosting import SPEC as TREES_SPEC
from federated.horizontal.kmeans import SPEC as CLUSTERS_SPEC
from federated.shared_boosting import Forest
from federated.shared_kmeans.training import places_of
from mpc import replicated
from mpc.aggregation import secagg
from mpc.errors import ChannelBroken, InvalidInput, ModelsDisagree, MpcError
from mpc.mesh import Mesh, mesh_run
from mpc.replicated import Runtime
from mpc.testing import DeterministicRandomness, Tap, mesh_of, mesh_outcomes

OWNERS = 4
ROUNDS = 4
NAMES = ("debt", "income")
DRAW = np.random.default_rng(5)
ROWS = 40
TABLES = [
    Table(NAMES, DRAW.normal(size=(ROWS, 2)), "late", DRAW.integers(0, 2, ROWS).astype(np.float64))
    for _ in range(OWNERS)
]
SETTINGS = Settings(Family.LOGISTIC, rounds=ROUNDS, batch=8, rate=0.2)
GUARDED = replace(SETTINGS, guard=Guard(25, 10.0))
Cut = Callable[[int, int], None]


def cut_after(number: int) -> Cut:
    def progress(done: int, total: int) -> None:
        if done == number:
            raise ChannelBroken("the process was killed")

    return progress


def killed(lost: int, message: int) -> Tap:
    """The lost party ends in place of the message of that number that it sends."""
    sent = count()

    def tap(sender: int, receiver: int, label: str, payload: bytes) -> None:
        if sender == lost and next(sent) == message:
            raise ChannelBroken("the process was killed")

    return tap


def nothing(done: int, total: int) -> None:
    """Goes on."""


def play(
    attempt: int,
    held: list[Checkpoints],
    settings: Settings = SETTINGS,
    *,
    cut: dict[int, Cut] | None = None,
    threshold: int = OWNERS,
) -> list[Any]:
    """One attempt at a run of rank 0, the aggregator, and the owners: what each returned or raised."""
    terms = Terms(SPEC, OWNERS, threshold, b"attempt %d" % attempt, 5.0, seed=b"of the run")
    columns = Columns((*NAMES, "late"), 1)

    def party(mesh: Mesh) -> Any:
        rank, progress = mesh.rank, (cut or {}).get(mesh.rank, nothing)
        if rank == 0:
            return aggregate(mesh.channels, terms, settings, columns, progress, held[0])
        others = {other: channel for other, channel in mesh.channels.items() if other}
        rng = DeterministicRandomness(bytes([rank, attempt]) * 16)
        channel, table = mesh.channels[0], TABLES[rank - 1]
        return train(
            channel, others, terms, rank, settings, columns, table, rng, progress, checkpoints=held[rank]
        )

    return mesh_outcomes([party] * (OWNERS + 1), mesh_of(OWNERS + 1, terms.session))


def fresh(count: int = OWNERS + 1) -> list[Checkpoints]:
    return [Checkpoints() for _ in range(count)]


def again(held: list[Checkpoints], attempt: int = 2) -> list[Checkpoints]:
    """Those of the next attempt, which begins at the last that all hold."""
    begins_at = max(set.intersection(*(set(one.held) for one in held)), default=0)
    return [Checkpoints(attempt, begins_at, one.held) for one in held]


class Sums:
    """What the aggregator learns, sum by sum, and how often an owner trains."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.totals: list[Any] = []
        self.trainings = 0
        self._aggregator, self._update = secagg.aggregator, local.update
        monkeypatch.setattr(rounds.secagg, "aggregator", self.aggregator)
        monkeypatch.setattr(local, "update", self.update)

    def aggregator(self, *given: Any, **more: Any) -> Any:
        found = self._aggregator(*given, **more)
        self.totals.append(found.total)
        return found

    def update(self, *given: Any) -> Any:
        self.trainings += 1
        return self._update(*given)


@pytest.mark.parametrize("settings", [SETTINGS, GUARDED])
@pytest.mark.parametrize("lost", [0, 2])
def test_a_round_that_is_played_again_gives_the_sum_that_it_gave(
    monkeypatch: pytest.MonkeyPatch, settings: Settings, lost: int
) -> None:
    sums, held = Sums(monkeypatch), fresh()
    ended = play(1, held, settings, cut={lost: cut_after(3)})
    assert all(isinstance(end, MpcError) for end in ended)
    before, later = list(sums.totals), again(held)
    begins_at = later[0].begins_at
    assert begins_at == 3
    sums.totals.clear()
    ended = play(2, later, settings)
    assert all(isinstance(end, Trained) for end in ended), ended
    assert len({end.parameters.tobytes() for end in ended}) == 1
    assert {len(end.losses) for end in ended} == {ROUNDS + 1}
    # Two sums stand before the rounds, one after them.
    assert len(sums.totals) == ROUNDS - begins_at + 2
    np.testing.assert_array_equal(sums.totals[0], before[begins_at + 1])
    assert sums.trainings == ROUNDS * OWNERS


def test_words_that_were_kept_are_entered_after_a_start_from_the_beginning(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    sums, held = Sums(monkeypatch), fresh()
    play(1, held, cut={0: cut_after(1)})
    before = list(sums.totals)
    sums.totals.clear()
    model = play(2, [Checkpoints(2, 0, one.held) for one in held])[0]
    assert isinstance(model, Trained)
    for first, second in zip(before, sums.totals, strict=False):
        np.testing.assert_array_equal(second, first)
    assert sums.trainings == ROUNDS * OWNERS


def test_who_helps_to_open_a_sum_without_an_owner_allows_no_later_attempt() -> None:
    held = fresh()
    ended = play(1, held, cut={4: cut_after(2)}, threshold=3)
    assert isinstance(ended[0], Trained)
    assert [one.is_closed for one in held[1:]] == [True, True, True, False]
    assert all(not one.held for one in held[1:4])


def test_an_aggregator_that_tells_another_model_than_before_is_found() -> None:
    held = fresh()
    play(1, held, cut={0: cut_after(2)})
    later = again(held)
    kept = dict(decode(later[0].held[2]))
    kept["state"] = kept["state"] + 1e-9 * (np.arange(len(kept["state"])) > 1)
    later[0] = Checkpoints(2, 2, {2: encode(kept)})
    ended = play(2, later)
    assert any(isinstance(end, ModelsDisagree) for end in ended[1:])
    assert not any(isinstance(end, Trained) for end in ended)


def test_an_attempt_does_not_begin_at_a_checkpoint_that_is_not_held() -> None:
    with pytest.raises(InvalidInput, match=r"expected to hold number 3, got \[1\]"):
        _ = Checkpoints(2, 3, {1: encode({})}).begun


def test_the_newest_checkpoints_are_held() -> None:
    held = Checkpoints()
    for number in range(1, 5):
        held.keep(number, {"number": np.array([number])})
    assert sorted(held.held) == [4 - HELD + 1, 4]
    found = held.get(4)
    assert found is not None
    assert found["number"].tolist() == [4]


# trees

COLUMNS = [DRAW.normal(size=200) for _ in range(3)]
LABEL = (COLUMNS[0] + COLUMNS[1] - COLUMNS[2] > 0).astype(np.float64)
TREES = boosting.Settings(trees=4, depth=2, bins=8)
STOPPED = replace(TREES, patience=3)
CLASSES = boosting.Settings(boosting.Objective.SOFTMAX, trees=4, classes=3, depth=2, bins=8)


def grow(
    attempt: int, held: list[Checkpoints], settings: boosting.Settings, cut: dict[int, Cut] | None = None
) -> list[Any]:
    """One attempt at a run of the label's owner and two others."""

    def party(mesh: Mesh) -> Any:
        rank, progress = mesh.rank, (cut or {}).get(mesh.rank, nothing)
        held_out = 40 if settings.patience else 0
        own = bin_columns([COLUMNS[rank]], ["c"], settings.bins, held_out=held_out)
        label = LABEL + (COLUMNS[2] > 1) if settings.classes > 1 else LABEL
        more: dict[str, Any] = {"held_out": held_out, "progress": progress, "checkpoints": held[rank]}
        rng = DeterministicRandomness(bytes([rank, attempt]) * 16)
        with mesh_run(mesh, boosting.SPEC) as peers:
            if rank:
                return boosting.feature_owner(peers, settings, own, rng, **more)
            return boosting.label_holder(peers, settings, own, label, rng, **more)

    return mesh_outcomes([party] * 3, mesh_of(3, b"attempt %d" % attempt))


@pytest.mark.parametrize("settings", [TREES, STOPPED, CLASSES])
@pytest.mark.parametrize("lost", [0, 2])
def test_trees_go_on_at_the_one_that_was_cut_off(
    monkeypatch: pytest.MonkeyPatch, settings: boosting.Settings, lost: int
) -> None:
    pytest.importorskip("tenseal", reason="TenSEAL is an extra")
    rounded = []

    def counted(g: Any, h: Any, _: Any) -> Any:
        rounded.append(g)
        return quantise(g, h, DeterministicRandomness(bytes(16)))  # alike in all attempts

    monkeypatch.setattr("federated.boosting.fixed_point.quantise", counted)
    held = fresh(3)
    assert all(isinstance(end, MpcError) for end in grow(1, held, settings, {lost: cut_after(2)}))
    later = again(held)
    assert later[0].begins_at >= 2
    parts = grow(2, later, settings)
    # Every tree's gradients are rounded once, those of the tree that was cut off before it was.
    assert len(rounded) == TREES.trees * settings.classes
    whole = grow(3, fresh(3), settings)
    assert isinstance(parts[0], Ensemble)
    np.testing.assert_array_equal(parts[0].margins, whole[0].margins)
    for name in ("trees", "own", "losses", "held_out_losses", "asked", "won"):
        assert getattr(parts[0], name) == getattr(whole[0], name)
    for part, other in zip(parts[1:], whole[1:], strict=True):
        assert isinstance(part, OwnPart)
        assert (part.own, part.rounds) == (other.own, other.rounds)


BOOSTING = Boosting(
    boosting.Settings(trees=3, depth=2, bins=8),
    (*NAMES, "late"),
    (-4.0, -4.0, 0.0),
    (4.0, 4.0, 1.0),
    least=5,
    percent=50,
)


def boosted(
    attempt: int, held: list[Checkpoints], cut: dict[int, Cut] | None = None, threshold: int = OWNERS
) -> list[Any]:
    """One attempt at boosted trees over the owners' rows."""
    terms = Terms(TREES_SPEC, OWNERS, threshold, b"attempt %d" % attempt, 5.0, seed=b"of the run")

    def party(mesh: Mesh) -> Any:
        rank, progress = mesh.rank, (cut or {}).get(mesh.rank, nothing)
        if rank == 0:
            return aggregate_trees(mesh.channels, terms, BOOSTING, progress, held[0])
        others = {other: channel for other, channel in mesh.channels.items() if other}
        rng, table = DeterministicRandomness(bytes([rank, attempt]) * 16), TABLES[rank - 1]
        channel, own = mesh.channels[0], held[rank]
        return boost(channel, others, terms, rank, BOOSTING, table, rng, progress, own)

    return mesh_outcomes([party] * (OWNERS + 1), mesh_of(OWNERS + 1, terms.session))


@pytest.mark.parametrize("number", [1, 2, 3])
@pytest.mark.parametrize("lost", [0, 2])
def test_trees_over_rows_go_on_at_the_one_that_was_cut_off(
    monkeypatch: pytest.MonkeyPatch, lost: int, number: int
) -> None:
    sums, held = Sums(monkeypatch), fresh()
    assert all(isinstance(end, MpcError) for end in boosted(1, held, {lost: cut_after(number)}))
    before, later = list(sums.totals), again(held)
    assert later[0].begins_at >= number
    sums.totals.clear()
    parts = boosted(2, later)
    replayed = list(sums.totals)
    sums.totals.clear()
    whole = boosted(3, fresh())
    for name in ("base", "trees", "rows", "losses", "asked", "owners"):
        assert {repr(getattr(part, name)) for part in parts} == {repr(getattr(whole[0], name))}
    first = len(sums.totals) - len(replayed)
    assert 0 < first <= len(before)
    for total, other in zip(replayed, sums.totals[first:], strict=True):
        np.testing.assert_array_equal(total, other)


def test_trees_over_rows_that_an_owner_missed_are_not_gone_on_with() -> None:
    held = fresh()
    boosted(1, held, {4: cut_after(1)}, threshold=3)
    assert [one.is_closed for one in held[1:]] == [True, True, True, False]


# clusters

CLUSTERS = Clusters(NAMES, (-3.0, -3.0), (3.0, 3.0), count=3, seed=2, least=6, rounds=12)


def clustered(
    attempt: int, held: list[Checkpoints], *, tap: Any = None, threshold: int = OWNERS
) -> list[Any]:
    """One attempt at clusters over the owners' rows."""
    terms = Terms(CLUSTERS_SPEC, OWNERS, threshold, b"attempt %d" % attempt, 5.0)

    def party(mesh: Mesh) -> Any:
        rank, channels = mesh.rank, dict(mesh.channels)
        if rank == 0:
            return aggregate_clusters(channels, terms, CLUSTERS, checkpoints=held[0])
        rng, rows = DeterministicRandomness(bytes([rank, attempt]) * 16), TABLES[rank - 1].features
        own = channels.pop(0)
        return cluster(own, channels, terms, rank, CLUSTERS, rows, rng, checkpoints=held[rank])

    return mesh_outcomes([party] * (OWNERS + 1), mesh_of(OWNERS + 1, terms.session, tap=tap))


@pytest.mark.parametrize("lost", [0, 2])
def test_clusters_go_on_in_the_round_that_was_cut_off(monkeypatch: pytest.MonkeyPatch, lost: int) -> None:
    sums, sent = Sums(monkeypatch), list[str]()

    def tap(sender: int, receiver: int, label: str, payload: bytes) -> None:
        if sender == lost:
            sent.append(label)

    whole = clustered(9, fresh(), tap=tap)
    first, steps = list(sums.totals), whole[0].steps
    assert len(first) == 2 * (steps + 1) > 6
    begun = set()
    for message in range(1, len(sent) - 2 * OWNERS, len(sent) // 10):
        held = fresh()
        ended = clustered(1, held, tap=killed(lost, message))
        assert all(isinstance(end, MpcError) for end in ended)
        later = again(held)
        begins_at = later[0].begins_at
        begun.add(begins_at)
        sums.totals.clear()
        found = clustered(2, later)
        np.testing.assert_equal([vars(end) for end in found], [vars(end) for end in whole])
        # What is added up again gives the same sums, and of earlier rounds nothing is.
        np.testing.assert_equal(sums.totals, first[max(begins_at - 1, 0) :])
    assert len(begun) > 4
    assert {number % 2 for number in begun} == {0, 1}


@pytest.mark.parametrize("number", [3, 4])
def test_an_aggregator_that_tells_other_centres_or_counts_than_before_is_found(number: int) -> None:
    held = fresh()
    seen = count()

    def tap(sender: int, receiver: int, label: str, payload: bytes) -> None:
        if sender == 1 and label.endswith("/masked") and next(seen) == number - 1:
            raise ChannelBroken("the process was killed")

    clustered(1, held, tap=tap)
    later = again(held)
    assert later[0].begins_at == number
    kept = dict(decode(later[0].held[number]))
    kept["state"] = kept["state"] - np.eye(len(kept["state"]))[-1] * (0.001 if number == 3 else 1)
    later[0] = Checkpoints(2, number, {number: encode(kept)})
    ended = clustered(2, later)
    assert any(isinstance(end, ModelsDisagree) for end in ended[1:])
    assert not any(isinstance(end, Clustered) for end in ended)


def test_clusters_that_an_owner_missed_are_not_gone_on_with() -> None:
    held = fresh()
    clustered(1, held, tap=killed(4, 30), threshold=3)
    assert [one.is_closed for one in held[1:]] == [True, True, True, False]


# regressions on shares

FITTING = vertical.Settings(vertical.Family.LINEAR, epochs=6, batch=80, rate=0.2, tells_loss=True, patience=5)
LAYOUT = vertical.Layout(160, (1, 1), held_out=40)
TARGET = COLUMNS[0] - COLUMNS[1]


def fit(attempt: int, held: list[Checkpoints], cut: dict[int, Cut] | None = None) -> list[Any]:
    """One attempt at a run of two owners and a helper: coefficients, the outcome, epochs played."""

    def party(mesh: Mesh) -> Any:
        rank, played = mesh.rank, []

        def progress(done: int, total: int) -> None:
            played.append(done)
            (cut or {}).get(rank, nothing)(done, total)

        own = None if rank == 2 else COLUMNS[rank].reshape(1, -1)
        with replicated.run(mesh, vertical.SPEC, DeterministicRandomness(bytes([rank, attempt]) * 16)) as rt:
            label = None if rank else TARGET
            trained = vertical.train(rt, LAYOUT, FITTING, own, label, progress, checkpoints=held[rank])
            return vertical.own_coefficients(rt, LAYOUT, trained.weights), trained, played

    return mesh_outcomes([party] * 3, mesh_of(3, b"attempt %d" % attempt))


@pytest.mark.parametrize("lost", [0, 2])
def test_a_regression_goes_on_at_the_epoch_that_was_cut_off(lost: int) -> None:
    held = fresh(3)
    assert all(isinstance(end, MpcError) for end in fit(1, held, {lost: cut_after(3)}))
    later = again(held)
    assert later[0].begins_at >= 3
    found, whole = fit(2, later), fit(3, fresh(3))
    for part, other in zip(found[:2], whole[:2], strict=True):
        assert part[2] == list(range(later[0].begins_at, FITTING.epochs + 1))
        assert part[1].epochs == other[1].epochs
        np.testing.assert_allclose(part[1].losses, other[1].losses, atol=1e-4)
        np.testing.assert_allclose(part[0][1], other[0][1], atol=1e-4)


def test_shares_of_an_epoch_that_another_attempt_plays_again_are_dropped() -> None:
    held = fresh(3)
    fit(1, held, dict.fromkeys(range(3), cut_after(3)))
    assert {max(one.held) for one in held} == {3}
    later = [Checkpoints(2, 2, one.held) for one in held]
    assert all(isinstance(end, MpcError) for end in fit(2, later, {0: cut_after(2)}))
    assert sorted(later[0].held) == [2]
    for part, other in zip(fit(3, again(later, 3))[:2], fit(4, fresh(3))[:2], strict=True):
        np.testing.assert_allclose(part[0][1], other[0][1], atol=1e-4)


# trees and clusters on shares, and parties that do not compute

OnShares = Callable[[Runtime, Checkpoints, Cut], Any]
"""What came of it at this party: numbers that are the same in all attempts, and others to rounding."""
GROWING = shared_boosting.Settings(trees=3, depth=1, bins=4, tells_thresholds=True)
FINDING = Clusters(("a", "b", "c"), (-3.0,) * 3, (3.0,) * 3, count=3, seed=2, least=6, rounds=9)
HIDDEN = replace(FITTING, epochs=4, tells_loss=False, patience=0)
NETWORK = network.Settings(vertical.Family.LINEAR, units=2, epochs=3, batch=80, rate=0.2)
OWNED, FEWER = vertical.Layout(80, (1, 2)), vertical.Layout(60, (1, 2))
SPREAD = vertical.Layout(80, (1, 1, 0, 1))
"""Of owners of whom the last does not compute."""


def columns_of(layout: vertical.Layout, rank: int) -> list[Any]:
    own = [column[: layout.rows] for column in COLUMNS]
    return own[places_of(layout, rank)] if rank < len(layout.columns) else []


def trees_of(layout: vertical.Layout) -> OnShares:
    """Grows trees and opens them to rank 0."""

    def grown(rt: Runtime, held: Checkpoints, progress: Cut) -> Any:
        own, label = columns_of(layout, rt.rank), None if rt.rank else LABEL[: layout.rows]
        binned = bin_columns(own, ["c"] * len(own), GROWING.bins) if own else None
        told = shared_boosting.train(rt, layout, GROWING, binned, label, progress, held)
        if (opened := rt.open(told, [0])) is None:
            return None
        forest = Forest.of(opened, layout, GROWING)
        return (forest.columns, forest.cuts, forest.thresholds), (forest.weights, forest.errors)

    return grown


def clusters_of(layout: vertical.Layout) -> OnShares:
    """Finds clusters and tells each owner its own part of them."""

    def found(rt: Runtime, held: Checkpoints, progress: Cut) -> Any:
        own = columns_of(layout, rt.rank)
        scaled = shared_kmeans.own_columns(FINDING, places_of(layout, rt.rank), own) if own else None
        trained = shared_kmeans.train(
            rt, layout, FINDING, scaled, progress, ends_early=True, checkpoints=held
        )
        assert trained.is_settled
        opened = shared_kmeans.own_centres(rt, layout, trained)
        return None if opened is None else (opened[:, 0], opened[:, 1:] * 2.0**-24)

    return found


def regression_of(layout: vertical.Layout) -> OnShares:
    """Fits a regression of which nothing is told before the end."""

    def fitted(rt: Runtime, held: Checkpoints, progress: Cut) -> Any:
        own, label = columns_of(layout, rt.rank), None if rt.rank else TARGET[: layout.rows]
        features = np.stack(own) if own else None
        trained = vertical.train(rt, layout, HIDDEN, features, label, progress, checkpoints=held)
        found = vertical.own_coefficients(rt, layout, trained.weights)
        return None if found is None else ((), found[1])

    return fitted


def network_of(layout: vertical.Layout) -> OnShares:
    """Fits a network and opens it to rank 0."""

    def fitted(rt: Runtime, held: Checkpoints, progress: Cut) -> Any:
        own, label = columns_of(layout, rt.rank), None if rt.rank else TARGET[: layout.rows]
        features, seed = np.stack(own) if own else None, b"of the run"
        trained = network.train(rt, layout, NETWORK, features, label, seed, progress, checkpoints=held)
        opened = rt.open(trained.weights, [0])
        return None if opened is None else ((), opened * 2.0**-20)

    return fitted


def on_shares(
    run: OnShares, size: int, attempt: int, held: list[Checkpoints], *, cut: Any = None, tap: Any = None
) -> list[Any]:
    """One attempt at a run on shares: what each party came to, and the trees or steps it played."""

    def party(mesh: Mesh) -> Any:
        rank, played = mesh.rank, []

        def progress(done: int, total: int) -> None:
            played.append(done)
            (cut or {}).get(rank, nothing)(done, total)

        rng = DeterministicRandomness(bytes([rank, attempt]) * 16)
        with replicated.run(mesh, replicated.SPEC, rng) as rt:
            return run(rt, held[rank], progress), played

    return mesh_outcomes([party] * size, mesh_of(size, b"attempt %d" % attempt, tap=tap))


def messages_of(lost: int, label: str, run: OnShares, size: int) -> tuple[list[int], list[Any]]:
    """Which messages of a party that nothing cuts off have a label, and what came of the run."""
    sent = list[bool]()

    def tap(sender: int, receiver: int, name: str, payload: bytes) -> None:
        if sender == lost:
            sent.append(name.endswith(label))

    ended = on_shares(run, size, 9, fresh(size), tap=tap)
    return [number for number, is_such in enumerate(sent) if is_such], ended


def assert_same(found: list[Any], whole: list[Any]) -> None:
    """The same outcome, but for the rounding of numbers."""
    assert not any(isinstance(end, Exception) for end in found), found
    for (part, _), (other, _) in zip(found, whole, strict=True):
        assert (part is None) == (other is None)
        if part is not None:
            np.testing.assert_equal(part[0], other[0])
            for numbers, others in zip(part[1], other[1], strict=True):
                np.testing.assert_allclose(numbers, others, atol=2e-4)


@pytest.mark.parametrize(
    ("run", "size", "lost"),
    [
        (trees_of(OWNED), 3, 0),
        (trees_of(OWNED), 3, 2),
        (trees_of(SPREAD), 4, 3),
        (clusters_of(OWNED), 3, 0),
        (clusters_of(OWNED), 3, 1),
        (clusters_of(SPREAD), 4, 3),
        (regression_of(SPREAD), 4, 1),
        (network_of(SPREAD), 4, 3),
    ],
)
def test_a_run_on_shares_goes_on_wherever_it_is_cut_off(run: OnShares, size: int, lost: int) -> None:
    rounds, whole = messages_of(lost, "/public", run, size)
    last = whole[0][1][-1]
    # Of a checkpoint every party hears from every other.
    checkpoints = rounds[:: size - 1]
    between = [(one + next_) // 2 for one, next_ in pairwise(checkpoints)]
    for message in (checkpoints[0] - 1, *checkpoints, *between, checkpoints[-1] + size):
        held = fresh(size)
        ended = on_shares(run, size, 1, held, tap=killed(lost, message))
        assert all(isinstance(end, MpcError) for end in ended)
        later = again(held)
        passed = sum(one < message for one in checkpoints)
        assert passed - 1 <= later[0].begins_at <= passed + 1
        found = on_shares(run, size, 2, later)
        assert_same(found, whole)
        assert [played for _, played in found] == [list(range(max(later[0].begins_at, 1), last + 1))] * size


class Meeting(Checkpoints):
    """Those of one of three parties that meet at number 3, where the first is killed.

    It has kept the number in the first attempt, in later ones it has not.
    """

    def __init__(self, rank: int, met: threading.Barrier, held: Mapping[int, bytes] | None = None) -> None:
        super().__init__(*((1, 0) if held is None else (2, 2)), held)
        self._rank, self._met = rank, met

    def keep(self, number: int, arrays: Arrays) -> None:
        if number != 3 or self._rank or self.attempt == 1:
            super().keep(number, arrays)
        if number == 3:
            self._met.wait(30)
            if self._rank == 0:
                raise ChannelBroken("the process was killed")


@pytest.mark.parametrize("run", [trees_of(OWNED), clusters_of(OWNED)])
def test_shares_of_another_attempt_are_dropped_and_mean_nothing_beside_new_ones(run: OnShares) -> None:
    met = threading.Barrier(3)
    first = [Meeting(rank, met) for rank in range(3)]
    assert all(isinstance(end, MpcError) for end in on_shares(run, 3, 1, [*first]))
    assert [sorted(one.held) for one in first] == [[2, 3]] * 3
    later = [Meeting(rank, met, one.held) for rank, one in enumerate(first)]
    assert all(isinstance(end, MpcError) for end in on_shares(run, 3, 2, [*later]))
    assert [sorted(one.held) for one in later] == [[2], [2, 3], [2, 3]]
    whole = on_shares(run, 3, 9, fresh(3))
    assert_same(on_shares(run, 3, 3, again([*later], 3)), whole)
    mixed = [Checkpoints(4, 3, one.held) for one in (first[0], *later[1:])]
    ended = on_shares(run, 3, 4, mixed)
    with pytest.raises(AssertionError):
        assert_same(ended, whole)


@pytest.mark.parametrize(
    ("run", "other", "words"),
    [
        (
            trees_of(OWNED),
            trees_of(vertical.Layout(60, (1, 2))),
            r"margins of shape \(2, 80\), got \(2, 60\)",
        ),
        (clusters_of(OWNED), trees_of(OWNED), r"centres of shape \(2, 3, 3\), got None"),
    ],
)
def test_a_checkpoint_of_another_run_is_refused(run: OnShares, other: OnShares, words: str) -> None:
    held = fresh(3)
    on_shares(other, 3, 1, held, cut={0: cut_after(1)})
    ended = on_shares(run, 3, 2, [Checkpoints(2, 1, one.held) for one in held])
    assert all(isinstance(end, InvalidInput) for end in ended)
    for end in ended:
        with pytest.raises(InvalidInput, match=f"^checkpoint: expected {words}"):
            raise end
    missing = on_shares(run, 3, 2, [Checkpoints(2, 7, one.held) for one in held])
    assert all("expected to hold number 7" in str(end) for end in missing)


def test_clusters_are_told_again_as_they_were_told_before() -> None:
    told = list[Any]()

    def told_to_one(rt: Runtime, held: Checkpoints, progress: Cut) -> Any:
        found = clusters_of(OWNED)(rt, held, progress)
        if rt.rank == 0:
            told.append(found)
        if rt.rank == 1 and held.attempt == 1:
            raise ChannelBroken("the process was killed")
        return found

    held = fresh(3)
    assert all(isinstance(end, MpcError) for end in on_shares(told_to_one, 3, 1, held))
    ended = on_shares(told_to_one, 3, 2, again(held))
    assert not any(isinstance(end, Exception) for end in ended)
    assert [played for _, played in ended] == [[]] * 3
    assert len(told) == 2
    np.testing.assert_equal(told[0], told[1])
