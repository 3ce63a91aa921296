"""The tables behind signing in: what is kept of secrets, sessions, and how often attempts failed."""

from __future__ import annotations

from datetime import datetime

from sqlalchemy import JSON, Integer, LargeBinary, String, Text, UniqueConstraint
from sqlalchemy.orm import Mapped, mapped_column

from exchange.store.engine import Moment
from exchange.store.node.models import NodeBase

__all__ = ["RecoveryCodeRow", "SecretsRow", "SessionRow", "StandingRow", "SubjectRow"]


class SecretsRow(NodeBase):
    """What an account can show. The password is hashed, the one-time secrets are sealed; empty: none."""

    __tablename__ = "node_secrets"

    account: Mapped[str] = mapped_column(String(40), primary_key=True)
    password: Mapped[str] = mapped_column(Text)
    totp: Mapped[bytes] = mapped_column(LargeBinary)
    totp_pending: Mapped[bytes] = mapped_column(LargeBinary)
    totp_step: Mapped[int] = mapped_column(Integer)
    invitation: Mapped[str] = mapped_column(String(64))
    invitation_ends: Mapped[datetime | None] = mapped_column(Moment)


class RecoveryCodeRow(NodeBase):
    """A code that replaces a one-time code once; only its digest is kept."""

    __tablename__ = "node_recovery_codes"

    digest: Mapped[str] = mapped_column(String(64), primary_key=True)
    account: Mapped[str] = mapped_column(String(40), index=True)


class SessionRow(NodeBase):
    """A session that has not ended; only the digest of its secret is kept."""

    __tablename__ = "node_sessions"
    __table_args__ = (UniqueConstraint("digest", name="node_sessions_digest"),)

    id: Mapped[str] = mapped_column(String(40), primary_key=True)
    account: Mapped[str] = mapped_column(String(40), index=True)
    digest: Mapped[str] = mapped_column(String(64))
    stage: Mapped[str] = mapped_column(String(12))
    carrier: Mapped[str] = mapped_column(String(10))
    how: Mapped[str] = mapped_column(String(20))
    address: Mapped[str] = mapped_column(String(64))
    roles: Mapped[list[str]] = mapped_column(JSON)
    created: Mapped[datetime] = mapped_column(Moment)
    seen: Mapped[datetime] = mapped_column(Moment)
    ends: Mapped[datetime] = mapped_column(Moment)


class SubjectRow(NodeBase):
    """Whose account a subject at an identity provider is."""

    __tablename__ = "node_subjects"

    issuer: Mapped[str] = mapped_column(String(255), primary_key=True)
    subject: Mapped[str] = mapped_column(String(255), primary_key=True)
    account: Mapped[str] = mapped_column(String(40), index=True)


class StandingRow(NodeBase):
    """How many attempts in a row failed under one name or address; ``key`` is a keyed digest of it."""

    __tablename__ = "node_standings"

    key: Mapped[str] = mapped_column(String(64), primary_key=True)
    failures: Mapped[int] = mapped_column(Integer)
    last: Mapped[datetime] = mapped_column(Moment)
    until: Mapped[datetime] = mapped_column(Moment)
