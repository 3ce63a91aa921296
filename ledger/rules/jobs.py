"""Jobs: what was asked, who let it start or refused, what each party did, what left whose house.

``TRANSITIONS`` is the automaton of a job's state; who may fire an event is checked by the rule that fires
it. What a job costs is spent by ``job.start`` itself (``ledger.rules.budgets``), so a limit can never be
passed by two jobs at once. How a job is stopped from outside is in ``ledger.rules.stops``.
"""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum
from types import MappingProxyType

from ledger.errors import Refusal
from ledger.rules import absences, approvals, budgets, shapes
from ledger.rules.act import Act, existing, require
from ledger.tables import Row, State
from ledger.times import parse_time

__all__ = [
    "TRANSITIONS",
    "JobEvent",
    "JobState",
    "complete",
    "end",
    "existing_job",
    "fail",
    "hold",
    "is_party",
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
    RELEASE_REVIEW = "RELEASE_REVIEW"
    COMPLETED = "COMPLETED"
    FAILED = "FAILED"
    REFUSED = "REFUSED"
    ABORTED = "ABORTED"
    REVOKED = "REVOKED"
    EXPIRED = "EXPIRED"


class JobEvent(StrEnum):
    """What moves a job.

    ``START_LAST`` is the start that leaves no agreement and no other party unstarted, ``RELEASE_LAST`` the
    release that leaves none held back. ``LEAVE`` is the failure of a party that the job can do without.
    ``HALT`` is a party's word that its part of a stopped job has ended.
    """

    START = "start"
    START_LAST = "start-last"
    REFUSE = "refuse"
    RECEIPT = "receipt"
    HOLD = "hold"
    RELEASE = "release"
    RELEASE_LAST = "release-last"
    COMPLETE = "complete"
    FAIL = "fail"
    LEAVE = "leave"
    STOP = "stop"
    REVOKE = "revoke"
    EXPIRE = "expire"
    HALT = "halt"


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
        (_State.RUNNING, _Event.LEAVE): _State.RUNNING,
        (_State.RUNNING, _Event.HOLD): _State.RELEASE_REVIEW,
        (_State.RELEASE_REVIEW, _Event.HOLD): _State.RELEASE_REVIEW,
        (_State.RELEASE_REVIEW, _Event.RECEIPT): _State.RELEASE_REVIEW,
        (_State.RELEASE_REVIEW, _Event.RELEASE): _State.RELEASE_REVIEW,
        (_State.RELEASE_REVIEW, _Event.RELEASE_LAST): _State.RUNNING,
        (_State.RELEASE_REVIEW, _Event.FAIL): _State.FAILED,
        (_State.RELEASE_REVIEW, _Event.LEAVE): _State.RELEASE_REVIEW,
        **{
            (state, event): end
            for state in (_State.SUBMITTED, _State.RUNNING, _State.RELEASE_REVIEW)
            for event, end in (
                (_Event.STOP, _State.ABORTED),
                (_Event.REVOKE, _State.REVOKED),
                (_Event.EXPIRE, _State.EXPIRED),
            )
        },
        (_State.ABORTED, _Event.HALT): _State.ABORTED,
        (_State.REVOKED, _Event.HALT): _State.REVOKED,
        (_State.EXPIRED, _Event.HALT): _State.EXPIRED,
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
    },
    extra={"absences": absences.ABSENCES},
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
_START = shapes.record(
    {"job": _JOB, "spec": shapes.DIGEST, "agreements": _AGREEMENTS}, extra={"spends": budgets.SPENDS}
)
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
        "engine": shapes.WORD,
        "output": shapes.DIGEST,
        "bytes_sent": shapes.COUNT,
        "bytes_received": shapes.COUNT,
        "rounds": shapes.COUNT,
        "duration_ms": shapes.COUNT,
        "peers": shapes.list_of(shapes.DIGEST, most=64),
    },
    extra={"absent": absences.ABSENT},
)
_RELEASE = shapes.record(
    {
        "job": _JOB,
        "step": shapes.WORD,
        "recipient": shapes.DID,
        "digest": shapes.DIGEST,
        "cohort": shapes.COUNT,
    },
    extra={
        "review": shapes.record({"reviewer": shapes.SENTENCE, "role": shapes.WORD, "reason": shapes.REASON})
    },
)
_HOLD = shapes.record({"job": _JOB, "step": shapes.WORD})
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
    for step in steps:
        absences.check(step)
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
        "holds": {},
        "spent": {},
        "halts": {},
    }
    return act.put(state, "jobs", body["job"], row)


