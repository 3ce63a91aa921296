"""Budgets of assets and agreements, output checks, outputs on their way, lineage."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Any

from flask import Blueprint, Response, jsonify

from exchange.errors import NotFound
from exchange.jobs.disclosure import OutputRules
from exchange.node import budgets
from exchange.node.api.access import Access
from exchange.node.lineage import lineage
from exchange.node.people import Role
from exchange.node.services import NodeServices
from exchange.web.fields import Rule, body, query
from exchange.web.openapi import describe

__all__ = ["budgets_blueprint"]

_OBJECT = {"type": "object"}
_LATEST = 200


@dataclass(frozen=True)
class RateBody:
    """At most so many jobs in any span of so many seconds."""

    jobs: Annotated[int, Rule("1 to 1024", minimum=1, maximum=1024)]
    seconds: Annotated[int, Rule("at most a year", minimum=1, maximum=366 * 86_400)]


@dataclass(frozen=True)
class BudgetBody:
    """The budget of an asset over all its agreements; what is not stated is not limited."""

    reason: Annotated[str, Rule("a reason that all members read", minimum=1, maximum=500)]
    uses: Annotated[int | None, Rule("how many jobs", minimum=1)] = None
    epsilon_micro: Annotated[int | None, Rule("privacy loss in millionths", minimum=1)] = None
    delta_exponent: Annotated[int | None, Rule("k of delta = 10^-k", minimum=1, maximum=30)] = None
    rate: RateBody | None = None


@dataclass(frozen=True)
class LineageQuery:
    """An asset, an agreement, a job, or a member by name or DID."""

    subject: Annotated[str, Rule("an id", minimum=1, maximum=300)]


def budgets_blueprint(services: NodeServices, access: Access) -> Blueprint:
    """Routes for budgets, output checks, releases and lineage."""
    bp = Blueprint("budgets", __name__, url_prefix="/v1")

    @bp.get("/budgets")
    @describe(
        "Budgets of this participant's assets and of the agreements it is a side of",
        role="any",
        response=_OBJECT,
        tags=("budgets",),
    )
    def show() -> Response:
        access.require()
        return jsonify(budgets=budgets.shown(services.ledger.state, services.keys.did))

    @bp.post("/assets/<path:asset>/budget")
    @describe(
        "Set or refill the budget of an asset; what is spent stays spent",
        role="steward",
        request=BudgetBody,
        response=_OBJECT,
        tags=("budgets",),
    )
    def set_budget(asset: str) -> Response:
        access.require(Role.STEWARD)
        asked = body(BudgetBody)
        _own(asset)
        limits: dict[str, object] = {
            name: value
            for name in ("uses", "epsilon_micro", "delta_exponent")
            if (value := getattr(asked, name)) is not None
        }
        if asked.rate is not None:
            limits["rate"] = {"jobs": asked.rate.jobs, "seconds": asked.rate.seconds}
        entry = services.ledger.write(
            "asset.budget", {"asset": asset, "budget": limits, "reason": asked.reason}
        )
        return jsonify(asset=asset, budget=limits, txid=entry.txid, index=entry.index)

    @bp.get("/assets/<path:asset>/output-rules")
    @describe("The output checks of an own asset", role="any", response=_OBJECT, tags=("budgets",))
    def output_rules(asset: str) -> Response:
        access.require()
        _own(asset)
        stored = services.store.releases.rules(asset)
        rules = OutputRules.NONE if stored is None else OutputRules.parse(stored)
        return jsonify(asset=asset, rules=rules.as_json())

    @bp.put("/assets/<path:asset>/output-rules")
    @describe(
        "Set the output checks of an own asset, for every output from now on",
        role="steward",
        request=OutputRules,
        response=_OBJECT,
        tags=("budgets",),
    )
    def set_output_rules(asset: str) -> Response:
        person = access.require(Role.STEWARD)
        rules = body(OutputRules)
        _own(asset)
        services.store.releases.set_rules(asset, rules.as_json(), person.name)
        return jsonify(asset=asset, rules=rules.as_json())

    @bp.get("/releases")
    @describe(
        "The newest outputs of this owner's steps and how far each is",
        role="any",
        response=_OBJECT,
        tags=("budgets",),
    )
    def releases() -> Response:
        access.require()
        found = services.store.releases.latest(_LATEST)
        keys = ("job", "step", "asset", "digest", "shape", "is_exact", "minimum", "state")
        return jsonify(releases=[{key: getattr(one, key) for key in keys} for one in found])

    @bp.get("/lineage")
    @describe(
        "What a subject went into and what went into it, from this node's copy of the ledger",
        role="any",
        query=LineageQuery,
        response=_OBJECT,
        tags=("budgets",),
    )
    def trace() -> Response:
        access.require()
        return jsonify(lineage(services.ledger.state, query(LineageQuery).subject))

    def _own(asset: str) -> dict[str, Any]:
        row = services.ledger.final("assets", asset)
        if row is None or row["owner"] != services.keys.did:
            raise NotFound(f"this participant has no asset {asset}")
        return dict(row)

    return bp
