"""What a policy says, in plain words, English or Chinese, one line for each thing it says.

For people who must decide on a policy that another party wrote: nothing is left out, and what this software
does not understand is said to be so, because under such a policy nothing is permitted.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from types import MappingProxyType
from typing import Final

from policies.odrl import Constraint, Duty, LogicalConstraint, Policy, Rule
from policies.sentences import Language, label_of, phrase_of, shown
from policies.values import bound_of
from policies.vocabulary import ACTIONS, DUTIES, OPERANDS, Operator

__all__ = ["describe", "is_understood"]

_ACTIONS: Final[Mapping[str, tuple[str, str]]] = MappingProxyType(
    {
        "aggregate": ("aggregate", "汇总"),
        "anonymize": ("anonymise", "匿名化"),
        "compensate": ("pay for the use", "支付使用费"),
        "delete": ("delete what was obtained", "删除所得数据"),
        "derive": ("derive from", "派生"),
        "distribute": ("distribute", "分发"),
        "execute": ("run code on", "运行代码"),
        "inform": ("inform", "告知"),
        "obtainConsent": ("obtain consent to the job", "取得对作业的同意"),
        "read": ("read", "读取"),
        "reviewPolicy": ("review the policy", "审阅策略"),
        "use": ("use", "使用"),
    }
)

_LINES: Final[Mapping[str, tuple[str, str]]] = MappingProxyType(
    {
        "Set": ("A policy{about}", "一项策略{about}"),
        "Offer": ("An offer by {assigner}{about}", "由 {assigner} 提出的要约{about}"),
        "Agreement": (
            "An agreement of {timestamp} by {assigner}{about}",
            "{assigner} 于 {timestamp} 签署的协议{about}",
        ),
        "with": (" with {assignee}", "，对方为 {assignee}"),
        "on": (" on {target}", "，标的为 {target}"),
        "permission": ("Permitted: {action}, if all of this holds:", "许可：{action}，须满足以下全部条件："),
        "permission-always": ("Permitted: {action}", "许可：{action}"),
        "prohibition": (
            "Forbidden: {action}, while all of this holds:",
            "禁止：{action}，当以下条件全部成立时：",
        ),
        "prohibition-always": ("Forbidden: {action}", "禁止：{action}"),
        "duty": ("Required: {action}, when all of this holds:", "义务：{action}，当以下条件全部成立时："),
        "duty-always": ("Required: {action}", "义务：{action}"),
        "of": ("{action} ({parties})", "{action}（{parties}）"),
        "as": ("{action}, and so that {details}", "{action}，且须 {details}"),
        "constraint": ("{label}: {phrase}", "{label}：{phrase}"),
        "and": ("all of: {parts}", "以下全部：{parts}"),
        "or": ("at least one of: {parts}", "以下至少一项：{parts}"),
        "xone": ("exactly one of: {parts}", "以下恰好一项：{parts}"),
        "andSequence": ("all of, in this order: {parts}", "依次满足以下全部：{parts}"),
        "unknown": (
            "{text} (not understood, so nothing is permitted)",
            "{text}（无法理解，因此不作任何许可）",
        ),
        "nothing": ("Nothing is permitted", "未作任何许可"),
    }
)


def describe(policy: Policy, language: Language = "en") -> tuple[str, ...]:
    """Say everything that a policy says, one line each; lines of a rule's conditions are indented."""
    return tuple(_Speaker(language).lines(policy))


def is_understood(policy: Policy) -> bool:
    """Whether the evaluator knows every word of a policy; otherwise it permits nothing under it."""
    rules: list[Rule] = [*policy.permission, *policy.prohibition]
    duties: list[Rule] = [*policy.obligation, *(duty for rule in policy.permission for duty in rule.duty)]
    return (
        all(rule.action in ACTIONS for rule in rules)
        and all(rule.action in ACTIONS or rule.action in DUTIES for rule in duties)
        and all(
            _is_known(part) for rule in (*rules, *duties) for part in (*rule.constraint, *rule.refinement)
        )
    )


def _is_known(constraint: Constraint | LogicalConstraint) -> bool:
    if isinstance(constraint, LogicalConstraint):
        return all(_is_known(part) for part in constraint.parts)
    operand = OPERANDS.get(constraint.left_operand)
    if operand is None or constraint.operator not in operand.operators:
        return False
    return bound_of(operand.kind, Operator(constraint.operator), constraint.right_operand) is not None


class _Speaker:
    def __init__(self, language: Language) -> None:
        self._language: Language = language
        self._which = 0 if language == "en" else 1

    def lines(self, policy: Policy) -> Iterator[str]:
        about = "".join(
            self._say(key, **{name: shown(value)})
            for key, name, value in (("with", "assignee", policy.assignee), ("on", "target", policy.target))
            if value is not None
        )
        assigner, timestamp = shown(policy.assigner or ""), shown(policy.timestamp or "")
        yield self._say(policy.type, about=about, assigner=assigner, timestamp=timestamp)
        for permission in policy.permission:
            yield from self._rule("permission", permission)
            for duty in permission.duty:
                yield from (f"  {line}" for line in self._rule("duty", duty))
        if not policy.permission:
            yield self._say("nothing")
        for prohibition in policy.prohibition:
            yield from self._rule("prohibition", prohibition)
        for obligation in policy.obligation:
            yield from self._rule("duty", obligation)

    def _rule(self, kind: str, rule: Rule) -> Iterator[str]:
        action = self._action(rule)
        parts = rule.constraint if isinstance(rule, Duty) else (*rule.constraint, *rule.refinement)
        yield self._say(kind if parts else f"{kind}-always", action=action)
        for part in parts:
            yield f"  {self._constraint(part)}"

    def _action(self, rule: Rule) -> str:
        known = rule.action in ACTIONS or (isinstance(rule, Duty) and rule.action in DUTIES)
        if not known:
            return self._say("unknown", text=shown(rule.action))
        action = _ACTIONS[rule.action][self._which]
        if isinstance(rule, Duty) and rule.party:
            action = self._say("of", action=action, parties=shown(rule.party))
        if isinstance(rule, Duty) and rule.refinement:
            details = "; ".join(self._constraint(part) for part in rule.refinement)
            action = self._say("as", action=action, details=details)
        return action

    def _constraint(self, constraint: Constraint | LogicalConstraint) -> str:
        if isinstance(constraint, LogicalConstraint):
            parts = "; ".join(f"[{self._constraint(part)}]" for part in constraint.parts)
            return self._say(constraint.connective, parts=parts)
        left, operator, right = constraint.left_operand, constraint.operator, constraint.right_operand
        phrase = phrase_of(left, operator, right, self._language)
        if not _is_known(constraint):
            return self._say("unknown", text=f"{shown(left)} {shown(operator)} {shown(right)}")
        return self._say("constraint", label=label_of(left, self._language), phrase=phrase)

    def _say(self, key: str, **values: str) -> str:
        return _LINES[key][self._which].format(**values)
