"""Whatever two sides do in whatever order, a negotiation moves as its table says and in no other way."""

from __future__ import annotations

from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from ledger.entries import new_id
from ledger.errors import Refusal
from ledger.rules.negotiation import TRANSITIONS, NegotiationEvent, NegotiationState, Role
from ledger.testing import START, Stage

ASSET = "lender/loans"
EXPIRES = "2026-12-01T00:00:00Z"
HEX = "ab" * 32
SIDES = {Role.CONSUMER: "analyst", Role.PROVIDER: "lender"}

MOVES = st.tuples(
    st.sampled_from(NegotiationEvent), st.sampled_from(Role), st.integers(1, 5), st.sampled_from([0, 0, 0, 1])
)
"""Event, side, the uses it names, and by how much it mistakes the round."""


def published() -> Stage:
    stage = Stage("lender", "analyst", "bureau")
    column = {"name": "id", "type": "string", "role": "identifier", "sensitivity": 1, "control": "AFTER_JOIN"}
    body = {
        "asset": ASSET,
        "version": 1,
        "kind": "table",
        "title": "Loans",
        "description": "",
        "keywords": [],
        "schema": [column],
        "rows": 1,
        "root": HEX,
        "offer": {},
        "profile": HEX,
        "distribution": [],
    }
    stage.act("lender", "asset.publish", body)
    return stage


def body_of(stage: Stage, event: NegotiationEvent, uses: int, mistake: int, last: int) -> dict[str, Any]:
    negotiation = new_id("negotiation", lambda: START, lambda n: bytes(n))
    limits = {"uses": uses, "expires": EXPIRES}
    proposal = {
        "negotiation": negotiation,
        "asset": ASSET,
        "version": 1,
        "offer": {},
        "limits": limits,
        "round": last + 1 + mistake,
    }
    agreement = {"id": new_id("agreement", lambda: START, lambda n: bytes(n)), "policy": {}, "limits": limits}
    approval = {"approver": "ann", "role": "steward", "decision": "approve", "reason": "fine"}
    more: dict[NegotiationEvent, dict[str, Any]] = {
        NegotiationEvent.REQUEST: {**proposal, "provider": stage.did("lender")},
        NegotiationEvent.OFFER: {**proposal, "consumer": stage.did("analyst")},
        NegotiationEvent.ACCEPT: {"round": max(last, 1) + mistake},
        NegotiationEvent.AGREE: {"agreement": agreement, "approvals": [approval]},
        NegotiationEvent.TERMINATE: {"reason": "x"},
    }
    return {"negotiation": negotiation, **more.get(event, {})}


@given(st.lists(MOVES, max_size=14))
@settings(max_examples=60, deadline=None)
def test_a_negotiation_moves_as_its_table_says(moves: list[tuple[NegotiationEvent, Role, int, int]]) -> None:
    stage = published()
    state: NegotiationState | None = None
    last = uses_proposed = 0
    for event, role, uses, mistake in moves:
        body = body_of(stage, event, uses, mistake, last)
        before = stage.state
        target = TRANSITIONS.get((state, event, role))
        answers = event in (NegotiationEvent.REQUEST, NegotiationEvent.OFFER, NegotiationEvent.ACCEPT)
        expected = target is not None and not (answers and mistake)
        expected = expected and not (event is NegotiationEvent.AGREE and uses > uses_proposed)
        try:
            stage.act(SIDES[role], f"negotiation.{event}", body)
        except Refusal:
            assert stage.state is before
            assert not expected
            continue
        assert expected
        state = target
        if event in (NegotiationEvent.REQUEST, NegotiationEvent.OFFER):
            last, uses_proposed = last + 1, uses
        row = stage.state.rows("negotiations")[body["negotiation"]]
        assert (row["state"], row.get("round", 1)) == (state, last)
        assert (row["consumer"], row["provider"]) == (stage.did("analyst"), stage.did("lender"))
    granted = stage.state.rows("agreements")
    assert len(granted) == (1 if state is NegotiationState.FINALIZED else 0)
    assert all(row["limits"]["uses"] <= uses_proposed for row in granted.values())
