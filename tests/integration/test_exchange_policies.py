"""Asking ahead and being refused, in a running consortium: simulator, explanations, attacks on a policy."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from exchange.cli import main
from exchange.errors import JobRefused
from exchange.jobs.spec import JobSpec
from exchange.sdk import NodeProblem
from ledger.errors import LedgerError

pytestmark = pytest.mark.xdist_group("exchange-policies")

Run = Callable[..., tuple[int, Any]]


@pytest.fixture(scope="module")
def asked(tmp_path_factory: pytest.TempPathFactory, make_question: Callable[..., Any]) -> Iterator[Any]:
    question = make_question(tmp_path_factory.mktemp("policies"))
    with question.running as running:
        for profile in running.profiles.values():
            profile.save(running.root)
        question.publish()
        yield question


@pytest.fixture(scope="module")
def agreements(asked: Any) -> dict[str, str]:
    return dict(asked.agree(uses=1))


@pytest.fixture
def run(asked: Any, capsys: pytest.CaptureFixture[str]) -> Run:
    def call(*words: str, language: str = "en") -> tuple[int, Any]:
        root = str(asked.running.root)
        capsys.readouterr()
        code = main(
            ["policy", *words, "--org", "analyst", "--home", root, "--format", "json", "--lang", language]
        )
        shown = capsys.readouterr().out
        return code, json.loads(shown).get("data") if shown else None

    return call


def refusals(analyst: Any, job: str) -> dict[str, str]:
    with pytest.raises(JobRefused):
        analyst.wait_job(job, timeout_s=60)
    return {refusal["name"]: refusal["code"] for refusal in analyst.job(job)["refusals"]}


def test_a_draft_is_asked_about_and_nothing_is_written(
    asked: Any, agreements: dict[str, str], run: Run, tmp_path: Path
) -> None:
    spec = asked.spec(agreements)
    draft = tmp_path / "draft.json"
    draft.write_text(json.dumps({name: value for name, value in spec.items() if name != "job"}))
    services = asked.running.nodes["analyst"].services
    before = services.ledger.final_size
    code, found = run("simulate", str(draft))
    assert (code, found["verdict"]) == (0, "permitted")
    assert {owner["name"]: owner["verdict"] for owner in found["owners"]} == {
        "lender": "permitted",
        "bureau": "permitted",
    }
    spec["steps"][1]["params"]["min_cohort"] = 3
    draft.write_text(json.dumps(spec))
    code, found = run("simulate", str(draft), language="zh")
    assert (code, found["verdict"]) == (0, "refused")
    clauses = {
        (owner["name"], reason["code"], reason["clause"])
        for owner in found["owners"]
        for reason in owner["reasons"]
    }
    where = "$.permission[0].constraint[5]"
    assert clauses == {("lender", "policy.minCohort", where), ("bureau", "policy.minCohort", where)}
    assert "最小群组人数" in found["owners"][0]["reasons"][0]["text"]
    code, found = run("simulate", str(draft), "--at", "2099-01-01T00:00:00Z")
    assert {r["code"] for r in found["owners"][0]["reasons"]} == {"policy.minCohort", "policy.dateTime"}
    assert services.ledger.final_size == before
    assert services.store.jobs.spec(spec["job"]) is None


def test_the_table_names_owner_clause_and_reason(
    asked: Any, agreements: dict[str, str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    draft = tmp_path / "draft.json"
    draft.write_text(json.dumps(asked.spec(agreements, purpose="dpv:ProvideOfficialStatistics")))
    words = ["policy", "simulate", str(draft), "--org", "analyst", "--home", str(asked.running.root)]
    for language, said in (("en", "would be refused"), ("zh", "将被拒绝")):
        assert main([*words, "--lang", language]) == 0
        shown = capsys.readouterr().out
        assert all(part in shown for part in (said, "lender", "policy.purpose", "$.permission[0]"))


def test_what_is_asked_about_is_a_draft_or_a_job(asked: Any, run: Run) -> None:
    node = asked.client("analyst")
    nested: Any = 1
    for _ in range(60):
        nested = [nested]
    hostile: list[dict[str, Any]] = [
        {},
        {"spec": {}, "job": "job-1"},
        {"job": "job-" + "0" * 26},
        {"spec": {}, "at": "tomorrow"},
        {"spec": {}, "language": "la"},
        *({"spec": {"v": value}} for value in (1.5, 2**70, nested, None, {"$gt": ""})),
    ]
    for body in hostile:
        with pytest.raises(NodeProblem) as caught:
            node.simulate(**body)
        assert 400 <= caught.value.status < 500, body
    assert run("simulate", "no-such-file-or-job")[0] == 4


def test_an_agreement_is_explained_in_both_languages(
    asked: Any, agreements: dict[str, str], run: Run
) -> None:
    name = agreements["lender/loans"]
    code, found = run("explain", name)
    assert code == 0
    assert found["is_understood"]
    assert found["terms"]["uses"] == found["limits"]["uses"] == 1
    assert "  the number of uses: at most 1" in found["words"]
    _, spoken = run("explain", name, language="zh")
    assert "  使用次数：不超过 1" in spoken["words"]
    with pytest.raises(NodeProblem):
        asked.client("analyst").agreement_policy("agreement-" + "0" * 26)


def test_a_submitters_node_that_checks_nothing_is_stopped_by_each_owners_own(
    asked: Any, agreements: dict[str, str]
) -> None:
    """The analyst's site is bypassed: its node signs whatever it is given and tells nobody why not."""
    services = asked.running.nodes["analyst"].services
    value = asked.spec(agreements, purpose="dpv:ProvideOfficialStatistics")
    value["steps"][1]["params"]["min_cohort"] = 1
    spec = JobSpec.from_json(value)
    services.ledger.write(
        "job.submit",
        {
            "job": spec.job,
            "spec": spec.digest(),
            "purpose": spec.purpose,
            "agreements": sorted(spec.agreements.values()),
            "parties": list(spec.parties()),
            "steps": spec.summary(),
        },
    )
    services.hub.put_spec(spec.job, spec.encode())
    found = refusals(asked.client("analyst"), spec.job)
    assert set(found.values()) == {"policy.purpose"}
    assert {row["uses"] for row in asked.client("analyst").agreements()} == {0}


