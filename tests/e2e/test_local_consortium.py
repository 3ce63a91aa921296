"""A consortium started by ``parley up``, and the README's commands run in it word for word."""

from __future__ import annotations

import json
import os
import re
import shlex
import shutil
import signal
import stat
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from exchange.local import AlreadyUp, ChildFailed, Consortium
from exchange.local.processes import is_alive

pytestmark = pytest.mark.processes

ROOT = Path(__file__).resolve().parents[2]
ORGS = ("lender", "bureau", "analyst", "regulator")


class Shell:
    """Runs the README's lines in a directory of its own."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.environment = {k: v for k, v in os.environ.items() if not k.startswith("PARLEY_")}

    def run(self, line: str, *more: str) -> subprocess.CompletedProcess[str]:
        words = shlex.split(line)
        assert words[0] == "parley"
        command = [sys.executable, "-P", "-m", "exchange.cli", *words[1:], *more]
        return subprocess.run(
            command,
            cwd=self.directory,
            env=self.environment,
            capture_output=True,
            text=True,
            check=False,
            timeout=120,
        )

    def json(self, line: str) -> dict[str, object]:
        done = self.run(line, "--format", "json")
        assert done.returncode == 0, done.stderr
        loaded: dict[str, object] = json.loads(done.stdout)
        return loaded


def readme_commands() -> list[str]:
    section = (ROOT / "README.md").read_text(encoding="utf-8").split("## Your own data")[1].split("\n## ")[0]
    blocks = re.findall(r"```sh\n(.*?)```", section, flags=re.DOTALL)
    return [line for block in blocks for line in block.splitlines() if line.startswith("parley ")]


@pytest.fixture(scope="module")
def shell(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Shell]:
    made = Shell(tmp_path_factory.mktemp("own"))
    shutil.copytree(ROOT / "docs" / "example", made.directory / "docs" / "example")
    yield made
    made.run("parley down")


@pytest.fixture(scope="module")
def walked(shell: Shell) -> int:
    """Run the README's lines, each of which needs those before it; how many approvals there were."""
    approvals = 0
    for line in readme_commands():
        if "NEGOTIATION" in line:
            org = re.findall(r"--org (\w+)", line)[0]
            rows = shell.json(f"parley agreement list --requests --org {org}")["data"]
            assert isinstance(rows, list)
            line = line.replace("NEGOTIATION", str(rows[-1]["negotiation"]))
            approvals += 1
        done = shell.run(line)
        assert done.returncode == 0, f"{line}\n{done.stdout}\n{done.stderr}"
        if line.startswith("parley up"):
            check_directories(shell.directory / ".parley")
        if line.startswith("parley stats"):
            assert (shell.directory / "result" / "table.csv").exists()
    return approvals


def test_the_readmes_commands_work_as_they_stand(shell: Shell, walked: int) -> None:
    assert walked == 2
    altered = bytearray((shell.directory / "evidence.zip").read_bytes())
    altered[-200] ^= 0x01
    (shell.directory / "altered.zip").write_bytes(altered)
    assert shell.run("parley verify altered.zip").returncode == 1


def check_directories(home: Path) -> None:
    """Every process has a directory that only its user may enter, and its own keys."""
    for directory in (home / "hub", *(home / "nodes" / org for org in ORGS)):
        assert stat.S_IMODE(directory.stat().st_mode) == 0o700
    for path in (home / "secrets").iterdir():
        assert stat.S_IMODE(path.stat().st_mode) == 0o600
    secrets = {path.read_text() for path in (home / "secrets").iterdir()}
    assert len(secrets) == len(ORGS) + 1


@pytest.mark.slow
@pytest.mark.usefixtures("walked")
def test_a_stopped_consortium_starts_again_with_its_history(shell: Shell) -> None:
    assert shell.run("parley status").returncode == 1
    before = json.loads((shell.directory / ".parley" / "consortium.json").read_text())["genesis"]
    assert shell.run("parley up").returncode == 0
    assert shell.run("parley status").returncode == 0
    again = shell.run("parley up", "--format", "json")
    assert (again.returncode, json.loads(again.stdout)["error_code"]) == (4, "local.already-up")
    node = shell.json("parley ledger status --org regulator")
    assert json.loads((shell.directory / ".parley" / "consortium.json").read_text())["genesis"] == before
    assert node["status"] == "ok"
    assets = shell.json("parley asset list --org lender")["data"]
    assert isinstance(assets, list)
    assert assets
    check_notarization(shell)
    check_ledger(shell)
    assert shell.run("parley down").returncode == 0
    for org in ORGS:
        assert shell.run(f"parley ledger fsck --dir .parley/nodes/{org}").returncode == 0


