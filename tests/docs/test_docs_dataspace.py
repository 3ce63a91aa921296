"""The table of scenarios says what the tests are, and the number above it what the table says."""

from __future__ import annotations

import re
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
ID = r"(?:MET|CAT|CN|CN_C|TP|TP_C):\d\d-\d\d"
SIZES = {"MET": 1, "CAT": 3, "CN": 15, "CN_C": 16, "TP": 16, "TP_C": 16}


def rows() -> dict[str, str]:
    page = (ROOT / "docs" / "dataspace.md").read_text("utf-8")
    return dict(re.findall(rf"^\| `({ID})` \| .* \| ([^|]*) \|$", page, re.MULTILINE))


def test_every_scenario_of_the_kit_is_in_the_table() -> None:
    sizes = {family: sum(name.startswith(f"{family}:") for name in rows()) for family in SIZES}
    assert sizes == SIZES
    assert sum(sizes.values()) == 67


def test_what_the_table_says_has_a_test_under_its_id() -> None:
    sources = (ROOT / "tests" / "integration").glob("test_dataspace_*_scenarios.py")
    tested = [
        name for path in sources for name in re.findall(rf'"({ID})"(?:: "|\])', path.read_text("utf-8"))
    ]
    assert len(tested) == len(set(tested))
    assert set(tested) == {name for name, result in rows().items() if not result.startswith("not")}


def test_the_number_is_that_of_the_table() -> None:
    page = (ROOT / "docs" / "dataspace.md").read_text("utf-8")
    passed = sum(result == "passed" for result in rows().values())
    assert re.findall(r"\*\*(\d+) of 67\*\*", page) == [str(passed)]
