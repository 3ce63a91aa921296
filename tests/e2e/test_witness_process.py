"""The witness as its own process: set up by commands, killed, started again, still on one history."""

from __future__ import annotations

import json
import os
import signal
import stat
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx
import pytest

from exchange.local.processes import free_ports
from exchange.tls import client_context
from ledger import base64url
from ledger.checkpoints import Checkpoint, cosigners
from ledger.keys import SigningKey
from ledger.merkle import Tree, leaf_hash
from ledger.notes import ED25519, Note, Vkey, sign
from ledger.witness import AddCheckpoint, parse_lines

pytestmark = pytest.mark.processes

ORIGIN = "example.org/log"
KEY = SigningKey.from_seed(bytes([1] * 32))
LOG = Vkey(ORIGIN, ED25519, KEY.public)
TREES = [Tree(leaf_hash(bytes([index, fork])) for index in range(9)) for fork in range(2)]
ENVIRONMENT = {**os.environ, "PARLEY_PASSPHRASE": "for tests only", "PYTHONSAFEPATH": "1"}
PARLEY = [sys.executable, "-P", "-m", "exchange.cli"]


def parley(*arguments: str | Path) -> str:
    command = [*PARLEY, *map(str, arguments)]
    return subprocess.run(command, env=ENVIRONMENT, check=True, capture_output=True, text=True).stdout


@contextmanager
def running(directory: Path) -> Iterator[subprocess.Popen[str]]:
    command = [*PARLEY, "witness", "run", "--dir", str(directory)]
    process = subprocess.Popen(command, env=ENVIRONMENT, stdout=subprocess.PIPE, text=True)
    try:
        assert process.stdout is not None
        assert json.loads(process.stdout.readline())["ready"]
        yield process
    finally:
        process.kill()
        process.communicate()


def request(old: int, size: int, fork: int) -> bytes:
    text = Checkpoint(ORIGIN, size, TREES[fork].root(size)).encode()
    note = Note(text, (sign(text, ORIGIN, KEY),))
    return AddCheckpoint(old, tuple(TREES[fork].consistency_proof(old, size)), note.encode()).encode()


def test_a_witness_is_set_up_killed_and_stays_on_its_history(tmp_path: Path) -> None:
    [port] = free_ports(1)
    bind = f"127.0.0.1:{port}"
    directory, out = tmp_path / "witness", tmp_path / "record.json"
    parley(
        "witness", "init", "--dir", directory, "--name", "witness.example", "--bind", bind,
        "--passphrase-kind", "random", "--out", out,
    )  # fmt: skip
    assert stat.S_IMODE(directory.stat().st_mode) == 0o700
    assert {stat.S_IMODE(path.stat().st_mode) for path in directory.iterdir()} == {0o600}
    record = json.loads(out.read_text())
    assert (
        json.loads(
            parley("witness", "add-log", "--dir", directory, "--log", LOG.encode(), "--format", "json")
        )["data"]["origin"]
        == ORIGIN
    )
    vkeys = [Vkey.parse(text) for text in record["witness"]]
    context = client_context(None, None, base64url.decode(record["tls"]))
    with httpx.Client(base_url=f"https://{bind}", verify=context, trust_env=False) as http:
        with running(directory) as process:
            answer = http.post("/add-checkpoint", content=request(0, 5, 0))
            assert answer.status_code == 200
            text = Checkpoint(ORIGIN, 5, TREES[0].root(5)).encode()
            assert list(cosigners(Note(text, tuple(parse_lines(answer.content))), vkeys)) == vkeys
            process.send_signal(signal.SIGKILL)
            process.wait()
        with running(directory) as process:
            assert http.post("/add-checkpoint", content=request(0, 5, 1)).content == b"5\n"
            assert http.post("/add-checkpoint", content=request(5, 5, 1)).status_code == 422
            assert http.post("/add-checkpoint", content=request(5, 9, 0)).status_code == 200
            process.send_signal(signal.SIGTERM)
            assert process.wait(20) == 0
