"""Stopping jobs that were let in: by hand, with an agreement or an asset that is taken back, at its expiry.

The ledger says that a job has ended; the parties' nodes then end their part and say so with ``receipt.halt``.
No output is released after that, because a release needs a job that runs.
"""

from __future__ import annotations

from collections.abc import Sequence

from ledger.rules import shapes
from ledger.rules.act import Act, require
from ledger.rules.jobs import JobEvent, JobState, end, existing_job, is_party, next_state
from ledger.tables import State
from ledger.times import parse_time

__all__ = ["halt", "revoke_all", "stop"]

_JOB = shapes.identifier("job")
_STOP = shapes.record({"job": _JOB, "cause": shapes.one_of("stopped", "expired"), "reason": shapes.REASON})
_HALT = shapes.record({"job": _JOB, "step": shapes.optional(shapes.WORD), "after_ms": shapes.COUNT})


def stop(state: State, act: Act) -> State:
    """End a job as its submitter, a party or a provider; as expired when one of its agreements is."""
    body = _STOP(act.entry.body, "body")
    row = existing_job(state, body["job"])
    require(is_party(state, row, act.actor), "entry.not-permitted", "expected a party or a provider")
    event = JobEvent.STOP
    if body["cause"] == "expired":
        rows = [state.get("agreements", agreement) for agreement in row["agreements"]]
        expired = any(one is not None and parse_time(one["limits"]["expires"]) <= act.time for one in rows)
        require(expired, "agreement.not-expired", "expected an agreement of the job that is expired")
        event = JobEvent.EXPIRE
    return end(state, act, body["job"], event, stop=_stop(act, body["cause"], body["reason"]))


def revoke_all(state: State, act: Act, jobs: Sequence[str], cause: str, reason: str) -> State:
    """End every job under way among ``jobs``, because what it stands on was taken back."""
    for job in jobs:
        state = end(state, act, job, JobEvent.REVOKE, stop=_stop(act, cause, reason))
    return state


def halt(state: State, act: Act) -> State:
    """Record a party's word that its part of a stopped job has ended and nothing more of it leaves."""
    body = _HALT(act.entry.body, "body")
    row = existing_job(state, body["job"])
    require(act.actor in (*row["parties"], row["submitter"]), "entry.not-permitted", "expected a party")
    require(act.actor not in row["halts"], "receipt.duplicate", "expected one halt per party")
    next_state(JobState(row["state"]), JobEvent.HALT)
    facts = {"step": body["step"], "after_ms": body["after_ms"], "txid": act.entry.txid}
    return act.put(state, "jobs", body["job"], {**row, "halts": {**row["halts"], act.actor: facts}})


def _stop(act: Act, cause: str, reason: str) -> dict[str, str]:
    return {"party": act.actor, "cause": cause, "reason": reason}
