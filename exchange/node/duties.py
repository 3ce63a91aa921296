"""What this node owes the consortium at this moment, read off the ledger state alone.

Level-triggered: after every final change the whole list is derived anew, so a node that was down, or was
killed between deciding and writing, finds its open duties again without any memory of its own.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from ledger.membership import active_members, quorum_of
from ledger.state import State

__all__ = ["Duty", "DutyKind", "open_duties"]


class DutyKind(StrEnum):
    """The acts a node performs by itself once people have decided."""

    ACKNOWLEDGE_MEMBERSHIP = "acknowledge-membership"
    EXECUTE_PROPOSAL = "execute-proposal"
    VERIFY_AGREEMENT = "verify-agreement"
    FINALIZE_NEGOTIATION = "finalize-negotiation"
    DECIDE_JOB = "decide-job"
    RUN_JOB = "run-job"


@dataclass(frozen=True)
class Duty:
    """One thing to do, about one subject."""

    kind: DutyKind
    subject: str


def open_duties(state: State, me: str) -> Iterator[Duty]:
    """All duties of participant ``me`` that follow from a final state.

    A job that another owner has refused is still decided on: the asker learns every reason at once.
    """
    for did, member in state.rows("members").items():
        if did == me and member["status"] == "admitted":
            yield Duty(DutyKind.ACKNOWLEDGE_MEMBERSHIP, did)
    for key, proposal in state.rows("proposals").items():
        if proposal["proposer"] == me and proposal["status"] == "open" and _has_quorum(state, proposal):
            yield Duty(DutyKind.EXECUTE_PROPOSAL, key)
    for key, negotiation in state.rows("negotiations").items():
        if negotiation["state"] == "AGREED" and negotiation["consumer"] == me:
            yield Duty(DutyKind.VERIFY_AGREEMENT, key)
        elif negotiation["state"] == "VERIFIED" and negotiation["provider"] == me:
            yield Duty(DutyKind.FINALIZE_NEGOTIATION, key)
    for key, job in state.rows("jobs").items():
        if me not in job["parties"]:
            continue
        undecided = me != job["submitter"] and me not in job["starts"] and me not in job["refusals"]
        if undecided and job["state"] in ("SUBMITTED", "REFUSED"):
            yield Duty(DutyKind.DECIDE_JOB, key)
        elif job["state"] == "RUNNING":
            yield Duty(DutyKind.RUN_JOB, key)


def _has_quorum(state: State, proposal: Mapping[str, Any]) -> bool:
    """Whether today's active members approve a proposal in the number that the ledger asks for."""
    members = active_members(state)
    approvals = sum(1 for did, approves in proposal["votes"].items() if approves and did in members)
    return approvals >= quorum_of(len(members))
