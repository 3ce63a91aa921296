"""Queries over rows that several owners hold of one table: each sums up its own, shares bring it together.

No row leaves its owner in any form. Each owner groups and sums its own rows in the clear and shares one
figure for each of its groups; groups of two owners are one where their labels are equal, which is compared on
shares.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from exchange.errors import JobFailed
from exchange.sql.expressions import Aggregate, Expression, Kind
from exchange.sql.figures import Figures, Key
from exchange.sql.joined import Found
from exchange.sql.local import LocalRows
from exchange.sql.picking import columns, masked, minimum
from exchange.sql.program import LocalKey, Program
from exchange.sql.ranges import width
from mpc.replicated.runtime import Runtime
from mpc.replicated.sharing import Shared

__all__ = ["MAX_UNITED", "OwnFigures", "UnitedPart", "unite"]

MAX_UNITED: Final = 1_024
"""Groups of all owners together; every pair of labels is compared."""


@dataclass(frozen=True)
class OwnFigures:
    """What an owner's own rows come to, by group.

    Attributes:
        groups: how many groups its rows are in.
        figures: int64[1 + totals, groups], rows first.
        picks: by aggregate, the least or greatest value and whether there is one, int64[2, groups].
        words: by key, its value in each group, int64[words, groups].
        hashes: int64[groups], equal for equal labels.
    """

    groups: int
    figures: NDArray[np.int64]
    picks: Mapping[Aggregate, NDArray[np.int64]]
    words: Mapping[Expression, NDArray[np.int64]]
    hashes: NDArray[np.int64]

    @classmethod
    def of(cls, program: Program, rows: LocalRows) -> OwnFigures:
        """Sum up one owner's rows.

        Raises:
            JobFailed: they are in too many groups.
        """
        table = program.tables[0].name
        kept = np.ones(len(rows), dtype=np.bool_)
        if table in program.filters:
            kept = rows.truths(program.filters[table])[0]
        key = program.local_keys[0] if program.local_keys else LocalKey(table, ())
        if key.values:
            found = Found(key, rows, kept)
            codes, words, groups = found.codes, found.words, len(found.places)
            hashes = _hashes(rows, key, found.places)
        else:
            codes, words, groups = np.where(kept, 0, -1), {}, 1
            hashes = np.zeros(1, dtype=np.int64)
        member = codes >= 0
        # Sixteen bits, which hold every group, are sorted in linear time.
        order = np.argsort(codes[member].astype(np.uint16), kind="stable")
        starts = np.searchsorted(codes[member][order], np.arange(groups))

        def summed(values: NDArray[np.int64]) -> NDArray[np.int64]:
            running = np.concatenate([[0], np.cumsum(values[member][order])])
            sums = running[np.append(starts[1:], len(order))] - running[starts]
            return np.asarray(sums, dtype=np.int64)

        totals = [np.ones(len(rows), dtype=np.int64), *(_summand(rows, total) for total in program.totals)]
        picks = {aggregate: _picked(rows, aggregate, codes, groups) for aggregate in program.picks}
        return cls(groups, np.stack([summed(one) for one in totals]), picks, words, hashes)


@dataclass(frozen=True)
class UnitedPart:
    """What all know of one owner's figures, and at this owner what they are."""

    rank: int
    groups: int
    words: tuple[int, ...]
    own: OwnFigures | None


