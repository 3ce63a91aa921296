"""SQL through hub and nodes: explained, decided on, computed, opened by who asked alone; and refused."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import date, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import duckdb
import pyarrow as pa
import pyarrow.parquet
import pytest

from exchange.cli import main
from exchange.errors import JobRefused
from exchange.sdk import NodeProblem
from exchange.testing import ConsortiumInProcess
from mpc.engines import spu

pytestmark = pytest.mark.xdist_group("exchange-sql")

PURPOSE = "dpv:CustomerSolvencyMonitoring"
OPERATIONS = ["sql/query", "sql/query-rr22", "sql/rows"]
NAMES = ("lender", "bureau", "tax", "analyst", "regulator")
SCHEMAS = {
    "lender/loans": {
        "customer_id": ("identifier", "AFTER_JOIN"),
        "balance": ("measure", "AFTER_AGGREGATE"),
        "opened": ("time", "AFTER_COMPARE"),
        "arrears": ("measure", "AFTER_AGGREGATE"),
    },
    "bureau/people": {
        "person_id": ("identifier", "AFTER_JOIN"),
        "band": ("group", "AFTER_GROUP_BY"),
        "income": ("measure", "AFTER_AGGREGATE"),
    },
    "tax/returns": {
        "taxpayer": ("identifier", "AFTER_JOIN"),
        "paid": ("measure", "AS_JOIN_PAYLOAD"),
    },
    "lender/open": {"id": ("identifier", "AFTER_JOIN"), "amount": ("measure", "AS_JOIN_PAYLOAD")},
    "bureau/open": {"id": ("identifier", "AFTER_JOIN"), "city": ("group", "AS_JOIN_PAYLOAD")},
}
LET_ROWS_OUT = ("lender/open", "bureau/open")
JOIN = "FROM lender.loans l JOIN bureau.people b ON l.customer_id = b.person_id"
THREE = f"{JOIN} JOIN tax.returns t ON b.person_id = t.taxpayer"


def tables() -> dict[str, pa.Table]:
    rows = 120
    return {
        "lender/loans": pa.table(
            {
                "customer_id": [f"p{i:03d}" for i in range(rows)],
                "balance": pa.array(
                    [None if i % 17 == 0 else Decimal(i * 731 - 4000).scaleb(-2) for i in range(rows)],
                    pa.decimal128(12, 2),
                ),
                "arrears": [i % 5 for i in range(rows)],
                "opened": [date(2020, 1, 1) + timedelta(days=9 * i) for i in range(rows)],
            }
        ),
        "bureau/people": pa.table(
            {
                "person_id": [f"p{i:03d}" for i in range(10, rows + 10)],
                "band": ["low" if i < 50 else "high" if i < 112 else "rare" for i in range(10, rows + 10)],
                "income": [i * 37 % 500 for i in range(rows)],
            }
        ),
        "tax/returns": pa.table(
            {
                "taxpayer": [f"p{i:03d}" for i in range(0, rows + 20, 2)],
                "paid": [i * 11 for i in range(0, rows + 20, 2)],
            }
        ),
        "lender/open": pa.table(
            {"id": [f"q{i}" for i in range(30)], "amount": [i * 7 % 40 for i in range(30)]}
        ),
        "bureau/open": pa.table(
            {"id": [f"q{i}" for i in range(5, 40)], "city": ["北京" if i % 3 else None for i in range(5, 40)]}
        ),
    }


@dataclass(frozen=True)
class Asked:
    """A consortium with three owners' tables and the analyst's agreements for them."""

    running: ConsortiumInProcess
    tables: dict[str, pa.Table]

    def client(self, name: str) -> Any:
        return self.running.client(name)

    def run(self, query: str, **options: Any) -> dict[str, Any]:
        analyst = self.client("analyst")
        explained = analyst.explain_sql(query, purpose=PURPOSE, **options)
        job = analyst.submit(explained["spec"])["job"]
        analyst.wait_job(job, timeout_s=90)
        return dict(analyst.result(job)[0])

    def pooled(self, query: str) -> list[tuple[Any, ...]]:
        with duckdb.connect() as database:
            for asset, table in self.tables.items():
                owner, name = asset.split("/")
                database.execute(f"CREATE SCHEMA IF NOT EXISTS {owner}")
                database.register("given", table)
                database.execute(f"CREATE TABLE {owner}.{name} AS SELECT * FROM given")  # noqa: S608 - of this test
                database.unregister("given")
            return database.sql(query).fetchall()


@pytest.fixture(scope="module")
def asked(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Asked]:
    folder = tmp_path_factory.mktemp("sql-tables")
    made = tables()
    for asset, table in made.items():
        pyarrow.parquet.write_table(table, folder / f"{asset.replace('/', '-')}.parquet")
    running = ConsortiumInProcess(tmp_path_factory.mktemp("sql"), names=NAMES, sources=[folder])
    with running:
        for profile in running.profiles.values():
            profile.save(running.root)
        question = Asked(running, made)
        for asset in made:
            publish_and_agree(question, asset, folder)
        yield question


def publish_and_agree(asked: Asked, asset: str, folder: Path) -> None:
    owner, name = asset.split("/")
    columns = list(SCHEMAS[asset])
    terms = {"purposes": [PURPOSE], "operations": OPERATIONS, "columns": columns, "uses": 50}
    shown = {"min_cohort": 10, "output_types": ["aggregate"]}
    if asset in LET_ROWS_OUT:
        shown = {"min_cohort": 1, "output_types": ["aggregate", "table/rows"]}
    terms |= {"expires": "2099-01-01T00:00:00Z", **shown}
    asked.client(owner).publish(
        {
            "name": name,
            "title": name.title(),
            "source": {"kind": "file", "location": str(folder / f"{owner}-{name}.parquet")},
            "columns": [
                {"name": column, "role": role, "sensitivity": "confidential", "control": control}
                for column, (role, control) in SCHEMAS[asset].items()
            ],
            "terms": terms,
        }
    )
    wanted = {"asset": asset, "purpose": PURPOSE, "operations": OPERATIONS, "columns": columns, "uses": 20}
    wanted |= {"expires": "2099-01-01T00:00:00Z", **shown}
    negotiation = asked.client("analyst").request_agreement(wanted)["negotiation"]
    asked.client(owner).approve(negotiation, "a test")


UNION = (
    "SELECT COUNT(*) AS n, SUM(v) AS total FROM (SELECT income AS v FROM bureau.people "
    "UNION ALL SELECT arrears FROM lender.loans) AS u WHERE v > 2"
)
GROUPED = (
    f"SELECT b.band AS band, COUNT(*) AS people, SUM(l.balance) AS total {JOIN} "
    "WHERE l.opened >= DATE '2020-02-01' GROUP BY b.band HAVING COUNT(*) >= 10 ORDER BY band"
)


def test_figures_by_group_equal_those_of_the_pooled_tables(asked: Asked) -> None:
    found = asked.run(GROUPED)
    assert found["columns"] == ["band", "people", "total"]
    assert [(band, people, Decimal(total)) for band, people, total in found["rows"]] == asked.pooled(GROUPED)
    assert found["facts"] == {"minimum": 10, "groups_not_shown": 1}


@pytest.mark.skipif(spu.version() is None, reason="SPU is not installed")
def test_an_engine_matches_keys_where_it_is_named_and_every_record_of_the_job_says_so(asked: Asked) -> None:
    query = f"SELECT COUNT(*) AS n, SUM(l.balance) AS total {JOIN}"
    analyst = asked.client("analyst")
    own, fast = (
        analyst.explain_sql(query, purpose=PURPOSE, matching=name) for name in ("psi/ecdh", "psi/rr22")
    )
    assert (own["component"], own["engine"]) == ("sql/query", "parley")
    assert (fast["component"], fast["engine"]) == ("sql/query-rr22", "spu")
    assert fast["plan"] == own["plan"]
    decided = [
        [(one["name"], one["verdict"]) for one in found["decision"]["owners"]] for found in (own, fast)
    ]
    assert decided == [[("bureau", "permitted"), ("lender", "permitted")]] * 2
    (join,) = (one for one in fast["operators"] if one["kind"] == "join")
    assert join["detail"].endswith(", by psi/rr22")
    job = analyst.submit(fast["spec"])["job"]
    analyst.wait_job(job, timeout_s=90)
    ((n, total),) = analyst.result(job)[0]["rows"]
    assert [(n, Decimal(total))] == asked.pooled(query)
    receipts = list(asked.client("regulator").entries(job=job, type_="receipt.step"))
    engines = {one["body"]["engine"] for one in receipts if one["body"]["step"] == "query"}
    assert engines == {f"spu {spu.version()}"}
    with pytest.raises(NodeProblem, match="matching: expected psi/ecdh for a query that joins nothing"):
        analyst.explain_sql(UNION, purpose=PURPOSE, matching="psi/rr22")


def test_three_owners_compute_without_a_helper(asked: Asked) -> None:
    query = f"SELECT COUNT(*) AS n, AVG(t.paid) AS paid, SUM(l.balance + b.income) AS held {THREE}"
    explained = asked.client("analyst").explain_sql(query, purpose=PURPOSE)
    assert sorted(explained["spec"]["steps"][0]["parties"]) == ["owner-1", "owner-2", "owner-3"]
    ((n, paid, held),) = asked.run(query)["rows"]
    ((wanted_n, wanted_paid, wanted_held),) = asked.pooled(query)
    assert (n, Decimal(held)) == (wanted_n, wanted_held)
    assert float(paid) == pytest.approx(wanted_paid)


def test_united_rows_stay_with_their_owners(asked: Asked) -> None:
    found = asked.run(UNION)["rows"]
    assert [tuple(map(int, row)) for row in found] == [tuple(map(int, row)) for row in asked.pooled(UNION)]


def test_an_explanation_says_where_what_runs_and_who_learns_what(asked: Asked) -> None:
    before = len(list(asked.client("regulator").entries(type_="job.submit")))
    found = asked.client("analyst").explain_sql(GROUPED, purpose=PURPOSE)
    operators = {one["kind"]: one for one in found["operators"]}
    assert [one["kind"] for one in found["operators"]] == [
        "scan",
        "filter",
        "scan",
        "join",
        "align",
        "filter",
        "group",
        "cohorts",
        "having",
        "answer",
        "open",
    ]
    assert operators["join"]["where"] == ["lender", "bureau"]
    assert operators["group"]["where"] == ["lender", "bureau", "analyst"]
    assert operators["group"]["sent_bytes"] > 0
    learnt = {(one["who"], one["what"]) for operator in found["operators"] for one in operator["learns"]}
    assert ("bureau", "which of its rows lender has, and how many keys that has") in learnt
    assert ("analyst", 'SUM("lender"."loans"."balance")') in {
        (who, what.split(", from")[0]) for who, what in learnt
    }
    assert found["decision"]["verdict"] == "permitted"
    assert {owner["name"]: owner["verdict"] for owner in found["decision"]["owners"]} == {
        "lender": "permitted",
        "bureau": "permitted",
    }
    assert len(list(asked.client("regulator").entries(type_="job.submit"))) == before


REFUSED = {
    "a-maximum-is-one-row": (f"SELECT MAX(l.balance) AS m {JOIN}", "balance is AFTER_AGGREGATE"),
    "rows": (f"SELECT l.balance AS v, b.income AS w {JOIN}", "balance is AFTER_AGGREGATE"),
    "grouped-by-a-measure": (
        f"SELECT b.income AS i, COUNT(*) AS n {JOIN} GROUP BY b.income",
        "income is AFTER_AGGREGATE",
    ),
}


@pytest.mark.parametrize("name", REFUSED)
def test_column_control_refuses_before_anything_runs(asked: Asked, name: str) -> None:
    query, words = REFUSED[name]
    cohort = 1 if name == "rows" else 10
    analyst = asked.client("analyst")
    explained = analyst.explain_sql(query, purpose=PURPOSE, min_cohort=cohort)
    assert explained["decision"]["verdict"] == "refused"
    reasons = [one["text"] for owner in explained["decision"]["owners"] for one in owner["reasons"]]
    assert any(words in text for text in reasons), reasons
    job = analyst.submit(explained["spec"])["job"]
    with pytest.raises(JobRefused):
        analyst.wait_job(job, timeout_s=60)
    until = time.monotonic() + 30  # another owner may have refused first, for another reason
    while words not in str(refusals := analyst.job(job)["refusals"]):
        assert time.monotonic() < until, refusals
        time.sleep(0.1)
    assert not list(asked.client("regulator").entries(job=job, type_="receipt.step"))


def test_rows_are_refused_where_the_terms_do_not_name_them(asked: Asked) -> None:
    query = f"SELECT t.paid AS paid {THREE}"
    found = asked.client("analyst").explain_sql(query, purpose=PURPOSE, min_cohort=1)
    assert found["component"] == "sql/rows"
    codes = {one["code"] for owner in found["decision"]["owners"] for one in owner["reasons"]}
    assert {"policy.outputType", "policy.minCohort"} <= codes, codes


def test_rows_are_shown_where_their_owners_let_them_out(asked: Asked) -> None:
    query = (
        "SELECT o.amount AS amount, c.city AS city FROM lender.open o JOIN bureau.open c ON o.id = c.id "
        "WHERE o.amount > 10 ORDER BY amount DESC LIMIT 7"
    )
    found = asked.run(query, min_cohort=1)
    assert [tuple(row) for row in found["rows"]] == asked.pooled(query)


def test_a_cohort_below_the_agreed_one_is_refused(asked: Asked) -> None:
    found = asked.client("analyst").explain_sql(GROUPED, purpose=PURPOSE, min_cohort=2)
    codes = {one["code"] for owner in found["decision"]["owners"] for one in owner["reasons"]}
    assert "policy.minCohort" in codes


def test_a_wrong_column_is_named_with_its_place(asked: Asked) -> None:
    with pytest.raises(NodeProblem) as caught:
        asked.client("analyst").explain_sql(f"SELECT SUM(l.ballance) {JOIN}", purpose=PURPOSE)
    assert caught.value.code == "sql.invalid"
    assert "query, line 1, column 12: expected a column of l: arrears, balance" in str(caught.value)


def command(asked: Asked, capsys: pytest.CaptureFixture[str], *words: str) -> tuple[int, str]:
    capsys.readouterr()
    given = ("--purpose", PURPOSE, "--org", "analyst", "--home", str(asked.running.root))
    code = main(["sql", *words, *given])
    return code, capsys.readouterr().out


def test_the_commands_explain_and_answer(asked: Asked, capsys: pytest.CaptureFixture[str]) -> None:
    query = f"SELECT COUNT(*) AS n {JOIN}"
    code, shown = command(asked, capsys, "explain", query, "--lang", "zh")
    assert code == 0
    assert "按私密键连接" in shown
    code, shown = command(asked, capsys, "run", query, "--format", "json")
    assert code == 0
    assert json.loads(shown)["data"]["result"]["rows"] == [[110]]
    code, shown = command(asked, capsys, "explain", "SELECT 1", "--format", "json")
    assert code == 4


def test_a_helper_is_a_member_that_owns_nothing_of_it(asked: Asked) -> None:
    analyst = asked.client("analyst")
    found = analyst.explain_sql(GROUPED, purpose=PURPOSE, helper="regulator")
    assert found["spec"]["steps"][0]["parties"]["helper-1"] == asked.running.did("regulator")
    for helper in ("nobody", "lender"):
        with pytest.raises(NodeProblem):
            analyst.explain_sql(GROUPED, purpose=PURPOSE, helper=helper)
    with pytest.raises(NodeProblem, match="none where three do"):
        analyst.explain_sql(f"SELECT COUNT(*) AS n {THREE}", purpose=PURPOSE, helper="regulator")


@pytest.mark.parametrize("change", ["query", "plan", "types", "min_cohort", "inputs"])
def test_a_step_that_is_not_the_plan_of_its_query_is_refused(asked: Asked, change: str) -> None:
    spec = asked.client("analyst").explain_sql(GROUPED, purpose=PURPOSE)["spec"]
    step = spec["steps"][0]
    if change == "query":
        step["params"]["query"] = step["params"]["query"].replace(">", ">", 1).replace("SUM", "MAX")
    elif change == "plan":
        step["params"]["plan"] = "0" * 64
    elif change == "types":
        step["params"]["types"]["owner-1"]["balance"] = "text"
    elif change == "min_cohort":
        step["params"]["min_cohort"] = 0
    else:
        step["inputs"]["owner-1"]["columns"].pop()
    with pytest.raises(NodeProblem) as caught:
        asked.client("analyst").submit(spec)
    assert caught.value.code in ("request.invalid", "sql.invalid")
