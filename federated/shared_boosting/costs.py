"""What boosting on shares sends, as formulas of public sizes; tests measure them."""

from __future__ import annotations

from federated.shared_boosting.settings import Settings
from federated.shared_boosting.training import DIVIDEND_BITS, HALVES, SUM_BITS
from federated.shared_checkpoints import KEPT
from federated.vertical.settings import Layout
from mpc.replicated import costs
from mpc.replicated.costs import Cost
from mpc.replicated.division import MAX_DIVISOR_BITS

__all__ = ["sent", "training"]


def training(layout: Layout, settings: Settings) -> Cost:
    """Cost of `train`; ``outside`` leaves inputs out, see `sent`."""
    cost = costs.shared(0, layout.rows + 1)
    for owner, count in enumerate(layout.columns):
        if count:
            inside = costs.shared(owner, _inputs(layout, settings, count))
            cost += Cost(inside.rounds, inside.sent)
    rows = layout.rows
    centred = costs.clipped(rows) + costs.sigmoid(rows)
    tree = costs.product(rows) + costs.quotient(rows)
    for level in range(settings.depth):
        tree += _level(layout, settings, 1 << level)
    tree += _divided(settings.leaves) + costs.quotient(settings.leaves) + costs.product(rows)
    error = costs.quotient(rows) + costs.product(1)
    return cost + centred + (KEPT + tree + centred + error) * settings.trees


def sent(layout: Layout, settings: Settings, cost: Cost, rank: int) -> int:
    """The bytes that the party of a rank sends for a ``cost``; outside, its own columns and no other's."""
    if rank < len(cost.sent):
        return cost.sent[rank]
    columns = layout.columns[rank] if rank < len(layout.columns) else 0
    return costs.shared(rank, _inputs(layout, settings, columns)).outside


def _inputs(layout: Layout, settings: Settings, columns: int) -> int:
    return columns * settings.cuts * (layout.rows + HALVES)


def _level(layout: Layout, settings: Settings, nodes: int) -> Cost:
    cuts = sum(layout.columns) * settings.cuts
    each, pairs = nodes * (1 + cuts), nodes * cuts
    cost = costs.product(2 * each) + _divided(2 * each) + costs.quotient(2 * each) + costs.product(2 * each)
    cost += costs.sign(pairs, SUM_BITS) * 2 + costs.conjunction(pairs) + costs.to_arithmetic(pairs)
    cost += costs.product(pairs) + costs.place_of_largest(nodes, 1 + cuts, 64)
    return cost + costs.product(nodes * (layout.rows + HALVES)) + costs.product(3 * nodes * layout.rows)


def _divided(values: int) -> Cost:
    return costs.quotient(values) + costs.divide(values, DIVIDEND_BITS, MAX_DIVISOR_BITS)
