"""Contract negotiation in the words of the Dataspace Protocol 2025-1, and agreements.

``TRANSITIONS`` is the whole automaton: who may fire which event in which state; None is the start. What the
two sides propose to each other is numbered from round 1, and whoever answers names the round: an answer that
was signed for another one than the last is refused, however late it comes. A negotiation's row holds the last
proposal alone; the log has them all.
"""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum
from types import MappingProxyType
from typing import Any

from ledger.errors import Refusal
from ledger.rules import budgets, shapes, stops
from ledger.rules.act import Act, existing, require
from ledger.tables import Row, State
from ledger.times import parse_time

__all__ = [
    "TRANSITIONS",
    "NegotiationEvent",
    "NegotiationState",
    "Role",
    "accept",
    "agree",
    "finalize",
    "next_state",
    "offer",
    "request",
    "revoke",
    "terminate",
    "verify",
]


class NegotiationState(StrEnum):
    """States of one negotiation."""

    REQUESTED = "REQUESTED"
    OFFERED = "OFFERED"
    ACCEPTED = "ACCEPTED"
    AGREED = "AGREED"
    VERIFIED = "VERIFIED"
    FINALIZED = "FINALIZED"
    TERMINATED = "TERMINATED"


class NegotiationEvent(StrEnum):
    """What moves a negotiation, named as the entry types."""

    REQUEST = "request"
    OFFER = "offer"
    ACCEPT = "accept"
    AGREE = "agree"
    VERIFY = "verify"
    FINALIZE = "finalize"
    TERMINATE = "terminate"


class Role(StrEnum):
    """The two sides."""

    CONSUMER = "consumer"
    PROVIDER = "provider"


_State, _Event = NegotiationState, NegotiationEvent

TRANSITIONS: Mapping[tuple[NegotiationState | None, NegotiationEvent, Role], NegotiationState] = (
    MappingProxyType(
        {
            (None, _Event.REQUEST, Role.CONSUMER): _State.REQUESTED,
            (None, _Event.OFFER, Role.PROVIDER): _State.OFFERED,
            (_State.REQUESTED, _Event.OFFER, Role.PROVIDER): _State.OFFERED,
            (_State.OFFERED, _Event.REQUEST, Role.CONSUMER): _State.REQUESTED,
            (_State.OFFERED, _Event.ACCEPT, Role.CONSUMER): _State.ACCEPTED,
            (_State.REQUESTED, _Event.AGREE, Role.PROVIDER): _State.AGREED,
            (_State.ACCEPTED, _Event.AGREE, Role.PROVIDER): _State.AGREED,
            (_State.AGREED, _Event.VERIFY, Role.CONSUMER): _State.VERIFIED,
            (_State.VERIFIED, _Event.FINALIZE, Role.PROVIDER): _State.FINALIZED,
            (_State.REQUESTED, _Event.TERMINATE, Role.CONSUMER): _State.TERMINATED,
            (_State.REQUESTED, _Event.TERMINATE, Role.PROVIDER): _State.TERMINATED,
            (_State.OFFERED, _Event.TERMINATE, Role.CONSUMER): _State.TERMINATED,
            (_State.OFFERED, _Event.TERMINATE, Role.PROVIDER): _State.TERMINATED,
            (_State.ACCEPTED, _Event.TERMINATE, Role.PROVIDER): _State.TERMINATED,
            (_State.AGREED, _Event.TERMINATE, Role.CONSUMER): _State.TERMINATED,
            (_State.VERIFIED, _Event.TERMINATE, Role.PROVIDER): _State.TERMINATED,
        }
    )
)

_NEGOTIATION = shapes.identifier("negotiation")
_AGREEMENT = shapes.identifier("agreement")
_LIMITS = budgets.LIMITS
_APPROVAL = shapes.record(
    {
        "approver": shapes.SENTENCE,
        "role": shapes.WORD,
        "decision": shapes.constant("approve"),
        "reason": shapes.REASON,
    }
)
_PROPOSAL = {
    "negotiation": _NEGOTIATION,
    "asset": shapes.ASSET_ID,
    "version": shapes.POSITIVE,
    "offer": shapes.OBJECT,
    "limits": _LIMITS,
}
_REQUEST = shapes.record({**_PROPOSAL, "provider": shapes.DID}, extra={"round": shapes.POSITIVE})
_OFFER = shapes.record({**_PROPOSAL, "consumer": shapes.DID, "round": shapes.POSITIVE})
_ACCEPT = shapes.record({"negotiation": _NEGOTIATION, "round": shapes.POSITIVE})
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


