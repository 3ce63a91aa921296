"""Vertical logistic regression on credit card clients, beside Newton's method on pooled rows, and SPU."""

from __future__ import annotations

import importlib.util
import json
import multiprocessing
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path
from types import ModuleType
from typing import Any

import duckdb
import numpy as np

from exchange.demo.dataset import locate
from federated.vertical import Family, Layout, Settings, own_coefficients, standardise, train
from mpc.replicated import Runtime

FIRST = 13
LABEL = "default-payment-next-month"
AUC_TARGET = 0.002
PEER = "SPU ABY3 in one process"
Row = dict[str, object]


def rows(quick: bool) -> Iterator[Row]:
    """In a process of its own: the parties are forked, which a process with other threads must not do."""
    command = [sys.executable, "-P", __file__, *(["--quick"] if quick else [])]
    paths = os.pathsep.join(path for path in sys.path if path)
    environment = {**os.environ, "PYTHONPATH": paths}
    done = subprocess.run(command, capture_output=True, text=True, check=True, env=environment)
    yield from (json.loads(line) for line in done.stdout.splitlines() if line.startswith("{"))


def clients(quick: bool) -> tuple[np.ndarray, np.ndarray]:
    """The 23 standardised features of the source, by column, and the label.

    The file has education and marriage as indicators; here they are one number each, as in the source.
    """
    with duckdb.connect() as database:
        found = database.read_csv(str(locate())).fetchnumpy()
    limit = 3_000 if quick else None
    codes = {name: [one for one in found if one.startswith(f"{name}_")] for name in ("EDUCATION", "MARRIAGE")}
    indicators = {one for several in codes.values() for one in several}
    values = {
        name: sum(int(one.rpartition("_")[2]) * found[one].astype(np.float64) for one in several)
        for name, several in codes.items()
    }
    values |= {name: found[name] for name in found if name not in {"ID", LABEL} | indicators}
    names = list(values)
    columns = [np.asarray(one, dtype=np.float64)[:limit] for one in values.values()]
    return standardise(columns, names).values, np.asarray(found[LABEL], dtype=np.float64)[:limit]


def newton(x: np.ndarray, y: np.ndarray, l2: float) -> np.ndarray:
    design, penalty = np.vstack([np.ones(x.shape[1]), x]), l2 * np.diag([0.0] + [1.0] * len(x))
    w = np.zeros(len(design))
    for _ in range(30):
        p = 1 / (1 + np.exp(-w @ design))
        hessian = (design * (p * (1 - p))) @ design.T / len(y) + penalty
        w -= np.linalg.solve(hessian, design @ (p - y) / len(y) + penalty @ w)
    return w


def auc(scores: np.ndarray, label: np.ndarray) -> float:
    _, inverse, counts = np.unique(scores, return_inverse=True, return_counts=True)
    ranks = (np.cumsum(counts) - (counts - 1) / 2)[inverse]
    positive = label == 1
    count = positive.sum()
    return float((ranks[positive].sum() - count * (count + 1) / 2) / (count * (len(label) - count)))


