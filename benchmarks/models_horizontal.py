"""Federated averaging on credit card clients, beside pooled rows and each owner alone; what a round costs.

Rounds of Flower are measured where PARLEY_BENCH_FLOWER names an interpreter with flwr[simulation].
"""

from __future__ import annotations

import importlib.util
import os
import subprocess
import time
from collections.abc import Iterator, Sequence
from dataclasses import replace
from functools import cache
from pathlib import Path
from types import ModuleType

import numpy as np

from federated.horizontal import (
    SPEC,
    Columns,
    Family,
    Settings,
    Table,
    Terms,
    Trained,
    aggregate,
    costs,
    local,
    predicted,
    train,
)
from federated.horizontal.private import Noise
from mpc import SystemRandomness
from mpc.mesh import Mesh
from mpc.testing import mesh_of, run_mesh

SESSION = b"benchmark of horizontal training"
OWNERS = 5
AUC_TARGET = 0.002
ROUND_TARGET_S = 0.2
MANY = 10
FLOWER = "Flower's FedAvg, simulated, no training and no masks"
Row = dict[str, object]


def rows(quick: bool) -> Iterator[Row]:
    x, y = _regression().clients(quick)
    settings = Settings(Family.LOGISTIC, rounds=8 if quick else 25, batch=64, rate=0.1)
    draw = np.random.Generator(np.random.PCG64(1))
    order = draw.permutation(len(y))
    held, kept = np.split(order, [len(y) // 5])
    test = (x.T[held], y[held])
    even = np.array_split(kept, OWNERS)
    skewed = x[0, kept] + 2 * y[kept] + draw.normal(size=len(kept))
    uneven = np.array_split(kept[skewed.argsort()], OWNERS)
    yield from accuracy("even split", settings, x, y, even, kept, test)
    yield from accuracy("split by credit limit and label", settings, x, y, uneven, kept, test)
    proximal = replace(settings, mu=0.1)
    yield from accuracy("the same, FedProx", proximal, x, y, uneven, kept, test)
    yield from rounds(x, y, quick)


def accuracy(
    name: str,
    settings: Settings,
    x: np.ndarray,
    y: np.ndarray,
    parts: Sequence[np.ndarray],
    pooled: np.ndarray,
    test: tuple[np.ndarray, np.ndarray],
) -> Iterator[Row]:
    """AUC on rows that nobody trained on: of the joint model, of pooled rows, of each owner's alone."""
    auc, newton = _regression().auc, _regression().newton
    found, _ = trained(settings, [tables(x, y, part) for part in parts])
    features, _ = found.scales.of(Table(_names(x), test[0], "default", test[1]))
    ours = auc(predicted(settings, found.parameters, features), test[1])
    reference = auc(test[0] @ newton(x[:, pooled], y[pooled], 1e-4)[1:], test[1])
    alone = [auc(test[0] @ newton(x[:, part], y[part], 1e-2)[1:], test[1]) for part in parts]
    yield {
        "metric": f"model/fedavg, logistic, {len(pooled):,} x {len(x)}, {len(parts)} owners, {name}",
        "value": ours,
        "unit": "AUC",
        "target": f"pooled within {AUC_TARGET}" if name == "even split" else "best owner alone",
        "met": abs(ours - reference) <= AUC_TARGET if name == "even split" else ours > max(alone),
        "peer": "pooled, Newton",
        "peer_value": reference,
        "ratio": ours / reference,
    }
    yield {"metric": f"best of {len(parts)} owners alone, {name}", "value": max(alone), "unit": "AUC"}


def rounds(x: np.ndarray, y: np.ndarray, quick: bool) -> Iterator[Row]:
    """What a round takes beyond local training, all parties in one process, channels in memory."""
    count = 2 if quick else 20
    for hidden in ((), (32,)):
        settings = Settings(Family.LOGISTIC, hidden, rounds=count, batch=64, rate=0.05)
        small = [tables(x, y, np.arange(200) + 200 * owner) for owner in range(MANY)]
        _, seconds = trained(settings, small)
        parameters = settings.parameters(len(x))
        started = time.perf_counter()
        for table in small:
            local.update(settings, np.zeros(parameters), table.features, table.label, SystemRandomness())
        beyond = seconds / (count + 3) - (time.perf_counter() - started)
        row: Row = {
            "metric": f"a round of {parameters:,} parameters and {MANY} owners, beyond local training",
            "value": beyond,
            "unit": "s",
            "target": f"at most {ROUND_TARGET_S} s",
            "met": beyond <= ROUND_TARGET_S,
        }
        flower = by_flower(parameters, count)
        if flower is not None:
            row |= {"peer": FLOWER, "peer_value": flower, "ratio": beyond / flower}
        yield row
        sent = costs.sent("owner", MANY, len(x), settings) / (count + 3)
        yield {"metric": f"bytes of an owner a round, {parameters:,} parameters", "value": sent, "unit": "B"}


def by_flower(parameters: int, count: int) -> float | None:
    """Seconds a round of Flower's own simulation takes, where it is installed."""
    interpreter = os.environ.get("PARLEY_BENCH_FLOWER")
    if interpreter is None:
        return None
    script = Path(__file__).parent / "peers" / "flower_rounds.py"
    command = [interpreter, str(script), str(MANY), str(parameters), str(1 + count)]
    offline = {"FLWR_TELEMETRY_ENABLED": "0", "RAY_USAGE_STATS_ENABLED": "0"}
    done = subprocess.run(
        command, capture_output=True, text=True, check=True, env={**os.environ, **offline}, timeout=600
    )
    return float(done.stdout.splitlines()[-1])


def tables(x: np.ndarray, y: np.ndarray, part: np.ndarray) -> Table:
    return Table(_names(x), x.T[part], "default", y[part])


def trained(settings: Settings, owners: Sequence[Table], noise: Noise | None = None) -> tuple[Trained, float]:
    """Train among threads of this process, with noise where rows are private: the model, and seconds."""
    terms = Terms(SPEC, len(owners), len(owners), SESSION, patience_s=60)
    columns = Columns(owners[0].columns, 1)

    def play(mesh: Mesh) -> Trained:
        if mesh.rank == 0:
            return aggregate(mesh.channels, terms, settings, columns)
        others = {rank: channel for rank, channel in mesh.channels.items() if rank}
        return train(
            mesh.channels[0],
            others,
            terms,
            mesh.rank,
            settings,
            columns,
            owners[mesh.rank - 1],
            SystemRandomness(),
            noise=noise,
        )

    meshes = mesh_of(len(owners) + 1, SESSION, timeout_s=120)
    started = time.perf_counter()
    found = run_mesh([play] * (len(owners) + 1), meshes)
    return found[0], time.perf_counter() - started


def _names(x: np.ndarray) -> tuple[str, ...]:
    return tuple(f"x{number}" for number in range(len(x)))


@cache
def _regression() -> ModuleType:
    """The module beside this one, by its path: others there are called as our packages are."""
    path = Path(__file__).with_name("models_regression.py")
    spec = importlib.util.spec_from_file_location(path.stem, path)
    if spec is None or spec.loader is None:
        raise SystemExit(f"expected a module in {path}")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module
