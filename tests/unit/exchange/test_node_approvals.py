"""Requests at a node: who may decide, over what, in whose place, until when; and who is told."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from exchange.errors import Conflict, Forbidden, InvalidRequest, NotFound
from exchange.node.approval_rules import ApprovalRules
from exchange.node.approvals import Approvals, RequestState
from exchange.node.notices import Notices
from exchange.node.people import Person, Role
from exchange.store import KeptRequest, NodeStore, open_node_store
from policies.approvals import ApprovalRule, Sensitivity, Stage, Verdict
from policies.errors import InvalidDecision

START = datetime(2026, 11, 23, 10, tzinfo=UTC)
ROLES = {
    "ada": {"steward"},
    "bo": {"steward"},
    "li": {"approver"},
    "mei": {"steward", "approver"},
    "eve": {"analyst"},
}
ANALYST = "did:key:zAnalyst"


def person(name: str) -> Person:
    return Person(name, frozenset(Role(role) for role in ROLES[name]))


@dataclass
class Desk:
    """A node's approvals over a clock that a test moves."""

    store: NodeStore
    now: datetime = START
    roles: dict[str, set[str]] = field(
        default_factory=lambda: {name: set(some) for name, some in ROLES.items()}
    )

    def __post_init__(self) -> None:
        self.notices = Notices(self.store.notices, lambda: self.now)
        self.people = self.reopened()

    def reopened(self) -> Approvals:
        rules = ApprovalRules(
            self.store.approval_rules,
            self.notices,
            lambda name: self.roles.get(name, set()),
            lambda: self.now,
        )
        return Approvals(self.store.approvals, rules, self.notices, lambda: self.now)

    def ask(self, *stages: Stage, requester: str = ANALYST, digest: str = "a" * 64) -> KeptRequest:
        rule = ApprovalRule(stages or (Stage("steward"),))
        return self.people.open("job", "job-1", digest, {"purpose": "x"}, rule, requester)

    def say(self, request: KeptRequest, name: str, verdict: str = "approve", **how: str) -> RequestState:
        return self.people.decide(request.request, person(name), Verdict(verdict), "because", **how).state

    def delegate(self, grantor: str, grantee: str, role: str = "steward", days: int = 2) -> None:
        ends = self.now + timedelta(days=days)
        self.people.rules.delegate(person(grantor), grantee, role, self.now, ends)

    def told(self, name: str) -> list[str]:
        return [notice.kind for notice in self.notices.of(person(name))]


@pytest.fixture
def desk(tmp_path: Path) -> Iterator[Desk]:
    held: list[Desk] = []
    store = open_node_store(
        f"sqlite:///{tmp_path}/node.sqlite",
        clock=lambda: held[0].now if held else START,
        decision_key=bytes(32),
    )
    held.append(Desk(store))
    yield held[0]
    store.close()


def test_one_steward_approves_and_everybody_concerned_is_told(desk: Desk) -> None:
    request = desk.ask(requester="eve")
    assert desk.told("ada") == ["approval.opened"]
    assert desk.told("li") == []
    assert desk.say(request, "ada") is RequestState.APPROVED
    assert desk.told("eve") == ["approval.approved"]
    standing = desk.people.standing("job", "job-1", "a" * 64)
    assert standing is not None
    assert standing.is_approved
    assert standing.decisions[0].reason == "because"


@pytest.mark.parametrize("read", ["decisions", "closed"])
def test_who_looks_while_a_person_decides_sees_it_pending_or_approved(
    desk: Desk, monkeypatch: pytest.MonkeyPatch, read: str
) -> None:
    request = desk.ask()
    original = getattr(desk.store.approvals, read)
    seen = []

    def interrupted(*args: str) -> object:
        found = original(*args)
        if not seen:
            seen.append(read)
            desk.say(request, "ada")
        return found

    monkeypatch.setattr(desk.store.approvals, read, interrupted)
    assert desk.people.of(request.request).state in (RequestState.PENDING, RequestState.APPROVED)
    assert desk.people.of(request.request).is_approved


