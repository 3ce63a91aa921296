"""Standing permissions for repetitions of a job: proposing, listing, revoking. People approve them."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Annotated, Any, Literal

from flask import Blueprint, Response, jsonify

from exchange.errors import NotFound
from exchange.jobs.spec import JobSpec
from exchange.node import job_approvals
from exchange.node.api.access import Access
from exchange.node.api.assets import ReasonBody
from exchange.node.approvals import RequestState
from exchange.node.people import Role
from exchange.node.permissions import PermissionView
from exchange.node.services import NodeServices
from exchange.web.fields import TIME, Rule, body, unix_time
from exchange.web.openapi import describe
from ledger.times import format_time

__all__ = ["permissions_blueprint"]

_TAGS = ("approvals",)


@dataclass(frozen=True)
class PermissionBody:
    """Which job's repetitions, how many or until when."""

    job: Annotated[str, Rule("a job that people here were asked to approve", minimum=1, maximum=80)]
    bound: Annotated[Literal["spec", "shape"], Rule("this specification alone, or all like it")] = "shape"
    times: Annotated[int, Rule("how many jobs; 0: not counted", minimum=0, maximum=10_000)] = 0
    until: Annotated[str | None, TIME] = None


@dataclass(frozen=True)
class PermissionAnswer:
    """A permission; ``request`` is the request by which people approve it."""

    permission: str
    bound: str
    digest: str
    submitter: str
    job: str
    times: int
    uses: int
    until: str
    author: str
    made: str
    request: str
    state: RequestState
    ended: str
    holds: bool


@dataclass(frozen=True)
class PermissionsAnswer:
    """Every permission, the oldest first."""

    permissions: tuple[PermissionAnswer, ...]


def permissions_blueprint(services: NodeServices, access: Access) -> Blueprint:
    """Routes for permissions."""
    bp = Blueprint("permissions", __name__, url_prefix="/v1/permissions")
    permissions = services.permissions

    @bp.get("")
    @describe("Standing permissions at this node", role="any", response=PermissionsAnswer, tags=_TAGS)
    def listed() -> Response:
        access.require()
        return jsonify(permissions=[_shown(one) for one in permissions.all()])

    @bp.post("")
    @describe(
        "Propose to approve the repetitions of a job without asking again; people approve the proposal",
        role="steward",
        request=PermissionBody,
        response=PermissionAnswer,
        status=201,
        tags=_TAGS,
    )
    def propose() -> tuple[Response, int]:
        person, asked = access.require(Role.STEWARD, Role.APPROVER), body(PermissionBody)
        row, raw = services.ledger.final("jobs", asked.job), services.store.jobs.spec(asked.job)
        standing = None
        if row is not None:
            standing = services.approvals.standing(job_approvals.KIND, asked.job, row["spec"])
        if raw is None or standing is None:
            raise NotFound(f"nobody here was asked to approve job {asked.job}")
        seconds = unix_time("until", asked.until)
        until = None if seconds is None else datetime.fromtimestamp(seconds, UTC)
        spec = JobSpec.parse(raw)
        made = permissions.propose(spec, standing, person, bound=asked.bound, times=asked.times, until=until)
        return jsonify(_shown(made)), 201

    @bp.post("/<permission>/revoke")
    @describe(
        "End a permission; jobs that it has approved stay approved",
        role="steward",
        request=ReasonBody,
        response=PermissionAnswer,
        tags=_TAGS,
    )
    def revoke(permission: str) -> Response:
        permissions.revoke(permission, access.require(), body(ReasonBody).reason)
        return jsonify(_shown(permissions.of(permission)))

    def _shown(view: PermissionView) -> dict[str, Any]:
        kept, standing = view.kept, view.standing
        return {
            "permission": kept.permission,
            "bound": kept.bound,
            "digest": kept.digest,
            "submitter": kept.submitter,
            "job": kept.job,
            "times": kept.times,
            "uses": kept.uses,
            "until": format_time(kept.until),
            "author": kept.author,
            "made": format_time(kept.made),
            "request": "" if standing is None else standing.request.request,
            "state": (RequestState.PENDING if standing is None else standing.state).value,
            "ended": "" if kept.ended is None else format_time(kept.ended),
            "holds": view.holds(services.clock()),
        }

    return bp
