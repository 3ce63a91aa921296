"""What ended jobs kept to go on from is dropped; what jobs under way keep stays."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

from exchange.node.tidying import Tidying


def test_what_ended_jobs_kept_is_dropped() -> None:
    states = {"job-1": "RUNNING", "job-2": "REVOKED", "job-3": "RELEASE_REVIEW", "job-4": "FAILED"}
    rows = {job: {"state": state} for job, state in states.items()}
    dropped: list[str] = []
    ledger: Any = SimpleNamespace(final=lambda table, job: rows.get(job))
    jobs: Any = SimpleNamespace(
        jobs_with_states=lambda: [*states, "job-that-the-copy-has-not-yet"], drop_states=dropped.append
    )
    nobody: Any = None
    Tidying(ledger, nobody, nobody, jobs)._drop_states()
    assert dropped == ["job-2", "job-4"]
