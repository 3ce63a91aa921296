"""Sessions: what a person has after signing in, until idle for too long, after a time in all, or signing out.

The secret is new at every sign-in and at every change of what the session may do; only its digest is kept. A
session of a browser lives in a cookie and is no bearer token, and the other way round.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
from collections.abc import Iterable
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Final

from exchange.errors import NotFound, Unauthenticated
from exchange.node.people.roles import Person, Role, Separation, State
from exchange.node.people.tokens import digest_of_secret, new_secret
from exchange.store import Account, Change, PeopleStore, Session, SignInRows
from ledger.entries import new_id

__all__ = ["PREFIX", "Carrier", "Sessions", "Stage", "csrf_token"]

PREFIX: Final = "session-"
"""How the secret of a session begins, so that it is told from a token."""

_SEEN_EVERY: Final = timedelta(seconds=30)


class Stage(StrEnum):
    """What is still missing before a session may do anything but that."""

    FULL = "full"
    CODE = "code"
    ENROLMENT = "enrolment"


class Carrier(StrEnum):
    """How the secret of a session comes with a request."""

    COOKIE = "cookie"
    BEARER = "bearer"


def csrf_token(secret: str) -> str:
    """Return what a page of this session puts into its forms; another site cannot know it."""
    digest = hmac.digest(secret.encode(), b"parley-csrf/v1", hashlib.sha256)
    return base64.urlsafe_b64encode(digest).rstrip(b"=").decode()


class Sessions:
    """The sessions of one node's people.

    Args:
        store: where they are kept.
        separation: which roles are kept apart.
        idle: how long a session may go unused.
        longest: how long it may last in all.
    """

    def __init__(
        self, store: PeopleStore, separation: Separation, idle: timedelta, longest: timedelta
    ) -> None:
        self._store, self._separation = store, separation
        self._idle, self._longest = idle, longest

    def begin(
        self,
        change: Change,
        account: Account,
        stage: Stage,
        carrier: Carrier,
        *,
        how: str,
        address: str,
        roles: Iterable[str],
    ) -> tuple[Session, str]:
        """Begin a session as a part of a change; returns it and its secret."""
        rows, secret = SignInRows(change.connection), PREFIX + new_secret()
        rows.end_sessions_by(change.now)
        session = Session(
            id=new_id("session", lambda: change.now),
            account=account.id,
            digest=digest_of_secret(secret),
            stage=stage,
            carrier=carrier,
            how=how,
            address=address,
            roles=tuple(sorted(roles)),
            created=change.now,
            seen=change.now,
            ends=change.now + self._longest,
        )
        rows.add_session(session)
        return session, secret

    def person(self, secret: str, carrier: Carrier) -> tuple[Person, Session]:
        """The person whose session this is; without roles where something is missing yet.

        Raises:
            Unauthenticated: it is nobody's, has run out or was ended, or its account is not in use.
        """
        with self._store.reading() as look:
            rows, now = SignInRows(look.connection), look.now
            session = rows.session(digest_of_secret(secret))
            account = None if session is None else look.account_by_id(session.account)
            if session is None or account is None or not self._is_good(look.now, session, account, carrier):
                raise Unauthenticated("this session has ended; sign in again")
            if now - session.seen >= _SEEN_EVERY:
                rows.see_session(session.id, now)
        roles = self._separation.usable(account.roles) & {Role(role) for role in session.roles}
        return _person(account, session, roles if session.stage == Stage.FULL else frozenset()), session

    def raised(self, change: Change, session: Session, stage: Stage, *, alone: bool = True) -> str:
        """Give a session another stage and with it another secret; ``alone``: the account's others end."""
        rows, secret = SignInRows(change.connection), PREFIX + new_secret()
        rows.change_session(session.id, digest=digest_of_secret(secret), stage=stage, seen=change.now)
        if alone:
            rows.end_sessions(session.account, but=session.id)
        return secret

    def of(self, account: str) -> list[Session]:
        """The sessions of an account that have not run out, oldest first."""
        with self._store.reading() as look:
            found = SignInRows(look.connection).sessions(account)
            return [one for one in found if self._is_running(look.now, one)]

    def end(self, person: Person, session: str) -> None:
        """End one of one's own sessions.

        Raises:
            NotFound: there is no such session of this person.
        """
        with self._store.changing() as change:
            rows = SignInRows(change.connection)
            if session not in {one.id for one in rows.sessions(person.id)}:
                raise NotFound(f"expected a session of {person.name}, found none with this id")
            rows.end_session(session)
            change.record(person.name, "session.end", person.name, session=session)

    def end_all(self, person: Person) -> int:
        """End all sessions of one's own; returns how many."""
        with self._store.changing() as change:
            ended = SignInRows(change.connection).end_sessions(person.id)
            change.record(person.name, "session.end-all", person.name, ended=ended)
            return ended

    def _is_running(self, now: datetime, session: Session) -> bool:
        return now < session.ends and now < session.seen + self._idle

    def _is_good(self, now: datetime, session: Session, account: Account, carrier: Carrier) -> bool:
        in_use = account.state in (State.ACTIVE, State.LOCKED)
        return in_use and session.carrier == carrier and self._is_running(now, session)


def _person(account: Account, session: Session, roles: frozenset[Role]) -> Person:
    return Person(
        account.name,
        roles,
        account.id,
        account.display_name,
        account.department,
        credential=session.id,
        until=session.ends,
    )
