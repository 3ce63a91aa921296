"""Joint statements: what several members say together, with the signature of each."""

from __future__ import annotations

from collections.abc import Sequence

from ledger.entries import Entry
from ledger.rules import shapes
from ledger.rules.act import Act, require
from ledger.tables import State

__all__ = ["MAX_PARTIES", "parties", "state_jointly"]

MAX_PARTIES = 32

_STATEMENT = shapes.record(
    {
        "parties": shapes.list_of(shapes.DID, least=2, most=MAX_PARTIES),
        "subject": shapes.SENTENCE,
        "digest": shapes.DIGEST,
    }
)


def parties(state: State, entry: Entry) -> Sequence[str]:
    """Return who signs a statement: the parties that its body names, the actor among them.

    Raises:
        Refusal: the body is malformed, or its actor is no party.
    """
    named: list[str] = _STATEMENT(entry.body, "body")["parties"]
    require(entry.actor in named, "evidence.actor-not-a-party", "expected the actor among the parties")
    return named


def state_jointly(state: State, act: Act) -> State:
    """Put a statement on record: a subject in words, and the digest of what the parties agree on.

    The entry itself is the evidence; it changes no state. ``refs`` of the envelope may name other entries.
    """
    return state
