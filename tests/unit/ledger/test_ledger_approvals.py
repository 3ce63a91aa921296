"""Approval of single jobs on the ledger: nobody starts a job before those whom its agreements name agree."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest

from ledger.entries import Entry, new_id
from ledger.errors import Refusal
from ledger.rules import approvals
from ledger.testing import START, Stage
from ledger.times import format_time

HEX, OTHER = "ab" * 32, "cd" * 32
EXPIRES = format_time(START + timedelta(days=30))
SAID = {"approver": "ann", "role": "steward", "decision": "approve", "reason": "covered"}


def ident(kind: str, number: int = 1) -> str:
    return new_id(kind, lambda: START, lambda n: bytes([number] * n))


def refused(code: str, act: Callable[[], object]) -> None:
    with pytest.raises(Refusal) as caught:
        act()
    assert caught.value.code == code, str(caught.value)


class Desk(Stage):
    """Two owners, an analyst and a regulator; lender's agreement is 1, bureau's is 2."""

    def __init__(self) -> None:
        super().__init__("lender", "bureau", "analyst", "regulator")

    def agree(self, number: int, owner: str, *, per_job: bool = False, names: tuple[str, ...] = ()) -> None:
        limits: dict[str, Any] = {"uses": 9, "expires": EXPIRES}
        if per_job or names:
            limits["approval"] = {"organisations": [self.did(name) for name in names], "per_job": per_job}
        asset, negotiation = f"{owner}/data", ident("negotiation", number)
        column = {"name": "id", "type": "text", "role": "identifier", "sensitivity": 1, "control": "X"}
        body: dict[str, Any] = {
            "asset": asset,
            "version": 1,
            "kind": "table",
            "title": "T",
            "description": "",
        }
        body |= {"keywords": [], "schema": [column], "rows": 9, "root": HEX, "offer": {}, "profile": HEX}
        self.act(owner, "asset.publish", {**body, "distribution": []})
        body = {"negotiation": negotiation, "asset": asset, "offer": {}, "limits": limits, "version": 1}
        self.act("analyst", "negotiation.request", {**body, "provider": self.did(owner)})
        self.grant(number, owner, limits)
        self.act("analyst", "negotiation.verify", {"negotiation": negotiation})
        self.act(owner, "negotiation.finalize", {"negotiation": negotiation})

    def grant(self, number: int, owner: str, limits: dict[str, Any]) -> None:
        agreement = {"id": ident("agreement", number), "policy": {}, "limits": limits}
        body = {"negotiation": ident("negotiation", number), "agreement": agreement, "approvals": [SAID]}
        self.act(owner, "negotiation.agree", body)

    def submit(self, number: int = 1, spec: str = HEX) -> None:
        parties = [self.did("lender"), self.did("bureau")]
        body = {"job": ident("job", number), "spec": spec, "purpose": "p", "parties": parties}
        steps = [{"id": "s", "component": "c", "version": 1, "parties": parties}]
        agreed = [ident("agreement", 1), ident("agreement", 2)]
        self.act("analyst", "job.submit", {**body, "agreements": agreed, "steps": steps})

    def approve(self, name: str, number: int = 1, **changes: Any) -> Entry:
        body = {
            "job": ident("job", number),
            "spec": HEX,
            "card": OTHER,
            "stages": [{"role": "steward", "approvals": 1}],
            "decisions": [SAID],
        }
        return self.act(name, "job.approve", {**body, **changes})

    def disapprove(self, name: str, number: int = 1, **changes: Any) -> Entry:
        body = {"job": ident("job", number), "spec": HEX, "reason": "not any more"}
        return self.act(name, "job.disapprove", {**body, **changes})

    def start(self, name: str, agreement: int, number: int = 1) -> Entry:
        body = {"job": ident("job", number), "spec": HEX, "agreements": [ident("agreement", agreement)]}
        return self.act(name, "job.start", body)

    def row(self, number: int = 1) -> Any:
        return self.state.get("approvals", ident("job", number))


@pytest.fixture
def desk() -> Desk:
    """Lender asks for its own and the regulator's approval of each job, bureau for none."""
    made = Desk()
    made.agree(1, "lender", per_job=True, names=("regulator",))
    made.agree(2, "bureau")
    made.submit()
    return made


def test_a_job_starts_once_all_that_its_agreement_names_have_approved(desk: Desk) -> None:
    refused("approval.missing-own", lambda: desk.start("lender", 1))
    txid = desk.approve("lender").txid
    refused("approval.missing", lambda: desk.start("lender", 1))
    desk.approve("regulator")
    desk.start("lender", 1)
    assert desk.row()["approved"][desk.did("lender")] == txid
    assert set(desk.row()["approved"]) == {desk.did("lender"), desk.did("regulator")}


def test_an_agreement_that_asks_for_none_needs_none(desk: Desk) -> None:
    desk.start("bureau", 2)
    refused("entry.not-permitted", lambda: desk.approve("bureau"))


def test_who_submits_a_job_does_not_approve_it() -> None:
    desk = Desk()
    desk.agree(1, "lender", names=("analyst",))
    desk.agree(2, "bureau")
    desk.submit()
    refused("approval.own-job", lambda: desk.approve("analyst"))
    refused("approval.missing", lambda: desk.start("lender", 1))


