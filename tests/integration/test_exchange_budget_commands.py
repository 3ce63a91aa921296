"""``parley budget``, ``release``, ``lineage``, ``job stop`` and ``stats --epsilon`` against running nodes."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from exchange.cli import main

pytestmark = pytest.mark.xdist_group("exchange-budget-commands")

Run = Callable[..., tuple[int, Any]]


@pytest.fixture(scope="module")
def question(tmp_path_factory: pytest.TempPathFactory, make_question: Callable[..., Any]) -> Iterator[Any]:
    root = tmp_path_factory.mktemp("budget-commands")
    asked = make_question(root)
    with asked.running as running:
        for profile in running.profiles.values():
            profile.save(root)
        asked.publish()
        yield asked


@pytest.fixture
def run(question: Any, capsys: pytest.CaptureFixture[str]) -> Run:
    def call(*words: str, org: str = "lender") -> tuple[int, Any]:
        capsys.readouterr()
        code = main([*words, "--org", org, "--home", str(question.running.root), "--format", "json"])
        shown = capsys.readouterr().out
        return code, json.loads(shown).get("data") if shown else None

    return call


def test_rules_are_shown_and_changed_one_by_one(run: Run) -> None:
    code, shown = run("release", "rules", "lender/loans")
    assert (code, shown["review"], shown["dominance_percent"]) == (0, False, 0)
    words = ("--dominance", "2:90", "--p-percent", "5", "--round", "balance:1000", "--round-counts", "5")
    code, shown = run("release", "rules", "lender/loans", *words, "--complementary")
    assert code == 0
    assert (shown["dominance_n"], shown["dominance_percent"], shown["p_percent"]) == (2, 90, 5)
    assert shown["round_to"] == [{"column": "balance", "base": "1000"}]
    code, shown = run("release", "rules", "lender/loans", "--no-complementary", "--p-percent", "0")
    assert (shown["complementary"], shown["round_counts"], shown["dominance_n"]) == (False, 5, 2)
    plain = {"dominance_percent": 0, "round_counts": 1}
    assert run("release", "rules", "lender/loans", "--dominance", "1:0", "--round-counts", "1")[0] == 0
    assert run("release", "rules", "lender/loans")[1].items() >= plain.items()
    assert run("release", "rules", "bureau/people")[0] == 4
    for words in (("--dominance", "2"), ("--round", "balance"), ("--round", "balance:0")):
        assert run("release", "rules", "lender/loans", *words)[0] == 4


def test_a_budget_is_set_shown_and_lets_a_noised_question_through(question: Any, run: Run) -> None:
    words = ("--epsilon", "3", "--rate", "5/60", "--uses", "9", "--reason", "this year")
    code, made = run("budget", "set", "lender/loans", *words)
    assert code == 0
    assert made["budget"] == {
        "uses": 9,
        "epsilon_micro": 3_000_000,
        "delta_exponent": 6,
        "rate": {"jobs": 5, "seconds": 60},
    }
    for wrong in (("--epsilon", "none"), ("--epsilon", "0.0000001"), ("--rate", "5"), ("--uses", "0")):
        assert run("budget", "set", "lender/loans", *wrong, "--reason", "x")[0] == 4
    assert run("budget", "set", "lender/loans", "--reason", "nothing is limited")[0] != 0
    agreements = question.agree(uses=2)
    asked = ("stats", "--id", "lender/loans:customer_id", "--id", "bureau/people:person_id")
    asked += ("--measure", "lender/loans:arrears", "--group", "bureau/people:band")
    asked += ("--purpose", "dpv:CustomerSolvencyMonitoring", "--rule", "upper", "--rule", "remove-spaces")
    code, _ = run(*asked, org="analyst")
    assert code == 1
    code, found = run(*asked, "--epsilon", "1.5", "--bounds", "arrears:0:1", org="analyst")
    assert code == 0
    assert found["result"]["noise"]["mechanism"] == "gaussian"
    assert run(*asked, "--bounds", "arrears:0:1", org="analyst")[0] == 4
    assert run(*asked, "--epsilon", "1", "--bounds", "arrears", org="analyst")[0] == 4
    code, lines = run("budget", "show", "lender/loans")
    by_id = {line["id"]: line for line in lines}
    assert set(by_id) >= {"lender/loans", agreements["lender/loans"]}
    assert 1_400_000 < by_id["lender/loans"]["epsilon_micro"] <= 1_500_000
    assert by_id["lender/loans"]["epsilon_limit_micro"] == 3_000_000
    code, listed = run("release", "list")
    assert (code, listed[0]["state"], listed[0]["is_exact"]) == (0, "released", False)
    code, traced = run("lineage", found["job"])
    assert code == 0
    assert "lender/loans@1" in {vertex["id"] for vertex in traced["backwards"]}
    assert run("lineage", "lender/nothing")[0] == 4


def test_a_job_that_waits_is_stopped(question: Any, run: Run) -> None:
    running = question.running
    agreements = question.agree(uses=2)
    running.nodes["bureau"].stop()
    spec = question.spec(agreements)
    # The lender would refuse an exact answer; the bureau does not answer.
    spec["steps"][1]["params"]["privacy"] = {
        "mechanism": "gaussian",
        "epsilon_micro": 100_000,
        "delta_exponent": 6,
        "bounds": {name: {"lower": "0", "upper": "1"} for name in ("arrears", "balance")},
    }
    job = str(question.client("analyst").submit(spec)["job"])
    code, made = run("job", "stop", job, "--reason", "asked in error", org="analyst")
    assert (code, made["job"]) == (0, job)
    seen = question.client("analyst").job(job)
    assert (seen["state"], seen["stop"]["reason"]) == ("ABORTED", "asked in error")
    assert run("job", "stop", job, "--reason", "again", org="analyst")[0] == 1
