"""Intersection of ten million rows a side by psi/ecdh, through hub, nodes and ledger: time and memory.

The set lies on disk in buckets; the figure to look at is the memory of a node.
"""

from __future__ import annotations

import importlib.util
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

from exchange.local import Consortium

OWNERS = ("lender", "bureau")
STEP_TIMEOUT_S = 6 * 3600
MIB = 2**20


def rows(quick: bool) -> Iterator[dict[str, object]]:
    count = 20_000 if quick else 10_000_000
    jobs = neighbour("private_engines")
    with tempfile.TemporaryDirectory(prefix="parley-bench-") as name:
        folder = Path(name)
        jobs.write_tables(folder, count, "people")
        with Consortium.up(
            folder / "home",
            (*OWNERS, "analyst"),
            data={owner: [folder] for owner in OWNERS},
            settings={owner: {"step_timeout_s": STEP_TIMEOUT_S} for owner in (*OWNERS, "analyst")},
        ) as running:
            idle = max(peak_mib(running.processes[owner].pid) for owner in OWNERS)
            started = time.perf_counter()
            agreements = jobs.publish_and_agree(running, folder, "people")
            published = time.perf_counter() - started
            whole, step = jobs.ask(running, agreements, "people", "psi/ecdh", timeout_s=STEP_TIMEOUT_S)
            peak = max(peak_mib(running.processes[owner].pid) for owner in OWNERS)
    what = f"psi/ecdh, {count:,} x {count:,}"
    yield {"metric": f"{what}, both tables published and agreed", "value": published, "unit": "s"}
    yield {"metric": f"{what}, job from submission to completion", "value": whole, "unit": "s"}
    yield {"metric": f"{what}, the step alone", "value": step, "unit": "s"}
    yield {
        "metric": f"{what}, most memory of an owner's node",
        "value": peak,
        "unit": "MiB",
        "peer": "the same node before",
        "peer_value": idle,
        "ratio": peak / idle,
    }


def neighbour(name: str) -> ModuleType:
    """A module beside this one."""
    path = Path(__file__).with_name(f"{name}.py")
    spec = importlib.util.spec_from_file_location(name, path)
    if spec is None or spec.loader is None:
        raise SystemExit(f"expected a module in {path}")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def peak_mib(pid: int) -> float:
    """The most memory a process has had, with what it shares (``VmHWM``)."""
    lines = Path(f"/proc/{pid}/status").read_text(encoding="utf-8").splitlines()
    kib = next(int(line.split()[1]) for line in lines if line.startswith("VmHWM:"))
    return kib * 1024 / MIB
