"""No sequence of decisions by those who may not decide ever satisfies a rule; order does not matter."""

from __future__ import annotations

import contextlib
from datetime import UTC, datetime, timedelta

from hypothesis import assume, given
from hypothesis import strategies as st

from policies.approvals import (
    ApprovalRule,
    Decision,
    Outcome,
    Stage,
    Verdict,
    assess,
    combined,
    satisfied,
)
from policies.delegation import Delegation, may_act_for
from policies.errors import InvalidDecision

PEOPLE = ("ada", "bo", "li", "mei", "eve")
ROLES = ("steward", "approver", "analyst")
DEPARTMENTS = ("", "law", "risk")
DIGEST, OTHER = "a" * 64, "b" * 64
NOW = datetime(2026, 11, 23, 10, tzinfo=UTC)


def stages(role: str) -> st.SearchStrategy[tuple[Stage, ...]]:
    named = st.none() | st.frozensets(st.sampled_from(PEOPLE), min_size=2, max_size=4)
    single = st.builds(
        lambda needed, who, department: (Stage(role, needed, who, department),),
        st.integers(1, 2),
        named,
        st.sampled_from(DEPARTMENTS),
    )
    by_department = st.just((Stage(role, 1, None, "law"), Stage(role, 1, None, "risk")))
    return single | by_department


RULES = st.builds(
    lambda first, second: ApprovalRule(first + second),
    stages("steward"),
    stages("approver") | st.just(()),
)
DECISIONS = st.lists(
    st.builds(
        Decision,
        st.sampled_from(PEOPLE),
        st.sampled_from(ROLES),
        st.sampled_from(Verdict),
        st.just("because"),
        st.sampled_from((DIGEST, OTHER)),
        st.sampled_from(DEPARTMENTS),
        st.sampled_from(("", *PEOPLE)),
    ),
    max_size=12,
)


def approves(decision: Decision) -> Decision:
    return Decision(
        decision.approver,
        decision.role,
        Verdict.APPROVE,
        decision.reason,
        decision.digest,
        decision.department,
        decision.behalf,
    )


@given(RULES, DECISIONS)
def test_decisions_without_the_role_never_satisfy(rule: ApprovalRule, made: list[Decision]) -> None:
    roles = {stage.role for stage in rule.stages}
    others = [approves(one) for one in made if one.role not in roles]
    assert assess(rule, others, digest=DIGEST).outcome is Outcome.PENDING


@given(RULES, DECISIONS)
def test_decisions_over_another_digest_never_satisfy(rule: ApprovalRule, made: list[Decision]) -> None:
    others = [approves(one) for one in made if one.digest != DIGEST]
    assert assess(rule, others, digest=DIGEST).outcome is Outcome.PENDING


@given(RULES, DECISIONS, st.sampled_from(PEOPLE))
def test_the_requester_and_its_delegates_never_satisfy(
    rule: ApprovalRule, made: list[Decision], requester: str
) -> None:
    own = [approves(one) for one in made if requester in (one.approver, one.behalf)]
    assert assess(rule, own, requester=requester, digest=DIGEST).outcome is Outcome.PENDING


@given(RULES, DECISIONS, st.sampled_from(PEOPLE), DECISIONS)
def test_what_does_not_count_changes_nothing(
    rule: ApprovalRule, made: list[Decision], requester: str, noise: list[Decision]
) -> None:
    useless = [one for one in noise if one.digest != DIGEST or requester in (one.approver, one.behalf)]
    plain = assess(rule, made, requester=requester, digest=DIGEST)
    assert assess(rule, [*useless, *made], requester=requester, digest=DIGEST) == plain


@given(RULES, DECISIONS, st.randoms(use_true_random=False))
def test_the_order_of_decisions_does_not_matter(
    rule: ApprovalRule, made: list[Decision], random: object
) -> None:
    once = list({one.approver: one for one in made if one.digest == DIGEST}.values())
    shuffled = list(once)
    random.shuffle(shuffled)  # type: ignore[attr-defined]  # what st.randoms gives
    assert assess(rule, shuffled, digest=DIGEST) == assess(rule, once, digest=DIGEST)


@given(RULES, DECISIONS)
def test_an_approval_rests_on_enough_distinct_people_in_every_stage(
    rule: ApprovalRule, made: list[Decision]
) -> None:
    if not satisfied(rule, made, digest=DIGEST):
        return
    for stage in rule.stages:
        counted = [one for one in made if one.digest == DIGEST and stage.admits(one)]
        assert len({one.approver for one in counted}) >= stage.needed
        assert len({one.holder for one in counted}) >= stage.needed
    needed = sum(stage.needed for stage in rule.stages)
    assert len({one.approver for one in made}) >= needed


@given(RULES, DECISIONS)
def test_one_rejection_by_a_person_who_may_decide_rejects(rule: ApprovalRule, made: list[Decision]) -> None:
    stage = rule.stages[0]
    name = "zoe" if stage.approvers is None else min(stage.approvers)
    no = Decision(name, stage.role, Verdict.REJECT, "no", DIGEST, stage.department)
    rest = [one for one in made if one.approver != name]
    assert assess(rule, [*rest, no], digest=DIGEST).outcome is Outcome.REJECTED


@given(RULES)
def test_a_rule_survives_the_way_through_json(rule: ApprovalRule) -> None:
    assert ApprovalRule.parse(rule.as_json()) == rule


FIELDS = st.sampled_from(["stages", "organisations", "role", "needed", "approvers", "department", "x"])
JUNK = st.recursive(
    st.none() | st.integers() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(FIELDS, inner, max_size=6),
    max_leaves=12,
)


@given(JUNK)
def test_whatever_is_no_rule_is_refused_and_nothing_else_is_raised(value: object) -> None:
    with contextlib.suppress(InvalidDecision):
        rule = ApprovalRule.parse(value)
        assert rule.as_json() == value


@given(RULES, RULES, DECISIONS)
def test_a_combined_rule_is_complete_only_when_both_are(
    first: ApprovalRule, second: ApprovalRule, made: list[Decision]
) -> None:
    try:
        both = combined([first, second])
    except InvalidDecision:
        assume(False)
    if satisfied(both, made, digest=DIGEST):
        assert satisfied(first, made, digest=DIGEST)
        assert satisfied(second, made, digest=DIGEST)


DELEGATIONS = st.lists(
    st.builds(
        lambda pair, role, begin, hours: Delegation(
            pair[0], pair[1], role, NOW + timedelta(hours=begin), NOW + timedelta(hours=begin + hours)
        ),
        st.permutations(PEOPLE).map(lambda order: (order[0], order[1])),
        st.sampled_from(ROLES),
        st.integers(-5, 5),
        st.integers(1, 6),
    ),
    max_size=8,
)


@given(DELEGATIONS, st.sampled_from(PEOPLE), st.sampled_from(PEOPLE), st.sampled_from(ROLES))
def test_a_right_is_used_only_by_whom_its_holder_gave_it_directly(
    given_: list[Delegation], grantee: str, grantor: str, role: str
) -> None:
    direct = [
        one
        for one in given_
        if (one.grantor, one.grantee, one.role) == (grantor, grantee, role) and one.begins <= NOW < one.ends
    ]
    assert may_act_for(given_, grantee, grantor, role, NOW) is bool(direct)
