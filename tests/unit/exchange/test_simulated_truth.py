"""The truth check: right results have no error, wrong ones show it, and what was not compared is named."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import replace
from types import MappingProxyType
from typing import Any, cast

import numpy as np
import pyarrow as pa
import pytest

from exchange.errors import InvalidRequest
from exchange.jobs.component import Outcome, StepContext
from exchange.jobs.registry import Registry, built_in
from exchange.jobs.releases import Cardinality
from exchange.jobs.scoring.part import ScorePart
from exchange.jobs.spec import JobSpec
from exchange.jobs.testing import ANALYST, BUREAU, LENDER, example_spec
from exchange.sdk import NodeClient, PoissonRegression, RemoteTable, Share, joint_spec
from exchange.simulated.figures import Figure, Tolerance, beside
from exchange.simulated.people import matchings_of, with_people_in_common
from exchange.simulated.references import Reference
from exchange.simulated.truth import REFERENCES, StepCheck, TruthCheck, check
from exchange.sql.steps import query_step
from exchange.sql.testing import catalog_of

ROWS = {"lender/loans": 300, "bureau/people": 240}


def twins(seed: int = 5) -> dict[str, pa.Table]:
    """Tables of two owners that have no identifier in common."""
    rng = np.random.Generator(np.random.PCG64(seed))
    loans, people = ROWS.values()
    debt, income = rng.normal(0, 1, loans), rng.normal(0, 1, people)
    return {
        "lender/loans": pa.table(
            {
                "customer_id": [f"TWIN-{number:04d}" for number in range(loans)],
                "default": rng.integers(0, 2, loans),
                "balance": np.round(rng.normal(900, 300, loans), 2),
                "claims": rng.poisson(3, loans),
                "debt": debt,
                "city": rng.choice(["Oslo", "Bergen"], loans),
            }
        ),
        "bureau/people": pa.table(
            {
                "person_id": [f"TWIN-{number:04d}" for number in range(5000, 5000 + people)],
                "band": rng.choice(["high", "low", "rare"], people, p=[0.5, 0.48, 0.02]),
                "income": income,
            }
        ),
    }


def checked(
    spec: Mapping[str, Any],
    *,
    tables: Mapping[str, pa.Table] | None = None,
    known: Mapping[str, Reference] = REFERENCES,
    registry: Registry | None = None,
    share: float = 0.75,
    samples: Collection[str] = (),
    complete: Mapping[str, Collection[str]] = MappingProxyType({}),
) -> TruthCheck:
    rng = np.random.Generator(np.random.PCG64(1))
    given = twins() if tables is None else tables
    return check(
        JobSpec.from_json(spec),
        given,
        share=share,
        rng=rng,
        samples=samples,
        complete=complete,
        known=known,
        registry=registry,
    )


def by_id(found: TruthCheck) -> dict[str, StepCheck]:
    return {one.step: one for one in found.steps}


def columns(*names: str) -> list[dict[str, Any]]:
    return [{"name": name, "decimals": 0} for name in names]


def training(family: str, label: str, **params: Any) -> dict[str, Any]:
    """The example's matching, and a regression over both owners' columns."""
    spec = example_spec()
    train = {
        "id": "train",
        "component": f"model/{family}",
        "version": 1,
        "parties": {"owner-1": LENDER, "owner-2": BUREAU, "helper-1": ANALYST},
        "inputs": {
            "owner-1": {"asset": "lender/loans", "columns": columns(label, "debt")},
            "owner-2": {"asset": "bureau/people", "columns": columns("income")},
        },
        "after": ["match"],
        "params": {
            "label": label,
            "coefficients": "recipients",
            "min_cohort": 20,
            "epochs": 240,
            "batch": 512,
            **params,
        },
        "recipients": [ANALYST] if params.get("coefficients") != "split" else [],
    }
    return {**spec, "steps": [spec["steps"][0], train]}


def test_matching_and_sums_of_groups_have_no_error() -> None:
    spec = example_spec()
    spec["steps"][1]["inputs"]["measure_holder"]["columns"] = [
        {"name": "default", "decimals": 0},
        {"name": "balance", "decimals": 2},
    ]
    found = by_id(checked(spec))
    assert [one.state for one in found.values()] == ["compared", "compared", "not-compared"]
    matched, wrongly = found["match"].figures
    assert (matched.private, matched.plain, wrongly.private) == (180, 180, 0)
    assert found["stats"].absolute == 0.0
    # The rare group is below the minimum, so neither side has it.
    assert {figure.name.partition(":")[0] for figure in found["stats"].figures} == {"high", "low"}
    assert found["report"].reason == "reader"


@pytest.mark.parametrize(
    ("family", "label"), [("logistic", "default"), ("linear", "balance"), ("poisson", "claims")]
)
def test_coefficients_are_those_of_a_fit_in_plaintext(family: str, label: str) -> None:
    train = by_id(checked(training(family, label)))["train"]
    assert train.state == "compared"
    assert [figure.name for figure in train.figures] == [
        "owner-1 / (intercept): coefficient",
        "owner-1 / debt: coefficient",
        "owner-2 / income: coefficient",
    ]
    assert train.is_within
    assert 0.0 < train.absolute < 0.02


def test_rows_held_out_are_held_out_of_the_fit_in_plaintext_too() -> None:
    found = by_id(checked(training("linear", "balance", test_percent=40, coefficients="split")))["train"]
    assert found.is_within
    assert found.absolute < 0.01


@pytest.mark.parametrize(
    ("family", "label", "coefficients"),
    [("logistic", "default", "recipients"), ("linear", "balance", "split"), ("poisson", "claims", "split")],
)
def test_standard_errors_are_compared_where_they_are_told(family: str, label: str, coefficients: str) -> None:
    spec = training(family, label, coefficients=coefficients, standard_errors="told")
    train = by_id(checked(spec))["train"]
    assert [figure.name for figure in train.figures[-2:]] == [
        "owner-2 / income: coefficient",
        "owner-2 / income: standard error",
    ]
    # Of n standardised rows they are about the deviation over the root of n, never 0.
    assert all(float(str(figure.plain)) > 0.02 for figure in train.figures[1::2])
    assert train.is_within


def test_correlations_are_those_of_the_matched_rows() -> None:
    spec = training("linear", "balance")
    spec["steps"][1] |= {"component": "model/correlation", "params": {"min_cohort": 20}}
    relate = by_id(checked(spec))["train"]
    assert [figure.name for figure in relate.figures[:4]] == [
        "owner-1 / balance: inflation",
        "owner-1 / balance: correlation with balance",
        "owner-1 / balance: correlation with debt",
        "owner-1 / balance: correlation with income",
    ]
    assert len(relate.figures) == 12
    assert relate.is_within


def test_closed_correlations_are_not_compared() -> None:
    spec = training("linear", "balance")
    params = {"min_cohort": 20, "threshold_micro": 900_000}
    spec["steps"][1] |= {"component": "model/correlation", "params": params}
    relate = by_id(checked(spec))["train"]
    assert [figure.name for figure in relate.figures if figure.private is not None] == [
        f"{owner}: correlation with {owner.rpartition(' ')[2]}"
        for owner in ("owner-1 / balance", "owner-1 / debt", "owner-2 / income")
    ]
    assert relate.is_within


def test_sums_of_matched_people_are_those_of_the_shared_identifiers() -> None:
    step = {
        **example_spec()["steps"][0],
        "component": "psi/sum",
        "parties": {"left": LENDER, "right": BUREAU, "helper": ANALYST},
        "inputs": {
            "left": {
                "asset": "lender/loans",
                "columns": [*columns("customer_id"), {"name": "balance", "decimals": 2}],
            },
            "right": {
                "asset": "bureau/people",
                "columns": [*columns("person_id"), {"name": "income", "decimals": 3}],
            },
        },
        "params": {"normalise": {"left": [], "right": []}, "figures": "variance", "min_cohort": 10},
        "recipients": [ANALYST],
    }
    found = checked({**example_spec(), "steps": [step]}).steps[0]
    assert [figure.name for figure in found.figures] == [
        "matched",
        *(
            f"{place}: {figure}"
            for place in ("left / balance", "right / income")
            for figure in ("sum", "mean", "variance")
        ),
    ]
    assert found.figures[0].plain == 180
    assert found.is_within


def scored(family: str, label: str, scores: str = "shared") -> dict[str, Any]:
    """A job that trains on some rows, and scores and evaluates the others."""
    spec = training(family, label, coefficients="split", epochs=20, test_percent=50)
    match, train = spec["steps"]
    owners = {role: train["parties"][role] for role in train["inputs"]}
    score = {
        **train,
        "id": "score",
        "component": "model/score",
        "parties": owners,
        "after": ["match", "train"],
        "params": {"scores": scores, "part": "test", "min_cohort": 20},
        "recipients": [LENDER] if scores == "owner-1" else [],
    }
    evaluate = {
        **train,
        "id": "evaluate",
        "component": "model/evaluate",
        "after": ["score"],
        "params": {"label": label, "min_cohort": 20},
        "recipients": [ANALYST],
    }
    return {**spec, "steps": [match, train, score, evaluate]}


@pytest.mark.parametrize(
    ("family", "label", "measures"),
    [
        ("logistic", "default", ["auc", "ks", "brier"]),
        ("poisson", "claims", ["mean_squared_error", "mean_absolute_error", "r2"]),
    ],
)
def test_scores_and_measures_are_those_of_the_trained_model(
    family: str, label: str, measures: list[str]
) -> None:
    found = by_id(checked(scored(family, label)))
    rows, error = found["score"].figures
    assert (rows.private, rows.plain) == (90, 90)
    assert 0.0 < error.absolute < 0.002
    assert [figure.name for figure in found["evaluate"].figures] == measures
    assert found["evaluate"].is_within


def test_groups_of_an_evaluation_are_those_of_the_matched_rows() -> None:
    spec = scored("logistic", "default")
    evaluate = spec["steps"][-1]
    inputs = evaluate["inputs"]
    people = {**inputs["owner-2"], "columns": columns("income", "band")}
    evaluate["inputs"] = {**inputs, "owner-2": people}
    evaluate["params"] |= {"by": {"owner": "owner-2", "column": "band", "labels": ["high", "low", "rare"]}}
    found = by_id(checked(spec))["evaluate"]
    names = [figure.name for figure in found.figures[3:]]
    told = {name.partition(": ")[0] for name in names}
    assert told in ({"high"}, {"low"}, {"high", "low"})  # which are large enough hangs on the rows held out
    assert {name.rpartition(": ")[2] for name in names} == {"rows", "mean label", "mean score"}
    assert found.is_within


class Node:
    """What an estimator asks the caller's node before it submits."""

    def node(self) -> dict[str, Any]:
        return {"did": ANALYST}


