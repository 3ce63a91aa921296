"""A truth check at an analyst's node: twins of two owners, fetched over the consortium, beside plaintext."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.csv
import pytest

from exchange.cli.application import main
from exchange.sdk import NodeProblem, truth_check
from exchange.testing import ConsortiumInProcess

PURPOSE = "dpv:CustomerSolvencyMonitoring"
PEOPLE = 300
RNG = np.random.Generator(np.random.PCG64(17))
IDS = [f"person-{number:04d}" for number in range(PEOPLE)]
TABLES = {
    "lender/loans": pa.table(
        {"customer": IDS, "late": RNG.binomial(1, 0.3, PEOPLE), "debt": RNG.integers(100, 900, PEOPLE)}
    ),
    "bureau/people": pa.table(
        {
            "person": IDS,
            "band": RNG.choice(["high", "low"], PEOPLE),
            "income": RNG.integers(1_000, 5_000, PEOPLE),
        }
    ),
    "bureau/bare": pa.table({"person": IDS, "band": RNG.choice(["high", "low"], PEOPLE)}),
}
ROLES = {
    "customer": ("identifier", "AFTER_JOIN"),
    "person": ("identifier", "AFTER_JOIN"),
    "late": ("label", "AFTER_AGGREGATE"),
    "debt": ("feature", "AFTER_AGGREGATE"),
    "band": ("group", "AFTER_GROUP_BY"),
    "income": ("feature", "AFTER_AGGREGATE"),
}


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ConsortiumInProcess]:
    folder = tmp_path_factory.mktemp("twins")
    with ConsortiumInProcess(folder / "consortium", sources=[folder]) as consortium:
        for asset, table in TABLES.items():
            owner, name = asset.split("/")
            path = folder / f"{owner}-{name}.csv"
            pyarrow.csv.write_csv(table, path)
            consortium.client(owner).publish(_published(name, path, table))
        for asset in ("lender/loans", "bureau/people"):
            digest = consortium.client(asset.split("/")[0]).make_twin(asset, rows=400)["digest"]
            _await_twin(consortium, asset, digest)
        for profile in consortium.profiles.values():
            profile.save(folder / "home")
        yield consortium


def _published(name: str, path: Path, table: pa.Table) -> dict[str, Any]:
    columns = [
        {"name": one, "role": ROLES[one][0], "sensitivity": "internal", "control": ROLES[one][1]}
        for one in table.column_names
    ]
    terms = {
        "purposes": [PURPOSE],
        "operations": ["psi/ecdh", "stats/group-sums", "model/logistic"],
        "columns": table.column_names,
        "uses": 5,
        "expires": "2099-01-01T00:00:00Z",
        "min_cohort": 10,
        "output_types": ["aggregate", "cardinality"],
    }
    source = {"kind": "file", "location": str(path)}
    return {"name": name, "title": name, "source": source, "columns": columns, "terms": terms}


def _await_twin(running: ConsortiumInProcess, asset: str, digest: str) -> None:
    deadline = time.monotonic() + 20
    while running.client("analyst").versions(asset)[0]["twin"] != digest:
        assert time.monotonic() < deadline
        time.sleep(0.05)


def _step(id_: str, component: str, parties: Mapping[str, str], **more: Any) -> dict[str, Any]:
    empty: dict[str, Any] = {"inputs": {}, "after": [], "params": {}, "recipients": []}
    return {"id": id_, "component": component, "version": 1, "parties": parties, **empty, **more}


def _input(asset: str, *columns: str) -> dict[str, Any]:
    return {"asset": asset, "columns": [{"name": name, "decimals": 0} for name in columns]}


def draft(at: ConsortiumInProcess, people: str = "bureau/people") -> dict[str, Any]:
    """A job that was agreed with nobody yet."""
    lender, bureau, regulator, analyst = map(at.did, ("lender", "bureau", "regulator", "analyst"))
    match = _step(
        "match",
        "psi/ecdh",
        {"left": lender, "right": bureau},
        inputs={"left": _input("lender/loans", "customer"), "right": _input(people, "person")},
        params={"normalise": {"left": ["upper"], "right": ["upper"]}, "minimum_matches": 10},
    )
    sums = _step(
        "sums",
        "stats/group-sums",
        {"measure_holder": lender, "group_holder": bureau},
        inputs={"measure_holder": _input("lender/loans", "debt"), "group_holder": _input(people, "band")},
        after=["match"],
        params={"min_cohort": 10},
        recipients=[analyst],
    )
    train = _step(
        "train",
        "model/logistic",
        {"owner-1": lender, "owner-2": bureau, "helper-1": regulator},
        inputs={
            "owner-1": _input("lender/loans", "late", "debt"),
            "owner-2": _input("bureau/people", "income"),
        },
        after=["match"],
        params={
            "label": "late",
            "coefficients": "recipients",
            "min_cohort": 50,
            "batch": 512,
            "epochs": 240,
        },
        recipients=[analyst],
    )
    steps = [match, sums, train] if people == "bureau/people" else [match, sums]
    return {"v": 1, "title": "Late", "purpose": PURPOSE, "agreements": {}, "steps": steps}


Call = Callable[..., str]


@pytest.fixture
def call(running: ConsortiumInProcess, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Call:
    def run(spec: Mapping[str, Any], *options: str, code: int) -> str:
        path = tmp_path / "draft.json"
        path.write_text(json.dumps(spec))
        home = str(running.root.parent / "home")
        ended = main(["truth-check", str(path), "--org", "analyst", "--home", home, *options])
        shown = capsys.readouterr()
        assert ended == code, shown.err
        return shown.out

    return run


def test_a_draft_is_checked_by_command(running: ConsortiumInProcess, call: Call) -> None:
    found = json.loads(call(draft(running), "--share", "0.6", "--format", "json", code=0))["data"]
    steps = {one["step"]: one for one in found["steps"]}
    assert [one["state"] for one in steps.values()] == ["compared"] * 3
    matched = steps["match"]["figures"][0]
    assert matched["private"] == matched["plaintext"]
    assert 100 < int(matched["private"]) < min(found["rows"].values())
    assert steps["sums"]["absolute_error"] == 0.0
    assert 0.0 < steps["train"]["absolute_error"] < steps["train"]["tolerance"]["absolute"]
    assert running.client("analyst").jobs() == []


def test_a_result_beyond_its_tolerance_is_told_in_both_languages(
    running: ConsortiumInProcess, call: Call
) -> None:
    spec = draft(running)
    spec["steps"][2]["params"] |= {"epochs": 1, "rate_micro": 10_000}
    english, chinese = call(spec, code=1), call(spec, "--lang", "zh", code=1)
    assert "beyond the tolerance" in english
    assert "simulated parties on rows of bureau/people: " in english
    assert "超出容差" in chinese
    assert "0.02 / 0.03" in chinese


def test_a_sample_takes_the_place_of_a_twin(running: ConsortiumInProcess, call: Call, tmp_path: Path) -> None:
    given = {}
    for asset in ("lender/loans", "bureau/bare"):
        given[asset] = tmp_path / f"{asset.replace('/', '-')}.csv"
        pyarrow.csv.write_csv(TABLES[asset].slice(0, 100), given[asset])
    options = [word for asset, path in given.items() for word in ("--sample", f"{asset}={path}")]
    found = json.loads(call(draft(running, "bureau/bare"), *options, "--format", "json", code=0))["data"]
    assert found["steps"][0]["figures"][0]["private"] == "100"
    assert found["samples"] == ["bureau/bare", "lender/loans"]
    assert call(draft(running), "--sample", "lender/loans", code=4) == ""


def test_a_draft_over_an_asset_without_a_twin_is_refused(running: ConsortiumInProcess) -> None:
    spec = {**draft(running, "bureau/bare"), "job": "job-" + "0" * 26}
    with pytest.raises(NodeProblem, match="bureau/bare was published without twin"):
        truth_check(running.client("analyst"), spec)
