"""Networks and clusters on shares, a network on SPU, and private rows, beside the same in clear and peers.

scikit-learn and Opacus are looked for in the interpreter that PARLEY_BENCH_PEERS names, or in this one; rows
beside one that is absent are left out. Networks and clusters are of two owners' columns, 13 with the label
and 10, among three processes; owners of rows, and of the network on SPU, are on channels in memory.
"""

from __future__ import annotations

import importlib.util
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np

from exchange.jobs.fedavg.privacy import RowPrivacy
from federated import horizontal, network, shared_kmeans
from federated.horizontal import Clusters, Private, Table
from federated.horizontal.clusters import directions, nearest, start, summed
from federated.horizontal.models import initial
from federated.horizontal.private import Noise, bounded, scales_within
from federated.network.settings import ACTIVATION_LIMIT, WEIGHT_LIMIT
from federated.shared_kmeans import Centres
from federated.shared_kmeans.training import places_of
from federated.vertical import Family, Layout
from federated.vertical.settings import WEIGHT_FRACTION
from ledger.rules.budgets import epsilon
from mpc import SystemRandomness
from mpc.engines import networks, spu
from mpc.engines.networks import FRACTION, Layer, Task
from mpc.engines.shares import Sharing
from mpc.mesh import Mesh
from mpc.replicated import Runtime
from mpc.testing import mesh_of, run_mesh

AUC_TARGET = 0.002
SEED = b"benchmark of networks on shares"
BOUND = 3.0
"""Standard deviations beyond which values are taken at the bound, in clusters and where rows are private."""
LAYERS = (Layer(23, 32, True), Layer(32, 16, True), Layer(16, 1, False))
UNITS = ", ".join(str(one.outputs) for one in LAYERS)
OWNERS = 3
DELTA_EXPONENT = 6
CLEAR = "the same in clear, numpy"
MLP = "scikit-learn's MLPClassifier, pooled"
KMEANS = "scikit-learn's KMeans, pooled, the same start"
UNNOISED = "the same without noise"
OPACUS = "Opacus, pooled, the same noise"
_MILLION = 10**6
_BEGIN = """
import json, sys, time
import numpy
given, options = numpy.load(sys.argv[1]), json.loads(sys.argv[2])
try:
    import {}
except ModuleNotFoundError:
    sys.exit(print("null"))
"""
_NETWORK = (
    _BEGIN.format("sklearn.neural_network")
    + """
model = sklearn.neural_network.MLPClassifier((options["units"],), max_iter=options["epochs"], random_state=0)
started = time.perf_counter()
model.fit(given["x"], given["y"])
seconds = time.perf_counter() - started
print(json.dumps({"scores": model.predict_proba(given["test"])[:, 1].tolist(), "s": seconds}))
"""
)
_CLUSTERS = (
    _BEGIN.format("sklearn.cluster")
    + """
start = given["start"]
model = sklearn.cluster.KMeans(len(start), init=start, n_init=1, max_iter=options["steps"], tol=0)
started = time.perf_counter()
model.fit(given["points"])
seconds = (time.perf_counter() - started) / model.n_iter_
print(json.dumps({"inertia": float(model.inertia_), "s": seconds}))
"""
)
_PRIVATE = (
    _BEGIN.format("opacus")
    + """
import torch
x, y = (torch.tensor(given[name], dtype=torch.float32) for name in "xy")
widths = [x.shape[1], *options["hidden"], 1]
layers = [torch.nn.Linear(*pair) for pair in zip(widths, widths[1:])]
at = 0
for layer in layers:
    outputs, inputs = layer.weight.shape
    own = torch.tensor(given["start"][at : at + (inputs + 1) * outputs], dtype=torch.float32)
    layer.bias.data, layer.weight.data = own[:outputs], own[outputs:].reshape(inputs, outputs).T.contiguous()
    at += len(own)
parts = [part for layer in layers for part in (layer, torch.nn.Tanh())]
model = torch.nn.Sequential(*parts[:-1])
optimizer = torch.optim.SGD(model.parameters(), options["rate"])
rows = torch.utils.data.TensorDataset(x, y)
loader = torch.utils.data.DataLoader(rows, round(options["sample"] * len(y)))
engine = opacus.PrivacyEngine(accountant="rdp")
model, optimizer, loader = engine.make_private(
    module=model,
    optimizer=optimizer,
    data_loader=loader,
    noise_multiplier=options["noise"],
    max_grad_norm=options["clip"],
)
started, done = time.perf_counter(), 0
while done < options["steps"]:
    for batch, label in loader:
        optimizer.zero_grad()
        torch.nn.functional.binary_cross_entropy_with_logits(model(batch)[:, 0], label).backward()
        optimizer.step()
        done += 1
        if done == options["steps"]:
            break
seconds = time.perf_counter() - started
scores = model(torch.tensor(given["test"], dtype=torch.float32))[:, 0].tolist()
print(json.dumps({"scores": scores, "epsilon": engine.get_epsilon(options["delta"]), "s": seconds}))
"""
)
Row = dict[str, object]


