"""What leaves an owner's node: seen by a second person, compared with what left before, with noise, once."""

from __future__ import annotations

import shutil
import sqlite3
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet
import pytest

from exchange.errors import JobFailed, JobRefused
from exchange.jobs.disclosure import OutputRules
from exchange.node import runner
from exchange.node.people import Person, Role
from exchange.node.releases import KIND
from exchange.sdk import NodeProblem
from exchange.sdk.client import FINISHED
from policies.approvals import Verdict

pytestmark = pytest.mark.xdist_group("exchange-releases")

WAIT_S = 60
PRIVACY = {
    "mechanism": "gaussian",
    "epsilon_micro": 2_000_000,
    "delta_exponent": 6,
    "bounds": {"arrears": {"lower": "0", "upper": "1"}, "balance": {"lower": "0", "upper": "9000000000000"}},
}


@pytest.fixture(scope="module")
def question(tmp_path_factory: pytest.TempPathFactory, make_question: Callable[..., Any]) -> Iterator[Any]:
    asked = make_question(tmp_path_factory.mktemp("releases"))
    with asked.running:
        asked.publish()
        yield asked


@pytest.fixture(scope="module")
def answered(question: Any) -> str:
    """A job that has completed under the first agreements."""
    job = ask(question, question.agree(uses=1))
    question.client("analyst").wait_job(job, timeout_s=WAIT_S)
    return job


def until(found: Callable[[], Any], what: str) -> Any:
    deadline = time.monotonic() + WAIT_S
    while not (value := found()):
        assert time.monotonic() < deadline, what
        time.sleep(0.05)
    return value


def agree(question: Any, consumer: str, **changes: Any) -> dict[str, str]:
    agreements = {}
    for owner, asset, columns in (
        ("lender", "lender/loans", ["customer_id", "arrears", "balance"]),
        ("bureau", "bureau/people", ["person_id", "band"]),
    ):
        asked = question.client(consumer).request_agreement(question.request(asset, columns, **changes))
        given = question.client(owner).approve(asked["negotiation"], "a test")
        agreements[asset] = given["agreement"]
    return agreements


def spec_of(question: Any, agreements: dict[str, str], consumer: str = "analyst", privacy: Any = None) -> Any:
    spec = question.spec(agreements)
    if privacy is not None:
        spec["steps"][1]["params"]["privacy"] = privacy
    spec["steps"][1]["recipients"] = [question.running.did(consumer)]
    spec["steps"][2]["parties"]["reader"] = question.running.did(consumer)
    spec["steps"][2]["params"]["plot"] = "none"
    return spec


def ask(question: Any, *arguments: Any, consumer: str = "analyst", **named: Any) -> str:
    spec = spec_of(question, *arguments, consumer=consumer, **named)
    return str(question.client(consumer).submit(spec)["job"])


def failure(question: Any, job: str, consumer: str = "analyst") -> dict[str, Any]:
    with pytest.raises(JobFailed):
        question.client(consumer).wait_job(job, timeout_s=WAIT_S)
    seen = question.client(consumer).job(job)
    assert seen["releases"] == [] or seen["state"] == "FAILED"
    return dict(seen["failure"])


def limit(question: Any, asset: str) -> dict[str, Any]:
    owner = asset.split("/")[0]
    lines = question.client(owner).budgets()
    return next(dict(line) for line in lines if line["kind"] == "asset" and line["id"] == asset)


def uses_of(question: Any, asset: str) -> int:
    """How often an asset was used; its line begins with the first use."""
    lines = question.client(asset.split("/")[0]).budgets()
    return sum(line["uses"] for line in lines if line["kind"] == "asset" and line["id"] == asset)


@contextmanager
def reviewed(question: Any, *owners: str) -> Iterator[None]:
    assets = {"lender": "lender/loans", "bureau": "bureau/people"}
    for owner in owners:
        question.client(owner).set_output_rules(assets[owner], {"review": True})
    yield
    for owner in owners:
        question.client(owner).set_output_rules(assets[owner], OutputRules.NONE.as_json())


