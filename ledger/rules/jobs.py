"""Jobs: what was asked, who let it start or refused, what each party did, what left whose house.

``TRANSITIONS`` is the automaton of a job's state; who may fire an event is checked by the rule that fires it.
An agreement's uses are spent by ``job.start`` itself, so a count can never be passed by two jobs at once.
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
    "JobEvent",
    "JobState",
    "complete",
    "fail",
    "next_state",
    "receipt",
    "refuse",
    "release",
    "start",
    "submit",
]


class JobState(StrEnum):
    """States of a job as the ledger sees it."""

    SUBMITTED = "SUBMITTED"
    RUNNING = "RUNNING"
    COMPLETED = "COMPLETED"
    FAILED = "FAILED"
    REFUSED = "REFUSED"


class JobEvent(StrEnum):
    """What moves a job. ``START_LAST`` is the start that leaves no agreement unstarted."""

    START = "start"
    START_LAST = "start-last"
    REFUSE = "refuse"
    RECEIPT = "receipt"
    RELEASE = "release"
    COMPLETE = "complete"
    FAIL = "fail"


_State, _Event = JobState, JobEvent

TRANSITIONS: Mapping[tuple[JobState, JobEvent], JobState] = MappingProxyType(
    {
        (_State.SUBMITTED, _Event.START): _State.SUBMITTED,
        (_State.SUBMITTED, _Event.START_LAST): _State.RUNNING,
        (_State.SUBMITTED, _Event.REFUSE): _State.REFUSED,
        (_State.SUBMITTED, _Event.FAIL): _State.FAILED,
        (_State.REFUSED, _Event.REFUSE): _State.REFUSED,
        (_State.RUNNING, _Event.RECEIPT): _State.RUNNING,
        (_State.RUNNING, _Event.RELEASE): _State.RUNNING,
        (_State.RUNNING, _Event.COMPLETE): _State.COMPLETED,
        (_State.RUNNING, _Event.FAIL): _State.FAILED,
    }
)

_JOB = shapes.identifier("job")
_AGREEMENTS = shapes.list_of(shapes.identifier("agreement"), most=64)
_PARTIES = shapes.list_of(shapes.DID, least=1, most=64)
_STEP = shapes.record(
    {
        "id": shapes.WORD,
        "component": shapes.WORD,
        "version": shapes.NUMBER_OR_WORD,
        "parties": _PARTIES,
    }
)
_SUBMIT = shapes.record(
    {
        "job": _JOB,
        "spec": shapes.DIGEST,
        "purpose": shapes.SENTENCE,
        "agreements": _AGREEMENTS,
        "parties": _PARTIES,
        "steps": shapes.list_of(_STEP, least=1, most=64),
    }
)
_START = shapes.record({"job": _JOB, "spec": shapes.DIGEST, "agreements": _AGREEMENTS})
_REFUSE = shapes.record(
    {
        "job": _JOB,
        "spec": shapes.DIGEST,
        "code": shapes.WORD,
        "reasons": shapes.list_of(shapes.REASON, least=1, most=32),
    }
)
_RECEIPT = shapes.record(
    {
        "job": _JOB,
        "step": shapes.WORD,
        "attempt": shapes.POSITIVE,
        "role": shapes.WORD,
        "protocol": shapes.record({"name": shapes.WORD, "version": shapes.NUMBER_OR_WORD}),
        "inputs": shapes.list_of(
            shapes.record({"asset": shapes.ASSET_ID, "version": shapes.POSITIVE, "root": shapes.DIGEST}),
            most=64,
        ),
        "params": shapes.DIGEST,
        "code": shapes.DIGEST,
        "output": shapes.DIGEST,
        "bytes_sent": shapes.COUNT,
        "bytes_received": shapes.COUNT,
        "rounds": shapes.COUNT,
        "duration_ms": shapes.COUNT,
        "peers": shapes.list_of(shapes.DIGEST, most=64),
    }
)
_RELEASE = shapes.record(
    {
        "job": _JOB,
        "step": shapes.WORD,
        "recipient": shapes.DID,
        "digest": shapes.DIGEST,
        "cohort": shapes.COUNT,
    }
)
_COMPLETE = shapes.record({"job": _JOB, "output": shapes.DIGEST})
_FAIL = shapes.record(
    {"job": _JOB, "step": shapes.optional(shapes.WORD), "code": shapes.WORD, "reason": shapes.REASON}
)


def next_state(state: JobState, event: JobEvent) -> JobState:
    """Look a move up in ``TRANSITIONS``.

    Raises:
        Refusal: there is no such move.
    """
    try:
        return TRANSITIONS[state, event]
    except KeyError:
        raise Refusal("job.illegal-transition", f"no {event} in a job that is {state}") from None


def submit(state: State, act: Act) -> State:
    """Put a job on record. Whether it is covered is decided by each owner, with ``start`` or ``refuse``."""
    body = _SUBMIT(act.entry.body, "body")
    require(state.get("jobs", body["job"]) is None, "job.exists", "the id is already in use")
    parties = set(body["parties"])
    known = all(state.get("members", did) is not None for did in parties)
    require(known, "job.unknown-party", "expected members as parties")
    steps = body["steps"]
    require(
        len({step["id"] for step in steps}) == len(steps), "job.duplicate-step", "expected distinct steps"
    )
    named = all(parties.issuperset(step["parties"]) for step in steps)
    require(named, "job.unknown-party", "expected the steps' parties among the job's")
    row = {
        **body,
        "submitter": act.actor,
        "state": JobState.SUBMITTED.value,
        "starts": {},
        "refusals": {},
        "receipts": {},
        "attempts": {},
        "releases": {},
        "recipients": {},
    }
    return act.put(state, "jobs", body["job"], row)


def start(state: State, act: Act) -> State:
    """Let a job use the actor's agreements, all of them at once, and spend one use of each."""
    body = _START(act.entry.body, "body")
    row = _job(state, body["job"])
    require(act.actor not in row["starts"], "job.already-started", "expected one start per provider")
    require(body["spec"] == row["spec"], "job.wrong-spec", "expected the digest of the submitted spec")
    require(bool(body["agreements"]), "job.no-agreement", "expected at least one agreement")
    for agreement in body["agreements"]:
        state = act.put(state, "agreements", agreement, _spent(state, act, row, agreement))
    starts = {**row["starts"], act.actor: body["agreements"]}
    started = {agreement for agreements in starts.values() for agreement in agreements}
    own = {a for a in row["agreements"] if (state.get("agreements", a) or {}).get("provider") == act.actor}
    require(own <= started, "job.agreements-missing", "expected all of the provider's agreements in the job")
    event = JobEvent.START_LAST if started.issuperset(row["agreements"]) else JobEvent.START
    return act.put(state, "jobs", body["job"], {**_moved(row, event), "starts": starts})


