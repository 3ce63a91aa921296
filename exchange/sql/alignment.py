"""Which rows stand together: joins on private keys, by two-party intersections, one for each join.

The owner of the table that is joined to and the owner of the joined one intersect their keys. The first then
tells the others which rows are left, and the second which of its rows goes with each. Rows are put in an
order that the first draws, so that it says nothing of the order in which they stand in the source.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from connectors import identifiers
from connectors.errors import DuplicateIdentifiers
from exchange.errors import JobFailed
from exchange.sql.expressions import Column, Expression, Function
from exchange.sql.matching import Matching, Progress
from exchange.sql.program import Program
from exchange.sql.query import Join
from mpc import wire
from mpc.channel import Channel
from mpc.errors import MalformedMessage
from mpc.mesh import ConfirmedMesh, Mesh
from mpc.randomness import Randomness, random_permutation
from mpc.transcript import ConfirmedChannel

__all__ = ["Aligned", "Joining", "KeyReader", "align"]

KeyReader = Callable[[str], pa.Array]

_MAX_ROWS: Final = 2**31


@dataclass(frozen=True)
class Aligned:
    """What a party knows of the joined rows.

    Attributes:
        count: how many there are.
        rows: int64[count], of each the row of the own table, -1 where a left join found none; None at a party
            without a table.
    """

    count: int
    rows: NDArray[np.int64] | None


@dataclass(frozen=True)
class Joining:
    """How this party joins.

    Attributes:
        matching: how keys are intersected; the same at all parties.
        folder: where an engine makes its private folder.
        progress: called with rows done and in all.
    """

    matching: Matching
    folder: Path | None
    progress: Progress

    def run(self, channel: Channel, keys: pa.Array, rng: Randomness) -> NDArray[np.int64]:
        """Intersect the keys with those of the other end of the channel; see ``Matching.run``."""
        return self.matching.run(channel, keys, rng, self.folder, self.progress)


def _key_items(
    keys: Sequence[Expression], read: KeyReader, rows: NDArray[np.int64]
) -> tuple[pa.Array, NDArray[np.int64]]:
    """A table's keys as the texts that are intersected, string[n], and which of ``rows`` each is of.

    Rows without a value in some key match nothing, as in SQL, and are left out.

    Raises:
        DuplicateIdentifiers: two rows have the same key.
    """
    arrays = [_texts(key, read).take(pa.array(rows)) for key in keys]
    present = np.ones(len(rows), dtype=np.bool_)
    for array in arrays:
        present &= np.asarray(array.is_valid().to_numpy(zero_copy_only=False), dtype=np.bool_)
    places = np.flatnonzero(present)
    items = identifiers.framed([array.take(pa.array(places)) for array in arrays])
    surplus = len(items) - pc.count_distinct(items).as_py()
    if surplus:
        raise DuplicateIdentifiers(" and ".join(_name(key) for key in keys), surplus)
    return items, places


def align(
    mesh: Mesh,
    peers: ConfirmedMesh,
    program: Program,
    own: tuple[KeyReader, NDArray[np.int64]] | None,
    rng: Randomness,
    joining: Joining,
) -> Aligned:
    """Join the tables in the order of the query; the owner of table i has rank i.

    Args:
        mesh: the parties; each pair's channel carries its intersections.
        peers: the confirmed channels of this run, for everything else.
        program: whose joins are done.
        own: how to read the own table's columns, and which of its rows take part; None without a table.
        rng: own randomness.
        joining: how keys are matched.

    Raises:
        DuplicateIdentifiers: a key is not unique.
        JobFailed: fewer rows match than the minimum, or there are more keys than the matching takes.

    Security: semi-honest; as the protocol that matches, for each join. Leaks: to the owners of the two tables
    of a join, which of their rows match and how many keys the other has; to those joined before, which of the
    rows that they know are left; to every party, how many rows there are in the end. Cost: that of matching
    for each join, and 8 bytes a row to each owner joined before. Source: as the protocol that matches.
    """
    names = [table.name for table in program.tables]
    rows: NDArray[np.int64] | None = None
    if mesh.rank == 0 and own is not None:
        rows = own[1][random_permutation(rng, len(own[1]))]
    for child, join in enumerate(program.query.joins, start=1):
        parent = names.index(join.with_)
        if mesh.rank == parent and own is not None and rows is not None:
            rows = _as_parent(mesh, peers, join, child, own[0], rows, rng, joining)
        elif mesh.rank == child and own is not None:
            rows = _as_child(mesh, peers, join, parent, own, rng, joining)
        elif mesh.rank < child and rows is not None and not join.is_left:
            rows = rows[_receive(peers[parent], "left", len(rows), distinct=True)]
    if mesh.rank == 0 and rows is not None:
        peers.broadcast("rows", wire.encode_uint64(len(rows)))
        count = len(rows)
    else:
        reader = wire.Reader("rows", peers[0].receive("rows"))
        count = reader.uint64("rows")
        reader.finish()
        if count > _MAX_ROWS or (rows is not None and count != len(rows)):
            raise MalformedMessage(f"rows: expected the number of joined rows, got {count}")
    if count < max(program.minimum, 1):
        raise JobFailed(f"expected at least {max(program.minimum, 1)} joined rows, found fewer")
    return Aligned(count, rows)


def _as_parent(
    mesh: Mesh,
    peers: ConfirmedMesh,
    join: Join,
    child: int,
    read: KeyReader,
    rows: NDArray[np.int64],
    rng: Randomness,
    joining: Joining,
) -> NDArray[np.int64]:
    held = np.flatnonzero(rows >= 0)
    items, places = _key_items([one for one, _ in join.keys], read, rows[held])
    matched = joining.run(mesh.channels[child], items, rng)
    at = held[places[matched]]
    if join.is_left:
        partners = np.full(len(rows), -1, dtype=np.int64)
        partners[at] = np.arange(len(at))
    else:
        order = random_permutation(rng, len(at))
        left, partners = at[order], order
        for earlier in range(child):
            if earlier != mesh.rank:
                _send(peers[earlier], "left", left)
        rows = rows[left]
    _send(peers[child], "partners", partners)
    return rows


def _as_child(
    mesh: Mesh,
    peers: ConfirmedMesh,
    join: Join,
    parent: int,
    own: tuple[KeyReader, NDArray[np.int64]],
    rng: Randomness,
    joining: Joining,
) -> NDArray[np.int64]:
    read, taking_part = own
    items, places = _key_items([other for _, other in join.keys], read, taking_part)
    matched = joining.run(mesh.channels[parent], items, rng)
    mine = taking_part[places[matched]]
    partners = _receive(peers[parent], "partners", len(mine), distinct=False)
    known = np.append(mine, -1)
    return np.asarray(known[partners], dtype=np.int64)


def _send(peer: ConfirmedChannel, message: str, values: NDArray[np.int64]) -> None:
    if peer.swap(message, values.astype("<i8").tobytes()):
        raise MalformedMessage(f"{message}: expected an empty answer")


def _receive(peer: ConfirmedChannel, message: str, below: int, *, distinct: bool) -> NDArray[np.int64]:
    """Indices below a bound, or -1 for none where they need not be distinct."""
    raw = peer.swap(message, b"")
    if len(raw) % 8:
        raise MalformedMessage(f"{message}: expected words of 8 bytes, got {len(raw)} bytes")
    values = np.frombuffer(raw, dtype="<i8").astype(np.int64)
    named = values[values >= 0]
    repeats = len(named) - len(np.unique(named))
    if np.any(values < (0 if distinct else -1)) or np.any(values >= below) or repeats:
        raise MalformedMessage(f"{message}: expected distinct row numbers below {below}")
    return values


def _texts(key: Expression, read: KeyReader) -> pa.Array:
    if isinstance(key, Function):
        return identifiers.RULES[key.name](_texts(key.part, read))
    assert isinstance(key, Column)  # noqa: S101 - what the binder lets be a key
    array = read(key.name)
    return array.cast(pa.string())


def _name(key: Expression) -> str:
    return _name(key.part) if isinstance(key, Function) else key.name if isinstance(key, Column) else ""