def start(state: State, act: Act) -> State:
    """Let a job use the actor's agreements, all of them at once, and spend what it costs of each.

    A party without an agreement in the job, which only computes, lets it begin with none.
    """
    body = _START(act.entry.body, "body")
    row = existing_job(state, body["job"])
    require(act.actor not in row["starts"], "job.already-started", "expected one start per provider")
    require(body["spec"] == row["spec"], "job.wrong-spec", "expected the digest of the submitted spec")
    own = {a for a in row["agreements"] if (state.get("agreements", a) or {}).get("provider") == act.actor}
    helps = not own and act.actor in row["parties"] and act.actor != row["submitter"]
    require(bool(body["agreements"]) or helps, "job.no-agreement", "expected at least one agreement")
    losses = {one["agreement"]: one["rdp"] for one in body.get("spends", ())}
    foreign = set(losses) - set(body["agreements"])
    require(not foreign, "budget.spend-unexpected", "expected spends of the started agreements")
    for agreement in body["agreements"]:
        _check_usable(state, act, row, agreement)
        approvals.require_approved(state, act, row, agreement)
        state = budgets.spend(state, act, body["job"], agreement, losses.get(agreement))
    starts = {**row["starts"], act.actor: body["agreements"]}
    started = {agreement for agreements in starts.values() for agreement in agreements}
    require(own <= started, "job.agreements-missing", "expected all of the provider's agreements in the job")
    is_last = started.issuperset(row["agreements"]) and starts.keys() >= set(row["parties"]) - {
        row["submitter"]
    }
    event = JobEvent.START_LAST if is_last else JobEvent.START
    spent = {**row["spent"], **{agreement: losses.get(agreement) for agreement in body["agreements"]}}
    return act.put(state, "jobs", body["job"], {**_moved(row, event), "starts": starts, "spent": spent})


def refuse(state: State, act: Act) -> State:
    """Refuse a job before it runs, as a party or as the provider of one of its agreements."""
    body = _REFUSE(act.entry.body, "body")
    row = existing_job(state, body["job"])
    provides = any(
        (state.get("agreements", agreement) or {}).get("provider") == act.actor
        for agreement in row["agreements"]
    )
    require(act.actor in row["parties"] or provides, "entry.not-permitted", "expected a party or a provider")
    require(body["spec"] == row["spec"], "job.wrong-spec", "expected the digest of the submitted spec")
    require(act.actor not in row["refusals"], "job.already-refused", "expected one refusal per party")
    refusals = {**row["refusals"], act.actor: {"code": body["code"], "reasons": body["reasons"]}}
    return end(state, act, body["job"], JobEvent.REFUSE, refusals=refusals)


def receipt(state: State, act: Act) -> State:
    """Record what a party did in a step, once per attempt; later attempts have higher numbers.

    Where the step survives absences the receipt says who was absent, and all receipts say the same.
    """
    body = _RECEIPT(act.entry.body, "body")
    row = existing_job(state, body["job"])
    _require_party(row, body["step"], act.actor)
    last = row["attempts"].get(body["step"], {}).get(act.actor, 0)
    require(body["attempt"] > last, "receipt.duplicate", f"expected an attempt after {last}")
    row = absences.with_named(row, body["step"], act.actor, body.get("absent"))
    row = {
        **_moved(row, JobEvent.RECEIPT),
        "receipts": _with(row["receipts"], body["step"], act.actor, act.entry.txid),
        "attempts": _with(row["attempts"], body["step"], act.actor, body["attempt"]),
    }
    return act.put(state, "jobs", body["job"], row)


def hold(state: State, act: Act) -> State:
    """Say that a party's output of a step waits at its node until a person there has looked at it."""
    body = _HOLD(act.entry.body, "body")
    row, step = existing_job(state, body["job"]), body["step"]
    _require_ready(row, step, act.actor)
    require(act.actor not in row["holds"].get(step, {}), "job.already-held", "expected one hold")
    holds = _with(row["holds"], step, act.actor, act.entry.txid)
    return act.put(state, "jobs", body["job"], {**_moved(row, JobEvent.HOLD), "holds": holds})


def release(state: State, act: Act) -> State:
    """Record that a party lets its output of a step go to a recipient, once per step.

    What it held back takes the word of the person who let it go.
    """
    body = _RELEASE(act.entry.body, "body")
    row, step = existing_job(state, body["job"]), body["step"]
    _require_ready(row, step, act.actor)
    require(state.get("members", body["recipient"]) is not None, "job.unknown-party", "expected a member")
    held = act.actor in row["holds"].get(step, {})
    require(held == ("review" in body), "job.release-review", "expected a review of what was held, only")
    _require_not_suspended(row)
    for agreement in (name for names in row["starts"].values() for name in names):
        expires = parse_time(state.rows("agreements")[agreement]["limits"]["expires"])
        require(act.time < expires, "agreement.expired", "an agreement of the job is expired")
    releases = _with(row["releases"], step, act.actor, body["digest"])
    last = bool(row["holds"]) and all(
        did in releases.get(name, {}) for name, dids in row["holds"].items() for did in dids
    )
    waits = row["state"] == JobState.RELEASE_REVIEW.value
    row = {
        **_moved(row, JobEvent.RELEASE_LAST if waits and last else JobEvent.RELEASE),
        "releases": releases,
        "recipients": _with(row["recipients"], step, act.actor, body["recipient"]),
    }
    return act.put(state, "jobs", body["job"], row)


