"""Secret permutations of shared columns: shuffle, sort, and sums of the groups of a sorted key.

A shuffle is three passes. In pass i the two parties that have key i in common, P_i and P_{i-1}, draw a
permutation from it, apply it to their two additive pieces of the columns, and share the result anew; the
third party receives nothing and does not know the permutation, so nobody knows the product of all three.

Sorting is by radix, one bit a pass, on a shared permutation: the destination of every row. It is stable.
To order one more bit by what is sorted already, destinations and bit are shuffled together and the shuffled
destinations are opened: a uniformly random permutation, whatever the keys are.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from mpc.errors import InvalidInput, MalformedMessage
from mpc.replicated import comparison, kernels
from mpc.replicated.sharing import Shared, SharedBits, pack, stack, unpack
from mpc.secrecy import Unprintable

if TYPE_CHECKING:
    from mpc.replicated.runtime import Runtime

__all__ = ["Groups", "SecretOrder", "group_sums", "order_of", "reorder", "shuffle", "sort"]

Words = NDArray[np.uint64]

_PASSES = (0, 1, 2)


@dataclass(frozen=True, repr=False, eq=False)
class SecretOrder(Unprintable):
    """What one party knows of a shuffle: two of its three permutations if it computes, none otherwise."""

    known: dict[int, NDArray[np.int64]]
    rows: int


def shuffle(rt: Runtime, columns: Sequence[Shared]) -> list[Shared]:
    """Bring the rows of several columns into one common order that nobody knows.

    Args:
        rt: the run.
        columns: each shared int64[n], of one length.

    Security: semi-honest, one of three; the order is uniform to each party. Leaks: nothing.
    Cost: three rounds; 16 bytes a value and party; 15 ms a million rows and pass for the permutations.
    Source: Laur, Willemson, Zhang 2011, with the resharing of Araki et al. 2021.
    """
    rows = _common_rows(columns)
    order = _draw(rt, rows)
    return _rows_of(_apply(rt, stack(columns).shares, order))


def order_of(
    rt: Runtime, keys: Sequence[Shared], bits: Sequence[int], descending: Sequence[bool] | None = None
) -> Shared:
    """The destination of each row in the stable order of several keys, the first key most significant.

    Args:
        rt: the run.
        keys: each shared int64[n].
        bits: for each key, how many bits hold it: it lies in [-2^(bits-1), 2^(bits-1)).
        descending: for each key, whether the largest comes first.

    Returns:
        Shared int64[n], a permutation of 0 to n-1.

    Security: semi-honest, one of three. Leaks: nothing; what is opened is a uniform permutation.
    Cost: see `mpc.replicated.costs.order_of`.
    Source: Chida, Hamada, Ikarashi, Kikuchi, Kiribuchi, Pinkas 2019, "An efficient secure three-party sorting
    protocol with an honest majority".
    """
    rows = _common_rows(keys)
    down = descending or [False] * len(keys)
    if not len(keys) == len(bits) == len(down):
        raise InvalidInput(f"expected one width and direction a key, got {len(bits)} and {len(down)}")
    order: Shared | None = None
    for key, width, falls in reversed(list(zip(keys, bits, down, strict=True))):
        # Two's complement orders like unsigned numbers once the sign is turned over.
        turned = np.full(width, falls)
        turned[-1] = not falls
        planes = comparison.bits_of(rt, key, width)
        digits = rt.to_arithmetic(
            rt.xor(planes, rt.constant_bits(np.broadcast_to(turned[:, None], planes.shape)))
        )
        for place in range(width):
            ones = digits[place]
            order = _order_of_ones(rt, ones) if order is None else _refine(rt, order, ones)
    if order is None:
        return rt.constant(np.arange(rows, dtype=np.int64))
    return order


def reorder(rt: Runtime, order: Shared, columns: Sequence[Shared]) -> list[Shared]:
    """Move row i of every column to row ``order[i]``.

    Security: semi-honest, one of three. Leaks: nothing. Cost: four rounds; 16 bytes a value and party, and
    24 a row. Source: Chida et al. 2019, protocol 4.
    """
    rows = _common_rows([order, *columns])
    shuffled = _apply(rt, stack([order, *columns]).shares, _draw(rt, rows))
    places = _open_places(rt, Shared(shuffled[:, 0]))
    moved = np.empty_like(shuffled[:, 1:])
    if rt.computes:
        moved[:, :, places] = shuffled[:, 1:]
    return _rows_of(moved)


def sort(
    rt: Runtime,
    keys: Sequence[Shared],
    columns: Sequence[Shared],
    bits: Sequence[int],
    descending: Sequence[bool] | None = None,
) -> tuple[list[Shared], list[Shared]]:
    """Sort keys, and other columns with them, stably; arguments as `order_of`, cost as it and `reorder`."""
    moved = reorder(rt, order_of(rt, keys, bits, descending), [*keys, *columns])
    return moved[: len(keys)], moved[len(keys) :]


@dataclass(frozen=True, repr=False, eq=False)
class Groups(Unprintable):
    """The groups of a sorted table, in order, in the first rows; what follows them is zero.

    Attributes:
        keys: for each key column, shared int64[n].
        sums: for each summed column, shared int64[n].
        is_group: shared int64[n], 1 in the rows that hold a group, 0 after them.
    """

    keys: list[Shared]
    sums: list[Shared]
    is_group: Shared


def group_sums(rt: Runtime, keys: Sequence[Shared], columns: Sequence[Shared], bits: Sequence[int]) -> Groups:
    """Sums of columns over the rows with equal keys, where the rows are sorted by the keys.

    Args:
        rt: the run.
        keys: sorted; each shared int64[n].
        columns: each shared int64[n].
        bits: for each key, how many bits hold the difference of two.

    Security: semi-honest, one of three. Leaks: nothing, not even how many groups there are.
    Cost: see `mpc.replicated.costs.group_sums`.
    Source: running sums at the ends of groups, brought together by one stable pass of the sort.
    """
    rows = _common_rows([*keys, *columns])
    ends = _ends(rt, keys, bits, rows)
    first = stack([*keys, *(rt.cumsum(column) for column in columns)])
    is_last = rt.to_arithmetic(ends)
    order = _order_of_ones(rt, rt.add_public(rt.neg(is_last), 1))
    is_end, *moved = reorder(rt, order, [is_last, *_rows_of(first.shares)])
    running = moved[len(keys) :]
    sums = [rt.sub(one, _shifted(one)) for one in running]
    masked = rt.mul(is_end, stack([*moved[: len(keys)], *sums]))
    kept = _rows_of(masked.shares)
    return Groups(kept[: len(keys)], kept[len(keys) :], is_end)


def _ends(rt: Runtime, keys: Sequence[Shared], bits: Sequence[int], rows: int) -> SharedBits:
    """Whether a row is the last of its group: its keys differ from the next row's, or there is none."""
    same: SharedBits | None = None
    for key, width in zip(keys, bits, strict=True):
        equal = comparison.is_zero(rt, rt.sub(key[1:], key[:-1]), width)
        same = equal if same is None else rt.and_(same, equal)
    last = np.zeros(rows, dtype=np.bool_)
    last[-1:] = True
    if same is None or rows == 1:
        return rt.constant_bits(last)
    differs = unpack(rt.not_(same).shares, rows - 1)
    padded = np.concatenate([differs, np.zeros((len(differs), 1), dtype=np.uint8)], axis=-1)
    return rt.xor(SharedBits(pack(padded), rows), rt.constant_bits(last))


