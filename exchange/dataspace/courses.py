"""The course of a process as the ledger tells it: the steps that both sides exchange messages about."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from exchange.dataspace.messages import Message
from exchange.dataspace.vocabulary import Kind, Role, next_state

__all__ = ["Course", "Courses", "Step", "Together", "states"]


@dataclass(frozen=True)
class Step:
    """One step, and the message about it.

    Attributes:
        event: in the words of the kind's automaton.
        senders: who may tell the other side; both where both may say that something has ended.
        path: where the message goes, below the receiver's base address.
        message: as it must stand on the wire.
        is_first: it begins the process, so its sender adds its own address to it.
    """

    event: str
    senders: frozenset[Role]
    path: str
    message: Mapping[str, Any]
    is_first: bool = False

    def differs(self, received: Message) -> str | None:
        """Name the first member in which a received message says something else; None where none does."""
        said = {
            "consumerPid": received.consumer_pid,
            "providerPid": received.provider_pid,
            "reason": received.reason,
            **received.content,
        }
        for name, value in said.items():
            expected = self.message.get(name)
            if value is not None and expected is not None and value != expected:
                return name
        return None


@dataclass(frozen=True)
class Course:
    """A process: its id, which both sides use as their pid, the two sides, and the steps so far."""

    kind: Kind
    pid: str
    consumer: str
    provider: str
    steps: tuple[Step, ...]

    def role_of(self, did: str) -> Role | None:
        """Which side a member is."""
        return {self.consumer: Role.CONSUMER, self.provider: Role.PROVIDER}.get(did)

    def other(self, did: str) -> str:
        """The other side's DID."""
        return self.provider if did == self.consumer else self.consumer


class Courses(Protocol):
    """Where the courses of one kind come from. A further format of transfers is one more of these."""

    @property
    def kind(self) -> Kind:
        """Which automaton they follow."""

    def course(self, pid: str) -> Course | None:
        """Return the process of this id; None where this node's ledger has none."""

    def changed(self, since: int) -> Iterable[tuple[str, bool]]:
        """Yield own processes that an entry at index ``since`` or later moved: id, and whether it is over."""


@dataclass(frozen=True)
class Together:
    """Courses of one kind that come from several places, such as transfers in several formats."""

    kind: Kind
    parts: tuple[Courses, ...]

    def course(self, pid: str) -> Course | None:
        """Return the course of this id from the first place that has it."""
        return next((found for part in self.parts if (found := part.course(pid)) is not None), None)

    def changed(self, since: int) -> Iterator[tuple[str, bool]]:
        """Yield what moved in any of the places."""
        for part in self.parts:
            yield from part.changed(since)


def states(kind: Kind, steps: Sequence[Step]) -> list[str | None]:
    """Return the state before each step, and that after the last one."""
    found: list[str | None] = [None]
    for step in steps:
        role = min(step.senders)
        found.append(next_state(kind, found[-1], step.event, role))
    return found
