"""A split model of two owners is trained, scored and evaluated as a job through hub and nodes."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.csv
import pytest

from exchange.errors import JobRefused
from exchange.sdk import GradientBoosting, LogisticRegression, RemoteTable
from exchange.testing import ConsortiumInProcess
from ledger.entries import new_id
from ledger.times import system_clock

PURPOSE = "dpv:CustomerSolvencyMonitoring"
RNG = np.random.Generator(np.random.PCG64(9))
PEOPLE = 260
DEBT, INCOME = RNG.normal(4_000, 1_500, PEOPLE), RNG.normal(2_500, 700, PEOPLE)
FITTED = (DEBT - 4_000) / 1_500 - (INCOME - 2_500) / 700
LATE = (RNG.random(PEOPLE) < 1 / (1 + np.exp(-FITTED))).astype(np.int64)
REGION = np.array(["north", "south", "south", "east"])[np.arange(PEOPLE) % 4]
IDS = [f"p{i:03d}" for i in range(PEOPLE)]
BOTH = slice(40, 220)
TABLES = {
    "lender": pa.table({"person": IDS[:220], "late": LATE[:220], "debt": DEBT[:220]}),
    "bureau": pa.table({"id": IDS[40:], "income": INCOME[40:], "region": REGION[40:]}),
}
OPERATIONS = ["psi/ecdh", "model/logistic", "model/score", "model/evaluate", "model/boosting"]


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ConsortiumInProcess]:
    folder = tmp_path_factory.mktemp("columns")
    for owner, table in TABLES.items():
        pyarrow.csv.write_csv(table, folder / f"{owner}.csv")
    with ConsortiumInProcess(tmp_path_factory.mktemp("consortium"), sources=[folder]) as consortium:
        for owner, name, level in (
            ("lender", "loans", "AFTER_AGGREGATE"),
            ("bureau", "people", "AFTER_AGGREGATE"),
            ("bureau", "open", "AS_JOIN_PAYLOAD"),
        ):
            columns = [
                {
                    "name": column,
                    "role": "identifier"
                    if column in ("person", "id")
                    else "label"
                    if column == "late"
                    else "group"
                    if column == "region"
                    else "feature",
                    "sensitivity": "internal",
                    "control": "AFTER_JOIN"
                    if column in ("person", "id")
                    else "AFTER_GROUP_BY"
                    if column == "region"
                    else level,
                }
                for column in TABLES[owner].column_names
            ]
            consortium.client(owner).publish(
                {
                    "name": name,
                    "title": name,
                    "source": {"kind": "file", "location": str(folder / f"{owner}.csv")},
                    "columns": columns,
                    "terms": _terms(owner) | {"purposes": [PURPOSE], "uses": 50},
                }
            )
        yield consortium


def _terms(owner: str) -> dict[str, Any]:
    return {
        "operations": OPERATIONS,
        "columns": TABLES[owner].column_names,
        "uses": 20,
        "expires": "2099-01-01T00:00:00Z",
        "min_cohort": 20,
        "output_types": ["aggregate", "cardinality", "scores"],
    }


def _step(id_: str, component: str, parties: dict[str, str], **more: Any) -> dict[str, Any]:
    empty: dict[str, Any] = {"inputs": {}, "after": [], "params": {}, "recipients": []}
    return {"id": id_, "component": component, "version": 1, "parties": parties, **empty, **more}


def _input(asset: str, *columns: str) -> dict[str, Any]:
    return {"asset": asset, "columns": [{"name": name, "decimals": 0} for name in columns]}


def _scoring(
    at: ConsortiumInProcess, people: str, scores: str, percent: int, **score: str
) -> list[dict[str, Any]]:
    """Match, train on all rows but some in a hundred, and score."""
    lender, bureau, helper = map(at.did, ("lender", "bureau", "regulator"))
    owners = {"owner-1": lender, "owner-2": bureau}
    computing = owners | {"helper-1": helper}
    inputs = {
        "owner-1": _input("lender/loans", "late", "debt"),
        "owner-2": _input(f"bureau/{people}", "income"),
    }
    return [
        _step(
            "match",
            "psi/ecdh",
            {"left": lender, "right": bureau},
            inputs={"left": _input("lender/loans", "person"), "right": _input(f"bureau/{people}", "id")},
            params={"normalise": {"left": [], "right": []}, "minimum_matches": 20},
        ),
        _step(
            "train",
            "model/logistic",
            computing,
            inputs=inputs,
            after=["match"],
            params={
                "label": "late",
                "coefficients": "split",
                "min_cohort": 20,
                "test_percent": percent,
                "batch": 256,
                "epochs": 16,
            },
        ),
        _step(
            "score",
            "model/score",
            owners,
            inputs=inputs,
            after=["match", "train"],
            params={"scores": scores, "min_cohort": 20, **score},
            recipients=[lender] if scores == "owner-1" else [],
        ),
    ]


def _answered(
    at: ConsortiumInProcess, asker: str, people: str, steps: list[dict[str, Any]]
) -> dict[str, Any]:
    spec = {
        "v": 1,
        "job": new_id("job", system_clock),
        "title": "Who is late",
        "purpose": PURPOSE,
        "agreements": _agreed(at, asker, people),
        "steps": steps,
    }
    submitted = at.client(asker).submit(spec)["job"]
    at.client(asker).wait_job(submitted, timeout_s=90)
    return at.client(asker).result(submitted)[0]


def scored(at: ConsortiumInProcess, people: str) -> dict[str, Any]:
    """Tell the lender the scores of the rows held out."""
    return _answered(at, "lender", people, _scoring(at, people, "owner-1", 30, part="test"))


def _agreed(at: ConsortiumInProcess, submitter: str, people: str) -> dict[str, str]:
    found = {}
    for owner, asset in (("lender", "lender/loans"), ("bureau", f"bureau/{people}")):
        if owner != submitter:
            asked = {"asset": asset, "purpose": PURPOSE, **_terms(owner)}
            negotiation = at.client(submitter).request_agreement(asked)["negotiation"]
            found[asset] = str(at.client(owner).approve(negotiation, "a test")["agreement"])
    return found


def _auc(scores: Any, label: Any) -> float:
    above = scores[label == 1][:, None] > scores[label == 0]
    return float(above.mean())


def _expected(rows: list[int]) -> Any:
    """The chances of some rows by a model of all others, trained in the clear as the job says: 16 steps."""
    others = sorted(set(range(*BOTH.indices(PEOPLE))) - set(rows))
    columns = np.array([DEBT, INCOME])
    trained = columns[:, others]
    scaled = (columns - trained.mean(axis=1)[:, None]) / trained.std(axis=1)[:, None]
    x = np.vstack([np.ones(PEOPLE), scaled])
    weights = step = np.zeros(len(x))
    for epoch in range(16):
        residual = 1 / (1 + np.exp(-weights @ x[:, others])) - LATE[others]
        rate = 0.5 * min(1.0, 2 * (1 - epoch / 16))
        step = rate * x[:, others] @ residual / len(others) + 0.9 * step
        weights = weights - step
    return 1 / (1 + np.exp(-weights @ x[:, rows]))


def test_who_asked_reads_how_good_the_model_is(running: ConsortiumInProcess) -> None:
    agreements = _agreed(running, "analyst", "people")
    lender, bureau, helper = map(running.did, ("lender", "bureau", "regulator"))
    model = LogisticRegression(
        running.client("analyst"),
        PURPOSE,
        helper,
        rules=(),
        min_cohort=20,
        test_percent=0,
        epochs=16,
        batch=256,
        timeout_s=90,
    ).fit(
        [
            RemoteTable(lender, "lender/loans", "person", ("debt",), agreements["lender/loans"]),
            RemoteTable(bureau, "bureau/people", "id", ("income",), agreements["bureau/people"]),
        ],
        "late",
    )
    fitted, label = FITTED[BOTH], LATE[BOTH]
    facts = model.report_
    assert (facts["rows"], facts["positives"]) == (180, int(label.sum()))
    # A model of other coefficients than those that made the label orders a few pairs in another way.
    assert model.score() == pytest.approx(_auc(fitted, label), abs=0.02)
    rows = running.client("analyst").result(model.job_)[0]["rows"]
    assert [row[1] for row in rows] == [20] * 9
    assert sum(row[2] for row in rows) == label.sum()
    assert {"roc.png", "ks.png", "gain.png", "lift.png", "calibration.png"} <= set(model.files_)


def test_the_label_holder_learns_scores_where_the_other_owner_lets_it_see_rows(
    running: ConsortiumInProcess,
) -> None:
    with pytest.raises(JobRefused, match="income"):
        scored(running, "people")
    answer = scored(running, "open")
    rows = [row for row, _ in answer["rows"]]
    assert len(rows) == 54
    assert set(rows) <= set(range(40, 220))
    scores = np.array([float(score) for _, score in answer["rows"]])
    np.testing.assert_allclose(scores, _expected(rows), atol=0.01)


def test_who_asked_reads_how_good_the_model_is_by_group(running: ConsortiumInProcess) -> None:
    steps, analyst = _scoring(running, "people", "shared", 0), running.did("analyst")
    inputs = steps[1]["inputs"]
    by = {"owner": "owner-2", "column": "region", "labels": ["north", "south", "east"], "cutoffs": ["0.5"]}
    steps += [
        _step(
            "evaluate",
            "model/evaluate",
            steps[1]["parties"],
            inputs=inputs | {"owner-2": _input("bureau/people", "income", "region")},
            after=["score"],
            params={"label": "late", "min_cohort": 20, "by": by},
            recipients=[analyst],
        ),
        _step("read", "report/evaluation", {"reader": analyst}, after=["evaluate"]),
    ]
    told = _answered(running, "analyst", "people", steps)["facts"]["by"]
    lines = [dict(zip(told["columns"], line, strict=True)) for line in told["groups"]]
    assert [line["group"] for line in lines] == by["labels"]
    for line in lines:
        rows = np.arange(PEOPLE)[BOTH][REGION[BOTH] == line["group"]]
        label = LATE[rows]
        assert line["rows"] == len(rows)
        assert float(line["positive rate"]) == pytest.approx(label.mean(), abs=1e-5)
        # A model of other coefficients than those that made the label orders a few pairs in another way.
        assert float(line["auc"]) == pytest.approx(_auc(FITTED[rows], label), abs=0.03)
    assert told["suppressed"] == 0
    assert [found["cutoff"] for found in told["fairness"]] == by["cutoffs"]


def test_who_asked_reads_how_good_boosted_trees_are(running: ConsortiumInProcess) -> None:
    pytest.importorskip("tenseal", reason="TenSEAL is an extra")
    agreements = _agreed(running, "analyst", "open")
    for agreement in agreements.values():
        running.client("analyst").wait_agreement(agreement)
    grown = GradientBoosting(
        running.client("analyst"),
        PURPOSE,
        rules=(),
        min_cohort=20,
        test_percent=0,
        n_estimators=3,
        max_depth=2,
        max_bin=8,
        timeout_s=90,
    ).fit(
        [
            RemoteTable(
                running.did("lender"), "lender/loans", "person", ("debt",), agreements["lender/loans"]
            ),
            RemoteTable(running.did("bureau"), "bureau/open", "id", ("income",), agreements["bureau/open"]),
        ],
        "late",
    )
    assert (grown.report_["rows"], grown.report_["held_out"], grown.n_estimators_) == (180, 0, 3)
    assert grown.loss_curve_ == sorted(grown.loss_curve_, reverse=True)
    assert 0.7 < grown.score() < 1
    assert b"income" not in b"".join(grown.files_.values())
