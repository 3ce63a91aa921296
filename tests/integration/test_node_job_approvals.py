"""Jobs that people must approve: at the owner, at a named regulator, over exactly one specification."""

from __future__ import annotations

import hashlib
import json
import re
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import text

from exchange.cli.application import main
from exchange.errors import JobRefused, LedgerRefused
from exchange.jobs.spec import JobSpec
from exchange.node.approvals import RequestState
from exchange.sdk import NodeProblem
from exchange.store.engine import transaction
from ledger.times import format_time

pytestmark = pytest.mark.xdist_group("job-approvals")

LENDER_COLUMNS = ["customer_id", "arrears", "balance"]


@pytest.fixture(scope="module")
def question(tmp_path_factory: pytest.TempPathFactory, make_question: Callable[..., Any]) -> Iterator[Any]:
    """A running consortium with published tables."""
    asked = make_question(tmp_path_factory.mktemp("approvals"))
    with asked.running:
        asked.publish()
        yield asked


@pytest.fixture(scope="module")
def agreements(question: Any) -> dict[str, str]:
    """Lender wants each job approved by its own people and by the regulator; bureau wants nothing more."""
    given = question.agree(uses=9)
    clauses = {"approval": "per-job", "organisations": [question.running.did("regulator")]}
    wanted = question.request("lender/loans", LENDER_COLUMNS, uses=9, clauses=clauses)
    asked = question.client("analyst").request_agreement(wanted)
    given["lender/loans"] = question.client("lender").approve(asked["negotiation"], "each job is looked at")[
        "agreement"
    ]
    return given


def request_of(question: Any, name: str, subject: str, kind: str = "job") -> dict[str, Any]:
    """The request about a job or a negotiation at a node, once it is there."""
    deadline, client = time.monotonic() + 30, question.client(name)
    while time.monotonic() < deadline:
        found = [one for one in client.approvals(kind=kind) if one["subject"] == subject]
        if found:
            return found[0]
        time.sleep(0.1)
    raise AssertionError(f"{name} was not asked about {subject}")


def approve(question: Any, name: str, job: str) -> dict[str, Any]:
    role = "approver" if name == "regulator" else "steward"
    request = request_of(question, name, job)["request"]
    return question.client(name).approve_request(request, "looked at it", role=role)


@pytest.fixture(autouse=True)
def _tidy(question: Any) -> Iterator[None]:
    """End what a test leaves waiting: an owner that asks for no approval has spent a use on it."""
    yield
    analyst = question.client("analyst")
    for job in analyst.jobs():
        if job["state"] == "SUBMITTED":
            analyst.stop_job(job["job"], "the test is over")


def test_a_job_runs_once_everybody_has_approved_it(question: Any, agreements: dict[str, str]) -> None:
    analyst = question.client("analyst")
    spec = question.spec(agreements)
    job = analyst.submit(spec)["job"]
    card = request_of(question, "lender", job)["card"]
    assert card["purpose"] == spec["purpose"]
    assert [asset["asset"] for asset in card["assets"]] == ["bureau/people", "lender/loans"]
    loans = card["assets"][1]
    assert [(one["name"], one["role"], one["control"]) for one in loans["columns"]] == [
        ("arrears", "label", "AFTER_AGGREGATE"),
        ("balance", "measure", "AFTER_AGGREGATE"),
        ("customer_id", "identifier", "AFTER_JOIN"),
    ]
    assert loans["budget"]["uses_after"] == 1
    assert card["recipients"] == ["analyst"]
    assert "match: the number of distinct items in the other party's set" in card["learns"]["bureau"]
    assert card["steps"][0]["security"]["adversary"] == "semi-honest"
    assert card["difference"] is None
    assert analyst.job(job)["state"] == "SUBMITTED"
    waits = r"the approval of lender since \d\d:\d\d; the approval of regulator since \d\d:\d\d"
    assert re.match(waits, analyst.job(job)["waiting_for"])
    assert "1 steward of lender since" in question.client("lender").job(job)["waiting_for"]

    assert approve(question, "lender", job)["state"] == "APPROVED"
    assert approve(question, "regulator", job)["state"] == "APPROVED"
    assert analyst.wait_job(job, timeout_s=60)["state"] == "COMPLETED"
    expected = {(one["step"], one["party"]): one for one in card["estimate"]}
    (match, sums) = question.client("lender").job(job)["costs"]
    assert match["actual"]["sent_bytes"] == expected["match", question.running.did("lender")]["sent_bytes"]
    assert sums["expected"]["milliseconds"] > 0
    assert sums["actual"]["sent_bytes"] <= sums["expected"]["sent_bytes"]
    said = list(question.client("regulator").entries(job=job, type_="job.approve"))
    assert sorted(entry["name"] for entry in said) == ["lender", "regulator"]
    assert {entry["body"]["spec"] for entry in said} == {analyst.job(job)["spec"]}
    assert said[0]["body"]["decisions"][0]["reason"] == "looked at it"


