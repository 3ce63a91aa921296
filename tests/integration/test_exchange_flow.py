"""The exchange as a whole: publish, agree, compute, audit, refuse; and every bad input by name."""

from __future__ import annotations

import csv
import io
import sqlite3
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from exchange.errors import JobFailed, JobRefused
from exchange.sdk import NodeProblem
from ledger import bundle
from ledger.errors import InvalidBundle

pytestmark = pytest.mark.xdist_group("exchange-flow")


@pytest.fixture(scope="module")
def question(tmp_path_factory: pytest.TempPathFactory, make_question: Callable[..., Any]) -> Iterator[Any]:
    """A running consortium with published tables; tests add to it."""
    asked = make_question(tmp_path_factory.mktemp("exchange"))
    with asked.running:
        asked.publish()
        yield asked


def compute(question: Any, agreements: dict[str, str]) -> dict[str, Any]:
    analyst = question.client("analyst")
    job = analyst.submit(question.spec(agreements))["job"]
    analyst.wait_job(job, timeout_s=60)
    result, files = analyst.result(job)
    return {"job": job, "result": result, "files": files}


@pytest.fixture(scope="module")
def answered(question: Any) -> dict[str, Any]:
    """One completed job and its agreements."""
    agreements = question.agree(uses=1)
    return compute(question, agreements) | {"agreements": agreements}


def test_the_catalog_shows_assets_as_dcat_and_finds_them_by_word(question: Any) -> None:
    found = question.client("analyst").catalog("balance")
    assert [dataset["@id"] for dataset in found["dcat:dataset"]] == ["lender/loans"]
    assert found["dcat:dataset"][0]["parley:rows"] == 300


def test_the_joint_answer_equals_plaintext(question: Any, answered: dict[str, Any]) -> None:
    got = [
        (row["group"], row["count"], int(row["sums"]["arrears"]), int(row["sums"]["balance"]))
        for row in answered["result"]["groups"]
    ]
    assert got == question.plaintext()
    assert answered["result"]["suppressed_groups"] == 1


def test_the_result_comes_with_a_table_and_plots(answered: dict[str, Any]) -> None:
    rows = list(csv.reader(io.StringIO(answered["files"]["table.csv"].decode())))
    assert rows[0][:2] == ["band", "count"]
    assert answered["files"]["plot.png"].startswith(b"\x89PNG")


def test_every_party_signs_a_receipt_for_its_steps(question: Any, answered: dict[str, Any]) -> None:
    shown = question.client("regulator").entries(job=answered["job"], type_="receipt.step")
    receipts = [(entry["name"], entry["body"]["step"]) for entry in shown]
    assert sorted(receipts) == [
        ("analyst", "report"),
        ("bureau", "match"),
        ("bureau", "sums"),
        ("lender", "match"),
        ("lender", "sums"),
    ]


def test_a_use_beyond_the_agreed_number_is_refused_by_both_owners(
    question: Any, answered: dict[str, Any]
) -> None:
    analyst = question.client("analyst")
    job = analyst.submit(question.spec(answered["agreements"]))["job"]
    with pytest.raises(JobRefused) as caught:
        analyst.wait_job(job, timeout_s=60)
    assert "policy.count" in caught.value.codes
    refused: list[str] = []
    deadline = time.monotonic() + 60
    while len(refused) < 2:
        assert time.monotonic() < deadline, refused
        refused = [e["name"] for e in question.client("regulator").entries(job=job, type_="job.refuse")]
    assert sorted(refused) == ["bureau", "lender"]


def test_another_purpose_is_refused_and_the_reason_is_on_the_ledger(
    question: Any, answered: dict[str, Any]
) -> None:
    analyst = question.client("analyst")
    job = analyst.submit(question.spec(answered["agreements"], purpose="dpv:DirectMarketing"))["job"]
    with pytest.raises(JobRefused) as caught:
        analyst.wait_job(job, timeout_s=60)
    assert "policy.purpose" in caught.value.codes
    entry = next(iter(question.client("regulator").entries(job=job, type_="job.refuse")))
    assert "DirectMarketing" in " ".join(entry["body"]["reasons"])


