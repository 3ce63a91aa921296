"""This party's side of its jobs: the specification it decided on, and its finished steps.

How far a job is stands on the ledger and nowhere else.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime

from sqlalchemy import Engine, select

from exchange.store.engine import keep, transaction
from exchange.store.node.models import BegunRow, CheckpointRow, JobRow, NodeBase

__all__ = ["JobRepository"]

_JOBS = NodeBase.metadata.tables[JobRow.__tablename__]
_BEGUN = NodeBase.metadata.tables[BegunRow.__tablename__]
_CHECKPOINTS = NodeBase.metadata.tables[CheckpointRow.__tablename__]


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
