"""Would this job pass? Asked of a draft: every owner's verdict, with the clauses that stand against it."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from exchange.errors import Conflict
from exchange.jobs.registry import built_in, code_digest
from exchange.jobs.spec import JobSpec
from exchange.jobs.testing import ANALYST, BUREAU, LENDER, example_spec, read_from
from exchange.node.enforcement import decide
from exchange.node.job_request import draft_row
from exchange.node.simulation import Simulation, simulate
from ledger.state import State
from policies.terms import Terms, to_agreement

NOW = datetime(2026, 11, 23, 12, tzinfo=UTC)
LOANS = {"customer_id": ("identifier", "AFTER_JOIN"), "default": ("label", "AFTER_AGGREGATE")}
PEOPLE = {"person_id": ("identifier", "AFTER_JOIN"), "band": ("group", "AFTER_GROUP_BY")}


def terms(columns: dict[str, Any], **changes: Any) -> Terms:
    values: dict[str, Any] = {
        "purposes": ("dpv:CustomerSolvencyMonitoring",),
        "operations": ("psi/ecdh", "stats/group-sums"),
        "columns": tuple(columns),
        "uses": 3,
        "expires": NOW + timedelta(days=30),
        "min_cohort": 10,
        "output_types": ("aggregate",),
    }
    return Terms(**(values | changes))


def state(loans: Terms | None = None, **agreement: Any) -> State:
    """Two published assets, each under a final agreement with the analyst."""
    found = State()
    for index, did in enumerate((LENDER, BUREAU, ANALYST)):
        member = {"did": did, "name": did[9:].lower(), "role": "participant", "status": "active"}
        found = found.put("members", did, member, index=index)
    for index, (asset, owner, columns, agreed) in enumerate(
        (
            ("lender/loans", LENDER, LOANS, loans or terms(LOANS)),
            ("bureau/people", BUREAU, PEOPLE, terms(PEOPLE)),
        )
    ):
        name = f"agreement-{index + 1}"
        schema = [{"name": n, "role": role, "control": level} for n, (role, level) in columns.items()]
        published = {"asset": asset, "owner": owner, "version": 1, "status": "published", "schema": schema}
        row = {
            "agreement": name,
            "provider": owner,
            "consumer": ANALYST,
            "asset": asset,
            "version": 1,
            "policy": to_agreement(agreed, name, owner, ANALYST, asset, NOW),
            "limits": agreed.limits(),
            "uses": 0,
            "status": "final",
            **(agreement if asset == "lender/loans" else {}),
        }
        found = found.put("assets", asset, published, index=index + 5)
        found = found.put("agreements", name, row, index=index + 9)
    return found


def ask(
    change: Callable[[dict[str, Any]], object] = lambda spec: None,
    held: State | None = None,
    now: datetime = NOW,
) -> Simulation:
    value = example_spec()
    change(value)
    return simulate(JobSpec.from_json(value), ANALYST, held or state(), built_in(), now)


def codes(found: Simulation, owner: str = LENDER) -> set[str]:
    (verdict,) = [one for one in found.owners if one.owner == owner]
    return {reason.code for reason in verdict.decision.reasons}


def test_a_draft_that_every_agreement_covers_would_pass() -> None:
    found = ask()
    assert (found.verdict, found.reasons) == ("permitted", ())
    assert [(one.name, one.assets, one.verdict) for one in found.owners] == [
        ("bureau", ("bureau/people",), "permitted"),
        ("lender", ("lender/loans",), "permitted"),
    ]
    assert all(report.permitted for one in found.owners for report in one.reports.values())


@pytest.mark.parametrize(
    ("change", "code", "clause"),
    [
        (lambda s: s.update(purpose="dpv:Marketing"), "policy.purpose", "$.permission[0].constraint[0]"),
        (
            lambda s: s["steps"][1]["params"].update(min_cohort=5),
            "policy.minCohort",
            "$.permission[0].constraint[5]",
        ),
        (lambda s: s["agreements"].pop("lender/loans"), "agreement.missing", None),
    ],
)
def test_a_draft_that_would_not_pass_is_told_which_clause_stands_against_it(
    change: Callable[[dict[str, Any]], object], code: str, clause: str | None
) -> None:
    found = ask(change)
    assert found.verdict == "refused"
    written: Any = found.as_json("zh")
    lender = next(one for one in written["owners"] if one["owner"] == LENDER)
    assert [(reason["code"], reason["clause"]) for reason in lender["reasons"]] == [(code, clause)]
    assert lender["reasons"][0]["text"]


def test_a_policys_reasons_are_said_in_either_language() -> None:
    found = ask(lambda s: s["steps"][1]["params"].update(min_cohort=5))
    texts = {
        language: [
            reason["text"]
            for owner in found.as_json(language)["owners"]  # type: ignore[arg-type, attr-defined]
            for reason in owner["reasons"]
        ]
        for language in ("en", "zh")
    }
    assert texts["en"] == ["the minimum cohort: 5; the policy requires: at least 10"] * 2
    assert texts["zh"] == ["最小群组人数：5；策略要求：不少于 10"] * 2


def test_what_waits_for_people_is_no_refusal() -> None:
    found = ask(held=state(terms(LOANS, approval="per-job", organisations=(BUREAU,))))
    assert found.verdict == "pending"
    assert codes(found) == {"policy.obligation", "approval.missing"}
    assert codes(found, BUREAU) == {"approval.missing"}


def test_one_owner_that_refuses_decides_for_all() -> None:
    found = ask(held=state(status="revoked"))
    assert (found.verdict, codes(found), codes(found, BUREAU)) == ("refused", {"agreement.status"}, set())


def test_a_stated_time_is_the_time_of_the_decision() -> None:
    assert ask(now=NOW + timedelta(days=29)).verdict == "permitted"
    assert codes(ask(now=NOW + timedelta(days=30))) == {"policy.dateTime"}


@pytest.mark.parametrize(
    ("clause", "code"),
    [
        ({"recipients": (BUREAU,)}, "policy.recipient"),
        (
            {"column_control": ("customer_id:ENCRYPTED_ONLY", "default:AFTER_AGGREGATE")},
            "policy.columnControl",
        ),
        ({"min_parties": 3}, "policy.minParties"),
        ({"code_digests": ("0" * 64,)}, "policy.codeDigest"),
        ({"threat_models": ("malicious",)}, "policy.threatModel"),
        ({"epsilon_micro": 10**6, "delta_exponent": 6}, "policy.missing-fact"),
    ],
)
def test_each_optional_clause_is_held_against_what_the_job_really_is(
    clause: dict[str, Any], code: str
) -> None:
    assert code in codes(ask(held=state(terms(LOANS, **clause))))


def test_the_optional_clauses_pass_when_the_job_is_what_they_ask_for() -> None:
    agreed = terms(
        LOANS,
        recipients=(ANALYST,),
        column_control=("customer_id:AFTER_JOIN", "default:AFTER_AGGREGATE"),
        min_parties=2,
        code_digests=(code_digest(),),
        threat_models=("semi-honest",),
        price=5,
        points=15,
        rate=(2, 3600),
    )
    assert ask(held=state(agreed)).verdict == "permitted"
    assert codes(ask(held=state(agreed, points=11))) == {"policy.pointsBudget", "agreement.points-exhausted"}
    times = ["2026-11-23T11:10:00Z", "2026-11-23T11:50:00Z"]
    assert codes(ask(held=state(agreed, times=times))) == {"policy.rate"}
    assert ask(held=state(agreed, times=times), now=NOW + timedelta(minutes=10)).verdict == "permitted"


def test_the_smallest_group_counts_over_all_steps_that_release() -> None:
    agreed = terms(LOANS, output_types=("aggregate", "cardinality"), min_cohort=10)

    def release_the_matches(minimum: int) -> Callable[[dict[str, Any]], object]:
        return lambda s: s["steps"][0].update(
            recipients=[ANALYST], params={**s["steps"][0]["params"], "minimum_matches": minimum}
        )

    assert codes(ask(release_the_matches(10), state(agreed))) == set()
    assert codes(ask(release_the_matches(1), state(agreed))) == {"policy.minCohort"}


def test_an_asset_that_nobody_published_and_a_step_that_no_component_takes_are_refused() -> None:
    found = ask(lambda s: read_from(s, "bureau/none"))
    assert [reason.code for reason in found.reasons] == ["asset.unknown"]
    found = ask(lambda s: s["steps"][0]["params"].update(surprise=1))
    assert ([reason.code for reason in found.reasons], found.owners) == (["job.spec-invalid"], ())


def test_the_verdict_is_the_one_that_the_owners_node_takes() -> None:
    spec = JobSpec.from_json(example_spec())
    held = state(uses=3)
    taken = decide(spec.encode(), draft_row(spec, ANALYST), held, LENDER, built_in(), NOW)
    assert codes(ask(held=held)) == {reason.code for reason in taken.reasons} == {"policy.count"}


def test_a_job_on_the_ledger_is_asked_about_as_it_was_submitted() -> None:
    spec = JobSpec.from_json(example_spec())
    held = state().put("jobs", spec.job, draft_row(spec, ANALYST), index=20)
    assert ask(held=held).verdict == "permitted"
    with pytest.raises(Conflict):
        ask(lambda s: s.update(title="another"), held=held)
