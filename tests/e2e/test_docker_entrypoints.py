"""The entry points form the compose file's consortium as plain processes, and again after a restart."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from exchange.local.processes import free_ports
from exchange.sdk import Profile

ROOT = Path(__file__).resolve().parents[2]
DOCKER = ROOT / "docker"
READY_S = 90.0

pytestmark = [pytest.mark.processes, pytest.mark.slow]


class Containers:
    """Runs each service as a process: same entry point, arguments and variables, other places."""

    def __init__(self, place: Path) -> None:
        self.place = place
        self.services: dict[str, Any] = yaml.safe_load((DOCKER / "compose.yaml").read_text("utf-8"))[
            "services"
        ]
        self.ports = {name: dict(zip(("7443", "8443"), free_ports(2), strict=True)) for name in self.services}
        self.running: dict[str, subprocess.Popen[bytes]] = {}
        (place / "papers").mkdir()
        for name in self.services:
            (place / name).mkdir(mode=0o700)
            (place / f"{name}.passphrase").write_text(f"passphrase of {name}\n")

    def here(self, name: str, word: str) -> str:
        """Translate an address or a mount of the compose file to this machine."""
        if word == "/sources":
            return str(self.place)
        if word in self.services:
            return "127.0.0.1"
        scheme, slashes, rest = word.rpartition("//")
        host, colon, port = rest.rpartition(":")
        if colon and port in ("7443", "8443"):
            owner = host if host in self.services else name
            return f"{scheme}{slashes}127.0.0.1:{self.ports[owner][port]}"
        return word

    def start(self) -> None:
        for name, service in self.services.items():
            kind = "hub" if name == "hub" else "node"
            variables = {key: self.here(name, value) for key, value in service["environment"].items()}
            if name != "hub":
                variables["PARTICIPANT"] = name
            variables |= {
                "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}",
                "PASSPHRASE_FILE": str(self.place / f"{name}.passphrase"),
                "DATA_DIR": str(self.place / name),
                "PAPERS_DIR": str(self.place / "papers"),
            }
            with (
                (self.place / f"{name}.out").open("wb") as out,
                (self.place / f"{name}.log").open("ab") as log,
            ):
                self.running[name] = subprocess.Popen(
                    [DOCKER / f"{kind}-entrypoint", *self.arguments(name, service["command"])],
                    env=variables,
                    stdin=subprocess.DEVNULL,
                    stdout=out,
                    stderr=log,
                    start_new_session=True,
                )

    def arguments(self, name: str, words: list[str]) -> list[str]:
        """Translate the values that are addresses; a title or a name of the network stays."""
        return [
            self.here(name, word) if before in ADDRESSES else word
            for before, word in zip(["", *words], words, strict=False)
        ]

    def await_ready(self) -> None:
        deadline = time.monotonic() + READY_S
        for name, process in self.running.items():
            while '"ready"' not in (self.place / f"{name}.out").read_text():
                log = (self.place / f"{name}.log").read_text()[-2000:]
                assert process.poll() is None, f"{name} ended: {log}"
                assert time.monotonic() < deadline, f"{name} is not ready: {log}"
                time.sleep(0.1)

    def stop(self) -> None:
        for process in self.running.values():
            if process.poll() is None:
                os.killpg(process.pid, signal.SIGTERM)
        for process in self.running.values():
            try:
                process.wait(20)
            except subprocess.TimeoutExpired:
                os.killpg(process.pid, signal.SIGKILL)
                process.wait()
        self.running.clear()

    def is_healthy(self, name: str) -> bool:
        check = [sys.executable, DOCKER / "healthcheck.py", str(self.ports[name]["8443"])]
        return subprocess.run(check, check=False).returncode == 0

    def members(self, name: str) -> set[tuple[str, str]]:
        with Profile.load(self.place / name, name).client() as node:
            return {(str(row["name"]), str(row["status"])) for row in node.members()}


ADDRESSES = {
    "--host",
    "--member-bind",
    "--operator-bind",
    "--api-bind",
    "--party-bind",
    "--party-endpoint",
    "--source-root",
}


@pytest.fixture
def containers(tmp_path: Path) -> Iterator[Containers]:
    made = Containers(tmp_path)
    try:
        yield made
    finally:
        made.stop()


def test_the_compose_file_forms_a_consortium_that_survives_a_restart(containers: Containers) -> None:
    everyone = {(name, "active") for name in containers.services if name != "hub"}
    containers.start()
    containers.await_ready()
    assert all(containers.is_healthy(name) for name in containers.services)
    assert containers.members("analyst") == everyone
    genesis = (containers.place / "papers" / "genesis.json").read_bytes()

    containers.stop()
    assert not containers.is_healthy("hub")
    containers.start()
    containers.await_ready()
    assert containers.members("regulator") == everyone
    assert (containers.place / "papers" / "genesis.json").read_bytes() == genesis

    public = {path.name for path in (containers.place / "papers").iterdir()}
    assert public == {
        "hub.json",
        "genesis.draft",
        "genesis.json",
        *(f"{name}.{kind}" for name, _ in everyone for kind in ("enrolment.json", "genesis")),
    }
    assert json.loads((containers.place / "papers" / "lender.enrolment.json").read_text())["v"] == 1
