"""Notices to people of this organisation, and who has read them. They hold names and ids, no data."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import ColumnElement, Engine, and_, insert, or_, select

from exchange.store.engine import keep, transaction
from exchange.store.node.approval_models import NoticeReadRow, NoticeRow
from exchange.store.node.models import NodeBase

__all__ = ["Notice", "NoticeRepository"]

_NOTICES = NodeBase.metadata.tables[NoticeRow.__tablename__]
_READ = NodeBase.metadata.tables[NoticeReadRow.__tablename__]


@dataclass(frozen=True)
class Notice:
    """Something that people should know.

    Attributes:
        position: grows with every notice of this node.
        notice: its id.
        kind: what happened, such as ``approval.opened``.
        subject: the id of what it happened to.
        person: whom it is for; empty where it is for a role.
        role: whom it is for; empty where it is for a person.
        facts: names, ids and counts that a sentence about it needs.
        made: when.
        is_read: whether the asking person has read it.
    """

    position: int
    notice: str
    kind: str
    subject: str
    person: str
    role: str
    facts: Mapping[str, Any]
    made: datetime
    is_read: bool = False


class NoticeRepository:
    """Notices in the order in which they were made."""

    def __init__(self, engine: Engine, clock: Callable[[], datetime]) -> None:
        self._engine, self._clock = engine, clock

    def add(
        self, notice: str, kind: str, subject: str, person: str, role: str, facts: Mapping[str, Any]
    ) -> None:
        """Keep a notice to a person or, with an empty person, to a role."""
        values = {
            "notice": notice,
            "kind": kind,
            "subject": subject,
            "person": person,
            "role": role,
            "facts": dict(facts),
            "made": self._clock(),
        }
        with transaction(self._engine) as connection:
            connection.execute(insert(_NOTICES).values(**values))

    def of(
        self, person: str, roles: Collection[str], *, after: int = 0, unread: bool = False, limit: int = 200
    ) -> list[Notice]:
        """A person's notices behind position ``after``, the oldest first."""
        table = _NOTICES.c
        mine = and_(_READ.c.notice == table.notice, _READ.c.person == person)
        wanted = (
            select(_NOTICES, _READ.c.read)
            .join(_READ, mine, isouter=True)
            .where(_for(person, roles), table.position > after)
            .order_by(table.position)
        )
        wanted = wanted.where(_READ.c.read.is_(None)) if unread else wanted
        with transaction(self._engine) as connection:
            rows = connection.execute(wanted.limit(limit)).all()
        return [
            Notice(
                row.position,
                row.notice,
                row.kind,
                row.subject,
                row.person,
                row.role,
                row.facts,
                row.made,
                row.read is not None,
            )
            for row in rows
        ]

    def told(self, kinds: Collection[str]) -> set[tuple[str, str]]:
        """Kind and subject of every notice of these kinds."""
        wanted = select(_NOTICES.c.kind, _NOTICES.c.subject).where(_NOTICES.c.kind.in_(sorted(kinds)))
        with transaction(self._engine) as connection:
            return {(row.kind, row.subject) for row in connection.execute(wanted.distinct())}

    def mark_read(self, notice: str, person: str, roles: Collection[str]) -> bool:
        """Note that a person has read a notice; tells whether there is one for that person."""
        wanted = select(_NOTICES.c.notice).where(_NOTICES.c.notice == notice, _for(person, roles))
        with transaction(self._engine) as connection:
            if connection.scalar(wanted) is None:
                return False
            keep(
                connection, _READ, {"notice": notice, "person": person, "read": self._clock()}, replace=False
            )
        return True


def _for(person: str, roles: Collection[str]) -> ColumnElement[bool]:
    return or_(_NOTICES.c.person == person, and_(_NOTICES.c.person == "", _NOTICES.c.role.in_(sorted(roles))))
