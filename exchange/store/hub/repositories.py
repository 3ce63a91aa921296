"""The hub's repositories."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import Engine, delete, select

from exchange.store.engine import keep, transaction
from exchange.store.hub.models import HubBase, ProgressRow, ResultRow, SpecRow

__all__ = [
    "HubStore",
    "Progress",
    "ProgressRepository",
    "Result",
    "ResultRepository",
    "Spec",
    "SpecRepository",
]

_SPECS = HubBase.metadata.tables[SpecRow.__tablename__]
_RESULTS = HubBase.metadata.tables[ResultRow.__tablename__]
_PROGRESS = HubBase.metadata.tables[ProgressRow.__tablename__]

Clock = Callable[[], datetime]


@dataclass(frozen=True)
class Spec:
    """A job's specification as it was handed in."""

    job: str
    content: bytes
    stored: datetime


@dataclass(frozen=True)
class Result:
    """What one party released in one step for one recipient, sealed."""

    job: str
    step: str
    sender: str
    recipient: str
    sealed: bytes
    stored: datetime


@dataclass(frozen=True)
class Progress:
    """How far a party says it is with a step."""

    job: str
    step: str
    party: str
    done: int
    total: int
    updated: datetime
    left_s: int | None


class SpecRepository:
    """Specifications by job; the first one stays."""

    def __init__(self, engine: Engine, clock: Clock) -> None:
        self._engine, self._clock = engine, clock

    def add(self, job: str, content: bytes) -> None:
        """Keep a specification. One that is there already is left as it is."""
        with transaction(self._engine) as connection:
            keep(connection, _SPECS, {"job": job, "spec": content, "stored": self._clock()}, replace=False)

    def get(self, job: str) -> Spec | None:
        """Read a job's specification."""
        with transaction(self._engine) as connection:
            row = connection.execute(select(_SPECS).where(_SPECS.c.job == job)).one_or_none()
        return None if row is None else Spec(*row)

    def all(self) -> Iterator[Spec]:
        """Every specification, one at a time."""
        with transaction(self._engine) as connection:
            jobs = connection.scalars(select(_SPECS.c.job).order_by(_SPECS.c.job)).all()
        for job in jobs:
            spec = self.get(job)
            if spec is not None:
                yield spec


class ResultRepository:
    """Sealed results by job, step, sender and recipient."""

    def __init__(self, engine: Engine, clock: Clock) -> None:
        self._engine, self._clock = engine, clock

    def put(self, job: str, step: str, sender: str, recipient: str, sealed: bytes) -> None:
        """Keep a sealed result in place of an earlier one; a sender seals anew after a restart."""
        values = {"job": job, "step": step, "sender": sender, "recipient": recipient}
        with transaction(self._engine) as connection:
            keep(connection, _RESULTS, {**values, "sealed": sealed, "stored": self._clock()}, replace=True)

    def get(self, job: str, step: str, sender: str, recipient: str) -> Result | None:
        """Read a sealed result."""
        table = _RESULTS.c
        wanted = select(_RESULTS).where(
            table.job == job, table.step == step, table.sender == sender, table.recipient == recipient
        )
        with transaction(self._engine) as connection:
            row = connection.execute(wanted).one_or_none()
        return None if row is None else Result(*row)

    def all(self) -> Iterator[Result]:
        """Every sealed result, one at a time: each may be large."""
        table = _RESULTS.c
        columns = (table.job, table.step, table.sender, table.recipient)
        with transaction(self._engine) as connection:
            keys = connection.execute(select(*columns).order_by(*columns)).all()
        for job, step, sender, recipient in keys:
            result = self.get(job, step, sender, recipient)
            if result is not None:
                yield result


class ProgressRepository:
    """The last word of each party on each step."""

    def __init__(self, engine: Engine, clock: Clock) -> None:
        self._engine, self._clock = engine, clock

    def tell(self, job: str, step: str, party: str, done: int, total: int, left_s: int | None = None) -> None:
        """Keep what a party says, in place of what it said before."""
        values = {"job": job, "step": step, "party": party, "done": done, "total": total, "left_s": left_s}
        with transaction(self._engine) as connection:
            keep(connection, _PROGRESS, {**values, "updated": self._clock()}, replace=True)

    def of(self, job: str) -> list[Progress]:
        """What the parties of a job say, by step and party."""
        wanted = select(_PROGRESS).where(_PROGRESS.c.job == job).order_by(_PROGRESS.c.step, _PROGRESS.c.party)
        with transaction(self._engine) as connection:
            return [Progress(*row) for row in connection.execute(wanted)]

    def all(self) -> list[Progress]:
        """What is said of any job."""
        with transaction(self._engine) as connection:
            return [Progress(*row) for row in connection.execute(select(_PROGRESS))]


class HubStore:
    """The hub's repositories over one database whose schema is up to date."""

    def __init__(self, engine: Engine, clock: Clock) -> None:
        self._engine = engine
        self.specs = SpecRepository(engine, clock)
        self.results = ResultRepository(engine, clock)
        self.progress = ProgressRepository(engine, clock)

    def keep_only(self, jobs: Collection[str]) -> None:
        """Drop what is kept for any other job: those that a log which ended took with it."""
        known = {spec.job for spec in self.specs.all()} | {result.job for result in self.results.all()}
        known |= {told.job for told in self.progress.all()}
        with transaction(self._engine) as connection:
            for job in sorted(known.difference(jobs)):
                for table in (_SPECS, _RESULTS, _PROGRESS):
                    connection.execute(delete(table).where(table.c.job == job))
