"""One party's part of a query, from its rows to its share of the answer."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from exchange.errors import JobFailed
from exchange.sql.alignment import Joining, KeyReader, align
from exchange.sql.expressions import Column, Expression, Kind, tables_in
from exchange.sql.figures import Stage, finish, recipient_roots
from exchange.sql.inputs import Inputs, Side
from exchange.sql.joined import Found, JoinedRows, OwnGroups
from exchange.sql.labels import text_width, words_of
from exchange.sql.limits import MAX_ORDERED, OrderKey, first_rows
from exchange.sql.local import LocalRows
from exchange.sql.matching import Progress
from exchange.sql.program import Program
from exchange.sql.protocol import SPEC
from exchange.sql.ranges import column_bits, width
from exchange.sql.united import OwnFigures, UnitedPart, unite
from ledger import canonical
from ledger.errors import LedgerError
from mpc.errors import MalformedMessage
from mpc.mesh import ConfirmedMesh, Mesh, mesh_run
from mpc.randomness import Randomness
from mpc.replicated import runtime as replicated_runtime
from mpc.replicated.runtime import Runtime
from mpc.replicated.sharing import Shared, SharedBits, concatenate, stack

__all__ = ["STAGES", "Executed", "Own", "execute", "play_joined", "play_united"]

STAGES: Final = ("filter", "group", "cohorts", "having", "limit", "answer")
"""The parts of a query on shares, in order; which of them there are depends on the query."""
_MAX_WORDS: Final = 64


@dataclass(frozen=True)
class Own:
    """This party's table: how to read its columns by their names in the query, and how many rows it has."""

    table: str
    read: KeyReader
    rows: int


@dataclass(frozen=True)
class Executed:
    """A party's outcome.

    Attributes:
        shares: uint64[columns, groups] of this computing party, the first column says what is shown; None at
            one that does not compute.
        sizes: of each key's groups, outermost first.
        words: of each key of an owner, and of each text in rows.
        rows: numbers of the own rows that the answer is made from, by what this party knows, and the group of
            each by its own keys; None without a table.
        groups: see ``rows``.
    """

    shares: NDArray[np.uint64] | None
    sizes: tuple[int, ...]
    words: tuple[int, ...]
    rows: NDArray[np.int64] | None
    groups: NDArray[np.int64] | None


def execute(mesh: Mesh, program: Program, own: Own | None, rng: Randomness, joining: Joining) -> Executed:
    """Play one party of a query; the owners of its tables have the first ranks, in the query's order.

    Args:
        mesh: at least three parties, of which the first three compute.
        program: the same at every party.
        own: this party's table; None at one that only computes.
        rng: own randomness.
        joining: how keys are matched, and who is told how far the query is.

    Raises:
        JobFailed: too few rows match, or there are too many groups.
        ConnectorError: own data is not as the query was planned for.
        ProtocolAbort: a peer's messages are not as the protocol has them.

    Security: semi-honest, one of the three computing parties, and any number of the others. Leaks: see
    ``protocol.SPEC`` and the plan's own statement. Cost: ``costs.estimate``. Source: see ``protocol.SPEC``.
    """
    return (_united if program.is_union else _joined)(mesh, program, own, rng, joining)


def _united(mesh: Mesh, program: Program, own: Own | None, rng: Randomness, joining: Joining) -> Executed:
    owners = len(program.query.assets)
    with mesh_run(mesh, SPEC) as peers:
        counts = _announced(peers, owners, {"rows": own.rows} if own is not None else {})
        total_rows = sum(_number(one, "rows", 2**31) for one in counts)
        bits = column_bits(program, total_rows)
        figures, local = None, None
        if own is not None:
            local = LocalRows(own.read, np.arange(own.rows), bits)
            figures = OwnFigures.of(program, local)
        keys = program.local_keys[0].values if program.local_keys else ()
        mine = {} if figures is None else _shape(figures, keys)
        stated = _announced(peers, owners, mine)
        parts = [
            UnitedPart(
                rank,
                _number(one, "groups", 2**20),
                _words(one, len(keys)),
                figures if rank == mesh.rank else None,
            )
            for rank, one in enumerate(stated)
        ]
        peers.confirm()
    with replicated_runtime.run(mesh, SPEC, rng) as rt:
        shares = _share_of(rt, play_united(rt, program, parts, bits, total_rows, _told(joining.progress)))
    widest = tuple(max(part.words[at] for part in parts) for at in range(len(keys)))
    rows, groups = None, None
    if local is not None:
        kept = _kept(program, program.tables[0].name, local)
        rows = np.flatnonzero(kept)
        groups = np.zeros(len(rows), dtype=np.int64)
    count = sum(part.groups for part in parts) if keys else 1
    return Executed(shares, (count,), widest, rows, groups)


