"""Submitting jobs, watching them, fetching what came of them."""

from __future__ import annotations

import json
from base64 import b64encode
from dataclasses import dataclass

from flask import Blueprint, Response, jsonify

from exchange.node.api.access import Access
from exchange.node.api.assets import ReasonBody
from exchange.node.jobs import Jobs
from exchange.node.people import Role
from exchange.node.services import NodeServices
from exchange.web.fields import body
from exchange.web.openapi import describe

__all__ = ["jobs_blueprint"]


@dataclass(frozen=True)
class SubmitRequest:
    """A job specification."""

    spec: dict[str, object]


def jobs_blueprint(services: NodeServices, access: Access, jobs: Jobs) -> Blueprint:
    """Routes for jobs and components."""
    bp = Blueprint("jobs", __name__, url_prefix="/v1")

    @bp.get("/components")
    @describe(
        "What a step may do, with each security claim",
        role="any",
        response={"type": "object"},
        tags=("jobs",),
    )
    def components() -> Response:
        access.require()
        return jsonify(components=[component.as_json() for component in services.registry])

    @bp.post("/jobs")
    @describe(
        "Submit a job specification; the same one again changes nothing",
        role="analyst",
        request=SubmitRequest,
        response={"type": "object"},
        status=201,
        tags=("jobs",),
    )
    def submit() -> tuple[Response, int]:
        access.require(Role.ANALYST)
        return jsonify(jobs.submit(body(SubmitRequest).spec)), 201

    @bp.get("/jobs")
    @describe("Jobs this participant takes part in", role="any", response={"type": "object"}, tags=("jobs",))
    def listed() -> Response:
        access.require()
        me = services.keys.did
        rows = [
            row for row in services.ledger.final_rows("jobs") if me in (*row["parties"], row["submitter"])
        ]
        keys = ("job", "state", "purpose", "submitter", "spec", "index")
        return jsonify(jobs=[{key: row[key] for key in keys} for row in rows])

    @bp.get("/jobs/<job>")
    @describe(
        "One job: state, receipts, refusals, progress",
        role="any",
        response={"type": "object"},
        tags=("jobs",),
    )
    def show(job: str) -> Response:
        access.require()
        return jsonify(jobs.describe(job))

    @bp.post("/jobs/<job>/stop")
    @describe(
        "Stop a job at every party: by who asked for it, who takes part, or an owner of its data",
        role="analyst",
        request=ReasonBody,
        response={"type": "object"},
        tags=("jobs",),
    )
    def stop(job: str) -> Response:
        access.require(Role.ANALYST, Role.STEWARD)
        entry = jobs.stop(job, body(ReasonBody).reason)
        return jsonify(job=job, txid=entry.txid, index=entry.index)

    @bp.post("/jobs/<job>/suspend")
    @describe(
        "Pause own parts of a job: an owner its own, who asked for it all; nothing leaves until they go on",
        role="analyst",
        request=ReasonBody,
        response={"type": "object"},
        tags=("jobs",),
    )
    def suspend(job: str) -> Response:
        access.require(Role.ANALYST, Role.STEWARD)
        return jsonify(job=job, suspended=jobs.suspend(job, body(ReasonBody).reason))

    @bp.post("/jobs/<job>/resume")
    @describe(
        "Let the parts go on that this participant has paused",
        role="analyst",
        response={"type": "object"},
        tags=("jobs",),
    )
    def resume(job: str) -> Response:
        access.require(Role.ANALYST, Role.STEWARD)
        return jsonify(job=job, resumed=jobs.resume(job))

    @bp.get("/jobs/<job>/result")
    @describe("The answer, for who asked", role="analyst", response={"type": "object"}, tags=("jobs",))
    def result(job: str) -> Response:
        access.require(Role.ANALYST)
        files = jobs.result(job)
        answer = json.loads(files.pop("result.json", b"null"))
        return jsonify(
            result=answer, files={name: b64encode(content).decode() for name, content in files.items()}
        )

    return bp
