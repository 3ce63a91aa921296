"""What this node owes the consortium at this moment, read off the ledger state alone.

Level-triggered: after every final change the whole list is derived anew, so a node that was down, or was
killed between deciding and writing, finds its open duties again without any memory of its own.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from ledger.membership import active_members, passes
from ledger.rules import approvals
from ledger.state import State

__all__ = ["Duty", "DutyKind", "open_duties"]


class DutyKind(StrEnum):
    """The acts a node performs by itself once people have decided."""

    ACKNOWLEDGE_MEMBERSHIP = "acknowledge-membership"
    EXECUTE_PROPOSAL = "execute-proposal"
    ANNOUNCE_CONNECTOR = "announce-connector"
    CONCLUDE_NEGOTIATION = "conclude-negotiation"
    VERIFY_AGREEMENT = "verify-agreement"
    FINALIZE_NEGOTIATION = "finalize-negotiation"
    APPROVE_JOB = "approve-job"
    DECIDE_JOB = "decide-job"
    RUN_JOB = "run-job"
    HALT_JOB = "halt-job"
    BUILD_LOOKUP = "build-lookup"
    BUILD_MODEL_TABLE = "build-model-table"


@dataclass(frozen=True)
class Duty:
    """One thing to do, about one subject."""

    kind: DutyKind
    subject: str


def open_duties(state: State, me: str) -> Iterator[Duty]:
    """All duties of participant ``me`` that follow from a final state; none of a member that is out.

    A job that another owner has refused is still decided on: the asker learns every reason at once.
    """
    for did, member in state.rows("members").items():
        if did == me and member["status"] == "admitted":
            yield Duty(DutyKind.ACKNOWLEDGE_MEMBERSHIP, did)
    if (state.get("members", me) or {}).get("status") in ("suspended", "removed"):
        return
    for key, proposal in state.rows("proposals").items():
        if proposal["status"] == "open" and me == _executor(state, proposal):
            yield Duty(DutyKind.EXECUTE_PROPOSAL, key)
    for key, negotiation in state.rows("negotiations").items():
        if negotiation["state"] in ("REQUESTED", "ACCEPTED") and negotiation["provider"] == me:
            yield Duty(DutyKind.CONCLUDE_NEGOTIATION, key)
        elif negotiation["state"] == "AGREED" and negotiation["consumer"] == me:
            yield Duty(DutyKind.VERIFY_AGREEMENT, key)
        elif negotiation["state"] == "VERIFIED" and negotiation["provider"] == me:
            yield Duty(DutyKind.FINALIZE_NEGOTIATION, key)
    for key, job in state.rows("jobs").items():
        if job["state"] == "SUBMITTED" and _is_asked(state, job, me):
            yield Duty(DutyKind.APPROVE_JOB, key)
        if me not in job["parties"]:
            continue
        undecided = me != job["submitter"] and me not in job["starts"] and me not in job["refusals"]
        if undecided and job["state"] in ("SUBMITTED", "REFUSED"):
            yield Duty(DutyKind.DECIDE_JOB, key)
        elif job["state"] in ("RUNNING", "RELEASE_REVIEW"):
            yield Duty(DutyKind.RUN_JOB, key)
        elif job["state"] in ("ABORTED", "REVOKED", "EXPIRED") and me not in job["halts"] and _ran(job):
            yield Duty(DutyKind.HALT_JOB, key)


def _is_asked(state: State, job: Mapping[str, Any], me: str) -> bool:
    """Whether ``me`` is to approve a job that it does not decide on as an owner, and has not answered."""
    if me not in approvals.may_approve(state, job) or me in job["parties"]:
        return False
    row = approvals.standing(state, job)
    return me not in row["approved"] and me not in row["withdrawn"]


def _ran(job: Mapping[str, Any]) -> bool:
    """Whether every agreement's owner had let the job start, so that parties may have computed."""
    started = {agreement for agreements in job["starts"].values() for agreement in agreements}
    return started.issuperset(job["agreements"])


def _executor(state: State, proposal: Mapping[str, Any]) -> str | None:
    """Who executes a proposal that passes: its proposer, or else the first active member that approves."""
    approvers = {did for did, approves in proposal["votes"].items() if approves}
    if not passes(state, approvers):
        return None
    members = active_members(state)
    proposer = str(proposal["proposer"])
    return proposer if proposer in members else min(approvers & members.keys())
