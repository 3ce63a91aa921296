"""Who must approve before a participant binds itself.

A rule lists stages; a stage needs ``needed`` approvals by distinct persons of one role, where named out of
the listed ones (n of m), where a department is named out of that department. One rejection by a person who
may decide rejects. A person decides once, over one digest, and never on an own request. A person may decide
with the right of another who has the same role and has delegated it (``policies.delegation``); that right
counts once, whoever uses it, and who asks does not approve through a delegate either.

Pure: the caller stores decisions, knows who is who and looks delegations up.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from types import MappingProxyType
from typing import Final

from policies.errors import InvalidDecision

__all__ = [
    "MAX_APPROVALS",
    "MAX_STAGES",
    "RULES",
    "ApprovalRule",
    "Assessment",
    "Decision",
    "Outcome",
    "Sensitivity",
    "Stage",
    "Verdict",
    "assess",
    "combined",
    "rule_for",
    "satisfied",
]

_FIELDS: Final = ("approver", "role", "decision", "reason")
_MAX_REASON: Final = 1000
_MAX_NAME: Final = 200
MAX_STAGES: Final = 8
MAX_APPROVALS: Final = 16
"""As many as an entry on the ledger takes."""


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
    """One person's decision, in one role, with the reason given.

    Attributes:
        approver: who decided.
        role: in which role.
        decision: which way.
        reason: why.
        digest: over what; empty only where nothing is digested.
        department: of the one whose right is used, when it was used.
        behalf: who delegated the right; empty where it is the approver's own.
    """

    approver: str
    role: str
    decision: Verdict
    reason: str
    digest: str = ""
    department: str = ""
    behalf: str = ""

    @property
    def holder(self) -> str:
        """Whose right this decision uses: the approver's own, or that of the one who delegated it."""
        return self.behalf or self.approver

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
        """Write the decision as the ledger takes it."""
        return {
            "approver": self.approver,
            "role": self.role,
            "decision": self.decision.value,
            "reason": self.reason,
        }


@dataclass(frozen=True)
class Stage:
    """``needed`` approvals in ``role``; only by ``approvers`` or of ``department`` where they are named."""

    role: str
    needed: int = 1
    approvers: frozenset[str] | None = None
    department: str = ""

    def __post_init__(self) -> None:
        available = self.needed if self.approvers is None else len(self.approvers)
        if not 1 <= self.needed <= available:
            raise InvalidDecision("needed", f"1 to {available} approvals", str(self.needed))

    @property
    def label(self) -> str:
        """The stage in one word, for people: the role, and the department where it is named."""
        return f"{self.role}/{self.department}" if self.department else self.role

    def admits(self, decision: Decision) -> bool:
        """Whether this person, in this role and with this right, may decide here."""
        return decision.role == self.role and self.admits_right(decision.holder, decision.department)

    def admits_right(self, holder: str, department: str) -> bool:
        """Whether the right of ``holder``, of ``department``, to this role counts here."""
        named = self.approvers is None or holder in self.approvers
        return named and self.department in ("", department)

    def as_json(self) -> dict[str, object]:
        """Write the stage as ``ApprovalRule.parse`` reads it."""
        named = None if self.approvers is None else sorted(self.approvers)
        return {
            "role": self.role,
            "needed": self.needed,
            "approvers": named,
            "department": self.department,
        }


@dataclass(frozen=True)
class ApprovalRule:
    """All stages must be complete, and each of ``organisations`` must have approved on the ledger.

    No person fits two stages: stages of the same role name different departments.
    """

    stages: tuple[Stage, ...]
    organisations: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if not 1 <= len(self.stages) <= MAX_STAGES:
            raise InvalidDecision("stages", f"1 to {MAX_STAGES} stages", str(len(self.stages)))
        for role in {stage.role for stage in self.stages}:
            departments = [stage.department for stage in self.stages if stage.role == role]
            if len(departments) > 1 and ("" in departments or len(set(departments)) < len(departments)):
                raise InvalidDecision("stages", f"one stage for {role}, or one per department", "more")
        if sum(stage.needed for stage in self.stages) > MAX_APPROVALS:
            raise InvalidDecision("needed", f"at most {MAX_APPROVALS} approvals in all", "more")

    @staticmethod
    def parse(value: object) -> ApprovalRule:
        """Read a rule from JSON.

        Raises:
            InvalidDecision: naming the first field that is missing, unknown or of another form.
        """
        fields = _closed(value, "rule", ("stages", "organisations"))
        stages = _list(fields["stages"], "stages")
        organisations = [
            _text(one, "organisations") for one in _list(fields["organisations"], "organisations")
        ]
        if len(set(organisations)) != len(organisations):
            raise InvalidDecision("organisations", "distinct organisations", "the same twice")
        return ApprovalRule(tuple(_stage(one) for one in stages), tuple(organisations))

    def as_json(self) -> dict[str, object]:
        """Write the rule as ``parse`` reads it."""
        return {
            "stages": [stage.as_json() for stage in self.stages],
            "organisations": list(self.organisations),
        }


