"""Boosted trees over two owners' columns, each owner a process, beside plain XGBoost at equal settings.

XGBoost is looked for in this interpreter, or in the one that PARLEY_BENCH_PEERS names; where it is in neither
its columns stay empty. Seconds are of rounds after the first, in which multipliers are transformed.
"""

from __future__ import annotations

import importlib.util
import json
import multiprocessing
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np

from federated import boosting
from federated.boosting import SPEC, Objective, Settings, auc, bin_columns, confusion, objectives
from mpc import SystemRandomness
from mpc.mesh import Mesh, mesh_run

FIRST = 13
TARGETS = {Objective.LOGISTIC: 0.005, Objective.SOFTMAX: 0.01, Objective.SQUARED: 0.01}
"""How far from XGBoost's the figure of an objective may be."""
TREE_S = 1.77
"""Target for a tree at 10,000 x 20, depth 5, 20 bins."""
PEER = "XGBoost, pooled"
_XGBOOST = """
import json, sys, time
import numpy, xgboost
given = numpy.load(sys.argv[1])
options = json.loads(sys.argv[2])
trees = options.pop("trees")
data = xgboost.QuantileDMatrix(given["x"], given["y"], max_bin=options["max_bin"], base_margin=given["base"])
xgboost.train(options, data, 1)
started = time.perf_counter()
model = xgboost.train(options, data, trees)
seconds = time.perf_counter() - started
margins = numpy.atleast_2d(model.predict(data, output_margin=True).T)
print(json.dumps({"margins": margins.tolist(), "s": seconds / trees}))
"""
Row = dict[str, object]


def rows(quick: bool) -> Iterator[Row]:
    """In a process of its own: the owners are forked, which a process with other threads must not do."""
    command = [sys.executable, "-P", __file__, *(["--quick"] if quick else [])]
    paths = os.pathsep.join(path for path in sys.path if path)
    environment = {**os.environ, "PYTHONPATH": paths}
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True, env=environment)
    yield from (json.loads(line) for line in done.stdout.splitlines() if line.startswith("{"))


def measured(quick: bool) -> Iterator[Row]:
    x, y = _beside("models_regression").clients(quick)
    yield from compared(x, y, FIRST, Settings(trees=3 if quick else 20))
    generator = np.random.Generator(np.random.PCG64(3))
    x = generator.normal(size=(20, 2_000 if quick else 10_000))
    fitted = x[0] + x[10] * x[1] - x[12]
    y = (generator.random(x.shape[1]) < 1 / (1 + np.exp(-fitted))).astype(np.float64)
    for row in compared(x, y, 10, Settings(trees=3 if quick else 5, bins=20)):
        if row["unit"] == "s" and not quick:
            row |= {"target": TREE_S, "met": row["value"] < TREE_S}
        yield row
    classes = np.digitize(fitted, np.quantile(fitted, (1 / 3, 2 / 3))).astype(np.float64)
    base = Settings(trees=3 if quick else 5, bins=20)
    ways = tuple((1,) * 10 for _ in range(2))
    for name, label, change in (
        ("three classes", classes, {"objective": Objective.SOFTMAX, "classes": 3}),
        ("squared error", fitted, {"objective": Objective.SQUARED, "l1": 5.0}),
        ("monotone in every column", y, {"monotone": ways}),
        ("fifth of rows and a tenth of the others", y, {"top_rate": 0.2, "other_rate": 0.1}),
    ):
        yield next(compared(x, label, 10, replace(base, **change), name))


def figure(margins: np.ndarray, y: np.ndarray, objective: Objective) -> tuple[float, str]:
    """How well margins explain the label, and what that is called."""
    if objective is Objective.SOFTMAX:
        table = confusion(margins, y)
        return float(np.trace(table) / table.sum()), "accuracy"
    if objective is Objective.SQUARED:
        return float(1 - np.mean((margins[0] - y) ** 2) / np.var(y)), "R2"
    return auc(margins[0], y), "AUC"


