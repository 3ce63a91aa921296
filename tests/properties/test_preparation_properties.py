"""What recipes learn and make, for any column; nothing is learnt of rows that test."""

from __future__ import annotations

import math
from dataclasses import asdict
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from connectors.columns import MISSING, UNSEEN
from exchange.errors import JobFailed
from exchange.jobs.component import StepContext
from exchange.jobs.preparation.component import COMPONENT
from exchange.jobs.preparation.fitting import Fitted, fit, made
from exchange.jobs.preparation.prepared import Prepared, split
from exchange.jobs.preparation.recipes import CategoryRecipe, Clip, NumberRecipe, Winsorise
from exchange.jobs.spec import ColumnInput, Step, StepInput
from exchange.jobs.testing import nothing_lent
from mpc.randomness import SystemRandomness

FEW = settings(max_examples=40, deadline=None)
NUMBERS = st.integers(-(10**9), 10**9).map(lambda number: number / 1000) | st.just(math.nan)
COLUMNS = st.lists(NUMBERS, min_size=2, max_size=40)
NUMBER_RECIPES = st.builds(
    NumberRecipe,
    missing=st.sampled_from(["mean", "median", "constant"]),
    constant=st.sampled_from(["0", "-3.5", "1000"]),
    indicator=st.booleans(),
    winsorise=st.none() | st.builds(Winsorise, st.integers(0, 499), st.integers(501, 1000)),
    scale=st.sampled_from(["none", "standard", "range"]),
)
CATEGORY_RECIPES = st.builds(
    CategoryRecipe,
    kind=st.just("category"),
    labels=st.just(("north", "south", "west")),
    baseline=st.none() | st.sampled_from(["north", "west"]),
    unseen=st.sampled_from(["zero", "other"]),
    missing=st.sampled_from(["zero", "indicator"]),
)
CODES = st.lists(st.sampled_from([0, 1, 2, UNSEEN, MISSING]), min_size=1, max_size=40)


def fitted(recipe: NumberRecipe, values: Any) -> Fitted | None:
    try:
        return fit(recipe, "c", np.array(values, dtype=float))
    except JobFailed:
        return None


def prepared(recipe: dict[str, Any], values: Any) -> Prepared | None:
    """What an owner of one column keeps, of which half the rows test; None where it is refused."""
    owners = {"owner-1": "did:key:zOne", "owner-2": "did:key:zTwo"}
    given_ = StepInput("one/table", (ColumnInput("c", 0),))
    params: dict[str, object] = {
        "columns": {"owner-1": {"c": recipe}},
        "test_micro": 500_000,
        "min_cohort": 1,
    }
    step = Step("prepare", COMPONENT.name, 1, owners, {"owner-1": given_}, ("match",), params, ())
    column = pa.array(values)
    context = StepContext(
        step=step,
        role="owner-1",
        ranks=("owner-1", "owner-2"),
        session=bytes(32),
        minimum_cohort=1,
        read=lambda name: iter([pa.record_batch([column], names=[name])]),
        channel=lambda role: pytest.fail(role),
        before={},
        earlier={"match": np.arange(len(column), dtype="<i8").tobytes()},
        released={},
        rng=SystemRandomness(),
        progress=lambda done, total: None,
        hand_over=nothing_lent(),
    )
    try:
        return Prepared.decode(COMPONENT.run(context).local)
    except JobFailed:
        return None


@FEW
@given(recipe=NUMBER_RECIPES, values=COLUMNS, others=COLUMNS)
def test_nothing_is_learnt_of_rows_that_test(
    recipe: NumberRecipe, values: list[float], others: list[float]
) -> None:
    declared = {name: value for name, value in asdict(recipe).items() if value is not None}
    kept = prepared(declared, values)
    if kept is None:
        return
    changed = np.array(values)
    changed[kept.test] = np.resize(others, len(kept.test))
    again = prepared(declared, changed)
    assert again is not None
    assert repr(again.fitted) == repr(kept.fitted)
    assert again.train.tolist() == kept.train.tolist()


@FEW
@given(recipe=NUMBER_RECIPES, train=COLUMNS, test=COLUMNS)
def test_a_row_is_made_alike_whatever_rows_stand_beside_it(
    recipe: NumberRecipe, train: list[float], test: list[float]
) -> None:
    learnt = fitted(recipe, train)
    if learnt is None:
        return
    whole = made(recipe, learnt, "c", np.array(train + test))
    alone = made(recipe, learnt, "c", np.array(test))
    for one, another in zip(whole, alone, strict=True):
        np.testing.assert_array_equal(one[len(train) :], another)


