"""Standing permissions: what they cover, how often, until when, and what falls back to people."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from exchange.errors import Conflict, Forbidden, InvalidRequest, NotFound
from exchange.jobs.shapes import Difference, differences, shape_digest
from exchange.jobs.spec import JobSpec
from exchange.jobs.testing import ANALYST, BUREAU, example_spec
from exchange.node.approval_rules import ApprovalRules
from exchange.node.approvals import Approvals
from exchange.node.notices import Notices
from exchange.node.people import Person, Role
from exchange.node.permissions import KIND, Permissions, PermissionView
from exchange.store import open_node_store
from policies.approvals import ApprovalRule, Stage, Verdict

START = datetime(2026, 11, 23, 10, tzinfo=UTC)
ADA = Person("ada", frozenset({Role.STEWARD}))
LI = Person("li", frozenset({Role.APPROVER}))
RULE = ApprovalRule((Stage("steward"), Stage("approver")))


def spec(change: Callable[[dict[str, Any]], object] = lambda value: None, number: int = 1) -> JobSpec:
    value = example_spec()
    value["job"] = "job-" + f"{number:026d}"
    change(value)
    return JobSpec.from_json(value)


class Desk:
    """Permissions over a clock that a test moves."""

    def __init__(self, path: Path) -> None:
        self.now = START
        self.store = open_node_store(
            f"sqlite:///{path}/node.sqlite", clock=lambda: self.now, decision_key=bytes(32)
        )
        notices = Notices(self.store.notices, lambda: self.now)
        rules = ApprovalRules(self.store.approval_rules, notices, lambda _: (), lambda: self.now)
        self.people = Approvals(self.store.approvals, rules, notices, lambda: self.now)
        self.permissions = Permissions(self.store.permissions, self.people, notices, lambda: self.now)

    def propose(self, bound: str = "shape", times: int = 2, until: datetime | None = None) -> PermissionView:
        asked = spec()
        kept = self.people.open("job", asked.job, asked.digest(), {"x": 1}, RULE, ANALYST)
        standing = self.people.of(kept.request)
        return self.permissions.propose(asked, standing, ADA, bound=bound, times=times, until=until)

    def approve(self, made: PermissionView) -> None:
        assert made.standing is not None
        for person in (ADA, LI):
            self.people.decide(made.standing.request.request, person, Verdict.APPROVE, "every month")

    def covers(self, asked: JobSpec, submitter: str = ANALYST, rule: ApprovalRule = RULE) -> bool:
        return self.permissions.approve(asked, submitter, rule) is not None


@pytest.fixture
def desk(tmp_path: Path) -> Iterator[Desk]:
    made = Desk(tmp_path)
    yield made
    made.store.close()


def test_a_permission_counts_once_all_stages_have_approved_it(desk: Desk) -> None:
    made = desk.propose()
    assert not desk.covers(spec())
    assert made.standing is not None
    assert made.standing.request.kind == KIND
    desk.people.decide(made.standing.request.request, ADA, Verdict.APPROVE, "fine")
    assert not desk.covers(spec())
    desk.people.decide(made.standing.request.request, LI, Verdict.APPROVE, "fine")
    assert desk.covers(spec())


def test_it_covers_so_many_jobs_and_each_job_once(desk: Desk) -> None:
    desk.approve(desk.propose(times=2))
    assert [desk.covers(spec(number=n)) for n in (1, 1, 2, 3)] == [True, True, True, False]
    assert desk.permissions.all()[0].kept.uses == 2


def test_jobs_that_race_for_the_last_use_do_not_share_it(desk: Desk) -> None:
    desk.approve(desk.propose(times=3))
    with ThreadPoolExecutor(8) as pool:
        covered = list(pool.map(lambda number: desk.covers(spec(number=number)), range(1, 13)))
    assert covered.count(True) == 3
    assert desk.permissions.all()[0].kept.uses == 3


def test_it_ends_at_its_date(desk: Desk) -> None:
    desk.approve(desk.propose(times=0, until=START + timedelta(days=1)))
    assert desk.covers(spec(number=1))
    desk.now += timedelta(days=1)
    assert not desk.covers(spec(number=2))


@pytest.mark.parametrize(
    "change",
    [
        lambda value: value.update(purpose="dpv:DirectMarketing"),
        lambda value: value["agreements"].update({"lender/loans": "agreement-2"}),
        lambda value: value["steps"][1]["params"].update(min_cohort=9),
        lambda value: value["steps"][1]["inputs"]["measure_holder"]["columns"][0].update(decimals=3),
        lambda value: value["steps"][0].update(recipients=[BUREAU]),
        lambda value: value["steps"].pop(),
    ],
)
def test_whatever_differs_falls_back_to_people(
    desk: Desk, change: Callable[[dict[str, Any]], object]
) -> None:
    desk.approve(desk.propose())
    assert not desk.covers(spec(change))
    assert desk.covers(spec(lambda value: value.update(title="another title"), number=7))


def test_of_another_submitter_or_under_another_rule_it_covers_nothing(desk: Desk) -> None:
    desk.approve(desk.propose())
    assert not desk.covers(spec(), submitter=BUREAU)
    assert not desk.covers(spec(), rule=ApprovalRule((Stage("steward"),)))
    assert desk.permissions.all()[0].kept.uses == 0


def test_one_bound_to_a_specification_covers_that_alone(desk: Desk) -> None:
    desk.approve(desk.propose(bound="spec"))
    assert not desk.covers(spec(number=2))
    assert desk.covers(spec())


def test_a_revoked_one_covers_nothing_and_stays_listed(desk: Desk) -> None:
    made = desk.propose()
    desk.approve(made)
    with pytest.raises(Forbidden):
        desk.permissions.revoke(made.kept.permission, Person("eve", frozenset({Role.ANALYST})), "x")
    desk.permissions.revoke(made.kept.permission, LI, "no longer")
    assert not desk.covers(spec())
    assert desk.permissions.all()[0].kept.ended == START
    with pytest.raises(Conflict):
        desk.permissions.revoke(made.kept.permission, LI, "again")
    with pytest.raises(NotFound):
        desk.permissions.revoke("permission-none", LI, "x")


def test_a_revoked_proposal_cannot_be_approved(desk: Desk) -> None:
    made = desk.propose()
    desk.permissions.revoke(made.kept.permission, ADA, "a mistake")
    with pytest.raises(Conflict, match="WITHDRAWN"):
        desk.approve(made)


@pytest.mark.parametrize(
    ("terms", "field"),
    [
        ({"times": 0}, "times"),
        ({"times": -1}, "times"),
        ({"until": START}, "until"),
        ({"until": START + timedelta(days=400)}, "until"),
        ({"bound": "all"}, "bound"),
    ],
)
def test_bad_terms_are_refused_by_name(desk: Desk, terms: dict[str, Any], field: str) -> None:
    with pytest.raises(InvalidRequest, match=field):
        desk.propose(**terms)
    assert desk.permissions.all() == []


def test_differences_name_each_field_and_both_values() -> None:
    assert shape_digest(spec(number=1)) == shape_digest(spec(lambda value: value.update(title="t"), number=2))
    before = spec()
    after = spec(lambda value: value["steps"][1]["params"].update(min_cohort=9), number=2)
    old = example_spec()["steps"][1]["params"]["min_cohort"]
    name = example_spec()["steps"][1]["id"]
    assert differences(before, after) == [Difference(f"steps[{name}].params.min_cohort", str(old), "9")]
    fewer = spec(lambda value: value["steps"].pop(), number=3)
    assert {one.now for one in differences(before, fewer)} == {None}
