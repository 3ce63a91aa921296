"""What a query is expected to cost, by playing it with sizes alone (`mpc.replicated.tally`).

The figures are exact for the sizes that are given, which before a run are bounds.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from exchange.sql.execution import play_joined, play_united
from exchange.sql.expressions import Column, Expression, Kind
from exchange.sql.figures import recipient_roots
from exchange.sql.inputs import Inputs
from exchange.sql.joined import OwnGroups
from exchange.sql.program import Program
from exchange.sql.ranges import column_bits
from exchange.sql.united import UnitedPart
from mpc.replicated.costs import Cost
from mpc.replicated.tally import Tally

__all__ = ["USUAL_GROUPS", "Sizes", "assumed", "secret_costs"]

USUAL_GROUPS: Final = 8
"""What an estimate takes before a query has run: the values of an owner's grouping expressions."""
_USUAL_WORDS: Final = 3


@dataclass(frozen=True)
class Sizes:
    """Everything public that the cost depends on.

    Attributes:
        rows: joined rows, or of UNION ALL rows of all owners.
        groups: by owner, in the order of the program's own keys, or of the parts of a union.
        words: of each grouping expression or text, by expression.
        missing: the columns that lack some value.
    """

    rows: int
    groups: tuple[int, ...]
    words: Mapping[Expression, int]
    missing: frozenset[Column]


def assumed(program: Program, rows: int) -> Sizes:
    """Sizes before a run: every column lacks values, and groups are few."""
    keys = [value for key in program.local_keys for value in key.values]
    texts = [root for root in recipient_roots(program) if root.type.kind is Kind.TEXT]
    named = keys if program.query.is_grouped else texts
    missing = frozenset(column for table in program.tables for column in program.reads(table.name))
    count = len(program.query.assets) if program.is_union else len(program.local_keys)
    groups = (USUAL_GROUPS if keys else 1,) * count
    words = {node: _USUAL_WORDS if node.type.kind is Kind.TEXT else 2 for node in named}
    return Sizes(max(rows, 1), groups, words, missing)


def secret_costs(program: Program, sizes: Sizes, parties: int) -> dict[str, Cost]:
    """What each stage on shares costs, by its name; keys and the comparison of transcripts under ``run``."""
    tally = Tally(parties)
    found = {"run": tally.take()}

    def stage(name: str) -> None:
        found[name] = tally.take()

    bits = column_bits(program, sizes.rows)
    if program.is_union:
        keys = program.local_keys[0].values if program.local_keys else ()
        words = tuple(sizes.words[key] for key in keys)
        parts = [UnitedPart(rank, count, words, None) for rank, count in enumerate(sizes.groups)]
        play_united(tally, program, parts, bits, sizes.rows, stage)
        return found
    ranks = {table.name: rank for rank, table in enumerate(program.tables)}
    inputs = Inputs(tally, sizes.rows, ranks, sizes.missing, None)
    groups = [
        OwnGroups(key, count, {value: sizes.words[value] for value in key.values}, None)
        for key, count in zip(program.local_keys, sizes.groups, strict=True)
    ]
    texts = {} if program.query.is_grouped else dict(sizes.words)
    play_joined(tally, program, inputs, groups, texts, bits, stage)
    return found