def next_state(state: NegotiationState | None, event: NegotiationEvent, role: Role) -> NegotiationState:
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
    """Ask, as the consumer, for the asset version that is published now; or ask again, other than offered.

    The first request states no round; one that answers an offer states the round after the offer's.
    """
    body = _REQUEST(act.entry.body, "body")
    before = state.get("negotiations", body["negotiation"])
    require(before is None or "round" in body, "negotiation.exists", "the id is already in use")
    asset = _published_asset(state, body["asset"])
    require(body["provider"] == asset["owner"], "negotiation.wrong-provider", "expected the asset's owner")
    require(body["provider"] != act.actor, "negotiation.own-asset", "expected another member's asset")
    row = _proposed(state, act, before, NegotiationEvent.REQUEST)
    return act.put(state, "negotiations", body["negotiation"], {**row, "consumer": act.actor})


def offer(state: State, act: Act) -> State:
    """Offer other terms, as the provider, than were asked for; or offer terms that nobody has asked for."""
    body = _OFFER(act.entry.body, "body")
    before = state.get("negotiations", body["negotiation"])
    asset = _published_asset(state, body["asset"])
    require(act.actor == asset["owner"], "negotiation.wrong-provider", "expected the asset's owner")
    require(body["consumer"] != act.actor, "negotiation.own-asset", "expected another member as consumer")
    existing(state, "members", body["consumer"], "negotiation.unknown-consumer")
    row = _proposed(state, act, before, NegotiationEvent.OFFER)
    return act.put(state, "negotiations", body["negotiation"], {**row, "provider": act.actor})


def accept(state: State, act: Act) -> State:
    """Take, as the consumer, the provider's last offer as it is."""
    body = _ACCEPT(act.entry.body, "body")
    row = _moved(state, act, body["negotiation"], NegotiationEvent.ACCEPT)
    last = row.get("round", 1)
    require(body["round"] == last, "negotiation.wrong-round", f"expected round {last}")
    return act.put(state, "negotiations", body["negotiation"], row)


def agree(state: State, act: Act) -> State:
    """Grant, as the provider, at most what was proposed last, with the approvals of its people."""
    body = _AGREE(act.entry.body, "body")
    row = _moved(state, act, body["negotiation"], NegotiationEvent.AGREE)
    _published_asset(state, row["asset"])
    agreement = body["agreement"]
    require(state.get("agreements", agreement["id"]) is None, "agreement.exists", "the id is already in use")
    granted, asked = agreement["limits"], row["limits"]
    within = budgets.is_within(granted, asked)
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
    """Take an agreement back, as its provider. Jobs can no longer start on it, and those under way end."""
    body = _REVOKE(act.entry.body, "body")
    row = existing(state, "agreements", body["agreement"], "agreement.unknown")
    require(row["provider"] == act.actor, "entry.not-permitted", "expected the provider")
    require(row["status"] == "final", "agreement.revoked", "the agreement is already revoked")
    state = act.put(state, "agreements", body["agreement"], {**row, "status": "revoked"})
    return stops.revoke_all(state, act, row.get("open", ()), "revoked", body["reason"])


def _published_asset(state: State, asset: str) -> Row:
    row = existing(state, "assets", asset, "asset.unknown")
    require(row["status"] == "published", "asset.withdrawn", "the asset is withdrawn")
    return row


def _proposed(state: State, act: Act, before: Row | None, event: NegotiationEvent) -> dict[str, Any]:
    """Return a negotiation's row with the proposal of this entry in the place of the last one."""
    body = act.entry.body
    if before is None:
        role = Role.CONSUMER if event is NegotiationEvent.REQUEST else Role.PROVIDER
        row, last = {"state": next_state(None, event, role).value}, 0
    else:
        row, last = _moved(state, act, body["negotiation"], event), before.get("round", 1)
        for field in ("asset", "provider", "consumer"):
            same = body.get(field, before[field]) == before[field]
            require(same, f"negotiation.wrong-{field}", f"expected the negotiation's {field}")
    require(body.get("round", 1) == last + 1, "negotiation.wrong-round", f"expected round {last + 1}")
    current = state.rows("assets")[body["asset"]]["version"]
    require(body["version"] == current, "asset.version-not-current", f"expected version {current}")
    require(parse_time(body["limits"]["expires"]) > act.time, "agreement.expired", "expected a later expiry")
    return {**row, **body, "state": row["state"]}


def _moved(state: State, act: Act, negotiation: str, event: NegotiationEvent) -> dict[str, Any]:
    row = existing(state, "negotiations", negotiation, "negotiation.unknown")
    roles = {row["consumer"]: Role.CONSUMER, row["provider"]: Role.PROVIDER}
    role = roles.get(act.actor)
    if role is None:
        raise Refusal("entry.not-permitted", "expected the consumer or the provider")
    return {**row, "state": next_state(NegotiationState(row["state"]), event, role).value}
