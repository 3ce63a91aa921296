"""docs/components.md is what its script writes from the registry."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

from exchange.jobs.registry import built_in
from exchange.sql.protocol import SPEC

ROOT = Path(__file__).resolve().parents[2]
SCRIPT = ROOT / "scripts" / "components_page.py"


def test_the_page_is_that_of_the_registry() -> None:
    command = [sys.executable, "-P", SCRIPT, "--check"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


def test_every_component_has_a_section_with_its_parameters() -> None:
    page = (ROOT / "docs" / "components.md").read_text("utf-8")
    sections = dict(re.findall(r"^## (\S+)\n(.*?)(?=^## |\Z)", page, re.MULTILINE | re.DOTALL))
    assert set(sections) == {component.name for component in built_in()}
    for component in built_in():
        named = set(
            re.findall(r"^\| `([\w-]+)` \| (?:required|may be left out) \|", sections[component.name], re.M)
        )
        assert named == set(component.params), component.name


def test_the_claim_of_queries_is_that_of_the_code() -> None:
    page = (ROOT / "docs" / "protocols.md").read_text("utf-8")
    text = page.split("\n## SQL\n")[1].split("\n## ")[0]
    lines = text.splitlines()
    assert f"Version {SPEC.version}." in text
    assert f"| adversary, corruptions | {SPEC.adversary}, {SPEC.corruptions} |" in lines
    assert f"| source | {SPEC.source} |" in lines
    stated = [line for line in lines if line.startswith(("| owner |", "| helper |"))]
    assert stated == [f"| {role} | {fact} |" for role, facts in SPEC.leaks.items() for fact in facts]
