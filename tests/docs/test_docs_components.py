"""docs/components.md is what its script writes from the registry."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

from exchange.jobs.component import Component
from exchange.jobs.registry import built_in
from exchange.sql.protocol import FAST, SPEC

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


def sections(page: str) -> dict[str, str]:
    """The text under each heading of a page up to the next of its level or above, by anchor."""
    text = (ROOT / "docs" / page).read_text("utf-8")
    headings = list(re.finditer(r"^(#+) (.+)$", text, re.MULTILINE))
    found = {}
    for number, heading in enumerate(headings):
        after = (one for one in headings[number + 1 :] if len(one[1]) <= len(heading[1]))
        end = next((one.start() for one in after), len(text))
        anchor = re.sub(r"[^\w\- ]", "", heading[2].lower()).replace(" ", "-")
        found[anchor] = text[heading.end() : end]
    return found


@pytest.mark.parametrize("component", list(built_in()), ids=lambda one: str(one.name))
def test_a_component_leads_to_figure_adversary_leakage_cost_source_parameters_and_an_example(
    component: Component,
) -> None:
    text = sections("components.md")[component.name.replace("/", "")]
    facts = dict(re.findall(r"^\| ([\w, ]+) \| (.+) \|$", text, re.MULTILINE))
    assert re.fullmatch(r"`[\w-]+`(, `[\w-]+`)*", facts["examples"])
    if component.protocol is None:
        return
    assert {"adversary, corruptions", "cost", "source"} <= set(facts)
    assert f"| {next(iter(component.protocol.leaks))} |" in text
    page, _, anchor = re.findall(r"\(([^)]+)\)", facts["protocol, figure"])[0].partition("#")
    section = sections(page)[anchor]
    assert "```mermaid\nsequenceDiagram\n" in section
    assert section.count("->>") > 2


def test_the_claim_of_queries_is_that_of_the_code() -> None:
    page = (ROOT / "docs" / "protocols.md").read_text("utf-8")
    text = page.split("\n## SQL\n")[1].split("\n## ")[0]
    lines = text.splitlines()
    assert f"Version {SPEC.version}." in text
    assert f"| adversary, corruptions | {SPEC.adversary}, {SPEC.corruptions} |" in lines
    assert f"| source | {SPEC.source} |" in lines
    stated = [line for line in lines if line.startswith(("| owner |", "| helper |"))]
    assert stated == [f"| {role} | {fact} |" for role, facts in SPEC.leaks.items() for fact in facts]
    assert (FAST.leaks, FAST.adversary, FAST.corruptions) == (SPEC.leaks, SPEC.adversary, SPEC.corruptions)
