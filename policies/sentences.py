"""Findings of an evaluation, and how they are said in English and Chinese.

A finding is data: a stable code, the place in the policy and the values compared. Words a policy brings along
are shown cut short and with unprintable characters escaped, since another party wrote them.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from decimal import Decimal
from types import MappingProxyType
from typing import Final, Literal, NamedTuple

__all__ = ["Finding", "Language", "label_of", "phrase_of", "say", "shown"]

Language = Literal["en", "zh"]

_SHOWN_CHARACTERS = 80
_SHOWN_ITEMS = 8


class Finding(NamedTuple):
    """One thing an evaluation found out.

    ``code`` is stable and meant for programs. ``actual`` is what the request states, ``right`` what the
    policy compares it with; both are None where a finding has no such side.
    """

    code: str
    path: str
    subject: str
    operator: str = ""
    right: object = None
    actual: object = None


_LABELS: Final[Mapping[str, tuple[str, str]]] = MappingProxyType(
    {
        "purpose": ("the purpose", "使用目的"),
        "recipient": ("the recipient", "接收方"),
        "recipientCredential": ("the credentials of a recipient", "接收方持有的凭证"),
        "target": ("the asset", "资产"),
        "assignee": ("the asking party", "请求方"),
        "dateTime": ("the time", "时间"),
        "elapsedTime": ("the time since the agreement", "自协议签订起的时间"),
        "count": ("the number of uses", "使用次数"),
        "rate": ("the uses in that time, this one included", "该时段内的使用次数（含本次）"),
        "payAmount": ("the points paid for this use", "本次使用支付的积分"),
        "pointsBudget": ("the points spent, this use included", "累计积分（含本次）"),
        "epsilonBudget": ("the privacy loss epsilon, this use included", "累计隐私损失 epsilon（含本次）"),
        "deltaBudget": ("the privacy loss delta, this use included", "累计隐私损失 delta（含本次）"),
        "minParties": ("the number of participants", "参与方数量"),
        "columnControl": ("what is shown of the columns", "各列可见的形式"),
        "codeDigest": ("the code", "代码"),
        "threatModel": ("the threat model", "威胁模型"),
        "minCohort": ("the minimum cohort", "最小群组人数"),
        "technique": ("the technique", "计算技术"),
        "columns": ("the columns", "使用的列"),
        "outputType": ("the output type", "输出类型"),
        "action": ("the action", "操作"),
        "fulfilled": ("the list of fulfilled obligations", "已履行义务清单"),
    }
)

_PHRASES: Final[Mapping[str, tuple[str, str]]] = MappingProxyType(
    {
        "eq": ("{right}", "等于 {right}"),
        "neq": ("other than {right}", "不等于 {right}"),
        "lt": ("below {right}", "小于 {right}"),
        "lteq": ("at most {right}", "不超过 {right}"),
        "gt": ("above {right}", "大于 {right}"),
        "gteq": ("at least {right}", "不少于 {right}"),
        "isA": ("{right} or narrower", "属于 {right}"),
        "isAnyOf": ("one of {right}", "属于 {right} 之一"),
        "hasPart": ("at least {right}", "至少包括 {right}"),
        "isPartOf": ("among {right}", "在 {right} 之内"),
        "isNoneOf": ("none of {right}", "不属于 {right}"),
    }
)

_TIME_PHRASES: Final[Mapping[str, tuple[str, str]]] = MappingProxyType(
    {
        "eq": ("exactly {right}", "恰为 {right}"),
        "neq": ("other than {right}", "不等于 {right}"),
        "lt": ("before {right}", "早于 {right}"),
        "lteq": ("no later than {right}", "不晚于 {right}"),
        "gt": ("after {right}", "晚于 {right}"),
        "gteq": ("no earlier than {right}", "不早于 {right}"),
    }
)

_SENTENCES: Final[Mapping[str, tuple[str, str]]] = MappingProxyType(
    {
        "policy.unknown-operand": (
            "the policy constrains {subject}, which this node does not understand",
            "策略约束了本节点无法理解的项 {subject}",
        ),
        "policy.unknown-operator": (
            "the policy compares {label} with the operator {operator}, which does not apply to it",
            "策略对{label}使用了不适用的运算符 {operator}",
        ),
        "policy.unknown-action": (
            "the policy names the action {subject}, which this node does not understand",
            "策略包含本节点无法理解的操作 {subject}",
        ),
        "policy.invalid-value": (
            "the policy compares {label} with {right}, which is not a value for it",
            "策略用 {right} 约束{label}，该值无效",
        ),
        "policy.missing-fact": (
            "the request does not state {label}, or not in a form that can be checked",
            "请求未说明{label}，或其形式无法核查",
        ),
        "policy.action": (
            "the action is {actual} but the policy permits {right}",
            "操作为 {actual}，而策略只允许 {right}",
        ),
        "policy.exactly-one": (
            "exactly one of {right} alternatives must hold, but {actual} do",
            "{right} 个备选条件中须恰有一个成立，现有 {actual} 个成立",
        ),
        "policy.no-permission": ("the policy permits nothing", "策略未包含任何许可"),
        "policy.prohibited": ("the policy prohibits {right} here", "策略在此禁止 {right}"),
        "policy.obligation": (
            "the obligation to {right} is not known to be fulfilled",
            "无法确认义务 {right} 已履行",
        ),
        "policy.satisfied": (
            "{label}: {actual}, as required: {phrase}",
            "{label}：{actual}，符合要求：{phrase}",
        ),
    }
)
_COMPARED = ("{label}: {actual}; the policy requires: {phrase}", "{label}：{actual}；策略要求：{phrase}")


def phrase_of(subject: str, operator: str, right: object, language: Language = "en") -> str:
    """Say what a policy compares with: ``at most 3``."""
    which = 0 if language == "en" else 1
    phrases = _TIME_PHRASES if subject == "dateTime" else _PHRASES
    shown = _show(right)
    return phrases[operator][which].format(right=shown) if operator in phrases else shown


def label_of(subject: str, language: Language = "en") -> str:
    """Name a left operand; one that is not known is shown as it stands."""
    return _LABELS[subject][0 if language == "en" else 1] if subject in _LABELS else _show(subject)


def shown(value: object) -> str:
    """Show a word of a policy cut short and with unprintable characters escaped."""
    return _show(value)


def say(finding: Finding, language: Language = "en") -> str:
    """Say a finding as one plain sentence."""
    which = 0 if language == "en" else 1
    label, right = label_of(finding.subject, language), _show(finding.right)
    phrase = phrase_of(finding.subject, finding.operator, finding.right, language)
    return _SENTENCES.get(finding.code, _COMPARED)[which].format(
        label=label,
        subject=_show(finding.subject),
        operator=_show(finding.operator),
        right=right,
        actual=_show(finding.actual),
        phrase=phrase,
    )


def _show(value: object) -> str:
    match value:
        case str():
            return _show_text(value)
        case datetime():
            return value.isoformat().replace("+00:00", "Z")
        case timedelta():
            return f"PT{int(value.total_seconds())}S"
        case Decimal():
            return f"{value:f}"
        case int():
            return str(value)
        case tuple() | list() | frozenset() | set():
            return _show_items(sorted(_show(item) for item in value))
        case _:
            return "nothing" if value is None else type(value).__name__


def _show_items(items: Sequence[str]) -> str:
    shown = ", ".join(_show_text(item) for item in items[:_SHOWN_ITEMS])
    return shown if len(items) <= _SHOWN_ITEMS else f"{shown}, … ({len(items)})"


def _show_text(text: str) -> str:
    cut = text if len(text) <= _SHOWN_CHARACTERS else text[: _SHOWN_CHARACTERS - 1] + "…"
    return "".join(
        character if character.isprintable() else f"\\u{{{ord(character):x}}}" for character in cut
    )
