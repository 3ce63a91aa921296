"""Who is calling: a bearer token, a session as a bearer, or a session in a browser's cookie.

A cookie comes with every request that a browser makes to this node, whoever made the browser make it. So with
a cookie every request that changes something must also show what only this node's own pages know (the
session's CSRF token), and must not say that it comes from elsewhere.
"""

from __future__ import annotations

import hmac
from dataclasses import dataclass, field

from flask import Response, request

from exchange.errors import Forbidden, Unauthenticated
from exchange.node.people import Person, Role, Sessions, Tokens
from exchange.node.people.sessions import PREFIX, Carrier, Stage, csrf_token
from exchange.store import Session

__all__ = ["CSRF_FIELD", "CSRF_HEADER", "Access", "Caller", "check_origin"]

CSRF_HEADER = "X-CSRF-Token"
CSRF_FIELD = "csrf"

_SAFE = frozenset({"GET", "HEAD", "OPTIONS"})
_FORMS = frozenset({"application/x-www-form-urlencoded", "multipart/form-data"})


@dataclass(frozen=True)
class Caller:
    """A person, and the session by which the person calls with its secret; None for a token."""

    person: Person
    session: Session | None
    secret: str = field(repr=False)


class Access:
    """Checks callers of the present request.

    Args:
        tokens: the tokens of this node's people.
        sessions: their sessions.
        cookie: name of the cookie that carries a session.
    """

    def __init__(self, tokens: Tokens, sessions: Sessions, cookie: str) -> None:
        self._tokens, self._sessions, self.cookie = tokens, sessions, cookie

    def require(self, *roles: Role) -> Person:
        """The calling person, who has one of ``roles``; any role will do where none is named.

        Raises:
            Unauthenticated: nothing was shown, or nothing that is good.
            Forbidden: another role, or a request that another site may have made.
        """
        found = self.caller()
        if found.session is not None and found.session.stage != Stage.FULL:
            missing = (
                "its one-time code" if found.session.stage == Stage.CODE else "one-time codes to be enrolled"
            )
            raise Forbidden(
                f"expected a session from which nothing is missing, got one that awaits {missing}"
            )
        found.person.require(*(roles or tuple(Role)))
        return found.person

    def session(self) -> tuple[Person, Session]:
        """The calling person with the session, whatever is still missing for the roles.

        Raises:
            Unauthenticated: nothing was shown, or nothing that is good.
            Forbidden: a token was shown, or a request that another site may have made.
        """
        found = self.caller()
        if found.session is None:
            raise Forbidden("expected a session of a person who signed in, got a token")
        return found.person, found.session

    def carry(self, answer: Response, secret: str) -> Response:
        """Put a session's secret into the cookie of an answer; "" takes the cookie away."""
        if secret:
            answer.set_cookie(self.cookie, secret, secure=True, httponly=True, samesite="Strict")
        else:
            answer.delete_cookie(self.cookie, secure=True, httponly=True, samesite="Strict")
        return answer

    def caller(self) -> Caller:
        """Whoever calls, in whatever role.

        Raises:
            Unauthenticated, Forbidden: see ``session``.
        """
        header = request.headers.get("Authorization")
        if header is not None:
            scheme, _, secret = header.partition(" ")
            secret = secret.strip()
            if scheme.lower() != "bearer" or not secret:
                raise Unauthenticated("expected the header Authorization: Bearer TOKEN")
            if secret.startswith(PREFIX):
                return Caller(*self._sessions.person(secret, Carrier.BEARER), secret)
            return Caller(self._tokens.person(secret), None, secret)
        secret = request.cookies.get(self.cookie, "")
        if not secret:
            raise Unauthenticated("expected the header Authorization: Bearer TOKEN, or a session's cookie")
        person, session = self._sessions.person(secret, Carrier.COOKIE)
        if request.method not in _SAFE:
            check_origin()
            shown = request.headers.get(CSRF_HEADER) or (
                request.form.get(CSRF_FIELD, "") if request.mimetype in _FORMS else ""
            )
            if not hmac.compare_digest(shown.encode(), csrf_token(secret).encode()):
                raise Forbidden(f"expected the session's CSRF token in {CSRF_HEADER}, got none or another")
        return Caller(person, session, secret)


def check_origin() -> None:
    """Refuse a request of which the browser says that another site made it.

    Raises:
        Forbidden: it says so.
    """
    site, origin = request.headers.get("Sec-Fetch-Site"), request.headers.get("Origin")
    if site not in (None, "same-origin", "none") or origin not in (None, f"https://{request.host}"):
        raise Forbidden("expected a request made by this node's own pages, got one made by another site")