def _stage(value: object) -> Stage:
    fields = _closed(value, "stages", ("role", "needed", "approvers", "department"))
    needed, named, department = fields["needed"], fields["approvers"], fields["department"]
    if type(needed) is not int:
        raise InvalidDecision("needed", "a whole number", type(needed).__name__)
    if not isinstance(department, str) or len(department) > _MAX_NAME:
        raise InvalidDecision("department", f"a text of at most {_MAX_NAME} characters", "another value")
    approvers = (
        None if named is None else frozenset(_text(one, "approvers") for one in _list(named, "approvers"))
    )
    return Stage(_text(fields["role"], "role"), needed, approvers, department)


def _closed(value: object, where: str, names: tuple[str, ...]) -> Mapping[str, object]:
    if not isinstance(value, Mapping):
        raise InvalidDecision(where, "an object", type(value).__name__)
    for field in value:
        if field not in names:
            raise InvalidDecision(str(field)[:64], f"one of {', '.join(names)}", "an unknown field")
    for field in names:
        if field not in value:
            raise InvalidDecision(field, "a value", "nothing")
    return value


def _list(value: object, where: str) -> list[object]:
    if not isinstance(value, list) or len(value) > MAX_APPROVALS:
        raise InvalidDecision(where, f"a list of at most {MAX_APPROVALS}", type(value).__name__)
    return value


def _text(value: object, where: str) -> str:
    if not isinstance(value, str) or not 1 <= len(value) <= _MAX_NAME:
        raise InvalidDecision(where, f"a text of 1 to {_MAX_NAME} characters", "another value")
    return value


@dataclass(frozen=True)
class Assessment:
    """The outcome so far and, while pending, how many approvals each stage still lacks, by its label."""

    outcome: Outcome
    missing: Mapping[str, int]


def combined(rules: Sequence[ApprovalRule]) -> ApprovalRule:
    """The rule that is complete only when each of ``rules`` is.

    Raises:
        InvalidDecision: no decisions could complete all of them.
    """
    stages: dict[str, Stage] = {}
    for stage in (stage for rule in rules for stage in rule.stages):
        before = stages.get(stage.label, stage)
        named = stage.approvers if before.approvers is None else before.approvers
        if named is not None and stage.approvers is not None:
            named = named & stage.approvers
        needed = max(stage.needed, before.needed)
        stages[stage.label] = Stage(stage.role, needed, named, stage.department)
    organisations = {name: None for rule in rules for name in rule.organisations}
    return ApprovalRule(tuple(stages.values()), tuple(organisations))


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


def assess(
    rule: ApprovalRule, decisions: Sequence[Decision], *, requester: str | None = None, digest: str = ""
) -> Assessment:
    """Say where an approval stands.

    Args:
        rule: the stages to complete.
        decisions: in the order they were made; a person's later ones do not count.
        requester: the person who asked, whose own right does not count, whoever uses it.
        digest: what is to be approved; decisions over anything else do not count.
    """
    first: dict[str, Decision] = {}
    for decision in decisions:
        if decision.digest != digest or requester in (decision.approver, decision.holder):
            continue
        if any(stage.admits(decision) for stage in rule.stages):
            first.setdefault(decision.approver, decision)
    missing: dict[str, int] = {}
    for stage in rule.stages:
        counted = [decision for decision in first.values() if stage.admits(decision)]
        if any(decision.decision is Verdict.REJECT for decision in counted):
            return Assessment(Outcome.REJECTED, MappingProxyType({}))
        rights = len({decision.holder for decision in counted})
        if rights < stage.needed:
            missing[stage.label] = stage.needed - rights
    outcome = Outcome.PENDING if missing else Outcome.APPROVED
    return Assessment(outcome, MappingProxyType(missing))


def satisfied(
    rule: ApprovalRule, decisions: Sequence[Decision], *, requester: str | None = None, digest: str = ""
) -> bool:
    """Whether every stage is complete and nobody rejected."""
    return assess(rule, decisions, requester=requester, digest=digest).outcome is Outcome.APPROVED
