"""The README's own-data commands run as they stand there, on the tables that the repository brings."""

from __future__ import annotations

import csv
import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from decimal import Decimal
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
TABLES = ROOT / "docs" / "example"
PLACEHOLDER = "NEGOTIATION"

pytestmark = [pytest.mark.processes, pytest.mark.slow]


def commands() -> list[str]:
    text = (ROOT / "README.md").read_text("utf-8")
    start = text.index("\n## Your own data\n")
    blocks = re.findall(r"```sh\n(.*?)```", text[start : text.index("\n## ", start + 4)], re.DOTALL)
    return [line for block in blocks for line in block.splitlines()]


def expected() -> dict[str, tuple[int, Decimal, int]]:
    """Count, sum of balances and number of late payers by income band, in plain Python."""
    with (TABLES / "people.csv").open(newline="") as stream:
        bands = {row["person"]: row["income_band"] for row in csv.DictReader(stream)}
    found: dict[str, tuple[int, Decimal, int]] = {}
    with (TABLES / "loans.csv").open(newline="") as stream:
        for row in csv.DictReader(stream):
            band = bands.get(row["customer"].upper().replace(" ", ""))
            if band is not None:
                count, balance, late = found.get(band, (0, Decimal(0), 0))
                found[band] = (count + 1, balance + Decimal(row["balance"]), late + int(row["late"]))
    return found


@pytest.fixture
def place(tmp_path: Path) -> Iterator[Path]:
    shutil.copytree(TABLES, tmp_path / "docs" / "example")
    yield tmp_path
    if (tmp_path / ".parley").exists():
        run("parley down", tmp_path)


def run(line: str, place: Path) -> subprocess.CompletedProcess[str]:
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    return subprocess.run(  # the line is the README's own
        ["sh", "-c", line],
        cwd=place,
        env={**os.environ, "PATH": path},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
        timeout=180,
    )


def test_own_data(place: Path) -> None:
    asked: list[str] = []
    for line in commands():
        wanted = line
        if PLACEHOLDER in line:
            wanted = line.replace(PLACEHOLDER, asked.pop(0))
        done = run(wanted, place)
        assert done.returncode == 0, f"{wanted}\n{done.stdout}{done.stderr}"
        if line.startswith("parley agreement request"):
            asked += re.findall(r"negotiation-[0-9a-z]{26}", done.stdout)[:1]
        if line.startswith("parley psi"):
            assert str(sum(count for count, _, _ in expected().values())) in done.stdout

    with (place / "result" / "table.csv").open(newline="") as stream:
        rows = {row["income_band"]: row for row in csv.DictReader(stream)}
    assert {
        band: (int(row["count"]), Decimal(row["sum balance"]), int(row["sum late"]))
        for band, row in rows.items()
    } == expected()
    assert {path.name for path in (place / "result").iterdir()} >= {"table.csv", "plot.png", "plot.svg"}
    assert not json.loads(run("parley status --format json", place).stdout)["data"][0]["running"]
