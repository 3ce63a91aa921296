"""Joint models: versions on the ledger, this owner's parts, scores of single persons at once."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Annotated, Any

from flask import Blueprint, Response, jsonify

from exchange.node.api.access import Access
from exchange.node.api.assets import ReasonBody
from exchange.node.people import Role
from exchange.scoring.asking import MOST_WAIT_MS, Asked
from exchange.scoring.requests import Fallback, Filing
from exchange.scoring.scoring import Scoring
from exchange.scoring.serving import MAX_PERSON
from exchange.web.fields import Rule, body
from exchange.web.openapi import describe
from ledger.rules.models import MAX_PERSONS, MAX_REASONS

__all__ = ["models_blueprint"]

_TAGS = ("models",)
_ID = Rule("an id like owner/name", pattern="[a-z0-9][a-z0-9-]{0,62}/[a-z0-9][a-z0-9-]{0,62}")
_COLUMN = Rule("a column", minimum=1, maximum=256)
_PURPOSE = Rule("a DPV term", minimum=1, maximum=256)
_MOST_QUESTIONS = 200

Person = Annotated[str, Rule("an identifier", minimum=1, maximum=MAX_PERSON)]


@dataclass(frozen=True, kw_only=True)
class PartBody:
    """How an owner's part is served; without an asset, from the rows of the one that was trained on."""

    key: Annotated[str, _COLUMN]
    asset: Annotated[str | None, _ID] = None
    rules: Annotated[tuple[str, ...], Rule("rules", maximum=16)] = ()
    fallback: Fallback = "none"
    minute: Annotated[int | None, Rule("persons a minute", minimum=1, maximum=10**9)] = None
    day: Annotated[int | None, Rule("persons a day", minimum=1, maximum=10**9)] = None
    reasons: Annotated[int, Rule("columns named as reasons", minimum=0, maximum=MAX_REASONS)] = 0


@dataclass(frozen=True, kw_only=True)
class DraftBody:
    """The next version of a model, from a step of a completed job."""

    model: Annotated[str, _ID]
    job: Annotated[str, Rule("a job's id", minimum=1, maximum=64)]
    step: Annotated[str, Rule("a step's id", minimum=1, maximum=64)]
    purposes: Annotated[tuple[Annotated[str, _PURPOSE], ...], Rule("DPV terms", minimum=1, maximum=32)]
    part: PartBody


@dataclass(frozen=True, repr=False, kw_only=True)
class ScoreBody:
    """Whom to score, and for what; without a version, the latest that is published is used."""

    persons: Annotated[tuple[Person, ...], Rule("identifiers", minimum=1, maximum=MAX_PERSONS)] = field(
        repr=False
    )
    purpose: Annotated[str, _PURPOSE]
    version: Annotated[int | None, Rule("a version", minimum=1, maximum=10**6)] = None
    wait_ms: Annotated[
        int, Rule("milliseconds to wait for other owners", minimum=10, maximum=MOST_WAIT_MS)
    ] = 500


def models_blueprint(access: Access, scoring: Scoring) -> Blueprint:
    """Routes of joint models."""
    bp = Blueprint("models", __name__, url_prefix="/v1/models")

    @bp.get("")
    @describe("All versions of all models on the ledger", role="any", response={"type": "object"}, tags=_TAGS)
    def all_() -> Response:
        access.require()
        return jsonify(models=[dict(row) for row in scoring.models.all()])

    @bp.post("")
    @describe(
        "Draft the next version of a model, as its label holder; it is published when every other owner of "
        "the trained columns has filed its part",
        role="steward",
        request=DraftBody,
        response={"type": "object"},
        status=201,
        tags=_TAGS,
    )
    def draft() -> tuple[Response, int]:
        access.require(Role.STEWARD)
        asked = body(DraftBody)
        row = scoring.models.draft(asked.model, asked.job, asked.step, asked.purposes, _filing(asked.part))
        return jsonify(_shown(scoring, row)), 201

    @bp.get("/<owner>/<name>/<int:version>")
    @describe(
        "A version of a model, and how far this owner's table for it is",
        role="any",
        response={"type": "object"},
        tags=_TAGS,
    )
    def one(owner: str, name: str, version: int) -> Response:
        access.require()
        return jsonify(_shown(scoring, scoring.models.row(f"{owner}/{name}", version)))

    @bp.post("/<owner>/<name>/<int:version>/part")
    @describe(
        "File this owner's part of another owner's draft; with the last part the version is published",
        role="steward",
        request=PartBody,
        response={"type": "object"},
        status=201,
        tags=_TAGS,
    )
    def file(owner: str, name: str, version: int) -> tuple[Response, int]:
        access.require(Role.STEWARD)
        row = scoring.models.file(f"{owner}/{name}", version, _filing(body(PartBody)))
        return jsonify(_shown(scoring, row)), 201

    @bp.post("/<owner>/<name>/<int:version>/withdraw")
    @describe(
        "Withdraw a version, as any of its owners",
        role="steward",
        request=ReasonBody,
        response={"type": "object"},
        tags=_TAGS,
    )
    def withdraw(owner: str, name: str, version: int) -> Response:
        access.require(Role.STEWARD)
        model = f"{owner}/{name}"
        entry = scoring.models.withdraw(model, version, body(ReasonBody).reason)
        return jsonify(model=model, version=version, txid=entry.txid, index=entry.index)

    @bp.post("/<owner>/<name>/score")
    @describe(
        "Score persons at once, as the label holder: the other owners learn who is asked about and answer "
        "with partial scores; a fallback that stands for one is named",
        role="analyst",
        request=ScoreBody,
        response={"type": "object"},
        tags=_TAGS,
    )
    def score(owner: str, name: str) -> Response:
        person, asked = access.require(Role.ANALYST), body(ScoreBody)
        model = f"{owner}/{name}"
        version, scores = scoring.asking.ask(
            Asked(model, asked.version, asked.persons, asked.purpose, asked.wait_ms, person.name)
        )
        return jsonify(model=model, version=version, scores=[vars(one) for one in scores])

    @bp.get("/statement")
    @describe(
        "How many persons were scored and what for, by agreement, version and purpose, as on the ledger",
        role="any",
        response={"type": "object"},
        tags=_TAGS,
    )
    def statement() -> Response:
        access.require()
        return jsonify(accounts=[dict(row) for row in scoring.statement()])

    @bp.get("/questions")
    @describe(
        "Who of this participant asked how often for scores, by day, the latest first; never about whom",
        role="auditor",
        response={"type": "object"},
        tags=_TAGS,
    )
    def questions() -> Response:
        access.require(Role.AUDITOR, Role.ADMINISTRATOR)
        return jsonify(questions=[vars(one) for one in scoring.questions(_MOST_QUESTIONS)])

    return bp


def _filing(given: PartBody) -> Filing:
    return Filing(**vars(given))


def _shown(scoring: Scoring, row: Any) -> dict[str, Any]:  # noqa: ANN401 - a row
    kept = scoring.models.part(row["model"], row["version"])
    own = None if kept is None else {"asset_version": kept.built, "failure": kept.failure}
    return {**row, "table": own}
