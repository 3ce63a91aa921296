"""The organisation's own data and its departments, which form a tree."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Final

from exchange.errors import Conflict, InvalidRequest, NotFound
from exchange.store import Change, Department, PeopleStore

__all__ = ["ORGANISATION_FIELDS", "Departments"]

ORGANISATION_FIELDS: Final = ("legal_name", "registration", "address", "contact", "email", "phone")
"""What is kept about the organisation. ``registration`` is its number in the public register."""

_SLUG: Final = r"[a-z0-9](?:[a-z0-9-]{0,38}[a-z0-9])?"
_DEEPEST: Final = 16


class Departments:
    """The departments of one node's organisation."""

    def __init__(self, store: PeopleStore) -> None:
        self._store = store

    def all(self) -> list[Department]:
        """All departments, by name."""
        with self._store.reading() as look:
            return look.departments()

    def add(self, department: Department, by: str) -> None:
        """Make a department below another or at the root.

        Raises:
            InvalidRequest: a name that cannot be, or no such parent.
            Conflict: the name is taken, or the tree would be deeper than 16.
        """
        if not re.fullmatch(_SLUG, department.department):
            expected = "lower-case letters, digits and hyphens, at most 40"
            raise InvalidRequest("department", expected, repr(department.department[:40]))
        with self._store.changing() as change:
            if department.department in _by_name(change):
                raise Conflict(f"there is a department {department.department} already")
            change.put_department(department, new=True)
            _check_place(change, department)
            facts = {"title": department.title, "parent": department.parent}
            change.record(by, "department.add", department.department, **facts)

    def change(self, department: Department, by: str) -> None:
        """Give a department another title or another parent.

        Raises:
            NotFound: no such department.
            InvalidRequest: no such parent; Conflict: it would be below itself.
        """
        with self._store.changing() as change:
            if department.department not in _by_name(change):
                raise NotFound(f"expected a department, found none called {department.department[:40]!r}")
            change.put_department(department, new=False)
            _check_place(change, department)
            facts = {"title": department.title, "parent": department.parent}
            change.record(by, "department.change", department.department, **facts)

    def remove(self, department: str, by: str) -> None:
        """Delete a department that has no departments below it and no people in it.

        Raises:
            NotFound: no such department; Conflict: it is not empty.
        """
        with self._store.changing() as change:
            known = _by_name(change)
            if department not in known:
                raise NotFound(f"expected a department, found none called {department[:40]!r}")
            below = sum(one.parent == department for one in known.values())
            people = sum(one.department == department for one in change.accounts())
            if below or people:
                raise Conflict(f"expected an empty department, found {below} departments and {people} people")
            change.drop_department(department)
            change.record(by, "department.remove", department)

    def organisation(self) -> dict[str, str]:
        """Return what is kept about the organisation; fields that were never given are empty."""
        with self._store.reading() as look:
            held = look.organisation()
        return {name: held.get(name, "") for name in ORGANISATION_FIELDS}

    def set_organisation(self, facts: Mapping[str, str], by: str) -> None:
        """Replace what is kept about the organisation."""
        with self._store.changing() as change:
            before = change.organisation()
            after = {name: facts.get(name, "") for name in ORGANISATION_FIELDS}
            change.set_organisation(after)
            changed = sorted(name for name in after if before.get(name, "") != after[name])
            change.record(by, "organisation.change", "", fields=changed)


def _by_name(change: Change) -> dict[str, Department]:
    return {one.department: one for one in change.departments()}


def _check_place(change: Change, department: Department) -> None:
    known, seen, at = _by_name(change), [department.department], department.parent
    while at:
        if at not in known:
            raise InvalidRequest("parent", "a department of this organisation", repr(at[:40]))
        if at in seen:
            raise Conflict(
                f"expected {department.department} outside itself, got it below {department.parent}"
            )
        seen.append(at)
        at = known[at].parent
    if len(seen) + _height(known, department.department) > _DEEPEST:
        raise Conflict(f"expected at most {_DEEPEST} departments one below the other, got more")


def _height(known: Mapping[str, Department], department: str) -> int:
    below = [one.department for one in known.values() if one.parent == department]
    return max((1 + _height(known, one) for one in below), default=0)
