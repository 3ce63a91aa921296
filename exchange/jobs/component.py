"""What a component declares, what it is given and what it returns.

A descriptor is a claim: its protocol says adversary, leakage, cost and source, and approval pages, documents
and checks are made from it. A component sees its own columns, its channels and earlier outcomes at its own
node; it never sees the network, the ledger or a key.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol, cast

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from exchange.errors import InvalidRequest, JobFailed
from exchange.jobs.disclosure import OutputRules
from exchange.jobs.engines import OWN, Engine
from exchange.jobs.estimates import Estimate, Estimator, FollowingEstimator
from exchange.jobs.kept import Kept
from exchange.jobs.results import OpenResult
from exchange.jobs.spec import JobSpec, Step
from federated.checkpoints import Checkpoints
from mpc.channel import Channel
from mpc.mesh import Mesh
from mpc.randomness import Randomness
from mpc.spec import ProtocolSpec
from policies import plans
from policies.column_control import ColumnUse, Level
from policies.plans import Plan, Source

__all__ = [
    "Absences",
    "Aligned",
    "Component",
    "HandOver",
    "Outcome",
    "Param",
    "RoleInput",
    "StepContext",
    "one_of",
    "source",
    "text_like",
    "whole_number",
]


@dataclass(frozen=True)
class RoleInput:
    """What a role reads: how many columns, of which catalog roles, and how much the step reveals of them."""

    minimum: int
    maximum: int
    column_roles: frozenset[str]
    level: Level


@dataclass(frozen=True)
class Param:
    """One parameter: its meaning, the check that refuses another value by name, and if it may be left out."""

    summary: str
    check: Callable[[object, str], None]
    optional: bool = False


@dataclass(frozen=True)
class Aligned:
    """At which roles a step leaves aligned rows for later steps.

    Args:
        roles: those that hold a row of their own for every entry.
        decided_by: the parameter that leaves others out; empty where none does.
        expected: its value with which every role has aligned rows.
    """

    roles: frozenset[str]
    decided_by: str = ""
    expected: str = ""


@dataclass(frozen=True)
class Absences:
    """Parties of a repeated role that a step can do without; the parameter says how many must stay."""

    role: str
    threshold: str


@dataclass(frozen=True)
class HandOver:
    """What a component that delivers, receives or runs an engine may use besides.

    Args:
        rows: yields several columns of this role's input together, in source order.
        folder: a private folder of this step at this node, kept when the node restarts.
        mark_key: secret of this node for the marks of this job; the same when the step is played again.
        pieces: yields the pieces of the envelope that a role of an earlier step prepared, from a number on;
            over as many connections as it takes.
        spool: where engines make their private folders, on a disk of this node.
        kept: what this component keeps from one job to the next.
    """

    rows: Callable[[Sequence[str]], Iterator[pa.RecordBatch]]
    folder: Path
    mark_key: bytes = field(repr=False)
    pieces: Callable[[str, str, int], Iterator[bytes]]
    spool: Path
    kept: Kept


def _no_channel(role: str) -> Channel:
    raise JobFailed(f"expected a channel to {role}, there is none")


@dataclass(frozen=True)
class StepContext:
    """Everything a component may use while it plays one role of one step.

    Args:
        step: the step as approved.
        role: the role played here.
        ranks: the roles of the step in the order of the protocol; a party's rank is its place here.
        session: identifier of this run of the step, equal at all its parties, never used before.
        minimum_cohort: the largest minimum among the agreement and the step; no smaller group may leave.
        read: yields one column of this role's input, in source order, as record batches.
        channel: opens the channel to the party that plays a role of this step.
        on_loss: tells people at this node the loss of training so far, where this role learns it.
        first_session: ``session`` of the first attempt at the step; empty where this is the first.
        checkpoints: where a component that ``resumes`` keeps what a later attempt goes on from.
        late_channel: the same, opened when it is first used; a party that cannot be reached breaks it then.
        before: the steps in ``after``, by id.
        earlier: own outcomes of the steps in ``after``, by step id.
        released: opened releases of the steps in ``after`` that go to this node: step id to role to bytes.
        rng: where secret randomness comes from.
        progress: tells how far the step is, as (done, total).
        rules: the output checks that this owner sets for the input of this role.
        hand_over: for components that deliver, receive or run an engine.
    """

    step: Step
    role: str
    ranks: tuple[str, ...]
    session: bytes = field(repr=False)
    minimum_cohort: int
    read: Callable[[str], Iterator[pa.RecordBatch]]
    channel: Callable[[str], Channel]
    before: Mapping[str, Step]
    earlier: Mapping[str, bytes]
    released: Mapping[str, Mapping[str, bytes]]
    rng: Randomness
    progress: Callable[[int, int], None]
    hand_over: HandOver
    rules: OutputRules = OutputRules.NONE
    late_channel: Callable[[str], Channel] = _no_channel
    on_loss: Callable[[float], None] = lambda loss: None
    first_session: bytes = field(default=b"", repr=False)
    checkpoints: Checkpoints = field(default_factory=Checkpoints)

    @property
    def seed(self) -> bytes:
        """For public draws: equal at all parties of the step and in all attempts at it."""
        return self.first_session or self.session

    def number(self, name: str) -> int:
        """An integer parameter that the component's declaration has checked."""
        return cast(int, self.step.params[name])

    def mesh(self) -> Mesh:
        """This party's place among all roles of the step, with a channel to each other."""
        others = {rank: self.channel(role) for rank, role in enumerate(self.ranks) if role != self.role}
        return Mesh(self.ranks.index(self.role), self.session, others)


