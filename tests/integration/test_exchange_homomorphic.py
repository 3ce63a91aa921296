"""Jobs under homomorphic encryption through hub and nodes: totals of owners, and scores by a model."""

from __future__ import annotations

from collections.abc import Iterator
from decimal import Decimal
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.csv
import pytest

from exchange.errors import JobFailed
from exchange.testing import ConsortiumInProcess
from ledger.entries import new_id
from ledger.times import system_clock

PURPOSE = "dpv:CustomerSolvencyMonitoring"
EXPIRES = "2099-01-01T00:00:00Z"
ROWS = {"lender": 40, "bureau": 25}
INCOME = {name: [Decimal(i * 37 % 1000).scaleb(-2) for i in range(rows)] for name, rows in ROWS.items()}
FEATURES = np.random.Generator(np.random.PCG64(3)).uniform(-2, 2, (40, 2))
WEIGHTS = {"age": 0.75, "debt": -0.5, "intercept": 0.25}


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ConsortiumInProcess]:
    """Two owners with an income column each; the analyst's own clients; a model at the bureau."""
    folder = tmp_path_factory.mktemp("homomorphic")
    tables = {name: pa.table({"income": INCOME[name]}) for name in ROWS}
    tables["clients"] = pa.table({"age": FEATURES[:, 0], "debt": FEATURES[:, 1]})
    tables["model"] = pa.table({"name": list(WEIGHTS), "weight": list(WEIGHTS.values())})
    for name, table in tables.items():
        pyarrow.csv.write_csv(table, folder / f"{name}.csv")
    with ConsortiumInProcess(tmp_path_factory.mktemp("consortium"), sources=[folder]) as consortium:
        for name in ROWS:
            _publish(
                consortium,
                name,
                "incomes",
                folder / f"{name}.csv",
                {"income": ("measure", "AFTER_AGGREGATE")},
            )
        model = {"name": ("text", "AFTER_AGGREGATE"), "weight": ("measure", "AFTER_AGGREGATE")}
        _publish(consortium, "bureau", "model", folder / "model.csv", model)
        clients = dict.fromkeys(("age", "debt"), ("feature", "ENCRYPTED_ONLY"))
        _publish(consortium, "analyst", "clients", folder / "clients.csv", clients)
        yield consortium


def _publish(at: ConsortiumInProcess, owner: str, name: str, path: Path, columns: dict[str, Any]) -> None:
    described = [
        {"name": column, "role": role, "sensitivity": "internal", "control": control}
        for column, (role, control) in columns.items()
    ]
    terms = {
        "purposes": [PURPOSE],
        "operations": ["he/sums", "he/scoring"],
        "columns": list(columns),
        "uses": 9,
        "expires": EXPIRES,
        "min_cohort": 10 if "income" in columns else 1,
        "output_types": ["aggregate", "scores"],
    }
    source = {"kind": "file", "location": str(path)}
    value = {"name": name, "title": name, "source": source, "columns": described, "terms": terms}
    at.client(owner).publish(value)


def _agree(at: ConsortiumInProcess, asset: str, operation: str, columns: list[str], cohort: int) -> str:
    asked = {
        "asset": asset,
        "purpose": PURPOSE,
        "operations": [operation],
        "columns": columns,
        "uses": 9,
        "expires": EXPIRES,
        "min_cohort": cohort,
        "output_types": ["aggregate", "scores"],
    }
    negotiation = at.client("analyst").request_agreement(asked)["negotiation"]
    return str(at.client(asset.split("/")[0]).approve(negotiation, "a test")["agreement"])


def _step(id_: str, component: str, parties: dict[str, str], **more: Any) -> dict[str, Any]:
    empty: dict[str, Any] = {"inputs": {}, "after": [], "params": {}, "recipients": []}
    return {"id": id_, "component": component, "version": 1, "parties": parties, **empty, **more}


