"""What boosting sends and how often it waits, as the channels count it."""

from __future__ import annotations

from collections.abc import Sequence

from federated.boosting.settings import Settings, Sizes
from mpc import wire
from mpc.he import bfv
from mpc.transcript import CONFIRMATION_BYTES

__all__ = ["most", "rounds", "sent"]

_TERMS_BYTES = 24
_NODES_BYTES = 24


def sent(
    sizes: Sizes, columns: Sequence[int], asked: Sequence[int], won: Sequence[Sequence[int]]
) -> list[int]:
    """Return the payload bytes each owner sends, by rank.

    Args:
        sizes: of the run.
        columns: of each owner but the label holder.
        asked: nodes examined of each level in turn, 0 where a tree ended early.
        won: for each level with such nodes, the splits of each owner.
    """
    owners = len(sizes.cuts) + 1
    layouts = [(sizes.blocks(nodes), nodes) for nodes in asked if nodes]
    turns = [blocks for blocks, nodes in layouts for _ in range(blocks.turns(nodes))]
    confirmed = CONFIRMATION_BYTES * (owners - 1)
    first = _TERMS_BYTES + wire.array_bytes(8, 0) + bfv.KEY_BYTES + len(asked) * _NODES_BYTES
    first += sum(blocks.count for blocks in turns) * bfv.CIPHERTEXT_BYTES
    totals = [(owners - 1) * first + confirmed]
    totals[0] += sum(wire.array_bytes(8, splits, 2) for one in won for splits in one[1:])
    for rank, cuts in enumerate(sizes.cuts, start=1):
        sums = sum(blocks.products(sum(cuts)) * blocks.product_bytes for blocks in turns)
        sides = sum(wire.array_bytes(1, one[rank], -(-sizes.rows // 8)) for one in won)
        terms = _TERMS_BYTES + wire.array_bytes(8, columns[rank - 1])
        totals.append(terms + sums + sides + confirmed)
    return totals


def rounds(rank: int, owners: int, asked: Sequence[int]) -> int:
    """Return the receiving phases of an owner over all its channels."""
    examined = sum(count > 0 for count in asked)
    confirmed = 2
    if rank == 0:
        return (owners - 1) * (1 + 2 * examined + confirmed)
    # A tree that ended early says so together with what comes next, if anything does.
    return 2 * examined + (asked[-1] == 0) + (owners - 1) * confirmed


def most(settings: Settings) -> tuple[list[int], list[int]]:
    """Return the nodes and the splits of each level in turn, at most."""
    levels = range(settings.depth)
    return (
        settings.trees * [settings.most_asked(level) for level in levels],
        settings.trees * [1 << level for level in levels],
    )
