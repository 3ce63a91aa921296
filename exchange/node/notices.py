"""What people of this organisation should know: to one person, or to everybody with a role.

A notice names what happened and to what, with names, ids and counts; it carries no data. Whoever waits for
notices is woken when one comes; listeners are told after it is kept.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Collection, Iterable, Mapping
from datetime import datetime

from exchange.errors import NotFound
from exchange.node.people import Person
from exchange.store import Notice, NoticeRepository
from ledger.entries import new_id

__all__ = ["Notices"]

_LONGEST_WAIT_S = 25.0


class Notices:
    """The node's notices; safe to use from several threads."""

    def __init__(self, repository: NoticeRepository, clock: Callable[[], datetime]) -> None:
        self._repository, self._clock = repository, clock
        self._changed = threading.Condition()
        self._listeners: list[Callable[[str, str, str], None]] = []

    def tell(
        self,
        kind: str,
        subject: str,
        *,
        people: Iterable[str] = (),
        roles: Iterable[str] = (),
        facts: Mapping[str, str | int] | None = None,
    ) -> None:
        """Keep a notice for each of ``people`` and for each of ``roles``.

        Args:
            kind: what happened, such as ``approval.opened``.
            subject: the id of what it happened to.
            people: names of those it is for.
            roles: whoever has one of them may read it.
            facts: names, ids and counts that a sentence about it needs.
        """
        receivers = [(person, "") for person in sorted(set(people))]
        receivers += [("", role) for role in sorted(set(roles))]
        for person, role in receivers:
            notice = new_id("notice", self._clock)
            self._repository.add(notice, kind, subject, person, role, facts or {})
            for listener in self._listeners:
                listener(notice, kind, subject)
        with self._changed:
            self._changed.notify_all()

    def on_notice(self, listener: Callable[[str, str, str], None]) -> None:
        """Call ``listener`` with id, kind and subject of each notice once it is kept; it must not wait."""
        self._listeners.append(listener)

    def of(self, person: Person, *, after: int = 0, unread: bool = False) -> list[Notice]:
        """The notices for a person behind position ``after``, the oldest first."""
        return self._repository.of(person.name, _roles(person), after=after, unread=unread)

    def wait(self, person: Person, after: int, timeout_s: float) -> list[Notice]:
        """The notices behind ``after`` as soon as there is one; none if there is none in time."""
        deadline = time.monotonic() + min(timeout_s, _LONGEST_WAIT_S)
        with self._changed:
            while not (found := self.of(person, after=after)):
                left = deadline - time.monotonic()
                if left <= 0:
                    return []
                self._changed.wait(left)
        return found

    def read(self, notice: str, person: Person) -> None:
        """Note that a person has read a notice.

        Raises:
            NotFound: there is no such notice for this person.
        """
        if not self._repository.mark_read(notice, person.name, _roles(person)):
            raise NotFound(f"no notice {notice} for {person.name}")


def _roles(person: Person) -> Collection[str]:
    return {str(role) for role in person.roles}
