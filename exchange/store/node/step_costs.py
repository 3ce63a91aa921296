"""What steps that ran here were expected to cost, and what they did cost. Sizes and times, no data."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import Engine, select

from exchange.store.engine import keep, transaction
from exchange.store.node.approval_models import MeasurementRow
from exchange.store.node.models import NodeBase

__all__ = ["Measurement", "StepCostRepository"]

_TABLE = NodeBase.metadata.tables[MeasurementRow.__tablename__]


@dataclass(frozen=True)
class Measurement:
    """One step at this node: its work by the formula, what was expected of it and what it took."""

    job: str
    step: str
    component: str
    role: str
    work_ns: int
    expected: Mapping[str, int]
    actual: Mapping[str, int]


class StepCostRepository:
    """Measurements by job and step."""

    def __init__(self, engine: Engine, clock: Callable[[], datetime]) -> None:
        self._engine, self._clock = engine, clock

    def add(self, one: Measurement) -> None:
        """Keep a measurement; the first one of a step stays."""
        values = {
            "job": one.job,
            "step": one.step,
            "component": one.component,
            "role": one.role,
            "work": one.work_ns,
            "expected": dict(one.expected),
            "actual": dict(one.actual),
            "measured": self._clock(),
        }
        with transaction(self._engine) as connection:
            keep(connection, _TABLE, values, replace=False)

    def of_component(self, component: str, limit: int) -> list[Measurement]:
        """The latest measurements of a component, the newest first."""
        wanted = select(_TABLE).where(_TABLE.c.component == component)
        return self._found(wanted.order_by(_TABLE.c.measured.desc(), _TABLE.c.job.desc()).limit(limit))

    def of_job(self, job: str) -> list[Measurement]:
        """What was measured of a job."""
        return self._found(select(_TABLE).where(_TABLE.c.job == job).order_by(_TABLE.c.step))

    def _found(self, wanted: object) -> list[Measurement]:
        with transaction(self._engine) as connection:
            rows = connection.execute(wanted).all()  # type: ignore[call-overload]  # a select, built above
        return [
            Measurement(row.job, row.step, row.component, row.role, row.work, row.expected, row.actual)
            for row in rows
        ]
