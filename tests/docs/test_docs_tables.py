"""Tables in the documents say what the code says."""

from __future__ import annotations

import importlib.util
import re
import subprocess
import sys
from pathlib import Path

from exchange.config import HUB_FIELDS, NODE_FIELDS
from ledger.rules import RULES

ROOT = Path(__file__).resolve().parents[2]
DOCS = ROOT / "docs"


def section(page: Path, heading: str) -> str:
    text = page.read_text("utf-8")
    start = text.index(f"## {heading}\n")
    end = text.find("\n## ", start + 1)
    return text[start : end if end > 0 else None]


def test_settings_are_those_of_the_code() -> None:
    done = subprocess.run(
        [sys.executable, "-P", ROOT / "scripts" / "settings_table.py", "--check"],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr


def test_a_changed_setting_would_be_found() -> None:
    path = ROOT / "scripts" / "settings_table.py"
    spec = importlib.util.spec_from_file_location("settings_table", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    page = (DOCS / "configuration.md").read_text("utf-8")
    assert module.rendered(page) == page
    assert module.rendered(page.replace("`step_timeout_s`", "`step_timeout`")) == page
    for field in (*HUB_FIELDS, *NODE_FIELDS):
        assert f"| `{field.name}` | `{field.variable}` |" in page


def test_entry_types_are_those_of_the_validity_table() -> None:
    table = section(DOCS / "ledger.md", "Entry types")
    rows = [line.split("|")[1] for line in table.splitlines() if line.startswith("| `")]
    named = {name for row in rows for name in re.findall(r"`([^`]+)`", row)}
    assert named == {*RULES, "gov.genesis", "gov.epoch", "seal"}


def test_exit_codes_in_the_readme_are_those_of_the_command() -> None:
    from exchange.cli import application

    assert "3 time-out, 4 arguments, 5 internal" in (ROOT / "README.md").read_text("utf-8").replace("\n", " ")
    assert "3 time-out, 4 arguments,\n5 internal" in str(application.__doc__)
    assert (application.EXIT_ARGUMENTS, application.EXIT_INTERNAL) == (4, 5)


def test_the_components_of_the_example_spec_exist_and_take_its_parameters() -> None:
    import json

    from exchange.jobs.registry import built_in

    text = section(DOCS / "architecture.md", "A job spec")
    spec = json.loads(re.search(r"```json\n(.*?)```", text, re.DOTALL).group(1))  # type: ignore[union-attr]
    for step in spec["steps"]:
        component = built_in().get(step["component"])
        assert component.version == step["version"]
        needed = {name for name, param in component.params.items() if not param.optional}
        assert needed <= set(step["params"]) <= set(component.params)
        assert set(step["parties"]) == set(component.roles)
        assert set(step["inputs"]) == {role for role, given in component.roles.items() if given is not None}


def test_every_row_of_the_threat_model_names_tests_that_exist() -> None:
    sources = [path.read_text("utf-8") for path in (ROOT / "tests").rglob("test_*.py")]
    known = {name for source in sources for name in re.findall(r"def (\w+)", source)}
    page = (DOCS / "threat-model.md").read_text("utf-8")
    named = set(re.findall(r"`(test_\w+)`", page))
    assert len(named) > 250
    assert named <= known
    tables = re.findall(r"^\|.* \| test \|\n\| ---.*\n((?:\|.*\n)+)", page, re.MULTILINE)
    rows = [row for table in tables for row in table.splitlines()]
    assert len(rows) > 100
    for row in rows:
        tests = re.findall(r"`(\w+)`", row.split(" | ")[-1])
        assert set(tests) <= known
        assert tests or "**not" in row, row
