"""What regression and correlation on shares send, as formulas of public sizes; tests measure them."""

from __future__ import annotations

from federated.shared_checkpoints import KEPT
from federated.vertical import standard_errors
from federated.vertical.correlation import CHUNK_ROWS, cross_sizes
from federated.vertical.settings import Family, Layout, Settings
from mpc.replicated import costs, division
from mpc.replicated.costs import Cost

__all__ = ["coefficients", "correlation", "sent", "training"]


def training(layout: Layout, settings: Settings, parties: int, epochs: int | None = None) -> Cost:
    """Cost of `train` of ``epochs`` passes, by default all; ``outside`` leaves inputs out, see `sent`."""
    owners, everyone = range(len(layout.columns)), range(parties)
    cost = costs.shared(0, layout.shared_rows)
    for owner, count in enumerate(layout.columns):
        if count:
            cost += costs.shared(owner, count * layout.shared_rows)
    once = KEPT
    for part in layout.batches(settings.batch):
        once += _batch(layout, settings, part.stop - part.start)
    if settings.tells_loss:
        once += costs.opened(1, owners)
    told = costs.sign(1) + costs.opened(1, everyone)
    if settings.tolerance:
        once += costs.product(1) + told
    if settings.patience:
        for part in layout.held_out_batches(settings.batch):
            size = part.stop - part.start
            once += _residual(settings, size) + _squares(size)
        once += told
    cost += once * (settings.epochs if epochs is None else epochs)
    rows = layout.shared_rows
    reach = costs.product(rows) + costs.sign(rows) * 2 + costs.to_arithmetic(2 * rows)
    cost += reach + told
    return cost + _standard_errors(layout, settings, parties) if settings.standard_errors else cost


def coefficients(layout: Layout) -> Cost:
    """Cost of `own_coefficients`."""
    cost = Cost()
    for rank, count in enumerate(layout.columns):
        asked = count + (rank == 0)
        if asked:
            cost += costs.opened(asked, [rank])
    return cost


def correlation(layout: Layout, threshold: float = 0.0) -> Cost:
    """Cost of `correlate`; ``outside`` leaves inputs out, see `sent`."""
    cost, sizes = Cost(), cross_sizes(layout)
    for part in layout.batches(CHUNK_ROWS):
        for owner, count in enumerate(layout.columns):
            cost += costs.shared(owner, count * (part.stop - part.start))
        for size in sizes:
            cost += costs.product(size)
    if not threshold:
        return cost
    pairs = sum(sizes)
    compared = costs.sign(pairs) * 2 + costs.conjunction(pairs)
    return cost + compared + costs.to_arithmetic(pairs) + costs.product(pairs)


def sent(layout: Layout, cost: Cost, rank: int) -> int:
    """The bytes that the party of a rank sends for a ``cost``; outside, its own columns and no other's."""
    if rank < len(cost.sent):
        return cost.sent[rank]
    columns = layout.columns[rank] if rank < len(layout.columns) else 0
    return costs.shared(rank, columns * layout.shared_rows).outside


def _standard_errors(layout: Layout, settings: Settings, parties: int) -> Cost:
    size = layout.coefficients
    square = costs.product(size**2) + costs.quotient(size**2)
    cost = costs.quotient(size**2)
    for part in layout.batches(settings.batch):
        rows = part.stop - part.start
        cost += _residual(settings, rows) + square
        if settings.family is Family.LINEAR:
            cost += _squares(rows)
            continue
        if settings.family is Family.LOGISTIC:
            cost += costs.product(rows) + costs.quotient(rows)
        cost += costs.product(size * rows) + costs.quotient(size * rows)
    dividend_bits = standard_errors.TRACE_FRACTION + standard_errors.FRACTION + 1
    cost += costs.quotient(1) + costs.divide(1, dividend_bits, division.MAX_DIVISOR_BITS)
    cost += square * (2 + 2 * standard_errors.STEPS)
    cost += costs.quotient(size**2) + costs.product(1) + costs.sign(1) + costs.opened(1, range(parties))
    scaled = costs.product(size) + costs.quotient(size)
    cost += costs.quotient(size) + scaled
    if settings.family is Family.LOGISTIC:
        return cost
    scale = costs.shared(0, 1) if settings.family is Family.POISSON else costs.quotient(1)
    return cost + scale + scaled


def _batch(layout: Layout, settings: Settings, rows: int) -> Cost:
    cost = _residual(settings, rows)
    if settings.tells_loss:
        cost += _squares(rows)
    return cost + costs.product(layout.coefficients) + costs.quotient(layout.coefficients)


def _residual(settings: Settings, rows: int) -> Cost:
    of = {Family.LOGISTIC: costs.sigmoid, Family.LINEAR: costs.quotient, Family.POISSON: costs.exponential}
    return costs.product(rows) + of[settings.family](rows)


def _squares(rows: int) -> Cost:
    return costs.quotient(rows) + costs.product(1)