@dataclass(frozen=True)
class Outcome:
    """What one party holds after a step.

    Args:
        local: stays at this node, encrypted, for later steps.
        release: goes to the step's recipients, sealed to each; ``None`` where the role releases nothing.
        cohort: people behind the smallest released figure; the node compares it with the agreed minimum.
        files: named files for the person who asked, from a reader's step.
        figures: how many groups of people the release has figures about.
        rows: numbers of this party's rows that the release is about; the node remembers whose they are, to
            compare later releases. None where the role reads nothing.
        groups: the released group of each of ``rows``, or ``cohorts.LEFT_OUT``.
        is_exact: the figures carry no noise.
        absent: the roles that were absent, where the step survives that.
    """

    local: bytes
    release: bytes | None = None
    cohort: int = 0
    files: Mapping[str, bytes] = field(default_factory=dict)
    figures: int = 0
    rows: NDArray[np.int64] | None = None
    groups: NDArray[np.int64] | None = None
    is_exact: bool = True
    absent: tuple[str, ...] = ()


class Run(Protocol):
    """Play ``context.role`` of the step. MUST release nothing of its own accord and MUST raise to abort."""

    def __call__(self, context: StepContext) -> Outcome: ...


@dataclass(frozen=True, kw_only=True)
class Component:
    """One thing a step can do, with its security claim.

    ``plan`` compiles a step to what it computes from which columns and shows to whom; a step of a component
    without one is refused. A delivery component has a folder of its own at the node.

    A role in ``repeated`` stands for as many parties as a step names: ``party`` for ``party-1``, ``party-2``
    and so on, from the least to the most stated there.
    """

    name: str
    version: int
    summary: str
    roles: Mapping[str, RoleInput | None]
    params: Mapping[str, Param]
    output_type: str
    needs: frozenset[str]
    protocol: ProtocolSpec | None
    run: Run
    plan: Callable[[Step], Plan] | None = None
    spends: Callable[[Step], tuple[int, ...] | None] = lambda step: None
    """The privacy loss of a step's releases at the ledger's orders, in millionths; None: they are exact."""
    check_step: Callable[[Step], None] = lambda step: None
    """What the declaration cannot say of one parameter alone; raises ``InvalidRequest``."""
    check_follows: Callable[[Step, Step], None] = lambda step, before: None
    """What the declaration cannot say of a step and one in its ``after``; raises ``InvalidRequest``."""
    is_delivery: bool = False
    estimate: Estimator | None = None
    """What each role is expected to spend, from the rows of the inputs; None: there is no formula."""
    estimate_after: FollowingEstimator | None = None
    """The same where it depends on what the steps before are; None: it does not."""
    leaves: Callable[[Step, Mapping[str, int]], int] = lambda step, rows: min(rows.values(), default=2**31)
    """How many rows an estimate takes a step to leave to later ones, from the rows of its inputs."""
    repeated: Mapping[str, tuple[int, int]] = field(default_factory=dict)
    helpers: frozenset[str] = frozenset()
    """Roles without input that any member may play, not the submitter alone."""
    releasing: frozenset[str] | None = None
    """The roles that release something; None: all."""
    engine: Engine = OWN
    lacks: Callable[[Step], str | None] = lambda step: None
    """What this node lacks for a step besides the engine, by name; None: nothing."""
    aligns: Callable[[Step], Aligned] | None = None
    """At which roles a step leaves aligned rows; None: at none."""
    tells_parties: bool = False
    """Its parties learn figures about one another's rows, also where a step has no recipients."""
    takes_rows: bool = False
    """Every role with an input reads it at the rows that the step before has aligned."""
    resumes: bool = False
    """An attempt that a lost party cut off is followed by another, from the last checkpoint that all hold."""
    absences: Absences | None = None
    """Which parties may be absent; None: all must stay."""
    open_result: OpenResult | None = None
    """Puts the releases of a step's roles together to what a person reads; None: another component does."""

    def declared(self, role: str) -> str:
        """The declared role that a step's role stands for: ``party`` for ``party-2``."""
        family, _, number = role.rpartition("-")
        return family if family in self.repeated and number.isdecimal() else role

    def ranks(self, step: Step) -> tuple[str, ...]:
        """The roles of a step in the order of the protocol, those of one family by number."""
        ranked = self.protocol.roles if self.protocol is not None else ()
        order = (*ranked, *(role for role in self.roles if role not in ranked))
        return tuple(
            role
            for declared in order
            for role in (self._family(declared, step) if declared in self.repeated else (declared,))
        )

    def releasing_in(self, step: Step) -> tuple[str, ...]:
        """The roles of a step that release something."""
        stated = self.releasing
        return tuple(role for role in self.ranks(step) if stated is None or self.declared(role) in stated)

    def survives(self, step: Step) -> dict[str, Any] | None:
        """Who may be absent from a step and how many of them must stay, as its submission states it."""
        if self.absences is None:
            return None
        may = sorted(step.parties[role] for role in self._family(self.absences.role, step))
        return {"parties": may, "threshold": step.params[self.absences.threshold]}

    def _family(self, declared: str, step: Step) -> tuple[str, ...]:
        """The roles of a step that stand for a repeated one, by number."""
        count = sum(self.declared(role) == declared for role in step.parties)
        return tuple(f"{declared}-{number}" for number in range(1, count + 1))

    def expected(self, step: Step, before: Sequence[Step], rows: Mapping[str, int]) -> Mapping[str, Estimate]:
        """What each role of a step is expected to spend; nothing where there is no formula.

        Args:
            step: of this component.
            before: the steps in its ``after``.
            rows: of each role's input, at most.
        """
        if self.estimate_after is not None and before:
            return self.estimate_after(step, before, rows)
        return {} if self.estimate is None else self.estimate(step, rows)

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
            "repeated": {role: list(counts) for role, counts in self.repeated.items()},
            "engine": self.engine.name,
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

    def uses(self, step: Step) -> tuple[ColumnUse, ...]:
        """Who comes to see what of which column in ``step``; none where this component states no plan.

        What the steps before it have shown already is theirs; ``exchange.jobs.plans`` derives it for a job.
        """
        return () if self.plan is None else plans.uses(self.plan(step), step.after)

    def check(self, spec: JobSpec, step: Step) -> None:
        """Check a step against this declaration.

        Raises:
            InvalidRequest: a role, input, parameter or predecessor differs from what is declared.
        """
        at = f"steps.{step.id}"
        if step.version != self.version:
            raise InvalidRequest(f"{at}.version", f"{self.version} for {self.name}", str(step.version))
        self._check_parties(step, at)
        for role in step.parties:
            expected, given = self.roles[self.declared(role)], step.inputs.get(role)
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
            if name in step.params:
                param.check(step.params[name], f"{at}.params.{name}")
            elif not param.optional:
                raise InvalidRequest(f"{at}.params.{name}", param.summary, "nothing")
        self.check_step(step)
        self._check_after(spec, step, at)

    def _check_parties(self, step: Step, at: str) -> None:
        for declared, (least, most) in self.repeated.items():
            numbered = self._family(declared, step)
            if not least <= len(numbered) <= most:
                count = f"{least} to {most} roles {declared}-1, {declared}-2 and so on"
                raise InvalidRequest(f"{at}.parties", count, str(len(numbered)))
        if set(step.parties) != set(self.ranks(step)):
            raise InvalidRequest(f"{at}.parties", ", ".join(self.ranks(step)), _listed(step.parties))
        if len(set(step.parties.values())) != len(step.parties):
            raise InvalidRequest(f"{at}.parties", "a different participant for each role", "the same twice")

    def _check_after(self, spec: JobSpec, step: Step, at: str) -> None:
        before = {spec.step(name).component for name in step.after}
        if (self.needs and not before) or not before <= self.needs:
            raise InvalidRequest(
                f"{at}.after", f"a step of {_listed(self.needs) or 'nothing'}", _listed(before) or "none"
            )
        for name in step.after:
            self.check_follows(step, spec.step(name))


