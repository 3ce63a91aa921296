"""A model of two owners, registered and asked for scores through hub and nodes."""

from __future__ import annotations

import io
import json
import math
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.csv
import pytest

from exchange.cli.application import main
from exchange.errors import InvalidRequest
from exchange.jobs.boosting.part import TreesPart
from exchange.jobs.regression.part import ModelPart
from exchange.jobs.scorecard.tables import OwnCard
from exchange.scoring.answers import read_answer
from exchange.scoring.errors import ScoreRefused
from exchange.scoring.parts import open_part
from exchange.scoring.serving import encode_call
from exchange.sdk import NodeClient, NodeProblem
from exchange.testing import ConsortiumInProcess
from ledger import base64url
from ledger.entries import new_id
from ledger.rules.models import ticket_message
from ledger.times import format_time, system_clock

pytestmark = pytest.mark.xdist_group("exchange-scoring")

PURPOSE, NARROWER, OTHER = "dpv:CustomerManagement", "dpv:CustomerSolvencyMonitoring", "dpv:PublicBenefit"
COUNTED = "dpv:CustomerClaimsManagement"
"""For the test alone that counts receipts."""
EXPIRES = "2099-01-01T00:00:00Z"
MODEL, CARD, TREES = "lender/late", "lender/card", "lender/trees"
RNG = np.random.Generator(np.random.PCG64(11))
PEOPLE = 300
DEBT, INCOME, AGE = (
    RNG.normal(4_000, 1_500, PEOPLE),
    RNG.normal(2_500, 700, PEOPLE),
    RNG.integers(18, 80, PEOPLE),
)
FITTED = (DEBT - 4_000) / 1_500 - (INCOME - 2_500) / 700
LATE = (RNG.random(PEOPLE) < 1 / (1 + np.exp(-FITTED))).astype(np.int64)
IDS = [f"P{i:03d}" for i in range(PEOPLE)]
TABLES = {
    "lender": pa.table({"person": IDS[:250], "late": LATE[:250], "debt": DEBT[:250]}),
    "bureau": pa.table({"id": IDS[50:], "income": INCOME[50:], "age": AGE[50:]}),
}
CONTROLS = {
    "lender": {
        "person": ("identifier", "AFTER_JOIN"),
        "late": ("label", "AFTER_AGGREGATE"),
        "debt": ("feature", "AFTER_AGGREGATE"),
    },
    "bureau": {
        "id": ("identifier", "AFTER_JOIN"),
        "income": ("feature", "AS_JOIN_PAYLOAD"),
        "age": ("feature", "AS_JOIN_PAYLOAD"),
    },
}
TRAINING = ["psi/ecdh", "model/logistic", "model/woe", "model/scorecard", "model/boosting"]
ASSETS = {"lender": "lender/loans", "bureau": "bureau/people"}