@FEW
@given(recipe=NUMBER_RECIPES, train=COLUMNS, test=COLUMNS)
def test_what_is_made_is_finite_and_scaled_as_declared(
    recipe: NumberRecipe, train: list[float], test: list[float]
) -> None:
    learnt = fitted(recipe, train)
    if learnt is None:
        return
    columns = made(recipe, learnt, "c", np.array(train))
    assert len(columns) == len(recipe.names("c"))
    assert all(np.isfinite(one).all() for one in [*columns, *made(recipe, learnt, "c", np.array(test))])
    if recipe.scale == "range":
        assert columns[0].min() == 0
        assert columns[0].max() == pytest.approx(1)
    if recipe.scale == "standard":
        assert columns[0].mean() == pytest.approx(0, abs=1e-6)
        assert columns[0].std() == pytest.approx(1, abs=1e-6)
    if recipe.indicator:
        assert columns[1].tolist() == np.isnan(train).astype(float).tolist()


@FEW
@given(recipe=NUMBER_RECIPES, rows=st.integers(2, 30))
def test_a_column_that_is_all_missing_is_refused_by_name(recipe: NumberRecipe, rows: int) -> None:
    with pytest.raises(JobFailed, match=f"column c: all {rows} values of the training rows are missing"):
        fit(recipe, "c", np.full(rows, np.nan))


@FEW
@given(value=st.floats(-1e6, 1e6), rows=st.integers(2, 30), scale=st.sampled_from(["standard", "range"]))
def test_a_constant_column_cannot_be_scaled(value: float, rows: int, scale: Any) -> None:
    with pytest.raises(JobFailed, match="column c: expected training rows with different values"):
        fit(NumberRecipe(scale=scale), "c", np.full(rows, value))


@FEW
@given(train=COLUMNS, test=COLUMNS)
def test_clipped_values_stay_within_the_bounds(train: list[float], test: list[float]) -> None:
    recipe = NumberRecipe(missing="mean", clip=Clip("-10", "10.5"))
    learnt = fitted(recipe, train)
    if learnt is not None:
        (column,) = made(recipe, learnt, "c", np.array(train + test))
        assert column.min() >= -10
        assert column.max() <= 10.5


@FEW
@given(recipe=CATEGORY_RECIPES, codes=CODES)
def test_a_row_is_one_in_the_column_of_its_label_and_in_no_other(
    recipe: CategoryRecipe, codes: list[int]
) -> None:
    columns = made(recipe, fit(recipe, "c", np.array(codes)), "c", np.array(codes))
    names = recipe.names("c")
    assert len(columns) == len(names)
    label = {0: "north", 1: "south", 2: "west", UNSEEN: "(other)", MISSING: "(missing)"}
    for row, code in enumerate(codes):
        ones = [name for name, column in zip(names, columns, strict=True) if column[row]]
        wanted = f"c={label[code]}"
        assert ones == ([wanted] if wanted in names else [])


@FEW
@given(rows=st.integers(0, 200), session=st.binary(min_size=32, max_size=32), parts=st.data())
def test_the_parts_are_disjoint_of_the_stated_sizes_and_the_same_for_all(
    rows: int, session: bytes, parts: Any
) -> None:
    sample, test = parts.draw(st.integers(1, 10**6)), parts.draw(st.integers(0, 10**6 - 1))
    training, testing = split(rows, session, sample, test)
    used = rows * sample // 10**6
    assert len(testing) == used * test // 10**6
    assert len(training) == used - len(testing)
    assert len(set(training) | set(testing)) == used
    assert all(np.all(np.diff(part) > 0) for part in (training, testing))
    again = split(rows, session, sample, test)
    assert (training.tolist(), testing.tolist()) == (again[0].tolist(), again[1].tolist())


@FEW
@given(
    train=st.lists(st.integers(0, 2**40), max_size=9),
    test=st.lists(st.integers(0, 2**40), max_size=9),
    numbers=st.lists(st.floats(), min_size=5, max_size=5),
)
def test_what_is_kept_is_read_back_to_the_bit(
    train: list[int], test: list[int], numbers: list[float]
) -> None:
    kept = Prepared(np.array(train, dtype=np.int64), np.array(test, dtype=np.int64), {"c": Fitted(*numbers)})
    read = Prepared.decode(kept.encode())
    assert (read.train.tolist(), read.test.tolist()) == (train, test)
    np.testing.assert_array_equal(list(vars(read.fitted["c"]).values()), numbers)
