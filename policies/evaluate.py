"""Decide whether a policy permits a request, and say why.

Total and free of side effects: any policy that parses and any mapping of facts give a report, never an
exception. It fails closed: a word of the policy that is not in ``vocabulary`` refuses the whole policy, and a
fact that is missing leaves its constraint unknown, which permits nothing and lifts no prohibition.

Adding a constraint to a permission never turns a refusal into a permit. Adding one to a prohibition narrows
the prohibition, as ODRL says. A prohibition wins over every permission. A duty inside a permission is a
condition of that permission, an obligation one of the whole policy.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Final, Literal

from policies.constraints import Check, Facts, reader
from policies.odrl import Constraint, Duty, LogicalConstraint, Permission, Policy, Prohibition, Rule
from policies.report import (
    ActivationState,
    ComplianceReport,
    ControlState,
    DeonticState,
    RuleReport,
    SatisfactionState,
    ScopeReport,
)
from policies.sentences import Finding
from policies.values import texts
from policies.vocabulary import ACTIONS, DUTIES, includes

__all__ = ["Evaluator", "evaluate", "evaluator"]

Evaluator = Callable[[Facts], ComplianceReport]
_RuleCheck = Callable[[Facts], RuleReport]
_State = SatisfactionState
_Scope = tuple[str, Literal["PartyReport", "TargetReport"], Callable[[Policy], str | None]]
_SCOPES: Final[tuple[_Scope, ...]] = (
    ("assignee", "PartyReport", lambda policy: policy.assignee),
    ("target", "TargetReport", lambda policy: policy.target),
)

# A policy with any of these is not understood, so nothing in it is relied on.
NOT_UNDERSTOOD: Final = frozenset(
    {"policy.unknown-operand", "policy.unknown-operator", "policy.unknown-action", "policy.invalid-value"}
)


def evaluate(policy: Policy, facts: Facts) -> ComplianceReport:
    """Decide whether ``policy`` permits the request that ``facts`` describe.

    Args:
        policy: a parsed policy; its words may be hostile.
        facts: by the names of the left operands, each of the kind that ``vocabulary`` states for it, and
            ``action`` (text), ``assignee`` (DID of who asks), ``target`` (the asset), ``fulfilled`` (duties
            performed: actions, and ``action DID`` where a party is named). ``count`` includes the use that is
            asked for.

    Returns:
        The decision with every reason, not only the first.
    """
    return evaluator(policy)(facts)


def evaluator(policy: Policy) -> Evaluator:
    """Read a policy once, into a function that decides on requests as ``evaluate`` does."""
    rules = (
        *(_permission(rule, f"$.permission[{i}]", policy) for i, rule in enumerate(policy.permission)),
        *(_prohibition(rule, f"$.prohibition[{i}]", policy) for i, rule in enumerate(policy.prohibition)),
        *(_duty(rule, f"$.obligation[{i}]", "Obligation") for i, rule in enumerate(policy.obligation)),
    )
    nothing = () if policy.permission else (Finding("policy.no-permission", "$", "permission"),)

    def decide(facts: Facts) -> ComplianceReport:
        reports = tuple(rule(facts) for rule in rules)
        granted = any(report.control is ControlState.PERMIT for report in reports)
        found: list[Finding] = []
        for report in reports:
            if report.kind != "Permission" or not granted:
                found.extend(report.refusals())
        found.extend(nothing)
        found.extend(
            finding for report in reports for finding in _findings(report) if finding.code in NOT_UNDERSTOOD
        )
        refusals = tuple(dict.fromkeys(found))
        return ComplianceReport(permitted=granted and not refusals, rules=reports, refusals=refusals)

    return decide


def _findings(rule: RuleReport) -> Iterator[Finding]:
    if rule.finding is not None:
        yield rule.finding
    for premise in rule.premises:
        yield from premise.findings()
    for duty in rule.duties:
        yield from _findings(duty)


def _permission(rule: Permission, path: str, policy: Policy) -> _RuleCheck:
    premises, unknown = _premises(rule, path), _unknown_action(rule, path)
    duties = tuple(_duty(duty, f"{path}.duty[{i}]", "Duty") for i, duty in enumerate(rule.duty))

    def check(facts: Facts) -> RuleReport:
        reports = tuple(premise(facts) for premise in premises)
        owed = tuple(duty(facts) for duty in duties)
        scope, apart = _scope(rule, path, policy, facts)
        finding = unknown or apart
        holds = all(report.satisfaction is _State.SATISFIED for report in reports)
        if finding is None and holds and all(duty.control is not ControlState.REFUSE for duty in owed):
            state, control = ActivationState.ACTIVE, ControlState.PERMIT
        else:
            state, control = ActivationState.INACTIVE, ControlState.REFUSE
        return RuleReport(path, "Permission", state, control, reports, finding, scope, owed)

    return check


def _prohibition(rule: Prohibition, path: str, policy: Policy) -> _RuleCheck:
    premises, unknown = _premises(rule, path), _unknown_action(rule, path)
    finding = unknown or Finding("policy.prohibited", path, "action", right=rule.action)

    def check(facts: Facts) -> RuleReport:
        reports = tuple(premise(facts) for premise in premises)
        scope, _ = _scope(rule, path, policy, facts)
        action = facts.get("action")
        # A broad request may include the forbidden act, so overlap in either direction counts.
        apart = isinstance(action, str) and action in ACTIONS and not includes(action, rule.action)
        aside = any(
            part.satisfaction is _State.UNSATISFIED and (part.kind != "ActionReport" or apart)
            for part in scope
        )
        lifted = any(report.satisfaction is _State.UNSATISFIED for report in reports)
        if unknown is None and (aside or lifted):
            state, control, found = ActivationState.INACTIVE, ControlState.NEUTRAL, None
        else:
            state, control, found = ActivationState.ACTIVE, ControlState.REFUSE, finding
        return RuleReport(path, "Prohibition", state, control, reports, found, scope)

    return check


def _scope(
    rule: Rule, path: str, policy: Policy, facts: Facts
) -> tuple[tuple[ScopeReport, ...], Finding | None]:
    """Whether a rule is about this request, and the first thing in which it is not."""
    action = facts.get("action")
    finding: Finding | None = None
    if not isinstance(action, str):
        done, finding = _State.UNKNOWN, Finding("policy.missing-fact", f"{path}.action", "action")
    elif includes(rule.action, action):
        done = _State.SATISFIED
    else:
        done = _State.UNSATISFIED
        finding = Finding("policy.action", f"{path}.action", "action", right=rule.action, actual=action)
    scope = [ScopeReport("ActionReport", done)]
    for name, kind, stated in _SCOPES:
        expected = stated(policy)
        if expected is None:
            continue
        fact = facts.get(name)
        actual = fact if isinstance(fact, str) else None
        if actual is None:
            state = _State.UNKNOWN
        else:
            state = _State.SATISFIED if actual == expected else _State.UNSATISFIED
        scope.append(ScopeReport(kind, state))
        if finding is None and state is not _State.SATISFIED:
            finding = Finding(f"policy.{name}", f"$.{name}", name, "eq", expected, actual)
    return tuple(scope), finding


def _duty(rule: Duty, path: str, kind: str) -> _RuleCheck:
    """A duty applies while its constraints hold and is fulfilled when performed as its refinement says."""
    conditions = _readers(rule.constraint, f"{path}.constraint")
    details = _readers(rule.refinement, f"{path}.action.refinement")
    owed = tuple(f"{rule.action} {party}" for party in rule.party) or (rule.action,)
    unknown: Finding | None = None
    if rule.action not in ACTIONS and rule.action not in DUTIES:
        unknown = Finding("policy.unknown-action", f"{path}.action", rule.action)

    def check(facts: Facts) -> RuleReport:
        premises = tuple(condition(facts) for condition in conditions)
        refined = tuple(detail(facts) for detail in details)
        every = (*premises, *refined)
        if unknown is not None:
            return RuleReport(path, kind, ActivationState.ACTIVE, ControlState.REFUSE, every, unknown)
        if any(report.satisfaction is _State.UNSATISFIED for report in premises):
            return RuleReport(path, kind, ActivationState.INACTIVE, ControlState.NEUTRAL, every)
        done = texts(facts.get("fulfilled"))
        missing = tuple(act for act in owed if act not in (done or ()))
        as_refined = all(report.satisfaction is _State.SATISFIED for report in refined)
        if not missing and as_refined:
            control, deontic, finding = ControlState.NEUTRAL, DeonticState.FULFILLED, None
        else:
            control = ControlState.REFUSE
            deontic = DeonticState.NON_SET if done is None else DeonticState.VIOLATED
            finding = Finding("policy.obligation", path, "fulfilled", right=missing or owed)
        return RuleReport(path, kind, ActivationState.ACTIVE, control, every, finding, deontic=deontic)

    return check


def _unknown_action(rule: Rule, path: str) -> Finding | None:
    return None if rule.action in ACTIONS else Finding("policy.unknown-action", f"{path}.action", rule.action)


def _premises(rule: Rule, path: str) -> tuple[Check, ...]:
    return (
        *_readers(rule.constraint, f"{path}.constraint"),
        *_readers(rule.refinement, f"{path}.action.refinement"),
    )


def _readers(constraints: Sequence[Constraint | LogicalConstraint], path: str) -> tuple[Check, ...]:
    return tuple(reader(part, f"{path}[{index}]") for index, part in enumerate(constraints))
