"""Checkpoints of a run on replicated shares: kept by all parties in step, and read back as shares.

A share belongs to the shares that the other parties kept with it. So all begin an attempt at the same
checkpoint, each drops later ones before it keeps any, and none keeps the next before all have this one.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from federated.checkpoints import Arrays, Checkpoints
from mpc.errors import InvalidInput
from mpc.replicated import Runtime, Shared, costs
from mpc.replicated.links import COMPUTING

__all__ = ["KEPT", "keep_shares", "shares_of"]

KEPT: Final = costs.stated(COMPUTING, 0)
"""Cost of `keep_shares`."""


def keep_shares(
    rt: Runtime, held: Checkpoints, number: int, shared: Mapping[str, Shared], public: Arrays | None = None
) -> None:
    """Keep this party's shares of what a round begins with, and wait until every party has kept its own.

    Parties that compute wait for one another in every product. Those that do not wait for nobody; without
    this they would be at their last checkpoint while the others are at the first, with none in common.

    Args:
        rt: the run.
        held: where they are kept.
        number: of the round that comes next.
        shared: by name.
        public: what every party knows and a later attempt needs.

    Security: none needed. Leaks: nothing. Cost: one round of empty messages. Source: none.
    """
    held.keep(number, {**{name: one.shares for name, one in shared.items()}, **(public or {})})
    rt.state(None, 0)


def shares_of(kept: Arrays, like: Mapping[str, Shared]) -> list[Shared]:
    """Read what `keep_shares` kept, in the order of ``like``, which has the shapes of this run.

    Raises:
        InvalidInput: they are of a run of other sizes, or of a party with another part in it.
    """
    for name, one in like.items():
        got = kept[name].shape if name in kept else None
        if got != one.shares.shape:
            raise InvalidInput(f"checkpoint: expected {name} of shape {one.shares.shape}, got {got}")
    return [Shared(kept[name]) for name in like]