def held(question: Any, job: str, owner: str) -> Any:
    """Wait until the output of ``sums`` waits at an owner; its request for approval."""
    services = question.running.nodes[owner].services

    def found() -> Any:
        waiting = services.approvals.listed(pending=True, kind=KIND)
        return next((one for one in waiting if one.request.subject == f"{job}/sums"), None)

    until(lambda: question.client("analyst").job(job)["state"] == "RELEASE_REVIEW", "a review")
    return until(found, "a request for approval")


def test_an_output_waits_for_a_second_person_across_a_restart(question: Any) -> None:
    running = question.running
    with reviewed(question, "lender"):
        job = ask(question, question.agree(uses=1))
        standing = held(question, job, "lender")
        stage = standing.request.rule.stages[0]
        assert stage.role == "approver"
        assert "steward" not in (stage.approvers or ())
        until(lambda: len(question.client("analyst").job(job)["releases"]) == 1, "the bureau's release")
        running.nodes["lender"].stop()
        running.nodes["lender"] = running._stack.enter_context(running.open_node("lender"))
        services = running.nodes["lender"].services
        assert services.store.releases.find(job, "sums").state == "held"
        person = Person(next(iter(stage.approvers)), frozenset({Role.APPROVER}))
        services.approvals.decide(standing.request.request, person, Verdict.APPROVE, "aggregates only")
        question.client("analyst").wait_job(job, timeout_s=WAIT_S)
    result, _ = question.client("analyst").result(job)
    got = [(row["group"], row["count"]) for row in result["groups"]]
    assert got == [row[:2] for row in question.plaintext()]
    entries = list(question.client("regulator").entries(job=job, type_="job.release"))
    reviews = {entry["name"]: entry["body"].get("review") for entry in entries}
    assert reviews["bureau"] is None
    assert reviews["lender"] == {"reviewer": person.name, "role": "approver", "reason": "aggregates only"}
    assert services.store.releases.find(job, "sums").state == "released"


def test_an_output_that_a_person_withholds_stays(question: Any) -> None:
    with reviewed(question, "bureau"):
        job = ask(question, question.agree(uses=1))
        standing = held(question, job, "bureau")
        services = question.running.nodes["bureau"].services
        person = Person(next(iter(standing.request.rule.stages[0].approvers)), frozenset({Role.APPROVER}))
        services.approvals.decide(standing.request.request, person, Verdict.REJECT, "too telling")
        found = failure(question, job)
    assert (found["code"], found["step"]) == ("release.withheld", "sums")
    assert "too telling" in found["reason"]
    senders = {entry["name"] for entry in question.client("regulator").entries(job=job, type_="job.release")}
    assert "bureau" not in senders


def test_a_limit_on_epsilon_takes_noise_and_is_spent_once(question: Any) -> None:
    limits = {"epsilon_micro": 2_500_000, "delta_exponent": 6}
    agreements = agree(question, "analyst", clauses=limits)
    exact = ask(question, agreements)
    with pytest.raises(JobRefused, match="limits epsilon, and the job releases an exact answer"):
        question.client("analyst").wait_job(exact, timeout_s=WAIT_S)
    job = ask(question, agreements, privacy=PRIVACY)
    question.client("analyst").wait_job(job, timeout_s=WAIT_S)
    result, _ = question.client("analyst").result(job)
    assert result["noise"]["mechanism"] == "gaussian"
    assert set(result["noise"]["deviations"]) == {"count", "arrears", "balance"}
    spent = {line["id"]: line["epsilon_micro"] for line in question.client("analyst").budgets()}
    for agreement in agreements.values():
        assert 1_900_000 < spent[agreement] <= 2_000_000
    more = ask(question, agreements, privacy=PRIVACY)
    with pytest.raises(JobRefused, match=r"epsilon of agreement .* would be .* of 2500000 millionths"):
        question.client("analyst").wait_job(more, timeout_s=WAIT_S)
    after = {line["id"]: line["epsilon_micro"] for line in question.client("analyst").budgets()}
    assert after == spent


