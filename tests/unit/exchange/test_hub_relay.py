"""The relay against the real validity function: what it takes, from whom, and to whom it hands it out."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from exchange.errors import Conflict, Forbidden, InvalidRequest, NotFound
from exchange.hub.members import Members
from exchange.hub.relay import RESULT_LIMIT, SPEC_LIMIT, DigestMismatch, Relay
from exchange.store import HubStore, open_engine, upgrade
from ledger import base64url
from ledger.testing import Stage

NOW = datetime(2026, 11, 23, 10, tzinfo=UTC)
ULID = "01jd" + "0" * 22
JOB = f"job-{ULID}"
SPEC = b'{"job":"the specification"}'
SEALED = b"sealed to the analyst"


def sha256(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


@pytest.fixture
def stage() -> Stage:
    made = Stage("lender", "bureau", "analyst", "regulator")
    parties = [made.did("lender"), made.did("bureau")]
    made.act(
        "analyst",
        "job.submit",
        {
            "job": JOB,
            "spec": sha256(SPEC),
            "purpose": "dpv:Purpose",
            "agreements": [agree(made, "lender", "1"), agree(made, "bureau", "2")],
            "parties": parties,
            "steps": [{"id": "psi", "component": "psi/ecdh", "version": 1, "parties": parties}],
        },
    )
    return made


def agree(stage: Stage, owner: str, digit: str) -> str:
    """An agreement of the analyst with ``owner``, negotiated to its end."""
    negotiation, agreement = (f"{kind}-{ULID[:-1]}{digit}" for kind in ("negotiation", "agreement"))
    limits = {"uses": 3, "expires": "2027-01-01T00:00:00Z"}
    asset: dict[str, Any] = {
        "asset": f"{owner}/table",
        "version": 1,
        "kind": "table",
        "title": "A table",
        "description": "",
        "keywords": [],
        "schema": [
            {"name": "id", "type": "text", "role": "identifier", "sensitivity": "low", "control": "x"}
        ],
        "rows": 1,
        "root": "0" * 64,
        "offer": {},
        "profile": "0" * 64,
        "distribution": [],
    }
    request = {"negotiation": negotiation, "asset": asset["asset"], "version": 1}
    approvals = [{"approver": "a", "role": "steward", "decision": "approve", "reason": "because"}]
    granted = {"id": agreement, "policy": {}, "limits": limits}
    stage.act(owner, "asset.publish", asset)
    stage.act(
        "analyst",
        "negotiation.request",
        {**request, "provider": stage.did(owner), "offer": {}, "limits": limits},
    )
    stage.act(
        owner,
        "negotiation.agree",
        {"negotiation": negotiation, "agreement": granted, "approvals": approvals},
    )
    stage.act("analyst", "negotiation.verify", {"negotiation": negotiation})
    stage.act(owner, "negotiation.finalize", {"negotiation": negotiation})
    return agreement


def run(stage: Stage) -> None:
    """Both owners start the job and the lender writes its receipt."""
    for owner, digit in (("lender", "1"), ("bureau", "2")):
        stage.act(
            owner,
            "job.start",
            {"job": JOB, "spec": sha256(SPEC), "agreements": [f"agreement-{ULID[:-1]}{digit}"]},
        )
    stage.act(
        "lender",
        "receipt.step",
        {
            "job": JOB,
            "step": "psi",
            "attempt": 1,
            "role": "left",
            "protocol": {"name": "psi/ecdh", "version": 1},
            "inputs": [],
            "params": "0" * 64,
            "code": "0" * 64,
            "engine": "parley 0.1.0",
            "output": "0" * 64,
            "bytes_sent": 1,
            "bytes_received": 1,
            "rounds": 1,
            "duration_ms": 1,
            "peers": [],
        },
    )


def release(stage: Stage, sealed: bytes = SEALED, recipient: str = "analyst") -> None:
    body = {"job": JOB, "step": "psi", "recipient": stage.did(recipient), "digest": sha256(sealed)}
    stage.act("lender", "job.release", {**body, "cohort": 10})


@pytest.fixture
def store(tmp_path: Path) -> Iterator[HubStore]:
    engine = open_engine(f"sqlite:///{tmp_path}/hub.sqlite")
    upgrade(engine, "hub")
    yield HubStore(engine, lambda: NOW)
    engine.dispose()


@pytest.fixture
def relay(stage: Stage, store: HubStore) -> Relay:
    return Relay(lambda: stage.state, store)


def place(stage: Stage, recipient: str = "analyst") -> tuple[str, str, str, str]:
    return JOB, "psi", stage.did("lender"), stage.did(recipient)


class TestSpecifications:
    def test_the_submitters_specification_reaches_those_it_concerns(self, stage: Stage, relay: Relay) -> None:
        relay.put_spec(stage.did("analyst"), JOB, SPEC)
        relay.put_spec(stage.did("analyst"), JOB, SPEC)
        for name in ("analyst", "lender", "bureau"):
            assert relay.get_spec(stage.did(name), JOB) == SPEC

    def test_another_specification_than_the_signed_one_is_refused_with_both_digests(
        self, stage: Stage, relay: Relay, store: HubStore
    ) -> None:
        with pytest.raises(DigestMismatch) as caught:
            relay.put_spec(stage.did("analyst"), JOB, SPEC + b" ")
        assert (caught.value.expected, caught.value.actual) == (sha256(SPEC), sha256(SPEC + b" "))
        assert store.specs.get(JOB) is None

    def test_only_the_submitter_leaves_it(self, stage: Stage, relay: Relay) -> None:
        with pytest.raises(Forbidden, match="submitter"):
            relay.put_spec(stage.did("lender"), JOB, SPEC)

    def test_those_without_a_part_in_the_job_do_not_get_it(self, stage: Stage, relay: Relay) -> None:
        relay.put_spec(stage.did("analyst"), JOB, SPEC)
        with pytest.raises(Forbidden, match="party"):
            relay.get_spec(stage.did("regulator"), JOB)

    def test_before_it_is_left_and_for_an_unknown_job_there_is_none(self, stage: Stage, relay: Relay) -> None:
        with pytest.raises(NotFound, match="not been handed in"):
            relay.get_spec(stage.did("lender"), JOB)
        with pytest.raises(NotFound, match="on the ledger"):
            relay.put_spec(stage.did("analyst"), "job-unknown", SPEC)

    @pytest.mark.parametrize("size", [0, SPEC_LIMIT + 1])
    def test_its_size_is_limited(self, stage: Stage, relay: Relay, size: int) -> None:
        with pytest.raises(InvalidRequest, match=f"got {size} bytes"):
            relay.put_spec(stage.did("analyst"), JOB, b"x" * size)


class TestResults:
    def test_a_released_result_reaches_its_recipient(self, stage: Stage, relay: Relay) -> None:
        run(stage)
        relay.put_result(stage.did("lender"), *place(stage), SEALED)
        release(stage)
        assert relay.get_result(stage.did("analyst"), *place(stage)) == SEALED

    def test_it_is_not_handed_out_before_its_release(self, stage: Stage, relay: Relay) -> None:
        run(stage)
        relay.put_result(stage.did("lender"), *place(stage), SEALED)
        with pytest.raises(NotFound, match="has released nothing"):
            relay.get_result(stage.did("analyst"), *place(stage))

    def test_it_may_be_sealed_anew_before_its_release_and_not_after(self, stage: Stage, relay: Relay) -> None:
        run(stage)
        relay.put_result(stage.did("lender"), *place(stage), b"sealed by an earlier attempt")
        relay.put_result(stage.did("lender"), *place(stage), SEALED)
        release(stage)
        relay.put_result(stage.did("lender"), *place(stage), SEALED)
        with pytest.raises(DigestMismatch):
            relay.put_result(stage.did("lender"), *place(stage), b"sealed later")
        assert relay.get_result(stage.did("analyst"), *place(stage)) == SEALED

    @pytest.mark.parametrize("caller", ["lender", "bureau", "regulator"])
    def test_nobody_but_the_recipient_gets_it(self, stage: Stage, relay: Relay, caller: str) -> None:
        run(stage)
        relay.put_result(stage.did("lender"), *place(stage), SEALED)
        release(stage)
        with pytest.raises(Forbidden, match="recipient"):
            relay.get_result(stage.did(caller), *place(stage))

    def test_what_was_released_to_one_is_not_handed_to_another(self, stage: Stage, relay: Relay) -> None:
        run(stage)
        relay.put_result(stage.did("lender"), *place(stage, "regulator"), SEALED)
        release(stage)
        with pytest.raises(NotFound, match="has released nothing"):
            relay.get_result(stage.did("regulator"), *place(stage, "regulator"))

    @pytest.mark.parametrize("caller", ["bureau", "analyst", "regulator"])
    def test_nobody_leaves_a_result_in_anothers_name(self, stage: Stage, relay: Relay, caller: str) -> None:
        run(stage)
        with pytest.raises(Forbidden, match="its own result"):
            relay.put_result(stage.did(caller), *place(stage), SEALED)
        job, step, _, recipient = place(stage)
        if caller != "bureau":
            with pytest.raises(Forbidden, match="expected a party"):
                relay.put_result(stage.did(caller), job, step, stage.did(caller), recipient, SEALED)

    def test_a_result_altered_at_the_hub_is_not_handed_out(
        self, stage: Stage, relay: Relay, store: HubStore
    ) -> None:
        run(stage)
        relay.put_result(stage.did("lender"), *place(stage), SEALED)
        release(stage)
        store.results.put(*place(stage), b"something else")
        with pytest.raises(DigestMismatch) as caught:
            relay.get_result(stage.did("analyst"), *place(stage))
        assert caught.value.expected == sha256(SEALED)

    def test_an_unknown_step_or_recipient_is_not_found(self, stage: Stage, relay: Relay) -> None:
        lender, analyst = stage.did("lender"), stage.did("analyst")
        with pytest.raises(NotFound, match="no step stats"):
            relay.put_result(lender, JOB, "stats", lender, analyst, SEALED)
        with pytest.raises(NotFound, match="no member"):
            relay.put_result(lender, JOB, "psi", lender, "did:key:z6MkNobody", SEALED)

    def test_a_job_that_is_over_takes_no_more(self, stage: Stage, relay: Relay) -> None:
        run(stage)
        stage.act("bureau", "job.fail", {"job": JOB, "step": "psi", "code": "x", "reason": "lost"})
        with pytest.raises(Conflict, match="FAILED"):
            relay.put_result(stage.did("lender"), *place(stage), SEALED)

    def test_its_size_is_limited(self, stage: Stage, relay: Relay) -> None:
        run(stage)
        with pytest.raises(InvalidRequest, match="sealed result"):
            relay.put_result(stage.did("lender"), *place(stage), bytes(RESULT_LIMIT + 1))


class TestProgress:
    def test_it_is_shown_with_the_job(self, stage: Stage, relay: Relay) -> None:
        relay.tell_progress(stage.did("lender"), JOB, "psi", 3, 10, 60)
        shown = relay.describe(JOB)
        assert shown["state"] == "SUBMITTED"
        assert shown["progress"] == [
            {
                "step": "psi",
                "party": stage.did("lender"),
                "done": 3,
                "total": 10,
                "left_s": 60,
                "updated": "2026-11-23T10:00:00Z",
            }
        ]

    def test_only_a_party_of_the_step_tells_it(self, stage: Stage, relay: Relay) -> None:
        with pytest.raises(Forbidden):
            relay.tell_progress(stage.did("analyst"), JOB, "psi", 1, 2)
        with pytest.raises(NotFound):
            relay.tell_progress(stage.did("lender"), JOB, "stats", 1, 2)
        with pytest.raises(InvalidRequest, match="done: expected at most 2, got 3"):
            relay.tell_progress(stage.did("lender"), JOB, "psi", 3, 2)
        assert relay.describe(JOB)["progress"] == []


class TestMembers:
    def test_a_caller_is_known_by_its_certificate(self, stage: Stage) -> None:
        members = Members(lambda: stage.state)
        lender = base64url.decode(stage.members["lender"].record["tls"])
        assert members.by_certificate(lender) == stage.did("lender")
        assert len(members.certificates()) == 4
        for stranger in (None, b"", lender + b"x"):
            with pytest.raises(Forbidden, match="certificate of a member"):
                members.by_certificate(stranger)

    def test_who_is_admitted_or_removed_is_known_at_once(self, stage: Stage) -> None:
        members = Members(lambda: stage.state)
        certificate = base64url.decode(stage.members["lender"].record["tls"])
        row = stage.state.get("members", stage.did("lender"))
        assert row is not None
        for status, may_connect in (("admitted", True), ("removed", False), ("active", True)):
            stage.state = stage.state.put("members", row["did"], {**row, "status": status}, index=99)
            assert (certificate in members.certificates()) is may_connect
