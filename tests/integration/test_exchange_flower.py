"""Flower apps, run by flwr itself: bad ones among owners in one process, and one as a job of real nodes."""

from __future__ import annotations

import hashlib
import logging
import os
import subprocess
import textwrap
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet
import pytest

from exchange.errors import JobRefused
from exchange.examples import horizontal
from exchange.jobs.component import Outcome
from exchange.jobs.flower.component import component_of
from exchange.jobs.flower.installation import Flower
from exchange.jobs.spec import JobSpec
from exchange.jobs.testing import JOB, OwnersRun
from exchange.testing import ConsortiumInProcess
from ledger.entries import new_id
from ledger.times import system_clock
from mpc.engines import flower
from mpc.errors import EngineFailed, TooFewParties, ValueOutOfRange

PYTHON = Path(os.environ.get("PARLEY_TEST_FLOWER", "/dev/null/nowhere"))
pytestmark = [
    pytest.mark.bridges,
    pytest.mark.xdist_group("exchange-engines"),
    pytest.mark.skipif(not PYTHON.exists(), reason="PARLEY_TEST_FLOWER names no Python"),
]
EXAMPLE = Path(horizontal.__file__).parent / "apps" / "late_payment.py"
SECRET = 110_101_199.0
"""A value of one row, which no error may say."""

APP = """
import os, socket, sys, time
import numpy as np
from flwr.app import Array, ArrayRecord, ConfigRecord, Message, MetricRecord, RecordDict
from flwr.clientapp import ClientApp
from flwr.serverapp import ServerApp
from flwr.serverapp.strategy import FedAdam, FedAvg, FedProx

client, server = ClientApp(), ServerApp()
NODES = {"min_train_nodes": 1, "min_evaluate_nodes": 1, "min_available_nodes": 1}

@client.train()
def train(message, context):
    table = np.load(context.node_config["rows"])
    arrays = {"w": message.content["arrays"]["w"].numpy() + np.array([len(table), 2.0]) / 10}
    metrics = {"num-examples": len(table), "loss": 1.0, "other": float(table["x"][0])}
    if len(table) == 22:
        pass
        ## CLIENT
    reply = {"arrays": ArrayRecord({key: Array(one) for key, one in arrays.items()}),
             "metrics": MetricRecord(metrics)}
    return Message(RecordDict(reply), reply_to=message)

@server.main()
def main(grid, context):
    strategy = FedAvg(fraction_evaluate=0.0, **NODES)
    first = ArrayRecord({"w": Array(np.array([1.0, -1.0]))})
    pass
    ## SERVER
    result = strategy.start(grid=grid, initial_arrays=first, num_rounds=2)
    context.state["arrays"] = result.arrays
"""


def app_of(client: str = "", server: str = "") -> bytes:
    """The app, with lines put in at the owner that has 22 rows, and at the server."""
    source = APP.replace("        ## CLIENT", textwrap.indent(client, " " * 8))
    return source.replace("    ## SERVER", textwrap.indent(server, " " * 4)).encode()


def played(tmp_path: Path, source: bytes, **params: Any) -> OwnersRun:
    """Four owners of 21 to 24 rows run an app; three must stay."""
    digest = hashlib.sha256(source).hexdigest()
    (tmp_path / f"{digest}.py").write_bytes(source)
    roles = [f"owner-{number}" for number in range(1, 5)]
    step = {
        "id": "train",
        "component": "bridge/flower",
        "version": 1,
        "parties": {"aggregator": "did:key:zA"} | {role: f"did:key:z{role}" for role in roles},
        "inputs": {role: {"asset": f"{role}/t", "columns": [{"name": "x", "decimals": 0}]} for role in roles},
        "after": [],
        "params": {
            "app": digest,
            "arrays": [{"name": "w", "shape": [2]}],
            "model": "recipients",
            "min_cohort": 20,
            "threshold": 3,
            "patience_s": 60,
            "messages": 4,
            "train_metrics": ["loss"],
            "clip_micro": 16_000_000,
        }
        | params,
        "recipients": ["did:key:zA"],
    }
    component = component_of(Flower(PYTHON, tmp_path))
    spec = JobSpec.from_json(
        {"v": 1, "job": JOB, "title": "t", "purpose": "p", "agreements": {}, "steps": [step]}
    )
    component.check(spec, spec.steps[0])
    tables = {number: pa.table({"x": [SECRET + number] * (20 + number)}) for number in range(1, 5)}
    return OwnersRun(component, spec.steps[0], tables, spool=tmp_path / "spool", timeout_s=120)


def values(run: OwnersRun) -> list[float]:
    return [float(str(row[2])) for row in run.result().rows]


def moved(*rows: int, rounds: int = 2) -> list[float]:
    """The arrays after plain averaging over owners of so many rows."""
    return [1.0 + rounds * sum(one * one for one in rows) / sum(rows) / 10, -1.0 + rounds * 0.2]


