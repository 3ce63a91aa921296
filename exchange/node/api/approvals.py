"""Requests for approval: what is asked, on which card, where it stands; and each person's decision."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import Annotated, Any, Literal

from flask import Blueprint, Response, jsonify

from exchange.errors import Forbidden
from exchange.node.api.access import Access
from exchange.node.approvals import RequestState, Standing
from exchange.node.people import Person, Role
from exchange.node.services import NodeServices
from exchange.web.fields import Rule, body, query
from exchange.web.openapi import describe
from ledger import canonical
from ledger.times import format_time
from policies.approvals import Verdict

__all__ = ["approvals_blueprint"]

_TAGS = ("approvals",)
_READERS = frozenset({Role.STEWARD, Role.APPROVER, Role.AUDITOR, Role.ADMINISTRATOR})


@dataclass(frozen=True)
class ListQuery:
    """Which requests."""

    state: Annotated[Literal["pending", "all"], Rule("pending, or the latest of all")] = "pending"
    kind: Annotated[str, Rule("kind of request, such as job", maximum=20)] = ""


@dataclass(frozen=True)
class DecisionBody:
    """One person's decision."""

    reason: Annotated[str, Rule("why", minimum=1, maximum=1000)]
    binding: Annotated[str, Rule("the request's binding, as it was shown", pattern="[0-9a-f]{64}")]
    behalf: Annotated[str, Rule("whose delegated right is used; empty: the own one", maximum=100)] = ""


@dataclass(frozen=True)
class DecisionAnswer:
    """A decision that was made."""

    approver: str
    role: str
    department: str
    behalf: str
    decision: str
    reason: str


@dataclass(frozen=True)
class MissingAnswer:
    """What a stage still lacks."""

    stage: str
    approvals: int


@dataclass(frozen=True)
class ApprovalAnswer:
    """A request for approval."""

    request: str
    kind: str
    subject: str
    digest: str
    binding: str
    requester: str
    opened: str
    expires: str
    state: RequestState
    reason: str
    missing: tuple[MissingAnswer, ...]
    decisions: tuple[DecisionAnswer, ...]
    rule: object
    card: object
    card_digest: str


@dataclass(frozen=True)
class ApprovalsAnswer:
    """Requests for approval."""

    approvals: tuple[ApprovalAnswer, ...]


def approvals_blueprint(services: NodeServices, access: Access) -> Blueprint:
    """Routes for requests and decisions."""
    bp = Blueprint("approvals", __name__, url_prefix="/v1/approvals")
    approvals = services.approvals

    @bp.get("")
    @describe(
        "Requests for approval at this node",
        role="steward",
        query=ListQuery,
        response=ApprovalsAnswer,
        tags=_TAGS,
    )
    def listed() -> Response:
        person, wanted = access.require(), query(ListQuery)
        found = approvals.listed(pending=wanted.state == "pending", kind=wanted.kind)
        return jsonify(approvals=[_shown(one) for one in found if _may_read(person, one)])

    @bp.get("/<request>")
    @describe("One request with its card and decisions", role="steward", response=ApprovalAnswer, tags=_TAGS)
    def show(request: str) -> Response:
        person, standing = access.require(), approvals.of(request)
        if not _may_read(person, standing):
            raise Forbidden("expected somebody who may decide, an auditor, an administrator or who asked")
        return jsonify(_shown(standing))

    @bp.post("/<request>/approve")
    @describe(
        "Approve exactly what was shown",
        role="steward",
        request=DecisionBody,
        response=ApprovalAnswer,
        tags=_TAGS,
    )
    def approve(request: str) -> Response:
        return jsonify(_decided(request, Verdict.APPROVE))

    @bp.post("/<request>/reject")
    @describe(
        "Reject a request; one rejection by a person who may decide ends it",
        role="steward",
        request=DecisionBody,
        response=ApprovalAnswer,
        tags=_TAGS,
    )
    def reject(request: str) -> Response:
        return jsonify(_decided(request, Verdict.REJECT))

    def _decided(request: str, verdict: Verdict) -> dict[str, Any]:
        person, said = access.require(), body(DecisionBody)
        standing = approvals.decide(
            request, person, verdict, said.reason, binding=said.binding, behalf=said.behalf
        )
        return _shown(standing)

    return bp


def _may_read(person: Person, standing: Standing) -> bool:
    stages = {stage.role for stage in standing.request.rule.stages}
    return (
        bool(person.roles & _READERS)
        or bool({str(role) for role in person.roles} & stages)
        or standing.request.requester == person.name
    )


def _shown(standing: Standing) -> dict[str, Any]:
    kept = standing.request
    return {
        "request": kept.request,
        "kind": kept.kind,
        "subject": kept.subject,
        "digest": kept.digest,
        "binding": kept.binding,
        "requester": kept.requester,
        "opened": format_time(kept.opened),
        "expires": format_time(kept.expires),
        "state": standing.state.value,
        "reason": standing.reason,
        "missing": [{"stage": stage, "approvals": count} for stage, count in standing.missing.items()],
        "decisions": [
            one.as_json() | {"department": one.department, "behalf": one.behalf} for one in standing.decisions
        ],
        "rule": kept.rule.as_json(),
        "card": canonical.decode(kept.card),
        "card_digest": hashlib.sha256(kept.card).hexdigest(),
    }
