"""Clusters by columns of two owners on shares, as a job through hub and nodes."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.csv
import pytest

from exchange.testing import ConsortiumInProcess
from ledger.entries import new_id
from ledger.times import system_clock

PURPOSE = "dpv:CustomerSolvencyMonitoring"
RNG = np.random.Generator(np.random.PCG64(9))
PEOPLE = 160
KIND = RNG.permutation(np.arange(PEOPLE) % 2)
DEBT = np.array([2000.0, 7000.0])[KIND] + RNG.uniform(-500, 500, PEOPLE)
INCOME = np.array([900.0, 3100.0])[KIND] + RNG.uniform(-300, 300, PEOPLE)
IDS = [f"p{i:03d}" for i in range(PEOPLE)]
BOTH = slice(20, 140)
TABLES = {
    "lender": ("loans", pa.table({"person": IDS[:140], "debt": DEBT[:140]})),
    "bureau": ("people", pa.table({"person": IDS[20:], "income": INCOME[20:]})),
}


def test_the_analyst_reads_the_clusters_of_the_matched_rows(tmp_path: Path) -> None:
    sources, home = tmp_path / "columns", tmp_path / "consortium"
    sources.mkdir()
    home.mkdir()
    with ConsortiumInProcess(home, sources=[sources]) as running:
        agreements = {}
        for owner, (name, table) in TABLES.items():
            pyarrow.csv.write_csv(table, sources / f"{owner}.csv")
            person, column = table.column_names
            controls = {person: ("identifier", "AFTER_JOIN"), column: ("feature", "AFTER_AGGREGATE")}
            terms = {
                "operations": ["psi/ecdh", "model/kmeans-columns"],
                "columns": list(controls),
                "uses": 5,
                "expires": "2099-01-01T00:00:00Z",
                "min_cohort": 20,
                "output_types": ["aggregate", "cardinality"],
            }
            running.client(owner).publish(
                {
                    "name": name,
                    "title": name,
                    "source": {"kind": "file", "location": str(sources / f"{owner}.csv")},
                    "columns": [
                        {"name": one, "role": role, "sensitivity": "internal", "control": control}
                        for one, (role, control) in controls.items()
                    ],
                    "terms": terms | {"purposes": [PURPOSE]},
                }
            )
            asked = {"asset": f"{owner}/{name}", "purpose": PURPOSE, **terms}
            negotiation = running.client("analyst").request_agreement(asked)["negotiation"]
            agreement = str(running.client(owner).approve(negotiation, "a test")["agreement"])
            running.client("analyst").wait_agreement(agreement)
            agreements[f"{owner}/{name}"] = agreement
        lender, bureau, analyst = map(running.did, ("lender", "bureau", "analyst"))

        def read(owner: str, column: str) -> dict[str, object]:
            return {
                "asset": f"{owner}/{TABLES[owner][0]}",
                "columns": [{"name": column, "decimals": 0}],
            }

        match = {
            "id": "match",
            "component": "psi/ecdh",
            "version": 1,
            "parties": {"left": lender, "right": bureau},
            "inputs": {"left": read("lender", "person"), "right": read("bureau", "person")},
            "after": [],
            "params": {"normalise": {"left": [], "right": []}, "minimum_matches": 20},
            "recipients": [],
        }
        group = {
            "id": "group",
            "component": "model/kmeans-columns",
            "version": 1,
            "parties": {"owner-1": lender, "owner-2": bureau, "helper-1": running.did("regulator")},
            "inputs": {"owner-1": read("lender", "debt"), "owner-2": read("bureau", "income")},
            "after": ["match"],
            "params": {
                "clusters": 2,
                "bounds": {
                    "owner-1": {"debt": {"lower": "0", "upper": "10000"}},
                    "owner-2": {"income": {"lower": "0", "upper": "4000"}},
                },
                "seed": 1,
                "min_cohort": 20,
                "end": "settled",
            },
            "recipients": [analyst],
        }
        reading = {
            **match,
            "id": "read",
            "component": "report/result",
            "parties": {"reader": analyst},
            "inputs": {},
            "after": ["group"],
            "params": {},
        }
        spec = {
            "v": 1,
            "job": new_id("job", system_clock),
            "title": "Groups",
            "purpose": PURPOSE,
            "agreements": agreements,
            "steps": [match, group, reading],
        }
        client = running.client("analyst")
        job = client.submit(spec)["job"]
        client.wait_job(job, timeout_s=90)
        answer = client.result(job)[0]
        receipts = list(running.client("regulator").entries(job=job, type_="receipt.step"))
    found = [
        [
            (int(rows), role, name, float(mean))
            for number, rows, _, role, name, mean in answer["rows"]
            if number == one
        ]
        for one in (1, 2)
    ]
    expected = [
        [
            (
                int((KIND[BOTH] == kind).sum()),
                role,
                name,
                pytest.approx(values[BOTH][KIND[BOTH] == kind].mean(), abs=0.01),
            )
            for role, name, values in (("owner-1", "debt", DEBT), ("owner-2", "income", INCOME))
        ]
        for kind in range(2)
    ]
    assert sorted(found, key=lambda lines: lines[0][-1]) == expected
    assert (answer["facts"]["rows"], answer["facts"]["settled"]) == (120, True)
    told = {(entry["name"], entry["body"]["step"]) for entry in receipts}
    assert {(name, "group") for name in ("lender", "bureau", "regulator")} <= told
    assert "p050" not in json.dumps(answer)
