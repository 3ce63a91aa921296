"""Every example runs through real processes and answers what plaintext does."""

from __future__ import annotations

from pathlib import Path

import pytest

from exchange.errors import InvalidRequest
from exchange.examples import EXAMPLES, Examples

pytestmark = pytest.mark.processes


@pytest.mark.slow
def test_every_example_answers_what_plaintext_does(tmp_path: Path) -> None:
    outcomes = {one.name: one for one in Examples(tmp_path, lambda key, done, total: None).run(EXAMPLES)}
    assert list(outcomes) == list(EXAMPLES)
    assert [one for one in outcomes.values() if not one.is_equal] == []
    assert {name: one.components for name, one in outcomes.items()} == {
        name: example.components for name, example in EXAMPLES.items()
    }
    assert not list(tmp_path.iterdir())  # the working directory is gone


def test_an_unknown_example_is_refused_before_anything_starts(tmp_path: Path) -> None:
    with pytest.raises(InvalidRequest, match="encrypted-sums"):
        list(Examples(tmp_path, lambda key, done, total: None).run(["weather"]))
    assert not list(tmp_path.iterdir())
