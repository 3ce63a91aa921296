"""Evaluation is total and fails closed; terms survive the way through ODRL."""

from __future__ import annotations

import contextlib
import json
from dataclasses import replace
from datetime import UTC, datetime, timedelta

from hypothesis import assume, given, settings
from hypothesis import strategies as st

from policies import (
    CONTEXT,
    PROFILE,
    InvalidPolicy,
    InvalidTerms,
    Level,
    Policy,
    Terms,
    TermsExceedOffer,
    purposes,
    terms,
)
from policies.evaluate import evaluate
from policies.odrl import Constraint, LogicalConstraint
from policies.vocabulary import ACTIONS, OPERANDS, Operator

UNSTATED = {
    "recipients": (),
    "credentials": (),
    "column_control": (),
    "min_parties": None,
    "code_digests": (),
    "threat_models": (),
    "epsilon_micro": None,
    "delta_exponent": None,
    "points": None,
    "price": None,
    "rate": None,
    "organisations": (),
}
CLAUSES = ("uses", "min_cohort", "operations", "approval", *UNSTATED)
WORDS = st.text(st.characters(blacklist_categories=["Cs"]), min_size=1, max_size=6)
PURPOSES = st.sampled_from(sorted(purposes.BROADER))
VALUES = (
    st.integers(-3, 5)
    | st.sampled_from(["a", "b", "did:x", "2026-01-01T00:00:00Z", "2027-01-01T00:00:00Z"])
    | PURPOSES
    | WORDS
    | st.lists(st.sampled_from("abc") | PURPOSES, min_size=1, max_size=3, unique=True)
)


def constraints(
    operands: st.SearchStrategy[str], operators: st.SearchStrategy[str]
) -> st.SearchStrategy[dict]:
    atomic = st.fixed_dictionaries({"leftOperand": operands, "operator": operators, "rightOperand": VALUES})
    return st.recursive(
        atomic,
        lambda inner: st.one_of(
            [
                st.fixed_dictionaries({word: st.lists(inner, min_size=1, max_size=3)})
                for word in ("and", "or", "xone", "andSequence")
            ]
        ),
        max_leaves=4,
    )


KNOWN = constraints(st.sampled_from(sorted(OPERANDS)), st.sampled_from(sorted(Operator)))
ANY = constraints(st.sampled_from(sorted(OPERANDS)) | WORDS, st.sampled_from(sorted(Operator)) | WORDS)


def rules(constraint: st.SearchStrategy[dict], actions: st.SearchStrategy[str]) -> st.SearchStrategy[list]:
    rule = st.fixed_dictionaries(
        {"action": actions}, optional={"constraint": st.lists(constraint, min_size=1, max_size=3)}
    )
    return st.lists(rule, max_size=2)


def documents(
    constraint: st.SearchStrategy[dict], actions: st.SearchStrategy[str]
) -> st.SearchStrategy[dict]:
    group = rules(constraint, actions)
    return st.fixed_dictionaries(
        {
            "@context": st.just(list(CONTEXT)),
            "@type": st.just("Set"),
            "profile": st.just(PROFILE),
            "permission": group,
        },
        optional={"prohibition": group, "obligation": group, "assignee": st.sampled_from(["did:x", "did:y"])},
    )


KNOWN_DOCUMENTS = documents(KNOWN, st.sampled_from(sorted(ACTIONS)))
ANY_DOCUMENTS = documents(ANY, st.sampled_from(sorted(ACTIONS)) | WORDS)
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=12), inner, max_size=4),
    max_leaves=10,
)
FACTS = st.fixed_dictionaries(
    {},
    optional={
        "action": st.sampled_from(sorted(ACTIONS)),
        "purpose": PURPOSES,
        "assignee": st.sampled_from(["did:x", "did:y", "a"]),
        "recipient": st.sets(st.sampled_from(["did:x", "did:y", "a"]), min_size=1),
        "dateTime": st.datetimes(
            datetime(2025, 1, 1),  # noqa: DTZ001 - the strategy adds the zone
            datetime(2028, 1, 1),  # noqa: DTZ001
            timezones=st.just(UTC),
        ),
        "count": st.integers(0, 5),
        "minCohort": st.integers(0, 5),
        "technique": st.sets(st.sampled_from("abc"), min_size=1),
        "columns": st.sets(st.sampled_from("abc"), min_size=1),
        "outputType": st.sets(st.sampled_from("abc"), min_size=1),
        "fulfilled": st.sets(st.sampled_from(sorted(ACTIONS))),
    },
)
HOSTILE_FACTS = st.dictionaries(
    st.sampled_from([*OPERANDS, "action", "assignee", "fulfilled"]),
    JSON | st.sets(st.integers() | st.text(max_size=2), max_size=3) | st.datetimes(),
)


def parse(document: dict[str, object]) -> Policy:
    try:
        return Policy.parse(document)
    except InvalidPolicy:
        assume(False)
        raise


