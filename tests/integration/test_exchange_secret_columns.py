"""A query over columns of two owners and a helper, as a job through hub and nodes."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import duckdb
import numpy as np
import pyarrow as pa
import pyarrow.csv
import pytest

from exchange.errors import JobFailed, JobRefused
from exchange.sdk import NodeProblem
from exchange.testing import ConsortiumInProcess
from ledger.entries import new_id
from ledger.times import system_clock

PURPOSE = "dpv:CustomerSolvencyMonitoring"
EXPIRES = "2099-01-01T00:00:00Z"
RNG = np.random.Generator(np.random.PCG64(5))
LOANS = pa.table({"person": [f"p{i:03d}" for i in range(120)], "debt": RNG.integers(0, 9_000, 120)})
PEOPLE = pa.table(
    {
        "id": [f"p{i:03d}" for i in range(40, 160)],
        "income": RNG.integers(500, 5_000, 120),
        "region": ["north" if i % 3 else "south" if i > 45 else "islands" for i in range(40, 160)],
    }
)
CONTROLS = {
    "lender": {"person": ("identifier", "AFTER_JOIN"), "debt": ("measure", "AFTER_AGGREGATE")},
    "bureau": {
        "id": ("identifier", "AFTER_JOIN"),
        "income": ("measure", "AFTER_AGGREGATE"),
        "region": ("group", "AFTER_GROUP_BY"),
    },
}
NAMES = {"lender": "loans", "bureau": "people"}
OPERATIONS = ["psi/ecdh", "psi/shared", "compute/expression"]
KINDS: dict[str, dict[str, Any]] = {
    "debt": {"kind": "number", "lower": "0", "upper": "10000"},
    "income": {"kind": "number", "lower": "1", "upper": "5000"},
    "region": {"kind": "category", "labels": ["islands", "north", "south"]},
}
HIDDEN = KINDS | {"income": {"kind": "number", "lower": "0", "upper": "5000"}}
"""Of columns whose rows nobody knows: bounds include 0."""


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ConsortiumInProcess]:
    folder = tmp_path_factory.mktemp("columns")
    pyarrow.csv.write_csv(LOANS, folder / "lender.csv")
    pyarrow.csv.write_csv(PEOPLE, folder / "bureau.csv")
    with ConsortiumInProcess(tmp_path_factory.mktemp("consortium"), sources=[folder]) as consortium:
        for owner, controls in CONTROLS.items():
            consortium.client(owner).publish(
                {
                    "name": NAMES[owner],
                    "title": NAMES[owner],
                    "source": {"kind": "file", "location": str(folder / f"{owner}.csv")},
                    "columns": [
                        {"name": name, "role": role, "sensitivity": "internal", "control": control}
                        for name, (role, control) in controls.items()
                    ],
                    "terms": _terms(list(controls)) | {"purposes": [PURPOSE], "uses": 50},
                }
            )
        yield consortium


@pytest.fixture(scope="module")
def agreements(running: ConsortiumInProcess) -> dict[str, str]:
    found = {}
    for owner, controls in CONTROLS.items():
        asset = f"{owner}/{NAMES[owner]}"
        asked = {"asset": asset, "purpose": PURPOSE, **_terms(list(controls))}
        negotiation = running.client("analyst").request_agreement(asked)["negotiation"]
        found[asset] = str(running.client(owner).approve(negotiation, "a test")["agreement"])
    return found


def _terms(columns: list[str]) -> dict[str, Any]:
    return {
        "operations": OPERATIONS,
        "columns": columns,
        "uses": 20,
        "expires": EXPIRES,
        "min_cohort": 5,
        "output_types": ["aggregate", "cardinality"],
    }


def _step(id_: str, component: str, parties: dict[str, str], **more: Any) -> dict[str, Any]:
    empty: dict[str, Any] = {"inputs": {}, "after": [], "params": {}, "recipients": []}
    return {"id": id_, "component": component, "version": 1, "parties": parties, **empty, **more}


def _input(asset: str, *columns: str) -> dict[str, Any]:
    return {"asset": asset, "columns": [{"name": name, "decimals": 0} for name in columns]}


def _aligned(at: ConsortiumInProcess) -> dict[str, Any]:
    """Both owners learn which of their rows match."""
    lender, bureau = map(at.did, ("lender", "bureau"))
    return _step(
        "match",
        "psi/ecdh",
        {"left": lender, "right": bureau},
        inputs={"left": _input("lender/loans", "person"), "right": _input("bureau/people", "id")},
        params={"normalise": {"left": [], "right": []}, "minimum_matches": 10},
    )


def _hidden(at: ConsortiumInProcess) -> dict[str, Any]:
    """No owner learns which of its rows match: these and their columns stay in shares."""
    lender, bureau, helper = map(at.did, ("lender", "bureau", "regulator"))
    declared = {"left.debt": "debt", "right.income": "income", "right.region": "region"}
    return _step(
        "match",
        "psi/shared",
        {"left": lender, "right": bureau, "helper": helper},
        inputs={
            "left": _input("lender/loans", "person", "debt"),
            "right": _input("bureau/people", "id", "income", "region"),
        },
        params={
            "normalise": {"left": [], "right": []},
            "columns": {name: HIDDEN[column] for name, column in declared.items()},
            "minimum_matches": 10,
        },
    )


def ask(
    at: ConsortiumInProcess,
    agreements: dict[str, str],
    params: dict[str, Any],
    match: dict[str, Any] | None = None,
) -> dict[str, Any]:
    lender, bureau, helper, analyst = map(at.did, ("lender", "bureau", "regulator", "analyst"))
    kinds = KINDS if match is None else HIDDEN
    query = _step(
        "query",
        "compute/expression",
        {"owner-1": lender, "owner-2": bureau, "helper-1": helper},
        inputs={
            "owner-1": _input("lender/loans", "debt"),
            "owner-2": _input("bureau/people", "income", "region"),
        },
        after=["match"],
        params={
            "columns": {
                "owner1.debt": kinds["debt"],
                "owner2.income": kinds["income"],
                "owner2.region": kinds["region"],
            },
            "min_cohort": 5,
        }
        | params,
        recipients=[analyst],
    )
    read = _step("read", "report/result", {"reader": analyst}, after=["query"])
    spec = {
        "v": 1,
        "job": new_id("job", system_clock),
        "title": "Debt and income",
        "purpose": PURPOSE,
        "agreements": agreements,
        "steps": [_aligned(at) if match is None else match, query, read],
    }
    job = at.client("analyst").submit(spec)["job"]
    at.client("analyst").wait_job(job, timeout_s=60)
    return {"job": job, **at.client("analyst").result(job)[0]}


def test_the_answer_of_a_job_equals_plaintext_and_a_small_group_is_left_out(
    running: ConsortiumInProcess, agreements: dict[str, str]
) -> None:
    answer = ask(
        running,
        agreements,
        {
            "where": "debt > income",
            "by": [{"name": "place", "of": "region"}],
            "figures": [
                {"name": "owed", "figure": "sum", "of": "debt - income"},
                {"name": "ratio", "figure": "mean", "of": "debt / income"},
            ],
        },
    )
    with duckdb.connect() as database:
        database.register("l", LOANS)
        database.register("p", PEOPLE)
        expected = database.sql(
            """select region, count(*), sum(debt - income)::bigint, avg(debt / income) from l join p
               on person = id where debt > income group by 1 having count(*) >= 5 order by 1"""
        ).fetchall()
    assert answer["columns"] == ["place", "rows", "owed", "ratio"]
    assert answer["rows"][0] == ["islands", None, None, None]
    assert [(row[0], row[1], int(row[2])) for row in answer["rows"][1:]] == [row[:3] for row in expected]
    for row, other in zip(answer["rows"][1:], expected, strict=True):
        assert float(row[3]) == pytest.approx(other[3], abs=1e-5)
    shown = running.client("regulator").entries(job=answer["job"], type_="receipt.step")
    receipts = sorted((entry["name"], entry["body"]["step"]) for entry in shown)
    assert ("regulator", "query") in receipts
    assert len(receipts) == 6


def test_a_value_outside_its_bounds_fails_the_job_by_count(
    running: ConsortiumInProcess, agreements: dict[str, str]
) -> None:
    narrow = {
        "owner1.debt": {"kind": "number", "lower": "0", "upper": "10"},
        "owner2.income": {"kind": "number", "lower": "1", "upper": "5000"},
        "owner2.region": {"kind": "category", "labels": ["islands", "north", "south"]},
    }
    with pytest.raises(JobFailed):
        ask(running, agreements, {"columns": narrow})


def test_a_wrong_expression_is_refused_before_anything_runs(
    running: ConsortiumInProcess, agreements: dict[str, str]
) -> None:
    with pytest.raises(NodeProblem, match="character 8"):
        ask(running, agreements, {"where": "debt > region"})


def test_column_control_refuses_an_extreme_of_a_column_that_may_only_be_summed(
    running: ConsortiumInProcess, agreements: dict[str, str]
) -> None:
    with pytest.raises(JobRefused):
        ask(running, agreements, {"figures": [{"name": "most", "figure": "maximum", "of": "debt"}]})


QUESTION: dict[str, Any] = {
    "where": "debt > income",
    "by": [{"name": "place", "of": "region"}],
    "figures": [
        {"name": "owed", "figure": "sum", "of": "debt - income"},
        {"name": "mean", "figure": "mean", "of": "debt"},
    ],
}


def test_a_query_over_rows_that_nobody_learns_equals_plaintext(
    running: ConsortiumInProcess, agreements: dict[str, str]
) -> None:
    answer = ask(running, agreements, QUESTION, _hidden(running))
    with duckdb.connect() as database:
        database.register("l", LOANS)
        database.register("p", PEOPLE)
        expected = database.sql(
            """select region, count(*), sum(debt - income)::bigint, avg(debt) from l join p on person = id
               where debt > income group by 1 having count(*) >= 5 order by 1"""
        ).fetchall()
    assert answer["columns"] == ["place", "rows", "owed", "mean"]
    assert answer["rows"][0] == ["islands", None, None, None]
    assert [(row[0], row[1], int(row[2])) for row in answer["rows"][1:]] == [row[:3] for row in expected]
    for row, other in zip(answer["rows"][1:], expected, strict=True):
        assert float(row[3]) == pytest.approx(other[3], abs=1e-5)
    shown = running.client("regulator").entries(job=answer["job"], type_="receipt.step")
    receipts = sorted((entry["name"], entry["body"]["step"]) for entry in shown)
    assert receipts == sorted(
        [(name, step) for name in ("bureau", "lender", "regulator") for step in ("match", "query")]
        + [("analyst", "read")]
    )


def test_where_the_number_of_matches_is_told_a_small_group_takes_the_next_smallest_along(
    running: ConsortiumInProcess, agreements: dict[str, str]
) -> None:
    match = _hidden(running) | {"recipients": [running.did("analyst")]}
    answer = ask(running, agreements, QUESTION, match)
    counts = [row[1] for row in answer["rows"]]
    assert [row[0] for row in answer["rows"]] == ["islands", "north", "south"]
    assert counts[0] is counts[2] is None
    assert counts[1] >= 5


def test_a_query_after_rows_that_are_not_aligned_is_refused_before_anything_runs(
    running: ConsortiumInProcess, agreements: dict[str, str]
) -> None:
    match = _aligned(running)
    match["params"]["join"] = "left"
    with pytest.raises(NodeProblem, match=r"steps\.match\.params\.join: expected inner, as step query"):
        ask(running, agreements, {}, match)


def test_a_query_with_another_helper_than_the_one_that_holds_shares_is_refused(
    running: ConsortiumInProcess, agreements: dict[str, str]
) -> None:
    match = _hidden(running)
    match["parties"]["helper"] = running.did("analyst")
    with pytest.raises(NodeProblem, match=r"steps\.query\.parties\.helper-1"):
        ask(running, agreements, {}, match)


def test_column_control_holds_for_hidden_rows_as_for_known_ones(
    running: ConsortiumInProcess, agreements: dict[str, str]
) -> None:
    picked = {"figures": [{"name": "most", "figure": "maximum", "of": "debt"}]}
    with pytest.raises(JobRefused):
        ask(running, agreements, picked, _hidden(running))
