"""A short coverage-guided run over the parsers with the most branches; `make fuzz` runs over all of them."""

from __future__ import annotations

import importlib.util
import os
import subprocess
import sys
from pathlib import Path

import pytest

SCRIPT = Path(__file__).parent / "fuzz_parsers.py"

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(
        importlib.util.find_spec("atheris") is None, reason="the extra `fuzz` is not installed"
    ),
]


PARSERS = ("note", "proof", "policy", "witness request", "upload", "entry", "act", "bundle")


def test_no_parser_has_a_fault_that_a_second_finds() -> None:
    command = [sys.executable, "-P", str(SCRIPT), str(len(PARSERS)), *PARSERS]
    done = subprocess.run(command, env={**os.environ}, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout[-4000:]
    assert "FAULT" not in done.stdout
    assert done.stdout.count("inputs in 1 s") == len(PARSERS)