def operands(policy: Policy) -> set[str]:
    found: set[str] = set()
    waiting = [
        part
        for rule in (*policy.permission, *policy.prohibition, *policy.obligation)
        for part in rule.constraint
    ]
    while waiting:
        part = waiting.pop()
        if isinstance(part, LogicalConstraint):
            waiting.extend(part.parts)
        else:
            assert isinstance(part, Constraint)
            found.add(part.left_operand)
    return found


@settings(max_examples=60)
@given(JSON)
def test_any_json_is_parsed_or_refused(document: object) -> None:
    with contextlib.suppress(InvalidPolicy):
        Policy.parse(document)


@settings(max_examples=60)
@given(ANY_DOCUMENTS, FACTS | HOSTILE_FACTS)
def test_evaluation_never_raises_and_always_explains(
    document: dict[str, object], facts: dict[str, object]
) -> None:
    report = evaluate(parse(document), facts)
    assert report.permitted is (report.codes == ())
    assert len(report.reasons) == len(report.codes) == len(set(report.refusals))
    json.dumps(report.as_json("zh"))
    report.explain("zh")


@settings(max_examples=40)
@given(ANY_DOCUMENTS, FACTS)
def test_nothing_is_permitted_under_an_unknown_operand(
    document: dict[str, object], facts: dict[str, object]
) -> None:
    policy = parse(document)
    assume(operands(policy) - set(OPERANDS))
    report = evaluate(policy, facts)
    assert not report.permitted
    assert "policy.unknown-operand" in report.codes


@settings(max_examples=60)
@given(KNOWN_DOCUMENTS, KNOWN, FACTS, st.integers(0, 1))
def test_adding_a_constraint_to_a_permission_never_turns_a_refusal_into_a_permit(
    document: dict[str, object], extra: dict[str, object], facts: dict[str, object], which: int
) -> None:
    before = parse(document)
    assume(len(before.permission) > which)
    added = Constraint.parse(extra)
    narrowed = replace(before.permission[which], constraint=(*before.permission[which].constraint, added))
    permission = (*before.permission[:which], narrowed, *before.permission[which + 1 :])
    after = evaluate(replace(before, permission=permission), facts)
    assert evaluate(before, facts).permitted or not after.permitted


@settings(max_examples=60)
@given(KNOWN_DOCUMENTS, FACTS, st.data())
def test_leaving_out_a_fact_never_turns_a_refusal_into_a_permit(
    document: dict[str, object], facts: dict[str, object], data: st.DataObject
) -> None:
    assume(facts)
    policy = parse(document)
    left_out = data.draw(st.sampled_from(sorted(facts)))
    fewer = {name: value for name, value in facts.items() if name != left_out}
    assert evaluate(policy, facts).permitted or not evaluate(policy, fewer).permitted


@settings(max_examples=40)
@given(KNOWN_DOCUMENTS, KNOWN_DOCUMENTS, FACTS)
def test_a_prohibition_only_takes_away(
    document: dict[str, object], other: dict[str, object], facts: dict[str, object]
) -> None:
    policy, donor = parse(document), parse(other)
    forbidden = replace(policy, prohibition=(*policy.prohibition, *donor.prohibition))
    assert evaluate(policy, facts).permitted or not evaluate(forbidden, facts).permitted


@settings(max_examples=60)
@given(KNOWN_DOCUMENTS, FACTS, st.data())
def test_the_order_of_rules_and_constraints_changes_no_verdict(
    document: dict[str, object], facts: dict[str, object], data: st.DataObject
) -> None:
    """Except inside ``andSequence``, whose order is what it says."""
    shuffled = json.loads(json.dumps(document))
    waiting = [shuffled]
    while waiting:
        item = waiting.pop()
        for key, value in item.items() if isinstance(item, dict) else enumerate(item):
            if isinstance(value, dict | list):
                waiting.append(value)
            if isinstance(value, list) and key not in ("@context", "andSequence"):
                value[:] = data.draw(st.permutations(value))
    before, after = evaluate(parse(document), facts), evaluate(parse(shuffled), facts)
    assert (before.permitted, sorted(before.codes)) == (after.permitted, sorted(after.codes))


@settings(max_examples=60)
@given(ANY_DOCUMENTS)
def test_a_policy_reads_back_as_written(document: dict[str, object]) -> None:
    policy = parse(document)
    assert Policy.parse(json.loads(json.dumps(policy.as_json()))) == policy


NAMES = st.lists(WORDS, min_size=1, max_size=3, unique=True).map(lambda names: tuple(sorted(names)))
LEVELS = st.sampled_from(sorted(Level))
SMALL = st.none() | st.integers(1, 5)


