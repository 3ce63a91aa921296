"""The catalogue of examples: every component that is offered is asked by one of them."""

from __future__ import annotations

import json
from importlib import resources

import pytest

from exchange.examples import EXAMPLES
from exchange.jobs.registry import built_in


def test_every_component_is_in_an_example() -> None:
    used = {component for example in EXAMPLES.values() for component in example.components}
    assert used == {component.name for component in built_in()}


@pytest.mark.parametrize("name", EXAMPLES)
def test_an_example_says_what_it_asks_in_both_languages(name: str) -> None:
    messages = json.loads((resources.files("exchange.cli") / "messages.json").read_text("utf-8"))
    assert all(messages[f"example.{name}"][language] for language in ("en", "zh"))
