"""Members and their governance: who is in, who is proposed, who voted."""

from __future__ import annotations

from dataclasses import dataclass

from flask import Blueprint, Response, jsonify

from exchange.errors import NotFound
from exchange.node.api.access import Access
from exchange.node.people import Role
from exchange.node.services import NodeServices
from exchange.web.fields import body
from exchange.web.openapi import describe
from ledger.entries import new_id

__all__ = ["governance_blueprint"]


@dataclass(frozen=True)
class ProposalRequest:
    """The signed enrolment of whom to admit."""

    enrolment: dict[str, object]


@dataclass(frozen=True)
class VoteRequest:
    """A vote of this member."""

    approve: bool


def governance_blueprint(services: NodeServices, access: Access) -> Blueprint:
    """Routes for members and proposals."""
    bp = Blueprint("governance", __name__, url_prefix="/v1")

    @bp.get("/members")
    @describe("Members of the consortium", role="any", response={"type": "object"}, tags=("governance",))
    def members() -> Response:
        access.require()
        return jsonify(members=[dict(row) for row in services.ledger.final_rows("members")])

    @bp.get("/governance/proposals")
    @describe("Proposals and their votes", role="any", response={"type": "object"}, tags=("governance",))
    def proposals() -> Response:
        access.require()
        return jsonify(proposals=[dict(row) for row in services.ledger.final_rows("proposals")])

    @bp.post("/governance/proposals")
    @describe(
        "Propose to admit the applicant of an enrolment",
        role="administrator",
        request=ProposalRequest,
        response={"type": "object"},
        status=201,
        tags=("governance",),
    )
    def propose() -> tuple[Response, int]:
        access.require(Role.ADMINISTRATOR)
        proposal = new_id("proposal", services.clock)
        actions = [{"action": "member.add", "enrolment": body(ProposalRequest).enrolment}]
        entry = services.ledger.write("gov.propose", {"proposal": proposal, "actions": actions})
        return jsonify(proposal=proposal, txid=entry.txid, index=entry.index), 201

    @bp.post("/governance/proposals/<proposal>/votes")
    @describe(
        "Vote on a proposal as this member",
        role="administrator",
        request=VoteRequest,
        response={"type": "object"},
        tags=("governance",),
    )
    def vote(proposal: str) -> Response:
        access.require(Role.ADMINISTRATOR)
        if services.ledger.awaited("proposals", proposal) is None:
            raise NotFound(f"no proposal {proposal}")
        entry = services.ledger.write(
            "gov.vote", {"proposal": proposal, "approve": body(VoteRequest).approve}
        )
        return jsonify(proposal=proposal, txid=entry.txid, index=entry.index)

    return bp