def refuse(state: State, act: Act) -> State:
    """Refuse a job before it runs, as a party or as the provider of one of its agreements."""
    body = _REFUSE(act.entry.body, "body")
    row = _job(state, body["job"])
    provides = any(
        (state.get("agreements", agreement) or {}).get("provider") == act.actor
        for agreement in row["agreements"]
    )
    require(act.actor in row["parties"] or provides, "entry.not-permitted", "expected a party or a provider")
    require(body["spec"] == row["spec"], "job.wrong-spec", "expected the digest of the submitted spec")
    require(act.actor not in row["refusals"], "job.already-refused", "expected one refusal per party")
    refusals = {**row["refusals"], act.actor: {"code": body["code"], "reasons": body["reasons"]}}
    return act.put(state, "jobs", body["job"], {**_moved(row, JobEvent.REFUSE), "refusals": refusals})


def receipt(state: State, act: Act) -> State:
    """Record what a party did in a step, once per attempt; later attempts have higher numbers."""
    body = _RECEIPT(act.entry.body, "body")
    row = _job(state, body["job"])
    _require_party(row, body["step"], act.actor)
    last = row["attempts"].get(body["step"], {}).get(act.actor, 0)
    require(body["attempt"] > last, "receipt.duplicate", f"expected an attempt after {last}")
    row = {
        **_moved(row, JobEvent.RECEIPT),
        "receipts": _with(row["receipts"], body["step"], act.actor, act.entry.txid),
        "attempts": _with(row["attempts"], body["step"], act.actor, body["attempt"]),
    }
    return act.put(state, "jobs", body["job"], row)