def compared(
    x: np.ndarray, y: np.ndarray, first: int, settings: Settings, kind: str | None = None
) -> Iterator[Row]:
    # On processors XGBoost does not draw rows by gradients.
    found, peer = trained(x, y, first, settings), None if settings.samples else by_xgboost(x, y, settings)
    name = f"boosted trees, {len(y):,} x {len(x)}, {first} with label, {settings.trees} trees"
    ours, unit = figure(found["margins"], y, settings.objective)
    target = TARGETS[settings.objective]
    row: Row = {
        "metric": name if kind is None else f"{name}, {kind}",
        "value": ours,
        "unit": unit,
        "target": None if settings.samples else f"pooled within {target}",
    }
    if peer is not None:
        pooled, _ = figure(np.array(peer["margins"]), y, settings.objective)
        row |= {
            "met": abs(ours - pooled) <= target,
            "peer": PEER,
            "peer_value": pooled,
            "ratio": ours / pooled,
        }
    yield row
    row = {
        "metric": f"one tree of depth {settings.depth}, {settings.bins} bins",
        "value": found["s"],
        "unit": "s",
    }
    if peer is not None:
        row |= {"peer": PEER, "peer_value": peer["s"], "ratio": found["s"] / peer["s"]}
    yield row
    yield {
        "metric": "processor time of the label holder, one tree",
        "value": found["cpu"][0],
        "unit": "CPU s",
    }
    yield {"metric": "processor time of the other owner, one tree", "value": found["cpu"][1], "unit": "CPU s"}
    yield {"metric": "bytes of both, one tree", "value": found["bytes"] / settings.trees, "unit": "B"}


def trained(x: np.ndarray, y: np.ndarray, first: int, settings: Settings) -> dict[str, Any]:
    """Train between two processes: margins, seconds and processor time of a later tree, and bytes."""
    context = multiprocessing.get_context("fork")
    ends = context.Pipe()
    found = context.SimpleQueue()
    pipe_channel = _beside("private_runtime").PipeChannel

    def party(rank: int) -> None:
        channel = pipe_channel(rank, ends[rank])
        own = x[:first] if rank == 0 else x[first:]
        binned = bin_columns(list(own), [str(number) for number in range(len(own))], settings.bins)
        times: list[tuple[float, float]] = []

        def progress(done: int, total: int) -> None:
            times.append((time.perf_counter(), time.process_time()))

        margins, rng = None, SystemRandomness()
        with mesh_run(Mesh(rank, b"benchmark of two", {1 - rank: channel}), SPEC) as peers:
            if rank == 0:
                margins = boosting.label_holder(peers, settings, binned, y, rng, progress=progress).margins
            else:
                boosting.feature_owner(peers, settings, binned, rng, progress=progress)
        channel.close()
        elapsed, worked = (np.diff(one).mean() for one in zip(*times, strict=True))
        found.put((rank, margins, float(elapsed), float(worked), channel.stats.bytes_sent))

    processes = [context.Process(target=party, args=(rank,)) for rank in range(2)]
    for process in processes:
        process.start()
    holder, other = sorted((found.get() for _ in processes), key=lambda one: one[0])
    for process in processes:
        process.join()
    return {"margins": holder[1], "s": holder[2], "cpu": (holder[3], other[3]), "bytes": holder[4] + other[4]}


def by_xgboost(x: np.ndarray, y: np.ndarray, settings: Settings) -> dict[str, Any] | None:
    """Margins and seconds a tree of XGBoost on pooled columns, in a process; None where it is absent."""
    interpreter = os.environ.get("PARLEY_BENCH_PEERS")
    if interpreter is None and importlib.util.find_spec("xgboost") is None:
        return None
    objective = {
        Objective.LOGISTIC: "binary:logistic",
        Objective.SOFTMAX: "multi:softprob",
        Objective.SQUARED: "reg:squarederror",
    }[settings.objective]
    options = {
        "objective": objective,
        "trees": settings.trees,
        "max_depth": settings.depth,
        "eta": settings.rate,
        "alpha": settings.l1,
        "lambda": settings.l2,
        "gamma": settings.gamma,
        "min_child_weight": settings.min_child_weight,
        "max_bin": settings.bins,
        "tree_method": "hist",
    }
    if settings.objective is Objective.SOFTMAX:
        options["num_class"] = settings.classes
    if settings.monotone:
        options["monotone_constraints"] = str(tuple(one for own in settings.monotone for one in own))
    base = np.repeat([objectives.base_margins(y, settings)], len(y), axis=0)
    with tempfile.NamedTemporaryFile(suffix=".npz") as file:
        np.savez(file, x=x.T, y=y, base=base)
        file.flush()
        command = [interpreter or sys.executable, "-c", _XGBOOST, file.name, json.dumps(options)]
        done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True)
    found: dict[str, Any] = json.loads(done.stdout)
    return found


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
