"""Regression over columns of two owners: coefficients, scores, how good they are, and to whom how fair."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from exchange.examples.stage import ANALYST, MIN_COHORT, REGULATOR, Stage, step
from federated import metrics

__all__ = ["by_group", "counted", "evaluated", "linear", "logistic", "own_part", "scored"]

_PEOPLE, _ALONE = 400, 40
_SPLIT: Final = {"coefficients": "split"}
_COLUMNS = {
    "lender": {
        "person": ("identifier", "AFTER_JOIN"),
        "late": ("label", "AFTER_AGGREGATE"),
        "spent": ("label", "AFTER_AGGREGATE"),
        "visits": ("label", "AFTER_AGGREGATE"),
        "debt": ("feature", "AFTER_AGGREGATE"),
    },
    "utility": {
        "person": ("identifier", "AFTER_JOIN"),
        "income": ("feature", "AFTER_AGGREGATE"),
        "age": ("feature", "AFTER_AGGREGATE"),
        "region": ("group", "AFTER_GROUP_BY"),
    },
}
_REGIONS: Final = ("city", "country")
_CUTOFF: Final = 0.4


def logistic(stage: Stage) -> tuple[object, object]:
    """Which columns of two owners go with late payment? The analyst reads all coefficients."""
    return _coefficients(stage, "logistic", "late"), _named(_logistic(*_pooled("late")[:2]))


def linear(stage: Stage) -> tuple[object, object]:
    """The same for an amount: standardised, as the columns are."""
    x, label, _ = _pooled("spent")
    weights = np.linalg.lstsq(x.T, (label - label.mean()) / label.std(), rcond=None)[0]
    return _coefficients(stage, "linear", "spent"), _named(weights)


def counted(stage: Stage) -> tuple[object, object]:
    """The same for how often something happens, in multiples of the mean."""
    x, label, _ = _pooled("visits")
    return _coefficients(stage, "poisson", "visits"), _named(_poisson(x, label / label.mean()))


def own_part(stage: Stage) -> tuple[object, object]:
    """The lender asks, and learns the intercept and the coefficients of its own columns alone."""
    answer = _trained(stage, "lender", "logistic", "late", _SPLIT, "model/part")
    got = [["(intercept)", float(answer["facts"]["intercept"])]]
    got += [[row[0], float(row[1])] for row in answer["rows"]]
    return got, _named(_logistic(*_pooled("late")[:2]))[:2]


def evaluated(stage: Stage) -> tuple[object, object]:
    """How well do columns of two owners tell late payment? Nobody sees a row scored."""
    facts = _evaluated(stage)
    x, label, _ = _pooled("late")
    fitted = _logistic(x, label) @ x
    expected = (metrics.auc(fitted, label), metrics.ks(fitted, label))
    return [float(facts[name]) for name in ("auc", "ks")], list(expected)


def by_group(stage: Stage) -> tuple[object, object]:
    """Is it as good for people of the city as of the country, and are as many said to pay late?"""
    by = {"owner": "owner-2", "column": "region", "labels": [*_REGIONS], "cutoffs": [f"{_CUTOFF}"]}
    told = _evaluated(stage, by)["by"]
    x, label, region = _pooled("late")
    fitted = _logistic(x, label) @ x
    chosen = 1 / (1 + np.exp(-fitted)) >= _CUTOFF
    inside = [region == name for name in _REGIONS]
    got, expected = list[object](), list[object]()
    for line, rows in zip(told["groups"], inside, strict=True):
        named = dict(zip(told["columns"], line, strict=True))
        got += [named["rows"], *(float(named[name]) for name in ("positive rate", "auc"))]
        expected += [int(rows.sum()), float(label[rows].mean()), metrics.auc(fitted[rows], label[rows])]
    parts = [float(chosen[rows].mean()) for rows in inside]
    got.append(float(told["fairness"][0]["demographic_parity_difference"]))
    return got, [*expected, abs(parts[0] - parts[1])]


def _evaluated(stage: Stage, by: Mapping[str, object] | None = None) -> dict[str, Any]:
    """The facts of an evaluation for the analyst, of all rows or by the groups of a column of the utility."""
    made = _Model.of(stage, ANALYST, "logistic", "late", _SPLIT, "model/score", "model/evaluate")
    asking = stage.did(ANALYST)
    computing = made.steps[1]["parties"]
    evaluating = step(
        "evaluate",
        "model/evaluate",
        computing,
        inputs=made.inputs if by is None else made.with_column("owner-2", str(by["column"])),
        after=["score"],
        params={"label": "late", "min_cohort": 20} | ({} if by is None else {"by": by}),
        recipients=[asking],
    )
    reading = step("read", "report/evaluation", {"reader": asking}, after=["evaluate"])
    steps = (*made.steps, _scoring(made, "shared"), evaluating, reading)
    return dict(stage.run("Evaluation", made.agreements, *steps)["facts"])


def scored(stage: Stage) -> tuple[object, object]:
    """How likely is each customer of the lender to pay late? The utility lets it learn the scores."""
    made = _Model.of(stage, "lender", "logistic", "late", _SPLIT, "model/score", level="AS_JOIN_PAYLOAD")
    steps = (*made.steps, _scoring(made, "owner-1"))
    answer = stage.run("Scores", made.agreements, *steps, asker="lender")
    x, label, _ = _pooled("late")
    chances = 1 / (1 + np.exp(-_logistic(x, label) @ x))
    return sorted(float(score) for _, score in answer["rows"]), sorted(chances.tolist())


def _scoring(made: _Model, scores: str) -> dict[str, Any]:
    owners = {role: made.steps[1]["parties"][role] for role in made.inputs}
    return step(
        "score",
        "model/score",
        owners,
        inputs=made.inputs,
        after=["match", "train"],
        params={"scores": scores, "min_cohort": 20},
        recipients=[owners["owner-1"]] if scores == "owner-1" else [],
    )


def _coefficients(stage: Stage, family: str, label: str) -> list[list[object]]:
    params = {"coefficients": "recipients"}
    answer = _trained(stage, ANALYST, family, label, params, "report/result")
    return [[name, float(value)] for _, name, value in answer["rows"]]


def _tables() -> dict[str, pa.Table]:
    generator = np.random.Generator(np.random.PCG64(31))
    debt, income = generator.normal(4_000, 1_500, _PEOPLE), generator.normal(2_500, 700, _PEOPLE)
    age = generator.integers(18, 80, _PEOPLE)
    fitted = (debt - 4_000) / 1_500 - (income - 2_500) / 700
    late = (generator.random(_PEOPLE) < 1 / (1 + np.exp(-fitted))).astype(np.int64)
    spent = 900 + 0.2 * income - 3 * age + generator.normal(0, 100, _PEOPLE)
    visits = generator.poisson(3 * np.exp(fitted / 4))
    people = [f"C{number:04d}" for number in range(_PEOPLE)]
    lender = pa.table({"person": people, "late": late, "spent": spent, "visits": visits, "debt": debt})
    region = [_REGIONS[number % 5 // 3] for number in range(_PEOPLE)]
    utility = pa.table({"person": people, "income": income, "age": age, "region": region})
    return {"lender": lender.slice(0, _PEOPLE - _ALONE), "utility": utility.slice(_ALONE)}


def _pooled(label: str) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.str_]]:
    """Standardised columns under ones, the label, and the region, of the people whom both know."""
    tables = _tables()
    joined = tables["lender"].join(tables["utility"], "person", join_type="inner")
    columns = [joined[name].to_numpy().astype(float) for name in ("debt", "income", "age")]
    x = np.vstack([np.ones(len(joined)), *((one - one.mean()) / one.std() for one in columns)])
    return x, joined[label].to_numpy().astype(float), np.array(joined["region"].to_pylist())


def _logistic(x: NDArray[np.float64], label: NDArray[np.float64]) -> NDArray[np.float64]:
    """Fit by Newton's method."""
    weights = np.zeros(len(x))
    for _ in range(30):
        fitted = 1 / (1 + np.exp(-weights @ x))
        weights -= np.linalg.solve((x * (fitted * (1 - fitted))) @ x.T, x @ (fitted - label))
    return weights


