"""Member records: how one begins, and what members say about themselves."""

from __future__ import annotations

from typing import Literal

from ledger.membership import KEY_USES, key_row
from ledger.rules import shapes
from ledger.rules.act import Act, existing
from ledger.tables import Row, State

__all__ = ["acknowledge", "admit", "update_member"]

_ACK = shapes.record({})
_UPDATE = shapes.record(
    {"endpoint": shapes.ENDPOINT}, extra={"dataspace": shapes.optional(shapes.WEB_ADDRESS)}
)


def admit(state: State, member: Row, status: Literal["active", "admitted"], index: int) -> State:
    """Write the record of a new member, and each of its keys with the index from which it is valid."""
    did = member["did"]
    state = state.put("members", did, {**member, "status": status}, index=index)
    for use in KEY_USES:
        key = {"did": did, "use": use, "key": member[use], "from": index, "until": None}
        state = state.put("keys", key_row(did, use, 1), key, index=index)
    return state


def acknowledge(state: State, act: Act) -> State:
    """Start to count as a member: the admitted member shows that it holds its key."""
    _ACK(act.entry.body, "body")
    row = existing(state, "members", act.actor, "entry.unknown-actor")
    return act.put(state, "members", act.actor, {**row, "status": "active"})


def update_member(state: State, act: Act) -> State:
    """Move one's own endpoint, or say where one's Dataspace Protocol connector is; null: nowhere."""
    body = _UPDATE(act.entry.body, "body")
    row = existing(state, "members", act.actor, "entry.unknown-actor")
    return act.put(state, "members", act.actor, {**row, **body})
