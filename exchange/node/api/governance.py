"""Members and their governance: who is in, what is proposed, who voted. Shown as the next batch finds it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Any

from flask import Blueprint, Response, jsonify

from exchange.credentials.holdings import reviews_of
from exchange.errors import NotFound
from exchange.node.api.access import Access
from exchange.node.people import Role
from exchange.node.services import NodeServices
from exchange.web.fields import Rule, body
from exchange.web.openapi import describe
from ledger.entries import new_id
from ledger.tables import Row, State

__all__ = ["governance_blueprint"]


@dataclass(frozen=True)
class ProposalRequest:
    """What is to change, when, and why."""

    actions: Annotated[tuple[dict[str, object], ...], Rule("what to change", minimum=1, maximum=8)]
    effective_after: Annotated[int, Rule("entries until it counts", minimum=0, maximum=100_000)] = 0
    reason: Annotated[str, Rule("why", maximum=1000)] = ""


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
        return jsonify(members=[dict(row) for row in services.ledger.next_state.rows("members").values()])

    @bp.get("/governance/proposals")
    @describe("Proposals and their votes", role="any", response={"type": "object"}, tags=("governance",))
    def proposals() -> Response:
        access.require()
        state = services.ledger.next_state
        return jsonify(proposals=[_shown(state, row) for row in state.rows("proposals").values()])

    @bp.post("/governance/proposals")
    @describe(
        "Propose a change of members, keys or parameters",
        role="administrator",
        request=ProposalRequest,
        response={"type": "object"},
        status=201,
        tags=("governance",),
    )
    def propose() -> tuple[Response, int]:
        access.require(Role.ADMINISTRATOR)
        proposal, asked = new_id("proposal", services.clock), body(ProposalRequest)
        entry_body: dict[str, object] = {
            "proposal": proposal,
            "actions": list(asked.actions),
            "effective_after": asked.effective_after,
        }
        entry_body |= {"reason": asked.reason} if asked.reason else {}
        entry = services.ledger.write("gov.propose", entry_body)
        return jsonify(proposal=proposal, txid=entry.txid, index=entry.index), 201

    @bp.post("/governance/proposals/<proposal>/withdraw")
    @describe(
        "Take back an open proposal of this member",
        role="administrator",
        response={"type": "object"},
        tags=("governance",),
    )
    def withdraw(proposal: str) -> Response:
        access.require(Role.ADMINISTRATOR)
        _require_known(services, proposal)
        entry = services.ledger.write("gov.withdraw", {"proposal": proposal})
        return jsonify(proposal=proposal, txid=entry.txid, index=entry.index)

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
        _require_known(services, proposal)
        entry = services.ledger.write(
            "gov.vote", {"proposal": proposal, "approve": body(VoteRequest).approve}
        )
        return jsonify(proposal=proposal, txid=entry.txid, index=entry.index)

    return bp


def _shown(state: State, row: Row) -> dict[str, Any]:
    """A proposal with the reviews that stand of whom it would admit, for those who vote."""
    applicants = [
        action["enrolment"]["member"]["did"] for action in row["actions"] if action["action"] == "member.add"
    ]
    reviews = {did: [dict(review) for review in reviews_of(state, did)] for did in applicants}
    return {**row, "reviews": reviews}


def _require_known(services: NodeServices, proposal: str) -> None:
    if services.ledger.awaited("proposals", proposal) is None:
        raise NotFound(f"no proposal {proposal}")
