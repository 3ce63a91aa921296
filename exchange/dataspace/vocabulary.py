"""Words of the Dataspace Protocol 2025-1: version, context, message types, states of transfer processes.

Those of contract negotiations are the ledger's own, in ``ledger.rules.negotiation``.
"""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum
from types import MappingProxyType
from typing import Final, Literal

from exchange.dataspace.errors import IllegalTransition
from ledger.errors import Refusal
from ledger.rules import negotiation
from ledger.rules.negotiation import NegotiationEvent, NegotiationState, Role

__all__ = [
    "CONTEXT",
    "IN_FLIGHT",
    "TRANSFERS",
    "VERSION",
    "Kind",
    "Role",
    "TransferEvent",
    "TransferState",
    "next_state",
]

VERSION: Final = "2025-1"
CONTEXT: Final = "https://w3id.org/dspace/2025/1/context.jsonld"

Kind = Literal["negotiation", "transfer"]


class TransferState(StrEnum):
    """States of a transfer process."""

    REQUESTED = "REQUESTED"
    STARTED = "STARTED"
    SUSPENDED = "SUSPENDED"
    COMPLETED = "COMPLETED"
    TERMINATED = "TERMINATED"


class TransferEvent(StrEnum):
    """What moves a transfer process, named as the paths of the binding."""

    REQUEST = "request"
    START = "start"
    SUSPEND = "suspension"
    COMPLETE = "completion"
    TERMINATE = "termination"


_State, _Event = TransferState, TransferEvent
_BOTH = (Role.CONSUMER, Role.PROVIDER)

TRANSFERS: Final[Mapping[tuple[TransferState | None, TransferEvent, Role], TransferState]] = MappingProxyType(
    {
        (None, _Event.REQUEST, Role.CONSUMER): _State.REQUESTED,
        (_State.REQUESTED, _Event.START, Role.PROVIDER): _State.STARTED,
        **{
            (before, event, role): after
            for role in _BOTH
            for before, event, after in (
                (_State.SUSPENDED, _Event.START, _State.STARTED),
                (_State.STARTED, _Event.SUSPEND, _State.SUSPENDED),
                (_State.STARTED, _Event.COMPLETE, _State.COMPLETED),
                (_State.REQUESTED, _Event.TERMINATE, _State.TERMINATED),
                (_State.STARTED, _Event.TERMINATE, _State.TERMINATED),
                (_State.SUSPENDED, _Event.TERMINATE, _State.TERMINATED),
            )
        },
    }
)
"""The whole automaton of a transfer process; None is the start."""

IN_FLIGHT: Final[Mapping[str, str]] = MappingProxyType(
    {
        NegotiationState.REQUESTED: "REQUESTING",
        NegotiationState.OFFERED: "OFFERING",
        NegotiationState.ACCEPTED: "ACCEPTING",
        NegotiationState.AGREED: "AGREEING",
        NegotiationState.VERIFIED: "VERIFYING",
        NegotiationState.FINALIZED: "FINALIZING",
        NegotiationState.TERMINATED: "TERMINATING",
        TransferState.STARTED: "STARTING",
        TransferState.SUSPENDED: "SUSPENDING",
        TransferState.COMPLETED: "COMPLETING",
    }
)
"""The state that is stored while the message that leads to a state is under way."""


def next_state(kind: Kind, state: str | None, event: str, role: Role) -> str:
    """Look a move up in the automaton of its kind.

    Raises:
        IllegalTransition: there is no such move.
    """
    try:
        if kind == "negotiation":
            before = None if state is None else NegotiationState(state)
            return negotiation.next_state(before, NegotiationEvent(event), role).value
        return TRANSFERS[None if state is None else TransferState(state), TransferEvent(event), role].value
    except (KeyError, Refusal):
        shown = "not there yet" if state is None else state
        raise IllegalTransition(f"the {role} cannot send {event} while the process is {shown}") from None