def unite(rt: Runtime, program: Program, parts: Sequence[UnitedPart], bits: int, total_rows: int) -> Figures:
    """Bring the owners' figures together.

    Raises:
        JobFailed: there are too many groups.

    Security: as the runtime's. Leaks: how many groups each owner has. Cost: for g groups of all owners
    together, a comparison of g^2 words, and one product of g^2 words with the figures. Source: as the
    runtime's.
    """
    groups = sum(part.groups for part in parts)
    if groups > MAX_UNITED:
        raise JobFailed(f"GROUP BY: expected at most {MAX_UNITED} groups of all owners, found {groups}")
    values = _concatenated(rt, parts, 1 + len(program.totals), lambda own: own.figures)
    keys = program.local_keys[0].values if program.local_keys else ()
    if not keys:
        summed = rt.sum(values)
        totals = {total: summed[at] for at, total in enumerate(program.totals, start=1)}
        picks = {one: _pick(rt, one, parts, None, bits) for one in program.picks}
        return Figures(1, summed[0], totals, picks, {}, bits, total_rows)
    hashes = _concatenated(rt, parts, 1, lambda own: own.hashes[None]).reshape(groups)
    place = np.arange(groups)
    pairs = rt.sub(hashes.reshape(1, groups), hashes.reshape(groups, 1)).reshape(groups * groups)
    same = rt.to_arithmetic(rt.equal(pairs, rt.scale(pairs, 0)))
    square = same.reshape(groups, groups)
    summed = rt.dot(values, square)
    earlier = rt.sum(rt.scale(square, (place[None, :] < place[:, None]).astype(np.int64))).reshape(groups)
    first = rt.equal(earlier, rt.scale(earlier, 0), bits=groups.bit_length() + 2)
    totals = {total: summed[at] for at, total in enumerate(program.totals, start=1)}
    picks = {one: _pick(rt, one, parts, square, bits) for one in program.picks}
    named = {key: Key(_words(rt, parts, key, at)) for at, key in enumerate(keys)}
    return Figures(groups, summed[0], totals, picks, named, bits, total_rows, first)


def _pick(
    rt: Runtime, aggregate: Aggregate, parts: Sequence[UnitedPart], square: Shared | None, bits: int
) -> Shared:
    assert aggregate.part is not None  # noqa: S101 - a minimum is of something
    held = _concatenated(rt, parts, 2, lambda own: own.picks[aggregate])
    values = rt.neg(held[0]) if aggregate.figure == "max" else held[0]
    count = values.rows
    member = held[1].reshape(1, count)
    if square is not None:
        member = rt.mul(square, member)
    size = width(aggregate.part, bits, 1)
    least = minimum(rt, masked(rt, values, member, size), size)
    return rt.neg(least) if aggregate.figure == "max" else least


def _words(rt: Runtime, parts: Sequence[UnitedPart], key: Expression, at: int) -> tuple[Shared, ...]:
    """A key's words in every owner's groups, the shorter ones filled up with noughts."""
    count = max(part.words[at] for part in parts)

    def filled(own: OwnFigures) -> NDArray[np.int64]:
        words = own.words[key]
        return np.concatenate([words, np.zeros((count - len(words), words.shape[1]), dtype=np.int64)])

    held = _concatenated(rt, parts, count, filled)
    return tuple(held[i] for i in range(count))


def _concatenated(
    rt: Runtime, parts: Sequence[UnitedPart], rows: int, of: Callable[[OwnFigures], NDArray[np.int64]]
) -> Shared:
    """The same figures of every owner, [rows, groups], beside one another."""
    shared = [
        rt.share(part.rank, None if part.own is None else of(part.own), (rows, part.groups)) for part in parts
    ]
    return columns(shared)


def _summand(rows: LocalRows, total: Expression) -> NDArray[np.int64]:
    if total.type.kind is Kind.BOOLEAN:
        return rows.truths(total)[0].astype(np.int64)
    return rows.numbers(total)[0]


def _picked(
    rows: LocalRows, aggregate: Aggregate, codes: NDArray[np.int64], groups: int
) -> NDArray[np.int64]:
    """The least or greatest value of each group and whether there is one."""
    assert aggregate.part is not None  # noqa: S101 - a minimum is of something
    values, valid = rows.numbers(aggregate.part)
    member = valid & (codes >= 0)
    is_least = aggregate.figure == "min"
    bound = np.iinfo(np.int64)
    best = np.full(groups, bound.max if is_least else bound.min, dtype=np.int64)
    (np.minimum if is_least else np.maximum).at(best, codes[member], values[member])
    has = np.bincount(codes[member], minlength=groups) > 0
    return np.stack([np.where(has, best, 0), has.astype(np.int64)])


def _hashes(rows: LocalRows, key: LocalKey, places: NDArray[np.int64]) -> NDArray[np.int64]:
    """61 bits of each label, equal where all its values are; two labels share them with chance 2^-61."""
    parts = [
        np.asarray(part)[places].astype("<i8") for value in key.values for part in rows.comparable(value)
    ]
    return np.array(
        [
            int.from_bytes(hashlib.sha256(label.tobytes()).digest()[:8], "big") >> 3
            for label in np.stack(parts, axis=1)
        ],
        dtype=np.int64,
    )