def _shifted(a: Shared) -> Shared:
    """The row before each row; zero before the first."""
    none = np.zeros((len(a.shares), 1), dtype=np.uint64)
    return Shared(np.concatenate([none, a.shares[:, :-1]], axis=1))


def _order_of_ones(rt: Runtime, ones: Shared) -> Shared:
    """Destinations that bring rows with bit 0 before those with bit 1, stably. One round."""
    zeros = rt.add_public(rt.neg(ones), 1)
    if_zero = rt.cumsum(zeros)
    if_one = rt.add(rt.cumsum(ones), if_zero[-1:])
    return rt.add_public(rt.add(if_zero, rt.mul(ones, rt.sub(if_one, if_zero))), -1)


def _refine(rt: Runtime, order: Shared, ones: Shared) -> Shared:
    """Destinations by ``ones`` first and by ``order`` among equal bits."""
    secret = _draw(rt, order.rows)
    both = _apply(rt, stack([order, ones]).shares, secret)
    places = _open_places(rt, Shared(both[:, 0]))
    in_order = np.empty_like(both[:, 1])
    if rt.computes:
        in_order[:, places] = both[:, 1]
    refined = _order_of_ones(rt, Shared(in_order))
    # Row i of the shuffled table stands at places[i] and goes on to refined[places[i]].
    onward = refined.shares[:, places] if rt.computes else refined.shares
    return Shared(_apply(rt, onward[:, None], secret, inverse=True)[:, 0])


