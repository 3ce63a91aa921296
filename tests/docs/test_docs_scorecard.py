"""docs/models-scorecard.md says what the code does: parameters, claim, cost of a million rows."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from exchange.jobs.component import Component
from exchange.jobs.regression.component import LOGISTIC
from exchange.jobs.scorecard import card, woe
from federated.vertical.event_counts import SPEC, Layout, expected

PAGE = (Path(__file__).parents[2] / "docs" / "models-scorecard.md").read_text("utf-8")
WEIGHTS, CARD = PAGE.split("\n## Scorecards\n")


@pytest.mark.parametrize(("component", "text"), [(woe.COMPONENT, WEIGHTS), (card.COMPONENT, CARD)])
def test_the_page_has_every_parameter_that_is_not_of_regression(component: Component, text: str) -> None:
    found = [re.findall(r"`(\w+)`", row) for row in re.findall(r"^\| (`\w+`(?:, `\w+`)*) \|", text, re.M)]
    of_regression = set(LOGISTIC.params) - {"coefficients"} if component is card.COMPONENT else set()
    named = {name for several in found for name in several} & set(component.params)
    assert named == set(component.params) - of_regression


def test_the_claim_is_that_of_the_code() -> None:
    assert f"Protocol `{SPEC.name}`, version {SPEC.version}." in PAGE
    assert f"Adversary: {SPEC.adversary}, {SPEC.corruptions}." in PAGE
    assert f"| each owner | {SPEC.leaks['owner'][0]} |" in PAGE


def test_a_million_rows_cost_what_the_page_says() -> None:
    text = " ".join(PAGE.split())
    inside, rounds = expected(Layout(10**6, (0, 1), 21, 5), 3)
    outside, _ = expected(Layout(10**6, (0, 0, 0, 1), 21, 5), 4)
    figures = re.search(r"(\d+) MB from an owner that computes and (\d+) MB from another, (\d+) MB", text)
    assert figures is not None
    assert [int(one) for one in figures.groups()] == [
        round(sent / 10**6) for sent in (inside[1], outside[3], inside[0])
    ]
    assert f"about {round(rounds, -1)} rounds" in text
