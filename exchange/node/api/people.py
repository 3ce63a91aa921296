"""Accounts of this organisation, in the hands of its administrators; the record, in those of its auditors."""

from __future__ import annotations

import json
from dataclasses import dataclass
from datetime import timedelta
from typing import Annotated, Any

from flask import Blueprint, Response, jsonify

from exchange.node.api.access import Access
from exchange.node.people import NewAccount, People, Role, SignIn, Tokens
from exchange.node.people.roles import State
from exchange.store import Account, Act
from exchange.web.fields import Rule, body, query
from exchange.web.openapi import describe
from ledger.times import format_time

__all__ = ["PersonAnswer", "people_blueprint", "shown_account"]

_TAGS = ("people",)
_MANY = 1000

Title = Annotated[str, Rule("a line of at most 200 characters", maximum=200, pattern=r"[^\x00-\x1f\x7f]*")]
Roles = Annotated[tuple[Role, ...], Rule("roles", minimum=1, maximum=5)]
Days = Annotated[int, Rule("days from now", minimum=1, maximum=3650)]


@dataclass(frozen=True)
class PersonRequest:
    """An account that is to be made: for a person, who is invited; with ``token_days`` for a program."""

    name: Annotated[str, Rule("the name, which stays", minimum=1, maximum=100)]
    roles: Roles
    display_name: Title = ""
    department: Annotated[str, Rule("a department, or empty", maximum=40)] = ""
    token_days: Days | None = None


@dataclass(frozen=True)
class DescribeRequest:
    """How a person is called and where the person works; what is left out stays."""

    display_name: Title | None = None
    department: Annotated[str, Rule("a department, or empty", maximum=40)] | None = None


@dataclass(frozen=True)
class RolesRequest:
    """The roles that a person is to have, and no others."""

    roles: Roles


@dataclass(frozen=True)
class StateRequest:
    """The state that an account is to have: ``active`` or ``disabled``."""

    state: State


@dataclass(frozen=True)
class PersonAnswer:
    """An account."""

    id: str
    name: str
    display_name: str
    department: str
    roles: tuple[Role, ...]
    state: State
    created: str
    created_by: str
    changed: str
    changed_by: str


@dataclass(frozen=True)
class CreatedAnswer:
    """A new account with its invitation, or with its first token; either is shown this once."""

    person: PersonAnswer
    invitation: str | None
    token: str | None


@dataclass(frozen=True)
class PeopleAnswer:
    """All accounts."""

    people: tuple[PersonAnswer, ...]


@dataclass(frozen=True)
class RecordQuery:
    """A part of the record."""

    after: Annotated[int, Rule("position of the last act that is known", minimum=0, maximum=2**53 - 1)] = 0
    limit: Annotated[int, Rule("how many acts", minimum=1, maximum=_MANY)] = 100


@dataclass(frozen=True)
class ActAnswer:
    """An act about people."""

    position: int
    time: str
    actor: str
    act: str
    subject: str
    facts: object
    digest: str


@dataclass(frozen=True)
class RecordAnswer:
    """A part of the record, in order."""

    acts: tuple[ActAnswer, ...]


@dataclass(frozen=True)
class VerdictAnswer:
    """Whether the record is whole; where not, the first position that does not fit, and why."""

    sound: bool
    size: int
    digest: str
    position: int
    reason: str


