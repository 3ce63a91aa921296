"""The organisation's own rules of approval, and who lets whom decide in the own place."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Annotated, Any

from flask import Blueprint, Response, jsonify

from exchange.node.api.access import Access
from exchange.node.people import Role
from exchange.node.services import NodeServices
from exchange.store import KeptDelegation, RuleVersion
from exchange.web.fields import TIME, Rule, body, query, unix_time
from exchange.web.openapi import describe
from ledger.times import format_time
from policies.approvals import RULES, ApprovalRule

__all__ = ["approval_rules_blueprint"]

_TAGS = ("approvals",)


@dataclass(frozen=True)
class RulesQuery:
    """Whose history."""

    scope: Annotated[str, Rule("asset:…, grade:… or others; empty: all", maximum=220)] = ""


@dataclass(frozen=True)
class RuleBody:
    """A scope's next rule; without one the built-in rule holds again."""

    scope: Annotated[str, Rule("asset:OWNER/NAME, grade:GRADE or others", minimum=1, maximum=220)]
    reason: Annotated[str, Rule("why", minimum=1, maximum=1000)]
    rule: dict[str, object] | None = None


@dataclass(frozen=True)
class RuleAnswer:
    """A version of a scope's rule; ``rule`` is null where the built-in one holds again."""

    scope: str
    version: int
    rule: object
    author: str
    reason: str
    made: str


@dataclass(frozen=True)
class RulesAnswer:
    """The built-in rules by grade, and every own version, the oldest first."""

    built_in: object
    versions: tuple[RuleAnswer, ...]


@dataclass(frozen=True)
class DelegationBody:
    """Whom the caller lets decide, in which role, for which span."""

    grantee: Annotated[str, Rule("a person with the same role", minimum=1, maximum=100)]
    role: Role
    ends: Annotated[str, TIME]
    begins: Annotated[str, TIME] = ""


@dataclass(frozen=True)
class DelegationAnswer:
    """A delegation; ``ended`` is empty unless it was taken back."""

    delegation: str
    grantor: str
    grantee: str
    role: str
    begins: str
    ends: str
    ended: str
    holds: bool


@dataclass(frozen=True)
class DelegationsAnswer:
    """Every delegation, the oldest first."""

    delegations: tuple[DelegationAnswer, ...]


def approval_rules_blueprint(services: NodeServices, access: Access) -> Blueprint:
    """Routes for rules and delegations."""
    bp = Blueprint("approval_rules", __name__, url_prefix="/v1")
    rules = services.approvals.rules

    @bp.get("/approval-rules")
    @describe(
        "Who must approve what, in versions", role="any", query=RulesQuery, response=RulesAnswer, tags=_TAGS
    )
    def listed() -> Response:
        access.require()
        return jsonify(
            built_in={grade.value: rule.as_json() for grade, rule in RULES.items()},
            versions=[_version(one) for one in rules.history(query(RulesQuery).scope)],
        )

    @bp.post("/approval-rules")
    @describe(
        "Set the next version of a scope's rule",
        role="administrator",
        request=RuleBody,
        response=RuleAnswer,
        status=201,
        tags=_TAGS,
    )
    def set_rule() -> tuple[Response, int]:
        person, asked = access.require(Role.ADMINISTRATOR), body(RuleBody)
        rule = None if asked.rule is None else ApprovalRule.parse(asked.rule)
        return jsonify(_version(rules.set(asked.scope, rule, person, asked.reason))), 201

    @bp.get("/delegations")
    @describe("Who may decide in whose place", role="any", response=DelegationsAnswer, tags=_TAGS)
    def delegations() -> Response:
        access.require()
        return jsonify(delegations=[_delegation(one) for one in rules.delegations()])

    @bp.post("/delegations")
    @describe(
        "Let another person with the same role decide in the own place for a span",
        role="any",
        request=DelegationBody,
        response=DelegationAnswer,
        status=201,
        tags=_TAGS,
    )
    def delegate() -> tuple[Response, int]:
        person, asked = access.require(), body(DelegationBody)
        begins = _moment("begins", asked.begins) if asked.begins else services.clock().replace(microsecond=0)
        made = rules.delegate(person, asked.grantee, asked.role.value, begins, _moment("ends", asked.ends))
        return jsonify(_delegation(next(one for one in rules.delegations() if one.delegation == made))), 201

    @bp.post("/delegations/<delegation>/end")
    @describe(
        "Take a delegation back, as the one who gave it or as an administrator",
        role="any",
        media="text/plain",
        status=204,
        tags=_TAGS,
    )
    def end(delegation: str) -> tuple[str, int]:
        rules.end_delegation(delegation, access.require())
        return "", 204

    def _delegation(kept: KeptDelegation) -> dict[str, Any]:
        return {
            "delegation": kept.delegation,
            "grantor": kept.terms.grantor,
            "grantee": kept.terms.grantee,
            "role": kept.terms.role,
            "begins": format_time(kept.terms.begins),
            "ends": format_time(kept.terms.ends),
            "ended": "" if kept.ended is None else format_time(kept.ended),
            "holds": kept.holds(services.clock()),
        }

    return bp


def _moment(field: str, text: str) -> datetime:
    return datetime.fromtimestamp(unix_time(field, text) or 0, UTC)


def _version(one: RuleVersion) -> dict[str, Any]:
    return {
        "scope": one.scope,
        "version": one.version,
        "rule": None if one.rule is None else one.rule.as_json(),
        "author": one.author,
        "reason": one.reason,
        "made": format_time(one.made),
    }