class Owners:
    """A lender and a bureau whose job has trained a model that is published."""

    def __init__(self, running: ConsortiumInProcess, folder: Path) -> None:
        self.running = running
        for owner, table in TABLES.items():
            pyarrow.csv.write_csv(table, folder / f"{owner}.csv")
            self.client(owner).publish(
                {
                    "name": ASSETS[owner].partition("/")[2],
                    "title": owner,
                    "source": {"kind": "file", "location": str(folder / f"{owner}.csv")},
                    "columns": [
                        {"name": name, "role": role, "sensitivity": "internal", "control": control}
                        for name, (role, control) in CONTROLS[owner].items()
                    ],
                    "terms": self.terms(list(CONTROLS[owner])) | {"purposes": [PURPOSE, OTHER]},
                }
            )
        self.agree(operations=TRAINING, output_types=["aggregate", "cardinality"])
        self.job = self.train()
        self.agreement = self.agree(operations=["model/score"], output_types=["score/partial"])
        self.publish()

    def client(self, name: str) -> NodeClient:
        return self.running.client(name)

    def terms(self, columns: list[str]) -> dict[str, Any]:
        return {
            "operations": [*TRAINING, "model/score"],
            "columns": columns,
            "uses": 10_000,
            "expires": EXPIRES,
            "min_cohort": 1,
            "output_types": ["aggregate", "cardinality", "score/partial"],
        }

    def agree(self, **changes: Any) -> str:
        asked = {"asset": ASSETS["bureau"], "purpose": PURPOSE, **self.terms(list(CONTROLS["bureau"]))}
        made = self.client("lender").request_agreement(asked | {"uses": 100} | changes)
        agreement = self.client("bureau").approve(made["negotiation"], "a test")["agreement"]
        return str(self.client("lender").wait_agreement(agreement)["agreement"])

    def train(self) -> str:
        lender, bureau, helper = map(self.running.did, ("lender", "bureau", "regulator"))
        loans, people = ASSETS["lender"], ASSETS["bureau"]
        empty: dict[str, Any] = {"inputs": {}, "after": [], "params": {}, "recipients": [], "version": 1}
        match = empty | {
            "id": "match",
            "component": "psi/ecdh",
            "parties": {"left": lender, "right": bureau},
            "inputs": {"left": columns_of(loans, "person"), "right": columns_of(people, "id")},
            "params": {"normalise": {"left": [], "right": []}, "minimum_matches": 50},
        }
        training = {"label": "late", "min_cohort": 50, "batch": 256, "epochs": 8, "coefficients": "split"}
        train = empty | {
            "id": "train",
            "component": "model/logistic",
            "parties": {"owner-1": lender, "owner-2": bureau, "helper-1": helper},
            "inputs": {
                "owner-1": columns_of(loans, "late", "debt"),
                "owner-2": columns_of(people, "income", "age"),
            },
            "after": ["match"],
            "params": training,
            "recipients": [lender],
        }
        bins = {"label": "late", "iv": "split", "min_cohort": 20, "bins": 4}
        weigh = train | {"id": "weigh", "component": "model/woe", "params": bins}
        card = train | {"id": "card", "component": "model/scorecard", "after": ["match", "weigh"]}
        growing = {"label": "late", "min_cohort": 50, "trees": 3, "depth": 2}
        grow = train | {"id": "grow", "component": "model/boosting", "params": growing}
        grow["parties"] = {"owner-1": lender, "owner-2": bureau}
        read = empty | {"id": "read", "component": "model/part", "parties": {"reader": lender}}
        spec = {
            "v": 1,
            "job": new_id("job", system_clock),
            "title": "Who is late",
            "purpose": PURPOSE,
            "agreements": {people: self.client("lender").agreements()[-1]["agreement"]},
            "steps": [match, train, weigh, card, grow, read | {"after": ["train"]}],
        }
        job = str(self.client("lender").submit(spec)["job"])
        self.client("lender").wait_job(job, timeout_s=90)
        return job

    def publish(self, model: str = MODEL, step: str = "train", **changes: Any) -> int:
        """Draft a version, file the bureau's part, wait for both tables."""
        part = {"key": "person", "rules": ["trim", "upper"]}
        lender, bureau = self.client("lender"), self.client("bureau")
        made = lender.draft_model(model, job=self.job, step=step, purposes=[PURPOSE], part=part)
        version = int(made["version"])
        filed = {"key": "id", "rules": ["trim", "upper"], "fallback": "mean"}
        bureau.file_model_part(model, version, filed | changes)
        for node in (lender, bureau):
            node.wait_model(model, version, timeout_s=20)
        return version

    def part(self, owner: str) -> ModelPart:
        """The coefficients of an owner, as a test alone may see them."""
        return ModelPart.decode(self.left(owner, MODEL))

    def left(self, owner: str, model: str) -> bytes:
        """What the job has left at an owner's node."""
        services = self.running.nodes[owner].services
        kept = services.store.scoring.part(model, 1)
        assert kept is not None
        row = services.ledger.final("models", f"{model} 1")
        assert row is not None
        commitment = row["parts"][services.keys.did]["part"]
        return open_part(services.keys, model, 1, kept.sealed, commitment)

    def score(self, *persons: str, **more: Any) -> list[dict[str, Any]]:
        return self.client("lender").score(MODEL, persons, **({"purpose": PURPOSE, "wait_ms": 5000} | more))

    def report(self) -> None:
        self.running.nodes["bureau"]._scoring.reporter.report()


def columns_of(asset: str, *columns: str) -> dict[str, Any]:
    return {"asset": asset, "columns": [{"name": name, "decimals": 0} for name in columns]}


@pytest.fixture(scope="module")
def owners(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Owners]:
    folder = tmp_path_factory.mktemp("columns")
    with ConsortiumInProcess(tmp_path_factory.mktemp("consortium"), sources=[folder]) as running:
        yield Owners(running, folder)


