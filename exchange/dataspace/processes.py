"""Exchanging the steps of a process with the other side, in order and each once, whatever is cut off.

Both sides read the same course off their own copies of the ledger; each keeps how many steps of it both have
exchanged. To send a step: store that its message is under way, send it, move on by one. To receive one:
compare it with the course, move on by one, answer. A crash between any two of these leaves a position at
which the same step is sent or received again, and a message that was received before is answered as before.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping

from exchange.dataspace.client import Connectors
from exchange.dataspace.courses import Course, Courses, Step, states
from exchange.dataspace.errors import ConnectorRefused, ContradictsLedger, IllegalTransition, UnknownProcess
from exchange.dataspace.messages import Message
from exchange.dataspace.vocabulary import IN_FLIGHT, Kind, Role, next_state
from exchange.errors import TimedOut
from exchange.node.ledger_client import LedgerClient
from exchange.store import DataspaceRepository

__all__ = ["Processes"]

_log = logging.getLogger(__name__)

_ARRIVAL_S = 3.0
"""How long a message may be ahead of this node's copy of the ledger."""


class Processes:
    """One participant's processes.

    Args:
        ledger: this node's view of the ledger.
        did: this participant.
        store: how far each process is.
        courses: where the courses of each kind come from.
        connectors: the other members' connectors.
        base: this connector's own base address, given as ``callbackAddress``.
    """

    def __init__(
        self,
        *,
        ledger: LedgerClient,
        did: str,
        store: DataspaceRepository,
        courses: Mapping[Kind, Courses],
        connectors: Connectors,
        base: str,
    ) -> None:
        self._ledger, self._did, self._store, self._connectors = ledger, did, store, connectors
        self._base = base
        self.courses = courses

    def addresses(self) -> dict[str, str]:
        """The members' connectors, by DID."""
        return self._connectors.addresses()

    def state(self, kind: Kind, pid: str, caller: str) -> str:
        """Return the state of a process as far as both sides have exchanged messages about it.

        Raises:
            UnknownProcess: there is none, or the caller is not the other side.
        """
        course, kept = self.courses[kind].course(pid), self._store.find(kind, pid)
        if course is None or kept is None or not kept.position or caller not in self._others(course):
            raise UnknownProcess(f"no {kind} of this id and this caller")
        return str(states(kind, course.steps[: kept.position])[-1])

    def receive(self, kind: Kind, pid: str, caller: str, event: str, received: Message) -> str:
        """Take a message about a step; returns the state after it. Taking it again changes nothing.

        Args:
            kind: of the process.
            pid: its id, from the path or, in a first message, from the sender's pid.
            caller: the member that sends it.
            event: the step it is about.
            received: the message.

        Raises:
            UnknownProcess: there is no such process between the caller and this participant.
            IllegalTransition: the process is in another state than one that this step is possible in.
            ContradictsLedger: the ledger does not say what the message says.
            MalformedMessage: the callback address is not the one that the ledger has of the caller.
        """
        if received.callback is not None:
            self._connectors.check_callback(caller, received.callback)
        is_first = received.callback is not None
        if not is_first and self._store.find(kind, pid) is None:
            raise UnknownProcess(f"no {kind} of this id and this caller")

        def found() -> str | None:
            course = self.courses[kind].course(pid)
            return None if course is None else self._taken(course, caller, event, received)

        try:
            return self._ledger.wait_until(found, _ARRIVAL_S, "the entry behind a message")
        except TimedOut:
            raise ContradictsLedger(f"this node's ledger has no entry that says {event}") from None

    def drive(self, kind: Kind, pid: str) -> bool:
        """Send the messages that this side owes; tells whether the process has come to its end.

        Raises:
            ConnectorUnreachable: the other side does not answer. ConnectorRefused: it does not take it.
        """
        while True:
            course = self.courses[kind].course(pid)
            if course is None or self._connectors.address(course.other(self._did)) is None:
                return True
            kept = self._store.find(kind, pid)
            position = 0 if kept is None else kept.position
            if position >= len(course.steps):
                return _is_over(kind, course, position)
            if course.role_of(self._did) not in course.steps[position].senders:
                return False
            self._send(course, position)

    def _send(self, course: Course, position: int) -> None:
        step, peer = course.steps[position], course.other(self._did)
        after = str(states(course.kind, course.steps[: position + 1])[-1])
        self._store.begin(course.kind, course.pid, peer, position, IN_FLIGHT[after])
        content = {**step.message, "callbackAddress": self._base} if step.is_first else step.message
        try:
            self._connectors.post(peer, step.path, content)
        except ConnectorRefused:
            # The other side may have it already: its answer was lost, or both sides told the same thing.
            if self._connectors.state(peer, f"{course.kind}s/{course.pid}") != after:
                raise
        self._store.advance(course.kind, course.pid, peer, position, position + 1, after)

    def _taken(self, course: Course, caller: str, event: str, received: Message) -> str | None:
        """Take a message if the course has come as far as it; None where it may still come."""
        role = course.role_of(caller)
        if role is None or self._did not in (course.consumer, course.provider) or caller == self._did:
            raise UnknownProcess(f"no {course.kind} of this id and this caller")
        _check_pids(course, received)
        kept = self._store.find(course.kind, course.pid)
        before = position = 0 if kept is None else kept.position
        if kept is not None and self._is_known_to(role, course, position, kept.state):
            position += 1
        reached = states(course.kind, course.steps[:position])[-1]
        try:
            after = next_state(course.kind, reached, event, role)
        except IllegalTransition:
            return _repeated(course, position, role, event, received)
        if position >= len(course.steps):
            return None
        step = course.steps[position]
        if step.event != event or role not in step.senders:
            raise ContradictsLedger(f"the next step on the ledger is {step.event}, not {event}")
        _check(step, received)
        if not self._store.advance(course.kind, course.pid, caller, before, position + 1, after):
            return None  # another thread has moved on; look again
        return after

    def _is_known_to(self, role: Role, course: Course, position: int, kept: str) -> bool:
        """Whether the own message that is under way may have reached the caller, who then answers it."""
        if position >= len(course.steps) or role in course.steps[position].senders:
            return False
        after = states(course.kind, course.steps[: position + 1])[-1]
        return kept == IN_FLIGHT[str(after)]

    def _others(self, course: Course) -> set[str]:
        return {course.consumer, course.provider} - {self._did}


def _repeated(course: Course, position: int, role: Role, event: str, received: Message) -> str:
    """Answer the sender's last message, sent again, as it was answered then; refuse any other.

    Who sends the next message knows that the one before was taken, so no earlier one is sent again.
    """
    found = states(course.kind, course.steps[:position])
    for number in reversed(range(position)):
        step = course.steps[number]
        if role in step.senders:
            if step.event == event and step.differs(received) is None:
                return str(found[number + 1])
            break
    raise IllegalTransition(f"the {role} cannot send {event} while the process is {found[-1]}")


def _check(step: Step, received: Message) -> None:
    differing = step.differs(received)
    if differing is not None:
        raise ContradictsLedger(f"the ledger says something else than the message's {differing}")


def _check_pids(course: Course, received: Message) -> None:
    for pid in (received.consumer_pid, received.provider_pid):
        if pid is not None and pid != course.pid:
            raise UnknownProcess(f"no {course.kind} with these pids")


def _is_over(kind: Kind, course: Course, position: int) -> bool:
    state = states(kind, course.steps[:position])[-1]
    return state in ("FINALIZED", "TERMINATED", "COMPLETED")
