"""How far the messages of each process of the Dataspace Protocol are: steps that both sides have exchanged.

What the steps are stands on the ledger. Before a message is sent, the state is stored that says so (an
``-ING`` state); after the other side has taken it, the position moves by one, by compare-and-swap.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import Engine, Row, select, update

from exchange.store.engine import keep, transaction
from exchange.store.node.models import DataspaceRow, NodeBase

__all__ = ["DataspaceRepository", "Exchanged"]

_TABLE = NodeBase.metadata.tables[DataspaceRow.__tablename__]


@dataclass(frozen=True)
class Exchanged:
    """Where a process is.

    Attributes:
        kind: negotiation or transfer.
        pid: its id.
        peer: the other side's DID.
        position: how many steps both sides have exchanged.
        state: after those steps, or the state that says which message is under way.
        tries: attempts to send the next message that failed.
        problem: code of the last failure; None where there is none.
        updated: when any of this changed.
    """

    kind: str
    pid: str
    peer: str
    position: int
    state: str
    tries: int
    problem: str | None
    updated: datetime


class DataspaceRepository:
    """Processes by kind and id."""

    def __init__(self, engine: Engine, clock: Callable[[], datetime]) -> None:
        self._engine, self._clock = engine, clock

    def find(self, kind: str, pid: str) -> Exchanged | None:
        """Return a process; None where no step of it was exchanged or begun."""
        wanted = select(_TABLE).where(_TABLE.c.kind == kind, _TABLE.c.pid == pid)
        with transaction(self._engine) as connection:
            row = connection.execute(wanted).one_or_none()
        return None if row is None else _read(row)

    def all(self) -> list[Exchanged]:
        """Return every process, the one that moved last first."""
        wanted = select(_TABLE).order_by(_TABLE.c.updated.desc(), _TABLE.c.kind, _TABLE.c.pid)
        with transaction(self._engine) as connection:
            return [_read(row) for row in connection.execute(wanted)]

    def begin(self, kind: str, pid: str, peer: str, position: int, in_flight: str) -> None:
        """Note that the message about the step at ``position`` is about to be sent."""
        self._move(kind, pid, peer, position, position, in_flight, keep_tries=True)

    def advance(self, kind: str, pid: str, peer: str, before: int, after: int, state: str) -> bool:
        """Move a process on from ``before`` to ``after`` exchanged steps; tells whether it stood there."""
        return self._move(kind, pid, peer, before, after, state, keep_tries=False)

    def fail(self, kind: str, pid: str, problem: str) -> int:
        """Note that sending failed; returns how often it has for this step."""
        same = (_TABLE.c.kind == kind) & (_TABLE.c.pid == pid)
        values = {"tries": _TABLE.c.tries + 1, "problem": problem, "updated": self._clock()}
        with transaction(self._engine) as connection:
            connection.execute(update(_TABLE).where(same).values(**values))
            return int(connection.execute(select(_TABLE.c.tries).where(same)).scalar() or 0)

    def _move(
        self, kind: str, pid: str, peer: str, before: int, after: int, state: str, *, keep_tries: bool
    ) -> bool:
        now = self._clock()
        values = {"position": after, "state": state, "updated": now}
        if not keep_tries:
            values |= {"tries": 0, "problem": None}
        here = (_TABLE.c.kind == kind) & (_TABLE.c.pid == pid) & (_TABLE.c.position == before)
        with transaction(self._engine) as connection:
            if connection.execute(update(_TABLE).where(here).values(**values)).rowcount:
                return True
            if before:
                return False
            first = {"kind": kind, "pid": pid, "peer": peer, "tries": 0, "problem": None, **values}
            return keep(connection, _TABLE, first, replace=False)


def _read(row: Row[tuple[object, ...]]) -> Exchanged:
    return Exchanged(
        row.kind, row.pid, row.peer, row.position, row.state, row.tries, row.problem, row.updated
    )