@pytest.mark.parametrize("name", ["bureau", "regulator"])
def test_whom_no_agreement_names_cannot_approve(name: str) -> None:
    desk = Desk()
    desk.agree(1, "lender", per_job=True)
    desk.agree(2, "bureau")
    desk.submit()
    for act in (desk.approve, desk.disapprove):
        refused("entry.not-permitted", lambda act=act: act(name))
    assert desk.row() is None


@pytest.mark.parametrize("act", ["approve", "disapprove"])
def test_an_approval_is_over_the_digest_on_the_jobs_row(desk: Desk, act: str) -> None:
    refused("job.wrong-spec", lambda: getattr(desk, act)("lender", spec=OTHER))
    refused("job.unknown", lambda: getattr(desk, act)("lender", 2))


def test_an_approval_of_one_job_starts_no_other(desk: Desk) -> None:
    desk.approve("lender")
    desk.approve("regulator")
    desk.submit(2)
    refused("approval.missing-own", lambda: desk.start("lender", 1, number=2))


def test_an_approval_taken_back_before_the_start_counts_no_more(desk: Desk) -> None:
    desk.approve("lender")
    desk.approve("regulator")
    desk.disapprove("regulator")
    refused("approval.withdrawn", lambda: desk.start("lender", 1))
    refused("approval.withdrawn", lambda: desk.approve("regulator"))
    assert desk.row()["withdrawn"] == {desk.did("regulator"): "not any more"}


def test_an_approval_cannot_be_taken_back_once_an_owner_has_started_on_it(desk: Desk) -> None:
    desk.approve("lender")
    desk.approve("regulator")
    desk.start("lender", 1)
    refused("job.already-started", lambda: desk.disapprove("regulator"))
    desk.start("bureau", 2)
    refused("job.illegal-transition", lambda: desk.disapprove("regulator"))


def test_who_started_without_it_does_not_hold_up_a_no() -> None:
    desk = Desk()
    desk.agree(1, "lender", per_job=True, names=("regulator",))
    desk.agree(2, "bureau")
    desk.submit()
    desk.start("bureau", 2)
    desk.disapprove("regulator")
    desk.approve("lender")
    refused("approval.withdrawn", lambda: desk.start("lender", 1))


def test_an_approval_taken_back_in_time_stops_the_start(desk: Desk) -> None:
    desk.start("bureau", 2)
    desk.approve("lender")
    desk.approve("regulator")
    desk.disapprove("lender")
    refused("approval.withdrawn", lambda: desk.start("lender", 1))


def test_an_organisation_approves_once(desk: Desk) -> None:
    desk.approve("lender")
    refused("approval.exists", lambda: desk.approve("lender"))


def test_a_refused_job_is_not_approved_any_more(desk: Desk) -> None:
    reasons = {"job": ident("job"), "spec": HEX, "code": "x", "reasons": ["y"]}
    desk.act("bureau", "job.refuse", reasons)
    refused("job.illegal-transition", lambda: desk.approve("lender"))


@pytest.mark.parametrize(
    ("changes", "code"),
    [
        ({"decisions": []}, "entry.malformed-body"),
        ({"decisions": [SAID | {"decision": "reject"}]}, "entry.malformed-body"),
        ({"decisions": [SAID, SAID | {"role": "approver"}]}, "approval.incomplete"),
        ({"stages": [{"role": "steward", "approvals": 2}]}, "approval.incomplete"),
        ({"stages": []}, "entry.malformed-body"),
        ({"surprise": 1}, "entry.malformed-body"),
        ({"permission": "job-1"}, "entry.malformed-body"),
    ],
)
def test_an_approval_without_the_people_it_counts_is_refused(
    desk: Desk, changes: dict[str, Any], code: str
) -> None:
    refused(code, lambda: desk.approve("lender", **changes))


def test_an_agreement_asks_for_no_less_than_what_was_requested() -> None:
    desk = Desk()
    desk.agree(1, "lender")
    asked = {
        "uses": 9,
        "expires": EXPIRES,
        "approval": {"organisations": [desk.did("regulator")], "per_job": True},
    }
    body = {"negotiation": ident("negotiation", 3), "asset": "lender/data", "offer": {}, "version": 1}
    desk.act("analyst", "negotiation.request", {**body, "provider": desk.did("lender"), "limits": asked})
    plain = {"uses": 9, "expires": EXPIRES}
    for less in (
        plain,
        plain | {"approval": {"organisations": [desk.did("regulator")], "per_job": False}},
        plain | {"approval": {"organisations": [], "per_job": True}},
    ):
        refused("agreement.exceeds-request", lambda less=less: desk.grant(3, "lender", less))
    desk.grant(3, "lender", asked)


@pytest.mark.parametrize(
    ("approval", "is_valid"),
    [
        ({"organisations": [], "per_job": True}, True),
        ({"organisations": [], "per_job": 1}, False),
        ({"organisations": ["regulator"], "per_job": True}, False),
        ({"organisations": ["did:x:y", "did:x:y"], "per_job": True}, False),
        ({"per_job": True}, False),
        ({"organisations": [f"did:x:{n}" for n in range(17)], "per_job": True}, False),
    ],
)
def test_the_shape_of_what_an_agreement_asks_for(approval: dict[str, Any], is_valid: bool) -> None:
    if is_valid:
        assert approvals.LIMIT(approval, "limits.approval") == approval
    else:
        refused("entry.malformed-body", lambda: approvals.LIMIT(approval, "limits.approval"))