def _joined(mesh: Mesh, program: Program, own: Own | None, rng: Randomness, joining: Joining) -> Executed:
    owners = len(program.tables)
    ranks = {table.name: rank for rank, table in enumerate(program.tables)}
    with mesh_run(mesh, SPEC) as peers:
        side = None if own is None else (own.read, np.arange(own.rows))
        aligned = align(mesh, peers, program, side, rng, joining)
        bits = column_bits(program, aligned.count)
        local = None
        if own is not None and aligned.rows is not None:
            local = Side(own.table, LocalRows(own.read, aligned.rows, bits))
        mine, found = _described(program, local)
        stated = _announced(peers, owners, mine)
        missing, groups, texts = _understood(program, stated, found)
        peers.confirm()
    with replicated_runtime.run(mesh, SPEC, rng) as rt:
        inputs = Inputs(rt, aligned.count, ranks, missing, local)
        stage = _told(joining.progress)
        shares = _share_of(rt, play_joined(rt, program, inputs, groups, texts, bits, stage))
    sizes = (*(one.count for one in groups), *(len(key.outcomes) for key in program.secret_keys))
    if not program.query.is_grouped:
        sizes = (aligned.count,)
    named = (texts[root] for root in recipient_roots(program) if root in texts)
    words = (*(count for one in groups for count in one.words.values()), *named)
    rows, codes = _behind(program, local, aligned.rows, found)
    return Executed(shares, sizes, words, rows, codes)


def play_united(
    rt: Runtime, program: Program, parts: Sequence[UnitedPart], bits: int, total_rows: int, stage: Stage
) -> Shared:
    """The part of a query over united rows that is on shares; the same calls at every party."""
    figures = unite(rt, program, parts, bits, total_rows)
    stage("group")
    return _masked(rt, *finish(rt, program, figures, stage), stage)


def play_joined(
    rt: Runtime,
    program: Program,
    inputs: Inputs,
    groups: Sequence[OwnGroups],
    texts: Mapping[Expression, int],
    bits: int,
    stage: Stage,
) -> Shared:
    """The part of a query over joined rows that is on shares; the same calls at every party."""
    joined = JoinedRows(rt, program, inputs, bits)
    if program.query.is_grouped:
        figures = joined.figures(groups, stage)
        return _masked(rt, *finish(rt, program, figures, stage), stage)
    return _masked(rt, *_rowwise(rt, program, joined, inputs, bits, texts, stage), stage)


def _rowwise(
    rt: Runtime,
    program: Program,
    joined: JoinedRows,
    inputs: Inputs,
    bits: int,
    texts: Mapping[Expression, int],
    stage: Stage,
) -> tuple[Shared, SharedBits]:
    """Columns of the rows that WHERE keeps: each value as whether there is one, and its words."""
    ones = np.ones(inputs.count, dtype=np.bool_)
    weights = joined.weights()
    keep = (
        rt.constant_bits(ones)
        if weights is None
        else rt.not_(rt.equal(weights, rt.scale(weights, 0), bits=2))
    )
    stage("filter")
    secret, query = joined.secret, program.query
    if query.limit is not None:
        if query.order and inputs.count > MAX_ORDERED:
            raise JobFailed(f"LIMIT: expected at most {MAX_ORDERED} rows to order, found {inputs.count}")
        keys = []
        for one in query.order:
            flags = (one.descending, one.nulls_first)
            if one.value.type.kind is Kind.BOOLEAN:
                truth = secret.truth(one.value)
                keys.append(
                    OrderKey(rt.to_arithmetic(truth.holds), None, secret.present(one.value), 2, *flags)
                )
            else:
                found = secret.number(one.value)
                keys.append(OrderKey(found.value, None, found.valid, width(one.value, bits, 1), *flags))
        keep = first_rows(rt, keys, keep, query.limit)
        stage("limit")
    columns: list[Shared] = []
    for root in recipient_roots(program):
        if root in texts:
            rows = inputs.own(_table_of(program, root))
            words = None if rows is None else _padded(words_of(rows, root, np.arange(len(rows))), texts[root])
            held = inputs.share(_table_of(program, root), words, (texts[root], inputs.count))
            columns += [held[i] for i in range(texts[root])]
            continue
        present = secret.present(root)
        columns.append(rt.to_arithmetic(rt.constant_bits(ones) if present is None else present))
        is_truth = root.type.kind is Kind.BOOLEAN
        value = rt.to_arithmetic(secret.truth(root).holds) if is_truth else secret.number(root).value
        columns.append(value if present is None else rt.mul(value, columns[-1]))
    return stack(columns), keep


def _masked(rt: Runtime, columns: Shared, keep: SharedBits, stage: Stage) -> Shared:
    """What is shown, under fresh masks, and first whether it is; nought where nothing is."""
    kept = rt.to_arithmetic(keep).reshape(1, keep.rows)
    shown = concatenate([kept, rt.mul(columns, kept)])
    stage("answer")
    return shown


def _share_of(rt: Runtime, shown: Shared) -> NDArray[np.uint64] | None:
    """The one share that this party releases of the answer."""
    return shown.shares[0] if rt.computes else None


def _told(progress: Progress) -> Stage:
    """Stages as progress, of as many as there may be."""
    return lambda name: progress(STAGES.index(name) + 1, len(STAGES))


