"""Stages as they are written on the command line."""

from __future__ import annotations

from typing import Any

import pytest

from exchange.cli.approval_rules import stage_of
from exchange.errors import InvalidRequest
from policies.approvals import ApprovalRule


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("steward", ("steward", "", 1, None)),
        ("steward:2", ("steward", "", 2, None)),
        ("steward@risk-law:3", ("steward", "risk-law", 3, None)),
        ("approver:2=ada, bo,li", ("approver", "", 2, ["ada", "bo", "li"])),
    ],
)
def test_a_stage_is_read_as_the_api_takes_it(text: str, expected: tuple[Any, ...]) -> None:
    stage = stage_of(text)
    assert (stage["role"], stage["department"], stage["needed"], stage["approvers"]) == expected
    assert ApprovalRule.parse({"stages": [stage], "organisations": []}).stages[0].as_json() == {
        **stage,
        "approvers": None if stage["approvers"] is None else sorted(stage["approvers"]),
    }


@pytest.mark.parametrize("text", ["", "Steward", "steward:", "steward:x", "steward=", "steward@", "a=b=c"])
def test_another_form_is_refused_by_name(text: str) -> None:
    with pytest.raises(InvalidRequest, match="stage"):
        stage_of(text)
