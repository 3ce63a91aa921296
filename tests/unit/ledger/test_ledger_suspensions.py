"""Suspending an owner's part of a job and letting it go on."""

from __future__ import annotations

from typing import Any

import pytest

from ledger.entries import new_id
from ledger.errors import Refusal
from ledger.testing import START, Stage

HEX = "ab" * 32
EXPIRES = "2026-12-01T00:00:00Z"
ASSET = "lender/loans"


def ident(kind: str) -> str:
    return new_id(kind, lambda: START, lambda n: bytes(n))


class Job(Stage):
    """A job of the analyst's over one table of the lender's, submitted."""

    def __init__(self) -> None:
        super().__init__("lender", "analyst", "bureau")
        limits = {"uses": 3, "expires": EXPIRES}
        column = {
            "name": "id",
            "type": "string",
            "role": "identifier",
            "sensitivity": 1,
            "control": "AFTER_JOIN",
        }
        self.act(
            "lender",
            "asset.publish",
            {
                "asset": ASSET,
                "version": 1,
                "kind": "table",
                "title": "Loans",
                "description": "",
                "keywords": [],
                "schema": [column],
                "rows": 1,
                "root": HEX,
                "offer": {},
                "profile": HEX,
                "distribution": [],
            },
        )
        negotiation, agreement = ident("negotiation"), ident("agreement")
        asked = {"negotiation": negotiation, "asset": ASSET, "version": 1, "provider": self.did("lender")}
        self.act("analyst", "negotiation.request", {**asked, "offer": {}, "limits": limits})
        approval = {"approver": "ann", "role": "steward", "decision": "approve", "reason": "fine"}
        agreed = {"id": agreement, "policy": {}, "limits": limits}
        body = {"negotiation": negotiation, "agreement": agreed, "approvals": [approval]}
        self.act("lender", "negotiation.agree", body)
        self.act("analyst", "negotiation.verify", {"negotiation": negotiation})
        self.act("lender", "negotiation.finalize", {"negotiation": negotiation})
        step = {"id": "match", "component": "psi/ecdh", "version": 1, "parties": [self.did("lender")]}
        body = {"job": ident("job"), "spec": HEX, "purpose": "p", "agreements": [agreement]}
        self.act("analyst", "job.submit", {**body, "parties": [self.did("lender")], "steps": [step]})

    def start(self) -> None:
        body = {"job": ident("job"), "spec": HEX, "agreements": [ident("agreement")]}
        self.act("lender", "job.start", body)

    def suspend(self, name: str, provider: str = "lender") -> None:
        body = {"job": ident("job"), "provider": self.did(provider), "reason": "a test"}
        self.act(name, "job.suspend", body)

    def resume(self, name: str) -> None:
        self.act(name, "job.resume", {"job": ident("job"), "provider": self.did("lender")})

    def receipt(self) -> None:
        body: dict[str, Any] = {
            "job": ident("job"),
            "step": "match",
            "attempt": 1,
            "role": "left",
            "protocol": {"name": "psi/ecdh", "version": 1},
            "inputs": [],
            "peers": [],
        }
        digests = {**dict.fromkeys(("params", "code", "output"), HEX), "engine": "parley 0.1.0"}
        counts = dict.fromkeys(("bytes_sent", "bytes_received", "rounds", "duration_ms"), 0)
        self.act("lender", "receipt.step", {**body, **digests, **counts})

    def release(self) -> None:
        body = {"job": ident("job"), "step": "match", "recipient": self.did("analyst")}
        self.act("lender", "job.release", {**body, "digest": HEX, "cohort": 10})

    def complete(self) -> None:
        self.act("analyst", "job.complete", {"job": ident("job"), "output": HEX})

    def row(self) -> Any:
        return self.state.rows("jobs")[ident("job")]


@pytest.fixture
def job() -> Job:
    return Job()


def refused(code: str, act: Any, *arguments: str) -> None:
    with pytest.raises(Refusal) as caught:
        act(*arguments)
    assert caught.value.code == code, str(caught.value)


@pytest.mark.parametrize("name", ["lender", "analyst"])
def test_nothing_leaves_and_nothing_completes_while_a_part_is_suspended(job: Job, name: str) -> None:
    job.start()
    job.receipt()
    job.suspend(name)
    assert job.row()["suspended"] == {job.did("lender"): {"by": job.did(name), "reason": "a test"}}
    refused("job.suspended", job.release)
    refused("job.suspended", job.complete)
    refused("job.suspended", job.suspend, name)
    job.resume(name)
    assert job.row()["suspended"] == {}
    job.release()
    job.complete()
    assert job.row()["state"] == "COMPLETED"
    refused("job.illegal-transition", job.suspend, name)


def test_who_suspended_lets_it_go_on_and_nobody_else(job: Job) -> None:
    job.start()
    job.suspend("lender")
    refused("entry.not-permitted", job.resume, "analyst")
    refused("entry.not-permitted", job.resume, "bureau")
    job.resume("lender")
    refused("job.not-suspended", job.resume, "lender")


def test_only_the_two_sides_suspend_a_started_part(job: Job) -> None:
    refused("job.not-started", job.suspend, "lender")
    job.start()
    refused("entry.not-permitted", job.suspend, "bureau")
    refused("job.not-started", job.suspend, "analyst", "bureau")


def test_a_suspended_job_ends_as_any_other(job: Job) -> None:
    job.start()
    job.suspend("analyst")
    job.act("lender", "agreement.revoke", {"agreement": ident("agreement"), "reason": "breach"})
    assert job.row()["state"] == "REVOKED"
    refused("job.illegal-transition", job.resume, "analyst")
