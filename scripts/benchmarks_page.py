"""Write the tables of docs/benchmarks.md from what benchmarks left in build/bench; a run for each block.

A block of the page is rewritten when build/bench has a run of its area, and otherwise left as it is, so every
figure of the page was measured and none is typed.
"""

from __future__ import annotations

import json
import re
import sys
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
PAGE = ROOT / "docs" / "benchmarks.md"
RUNS = ROOT / "build" / "bench"
_BLOCK = re.compile(r"(<!-- benchmarks: (\w+) -->\n).*?(<!-- end -->)", re.DOTALL)


def number(value: object) -> str:
    """Render a figure with four significant digits."""
    if isinstance(value, bool):
        return "yes" if value else "no"
    if not isinstance(value, int | float):
        return "" if value is None else str(value)
    if value == 0 or 1e-3 <= abs(value) < 1e4:
        return f"{value:.4g}"
    return f"{value:,.0f}" if abs(value) >= 1 else f"{value:.3e}"


def table(run: dict[str, Any]) -> str:
    """Render one run: machine and load, then a line for each row."""
    machine, (before, after) = run["machine"], run["load"]
    lines = [
        f"{machine['cores']} cores, {machine['processor']}, Python {machine['python']}; load of the machine "
        f"before the run {before[0]:.1f}, after it {after[0]:.1f}.",
        "",
        "| metric | value | unit | target | met | beside it | its value | ratio |",
        "| --- | ---: | --- | ---: | --- | --- | ---: | ---: |",
    ]
    for row in run["rows"]:
        cells = [row["metric"], number(row["value"]), row["unit"], number(row["target"]), number(row["met"])]
        cells += [row["peer"] or "", number(row["peer_value"]), number(row["ratio"])]
        lines.append("| " + " | ".join(str(cell).replace("|", "&#124;") for cell in cells) + " |")
    return "\n".join(lines) + "\n"


def rendered(page: str) -> str:
    """Return the page with the blocks of all runs there are made anew."""

    def block(found: re.Match[str]) -> str:
        run = RUNS / f"{found[2]}.json"
        return found[1] + table(json.loads(run.read_text())) + found[3] if run.exists() else found[0]

    return _BLOCK.sub(block, page)


def main() -> int:
    """Rewrite the page."""
    PAGE.write_text(rendered(PAGE.read_text(encoding="utf-8")), encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