def source(step: Step, role: str) -> Source:
    """The rows and columns that a role of a step reads, as an operator of its plan."""
    given = step.inputs[role]
    columns = tuple(column.name for column in given.columns)
    return Source(f"{step.id}.{role}", given.asset, step.parties[role], columns)


def whole_number(minimum: int, maximum: int) -> Callable[[object, str], None]:
    """A check for an integer in a closed range."""

    def check(value: object, at: str) -> None:
        if not isinstance(value, int) or isinstance(value, bool) or not minimum <= value <= maximum:
            raise InvalidRequest(at, f"an integer from {minimum} to {maximum}", repr(value)[:40])

    return check


def one_of(*words: str) -> Callable[[object, str], None]:
    """A check for one of some words."""

    def check(value: object, at: str) -> None:
        if value not in words:
            raise InvalidRequest(at, f"one of {', '.join(words)}", repr(value)[:40])

    return check


def text_like(pattern: str) -> Callable[[object, str], None]:
    """A check for a text that a regular expression matches as a whole."""

    def check(value: object, at: str) -> None:
        if not isinstance(value, str) or re.fullmatch(pattern, value) is None:
            raise InvalidRequest(at, f"a text of the form {pattern}", repr(value)[:40])

    return check


def _listed(names: object) -> str:
    return ", ".join(sorted(names)) if isinstance(names, Mapping | set | frozenset) else str(names)