def test_a_column_that_one_participant_may_never_see_is_refused_for_it_alone(
    asked: Any, agreements: dict[str, str]
) -> None:
    analyst, lender = asked.client("analyst"), asked.client("lender")
    columns = {"customer_id": "identifier", "balance": "measure"}
    levels = {"customer_id": "AFTER_JOIN", "balance": "AFTER_AGGREGATE"}
    verdicts = {}
    for hidden_from in ("analyst", "regulator"):
        hidden = {asked.running.did(hidden_from): "ENCRYPTED_ONLY"}
        published = lender.publish(
            {
                "name": f"hidden-from-{hidden_from}",
                "title": "Loans",
                "source": {"kind": "file", "location": str(asked.data / "loans.csv")},
                "columns": [
                    {
                        "name": name,
                        "role": role,
                        "sensitivity": "confidential",
                        "control": levels[name],
                        "controls": hidden if name == "balance" else {},
                    }
                    for name, role in columns.items()
                ],
                "terms": {
                    "purposes": ["dpv:CustomerSolvencyMonitoring"],
                    "operations": ["psi/ecdh", "stats/group-sums"],
                    "columns": list(columns),
                    "uses": 3,
                    "expires": "2099-01-01T00:00:00Z",
                    "min_cohort": 10,
                    "output_types": ["aggregate"],
                },
            }
        )
        request = asked.request(published["asset"], list(columns), output_types=["aggregate"])
        granted = lender.approve(analyst.request_agreement(request)["negotiation"], "a test")["agreement"]
        analyst.wait_agreement(granted)
        covered = {"bureau/people": agreements["bureau/people"], published["asset"]: granted}
        spec = asked.spec(covered)
        for step, role, names in ((0, "left", ["customer_id"]), (1, "measure_holder", ["balance"])):
            spec["steps"][step]["inputs"][role] = {
                "asset": published["asset"],
                "columns": [{"name": name, "decimals": 0} for name in names],
            }
        (found,) = [o for o in analyst.simulate(spec=spec)["owners"] if o["name"] == "lender"]
        verdicts[hidden_from] = (found["verdict"], [reason["code"] for reason in found["reasons"]])
    assert verdicts == {
        "analyst": ("refused", ["policies.column-control"]),
        "regulator": ("permitted", []),
    }


def test_an_agreement_altered_in_the_database_changes_no_decision_and_is_named_at_the_next_start(
    asked: Any, agreements: dict[str, str]
) -> None:
    running, analyst = asked.running, asked.client("analyst")
    analyst.wait_job(analyst.submit(asked.spec(agreements))["job"], timeout_s=60)
    granted = agreements["lender/loans"]
    # The bureau has a use left: a job ends with the first refusal, and the lender's is the one in question.
    again = agreements | {"bureau/people": asked.agree()["bureau/people"]}
    for name in ("hub", "lender"):
        (database,) = (running.root / name).glob("*.sqlite")
        with closing(sqlite3.connect(database, timeout=20)) as connection, connection:
            changed = connection.execute(
                """UPDATE ledger_entries SET raw = CAST(replace(raw, '"uses":1', '"uses":9') AS BLOB)
                   WHERE type = 'negotiation.agree' AND instr(raw, ?)""",
                (granted.encode(),),
            )
            assert changed.rowcount == 1
            # The snapshot of the state, where one has been written already.
            connection.execute(
                """UPDATE ledger_state SET "row" = CAST(replace("row", '"uses":1', '"uses":9') AS BLOB)
                   WHERE "table" = 'agreements' AND key = ?""",
                (granted,),
            )
    assert refusals(analyst, analyst.submit(asked.spec(again))["job"]) == {"lender": "policy.count"}
    node = running.nodes.pop("lender")
    node.stop()
    with pytest.raises(LedgerError), running.open_node("lender"):
        pass
