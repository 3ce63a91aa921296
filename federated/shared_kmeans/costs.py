"""What k-means on shares sends, as formulas of public sizes; tests measure them."""

from __future__ import annotations

from federated.horizontal.clusters import Clusters
from federated.shared_checkpoints import KEPT
from federated.shared_kmeans.settings import CHUNK_CELLS, Widths
from federated.vertical.costs import sent
from federated.vertical.settings import Layout
from mpc.replicated import costs
from mpc.replicated.costs import Cost

__all__ = ["own_centres", "sent", "training"]


def training(layout: Layout, agreed: Clusters, parties: int, steps: int, *, ends_early: bool = False) -> Cost:
    """Cost of `train` of so many steps; ``outside`` leaves inputs out, see `sent`."""
    widths, count, columns = Widths.of(layout), agreed.count, sum(layout.columns)
    cost = Cost()
    for owner, own in enumerate(layout.columns):
        if own:
            inside = costs.shared(owner, own * layout.rows)
            cost += Cost(inside.rounds, inside.sent)
    values = count * columns
    step = KEPT + costs.product(values) * 2
    for part in layout.batches(max(1, CHUNK_CELLS // count)):
        rows = part.stop - part.start
        step += costs.product(rows * count) + costs.place_of_largest(rows, count, widths.distance)
    step += costs.divide(values, widths.dividend, widths.rows)
    moved = costs.large_enough(count, complementary=False)
    moved += costs.place_of_largest(1, count, widths.difference) + costs.product(columns)
    moved += costs.product(values)
    cost += step * steps + moved * (steps - 1)
    for part in layout.batches(max(1, CHUNK_CELLS // columns)):
        rows = part.stop - part.start
        cost += costs.product(columns * rows) + costs.quotient(rows)
    cost += costs.product(count) * 2 + costs.product(values) + costs.quotient(count)
    cost += costs.large_enough(count, complementary=True) + costs.product(values + 2 * count) + KEPT
    if ends_early:
        settled = costs.product(1) + costs.sign(1) + costs.opened(1, range(parties))
        cost += settled * (steps - 1)
    return cost


def own_centres(layout: Layout, agreed: Clusters) -> Cost:
    """Cost of `own_centres`."""
    cost = Cost()
    for rank, own in enumerate(layout.columns):
        cost += costs.opened(agreed.count * (2 + own), [rank])
    return cost
