"""Write the tables of settings in docs/configuration.md from exchange.config; --check only compares."""

from __future__ import annotations

import re
import sys
from collections.abc import Sequence
from pathlib import Path

from exchange import config

PAGE = Path(__file__).resolve().parent.parent / "docs" / "configuration.md"
_BLOCK = re.compile(r"(<!-- settings: (\w+) -->\n).*?(<!-- end -->)", re.DOTALL)


def escaped(text: str) -> str:
    """Keep Markdown from reading names in angle brackets as tags."""
    return text.replace("<", "&lt;").replace("|", "&#124;")


def table(fields: Sequence[config.Field]) -> str:
    """Render fields as a table of the page."""
    lines = ["| setting | variable | if not given | meaning |", "| --- | --- | --- | --- |"]
    for field in fields:
        default = (
            "must be given"
            if field.default is ...
            else ""
            if field.default in (None, [])
            else f"`{field.default}`".lower()
            if isinstance(field.default, bool)
            else f"`{field.default}`"
        )
        lines.append(f"| `{field.name}` | `{field.variable}` | {default} | {escaped(field.description)} |")
    return "\n".join(lines) + "\n"


def rendered(page: str) -> str:
    """Return the page with its tables made anew."""
    return _BLOCK.sub(lambda found: found[1] + table(getattr(config, found[2])) + found[3], page)


def main(arguments: Sequence[str]) -> int:
    """Write the page, or compare it."""
    before = PAGE.read_text("utf-8")
    after = rendered(before)
    if "--check" in arguments:
        if before != after:
            print("docs/configuration.md differs from exchange.config; run scripts/settings_table.py")
        return int(before != after)
    PAGE.write_text(after, encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
