"""docs/expressions.md: its query compiles, and it lists the functions, figures and limits of the code."""

from __future__ import annotations

import json
import re
from pathlib import Path

from exchange.jobs.secret_columns import figures, language, nodes, query
from exchange.jobs.secret_columns.component import COMPONENT
from exchange.jobs.spec import JobSpec
from exchange.jobs.testing import JOB
from mpc.replicated.division import MAX_DIVISOR_BITS

PAGE = (Path(__file__).parents[2] / "docs" / "expressions.md").read_text()


def cells(heading: str) -> list[list[str]]:
    part = PAGE.split(f"\n## {heading}\n")[1].split("\n## ")[0]
    lines = [line.strip("| ") for line in part.splitlines() if line.startswith("|")]
    return [[cell.strip() for cell in line.split(" | ")] for line in lines[2:]]


def test_the_query_is_one_that_the_component_takes() -> None:
    params = json.loads(PAGE.split("```json\n")[1].split("```")[0])
    columns = {"owner-1": ["debt"], "owner-2": ["income", "region"]}
    step = {
        "id": "query",
        "component": COMPONENT.name,
        "version": COMPONENT.version,
        "parties": {role: f"did:key:z{role}" for role in (*columns, "helper-1")},
        "inputs": {
            role: {"asset": f"{role}/table", "columns": [{"name": name, "decimals": 0} for name in names]}
            for role, names in columns.items()
        },
        "after": ["match"],
        "params": params,
        "recipients": ["did:key:zAnalyst"],
    }
    match = step | {"id": "match", "component": "psi/ecdh", "after": []}
    spec = JobSpec.from_json(
        {"v": 1, "job": JOB, "title": "t", "purpose": "p", "agreements": {}, "steps": [match, step]}
    )
    COMPONENT.check(spec, spec.step("query"))
    assert query.Query.of(spec.step("query")).cells == 4
    documented = {cell.strip("`") for cell, _ in cells("A query")}
    assert documented == set(COMPONENT.params)


def test_functions_figures_and_kinds_are_those_of_the_code() -> None:
    functions = {re.match(r"`(\w+)\(", line[0]).group(1) for line in cells("Grammar")}  # type: ignore[union-attr]
    assert functions == set(language.FUNCTIONS)
    assert {name for line in cells("Figures") for name in re.findall(r"`(\w+)`", line[0])} == set(
        query.FIGURES
    )
    assert {line[0].strip("`") for line in cells("Columns")} == set(nodes.Kind)


def test_limits_are_those_of_the_code() -> None:
    for words in (
        f"at most {language.MAX_LENGTH:,} characters",
        f"at most {query.MAX_CELLS}",
        f"up to {query.MAX_FIGURES} figures",
        f"up to {query.MAX_LABELS}",
        f"rows at most {figures.MAX_PICKED:,}",
        f"A quotient has {nodes.RATIO_DECIMALS}",
        f"below 2^{MAX_DIVISOR_BITS} units",
    ):
        assert words.lower() in PAGE.lower(), words
    assert nodes.BOUND == 2**61
