"""The owner's node decides by itself: every way in which a job lacks a right is refused with its own code."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from exchange.jobs.component import Component
from exchange.jobs.engines import Engine
from exchange.jobs.registry import Registry, built_in
from exchange.jobs.spec import JobSpec
from exchange.jobs.testing import ANALYST, BUREAU, LENDER, example_spec, read_from
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


def members(*dids: str) -> State:
    """A state with these active members."""
    state = State()
    for index, did in enumerate(dids):
        name = did.rpartition(":")[2]
        row = {"did": did, "name": name, "role": "participant", "status": "active"}
        state = state.put("members", did, row, index=index)
    return state


def ledger_state(agreed: Terms | None = None, **agreement: Any) -> State:
    policy = to_agreement(agreed or terms(), "agreement-1", LENDER, ANALYST, "lender/loans", NOW)
    row = {
        "agreement": "agreement-1",
        "provider": LENDER,
        "consumer": ANALYST,
        "asset": "lender/loans",
        "version": 1,
        "policy": policy,
        "limits": (agreed or terms()).limits(),
        "uses": 0,
        "status": "final",
    }
    schema = [{"name": name, "role": role, "control": level} for name, (role, level) in COLUMNS.items()]
    loans = {"asset": "lender/loans", "owner": LENDER, "version": 1, "status": "published", "schema": schema}
    people = {"asset": "bureau/people", "owner": BUREAU, "version": 1, "status": "published", "schema": []}
    return (
        members(LENDER, BUREAU, ANALYST)
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


@pytest.mark.parametrize("out", [ANALYST, BUREAU])
def test_a_job_with_a_member_that_is_out_is_refused_by_name(out: str) -> None:
    state = ledger_state()
    row = {**state.rows("members")[out], "status": "suspended"}
    found = decision(state=state.put("members", out, row, index=9))
    assert codes(found) == {"job.member-not-active"}
    assert row["name"] in found.reasons[0].text


def test_a_member_that_is_out_has_no_duties() -> None:
    spec = JobSpec.from_json(example_spec())
    state = ledger_state().put("jobs", spec.job, submitted(spec), index=7)
    assert list(open_duties(state, LENDER)) == [Duty(DutyKind.DECIDE_JOB, spec.job)]
    for status in ("suspended", "removed"):
        row = {**state.rows("members")[LENDER], "status": status}
        assert list(open_duties(state.put("members", LENDER, row, index=9), LENDER)) == []


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
        (lambda s: s["steps"][1]["parties"].update(measure_holder=ANALYST), "job.spec-invalid"),
        (
            lambda s: [
                s["steps"][0]["parties"].update(left=ANALYST),
                s["steps"][1]["parties"].update(measure_holder=ANALYST),
            ],
            "job.wrong-party",
        ),
        (lambda s: read_from(s, "bureau/none"), "asset.unknown"),
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
        ({"limits": {"uses": 9, "expires": "2027-01-01T00:00:00Z"}}, "policy.invalid"),
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


def test_a_policy_that_says_more_than_terms_can_is_decided_on_clause_by_clause() -> None:
    state = ledger_state()
    row = dict(state.rows("agreements")["agreement-1"])
    rules = {
        "permission": [{"action": "use", "constraint": [{"xone": [_at_most(2), _at_most(5)]}]}],
        "prohibition": [{"action": "use", "constraint": [_columns("secret")]}],
    }
    held = state.put("agreements", "agreement-1", {**row, "policy": row["policy"] | rules}, index=9)
    assert codes(decision(state=held)) == {"policy.exactly-one"}
    used = state.put(
        "agreements", "agreement-1", {**row, "policy": row["policy"] | rules, "uses": 2}, index=9
    )
    assert codes(decision(state=used)) == set()
    spec = JobSpec.from_json(example_spec())
    started = submitted(spec, starts={LENDER: ["agreement-1"]})
    assert minimum_cohort(spec, started, held, LENDER) == 0

    def other(value: dict[str, Any]) -> None:
        value["steps"][1]["inputs"]["measure_holder"]["columns"][0]["name"] = "secret"

    assert "policy.prohibited" in codes(decision(other, used))


def _at_most(count: int) -> dict[str, Any]:
    return {"leftOperand": "count", "operator": "lteq", "rightOperand": count}


def _columns(name: str) -> dict[str, Any]:
    return {"leftOperand": "columns", "operator": "isAnyOf", "rightOperand": [name]}


def test_a_policy_that_this_node_does_not_understand_permits_nothing() -> None:
    row = dict(ledger_state().rows("agreements")["agreement-1"])
    permission = dict(row["policy"]["permission"][0])
    unknown = {"leftOperand": "moonPhase", "operator": "eq", "rightOperand": "full"}
    for extra, code in ((unknown, "policy.unknown-operand"), (_deep(7), None), (_deep(40), "policy.invalid")):
        policy = {
            **row["policy"],
            "permission": [{**permission, "constraint": [*permission["constraint"], extra]}],
        }
        found = codes(decision(state=ledger_state(policy=policy)))
        assert found == ({code} if code else set())


def _deep(levels: int) -> dict[str, Any]:
    inner = _at_most(3)
    for _ in range(levels):
        inner = {"and": [inner]}
    return inner


def test_a_policy_of_another_agreement_is_refused() -> None:
    for field in ("@id", "assigner", "assignee", "target"):
        row = dict(ledger_state().rows("agreements")["agreement-1"])
        policy = {**row["policy"], field: "did:key:zOther"}
        assert codes(decision(state=ledger_state(policy=policy))) == {"policy.invalid"}


def test_a_level_of_one_participant_binds_where_that_participant_sees() -> None:
    state = ledger_state()
    loans = dict(state.rows("assets")["lender/loans"])
    for did, refused in ((ANALYST, True), (BUREAU, False)):
        schema = [
            {**column, "controls": {did: "ENCRYPTED_ONLY"}} if column["name"] == "default" else column
            for column in loans["schema"]
        ]
        found = decision(state=state.put("assets", "lender/loans", {**loans, "schema": schema}, index=9))
        assert ("policies.column-control" in codes(found)) is refused, found.reasons


def test_a_component_without_a_plan_is_refused() -> None:
    spec = JobSpec.from_json(example_spec())
    registry = Registry(replace(component, plan=None) for component in built_in())
    found = decide(spec.encode(), submitted(spec), ledger_state(), LENDER, registry, NOW)
    assert codes(found) == {"job.plan-invalid"}


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
    state = members(*voters)
    row = {"proposer": LENDER, "status": "open", "votes": dict.fromkeys(voters[:votes], True)}
    state = state.put("proposals", "proposal-1", row, index=3)
    expected = [Duty(DutyKind.EXECUTE_PROPOSAL, "proposal-1")] if due else []
    assert list(open_duties(state, LENDER)) == expected
    assert list(open_duties(state, BUREAU)) == []


def test_a_proposal_whose_proposer_is_out_is_executed_by_one_that_approves() -> None:
    state = State()
    for index, did in enumerate([LENDER, BUREAU, ANALYST]):
        status = "suspended" if did == LENDER else "active"
        member = {"did": did, "status": status, "role": "participant"}
        state = state.put("members", did, member, index=index)
    row = {"proposer": LENDER, "status": "open", "votes": dict.fromkeys((BUREAU, ANALYST), True)}
    state = state.put("proposals", "proposal-1", row, index=3)
    duties = {did: list(open_duties(state, did)) for did in (LENDER, BUREAU, ANALYST)}
    first = min(BUREAU, ANALYST)
    assert duties.pop(first) == [Duty(DutyKind.EXECUTE_PROPOSAL, "proposal-1")]
    assert list(duties.values()) == [[], []]


def _helped(component: Component) -> tuple[JobSpec, Registry]:
    """A job in which somebody without data computes as ``helper``."""

    def alter(value: dict[str, Any]) -> None:
        value["steps"] = value["steps"][:1]
        value["steps"][0] |= {"component": component.name, "after": []}
        value["steps"][0]["parties"]["helper"] = HELPER

    value = example_spec()
    alter(value)
    return JobSpec.from_json(value), Registry([component])


HELPER = "did:key:zHelper"


def _component(**changes: Any) -> Component:
    intersection = built_in().get("psi/ecdh")
    roles = {**intersection.roles, "helper": None}
    leaks = dict.fromkeys(roles, ())
    protocol = replace(intersection.protocol, roles=tuple(roles), leaks=leaks)  # type: ignore[type-var]
    stated = {"roles": roles, "protocol": protocol, "helpers": frozenset({"helper"})}
    return replace(intersection, **(stated | changes))


def _as_helper(component: Component, **more: Any) -> Decision:
    spec, registry = _helped(component)
    state = members(LENDER, BUREAU, ANALYST, HELPER)
    for asset, owner in (("lender/loans", LENDER), ("bureau/people", BUREAU)):
        state = state.put("assets", asset, {"owner": owner}, index=9)
    return decide(spec.encode(), submitted(spec), state, HELPER, registry, NOW, **more)


def test_a_member_without_data_computes_for_others_if_it_wants_to() -> None:
    assert _as_helper(_component()) == Decision((), ())
    assert codes(_as_helper(_component(), computes_for_members=False)) == {"job.not-computing"}


def test_only_a_helper_takes_part_without_data() -> None:
    assert codes(_as_helper(_component(helpers=frozenset()))) == {"job.wrong-party"}


def test_a_node_without_the_engine_refuses_with_the_line_that_installs_it() -> None:
    absent = Engine("swift", "no-such-distribution", "pip install '.[swift]'")
    found = _as_helper(_component(engine=absent))
    assert codes(found) == {"engine.absent"}
    assert "pip install '.[swift]'" in found.reasons[0].text
