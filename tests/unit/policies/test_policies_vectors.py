"""Every decision in tests/vectors/odrl, from a plain permit to hostile documents."""

from __future__ import annotations

import copy
import json
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from policies import InvalidPolicy, Policy
from policies.evaluate import evaluate

VECTORS = json.loads(
    (Path(__file__).parents[2] / "vectors" / "odrl" / "cases.json").read_text(encoding="utf-8")
)
DECIDED = [case for case in VECTORS["cases"] if "permitted" in case]
INVALID = [case for case in VECTORS["cases"] if "invalid" in case]


def document(case: dict[str, Any]) -> Any:
    if "document" in case:
        return case["document"]
    policy = copy.deepcopy(VECTORS["base"]["policy"]) | case.get("policy", {})
    if "constraints" in case:
        policy["permission"][0]["constraint"] = case["constraints"]
    for constraint in case.get("extra_constraints", []):
        policy["permission"][0]["constraint"].append(constraint)
    return policy


def facts(case: dict[str, Any]) -> dict[str, object]:
    stated = {k: v for k, v in (VECTORS["base"]["facts"] | case.get("facts", {})).items() if v is not None}
    if "dateTime" in stated:
        stated["dateTime"] = datetime.strptime(stated["dateTime"], "%Y-%m-%dT%H:%M:%SZ").replace(tzinfo=UTC)
    return {k: set(v) if isinstance(v, list) else v for k, v in stated.items()}


def name(case: dict[str, Any]) -> str:
    return str(case["name"]).replace(" ", "-")


@pytest.mark.parametrize("case", DECIDED, ids=name)
def test_decision(case: dict[str, Any]) -> None:
    report = evaluate(Policy.parse(document(case)), facts(case))
    assert (report.permitted, list(report.codes)) == (case["permitted"], case["codes"])
    assert len(report.reasons) == len(report.codes)
    assert len(report.explain("zh")) == len(report.explain("en"))


@pytest.mark.parametrize("case", INVALID, ids=name)
def test_document_is_refused_at(case: dict[str, Any]) -> None:
    with pytest.raises(InvalidPolicy) as caught:
        Policy.parse(document(case))
    assert caught.value.path == case["invalid"]


def test_case_names_are_distinct() -> None:
    names = [case["name"] for case in VECTORS["cases"]]
    assert len(set(names)) == len(names)
