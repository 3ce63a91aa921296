"""Suspending an owner's part of a job for a time, and letting it go on.

A part that its owner has started may be suspended by that owner or by who asked for the job; who suspended it
lets it go on. While any part is suspended nothing leaves a house and the job does not complete, whatever the
parties' nodes do; they begin no further step. A job that ends while suspended ends as any other.
"""

from __future__ import annotations

from ledger.rules import shapes
from ledger.rules.act import Act, require
from ledger.rules.jobs import JobState, existing_job
from ledger.tables import Row, State

__all__ = ["resume", "suspend"]

_UNDER_WAY = (JobState.SUBMITTED, JobState.RUNNING, JobState.RELEASE_REVIEW)
_SUSPEND = shapes.record({"job": shapes.identifier("job"), "provider": shapes.DID, "reason": shapes.REASON})
_RESUME = shapes.record({"job": shapes.identifier("job"), "provider": shapes.DID})


def suspend(state: State, act: Act) -> State:
    """Suspend a provider's part, as that provider or as the submitter."""
    body = _SUSPEND(act.entry.body, "body")
    row, provider = existing_job(state, body["job"]), body["provider"]
    require(act.actor in (provider, row["submitter"]), "entry.not-permitted", "expected one of the two sides")
    _require_under_way(row)
    require(provider in row["starts"], "job.not-started", "expected a part that its owner has started")
    suspended = row.get("suspended", {})
    require(provider not in suspended, "job.suspended", "the part is suspended already")
    suspended = {**suspended, provider: {"by": act.actor, "reason": body["reason"]}}
    return act.put(state, "jobs", body["job"], {**row, "suspended": suspended})


def resume(state: State, act: Act) -> State:
    """Let a suspended part go on, as who suspended it."""
    body = _RESUME(act.entry.body, "body")
    row = existing_job(state, body["job"])
    _require_under_way(row)
    suspension = row.get("suspended", {}).get(body["provider"])
    require(suspension is not None, "job.not-suspended", "expected a suspended part")
    require(suspension["by"] == act.actor, "entry.not-permitted", "expected who suspended it")
    left = {did: one for did, one in row["suspended"].items() if did != body["provider"]}
    return act.put(state, "jobs", body["job"], {**row, "suspended": left})


def _require_under_way(row: Row) -> None:
    state = JobState(row["state"])
    require(state in _UNDER_WAY, "job.illegal-transition", f"no suspension in a job that is {state}")
