"""What people may do at their own node, and which roles nobody may have together."""

from __future__ import annotations

from collections.abc import Collection, Iterable
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum

from exchange.errors import Conflict, Forbidden, InvalidRequest

__all__ = ["Person", "Role", "Separation", "State"]


class Role(StrEnum):
    """Roles of people at their own node."""

    STEWARD = "steward"
    APPROVER = "approver"
    ANALYST = "analyst"
    AUDITOR = "auditor"
    ADMINISTRATOR = "administrator"


class State(StrEnum):
    """Where an account stands. One that is locked cannot sign in; one that is disabled can do nothing."""

    INVITED = "invited"
    ACTIVE = "active"
    LOCKED = "locked"
    DISABLED = "disabled"


@dataclass(frozen=True)
class Person:
    """A known caller.

    Attributes:
        name: the account's name, which is never changed and never given to another.
        roles: in which the caller may act now: the account's, as far as what was shown is good for them.
        id: the account's id.
        display_name: how people write the name.
        department: empty where there is none.
        credential: id of the token or session that was shown; empty for an operator at the data directory.
        until: when that ends; None: it does not.
    """

    name: str
    roles: frozenset[Role]
    id: str = ""
    display_name: str = ""
    department: str = ""
    credential: str = ""
    until: datetime | None = None

    def require(self, *roles: Role) -> None:
        """Check that this person has one of ``roles``.

        Raises:
            Forbidden: none of them; the message names those that would do.
        """
        if not self.roles & set(roles):
            held = ", ".join(sorted(self.roles)) or "no role"
            raise Forbidden(f"expected the role {' or '.join(roles)}, {self.name} has {held}")


@dataclass(frozen=True)
class Separation:
    """Static separation of duty: pairs of roles that no account holds together."""

    pairs: tuple[frozenset[str], ...] = ()

    def check(self, roles: Iterable[str]) -> tuple[str, ...]:
        """Check the roles of an account; returns them sorted, each once.

        Raises:
            InvalidRequest: a role that does not exist, or none.
            Conflict: two of them are kept apart at this node.
        """
        asked = set(roles)
        unknown = sorted(asked - set(Role))
        if unknown or not asked:
            actual = ", ".join(repr(role[:40]) for role in unknown) or "none"
            raise InvalidRequest("roles", f"some of {', '.join(Role)}", actual)
        for pair in self.pairs:
            if pair <= asked:
                raise Conflict(f"expected roles apart, got {' and '.join(sorted(pair))} for one account")
        return tuple(sorted(asked))

    def usable(self, roles: Collection[str]) -> frozenset[Role]:
        """Return the roles in which an account may act: none of a pair that was forbidden afterwards."""
        barred = {role for pair in self.pairs if pair <= set(roles) for role in pair}
        return frozenset(Role(role) for role in roles if role not in barred)