def test_the_job_of_an_estimator_of_counts_is_played_to_its_end() -> None:
    model = PoissonRegression(
        cast("NodeClient", Node()), "dpv:CustomerManagement", ANALYST, min_cohort=20, epochs=5
    )
    tables = [
        RemoteTable(LENDER, "lender/loans", "customer_id", ("debt",), "agreement-1"),
        RemoteTable(BUREAU, "bureau/people", "person_id", ("income",), "agreement-2"),
    ]
    found = by_id(checked(model.spec(tables, "claims")))
    assert [one.state for one in found.values()] == [*["compared"] * 4, "not-compared"]
    assert found["score"].is_within
    assert found["evaluate"].is_within


def forged(context: StepContext) -> Outcome:
    """Scores, and then moves one part of one owner up by one."""
    honest = built_in().get("model/score").run(context)
    part = ScorePart.decode(honest.local)
    parts = part.parts.copy()
    parts[3] += 4096 if context.role == "owner-2" else 0
    return replace(honest, local=replace(part, parts=parts).encode())


def test_one_forged_score_among_many_shows() -> None:
    components = Registry(
        replace(one, run=forged) if one.name == "model/score" else one for one in built_in()
    )
    score = by_id(checked(scored("logistic", "default"), registry=components))["score"]
    assert not score.is_within
    assert score.absolute == pytest.approx(1.0, abs=0.002)


