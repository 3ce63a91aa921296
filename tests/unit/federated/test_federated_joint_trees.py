"""Boosted trees over owners' rows: those of pooled rows, whoever leaves; what no rows can have is refused."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from federated.boosting import Binned, Objective, Settings, auc, objectives
from federated.boosting.fixed_point import Quantised
from federated.boosting.growth import Growth, grow, own_sums
from federated.boosting.trees import Split
from federated.horizontal import Boosted, Boosting, Table, Terms, aggregate_trees, boost, costs, margins_of
from federated.horizontal.boosting import SPEC
from federated.horizontal.trees import (
    CELLS,
    bins_of,
    cells_of,
    check_sums,
    cuts_from,
    derivatives,
    drawn_cuts,
)
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
SESSION = b"a run of joint trees"
NAMES = ("debt", "age", "flat", "bad")
LOWER, UPPER = (0.0, -10.0, 0.0, 0.0), (1000.0, 90.0, 1.0, 1.0)
SETTINGS = Settings(trees=3, depth=3, bins=12, rate=0.4)
AGREED = Boosting(SETTINGS, NAMES, LOWER, UPPER, least=8)
SQUARED = replace(
    AGREED,
    settings=replace(SETTINGS, objective=Objective.SQUARED),
    lower=(*LOWER[:3], -50.0),
    upper=(*UPPER[:3], 150.0),
)
PENALISED = replace(AGREED, settings=replace(SETTINGS, l1=1.5, l2=3.0, gamma=0.5))
UNIT = 2.0**24


class Gone(Exception):
    """The process of an owner ends."""


def table_of(number: int, rows: int = 90, *, is_logistic: bool = True) -> Table:
    """Rows of which each owner has another part, some beyond the bounds; one column is constant."""
    draw = np.random.default_rng(number)
    debt, age = draw.gamma(2.0, 150.0 + 40 * number, rows), draw.normal(30 + 5 * number, 15, rows)
    fitted = np.where(debt > 300, 1.5, -1.0) * np.where(age > 40, 1.0, -0.5)
    label = (
        draw.random(rows) < 1 / (1 + np.exp(-2 * fitted))
        if is_logistic
        else 30 * fitted + draw.normal(0, 5, rows)
    )
    return Table(NAMES[:3], np.column_stack([debt, age, np.full(rows, 0.5)]), "bad", label.astype(np.float64))


def owners_of(count: int, agreed: Boosting = AGREED) -> dict[int, Table]:
    return {number: table_of(number, is_logistic=agreed.is_logistic) for number in range(1, count + 1)}


def run(
    tables: Mapping[int, Table],
    agreed: Boosting = AGREED,
    *,
    tap: Callable[[int, int, str, bytes], bytes | None] | None = None,
    meshes: list[Mesh] | None = None,
) -> list[Any]:
    """Rank 0 is the aggregator; what each role returned or raised."""
    count = len(tables)
    terms = Terms(SPEC, count, max(3, count // 2 + 1), SESSION, 4.0)

    def play(mesh: Mesh) -> Any:
        if mesh.rank == 0:
            return aggregate_trees(mesh.channels, terms, agreed)
        others = {rank: channel for rank, channel in mesh.channels.items() if rank}
        rng = DeterministicRandomness(bytes([mesh.rank]) * 16)
        return boost(mesh.channels[0], others, terms, mesh.rank, agreed, tables[mesh.rank], rng)

    return mesh_outcomes([play] * (count + 1), meshes or mesh_of(count + 1, SESSION, tap=tap))


def found_of(ended: list[Any]) -> Boosted:
    """The one outcome that all parties hold."""
    first: Boosted
    first, *others = ended
    assert all(isinstance(end, Boosted) for end in ended), ended
    for other in others:
        assert (other.base, other.trees, other.rows, other.losses, other.asked, other.owners) == (
            first.base,
            first.trees,
            first.rows,
            first.losses,
            first.asked,
            first.owners,
        )
        for own, one in zip(other.cuts, first.cuts, strict=True):
            np.testing.assert_array_equal(own, one)
    return first


def textbook_cuts(agreed: Boosting, values: Floats, column: int) -> list[float]:
    """Bounds of bins of one column, value by value: those nearest to quantiles, less those of small bins."""
    low, high, bins = agreed.lower[column], agreed.upper[column], agreed.settings.bins
    cells = [min(int((min(max(one, low), high) - low) / (high - low) * CELLS), CELLS - 1) for one in values]
    inner = range(1, CELLS)
    if len(set(cells)) <= bins:
        chosen = {one + 1 for one in set(cells) - {max(cells)}}
    else:
        below = {bound: sum(one < bound for one in cells) for bound in inner}
        parts = [len(cells) * part / bins for part in range(1, bins)]
        chosen = {min(inner, key=lambda bound: abs(below[bound] - part)) for part in parts}
    kept, start = list[int](), 0
    for bound in sorted(chosen):
        sides = sum(start <= one < bound for one in cells), sum(one >= bound for one in cells)
        if min(sides) >= agreed.least:
            kept.append(bound)
            start = bound
    return [low + (high - low) * bound / CELLS for bound in kept]


def textbook(
    agreed: Boosting, tables: Mapping[int, Table], drawn: Sequence[Sequence[int]] | None = None
) -> tuple[list[Any], Floats]:
    """Trees of pooled rows, node by node and value by value: of each the splits and leaves; the margins."""
    features = np.concatenate([one.features for one in tables.values()])
    label = np.concatenate([one.label for one in tables.values()])
    low, high, settings = agreed.lower[-1], agreed.upper[-1], agreed.settings
    label = np.rint((np.clip(label, low, high) - low) / (high - low) * UNIT) / UNIT
    cuts = [textbook_cuts(agreed, features[:, at], at) for at in range(features.shape[1])]
    mean = label.mean()
    margins = np.full(len(label), np.log(mean / (1 - mean)) if agreed.is_logistic else mean)
    trees = []
    for number in range(settings.trees):
        may_split = range(len(cuts)) if drawn is None else drawn[number]
        fitted = 1 / (1 + np.exp(-margins)) if agreed.is_logistic else margins
        g = np.rint((fitted - label) * UNIT) / UNIT
        h = np.rint(fitted * (1 - fitted) * UNIT) / UNIT if agreed.is_logistic else np.ones(len(label))
        splits, leaves, added = dict[int, Any](), dict[int, float](), np.zeros(len(label))
        pending = [(1, np.ones(len(label), dtype=bool))]
        while pending:
            node, rows = pending.pop()
            best, parts = (max(settings.gamma, 1e-6), 0, 0), None
            for column in may_split if node < 2**settings.depth else ():
                for cut, threshold in enumerate(cuts[column]):
                    left = rows & (features[:, column] < threshold)
                    sides = (left, rows & ~left)
                    if min(side.sum() for side in sides) < agreed.least:
                        continue
                    if min(h[side].sum() for side in sides) < settings.min_child_weight:
                        continue
                    fits = [
                        max(abs(g[one].sum()) - settings.l1, 0) ** 2 / (h[one].sum() + settings.l2)
                        for one in (*sides, rows)
                    ]
                    if fits[0] + fits[1] - fits[2] > best[0]:
                        best, parts = (fits[0] + fits[1] - fits[2], column, cut), sides
            if parts is None:
                beyond = max(abs(g[rows].sum()) - settings.l1, 0) * np.sign(g[rows].sum())
                leaves[node] = -settings.rate * beyond / (h[rows].sum() + settings.l2)
                added[rows] = leaves[node]
                continue
            splits[node] = (best[1], best[2], int(rows.sum()))
            pending += [(2 * node + right, side) for right, side in enumerate(parts)]
        trees.append((splits, leaves))
        margins = margins + added
    return trees, margins


def assert_pooled(
    found: Boosted,
    agreed: Boosting,
    tables: Mapping[int, Table],
    drawn: Sequence[Sequence[int]] | None = None,
) -> None:
    trees, margins = textbook(agreed, tables, drawn)
    assert len(trees) == len(found.trees)
    for tree, (splits, leaves) in zip(found.trees, trees, strict=True):
        own = {node: (one.column, one.cut, tree.rows[node]) for node, one in tree.splits.items()}
        assert own == splits
        assert tree.leaves == pytest.approx(leaves, abs=1e-12)
    features = np.concatenate([one.features for one in tables.values()])
    np.testing.assert_allclose(margins_of(agreed, found, features), margins, atol=1e-12)


# the trees of pooled rows


@pytest.mark.parametrize("agreed", [AGREED, SQUARED, PENALISED], ids=["logistic", "squared", "penalised"])
@pytest.mark.parametrize("owners", [3, 5])
def test_trees_are_those_of_pooled_rows(agreed: Boosting, owners: int) -> None:
    tables = owners_of(owners, agreed)
    found = found_of(run(tables, agreed))
    assert_pooled(found, agreed, tables)
    assert all(tree.splits for tree in found.trees)
    assert (found.rows, found.owners) == (90 * owners, tuple(range(1, owners + 1)))
    assert list(found.losses) == sorted(found.losses, reverse=True)
    assert len(found.losses) == agreed.settings.trees + 1


def test_a_tree_splits_the_columns_that_are_drawn_for_it() -> None:
    tables = owners_of(3)
    agreed = replace(AGREED, percent=33, settings=replace(SETTINGS, trees=8, depth=2))
    found = found_of(run(tables, agreed))
    drawn = [
        [at for at, own in enumerate(drawn_cuts(agreed, (np.array([7]),) * 3, SESSION, tree)) if len(own)]
        for tree in range(1, 9)
    ]
    assert {len(one) for one in drawn} == {1}
    assert {column for one in drawn for column in one} == {0, 1, 2}
    assert_pooled(found, agreed, tables, drawn)
    # A tree of the column that is constant is a leaf.
    assert [not tree.splits for tree in found.trees] == [one == [2] for one in drawn]


def test_columns_that_explain_nothing_are_refused_where_they_are_drawn() -> None:
    tables = owners_of(3, SQUARED)
    for one in tables.values():
        one.label[:] = 7.0
    ended = run(tables, replace(SQUARED, percent=60))
    assert isinstance(ended[0], InvalidInput)
    assert "expected a split that lowers the loss" in str(ended[0])


def test_trees_do_not_depend_on_who_has_which_rows() -> None:
    tables = owners_of(4)
    features = np.concatenate([one.features for one in tables.values()])
    label = np.concatenate([one.label for one in tables.values()])
    order = np.argsort(features[:, 0])
    dealt = {
        number: Table(NAMES[:3], features[rows], "bad", label[rows])
        for number, rows in enumerate(np.array_split(order, 4), start=1)
    }
    assert found_of(run(tables)).trees == found_of(run(dealt)).trees


@pytest.mark.parametrize("agreed", [AGREED, SQUARED], ids=["logistic", "squared"])
def test_a_tree_is_that_of_growth_at_one_node(agreed: Boosting) -> None:
    """`federated.boosting.growth` on pooled bins and the same rounded numbers; leaves may be small there."""
    agreed = replace(agreed, least=1, settings=replace(agreed.settings, trees=1, min_child_weight=1.0))
    tables = owners_of(3, agreed)
    found = found_of(run(tables, agreed))
    features = np.concatenate([one.features for one in tables.values()])
    label = np.concatenate([agreed.prepared(one)[1] for one in tables.values()])
    codes = bins_of(cells_of(agreed, features), found.cuts)
    g, h = objectives.gradients(np.full(len(label), found.base), label, agreed.settings.objective)
    numbers = Quantised(np.rint(g * UNIT).astype(np.int64), np.rint(h * UNIT).astype(np.int64), UNIT, UNIT)
    pooled = Binned(NAMES[:3], agreed.thresholds(found.cuts), codes)
    chosen = dict[int, Any]()

    def sides(best: Mapping[tuple[int, int], Any]) -> dict[tuple[int, int], Any]:
        chosen.update({node: one for (_, node), one in best.items()})
        return {
            place: (Split(0, place[1], one.gain), codes[one.column] <= one.cut) for place, one in best.items()
        }

    growth = Growth(agreed.settings, pooled.counts, numbers, g, h)
    ((tree, _),) = grow([growth], lambda nodes: [own_sums(pooled, numbers, rows) for _, rows in nodes], sides)
    assert found.trees[0].splits == chosen
    assert found.trees[0].leaves == pytest.approx(tree.leaves, abs=1e-6)


def test_trees_tell_the_labels_apart() -> None:
    tables = owners_of(4)
    found = found_of(run(tables))
    features = np.concatenate([one.features for one in tables.values()])
    label = np.concatenate([one.label for one in tables.values()])
    assert auc(margins_of(AGREED, found, features), label) > 0.8


def test_no_bin_and_no_leaf_has_fewer_rows_than_the_least() -> None:
    agreed, tables = replace(AGREED, least=40), owners_of(4)
    found = found_of(run(tables, agreed))
    assert_pooled(found, agreed, tables)
    assert min(rows for tree in found.trees for rows in tree.rows.values()) >= 40
    cells = np.concatenate([agreed.prepared(one)[0] for one in tables.values()], axis=1)
    for codes, cuts in zip(bins_of(cells, found.cuts), found.cuts, strict=True):
        assert np.bincount(codes, minlength=len(cuts) + 1).min() >= 40


def test_a_column_of_few_values_is_cut_between_them() -> None:
    agreed = replace(AGREED, names=("kind", "bad"), lower=(0.0, 0.0), upper=(3.0, 1.0), least=2)
    counts = np.bincount(cells_of(agreed, np.repeat([0.0, 1.0, 2.0, 3.0], 6)[:, None])[0], minlength=CELLS)
    cuts = cuts_from(agreed, counts[None])
    codes = bins_of(cells_of(agreed, np.array([[-5.0], [0.0], [1.0], [2.0], [3.0], [9.0]])), cuts)
    assert codes.tolist() == [[0, 0, 1, 2, 3, 3]]


@pytest.mark.parametrize("share", [0.05, 0.3, 0.95])
def test_a_column_of_two_values_is_cut_whatever_their_shares(share: float) -> None:
    counts = np.zeros((1, CELLS), dtype=np.int64)
    counts[0, 0], counts[0, -1] = round(1000 * share), round(1000 * (1 - share))
    agreed = replace(AGREED, names=("kind", "bad"), lower=(0.0, 0.0), upper=(1.0, 1.0))
    for bins in (2, 12):
        (cuts,) = cuts_from(replace(agreed, settings=replace(SETTINGS, bins=bins)), counts)
        assert cuts.tolist() == [1]
    assert not len(cuts_from(replace(agreed, least=60), counts)[0]) or share == 0.3


@pytest.mark.parametrize("bins", [2, 3, 12, 64])
def test_bins_are_as_many_as_agreed_where_rows_are_spread(bins: int) -> None:
    agreed = replace(AGREED, settings=replace(SETTINGS, bins=bins), least=1)
    counts = np.bincount(np.random.default_rng(3).integers(0, CELLS, 4000), minlength=CELLS)
    cuts = cuts_from(agreed, np.stack([counts] * 3))
    sizes = np.add.reduceat(counts, np.append(0, cuts[0]))
    assert len(sizes) == bins
    # A bound is at most half a cell away from its quantile.
    assert np.abs(sizes - 4000 / bins).max() <= counts.max()


# owners that leave


def leaving(owner: int, round_: int, message: str) -> Callable[[int, int, str, bytes], None]:
    """The owner ends before it sends this message of this round, counted from 0."""
    seen = [0]

    def tap(sender: int, receiver: int, label: str, payload: bytes) -> None:
        if sender == owner and receiver == 0 and label.endswith(f"/{message}"):
            if seen[0] == round_:
                raise Gone
            seen[0] += 1

    return tap


def test_an_owner_that_leaves_at_first_has_no_part_in_the_trees() -> None:
    tables = owners_of(4)
    ended = run(tables, tap=leaving(2, 0, "masked"))
    assert isinstance(ended.pop(2), Gone)
    found = found_of(ended)
    assert found.owners == (1, 3, 4)
    assert_pooled(found, AGREED, {number: tables[number] for number in (1, 3, 4)})


@pytest.mark.parametrize("round_", [1, 2, 3, 5])
def test_an_owner_may_leave_at_any_level(round_: int) -> None:
    ended = run(owners_of(4), tap=leaving(2, round_, "masked"))
    assert isinstance(ended.pop(2), Gone)
    found = found_of(ended)
    assert (found.owners, found.rows, len(found.trees)) == ((1, 3, 4), 270, 3)


def test_too_few_survivors_have_no_trees() -> None:
    taps = [leaving(1, 1, "masked"), leaving(3, 2, "keys")]

    def tap(*sent: Any) -> None:
        for one in taps:
            one(*sent)

    ended = run(owners_of(4), tap=tap)
    assert isinstance(ended[0], TooFewParties)
    assert not any(isinstance(end, Boosted) for end in ended)


# refusals and attacks


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("where", ["age", "bad"])
def test_values_that_are_not_finite_never_leave_their_owner(bad: float, where: str) -> None:
    tables = owners_of(4)
    (tables[2].features[:, 1] if where == "age" else tables[2].label)[3] = bad
    ended = run(tables)
    refused = ended.pop(2)
    assert isinstance(refused, ValueOutOfRange)
    assert f"column {where}: 1 of 90 values are missing or not finite" in str(refused)
    found = found_of(ended)
    assert_pooled(found, AGREED, {number: tables[number] for number in (1, 3, 4)})


def test_labels_that_are_not_0_and_1_never_leave_their_owner() -> None:
    tables = owners_of(4)
    tables[3].label[5] = 2.0
    ended = run(tables)
    assert isinstance(ended[3], ValueOutOfRange)
    assert "label bad: 1 of 90 values are neither 0 nor 1" in str(ended[3])
    assert found_of([*ended[:3], ended[4]]).owners == (1, 2, 4)


@pytest.mark.parametrize("only", [0.0, 1.0])
def test_one_class_at_all_owners_is_refused_and_at_one_is_not(only: float) -> None:
    tables = owners_of(3)
    tables[1].label[:] = only
    assert_pooled(found_of(run(tables)), AGREED, tables)
    for one in tables.values():
        one.label[:] = only
    ended = run(tables)
    assert isinstance(ended[0], InvalidInput)
    assert "label bad: all 270 values of all owners are of one class" in str(ended[0])
    assert not any(isinstance(end, Boosted) for end in ended)


def test_a_number_of_one_value_and_columns_that_explain_nothing_are_refused() -> None:
    tables = owners_of(3, SQUARED)
    for one in tables.values():
        one.label[:] = 7.0
    ended = run(tables, SQUARED)
    assert isinstance(ended[0], InvalidInput)
    assert "expected a split that lowers the loss with 8 rows" in str(ended[0])
    assert not any(isinstance(end, Boosted) for end in ended)


@pytest.mark.parametrize("leaves", [False, True])
def test_fewer_rows_than_a_split_needs_are_refused(leaves: bool) -> None:
    agreed = replace(AGREED, least=181 if not leaves else 140)
    ended = run(owners_of(4), agreed, tap=leaving(4, 0, "masked") if leaves else None)
    expected = f"at least {2 * agreed.least} rows of all owners together"
    assert any(isinstance(end, InvalidInput) and expected in str(end) for end in ended), ended
    assert not any(isinstance(end, Boosted) for end in ended)


def test_tables_of_another_shape_are_refused() -> None:
    table = table_of(1)
    for change in (
        {"names": ("debt", "age", "other")},
        {"names": ("debt", "age")},
        {"label_name": "good"},
        {"features": table.features[:, :2]},
        {"features": table.features[:5]},
        {"features": table.features[:0], "label": table.label[:0]},
    ):
        with pytest.raises(InvalidInput, match="expected"):
            AGREED.prepared(replace(table, **change))


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"least": 0}, "least"),
        ({"percent": 0}, "percent"),
        ({"settings": replace(SETTINGS, objective=Objective.SOFTMAX, classes=3)}, "settings"),
        ({"settings": replace(SETTINGS, monotone=((1, 0, 0),))}, "settings"),
        ({"settings": replace(SETTINGS, patience=2)}, "settings"),
        ({"settings": replace(SETTINGS, top_rate=0.2, other_rate=0.1)}, "settings"),
        ({"percent": 101}, "percent"),
        ({"names": ("bad",), "lower": (0.0,), "upper": (1.0,)}, "columns"),
        ({"upper": (0.0, *UPPER[1:])}, "bounds of debt"),
        ({"lower": (*LOWER[:2], np.nan, 0.0)}, "bounds of flat"),
        ({"upper": (*UPPER[:3], 2.0)}, "bounds of bad: expected 0 and 1"),
        (
            {
                "settings": Settings(depth=8, bins=64),
                "names": tuple(map(str, range(44))),
                "lower": (0.0,) * 44,
                "upper": (1.0,) * 44,
            },
            "sums of a level",
        ),
    ],
    ids=str,
)
def test_settings_out_of_range_are_refused(change: dict[str, Any], words: str) -> None:
    with pytest.raises(InvalidInput, match=words):
        replace(AGREED, **change)


def changed(round_: int, change: Callable[[Floats], object], *, owners: tuple[int, ...]) -> Any:
    """An aggregator that changes what it tells owners after this round, counted from 0."""
    seen: dict[int, int] = {}

    def tap(sender: int, receiver: int, label: str, payload: bytes) -> bytes | None:
        if sender or label != "horizontal/boosting/1/piece":
            return None
        seen[receiver] = seen.get(receiver, 0) + 1
        if receiver in owners and seen[receiver] == round_ + 1:
            told = np.frombuffer(payload[24:], dtype=np.float64).copy()
            change(told)
            return payload[:24] + told.tobytes()
        return None

    return tap


def test_an_aggregator_that_tells_owners_different_splits_is_found() -> None:
    ended = run(owners_of(4), tap=changed(1, lambda told: told.__setitem__(5, told[5] + 1e-9), owners=(2,)))
    assert isinstance(ended[2], ModelsDisagree)
    assert not any(isinstance(end, Boosted) for end in ended)


CHANGES: dict[str, tuple[int, int, float]] = {
    "rows in parts": (0, 0, 270.5),
    "no rows": (0, 0, 0.0),
    "a mean beyond the bounds": (0, 1, 1.5),
    "a cut that is no cell": (0, 2, 256.0),
    "cuts out of order": (0, 2, 255.0),
    "a cut in parts": (0, 2, 7.5),
    "another column": (1, 2, 4.0),
    "a negative column": (1, 2, -1.0),
    "another cut": (1, 3, 60.0),
    "a gain that is not finite": (1, 4, np.nan),
    "a small child": (1, 7, 7.0),
    "more rows than there are": (1, 8, 900.0),
    "rows of a child in parts": (1, 8, 100.5),
}


@pytest.mark.parametrize(("round_", "at", "value"), CHANGES.values(), ids=CHANGES)
def test_numbers_that_no_rows_have_are_refused_by_the_owners(round_: int, at: int, value: float) -> None:
    """An aggregator that lies to all alike."""
    tap = changed(round_, lambda told: told.__setitem__(at, value), owners=(1, 2, 3))
    ended = run(owners_of(3), tap=tap)
    assert any(isinstance(end, MalformedMessage) for end in ended[1:]), ended
    assert not any(isinstance(end, Boosted) for end in ended)


def scaled(start: int, stop: int | None, factor: int) -> Callable[[Any], Any]:
    def change(words: Any) -> Any:
        words = words.copy()
        words[start:stop] *= np.uint64(factor)
        return words

    return change


def moved(at: int, by: int) -> Callable[[Any], Any]:
    def change(words: Any) -> Any:
        words = words.copy()
        words.view(np.int64)[at] += by
        return words

    return change


@pytest.mark.parametrize(
    ("at", "words"),
    [
        (1, scaled(6, None, 3)),
        (1, moved(6, -(2**40))),
        (1, moved(4, 2**20)),
        (2, scaled(6, None, 1000)),
        (2, moved(6, 2**40)),
        (2, moved(40, -(2**40))),
        (2, moved(70, 1)),
        (2, moved(70, -(2**62))),
        (3, moved(6, 2**10)),
        (1, lambda words: words[:-1]),
        (2, lambda words: np.append(words, words[:1])),
    ],
    ids=[
        "cells",
        "negative cells",
        "labels beyond the bounds",
        "scaled sums",
        "gradients",
        "hessians",
        "a row too many",
        "negative rows",
        "columns that differ",
        "too short",
        "too long",
    ],
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


@pytest.mark.parametrize("agreed", [AGREED, SQUARED], ids=["logistic", "squared"])
@pytest.mark.parametrize("value", [-(2**63), 2**63 - 1])
def test_sums_at_the_ends_of_a_word_are_refused(agreed: Boosting, value: int) -> None:
    cuts = (np.array([100]),)
    sums = np.array([[[0, 0], [0, 0], [9, 9]]])
    sums[:, 1] = sums[:, 2] << (22 if agreed.is_logistic else 24)
    check_sums(agreed, cuts, sums, [18], is_root=True)
    for part in range(3):
        other = sums.copy()
        other[0, part, 1] = value
        with pytest.raises(MalformedMessage, match="got 1 of 2 that are not"):
            check_sums(agreed, cuts, other, [18], is_root=True)


def test_gradients_that_run_away_end_at_their_owner() -> None:
    label = SQUARED.prepared(table_of(1, is_logistic=False))[1]
    with pytest.raises(ValueOutOfRange, match="gradients: 90 of 90 rows"):
        derivatives(SQUARED, np.full(len(label), 6.0), label)
    with pytest.raises(ValueOutOfRange, match="gradients: 1 of 90 rows"):
        derivatives(SQUARED, np.where(np.arange(90) == 4, np.nan, 0.5), label)


@pytest.mark.parametrize("owners", [3, 5])
@pytest.mark.parametrize(("depth", "percent"), [(1, 100), (4, 100), (3, 60)])
def test_measured_rounds_and_bytes_are_the_declared_ones(owners: int, depth: int, percent: int) -> None:
    meshes = mesh_of(owners + 1, SESSION)
    agreed = replace(AGREED, settings=replace(SETTINGS, depth=depth), percent=percent)
    found = found_of(run(owners_of(owners), agreed, meshes=meshes))
    assert len(found.asked) <= depth * 3
    for rank, mesh in enumerate(meshes):
        stats = [channel.stats for channel in mesh.channels.values()]
        sent, phases = sum(one.bytes_sent for one in stats), sum(one.rounds for one in stats)
        role, times = ("owner", 1) if rank else ("aggregator", owners)
        assert sent == times * costs.boosting_sent(role, owners, agreed, found.asked)
        assert phases == times * costs.boosting_receiving_phases(role, owners, found.asked)
    received = sum(channel.stats.bytes_received for channel in meshes[1].channels.values())
    told = costs.boosting_sent("aggregator", owners, agreed, found.asked)
    assert received == told + costs.boosting_compared(owners, found.asked)
