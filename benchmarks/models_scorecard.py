"""Weight of evidence and a scorecard on credit card clients, beside pooled rows, and optbinning.

optbinning is looked for in the interpreter that PARLEY_BENCH_PEERS names.
"""

from __future__ import annotations

import importlib.util
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np

from exchange.jobs.scorecard.columns import Column, Fine, fine_bins
from exchange.jobs.scorecard.tables import BinnedColumn, binned
from federated.binning import groups_of
from federated.merging import summed
from federated.vertical import Family, Settings, standardise
from federated.vertical.event_counts import Layout, group_events, own_events
from mpc.replicated import Runtime

BINS, LEAST_ROWS, LEAST_EVENTS, MOST = 20, 100, 5, 8
AUC_TARGET = 0.002
PEER = "optbinning, pooled"
MERGE = "optimal"
Row = dict[str, object]


def rows(quick: bool) -> Iterator[Row]:
    """In a process of its own: the parties are forked, which a process with other threads must not do."""
    command = [sys.executable, "-P", __file__, *(["--quick"] if quick else [])]
    paths = os.pathsep.join(path for path in sys.path if path)
    environment = {**os.environ, "PYTHONPATH": paths}
    done = subprocess.run(command, capture_output=True, text=True, check=True, env=environment)
    yield from (json.loads(line) for line in done.stdout.splitlines() if line.startswith("{"))


def measured(quick: bool) -> Iterator[Row]:
    regression = _beside("models_regression")
    first = regression.FIRST
    x, y = regression.clients(quick)
    label = y == 1
    started = time.perf_counter()
    fine = [fine_bins(Column(str(at), one, None), BINS, None, LEAST_ROWS) for at, one in enumerate(x)]
    binning_s = time.perf_counter() - started
    opened, seconds, sent = counted(fine[first:], label)
    name = f"{len(y):,} rows, {len(x) - first} columns of {BINS} bins"
    yield {"metric": f"fine bins at home, {len(y):,} rows, {len(x)} columns", "value": binning_s, "unit": "s"}
    yield {"metric": f"events of another owner's bins, {name}", "value": seconds, "unit": "s"}
    yield {"metric": f"bytes of all parties, {name}", "value": sent, "unit": "B"}
    started = time.perf_counter()
    columns = [of_pooled(one, label) for one in fine[:first]]
    columns += [of_counts(one, opened[:, at]) for at, one in enumerate(fine[first:])]
    joining_s = time.perf_counter() - started
    total = sum(float(one.iv) for one in columns)
    row: Row = {"metric": f"information values of {len(x)} columns, summed", "value": total, "unit": "nats"}
    peer = by_optbinning(x, y)
    if peer is not None:
        row |= {"peer": PEER, "peer_value": peer[0], "ratio": total / peer[0]}
    yield row
    row = {"metric": "optimal binning at home, all columns", "value": binning_s + joining_s, "unit": "s"}
    if peer is not None:
        row |= {"peer": PEER, "peer_value": peer[1], "ratio": (binning_s + joining_s) / peer[1]}
    yield row
    weighed = [np.array([float(w) for w in one.woe])[_codes(one, x[at])] for at, one in enumerate(columns)]
    weights = standardise(weighed, [one.name for one in columns]).values
    settings = Settings(Family.LOGISTIC, epochs=5 if quick else 30, batch=1024, rate=0.2, l2=0.001)
    fitted, _, _ = regression.trained(weights, y, settings)
    reference = regression.newton(weights, y, settings.l2)
    ours, pooled = (regression.auc(w[1:] @ weights, y) for w in (fitted, reference))
    yield {
        "metric": f"scorecard on shares, {len(y):,} x {len(x)}",
        "value": ours,
        "unit": "AUC",
        "target": f"pooled within {AUC_TARGET}",
        "met": abs(ours - pooled) <= AUC_TARGET,
        "peer": "pooled, Newton",
        "peer_value": pooled,
        "ratio": ours / pooled,
    }


def counted(fine: list[Fine], label: np.ndarray) -> tuple[np.ndarray, float, int]:
    """Count events among three processes: what the owner of the bins learns, seconds, bytes of all."""
    layout = Layout(len(label), (0, len(fine)), BINS + 1, LEAST_EVENTS)
    codes = np.stack([one.codes for one in fine])

    def work(rt: Runtime, outcome: dict[str, Any]) -> None:
        rt.less(*(rt.constant(np.arange(70)) for _ in range(2)))  # compiles
        started = time.perf_counter()
        groups = group_events(rt, layout, label if rt.rank == 0 else None, codes if rt.rank == 1 else None)
        own_events(rt, layout, groups)
        outcome["s"] = time.perf_counter() - started
        outcome["events"] = rt.open(groups, [0])

    found = _beside("private_runtime").together(work)
    return found["events"], found["s"], found["bytes"]


def of_counts(fine: Fine, events: np.ndarray) -> BinnedColumn:
    """A column of the owner that was told the events of groups."""
    ends = events[: fine.bins.count - 1] > 0
    starts = np.concatenate([[True], ends])
    return binned(fine, starts, np.append(events[: len(ends)][ends], events[-1]), MERGE, MOST)


def of_pooled(fine: Fine, label: np.ndarray) -> BinnedColumn:
    """A column of the label's holder."""
    events = np.bincount(fine.codes[label], minlength=fine.bins.count)
    starts = groups_of(np.stack([events, fine.rows - events]), LEAST_EVENTS)
    return binned(fine, starts, summed(events, starts), MERGE, MOST)


def by_optbinning(x: np.ndarray, y: np.ndarray) -> tuple[float, float] | None:
    """Information values summed, and seconds; None where no interpreter with optbinning is named."""
    interpreter = os.environ.get("PARLEY_BENCH_PEERS")
    if interpreter is None:
        return None
    options = {
        "prebinning_method": "quantile",
        "max_n_prebins": BINS,
        "max_n_bins": MOST,
        "monotonic_trend": "auto_asc_desc",
        "min_prebin_size": LEAST_ROWS / len(y),
    }
    script = Path(__file__).parent / "peers" / "optbinning_values.py"
    with tempfile.NamedTemporaryFile(suffix=".npz") as file:
        np.savez(file, x=x, y=y)
        file.flush()
        command = [interpreter, "-W", "ignore", str(script), file.name, json.dumps(options)]
        own = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
        done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True, env=own)
    found = json.loads(done.stdout)
    return found["sum"], found["s"]


def _codes(column: BinnedColumn, values: np.ndarray) -> np.ndarray:
    return column.bins.of_numbers(values, column.name)


def _beside(name: str) -> ModuleType:
    """A module beside this one, by its path: others there are called as our packages are."""
    path = Path(__file__).with_name(f"{name}.py")
    spec = importlib.util.spec_from_file_location(path.stem, path)
    if spec is None or spec.loader is None:
        raise SystemExit(f"expected a module in {path}")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


if __name__ == "__main__":
    for row in measured("--quick" in sys.argv):
        print(json.dumps(row), flush=True)
