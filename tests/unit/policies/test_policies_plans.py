"""What a compiled plan shows of each column: intersections, a query like SQL and a training like logistic."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from policies import InvalidPlan
from policies.column_control import ColumnUse, Level, admits
from policies.plans import (
    FIGURES,
    Aggregate,
    Compare,
    Compute,
    Filter,
    Join,
    Operator,
    Plan,
    Reveal,
    Select,
    Source,
    Union,
    assets_of,
    uses,
)

LENDER, BUREAU, ANALYST = "did:key:zLender", "did:key:zBureau", "did:key:zAnalyst"
LOANS = Source("loans", "lender/loans", LENDER, ("id", "amount", "late"))
PEOPLE = Source("people", "bureau/people", BUREAU, ("person", "income", "band"))
MATCH = Join("match", "loans", "people", (("id", "person"),))
JOINED: Plan = (LOANS, PEOPLE, MATCH)
J, P, G, C, A = (
    Level.AFTER_JOIN,
    Level.AS_JOIN_PAYLOAD,
    Level.AFTER_GROUP_BY,
    Level.AFTER_COMPARE,
    Level.AFTER_AGGREGATE,
)


def seen(plan: Plan, column: str, viewer: str = ANALYST) -> list[set[Level]]:
    """What has happened to a column in each thing that a viewer sees of it."""
    return [set(use.after) for use in uses(plan) if (use.column, use.viewer) == (column, viewer)]


def test_a_column_that_nobody_sees_is_only_computed_on() -> None:
    found = uses(JOINED)
    assert {use.column for use in found} == {"id", "amount", "late", "person", "income", "band"}
    assert all(use.viewer == "" and use.needed == (Level.ENCRYPTED_ONLY,) for use in found)
    assert all(admits(level, use) for level in Level for use in found)


def test_a_column_shown_as_it_is_needs_plaintext() -> None:
    plan = (LOANS, Reveal("loans", ("amount",), (ANALYST, LENDER)))
    (use,) = [use for use in uses(plan) if use.viewer]
    assert use == ColumnUse("lender/loans", "amount", ANALYST, frozenset())
    assert use.needed == (Level.PLAINTEXT,)
    assert [level for level in Level if admits(level, use)] == [Level.PLAINTEXT]


def test_a_join_shows_which_keys_match_and_its_payload_only_with_them() -> None:
    rows = (*JOINED, Reveal("match", (), (LENDER, BUREAU)))
    assert seen(rows, "person", LENDER) == [{J}]
    assert seen(rows, "id", BUREAU) == [{J}]
    assert seen(rows, "id", LENDER) == []
    payload = (*JOINED, Reveal("match", ("people.income",), (LENDER,)))
    assert seen(payload, "income", LENDER) == [{P}]
    assert seen(payload, "person", LENDER) == [{J}]


def test_a_joined_key_says_the_same_of_both_sides_under_either_name() -> None:
    for name in ("loans.id", "people.person"):
        plan = (*JOINED, Reveal("match", (name,), (ANALYST,)))
        assert seen(plan, "id") == seen(plan, "person") == [{J}]


def test_a_query_with_join_filter_group_and_sum() -> None:
    """SELECT band, COUNT(*), SUM(amount), MAX(income) ... WHERE late > 30 GROUP BY band."""
    plan: Plan = (
        *JOINED,
        Compare("c", "match", "is late", ("loans.late",)),
        Filter("f", "c", "is late"),
        Aggregate(
            "g",
            "f",
            ("people.band",),
            (
                ("n", "count", ()),
                ("total", "sum", ("loans.amount",)),
                ("top", "maximum", ("people.income",)),
            ),
        ),
        Reveal("g", ("people.band", "n", "total", "top"), (ANALYST,)),
    )
    assert seen(plan, "amount") == [{P, A}]
    assert seen(plan, "band") == [{P, G}, {P, G, A}]
    # A maximum is one person's income: nothing but the join has happened to it.
    assert seen(plan, "income") == [{P}]
    assert seen(plan, "late") == [{P, C, A}]
    assert seen(plan, "id") == seen(plan, "person") == [{J, A}]


def test_an_expression_keeps_only_what_happened_on_every_way() -> None:
    plan: Plan = (
        LOANS,
        Compare("c", "loans", "is large", ("amount",)),
        Compute("x", "c", "mixed", ("is large", "amount")),
        Reveal("c", ("is large",), (ANALYST,)),
        Reveal("x", ("mixed",), (ANALYST,)),
    )
    assert seen(plan, "amount") == [{C}, set()]


def test_a_filter_that_is_not_shown_still_tells_of_the_rows_that_are() -> None:
    plan: Plan = (
        LOANS,
        Filter("f", "loans", "late"),
        Reveal("f", ("amount",), (ANALYST,)),
    )
    assert seen(plan, "late") == [set()]


def test_sums_over_hidden_matches_never_need_the_matches_to_be_seen() -> None:
    plan: Plan = (
        *JOINED,
        Aggregate("s", "match", (), (("total", "sum", ("loans.amount",)),)),
        Reveal("s", ("total",), (ANALYST,)),
    )
    keys = [use for use in uses(plan) if use.column in {"id", "person"}]
    assert all(admits(Level.AFTER_AGGREGATE, use) and admits(Level.AFTER_JOIN, use) for use in keys)
    assert not any(admits(Level.AFTER_GROUP_BY, use) for use in keys)


def test_a_union_is_what_is_made_of_both_sides() -> None:
    other = Source("more", "bank/loans", "did:key:zBank", ("id", "amount", "late"))
    plan: Plan = (LOANS, other, Union("all", "loans", "more"), Reveal("all", ("amount",), (ANALYST,)))
    assert [use.asset for use in uses(plan) if use.viewer] == ["lender/loans", "bank/loans"]


def training(*shown: Operator) -> Plan:
    """Vertical logistic regression: coefficients fitted on joined rows, then scores and their classes."""
    return (
        *JOINED,
        Aggregate("model", "match", (), (("weights", "fit", ("loans.late", "people.income")),)),
        Compute("scored", "match", "score", ("loans.amount", "people.income")),
        Compare("classed", "scored", "class", ("score",)),
        *shown,
    )


def test_a_training_shows_its_coefficients_as_figures_over_all_rows() -> None:
    plan = training(Reveal("model", ("weights",), (LENDER,)))
    assert seen(plan, "income", LENDER) == [{P, A}]
    assert seen(plan, "person", LENDER) == [{J, A}]
    assert seen(plan, "late", LENDER) == []


def test_a_score_of_one_person_is_no_figure_and_its_class_is_a_comparison() -> None:
    assert seen(training(Reveal("scored", ("score",), (LENDER,))), "income", LENDER) == [{P}]
    assert seen(training(Reveal("classed", ("class",), (LENDER,))), "income", LENDER) == [{P, C}]


def test_rows_selected_by_an_earlier_step_carry_its_join_along() -> None:
    select: Plan = (
        Source("stats.m", "lender/loans", LENDER, ("amount",)),
        Select("stats", ("stats.m",), rows="match"),
        Aggregate("sum", "stats", (), (("total", "sum", ("stats.m.amount",)),)),
        Reveal("sum", ("total",), (ANALYST,)),
    )
    assert seen((*JOINED, *select), "amount") == [{P, A}]
    assert seen((*JOINED, *select), "person") == [{J, A}]
    assert [(use.column, use.viewer) for use in uses(select, {"match"})] == [("amount", ANALYST)]
    found = assets_of((*JOINED, *select))
    assert found["stats"] == found["sum"] == {"lender/loans", "bureau/people"}
    assert found["stats.m"] == found["loans"] == {"lender/loans"}


@pytest.mark.parametrize(
    ("operator", "message"),
    [
        (LOANS, "loans: expected a relation not made before"),
        (Join("j", "loans", "nobody", (("id", "id"),)), "j: expected a relation made before, found nobody"),
        (Join("j", "loans", "people", ()), "j: expected at least one pair of keys"),
        (Join("j", "loans", "people", (("id", "salary"),)), "j: expected one of the columns"),
        (Select("s", ("loans",), "nothing"), "s: expected a relation made before"),
        (Filter("f", "loans", "salary"), "f: expected one of the columns"),
        (Compute("c", "loans", "x", ("salary",)), "c: expected one of the columns"),
        (Aggregate("a", "loans", ("salary",), ()), "a: expected one of the columns"),
        (Aggregate("a", "loans", (), (("x", "leak", ("id",)),)), "a: expected one of count, fit"),
        (Reveal("loans", ("salary",), (ANALYST,)), "loans: expected one of the columns"),
        (Union("u", "loans", "people"), "u: expected one of the columns"),
    ],
)
def test_a_plan_that_does_not_fit_together_is_refused_by_name(operator: Operator, message: str) -> None:
    with pytest.raises(InvalidPlan, match=message):
        uses((LOANS, PEOPLE, operator))


NAMES = st.sampled_from(["id", "amount", "late"])
STEPS = st.lists(
    st.tuples(st.sampled_from(["filter", "compute", "compare", "aggregate"]), NAMES, NAMES), max_size=5
)


def built(steps: list[tuple[str, str, str]]) -> tuple[list[Operator], str]:
    plan: list[Operator] = [LOANS]
    last = "loans"
    for index, (kind, one, other) in enumerate(steps):
        made = f"r{index}"
        match kind:
            case "filter":
                plan.append(Filter(made, last, one))
            case "compute":
                plan.append(Compute(made, last, one, (one, other)))
            case "compare":
                plan.append(Compare(made, last, one, (one, other)))
            case _:
                figures = tuple((name, "sum", (name,)) for name in ("id", "amount", "late"))
                plan.append(Aggregate(made, last, (), figures))
        last = made
    return plan, last


@given(STEPS, NAMES, NAMES)
def test_showing_more_never_asks_for_less(steps: list[tuple[str, str, str]], one: str, other: str) -> None:
    plan, last = built(steps)
    fewer = uses((*plan, Reveal(last, (one,), (ANALYST,))))
    more = uses((*plan, Reveal(last, (one, other), (ANALYST,))))
    for level in Level:
        refused = {use.column for use in fewer if not admits(level, use)}
        assert refused <= {use.column for use in more if not admits(level, use)}


@given(STEPS, NAMES)
def test_only_plaintext_admits_everything_and_encrypted_only_nothing_seen(
    steps: list[tuple[str, str, str]], shown: str
) -> None:
    plan, last = built(steps)
    for use in uses((*plan, Reveal(last, (shown,), (ANALYST,)))):
        assert admits(Level.PLAINTEXT, use)
        assert admits(Level.ENCRYPTED_ONLY, use) is (use.viewer == "")


def test_a_figure_is_over_many_rows() -> None:
    assert FIGURES.isdisjoint({"minimum", "maximum", "median", "quantile", "first"})
