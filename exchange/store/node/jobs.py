"""This party's side of its jobs: what it decided on, how far it is, and its finished steps."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import datetime

from sqlalchemy import Engine, select, update

from exchange.errors import ExchangeError
from exchange.store.engine import keep, transaction
from exchange.store.node.models import CheckpointRow, JobRow, NodeBase

__all__ = ["JobRepository", "LocalJob", "StaleJob"]

_JOBS = NodeBase.metadata.tables[JobRow.__tablename__]
_CHECKPOINTS = NodeBase.metadata.tables[CheckpointRow.__tablename__]

_RECEIVED = "RECEIVED"


class StaleJob(ExchangeError):
    """Another thread or process moved the job first. Read it again and decide anew."""

    code = "store.stale-job"
    blame = "nobody"
    retryable = True


@dataclass(frozen=True)
class LocalJob:
    """How far this party is with a job.

    Attributes:
        job: the id on the ledger.
        state: a word of the job's state machine; ``RECEIVED`` at first.
        decision: what this party decided and why, in one line; empty before.
        attempt: from 1.
        version: counts the changes; ``JobRepository.replace`` compares it.
    """

    job: str
    state: str
    decision: str
    attempt: int
    version: int


class JobRepository:
    """Jobs and their finished steps, by job id."""

    def __init__(self, engine: Engine, clock: Callable[[], datetime]) -> None:
        self._engine, self._clock = engine, clock

    def keep_spec(self, job: str, spec: bytes) -> None:
        """Keep the specification this party submits or decided on; the first one stays."""
        values = {
            "job": job,
            "spec": spec,
            "state": _RECEIVED,
            "decision": "",
            "attempt": 1,
            "version": 1,
            "updated": self._clock(),
        }
        with transaction(self._engine) as connection:
            keep(connection, _JOBS, values, replace=False)

    def spec(self, job: str) -> bytes | None:
        """The specification that was kept."""
        with transaction(self._engine) as connection:
            found = connection.scalar(select(_JOBS.c.spec).where(_JOBS.c.job == job))
        return None if found is None else bytes(found)

    def get(self, job: str) -> LocalJob | None:
        """How far this party is."""
        columns = (_JOBS.c.job, _JOBS.c.state, _JOBS.c.decision, _JOBS.c.attempt, _JOBS.c.version)
        with transaction(self._engine) as connection:
            row = connection.execute(select(*columns).where(_JOBS.c.job == job)).one_or_none()
        return None if row is None else LocalJob(*row)

    def replace(self, changed: LocalJob) -> LocalJob:
        """Put ``changed`` in place of the version it was made from; return it as it now stands.

        Raises:
            StaleJob: the job is not at that version any more; nothing is changed.
        """
        after = replace(changed, version=changed.version + 1)
        at_version = (_JOBS.c.job == changed.job) & (_JOBS.c.version == changed.version)
        values = {
            "state": after.state,
            "decision": after.decision,
            "attempt": after.attempt,
            "version": after.version,
            "updated": self._clock(),
        }
        with transaction(self._engine) as connection:
            if connection.execute(update(_JOBS).where(at_version).values(**values)).rowcount != 1:
                raise StaleJob(f"job {changed.job}: expected version {changed.version}, got another one")
        return after

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
