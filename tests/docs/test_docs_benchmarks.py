"""Every benchmark runs, on small inputs, and yields rows of the stated form."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from types import ModuleType

import pytest

HERE = Path(__file__).resolve().parents[2] / "benchmarks"
AREAS = sorted(path.stem for path in HERE.glob("*.py") if path.stem != "run")
QUICK = {"policy", "private_sums"}


@pytest.fixture(scope="module")
def runner() -> ModuleType:
    spec = importlib.util.spec_from_file_location("benchmark_run", HERE / "run.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.mark.parametrize(
    "area", [area if area in QUICK else pytest.param(area, marks=pytest.mark.slow) for area in AREAS]
)
def test_runs(runner: ModuleType, area: str) -> None:
    rows = list(runner.rows_of(area)(True))
    assert rows
    for row in rows:
        assert set(row) <= set(runner.COLUMNS)
        assert row["metric"]
        assert row["unit"]
        assert float(row["value"]) > 0


def test_an_unknown_area_names_the_known_ones(runner: ModuleType) -> None:
    with pytest.raises(SystemExit, match=", ".join(AREAS)):
        runner.rows_of("weather")
