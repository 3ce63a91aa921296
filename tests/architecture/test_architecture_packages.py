"""The six packages: who may import whom, what they show, how large their modules are."""

from __future__ import annotations

import ast
import importlib
import pkgutil
import subprocess
import sys
import tomllib
from fnmatch import fnmatch
from importlib.metadata import packages_distributions
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
PACKAGES = ("exchange", "federated", "mpc", "ledger", "connectors", "policies")
MAX_LINES = 450
BANNED = {"pickle", "random", "marshal", "shelve"}

MODULES = sorted(
    path for package in PACKAGES for path in (ROOT / package).rglob("*.py") if "_pb2" not in path.name
)


def name_of(path: Path) -> str:
    parts = path.relative_to(ROOT).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def imported(tree: ast.Module) -> set[str]:
    found = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            found |= {alias.name.split(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            found.add(node.module.split(".")[0])
    return found


def test_layers_are_kept() -> None:
    done = subprocess.run(
        [
            sys.executable,
            "-P",
            "-c",
            "from importlinter.cli import lint_imports; raise SystemExit(lint_imports())",
        ],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.parametrize("package", PACKAGES)
def test_each_name_belongs_to_one_installed_distribution(package: str) -> None:
    assert set(packages_distributions()[package]) == {"parley-exchange"}


@pytest.mark.parametrize("folder", ["tests", "docker", "docs", "scripts", "benchmarks"])
def test_other_folders_are_no_packages(folder: str) -> None:
    assert not [path for path in (ROOT / folder).rglob("__init__.py") if ".venv" not in path.parts]


def test_no_module_is_too_long() -> None:
    long = {
        name_of(path): n for path in MODULES if (n := len(path.read_text("utf-8").splitlines())) > MAX_LINES
    }
    assert not long


def test_no_module_is_called_after_a_drawer() -> None:
    drawers = {"common", "utils", "util", "helpers", "helper", "misc", "manager", "core", "base_utils"}
    assert not [name_of(path) for path in MODULES if path.stem in drawers]


def test_unsafe_modules_are_not_imported() -> None:
    found = {
        name_of(path): bad
        for path in MODULES
        if (bad := BANNED & imported(ast.parse(path.read_text("utf-8"))))
    }
    assert not found


def test_every_module_says_what_it_is() -> None:
    silent = [name_of(path) for path in MODULES if not ast.get_docstring(ast.parse(path.read_text("utf-8")))]
    assert not silent


def test_importing_the_engines_starts_nothing_heavy() -> None:
    # What `parley --help` and an offline verifier pay for.
    code = "import sys, ledger, policies, connectors, exchange.cli; print(*sorted(sys.modules))"
    done = subprocess.run(
        [sys.executable, "-P", "-c", code], cwd=ROOT, capture_output=True, text=True, check=True
    )
    loaded = set(done.stdout.split())
    assert not {"duckdb", "matplotlib", "grpc", "torch", "pandas"} & loaded


@pytest.mark.parametrize("package", PACKAGES)
def test_names_in_all_exist_and_are_sorted(package: str) -> None:
    module = importlib.import_module(package)
    names = list(module.__all__)
    assert names == sorted(names, key=lambda name: (not name.isupper(), not name[0].isupper(), name))
    assert [name for name in names if not hasattr(module, name)] == []


def test_every_module_can_be_imported() -> None:
    for package in PACKAGES:
        for found in pkgutil.walk_packages([str(ROOT / package)], f"{package}."):
            if not found.name.endswith("__main__") and ".migrations" not in found.name:
                importlib.import_module(found.name)


def is_shipped(path: Path, patterns: dict[str, list[str]]) -> bool:
    """Whether the wheel gets a file: a package's patterns do not reach into folders below it."""
    home = next(parent for parent in path.parents if (parent / "__init__.py").exists())
    if path.suffix == ".py" and home == path.parent:
        return True
    package = ".".join(home.relative_to(ROOT).parts)
    parts = path.relative_to(home).parts
    return any(
        len(parts) == len(wanted := pattern.split("/")) and all(map(fnmatch, parts, wanted))
        for pattern in [*patterns["*"], *patterns.get(package, [])]
    )


def test_a_wheel_would_hold_every_file_of_the_packages() -> None:
    settings = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["tool"]["setuptools"]
    files = [path for package in PACKAGES for path in (ROOT / package).rglob("*") if path.is_file()]
    shipped = [path for path in files if "__pycache__" not in path.parts]
    assert [path for path in shipped if not is_shipped(path, settings["package-data"])] == []
