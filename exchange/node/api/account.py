"""The pages on which people sign in and look after their own account: forms without a script.

A form that signs somebody in carries a value that belongs to a cookie of this browser, so that another site
cannot sign its visitor in as somebody else. Every other form carries the session's CSRF token.
"""

from __future__ import annotations

from datetime import timedelta

from flask import Blueprint, Response

from exchange.errors import ExchangeError, Unauthenticated
from exchange.node.api.access import Access
from exchange.node.api.account_desk import INVITATION, SIGN_IN, Desk, moved
from exchange.node.api.account_forms import (
    ActForm,
    CodeForm,
    CodesForm,
    InvitationForm,
    PasswordForm,
    SignInForm,
    TokenForm,
)
from exchange.node.api.sign_in import address_of_caller
from exchange.node.people.building import PeopleServices
from exchange.node.people.sessions import Carrier, Stage
from exchange.web.fields import form
from exchange.web.openapi import describe

__all__ = ["account_blueprint"]

_TAGS = ("account",)
_FORM = "application/x-www-form-urlencoded"
_HTML = "text/html"


def account_blueprint(access: Access, built: PeopleServices, desk: Desk) -> Blueprint:
    """Pages for signing in and for one's own account."""
    bp = Blueprint("account", __name__)

    @bp.errorhandler(Unauthenticated)
    def ended(_: Unauthenticated) -> Response:
        return moved("/sign-in")  # and leave the cookie: another site can cause this answer

    @bp.get("/sign-in")
    @describe("The page to sign in on", media=_HTML, tags=_TAGS)
    def sign_in_page() -> Response:
        return desk.outside(SIGN_IN)

    @bp.post("/sign-in")
    @describe("Sign in", request=SignInForm, request_media=_FORM, media=_HTML, status=303, tags=_TAGS)
    def sign_in() -> Response:
        try:
            desk.check_outside()
            asked = form(SignInForm)
            signed = built.sign_in.with_password(
                asked.name, asked.password, asked.code, address=address_of_caller(), carrier=Carrier.COOKIE
            )
        except ExchangeError as error:
            return desk.outside(SIGN_IN, error)
        return access.carry(moved("/account"), signed.secret)

    @bp.get("/invitation")
    @describe("The page to take an invitation up on", media=_HTML, tags=_TAGS)
    def invitation_page() -> Response:
        return desk.outside(INVITATION)

    @bp.post("/invitation")
    @describe(
        "Take up an invitation by choosing a password",
        request=InvitationForm,
        request_media=_FORM,
        media=_HTML,
        status=303,
        tags=_TAGS,
    )
    def accept() -> Response:
        try:
            desk.check_outside()
            asked = form(InvitationForm)
            if asked.chosen == asked.again:
                built.sign_in.accept(asked.name, asked.invitation, asked.chosen, address_of_caller())
                return moved("/sign-in")
        except ExchangeError as error:
            return desk.outside(INVITATION, error)
        return desk.outside(INVITATION, message="differs", status=422)

    @bp.get("/account")
    @describe("One's own account", role="any", media=_HTML, tags=_TAGS)
    def account() -> Response:
        caller = access.caller()
        if caller.session is not None and caller.session.stage == Stage.CODE:
            return moved("/sign-in/code")
        return desk.inside(caller)

    @bp.post("/account/password")
    @describe(
        "Change the own password; other sessions end",
        role="any",
        request=PasswordForm,
        request_media=_FORM,
        media=_HTML,
        tags=_TAGS,
    )
    def password() -> Response:
        caller = access.caller()
        try:
            asked, (person, session) = form(PasswordForm), access.session()
            if asked.chosen != asked.again:
                return desk.inside(caller, message="differs", status=422)
            secret = built.sign_in.change_password(
                person, session, asked.present, asked.chosen, address_of_caller()
            )
        except ExchangeError as error:
            return desk.inside(caller, error)
        return desk.renewed(caller, secret, message="password_changed")

    @bp.post("/account/codes")
    @describe(
        "Begin to enrol one-time codes: shows a QR code",
        role="any",
        request=CodesForm,
        request_media=_FORM,
        media=_HTML,
        tags=_TAGS,
    )
    def begin_codes() -> Response:
        caller = access.caller()
        try:
            asked, (person, session) = form(CodesForm), access.session()
            uri = built.sign_in.begin_codes(person, session, asked.password, address_of_caller())
        except ExchangeError as error:
            return desk.inside(caller, error)
        return desk.enrolling(caller, uri)

    @bp.post("/account/codes/confirmation")
    @describe(
        "Enrol one-time codes by showing the first one: shows recovery codes",
        role="any",
        request=CodeForm,
        request_media=_FORM,
        media=_HTML,
        tags=_TAGS,
    )
    def confirm_codes() -> Response:
        caller = access.caller()
        try:
            asked, (person, session) = form(CodeForm), access.session()
            secret, codes = built.sign_in.confirm_codes(person, session, asked.code, address_of_caller())
        except ExchangeError as error:
            return desk.inside(caller, error)
        return desk.renewed(caller, secret, recovery_codes=codes)

    @bp.post("/account/tokens")
    @describe(
        "Make a token of one's own: shows it once",
        role="any",
        request=TokenForm,
        request_media=_FORM,
        media=_HTML,
        tags=_TAGS,
    )
    def issue() -> Response:
        caller = access.caller()
        try:
            asked = form(TokenForm)
            lifetime = timedelta(days=asked.days)
            _, secret = built.tokens.issue(caller.person, asked.title, asked.roles, lifetime)
        except ExchangeError as error:
            return desk.inside(caller, error)
        return desk.inside(caller, secret=secret)

    @bp.post("/account/tokens/<token>")
    @describe(
        "Take back a token of one's own",
        role="any",
        request=ActForm,
        request_media=_FORM,
        media=_HTML,
        status=303,
        tags=_TAGS,
    )
    def revoke(token: str) -> Response:
        person = access.require()
        built.tokens.revoke(person.name, token, person.name)
        return moved("/account")

    @bp.post("/account/sessions/<session>")
    @describe(
        "End a session of one's own",
        role="any",
        request=ActForm,
        request_media=_FORM,
        media=_HTML,
        status=303,
        tags=_TAGS,
    )
    def end(session: str) -> Response:
        built.sessions.end(access.caller().person, session)
        return moved("/account")

    @bp.post("/account/sign-out")
    @describe(
        "Sign out",
        role="any",
        request=ActForm,
        request_media=_FORM,
        media=_HTML,
        status=303,
        tags=_TAGS,
    )
    def sign_out() -> Response:
        person, session = access.session()
        built.sessions.end(person, session.id)
        return access.carry(moved("/sign-in"), "")

    @bp.post("/account/sign-out-everywhere")
    @describe(
        "End all sessions of one's own",
        role="any",
        request=ActForm,
        request_media=_FORM,
        media=_HTML,
        status=303,
        tags=_TAGS,
    )
    def sign_out_everywhere() -> Response:
        built.sessions.end_all(access.caller().person)
        return access.carry(moved("/sign-in"), "")

    return bp
