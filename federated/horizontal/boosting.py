"""Gradient boosted trees over the rows of many owners: rounds of sums that are added up securely.

In the first round owners enter how many rows they have in each cell of each column, of which the aggregator
makes bins. Then each level of each tree is a round: owners enter the sums of gradients, hessians and rows in
each bin of each node of the level; the aggregator chooses splits and tells them. A last round adds up the
loss. No sum is derived from those of the level before, so that an owner may leave in between.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Final

import numpy as np

from federated.boosting import objectives
from federated.horizontal.encoding import LIMBS, Words, from_limbs, to_limbs
from federated.horizontal.models import Floats
from federated.horizontal.rounds import Terms, aggregator_rounds, owner_rounds
from federated.horizontal.settings import WEIGHT
from federated.horizontal.standardise import Table
from federated.horizontal.trees import (
    CELLS,
    FIGURES,
    Boosting,
    Cells,
    Codes,
    Cuts,
    Growing,
    JointTree,
    bins_of,
    cell_counts,
    cells_of,
    check_sums,
    cuts_from,
    decided,
    derivatives,
    drawn_cuts,
    place_of,
    sums_of,
)
from mpc.channel import Channel
from mpc.errors import InvalidInput, MalformedMessage
from mpc.randomness import Randomness
from mpc.spec import Adversary, ProtocolSpec

__all__ = ["SPEC", "Boosted", "aggregate_trees", "boost", "lengths", "margins_of"]

_HEAD: Final = 2 * LIMBS
"""Words of the rows and of one sum over them."""

_SETTINGS: Final = "the settings, and which owners dropped out, and when"
_TREES: Final = (
    "the number of rows of all together, the mean of the label, the bounds of every column's bins, every "
    "tree after each level with the gains of its splits and the rows and weights of its nodes, and the mean "
    "loss after each tree"
)

SPEC: Final = ProtocolSpec(
    name="horizontal/boosting",
    version=1,
    roles=("aggregator", "owner"),
    adversary=Adversary.SEMI_HONEST,
    corruptions="the aggregator with fewer owners than the threshold",
    leaks={
        "aggregator": (
            _SETTINGS,
            _TREES,
            "of every column, how many rows of all owners together are in each of its 256 cells",
            "of every node examined, the sums of gradients and of hessians and the number of rows of all "
            "owners together in each bin of each column, also of bins with few rows",
            "of an owner that drops out, its sums in the bins of nodes examined before, by how much the sums "
            "of their children fall short",
        ),
        "owner": (_SETTINGS, _TREES, WEIGHT),
    },
    cost="with n owners, B bins over all columns and m nodes of a level, a level takes a round of 5 "
    "receiving phases at an owner with the aggregator and 1 with each other owner, and sends "
    "24 m B + 48 + 182 n bytes from an owner; two rounds come on top; to the byte by "
    "federated.horizontal.costs",
    source="Chen, Guestrin 2016 (XGBoost), histograms by sums over the owners: Ong, Zhou, Baracaldo, Ludwig "
    "2020 (Adaptive Histogram-Based Gradient Boosted Trees for Federated Learning); aggregation: Bonawitz et "
    "al. 2017; an aggregator that sends different models: Pasquini, Francati, Ateniese 2022",
    summary="Owners of the same columns and different rows grow boosted trees of all rows together: sums of "
    "gradients by node and bin are added up by secure aggregation with drop-outs, level by level.",
)

Progress = Callable[[int, int], None]


@dataclass(frozen=True)
class Boosted:
    """The outcome of a run, the same at all parties.

    Attributes:
        base: the margin before the first tree.
        cuts: of each column.
        trees: as they grew.
        rows: of the owners in the last round.
        losses: the mean loss over all rows before the first tree, and after each.
        asked: of each round, how many nodes were examined in how many bins of all columns.
        owners: numbers of the owners in the last round.
    """

    base: float
    cuts: Cuts
    trees: tuple[JointTree, ...]
    rows: int
    losses: tuple[float, ...]
    asked: tuple[tuple[int, int], ...]
    owners: tuple[int, ...]


def boost(
    channel: Channel,
    others: Mapping[int, Channel],
    terms: Terms,
    number: int,
    agreed: Boosting,
    table: Table,
    rng: Randomness,
    progress: Progress = lambda done, total: None,
) -> Boosted:
    """Play an owner.

    Args:
        channel: to the aggregator, which waits longer than the patience.
        others: to the other owners, by number.
        terms: of the run, as at all parties.
        number: of this owner, from 1.
        agreed: as at all parties.
        table: own rows.
        rng: own randomness.
        progress: told after each tree.

    Raises:
        ValueOutOfRange: own values that are missing or not finite, or labels that are not 0 and 1.
        InvalidInput: other columns than were agreed; too few rows of all owners together.
        ModelsDisagree: the aggregator told owners different splits.
        TooFewParties: fewer than the threshold are left.
        ProtocolAbort: a message is not as the protocol has it.

    Security: see `SPEC`. Leaks: see `SPEC`. Cost: `federated.horizontal.costs`. Source: see the module.
    """
    cells, label = agreed.prepared(table)
    rows, settings = len(label), agreed.settings
    with owner_rounds(channel, others, terms, number, rng) as run:
        run.receive(0)
        total = float(label.sum())
        run.enter(np.concatenate([_head(rows, total), cell_counts(cells).ravel().view(np.uint64)]))
        told = run.receive(lengths(agreed)[0])
        count = terms.checked_rows(float(told[0]), agreed.least_rows)
        base, cuts = _base(agreed, count, float(told[1])), _checked_cuts(agreed, told[2:])
        codes, margins = bins_of(cells, cuts), np.full(rows, base)
        trees, losses, asked = list[JointTree](), list[float](), list[tuple[int, int]]()
        for done in range(1, settings.trees + 1):
            numbers = derivatives(agreed, margins, label)
            loss = objectives.loss(margins, label, settings.objective) * rows
            growing = Growing(agreed, drawn_cuts(agreed, cuts, terms.session, done))
            while growing.nodes:
                place = place_of(growing.tree(), codes)
                sums = sums_of(codes, growing.cuts, growing.nodes, place, numbers)
                run.enter(np.concatenate([_head(rows, loss), sums.ravel().view(np.uint64)]))
                asked.append((len(growing.nodes), sums.shape[2]))
                told = run.receive(lengths(agreed, *asked[-1])[0])
                count = terms.checked_rows(float(told[0]), agreed.least_rows)
                growing.take(told[2:].reshape(-1, FIGURES), count)
            losses.append(float(told[1]))
            trees.append(growing.tree())
            margins = margins + _added(trees[-1], codes)
            progress(done, settings.trees)
        run.enter(_head(rows, objectives.loss(margins, label, settings.objective) * rows))
        told = run.finish(2)
        count = terms.checked_rows(float(told[0]), agreed.least_rows)
        losses.append(float(told[1]))
        return Boosted(base, cuts, tuple(trees), count, tuple(losses), tuple(asked), run.present)


def aggregate_trees(
    channels: Mapping[int, Channel],
    terms: Terms,
    agreed: Boosting,
    progress: Progress = lambda done, total: None,
) -> Boosted:
    """Play the aggregator.

    Args:
        channels: to the owners, by number from 1.
        terms: of the run, as at all parties.
        agreed: as at all parties.
        progress: told after each tree.

    Raises:
        InvalidInput: too few rows, or a label of one class, of all owners together; no column splits them.
        TooFewParties: fewer than the threshold are left.
        MalformedMessage: sums that rows within the bounds cannot have.
        ProtocolAbort: a message is not as the protocol has it.

    Security: see `SPEC`. This party sees no owner's sums but the total, so it cannot tell wrong ones from the
    others; it refuses a total that rows within the bounds cannot have. Leaks: see `SPEC`. Cost:
    `federated.horizontal.costs`. Source: see the module.
    """
    settings = agreed.settings
    with aggregator_rounds(channels, terms) as run:
        entered = run.run(np.zeros(0), lengths(agreed)[1]).total
        count, mean, rest = _read(entered, terms, agreed)
        counts = rest.reshape(-1, CELLS)
        if (counts < 0).any() or (counts > count).any() or (counts.sum(axis=1) != count).any():
            raise MalformedMessage("cells: expected as many rows in each column as there are")
        base, cuts = _base(agreed, count, mean), cuts_from(agreed, counts)
        state = np.concatenate([[count, mean], _padded(agreed, cuts)])
        trees, losses, asked = list[JointTree](), list[float](), list[tuple[int, int]]()
        for done in range(1, settings.trees + 1):
            drawn = drawn_cuts(agreed, cuts, terms.session, done)
            growing, is_root = Growing(agreed, drawn), True
            while growing.nodes:
                asked.append((len(growing.nodes), sum(len(one) + 1 for one in drawn)))
                entered = run.run(state, lengths(agreed, *asked[-1])[1]).total
                count, loss, rest = _read(entered, terms, agreed)
                sums = rest.reshape(len(growing.nodes), 3, -1)
                check_sums(agreed, drawn, sums, growing.rows(count), is_root=is_root)
                told, is_root = decided(agreed, drawn, sums), False
                growing.take(told, count)
                state = np.concatenate([[count, loss], told.ravel()])
            losses.append(loss)
            trees.append(growing.tree())
            is_hopeless = agreed.percent == 100 or done == settings.trees
            if is_hopeless and not any(tree.splits for tree in trees):
                raise InvalidInput(
                    f"expected a split that lowers the loss with {agreed.least} rows of all owners on either "
                    "side, got none"
                )
            progress(done, settings.trees)
        last = run.run(state, _HEAD)
        count, loss, _ = _read(last.total, terms, agreed)
        losses.append(loss)
        run.finish(np.array([count, loss]))
        return Boosted(base, cuts, tuple(trees), count, tuple(losses), tuple(asked), last.owners)


def lengths(agreed: Boosting, nodes: int | None = None, bins: int = 0) -> tuple[int, int]:
    """The numbers that are told after a round and the words that are entered in it.

    Args:
        agreed: what the owners agreed to.
        nodes: that are examined; 0: in the last round; none: in the first.
        bins: of all columns.
    """
    if nodes is None:
        return 2 + agreed.features * (agreed.settings.bins - 1), _HEAD + agreed.features * CELLS
    return 2 + FIGURES * nodes, _HEAD + 3 * nodes * bins


def margins_of(agreed: Boosting, boosted: Boosted, features: Floats) -> Floats:
    """What trees say of rows: log odds of the label, or the label scaled by its bounds: float64[rows].

    Args:
        agreed: what the owners agreed to.
        boosted: the trees.
        features: float64[rows, columns].
    """
    codes = bins_of(cells_of(agreed, features), boosted.cuts)
    margins = np.full(len(features), boosted.base)
    for tree in boosted.trees:
        margins = margins + _added(tree, codes)
    return margins


def _added(tree: JointTree, codes: Cells) -> Floats:
    """What a tree adds to each row's margin."""
    leaves, at = np.unique(place_of(tree, codes), return_inverse=True)
    added: Floats = np.array([tree.leaves[leaf] for leaf in leaves.tolist()])[at]
    return added


