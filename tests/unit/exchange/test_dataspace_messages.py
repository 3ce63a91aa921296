"""Messages of the Dataspace Protocol: what is read, what is refused, what is written."""

from __future__ import annotations

import json
from contextlib import suppress
from itertools import product
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from exchange.dataspace.courses import Step
from exchange.dataspace.errors import IllegalTransition, MalformedMessage
from exchange.dataspace.messages import MAX_BYTES, load, message, read, wire_policy
from exchange.dataspace.vocabulary import (
    CONTEXT,
    IN_FLIGHT,
    TRANSFERS,
    Role,
    TransferEvent,
    TransferState,
    next_state,
)
from ledger.rules.negotiation import TRANSITIONS, NegotiationState

TERMINATION = "ContractNegotiationTerminationMessage"
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=8),
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.dictionaries(
            st.sampled_from(
                ["@context", "@type", "consumerPid", "offer", "reason", "permission", "callbackAddress"]
            ),
            inner,
            max_size=5,
        )
    ),
    max_leaves=20,
)


@given(st.dictionaries(st.sampled_from(["@context", "@type", "consumerPid", "providerPid", "offer"]), JSON))
def test_whatever_comes_is_read_or_refused_by_name(value: dict[str, Any]) -> None:
    for kind in ("ContractRequestMessage", "TransferRequestMessage", TERMINATION, "CatalogRequestMessage"):
        raw = json.dumps({**value, "@type": kind, "@context": [CONTEXT]}).encode()
        with suppress(MalformedMessage):
            assert read(raw, kind).type == kind


@given(st.binary(max_size=200))
def test_any_bytes_are_decoded_or_refused(raw: bytes) -> None:
    with suppress(MalformedMessage):
        assert isinstance(load(raw), dict)


def test_a_message_has_a_largest_size() -> None:
    with pytest.raises(MalformedMessage):
        load(b'{"a": "' + b" " * MAX_BYTES + b'"}')


@given(JSON)
def test_a_policy_on_the_wire_has_no_numbers_and_no_context(rules: Any) -> None:
    written = wire_policy({"@context": ["x"], "@type": "Offer", "permission": rules}, "urn:x")
    assert "@context" not in written
    assert written["@id"] == "urn:x"

    def numbers(value: Any) -> list[int]:
        if isinstance(value, dict):
            return [found for item in value.values() for found in numbers(item)]
        if isinstance(value, list):
            return [found for item in value for found in numbers(item)]
        return [value] if isinstance(value, int) and not isinstance(value, bool) else []

    assert numbers(written) == []


def test_every_move_outside_the_transfer_table_is_refused() -> None:
    for state, event, role in product((None, *TransferState), TransferEvent, Role):
        if (state, event, role) in TRANSFERS:
            assert next_state("transfer", state, event, role) == TRANSFERS[state, event, role]
        else:
            with pytest.raises(IllegalTransition):
                next_state("transfer", state, event, role)
    ends = {TransferState.COMPLETED, TransferState.TERMINATED}
    assert ends.isdisjoint(state for state, _, _ in TRANSFERS if state is not None)


def test_negotiations_follow_the_ledgers_table() -> None:
    for (state, event, role), after in TRANSITIONS.items():
        assert next_state("negotiation", state, event, role) == after
    with pytest.raises(IllegalTransition):
        next_state("negotiation", "FINALIZED", "terminate", Role.CONSUMER)


def test_every_state_has_one_that_says_that_its_message_is_under_way() -> None:
    states = {*map(str, NegotiationState), *map(str, TransferState)}
    assert set(IN_FLIGHT) == states
    assert len(set(IN_FLIGHT.values())) == len(states)


def test_a_step_names_the_first_member_that_differs() -> None:
    step = Step(
        "terminate", frozenset({Role.CONSUMER}), "x", message(TERMINATION, consumerPid="a", reason=["b"])
    )

    def received(**changes: Any) -> Any:
        content = {"consumerPid": "a", "providerPid": "a", **changes}
        return read(json.dumps(message(TERMINATION, **content)).encode(), TERMINATION)

    assert step.differs(received()) is None
    assert step.differs(received(reason=["b"])) is None
    assert step.differs(received(reason=["c"])) == "reason"
    assert step.differs(received(consumerPid="z")) == "consumerPid"
