"""SQL: what a query would compute where, at what cost, and who would learn what; and the job it makes."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Literal

from flask import Blueprint, Response, jsonify

from exchange.node.api.access import Access
from exchange.node.people import Role
from exchange.node.queries import Queries
from exchange.sql.syntax import MAX_LENGTH
from exchange.web.fields import Rule, body
from exchange.web.openapi import describe

__all__ = ["queries_blueprint"]


@dataclass(frozen=True)
class QueryBody:
    """A query, and what its job states besides."""

    query: Annotated[str, Rule("a SELECT statement", minimum=1, maximum=MAX_LENGTH)]
    purpose: Annotated[str, Rule("a purpose", minimum=1, maximum=200)]
    title: Annotated[str, Rule("a title", maximum=200)] = ""
    min_cohort: Annotated[int, Rule("at least 1", minimum=1, maximum=2**31)] = 10
    helper: Annotated[str | None, Rule("a member's name or DID", minimum=1, maximum=200)] = None
    matching: Annotated[Literal["psi/ecdh", "psi/rr22"], Rule("psi/ecdh or psi/rr22")] = "psi/ecdh"
    agreements: Annotated[tuple[str, ...], Rule("ids of agreements", maximum=64)] = ()
    language: Annotated[Literal["en", "zh"], Rule("en or zh")] = "en"


def queries_blueprint(access: Access, queries: Queries) -> Blueprint:
    """Routes for SQL."""
    bp = Blueprint("queries", __name__, url_prefix="/v1")

    @bp.post("/sql/explanations")
    @describe(
        "Explain a query: operators, cost, who learns what, owners' decisions, and its job; writes nothing",
        role="analyst",
        request=QueryBody,
        response={"type": "object"},
        tags=("sql",),
    )
    def explanation() -> Response:
        access.require(Role.ANALYST)
        asked = body(QueryBody)
        return jsonify(
            queries.explain(
                asked.query,
                asked.purpose,
                title=asked.title,
                minimum=asked.min_cohort,
                helper=asked.helper,
                matching=asked.matching,
                agreements=asked.agreements,
                language=asked.language,
            )
        )

    return bp