def test_flwr_of_that_python_starts_enclosed() -> None:
    assert flower.version(PYTHON) == "1.41.0"


@pytest.mark.parametrize(
    "server",
    [
        "",
        "strategy = FedProx(proximal_mu=0.1, fraction_evaluate=0.0, **NODES)",
    ],
)
def test_strategies_that_average_get_the_mean_of_all_owners(tmp_path: Path, server: str) -> None:
    run = played(tmp_path, app_of(server=server))
    np.testing.assert_allclose(values(run), moved(21, 22, 23, 24), rtol=0, atol=1e-6)
    assert run.result().facts["messages"] == [[1, "train", 90, "loss", "1"], [2, "train", 90, "loss", "1"]]
    assert list((tmp_path / "spool").iterdir()) == []
    released = b"".join(run.released().values())
    assert b"other" not in released


def test_a_strategy_with_an_optimiser_of_its_own_steps_by_the_mean(tmp_path: Path) -> None:
    """FedAdam of Reddi et al. 2021, algorithm 2, in numpy."""
    run = played(
        tmp_path, app_of(server="strategy = FedAdam(eta=0.1, tau=0.001, fraction_evaluate=0.0, **NODES)")
    )
    arrays, m, v = np.array([1.0, -1.0]), np.zeros(2), np.zeros(2)
    delta = np.array([sum(one * one for one in range(21, 25)) / 90 / 10, 0.2])
    for number in (1, 2):
        m, v = 0.9 * m + 0.1 * delta, 0.99 * v + 0.01 * delta**2
        eta = 0.1 * np.sqrt(1 - 0.99 ** (number + 1.0)) / (1 - 0.9 ** (number + 1.0))
        arrays = arrays + eta * m / (np.sqrt(v) + 0.001)
    np.testing.assert_allclose(values(run), arrays, rtol=0, atol=1e-6)


@pytest.mark.parametrize(
    ("client", "kind", "words"),
    [
        ("raise ValueError(str(table))", EngineFailed, "the app ended: ValueError"),
        ("raise type(f'Row{int(table[0][0])}', (Exception,), {})", EngineFailed, "a kind of its own"),
        ("os._exit(0)", EngineFailed, "its process ended"),
        ("socket.create_connection(('192.0.2.1', 80), 5)", EngineFailed, "the app ended: OSError"),
        ("open('/etc/passwd')", EngineFailed, "the app ended: FileNotFoundError"),
        ("bytearray(2**36)", EngineFailed, "the app ended: MemoryError"),
        ("arrays['w'] = arrays['w'] * np.nan", ValueOutOfRange, "2 of 2 values"),
        ("arrays['w'] = arrays['w'] + np.inf", ValueOutOfRange, "2 of 2 values"),
        ("arrays['w'] = arrays['w'][:1]", EngineFailed, "the app ended: ValueError"),
        ("arrays['v'] = arrays.pop('w')", EngineFailed, "the app ended: ValueError"),
        ("del metrics['loss']", EngineFailed, "the app ended: KeyError"),
        ("metrics['loss'] = float('nan')", ValueOutOfRange, "metrics: 1 of 1"),
        ("metrics['num-examples'] = 23", ValueOutOfRange, "examples"),
        ("os.write(4, b'x' * 200_000)\nos.write(3, b'x' * 200_000)", EngineFailed, "the app ended"),
    ],
)
def test_an_owner_whose_app_goes_wrong_is_absent_and_nothing_of_its_rows_is_said(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, client: str, kind: type[Exception], words: str
) -> None:
    caplog.set_level(logging.DEBUG)
    run = played(tmp_path, app_of(client))
    failed = run.ends["owner-2"]
    assert isinstance(failed, kind)
    assert words in str(failed)
    assert str(int(SECRET))[:6] not in f"{failed} {failed.__cause__} {caplog.text}"
    assert run.result().facts["absent"] == ["did:key:zowner-2"]
    np.testing.assert_allclose(values(run), moved(21, 23, 24), rtol=0, atol=1e-6)


def test_an_app_that_hangs_is_absent_after_the_patience(tmp_path: Path) -> None:
    run = played(tmp_path, app_of("time.sleep(3600)"), patience_s=15)
    assert not isinstance(run.ends["owner-2"], Outcome)
    assert run.result().facts["absent"] == ["did:key:zowner-2"]
    assert list((tmp_path / "spool").iterdir()) == []