def test_all_stages_are_needed_and_a_person_with_two_roles_counts_once(desk: Desk) -> None:
    request = desk.ask(Stage("steward"), Stage("approver"))
    assert desk.say(request, "mei") is RequestState.PENDING
    with pytest.raises(Conflict, match="mei has decided"):
        desk.say(request, "mei")
    assert desk.people.of(request.request).missing == {"approver": 1}
    assert desk.say(request, "li") is RequestState.APPROVED


def test_a_person_with_two_roles_fills_the_stage_that_is_open(desk: Desk) -> None:
    request = desk.ask(Stage("steward"), Stage("approver"))
    desk.say(request, "ada")
    assert desk.say(request, "mei") is RequestState.APPROVED


def test_n_of_named_people(desk: Desk) -> None:
    request = desk.ask(Stage("steward", 2, frozenset({"ada", "bo"})))
    with pytest.raises(Forbidden, match="mei may not"):
        desk.say(request, "mei")
    assert desk.say(request, "ada") is RequestState.PENDING
    assert desk.say(request, "bo") is RequestState.APPROVED


def test_a_stage_of_a_department_takes_its_people_and_their_delegates(desk: Desk) -> None:
    request = desk.ask(Stage("steward", 1, None, "law"), Stage("steward", 1, None, "risk"))
    law, risk = (
        replace(person(name), department=name_of) for name, name_of in (("ada", "law"), ("bo", "risk"))
    )
    with pytest.raises(Forbidden, match="steward/law, steward/risk"):
        desk.say(request, "mei")
    desk.people.decide(request.request, law, Verdict.APPROVE, "lawful")
    assert desk.people.of(request.request).missing == {"steward/risk": 1}
    ends = desk.now + timedelta(days=1)
    desk.people.rules.delegate(risk, "mei", "steward", desk.now, ends)
    assert desk.say(request, "mei", behalf="bo") is RequestState.APPROVED
    assert desk.people.of(request.request).decisions[1].department == "risk"


def test_one_rejection_rejects_with_its_reason_and_ends_the_request(desk: Desk) -> None:
    request = desk.ask(Stage("steward", 2))
    desk.say(request, "ada")
    assert desk.say(request, "bo", "reject") is RequestState.REJECTED
    assert desk.people.of(request.request).reason == "because"
    with pytest.raises(Conflict, match="REJECTED"):
        desk.say(request, "mei")


@pytest.mark.parametrize("name", ["eve", "li"])
def test_nobody_decides_without_the_role_not_even_against(desk: Desk, name: str) -> None:
    request = desk.ask()
    for verdict in ("approve", "reject"):
        with pytest.raises(Forbidden, match=f"{name} may not"):
            desk.say(request, name, verdict)
    assert desk.people.of(request.request).decisions == ()


def test_a_reason_is_required(desk: Desk) -> None:
    request = desk.ask()
    with pytest.raises(InvalidDecision, match="reason"):
        desk.people.decide(request.request, person("ada"), Verdict.APPROVE, "")


def test_what_a_person_saw_is_what_is_decided(desk: Desk) -> None:
    request = desk.ask()
    other = desk.ask(digest="b" * 64)
    with pytest.raises(Conflict, match="another than the one that was shown"):
        desk.say(other, "ada", binding=request.binding)
    assert desk.say(request, "ada", binding=request.binding) is RequestState.APPROVED
    assert desk.people.of(other.request).state is RequestState.PENDING
    assert desk.people.standing("job", "job-2", "a" * 64) is None


def test_who_asks_does_not_approve_in_person_or_through_a_delegate(desk: Desk) -> None:
    request = desk.ask(requester="ada")
    desk.delegate("ada", "bo")
    with pytest.raises(Forbidden, match="who asks"):
        desk.say(request, "ada")
    with pytest.raises(Forbidden, match="who asks"):
        desk.say(request, "bo", behalf="ada")
    assert desk.say(request, "bo") is RequestState.APPROVED  # with an own right


def test_who_asks_does_not_approve_with_a_right_delegated_to_them(desk: Desk) -> None:
    request = desk.ask(requester="bo")
    desk.delegate("ada", "bo")
    with pytest.raises(Forbidden, match="who asks"):
        desk.say(request, "bo", behalf="ada")


