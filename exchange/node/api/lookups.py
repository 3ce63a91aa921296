"""Anonymous lookups: asking services, opening and withdrawing own ones, statements of what was asked."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Any

from flask import Blueprint, Response, jsonify

from exchange.lookup.asking import Answer, Asked, Target
from exchange.lookup.lookups import Lookups
from exchange.lookup.publishing import Standing
from exchange.lookup.requests import KeyColumn, ServiceRequest
from exchange.node.api.access import Access
from exchange.node.api.assets import ReasonBody
from exchange.node.people import Role
from exchange.web.fields import Rule, body
from exchange.web.openapi import describe
from ledger.rules.lookups import MAX_QUERIES
from ledger.times import format_time

__all__ = ["lookups_blueprint", "shown_answer"]

_TAGS = ("lookups",)
_SERVICE = Rule("a service's id", pattern="[a-z0-9][a-z0-9-]{0,62}/[a-z0-9][a-z0-9-]{0,62}")
_COLUMN = Rule("a column", minimum=1, maximum=256)
_PURPOSE = Rule("a DPV term", minimum=1, maximum=256)
_MOST_QUESTIONS = 200

Key = Annotated[
    tuple[Annotated[str, Rule("a value", maximum=1000)], ...], Rule("values", minimum=1, maximum=8)
]


@dataclass(frozen=True)
class TargetBody:
    """A service to ask; without an agreement, the first that covers the purpose is used."""

    service: Annotated[str, _SERVICE]
    agreement: Annotated[str | None, Rule("an agreement's id", minimum=1, maximum=64)] = None


@dataclass(frozen=True, repr=False)
class AskBody:
    """Keys to look up: of each, its values in the order of the services' key columns."""

    services: Annotated[tuple[TargetBody, ...], Rule("services", minimum=1, maximum=32)]
    keys: Annotated[tuple[Key, ...], Rule("keys", minimum=1, maximum=MAX_QUERIES)]
    purpose: Annotated[str, _PURPOSE]


@dataclass(frozen=True)
class KeyBody:
    """A column of the key, with the rules that bring its values to one form."""

    column: Annotated[str, _COLUMN]
    rules: Annotated[tuple[str, ...], Rule("rules", maximum=16)] = ()


@dataclass(frozen=True)
class RatesBody:
    """How many queries of one member are answered."""

    minute: Annotated[int | None, Rule("queries a minute", minimum=1, maximum=10**9)] = None
    day: Annotated[int | None, Rule("queries a day", minimum=1, maximum=10**9)] = None


@dataclass(frozen=True)
class OpenBody:
    """A service on an own asset."""

    service: Annotated[str, _SERVICE]
    asset: Annotated[str, _SERVICE]
    keys: Annotated[tuple[KeyBody, ...], Rule("columns", minimum=1, maximum=8)]
    record: Annotated[tuple[Annotated[str, _COLUMN], ...], Rule("columns", maximum=64)]
    purposes: Annotated[tuple[Annotated[str, _PURPOSE], ...], Rule("DPV terms", minimum=1, maximum=32)]
    record_bytes: Annotated[int, Rule("bytes", minimum=16, maximum=256)] = 64
    price: Annotated[int, Rule("points", minimum=0, maximum=10**9)] = 0
    rates: RatesBody = RatesBody()
    epoch: Annotated[int, Rule("an epoch", minimum=1, maximum=10**6)] = 1


def shown_answer(answer: Answer) -> dict[str, Any]:
    """An answer as the API tells it."""
    shown = {**vars(answer), "codes": list(answer.codes)}
    shown["records"] = [
        {"found": record is not None, "record": None if record is None else dict(record)}
        for record in answer.records
    ]
    return shown


def lookups_blueprint(access: Access, lookups: Lookups) -> Blueprint:
    """Routes of lookups."""
    bp = Blueprint("lookups", __name__, url_prefix="/v1/lookups")

    @bp.post("")
    @describe(
        "Look keys up in services of other members, who do not learn the keys; "
        "each service answers or says why not",
        role="analyst",
        request=AskBody,
        response={"type": "object"},
        tags=_TAGS,
    )
    def ask() -> Response:
        person = access.require(Role.ANALYST)
        asked = body(AskBody)
        targets = tuple(Target(one.service, one.agreement) for one in asked.services)
        answers = lookups.asking.ask(Asked(targets, asked.keys, asked.purpose, person.name))
        return jsonify(answers=[shown_answer(one) for one in answers])

    @bp.get("/services")
    @describe(
        "All services on the ledger, of any member", role="any", response={"type": "object"}, tags=_TAGS
    )
    def services() -> Response:
        access.require()
        return jsonify(services=[dict(row) for row in lookups.services()])

    @bp.post("/services")
    @describe(
        "Open a service on an own asset, or its next release with other terms; it is built apart",
        role="steward",
        request=OpenBody,
        response={"type": "object"},
        status=202,
        tags=_TAGS,
    )
    def open_() -> tuple[Response, int]:
        access.require(Role.STEWARD)
        asked = body(OpenBody)
        request = ServiceRequest(
            service=asked.service,
            asset=asked.asset,
            keys=tuple(KeyColumn(key.column, key.rules) for key in asked.keys),
            record=asked.record,
            record_bytes=asked.record_bytes,
            price=asked.price,
            minute=asked.rates.minute,
            day=asked.rates.day,
            purposes=asked.purposes,
            epoch=asked.epoch,
        )
        return jsonify(_shown(lookups.publishing.open(request))), 202

    @bp.get("/services/own")
    @describe(
        "Services of this participant, and how far their next release is",
        role="any",
        response={"type": "object"},
        tags=_TAGS,
    )
    def own() -> Response:
        access.require()
        return jsonify(services=[_shown(one) for one in lookups.publishing.all()])

    @bp.get("/services/<owner>/<name>")
    @describe(
        "A service of this participant, and how far its next release is",
        role="any",
        response={"type": "object"},
        tags=_TAGS,
    )
    def one(owner: str, name: str) -> Response:
        access.require()
        return jsonify(_shown(lookups.publishing.standing(f"{owner}/{name}")))

    @bp.post("/services/<owner>/<name>/withdraw")
    @describe(
        "Close a service of this participant",
        role="steward",
        request=ReasonBody,
        response={"type": "object"},
        tags=_TAGS,
    )
    def withdraw(owner: str, name: str) -> Response:
        access.require(Role.STEWARD)
        entry = lookups.publishing.withdraw(f"{owner}/{name}", body(ReasonBody).reason)
        return jsonify(service=f"{owner}/{name}", txid=entry.txid, index=entry.index)

    @bp.get("/statement")
    @describe(
        "What was asked and is owed, by agreement, service and purpose",
        role="any",
        response={"type": "object"},
        tags=_TAGS,
    )
    def statement() -> Response:
        access.require()
        return jsonify(accounts=lookups.statement())

    @bp.get("/questions")
    @describe(
        "Who of this participant asked which service how often, the latest first; never what",
        role="auditor",
        response={"type": "object"},
        tags=_TAGS,
    )
    def questions() -> Response:
        access.require(Role.AUDITOR, Role.ADMINISTRATOR)
        found = lookups.questions(_MOST_QUESTIONS)
        return jsonify(questions=[{**vars(one), "asked": format_time(one.asked)} for one in found])

    return bp


def _shown(standing: Standing) -> dict[str, Any]:
    kept = standing.kept
    released = None if standing.row is None else dict(standing.row)
    shown = {"service": kept.service, "request": dict(kept.request), "state": kept.state.value}
    return {**shown, "failure": kept.failure, "changed": format_time(kept.changed), "released": released}
