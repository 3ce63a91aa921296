"""Decide whether a policy permits a request, and say why.

Total and free of side effects: any policy that parses and any mapping of facts give a report, never an
exception. It fails closed: a word of the policy that is not in ``vocabulary`` refuses the whole policy, and a
fact that is missing leaves its constraint unknown, which permits nothing and lifts no prohibition.

Adding a constraint to a permission never turns a refusal into a permit. Adding one to a prohibition narrows
the prohibition, as ODRL says. A prohibition wins over every permission.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from policies.constraints import Facts, check, texts
from policies.odrl import Obligation, Permission, Policy, Prohibition, Rule
from policies.report import (
    ActivationState,
    ComplianceReport,
    ConstraintReport,
    ControlState,
    RuleReport,
    SatisfactionState,
)
from policies.sentences import Finding
from policies.vocabulary import ACTIONS, DUTIES, includes

__all__ = ["evaluate"]

# A policy with any of these is not understood, so nothing in it is relied on.
NOT_UNDERSTOOD: Final = frozenset(
    {"policy.unknown-operand", "policy.unknown-operator", "policy.unknown-action", "policy.invalid-value"}
)


def evaluate(policy: Policy, facts: Facts) -> ComplianceReport:
    """Decide whether ``policy`` permits the request that ``facts`` describe.

    Args:
        policy: a parsed policy; its words may be hostile.
        facts: ``action`` (text), ``purpose`` (DPV term), ``recipient`` (DID), ``dateTime`` (aware datetime),
            ``count`` (uses, this one included), ``technique``, ``columns``, ``outputType`` (non-empty sets of
            texts), ``minCohort`` (persons), ``fulfilled`` (actions of obligations already performed).

    Returns:
        The decision with every reason, not only the first.
    """
    rules = (
        *(_permission(rule, f"$.permission[{i}]", policy, facts) for i, rule in enumerate(policy.permission)),
        *(_prohibition(rule, f"$.prohibition[{i}]", facts) for i, rule in enumerate(policy.prohibition)),
        *(_obligation(rule, f"$.obligation[{i}]", facts) for i, rule in enumerate(policy.obligation)),
    )
    granted = any(rule.control is ControlState.PERMIT for rule in rules)
    found: list[Finding] = []
    for rule in rules:
        if rule.kind == "Permission" and granted:
            continue
        found.extend(rule.refusals())
    if not policy.permission:
        found.append(Finding("policy.no-permission", "$", "permission"))
    found.extend(finding for rule in rules for finding in _findings(rule) if finding.code in NOT_UNDERSTOOD)
    refusals = tuple(dict.fromkeys(found))
    return ComplianceReport(permitted=granted and not refusals, rules=rules, refusals=refusals)


def _findings(rule: RuleReport) -> Iterator[Finding]:
    if rule.finding is not None:
        yield rule.finding
    for premise in rule.premises:
        yield from premise.findings()


def _permission(rule: Permission, path: str, policy: Policy, facts: Facts) -> RuleReport:
    premises = _premises(rule, path, facts)
    action = facts.get("action")
    finding = _unknown_action(rule, path)
    if finding is None and not isinstance(action, str):
        finding = Finding("policy.missing-fact", f"{path}.action", "action")
    elif finding is None and not includes(rule.action, str(action)):
        finding = Finding("policy.action", f"{path}.action", "action", right=rule.action, actual=action)
    recipient = facts.get("recipient")
    if finding is None and policy.assignee is not None and recipient != policy.assignee:
        shown = recipient if isinstance(recipient, str) else None
        finding = Finding("policy.recipient", "$.assignee", "recipient", "eq", policy.assignee, shown)
    holds = all(premise.satisfaction is SatisfactionState.SATISFIED for premise in premises)
    if finding is None and holds:
        return RuleReport(path, "Permission", ActivationState.ACTIVE, ControlState.PERMIT, premises)
    return RuleReport(path, "Permission", ActivationState.INACTIVE, ControlState.REFUSE, premises, finding)


def _prohibition(rule: Prohibition, path: str, facts: Facts) -> RuleReport:
    premises = _premises(rule, path, facts)
    unknown = _unknown_action(rule, path)
    action = facts.get("action")
    # A broad request may include the forbidden act, so overlap in either direction counts.
    apart = (
        unknown is None
        and isinstance(action, str)
        and action in ACTIONS
        and not includes(rule.action, action)
        and not includes(action, rule.action)
    )
    lifted = any(premise.satisfaction is SatisfactionState.UNSATISFIED for premise in premises)
    if unknown is None and (apart or lifted):
        return RuleReport(path, "Prohibition", ActivationState.INACTIVE, ControlState.NEUTRAL, premises)
    finding = unknown or Finding("policy.prohibited", path, "action", right=rule.action)
    return RuleReport(path, "Prohibition", ActivationState.ACTIVE, ControlState.REFUSE, premises, finding)


def _obligation(rule: Obligation, path: str, facts: Facts) -> RuleReport:
    premises = _premises(rule, path, facts)
    if rule.action not in ACTIONS and rule.action not in DUTIES:
        unknown = Finding("policy.unknown-action", f"{path}.action", rule.action)
        return RuleReport(path, "Obligation", ActivationState.ACTIVE, ControlState.REFUSE, premises, unknown)
    lifted = any(premise.satisfaction is SatisfactionState.UNSATISFIED for premise in premises)
    done = rule.action in (texts(facts.get("fulfilled")) or ())
    if lifted or done:
        state = ActivationState.INACTIVE if lifted else ActivationState.ACTIVE
        return RuleReport(path, "Obligation", state, ControlState.NEUTRAL, premises)
    finding = Finding("policy.obligation", path, "fulfilled", right=rule.action)
    return RuleReport(path, "Obligation", ActivationState.ACTIVE, ControlState.REFUSE, premises, finding)


def _unknown_action(rule: Rule, path: str) -> Finding | None:
    return None if rule.action in ACTIONS else Finding("policy.unknown-action", f"{path}.action", rule.action)


def _premises(rule: Rule, path: str, facts: Facts) -> tuple[ConstraintReport, ...]:
    return tuple(
        check(part, f"{path}.constraint[{index}]", facts) for index, part in enumerate(rule.constraint)
    )