def test_a_delegate_takes_the_place_of_a_named_person_for_the_span(desk: Desk) -> None:
    request = desk.ask(Stage("steward", 1, frozenset({"ada"})))
    with pytest.raises(Forbidden):
        desk.say(request, "bo", behalf="ada")
    desk.delegate("ada", "bo", days=2)
    desk.now += timedelta(days=2)
    with pytest.raises(Forbidden):
        desk.say(request, "bo", behalf="ada")
    desk.now -= timedelta(days=1)
    assert desk.say(request, "bo", behalf="ada") is RequestState.APPROVED
    assert desk.people.of(request.request).decisions[0].behalf == "ada"


def test_a_right_counts_once_whoever_uses_it(desk: Desk) -> None:
    request = desk.ask(Stage("steward", 2, frozenset({"ada", "mei"})))
    desk.delegate("ada", "bo")
    desk.say(request, "ada")
    assert desk.say(request, "bo", behalf="ada") is RequestState.PENDING


def test_a_delegated_right_is_not_passed_on(desk: Desk) -> None:
    request = desk.ask(Stage("steward", 1, frozenset({"ada"})))
    desk.delegate("ada", "bo")
    desk.delegate("bo", "mei")
    for behalf in ("bo", "ada"):
        with pytest.raises(Forbidden):
            desk.say(request, "mei", behalf=behalf)


def test_a_delegation_ends_with_the_role_of_the_one_who_gave_it(desk: Desk) -> None:
    request = desk.ask(Stage("steward", 1, frozenset({"ada"})))
    desk.delegate("ada", "bo")
    desk.roles["ada"] = set()
    with pytest.raises(Forbidden):
        desk.say(request, "bo", behalf="ada")


@pytest.mark.parametrize(
    ("grantor", "grantee", "role"),
    [("ada", "eve", "steward"), ("ada", "mei", "approver"), ("li", "nobody", "approver")],
)
def test_only_an_own_right_goes_to_somebody_with_the_same_role(
    desk: Desk, grantor: str, grantee: str, role: str
) -> None:
    with pytest.raises(Forbidden, match=f"two persons with the role {role}"):
        desk.delegate(grantor, grantee, role)
    assert desk.store.approval_rules.delegations() == []


def test_a_pending_request_ends_in_time_and_the_requester_learns_it(desk: Desk) -> None:
    request = desk.ask(requester="eve")
    desk.people.tidy()
    assert desk.people.of(request.request).state is RequestState.PENDING
    desk.now = request.expires
    with pytest.raises(Conflict, match="EXPIRED"):
        desk.say(request, "ada")
    for _ in range(2):
        desk.people.tidy()
    assert desk.told("eve") == ["approval.ended"]
    assert desk.people.of(request.request).state is RequestState.EXPIRED
    assert desk.people.listed(pending=True) == []


def test_an_approval_in_time_outlives_the_term_of_its_request(desk: Desk) -> None:
    request = desk.ask()
    desk.say(request, "ada")
    desk.now = request.expires + timedelta(days=1)
    desk.people.tidy()
    assert desk.people.of(request.request).is_approved


def test_withdrawing_a_subject_ends_what_is_pending(desk: Desk) -> None:
    request = desk.ask()
    desk.people.withdraw("job", "job-1", "the job has failed")
    assert desk.people.of(request.request).state is RequestState.WITHDRAWN
    with pytest.raises(Conflict, match="WITHDRAWN"):
        desk.say(request, "ada")


def test_requests_end_when_their_subject_has(desk: Desk) -> None:
    request = desk.ask()
    over: list[str | None] = [None, "the job has failed"]
    desk.people.watch("job", lambda one: over.pop(0))
    for expected in (RequestState.PENDING, RequestState.WITHDRAWN):
        desk.people.tidy()
        assert desk.people.of(request.request).state is expected


def test_a_restart_finds_everything_again(desk: Desk) -> None:
    request = desk.ask(Stage("steward"), Stage("approver"))
    desk.say(request, "ada")
    desk.people = desk.reopened()
    assert desk.people.of(request.request).missing == {"approver": 1}
    assert desk.say(request, "li") is RequestState.APPROVED
    assert desk.reopened().of(request.request).is_approved


def test_asking_again_changes_nothing_and_tells_nobody_twice(desk: Desk) -> None:
    assert desk.ask() == desk.ask()
    assert desk.told("ada") == ["approval.opened"]


