"""``parley doctor`` and ``parley config check``: what is installed, and what is configured."""

from __future__ import annotations

import platform
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from types import MappingProxyType

import click

from exchange.cli.framework import LazyGroup, command, invocation
from exchange.cli.output import rows

__all__ = ["CORE", "EXTRAS", "Extra", "check", "config", "doctor", "probe"]

DISTRIBUTION = "parley-exchange"
CORE = (
    "click",
    "cryptography",
    "duckdb",
    "flask",
    "grpcio",
    "numpy",
    "orjson",
    "pyarrow",
    "pynacl",
    "rbcl",
    "sqlalchemy",
)


@dataclass(frozen=True)
class Extra:
    """An optional engine: its distribution, and the line that installs it, in a checkout of Parley."""

    name: str
    distribution: str
    install: str

    def version(self, environment: Mapping[str, str]) -> str | None:
        """The version that is installed, and starts where a job would run it in a process of its own."""
        if self.name == "spu":
            from mpc.engines import spu

            return spu.version()
        if self.name == "flower":
            from mpc.engines import flower

            named = environment.get("PARLEY_FLOWER_PYTHON")
            return None if named is None else flower.version(Path(named))
        return version_of(self.distribution)


EXTRAS = (
    Extra("psycopg", "psycopg", "pip install '.[postgresql]'"),
    Extra("sm2", "gmssl-pyx", "pip install '.[sm2]'"),
    Extra("nats", "nats-py", "pip install '.[nats]'"),
    Extra("predicates", "anoncreds", "pip install '.[predicates]'"),
    Extra("tenseal", "tenseal", "pip install '.[tenseal]'"),
    Extra("phe", "phe", "pip install '.[phe]'"),
    Extra("spu", "spu", "pip install '.[spu]'"),
    Extra(
        "flower",
        "flwr",
        "python3.11 -m venv DIR && DIR/bin/pip install flwr==1.41.0; PARLEY_FLOWER_PYTHON=DIR/bin/python; "
        "a kernel that lends namespaces",
    ),
    Extra("syft", "syft", "pip install '.[syft]'"),
    Extra(
        "crypten",
        "crypten",
        "pip install torch==2.13.0 omegaconf onnx pyyaml && pip install --no-deps crypten==0.4.1",
    ),
)

config = LazyGroup("config", {"check": "exchange.cli.checks:check"}, "config")


def version_of(distribution: str) -> str | None:
    """Look up an installed version without importing the package."""
    try:
        return metadata.version(distribution)
    except metadata.PackageNotFoundError:
        return None


def probe(
    core: Sequence[str] = CORE,
    extras: Sequence[Extra] = EXTRAS,
    environment: Mapping[str, str] = MappingProxyType({}),
) -> list[dict[str, object]]:
    """List core and optional packages as present or absent; ``environment`` may name interpreters."""
    found: list[dict[str, object]] = [
        {
            "name": "python",
            "kind": "core",
            "version": platform.python_version(),
            "state": "present",
            "install": "",
        }
    ]
    for name in (DISTRIBUTION, *core):
        found.append(_row(name, "core", version_of(name), "pip install ."))
    for extra in extras:
        found.append(_row(extra.name, "extra", extra.version(environment), extra.install))
    return found


def _row(name: str, kind: str, version: str | None, install: str) -> dict[str, object]:
    state = "present" if version else "absent"
    return {
        "name": name,
        "kind": kind,
        "version": version or "",
        "state": state,
        "install": "" if version else install,
    }


def missing(found: Sequence[Mapping[str, object]]) -> list[str]:
    """Name the core packages that are absent."""
    return [str(row["name"]) for row in found if row["kind"] == "core" and row["state"] == "absent"]


@command("doctor")
@click.pass_context
def doctor(context: click.Context) -> int:
    """List what is installed, and how to install what is absent."""
    found = probe(environment=invocation(context).environment)
    columns = ["name", "kind", "version", "state", "install"]
    invocation(context).output.result(found, rows(found, columns))
    return 1 if missing(found) else 0


@command("config.check")
@click.argument("path", type=click.Path(path_type=Path))
@click.pass_context
def check(context: click.Context, path: Path) -> int:
    """Read a settings file and explain every error in it."""
    from exchange import config as settings

    called = invocation(context)
    problems = [
        {"setting": found.field, "expected": found.expected, "actual": found.actual}
        for found in settings.check(path, called.environment)
    ]
    data = {"path": str(path), "problems": problems, "sound": not problems}
    if not problems:
        called.output.result(data, called.text("config.sound", path=path))
        return 0
    called.output.result(data, rows(problems, ["setting", "expected", "actual"]))
    return 1
