"""The owner's node decides by itself: every way in which a job lacks a right is refused with its own code."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from exchange.jobs.registry import built_in
from exchange.jobs.spec import JobSpec
from exchange.jobs.testing import ANALYST, BUREAU, LENDER, example_spec
from exchange.node.duties import Duty, DutyKind, open_duties
from exchange.node.enforcement import Decision, decide, minimum_cohort
from ledger.state import State
from policies.terms import Terms, to_agreement

NOW = datetime(2026, 11, 23, 12, tzinfo=UTC)
COLUMNS = {
    "customer_id": ("identifier", "AFTER_JOIN"),
    "default": ("label", "AFTER_AGGREGATE"),
    "secret": ("measure", "ENCRYPTED_ONLY"),
    "town": ("text", "PLAINTEXT"),
}


def terms(**changes: Any) -> Terms:
    values: dict[str, Any] = {
        "purposes": ("dpv:CustomerSolvencyMonitoring",),
        "operations": ("psi/ecdh", "stats/group-sums"),
        "columns": ("customer_id", "default", "secret", "town"),
        "uses": 3,
        "expires": NOW + timedelta(days=30),
        "min_cohort": 10,
        "output_types": ("aggregate", "cardinality"),
    }
    return Terms(**(values | changes))


def ledger_state(agreed: Terms | None = None, **agreement: Any) -> State:
    policy = to_agreement(agreed or terms(), "agreement-1", LENDER, ANALYST, "lender/loans", NOW)
    row = {
        "agreement": "agreement-1",
        "provider": LENDER,
        "consumer": ANALYST,
        "asset": "lender/loans",
        "version": 1,
        "policy": policy,
        "uses": 0,
        "status": "final",
    }
    schema = [{"name": name, "role": role, "control": level} for name, (role, level) in COLUMNS.items()]
    loans = {"asset": "lender/loans", "owner": LENDER, "version": 1, "status": "published", "schema": schema}
    people = {"asset": "bureau/people", "owner": BUREAU, "version": 1, "status": "published", "schema": []}
    return (
        State()
        .put("assets", "lender/loans", loans, index=1)
        .put("assets", "bureau/people", people, index=2)
        .put("agreements", "agreement-1", row | agreement, index=3)
    )


def submitted(spec: JobSpec, **changes: Any) -> dict[str, Any]:
    row = {
        "job": spec.job,
        "spec": spec.digest(),
        "submitter": ANALYST,
        "purpose": spec.purpose,
        "agreements": sorted(spec.agreements.values()),
        "parties": list(spec.parties()),
        "steps": spec.summary(),
        "starts": {},
        "refusals": {},
        "state": "SUBMITTED",
    }
    return row | changes


def decision(
    change: Callable[[dict[str, Any]], object] = lambda spec: None,
    state: State | None = None,
    now: datetime = NOW,
    **row: Any,
) -> Decision:
    value = example_spec()
    change(value)
    spec = JobSpec.from_json(value)
    return decide(spec.encode(), submitted(spec, **row), state or ledger_state(), LENDER, built_in(), now)


def codes(found: Decision) -> set[str]:
    return {reason.code for reason in found.reasons}


def test_a_covered_job_is_permitted_and_spends_the_owners_agreement() -> None:
    found = decision()
    assert found.is_permitted, found.reasons
    assert found.agreements == ("agreement-1",)


def test_a_swapped_specification_is_refused_whatever_it_asks() -> None:
    spec = JobSpec.from_json(example_spec())
    value = example_spec()
    value["title"] = "the hub's own"
    swapped = JobSpec.from_json(value).encode()
    found = decide(swapped, submitted(spec), ledger_state(), LENDER, built_in(), NOW)
    assert codes(found) == {"job.spec-mismatch"}
    assert hashlib.sha256(swapped).hexdigest()[:16] in found.reasons[0].text
    assert found.agreements == ()


def test_bytes_that_are_no_specification_are_refused() -> None:
    raw = b"{}"
    spec = JobSpec.from_json(example_spec())
    row = submitted(spec) | {"spec": hashlib.sha256(raw).hexdigest()}
    assert codes(decide(raw, row, ledger_state(), LENDER, built_in(), NOW)) == {"job.spec-invalid"}


@pytest.mark.parametrize(
    ("change", "code"),
    [
        (lambda s: s.update(purpose="dpv:DirectMarketing"), "policy.purpose"),
        (lambda s: s["steps"][1]["params"].update(min_cohort=5), "policy.minCohort"),
        (lambda s: s["steps"][0].update(recipients=[ANALYST]), "policy.outputType"),
        (
            lambda s: s["steps"][1]["inputs"]["measure_holder"]["columns"][0].update(name="salary"),
            "column.unknown",
        ),
        (
            lambda s: s["steps"][1]["inputs"]["measure_holder"]["columns"][0].update(name="town"),
            "column.role",
        ),
        (
            lambda s: s["steps"][1]["inputs"]["measure_holder"]["columns"][0].update(name="secret"),
            "policies.column-control",
        ),
        (lambda s: s["agreements"].update({"lender/loans": "agreement-2"}), "agreement.missing"),
        (lambda s: s["agreements"].pop("lender/loans"), "agreement.missing"),
        (lambda s: s["steps"][1].update(recipients=[BUREAU]), "job.recipient"),
        (lambda s: s["steps"][2]["parties"].update(reader=BUREAU), "job.wrong-party"),
        (
            lambda s: s["steps"][1]["parties"].update(measure_holder=ANALYST),
            "job.wrong-party",
        ),
        (lambda s: s["steps"][0]["inputs"]["right"].update(asset="bureau/none"), "asset.unknown"),
    ],
)
def test_each_clause_that_does_not_hold_is_named(
    change: Callable[[dict[str, Any]], object], code: str
) -> None:
    state = ledger_state(terms(output_types=("aggregate",)))
    assert code in codes(decision(change, state))


@pytest.mark.parametrize(
    ("agreement", "code"),
    [
        ({"uses": 3}, "policy.count"),
        ({"status": "revoked"}, "agreement.status"),
        ({"provider": BUREAU}, "agreement.provider"),
        ({"consumer": BUREAU}, "agreement.consumer"),
        ({"asset": "lender/other"}, "agreement.asset"),
        ({"version": 2}, "agreement.version"),
        ({"policy": {"surprise": 1}}, "policy.invalid"),
    ],
)
def test_an_agreement_that_does_not_stand_is_named(agreement: dict[str, Any], code: str) -> None:
    assert code in codes(decision(state=ledger_state(**agreement)))


def test_an_expired_agreement_is_refused() -> None:
    assert codes(decision(now=NOW + timedelta(days=30))) == {"policy.dateTime"}


def test_a_technique_that_was_not_agreed_is_refused() -> None:
    assert codes(decision(state=ledger_state(terms(operations=("psi/ecdh",))))) == {"policy.technique"}


@pytest.mark.parametrize("field", ["purpose", "agreements", "parties", "steps", "job"])
def test_a_summary_on_the_ledger_that_differs_from_the_specification_is_refused(field: str) -> None:
    other = {
        "purpose": "dpv:Marketing",
        "agreements": ["agreement-1"],
        "parties": [ANALYST, LENDER],
        "steps": [],
        "job": "job-" + "1" * 26,
    }
    assert "job.spec-mismatch" in codes(decision(**{field: other[field]}))


def test_every_reason_is_given_at_once() -> None:
    def change(spec: dict[str, Any]) -> None:
        spec["purpose"] = "dpv:DirectMarketing"
        spec["steps"][1]["params"]["min_cohort"] = 1

    assert {"policy.purpose", "policy.minCohort", "policy.count"} <= codes(
        decision(change, ledger_state(uses=3))
    )


def test_the_agreed_minimum_cohort_is_that_of_the_started_agreements() -> None:
    spec = JobSpec.from_json(example_spec())
    state = ledger_state(terms(min_cohort=25))
    started = submitted(spec, starts={LENDER: ["agreement-1"]})
    assert minimum_cohort(spec, started, state, LENDER) == 25
    assert minimum_cohort(spec, started, state, BUREAU) == 0


def test_duties_are_those_of_a_party_that_has_not_acted() -> None:
    spec = JobSpec.from_json(example_spec())
    state = State().put("jobs", spec.job, submitted(spec), index=7)
    assert list(open_duties(state, LENDER)) == [Duty(DutyKind.DECIDE_JOB, spec.job)]
    assert list(open_duties(state, ANALYST)) == []
    assert list(open_duties(state, "did:key:zStranger")) == []
    started = state.put("jobs", spec.job, submitted(spec, starts={LENDER: ["agreement-1"]}), index=8)
    assert list(open_duties(started, LENDER)) == []


@pytest.mark.parametrize(("votes", "due"), [(1, False), (2, False), (3, True)])
def test_a_proposal_is_executed_by_its_proposer_once_a_quorum_approves(votes: int, due: bool) -> None:
    voters = [LENDER, BUREAU, ANALYST]
    state = State()
    for index, did in enumerate(voters):
        state = state.put("members", did, {"did": did, "status": "active"}, index=index)
    row = {"proposer": LENDER, "status": "open", "votes": dict.fromkeys(voters[:votes], True)}
    state = state.put("proposals", "proposal-1", row, index=3)
    expected = [Duty(DutyKind.EXECUTE_PROPOSAL, "proposal-1")] if due else []
    assert list(open_duties(state, LENDER)) == expected
    assert list(open_duties(state, BUREAU)) == []
