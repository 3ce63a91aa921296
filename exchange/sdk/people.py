"""The calls about the organisation's own people: accounts, departments, tokens, the record."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from urllib.parse import quote

from exchange.errors import InvalidRequest
from exchange.sdk.connection import Connection, Json

__all__ = ["PeopleCalls"]

_PAGE = 500
_ADMINISTRATOR = "administrator"


class PeopleCalls(Connection):
    """For administrators, and for everybody about the own account."""

    def people(self) -> list[Json]:
        """List the accounts at the node."""
        return self._list("GET", "/v1/people", "people", role=self._one_of(_ADMINISTRATOR, "auditor"))

    def person(self, name: str) -> Json:
        """Show one account."""
        return self._object(
            "GET", f"/v1/people/{_segment(name)}", role=self._one_of(_ADMINISTRATOR, "auditor")
        )

    def add_person(
        self,
        name: str,
        roles: Sequence[str],
        *,
        display_name: str = "",
        department: str = "",
        token_days: int | None = None,
    ) -> Json:
        """Make an account; the answer holds an ``invitation``, or a ``token`` where it has days."""
        body = {
            "name": name,
            "roles": list(roles),
            "display_name": display_name,
            "department": department,
            "token_days": token_days,
        }
        return self._object("POST", "/v1/people", role=_ADMINISTRATOR, json=body)

    def describe_person(self, name: str, **changes: str) -> Json:
        """Change ``display_name`` or ``department``."""
        return self._object("PATCH", f"/v1/people/{_segment(name)}", role=_ADMINISTRATOR, json=changes)

    def set_roles(self, name: str, roles: Sequence[str]) -> Json:
        """Give a person these roles and no others."""
        path = f"/v1/people/{_segment(name)}/roles"
        return self._object("PUT", path, role=_ADMINISTRATOR, json={"roles": list(roles)})

    def set_account_state(self, name: str, state: str) -> Json:
        """Make an account ``active`` or ``disabled``."""
        path = f"/v1/people/{_segment(name)}/state"
        return self._object("PUT", path, role=_ADMINISTRATOR, json={"state": state})

    def people_record(self) -> Iterator[Json]:
        """Read the record of acts about people from its beginning."""
        after, role = 0, self._one_of("auditor", _ADMINISTRATOR)
        while True:
            asked = {"after": after, "limit": _PAGE}
            found = self._list("GET", "/v1/people-record", "acts", role=role, params=asked)
            yield from found
            if len(found) < _PAGE:
                return
            after = int(found[-1]["position"])

    def verify_people_record(self) -> Json:
        """Have the node check that nothing was altered in the record or taken from it."""
        role = self._one_of("auditor", _ADMINISTRATOR)
        return self._object("GET", "/v1/people-record/verification", role=role)

    # --- the organisation

    def departments(self) -> list[Json]:
        """List the departments."""
        return self._list("GET", "/v1/departments", "departments", role=self._any_role())

    def add_department(self, department: str, title: str, parent: str = "") -> Json:
        """Make a department."""
        body = {"department": department, "title": title, "parent": parent}
        return self._object("POST", "/v1/departments", role=_ADMINISTRATOR, json=body)

    def change_department(self, department: str, title: str, parent: str = "") -> Json:
        """Give a department another title or another place."""
        path, body = f"/v1/departments/{_segment(department)}", {"title": title, "parent": parent}
        return self._object("PUT", path, role=_ADMINISTRATOR, json=body)

    def remove_department(self, department: str) -> None:
        """Delete an empty department."""
        self._send("DELETE", f"/v1/departments/{_segment(department)}", role=_ADMINISTRATOR)

    def organisation(self) -> Json:
        """Show the organisation's own data."""
        return self._object("GET", "/v1/organisation", role=self._any_role())

    def set_organisation(self, facts: Mapping[str, str]) -> Json:
        """Replace the organisation's own data."""
        return self._object("PUT", "/v1/organisation", role=_ADMINISTRATOR, json=dict(facts))

    # --- tokens

    def tokens(self, name: str | None = None, *, role: str | None = None) -> list[Json]:
        """List one's own tokens, or as an administrator those of ``name``."""
        if name is None:
            return self._list("GET", "/v1/tokens", "tokens", role=role or self._any_role())
        role = self._one_of(_ADMINISTRATOR, "auditor")
        return self._list("GET", f"/v1/people/{_segment(name)}/tokens", "tokens", role=role)

    def issue_token(self, title: str, roles: Sequence[str], *, days: int = 90) -> Json:
        """Make a token of one's own; ``secret`` of the answer is shown this once."""
        body = {"title": title, "roles": list(roles), "days": days}
        return self._object("POST", "/v1/tokens", role=self._one_of(*roles), json=body)

    def revoke_token(self, token: str, name: str | None = None, *, role: str | None = None) -> None:
        """Take back a token of one's own, or as an administrator one of ``name``."""
        if name is None:
            self._send("DELETE", f"/v1/tokens/{_segment(token)}", role=role or self._any_role())
            return
        self._send("DELETE", f"/v1/people/{_segment(name)}/tokens/{_segment(token)}", role=_ADMINISTRATOR)

    def _any_role(self) -> str:
        return self._one_of(*sorted(self.profile.tokens), _ADMINISTRATOR)


def _segment(name: str) -> str:
    """Return a name as one part of a path, whatever is in it."""
    if name in ("", ".", ".."):
        raise InvalidRequest("name", "a name", repr(name))
    return quote(name, safe="")
