"""What boosting sends and how often it waits, as the channels count it."""

from __future__ import annotations

from collections.abc import Sequence

from federated.boosting.messages import TERMS
from federated.boosting.settings import Settings, Sizes
from mpc import wire
from mpc.he import bfv
from mpc.transcript import CONFIRMATION_BYTES

__all__ = ["most", "rounds", "sent"]

_TERMS_BYTES = 8 * len(TERMS)
_NODES_BYTES = 24
_KEPT_BYTES = 8


def sent(
    sizes: Sizes,
    columns: Sequence[int],
    asked: Sequence[int],
    won: Sequence[Sequence[int]],
    told: int = 0,
) -> list[int]:
    """Return the payload bytes each owner sends, by rank.

    Args:
        sizes: of the run.
        columns: of each owner but the label holder.
        asked: nodes examined of each level in turn, 0 where a round ended early.
        won: for each level with such nodes, the splits of each owner.
        told: after how many rounds it is said whether growth goes on; 0 without a patience.
    """
    owners = len(sizes.cuts) + 1
    layouts = [(sizes.blocks(nodes), nodes) for nodes in asked if nodes]
    turns = [blocks for blocks, nodes in layouts for _ in range(blocks.turns(nodes))]
    confirmed = CONFIRMATION_BYTES * (owners - 1)
    first = _TERMS_BYTES + wire.array_bytes(8, 0) + bfv.KEY_BYTES
    first += len(asked) * _NODES_BYTES + told * _KEPT_BYTES
    first += sum(blocks.count for blocks in turns) * bfv.CIPHERTEXT_BYTES
    totals = [(owners - 1) * first + confirmed]
    totals[0] += sum(wire.array_bytes(8, splits, 2) for one in won for splits in one[1:])
    for rank, cuts in enumerate(sizes.cuts, start=1):
        sums = sum(blocks.products(sum(cuts)) * blocks.product_bytes for blocks in turns)
        sides = sum(wire.array_bytes(1, one[rank], -(-sizes.aligned // 8)) for one in won)
        terms = _TERMS_BYTES + wire.array_bytes(8, columns[rank - 1])
        totals.append(terms + sums + sides + confirmed)
    return totals


def rounds(rank: int, owners: int, asked: Sequence[int], told: int = 0) -> int:
    """Return the receiving phases of an owner over all its channels; arguments as of `sent`."""
    examined = sum(count > 0 for count in asked)
    confirmed = 2
    if rank == 0:
        return (owners - 1) * (1 + 2 * examined + confirmed)
    # A round that ended early, or whether growth goes on, is told with what comes next, if anything does.
    return 2 * examined + (asked[-1] == 0 or told > 0) + (owners - 1) * confirmed


def most(settings: Settings) -> tuple[list[int], list[int]]:
    """Return the nodes and the splits of each level of each round in turn, at most."""
    levels = range(settings.depth)
    return (
        settings.trees * [settings.most_asked(level) for level in levels],
        settings.trees * [settings.most_splits(level) for level in levels],
    )