def test_the_regulator_finds_the_trail_by_asset_and_by_participant(
    question: Any, answered: dict[str, Any]
) -> None:
    regulator = question.client("regulator")
    by_asset = {entry["type"] for entry in regulator.entries(asset="lender/loans")}
    assert {"asset.publish", "negotiation.request"} <= by_asset
    by_party = {entry["type"] for entry in regulator.entries(participant="lender")}
    assert {"asset.publish", "negotiation.agree", "job.start", "receipt.step", "job.release"} <= by_party


def test_the_exported_evidence_verifies_and_a_changed_byte_is_named(
    question: Any, answered: dict[str, Any]
) -> None:
    data = question.client("regulator").export_bundle(assets=["lender/loans"], jobs=[answered["job"]])
    report = bundle.verify(data, question.client("regulator").node()["genesis"])
    assert report.size > 0
    altered = bytearray(data)
    altered[len(data) // 2] ^= 1
    with pytest.raises(InvalidBundle):
        bundle.verify(bytes(altered), None)


def test_submitting_the_same_specification_again_changes_nothing(question: Any) -> None:
    spec = question.spec(question.agree(uses=1), purpose="dpv:DirectMarketing")
    analyst = question.client("analyst")
    first = analyst.submit(spec)
    with pytest.raises(JobRefused):
        analyst.wait_job(first["job"], timeout_s=60)
    before = question.written("job.submit")
    assert analyst.submit(spec) == first
    assert question.written("job.submit") == before


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"source": {"kind": "file", "location": "missing.csv"}}, "missing.csv"),
        ({"columns": [("nobody_has_this", "identifier")]}, "nobody_has_this"),
        ({"columns": [("customer_id", "passport")]}, "passport"),
        ({"name": "UPPER"}, "name"),
        ({"surprise": 1}, "surprise"),
        ({"terms": {"uses": 0}}, "terms"),
    ],
)
def test_a_bad_publication_is_refused_by_name_and_writes_nothing(
    question: Any, change: dict[str, Any], words: str
) -> None:
    asset: dict[str, Any] = {
        "name": "bad",
        "title": "Bad",
        "source": {"kind": "file", "location": str(question.data / "loans.csv")},
        "columns": [("customer_id", "identifier")],
        "terms": _terms(),
    } | change
    asset["columns"] = [
        {"name": name, "role": role, "sensitivity": "internal", "control": "AFTER_JOIN"}
        for name, role in asset["columns"]
    ]
    if asset["source"]["location"] == "missing.csv":
        asset["source"]["location"] = str(question.data / "missing.csv")
    if asset["terms"] == {"uses": 0}:
        words = "uses"
        asset["terms"] = _terms() | {"uses": 0}
    before = question.written("asset.publish")
    with pytest.raises(NodeProblem) as caught:
        question.client("lender").publish(asset)
    assert words in str(caught.value)
    assert question.written("asset.publish") == before


def _terms() -> dict[str, Any]:
    return {
        "purposes": ["dpv:CustomerSolvencyMonitoring"],
        "operations": ["psi/ecdh"],
        "columns": ["customer_id"],
        "uses": 1,
        "expires": "2099-01-01T00:00:00Z",
        "min_cohort": 10,
        "output_types": ["cardinality"],
    }


