"""``parley model network``: no node, no network, and the same refusals as a step's."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from exchange.cli import main
from exchange.jobs.inference.state_dict import saved

FILE = Path(__file__).parents[2] / "vectors" / "torch_network" / "network.safetensors"
LAYERS = json.loads((FILE.parent / "scores.json").read_text())["layers"]


def run(file: Path, layers: list[str] = LAYERS, bound: str = "2") -> int:
    given = [word for layer in layers for word in ("--layer", layer)]
    return main(["model", "network", str(file), *given, "--bound", bound, "--format", "json"])


def test_a_file_of_torch_is_said_to_fit(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(FILE) == 0
    found: dict[str, Any] = json.loads(capsys.readouterr().out)["data"]
    assert found == {
        "sha256": hashlib.sha256(FILE.read_bytes()).hexdigest(),
        "layers": LAYERS,
        "numbers": 3 * 8 + 8 + 8 * 4 + 4 + 4 + 1,
        "features": 3,
        "scores": 1,
    }


@pytest.mark.parametrize(
    ("layers", "words"),
    [
        (["linear 3 8", "relu", "linear 8 5", "relu", "linear 5 1"], "model.2.weight.shape: expected [5, 8]"),
        (["linear 3 8", "relu", "linear 7 1"], "layers[2]: expected 8 inputs"),
    ],
    ids=["shape", "chain"],
)
def test_a_file_that_a_step_would_refuse_is_refused(
    layers: list[str], words: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(FILE, layers) == 4
    assert words in capsys.readouterr().err


def test_a_network_whose_sums_could_leave_the_range_is_refused(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "steep.safetensors"
    file.write_bytes(
        saved({"0.weight": np.full((1, 1), 1000, np.float32), "0.bias": np.zeros(1, np.float32)})
    )
    assert run(file, ["linear 1 1"], "4000") == 0
    assert run(file, ["linear 1 1"], "5000") != 0
    assert "layer 1: expected sums below 4,194,304" in capsys.readouterr().err


def test_a_file_that_is_too_large_is_not_read_to_its_end(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    large = tmp_path / "large.safetensors"
    with large.open("wb") as sparse:
        sparse.truncate(2**40)
    assert run(large) != 0
    assert "model: expected at most" in capsys.readouterr().err
