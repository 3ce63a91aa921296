"""From shares of hidden common rows to a computation on replicated shares, among the same three parties."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from mpc.circuit_psi.protocol import HELPER, LEFT, RIGHT, SharedRows, Size
from mpc.circuit_psi.selection import Words
from mpc.replicated import Runtime, Shared, SharedBits
from mpc.secrecy import Unprintable


@dataclass(frozen=True, repr=False, eq=False)
class JoinedRows(Unprintable):
    """The rows of the left, as replicated shares.

    Attributes:
        left: of int64[n, m], the left's columns; zeros where the right lacks the item.
        right: of int64[n, m], the right's columns there; zeros elsewhere.
        is_member: n bits, whether the right has the item.
    """

    left: Shared
    right: Shared
    is_member: SharedBits


def replicate(runtime: Runtime, own: SharedRows, left: Size, right: Size) -> JoinedRows:
    """Hand a party's part of the rows over to a run in which left, right and helper have the same ranks.

    Args:
        runtime: of the three, with rank 0 left, 1 right and 2 helper.
        own: what this party has of the rows.
        left: the sizes of the left; ``left.rows`` rows come out.
        right: the sizes of the right.

    Security: as `Runtime.share`; the shares of two parties are inputs of each, and added.
    Leaks: nothing. Cost: five inputs of a round each; 32 bytes a row and column in all, and a bit a row.
    Source: additive shares as inputs of replicated sharing, Mohassel, Rindal 2018.
    """

    def added(side: int, shares: Words | None, columns: int) -> Shared:
        shape = (left.rows, columns)
        words = [
            runtime.input_words("input", party, shares if runtime.rank == party else None, shape, add=True)
            for party in (side, HELPER)
        ]
        one, other = map(Shared, words)
        return runtime.add(one, other)

    bits = None if own.is_member is None else np.asarray(own.is_member, np.bool_)
    return JoinedRows(
        added(LEFT, own.left, left.columns),
        added(RIGHT, own.right, right.columns),
        runtime.share_bits(HELPER, bits, left.rows),
    )
