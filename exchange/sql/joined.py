"""Queries over joined rows: every owner holds some columns of each row.

For groups, each row adds to the group that it is in: a matrix of 0 and 1 with a row for each group, shared by
the owner of the key, is multiplied with the values. The products are added before they are masked, so what
passes between the parties for it is one word a group and figure, however many rows there are.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from math import prod
from typing import Final, cast

import numpy as np
from numpy.typing import NDArray

from exchange.errors import JobFailed
from exchange.sql.expressions import Aggregate, Expression, IsNull, Kind, Literal, Not
from exchange.sql.figures import Figures, Key, Stage
from exchange.sql.inputs import Inputs
from exchange.sql.labels import words_of
from exchange.sql.local import LocalRows, days_of
from exchange.sql.picking import columns, masked, minimum
from exchange.sql.program import LocalKey, Program, SecretKey
from exchange.sql.ranges import width
from exchange.sql.secret import Secret, SecretValues
from mpc.replicated.runtime import Runtime
from mpc.replicated.sharing import Shared, concatenate, stack

__all__ = ["MAX_GROUPS", "Found", "JoinedRows", "OwnGroups"]

MAX_GROUPS: Final = 4_096
_CELLS: Final = 2**22
"""Shared cells of group matrices that are in memory at once."""


class Found:
    """The groups that an owner finds by its own keys, among the rows that its own filter keeps.

    Attributes:
        codes: int64[rows], the group of each row, -1 for none.
        places: int64[groups], a row of each group.
        words: by key, its value in each group as in ``labels``, int64[words, groups].
        ranks: by key that is a text, its rank among the groups' values, int64[groups].

    Raises:
        JobFailed: there are too many groups.
    """

    def __init__(self, key: LocalKey, rows: LocalRows, kept: NDArray[np.bool_]) -> None:
        self.key = key
        self.codes = np.full(len(rows), -1, dtype=np.int64)
        # Where no row is kept there is one group that no row is in.
        self.places = np.zeros(1, dtype=np.int64)
        if kept.any():
            first, codes = _numbered([rows.codes(value)[kept] for value in key.values])
            self.places = np.flatnonzero(kept)[first]
            self.codes[kept] = codes
        if len(self.places) > MAX_GROUPS:
            raise JobFailed(f"GROUP BY: expected at most {MAX_GROUPS} groups, found {len(self.places)}")
        self.words = {value: words_of(rows, value, self.places) for value in key.values}
        self.ranks = {
            value: _ranks(rows.texts(value).take(self.places).to_pylist())
            for value in key.values
            if value.type.kind is Kind.TEXT
        }


@dataclass(frozen=True)
class OwnGroups:
    """The groups of one owner's keys: what all know of them, and at their owner what they are.

    Attributes:
        key: the grouping expressions.
        count: how many groups.
        words: by expression, how many words its values have.
        found: at their owner.
    """

    key: LocalKey
    count: int
    words: Mapping[Expression, int]
    found: Found | None

    def matrix(self, inputs: Inputs, part: slice) -> Shared:
        """[groups, rows]: 1 where a row is in a group."""
        values = None
        if self.found is not None:
            here = self.found.codes[part]
            values = (here[None, :] == np.arange(self.count)[:, None]).astype(np.int64)
        return inputs.share(self.key.table, values, (self.count, part.stop - part.start))

    def shared(self, inputs: Inputs) -> dict[Expression, Key]:
        """Each key's value in each group."""
        keys = {}
        for value, words in self.words.items():
            table, found = self.key.table, self.found
            held = inputs.share(table, None if found is None else found.words[value], (words, self.count))
            rank = None
            if value.type.kind is Kind.TEXT:
                rank = inputs.share(table, None if found is None else found.ranks[value], (self.count,))
            keys[value] = Key(tuple(held[i] for i in range(words)), rank)
        return keys


