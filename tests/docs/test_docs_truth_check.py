"""The table of what a truth check compares names every reference with its tolerance."""

from __future__ import annotations

import re
from pathlib import Path

from exchange.simulated.truth import REFERENCES

PAGE = Path(__file__).resolve().parents[2] / "docs" / "truth-check.md"


def test_the_table_has_every_reference_and_its_tolerance() -> None:
    stated = {}
    for line in PAGE.read_text("utf-8").splitlines():
        cells = [cell.strip() for cell in line.split("|")]
        if len(cells) == 6 and cells[1].startswith("`"):
            for name in re.findall(r"`([^`]+)`", cells[1]):
                stated[name] = (float(cells[3]), float(cells[4]))
    assert stated == {
        name: (one.tolerance.absolute, one.tolerance.relative) for name, one in REFERENCES.items()
    }