def test_people_whom_three_owners_know_are_counted() -> None:
    third = "did:key:zThird"
    tables = {
        **twins(),
        "third/cards": pa.table({"holder": [f"TWIN-{number:04d}" for number in range(9000, 9200)]}),
    }
    keys = {"lender/loans": "customer_id", "bureau/people": "person_id", "third/cards": "holder"}
    roles = dict(zip(("leader", "party-1", "party-2"), keys, strict=True))
    step = {
        **example_spec()["steps"][0],
        "component": "psi/many",
        "parties": dict(zip(roles, (LENDER, BUREAU, third), strict=True)),
        "inputs": {role: {"asset": asset, "columns": columns(keys[asset])} for role, asset in roles.items()},
        "params": {"normalise": {key: ["trim"] for key in roles}, "minimum_matches": 5, "receivers": "all"},
        "recipients": [ANALYST],
    }
    found = checked({**example_spec(), "steps": [step]}, tables=tables).steps[0]
    assert [(figure.private, figure.plain) for figure in found.figures] == [(150, 150), (0, 0)]


def test_a_model_that_is_not_trained_to_the_end_is_beyond_the_tolerance() -> None:
    found = checked(training("logistic", "default", epochs=1, rate_micro=10_000))
    train = by_id(found)["train"]
    assert train.state == "compared"
    assert not train.is_within
    assert not found.is_within