def test_an_assets_own_rule_goes_before_its_grades(desk: Desk) -> None:
    grades = [Sensitivity.INTERNAL, Sensitivity.SECRET]
    rules, root = desk.people.rules, Person("root", frozenset({Role.ADMINISTRATOR}))
    built_in = rules.for_asset("lender/loans", grades)
    assert [stage.role for stage in built_in.stages] == ["steward", "approver"]
    by_grade, own = ApprovalRule((Stage("approver", 2),)), ApprovalRule((Stage("auditor"),))
    assert rules.set("grade:secret", by_grade, root, "law").version == 1
    assert rules.for_asset("lender/loans", grades) == by_grade
    rules.set("asset:lender/loans", own, root, "law")
    assert rules.for_asset("lender/loans", grades) == own
    assert rules.for_asset("lender/others", [Sensitivity.INTERNAL]).stages[0].role == "steward"
    assert rules.set("asset:lender/loans", None, root, "back").version == 2
    assert rules.for_asset("lender/loans", grades) == by_grade
    assert rules.for_others().stages[0].role == "approver"


@pytest.mark.parametrize(
    ("scope", "stage", "words"),
    [
        ("grade:top", Stage("steward"), "scope"),
        ("asset:Loans", Stage("steward"), "scope"),
        ("grade:secret", Stage("wizard"), "role"),
        ("grade:secret", Stage("steward", 1, frozenset({"li"})), "li"),
    ],
)
def test_a_rule_that_nobody_could_fill_is_refused(desk: Desk, scope: str, stage: Stage, words: str) -> None:
    root = Person("root", frozenset({Role.ADMINISTRATOR}))
    with pytest.raises(InvalidRequest, match=words):
        desk.people.rules.set(scope, ApprovalRule((stage,)), root, "law")
    assert desk.people.rules.history() == []


def test_only_an_administrator_sets_rules(desk: Desk) -> None:
    with pytest.raises(Forbidden, match="administrator"):
        desk.people.rules.set("others", ApprovalRule((Stage("steward"),)), person("ada"), "mine")


def test_an_open_request_keeps_the_rule_it_was_opened_under(desk: Desk) -> None:
    request = desk.ask()
    root = Person("root", frozenset({Role.ADMINISTRATOR}))
    desk.people.rules.set("grade:internal", ApprovalRule((Stage("approver", 9),)), root, "law")
    assert desk.say(request, "ada") is RequestState.APPROVED


def test_a_delegation_is_taken_back_by_its_grantor(desk: Desk) -> None:
    request = desk.ask(Stage("steward", 1, frozenset({"ada"})))
    desk.delegate("ada", "bo")
    (kept,) = desk.people.rules.delegations()
    with pytest.raises(Forbidden):
        desk.people.rules.end_delegation(kept.delegation, person("bo"))
    desk.people.rules.end_delegation(kept.delegation, person("ada"))
    with pytest.raises(Forbidden):
        desk.say(request, "bo", behalf="ada")
    with pytest.raises(Conflict, match="ended"):
        desk.people.rules.end_delegation(kept.delegation, person("ada"))
    assert desk.told("bo")[-2:] == ["delegation.made", "delegation.ended"]


def test_listeners_hear_of_each_change(desk: Desk) -> None:
    heard: list[int] = []
    desk.people.on_change(lambda: heard.append(desk.people.changes))
    desk.say(desk.ask(), "ada")
    assert heard == [1, 2]


def test_an_unknown_request_is_not_found(desk: Desk) -> None:
    with pytest.raises(NotFound, match="approval-none"):
        desk.people.of("approval-none")


def test_a_notice_is_read_by_one_person_and_waited_for(desk: Desk) -> None:
    assert desk.notices.wait(person("ada"), 0, 0.0) == []
    desk.ask()
    (notice,) = desk.notices.wait(person("ada"), 0, 5.0)
    desk.notices.read(notice.notice, person("ada"))
    assert [one.is_read for one in desk.notices.of(person("ada"))] == [True]
    assert [one.is_read for one in desk.notices.of(person("bo"))] == [False]
    with pytest.raises(NotFound):
        desk.notices.read(notice.notice, person("eve"))
