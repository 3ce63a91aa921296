"""Renders the sign-in and account pages."""

from __future__ import annotations

import hmac
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from flask import Response, redirect, request

from exchange.errors import ExchangeError, Forbidden, public_face
from exchange.node.api.access import CSRF_FIELD, Access, Caller, check_origin
from exchange.node.api.account_words import WORDS, message_of
from exchange.node.api.sign_in import shown_session
from exchange.node.api.tokens import shown_token
from exchange.node.people.building import PeopleServices
from exchange.node.people.sessions import Carrier, Stage, csrf_token
from exchange.node.people.sign_in import PROVIDER
from exchange.node.people.tokens import new_secret
from exchange.web.pages import language, render

__all__ = ["CODE", "INVITATION", "SIGN_IN", "Desk", "moved"]


@dataclass(frozen=True)
class Field:
    """One field of a form."""

    name: str
    label: str
    type: str
    autocomplete: str
    required: bool = True


@dataclass(frozen=True)
class Page:
    """A page for somebody who has no session: where its form goes, its words, its fields."""

    place: str
    heading: str
    action: str
    fields: tuple[Field, ...]


SIGN_IN = Page(
    "sign-in",
    "sign_in",
    "sign_in",
    (
        Field("name", "name", "text", "username"),
        Field("password", "password", "password", "current-password"),
        Field("code", "code_or_recovery", "text", "one-time-code", required=False),
    ),
)
CODE = Page("sign-in/code", "codes", "confirm", (Field("code", "code_or_recovery", "text", "one-time-code"),))
INVITATION = Page(
    "invitation",
    "invitation",
    "accept",
    (
        Field("name", "name", "text", "username"),
        Field("invitation", "invitation", "text", "off"),
        Field("chosen", "chosen_password", "password", "new-password"),
        Field("again", "again_password", "password", "new-password"),
    ),
)


class Desk:
    """Renders the pages."""

    def __init__(self, access: Access, built: PeopleServices, organisation: str) -> None:
        self._access, self._built, self._organisation = access, built, organisation
        self._form_cookie = f"{access.cookie}-form"

    def outside(
        self,
        page: Page,
        error: ExchangeError | None = None,
        *,
        caller: Caller | None = None,
        message: str = "",
        status: int = 200,
    ) -> Response:
        """A form of somebody who is not in yet; its CSRF token belongs to a cookie of this browser."""
        lang, known = language(), request.cookies.get(self._form_cookie, "")
        value = known or new_secret()
        answer = render(
            "sign_in.html",
            lang=lang,
            words=WORDS[lang],
            organisation=self._organisation,
            page=page,
            provider=self._built.provider is not None,
            csrf=csrf_token(value if caller is None else caller.secret),
            message=_message(error, message),
        )
        answer.status_code = status if error is None else _status(error)
        answer.headers["Referrer-Policy"] = "same-origin"  # without it a browser sends its forms from "null"
        if not known:
            answer.set_cookie(self._form_cookie, value, secure=True, httponly=True, samesite="Strict")
        return answer

    def onwards(self, place: str) -> Response:
        """A page that leads on to another of this node."""
        lang = language()
        return render(
            "continue.html", lang=lang, words=WORDS[lang], organisation=self._organisation, place=place
        )

    def check_outside(self) -> None:
        """Refuse a form that this browser did not get from this node.

        Raises:
            Forbidden: it did not.
        """
        check_origin()
        value = request.cookies.get(self._form_cookie, "")
        shown = request.form.get(CSRF_FIELD, "")
        if not value or not hmac.compare_digest(shown.encode(), csrf_token(value).encode()):
            raise Forbidden("expected a form of this node's own page, got another; load the page again")

    def inside(
        self, caller: Caller, error: ExchangeError | None = None, *, status: int = 200, **more: object
    ) -> Response:
        """The account page."""
        lang, person = language(), caller.person
        has_codes, codes_left = self._built.sign_in.factors(person)
        is_full = caller.session is None or caller.session.stage == Stage.FULL
        by_provider = caller.session is not None and caller.session.how == PROVIDER
        shown: dict[str, Any] = {
            "organisation": self._organisation,
            "person": person,
            "roles": sorted(person.roles),
            "full": is_full,
            "csrf": csrf_token(caller.secret),
            "has_codes": has_codes,
            "codes_left": codes_left,
            "asks_password": is_full or not by_provider,
            "sessions": [shown_session(one) for one in self._built.sessions.of(person.id)],
            "present": person.credential,
            "tokens": [shown_token(one) for one in self._built.tokens.of(person.name) if one.revoked is None],
            "secret": "",
            "recovery_codes": (),
            "qr": "",
            "uri": "",
        }
        shown |= more | {"message": _message(error, str(more.get("message", "")))}
        answer = render("account.html", lang=lang, words=WORDS[lang], **shown)
        answer.status_code = status if error is None else _status(error)
        answer.headers["Referrer-Policy"] = "same-origin"  # without it a browser sends its forms from "null"
        return answer

    def enrolling(self, caller: Caller, uri: str) -> Response:
        """The account page with a QR code."""
        import segno

        qr = segno.make(uri, error="m", micro=False).svg_inline(border=2, omitsize=True)
        return self.inside(caller, qr=qr, uri=uri)

    def renewed(
        self, caller: Caller, secret: str, *, message: str = "", recovery_codes: Sequence[str] = ()
    ) -> Response:
        """The account page of a session that has another secret now."""
        carrier = Carrier.BEARER if caller.session is None else Carrier(caller.session.carrier)
        person, session = self._built.sessions.person(secret, carrier)
        answer = self.inside(Caller(person, session, secret), message=message, recovery_codes=recovery_codes)
        return self._access.carry(answer, secret) if carrier == Carrier.COOKIE else answer


def _message(error: ExchangeError | None, key: str) -> str:
    lang = language()
    if error is not None:
        return message_of(error, lang)
    return WORDS[lang][key] if key else ""


def _status(error: ExchangeError) -> int:
    return public_face(error).status


def moved(place: str) -> Response:
    """Send the browser to another page of this node."""
    answer = redirect(f"{place}?lang={language()}", 303)
    return Response(answer.get_data(), 303, answer.headers)
