"""The validity function under random acts: deterministic, refusals change nothing, limits hold."""

from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from ledger.entries import new_id
from ledger.errors import Refusal
from ledger.rules.jobs import JobState
from ledger.rules.negotiation import NegotiationState
from ledger.tables import State, Table, combine_table_roots
from ledger.testing import START, Stage

NAMES = ("lender", "bureau")
HEX = "ab" * 32
EXPIRES = "2026-12-01T00:00:00Z"

ACTS = st.tuples(
    st.sampled_from(NAMES),
    st.sampled_from(
        [
            "asset.publish",
            "asset.withdraw",
            "negotiation.request",
            "negotiation.offer",
            "negotiation.accept",
            "negotiation.agree",
            "negotiation.verify",
            "negotiation.finalize",
            "negotiation.terminate",
            "agreement.revoke",
            "job.submit",
            "job.start",
            "job.refuse",
            "receipt.step",
            "job.release",
            "job.complete",
            "job.fail",
        ]
    ),
    st.integers(1, 2),
)
LIKELY = [
    ("lender", "asset.publish", 1),
    ("bureau", "negotiation.request", 1),
    ("lender", "negotiation.agree", 1),
    ("bureau", "negotiation.verify", 1),
    ("lender", "negotiation.finalize", 1),
    ("bureau", "job.submit", 1),
    ("lender", "job.start", 1),
    ("lender", "receipt.step", 1),
]


def ident(kind: str, number: int) -> str:
    return new_id(kind, lambda: START, lambda n: bytes([number] * n))


def body_of(stage: Stage, kind: str, number: int) -> dict[str, Any]:
    asset, lender = "lender/loans", stage.did("lender")
    limits = {"uses": 1, "expires": EXPIRES}
    negotiation, agreement = ident("negotiation", number), ident("agreement", number)
    job = ident("job", number)
    published = stage.state.get("assets", asset) or {"version": 0}
    before = stage.state.get("negotiations", negotiation)
    last = 0 if before is None else before.get("round", 1)
    column = {"name": "id", "type": "string", "role": "identifier", "sensitivity": 1, "control": "AFTER_JOIN"}
    approval = {"approver": "ann", "role": "steward", "decision": "approve", "reason": "fine"}
    bodies: dict[str, dict[str, Any]] = {
        "asset.publish": {
            "asset": asset,
            "version": published["version"] + 1,
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
        },
        "asset.withdraw": {"asset": asset, "reason": "x"},
        "negotiation.request": {
            "negotiation": negotiation,
            "asset": asset,
            "version": published["version"] or 1,
            "provider": lender,
            "offer": {},
            "limits": limits,
            "round": last + 1,
        },
        "negotiation.offer": {
            "negotiation": negotiation,
            "asset": asset,
            "version": published["version"] or 1,
            "consumer": stage.did("bureau"),
            "offer": {},
            "limits": limits,
            "round": last + 1,
        },
        "negotiation.accept": {"negotiation": negotiation, "round": last or 1},
        "negotiation.agree": {
            "negotiation": negotiation,
            "agreement": {"id": agreement, "policy": {}, "limits": limits},
            "approvals": [approval],
        },
        "negotiation.verify": {"negotiation": negotiation},
        "negotiation.finalize": {"negotiation": negotiation},
        "negotiation.terminate": {"negotiation": negotiation, "reason": "x"},
        "agreement.revoke": {"agreement": agreement, "reason": "x"},
        "job.submit": {
            "job": job,
            "spec": HEX,
            "purpose": "p",
            "agreements": [ident("agreement", 1)],
            "parties": [lender],
            "steps": [{"id": "s", "component": "c", "version": 1, "parties": [lender]}],
        },
        "job.start": {"job": job, "spec": HEX, "agreements": [ident("agreement", 1)]},
        "job.refuse": {"job": job, "spec": HEX, "code": "x", "reasons": ["y"]},
        "receipt.step": {
            "job": job,
            "step": "s",
            "attempt": number,
            "role": "left",
            "protocol": {"name": "p", "version": 1},
            "inputs": [],
            "params": HEX,
            "code": HEX,
            "engine": "parley 0.1.0",
            "output": HEX,
            "bytes_sent": 0,
            "bytes_received": 0,
            "rounds": 0,
            "duration_ms": 0,
            "peers": [],
        },
        "job.release": {"job": job, "step": "s", "recipient": lender, "digest": HEX, "cohort": 1},
        "job.complete": {"job": job, "output": HEX},
        "job.fail": {"job": job, "step": None, "code": "x", "reason": "y"},
    }
    return bodies[kind]


@given(st.integers(0, len(LIKELY)), st.lists(ACTS, max_size=25))
@settings(max_examples=40, deadline=None)
def test_random_acts_keep_the_invariants(prefix: int, acts: list[tuple[str, str, int]]) -> None:
    stage, twin = Stage(*NAMES), Stage(*NAMES)
    for name, kind, number in [*LIKELY[:prefix], *acts]:
        before = stage.state
        try:
            entry = stage.act(name, kind, body_of(stage, kind, number))
        except Refusal:
            assert stage.state is before
            twin.index += 1
        else:
            twin.apply(entry)
    assert stage.state.root() == twin.state.root()
    check_invariants(stage.state, stage.index)


def check_invariants(state: State, last: int) -> None:
    for agreement in state.rows("agreements").values():
        assert 0 <= agreement["uses"] <= agreement["limits"]["uses"]
    for row in state.rows("negotiations").values():
        NegotiationState(row["state"])
    for job in state.rows("jobs").values():
        if job["state"] in (JobState.RUNNING, JobState.COMPLETED):
            assert {a for agreements in job["starts"].values() for a in agreements} == set(job["agreements"])
    for table in ("members", "assets", "negotiations", "agreements", "jobs"):
        assert all(0 <= row["index"] <= last for row in state.rows(table).values())


@given(
    st.dictionaries(st.text(max_size=8), st.integers(0, 9), max_size=40), st.randoms(use_true_random=False)
)
@settings(max_examples=50, deadline=None)
def test_a_table_is_what_was_last_put_whatever_the_order(rows: dict[str, int], shuffler: Any) -> None:
    keys = [f"k{key.encode().hex()}" for key in rows]
    values = dict(zip(keys, rows.values(), strict=True))
    order = list(values)
    shuffler.shuffle(order)
    state = State()
    for key in order:
        state = state.put("t", key, {"n": -1}, index=0)
    for key in values:
        state = state.put("t", key, {"n": values[key]}, index=1)
    expected = {key: {"n": value, "index": 1} for key, value in values.items()}
    assert dict(state.rows("t")) == expected
    if values:
        assert state.root() == combine_table_roots({"t": Table.of(expected).root})
