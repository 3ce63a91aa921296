from __future__ import annotations

from dataclasses import replace
from typing import Any, cast

import pytest

from exchange.errors import InvalidRequest
from exchange.jobs.registry import built_in
from exchange.jobs.spec import JobSpec
from exchange.sdk import LinearRegression, LogisticRegression, NodeClient, PoissonRegression, RemoteTable
from ledger import canonical

LENDER = RemoteTable("did:x:lender", "lender/loans", "person", ("debt",))
BUREAU = RemoteTable("did:x:bureau", "bureau/people", "id", ("income", "age"), "agr-1")
BANK = RemoteTable("did:x:bank", "bank/cards", "id", ("limit",), "agr-2")
HELPER = "did:x:regulator"
PURPOSE = "dpv:CustomerManagement"


class Node:
    """What an estimator asks the caller's node before it submits."""

    def node(self) -> dict[str, Any]:
        return {"did": "did:x:lender"}


NODE = cast("NodeClient", Node())


@pytest.mark.parametrize("made", [LogisticRegression, LinearRegression, PoissonRegression])
@pytest.mark.parametrize(
    ("tables", "helper"), [([LENDER, BUREAU], HELPER), ([LENDER, BUREAU, BANK], None)], ids=["two", "three"]
)
@pytest.mark.parametrize("held_out", [0, 20])
def test_the_job_is_one_that_nodes_take(made: Any, tables: Any, helper: Any, held_out: int) -> None:
    spec = made(NODE, PURPOSE, helper, test_percent=held_out, patience=held_out).spec(tables, "late")
    read = JobSpec.parse(canonical.encode(spec))
    built_in().check(read)
    assert [step.id for step in read.steps] == ["match", "train", "score", "evaluate", "report"]
    assert read.step("train").component == f"model/{made.family}"
    assert read.step("train").params["patience"] == held_out
    assert read.step("score").params["part"] == ("test" if held_out else "all")
    assert read.agreements == {one.asset: one.agreement for one in tables if one.agreement}
    assert {step.recipients for step in read.steps} == {(), ("did:x:lender",)}


@pytest.mark.parametrize(
    ("tables", "helper", "field"),
    [
        ([LENDER], HELPER, "tables"),
        ([LENDER, replace(BUREAU, asset=LENDER.asset)], HELPER, "tables"),
        ([LENDER, BUREAU], None, "helper"),
        ([LENDER, BUREAU, BANK], HELPER, "helper"),
    ],
)
def test_tables_that_make_no_job_are_refused(tables: Any, helper: Any, field: str) -> None:
    with pytest.raises(InvalidRequest) as refused:
        LogisticRegression(NODE, PURPOSE, helper).spec(tables, "late")
    assert refused.value.field == field


def test_an_estimator_that_was_not_fitted_tells_nothing() -> None:
    model = LogisticRegression(NODE, PURPOSE, HELPER)
    with pytest.raises(InvalidRequest, match="fit"):
        model.score()
    with pytest.raises(InvalidRequest, match="fit"):
        model.publish("lender/late", {"key": "person"})


@pytest.mark.parametrize("made", [LinearRegression, PoissonRegression])
def test_a_model_that_was_fitted_is_published_and_asked(made: Any) -> None:
    asked: list[Any] = []

    class Scoring(Node):
        def draft_model(self, model: str, **how: Any) -> Any:
            asked.append((model, how["job"]))

        def score(self, model: str, persons: Any, purpose: str) -> Any:
            return [{"score": 2.5, "probability": None} for _ in persons]

    model = made(cast("NodeClient", Scoring()), PURPOSE, HELPER)
    model.report_, model.job_ = {"r2": "0.25"}, "job-1"
    assert model.score() == 0.25
    model.publish("lender/late", {"key": "person"})
    assert asked == [("lender/late", "job-1")]
    assert model.predict("lender/late", ["a", "b"]) == [2.5, 2.5]
