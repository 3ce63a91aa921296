"""The compiled plan of a whole job: the plans of its steps in order, each on what the steps before it made.

A relation that a step hands on is named as the step; what it makes for itself starts with ``step.``. A
component must state a plan, and the plan must read every column that the step is given; otherwise the job is
refused, because column control would be checked on less than what runs.
"""

from __future__ import annotations

from collections.abc import Iterator

from exchange.errors import InvalidRequest
from exchange.jobs.registry import Registry
from exchange.jobs.spec import JobSpec, Step
from policies import plans
from policies.column_control import ColumnUse
from policies.errors import InvalidPlan
from policies.plans import Plan, Reveal, Source

__all__ = ["column_uses", "compile_job", "steps_on"]


def compile_job(spec: JobSpec, registry: Registry) -> Plan:
    """Compile every step of a job into one plan.

    Raises:
        InvalidRequest: a component has no plan, or its plan leaves a column of its input out.
    """
    return tuple(operator for step in spec.steps for operator in _step_plan(step, registry))


def column_uses(spec: JobSpec, registry: Registry) -> tuple[ColumnUse, ...]:
    """Derive who comes to see what of which column when a job runs.

    Raises:
        InvalidRequest: as ``compile_job``, or the plans do not fit together.
    """
    try:
        return plans.uses(compile_job(spec, registry))
    except InvalidPlan as exc:
        raise InvalidRequest(f"plan.{exc.at}", exc.expected, exc.actual) from exc


def steps_on(asset: str, spec: JobSpec, registry: Registry) -> tuple[Step, ...]:
    """The steps in which anything is computed from an asset, its rows included.

    Raises:
        InvalidRequest: as ``column_uses``.
    """
    try:
        found = plans.assets_of(compile_job(spec, registry))
    except InvalidPlan as exc:
        raise InvalidRequest(f"plan.{exc.at}", exc.expected, exc.actual) from exc
    return tuple(
        step for step in spec.steps if any(asset in found[name] for name in _relations(step, registry))
    )


def _relations(step: Step, registry: Registry) -> Iterator[str]:
    for operator in _step_plan(step, registry):
        yield operator.of if isinstance(operator, Reveal) else operator.id


def _step_plan(step: Step, registry: Registry) -> Plan:
    at = f"steps.{step.id}"
    component = registry.get(step.component, f"{at}.component")
    if component.plan is None:
        raise InvalidRequest(f"{at}.component", "a component that states its plan", step.component)
    plan = component.plan(step)
    read = {
        (operator.asset, operator.owner, column)
        for operator in plan
        if isinstance(operator, Source)
        for column in operator.columns
    }
    for role, given in step.inputs.items():
        for column in given.columns:
            if (given.asset, step.parties[role], column.name) not in read:
                raise InvalidRequest(f"{at}.inputs.{role}", "columns that the plan reads", column.name)
    return plan