def test_a_rejection_refuses_the_job_with_the_reason(question: Any, agreements: dict[str, str]) -> None:
    analyst = question.client("analyst")
    job = analyst.submit(question.spec(agreements))["job"]
    request = request_of(question, "lender", job)
    question.client("lender").reject_request(request["request"], "not this month")
    with pytest.raises(JobRefused, match="not this month") as caught:
        analyst.wait_job(job, timeout_s=60)
    assert "approval.rejected" in caught.value.codes
    with pytest.raises(NodeProblem, match="REJECTED"):
        question.client("lender").approve_request(request["request"], "after all")


def test_a_regulator_that_rejects_stops_the_job_at_the_owner(
    question: Any, agreements: dict[str, str]
) -> None:
    analyst = question.client("analyst")
    job = analyst.submit(question.spec(agreements))["job"]
    request = request_of(question, "regulator", job)
    question.client("regulator").reject_request(request["request"], "against the law", role="approver")
    with pytest.raises(JobRefused, match="against the law") as caught:
        analyst.wait_job(job, timeout_s=60)
    assert "approval.withdrawn" in caught.value.codes
    assert "regulator does not approve this job" in caught.value.reasons[-1]


def test_the_card_shows_what_differs_from_the_job_approved_last(
    question: Any, agreements: dict[str, str]
) -> None:
    analyst = question.client("analyst")
    spec = question.spec(agreements)
    spec["steps"][1]["params"]["min_cohort"] = 25
    job = analyst.submit(spec)["job"]
    difference = request_of(question, "lender", job)["card"]["difference"]
    assert difference["fields"] == [{"field": "steps[sums].params.min_cohort", "before": "10", "now": "25"}]


def test_repetitions_are_approved_by_a_permission_and_what_differs_by_people(
    question: Any, agreements: dict[str, str]
) -> None:
    analyst, lender = question.client("analyst"), question.client("lender")
    first = analyst.submit(question.spec(agreements))["job"]
    request_of(question, "lender", first)
    made = lender.propose_permission(first, times=2)
    assert not made["holds"]
    lender.approve_request(made["request"], "the same every month")
    for job in (first, analyst.submit(question.spec(agreements))["job"]):
        approve(question, "regulator", job)
        assert analyst.wait_job(job, timeout_s=60)["state"] == "COMPLETED"
    said = {
        entry["body"]["job"]: entry["body"].get("permission")
        for entry in question.client("regulator").entries(type_="job.approve", participant="lender")
    }
    assert said[first] == said[job] == made["permission"]
    (shown,) = lender.permissions()
    assert (shown["uses"], shown["holds"]) == (2, False)
    third = analyst.submit(question.spec(agreements))["job"]
    assert request_of(question, "lender", third)["state"] == "PENDING_APPROVAL"


def test_a_node_that_restarts_in_between_goes_on_where_it_was(
    question: Any, agreements: dict[str, str]
) -> None:
    analyst, running = question.client("analyst"), question.running
    job = analyst.submit(question.spec(agreements))["job"]
    request = request_of(question, "lender", job)
    running.nodes["lender"].stop()
    running.nodes["lender"] = running._stack.enter_context(running.open_node("lender"))
    again = request_of(question, "lender", job)
    assert again["binding"] == request["binding"]
    approve(question, "lender", job)
    approve(question, "regulator", job)
    assert analyst.wait_job(job, timeout_s=60)["state"] == "COMPLETED"