def test_joint_statistics_are_those_of_the_pooled_rows() -> None:
    rng = np.random.Generator(np.random.PCG64(3))
    tables = {
        f"owner{number}/customers": pa.table(
            {
                "band": rng.choice(["high", "low", "odd", "rare"], 90, p=[0.4, 0.4, 0.18, 0.02]),
                "debt": np.round(rng.normal(500, 200, 90), 2),
                "age": rng.integers(18, 80, 90),
            }
        )
        for number in range(3)
    }
    spec = joint_spec(
        job=example_spec()["job"],
        title="Debt by band",
        purpose="dpv:CustomerSolvencyMonitoring",
        reader=ANALYST,
        shares=[Share(f"did:key:z{asset}", asset, "agreement-1") for asset in tables],
        min_cohort=10,
        keys=[{"column": "band", "labels": ["high", "low"]}, {"column": "age", "edges": ["30", "50"]}],
        measures=[
            {
                "column": "debt",
                "statistics": ["sum", "mean", "variance", "deviation", "minimum", "median", "maximum"],
                "quantiles": ["0.9"],
                "bounds": {"lower": "-2000", "upper": "2000"},
            },
            {"column": "age", "statistics": ["mean"]},
        ],
        together=True,
        where={"column": "age", "is": ">", "value": 20},
        decimals={"debt": 2},
    )
    found = by_id(checked(spec, tables=tables))[spec["steps"][0]["id"]]
    assert found.state == "compared"
    assert found.is_within
    assert len(found.figures) % 12 == 0
    assert {"(other) / [30, 50): quantile 0.9 debt", "low / >= 50: correlation debt age"} <= {
        figure.name for figure in found.figures
    }


QUERY = (
    "SELECT p.band AS band, COUNT(*) AS people, AVG(l.balance) AS mean, SUM(l.balance * p.income) AS both, "
    "MIN(l.balance) AS least FROM lender.loans l JOIN bureau.people p ON l.customer_id = p.person_id "
    "GROUP BY p.band"
)


def asked(query: str, tables: Mapping[str, pa.Table]) -> dict[str, Any]:
    owners = {"lender/loans": LENDER, "bureau/people": BUREAU}
    step = query_step(
        query, catalog_of(tables), owners, name="query", minimum=10, helper=ANALYST, recipient=ANALYST
    )
    return {**example_spec(), "steps": [step]}


def exact_twins() -> dict[str, pa.Table]:
    """The same with decimals, which queries take exactly."""
    made = twins()
    balance = pa.array([round(value) for value in made["lender/loans"]["balance"].to_pylist()], pa.int64())
    income = pa.array(
        [round(100 * value) for value in made["bureau/people"]["income"].to_pylist()], pa.int64()
    )
    made["lender/loans"] = made["lender/loans"].set_column(2, "balance", balance)
    made["bureau/people"] = made["bureau/people"].set_column(2, "income", income)
    return made


def test_a_query_is_what_duckdb_answers() -> None:
    tables = exact_twins()
    found = by_id(checked(asked(QUERY, tables), tables=tables))["query"]
    assert found.state == "compared"
    assert found.is_within
    assert [figure.name for figure in found.figures] == [
        "groups",
        *(f"{band}: {name}" for band in ("high", "low") for name in ("people", "mean", "both", "least")),
    ]


