"""What a network on shares sends, as formulas of public sizes; tests measure them."""

from __future__ import annotations

from federated.network.scoring import PIECE_ROWS
from federated.network.settings import FITTED_BITS, STEP_BITS, SUM_BITS, Settings
from federated.shared_checkpoints import KEPT
from federated.vertical.costs import sent
from federated.vertical.settings import Family, Layout
from mpc.replicated import costs
from mpc.replicated.costs import Cost

__all__ = ["forward", "scoring", "scoring_sent", "sent", "training", "weights"]


def training(layout: Layout, settings: Settings) -> Cost:
    """Cost of `train`; ``outside`` leaves inputs out, see `sent`."""
    cost = costs.shared(0, layout.rows) + _columns(layout)
    once = KEPT
    for part in layout.batches(settings.batch):
        once += _step(layout, settings, part.stop - part.start)
    if settings.tells_loss:
        once += costs.opened(1, range(len(layout.columns)))
    return cost + once * settings.epochs


def weights(layout: Layout, settings: Settings) -> Cost:
    """Cost of `own_weights`."""
    cost = Cost()
    for rank in range(len(layout.columns)):
        if told := settings.told(layout, rank):
            cost += costs.opened(told, [rank])
    return cost


def scoring(layout: Layout, settings: Settings) -> Cost:
    """Cost of `score`; ``outside`` leaves inputs out, see `scoring_sent`."""
    cost = _columns(layout)
    for rank in range(len(layout.columns)):
        if told := settings.told(layout, rank):
            cost += costs.shared(rank, told)
    for part in layout.batches(PIECE_ROWS):
        rows = part.stop - part.start
        cost += forward(settings.units, rows) + costs.quotient(rows) + costs.opened(rows, [0])
    return cost


def scoring_sent(layout: Layout, settings: Settings, cost: Cost, rank: int) -> int:
    """The bytes that the party of a rank sends for the ``cost`` of `scoring`; outside, its inputs alone."""
    own = settings.told(layout, rank) if len(cost.sent) <= rank < len(layout.columns) else 0
    return sent(layout, cost, rank) + costs.shared(rank, own).outside


def forward(units: int, rows: int) -> Cost:
    """Cost of a forward pass of some rows."""
    cells = units * rows
    hidden = costs.product(cells) + costs.quotient(cells) + costs.clipped(cells, SUM_BITS)
    return hidden + costs.product(rows) + costs.clipped(rows, FITTED_BITS)


def _step(layout: Layout, settings: Settings, rows: int) -> Cost:
    hidden, every = settings.hidden(layout), settings.weights(layout)
    cost = forward(settings.units, rows)
    cost += costs.sigmoid(rows) if settings.family is Family.LOGISTIC else costs.quotient(rows)
    cost += costs.product(settings.units * rows) + costs.product(hidden) + costs.product(1 + settings.units)
    if settings.tells_loss:
        cost += costs.quotient(rows) + costs.product(1)
    cost += costs.quotient(every) + costs.product(hidden)
    return cost + costs.quotient(every) + costs.clipped(every, STEP_BITS)


def _columns(layout: Layout) -> Cost:
    cost = Cost()
    for owner, count in enumerate(layout.columns):
        if count:
            cost += costs.shared(owner, count * layout.rows)
    return cost
