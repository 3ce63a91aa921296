"""Accounts at a node, and what may be changed about them by whom.

Nobody changes the own roles or state. One administrator who is active always remains.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Final

from exchange.errors import Conflict, Forbidden, InvalidRequest, NotFound
from exchange.node.people.roles import Role, Separation, State
from exchange.store import Account, Act, Change, PeopleStore, SignInRows, Verdict
from ledger.entries import new_id

__all__ = ["OPERATOR", "NewAccount", "People", "known", "not_oneself"]

OPERATOR: Final = "operator at the data directory"
"""Who acts where somebody with the process's own rights changes accounts without the node's API."""

NAME: Final = r"[a-z0-9](?:[a-z0-9._@-]{0,98}[a-z0-9])?"
NAME_WORDS: Final = "lower-case letters, digits, dots, hyphens, underscores and @, at most 100"

_MOVES: Final = frozenset(
    {
        (State.LOCKED, State.ACTIVE),
        (State.DISABLED, State.ACTIVE),
        (State.INVITED, State.DISABLED),
        (State.ACTIVE, State.DISABLED),
        (State.LOCKED, State.DISABLED),
    }
)
"""What an administrator does; an invitation that is taken up and failed sign-ins do the rest."""


@dataclass(frozen=True)
class NewAccount:
    """What a new account is to be."""

    name: str
    roles: tuple[str, ...]
    display_name: str = ""
    department: str = ""


class People:
    """The accounts of one node.

    Args:
        store: where they are kept, with their record.
        separation: which roles are kept apart.
    """

    def __init__(self, store: PeopleStore, separation: Separation) -> None:
        self.store, self.separation = store, separation

    def add(self, new: NewAccount, by: str) -> Account:
        """Make an account, active at once.

        Raises:
            InvalidRequest: a name or role that cannot be, or a department that is not there.
            Conflict: the name is taken, or the roles are kept apart.
        """
        with self.store.changing() as change:
            return self.added(change, new, by, State.ACTIVE)

    def added(self, change: Change, new: NewAccount, by: str, state: State) -> Account:
        """Make an account as a part of a change."""
        if not re.fullmatch(NAME, new.name):
            raise InvalidRequest("name", NAME_WORDS, repr(new.name[:40]))
        roles = self.separation.check(new.roles)
        if change.account(new.name) is not None:
            raise Conflict(f"there is or was an account called {new.name} at this node already")
        _in_department(change, new.department)
        account = Account(
            id=new_id("person", lambda: change.now),
            name=new.name,
            display_name=new.display_name or new.name,
            department=new.department,
            roles=roles,
            state=state.value,
            created=change.now,
            created_by=by,
            changed=change.now,
            changed_by=by,
        )
        change.add_account(account)
        change.record(by, "account.add", account.name, roles=list(roles), state=account.state)
        return account

    def all(self) -> list[Account]:
        """Everybody, by name."""
        with self.store.reading() as look:
            return look.accounts()

    def named(self, name: str) -> Account:
        """The account of this name.

        Raises:
            NotFound: there is none.
        """
        with self.store.reading() as look:
            return known(look.account(name), name)

    def roles(self, name: str) -> frozenset[str]:
        """The roles in which a person may act at present; none where there is no such person in use."""
        with self.store.reading() as look:
            account = look.account(name)
        if account is None or account.state not in (State.ACTIVE, State.LOCKED):
            return frozenset()
        return self.separation.usable(account.roles)

    def describe(self, name: str, by: str, *, display_name: str | None, department: str | None) -> Account:
        """Change how a person is called and where the person works; None leaves it as it is."""
        with self.store.changing() as change:
            before = known(change.account(name), name)
            if department is not None:
                _in_department(change, department)
            after = replace(
                before,
                display_name=before.display_name if display_name is None else display_name or name,
                department=before.department if department is None else department,
            )
            facts = {"display_name": after.display_name, "department": after.department}
            return self._put(change, before, after, by, "account.describe", facts)

    def set_roles(self, name: str, roles: Iterable[str], by: str) -> Account:
        """Give a person these roles and no others; the person's sessions end.

        Raises:
            Forbidden: one's own roles.
            Conflict: the roles are kept apart, or no administrator would be left.
        """
        not_oneself(name, by, "roles")
        wanted = self.separation.check(roles)
        with self.store.changing() as change:
            before = known(change.account(name), name)
            facts = {"before": list(before.roles), "after": list(wanted)}
            SignInRows(change.connection).end_sessions(before.id)
            return self._put(change, before, replace(before, roles=wanted), by, "account.roles", facts)

    def set_state(self, name: str, state: State, by: str) -> Account:
        """Disable an account with all it has, or make one that is locked or disabled active again.

        Raises:
            Forbidden: one's own account.
            Conflict: not possible from its present state, or no administrator would be left.
        """
        not_oneself(name, by, "state")
        with self.store.changing() as change:
            before = known(change.account(name), name)
            if (before.state, state) not in _MOVES:
                raise Conflict(f"expected an account that can become {state}, {name} is {before.state}")
            facts = {"before": before.state, "after": state.value}
            SignInRows(change.connection).end_sessions(before.id)
            return self._put(change, before, replace(before, state=state.value), by, "account.state", facts)

    def acts(self, after: int, limit: int) -> list[Act]:
        """Read the record of acts about people."""
        return self.store.acts(after, limit)

    def verify_record(self) -> Verdict:
        """Check that nothing was altered in the record or taken from it."""
        return self.store.verify_record()

    def _put(
        self, change: Change, before: Account, after: Account, by: str, act: str, facts: Mapping[str, object]
    ) -> Account:
        after = replace(after, changed=change.now, changed_by=by)
        change.set_account(after)
        if _administers(before) and not any(_administers(one) for one in change.accounts()):
            raise Conflict(f"expected another active administrator beside {before.name}, found none")
        change.record(by, act, after.name, **facts)
        return after


def known(account: Account | None, name: str) -> Account:
    """Return the account that was looked for.

    Raises:
        NotFound: there is none.
    """
    if account is None:
        raise NotFound(f"expected an account of this node, found none called {name[:40]!r}")
    return account


def _administers(account: Account) -> bool:
    return account.state == State.ACTIVE and Role.ADMINISTRATOR in account.roles


def not_oneself(name: str, by: str, what: str) -> None:
    """Refuse what nobody does for oneself.

    Raises:
        Forbidden: it is the same person.
    """
    if name == by:
        raise Forbidden(f"expected another administrator to change the {what} of {name}, not {name}")


def _in_department(change: Change, department: str) -> None:
    if department and department not in {one.department for one in change.departments()}:
        raise InvalidRequest("department", "a department of this organisation", repr(department[:40]))