def test_what_an_app_prints_goes_nowhere(
    tmp_path: Path, capfd: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    run = played(tmp_path, app_of("print(table)\nsys.stderr.write(str(table))\nos.write(1, b'1101011')"))
    np.testing.assert_allclose(values(run), moved(21, 22, 23, 24), rtol=0, atol=1e-6)
    assert "1101011" not in "".join(capfd.readouterr()) + caplog.text


def test_fewer_owners_than_the_threshold_have_no_result(tmp_path: Path) -> None:
    run = played(tmp_path, app_of("os._exit(0)"), threshold=4)
    assert isinstance(run.ends["aggregator"], TooFewParties)
    assert not any(isinstance(end, Outcome) for end in run.ends.values())


@pytest.mark.parametrize(
    ("server", "words"),
    [
        ("strategy = FedAvg(fraction_evaluate=0.0)", "the app ended: ValueError"),
        ("raise RuntimeError('no')", "the app ended: RuntimeError"),
        ("return", "the app ended: ValueError"),
        ("first = ArrayRecord({'w': Array(np.zeros(3))})", "the app ended: ValueError"),
        (
            "grid.send_and_receive([Message(RecordDict({'a': first}), 1, 'query')])",
            "the app ended: ValueError",
        ),
        ("first = ArrayRecord({'w': Array(np.array([np.nan, 0.0]))})", "1 of 2 numbers are not finite"),
        ("strategy.start(grid=grid, initial_arrays=first, num_rounds=5)", "messages: expected at most 4"),
        ("socket.create_connection(('192.0.2.1', 80), 5)", "the app ended: OSError"),
    ],
)
def test_a_server_that_goes_wrong_ends_the_run(tmp_path: Path, server: str, words: str) -> None:
    run = played(tmp_path, app_of(server=server))
    assert words in str(run.ends["aggregator"])
    assert not any(isinstance(end, Outcome) for end in run.ends.values())


TORCH = """
import numpy as np
import torch
from flwr.app import ArrayRecord, Message, MetricRecord, RecordDict
from flwr.clientapp import ClientApp
from flwr.serverapp import ServerApp
from flwr.serverapp.strategy import FedAvg

client, server = ClientApp(), ServerApp()

def network():
    torch.manual_seed(1)
    return torch.nn.Sequential(torch.nn.Linear(1, 3), torch.nn.Tanh(), torch.nn.Linear(3, 1))

@client.train()
def train(message, context):
    x = torch.tensor(np.load(context.node_config["rows"])["x"] / 1e8, dtype=torch.float32)[:, None]
    model = network()
    model.load_state_dict(message.content["arrays"].to_torch_state_dict())
    optimiser = torch.optim.SGD(model.parameters(), lr=0.1)
    for _ in range(3):
        optimiser.zero_grad()
        ((model(x) - x) ** 2).mean().backward()
        optimiser.step()
    reply = {"arrays": ArrayRecord(model.state_dict()), "metrics": MetricRecord({"num-examples": len(x)})}
    return Message(RecordDict(reply), reply_to=message)

@server.main()
def main(grid, context):
    strategy = FedAvg(fraction_evaluate=0.0, min_train_nodes=1, min_available_nodes=1)
    first = ArrayRecord(network().state_dict())
    context.state["arrays"] = strategy.start(grid=grid, initial_arrays=first, num_rounds=2).arrays
"""
IN_THE_CLEAR = """
import sys
exec(sys.stdin.read())
models = network().state_dict()
for _ in range(2):
    parts = []
    for number in range(1, 5):
        rows = np.full(20 + number, 110_101_199.0 + number, dtype=[("x", "<f8")])
        np.save("rows.npy", rows)
        message = Message(RecordDict({"arrays": ArrayRecord(models)}), 1, "train")
        state = train(message, type("Context", (), {"node_config": {"rows": "rows.npy"}}))
        parts.append((len(rows), state.content["arrays"].to_torch_state_dict()))
    total = sum(rows for rows, _ in parts)
    models = {name: sum(rows * part[name].double() for rows, part in parts) / total for name in models}
print(*(float(one) for name in models for one in models[name].flatten()))
"""


@pytest.mark.skipif(
    not list(PYTHON.parent.parent.glob("lib/python3*/site-packages/torch")), reason="no torch there"
)
def test_a_network_of_torch_is_the_one_averaged_in_the_clear(tmp_path: Path) -> None:
    shapes = {"0.weight": [3, 1], "0.bias": [3], "2.weight": [1, 3], "2.bias": [1]}
    arrays = [{"name": name, "shape": shape} for name, shape in shapes.items()]
    run = played(tmp_path, TORCH.encode(), arrays=arrays, train_metrics=[])
    identity = (
        "from flwr.supercore.task_identity import TaskIdentity as T; T.task_id = T.run_id = T.node_id = 1"
    )
    done = subprocess.run(
        [PYTHON, "-c", f"{identity}\n{IN_THE_CLEAR}"],
        input=TORCH,
        capture_output=True,
        text=True,
        check=True,
        cwd=tmp_path,
    )
    np.testing.assert_allclose(values(run), [float(one) for one in done.stdout.split()], rtol=0, atol=1e-6)


# a job of real nodes

PURPOSE = "dpv:CustomerSolvencyMonitoring"
OWNERS = ("north", "south", "east")
COLUMNS = {"late": "label", "debt": "feature", "income": "feature"}


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ConsortiumInProcess]:
    folder, root = tmp_path_factory.mktemp("tables"), tmp_path_factory.mktemp("consortium")
    digest = hashlib.sha256(EXAMPLE.read_bytes()).hexdigest()
    (folder / f"{digest}.py").write_bytes(EXAMPLE.read_bytes())
    environ = {"PARLEY_FLOWER_PYTHON": str(PYTHON), "PARLEY_FLOWER_APPS": str(folder)}
    with ConsortiumInProcess(root, (*OWNERS, "analyst"), sources=[folder], environ=environ) as consortium:
        for number, owner in enumerate(OWNERS, start=1):
            pyarrow.parquet.write_table(horizontal._table(number), folder / f"{owner}.parquet")
            consortium.client(owner).publish(
                {
                    "name": "loans",
                    "title": "Loans",
                    "source": {"kind": "file", "location": str(folder / f"{owner}.parquet")},
                    "columns": [
                        {"name": name, "role": role, "sensitivity": "internal", "control": "AFTER_AGGREGATE"}
                        for name, role in COLUMNS.items()
                    ],
                    "terms": asked_of() | {"purposes": [PURPOSE]},
                }
            )
        yield consortium


