"""Is a job approved as this owner's agreements ask? Read off the ledger alone."""

from __future__ import annotations

from exchange.node.job_request import Reason, Request
from ledger.rules import approvals

__all__ = ["approval_reasons"]


def approval_reasons(request: Request) -> list[Reason]:
    """Who has not approved this specification, or has said no.

    What is only missing is pending; no is no.
    """
    asked = {
        did: None
        for asset in request.mine()
        for did in approvals.asked_by(request.state, request.spec.agreements.get(asset, ""))
    }
    if request.me in approvals.may_approve(request.state, request.job):
        asked[request.me] = None
    if not asked:
        return []
    standing = approvals.standing(request.state, request.job)
    reasons = []
    for did in asked:
        member = request.state.get("members", did)
        name = did if member is None else str(member["name"])
        if did == request.job["submitter"]:
            text = f"{name} submitted the job and is to approve it by the agreement; nobody does both"
            reasons.append(Reason("approval.own-job", text))
        elif did in standing["withdrawn"]:
            text = f"{name} does not approve this job: {standing['withdrawn'][did]}"
            reasons.append(Reason("approval.withdrawn", text))
        elif did in standing["approved"]:
            continue
        elif member is None or member["status"] != "active":
            text = f"{name}, whose approval the agreement asks for, is not an active member"
            reasons.append(Reason("approval.organisation-not-active", text))
        else:
            reasons.append(Reason("approval.missing", f"{name} has not approved this job yet", pending=True))
    return reasons
