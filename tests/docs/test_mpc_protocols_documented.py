"""docs/protocols.md says of every protocol what its descriptor and its limits say."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from mpc import PROTOCOLS, ProtocolSpec
from mpc.psi import ecdh
from mpc.stats import group_sums

PAGE = (Path(__file__).parents[2] / "docs" / "protocols.md").read_text()
MESSAGES = {
    "psi/ecdh": ["size", "masked", "double-masked", "confirm"],
    "stats/group-sums": [
        "shape",
        "cohorts",
        "base-offer",
        "base-choices",
        "columns",
        "corrections",
        "confirm",
    ],
}


def section(name: str) -> str:
    found = re.search(rf"^## {re.escape(name)}\n(.*?)(?=^## |\Z)", PAGE, re.MULTILINE | re.DOTALL)
    assert found is not None, f"docs/protocols.md has no section {name}"
    return found.group(1)


def rows(text: str) -> set[tuple[str, ...]]:
    lines = (line.strip("| ") for line in text.splitlines() if line.startswith("|"))
    return {tuple(cell.strip() for cell in re.split(r"(?<!\\)\|", line)) for line in lines}


@pytest.mark.parametrize("spec", PROTOCOLS, ids=lambda spec: spec.name)
def test_a_section_names_version_adversary_and_every_leak(spec: ProtocolSpec) -> None:
    text = section(spec.name)
    assert text.lstrip().startswith(f"Version {spec.version}.")
    assert ("adversary, corruptions", f"{spec.adversary}, {spec.corruptions}") in rows(text)
    leaks = {(role, leak) for role, facts in spec.leaks.items() for leak in facts}
    documented = {row for row in rows(text) if row[0] in spec.roles}
    assert documented == leaks


@pytest.mark.parametrize("spec", PROTOCOLS, ids=lambda spec: spec.name)
def test_the_figure_has_every_message(spec: ProtocolSpec) -> None:
    figure = section(spec.name).split("```mermaid")[1].split("```")[0]
    shown = set(re.findall(r">>\w: ([a-z-]+)(?::|$)", figure, re.MULTILINE))
    assert shown == set(MESSAGES[spec.name])


def test_the_overview_lists_exactly_these_protocols() -> None:
    overview = PAGE.split("## Common to all")[0]
    assert set(re.findall(r"\[`([a-z/-]+)`\]", overview)) == {spec.name for spec in PROTOCOLS}
    assert {spec.name for spec in PROTOCOLS} == set(MESSAGES)


def test_the_limits_are_those_of_the_code() -> None:
    psi, sums = section("psi/ecdh"), section("stats/group-sums")
    assert f"| items | at most {ecdh.MAX_ROWS:,}; 1 to {ecdh.MAX_ITEM_BYTES:,} bytes each; distinct |" in psi
    assert f"| `CHUNK_ROWS` | {ecdh.CHUNK_ROWS:,} |" in psi
    assert f"| `TAG_BYTES` | {ecdh.TAG_BYTES} |" in psi
    assert f"| rows n | 1 to {group_sums.MAX_ROWS:,}, equal at both |" in sums
    assert f"| groups k | 1 to {group_sums.MAX_GROUPS:,} |" in sums
    assert f"| measures m | 1 to {group_sums.MAX_MEASURES} |" in sums
    assert f"| `CHUNK_TRANSFERS` | {group_sums.CHUNK_TRANSFERS:,} |" in sums