def _open_places(rt: Runtime, shuffled: Shared) -> NDArray[np.int64]:
    """Open a shuffled permutation to the computing parties, and check that it is one."""
    places = rt.open(shuffled, (0, 1, 2))
    if places is None:
        return np.empty(0, dtype=np.int64)
    seen = np.zeros(shuffled.rows, dtype=np.bool_)
    inside = places[(places >= 0) & (places < shuffled.rows)]
    seen[inside] = True
    if not seen.all():
        raise MalformedMessage("open: what should be a permutation of the rows is none")
    return places


def _draw(rt: Runtime, rows: int) -> SecretOrder:
    known = {}
    if rt.computes:
        for key in sorted((rt.rank, rt.after)):
            words = rt.common(key, (rows + kernels.SPARE_WORDS,))
            known[key] = kernels.permutation(words, rows)
    return SecretOrder(known, rows)


def _apply(rt: Runtime, columns: Words, order: SecretOrder, *, inverse: bool = False) -> Words:
    """Apply a secret order, or its inverse, to the rows of uint64[2, columns, n], shared by addition."""
    for turn in reversed(_PASSES) if inverse else _PASSES:
        columns = _pass(rt, columns, order, turn, inverse=inverse)
    return columns


def _pass(rt: Runtime, columns: Words, order: SecretOrder, turn: int, *, inverse: bool) -> Words:
    """One of three passes: holders of key ``turn`` permute, and swap masked pieces of share ``turn``."""
    shape = columns.shape[1:]
    if rt.rank not in (turn, (turn - 1) % 3):
        rt.links.exchange("shuffle", {}, {})
        if not rt.computes:
            return columns
        return np.stack([rt.common(rt.rank, shape), rt.common(rt.after, shape)])
    is_first = rt.rank == turn
    # The first holds x_i and x_{i+1}, the second x_{i-1}: together all.
    piece = columns[0] + columns[1] if is_first else columns[0]
    other_key = rt.after if is_first else rt.rank
    kept = rt.common(other_key, shape)
    moved = np.empty_like(piece)
    if inverse:
        moved[:, order.known[turn]] = piece
    else:
        np.take(piece, order.known[turn], axis=1, out=moved, mode="clip")
    moved -= kept
    peer = rt.before if is_first else rt.after
    fresh = moved + rt.links.exchange("shuffle", {peer: moved}, {peer: shape})[peer]
    return np.stack([fresh, kept] if is_first else [kept, fresh])


def _common_rows(columns: Sequence[Shared]) -> int:
    lengths = {column.shape for column in columns}
    if len(lengths) != 1 or len(next(iter(lengths))) != 1:
        raise InvalidInput(f"expected columns of one length, got the shapes {sorted(lengths)}")
    return columns[0].rows


def _rows_of(shares: Words) -> list[Shared]:
    return [Shared(shares[:, index]) for index in range(shares.shape[1])]
