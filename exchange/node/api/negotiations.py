"""Asking for agreements, deciding on them, and what came of it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Annotated, Any

from flask import Blueprint, Response, jsonify

from exchange.errors import InvalidRequest, NotFound, TimedOut
from exchange.node.api.access import Access
from exchange.node.api.assets import ReasonBody
from exchange.node.lineage import lineage
from exchange.node.negotiations import Negotiations
from exchange.node.people import Role
from exchange.node.services import NodeServices
from exchange.web.fields import Rule, body
from exchange.web.openapi import describe
from policies.terms import Terms, from_policy

__all__ = ["negotiations_blueprint"]

_SETTLE_S = 30.0
_OWN_FIELDS = {"purposes", "operations", "columns", "uses", "expires", "min_cohort", "output_types"}


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
    clauses: Annotated[dict[str, object], Rule("further clauses of the terms, by name")] = field(
        default_factory=dict
    )


@dataclass(frozen=True)
class OfferRequest:
    """What an owner offers to a member that has not asked."""

    asset: str
    consumer: Annotated[str, Rule("a member's name or DID", minimum=1, maximum=256)]
    terms: Annotated[dict[str, object], Rule("all clauses, as in a publication")]


@dataclass(frozen=True)
class CounterRequest:
    """What a side proposes instead of the last proposal."""

    terms: Annotated[dict[str, object], Rule("the clauses that differ", minimum=1)]


@dataclass(frozen=True)
class AcceptRequest:
    """Which offer is taken."""

    round: Annotated[int, Rule("number of the offer's round", minimum=1)]


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
        for name in sorted(_OWN_FIELDS & set(asked.clauses)):
            raise InvalidRequest(f"clauses.{name}", "a clause that has no field of its own", name)
        terms = Terms.parse(
            {
                "purposes": [asked.purpose],
                "operations": list(asked.operations),
                "columns": list(asked.columns),
                "uses": asked.uses,
                "expires": asked.expires,
                "min_cohort": asked.min_cohort,
                "output_types": list(asked.output_types),
                **asked.clauses,
            }
        )
        negotiation = negotiations.request(asked.asset, terms)
        return jsonify(_shown(_row(negotiation))), 201

    @bp.post("/offers")
    @describe(
        "Offer an own asset to a member that has not asked",
        role="steward",
        request=OfferRequest,
        response={"type": "object"},
        status=201,
        tags=("agreements",),
    )
    def offer() -> tuple[Response, int]:
        access.require(Role.STEWARD)
        asked = body(OfferRequest)
        negotiation = negotiations.offer(asked.asset, asked.consumer, Terms.parse(asked.terms))
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
        "One negotiation: its terms and rounds, whether the offer covers it, what each technique reveals",
        role="any",
        response={"type": "object"},
        tags=("agreements",),
    )
    def show(negotiation: str) -> Response:
        access.require()
        told = {"history": negotiations.history(negotiation), "connector": _connector(negotiation)}
        return jsonify({**_shown(_row(negotiation)), **told})

    @bp.post("/negotiations/<negotiation>/counter")
    @describe(
        "Answer the other side's last proposal with other terms: as its owner (steward), or as who asked",
        role="steward",
        request=CounterRequest,
        response={"type": "object"},
        tags=("agreements",),
    )
    def counter(negotiation: str) -> Response:
        is_owner = _row(negotiation)["provider"] == services.keys.did
        access.require(Role.STEWARD if is_owner else Role.ANALYST)
        negotiations.counter(negotiation, body(CounterRequest).terms)
        return jsonify(_shown(_row(negotiation)))

    @bp.post("/negotiations/<negotiation>/accept")
    @describe(
        "Take the owner's last offer as it is",
        role="analyst",
        request=AcceptRequest,
        response={"type": "object"},
        tags=("agreements",),
    )
    def accept(negotiation: str) -> Response:
        access.require(Role.ANALYST)
        negotiations.accept(negotiation, body(AcceptRequest).round)
        return jsonify(_shown(_row(negotiation)))

    @bp.post("/negotiations/<negotiation>/approve")
    @describe(
        "Approve a request, or an accepted offer, as a steward or approver of the owner",
        role="steward",
        request=ReasonBody,
        response={"type": "object"},
        tags=("agreements",),
    )
    def approve(negotiation: str) -> Response:
        person = access.require(Role.STEWARD, Role.APPROVER)
        if negotiations.approve(negotiation, person, body(ReasonBody).reason).is_approved:
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
        person = access.require(Role.STEWARD, Role.APPROVER, Role.ANALYST)
        negotiations.reject(negotiation, person, body(ReasonBody).reason)
        _settled(negotiation)
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
        "Take an agreement back: no new job starts under it, those under way end; lists what used it",
        role="steward",
        request=ReasonBody,
        response={"type": "object"},
        tags=("agreements",),
    )
    def revoke(agreement: str) -> Response:
        access.require(Role.STEWARD)
        entry = negotiations.revoke(agreement, body(ReasonBody).reason)
        used = lineage(services.ledger.state, agreement)["forwards"]
        return jsonify(agreement=agreement, txid=entry.txid, index=entry.index, used=used)

    def _connector(negotiation: str) -> dict[str, Any] | None:
        """How far the Dataspace Protocol's messages are, and why no further; None where none was sent."""
        kept = services.store.dataspace.find("negotiation", negotiation)
        if kept is None:
            return None
        return {"state": kept.state, "tries": kept.tries, "problem": kept.problem}

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
