"""The page on policies says what the code does: its tables, and its ten policies with words and verdicts."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest

from policies import Level, facts
from policies.prepared import prepare
from policies.vocabulary import DUTIES, DUTY_PARTIES, OPERANDS, Operator
from policies.words import describe, is_understood

PAGE = (Path(__file__).resolve().parents[2] / "docs" / "policy.md").read_text("utf-8")
WORKED = PAGE[PAGE.index("## Ten worked policies") :]
BASE: dict[str, Any] = json.loads(re.findall(r"```json\n(.*?)```", WORKED, re.DOTALL)[0])
SECTIONS = re.split(r"\n### ", WORKED)[1:]
VERDICT = re.compile(r"\*\*Verdict: (permitted|refused)(?:: ([^*]*))?\.\*\*")


def blocks(section: str, kind: str) -> list[str]:
    return re.findall(rf"```{kind}\n(.*?)```", section, re.DOTALL)


def rows(heading: str) -> dict[str, list[str]]:
    start = PAGE.index(f"## {heading}\n")
    table = PAGE[start : PAGE.index("\n## ", start + 1)]
    cells = [
        [cell.strip() for cell in line.strip("|").split("|")] for line in table.splitlines() if "|" in line
    ]
    return {row[0].strip("`"): row[1:] for row in cells[2:]}


def test_there_are_ten() -> None:
    assert [int(section.partition(".")[0]) for section in SECTIONS] == list(range(1, 11))


@pytest.mark.parametrize("section", SECTIONS, ids=lambda section: str(section).partition("\n")[0])
def test_the_policy_says_its_words_and_decides_as_written(section: str) -> None:
    document, *requests = (json.loads(block) for block in blocks(section, "json"))
    prepared = prepare(document)
    (words,) = blocks(section, "text")
    assert words.splitlines() == list(describe(prepared.policy))
    assert is_understood(prepared.policy)
    assert describe(prepared.policy, "zh") != describe(prepared.policy)
    verdicts = VERDICT.findall(section)
    assert [verdict for verdict, _ in verdicts] == ["permitted", "refused"]
    for (verdict, codes), request in zip(verdicts, requests, strict=True):
        stated = {name: value for name, value in (BASE | request).items() if value is not None}
        report = prepared.evaluate(facts.parse(stated))
        assert report.permitted is (verdict == "permitted"), report.reasons
        assert list(report.codes) == re.findall(r"`([^`]+)`", codes)


def test_the_table_of_operands_is_that_of_the_evaluator() -> None:
    table = rows("Left operands")
    assert list(table) == list(OPERANDS)
    for name, operand in OPERANDS.items():
        stated = re.findall(r"`(\w+)`", table[name][1])
        assert stated == [operator.value for operator in Operator if operator in operand.operators], name


def test_the_table_of_duties_is_that_of_the_evaluator() -> None:
    table = rows("Duties")
    assert set(table) == DUTIES
    for name, cells in table.items():
        assert cells[0].strip("`") == DUTY_PARTIES.get(name, "-")


def test_the_table_of_levels_is_that_of_column_control() -> None:
    assert list(rows("Column control")) == list(Level)