def asked_of() -> dict[str, Any]:
    return {
        "operations": ["bridge/flower"],
        "columns": list(COLUMNS),
        "uses": 9,
        "expires": "2099-01-01T00:00:00Z",
        "min_cohort": 50,
        "output_types": ["aggregate"],
    }


def test_an_app_runs_as_a_job_of_nodes_that_have_exactly_that_app(running: ConsortiumInProcess) -> None:
    analyst, agreements = running.client("analyst"), {}
    for owner in OWNERS:
        asked = analyst.request_agreement({"asset": f"{owner}/loans", "purpose": PURPOSE, **asked_of()})
        agreements[f"{owner}/loans"] = str(
            running.client(owner).approve(asked["negotiation"], "a test")["agreement"]
        )
    for agreement in agreements.values():
        analyst.wait_agreement(agreement)
    empty: dict[str, Any] = {"inputs": {}, "after": [], "params": {}, "recipients": [], "version": 1}
    did = running.did("analyst")
    training = empty | {
        "id": "train",
        "component": "bridge/flower",
        "parties": {f"owner-{at}": running.did(owner) for at, owner in enumerate(OWNERS, start=1)}
        | {"aggregator": did},
        "inputs": {
            f"owner-{at}": {
                "asset": f"{owner}/loans",
                "columns": [{"name": name, "decimals": 0} for name in COLUMNS],
            }
            for at, owner in enumerate(OWNERS, start=1)
        },
        "params": {
            "app": hashlib.sha256(EXAMPLE.read_bytes()).hexdigest(),
            "arrays": [{"name": "weights", "shape": [3]}],
            "model": "recipients",
            "min_cohort": 50,
            "threshold": 3,
            "patience_s": 60,
            "messages": 8,
            "evaluate_metrics": ["loss"],
            "config": horizontal._APP_CONFIG,
        },
        "recipients": [did],
    }
    reading = empty | {
        "id": "read",
        "component": "report/result",
        "parties": {"reader": did},
        "after": ["train"],
    }

    def submit(**params: Any) -> str:
        steps = [training | {"params": training["params"] | params}, reading]
        spec = {
            "v": 1,
            "job": new_id("job", system_clock),
            "title": "Who is late",
            "purpose": PURPOSE,
            "agreements": agreements,
            "steps": steps,
        }
        return str(analyst.submit(spec)["job"])

    with pytest.raises(JobRefused, match="expected the app 0000000000000000"):
        analyst.wait_job(submit(app="0" * 64), timeout_s=60)
    job = submit()
    analyst.wait_job(job, timeout_s=240)
    answer = analyst.result(job)[0]
    found = [float(row[2]) for row in answer["rows"]]
    np.testing.assert_allclose(found, horizontal._averaged_in_the_clear(), rtol=0, atol=1e-6)
    assert answer["facts"]["present"] == sorted(running.did(owner) for owner in OWNERS)
    assert [line[1:4] for line in answer["facts"]["messages"]][:2] == [
        ["train", 750, None],
        ["evaluate", 750, "loss"],
    ]
    receipts = [
        one for one in analyst.entries(job=job, type_="receipt.step") if one["body"]["step"] == "train"
    ]
    assert {one["body"]["engine"] for one in receipts} == {"flower 1.41.0"}
    assert len(receipts) == 4
    for owner in OWNERS:
        assert list((running.root / owner / "spool").iterdir()) == []
