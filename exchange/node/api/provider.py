"""Signing in by the organisation's identity provider: to it, back from it, and the code that may be missing.

The cookie of a session is not sent with a request that another site causes, and coming back from the provider
is one. So the way back ends on a page of this node, which leads on.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

from flask import Blueprint, Response, jsonify, redirect, request

from exchange.errors import Conflict, ExchangeError, NotFound, Unauthenticated
from exchange.node.api.access import Access
from exchange.node.api.account_desk import CODE, SIGN_IN, Desk, moved
from exchange.node.api.account_forms import CodeForm
from exchange.node.api.sign_in import address_of_caller
from exchange.node.people import Role
from exchange.node.people.building import PeopleServices
from exchange.node.people.provider import CALLBACK, FLOW
from exchange.node.people.provider_sign_in import ProviderSignIn
from exchange.node.people.sessions import Stage
from exchange.web.fields import Rule, body, form
from exchange.web.openapi import describe

__all__ = ["provider_blueprint"]

_TAGS = ("account",)
_FORM = "application/x-www-form-urlencoded"
_HTML = "text/html"


@dataclass(frozen=True)
class SubjectRequest:
    """A person's subject at the identity provider, or empty to take the link away."""

    subject: Annotated[str, Rule("a subject at the provider", maximum=255)]


def provider_blueprint(access: Access, built: PeopleServices, desk: Desk) -> Blueprint:
    """Routes around the identity provider; where the node has none, they say so."""
    bp = Blueprint("provider", __name__)
    cookie = f"{access.cookie}-provider"

    @bp.errorhandler(Unauthenticated)
    def ended(_: Unauthenticated) -> Response:
        return moved("/sign-in")

    @bp.get("/sign-in/provider")
    @describe("Go to the identity provider", media=_HTML, status=303, tags=_TAGS)
    def begin() -> Response:
        try:
            place, flow = _provider(built).provider.begin()
        except ExchangeError as error:
            return desk.outside(SIGN_IN, error)
        answer = _away(place)
        answer.set_cookie(cookie, flow, max_age=FLOW.seconds, secure=True, httponly=True, samesite="Lax")
        return answer

    @bp.get(CALLBACK)
    @describe("Come back from the identity provider", media=_HTML, tags=_TAGS)
    def finish() -> Response:
        flow = request.cookies.get(cookie, "")
        try:
            signed = _provider(built).finish(request.args.to_dict(), flow, address_of_caller())
        except ExchangeError as error:
            answer = desk.outside(SIGN_IN, error)
        else:
            place = "/sign-in/code" if signed.session.stage == Stage.CODE else "/account"
            answer = access.carry(desk.onwards(place), signed.secret)
        answer.delete_cookie(cookie, secure=True, httponly=True, samesite="Lax")
        return answer

    @bp.get("/sign-in/provider/end")
    @describe("Sign out at the identity provider too", media=_HTML, status=303, tags=_TAGS)
    def end() -> Response:
        try:
            place = _provider(built).provider.end()
        except ExchangeError as error:
            return desk.outside(SIGN_IN, error)
        return moved("/sign-in") if place is None else _away(place)

    @bp.get("/sign-in/code")
    @describe("The page on which the one-time code is asked for", role="any", media=_HTML, tags=_TAGS)
    def code_page() -> Response:
        return desk.outside(CODE, caller=access.caller())

    @bp.post("/sign-in/code")
    @describe(
        "Show the one-time code that is missing",
        role="any",
        request=CodeForm,
        request_media=_FORM,
        media=_HTML,
        status=303,
        tags=_TAGS,
    )
    def code() -> Response:
        caller = access.caller()
        try:
            person, session = access.session()
            secret = built.sign_in.show_code(person, session, form(CodeForm).code, address_of_caller())
        except ExchangeError as error:
            return desk.outside(CODE, error, caller=caller)
        return access.carry(moved("/account"), secret)

    @bp.put("/v1/people/<name>/subject")
    @describe(
        "Link an account to a person's subject at the identity provider",
        role="administrator",
        request=SubjectRequest,
        response={"type": "object"},
        tags=("people",),
    )
    def link(name: str) -> Response:
        by = access.require(Role.ADMINISTRATOR).name
        if built.provider is None:
            raise Conflict("expected a node with an identity provider, this one has none")
        built.provider.link(name, body(SubjectRequest).subject, by)
        return jsonify(name=name)

    return bp


def _provider(built: PeopleServices) -> ProviderSignIn:
    if built.provider is None:
        raise NotFound("this node has no identity provider")
    return built.provider


def _away(place: str) -> Response:
    answer = redirect(place, 303)
    return Response(answer.get_data(), 303, answer.headers)