@pytest.mark.parametrize(
    ("query", "reason"),
    [
        (QUERY.replace("p.band AS band, ", ""), "unnamed"),
        (QUERY + " ORDER BY band LIMIT 1", "rows"),
    ],
)
def test_a_query_whose_answer_cannot_be_told_apart_is_not_compared(query: str, reason: str) -> None:
    tables = exact_twins()
    found = by_id(checked(asked(query, tables), tables=tables))["query"]
    assert (found.state, found.reason) == ("not-compared", reason)


def test_a_query_for_the_names_of_groups_alone_compares_these() -> None:
    tables = exact_twins()
    query = "SELECT p.band AS band FROM lender.loans l JOIN bureau.people p ON l.customer_id = p.person_id "
    found = by_id(checked(asked(query + "GROUP BY p.band", tables), tables=tables))["query"]
    assert [(figure.private, figure.plain) for figure in found.figures] == [
        (2, 2),
        ("high", "high"),
        ("low", "low"),
    ]
    assert found.is_within


def test_a_wrong_reference_shows_as_an_error() -> None:
    right = REFERENCES["psi/ecdh"]

    def wrong(*given: Any) -> list[Figure]:
        return [replace(figure, plain=int(str(figure.plain)) + 9) for figure in right.compare(*given)]

    found = checked(example_spec(), known={"psi/ecdh": replace(right, compare=wrong)})
    match = by_id(found)["match"]
    assert (match.absolute, match.relative) == (9.0, 1.0)
    assert not match.is_within
    assert not found.is_within
    written: Any = found.as_json()["steps"]
    assert written[0]["figures"][0] == {
        "name": "matched",
        "private": "180",
        "plaintext": "189",
        "absolute_error": 9.0,
        "relative_error": 9 / 189,
        "within": False,
    }


def tampered(context: StepContext) -> Outcome:
    """Plays the matching, and then swaps two matched rows of one owner and states one match more."""
    honest = built_in().get("psi/ecdh").run(context)
    rows = np.frombuffer(honest.local, dtype="<i8").copy()
    if context.role == "left":
        rows[[0, 1]] = rows[[1, 0]]
    return replace(honest, local=rows.tobytes(), release=Cardinality(len(rows) + 1).encode())


def test_a_tampered_result_shows_in_the_step_and_in_those_behind_it() -> None:
    components = Registry(replace(one, run=tampered) if one.name == "psi/ecdh" else one for one in built_in())
    spec = example_spec()
    spec["steps"][1]["inputs"]["measure_holder"]["columns"] = [{"name": "balance", "decimals": 2}]
    tables = twins()
    bands = pa.array(["high", "low"] * 120)
    tables["bureau/people"] = tables["bureau/people"].set_column(1, "band", bands)
    found = by_id(checked(spec, tables=tables, registry=components))
    matched, wrongly = found["match"].figures
    assert (matched.absolute, wrongly.private) == (1.0, 2)
    assert not found["match"].is_within


def test_a_step_that_fails_is_told_and_those_behind_it_are_not_played() -> None:
    spec = example_spec()
    spec["steps"][0]["params"]["minimum_matches"] = 200
    found = checked(spec)
    match, stats, _ = found.steps
    assert (match.state, stats.state, stats.reason) == ("failed", "not-played", "after")
    assert "TWIN-" not in match.detail
    assert not found.is_within


def test_what_adds_noise_is_not_compared() -> None:
    spec = example_spec()
    spec["steps"][1]["params"]["privacy"] = {
        "mechanism": "gaussian",
        "epsilon_micro": 1_000_000,
        "delta_exponent": 6,
        "bounds": {"default": {"lower": "0", "upper": "1"}},
    }
    stats = by_id(checked(spec))["stats"]
    assert (stats.state, stats.reason) == ("not-compared", "noise")


def test_what_an_outside_engine_plays_is_not_played() -> None:
    spec = example_spec()
    spec["steps"][0]["component"] = "psi/rr22"
    found = checked(spec)
    assert [(one.state, one.reason) for one in found.steps] == [
        ("not-played", "outside"),
        ("not-played", "after"),
        ("not-played", "after"),
    ]