class JoinedRows:
    """The computation on shares over joined rows; the same calls at every party.

    Args:
        runtime: the run.
        program: what it computes.
        inputs: what owners share.
        bits: of the columns' magnitudes.
    """

    def __init__(self, runtime: Runtime, program: Program, inputs: Inputs, bits: int) -> None:
        self._rt, self._program, self._inputs, self._bits = runtime, program, inputs, bits
        self.secret = SecretValues(runtime, inputs.count, inputs, lambda node: width(node, bits, 1))

    def weights(self, besides: Collection[str] = ()) -> Shared | None:
        """1 for the rows that WHERE keeps, 0 for others; None: it keeps all.

        ``besides`` are tables whose own filters are accounted for elsewhere.
        """
        program = self._program
        parts = [self._inputs.weight(part) for table, part in program.filters.items() if table not in besides]
        if program.condition is not None:
            parts.append(self._rt.to_arithmetic(self.secret.truth(program.condition).holds))
        found: Shared | None = None
        for part in parts:
            found = part if found is None else self._rt.mul(found, part)
        return found

    def figures(self, groups: Sequence[OwnGroups], stage: Stage) -> Figures:
        """The figures of all combinations of groups, those of the first key outermost."""
        program, rt, count = self._program, self._rt, self._inputs.count
        weights = self.weights([one.key.table for one in groups])
        stage("filter")
        summands = {total: self._summand(total) for total in program.totals}
        added = {total: one for total, one in summands.items() if one is not None}
        ones = rt.constant(np.ones(count, dtype=np.int64)) if weights is None else weights
        stacked = stack(list(added.values())) if added else None
        if stacked is not None and weights is not None:
            stacked = rt.mul(stacked, weights)
        rows = ones.reshape(1, count) if stacked is None else concatenate([ones.reshape(1, count), stacked])
        sums, picks = self._by_group(rows, groups)
        placed = dict(zip(added, range(1, len(added) + 1), strict=True))
        totals = {total: sums[placed.get(total, 0)] for total in program.totals}
        keys, constants = self._keys(groups, sums.shape[1])
        stage("group")
        return Figures(sums.shape[1], sums[0], totals, picks, keys, self._bits, count, None, constants)

    def _summand(self, total: Expression) -> Shared | None:
        """What each row adds to a total; None: 1."""
        if isinstance(total, Not) and isinstance(total.part, IsNull):
            if self._inputs.is_certain(total.part.part):
                return None
        if total.type.kind is Kind.BOOLEAN:
            given = self._inputs.weight(total) if self._inputs.is_local(total) else None
            return self._rt.to_arithmetic(self.secret.truth(total).holds) if given is None else given
        found = self.secret.number(total)
        if found.valid is None or self._inputs.is_local(total):
            # An owner shares 0 for a number that is missing.
            return found.value
        return self._rt.mul(found.value, self._rt.to_arithmetic(found.valid))

    def _by_group(self, rows: Shared, groups: Sequence[OwnGroups]) -> tuple[Shared, dict[Aggregate, Shared]]:
        rt, program, count = self._rt, self._program, self._inputs.count
        secret = [self._outcome_matrix(key) for key in program.secret_keys]
        sizes = [one.count for one in groups] + [matrix.shape[0] for matrix in secret]
        combined = prod(sizes)
        if combined > MAX_GROUPS:
            raise JobFailed(f"GROUP BY: expected at most {MAX_GROUPS} groups, found {combined}")
        picked = [self._picked(aggregate) for aggregate in program.picks]
        cells = sum(sizes) + rows.shape[0] * (prod(sizes[:-1]) + 1) + 4 * combined * len(picked)
        step = max(_CELLS // cells, 1)
        sums: list[Shared] = []
        best: list[list[Shared]] = [[] for _ in picked]
        for start in range(0, count, step):
            part = slice(start, min(start + step, count))
            matrices = [one.matrix(self._inputs, part) for one in groups]
            matrices += [matrix[:, part] for matrix in secret]
            sums.append(self._sum(rows[:, part], matrices))
            if picked:
                membership = self._membership(rows[0][part], matrices)
                for kept, (values, bits) in zip(best, picked, strict=True):
                    mine = membership
                    if values.valid is not None:
                        bit = rt.to_arithmetic(values.valid.take(part))
                        mine = rt.mul(membership, bit.reshape(1, bit.rows))
                    kept.append(minimum(rt, masked(rt, values.value[part], mine, bits), bits))
        total = sums[0]
        for one in sums[1:]:
            total = rt.add(total, one)
        found = {}
        for aggregate, kept, (_, bits) in zip(program.picks, best, picked, strict=True):
            least = minimum(rt, columns(kept), bits)
            found[aggregate] = rt.neg(least) if aggregate.figure == "max" else least
        return total, found

    def _sum(self, rows: Shared, matrices: Sequence[Shared]) -> Shared:
        """[figures, groups]: sums of rows over the combinations of all keys' groups."""
        rt = self._rt
        figures = rows.shape[0]
        if not matrices:
            return rt.sum(rows)
        for matrix in matrices[:-1]:
            rows = self._spread(rows, matrix)
        sums = rt.dot(rows, matrices[-1])
        return sums.reshape(figures, sums.size // figures)

    def _membership(self, kept: Shared, matrices: Sequence[Shared]) -> Shared:
        """[groups, rows]: 1 where a row is in a group and kept."""
        found = kept.reshape(1, kept.rows)
        for matrix in matrices:
            found = self._spread(found, matrix)
        return found

    def _spread(self, rows: Shared, matrix: Shared) -> Shared:
        """[p, n] and [q, n] to the products of each pair, [p q, n]."""
        (one, count), other = rows.shape, matrix.shape[0]
        wide = self._rt.mul(rows.reshape(one, 1, count), matrix.reshape(1, other, count))
        return wide.reshape(one * other, count)

    def _outcome_matrix(self, key: SecretKey) -> Shared:
        rows = [
            self._rt.to_arithmetic(self.secret.truth(condition).holds).reshape(1, self._inputs.count)
            for _, condition in key.outcomes
        ]
        return concatenate(rows)

    def _picked(self, aggregate: Aggregate) -> tuple[Secret, int]:
        """The value whose minimum is wanted, and its bits; a maximum is the least of the negatives."""
        assert aggregate.part is not None  # noqa: S101 - a minimum is of something
        found = self.secret.number(aggregate.part)
        value = self._rt.neg(found.value) if aggregate.figure == "max" else found.value
        return Secret(value, found.valid), width(aggregate.part, self._bits, 1)

    def _keys(
        self, groups: Sequence[OwnGroups], combined: int
    ) -> tuple[dict[Expression, Key], dict[Expression, Secret]]:
        """Each key's value in every combination of groups."""
        rt, program = self._rt, self._program
        sizes = [one.count for one in groups] + [len(key.outcomes) for key in program.secret_keys]
        place = np.unravel_index(np.arange(combined), sizes or (1,))
        keys: dict[Expression, Key] = {}
        for own, at in zip(groups, place, strict=False):
            for value, key in own.shared(self._inputs).items():
                rank = None if key.rank is None else key.rank[at]
                keys[value] = Key(tuple(word[at] for word in key.words), rank)
        constants: dict[Expression, Secret] = {}
        for secret, at in zip(program.secret_keys, place[len(groups) :], strict=False):
            literals = [literal for literal, _ in secret.outcomes]
            values = np.array(_ordered(literals), dtype=np.int64)[at]
            present = np.array([literal.value is not None for literal in literals])[at]
            constants[secret.value] = Secret(rt.constant(values), rt.constant_bits(present))
        return keys, constants


def _ordered(literals: Sequence[Literal]) -> list[int]:
    """Constants as integers in their order."""
    if literals[0].type.kind is Kind.TEXT:
        texts = sorted(str(one.value).encode() for one in literals if one.value is not None)
        return [0 if one.value is None else texts.index(str(one.value).encode()) for one in literals]
    if literals[0].type.kind is Kind.DATE:
        return [0 if one.value is None else days_of(one.value) for one in literals]
    return [0 if one.value is None else int(cast(int, one.value)) for one in literals]


def _numbered(parts: Sequence[NDArray[np.int64]]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Number the combinations of some columns of small numbers: a row of each, and the number of each row."""
    codes = np.zeros(len(parts[0]), dtype=np.int64)
    first = np.zeros(1, dtype=np.int64)
    for part in parts:
        codes = codes * (int(part.max()) + 1) + part
        seen = np.zeros(int(codes.max()) + 1, dtype=np.int64)
        seen[codes[::-1]] = np.arange(len(codes), 0, -1)
        first = seen[seen > 0] - 1
        codes = (np.cumsum(seen > 0) - 1)[codes]
    return first, codes


def _ranks(texts: Sequence[str | None]) -> NDArray[np.int64]:
    """The place of each text among all of them in order of their bytes."""
    encoded = sorted({text.encode() for text in texts if text is not None})
    place = {text: at for at, text in enumerate(encoded)}
    return np.array([0 if text is None else place[text.encode()] for text in texts], dtype=np.int64)
