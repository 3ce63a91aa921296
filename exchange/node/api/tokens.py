"""Bearer tokens: one's own, and as an administrator or auditor those of everybody."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta
from typing import Annotated, Any

from flask import Blueprint, Response, jsonify

from exchange.node.api.access import Access
from exchange.node.api.people import Days, Roles
from exchange.node.people import Role, Tokens
from exchange.store import Token
from exchange.web.fields import Rule, body
from exchange.web.openapi import describe
from ledger.times import format_time

__all__ = ["TokenTitle", "shown_token", "tokens_blueprint"]

_TAGS = ("people",)

TokenTitle = Annotated[str, Rule("what it is for", minimum=1, maximum=100, pattern=r"[^\x00-\x1f\x7f]*")]


@dataclass(frozen=True)
class TokenRequest:
    """A token that is to be made for the caller."""

    title: TokenTitle
    roles: Roles
    days: Days = 90


@dataclass(frozen=True)
class TokenAnswer:
    """A token, of which the secret is not kept."""

    id: str
    title: str
    roles: tuple[Role, ...]
    created: str
    created_by: str
    expires: str | None
    revoked: str | None


@dataclass(frozen=True)
class IssuedAnswer:
    """A new token; ``secret`` is shown this once."""

    token: TokenAnswer
    secret: str


@dataclass(frozen=True)
class TokensAnswer:
    """Tokens, oldest first."""

    tokens: tuple[TokenAnswer, ...]


def tokens_blueprint(access: Access, tokens: Tokens) -> Blueprint:
    """Routes for bearer tokens."""
    bp = Blueprint("tokens", __name__, url_prefix="/v1")

    @bp.get("/tokens")
    @describe("The caller's own tokens", role="any", response=TokensAnswer, tags=_TAGS)
    def own() -> Response:
        person = access.require()
        return jsonify(tokens=[shown_token(one) for one in tokens.of(person.name)])

    @bp.post("/tokens")
    @describe(
        "Make a token of one's own, for roles in which one acts now",
        role="any",
        request=TokenRequest,
        response=IssuedAnswer,
        status=201,
        tags=_TAGS,
    )
    def issue() -> tuple[Response, int]:
        person = access.require()
        asked = body(TokenRequest)
        token, secret = tokens.issue(person, asked.title, asked.roles, timedelta(days=asked.days))
        return jsonify(token=shown_token(token), secret=secret), 201

    @bp.delete("/tokens/<token>")
    @describe("Take back a token of one's own", role="any", status=204, tags=_TAGS)
    def revoke(token: str) -> tuple[str, int]:
        person = access.require()
        tokens.revoke(person.name, token, person.name)
        return "", 204

    @bp.get("/people/<name>/tokens")
    @describe("A person's tokens", role="administrator", response=TokensAnswer, tags=_TAGS)
    def of(name: str) -> Response:
        access.require(Role.ADMINISTRATOR, Role.AUDITOR)
        return jsonify(tokens=[shown_token(one) for one in tokens.of(name)])

    @bp.delete("/people/<name>/tokens/<token>")
    @describe("Take back a person's token", role="administrator", status=204, tags=_TAGS)
    def take(name: str, token: str) -> tuple[str, int]:
        by = access.require(Role.ADMINISTRATOR).name
        tokens.revoke(name, token, by)
        return "", 204

    return bp


def shown_token(token: Token) -> dict[str, Any]:
    """A token as the API shows it: without its digest."""
    shown = {name: getattr(token, name) for name in ("id", "title", "created_by")}
    times = {
        name: None if (time := getattr(token, name)) is None else format_time(time)
        for name in ("created", "expires", "revoked")
    }
    return {**shown, **times, "roles": list(token.roles)}