def people_blueprint(access: Access, people: People, tokens: Tokens, sign_in: SignIn) -> Blueprint:
    """Routes for accounts and their record."""
    bp = Blueprint("people", __name__, url_prefix="/v1")

    @bp.get("/people")
    @describe("The accounts at this node", role="administrator", response=PeopleAnswer, tags=_TAGS)
    def listed() -> Response:
        access.require(Role.ADMINISTRATOR, Role.AUDITOR)
        return jsonify(people=[shown_account(one) for one in people.all()])

    @bp.get("/people/me")
    @describe("The caller's own account", role="any", response=PersonAnswer, tags=_TAGS)
    def me() -> Response:
        person = access.require()
        return jsonify(shown_account(people.named(person.name)))

    @bp.post("/people")
    @describe(
        "Make an account",
        role="administrator",
        request=PersonRequest,
        response=CreatedAnswer,
        status=201,
        tags=_TAGS,
    )
    def add() -> tuple[Response, int]:
        by = access.require(Role.ADMINISTRATOR).name
        asked = body(PersonRequest)
        new = NewAccount(asked.name, asked.roles, asked.display_name, asked.department)
        state = State.INVITED if asked.token_days is None else State.ACTIVE
        invitation = token = None
        with people.store.changing() as change:
            account = people.added(change, new, by, state)
            if asked.token_days is None:
                invitation = sign_in.invite(change, account, by)
            else:
                lifetime = timedelta(days=asked.token_days)
                _, token = tokens.issued(change, account, "first", account.roles, lifetime, by)
        return jsonify(person=shown_account(account), invitation=invitation, token=token), 201

    @bp.get("/people/<name>")
    @describe("One account", role="administrator", response=PersonAnswer, tags=_TAGS)
    def show(name: str) -> Response:
        access.require(Role.ADMINISTRATOR, Role.AUDITOR)
        return jsonify(shown_account(people.named(name)))

    @bp.patch("/people/<name>")
    @describe(
        "Change how a person is called and where the person works",
        role="administrator",
        request=DescribeRequest,
        response=PersonAnswer,
        tags=_TAGS,
    )
    def change(name: str) -> Response:
        by = access.require(Role.ADMINISTRATOR).name
        asked = body(DescribeRequest)
        made = people.describe(name, by, display_name=asked.display_name, department=asked.department)
        return jsonify(shown_account(made))

    @bp.put("/people/<name>/roles")
    @describe(
        "Give a person these roles and no others; nobody changes the own ones",
        role="administrator",
        request=RolesRequest,
        response=PersonAnswer,
        tags=_TAGS,
    )
    def roles(name: str) -> Response:
        by = access.require(Role.ADMINISTRATOR).name
        return jsonify(shown_account(people.set_roles(name, body(RolesRequest).roles, by)))

    @bp.put("/people/<name>/state")
    @describe(
        "Disable an account, or make one that is locked or disabled active again",
        role="administrator",
        request=StateRequest,
        response=PersonAnswer,
        tags=_TAGS,
    )
    def state(name: str) -> Response:
        by = access.require(Role.ADMINISTRATOR).name
        made = people.set_state(name, body(StateRequest).state, by)
        if made.state == State.ACTIVE:
            sign_in.forgive(name)
        return jsonify(shown_account(made))

    @bp.get("/people-record")
    @describe(
        "The record of acts about people, from one position on",
        role="auditor",
        query=RecordQuery,
        response=RecordAnswer,
        tags=_TAGS,
    )
    def record() -> Response:
        access.require(Role.AUDITOR, Role.ADMINISTRATOR)
        asked = query(RecordQuery)
        return jsonify(acts=[_shown_act(one) for one in people.acts(asked.after, asked.limit)])

    @bp.get("/people-record/verification")
    @describe(
        "Whether nothing was altered in the record or taken from it",
        role="auditor",
        response=VerdictAnswer,
        tags=_TAGS,
    )
    def verified() -> Response:
        access.require(Role.AUDITOR, Role.ADMINISTRATOR)
        return jsonify(vars(people.verify_record()))

    return bp


def shown_account(account: Account) -> dict[str, Any]:
    """An account as the API shows it."""
    times = {"created": format_time(account.created), "changed": format_time(account.changed)}
    return vars(account) | {"roles": list(account.roles)} | times


def _shown_act(act: Act) -> dict[str, Any]:
    try:
        facts = json.loads(act.facts)
    except ValueError:  # altered in the database; the verification says so
        facts = act.facts
    shown = ("position", "time", "actor", "act", "subject", "digest")
    return {name: getattr(act, name) for name in shown} | {"facts": facts}
