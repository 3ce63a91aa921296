"""Joint statistics of several owners' tables as jobs through hub and nodes: exact, refused, on record."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import duckdb
import pyarrow as pa
import pyarrow.parquet
import pytest

from exchange.cli import main
from exchange.errors import JobFailed, JobRefused
from exchange.sdk import Share, joint_spec
from exchange.testing import ConsortiumInProcess
from ledger.entries import new_id
from ledger.times import system_clock

pytestmark = pytest.mark.xdist_group("exchange-joint-statistics")

PURPOSE = "dpv:CustomerSolvencyMonitoring"
EXPIRES = "2099-01-01T00:00:00Z"
OWNERS = ("lender", "bureau", "regulator")
LARGE = 7_340_033_000_000
CONTROL = {
    "band": ("group", "AFTER_GROUP_BY"),
    "age": ("feature", "AFTER_COMPARE"),
    "balance": ("measure", "AFTER_AGGREGATE"),
    "days": ("measure", "PLAINTEXT"),
}
BANDS = {"column": "band", "labels": ["high", "low", "middle"]}

SUMS: dict[str, Any] = {"keys": [BANDS], "measures": [{"column": "balance", "statistics": ["sum"]}]}


def _rows(start: int, size: int) -> pa.Table:
    numbers = range(start, start + size)
    return pa.table(
        {
            "band": ["rare" if i % 29 == 3 else ("high", "low", "middle")[i % 3] for i in numbers],
            "age": [18 + i * 7 % 60 for i in numbers],
            "balance": [LARGE + i * 104_729 for i in numbers],
            "days": [i * 13 % 91 for i in numbers],
        }
    )


TABLES = {"lender": _rows(0, 150), "bureau": _rows(500, 90), "regulator": _rows(900, 60)}


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ConsortiumInProcess]:
    """Three owners of tables with the same columns, and an analyst."""
    folder = tmp_path_factory.mktemp("joint")
    with ConsortiumInProcess(tmp_path_factory.mktemp("consortium"), sources=[folder]) as consortium:
        for owner, table in TABLES.items():
            pyarrow.parquet.write_table(table, folder / f"{owner}.parquet")
            for name in ("clients", "accounts"):
                _publish(consortium, owner, name, folder / f"{owner}.parquet")
        yield consortium


def _publish(at: ConsortiumInProcess, owner: str, name: str, path: Path) -> None:
    described = [
        {"name": name, "role": role, "sensitivity": "internal", "control": control}
        for name, (role, control) in CONTROL.items()
    ]
    terms = {
        "purposes": [PURPOSE],
        "operations": ["stats/joint"],
        "columns": list(CONTROL),
        "uses": 20,
        "expires": EXPIRES,
        "min_cohort": 10,
        "output_types": ["aggregate"],
    }
    source = {"kind": "file", "location": str(path)}
    value = {"name": name, "title": name, "source": source, "columns": described, "terms": terms}
    at.client(owner).publish(value)


@pytest.fixture(scope="module")
def shares(running: ConsortiumInProcess) -> dict[str, Share]:
    """Each owner's part in a question, under an agreement with the analyst."""
    return {owner: _agreed(running, owner, "clients") for owner in OWNERS}


def _agreed(at: ConsortiumInProcess, owner: str, name: str) -> Share:
    asked = {
        "asset": f"{owner}/{name}",
        "purpose": PURPOSE,
        "operations": ["stats/joint"],
        "columns": list(CONTROL),
        "uses": 20,
        "expires": EXPIRES,
        "min_cohort": 10,
        "output_types": ["aggregate"],
    }
    negotiation = at.client("analyst").request_agreement(asked)["negotiation"]
    agreement = at.client(owner).approve(negotiation, "a test")["agreement"]
    return Share(at.did(owner), f"{owner}/{name}", str(agreement))


def _ask(
    at: ConsortiumInProcess,
    shares: Mapping[str, Share],
    owners: Sequence[str] = OWNERS,
    **question: Any,
) -> tuple[str, dict[str, Any]]:
    spec = joint_spec(
        job=new_id("job", system_clock),
        title="Clients",
        purpose=PURPOSE,
        reader=at.did("analyst"),
        shares=[shares[owner] for owner in owners],
        **({"min_cohort": 10} | question),
    )
    analyst = at.client("analyst")
    job = str(analyst.submit(spec)["job"])
    analyst.wait_job(job, timeout_s=60)
    return job, analyst.result(job)[0]


def _pooled(query: str, owners: Sequence[str] = OWNERS) -> list[list[Any]]:
    with duckdb.connect() as database:
        database.register("pooled", pa.concat_tables([TABLES[owner] for owner in owners]))
        return [list(row) for row in database.sql(query).fetchall()]


def test_three_owners_answer_by_group_with_a_filter_and_small_cells_stay_closed(
    running: ConsortiumInProcess, shares: dict[str, Share]
) -> None:
    job, result = _ask(running, shares, **SUMS, where={"column": "age", "is": ">=", "value": 40})
    wanted = _pooled(
        """select band, count(*), sum(balance)::text from pooled where age >= 40
           group by band having count(*) >= 10 order by band"""
    )
    assert result["rows"] == wanted
    assert len(wanted) == 3
    assert result["facts"] == {"owners": 3, "closed_cells": 1}
    receipts = running.client("analyst").job(job)["receipts"]
    assert sorted(one["name"] for one in receipts if one["step"] == "statistics") == sorted(OWNERS)


def test_two_owners_and_a_helper_answer_a_command_with_a_median(
    running: ConsortiumInProcess, capsys: pytest.CaptureFixture[str]
) -> None:
    for owner in OWNERS[:2]:
        _agreed(running, owner, "accounts")
    running.profiles["analyst"].save(running.root)
    words = ["joint-stats", "--helper", "regulator", "--purpose", PURPOSE, "--by", "band=high,low,middle"]
    words += ["--table", "lender/accounts", "--table", "bureau/accounts", "--measure", "days=median@0:100"]
    capsys.readouterr()
    assert main([*words, "--org", "analyst", "--home", str(running.root), "--format", "json"]) == 0
    result = json.loads(capsys.readouterr().out)["data"]["result"]
    wanted = _pooled(
        """select band, count(*), quantile_disc(days, 0.5)::text from pooled
           group by band having count(*) >= 10 order by band""",
        OWNERS[:2],
    )
    assert result["rows"] == wanted


def test_a_median_of_a_column_for_aggregates_alone_is_refused(
    running: ConsortiumInProcess, shares: dict[str, Share]
) -> None:
    bounds = {"lower": "0", "upper": "9000000000000"}
    with pytest.raises(JobRefused):
        _ask(running, shares, measures=[{"column": "balance", "statistics": ["maximum"], "bounds": bounds}])


def test_a_question_that_tells_a_few_people_apart_is_refused(
    running: ConsortiumInProcess, shares: dict[str, Share]
) -> None:
    """From forty on, and from forty-one on."""
    _ask(running, shares, **SUMS, where={"column": "age", "is": ">=", "value": 40})
    with pytest.raises(JobFailed, match="differ by fewer"):
        _ask(running, shares, **SUMS, where={"column": "age", "is": ">", "value": 40})


def test_cells_that_are_all_small_have_no_answer(
    running: ConsortiumInProcess, shares: dict[str, Share]
) -> None:
    with pytest.raises(JobFailed):
        _ask(running, shares, keys=[BANDS], min_cohort=200)
