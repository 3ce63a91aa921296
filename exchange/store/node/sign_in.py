"""Secrets, sessions and failed attempts of people, on the connection of a look or of a change."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from sqlalchemy import Connection, Row, Table, delete, func, insert, select, update

from exchange.store.engine import keep
from exchange.store.node.models import NodeBase
from exchange.store.node.sign_in_rows import RecoveryCodeRow, SecretsRow, SessionRow, StandingRow, SubjectRow

__all__ = ["Secrets", "Session", "SignInRows", "Standing"]


def _table(row: type[NodeBase]) -> Table:
    return NodeBase.metadata.tables[str(row.__tablename__)]


_SECRETS, _CODES = _table(SecretsRow), _table(RecoveryCodeRow)
_SESSIONS, _STANDINGS = _table(SessionRow), _table(StandingRow)
_SUBJECTS = _table(SubjectRow)


@dataclass(frozen=True)
class Secrets:
    """What an account can show, as it is kept: hashed, sealed, or a digest. Empty: none."""

    account: str
    password: str = field(default="", repr=False)
    totp: bytes = field(default=b"", repr=False)
    totp_pending: bytes = field(default=b"", repr=False)
    totp_step: int = 0
    invitation: str = field(default="", repr=False)
    invitation_ends: datetime | None = None


@dataclass(frozen=True)
class Session:
    """A session that has not been ended; it may have run out."""

    id: str
    account: str
    digest: str = field(repr=False)
    stage: str
    carrier: str
    how: str
    address: str
    roles: tuple[str, ...]
    created: datetime
    seen: datetime
    ends: datetime


@dataclass(frozen=True)
class Standing:
    """How many attempts in a row failed, when the last one was, and until when none is heard."""

    failures: int
    last: datetime
    until: datetime


class SignInRows:
    """Reading and, on the connection of a change, writing."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    def secrets(self, account: str) -> Secrets:
        """What this account can show; nothing where nothing is kept."""
        row = self._connection.execute(select(_SECRETS).where(_SECRETS.c.account == account)).one_or_none()
        return Secrets(account) if row is None else Secrets(**row._mapping)

    def put_secrets(self, secrets: Secrets) -> None:
        """Replace what an account can show."""
        keep(self._connection, _SECRETS, vars(secrets), replace=True)

    def replace_recovery_codes(self, account: str, digests: Iterable[str]) -> None:
        """Keep these recovery codes and no others."""
        self._connection.execute(delete(_CODES).where(_CODES.c.account == account))
        for digest in digests:
            self._connection.execute(insert(_CODES).values(account=account, digest=digest))

    def recovery_codes(self, account: str) -> int:
        """How many recovery codes are left."""
        counted = select(func.count()).select_from(_CODES).where(_CODES.c.account == account)
        return int(self._connection.execute(counted).scalar_one())

    def use_recovery_code(self, account: str, digest: str) -> bool:
        """Take a recovery code away; whether it was there."""
        one = delete(_CODES).where(_CODES.c.account == account, _CODES.c.digest == digest)
        return self._connection.execute(one).rowcount == 1

    def session(self, digest: str) -> Session | None:
        """The session whose secret has this digest."""
        row = self._connection.execute(select(_SESSIONS).where(_SESSIONS.c.digest == digest)).one_or_none()
        return None if row is None else _session(row)

    def sessions(self, account: str) -> list[Session]:
        """The sessions of an account, oldest first."""
        wanted = select(_SESSIONS).where(_SESSIONS.c.account == account)
        rows = self._connection.execute(wanted.order_by(_SESSIONS.c.created, _SESSIONS.c.id)).all()
        return [_session(row) for row in rows]

    def add_session(self, session: Session) -> None:
        """Keep a new session."""
        self._connection.execute(insert(_SESSIONS).values(**vars(session) | {"roles": list(session.roles)}))

    def change_session(self, session: str, *, digest: str, stage: str, seen: datetime) -> None:
        """Give a session another secret and stage."""
        changed = update(_SESSIONS).where(_SESSIONS.c.id == session)
        self._connection.execute(changed.values(digest=digest, stage=stage, seen=seen))

    def see_session(self, session: str, seen: datetime) -> None:
        """Note when a session was used last."""
        self._connection.execute(update(_SESSIONS).where(_SESSIONS.c.id == session).values(seen=seen))

    def end_session(self, session: str) -> None:
        """Delete a session."""
        self._connection.execute(delete(_SESSIONS).where(_SESSIONS.c.id == session))

    def end_sessions(self, account: str, but: str = "") -> int:
        """Delete the sessions of an account, except one; returns how many."""
        these = delete(_SESSIONS).where(_SESSIONS.c.account == account, _SESSIONS.c.id != but)
        return self._connection.execute(these).rowcount

    def end_sessions_by(self, ended: datetime) -> None:
        """Delete sessions that have run out."""
        self._connection.execute(delete(_SESSIONS).where(_SESSIONS.c.ends <= ended))

    def forget_standings(self, before: datetime) -> None:
        """Delete failures that do not count any more."""
        self._connection.execute(delete(_STANDINGS).where(_STANDINGS.c.last < before))

    def linked(self, issuer: str, subject: str) -> str | None:
        """The account of a subject at a provider."""
        wanted = select(_SUBJECTS.c.account).where(
            _SUBJECTS.c.issuer == issuer, _SUBJECTS.c.subject == subject
        )
        return self._connection.execute(wanted).scalar_one_or_none()

    def link(self, account: str, issuer: str, subject: str) -> None:
        """Make this the account's one subject at a provider; "" for none."""
        these = delete(_SUBJECTS).where(_SUBJECTS.c.issuer == issuer, _SUBJECTS.c.account == account)
        self._connection.execute(these)
        if subject:
            values = {"issuer": issuer, "subject": subject, "account": account}
            self._connection.execute(insert(_SUBJECTS).values(**values))

    def standing(self, key: str) -> Standing | None:
        """How the attempts under this key went."""
        row = self._connection.execute(select(_STANDINGS).where(_STANDINGS.c.key == key)).one_or_none()
        return None if row is None else Standing(row.failures, row.last, row.until)

    def put_standing(self, key: str, standing: Standing | None) -> None:
        """Keep how the attempts under this key went; None: forget it."""
        if standing is None:
            self._connection.execute(delete(_STANDINGS).where(_STANDINGS.c.key == key))
        else:
            keep(self._connection, _STANDINGS, {"key": key, **vars(standing)}, replace=True)


def _session(row: Row[Any]) -> Session:
    return Session(**dict(row._mapping) | {"roles": tuple(row.roles)})
