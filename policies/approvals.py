"""Who must approve before a participant signs an agreement.

A rule lists stages; a stage needs ``needed`` approvals by distinct persons of one role, where named out of
the listed ones (n of m). One rejection by a person who may decide rejects. A person decides once, and never
on an own request. Pure: the caller stores decisions and knows who is who.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from types import MappingProxyType
from typing import Final

from policies.errors import InvalidDecision

__all__ = [
    "RULES",
    "ApprovalRule",
    "Assessment",
    "Decision",
    "Outcome",
    "Sensitivity",
    "Stage",
    "Verdict",
    "assess",
    "rule_for",
    "satisfied",
]

_FIELDS: Final = ("approver", "role", "decision", "reason")
_MAX_REASON: Final = 2000


class Sensitivity(StrEnum):
    """Grade of an asset's column, lowest first."""

    PUBLIC = "public"
    INTERNAL = "internal"
    CONFIDENTIAL = "confidential"
    SECRET = "secret"  # noqa: S105 - a grade, not a password


class Verdict(StrEnum):
    """What one person decided."""

    APPROVE = "approve"
    REJECT = "reject"


class Outcome(StrEnum):
    """Where an approval stands."""

    PENDING = "pending"
    APPROVED = "approved"
    REJECTED = "rejected"


@dataclass(frozen=True)
class Decision:
    """One person's decision, in one role, with the reason given."""

    approver: str
    role: str
    decision: Verdict
    reason: str

    @staticmethod
    def parse(value: object) -> Decision:
        """Read a decision from JSON.

        Raises:
            InvalidDecision: naming the first field that is missing, unknown or of another form.
        """
        if not isinstance(value, Mapping):
            raise InvalidDecision("decision", "an object", type(value).__name__)
        for field in value:
            if field not in _FIELDS:
                raise InvalidDecision(str(field)[:64], f"one of {', '.join(_FIELDS)}", "an unknown field")
        for field in _FIELDS:
            text = value.get(field)
            if not isinstance(text, str) or not 1 <= len(text) <= _MAX_REASON:
                raise InvalidDecision(field, f"a text of 1 to {_MAX_REASON} characters", "another value")
        if value["decision"] not in set(Verdict):
            raise InvalidDecision("decision", "approve or reject", "another word")
        return Decision(value["approver"], value["role"], Verdict(value["decision"]), value["reason"])

    def as_json(self) -> dict[str, str]:
        """Write the decision as JSON."""
        return {
            "approver": self.approver,
            "role": self.role,
            "decision": self.decision.value,
            "reason": self.reason,
        }


@dataclass(frozen=True)
class Stage:
    """``needed`` approvals in ``role``; only by ``approvers`` where they are named."""

    role: str
    needed: int = 1
    approvers: frozenset[str] | None = None

    def __post_init__(self) -> None:
        available = self.needed if self.approvers is None else len(self.approvers)
        if not 1 <= self.needed <= available:
            raise InvalidDecision("needed", f"1 to {available} approvals", str(self.needed))

    def admits(self, decision: Decision) -> bool:
        """Whether this person, in this role, may decide here."""
        named = self.approvers is None or decision.approver in self.approvers
        return decision.role == self.role and named


@dataclass(frozen=True)
class ApprovalRule:
    """All stages must be complete."""

    stages: tuple[Stage, ...]

    def __post_init__(self) -> None:
        if not self.stages or len({stage.role for stage in self.stages}) != len(self.stages):
            raise InvalidDecision("stages", "at least one stage, one per role", str(len(self.stages)))


@dataclass(frozen=True)
class Assessment:
    """The outcome so far and, while pending, how many approvals each role still owes."""

    outcome: Outcome
    missing: Mapping[str, int]


_ONE_STEWARD = ApprovalRule((Stage("steward"),))
_STEWARD_AND_APPROVER = ApprovalRule((Stage("steward"), Stage("approver")))

RULES: Final[Mapping[Sensitivity, ApprovalRule]] = MappingProxyType(
    {
        Sensitivity.PUBLIC: _ONE_STEWARD,
        Sensitivity.INTERNAL: _ONE_STEWARD,
        Sensitivity.CONFIDENTIAL: _ONE_STEWARD,
        Sensitivity.SECRET: _STEWARD_AND_APPROVER,
    }
)


def rule_for(grades: Iterable[Sensitivity]) -> ApprovalRule:
    """Choose the rule of the highest grade among an asset's columns; the strictest one when none is given."""
    order = list(Sensitivity)
    return RULES[max(grades, key=order.index, default=Sensitivity.SECRET)]


def assess(rule: ApprovalRule, decisions: Sequence[Decision], *, requester: str | None = None) -> Assessment:
    """Say where an approval stands.

    Args:
        rule: the stages to complete.
        decisions: in the order they were made; a person's later ones do not count.
        requester: the person who asked, whose own decision does not count.
    """
    first: dict[str, Decision] = {}
    for decision in decisions:
        if decision.approver != requester and any(stage.admits(decision) for stage in rule.stages):
            first.setdefault(decision.approver, decision)
    missing: dict[str, int] = {}
    for stage in rule.stages:
        counted = [decision for decision in first.values() if stage.admits(decision)]
        if any(decision.decision is Verdict.REJECT for decision in counted):
            return Assessment(Outcome.REJECTED, MappingProxyType({}))
        if len(counted) < stage.needed:
            missing[stage.role] = stage.needed - len(counted)
    outcome = Outcome.PENDING if missing else Outcome.APPROVED
    return Assessment(outcome, MappingProxyType(missing))


def satisfied(rule: ApprovalRule, decisions: Sequence[Decision], *, requester: str | None = None) -> bool:
    """Whether every stage is complete and nobody rejected."""
    return assess(rule, decisions, requester=requester).outcome is Outcome.APPROVED
