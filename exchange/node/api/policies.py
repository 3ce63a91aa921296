"""Policies: would a job pass, what an agreement says, and the profile that this node decides by."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Annotated, Literal

from flask import Blueprint, Response, jsonify

from exchange.errors import InvalidRequest, NotFound
from exchange.jobs.spec import JobSpec
from exchange.node.api.access import Access
from exchange.node.services import NodeServices
from exchange.node.simulation import simulate
from exchange.web.fields import Rule, body, query
from exchange.web.openapi import describe
from ledger import canonical
from ledger.errors import LedgerError
from ledger.times import parse_time
from policies import terms
from policies.prepared import prepare
from policies.vocabulary import context_document, profile_document
from policies.words import describe as in_words
from policies.words import is_understood

__all__ = ["policies_blueprint"]

_OBJECT = {"type": "object"}
Spoken = Annotated[Literal["en", "zh"], Rule("en or zh")]


@dataclass(frozen=True)
class SimulationBody:
    """A draft's specification, or the id of a job on the ledger; and the moment, where it is not now."""

    spec: dict[str, object] | None = None
    job: str | None = None
    at: Annotated[str | None, Rule("a time like 2026-12-31T00:00:00Z")] = None
    language: Spoken = "en"


@dataclass(frozen=True)
class LanguageQuery:
    """The language of the words."""

    language: Spoken = "en"


def policies_blueprint(services: NodeServices, access: Access) -> Blueprint:
    """Routes for policies."""
    bp = Blueprint("policies", __name__, url_prefix="/v1")

    @bp.post("/policy/simulations")
    @describe(
        "Whether each owner would let a job start, and every clause against it; writes nothing",
        role="any",
        request=SimulationBody,
        response=_OBJECT,
        tags=("policies",),
    )
    def simulation() -> Response:
        access.require()
        asked = body(SimulationBody)
        spec, submitter = _subject(asked)
        found = simulate(spec, submitter, services.ledger.state, services.registry, _moment(asked.at))
        return jsonify(found.as_json(asked.language))

    @bp.get("/agreements/<agreement>/policy")
    @describe(
        "What an agreement says, in words, and what is left of it",
        role="any",
        query=LanguageQuery,
        response=_OBJECT,
        tags=("policies",),
    )
    def explain(agreement: str) -> Response:
        access.require()
        row = services.ledger.final("agreements", agreement)
        if row is None:
            raise NotFound(f"no agreement {agreement} on this node's ledger")
        policy = prepare(row["policy"]).policy
        agreed = terms.read(row["policy"])
        return jsonify(
            agreement=agreement,
            status=row["status"],
            uses=row["uses"],
            limits=row["limits"],
            words=list(in_words(policy, query(LanguageQuery).language)),
            is_understood=is_understood(policy),
            terms=None if agreed is None else agreed.as_json(),
            policy=row["policy"],
        )

    @bp.get("/policy/profile")
    @describe("The ODRL profile that this node decides by", media="text/turtle", tags=("policies",))
    def profile() -> Response:
        return Response(profile_document(), content_type="text/turtle")

    @bp.get("/policy/context")
    @describe("The JSON-LD context of the profile", media="application/ld+json", tags=("policies",))
    def context() -> Response:
        return Response(context_document(), content_type="application/ld+json")

    def _subject(asked: SimulationBody) -> tuple[JobSpec, str]:
        """The specification that is asked about, and who submits it."""
        if (asked.spec is None) is (asked.job is None):
            raise InvalidRequest("spec", "either spec or job", "both" if asked.job else "neither")
        if asked.spec is not None:
            try:
                raw = canonical.encode(asked.spec)
            except LedgerError as exc:
                raise InvalidRequest("spec", "values of canonical JSON", str(exc)) from exc
            return JobSpec.parse(raw), services.keys.did
        job = str(asked.job)
        row = services.ledger.final("jobs", job)
        if row is None:
            raise NotFound(f"no job {job} on this node's ledger")
        raw = services.store.jobs.spec(job) or services.hub.get_spec(job)
        return JobSpec.parse(raw), str(row["submitter"])

    def _moment(at: str | None) -> datetime:
        if at is None:
            return services.clock()
        try:
            return parse_time(at)
        except ValueError as exc:
            raise InvalidRequest("at", "a time like 2026-12-31T00:00:00Z", repr(at)[:40]) from exc

    return bp
