"""Scores of a joint model end to end: HTTPS at the label holder's node, another owner's node over mutual TLS.

Hub and nodes are processes. A model of two owners is trained, registered and served from tables of many
persons; then single persons are scored at a fixed rate of arrivals, each timed from the moment at which it
was due, so that a queue that builds up counts. The caller is on the same machine and takes its part of it.
"""

from __future__ import annotations

import itertools
import os
import statistics
import tempfile
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet

from exchange.local import Consortium
from exchange.sdk.client import NodeClient
from ledger.entries import new_id
from ledger.times import system_clock

NAMES = ("lender", "bureau", "regulator")
PURPOSE = "dpv:CustomerSolvencyMonitoring"
MODEL = "lender/late"
RATE, CALLERS = 200, 16
P50_MS, P99_MS = 20.0, 100.0
TRAINED = 300
CONTROLS = {
    "lender": {"id": "AFTER_JOIN", "late": "AFTER_AGGREGATE", "debt": "AS_JOIN_PAYLOAD"},
    "bureau": {"id": "AFTER_JOIN", "income": "AS_JOIN_PAYLOAD", "age": "AS_JOIN_PAYLOAD"},
}
ROLES = {"id": "identifier", "late": "label"}
Row = dict[str, object]


def rows(quick: bool) -> Iterator[Row]:
    persons, seconds = (2_000, 3) if quick else (100_000, 30)
    with tempfile.TemporaryDirectory() as folder:
        data = {name: [Path(folder, "data", name)] for name in NAMES[:2]}
        for (place,) in data.values():
            place.mkdir(mode=0o700, parents=True)
        with ExitStack() as stack:
            running = stack.enter_context(Consortium.up(Path(folder, "home"), NAMES, data=data))
            clients = {name: stack.enter_context(running.client(name)) for name in NAMES}
            desk = Desk(running, clients, Path(folder, "data"), persons)
            before = desk.spent()
            taken = desk.load(seconds)
            used = 1000 * (desk.spent() - before) / len(taken)
            name = f"{persons:,} persons, {RATE} a second"
            for label, value, target in (
                ("p50", statistics.median(taken), P50_MS),
                ("p99", taken[-1 - len(taken) // 100], P99_MS),
            ):
                row: Row = {"metric": f"{name}: {label}", "value": value, "unit": "ms"}
                yield row | {"target": f"{target:g} ms", "met": value <= target}
            yield {"metric": f"{name}: the slowest of {len(taken):,}", "value": taken[-1], "unit": "ms"}
            yield {"metric": f"{name}: CPU of both nodes, a score", "value": used, "unit": "ms"}
            alone = desk.alone(20 if quick else 300)
            yield {"metric": f"{persons:,} persons, one after the other: p50", "value": alone, "unit": "ms"}
            batch = desk.batch(1_000)
            yield {"metric": f"{persons:,} persons, batch of 1,000: a person", "value": batch, "unit": "ms"}


class Desk:
    """A published model of two owners, and callers at the label holder's node."""

    def __init__(self, running: Consortium, clients: dict[str, NodeClient], data: Path, persons: int) -> None:
        self.running, self.at, self.persons = running, clients, persons
        self.did = {str(row["name"]): str(row["did"]) for row in self.at["lender"].members()}
        for owner, controls in CONTROLS.items():
            for name, count in (("trained", TRAINED), ("served", persons)):
                self.publish(owner, name, table(owner, list(controls), count), data / owner)
        self.agree("trained", ["psi/ecdh", "model/logistic"], ["aggregate", "cardinality"], 50)
        self.agree("served", ["model/score"], ["score/partial"], 1)
        self.register(self.train())

    def publish(self, owner: str, name: str, content: pa.Table, folder: Path) -> None:
        pyarrow.parquet.write_table(content, folder / f"{name}.parquet")
        columns = [
            {"name": one, "role": ROLES.get(one, "feature"), "sensitivity": "internal", "control": control}
            for one, control in CONTROLS[owner].items()
        ]
        terms = usual(owner, ["psi/ecdh", "model/logistic", "model/score"], 1)
        terms |= {"purposes": [PURPOSE], "output_types": ["aggregate", "cardinality", "score/partial"]}
        source = {"kind": "file", "location": str(folder / f"{name}.parquet")}
        self.at[owner].publish(
            {"name": name, "title": name, "source": source, "columns": columns, "terms": terms}
        )

    def agree(self, name: str, operations: list[str], outputs: list[str], cohort: int) -> None:
        asked = {"asset": f"bureau/{name}", "purpose": PURPOSE, "output_types": outputs}
        made = self.at["lender"].request_agreement(asked | usual("bureau", operations, cohort))
        given = self.at["bureau"].approve(made["negotiation"], "a benchmark")
        self.at["lender"].wait_agreement(given["agreement"])

    def train(self) -> str:
        loans, people = "lender/trained", "bureau/trained"
        empty: dict[str, Any] = {"version": 1, "inputs": {}, "after": [], "recipients": []}
        match = empty | {
            "id": "match",
            "component": "psi/ecdh",
            "parties": {"left": self.did["lender"], "right": self.did["bureau"]},
            "inputs": {"left": columns_of(loans, "id"), "right": columns_of(people, "id")},
            "params": {"normalise": {"left": [], "right": []}, "minimum_matches": 50},
        }
        parties = {"owner-1": "lender", "owner-2": "bureau", "helper-1": "regulator"}
        train = empty | {
            "id": "train",
            "component": "model/logistic",
            "parties": {role: self.did[name] for role, name in parties.items()},
            "inputs": {
                "owner-1": columns_of(loans, "late", "debt"),
                "owner-2": columns_of(people, "income", "age"),
            },
            "after": ["match"],
            "params": {"label": "late", "min_cohort": 50, "epochs": 5, "coefficients": "split"},
            "recipients": [self.did["lender"]],
        }
        agreed = {str(row["asset"]): row["agreement"] for row in self.at["lender"].agreements()}
        spec = {"v": 1, "job": new_id("job", system_clock), "title": "Who is late", "purpose": PURPOSE}
        spec |= {"agreements": {people: agreed[people]}, "steps": [match, train]}
        job = str(self.at["lender"].submit(spec)["job"])
        self.at["lender"].wait_job(job, timeout_s=300)
        return job

    def register(self, job: str) -> None:
        lender, bureau = self.at["lender"], self.at["bureau"]
        part = {"key": "id", "asset": "lender/served"}
        lender.draft_model(MODEL, job=job, step="train", purposes=[PURPOSE], part=part)
        bureau.file_model_part(MODEL, 1, {"key": "id", "asset": "bureau/served", "fallback": "mean"})
        for node in (lender, bureau):
            node.wait_model(MODEL, 1)

    def load(self, seconds: int) -> list[float]:
        """Milliseconds of each call, in ascending order, at ``RATE`` arrivals a second."""
        count, numbers, lock = RATE * seconds, itertools.count(), threading.Lock()
        self.alone(50)
        begun = time.perf_counter() + 0.5

        def call() -> list[float]:
            taken = []
            with self.running.client("lender") as node:
                while True:
                    with lock:
                        number = next(numbers)
                    if number >= count:
                        return taken
                    due = begun + number / RATE
                    time.sleep(max(due - time.perf_counter(), 0.0))
                    score(node, [person(number * 7 % self.persons)])
                    taken.append(1000 * (time.perf_counter() - due))

        with ThreadPoolExecutor(CALLERS) as pool:
            done = [pool.submit(call) for _ in range(CALLERS)]
        return sorted(one for each in done for one in each.result())

    def spent(self) -> float:
        """Seconds of CPU that both owners' nodes have used."""
        ticks = 0
        for name in CONTROLS:
            stat = Path(f"/proc/{self.running.processes[name].pid}/stat").read_text(encoding="utf-8")
            ticks += sum(map(int, stat.rpartition(")")[2].split()[11:13]))
        return ticks / os.sysconf("SC_CLK_TCK")

    def alone(self, calls: int) -> float:
        """Median milliseconds of calls one after the other."""
        taken = []
        for number in range(calls):
            started = time.perf_counter()
            score(self.at["lender"], [person(number % self.persons)])
            taken.append(1000 * (time.perf_counter() - started))
        return statistics.median(taken)

    def batch(self, persons: int) -> float:
        """Milliseconds a person of one call for many."""
        started = time.perf_counter()
        score(self.at["lender"], [person(number) for number in range(persons)])
        return 1000 * (time.perf_counter() - started) / persons


def score(node: NodeClient, persons: list[str]) -> None:
    found = node.score(MODEL, persons, PURPOSE, wait_ms=5000)
    if any(one["score"] is None or one["fallbacks"] for one in found):
        raise AssertionError("expected every owner's part in every score")


def person(number: int) -> str:
    return f"{number:012d}"


def table(owner: str, names: list[str], count: int) -> pa.Table:
    rng = np.random.Generator(np.random.PCG64(len(names) + count))
    columns: dict[str, Any] = {name: rng.normal(size=count) for name in names}
    columns["id"] = [person(number) for number in range(count)]
    if owner == "lender":
        columns["late"] = rng.integers(0, 2, count)
    return pa.table(columns)


def columns_of(asset: str, *columns: str) -> dict[str, Any]:
    return {"asset": asset, "columns": [{"name": name, "decimals": 0} for name in columns]}


def usual(owner: str, operations: list[str], cohort: int) -> dict[str, Any]:
    return {
        "operations": operations,
        "columns": list(CONTROLS[owner]),
        "uses": 10**6,
        "expires": "2099-01-01T00:00:00Z",
        "min_cohort": cohort,
    }