@pytest.mark.parametrize(
    ("rows", "code"),
    [
        ([], "connectors.empty-table"),
        ([("a1",), ("a1",)], "connectors.duplicate-identifiers"),
        ([("a1",), (" ",)], "connectors.empty-identifiers"),
    ],
)
def test_unusable_rows_are_refused_and_never_shown(
    question: Any, tables: Path, rows: list[tuple[str]], code: str
) -> None:
    path = tables / f"{code}.sqlite"
    with sqlite3.connect(path) as database:
        database.execute("create table people (customer_id text)")
        database.executemany("insert into people values (?)", rows)
    database.close()
    before = question.written("asset.publish")
    with pytest.raises(NodeProblem) as caught:
        question.client("lender").publish(
            {
                "name": "bad-rows",
                "title": "Bad rows",
                "source": {"kind": "table", "location": f"sqlite:///{path}", "table": "people"},
                "columns": [
                    {
                        "name": "customer_id",
                        "role": "identifier",
                        "sensitivity": "internal",
                        "control": "AFTER_JOIN",
                    }
                ],
                "terms": _terms(),
            }
        )
    assert caught.value.code == code
    assert "a1" not in str(caught.value)
    assert question.written("asset.publish") == before


def test_a_job_with_an_unknown_field_is_refused_by_name(question: Any) -> None:
    spec = question.spec({}) | {"priority": "high"}
    before = question.written("job.submit")
    with pytest.raises(NodeProblem, match="priority"):
        question.client("analyst").submit(spec)
    assert question.written("job.submit") == before


def test_a_request_beyond_the_offer_cannot_be_approved(question: Any) -> None:
    asked = question.client("analyst").request_agreement(
        question.request("lender/loans", ["customer_id", "balance"], uses=99, min_cohort=2)
    )
    assert len(asked["beyond_offer"]) == 2
    with pytest.raises(NodeProblem) as caught:
        question.client("lender").approve(asked["negotiation"], "careless")
    assert "uses" in str(caught.value)
    assert "min_cohort" in str(caught.value)


def test_a_token_opens_its_own_role_only(question: Any) -> None:
    analyst = question.client("analyst")
    stolen = analyst.profile.tokens["auditor"]
    analyst.profile.tokens["steward"] = stolen
    with pytest.raises(NodeProblem) as caught:
        analyst.withdraw("analyst/none", "try")
    assert caught.value.status == 403


def test_data_that_changed_after_publishing_is_not_computed_on(question: Any, tables: Path) -> None:
    path = tables / "changing.sqlite"
    with sqlite3.connect(path) as database:
        database.execute("create table people (customer_id text, arrears integer, balance integer)")
        database.executemany(
            "insert into people values (?, ?, ?)", [(f"zq {i:05d}", i % 2, i) for i in range(100)]
        )
    lender = question.client("lender")
    columns = ["customer_id", "arrears", "balance"]
    roles = [("identifier", "AFTER_JOIN"), ("label", "AFTER_AGGREGATE"), ("measure", "AFTER_AGGREGATE")]
    lender.publish(
        {
            "name": "changing",
            "title": "Changing",
            "source": {"kind": "table", "location": f"sqlite:///{path}", "table": "people"},
            "columns": [
                {"name": name, "role": role, "sensitivity": "internal", "control": control}
                for name, (role, control) in zip(columns, roles, strict=True)
            ],
            "terms": _terms()
            | {
                "columns": columns,
                "operations": ["psi/ecdh", "stats/group-sums"],
                "output_types": ["aggregate"],
                "uses": 5,
            },
        }
    )
    agreements = question.agree(uses=2)
    asked = question.client("analyst").request_agreement(
        question.request("lender/changing", columns, uses=2) | {"output_types": ["aggregate"]}
    )
    del agreements["lender/loans"]
    agreements["lender/changing"] = lender.approve(asked["negotiation"], "a test")["agreement"]
    with sqlite3.connect(path) as database:
        database.execute("update people set balance = balance + 1 where customer_id = 'zq 00001'")
    database.close()
    spec = question.spec(agreements)
    for step in spec["steps"][:2]:
        role = next(role for role, given in step["inputs"].items() if given["asset"] == "lender/loans")
        step["inputs"][role]["asset"] = "lender/changing"
    analyst = question.client("analyst")
    job = analyst.submit(spec)["job"]
    with pytest.raises(JobFailed):
        analyst.wait_job(job, timeout_s=60)
    assert analyst.job(job)["failure"]["code"] == "connectors.dataset-changed"
