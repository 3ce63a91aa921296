"""What a job is expected to cost, from the protocols' formulas and what their steps took at this node.

The formulas give bytes, rounds and work. Work becomes time by a factor: until a component has run here it is
measured on a few group operations; from then on it is what the component's last steps took against their
formula. The same goes for bytes where a formula has to assume a size. Figures are whole numbers.
"""

from __future__ import annotations

import functools
import secrets
import statistics
import time
from collections.abc import Mapping
from typing import Any, Final

from exchange.jobs.estimates import Estimate
from exchange.jobs.registry import Registry
from exchange.jobs.spec import JobSpec, Step
from exchange.store import Measurement, StepCostRepository
from ledger.state import State
from mpc import ristretto255
from mpc.randomness import SystemRandomness

__all__ = ["Costs"]

_LAST: Final = 20
_SAMPLE: Final = 64
_FIXED_NS: Final = 100_000_000
"""Connections, the fingerprint of the input and the receipt, whatever the size."""
_REFERENCE_NS: Final = 61_000
"""One multiplication in the group on the machine on which the protocols state their cost."""


class Costs:
    """Estimates for the card, and measurements of own steps."""

    def __init__(self, repository: StepCostRepository, registry: Registry) -> None:
        self._repository, self._registry = repository, registry

    def estimates(self, spec: JobSpec, state: State) -> list[dict[str, Any]]:
        """What each role of each step is expected to cost; nothing for a step without a formula."""
        return [
            {"step": step.id, "role": role, "party": step.parties[role]}
            | self._expected(step.component, role, found)
            for step in spec.steps
            for role, found in self._formulas(spec, step, state).items()
        ]

    def measured(
        self, spec: JobSpec, step: Step, role: str, receipt: Mapping[str, Any], state: State
    ) -> None:
        """Keep what an own step took, next to what was expected of it."""
        formula = self._formulas(spec, step, state).get(role)
        if formula is None:
            return
        work = formula.work_ns + _FIXED_NS
        actual = {
            "milliseconds": int(receipt["duration_ms"]),
            "sent_bytes": int(receipt["bytes_sent"]),
            "received_bytes": int(receipt["bytes_received"]),
        }
        expected = self._expected(step.component, role, formula)
        figures = {name: expected[name] for name in actual}
        figures |= {
            "formula_sent_bytes": formula.sent_bytes,
            "formula_received_bytes": formula.received_bytes,
        }
        self._repository.add(Measurement(spec.job, step.id, step.component, role, work, figures, actual))

    def compared(self, job: str) -> list[dict[str, Any]]:
        """What was expected of a job's own steps, and what they took."""
        return [
            {
                "step": one.step,
                "role": one.role,
                "expected": {name: one.expected[name] for name in one.actual},
                "actual": dict(one.actual),
            }
            for one in self._repository.of_job(job)
        ]

    def _formulas(self, spec: JobSpec, step: Step, state: State) -> Mapping[str, Estimate]:
        before = [spec.step(name) for name in step.after]
        return self._registry.get(step.component).expected(step, before, self._rows(spec, step, state))

    def _rows(self, spec: JobSpec, step: Step, state: State) -> dict[str, int]:
        """The rows that each role reads: those of its asset, or those that the steps before leave."""
        left = min((self._left(spec, name, state) for name in step.after), default=None)
        if left is not None and self._registry.get(step.component).takes_rows:
            return dict.fromkeys(step.inputs, left)
        found = {}
        for role, given in step.inputs.items():
            rows = int((state.get("assets", given.asset) or {}).get("rows", 0))
            found[role] = rows if left is None else min(rows, left)
        return found

    def _left(self, spec: JobSpec, name: str, state: State) -> int:
        step = spec.step(name)
        return self._registry.get(step.component).leaves(step, self._rows(spec, step, state))

    def _expected(self, component: str, role: str, formula: Estimate) -> dict[str, Any]:
        known = [one for one in self._repository.of_component(component, _LAST) if one.work_ns > 0]
        factor = _median([one.actual["milliseconds"] * 1_000_000 / one.work_ns for one in known])
        mine, work = [one for one in known if one.role == role], formula.work_ns + _FIXED_NS
        sent, received = (_bytes_factor(mine, name) for name in ("sent_bytes", "received_bytes"))
        return {
            "milliseconds": int(work * (_machine_factor() if factor is None else factor) / 1e6),
            "sent_bytes": int(formula.sent_bytes * sent),
            "received_bytes": int(formula.received_bytes * received),
            "rounds": formula.rounds,
            "memory_bytes": formula.memory_bytes,
            "assumes": formula.assumes,
            "measurements": len(known),
        }


def _median(values: list[float]) -> float | None:
    return statistics.median(values) if values else None


def _bytes_factor(known: list[Measurement], name: str) -> float:
    ratios = [
        one.actual[name] / one.expected[f"formula_{name}"] for one in known if one.expected[f"formula_{name}"]
    ]
    return 1.0 if not ratios else statistics.median(ratios)


@functools.cache
def _machine_factor() -> float:
    """How long a multiplication takes here, against the reference; measured once, for a few milliseconds."""
    points = ristretto255.hash_to_group([secrets.token_bytes(16) for _ in range(_SAMPLE)], bytes(32))
    key = ristretto255.random_scalar(SystemRandomness())
    started = time.perf_counter_ns()
    ristretto255.multiply(key, points)
    return (time.perf_counter_ns() - started) / (_SAMPLE * _REFERENCE_NS)
