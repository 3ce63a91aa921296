"""Who is calling: a bearer token, looked up among the node's people and checked for a role."""

from __future__ import annotations

from flask import request

from exchange.errors import Unauthenticated
from exchange.node.people import People, Person, Role

__all__ = ["Access"]


class Access:
    """Checks callers of the present request."""

    def __init__(self, people: People) -> None:
        self._people = people

    def require(self, *roles: Role) -> Person:
        """The calling person, who has one of ``roles``; any role will do where none is named.

        Raises:
            Unauthenticated: no bearer token, or an unknown one; Forbidden: another role.
        """
        scheme, _, token = request.headers.get("Authorization", "").partition(" ")
        if scheme.lower() != "bearer" or not token:
            raise Unauthenticated("expected the header Authorization: Bearer TOKEN")
        person = self._people.by_token(token.strip())
        person.require(*(roles or tuple(Role)))
        return person