def rows(quick: bool) -> Iterator[Row]:
    """In a process of its own: the parties are forked, which a process with other threads must not do."""
    command = [sys.executable, "-P", __file__, *(["--quick"] if quick else [])]
    paths = os.pathsep.join(path for path in sys.path if path)
    environment = {**os.environ, "PYTHONPATH": paths}
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True, env=environment)
    yield from (json.loads(line) for line in done.stdout.splitlines() if line.startswith("{"))


def measured(quick: bool) -> Iterator[Row]:
    x, y = _beside("models_regression").clients(quick)
    order = np.random.Generator(np.random.PCG64(1)).permutation(len(y))
    held, kept = np.split(order, [len(y) // 5])
    # Those that fork come before those that start threads.
    yield from of_network(x, y, kept, held, quick)
    yield from of_clusters(x, quick)
    yield from of_scores(x, quick)
    yield from of_private_rows(x, y, kept, held, quick)


def of_network(
    x: np.ndarray, y: np.ndarray, kept: np.ndarray, held: np.ndarray, quick: bool
) -> Iterator[Row]:
    """AUC on rows that nobody trained on, and what training takes."""
    regression = _beside("models_regression")
    first = regression.FIRST
    settings = network.Settings(Family.LOGISTIC, epochs=4 if quick else 30)
    layout = Layout(len(kept), (first, len(x) - first))
    features, label = x[:, kept], y[kept]

    def work(rt: Runtime, outcome: dict[str, Any]) -> None:
        rt.less(*(rt.constant(np.arange(70)) for _ in range(2)))  # compiles
        own = {0: features[:first], 1: features[first:]}.get(rt.rank)
        started, rounds = time.perf_counter(), rt.rounds
        fit = network.train(rt, layout, settings, own, label if rt.rank == 0 else None, SEED)
        network.own_weights(rt, layout, settings, fit.weights)
        outcome["s"], outcome["rounds"] = time.perf_counter() - started, rt.rounds - rounds
        opened = rt.open(fit.weights, [0])
        outcome["weights"] = None if opened is None else opened * 2.0**-WEIGHT_FRACTION

    found = _beside("private_runtime").together(work)
    started = time.perf_counter()
    clear = descended(features, label, layout, settings)
    clear_s = time.perf_counter() - started
    ours, plain = (
        regression.auc(passed(w, settings.units, x[:, held])[-1], y[held]) for w in (found["weights"], clear)
    )
    peer = by_peer(
        _NETWORK,
        {"x": features.T, "y": label, "test": x[:, held].T},
        units=settings.units,
        epochs=settings.epochs,
    )
    name = f"model/network, {len(kept):,} x {len(x)}, {settings.units} units, {settings.epochs} epochs"
    yield {
        **compared(name, ours, "AUC", CLEAR, plain),
        "target": f"in clear within {AUC_TARGET}",
        "met": abs(ours - plain) <= AUC_TARGET,
    }
    if peer is not None:
        yield compared(name, ours, "AUC", MLP, regression.auc(np.array(peer["scores"]), y[held]))
    largest = float(np.abs(found["weights"] - clear).max())
    yield {"metric": "largest difference of a weight from clear", "value": largest, "unit": "weight"}
    name = f"training on shares, {settings.epochs} epochs, batches of {settings.batch}"
    yield compared(name, found["s"], "s", CLEAR, clear_s)
    if peer is not None:
        yield compared(name, found["s"], "s", MLP, peer["s"])
    yield {"metric": f"bytes of all parties, {settings.epochs} epochs", "value": found["bytes"], "unit": "B"}
    yield {"metric": f"rounds, {settings.epochs} epochs", "value": found["rounds"], "unit": "rounds"}


def passed(weights: np.ndarray, units: int, x: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Sums and activations of hidden units, and sums of the output, in clear."""
    hidden, output = weights[: -1 - units].reshape(units, -1), weights[-1 - units :]
    inner = hidden[:, :1] + hidden[:, 1:] @ x
    activations = np.clip(inner, 0, ACTIVATION_LIMIT)
    return inner, activations, output[0] + output[1:] @ activations


def descended(x: np.ndarray, y: np.ndarray, layout: Layout, settings: network.Settings) -> np.ndarray:
    """The weights of the same steps from the same start, in clear."""
    weights = network.initial(layout, settings, SEED) * 2.0**-WEIGHT_FRACTION
    for epoch in range(settings.epochs):
        for part in layout.batches(settings.batch):
            batch = x[:, part]
            inner, activations, fitted = passed(weights, settings.units, batch)
            residual = (1 / (1 + np.exp(-fitted)) - y[part]) / batch.shape[1]
            slopes = (inner > 0) & (inner < ACTIVATION_LIMIT)
            back = weights[-settings.units :, None] * slopes * residual
            hidden = np.column_stack([back.sum(axis=1), back @ batch.T])
            gradient = np.concatenate([hidden.ravel(), [residual.sum()], activations @ residual])
            weights = np.clip(weights - settings.rate_of(epoch) * gradient, -WEIGHT_LIMIT, WEIGHT_LIMIT)
    return weights


def of_clusters(x: np.ndarray, quick: bool) -> Iterator[Row]:
    """Squared distances from the centres, and what a step takes."""
    first, columns, steps = _beside("models_regression").FIRST, len(x), 4 if quick else 20
    names = tuple(f"x{number}" for number in range(columns))
    agreed = Clusters(names, (-BOUND,) * columns, (BOUND,) * columns, 5, seed=1, least=20, rounds=steps)
    layout = Layout(x.shape[1], (first, columns - first))

    def work(rt: Runtime, outcome: dict[str, Any]) -> None:
        rt.less(*(rt.constant(np.arange(70)) for _ in range(2)))  # compiles
        own = None
        if rt.rank < len(layout.columns):
            place = places_of(layout, rt.rank)
            own = shared_kmeans.own_columns(agreed, place, list(x[place]))
        times: list[float] = []
        found = shared_kmeans.train(
            rt, layout, agreed, own, lambda done, total: times.append(time.perf_counter())
        )
        outcome["s"], outcome["opened"] = float(np.diff(times).mean()), rt.open(found.clusters, [0])

    found = _beside("private_runtime").together(work)
    centres = Centres.of(found["opened"], agreed)
    points = agreed.scaled(x.T)
    started = time.perf_counter()
    plain = lloyd(points, agreed)
    clear_s = (time.perf_counter() - started) / steps
    ours = float(centres.inertia.sum())
    name = f"model/kmeans-columns, {len(points):,} x {columns}, {agreed.count} clusters, {steps} steps"
    yield compared(name, ours, "inertia", CLEAR, float(plain[centres.numbers - 1].sum()))
    peer = by_peer(_CLUSTERS, {"points": points, "start": start(agreed)}, steps=steps)
    if peer is not None:
        yield compared(name, ours, "inertia", KMEANS, peer["inertia"])
    step = f"a step of {agreed.count} clusters on shares"
    yield compared(step, found["s"], "s", CLEAR, clear_s)
    if peer is not None:
        yield compared(step, found["s"], "s", KMEANS, peer["s"])
    yield {"metric": f"bytes of all parties, {steps} steps", "value": found["bytes"], "unit": "B"}


def lloyd(points: np.ndarray, agreed: Clusters) -> np.ndarray:
    """Inertia of each cluster after the same steps from the same start, small clusters moved alike."""
    centres = start(agreed)
    for _ in range(agreed.rounds):
        codes = nearest(points, centres)
        count, _, sums = summed(points, codes, centres)
        means = sums / np.maximum(count, 1)[:, None]
        beside = means[count.argmax()] + directions(agreed) * 2.0**-10
        centres = np.where((count >= agreed.least)[:, None], means, beside)
    return summed(points, codes, means)[1]


def of_scores(x: np.ndarray, quick: bool) -> Iterator[Row]:
    """Rows scored by another's network on SPU's engines, with their start."""
    if spu.version() is None:
        return
    draw = np.random.Generator(np.random.PCG64(5))
    held = networks.Network(
        tuple(draw.normal(0, np.sqrt(2 / one.inputs), (one.outputs, one.inputs)) for one in LAYERS),
        tuple(draw.normal(0, 0.1, one.outputs) for one in LAYERS),
    )
    for kind, many in ((Sharing.ABY3, 16_384), (Sharing.CHEETAH, 1_024)):
        features = x[:, : 64 if quick else many].T
        task = Task(kind, LAYERS, len(features), float(np.ceil(np.abs(features).max())))
        scores, seconds, sent = scored(task, features, held)
        started = time.perf_counter()
        plain = forward(features, held)
        clear_s = time.perf_counter() - started
        name = f"model/inference-{kind}, {len(features):,} x {len(x)}, {UNITS} units, engines started"
        rate = len(features) / seconds
        yield compared(name, rate, "rows/s", CLEAR, len(features) / clear_s)
        largest = float(np.abs(scores - plain).max())
        yield {"metric": f"{kind}: largest error against numpy", "value": largest, "unit": "score"}
        yield {"metric": f"{kind}: bytes of all parties, a row", "value": sent / len(features), "unit": "B"}


def scored(task: Task, features: np.ndarray, held: networks.Network) -> tuple[np.ndarray, float, int]:
    """Play all parties in threads, their engines in processes: the scores, seconds, and bytes of all."""
    meshes = mesh_of(task.kind.computing, timeout_s=600)
    with tempfile.TemporaryDirectory(prefix="parley-bench-") as name:

        def play(mesh: Mesh) -> np.ndarray | None:
            own = (features, held, None)[mesh.rank]
            return networks.score(mesh, task, own, Path(name), SystemRandomness())

        started = time.perf_counter()
        told, *_ = run_mesh([play] * len(meshes), meshes)
        seconds = time.perf_counter() - started
    assert told is not None
    sent = sum(channel.stats.bytes_sent for mesh in meshes for channel in mesh.channels.values())
    return told * 2.0**-FRACTION, seconds, sent


def forward(features: np.ndarray, held: networks.Network) -> np.ndarray:
    values = features
    for layer, weights, biases in zip(LAYERS, held.weights, held.biases, strict=True):
        values = values @ weights.T + biases
        values = np.maximum(values, 0) if layer.is_rectified else values
    return values


def of_private_rows(
    x: np.ndarray, y: np.ndarray, kept: np.ndarray, held: np.ndarray, quick: bool
) -> Iterator[Row]:
    """A regression and a network of rows of several owners, by what is spent of each row."""
    ends = (BOUND,) * len(x)
    private = Private((*(-one for one in ends), 0.0), (*ends, 1.0), clip=1.0, sample=20_000, steps=10)
    settings = horizontal.Settings(
        horizontal.Family.LOGISTIC, rounds=5 if quick else 30, rate=1.0, private=private
    )
    table = _beside("models_horizontal").tables
    tables = [table(x, y, part) for part in np.array_split(kept, OWNERS)]
    scales = scales_within(private, settings.family)
    pooled, test = (scales.of(bounded(private, table(x, y, part))) for part in (kept, held))
    given = dict(zip(("x", "y", "test", "label"), (*pooled, *test), strict=True))
    levels = [least_noise(most * _MILLION, private, settings.rounds) for most in (1, 3, 8)]
    for hidden in ((), (16,)):
        yield from by_noise(replace(settings, hidden=hidden), levels, tables, given, 1 if quick else 3)


def by_noise(
    settings: horizontal.Settings,
    levels: Sequence[RowPrivacy],
    tables: Sequence[Table],
    given: dict[str, np.ndarray],
    runs: int,
) -> Iterator[Row]:
    """AUC on rows that nobody trained on, the mean of some runs, with noise of each level and without any."""
    beside, auc = _beside("models_horizontal"), _beside("models_regression").auc

    def measure(noise: Noise) -> tuple[float, float]:
        aucs, taken = [], []
        for _ in range(runs):
            found, seconds = beside.trained(settings, tables, noise)
            scores = horizontal.predicted(settings, found.parameters, given["test"])
            aucs.append(auc(scores, given["label"]))
            taken.append(seconds)
        return float(np.mean(aucs)), float(np.mean(taken))

    plain, plain_s = measure(lambda sensitivity, count: np.zeros(count, dtype=np.int64))
    count, columns = given["x"].shape
    parameters, first = settings.parameters(columns), initial(settings, columns, beside.SESSION)
    name = f"model/fedavg, private rows, {count:,} x {columns}, {len(tables)} owners, {parameters} parameters"
    for privacy in levels:
        spent = epsilon(privacy.loss(settings.rounds), DELTA_EXPONENT) / _MILLION
        ours, seconds = measure(privacy.draw)
        named = f"{name}, epsilon {spent:.2f} at delta 1e-{DELTA_EXPONENT}"
        yield compared(named, ours, "AUC", UNNOISED, plain)
        peer = by_peer(
            _PRIVATE,
            {**given, "start": first},
            hidden=settings.hidden,
            rate=settings.rate,
            sample=privacy.sample_micro / _MILLION,
            noise=privacy.noise_micro / _MILLION,
            clip=privacy.clip_micro / _MILLION,
            steps=privacy.steps * settings.rounds,
            delta=10.0**-DELTA_EXPONENT,
        )
        if peer is not None:
            yield compared(named, ours, "AUC", OPACUS, auc(np.array(peer["scores"]), given["label"]))
            if not settings.hidden:
                steps = f"{privacy.steps * settings.rounds} steps"
                account = f"what {steps} with noise {privacy.noise_micro / _MILLION:.3f} spend"
                yield compared(account, spent, "epsilon", OPACUS, peer["epsilon"])
    name = f"training with noise, {parameters} parameters, {settings.rounds} rounds of {privacy.steps} steps"
    yield compared(name, seconds, "s", UNNOISED, plain_s)
    if peer is not None:
        yield compared(name, seconds, "s", OPACUS, peer["s"])


def least_noise(epsilon_micro: int, private: Private, rounds: int) -> RowPrivacy:
    """The privacy of a step with the least noise, to a thousandth, that spends no more than that."""
    clip = round(private.clip * _MILLION)
    stated = RowPrivacy(epsilon_micro, DELTA_EXPONENT, 0, private.sample, private.steps, clip, {})
    low, high = 300, 100_000
    while low < high:
        middle = (low + high) // 2
        tried = replace(stated, noise_micro=1000 * middle)
        is_enough = epsilon(tried.loss(rounds), DELTA_EXPONENT) <= epsilon_micro
        low, high = (low, middle) if is_enough else (middle + 1, high)
    return replace(stated, noise_micro=1000 * high)


def by_peer(script: str, arrays: dict[str, np.ndarray], **options: object) -> dict[str, Any] | None:
    """What a script of a peer prints, in a process; None where the peer is absent."""
    interpreter = os.environ.get("PARLEY_BENCH_PEERS", sys.executable)
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    with tempfile.NamedTemporaryFile(suffix=".npz") as file:
        np.savez(file, **arrays)
        file.flush()
        command = [interpreter, "-P", "-W", "ignore", "-c", script, file.name, json.dumps(options)]
        done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True, env=environment)
    found: dict[str, Any] | None = json.loads(done.stdout)
    return found


def compared(metric: str, value: float, unit: str, peer: str, peer_value: float) -> Row:
    return {
        "metric": metric,
        "value": value,
        "unit": unit,
        "peer": peer,
        "peer_value": peer_value,
        "ratio": value / peer_value,
    }


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