def test_the_commands_show_decide_and_propose(
    question: Any, agreements: dict[str, str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for profile in question.running.profiles.values():
        profile.save(tmp_path)

    def run(*words: str, org: str = "lender", as_text: bool = False) -> Any:
        capsys.readouterr()
        shape = [] if as_text else ["--format", "json"]
        code = main(["approval", *words, "--org", org, "--home", str(tmp_path), *shape])
        shown = capsys.readouterr()
        assert code == 0, shown.err
        return shown.out if as_text else json.loads(shown.out)["data"]

    analyst = question.client("analyst")
    job = analyst.submit(question.spec(agreements))["job"]
    request = request_of(question, "lender", job)
    assert job in [one["subject"] for one in run("list", "--kind", "job")]
    assert "match: the number of distinct items in the other party's set" in run("show", job, as_text=True)
    unread = run("notices", "--unread", "--role", "steward", "--read")
    assert request["request"] in [one["subject"] for one in unread]
    assert run("notices", "--unread", "--role", "steward") == []

    made = run("auto", "propose", job, "--times", "3", "--until", "30d")
    assert run("approve", made["permission"], "--reason", "the same each month")["state"] == "APPROVED"
    request_of(question, "regulator", job)
    assert (
        run("approve", job, "--reason", "lawful", "--role", "approver", org="regulator")["state"]
        == "APPROVED"
    )
    assert analyst.wait_job(job, timeout_s=60)["state"] == "COMPLETED"
    assert [one["uses"] for one in run("auto", "list") if one["permission"] == made["permission"]] == [1]
    run("auto", "revoke", made["permission"], "--reason", "that was enough")
    assert not any(one["holds"] for one in run("auto", "list"))

    stages = ("--stage", "steward:2", "--stage", "approver=approver")
    version = run("rules", "set", "grade:secret", *stages, "--reason", "the new law")
    assert [stage["needed"] for stage in version["rule"]["stages"]] == [2, 1]
    assert run("rules", "reset", "grade:secret", "--reason", "repealed")["version"] == 2
    assert [one["version"] for one in run("rules", "list", "--scope", "grade:secret")["versions"]] == [1, 2]


def test_the_asker_is_told_what_became_of_it(question: Any, agreements: dict[str, str]) -> None:
    analyst = question.client("analyst")
    job = analyst.submit(question.spec(agreements))["job"]
    request = request_of(question, "lender", job)
    question.client("lender").reject_request(request["request"], "not this month")
    with pytest.raises(JobRefused):
        analyst.wait_job(job, timeout_s=60)
    deadline = time.monotonic() + 20
    while time.monotonic() < deadline:
        told = [one for one in analyst.notices(role="analyst") if one["subject"] == job]
        if told:
            break
        time.sleep(0.2)
    assert [(one["kind"], one["to"]) for one in told] == [("job.refused", "analyst")]
    assert "not this month" in told[0]["facts"]["reason"]


def test_a_rule_wants_organisations_and_the_offer_bounds_whoever_approves(question: Any) -> None:
    lender, analyst = question.client("lender"), question.client("analyst")
    asked = question.request("lender/loans", LENDER_COLUMNS, uses=99)
    wide = request_of(question, "lender", analyst.request_agreement(asked)["negotiation"], "negotiation")
    assert wide["card"]["beyond_offer"]
    assert [one["sensitivity"] for one in wide["card"]["columns"]] == ["confidential"] * 3
    assert wide["card"]["techniques"][0]["security"]["adversary"] == "semi-honest"
    with pytest.raises(NodeProblem, match="uses"):
        lender.approve_request(wide["request"], "as much as they like")

    stage = {"role": "steward", "needed": 1, "approvers": None, "department": ""}
    rule = {"stages": [stage], "organisations": [question.running.did("regulator")]}
    lender.set_approval_rule("asset:lender/loans", rule, "the new law")
    plain = question.request("lender/loans", LENDER_COLUMNS, uses=2)
    one = request_of(question, "lender", analyst.request_agreement(plain)["negotiation"], "negotiation")
    with pytest.raises(NodeProblem, match="approval of regulator too"):
        lender.approve_request(one["request"], "as it was")
    lender.set_approval_rule("asset:lender/loans", None, "repealed")


def test_what_nobody_decides_ends_at_the_node_and_on_the_ledger(question: Any) -> None:
    analyst = question.client("analyst")
    soon = format_time(datetime.now(UTC) + timedelta(seconds=6))
    asked = question.request("lender/loans", LENDER_COLUMNS, uses=1, expires=soon)
    negotiation = analyst.request_agreement(asked)["negotiation"]
    request = request_of(question, "lender", negotiation, "negotiation")
    deadline = time.monotonic() + 40
    while (found := analyst.negotiation(negotiation))["state"] == "REQUESTED":
        assert time.monotonic() < deadline
        time.sleep(0.2)
    assert (found["state"], found["reason"]) == ("TERMINATED", "nobody decided in time")
    assert question.client("lender").approval(request["request"])["state"] == "EXPIRED"


# attacks


def test_a_decision_needs_the_role_and_names_nobody_but_its_caller(
    question: Any, agreements: dict[str, str]
) -> None:
    lender = question.client("lender")
    job = question.client("analyst").submit(question.spec(agreements))["job"]
    request = request_of(question, "lender", job)
    for role in ("analyst", "auditor", "administrator"):
        with pytest.raises(NodeProblem, match="may not") as caught:
            lender.approve_request(request["request"], "as if", binding=request["binding"], role=role)
        assert caught.value.face.code == "request.forbidden"
    forged = {"reason": "as if", "binding": request["binding"], "approver": "steward"}
    with pytest.raises(NodeProblem, match="approver"):
        lender._object("POST", f"/v1/approvals/{request['request']}/approve", role="steward", json=forged)
    assert lender.approval(request["request"])["decisions"] == []


def test_an_approval_of_one_job_does_for_no_other(question: Any, agreements: dict[str, str]) -> None:
    analyst, lender = question.client("analyst"), question.client("lender")
    first, second = (analyst.submit(question.spec(agreements))["job"] for _ in range(2))
    shown, other = request_of(question, "lender", first), request_of(question, "lender", second)
    with pytest.raises(NodeProblem, match="another than the one that was shown"):
        lender.approve_request(other["request"], "looked at it", binding=shown["binding"])
    lender.approve_request(shown["request"], "looked at it")
    assert lender.approval(other["request"])["state"] == "PENDING_APPROVAL"


def test_the_owners_own_keys_start_no_job_before_its_approvals(
    question: Any, agreements: dict[str, str]
) -> None:
    analyst, services = question.client("analyst"), question.running.nodes["lender"].services
    job = analyst.submit(question.spec(agreements))["job"]
    request_of(question, "lender", job)
    body = {"job": job, "spec": analyst.job(job)["spec"], "agreements": [agreements["lender/loans"]]}
    with pytest.raises(LedgerRefused, match=r"approval\.missing-own"):
        services.ledger.write("job.start", body)


def test_a_decision_written_into_the_database_starts_nothing(
    question: Any, agreements: dict[str, str]
) -> None:
    analyst, services = question.client("analyst"), question.running.nodes["lender"].services
    job = analyst.submit(question.spec(agreements))["job"]
    request = request_of(question, "lender", job)
    with transaction(services.store.engine) as connection:
        connection.execute(
            text(
                "INSERT INTO node_approval_decisions (request, approver, role, department, behalf, decision, "
                "reason, digest, decided, seal) VALUES (:request, 'steward', 'steward', '', '', 'approve', "
                "'forged', :binding, '2026-11-26T00:00:00Z', :seal)"
            ),
            {"request": request["request"], "binding": request["binding"], "seal": bytes(32)},
        )
    assert services.approvals.of(request["request"]).state is RequestState.BROKEN
    approve(question, "regulator", job)
    with pytest.raises(JobRefused, match="this node sealed") as caught:
        analyst.wait_job(job, timeout_s=60)
    assert "approval.broken" in caught.value.codes


def test_a_hub_that_swaps_the_specification_after_the_approval_changes_nothing(
    question: Any, agreements: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    analyst, services = question.client("analyst"), question.running.nodes["lender"].services
    spec = question.spec(agreements)
    job = analyst.submit(spec)["job"]
    approve(question, "lender", job)
    spec["steps"][1]["params"]["min_cohort"] = 1
    swapped = JobSpec.from_json(spec).encode()
    monkeypatch.setattr(services.hub, "get_spec", lambda _: swapped)
    approve(question, "regulator", job)
    assert analyst.wait_job(job, timeout_s=60)["state"] == "COMPLETED"
    kept = services.store.jobs.spec(job)
    assert hashlib.sha256(kept).hexdigest() == analyst.job(job)["spec"]