def release(state: State, act: Act) -> State:
    """Record that a party lets its output of a step go to a recipient, once per step."""
    body = _RELEASE(act.entry.body, "body")
    row = _job(state, body["job"])
    step = body["step"]
    _require_party(row, step, act.actor)
    receipted = act.actor in row["receipts"].get(step, {})
    require(receipted, "job.release-without-receipt", "expected the party's receipt before its release")
    require(act.actor not in row["releases"].get(step, {}), "job.already-released", "expected one release")
    require(state.get("members", body["recipient"]) is not None, "job.unknown-party", "expected a member")
    row = {
        **_moved(row, JobEvent.RELEASE),
        "releases": _with(row["releases"], step, act.actor, body["digest"]),
        "recipients": _with(row["recipients"], step, act.actor, body["recipient"]),
    }
    return act.put(state, "jobs", body["job"], row)


def complete(state: State, act: Act) -> State:
    """End a job with a result, as its submitter, when every party's receipt is there."""
    body = _COMPLETE(act.entry.body, "body")
    row = _job(state, body["job"])
    require(row["submitter"] == act.actor, "entry.not-permitted", "expected the submitter")
    moved = _moved(row, JobEvent.COMPLETE)
    missing = sum(
        1
        for step in row["steps"]
        for party in step["parties"]
        if party not in row["receipts"].get(step["id"], {})
    )
    require(missing == 0, "job.receipts-missing", f"expected every party's receipt, {missing} are missing")
    return act.put(state, "jobs", body["job"], {**moved, "output": body["output"]})


def fail(state: State, act: Act) -> State:
    """End a job without a result, as a party or its submitter."""
    body = _FAIL(act.entry.body, "body")
    row = _job(state, body["job"])
    require(act.actor in (*row["parties"], row["submitter"]), "entry.not-permitted", "expected a party")
    failure = {"party": act.actor, "step": body["step"], "code": body["code"], "reason": body["reason"]}
    return act.put(state, "jobs", body["job"], {**_moved(row, JobEvent.FAIL), "failure": failure})


def _job(state: State, job: str) -> Row:
    return existing(state, "jobs", job, "job.unknown")


def _moved(row: Row, event: JobEvent) -> Row:
    return {**row, "state": next_state(JobState(row["state"]), event).value}


def _require_party(row: Row, step: str, did: str) -> None:
    parties = {item["id"]: item["parties"] for item in row["steps"]}.get(step)
    if parties is None:
        raise Refusal("job.unknown-step", "expected a step of the job")
    require(did in parties, "entry.not-permitted", "expected a party of the step")


def _spent(state: State, act: Act, job: Row, agreement: str) -> Row:
    row = existing(state, "agreements", agreement, "agreement.unknown")
    require(agreement in job["agreements"], "job.agreement-not-listed", "expected an agreement of the job")
    require(row["provider"] == act.actor, "entry.not-permitted", "expected the agreement's provider")
    require(row["consumer"] == job["submitter"], "agreement.wrong-consumer", "expected the job's submitter")
    require(row["status"] == "final", "agreement.revoked", "the agreement is revoked")
    asset = existing(state, "assets", row["asset"], "asset.unknown")
    require(asset["status"] == "published", "asset.withdrawn", "the asset is withdrawn")
    require(act.time < parse_time(row["limits"]["expires"]), "agreement.expired", "the agreement is expired")
    limit = row["limits"]["uses"]
    require(row["uses"] < limit, "agreement.uses-exhausted", f"all {limit} uses are spent")
    return {**row, "uses": row["uses"] + 1}


def _with(table: Row, step: str, did: str, value: object) -> Row:
    return {**table, step: {**table.get(step, {}), did: value}}