# what owners state to all


def _announced(peers: ConfirmedMesh, owners: int, mine: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    """What each owner states, by rank; ``mine`` where this party is one."""
    if peers.rank < owners:
        peers.broadcast("shape", canonical.encode(dict(mine)))
    found = []
    for rank in range(owners):
        if rank == peers.rank:
            found.append(mine)
            continue
        try:
            stated = canonical.decode(peers[rank].receive("shape"))
        except LedgerError as exc:
            raise MalformedMessage(f"shape: {exc}") from exc
        if not isinstance(stated, dict):
            raise MalformedMessage(f"shape: expected an object, got {type(stated).__name__}")
        found.append(stated)
    return found


def _number(stated: Mapping[str, Any], name: str, below: int) -> int:
    value = stated.get(name)
    if not isinstance(value, int) or isinstance(value, bool) or not 0 < value < below:
        raise MalformedMessage(f"shape: expected {name} from 1 to {below - 1}")
    return value


def _words(stated: Mapping[str, Any], count: int, name: str = "words") -> tuple[int, ...]:
    values = stated.get(name)
    if not isinstance(values, list) or len(values) != count:
        raise MalformedMessage(f"shape: expected {count} {name}")
    if any(not isinstance(one, int) or not 2 <= one <= _MAX_WORDS for one in values):
        raise MalformedMessage(f"shape: expected {name} from 2 to {_MAX_WORDS}")
    return tuple(values)


def _shape(figures: OwnFigures, keys: tuple[Expression, ...]) -> dict[str, Any]:
    return {"groups": figures.groups, "words": [len(figures.words[key]) for key in keys]}


def _described(program: Program, side: Side | None) -> tuple[dict[str, Any], Found | None]:
    """What this owner states of its joined rows, and the groups it finds by its own keys."""
    if side is None:
        return {}, None
    columns = program.reads(side.table)
    stated: dict[str, Any] = {"missing": [side.rows.has_missing(column) for column in columns]}
    found = None
    key = next((one for one in program.local_keys if one.table == side.table), None)
    if key is not None:
        found = Found(key, side.rows, _kept(program, side.table, side.rows))
        stated |= {"groups": len(found.places), "words": [len(found.words[value]) for value in key.values]}
    stated["texts"] = [text_width(side.rows.texts(root)) for root in _texts(program, side.table)]
    return stated, found


def _understood(
    program: Program, stated: list[Mapping[str, Any]], found: Found | None
) -> tuple[frozenset[Column], list[OwnGroups], dict[Expression, int]]:
    """Which columns lack values, the groups of each owner's keys, and the words of texts in rows."""
    missing: set[Column] = set()
    texts: dict[Expression, int] = {}
    by_table = {}
    for table, one in zip(program.tables, stated, strict=True):
        columns, flags = program.reads(table.name), one.get("missing")
        is_list = isinstance(flags, list) and len(flags) == len(columns)
        if not is_list or any(not isinstance(flag, bool) for flag in flags or ()):
            raise MalformedMessage(f"shape: expected {len(columns)} truth values in missing")
        missing |= {column for column, flag in zip(columns, flags or (), strict=True) if flag}
        roots = _texts(program, table.name)
        texts |= dict(zip(roots, _words(one, len(roots), "texts"), strict=True))
        by_table[table.name] = one
    groups = []
    for key in program.local_keys:
        one = by_table[key.table]
        words = dict(zip(key.values, _words(one, len(key.values)), strict=True))
        mine = found if found is not None and found.key == key else None
        groups.append(OwnGroups(key, _number(one, "groups", 2**20), words, mine))
    return frozenset(missing), groups, texts


def _texts(program: Program, table: str) -> list[Expression]:
    """The texts of a table that rows of the answer hold."""
    if program.query.is_grouped:
        return []
    roots = recipient_roots(program)
    return [root for root in roots if root.type.kind is Kind.TEXT and _table_of(program, root) == table]


def _table_of(program: Program, node: Expression) -> str:
    return next(iter(tables_in(node)), program.tables[0].name)


def _padded(words: NDArray[np.int64], count: int) -> NDArray[np.int64]:
    return np.concatenate([words, np.zeros((count - len(words), words.shape[1]), dtype=np.int64)])


def _kept(program: Program, table: str, rows: LocalRows) -> NDArray[np.bool_]:
    """The rows that an owner's own part of WHERE keeps."""
    own = program.filters.get(table)
    return np.ones(len(rows), dtype=np.bool_) if own is None else rows.truths(own)[0]


def _behind(
    program: Program, side: Side | None, rows: NDArray[np.int64] | None, found: Found | None
) -> tuple[NDArray[np.int64] | None, NDArray[np.int64] | None]:
    """The own rows that the answer may be about, as far as their owner knows, and their groups."""
    if side is None or rows is None:
        return None, None
    behind = _kept(program, side.table, side.rows) & (rows >= 0)
    codes = np.zeros(len(rows), dtype=np.int64) if found is None else found.codes
    return rows[behind], codes[behind]
