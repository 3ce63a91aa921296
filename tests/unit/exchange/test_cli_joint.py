"""``parley joint-stats``: what its flags say, and what they refuse."""

from __future__ import annotations

from typing import Any

import pytest

from exchange.cli.joint import read_key, read_measure
from exchange.errors import InvalidRequest
from exchange.jobs.registry import built_in
from exchange.jobs.spec import JobSpec
from exchange.jobs.testing import JOB
from exchange.sdk import Share, joint_spec

SHARES = [Share(f"did:key:z{n}", f"owner{n}/rows", f"agreement-{n}") for n in (1, 2, 3)]


def asked(**changed: Any) -> dict[str, Any]:
    arguments: dict[str, Any] = {
        "job": JOB,
        "title": "t",
        "purpose": "dpv:ResearchAndDevelopment",
        "reader": "did:key:zAnalyst",
        "shares": SHARES,
        "min_cohort": 10,
    }
    return joint_spec(**(arguments | changed))


def test_keys_are_labels_or_edges() -> None:
    assert read_key("band=low,high") == {"column": "band", "labels": ["low", "high"]}
    assert read_key("age<18,30.5") == {"column": "age", "edges": ["18", "30.5"]}


def test_measures_are_statistics_and_quantiles_of_a_range() -> None:
    assert read_measure("balance=sum,mean") == {
        "column": "balance",
        "statistics": ["sum", "mean"],
        "quantiles": [],
    }
    assert read_measure("days=median,0.9@-1:365") == {
        "column": "days",
        "statistics": ["median"],
        "quantiles": ["0.9"],
        "bounds": {"lower": "-1", "upper": "365"},
    }


@pytest.mark.parametrize("text", ["band", "band=", "=low", "<1"])
def test_a_key_of_another_form_is_refused(text: str) -> None:
    with pytest.raises(InvalidRequest, match="--by"):
        read_key(text)


@pytest.mark.parametrize(
    "text", ["balance", "=sum", "balance=", "days=median@5", "days=median@:5", "days=@1:2"]
)
def test_a_measure_of_another_form_is_refused(text: str) -> None:
    with pytest.raises(InvalidRequest, match="--measure"):
        read_measure(text)


def test_what_is_written_is_what_the_nodes_accept() -> None:
    spec = asked(
        keys=[read_key("band=low,high"), read_key("age<18,30")],
        measures=[read_measure("balance=sum"), read_measure("days=median,0.9@0:365")],
        together=True,
        where={"column": "city", "missing": True},
        decimals={"balance": 2},
    )
    parsed = JobSpec.from_json(spec)
    built_in().check(parsed)
    assert parsed.agreements == {share.asset: share.agreement for share in SHARES}
    columns = parsed.step("statistics").inputs["owner-2"].columns
    assert [(column.name, column.decimals) for column in columns] == [
        ("band", 0),
        ("age", 0),
        ("balance", 2),
        ("days", 0),
        ("city", 0),
    ]


def test_a_question_of_no_column_or_of_one_table_twice_is_refused() -> None:
    with pytest.raises(InvalidRequest, match="columns"):
        asked()
    with pytest.raises(InvalidRequest, match="shares"):
        asked(keys=[read_key("band=low")], shares=[SHARES[0], SHARES[0]])
