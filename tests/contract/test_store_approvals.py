"""What the repositories of approvals, rules, delegations and notices promise, on each kind of database."""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from sqlalchemy import text

from exchange.errors import Conflict, SealBroken
from exchange.store import KeptDelegation, KeptPermission, KeptRequest, NodeStore, open_engine, upgrade
from exchange.store.engine import transaction
from exchange.store.testing import postgresql_schema
from policies.approvals import ApprovalRule, Decision, Stage, Verdict
from policies.delegation import Delegation

NOW = datetime(2026, 11, 23, 10, tzinfo=UTC)
RULE = ApprovalRule((Stage("steward"), Stage("approver", 2, frozenset({"li", "bo"}))), ("regulator",))
REQUEST = KeptRequest(
    request="approval-1",
    kind="job",
    subject="job-1",
    digest="a" * 64,
    card=b'{"purpose":"x"}',
    rule=RULE,
    requester="did:key:zAnalyst",
    opened=NOW,
    expires=NOW + timedelta(days=1),
)
DECISION = Decision("ada", "steward", Verdict.APPROVE, "covered", REQUEST.binding)


@pytest.fixture(params=["sqlite", pytest.param("postgresql", marks=pytest.mark.postgresql)])
def node(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[NodeStore]:
    if request.param == "sqlite":
        yield from opened(f"sqlite:///{tmp_path}/store.sqlite")
        return
    server = os.environ.get("PARLEY_TEST_POSTGRESQL")
    if not server:
        pytest.skip("PARLEY_TEST_POSTGRESQL names no server")
    with postgresql_schema(server) as inside:
        yield from opened(inside)


def opened(url: str) -> Iterator[NodeStore]:
    engine = open_engine(url)
    upgrade(engine, "node")
    yield NodeStore(engine, lambda: NOW, None, bytes(32))
    engine.dispose()


def altered(node: NodeStore, statement: str) -> None:
    with transaction(node.engine) as connection:
        assert connection.execute(text(statement)).rowcount == 1


def test_the_first_request_for_exactly_this_stays(node: NodeStore) -> None:
    assert node.approvals.open(REQUEST) == (REQUEST, True)
    assert node.approvals.open(replace(REQUEST, request="approval-2", card=b"{}")) == (REQUEST, False)
    other = replace(REQUEST, request="approval-3", digest="b" * 64)
    assert node.approvals.open(other) == (other, True)
    assert node.approvals.find("approval-2") is None
    assert node.approvals.of_subject("job", "job-1") == [REQUEST, other]
    assert node.approvals.latest(1) == [other]
    assert node.approvals.latest(9, "release") == []


def test_a_binding_covers_every_part_of_a_request() -> None:
    changed = [
        replace(REQUEST, request="approval-2"),
        replace(REQUEST, kind="release"),
        replace(REQUEST, subject="job-2"),
        replace(REQUEST, digest="b" * 64),
        replace(REQUEST, card=b"{}"),
        replace(REQUEST, rule=ApprovalRule((Stage("steward"),))),
        replace(REQUEST, requester="ada"),
    ]
    assert len({one.binding for one in [REQUEST, *changed]}) == len(changed) + 1


def test_each_person_decides_once_and_in_order(node: NodeStore) -> None:
    node.approvals.open(REQUEST)
    second = replace(DECISION, approver="li", role="approver", department="law", behalf="bo")
    node.approvals.decide("approval-1", DECISION)
    node.approvals.decide("approval-1", second)
    with pytest.raises(Conflict, match="ada has decided"):
        node.approvals.decide("approval-1", replace(DECISION, decision=Verdict.REJECT))
    assert node.approvals.decisions("approval-1") == (DECISION, second)
    assert node.approvals.decisions("approval-2") == ()


def test_an_ended_request_takes_no_decision_and_its_first_end_stays(node: NodeStore) -> None:
    node.approvals.open(REQUEST)
    assert node.approvals.open_ones(due=NOW) == []
    assert node.approvals.open_ones(due=REQUEST.expires) == [REQUEST]
    assert node.approvals.close("approval-1", "EXPIRED", "late")
    assert not node.approvals.close("approval-1", "APPROVED", "no")
    assert node.approvals.open_ones() == []
    closed = node.approvals.closed("approval-1")
    assert closed is not None
    assert (closed.outcome, closed.reason, closed.closed) == ("EXPIRED", "late", NOW)
    with pytest.raises(Conflict, match="EXPIRED"):
        node.approvals.decide("approval-1", DECISION)


@pytest.mark.parametrize(
    "statement",
    [
        "UPDATE node_approval_decisions SET approver = 'eve'",
        "UPDATE node_approval_decisions SET request = 'approval-2'",
        "INSERT INTO node_approval_decisions "
        "SELECT position + 1, request, 'eve', role, department, behalf, decision, reason, digest, decided, "
        "seal FROM node_approval_decisions",
    ],
)
def test_a_decision_made_up_in_the_database_is_refused(node: NodeStore, statement: str) -> None:
    node.approvals.open(REQUEST)
    node.approvals.decide("approval-1", DECISION)
    altered(node, statement)
    with pytest.raises(SealBroken, match="node_approval_decisions"):
        [node.approvals.decisions(name) for name in ("approval-1", "approval-2")]


def test_a_request_or_a_rule_altered_in_the_database_is_refused(node: NodeStore) -> None:
    node.approvals.open(REQUEST)
    altered(node, "UPDATE node_approval_requests SET digest = '" + "c" * 64 + "'")
    with pytest.raises(SealBroken, match="node_approval_requests"):
        node.approvals.find("approval-1")
    other = replace(REQUEST, request="approval-2", digest="d" * 64)
    node.approvals.open(other)
    assert node.approvals.open_ones() == [other]
    node.approval_rules.set("asset:lender/loans", RULE, "root", "law")
    altered(node, "UPDATE node_approval_rules SET scope = 'grade:secret'")
    with pytest.raises(SealBroken, match="node_approval_rules"):
        node.approval_rules.rule("grade:secret")


def test_without_a_key_nothing_is_decided(node: NodeStore) -> None:
    keyless = NodeStore(node.engine, lambda: NOW)
    with pytest.raises(Conflict, match="key"):
        keyless.approvals.open(REQUEST)


def test_rules_have_versions_and_the_newest_holds(node: NodeStore) -> None:
    rules = node.approval_rules
    assert rules.rule("grade:secret") is None
    assert rules.set("grade:secret", RULE, "root", "law") == 1
    assert rules.set("others", ApprovalRule((Stage("approver"),)), "root", "law") == 1
    assert rules.rule("grade:secret") == RULE
    assert rules.set("grade:secret", None, "root", "back to the built-in one") == 2
    assert rules.rule("grade:secret") is None
    assert [(one.version, one.rule, one.author) for one in rules.history("grade:secret")] == [
        (1, RULE, "root"),
        (2, None, "root"),
    ]
    assert len(rules.history()) == 3


def test_delegations_are_kept_and_can_be_ended(node: NodeStore) -> None:
    terms = Delegation("ada", "bo", "steward", NOW, NOW + timedelta(days=2))
    kept = KeptDelegation("delegation-1", terms, "law")
    node.approval_rules.delegate(kept)
    assert node.approval_rules.delegations() == [kept]
    assert kept.holds(NOW)
    assert node.approval_rules.end_delegation("delegation-1")
    assert not node.approval_rules.end_delegation("delegation-1")
    (ended,) = node.approval_rules.delegations()
    assert ended.ended == NOW
    assert not ended.holds(NOW)


def test_notices_go_to_a_person_or_a_role_and_are_read_by_each(node: NodeStore) -> None:
    node.notices.add("notice-1", "approval.opened", "approval-1", "", "steward", {"kind": "job"})
    node.notices.add("notice-2", "approval.approved", "approval-1", "ada", "", {})
    seen = node.notices.of("ada", {"steward"})
    assert [(one.notice, one.facts, one.is_read) for one in seen] == [
        ("notice-1", {"kind": "job"}, False),
        ("notice-2", {}, False),
    ]
    assert node.notices.mark_read("notice-1", "ada", {"steward"})
    assert not node.notices.mark_read("notice-2", "bo", {"steward"})
    assert [one.notice for one in node.notices.of("ada", {"steward"}, unread=True)] == ["notice-2"]
    assert [one.notice for one in node.notices.of("bo", {"steward"}, unread=True)] == ["notice-1"]
    assert node.notices.of("eve", {"auditor"}) == []
    assert node.notices.of("ada", {"steward"}, after=seen[0].position, limit=1) == [seen[1]]
    assert node.notices.told({"approval.opened", "x"}) == {("approval.opened", "approval-1")}


def test_a_permission_counts_each_job_once_and_no_more_than_its_number(node: NodeStore) -> None:
    kept = KeptPermission(
        permission="permission-1",
        bound="shape",
        digest="a" * 64,
        submitter="did:key:zAnalyst",
        times=2,
        until=NOW + timedelta(days=1),
        job="job-1",
        author="ada",
        made=NOW,
    )
    node.permissions.add(kept)
    assert node.permissions.all() == [kept] == node.permissions.bound_to(("b" * 64, "a" * 64))
    assert node.permissions.bound_to(("b" * 64,)) == []
    used = [node.permissions.use("permission-1", job, 2) for job in ("job-1", "job-1", "job-2", "job-3")]
    assert used == [True, True, True, False]
    assert node.permissions.all() == [replace(kept, uses=2)]
    assert node.permissions.end("permission-1", "ada", "over")
    assert not node.permissions.end("permission-1", "ada", "over")
    assert node.permissions.all()[0].ended == NOW
    altered(node, "UPDATE node_permissions SET times = 9")
    with pytest.raises(SealBroken, match="node_permissions"):
        node.permissions.all()
