"""A job is looked at again after every approval, whenever it arrives while the job is being looked at."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

from exchange.node.job_approvals import JobApprovals

OWNER, REGULATOR = "did:key:owner", "did:key:regulator"
JOB = {"job": "job-1", "spec": "ab" * 32, "agreements": ["agreement-1"]}


class State:
    """An agreement that wants two organisations' approvals, and the approvals so far."""

    def __init__(self) -> None:
        limits = {"approval": {"per_job": True, "organisations": [OWNER, REGULATOR]}}
        self.rows: dict[tuple[str, str], dict[str, Any]] = {
            ("agreements", "agreement-1"): {"provider": OWNER, "limits": limits}
        }

    def get(self, table: str, key: str) -> dict[str, Any] | None:
        return self.rows.get((table, key))

    def approve(self, index: int, *dids: str) -> None:
        approved = dict.fromkeys(dids, "00" * 32)
        self.rows["approvals", "job-1"] = JOB | {"approved": approved, "withdrawn": {}, "index": index}


def test_an_approval_that_arrives_while_the_job_is_looked_at_is_not_missed() -> None:
    state = State()
    services: Any = SimpleNamespace(
        approvals=SimpleNamespace(changes=0),
        ledger=SimpleNamespace(state=state),
        keys=SimpleNamespace(did=OWNER),
    )
    spec: Any = SimpleNamespace(job="job-1")
    approvals = JobApprovals(services)
    state.approve(7, OWNER)
    mark = approvals.mark("job-1")
    state.approve(8, OWNER, REGULATOR)  # after the owner's node found the regulator's approval missing
    assert approvals.advance(spec, JOB, mark) is None
    assert not approvals.is_waiting("job-1", approvals.mark("job-1"))
    assert approvals.advance(spec, JOB, approvals.mark("job-1")) is None
    assert approvals.is_waiting("job-1", approvals.mark("job-1"))
    services.approvals.changes += 1
    assert not approvals.is_waiting("job-1", approvals.mark("job-1"))
