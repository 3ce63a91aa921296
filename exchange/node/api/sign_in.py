"""Signing in and out by program, and what a person does about the own password, codes and sessions.

Requests and answers hold secrets, so none of them has a ``repr`` that shows its fields.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Any

from flask import Blueprint, Response, jsonify, request

from exchange.node.api.access import Access
from exchange.node.people import Role, Sessions, SignIn
from exchange.node.people.passwords import LONGEST
from exchange.node.people.sessions import Carrier, Stage
from exchange.store import Session
from exchange.web.fields import Rule, body
from exchange.web.openapi import describe
from ledger.times import format_time

__all__ = ["Code", "Name", "Password", "address_of_caller", "shown_session", "sign_in_blueprint"]

_TAGS = ("people",)

Name = Annotated[str, Rule("the account's name", minimum=1, maximum=100)]
Password = Annotated[str, Rule("a password", minimum=1, maximum=LONGEST)]
Code = Annotated[str, Rule("a one-time code or a recovery code", maximum=40)]


@dataclass(frozen=True, repr=False)
class SignInRequest:
    """What a person shows. ``code`` is left out where the account has no one-time codes."""

    name: Name
    password: Password
    code: Code = ""


@dataclass(frozen=True, repr=False)
class InvitationBody:
    """An invitation, and the password that the person chooses."""

    name: Name
    invitation: Annotated[str, Rule("the invitation", minimum=1, maximum=100)]
    password: Password


@dataclass(frozen=True, repr=False)
class PasswordRequest:
    """The present password, and the one that is to be."""

    present: Password
    chosen: Password


@dataclass(frozen=True, repr=False)
class AgainRequest:
    """The present password, once more."""

    password: Password


@dataclass(frozen=True, repr=False)
class CodeRequest:
    """The code that the authenticator shows now."""

    code: Annotated[str, Rule("six digits", minimum=6, maximum=6)]


@dataclass(frozen=True, repr=False)
class SessionAnswer:
    """A session; ``stage`` says what is missing yet: ``full`` means nothing."""

    id: str
    stage: Stage
    carrier: Carrier
    how: str
    address: str
    created: str
    seen: str
    ends: str


@dataclass(frozen=True, repr=False)
class SignedInAnswer:
    """A new session; ``secret`` goes into the header ``Authorization: Bearer``."""

    session: SessionAnswer
    secret: str
    name: str


@dataclass(frozen=True, repr=False)
class SessionsAnswer:
    """One's sessions, oldest first; ``present`` is the id of the calling one."""

    sessions: tuple[SessionAnswer, ...]
    present: str


@dataclass(frozen=True, repr=False)
class SecretAnswer:
    """The session's new secret, empty where it is in the cookie; the one before is not good any more."""

    secret: str


@dataclass(frozen=True, repr=False)
class EnrolmentAnswer:
    """What an authenticator reads, as text or as a QR code."""

    uri: str


@dataclass(frozen=True, repr=False)
class EnrolledAnswer:
    """The session's new secret as after a change of password, and recovery codes, shown this once."""

    secret: str
    recovery_codes: tuple[str, ...]


@dataclass(frozen=True, repr=False)
class FactorsAnswer:
    """Whether one has one-time codes, and how many recovery codes are left."""

    totp: bool
    recovery_codes: int


@dataclass(frozen=True, repr=False)
class EndedAnswer:
    """How many sessions ended."""

    ended: int


@dataclass(frozen=True, repr=False)
class InvitationAnswer:
    """An invitation, which is shown this once."""

    invitation: str