def _poisson(x: NDArray[np.float64], label: NDArray[np.float64]) -> NDArray[np.float64]:
    """Fit by Newton's method."""
    weights = np.zeros(len(x))
    for _ in range(30):
        mean = np.exp(weights @ x)
        weights -= np.linalg.solve((x * mean) @ x.T, x @ (mean - label))
    return weights


def _named(weights: NDArray[np.float64]) -> list[list[object]]:
    names = ("(intercept)", "debt", "income", "age")
    return [[name, float(weight)] for name, weight in zip(names, weights, strict=True)]


def _trained(
    stage: Stage, asker: str, family: str, label: str, params: dict[str, Any], reader: str
) -> dict[str, Any]:
    made = _Model.of(stage, asker, family, label, params)
    reading = step("read", reader, {"reader": stage.did(asker)}, after=["train"])
    return dict(stage.run("Regression", made.agreements, *made.steps, reading, asker=asker))


@dataclass(frozen=True)
class _Model:
    """A job so far: what it may read, and the steps that align rows and train."""

    agreements: dict[str, str]
    inputs: dict[str, dict[str, Any]]
    steps: tuple[dict[str, Any], ...]

    def with_column(self, role: str, name: str) -> dict[str, dict[str, Any]]:
        """The inputs, with one more column of an owner."""
        given = self.inputs[role]
        columns = [*given["columns"], {"name": name, "decimals": 0}]
        return {**self.inputs, role: {**given, "columns": columns}}

    @classmethod
    def of(
        cls,
        stage: Stage,
        asker: str,
        family: str,
        label: str,
        params: dict[str, Any],
        *components: str,
        level: str = "AFTER_AGGREGATE",
    ) -> _Model:
        """Publish, agree and say what is trained; ``level`` is that of the columns of the utility."""
        terms = {
            "operations": ["psi/ecdh", f"model/{family}", *components],
            "output_types": ["aggregate", "cardinality", "scores"],
        }
        name = "-".join(("regression", family, params["coefficients"], level.lower().replace("_", "-")))
        name += f"-{len(components)}"
        controls = _COLUMNS | {
            "utility": _COLUMNS["utility"] | dict.fromkeys(("income", "age"), ("feature", level))
        }
        assets, agreements = {}, {}
        for org, table in _tables().items():
            assets[org] = stage.publish(org, name, table, controls[org], terms)
            if org != asker:
                agreements[assets[org]] = stage.agree(assets[org], list(controls[org]), terms, asker=asker)
        lender, utility, asking = (stage.did(org) for org in ("lender", "utility", asker))

        def read(org: str, *columns: str) -> dict[str, Any]:
            return {"asset": assets[org], "columns": [{"name": one, "decimals": 0} for one in columns]}

        matching = step(
            "match",
            "psi/ecdh",
            {"left": lender, "right": utility},
            inputs={"left": read("lender", "person"), "right": read("utility", "person")},
            params={"normalise": {"left": [], "right": []}, "minimum_matches": MIN_COHORT},
        )
        inputs = {"owner-1": read("lender", label, "debt"), "owner-2": read("utility", "income", "age")}
        training = step(
            "train",
            f"model/{family}",
            {"owner-1": lender, "owner-2": utility, "helper-1": stage.did(REGULATOR)},
            inputs=inputs,
            after=["match"],
            params={"label": label, "min_cohort": 50, "batch": 512, "epochs": 240, **params},
            recipients=[asking],
        )
        return cls(agreements, inputs, (matching, training))
