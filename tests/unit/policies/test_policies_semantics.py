"""The situations that the ODRL community group's test suite walks through, with the states they lead to."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from policies import CONTEXT, PROFILE, Policy, facts
from policies.evaluate import evaluate

FOLDER = Path(__file__).parents[2] / "vectors" / "odrl"
CASES = json.loads((FOLDER / "semantics.json").read_text(encoding="utf-8"))["cases"]
PROFILED = json.loads((FOLDER / "profile.json").read_text(encoding="utf-8"))["cases"]


def policy(rules: dict[str, Any]) -> Policy:
    return Policy.parse({"@context": list(CONTEXT), "@type": "Set", "profile": PROFILE, **rules})


def states(premise: dict[str, Any]) -> list[Any]:
    parts = [part["satisfactionState"] for part in premise.get("premiseReport", ())]
    return [premise["@type"], premise["satisfactionState"], *([parts] if parts else [])]


@pytest.mark.parametrize("case", CASES, ids=lambda case: str(case["source"]))
def test_the_states_of_the_compliance_report(case: dict[str, Any]) -> None:
    report = evaluate(policy(case["policy"]), facts.parse(case["facts"]))
    assert report.permitted is case["permitted"], report.reasons
    (rule,) = report.as_json()["ruleReport"]  # type: ignore[misc]
    kind, activation = case["rule"]
    assert (rule["@type"], rule["activationState"]) == (f"{kind}Report", activation)
    assert rule["attemptState"] == "Attempted"
    assert [states(premise) for premise in rule["premiseReport"]] == case["premises"]
    if "duty" in case:
        (duty,) = rule["conditionReport"]
        assert duty["@type"] == "DutyReport"
        found = [duty["activationState"], duty["performanceState"], duty["deonticState"]]
        assert found == case["duty"]


@pytest.mark.parametrize("case", PROFILED, ids=lambda case: str(case["name"]).replace(" ", "-"))
def test_the_words_of_the_profile_decide_as_written(case: dict[str, Any]) -> None:
    report = evaluate(policy(case["rules"]), facts.parse(case["facts"]))
    assert (report.permitted, list(report.codes)) == (not case["codes"], case["codes"])
    assert len(report.explain("zh")) == len(report.explain("en"))


def office_hours(year: int) -> dict[str, Any]:
    """Weekdays from 9 to 17 of a whole year: two bounds for each day, the days of a month together."""
    months: list[dict[str, Any]] = []
    for month in range(1, 13):
        day, days = datetime(year, month, 1, tzinfo=UTC), []
        while day.month == month:
            if day.weekday() < 5:
                bounds = [("gteq", day.replace(hour=9)), ("lt", day.replace(hour=17))]
                days.append(
                    {
                        "and": [
                            {
                                "leftOperand": "dateTime",
                                "operator": operator,
                                "rightOperand": moment.strftime("%Y-%m-%dT%H:%M:%SZ"),
                            }
                            for operator, moment in bounds
                        ]
                    }
                )
            day += timedelta(days=1)
        months.append({"or": days})
    return {"permission": [{"action": "read", "constraint": [{"or": months}]}]}


@pytest.mark.parametrize(
    ("moment", "permitted"),
    [
        ("2024-02-12T11:20:10Z", True),
        ("2024-02-12T20:00:00Z", False),
        ("2024-02-10T11:20:10Z", False),
        ("2017-02-13T11:20:10Z", False),
    ],
)
def test_the_office_hours_of_a_year_are_one_policy_of_hundreds_of_bounds(
    moment: str, permitted: bool
) -> None:
    report = evaluate(policy(office_hours(2024)), facts.parse({"action": "read", "dateTime": moment}))
    assert report.permitted is permitted
