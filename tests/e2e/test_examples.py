"""Every example runs through real processes and answers what plaintext does."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from exchange.errors import InvalidRequest
from exchange.examples import EXAMPLES, Examples

pytestmark = pytest.mark.processes


@pytest.mark.slow
def test_every_example_answers_what_plaintext_does(tmp_path: Path) -> None:
    python = os.environ.get("PARLEY_TEST_FLOWER")
    chosen = [name for name in EXAMPLES if python or name != "federated-flower-app"]
    environment = {"PARLEY_FLOWER_PYTHON": python} if python else {}
    examples = Examples(tmp_path, lambda key, done, total: None, environment)
    outcomes = {one.name: one for one in examples.run(chosen)}
    assert list(outcomes) == chosen
    assert [one for one in outcomes.values() if not one.is_equal] == []
    assert {name: one.components for name, one in outcomes.items()} == {
        name: EXAMPLES[name].components for name in chosen
    }
    assert not list(tmp_path.iterdir())  # the working directory is gone


def test_an_unknown_example_is_refused_before_anything_starts(tmp_path: Path) -> None:
    with pytest.raises(InvalidRequest, match="encrypted-sums"):
        list(Examples(tmp_path, lambda key, done, total: None).run(["weather"]))
    assert not list(tmp_path.iterdir())