def _head(rows: int, total: float) -> Words:
    return to_limbs((float(rows), total), ("rows", "label or loss"))


def _read(words: Words, terms: Terms, agreed: Boosting) -> tuple[int, float, Codes]:
    """The rows behind a total, the mean that they enter, and the sums that follow."""
    stated, total = from_limbs(words[:_HEAD])
    count = terms.checked_rows(stated, agreed.least_rows)
    if total < 0:
        raise MalformedMessage("sums: expected a mean of 0 or more, got less")
    return count, total / count, words[_HEAD:].view(np.int64)


def _base(agreed: Boosting, rows: int, mean: float) -> float:
    """The margin before the first tree.

    Raises:
        MalformedMessage: no label within the bounds has such a mean.
        InvalidInput: the label has one class.
    """
    if not 0 <= mean <= 1:
        raise MalformedMessage(f"label: expected a mean within the bounds, got {mean:.3g}")
    if agreed.is_logistic and mean in (0, 1):
        raise InvalidInput(f"label {agreed.names[-1]}: all {rows} values of all owners are of one class")
    return objectives.margin_of(mean, agreed.settings.objective)


def _padded(agreed: Boosting, cuts: Cuts) -> Floats:
    """Cuts as they are told: as many of each column, 0 where there are fewer."""
    padded = np.zeros((agreed.features, agreed.settings.bins - 1))
    for line, own in zip(padded, cuts, strict=True):
        line[: len(own)] = own
    return padded.ravel()


def _checked_cuts(agreed: Boosting, told: Floats) -> Cuts:
    """Read what `_padded` wrote.

    Raises:
        MalformedMessage: cuts that are not cells in ascending order.
    """
    lines = told.reshape(agreed.features, -1)
    cuts = tuple(line[line != 0].astype(np.int64) for line in lines)
    fits = all(((np.diff(own) > 0).all() and (own > 0).all() and (own < CELLS).all()) for own in cuts)
    if not fits or not np.array_equal(_padded(agreed, cuts), told):
        raise MalformedMessage(f"cuts: expected cells of 1 to {CELLS - 1} in ascending order")
    return cuts