def _run(at: ConsortiumInProcess, agreements: dict[str, str], *steps: dict[str, Any]) -> tuple[str, Any]:
    spec = {
        "v": 1,
        "job": new_id("job", system_clock),
        "title": "under encryption",
        "purpose": PURPOSE,
        "agreements": agreements,
        "steps": list(steps),
    }
    analyst = at.client("analyst")
    job = analyst.submit(spec)["job"]
    analyst.wait_job(job, timeout_s=60)
    return job, analyst.result(job)[0]


def _sums(at: ConsortiumInProcess, agreements: dict[str, str], minimum: int) -> tuple[str, Any]:
    reader = at.did("analyst")
    parties = {"owner-1": at.did("lender"), "owner-2": at.did("bureau"), "reader": reader}
    inputs = {
        role: {"asset": f"{name}/incomes", "columns": [{"name": "income", "decimals": 2}]}
        for role, name in (("owner-1", "lender"), ("owner-2", "bureau"))
    }
    params = {"min_cohort": minimum}
    adding = _step("add", "he/sums", parties, inputs=inputs, params=params, recipients=[reader])
    return _run(at, agreements, adding, _step("open", "he/open", {"reader": reader}, after=["add"]))


@pytest.fixture(scope="module")
def incomes(running: ConsortiumInProcess) -> dict[str, str]:
    return {f"{name}/incomes": _agree(running, f"{name}/incomes", "he/sums", ["income"], 10) for name in ROWS}


def test_totals_and_averages_are_those_of_the_pooled_rows(
    running: ConsortiumInProcess, incomes: dict[str, str]
) -> None:
    job, result = _sums(running, incomes, 10)
    total = sum(INCOME["lender"]) + sum(INCOME["bureau"])
    assert result["rows"] == [["income", f"{total:f}", f"{round(total / 65, 6):f}"]]
    assert result["facts"] == {"owners": 2, "rows": 65}
    receipts = running.client("analyst").job(job)["receipts"]
    assert sorted((one["step"], one["name"]) for one in receipts) == [
        ("add", "analyst"),
        ("add", "bureau"),
        ("add", "lender"),
        ("open", "analyst"),
    ]


def test_an_owner_with_too_few_rows_takes_no_part(
    running: ConsortiumInProcess, incomes: dict[str, str]
) -> None:
    with pytest.raises(JobFailed):
        _sums(running, incomes, 26)


@pytest.mark.parametrize("link", ["linear", "logistic"])
def test_scores_are_those_of_the_model_and_the_engine_is_on_record(
    running: ConsortiumInProcess, link: str
) -> None:
    pytest.importorskip("tenseal", reason="TenSEAL is an extra")
    agreement = _agree(running, "bureau/model", "he/scoring", ["name", "weight"], 1)
    parties = {"client": running.did("analyst"), "model_owner": running.did("bureau")}
    features = [{"name": name, "decimals": 0} for name in ("debt", "age")]
    model = [{"name": name, "decimals": 0} for name in ("name", "weight")]
    inputs = {
        "client": {"asset": "analyst/clients", "columns": features},
        "model_owner": {"asset": "bureau/model", "columns": model},
    }
    params = {"link": link, "bound": "2.0", "decimals": 3, "min_cohort": 1}
    recipients = [running.did("analyst")]
    step = _step("score", "he/scoring", parties, inputs=inputs, params=params, recipients=recipients)
    job, result = _run(running, {"bureau/model": agreement}, step)
    plain = FEATURES @ [WEIGHTS["age"], WEIGHTS["debt"]] + WEIGHTS["intercept"]
    expected = plain if link == "linear" else 1 / (1 + np.exp(-plain))
    found = np.array([float(score) for _, score in result["rows"]])
    assert np.abs(found - expected).max() < (0.00051 if link == "linear" else 0.034)
    written = running.client("regulator").entries(type_="receipt.step", job=job)
    assert {one["body"]["engine"].split()[0] for one in written} == {"tenseal"}
