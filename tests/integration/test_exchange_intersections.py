"""Two-party intersections as jobs through hub and nodes: counts alone, bounds, one receiver."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest

from exchange.errors import JobFailed

pytestmark = pytest.mark.xdist_group("exchange-intersections")
OPERATIONS = ["psi/ecdh", "psi/cardinality", "psi/unbalanced", "stats/group-sums"]
MATCHED = 240


@pytest.fixture(scope="module")
def question(tmp_path_factory: pytest.TempPathFactory, make_question: Callable[..., Any]) -> Iterator[Any]:
    """A running consortium whose owners allow intersections and their sizes."""
    asked = make_question(tmp_path_factory.mktemp("intersections"))
    with asked.running:
        asked.publish(operations=OPERATIONS)
        yield asked


@pytest.fixture(scope="module")
def agreements(question: Any) -> dict[str, str]:
    agreed: dict[str, str] = question.agree(operations=OPERATIONS, uses=8)
    return agreed


def spec_of(question: Any, agreements: dict[str, str], component: str, **params: Any) -> dict[str, Any]:
    """One intersection, and a reader of what it releases."""
    spec: dict[str, Any] = question.spec(agreements)
    match, _, report = spec["steps"]
    match |= {"component": component, "recipients": list(report["parties"].values())}
    match["params"] |= params
    report |= {"component": "report/result", "params": {}, "after": ["match"]}
    return spec | {"steps": [match, report]}


def run(question: Any, spec: dict[str, Any]) -> tuple[str, Any]:
    analyst = question.client("analyst")
    job = analyst.submit(spec)["job"]
    analyst.wait_job(job, timeout_s=60)
    return job, analyst.result(job)[0]


def test_a_count_alone_is_that_of_the_matched_people(question: Any, agreements: dict[str, str]) -> None:
    job, result = run(question, spec_of(question, agreements, "psi/cardinality"))
    assert result["columns"] == ["matched"]
    assert result["rows"] == [[MATCHED]]
    receipts = list(question.client("regulator").entries(job=job, type_="receipt.step"))
    names = {entry["body"]["protocol"]["name"] for entry in receipts if entry["body"]["step"] == "match"}
    assert names == {"psi/cardinality"}


@pytest.mark.parametrize("params", [{"maximum_matches": 20}, {"minimum_matches": 5000}])
def test_a_size_outside_the_bounds_fails_the_job_and_does_not_say_which(
    question: Any, agreements: dict[str, str], params: dict[str, int]
) -> None:
    analyst = question.client("analyst")
    job = analyst.submit(spec_of(question, agreements, "psi/cardinality", **params))["job"]
    with pytest.raises(JobFailed):
        analyst.wait_job(job, timeout_s=60)
    failed = next(iter(question.client("regulator").entries(job=job, type_="job.fail")))
    assert failed["body"]["code"] in ("mpc.result-size-refused", "mpc.peer-aborted")
    assert not any(number in failed["body"]["reason"] for number in ("20", "5000", str(MATCHED)))


@pytest.fixture(scope="module")
def lent(question: Any) -> dict[str, str]:
    """The bureau's agreement with the lender, who brings its own rows."""
    asked = question.request("bureau/people", ["person_id"], operations=OPERATIONS)
    negotiation = question.client("lender").request_agreement(asked)["negotiation"]
    agreed = question.client("bureau").approve(negotiation, "a test")["agreement"]
    return {"bureau/people": agreed}


def test_one_owner_alone_learns_the_intersection_and_nothing_is_released(
    question: Any, lent: dict[str, str]
) -> None:
    lender, spec = question.client("lender"), question.spec(lent)
    match = spec["steps"][0]
    match |= {"recipients": [match["parties"]["left"]]}
    match["params"] |= {"receivers": "left"}
    job = lender.submit(spec | {"steps": [match]})["job"]
    lender.wait_job(job, timeout_s=60)
    assert lender.result(job)[0]["rows"] == [[MATCHED]]
    assert list(question.client("regulator").entries(job=job, type_="job.release")) == []


def test_a_kept_list_answers_again_with_a_fraction_of_the_bytes(question: Any, lent: dict[str, str]) -> None:
    lender, sent = question.client("lender"), []
    for _ in range(2):
        spec = question.spec(lent)
        match = spec["steps"][0]
        sides = {"server": "right", "client": "left"}
        rules = match["params"]["normalise"]
        match |= {
            "component": "psi/unbalanced",
            "parties": {role: match["parties"][side] for role, side in sides.items()},
            "inputs": {role: match["inputs"][side] for role, side in sides.items()},
            "params": {
                "normalise": {role: rules[side] for role, side in sides.items()},
                "minimum_matches": 10,
                "epoch": 1,
            },
        }
        match |= {"recipients": [match["parties"]["client"]]}
        job = lender.submit(spec | {"steps": [match]})["job"]
        lender.wait_job(job, timeout_s=60)
        assert len(lender.result(job)[0]["rows"]) == MATCHED
        receipts = question.client("regulator").entries(job=job, type_="receipt.step")
        sent.append(max(entry["body"]["bytes_sent"] for entry in receipts))
    assert sent[0] - sent[1] == 280 * 12 + 32
