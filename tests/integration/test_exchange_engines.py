"""The fast intersection as a job through hub and nodes: the same answer, its engine named, nothing left."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet
import pytest

from mpc.engines import spu

pytestmark = [
    pytest.mark.xdist_group("exchange-engines"),
    pytest.mark.skipif(spu.version() is None, reason="SPU is not installed"),
]
TORCH = Path(__file__).parents[1] / "vectors" / "torch_network"
PURPOSE = "dpv:CustomerSolvencyMonitoring"
OPERATIONS = ["psi/rr22", "stats/group-sums", "compute/expression-aby3", "compute/expression-cheetah"]


@pytest.fixture(scope="module")
def question(tmp_path_factory: pytest.TempPathFactory, make_question: Callable[..., Any]) -> Iterator[Any]:
    """A running consortium whose owners allow the fast intersection."""
    asked = make_question(tmp_path_factory.mktemp("engines"))
    with asked.running:
        asked.publish(operations=OPERATIONS)
        yield asked


@pytest.fixture(scope="module")
def fresh(tmp_path_factory: pytest.TempPathFactory, make_question: Callable[..., Any]) -> Iterator[Any]:
    """Another consortium: what differs a little from an earlier release is refused."""
    asked = make_question(tmp_path_factory.mktemp("queries"))
    with asked.running:
        asked.publish(operations=OPERATIONS)
        yield asked


def spec_of(question: Any) -> dict[str, Any]:
    spec: dict[str, Any] = question.spec(question.agree(operations=OPERATIONS))
    spec["steps"][0] |= {"component": "psi/rr22"}
    return spec


def test_a_joint_answer_over_the_fast_intersection_equals_plaintext(question: Any) -> None:
    analyst = question.client("analyst")
    job = analyst.submit(spec_of(question))["job"]
    analyst.wait_job(job, timeout_s=60)
    result, _ = analyst.result(job)
    got = [
        (row["group"], row["count"], int(row["sums"]["arrears"]), int(row["sums"]["balance"]))
        for row in result["groups"]
    ]
    assert got == question.plaintext()
    receipts = list(question.client("regulator").entries(job=job, type_="receipt.step"))
    engines = {(entry["body"]["step"], entry["body"]["engine"]) for entry in receipts}
    assert ("match", f"spu {spu.version()}") in engines
    assert all(entry["body"]["bytes_sent"] > 0 for entry in receipts if entry["body"]["step"] == "match")
    for name in ("lender", "bureau"):
        spool = question.running.root / name / "spool"
        assert spool.stat().st_mode & 0o777 == 0o700
        assert list(spool.iterdir()) == []


def expression_spec(question: Any, component: str, parties: dict[str, str]) -> dict[str, Any]:
    """Sums by band where the balance is above the number of arrears, on SPU's runtime."""
    spec = spec_of(question)
    match, _, report = spec["steps"]
    lender, bureau, analyst = (question.running.did(name) for name in ("lender", "bureau", "analyst"))
    query = {
        "id": "query",
        "component": component,
        "version": 1,
        "parties": {"owner-1": lender, "owner-2": bureau, **parties},
        "inputs": {
            "owner-1": {
                "asset": "lender/loans",
                "columns": [{"name": name, "decimals": 0} for name in ("arrears", "balance")],
            },
            "owner-2": {"asset": "bureau/people", "columns": [{"name": "band", "decimals": 0}]},
        },
        "after": ["match"],
        "params": {
            "columns": {
                "owner1.arrears": {"kind": "number", "lower": "0", "upper": "1000"},
                "owner1.balance": {"kind": "number", "lower": "0", "upper": "10000000000000"},
                "owner2.band": {"kind": "category", "labels": ["high", "low", "rare"]},
            },
            "by": [{"name": "band", "of": "band"}],
            "figures": [{"name": name, "figure": "sum", "of": name} for name in ("arrears", "balance")],
            "min_cohort": 10,
        },
        "recipients": [analyst],
    }
    reader = report | {"component": "report/result", "after": ["query"], "params": {}}
    return spec | {"steps": [match, query, reader]}


