"""The tables of this organisation's people: accounts, departments, tokens, and the record of changes."""

from __future__ import annotations

from datetime import datetime

from sqlalchemy import JSON, Integer, String, Text, UniqueConstraint
from sqlalchemy.orm import Mapped, mapped_column

from exchange.store.engine import Moment
from exchange.store.node.models import NodeBase

__all__ = ["AccountRow", "ActRow", "DepartmentRow", "OrganisationRow", "RecordHeadRow", "TokenRow"]


class AccountRow(NodeBase):
    """A person or a program of this organisation. The name is never changed and never used again."""

    __tablename__ = "node_accounts"
    __table_args__ = (UniqueConstraint("name", name="node_accounts_name"),)

    id: Mapped[str] = mapped_column(String(40), primary_key=True)
    name: Mapped[str] = mapped_column(String(100))
    display_name: Mapped[str] = mapped_column(String(200))
    department: Mapped[str] = mapped_column(String(40))
    roles: Mapped[list[str]] = mapped_column(JSON)
    state: Mapped[str] = mapped_column(String(10))
    created: Mapped[datetime] = mapped_column(Moment)
    created_by: Mapped[str] = mapped_column(String(100))
    changed: Mapped[datetime] = mapped_column(Moment)
    changed_by: Mapped[str] = mapped_column(String(100))


class DepartmentRow(NodeBase):
    """A department; ``parent`` is empty at the root of the tree."""

    __tablename__ = "node_departments"

    department: Mapped[str] = mapped_column(String(40), primary_key=True)
    title: Mapped[str] = mapped_column(String(200))
    parent: Mapped[str] = mapped_column(String(40))


class OrganisationRow(NodeBase):
    """One fact about the organisation."""

    __tablename__ = "node_organisation"

    field: Mapped[str] = mapped_column(String(40), primary_key=True)
    value: Mapped[str] = mapped_column(Text)


class TokenRow(NodeBase):
    """A bearer token, of which only the digest is kept, with the roles it is good for."""

    __tablename__ = "node_tokens"
    __table_args__ = (UniqueConstraint("digest", name="node_tokens_digest"),)

    id: Mapped[str] = mapped_column(String(40), primary_key=True)
    account: Mapped[str] = mapped_column(String(40), index=True)
    title: Mapped[str] = mapped_column(String(100))
    digest: Mapped[str] = mapped_column(String(64))
    roles: Mapped[list[str]] = mapped_column(JSON)
    created: Mapped[datetime] = mapped_column(Moment)
    created_by: Mapped[str] = mapped_column(String(100))
    expires: Mapped[datetime | None] = mapped_column(Moment)
    revoked: Mapped[datetime | None] = mapped_column(Moment)


class ActRow(NodeBase):
    """One act about people; ``digest`` covers the row and the digest before it."""

    __tablename__ = "node_people_record"

    position: Mapped[int] = mapped_column(Integer, primary_key=True)
    time: Mapped[str] = mapped_column(String(20))
    actor: Mapped[str] = mapped_column(String(100))
    act: Mapped[str] = mapped_column(String(40))
    subject: Mapped[str] = mapped_column(String(100))
    facts: Mapped[str] = mapped_column(Text)
    previous: Mapped[str] = mapped_column(String(64))
    digest: Mapped[str] = mapped_column(String(64))


class RecordHeadRow(NodeBase):
    """How long the record is and how it ends. One row, which every change of people locks first."""

    __tablename__ = "node_people_head"

    head: Mapped[int] = mapped_column(Integer, primary_key=True)
    size: Mapped[int] = mapped_column(Integer)
    digest: Mapped[str] = mapped_column(String(64))