def test_an_owner_sets_the_budget_of_its_asset_with_a_reason(question: Any) -> None:
    lender = question.client("lender")
    used = limit(question, "lender/loans")["uses"]
    lender.set_budget("lender/loans", "one more this year", uses=used + 1)
    line = limit(question, "lender/loans")
    assert (line["uses_limit"], line["reason"]) == (used + 1, "one more this year")
    job = ask(question, question.agree(uses=2))
    question.client("analyst").wait_job(job, timeout_s=WAIT_S)
    more = ask(question, question.agree(uses=2))
    with pytest.raises(JobRefused) as caught:
        question.client("analyst").wait_job(more, timeout_s=WAIT_S)
    assert "asset.uses-exhausted" in caught.value.codes
    with pytest.raises(NodeProblem):
        question.client("bureau").set_budget("lender/loans", "not mine", uses=10)
    lender.set_budget("lender/loans", "another year", uses=1000)


@pytest.mark.slow
def test_a_node_killed_between_spending_and_running_spends_once(
    question: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    running, real = question.running, runner.JobRun.run
    did = running.did("bureau")

    class Killed(BaseException):
        pass

    def run(self: Any, signal: Any) -> None:
        if self._me == did:
            raise Killed
        real(self, signal)

    monkeypatch.setattr(runner.JobRun, "run", run)
    before = uses_of(question, "bureau/people")
    agreements = question.agree(uses=1)
    job = ask(question, agreements)
    until(lambda: question.client("analyst").job(job)["state"] == "RUNNING", "the job to start")
    running.nodes["bureau"].stop()
    monkeypatch.undo()
    running.nodes["bureau"] = running._stack.enter_context(running.open_node("bureau"))
    question.client("analyst").wait_job(job, timeout_s=WAIT_S)
    assert uses_of(question, "bureau/people") == before + 1
    lines = {line["id"]: line for line in question.client("analyst").budgets()}
    assert [lines[agreement]["uses"] for agreement in agreements.values()] == [1, 1]


def _ended(question: Any, job: str) -> str:
    state = str(question.client("analyst").job(job)["state"])
    return state if state in FINISHED else ""


def test_two_jobs_racing_for_the_last_use_spend_it_at_most_once(question: Any) -> None:
    """The owners may have let different ones start; then both are refused and each gives its use back."""
    agreements, analyst = question.agree(uses=1), question.client("analyst")
    jobs = [ask(question, agreements) for _ in range(2)]
    states = [until(lambda job=job: _ended(question, job), "an end") for job in jobs]
    completed = states.count("COMPLETED")
    assert sorted(states) in (["COMPLETED", "REFUSED"], ["REFUSED", "REFUSED"])
    lines = {line["id"]: line["uses"] for line in analyst.budgets()}
    assert [lines[agreement] for agreement in agreements.values()] == [completed, completed]


def test_the_lineage_of_an_asset_names_what_used_it_and_who_has_it(question: Any, answered: str) -> None:
    job = answered
    found = question.client("lender").lineage("lender/loans")
    jobs = {vertex["id"]: vertex["state"] for vertex in found["forwards"] if vertex["kind"] == "job"}
    assert jobs[job] == "COMPLETED"
    assert {vertex["name"] for vertex in found["forwards"] if vertex["kind"] == "member"} == {"analyst"}
    back = question.client("regulator").lineage(job)["backwards"]
    assert {vertex["id"] for vertex in back if vertex["kind"] == "dataset"} == {
        "lender/loans@1",
        "bureau/people@1",
    }
    owned = question.client("regulator").lineage("analyst")["backwards"]
    assert job in {vertex["id"] for vertex in owned}


@pytest.mark.usefixtures("answered")
def test_two_queries_that_differ_by_one_person_are_refused(question: Any, tables: Path) -> None:
    """The tracker attack: the bureau adds one person to its table and another member asks again."""
    table = pyarrow.parquet.read_table(tables / "people.parquet")
    one = pa.table({"person_id": ["ZQ00059"], "band": ["low"]})
    pyarrow.parquet.write_table(pa.concat_tables([table, one]), tables / "people-and-one.parquet")
    running = question.running
    source = {"kind": "file", "location": str(tables / "people-and-one.parquet")}
    publish(question, source)
    running.nodes["lender"].stop()
    running.nodes["lender"] = running._stack.enter_context(running.open_node("lender"))
    agreements = agree(question, "regulator")
    job = ask(question, agreements, consumer="regulator")
    found = failure(question, job, "regulator")
    assert found["code"] == "release.differencing"
    assert found["party"] in (running.did("lender"), running.did("bureau"))
    assert "differ by fewer than 10" in found["reason"]
    lender = running.nodes["lender"].services.store.releases.find(job, "sums")
    assert lender is None or lender.state != "released"
    noised = ask(question, agreements, consumer="regulator", privacy=PRIVACY)
    question.client("regulator").wait_job(noised, timeout_s=WAIT_S)


def publish(question: Any, source: dict[str, str]) -> None:
    question.client("bureau").publish(
        {
            "name": "people",
            "title": "People",
            "source": source,
            "columns": [
                {
                    "name": "person_id",
                    "role": "identifier",
                    "sensitivity": "confidential",
                    "control": "AFTER_JOIN",
                },
                {"name": "band", "role": "group", "sensitivity": "confidential", "control": "AFTER_GROUP_BY"},
            ],
            "terms": {
                "purposes": ["dpv:CustomerSolvencyMonitoring"],
                "operations": ["psi/ecdh", "stats/group-sums"],
                "columns": ["person_id", "band"],
                "uses": 10,
                "expires": "2099-01-01T00:00:00Z",
                "min_cohort": 10,
                "output_types": ["aggregate", "cardinality"],
            },
        }
    )


@pytest.mark.slow
def test_an_owner_restored_from_an_old_backup_regains_nothing(
    tmp_path: Path, make_question: Callable[..., Any]
) -> None:
    """Its uses stand on the ledger; what it has forgotten of its releases it does not add to."""
    asked = make_question(tmp_path)
    with asked.running as running:
        asked.publish()
        agreements = asked.agree(uses=2)
        folder = running.nodes["bureau"].services.settings.directory
        backup = tmp_path / "backup.sqlite"
        with closing(sqlite3.connect(folder / "node.sqlite")) as connection:
            connection.execute(f"VACUUM INTO '{backup}'")
        analyst = asked.client("analyst")
        analyst.wait_job(ask(asked, agreements), timeout_s=WAIT_S)
        start = next(iter(asked.client("regulator").entries(type_="job.start", actor="bureau")))
        running.nodes["bureau"].stop()
        for part in folder.glob("node.sqlite*"):
            part.unlink()
        shutil.copy(backup, folder / "node.sqlite")
        node = running.open_node("bureau")
        assert not node.services.ledger.is_caught_up
        assert node.services.ledger.final("agreements", agreements["bureau/people"])["uses"] == 0
        running.nodes["bureau"] = running._stack.enter_context(node)
        until(lambda: node.services.ledger.is_caught_up, "the node to catch up")
        assert node.services.ledger.final("agreements", agreements["bureau/people"])["uses"] == 1
        found = failure(asked, ask(asked, agreements))
        assert found["code"] == "release.memory-lost"
        assert found["party"] == running.did("bureau")
        with pytest.raises(JobRefused) as caught:
            analyst.wait_job(ask(asked, agreements), timeout_s=WAIT_S)
        assert set(caught.value.codes) & {"policy.count", "agreement.uses-exhausted"}
        lines = {line["id"]: line["uses"] for line in analyst.budgets()}
        assert lines[agreements["bureau/people"]] == 2
        mirror = node.services.ledger.mirror
        replayed = mirror.store.find(start["txid"]).raw
        assert asked.running.nodes["lender"].services.ledger.relay(replayed).txid == start["txid"]
        assert asked.written("job.start") == 4
        lines = {line["id"]: line["uses"] for line in analyst.budgets()}
        assert lines[agreements["bureau/people"]] == 2