def measured(quick: bool) -> Iterator[Row]:
    x, y = clients(quick)
    settings = Settings(Family.LOGISTIC, epochs=5 if quick else 30, batch=1024, rate=0.2, l2=0.001)
    started = time.perf_counter()
    reference = newton(x, y, settings.l2)
    pooled_s = time.perf_counter() - started
    weights, seconds, sent = trained(x, y, settings)
    name = f"{len(y):,} x {len(x)}, {FIRST} with label / {len(x) - FIRST}"
    ours, pooled = (auc(w[1:] @ x, y) for w in (weights, reference))
    yield {
        "metric": f"logistic regression, {name}",
        "value": ours,
        "unit": "AUC",
        "target": f"pooled within {AUC_TARGET}",
        "met": abs(ours - pooled) <= AUC_TARGET,
        "peer": "pooled, Newton",
        "peer_value": pooled,
        "ratio": ours / pooled,
    }
    largest = float(np.abs(weights - reference).max())
    yield {"metric": "largest difference of a coefficient from pooled", "value": largest, "unit": "log odds"}
    yield {
        "metric": f"training, {settings.epochs} epochs",
        "value": seconds,
        "unit": "s",
        "peer": "pooled, Newton",
        "peer_value": pooled_s,
        "ratio": seconds / pooled_s,
    }
    yield {"metric": f"bytes of all parties, {settings.epochs} epochs", "value": sent, "unit": "B"}
    one = Settings(Family.LOGISTIC, epochs=1, batch=1024, rate=0.5, momentum=0, l2=0.001)
    _, once, _ = trained(x, y, one)
    spu = by_spu(x, y, one)
    row: Row = {"metric": "one epoch, with sharing and opening", "value": once, "unit": "s"}
    if spu is not None:
        row |= {
            "peer": PEER,
            "peer_value": spu,
            "ratio": once / spu,
            "target": "below SPU",
            "met": once < spu,
        }
    yield row


def trained(x: np.ndarray, y: np.ndarray, settings: Settings) -> tuple[np.ndarray, float, int]:
    """Train among three processes: the coefficients, seconds, and bytes of all parties."""
    layout = Layout(len(y), (FIRST, len(x) - FIRST))

    def work(rt: Runtime, outcome: dict[str, Any]) -> None:
        rt.less(*(rt.constant(np.arange(70)) for _ in range(2)))  # compiles
        own = {0: x[:FIRST], 1: x[FIRST:]}.get(rt.rank)
        started = time.perf_counter()
        fit = train(rt, layout, settings, own, y if rt.rank == 0 else None)
        own_coefficients(rt, layout, fit.weights)
        outcome["s"] = time.perf_counter() - started
        opened = rt.open(fit.weights, [0])
        outcome["weights"] = None if opened is None else opened * 2.0**-20

    found = _private_runtime().together(work)
    return found["weights"], found["s"], found["bytes"]


def _private_runtime() -> ModuleType:
    """The module beside this one, by its path: others there are called as our packages are."""
    path = Path(__file__).with_name("private_runtime.py")
    spec = importlib.util.spec_from_file_location(path.stem, path)
    if spec is None or spec.loader is None:
        raise SystemExit(f"expected a module in {path}")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def by_spu(x: np.ndarray, y: np.ndarray, settings: Settings) -> float | None:
    """Seconds of the same steps by SPU where it is installed, once before to compile."""
    context = multiprocessing.get_context("fork")
    found = context.SimpleQueue()
    edges = [0, *(part.stop for part in Layout(len(y), (len(x),)).batches(settings.batch))]

    def measure() -> None:
        try:
            import jax
            import spu
            from spu.utils import simulation
        except ModuleNotFoundError:
            found.put(None)
            return

        def fit(first: Any, second: Any, label: Any) -> Any:  # noqa: ANN401 - traced by jax
            rows_ = jax.numpy.concatenate([jax.numpy.ones((1, len(y))), first, second])
            w = jax.numpy.zeros(len(x) + 1)
            for low, high in pairwise(edges):
                batch = rows_[:, low:high]
                residual = jax.nn.sigmoid(w @ batch) - label[low:high]
                gradient = batch @ residual / (high - low) + settings.l2 * w.at[0].set(0)
                w = w - settings.rate * gradient
            return w

        simulator = simulation.Simulator.simple(3, spu.ProtocolKind.ABY3, spu.FieldType.FM64)
        run = simulation.sim_jax(simulator, fit)
        run(x[:FIRST], x[FIRST:], y)
        started = time.perf_counter()
        run(x[:FIRST], x[FIRST:], y)
        found.put(time.perf_counter() - started)

    process = context.Process(target=measure)
    process.start()
    seconds: float | None = found.get()
    process.terminate()
    return seconds


if __name__ == "__main__":
    for row in measured("--quick" in sys.argv):
        print(json.dumps(row), flush=True)
