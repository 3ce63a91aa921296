"""This party's side of its jobs: the specification it decided on, and its finished steps.

How far a job is stands on the ledger and nowhere else.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime

from sqlalchemy import Engine, delete, select, update

from exchange.store.engine import keep, transaction
from exchange.store.node.models import BegunRow, CheckpointRow, JobRow, NodeBase, StateRow

__all__ = ["JobRepository"]

_JOBS = NodeBase.metadata.tables[JobRow.__tablename__]
_BEGUN = NodeBase.metadata.tables[BegunRow.__tablename__]
_CHECKPOINTS = NodeBase.metadata.tables[CheckpointRow.__tablename__]
_STATES = NodeBase.metadata.tables[StateRow.__tablename__]


class JobRepository:
    """Jobs and their finished steps, by job id."""

    def __init__(self, engine: Engine, clock: Callable[[], datetime]) -> None:
        self._engine, self._clock = engine, clock

    def keep_spec(self, job: str, spec: bytes) -> None:
        """Keep the specification this party submits or decided on; the first one stays."""
        values = {"job": job, "spec": spec, "stored": self._clock()}
        with transaction(self._engine) as connection:
            keep(connection, _JOBS, values, replace=False)

    def spec(self, job: str) -> bytes | None:
        """The specification that was kept."""
        with transaction(self._engine) as connection:
            found = connection.scalar(select(_JOBS.c.spec).where(_JOBS.c.job == job))
        return None if found is None else bytes(found)

    def begin(self, job: str, step: str) -> bool:
        """Note that a step begins; tells whether this is the first time."""
        values = {"job": job, "step": step, "begun": self._clock()}
        with transaction(self._engine) as connection:
            return keep(connection, _BEGUN, values, replace=False)

    def attempts(self, job: str, step: str) -> int:
        """The number of the last attempt at a step that has begun; 0 where none has."""
        wanted = select(_BEGUN.c.attempts).where(_BEGUN.c.job == job, _BEGUN.c.step == step)
        with transaction(self._engine) as connection:
            return connection.scalar(wanted) or 0

    def begin_again(self, job: str, step: str, attempt: int) -> None:
        """Note that a later attempt at a step begins."""
        values = {"job": job, "step": step, "begun": self._clock(), "attempts": attempt}
        with transaction(self._engine) as connection:
            keep(connection, _BEGUN, values, replace=True)

    def close(self, job: str, step: str) -> None:
        """Allow no further attempt at a step that has begun, and drop what it kept."""
        begun = update(_BEGUN).where(_BEGUN.c.job == job, _BEGUN.c.step == step)
        with transaction(self._engine) as connection:
            connection.execute(begun.values(is_last=True))
            connection.execute(delete(_STATES).where(_STATES.c.job == job, _STATES.c.step == step))

    def is_closed(self, job: str, step: str) -> bool:
        """Whether no further attempt at a step is allowed."""
        wanted = select(_BEGUN.c.is_last).where(_BEGUN.c.job == job, _BEGUN.c.step == step)
        with transaction(self._engine) as connection:
            return bool(connection.scalar(wanted))

    def keep_state(self, job: str, step: str, number: int, sealed: bytes, *, oldest: int) -> None:
        """Keep what a step under way goes on from, and drop what is numbered below ``oldest``."""
        values = {"job": job, "step": step, "number": number, "sealed": sealed}
        mine = (_STATES.c.job == job, _STATES.c.step == step)
        with transaction(self._engine) as connection:
            keep(connection, _STATES, values, replace=True)
            connection.execute(delete(_STATES).where(*mine, _STATES.c.number < oldest))

    def states(self, job: str, step: str) -> dict[int, bytes]:
        """What a step under way has kept, by number."""
        wanted = select(_STATES.c.number, _STATES.c.sealed).where(
            _STATES.c.job == job, _STATES.c.step == step
        )
        with transaction(self._engine) as connection:
            return {number: bytes(sealed) for number, sealed in connection.execute(wanted)}

    def drop_states(self, job: str, step: str | None = None, *, after: int = 0) -> None:
        """Drop what a step of a job, or all its steps, have kept under way under higher numbers."""
        dropped = delete(_STATES).where(_STATES.c.job == job, _STATES.c.number > after)
        if step is not None:
            dropped = dropped.where(_STATES.c.step == step)
        with transaction(self._engine) as connection:
            connection.execute(dropped)

    def jobs_with_states(self) -> list[str]:
        """The jobs of which a step under way has kept something."""
        with transaction(self._engine) as connection:
            return list(connection.scalars(select(_STATES.c.job).distinct().order_by(_STATES.c.job)))

    def keep_checkpoint(self, job: str, step: str, sealed: bytes) -> None:
        """Keep a finished step; the first outcome stays, because its receipt may be signed already."""
        values = {"job": job, "step": step, "sealed": sealed, "stored": self._clock()}
        with transaction(self._engine) as connection:
            keep(connection, _CHECKPOINTS, values, replace=False)

    def checkpoint(self, job: str, step: str) -> bytes | None:
        """A finished step as it was kept."""
        table = _CHECKPOINTS.c
        wanted = select(table.sealed).where(table.job == job, table.step == step)
        with transaction(self._engine) as connection:
            found = connection.scalar(wanted)
        return None if found is None else bytes(found)