def complete(state: State, act: Act) -> State:
    """End a job with a result, as its submitter, when each party that was not absent has its receipt."""
    body = _COMPLETE(act.entry.body, "body")
    row = existing_job(state, body["job"])
    require(row["submitter"] == act.actor, "entry.not-permitted", "expected the submitter")
    next_state(JobState(row["state"]), JobEvent.COMPLETE)
    _require_not_suspended(row)
    missing = sum(
        1
        for step in row["steps"]
        for party in step["parties"]
        if party not in {*row["receipts"].get(step["id"], {}), *absences.named(row, step["id"])}
    )
    require(missing == 0, "job.receipts-missing", f"expected every party's receipt, {missing} are missing")
    return end(state, act, body["job"], JobEvent.COMPLETE, output=body["output"])


def fail(state: State, act: Act) -> State:
    """End a job without a result, as a party or its submitter; or leave it, where it goes on without one."""
    body = _FAIL(act.entry.body, "body")
    row = existing_job(state, body["job"])
    require(act.actor in (*row["parties"], row["submitter"]), "entry.not-permitted", "expected a party")
    step = body["step"]
    failure = {"party": act.actor, "step": step, "code": body["code"], "reason": body["reason"]}
    may_leave = (JobState(row["state"]), JobEvent.LEAVE) in TRANSITIONS
    if may_leave and absences.is_outlived(row, step, act.actor):
        row = absences.with_left(_moved(row, JobEvent.LEAVE), step, act.actor, failure)
        return act.put(state, "jobs", body["job"], row)
    return end(state, act, body["job"], JobEvent.FAIL, failure=failure)


def end(state: State, act: Act, job: str, event: JobEvent, **facts: object) -> State:
    """Move a job to one of its ends, write ``facts`` into its row, take it off its agreements' lists.

    One that ends before all owners have started it gives back what was spent on it.

    Raises:
        Refusal: the job is in a state in which it does not end so.
    """
    row = existing_job(state, job)
    moved = {**_moved(row, event), **facts}
    spent = row.get("spent", {}) if row["state"] != moved["state"] else {}
    for agreement, rdp in spent.items():
        if row["state"] == JobState.SUBMITTED.value:
            state = budgets.give_back(state, act, agreement, rdp)
        state = budgets.without_job(state, act, job, agreement)
    return act.put(state, "jobs", job, moved)


def existing_job(state: State, job: str) -> Row:
    """Return a job's row; refuse with ``job.unknown``."""
    return existing(state, "jobs", job, "job.unknown")


def is_party(state: State, row: Row, did: str) -> bool:
    """Whether ``did`` takes part in a job, asked for it, or provides one of its agreements."""
    rows = (state.get("agreements", agreement) for agreement in row["agreements"])
    provides = any(agreement is not None and agreement["provider"] == did for agreement in rows)
    return provides or did in (*row["parties"], row["submitter"])


def _moved(row: Row, event: JobEvent) -> Row:
    return {**row, "state": next_state(JobState(row["state"]), event).value}


def _require_party(row: Row, step: str, did: str) -> None:
    parties = {item["id"]: item["parties"] for item in row["steps"]}.get(step)
    if parties is None:
        raise Refusal("job.unknown-step", "expected a step of the job")
    require(did in parties, "entry.not-permitted", "expected a party of the step")


def _require_ready(row: Row, step: str, did: str) -> None:
    """A party lets an output go, or holds it, after its receipt of the step and once."""
    _require_party(row, step, did)
    receipted = did in row["receipts"].get(step, {})
    require(receipted, "job.release-without-receipt", "expected the party's receipt before its release")
    require(did not in row["releases"].get(step, {}), "job.already-released", "expected one release")


def _require_not_suspended(row: Row) -> None:
    require(not row.get("suspended"), "job.suspended", "a part of the job is suspended")


def _check_usable(state: State, act: Act, job: Row, agreement: str) -> None:
    row = existing(state, "agreements", agreement, "agreement.unknown")
    require(agreement in job["agreements"], "job.agreement-not-listed", "expected an agreement of the job")
    require(row["provider"] == act.actor, "entry.not-permitted", "expected the agreement's provider")
    require(row["consumer"] == job["submitter"], "agreement.wrong-consumer", "expected the job's submitter")
    require(row["status"] == "final", "agreement.revoked", "the agreement is revoked")
    asset = existing(state, "assets", row["asset"], "asset.unknown")
    require(asset["status"] == "published", "asset.withdrawn", "the asset is withdrawn")
    require(act.time < parse_time(row["limits"]["expires"]), "agreement.expired", "the agreement is expired")


def _with(table: Row, step: str, did: str, value: object) -> Row:
    return {**table, step: {**table.get(step, {}), did: value}}
