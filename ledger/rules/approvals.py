"""Approval of single jobs: what an agreement asks for, what organisations say, the check before a start.

An agreement may ask that its provider's people approve each job, and that named organisations do. Each of
them says so with ``job.approve`` over the exact digest of the specification that the job's row holds, and may
take it back with ``job.disapprove`` until an owner has started the job on it. ``require_approved`` lets no
``job.start`` take effect before.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from ledger.errors import Refusal
from ledger.rules import shapes
from ledger.rules.act import Act, existing, require
from ledger.tables import Row, State

__all__ = [
    "LIMIT",
    "approve",
    "asked_by",
    "disapprove",
    "is_within",
    "may_approve",
    "require_approved",
    "standing",
]

LIMIT: Final = shapes.record(
    {"organisations": shapes.list_of(shapes.DID, most=16), "per_job": shapes.BOOLEAN}
)
"""What an agreement's ``limits.approval`` asks of each job under it."""

_TABLE: Final = "approvals"
_JOB = shapes.identifier("job")
_DECISION = shapes.record(
    {
        "approver": shapes.SENTENCE,
        "role": shapes.WORD,
        "decision": shapes.constant("approve"),
        "reason": shapes.REASON,
    }
)
_APPROVE = shapes.record(
    {
        "job": _JOB,
        "spec": shapes.DIGEST,
        "card": shapes.DIGEST,
        "stages": shapes.list_of(
            shapes.record({"role": shapes.SENTENCE, "approvals": shapes.POSITIVE}), least=1, most=8
        ),
        "decisions": shapes.list_of(_DECISION, least=1, most=16),
    },
    extra={"permission": shapes.identifier("permission")},
)
_DISAPPROVE = shapes.record({"job": _JOB, "spec": shapes.DIGEST, "reason": shapes.REASON})


def approve(state: State, act: Act) -> State:
    """Say, as an organisation that is asked, that its people approved exactly this specification."""
    body = _APPROVE(act.entry.body, "body")
    row = _asked(state, act, body)
    approvers = {decision["approver"] for decision in body["decisions"]}
    counted = sum(stage["approvals"] for stage in body["stages"])
    complete = len(approvers) == len(body["decisions"]) and counted <= len(approvers)
    require(complete, "approval.incomplete", "expected the decisions of as many persons as the stages count")
    require(act.actor not in row["approved"], "approval.exists", "expected one approval per organisation")
    approved = {**row["approved"], act.actor: act.entry.txid}
    return act.put(state, _TABLE, body["job"], {**row, "approved": approved})


def disapprove(state: State, act: Act) -> State:
    """Say no, or take an approval back, before an owner has started the job on it; it stays so."""
    body = _DISAPPROVE(act.entry.body, "body")
    row = _asked(state, act, body)
    job = existing(state, "jobs", body["job"], "job.unknown")
    started = [agreement for agreements in job["starts"].values() for agreement in agreements]
    relied = any(act.actor in asked_by(state, agreement) for agreement in started)
    require(not relied, "job.already-started", "expected that no owner has started it on this approval")
    approved = {did: txid for did, txid in row["approved"].items() if did != act.actor}
    withdrawn = {**row["withdrawn"], act.actor: body["reason"]}
    return act.put(state, _TABLE, body["job"], {**row, "approved": approved, "withdrawn": withdrawn})


def require_approved(state: State, act: Act, job: Row, agreement: str) -> None:
    """Refuse to start a job under an agreement before those that the agreement names have approved it."""
    row, provider = standing(state, job), state.rows("agreements")[agreement]["provider"]
    for did in asked_by(state, agreement):
        require(did not in row["withdrawn"], "approval.withdrawn", "an organisation took its approval back")
        code = "approval.missing-own" if did == provider else "approval.missing"
        require(did in row["approved"], code, "expected the job.approve of all that the agreement names")


def standing(state: State, job: Row) -> Row:
    """Who has approved a job, by ``job.approve``'s txid, and who has said no, with the reason."""
    empty = {"job": job["job"], "spec": job["spec"], "approved": {}, "withdrawn": {}}
    row = state.get(_TABLE, job["job"]) or empty
    return row if row["spec"] == job["spec"] else empty


def may_approve(state: State, job: Row) -> frozenset[str]:
    """The organisations whose approval the agreements of a job ask for."""
    return frozenset(did for agreement in job["agreements"] for did in asked_by(state, agreement))


def is_within(granted: Row, asked: Row) -> bool:
    """Whether granted limits ask for every approval that the requested ones ask for."""
    wanted, given = asked.get("approval"), granted.get("approval")
    if wanted is None:
        return True
    if given is None or (wanted["per_job"] and not given["per_job"]):
        return False
    return set(wanted["organisations"]) <= set(given["organisations"])


def asked_by(state: State, agreement: str) -> Iterator[str]:
    """The organisations that must approve each job under an agreement: its provider among them or not."""
    row = state.get("agreements", agreement)
    asked = None if row is None else row.get("limits", {}).get("approval")
    if row is None or asked is None:
        return
    if asked["per_job"] and row["provider"] not in asked["organisations"]:
        yield row["provider"]
    yield from asked["organisations"]


def _asked(state: State, act: Act, body: Row) -> Row:
    """The job's row of approvals, for an organisation that is asked and has not said no."""
    job = existing(state, "jobs", body["job"], "job.unknown")
    if job["state"] != "SUBMITTED":
        raise Refusal("job.illegal-transition", f"no approval of a job that is {job['state']}")
    require(body["spec"] == job["spec"], "job.wrong-spec", "expected the digest of the submitted spec")
    require(act.actor != job["submitter"], "approval.own-job", "expected another than the submitter")
    asked = act.actor in may_approve(state, job)
    require(asked, "entry.not-permitted", "expected an organisation that an agreement of the job names")
    row = standing(state, job)
    require(act.actor not in row["withdrawn"], "approval.withdrawn", "the organisation has said no already")
    return row
