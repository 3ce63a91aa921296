"""Two nodes negotiate: counter-offers both ways, acceptance, who may do what, two acts at once."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from exchange.cli.application import main
from exchange.sdk import NodeProblem

pytestmark = pytest.mark.xdist_group("node-negotiations")

COLUMNS = ["customer_id", "balance"]


@pytest.fixture(scope="module")
def question(tmp_path_factory: pytest.TempPathFactory, make_question: Callable[..., Any]) -> Iterator[Any]:
    """A lender with a published table, and an analyst."""
    asked = make_question(tmp_path_factory.mktemp("negotiations"), names=("lender", "analyst"))
    with asked.running:
        terms = asked.request("", COLUMNS, uses=10) | {"purposes": ["dpv:CustomerSolvencyMonitoring"]}
        terms |= {"output_types": ["aggregate", "cardinality"]}
        del terms["asset"], terms["purpose"]
        names = [("customer_id", "identifier", "AFTER_JOIN"), ("balance", "measure", "AFTER_AGGREGATE")]
        asked.client("lender").publish(
            {
                "name": "loans",
                "title": "Loans",
                "source": {"kind": "file", "location": str(asked.data / "loans.csv")},
                "columns": [
                    {"name": name, "role": role, "sensitivity": "internal", "control": control}
                    for name, role, control in names
                ],
                "terms": terms,
            }
        )
        yield asked


def ask(question: Any, **changes: Any) -> str:
    request = question.request("lender/loans", COLUMNS, **changes)
    return str(question.client("analyst").request_agreement(request)["negotiation"])


def test_counter_offers_end_in_what_was_accepted(question: Any) -> None:
    lender, analyst = question.client("lender"), question.client("analyst")
    negotiation = ask(question, uses=9)
    offered = lender.counter(negotiation, {"uses": 2, "min_cohort": 20}, as_owner=True)
    assert (offered["state"], offered["round"], offered["terms"]["uses"]) == ("OFFERED", 2, 2)
    asked = analyst.counter(negotiation, {"uses": 4}, as_owner=False)
    assert (asked["state"], asked["round"]) == ("REQUESTED", 3)
    assert asked["terms"]["min_cohort"] == 20
    lender.counter(negotiation, {"uses": 3}, as_owner=True)
    with pytest.raises(NodeProblem, match="round"):
        analyst.accept(negotiation, 2)
    assert analyst.accept(negotiation, 4)["state"] == "ACCEPTED"
    given = lender.approve(negotiation, "agreed by telephone")
    assert given["state"] == "FINALIZED"
    held = analyst.wait_agreement(given["agreement"])
    assert held["limits"]["uses"] == 3
    history = analyst.negotiation(negotiation)["history"]
    assert [(one["event"], one["by"]) for one in history] == [
        ("request", "analyst"),
        ("offer", "lender"),
        ("request", "analyst"),
        ("offer", "lender"),
        ("accept", "analyst"),
        ("agree", "lender"),
        ("verify", "analyst"),
        ("finalize", "lender"),
    ]
    assert history[1]["changes"] == [
        {"clause": "min_cohort", "before": 10, "after": 20},
        {"clause": "uses", "before": 9, "after": 2},
    ]


def test_an_owner_offers_unasked_and_the_approval_is_still_needed(question: Any) -> None:
    lender, analyst = question.client("lender"), question.client("analyst")
    terms = analyst.negotiation(ask(question))["terms"] | {"uses": 1}
    made = lender.offer("lender/loans", "analyst", terms)
    assert made["state"] == "OFFERED"
    with pytest.raises(NodeProblem) as caught:
        lender.approve(made["negotiation"], "too early")
    assert caught.value.code == "request.conflict"
    analyst.accept(made["negotiation"], 1)
    assert lender.approve(made["negotiation"], "now")["state"] == "FINALIZED"


def test_of_two_counter_offers_at_once_one_counts(question: Any) -> None:
    lender = question.client("lender")
    negotiation = ask(question)

    def counter(uses: int) -> str:
        try:
            return str(lender.counter(negotiation, {"uses": uses}, as_owner=True)["round"])
        except NodeProblem as problem:
            return problem.code

    with ThreadPoolExecutor(2) as pool:
        answers = sorted(pool.map(counter, (1, 2)))
    assert answers[0] == "2"
    assert answers[1] in ("ledger.refused", "request.conflict")
    assert [one["event"] for one in lender.negotiation(negotiation)["history"]] == ["request", "offer"]


def test_a_counter_offer_out_of_turn_or_without_a_difference_changes_nothing(question: Any) -> None:
    lender, analyst = question.client("lender"), question.client("analyst")
    negotiation = ask(question, uses=5)
    for changes, code in (({"uses": 5}, "request.invalid"), ({"use": 5}, "policies.invalid-terms")):
        with pytest.raises(NodeProblem) as caught:
            lender.counter(negotiation, changes, as_owner=True)
        assert caught.value.code == code
    with pytest.raises(NodeProblem) as caught:
        analyst.counter(negotiation, {"uses": 4}, as_owner=True)
    assert caught.value.status == 403
    with pytest.raises(NodeProblem) as caught:
        lender.offer("lender/loans", "nobody", analyst.negotiation(negotiation)["terms"])
    assert caught.value.code == "request.not-found"
    with pytest.raises(NodeProblem, match="REQUESTED"):
        analyst.accept(negotiation, 1)
    assert len(analyst.negotiation(negotiation)["history"]) == 1


def test_an_asset_that_changed_since_the_agreement_ends_the_negotiation(question: Any) -> None:
    lender = question.running.nodes["lender"]
    analyst = question.running.nodes["analyst"]
    negotiation = ask(question)
    terms = lender.services.ledger.awaited("negotiations", negotiation)
    assert terms is not None
    hold = analyst._duties._acts
    analyst._duties._acts = {kind: lambda _: None for kind in hold}
    try:
        question.client("lender").counter(negotiation, {"uses": 1}, as_owner=True)
        question.client("analyst").accept(negotiation, 2)
        with ThreadPoolExecutor(1) as pool:
            approving = pool.submit(question.client("lender").approve, negotiation, "yes")
            lender.services.ledger.wait_until(
                lambda: (
                    lender.services.ledger.state.rows("negotiations")[negotiation]["state"] == "AGREED"
                    or None
                ),
                10,
                "the agreement",
            )
            question.client("lender").withdraw("lender/loans", "the data is wrong")
            analyst.services.ledger.write("negotiation.verify", {"negotiation": negotiation})
            assert approving.result()["state"] == "TERMINATED"
    finally:
        analyst._duties._acts = hold


def test_the_command_shows_rounds_and_their_differences(
    question: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for name in ("lender", "analyst"):
        question.running.profiles[name].save(tmp_path)
    shown = question.client("analyst").negotiations()
    negotiation = next(row["negotiation"] for row in shown if row.get("round") == 4)
    call = ["agreement", "show", negotiation, "--org", "analyst", "--home", str(tmp_path)]
    assert main([*call, "--format", "text"]) == 0
    text = capsys.readouterr().out
    assert "uses: 9 → 2" in text
    assert main(["agreement", "counter", negotiation, "--uses", "2", *call[3:], "--format", "json"]) == 1
    assert json.loads(capsys.readouterr().out)["error_code"] == "request.conflict"
