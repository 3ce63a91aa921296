"""Whatever order jobs start, are refused and stopped in: no unit is spent twice, and none is lost."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from ledger.entries import new_id
from ledger.errors import Refusal
from ledger.rules import budgets
from ledger.testing import START, Stage
from ledger.times import format_time

HEX = "ab" * 32
EXPIRES = format_time(START + timedelta(days=1))
PAIRS = (("lender", "lender/loans"), ("bureau", "bureau/taxes"))
LIMITS = {"uses": 3, "expires": EXPIRES, "points": 20, "price": 7, "epsilon_micro": 4_000_000}
LIMITS |= {"delta_exponent": 6}
LOSS = [-(-order * 40_000 // 4) for order in budgets.ORDERS]
ACTS = st.lists(
    st.tuples(
        st.sampled_from(["start", "refuse", "stop", "fail"]), st.sampled_from([0, 1]), st.integers(1, 5)
    ),
    max_size=30,
)


def ident(kind: str, number: int) -> str:
    return new_id(kind, lambda: START, lambda n: bytes([number] * n))


def market() -> Stage:
    stage = Stage("lender", "bureau", "analyst")
    column = {"name": "id", "type": "text", "role": "identifier", "sensitivity": 1, "control": "X"}
    for at, (owner, asset) in enumerate(PAIRS):
        body: dict[str, Any] = {"asset": asset, "version": 1, "kind": "table", "title": "T", "rows": 1}
        body |= {"description": "", "keywords": [], "schema": [column], "root": HEX, "offer": {}}
        stage.act(owner, "asset.publish", {**body, "profile": HEX, "distribution": []})
        negotiation = {"negotiation": ident("negotiation", at)}
        body = {**negotiation, "asset": asset, "version": 1, "provider": stage.did(owner)}
        stage.act("analyst", "negotiation.request", {**body, "offer": {}, "limits": LIMITS})
        granted = {"id": ident("agreement", at), "policy": {}, "limits": LIMITS}
        approval = {"approver": "ann", "role": "steward", "decision": "approve", "reason": "fine"}
        stage.act(owner, "negotiation.agree", {**negotiation, "agreement": granted, "approvals": [approval]})
        stage.act("analyst", "negotiation.verify", negotiation)
        stage.act(owner, "negotiation.finalize", negotiation)
    parties = [stage.did(owner) for owner, _ in PAIRS]
    steps = [{"id": "s", "component": "c", "version": 1, "parties": parties}]
    agreed = [ident("agreement", at) for at in (0, 1)]
    for number in range(1, 6):
        body = {"job": ident("job", number), "spec": HEX, "purpose": "p", "agreements": agreed}
        stage.act("analyst", "job.submit", {**body, "parties": parties, "steps": steps})
    return stage


def body_of(kind: str, at: int, job: str) -> dict[str, Any]:
    agreement = ident("agreement", at)
    return {
        "start": {"spec": HEX, "agreements": [agreement], "spends": [{"agreement": agreement, "rdp": LOSS}]},
        "refuse": {"spec": HEX, "code": "x", "reasons": ["y"]},
        "stop": {"cause": "stopped", "reason": "y"},
        "fail": {"step": None, "code": "x", "reason": "y"},
    }[kind] | {"job": job}


@given(ACTS)
@settings(max_examples=40, deadline=None)
def test_what_is_spent_is_what_jobs_hold(acts: list[tuple[str, int, int]]) -> None:
    stage = market()
    for kind, at, number in acts:
        before = stage.state
        try:
            stage.act(PAIRS[at][0], f"job.{kind}", body_of(kind, at, ident("job", number)))
        except Refusal:
            assert stage.state is before
    jobs = list(stage.state.rows("jobs").values())
    for at, (owner, asset) in enumerate(PAIRS):
        row, total = stage.state.rows("agreements")[ident("agreement", at)], stage.state.get("budgets", asset)
        started = [job for job in jobs if stage.did(owner) in job["starts"]]
        ran = [job for job in started if len(job["starts"]) == len(PAIRS)]
        waits = [job for job in started if job not in ran and job["state"] == "SUBMITTED"]
        held = len(ran) + len(waits)
        assert row["uses"] == held <= LIMITS["uses"]
        assert row.get("points", 0) == 7 * held <= LIMITS["points"]
        assert row.get("rdp", [0] * len(LOSS)) == [held * one for one in LOSS]
        assert budgets.epsilon(row.get("rdp", [0] * len(LOSS)), 6) <= LIMITS["epsilon_micro"]
        under_way = {job["job"] for job in started if job["state"] in ("SUBMITTED", "RUNNING")}
        assert set(row.get("open", ())) == under_way
        assert (total or {"uses": 0})["uses"] == held
