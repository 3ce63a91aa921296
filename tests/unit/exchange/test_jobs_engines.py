"""Engines as declarations, nodes and ``parley doctor`` name them."""

from __future__ import annotations

import pytest

from exchange.cli.checks import probe
from exchange.jobs.engines import SPU, Engine
from exchange.jobs.registry import built_in
from mpc.engines import spu


def test_the_fast_intersection_names_its_engine_and_takes_what_the_own_one_takes() -> None:
    registry = built_in()
    fast, own = registry.get("psi/rr22"), registry.get("psi/ecdh")
    assert fast.engine is SPU
    assert fast.as_json()["engine"] == "spu"
    assert (fast.roles, fast.output_type) == (own.roles, own.output_type)
    assert {"parley", "spu"} <= {engine.name for engine in registry.engines()}


def test_an_engine_that_is_installed_and_does_not_start_is_absent() -> None:
    assert Engine("broken", "numpy", "pip install broken", probe=lambda: None).version() is None


def test_the_doctor_tells_how_to_install_an_engine_that_does_not_start(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(spu, "version", lambda: None)
    row = next(row for row in probe() if row["name"] == "spu")
    assert (row["state"], row["install"]) == ("absent", "pip install '.[spu]'")