@pytest.mark.slow
@pytest.mark.parametrize(
    ("component", "helper"),
    [("compute/expression-aby3", True), ("compute/expression-cheetah", False)],
    ids=["aby3", "cheetah"],
)
def test_a_query_on_shares_equals_plaintext(fresh: Any, component: str, helper: bool) -> None:
    parties = {"helper-1": fresh.running.did("regulator")} if helper else {}
    analyst = fresh.client("analyst")
    job = analyst.submit(expression_spec(fresh, component, parties))["job"]
    analyst.wait_job(job, timeout_s=300)
    result, _ = analyst.result(job)
    shown = [(row[0], row[1], int(row[2]), int(row[3])) for row in result["rows"] if row[1] is not None]
    assert shown == fresh.plaintext()
    receipts = fresh.client("regulator").entries(job=job, type_="receipt.step")
    engines = {entry["body"]["engine"] for entry in receipts if entry["body"]["step"] == "query"}
    assert engines == {f"spu {spu.version()}"}


@pytest.mark.slow
def test_a_network_of_torch_scores_rows_as_torch_does_and_nobody_else_has_the_scores(question: Any) -> None:
    """The bureau's network, the analyst's rows, a helper; the network stays a document of its owner."""
    torch = json.loads((TORCH / "scores.json").read_text())
    names = ["first", "second", "third"]
    shutil.copy(TORCH / "network.safetensors", question.data)
    rows = pa.table({name: [row[at] for row in torch["rows"]] for at, name in enumerate(names)})
    pyarrow.parquet.write_table(rows, question.data / "rows.parquet")
    terms = {
        "purposes": [PURPOSE],
        "operations": ["model/inference-aby3"],
        "uses": 1,
        "expires": "2099-01-01T00:00:00Z",
        "min_cohort": 20,
        "output_types": ["scores"],
    }
    for owner, name, source, columns in (
        ("bureau", "network", ("document", "network.safetensors"), {"content": ("text", "AFTER_AGGREGATE")}),
        ("analyst", "rows", ("file", "rows.parquet"), dict.fromkeys(names, ("feature", "ENCRYPTED_ONLY"))),
    ):
        kind, file = source
        described = [
            {"name": column, "role": role, "sensitivity": "confidential", "control": control}
            for column, (role, control) in columns.items()
        ]
        question.client(owner).publish(
            {
                "name": name,
                "title": name,
                "source": {"kind": kind, "location": str(question.data / file)},
                "columns": described,
                "terms": {**terms, "columns": list(columns)},
            }
        )
    analyst = question.client("analyst")
    asked = {key: value for key, value in terms.items() if key != "purposes"} | {"purpose": PURPOSE}
    negotiation = analyst.request_agreement({**asked, "asset": "bureau/network", "columns": ["content"]})
    agreement = question.client("bureau").approve(negotiation["negotiation"], "a test")["agreement"]
    analyst.wait_agreement(agreement)
    scoring = {
        "id": "score",
        "component": "model/inference-aby3",
        "version": 1,
        "parties": {
            role: question.running.did(name)
            for role, name in (("client", "analyst"), ("model_owner", "bureau"), ("helper", "regulator"))
        },
        "inputs": {
            "client": {
                "asset": "analyst/rows",
                "columns": [{"name": name, "decimals": 0} for name in names],
            },
            "model_owner": {"asset": "bureau/network", "columns": [{"name": "content", "decimals": 0}]},
        },
        "after": [],
        "params": {"layers": torch["layers"], "bound": "2.0", "min_cohort": 20, "max_rows": 25},
        "recipients": [question.running.did("analyst")],
    }
    spec = question.spec({"bureau/network": agreement}) | {"steps": [scoring]}
    job = analyst.submit(spec)["job"]
    analyst.wait_job(job, timeout_s=300)
    result, _ = analyst.result(job)
    assert [float(score) for _, score in result["rows"]] == pytest.approx(torch["scores"], abs=2e-6)
    receipts = list(question.client("regulator").entries(job=job, type_="receipt.step"))
    assert {entry["body"]["engine"] for entry in receipts} == {f"spu {spu.version()}"}
    assert sorted(entry["body"]["role"] for entry in receipts) == ["client", "helper", "model_owner"]
    assert list(question.client("regulator").entries(job=job, type_="job.release")) == []
    for name in ("analyst", "bureau", "regulator"):
        (cost,) = question.client(name).job(job)["costs"]
        assert 0.5 < cost["actual"]["sent_bytes"] / cost["expected"]["sent_bytes"] < 2
    for name in ("analyst", "bureau", "regulator"):
        assert list((question.running.root / name / "spool").iterdir()) == []


def test_a_node_says_which_engines_it_has(question: Any) -> None:
    engines = {engine["name"]: engine for engine in question.client("lender").node()["engines"]}
    assert engines["spu"] == {"name": "spu", "version": spu.version(), "install": "pip install '.[spu]'"}
    assert engines["parley"]["version"]
