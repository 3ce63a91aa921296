"""People at this node and what they decided."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import Engine, insert, select
from sqlalchemy.exc import IntegrityError

from exchange.errors import Conflict
from exchange.store.engine import transaction
from exchange.store.node.models import DecisionRow, NodeBase, PersonRow
from policies.approvals import Decision, Verdict

__all__ = ["DecisionLog", "KnownPerson", "PeopleRepository"]

_PEOPLE = NodeBase.metadata.tables[PersonRow.__tablename__]
_DECISIONS = NodeBase.metadata.tables[DecisionRow.__tablename__]

Clock = Callable[[], datetime]


@dataclass(frozen=True)
class KnownPerson:
    """A person with roles. The token is not here; only its digest is kept, and not shown."""

    name: str
    roles: tuple[str, ...]
    created: datetime


class PeopleRepository:
    """People by name and by the digest of their token."""

    def __init__(self, engine: Engine, clock: Clock) -> None:
        self._engine, self._clock = engine, clock

    def add(self, name: str, roles: Sequence[str], token_digest: str) -> None:
        """Keep a new person.

        Raises:
            Conflict: there is one of that name, or with that token.
        """
        values = {
            "name": name,
            "roles": list(roles),
            "token_digest": token_digest,
            "created": self._clock(),
        }
        with transaction(self._engine) as connection:
            try:
                connection.execute(insert(_PEOPLE).values(**values))
            except IntegrityError:
                raise Conflict(f"there is a person called {name} at this node already") from None

    def by_token_digest(self, token_digest: str) -> KnownPerson | None:
        """The person whose token has this SHA-256 digest, in lower-case hex."""
        columns = (_PEOPLE.c.name, _PEOPLE.c.roles, _PEOPLE.c.created)
        with transaction(self._engine) as connection:
            row = connection.execute(
                select(*columns).where(_PEOPLE.c.token_digest == token_digest)
            ).one_or_none()
        return None if row is None else KnownPerson(row.name, tuple(row.roles), row.created)

    def all(self) -> list[KnownPerson]:
        """Everybody, by name."""
        columns = (_PEOPLE.c.name, _PEOPLE.c.roles, _PEOPLE.c.created)
        with transaction(self._engine) as connection:
            found = connection.execute(select(*columns).order_by(_PEOPLE.c.name)).all()
        return [KnownPerson(row.name, tuple(row.roles), row.created) for row in found]


class DecisionLog:
    """What people of this organisation decided about negotiations, in order. Nothing is taken back."""

    def __init__(self, engine: Engine, clock: Clock) -> None:
        self._engine, self._clock = engine, clock

    def add(self, negotiation: str, decision: Decision) -> None:
        """Keep a decision.

        Raises:
            Conflict: this person has decided about this negotiation already.
        """
        values = {
            "negotiation": negotiation,
            "approver": decision.approver,
            "role": decision.role,
            "decision": decision.decision.value,
            "reason": decision.reason,
            "decided": self._clock(),
        }
        with transaction(self._engine) as connection:
            try:
                connection.execute(insert(_DECISIONS).values(**values))
            except IntegrityError:
                raise Conflict(f"{decision.approver} has decided about {negotiation} already") from None

    def of(self, negotiation: str) -> tuple[Decision, ...]:
        """All decisions about a negotiation, the first one first."""
        wanted = (
            select(_DECISIONS).where(_DECISIONS.c.negotiation == negotiation).order_by(_DECISIONS.c.position)
        )
        with transaction(self._engine) as connection:
            rows = connection.execute(wanted).all()
        return tuple(Decision(row.approver, row.role, Verdict(row.decision), row.reason) for row in rows)