def sign_in_blueprint(access: Access, sign_in: SignIn, sessions: Sessions) -> Blueprint:
    """Routes for signing in and for one's own password, codes and sessions."""
    bp = Blueprint("sign_in", __name__, url_prefix="/v1")

    @bp.post("/sign-in")
    @describe("Sign in", request=SignInRequest, response=SignedInAnswer, status=201, tags=_TAGS)
    def begin() -> tuple[Response, int]:
        asked = body(SignInRequest)
        signed = sign_in.with_password(
            asked.name, asked.password, asked.code, address=address_of_caller(), carrier=Carrier.BEARER
        )
        shown = shown_session(signed.session)
        return jsonify(session=shown, secret=signed.secret, name=signed.account.name), 201

    @bp.post("/invitation")
    @describe("Take up an invitation by choosing a password", request=InvitationBody, status=204, tags=_TAGS)
    def accept() -> tuple[str, int]:
        asked = body(InvitationBody)
        sign_in.accept(asked.name, asked.invitation, asked.password, address_of_caller())
        return "", 204

    @bp.get("/sessions")
    @describe("One's own sessions", role="any", response=SessionsAnswer, tags=_TAGS)
    def listed() -> Response:
        person = access.caller().person
        shown = [shown_session(one) for one in sessions.of(person.id)]
        return jsonify(sessions=shown, present=person.credential)

    @bp.delete("/sessions/<session>")
    @describe("End a session of one's own", role="any", status=204, tags=_TAGS)
    def end(session: str) -> tuple[str, int]:
        sessions.end(access.caller().person, session)
        return "", 204

    @bp.delete("/sessions")
    @describe("End all sessions of one's own", role="any", response=EndedAnswer, tags=_TAGS)
    def end_all() -> Response:
        return jsonify(ended=sessions.end_all(access.caller().person))

    @bp.put("/password")
    @describe(
        "Change the own password; other sessions end",
        role="any",
        request=PasswordRequest,
        response=SecretAnswer,
        tags=_TAGS,
    )
    def password() -> Response:
        (person, session), asked = access.session(), body(PasswordRequest)
        address = address_of_caller()
        secret = sign_in.change_password(person, session, asked.present, asked.chosen, address)
        return _renewed(access, session, secret)

    @bp.get("/totp")
    @describe("Whether one has one-time codes", role="any", response=FactorsAnswer, tags=_TAGS)
    def factors() -> Response:
        has_codes, left = sign_in.factors(access.caller().person)
        return jsonify(totp=has_codes, recovery_codes=left)

    @bp.post("/totp")
    @describe(
        "Begin to enrol one-time codes",
        role="any",
        request=AgainRequest,
        response=EnrolmentAnswer,
        status=201,
        tags=_TAGS,
    )
    def begin_codes() -> tuple[Response, int]:
        person, session = access.session()
        uri = sign_in.begin_codes(person, session, body(AgainRequest).password, address_of_caller())
        return jsonify(uri=uri), 201

    @bp.post("/totp/confirmation")
    @describe(
        "Enrol one-time codes by showing the first one; other sessions end",
        role="any",
        request=CodeRequest,
        response=EnrolledAnswer,
        tags=_TAGS,
    )
    def confirm_codes() -> Response:
        (person, session), code = access.session(), body(CodeRequest).code
        secret, codes = sign_in.confirm_codes(person, session, code, address_of_caller())
        return _renewed(access, session, secret, recovery_codes=codes)

    @bp.post("/people/<name>/invitation")
    @describe(
        "Invite a person to choose a new password; the present one is not good any more",
        role="administrator",
        response=InvitationAnswer,
        status=201,
        tags=_TAGS,
    )
    def invite(name: str) -> tuple[Response, int]:
        by = access.require(Role.ADMINISTRATOR).name
        return jsonify(invitation=sign_in.invite_again(name, by)), 201

    @bp.delete("/people/<name>/totp")
    @describe(
        "Take a person's one-time codes away, for a lost device",
        role="administrator",
        status=204,
        tags=_TAGS,
    )
    def reset_codes(name: str) -> tuple[str, int]:
        by = access.require(Role.ADMINISTRATOR).name
        sign_in.reset_codes(name, by)
        return "", 204

    return bp


def _renewed(access: Access, session: Session, secret: str, **more: object) -> Response:
    """Answer with a session's new secret: in the body, or of a browser's session in the cookie alone."""
    if session.carrier == Carrier.BEARER:
        return jsonify(secret=secret, **more)
    return access.carry(jsonify(secret="", **more), secret)


def address_of_caller() -> str:
    """From where the present request comes; no header may say otherwise."""
    return request.remote_addr or ""


def shown_session(session: Session) -> dict[str, Any]:
    """A session as the API shows it: without its digest."""
    shown = {name: getattr(session, name) for name in ("id", "stage", "carrier", "how", "address")}
    return shown | {name: format_time(getattr(session, name)) for name in ("created", "seen", "ends")}
