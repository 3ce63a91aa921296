"""Intersection of a million rows: SPU's bare call, and the same through hub, nodes and ledger, in one run.

Every node is a process of its own. A job over a thousand rows tells what a job costs beside its work.
"""

from __future__ import annotations

import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.csv
import pyarrow.parquet

from exchange.local import Consortium
from ledger.entries import new_id
from ledger.times import system_clock

PURPOSE = "dpv:CustomerSolvencyMonitoring"
TARGET = 1.3
FEW = 1_000
BARE = """
import sys, time
from spu import libspu, psi
rank, folder = int(sys.argv[1]), sys.argv[2]
described = libspu.link.Desc()
described.recv_timeout_ms = 600_000
for party in range(2):
    described.add_party(str(party), f"127.0.0.1:{sys.argv[3 + party]}")
link = libspu.link.create_brpc(described, rank)
started = time.perf_counter()
report = psi.psi_execute(
    psi.PsiExecuteConfig(
        protocol_conf=psi.PsiProtocolConfig(
            protocol=psi.PsiProtocol.PROTOCOL_RR22, receiver_rank=0, broadcast_result=True
        ),
        input_params=psi.InputParams(path=f"{folder}/{rank}-people.csv", selected_keys=["id"]),
        output_params=psi.OutputParams(path=f"{folder}/{rank}.out.csv"),
    ),
    link,
)
print("took", time.perf_counter() - started, report.intersection_count, flush=True)
link.stop_link()
"""


def rows(quick: bool) -> Iterator[dict[str, object]]:
    count = 20_000 if quick else 1_000_000
    with tempfile.TemporaryDirectory(prefix="parley-bench-") as name:
        folder = Path(name)
        write_tables(folder, count, "people")
        write_tables(folder, FEW, "few")
        with Consortium.up(
            folder / "home",
            ("lender", "bureau", "analyst"),
            data={owner: [folder] for owner in ("lender", "bureau")},
        ) as running:
            agreements = publish_and_agree(running, folder, "people")
            # The engines' code and the ledger's caches are warm in a node.
            ask(running, agreements, "people", "psi/rr22")
            bare = min(call_spu(folder) for _ in range(2))
            whole, step = min(ask(running, agreements, "people", "psi/rr22") for _ in range(2))
            agreements = publish_and_agree(running, folder, "few")
            small = min(ask(running, agreements, "few", "psi/ecdh") for _ in range(5))
    yield {
        "metric": f"psi/rr22, {count:,} x {count:,}, job from submission to completion",
        "value": whole,
        "unit": "s",
        "target": TARGET * bare,
        "met": whole <= TARGET * bare,
        "peer": "the bare call of SPU's RR22, CSV to CSV",
        "peer_value": bare,
        "ratio": whole / bare,
    }
    yield {
        "metric": "psi/rr22, the step alone, from reading the asset to the receipt",
        "value": step,
        "unit": "s",
        "peer": "the bare call of SPU's RR22, CSV to CSV",
        "peer_value": bare,
        "ratio": step / bare,
    }
    for what, taken in zip(("job from submission to completion", "the step alone"), small, strict=True):
        yield {"metric": f"psi/ecdh, {FEW:,} x {FEW:,}, {what} (best of 5)", "value": taken, "unit": "s"}


def write_tables(folder: Path, count: int, name: str) -> None:
    """Half of the identifiers are shared; 18 digits each, in an order of its own at each party."""
    generator = np.random.Generator(np.random.PCG64(1))
    for rank in range(2):
        numbers = (np.arange(count) + rank * (count // 2)) * 977 + 10**17
        ids = pa.array(numbers[generator.permutation(count)]).cast(pa.string())
        pyarrow.csv.write_csv(pa.table({"id": ids}), folder / f"{rank}-{name}.csv")
        pyarrow.parquet.write_table(pa.table({"id": ids}), folder / f"{rank}-{name}.parquet")


def call_spu(folder: Path) -> float:
    """The slower party's time in SPU's call, each party in a process of its own."""
    from exchange.local.processes import free_ports

    ports = [str(port) for port in free_ports(2)]
    parties = [
        subprocess.Popen(
            [sys.executable, "-P", "-c", BARE, str(rank), str(folder), *ports],
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
        )
        for rank in range(2)
    ]
    took = []
    for party in parties:
        said = party.communicate()[0]
        took.append(next(float(line.split()[1]) for line in said.splitlines() if line.startswith("took ")))
    for left in folder.glob("*.meta"):
        left.unlink()
    return max(took)


def publish_and_agree(running: Consortium, folder: Path, name: str) -> dict[str, str]:
    agreements = {}
    terms: dict[str, Any] = {
        "purposes": [PURPOSE],
        "operations": ["psi/rr22", "psi/ecdh"],
        "columns": ["id"],
        "uses": 20,
        "expires": "2099-01-01T00:00:00Z",
        "min_cohort": 10,
        "output_types": ["cardinality"],
    }
    asked = {
        key: terms[key] for key in ("operations", "columns", "uses", "expires", "min_cohort", "output_types")
    }
    column = {"name": "id", "role": "identifier", "sensitivity": "internal", "control": "AFTER_JOIN"}
    for rank, owner in enumerate(("lender", "bureau")):
        with running.client(owner) as node, running.client("analyst") as analyst:
            node.publish(
                {
                    "name": name,
                    "title": "People",
                    "source": {"kind": "file", "location": str(folder / f"{rank}-{name}.parquet")},
                    "columns": [column],
                    "terms": terms,
                }
            )
            asset = f"{owner}/{name}"
            negotiation = analyst.request_agreement({"asset": asset, "purpose": PURPOSE, **asked})[
                "negotiation"
            ]
            agreements[asset] = node.approve(negotiation, "a benchmark")["agreement"]
    return agreements


def ask(
    running: Consortium, agreements: dict[str, str], asset: str, component: str, timeout_s: int = 600
) -> tuple[float, float]:
    """Seconds of a whole job, and of the owners' step as their receipts state it."""
    dids = {}
    for name in running.members:
        with running.client(name) as client:
            dids[name] = client.node()["did"]
    step = {
        "id": "match",
        "component": component,
        "version": 1,
        "parties": {"left": dids["lender"], "right": dids["bureau"]},
        "inputs": {
            role: {"asset": f"{owner}/{asset}", "columns": [{"name": "id", "decimals": 0}]}
            for role, owner in (("left", "lender"), ("right", "bureau"))
        },
        "after": [],
        "params": {"normalise": {"left": ["trim"], "right": ["trim"]}, "minimum_matches": 10},
        "recipients": [dids["analyst"]],
    }
    report = {
        "id": "report",
        "component": "report/table",
        "version": 1,
        "parties": {"reader": dids["analyst"]},
        "inputs": {},
        "after": ["match"],
        "params": {"plot": "none"},
        "recipients": [],
    }
    spec = {
        "v": 1,
        "job": new_id("job", system_clock),
        "title": "How many people both know",
        "purpose": PURPOSE,
        "agreements": agreements,
        "steps": [step, report],
    }
    with running.client("analyst") as analyst:
        started = time.perf_counter()
        job = analyst.submit(spec)["job"]
        analyst.wait_job(job, timeout_s=timeout_s)
        taken = time.perf_counter() - started
        receipts = [entry["body"] for entry in analyst.entries(job=job, type_="receipt.step")]
    return taken, max(one["duration_ms"] for one in receipts if one["step"] == "match") / 1000
