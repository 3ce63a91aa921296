"""Asking for agreements, deciding on them, and what came of it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, Any

from flask import Blueprint, Response, jsonify

from exchange.errors import NotFound, TimedOut
from exchange.node.api.access import Access
from exchange.node.api.assets import ReasonBody
from exchange.node.negotiations import Negotiations
from exchange.node.people import Role
from exchange.node.services import NodeServices
from exchange.web.fields import Rule, body
from exchange.web.openapi import describe
from policies.terms import Terms, from_policy

__all__ = ["negotiations_blueprint"]

_SETTLE_S = 30.0


@dataclass(frozen=True)
class AgreementRequest:
    """What a consumer asks of an owner."""

    asset: str
    purpose: str
    operations: tuple[str, ...]
    columns: tuple[str, ...]
    uses: Annotated[int, Rule("how many jobs", minimum=1)]
    expires: Annotated[str, Rule("a time like 2026-12-31T00:00:00Z")]
    min_cohort: Annotated[int, Rule("smallest group that may be released", minimum=1)]
    output_types: tuple[str, ...] = ("aggregate", "cardinality")


def negotiations_blueprint(services: NodeServices, access: Access, negotiations: Negotiations) -> Blueprint:
    """Routes for negotiations and agreements."""
    bp = Blueprint("negotiations", __name__, url_prefix="/v1")

    @bp.post("/negotiations")
    @describe(
        "Ask an owner for an agreement",
        role="analyst",
        request=AgreementRequest,
        response={"type": "object"},
        status=201,
        tags=("agreements",),
    )
    def ask() -> tuple[Response, int]:
        access.require(Role.ANALYST)
        asked = body(AgreementRequest)
        terms = Terms.parse(
            {
                "purposes": [asked.purpose],
                "operations": list(asked.operations),
                "columns": list(asked.columns),
                "uses": asked.uses,
                "expires": asked.expires,
                "min_cohort": asked.min_cohort,
                "output_types": list(asked.output_types),
            }
        )
        negotiation = negotiations.request(asked.asset, terms)
        return jsonify(_shown(_row(negotiation))), 201

    @bp.get("/negotiations")
    @describe(
        "This participant's negotiations", role="any", response={"type": "object"}, tags=("agreements",)
    )
    def listed() -> Response:
        access.require()
        me = services.keys.did
        rows = [
            row
            for row in services.ledger.final_rows("negotiations")
            if me in (row["consumer"], row["provider"])
        ]
        return jsonify(negotiations=[_shown(row) for row in rows])

    @bp.get("/negotiations/<negotiation>")
    @describe(
        "One negotiation: what is asked, whether the offer covers it, what each technique reveals",
        role="any",
        response={"type": "object"},
        tags=("agreements",),
    )
    def show(negotiation: str) -> Response:
        access.require()
        return jsonify(_shown(_row(negotiation)))

    @bp.post("/negotiations/<negotiation>/approve")
    @describe(
        "Approve a request, as a steward or approver of the owner",
        role="steward",
        request=ReasonBody,
        response={"type": "object"},
        tags=("agreements",),
    )
    def approve(negotiation: str) -> Response:
        person = access.require(Role.STEWARD, Role.APPROVER)
        role = Role.STEWARD if Role.STEWARD in person.roles else Role.APPROVER
        negotiations.approve(negotiation, person.name, role.value, body(ReasonBody).reason)
        if _row(negotiation)["state"] != "REQUESTED":
            _settled(negotiation)
        return jsonify(_shown(_row(negotiation)))

    @bp.post("/negotiations/<negotiation>/reject")
    @describe(
        "End a negotiation without an agreement",
        role="steward",
        request=ReasonBody,
        response={"type": "object"},
        tags=("agreements",),
    )
    def reject(negotiation: str) -> Response:
        access.require(Role.STEWARD, Role.APPROVER, Role.ANALYST)
        negotiations.reject(negotiation, body(ReasonBody).reason)
        return jsonify(_shown(_row(negotiation)))

    @bp.get("/agreements")
    @describe(
        "Agreements this participant is a side of",
        role="any",
        response={"type": "object"},
        tags=("agreements",),
    )
    def agreements() -> Response:
        access.require()
        me = services.keys.did
        rows = [
            row
            for row in services.ledger.final_rows("agreements")
            if me in (row["consumer"], row["provider"])
        ]
        return jsonify(agreements=[dict(row) for row in rows])

    @bp.post("/agreements/<agreement>/revoke")
    @describe(
        "Take an agreement back: no new job starts under it",
        role="steward",
        request=ReasonBody,
        response={"type": "object"},
        tags=("agreements",),
    )
    def revoke(agreement: str) -> Response:
        access.require(Role.STEWARD)
        entry = negotiations.revoke(agreement, body(ReasonBody).reason)
        return jsonify(agreement=agreement, txid=entry.txid, index=entry.index)

    def _row(negotiation: str) -> Mapping[str, Any]:
        row = services.ledger.awaited("negotiations", negotiation)
        if row is None or services.keys.did not in (row["consumer"], row["provider"]):
            raise NotFound(f"this participant has no negotiation {negotiation}")
        return row

    def _settled(negotiation: str) -> None:
        """Give both nodes a moment for the acts that follow by themselves; a slow peer is no error."""
        try:
            services.ledger.wait_until(
                lambda: (
                    _row(negotiation) if _row(negotiation)["state"] in ("FINALIZED", "TERMINATED") else None
                ),
                _SETTLE_S,
                "both sides to put the agreement in force",
            )
        except TimedOut:
            return

    def _shown(row: Mapping[str, Any]) -> dict[str, Any]:
        asked = from_policy(row["offer"])
        leaks = {
            component.name: {role: list(facts) for role, facts in component.protocol.leaks.items()}
            for component in services.registry
            if component.protocol is not None and component.name in asked.operations
        }
        beyond = list(negotiations.exceeding(row))
        given = row.get("agreement")
        return {
            **row,
            "agreement": None if given is None else given["id"],
            "terms": asked.as_json(),
            "beyond_offer": beyond,
            "reveals": leaks,
        }

    return bp
