"""Anonymous lookups end to end: SDK, own node over HTTPS, owner's node over mutual TLS, all in one process.

``warm`` is a query for one key when the hint is here: two exchanges of messages, a ticket that is signed,
judged and kept on both sides. What a release costs to build is measured apart.
"""

from __future__ import annotations

import csv
import statistics
import tempfile
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from exchange.testing import ConsortiumInProcess

NAMES = ("owner", "asker", "regulator")
PURPOSE = "dpv:FraudPreventionAndDetection"
SERVICE = "owner/listed"
RECORD_BYTES = 32
TARGET_S = 0.150


def rows(quick: bool) -> Iterator[dict[str, object]]:
    for entries in (2_000,) if quick else (100_000, 1_000_000):
        with tempfile.TemporaryDirectory() as folder:
            yield from measured(Path(folder), entries, *((5, 20) if quick else (200, 10_000)))
            for thread in threading.enumerate():
                if thread.name == "ledger-follower":  # reads its folder until its last poll has ended
                    thread.join()


def measured(folder: Path, entries: int, queries: int, batch: int) -> Iterator[dict[str, object]]:
    (folder / "data").mkdir()
    with ConsortiumInProcess(folder / "nodes", NAMES, sources=[folder / "data"]) as running:
        publish(running, folder / "data" / "listed.csv", entries)
        started = time.perf_counter()
        released = open_service(running)
        name = f"{entries:,} x {RECORD_BYTES} B"
        yield {"metric": f"{name}: build", "value": time.perf_counter() - started, "unit": "s"}
        yield {"metric": f"{name}: hint", "value": released["hint"]["bytes"], "unit": "B"}
        asker = running.client("asker")
        started = time.perf_counter()
        ask(asker, [account(0)])
        yield {
            "metric": f"{name}: first query, with the hint",
            "value": time.perf_counter() - started,
            "unit": "s",
        }
        taken = []
        for number in range(queries):
            started = time.perf_counter()
            ask(asker, [account(number * 2)])
            taken.append(time.perf_counter() - started)
        for label, value in (
            ("p50", statistics.median(taken)),
            ("p99", sorted(taken)[-1 - len(taken) // 100]),
        ):
            row: dict[str, object] = {"metric": f"{name}: warm {label}", "value": value, "unit": "s"}
            yield row | {"target": f"{TARGET_S} s", "met": value <= TARGET_S}
        keys = [account(number) for number in range(entries - batch // 2, entries + batch // 2)]
        started = time.perf_counter()
        found = ask(asker, keys)
        spent = time.perf_counter() - started
        if sum(one["found"] for one in found) != batch // 2:
            raise AssertionError("expected half of the batch on the list")
        yield {"metric": f"{name}: batch of {batch:,} keys", "value": spent, "unit": "s"}
        yield {"metric": f"{name}: batch, a key", "value": spent / batch * 1e3, "unit": "ms"}


def account(number: int) -> str:
    return f"6222{number:012d}"


def publish(running: ConsortiumInProcess, path: Path, entries: int) -> None:
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["account", "reason"])
        writer.writerows((account(number), f"case {number}") for number in range(entries))
    columns = [("account", "identifier", "AFTER_JOIN"), ("reason", "text", "AS_JOIN_PAYLOAD")]
    options = {"colour": "black", "identifier": "account", "attributes": ["reason"]}
    terms: dict[str, Any] = {
        "operations": ["pir/keyword"],
        "columns": ["account", "reason"],
        "uses": 10**6,
        "expires": "2099-01-01T00:00:00Z",
        "min_cohort": 1,
        "output_types": ["lookup/record"],
    }
    with_time = running.client("owner")
    with_time._http.timeout = 1200.0
    with_time.publish(
        {
            "name": "listed",
            "title": "Listed",
            "source": {"kind": "list", "location": str(path), "options": options},
            "columns": [
                {"name": name, "role": role, "sensitivity": "internal", "control": control}
                for name, role, control in columns
            ],
            "terms": {"purposes": [PURPOSE], **terms},
        }
    )
    asked = running.client("asker").request_agreement({"asset": SERVICE, "purpose": PURPOSE, **terms})
    running.client("owner").approve(asked["negotiation"], "a benchmark")


def open_service(running: ConsortiumInProcess) -> dict[str, Any]:
    keys = [{"column": "account", "rules": []}]
    body = {"service": SERVICE, "asset": SERVICE, "keys": keys, "record": ["reason"], "purposes": [PURPOSE]}
    made = running.client("owner").open_lookup({**body, "record_bytes": RECORD_BYTES})
    return dict(made["released"])


def ask(asker: Any, keys: list[str]) -> list[dict[str, Any]]:  # noqa: ANN401 - a client of the SDK
    [answer] = asker.lookup([SERVICE], keys, PURPOSE)
    if answer["outcome"] != "answered":
        raise AssertionError(answer["detail"])
    return list(answer["records"])