def test_a_share_of_rows_gets_the_same_people_and_the_rest_keeps_its_own() -> None:
    spec = JobSpec.from_json(example_spec())
    matchings = matchings_of(spec, built_in())
    made = with_people_in_common(twins(), matchings, 0.5, np.random.Generator(np.random.PCG64(2)))
    own, given = twins()["bureau/people"], made["bureau/people"]
    left = set(made["lender/loans"]["customer_id"].to_pylist())
    right = given["person_id"].to_pylist()
    assert len(left & set(right)) == 120
    assert len(set(right)) == 240
    assert given.select(["band", "income"]).equals(own.select(["band", "income"]))
    assert made["lender/loans"].equals(twins()["lender/loans"])


def test_identifiers_of_texts_and_of_integers_are_replaced_by_numbers() -> None:
    tables = twins()
    numbers = pa.array(range(9_000_000, 9_000_240))
    tables["bureau/people"] = tables["bureau/people"].set_column(0, "person_id", numbers)
    assert by_id(checked(example_spec(), tables=tables))["match"].figures[0].plain == 180


def test_rows_that_repeat_an_identifier_are_left_out() -> None:
    tables = twins()
    repeated = ["TWIN-0000", "TWIN-0000", *(f"TWIN-{number:04d}" for number in range(2, 300))]
    tables["lender/loans"] = tables["lender/loans"].set_column(0, "customer_id", pa.array(repeated))
    found = checked(example_spec(), tables=tables)
    assert found.rows == {"lender/loans": 299, "bureau/people": 240}
    assert by_id(found)["match"].is_within


def test_identifiers_that_a_column_cannot_hold_are_refused() -> None:
    tables = twins()
    dates = pa.array(range(240), pa.int32()).cast(pa.date32())
    tables["bureau/people"] = tables["bureau/people"].set_column(0, "person_id", dates)
    with pytest.raises(InvalidRequest, match=r"columns\.person_id: expected a type that holds identifiers"):
        checked(example_spec(), tables=tables)


def test_identifiers_of_two_samples_are_matched_as_they_stand() -> None:
    tables = twins()
    people = pa.array([f"twin-{number:04d}" for number in range(60, 300)])
    tables["bureau/people"] = tables["bureau/people"].set_column(0, "person_id", people)
    spec = example_spec()
    spec["steps"][0]["params"]["normalise"] = {"left": ["lower"], "right": []}
    found = checked(spec, tables=tables, samples=ROWS)
    assert by_id(found)["match"].figures[0].plain == 240
    assert by_id(found)["match"].is_within
    assert found.as_json()["samples"] == ["bureau/people", "lender/loans"]


@pytest.mark.parametrize(("complete", "state"), [(["default"], "compared"), ([], "failed")])
def test_rows_lack_values_only_where_those_of_the_data_do(complete: list[str], state: str) -> None:
    tables = twins()
    default = pa.array([None, *tables["lender/loans"]["default"].to_pylist()[1:]])
    tables["lender/loans"] = tables["lender/loans"].set_column(1, "default", default)
    found = checked(example_spec(), tables=tables, share=1.0, complete={"lender/loans": complete})
    assert by_id(found)["stats"].state == state
    assert found.rows["lender/loans"] == 300 - len(complete)


def test_a_column_that_a_table_lacks_is_named() -> None:
    tables = twins()
    tables["bureau/people"] = tables["bureau/people"].drop_columns(["band"])
    with pytest.raises(InvalidRequest, match=r"steps\.stats\.inputs\.group_holder\.columns: .* got band"):
        checked(example_spec(), tables=tables)


@pytest.mark.parametrize("share", [0.0, 1.5])
def test_a_share_that_is_none_is_refused(share: float) -> None:
    with pytest.raises(InvalidRequest, match="share: expected above 0 and at most 1"):
        checked(example_spec(), share=share)


def test_a_row_that_one_side_lacks_differs_without_end_whether_it_has_figures_or_not() -> None:
    (unnamed,) = beside({("high",): []}, {}, [])
    (named,) = beside({}, {("high",): [3]}, ["count"])
    assert (unnamed.name, unnamed.absolute) == ("high", np.inf)
    assert (named.name, named.absolute) == ("high: count", np.inf)


def test_a_figure_that_one_side_lacks_differs_without_end() -> None:
    lacking = Figure("sum", None, 3)
    assert lacking.absolute == np.inf
    assert not lacking.is_within(Tolerance(absolute=1e9))
    assert Figure("sum", 3, 0).relative == np.inf
    assert Figure("name", "a", "a").is_within(Tolerance())
