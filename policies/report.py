"""What an evaluation found, in the words of the ODRL formal semantics and its compliance report.

Per rule an attempt state, an activation state and a control state; per premise (action, party, target,
constraint) a satisfaction state; per duty a performance state and a deontic state; with every finding a
stable code and a sentence in English or Chinese. The control state is Parley's own: what the rule adds to the
decision.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from enum import StrEnum
from typing import Literal, NamedTuple

from policies.sentences import Finding, Language, say

__all__ = [
    "ActivationState",
    "ComplianceReport",
    "ConstraintReport",
    "ControlState",
    "DeonticState",
    "RuleReport",
    "SatisfactionState",
    "ScopeReport",
]


class SatisfactionState(StrEnum):
    """Whether a constraint holds for the request."""

    SATISFIED = "Satisfied"
    PARTLY_SATISFIED = "PartlySatisfied"
    UNSATISFIED = "Unsatisfied"
    UNKNOWN = "Unknown"


class ActivationState(StrEnum):
    """Whether a rule applies to the request."""

    ACTIVE = "Active"
    INACTIVE = "Inactive"


class ControlState(StrEnum):
    """What a rule contributes to the decision."""

    PERMIT = "Permit"
    REFUSE = "Refuse"
    NEUTRAL = "Neutral"


class DeonticState(StrEnum):
    """Whether a duty that applies has been fulfilled; ``NON_SET`` where that is not known."""

    FULFILLED = "Fulfilled"
    VIOLATED = "Violated"
    NON_SET = "NonSet"


class ScopeReport(NamedTuple):
    """Whether a rule is about this request: its action, its party, its target."""

    kind: Literal["ActionReport", "PartyReport", "TargetReport"]
    satisfaction: SatisfactionState

    def as_json(self) -> dict[str, object]:
        """Write the report as JSON."""
        return {"@type": self.kind, "satisfactionState": self.satisfaction.value}


_PERFORMANCE = {
    DeonticState.FULFILLED: "Performed",
    DeonticState.VIOLATED: "Unperformed",
    DeonticState.NON_SET: "Unknown",
}


class ConstraintReport(NamedTuple):
    """How one constraint came out. ``parts`` are those of a logical constraint."""

    path: str
    satisfaction: SatisfactionState
    finding: Finding | None
    parts: tuple[ConstraintReport, ...] = ()

    def findings(self) -> Iterator[Finding]:
        """Walk the findings of this constraint and its parts."""
        if self.finding is not None:
            yield self.finding
        for part in self.parts:
            yield from part.findings()

    def as_json(self, language: Language = "en") -> dict[str, object]:
        """Write the report as JSON."""
        written: dict[str, object] = {
            "@type": "ConstraintReport",
            "path": self.path,
            "satisfactionState": self.satisfaction.value,
        }
        if self.finding is not None:
            written |= {"code": self.finding.code, "reason": say(self.finding, language)}
        if self.parts:
            written["premiseReport"] = [part.as_json(language) for part in self.parts]
        return written


@dataclass(frozen=True)
class RuleReport:
    """How one rule came out. ``finding`` says why the rule itself, not a constraint, refuses.

    ``scope`` says whether the rule is about the request at all, ``premises`` are its constraints, ``duties``
    those inside a permission; ``deontic`` is the state of a duty that applies.
    """

    path: str
    kind: str
    activation: ActivationState
    control: ControlState
    premises: tuple[ConstraintReport, ...]
    finding: Finding | None = None
    scope: tuple[ScopeReport, ...] = ()
    duties: tuple[RuleReport, ...] = ()
    deontic: DeonticState | None = None

    @property
    def is_owed(self) -> bool:
        """A duty that applies and is not known to be fulfilled."""
        return self.deontic in {DeonticState.VIOLATED, DeonticState.NON_SET}

    def refusals(self) -> Iterator[Finding]:
        """Walk everything that keeps this rule from permitting, in the policy's order."""
        if self.finding is not None:
            yield self.finding
        if self.kind == "Permission" or self.is_owed:
            for premise in self.premises:
                if premise.satisfaction is not SatisfactionState.SATISFIED:
                    yield from (f for f in premise.findings() if f.code != "policy.satisfied")
        for duty in self.duties:
            yield from duty.refusals()

    def as_json(self, language: Language = "en") -> dict[str, object]:
        """Write the report as JSON."""
        written: dict[str, object] = {
            "@type": f"{self.kind}Report",
            "path": self.path,
            "attemptState": "Attempted",
            "activationState": self.activation.value,
            "controlState": self.control.value,
            "premiseReport": [
                *(part.as_json() for part in self.scope),
                *(premise.as_json(language) for premise in self.premises),
            ],
        }
        if self.deontic is not None:
            written["performanceState"] = _PERFORMANCE[self.deontic]
            written["deonticState"] = self.deontic.value
        if self.duties:
            written["conditionReport"] = [duty.as_json(language) for duty in self.duties]
        if self.finding is not None:
            written |= {"code": self.finding.code, "reason": say(self.finding, language)}
        return written


@dataclass(frozen=True)
class ComplianceReport:
    """The decision and its grounds. ``refusals`` is empty exactly when the request is permitted."""

    permitted: bool
    rules: tuple[RuleReport, ...]
    refusals: tuple[Finding, ...]

    @property
    def reasons(self) -> tuple[str, ...]:
        """Every reason for the refusal, in English; none when permitted."""
        return tuple(say(finding) for finding in self.refusals)

    @property
    def codes(self) -> tuple[str, ...]:
        """The stable code of each reason, in the same order."""
        return tuple(finding.code for finding in self.refusals)

    def explain(self, language: Language = "en") -> tuple[str, ...]:
        """Say why: the reasons for a refusal, or what the permit rests on."""
        if not self.permitted:
            return tuple(say(finding, language) for finding in self.refusals)
        grounds = (
            finding
            for rule in self.rules
            if rule.control is ControlState.PERMIT
            for premise in rule.premises
            for finding in premise.findings()
            if finding.code == "policy.satisfied"
        )
        return tuple(say(finding, language) for finding in grounds)

    def as_json(self, language: Language = "en") -> dict[str, object]:
        """Write the report as JSON."""
        return {
            "@type": "ComplianceReport",
            "permitted": self.permitted,
            "codes": list(self.codes),
            "reasons": list(self.explain(language)) if not self.permitted else [],
            "ruleReport": [rule.as_json(language) for rule in self.rules],
        }
