"""Tables of anonymous lookups. None has a column for a key."""

from __future__ import annotations

from datetime import datetime

from sqlalchemy import JSON, BigInteger, Index, LargeBinary, String, Text
from sqlalchemy.orm import Mapped, mapped_column

from exchange.store.engine import Moment
from exchange.store.node.models import NodeBase

__all__ = ["LookupAccountRow", "LookupQuestionRow", "LookupServiceRow", "LookupTicketRow"]


class LookupServiceRow(NodeBase):
    """A service that this owner opens: as it was asked for, and how far its next release is."""

    __tablename__ = "node_lookup_services"

    service: Mapped[str] = mapped_column(String(200), primary_key=True)
    request: Mapped[dict[str, object]] = mapped_column(JSON)
    state: Mapped[str] = mapped_column(String(20))
    failure: Mapped[str] = mapped_column(Text)
    changed: Mapped[datetime] = mapped_column(Moment)


class LookupTicketRow(NodeBase):
    """A ticket that this owner has answered."""

    __tablename__ = "node_lookup_tickets"
    __table_args__ = (
        Index("ix_node_lookup_tickets_account", "account", "total"),
        Index("ix_node_lookup_tickets_agreement", "agreement", "state"),
        Index("ix_node_lookup_tickets_consumer", "consumer", "service", "answered"),
    )

    ticket: Mapped[str] = mapped_column(String(40), primary_key=True)
    account: Mapped[str] = mapped_column(String(560))
    agreement: Mapped[str] = mapped_column(String(40))
    consumer: Mapped[str] = mapped_column(String(220))
    service: Mapped[str] = mapped_column(String(200))
    count: Mapped[int] = mapped_column(BigInteger)
    total: Mapped[int] = mapped_column(BigInteger)
    fee: Mapped[int] = mapped_column(BigInteger)
    raw: Mapped[bytes] = mapped_column(LargeBinary)
    state: Mapped[str] = mapped_column(String(10), index=True)
    answered: Mapped[datetime] = mapped_column(Moment)


class LookupAccountRow(NodeBase):
    """What this member has signed for in one account."""

    __tablename__ = "node_lookup_accounts"

    account: Mapped[str] = mapped_column(String(560), primary_key=True)
    total: Mapped[int] = mapped_column(BigInteger)
    owed: Mapped[int] = mapped_column(BigInteger)


class LookupQuestionRow(NodeBase):
    """A call to a service that a person or program of this member made."""

    __tablename__ = "node_lookup_questions"

    ticket: Mapped[str] = mapped_column(String(40), primary_key=True)
    service: Mapped[str] = mapped_column(String(200), index=True)
    agreement: Mapped[str] = mapped_column(String(40))
    purpose: Mapped[str] = mapped_column(String(256))
    release: Mapped[int] = mapped_column(BigInteger)
    count: Mapped[int] = mapped_column(BigInteger)
    fee: Mapped[int] = mapped_column(BigInteger)
    person: Mapped[str] = mapped_column(String(200))
    asked: Mapped[datetime] = mapped_column(Moment, index=True)
