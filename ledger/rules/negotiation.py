"""Contract negotiation in the words of the Dataspace Protocol 2025-1, and agreements.

``TRANSITIONS`` is the whole automaton: who may fire which event in which state. Counter-offers are not part
of it: a consumer that wants other terms starts another negotiation.
"""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum
from types import MappingProxyType

from ledger.errors import Refusal
from ledger.rules import shapes
from ledger.rules.act import Act, existing, require
from ledger.tables import Row, State
from ledger.times import parse_time

__all__ = [
    "TRANSITIONS",
    "NegotiationEvent",
    "NegotiationState",
    "Role",
    "agree",
    "finalize",
    "next_state",
    "request",
    "revoke",
    "terminate",
    "verify",
]


class NegotiationState(StrEnum):
    """States of one negotiation."""

    REQUESTED = "REQUESTED"
    AGREED = "AGREED"
    VERIFIED = "VERIFIED"
    FINALIZED = "FINALIZED"
    TERMINATED = "TERMINATED"


class NegotiationEvent(StrEnum):
    """What moves a negotiation, named as the entry types."""

    AGREE = "agree"
    VERIFY = "verify"
    FINALIZE = "finalize"
    TERMINATE = "terminate"


class Role(StrEnum):
    """The two sides."""

    CONSUMER = "consumer"
    PROVIDER = "provider"


_State, _Event = NegotiationState, NegotiationEvent

TRANSITIONS: Mapping[tuple[NegotiationState, NegotiationEvent, Role], NegotiationState] = MappingProxyType(
    {
        (_State.REQUESTED, _Event.AGREE, Role.PROVIDER): _State.AGREED,
        (_State.AGREED, _Event.VERIFY, Role.CONSUMER): _State.VERIFIED,
        (_State.VERIFIED, _Event.FINALIZE, Role.PROVIDER): _State.FINALIZED,
        (_State.REQUESTED, _Event.TERMINATE, Role.CONSUMER): _State.TERMINATED,
        (_State.REQUESTED, _Event.TERMINATE, Role.PROVIDER): _State.TERMINATED,
        (_State.AGREED, _Event.TERMINATE, Role.CONSUMER): _State.TERMINATED,
        (_State.VERIFIED, _Event.TERMINATE, Role.PROVIDER): _State.TERMINATED,
    }
)

_NEGOTIATION = shapes.identifier("negotiation")
_AGREEMENT = shapes.identifier("agreement")
_LIMITS = shapes.record({"uses": shapes.POSITIVE, "expires": shapes.TIME})
_APPROVAL = shapes.record(
    {
        "approver": shapes.SENTENCE,
        "role": shapes.WORD,
        "decision": shapes.constant("approve"),
        "reason": shapes.REASON,
    }
)
_REQUEST = shapes.record(
    {
        "negotiation": _NEGOTIATION,
        "asset": shapes.ASSET_ID,
        "version": shapes.POSITIVE,
        "provider": shapes.DID,
        "offer": shapes.OBJECT,
        "limits": _LIMITS,
    }
)
_AGREE = shapes.record(
    {
        "negotiation": _NEGOTIATION,
        "agreement": shapes.record({"id": _AGREEMENT, "policy": shapes.OBJECT, "limits": _LIMITS}),
        "approvals": shapes.list_of(_APPROVAL, least=1, most=16),
    }
)
_BY_ID = shapes.record({"negotiation": _NEGOTIATION})
_TERMINATE = shapes.record({"negotiation": _NEGOTIATION, "reason": shapes.REASON})
_REVOKE = shapes.record({"agreement": _AGREEMENT, "reason": shapes.REASON})


def next_state(state: NegotiationState, event: NegotiationEvent, role: Role) -> NegotiationState:
    """Look a move up in ``TRANSITIONS``.

    Raises:
        Refusal: there is no such move.
    """
    try:
        return TRANSITIONS[state, event, role]
    except KeyError:
        raise Refusal(
            "negotiation.illegal-transition", f"the {role} cannot {event} a negotiation that is {state}"
        ) from None