@pytest.fixture
def run(
    owners: Owners, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Callable[..., Any]:
    monkeypatch.chdir(tmp_path)
    for profile in owners.running.profiles.values():
        profile.save(tmp_path)

    def made(*words: str, org: str = "lender", code: int = 0) -> Any:
        assert main([*words, "--org", org, "--home", str(tmp_path), "--format", "json"]) == code
        return json.loads(capsys.readouterr().out).get("data")

    return made


def expected(owners: Owners, person: int) -> float:
    """The log odds from the coefficients of both owners, in the clear."""
    values = {"debt": DEBT[person], "income": INCOME[person], "age": AGE[person]}
    total = 0.0
    for owner in ASSETS:
        part = owners.part(owner)
        total += float(part.intercept)
        lines = zip(part.columns, part.coefficients, part.means, part.deviations, strict=True)
        for name, coefficient, mean, deviation in lines:
            total += float(coefficient) * (values[name] - float(mean)) / float(deviation)
    return total


def test_scores_are_those_of_the_coefficients_in_the_clear(owners: Owners) -> None:
    found = owners.score("P060", " p199 ", "P240")
    for one, person in zip(found, (60, 199, 240), strict=True):
        assert one["score"] == pytest.approx(expected(owners, person), abs=1e-9)
        assert one["probability"] == pytest.approx(1 / (1 + math.exp(-one["score"])))
        assert (one["fallbacks"], one["missing"]) == ([], [])
    [again] = owners.score("P060", purpose=NARROWER, version=1)
    assert again["score"] == found[0]["score"]


def test_the_score_by_a_card_is_the_sum_of_the_points_of_a_persons_bins(owners: Owners) -> None:
    owners.publish(CARD, "card", reasons=2)
    cards = [OwnCard.decode(owners.left(owner, CARD)) for owner in ASSETS]
    values = {"debt": DEBT[60], "income": INCOME[60], "age": AGE[60]}
    points = {}
    for one in (one for card in cards for one in card.columns):
        place = np.searchsorted(one.binned.bins.edges, values[one.binned.name], side="right")
        points[one.binned.name] = float(one.points[place])
    total = sum(float(card.base) for card in cards) + sum(points.values())
    [found] = owners.client("lender").score(CARD, ["P060"], purpose=PURPOSE, wait_ms=5000)
    assert list(points) == ["debt", "income", "age"]
    assert found["score"] == total
    assert found["probability"] == pytest.approx(1 / (1 + 50 * 2 ** ((total - 600) / 20)))
    worst = sorted((points[name], name) for name in ("income", "age") if points[name] < 0)
    told = [(one["points"], one["column"]) for one in found["reasons"] if one["owner"] == "bureau"]
    assert told == worst
    with pytest.raises(NodeProblem, match="reasons: expected 0 of model/logistic"):
        owners.publish(reasons=2)
    assert found["fallbacks"] == []


def test_the_score_by_trees_is_that_of_the_trees_in_the_clear(owners: Owners) -> None:
    with pytest.raises(NodeProblem, match="fallback: expected none of model/boosting"):
        owners.publish(TREES, "grow")
    drafted = max(row["version"] for row in owners.client("lender").models() if row["model"] == TREES)
    filed = {"key": "id", "rules": ["trim", "upper"]}
    owners.client("bureau").file_model_part(TREES, drafted, filed)
    for name in ASSETS:
        owners.client(name).wait_model(TREES, drafted, timeout_s=20)
    first, second = (TreesPart.decode(owners.left(owner, TREES)) for owner in ASSETS)
    assert first.structure is not None
    assert second.own
    values = {"debt": DEBT, "income": INCOME, "age": AGE}
    expected = [first.structure.base[0]] * 3
    for at, person in enumerate((60, 199, 240)):
        for tree in first.structure.trees:
            node = 1
            while node in tree.splits:
                part = (first, second)[tree.splits[node].owner]
                split = part.own[tree.splits[node].record]
                node = 2 * node + (values[part.columns[split.column]][person] > split.threshold)
            expected[at] += tree.leaves[node]
    asked = ["P060", "P199", "P240", "P010"]
    *found, absent = owners.client("lender").score(TREES, asked, purpose=PURPOSE, wait_ms=5000)
    assert [one["score"] for one in found] == pytest.approx(expected)
    assert found[0]["probability"] == pytest.approx(1 / (1 + math.exp(-found[0]["score"])))
    assert (absent["score"], absent["missing"]) == (None, ["bureau"])


def test_a_person_without_a_row_at_another_owner_is_scored_at_its_mean_and_it_is_said(owners: Owners) -> None:
    [one] = owners.score("P010")
    part = owners.part("lender")
    debt = float(part.coefficients[0]) * (DEBT[10] - float(part.means[0])) / float(part.deviations[0])
    assert one["score"] == pytest.approx(float(part.intercept) + debt)
    assert one["fallbacks"] == ["bureau"]


def test_a_person_without_a_row_at_the_label_holder_has_no_score(owners: Owners) -> None:
    [one] = owners.score("P280")
    assert (one["score"], one["probability"], one["missing"]) == (None, None, ["lender"])


def test_the_ledger_has_who_asked_how_often_and_no_person_and_no_coefficient(owners: Owners) -> None:
    for _ in range(2):
        owners.score("P061", "P062", purpose=COUNTED)
    owners.report()
    owners.report()
    rows = owners.client("bureau").model_statement()
    [account] = [row for row in rows if row["purpose"] == COUNTED]
    counted = {name: account[name] for name in ("persons", "calls", "agreement")}
    assert counted == {"persons": 4, "calls": 2, "agreement": owners.agreement}
    entries = list(owners.client("regulator").entries(asset=MODEL))
    assert {"model.draft", "model.part", "model.receipt"} <= {entry["type"] for entry in entries}
    text = json.dumps(entries)
    assert "P061" not in text
    assert not any(number in text for owner in ASSETS for number in owners.part(owner).coefficients)
    agreements = owners.client("bureau").agreements()
    used = next(row for row in agreements if row["agreement"] == owners.agreement)["uses"]
    assert used == sum(row["persons"] for row in rows)
    [asked] = [one for one in owners.client("lender").score_questions() if one["purpose"] == COUNTED]
    assert (asked["calls"], asked["persons"]) == (2, 4)


def test_nobody_but_an_analyst_of_the_label_holder_is_answered(owners: Owners) -> None:
    for name in ("bureau", "analyst"):
        with pytest.raises(NodeProblem, match="the label holder alone"):
            owners.client(name).score(MODEL, ["P060"], PURPOSE)
    lender = owners.client("lender")
    kept = lender.profile.tokens["analyst"]
    lender.profile.tokens["analyst"] = lender.profile.tokens["auditor"]
    with pytest.raises(NodeProblem) as caught:
        owners.score("P060")
    lender.profile.tokens["analyst"] = kept
    assert caught.value.status == 403


def test_a_purpose_that_is_not_the_models_or_not_agreed_is_refused(owners: Owners) -> None:
    for purpose in (OTHER, "dpv:NoSuchPurpose"):
        with pytest.raises(NodeProblem, match="purpose"):
            owners.score("P060", purpose=purpose)


def test_more_persons_than_the_owner_lets_be_asked_about_in_a_day_are_refused(owners: Owners) -> None:
    questions = owners.client("lender").score_questions()
    asked = sum(one["persons"] for one in questions if one["model"] == MODEL)
    version = owners.publish(day=asked + 3)
    assert [one["missing"] for one in owners.score("P060", version=version)] == [[]]
    with pytest.raises(NodeProblem, match="persons a day are allowed"):
        owners.score(*["P060"] * 4, version=version)
    assert owners.client("bureau").withdraw_model(MODEL, version, "a test")["txid"]


def test_a_ticket_that_a_receipt_has_overtaken_is_signed_anew(
    owners: Owners, monkeypatch: pytest.MonkeyPatch
) -> None:
    links = owners.running.nodes["lender"]._scoring.links
    ask, sent = links.ask, list[bytes]()

    def overtaken(peer: Any, call: bytes, timeout_s: float, **how: Any) -> Any:
        sent.append(call)
        if len(sent) == 1:
            owners.score("P061")
            owners.report()
        return ask(peer, call, timeout_s, **how)

    monkeypatch.setattr(links, "ask", overtaken)
    [one] = owners.score("P060")
    assert one["fallbacks"] == []
    assert one["score"] == pytest.approx(expected(owners, 60))
    assert len(sent) == 3


def signed(owners: Owners, number: int, **changes: Any) -> dict[str, Any]:
    """A ticket of the label holder's, far ahead of those that its node signs."""
    ticket = {"v": 1, "net": "test.parley", "model": MODEL, "version": 1, "agreement": owners.agreement}
    ticket |= {"purpose": COUNTED, "number": 100_000 + number, "count": 1, "total": 10**6 + number}
    ticket |= {"time": format_time(system_clock()), **changes}
    keys = owners.running.nodes["lender"].keys
    return {**ticket, "sig": base64url.encode(keys.tx.sign(ticket_message(ticket)))}


def test_the_owners_node_answers_a_ticket_once_and_for_what_it_was_signed(owners: Owners) -> None:
    desk, lender = owners.running.nodes["bureau"]._scoring.desk, owners.running.did("lender")
    call = encode_call(signed(owners, 1), ("P060",))
    assert len(read_answer(desk.answer(lender, call), 1)) == 1
    for ticket, persons, code in (
        (signed(owners, 1), 1, "ticket.replayed"),
        (signed(owners, 2), 2, "ticket.wrong-count"),
        (signed(owners, 2) | {"count": 2}, 2, "ticket.bad-signature"),
        (signed(owners, 2, net="elsewhere"), 1, "ticket.wrong-net"),
        (signed(owners, 2, version=9), 1, "model.unknown"),
        (signed(owners, 2, purpose=OTHER), 1, "model.purpose"),
        (signed(owners, 2, time="2026-01-01T00:00:00Z"), 1, "ticket.stale"),
        (signed(owners, 2, count=101), 101, "agreement.uses-exhausted"),
    ):
        with pytest.raises(ScoreRefused) as caught:
            desk.answer(lender, encode_call(ticket, ("P060",) * persons))
        assert code in caught.value.codes, caught.value.codes
        assert "P060" not in str(caught.value)
    with pytest.raises(ScoreRefused, match="the agreement's consumer"):
        desk.answer(owners.running.did("analyst"), encode_call(signed(owners, 2), ("P060",)))
    for raw in (b"", b"{}", encode_call(signed(owners, 2), ()), encode_call(signed(owners, 2), ("",))):
        with pytest.raises(InvalidRequest):
            desk.answer(lender, raw)


def test_a_part_is_filed_only_for_whom_the_job_has_left_one(owners: Owners) -> None:
    lender, bureau, analyst = map(owners.client, ("lender", "bureau", "analyst"))
    by = {"purposes": [PURPOSE], "part": {"key": "person"}, "job": owners.job, "step": "train"}
    for act, words in (
        (lambda: lender.draft_model(MODEL, **by | {"step": "match"}), "trained no model"),
        (lambda: lender.draft_model("bureau/x", **by), "a name below lender/"),
        (lambda: bureau.draft_model("bureau/x", **by), "another owner holds the label"),
        (lambda: analyst.draft_model("analyst/x", **by), "has left nothing at this node"),
        (lambda: lender.draft_model(MODEL, **by | {"part": {"key": "name"}}), "key: expected a column"),
        (lambda: bureau.file_model_part(MODEL, 1, {"key": "id"}), "is filed"),
        (lambda: bureau.file_model_part(MODEL, 99, {"key": "id"}), "no version 99"),
    ):
        with pytest.raises(NodeProblem, match=words):
            act()


def test_the_commands_list_score_and_state(
    owners: Owners, run: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    assert MODEL in {row["model"] for row in run("model", "list", org="regulator")}
    assert run("model", "show", MODEL, "1")["status"] == "published"
    monkeypatch.setattr(sys, "stdin", io.StringIO("P070\n"))
    [one] = run("model", "score", MODEL, "--purpose", PURPOSE, "--wait-ms", "5000")
    assert one["score"] == pytest.approx(expected(owners, 70))
    words = ["model", "score", MODEL, "--purpose", PURPOSE, "--person", "P280", "--wait-ms", "5000"]
    assert run(*words, code=1)[0]["missing"] == ["lender"]
    assert run("model", "statement")
    drafted = run(
        "model", "draft", "lender/other", "--job", owners.job, "--purpose", PURPOSE, "--key", "person"
    )
    assert (drafted["status"], drafted["version"]) == ("draft", 1)
    filed = run("model", "file", "lender/other", "1", "--key", "id", "--fallback", "mean", org="bureau")
    assert filed["status"] == "published"
    assert run("model", "withdraw", "lender/other", "1", "--reason", "a test")["txid"]


def test_the_fallback_stands_for_an_owner_that_is_gone_and_a_withdrawn_version_scores_nobody(
    owners: Owners,
) -> None:
    [whole] = owners.score("P060")
    owners.running.nodes["bureau"]._listener.stop()
    [one] = owners.score("P060", wait_ms=300)
    assert one["fallbacks"] == ["bureau"]
    assert one["score"] != pytest.approx(whole["score"])
    owners.client("bureau").withdraw_model(MODEL, 1, "a test")
    owners.running.nodes["lender"].services.ledger.wait_until(
        lambda: owners.client("lender").model(MODEL, 1)["status"] == "withdrawn" or None, 5, "the withdrawal"
    )
    with pytest.raises(NodeProblem, match="no version of lender/late is published"):
        owners.score("P060")