@st.composite
def stated(draw: st.DrawFn) -> Terms:
    columns = draw(st.lists(st.sampled_from("abc"), min_size=1, unique=True))
    epsilon, price = draw(SMALL), draw(SMALL)
    some_dids = st.lists(st.sampled_from(["did:x", "did:y", "did:z"]), max_size=2).map(tuple)
    return Terms(
        purposes=tuple(draw(st.lists(PURPOSES, min_size=1, max_size=3))),
        operations=draw(NAMES),
        columns=tuple(columns),
        uses=draw(st.integers(1, 2**53 - 1)),
        expires=draw(
            st.datetimes(datetime(100, 1, 1), timezones=st.just(UTC))  # noqa: DTZ001 - the zone is added
        ).replace(microsecond=0),
        min_cohort=draw(st.integers(1, 100)),
        output_types=draw(NAMES),
        recipients=draw(some_dids),
        credentials=draw(
            st.lists(st.sampled_from(["MembershipCredential", "AuditorCredential"]), max_size=2).map(tuple)
        ),
        column_control=draw(
            st.just(()) | st.tuples(*(LEVELS.map(lambda level, c=c: f"{c}:{level}") for c in columns))
        ),
        min_parties=draw(SMALL),
        code_digests=draw(st.lists(st.sampled_from(["a" * 64, "b" * 64]), max_size=2).map(tuple)),
        threat_models=draw(st.lists(st.sampled_from(["semi-honest", "covert"]), max_size=2).map(tuple)),
        epsilon_micro=epsilon and draw(st.integers(1, 2**53 - 1)),
        delta_exponent=epsilon and draw(st.integers(1, 18)),
        price=price,
        points=price and draw(st.integers(1, 5)),
        rate=draw(st.none() | st.tuples(st.integers(1, 3), st.integers(1, 366 * 86_400))),
        approval=draw(st.sampled_from(["once", "per-job"])),
        organisations=draw(some_dids),
    )


TERMS = stated()


def within(narrow: Terms, wide: Terms) -> bool:
    try:
        return terms.narrower(narrow, wide) is narrow
    except TermsExceedOffer:
        return False


@settings(max_examples=40)
@given(TERMS, TERMS, TERMS)
def test_narrower_is_a_partial_order(first: Terms, second: Terms, third: Terms) -> None:
    assert within(first, first)
    assert first == second or not (within(first, second) and within(second, first))
    assert not (within(first, second) and within(second, third)) or within(first, third)


@settings(max_examples=40)
@given(TERMS, TERMS, st.data())
def test_narrower_is_transitive_clause_by_clause(first: Terms, other: Terms, data: st.DataObject) -> None:
    fields = data.draw(st.sets(st.sampled_from(CLAUSES), min_size=1, max_size=2))
    changed = {field: getattr(other, field) for field in fields}
    try:
        second = replace(first, **changed)
        third = replace(second, **{CLAUSES[0]: other.uses})
    except InvalidTerms:
        assume(False)
        raise
    assert first == second or not (within(first, second) and within(second, first))
    assert not (within(first, second) and within(second, third)) or within(first, third)


@settings(max_examples=40)
@given(TERMS)
def test_limits_state_what_the_ledger_counts_and_nothing_else(agreed: Terms) -> None:
    limits = agreed.limits()
    assert (limits["uses"], limits["expires"]) == (agreed.uses, agreed.as_json()["expires"])
    for field in ("epsilon_micro", "delta_exponent", "points", "price"):
        assert limits.get(field) == getattr(agreed, field)
    assert ("approval" in limits) is (agreed.approval == "per-job" or bool(agreed.organisations))
    assert None not in limits.values()
    json.dumps(limits, allow_nan=False)


@settings(max_examples=40)
@given(TERMS)
def test_terms_survive_odrl(agreed: Terms) -> None:
    offer = terms.to_offer(agreed, "did:a", "did:b", "a/x")
    assert terms.from_policy(json.loads(json.dumps(offer))) == agreed
    assert Terms.parse(json.loads(json.dumps(agreed.as_json()))) == agreed


@settings(max_examples=30)
@given(TERMS, st.data())
def test_narrower_terms_permit_nothing_their_offer_refuses(wide: Terms, data: st.DataObject) -> None:
    wide = replace(wide, approval="once", **UNSTATED)

    def some_of(texts: tuple[str, ...]) -> tuple[str, ...]:
        return tuple(data.draw(st.lists(st.sampled_from(texts), min_size=1)))

    narrow = terms.narrower(
        Terms(
            purposes=tuple(
                data.draw(st.sampled_from([p for p in purposes.BROADER if purposes.is_a(p, broad)]))
                for broad in some_of(wide.purposes)
            ),
            operations=some_of(wide.operations),
            columns=some_of(wide.columns),
            uses=data.draw(st.integers(1, wide.uses)),
            expires=wide.expires - timedelta(seconds=data.draw(st.integers(0, 10**9))),
            min_cohort=wide.min_cohort + data.draw(st.integers(0, 9)),
            output_types=some_of(wide.output_types),
        ),
        wide,
    )
    request = {
        "action": "use",
        "assignee": "did:b",
        "purpose": data.draw(st.sampled_from(narrow.purposes)),
        "technique": set(narrow.operations),
        "columns": set(narrow.columns),
        "count": narrow.uses,
        "dateTime": narrow.expires - timedelta(seconds=1),
        "minCohort": narrow.min_cohort,
        "outputType": set(narrow.output_types),
    }
    for stated in (narrow, wide):
        assert evaluate(Policy.parse(terms.to_offer(stated, "did:a")), request).permitted
