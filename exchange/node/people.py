"""Who may do what at this node: people with roles, known by a token of which only the digest is kept."""

from __future__ import annotations

import hashlib
import secrets
from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum

from exchange.errors import Forbidden, InvalidRequest, Unauthenticated
from exchange.store import PeopleRepository

__all__ = ["People", "Person", "Role"]

_TOKEN_BYTES = 32


class Role(StrEnum):
    """Roles of people at their own node."""

    STEWARD = "steward"
    APPROVER = "approver"
    ANALYST = "analyst"
    AUDITOR = "auditor"
    ADMINISTRATOR = "administrator"


@dataclass(frozen=True)
class Person:
    """A known caller."""

    name: str
    roles: frozenset[Role]

    def require(self, *roles: Role) -> None:
        """Check that this person has one of ``roles``.

        Raises:
            Forbidden: none of them; the message names those that would do.
        """
        if not self.roles & set(roles):
            raise Forbidden(
                f"expected the role {' or '.join(roles)}, {self.name} has {', '.join(sorted(self.roles))}"
            )


class People:
    """The node's accounts."""

    def __init__(self, repository: PeopleRepository) -> None:
        self._repository = repository

    def add(self, name: str, roles: Sequence[str]) -> str:
        """Make an account and return its token, which is shown this once.

        Raises:
            InvalidRequest: a role that does not exist, or none.
        """
        for role in roles:
            if role not in set(Role):
                raise InvalidRequest("roles", f"some of {', '.join(Role)}", repr(role))
        if not roles:
            raise InvalidRequest("roles", f"some of {', '.join(Role)}", "none")
        token = secrets.token_urlsafe(_TOKEN_BYTES)
        self._repository.add(name, sorted(set(roles)), _digest(token))
        return token

    def by_token(self, token: str) -> Person:
        """The person whose token this is.

        Raises:
            Unauthenticated: nobody's.
        """
        found = self._repository.by_token_digest(_digest(token))
        if found is None:
            raise Unauthenticated("this token belongs to nobody at this node")
        return Person(found.name, frozenset(Role(role) for role in found.roles))


def _digest(token: str) -> str:
    return hashlib.sha256(token.encode()).hexdigest()
