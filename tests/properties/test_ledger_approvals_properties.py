"""Whatever members say in whatever order: a job starts only on all approvals its agreement names."""

from __future__ import annotations

import contextlib
import copy
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ledger.entries import new_id
from ledger.errors import Refusal
from ledger.testing import START, Stage

NAMES = ("lender", "analyst", "regulator", "stranger")
NAMED = ("lender", "regulator")
HEX, OTHER = "ab" * 32, "cd" * 32
SAID = {"approver": "ann", "role": "steward", "decision": "approve", "reason": "covered"}


def ident(kind: str, number: int = 1) -> str:
    return new_id(kind, lambda: START, lambda n: bytes([number] * n))


def submitted() -> Stage:
    """Two jobs under an agreement that asks for the lender's and the regulator's approval of each."""
    stage = Stage(*NAMES)
    asked = {"organisations": [stage.did("regulator")], "per_job": True}
    limits = {"uses": 9, "expires": "2026-12-20T00:00:00Z", "approval": asked}
    column = {"name": "id", "type": "text", "role": "identifier", "sensitivity": 1, "control": "X"}
    body: dict[str, Any] = {"asset": "lender/data", "version": 1, "kind": "table", "title": "T"}
    body |= {"description": "", "keywords": [], "schema": [column], "rows": 9, "root": HEX}
    stage.act("lender", "asset.publish", body | {"offer": {}, "profile": HEX, "distribution": []})
    negotiation, provider = ident("negotiation"), stage.did("lender")
    body = {"negotiation": negotiation, "asset": "lender/data", "version": 1, "offer": {}, "limits": limits}
    stage.act("analyst", "negotiation.request", body | {"provider": provider})
    agreement = {"id": ident("agreement"), "policy": {}, "limits": limits}
    body = {"negotiation": negotiation, "agreement": agreement, "approvals": [SAID]}
    stage.act("lender", "negotiation.agree", body)
    stage.act("analyst", "negotiation.verify", {"negotiation": negotiation})
    stage.act("lender", "negotiation.finalize", {"negotiation": negotiation})
    for number in (1, 2):
        step = {"id": "s", "component": "c", "version": 1, "parties": [provider]}
        body = {"job": ident("job", number), "spec": HEX, "purpose": "p", "parties": [provider]}
        stage.act("analyst", "job.submit", body | {"agreements": [ident("agreement")], "steps": [step]})
    return stage


SUBMITTED = submitted()
ACTS = st.lists(
    st.tuples(
        st.sampled_from(NAMES),
        st.sampled_from(("job.approve", "job.approve", "job.disapprove")),
        st.sampled_from((1, 1, 2)),
        st.sampled_from((HEX, HEX, OTHER)),
    ),
    max_size=8,
)


@given(ACTS)
@settings(max_examples=80, deadline=None)
def test_a_job_starts_only_on_the_approvals_of_all_that_are_named(
    acts: list[tuple[str, str, int, str]],
) -> None:
    stage = copy.copy(SUBMITTED)
    said: dict[str, str] = {}
    for name, kind, number, spec in acts:
        body: dict[str, Any] = {"job": ident("job", number), "spec": spec}
        if kind == "job.approve":
            stages = [{"role": "steward", "approvals": 1}]
            body |= {"card": HEX, "stages": stages, "decisions": [SAID]}
        else:
            body |= {"reason": "no"}
        with contextlib.suppress(Refusal):
            stage.act(name, kind, body)
        if number == 1 and spec == HEX and name in NAMED and said.get(name) != "job.disapprove":
            said[name] = kind
    is_approved = all(said.get(name) == "job.approve" for name in NAMED)
    body = {"job": ident("job"), "spec": HEX, "agreements": [ident("agreement")]}
    if is_approved:
        stage.act("lender", "job.start", body)
    else:
        with pytest.raises(Refusal, match=r"approval|all that the agreement names"):
            stage.act("lender", "job.start", body)