def check_notarization(shell: Shell) -> None:
    """Files are put on record; a copy is verified with the node gone, an altered one is told from it."""
    for name, content in {"report.pdf": b"rating AA", "annex.pdf": b"", "copy.pdf": b"rating AB"}.items():
        (shell.directory / name).write_bytes(content)
    made = shell.json("parley notarize report.pdf annex.pdf --org lender --kind credit-report")["data"]
    assert isinstance(made, list)
    genesis = json.loads((shell.directory / ".parley" / "consortium.json").read_text())["genesis"]
    verify = f"parley notarize verify --proof report.pdf.parley-proof --genesis {genesis}"
    assert shell.run(f"{verify} --copy report.pdf --original report.pdf").returncode == 0
    assert shell.run(f"{verify} --copy copy.pdf --original report.pdf").returncode == 1
    signed = shell.run(f"{verify} --copy report.pdf --org regulator --record", "--format", "json")
    assert signed.returncode == 0, signed.stderr
    verdict = json.loads(signed.stdout)["data"]["verdict"]
    assert shell.run(f"parley notarize check {verdict} --copy report.pdf --genesis {genesis}").returncode == 0
    assert shell.run(f"parley notarize check {verdict} --copy copy.pdf --genesis {genesis}").returncode == 1
    line = f"parley notarize certificate --proof report.pdf.parley-proof --verdict {verdict} --out page.html"
    assert shell.run(line).returncode == 0
    assert (shell.directory / "page.html").read_text("utf-8").startswith("<!doctype html>")


def check_ledger(shell: Shell) -> None:
    """Entries are shown, proved and recomputed, by the running nodes and beside them."""
    assert shell.json("parley ledger show 0 --org analyst")["status"] == "ok"
    assert (
        shell.run("parley ledger prove 0 --org lender --out entry.tlog-proof --policy policy").returncode == 0
    )
    checked = shell.json("parley ledger prove --check entry.tlog-proof --policy policy")["data"]
    assert isinstance(checked, dict)
    assert checked["type"] == "gov.genesis"
    members = shell.json("parley ledger members --org bureau")["data"]
    assert isinstance(members, list)
    assert {row["name"] for row in members} == set(ORGS)
    assert shell.run("parley ledger proposals --org lender").returncode == 0
    assert shell.run("parley hub fsck --dir .parley/hub").returncode == 0
    for org in ORGS:
        assert shell.run(f"parley ledger fsck --dir .parley/nodes/{org}").returncode == 0
        replayed = shell.json(f"parley ledger replay --dir .parley/nodes/{org}")["data"]
        assert isinstance(replayed, dict)
        assert (replayed["sound"], replayed["final"]) == (True, True)
    line = "parley ledger export --org regulator --since 2020-01-01T00:00:00Z --out all.zip"
    assert shell.run(line).returncode == 0
    assert shell.run("parley verify all.zip").returncode == 0


@pytest.mark.slow
def test_a_member_joins_by_vote(tmp_path: Path) -> None:
    home = tmp_path / "home"
    with Consortium.up(home, ["lender", "regulator"], join=["analyst"], data={}) as made:
        with made.client("analyst") as node:
            rows = {row["name"]: row for row in node.members()}
        assert {name: row["status"] for name, row in rows.items()} == dict.fromkeys(made.members, "active")
        assert rows["regulator"]["role"] == "regulator"
        with pytest.raises(AlreadyUp, match="analyst"):
            Consortium.up(home, ["lender", "regulator"], data={})
    assert not any(is_alive(running) for running in made.processes.values())


@pytest.mark.slow
def test_a_demonstration_that_is_told_to_end_leaves_no_process(tmp_path: Path) -> None:
    command = [sys.executable, "-P", "-m", "exchange.cli", "demo", "--rows", "1000", "--home", str(tmp_path)]
    child = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    deadline = time.monotonic() + 60
    while not list(tmp_path.glob("*/consortium/logs/lender.out")) and time.monotonic() < deadline:
        time.sleep(0.05)
    child.send_signal(signal.SIGTERM)
    assert child.wait(30) == 130
    assert not list(tmp_path.iterdir())
    here = str(tmp_path).encode()
    assert [line for path in Path("/proc").glob("[0-9]*/cmdline") if here in (line := read(path))] == []


def read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError:  # the process has ended since it was listed
        return b""


@pytest.mark.slow
def test_a_start_that_fails_half_way_leaves_nothing_behind(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    started: list[Consortium] = []
    start = Consortium._start

    def fails_after_the_hub(self: Consortium, names: list[str]) -> None:
        start(self, names)
        started.append(self)
        raise ChildFailed("a node did not become ready")

    monkeypatch.setattr(Consortium, "_start", fails_after_the_hub)
    with pytest.raises(ChildFailed, match="did not become ready"):
        Consortium.up(tmp_path / "home", ["lender", "bureau"], data={})
    assert started
    assert not any(is_alive(running) for running in started[0].processes.values())
    assert not list((tmp_path / "home").iterdir())