def request(state: State, act: Act) -> State:
    """Open a negotiation as the consumer, on the asset version that is published now."""
    body = _REQUEST(act.entry.body, "body")
    unused = state.get("negotiations", body["negotiation"]) is None
    require(unused, "negotiation.exists", "the id is already in use")
    asset = _published_asset(state, body["asset"])
    require(body["provider"] == asset["owner"], "negotiation.wrong-provider", "expected the asset's owner")
    require(body["provider"] != act.actor, "negotiation.own-asset", "expected another member's asset")
    current = asset["version"]
    require(body["version"] == current, "asset.version-not-current", f"expected version {current}")
    require(parse_time(body["limits"]["expires"]) > act.time, "agreement.expired", "expected a later expiry")
    row = {**body, "consumer": act.actor, "state": NegotiationState.REQUESTED.value}
    return act.put(state, "negotiations", body["negotiation"], row)


def agree(state: State, act: Act) -> State:
    """Grant, as the provider, at most what was requested, with the approvals of its people."""
    body = _AGREE(act.entry.body, "body")
    row = _moved(state, act, body["negotiation"], NegotiationEvent.AGREE)
    _published_asset(state, row["asset"])
    agreement = body["agreement"]
    require(state.get("agreements", agreement["id"]) is None, "agreement.exists", "the id is already in use")
    granted, asked = agreement["limits"], row["limits"]
    within = granted["uses"] <= asked["uses"] and parse_time(granted["expires"]) <= parse_time(
        asked["expires"]
    )
    require(within, "agreement.exceeds-request", "expected limits within those requested")
    require(parse_time(granted["expires"]) > act.time, "agreement.expired", "expected a later expiry")
    row = {**row, "agreement": agreement, "approvals": body["approvals"]}
    return act.put(state, "negotiations", body["negotiation"], row)


def verify(state: State, act: Act) -> State:
    """Confirm, as the consumer, the agreement as the provider wrote it."""
    body = _BY_ID(act.entry.body, "body")
    row = _moved(state, act, body["negotiation"], NegotiationEvent.VERIFY)
    return act.put(state, "negotiations", body["negotiation"], row)


def finalize(state: State, act: Act) -> State:
    """Close the negotiation, as the provider; from here on the agreement can be used."""
    body = _BY_ID(act.entry.body, "body")
    row = _moved(state, act, body["negotiation"], NegotiationEvent.FINALIZE)
    agreement = row["agreement"]
    require(state.get("agreements", agreement["id"]) is None, "agreement.exists", "the id is already in use")
    state = act.put(state, "negotiations", body["negotiation"], row)
    granted = {
        "agreement": agreement["id"],
        "negotiation": body["negotiation"],
        "provider": row["provider"],
        "consumer": row["consumer"],
        "asset": row["asset"],
        "version": row["version"],
        "policy": agreement["policy"],
        "limits": agreement["limits"],
        "uses": 0,
        "status": "final",
    }
    return act.put(state, "agreements", agreement["id"], granted)


def terminate(state: State, act: Act) -> State:
    """End a negotiation without an agreement."""
    body = _TERMINATE(act.entry.body, "body")
    row = _moved(state, act, body["negotiation"], NegotiationEvent.TERMINATE)
    return act.put(state, "negotiations", body["negotiation"], {**row, "reason": body["reason"]})


def revoke(state: State, act: Act) -> State:
    """Take an agreement back, as its provider. Jobs can no longer start on it."""
    body = _REVOKE(act.entry.body, "body")
    row = existing(state, "agreements", body["agreement"], "agreement.unknown")
    require(row["provider"] == act.actor, "entry.not-permitted", "expected the provider")
    require(row["status"] == "final", "agreement.revoked", "the agreement is already revoked")
    return act.put(state, "agreements", body["agreement"], {**row, "status": "revoked"})


def _published_asset(state: State, asset: str) -> Row:
    row = existing(state, "assets", asset, "asset.unknown")
    require(row["status"] == "published", "asset.withdrawn", "the asset is withdrawn")
    return row


def _moved(state: State, act: Act, negotiation: str, event: NegotiationEvent) -> Row:
    row = existing(state, "negotiations", negotiation, "negotiation.unknown")
    roles = {row["consumer"]: Role.CONSUMER, row["provider"]: Role.PROVIDER}
    role = roles.get(act.actor)
    if role is None:
        raise Refusal("entry.not-permitted", "expected the consumer or the provider")
    return {**row, "state": next_state(NegotiationState(row["state"]), event, role).value}
