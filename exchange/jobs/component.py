"""What a component declares, what it is given and what it returns.

A descriptor is a claim: its protocol says adversary, leakage, cost and source, and approval pages, documents
and checks are made from it. A component sees its own columns, its channels and earlier outcomes at its own
node; it never sees the network, the ledger or a key.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Protocol, cast

import pyarrow as pa

from exchange.errors import InvalidRequest
from exchange.jobs.spec import JobSpec, Step
from mpc.channel import Channel
from mpc.randomness import Randomness
from mpc.spec import ProtocolSpec
from policies.column_control import Level

__all__ = ["Component", "Outcome", "Param", "RoleInput", "StepContext", "whole_number"]


@dataclass(frozen=True)
class RoleInput:
    """What a role reads: how many columns, of which catalog roles, and how much the step reveals of them."""

    minimum: int
    maximum: int
    column_roles: frozenset[str]
    level: Level


@dataclass(frozen=True)
class Param:
    """One parameter: its meaning and the check that refuses any other value by name."""

    summary: str
    check: Callable[[object, str], None]


@dataclass(frozen=True)
class StepContext:
    """Everything a component may use while it plays one role of one step.

    Args:
        step: the step as approved.
        role: the role played here.
        minimum_cohort: the largest minimum among the agreement and the step; no smaller group may leave.
        read: yields one column of this role's input, in source order, as record batches.
        channel: opens the channel to the party that plays a role of this step.
        earlier: own outcomes of the steps in ``after``, by step id.
        released: opened releases addressed to this node of the steps in ``after``: step id to role to bytes.
        rng: where secret randomness comes from.
        progress: tells how far the step is, as (done, total).
    """

    step: Step
    role: str
    minimum_cohort: int
    read: Callable[[str], Iterator[pa.RecordBatch]]
    channel: Callable[[str], Channel]
    earlier: Mapping[str, bytes]
    released: Mapping[str, Mapping[str, bytes]]
    rng: Randomness
    progress: Callable[[int, int], None]

    def number(self, name: str) -> int:
        """An integer parameter that the component's declaration has checked."""
        return cast(int, self.step.params[name])


@dataclass(frozen=True)
class Outcome:
    """What one party holds after a step.

    Args:
        local: stays at this node, encrypted, for later steps.
        release: goes to the step's recipients, sealed to each; ``None`` where the role releases nothing.
        cohort: people behind the smallest released figure; the node compares it with the agreed minimum.
        files: named files for the person who asked, from a reader's step.
    """

    local: bytes
    release: bytes | None = None
    cohort: int = 0
    files: Mapping[str, bytes] = field(default_factory=dict)


class Run(Protocol):
    """Play ``context.role`` of the step. MUST release nothing of its own accord and MUST raise to abort."""

    def __call__(self, context: StepContext) -> Outcome: ...


@dataclass(frozen=True, kw_only=True)
class Component:
    """One thing a step can do, with its security claim."""

    name: str
    version: int
    summary: str
    roles: Mapping[str, RoleInput | None]
    params: Mapping[str, Param]
    output_type: str
    needs: frozenset[str]
    protocol: ProtocolSpec | None
    run: Run

    def as_json(self) -> dict[str, object]:
        """The declaration as approvers and forms read it."""
        claim = self.protocol
        return {
            "name": self.name,
            "version": self.version,
            "summary": self.summary,
            "roles": {
                role: None
                if taken is None
                else {
                    "columns": [taken.minimum, taken.maximum],
                    "column_roles": sorted(taken.column_roles),
                    "column_control": taken.level.value,
                }
                for role, taken in self.roles.items()
            },
            "params": {name: param.summary for name, param in self.params.items()},
            "output_type": self.output_type,
            "after": sorted(self.needs),
            "security": None
            if claim is None
            else {
                "adversary": claim.adversary.value,
                "corruptions": claim.corruptions,
                "leaks": {role: list(facts) for role, facts in claim.leaks.items()},
                "cost": claim.cost,
                "source": claim.source,
            },
        }

    def check(self, spec: JobSpec, step: Step) -> None:
        """Check a step against this declaration.

        Raises:
            InvalidRequest: a role, input, parameter or predecessor differs from what is declared.
        """
        at = f"steps.{step.id}"
        if step.version != self.version:
            raise InvalidRequest(f"{at}.version", f"{self.version} for {self.name}", str(step.version))
        if set(step.parties) != set(self.roles):
            raise InvalidRequest(f"{at}.parties", _listed(self.roles), _listed(step.parties))
        if len(set(step.parties.values())) != len(step.parties):
            raise InvalidRequest(f"{at}.parties", "a different participant for each role", "the same twice")
        for role, expected in self.roles.items():
            given = step.inputs.get(role)
            if expected is None:
                if given is not None:
                    raise InvalidRequest(f"{at}.inputs.{role}", "no input for this role", given.asset)
            elif given is None:
                raise InvalidRequest(f"{at}.inputs.{role}", "an asset and its columns", "nothing")
            elif not expected.minimum <= len(given.columns) <= expected.maximum:
                count = f"{expected.minimum} to {expected.maximum} columns"
                raise InvalidRequest(f"{at}.inputs.{role}.columns", count, str(len(given.columns)))
        for name in step.params:
            if name not in self.params:
                raise InvalidRequest(
                    f"{at}.params.{name}", f"one of {_listed(self.params)}", "an unknown parameter"
                )
        for name, param in self.params.items():
            if name not in step.params:
                raise InvalidRequest(f"{at}.params.{name}", param.summary, "nothing")
            param.check(step.params[name], f"{at}.params.{name}")
        before = {spec.step(name).component for name in step.after}
        if (self.needs and not before) or not before <= self.needs:
            raise InvalidRequest(
                f"{at}.after", f"a step of {_listed(self.needs) or 'nothing'}", _listed(before) or "none"
            )


def whole_number(minimum: int, maximum: int) -> Callable[[object, str], None]:
    """A check for an integer in a closed range."""

    def check(value: object, at: str) -> None:
        if not isinstance(value, int) or isinstance(value, bool) or not minimum <= value <= maximum:
            raise InvalidRequest(at, f"an integer from {minimum} to {maximum}", repr(value)[:40])

    return check


def _listed(names: object) -> str:
    return ", ".join(sorted(names)) if isinstance(names, Mapping | set | frozenset) else str(names)
