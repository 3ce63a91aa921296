"""Anonymous lookups on the ledger: services by release, receipts that charge for signed tickets only."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest

from ledger import base64url, canonical
from ledger.entries import Entry, new_id, subjects
from ledger.errors import Refusal
from ledger.membership import ALGORITHMS_KEY
from ledger.rules.lookups import check_ticket, price_of, ticket_message
from ledger.testing import NET, START, Stage
from ledger.times import format_time

HEX = "ab" * 32
EXPIRES = format_time(START + timedelta(days=30))
LIST, SERVICE = "bureau/mules", "bureau/mules"
PURPOSE = "dpv:FraudPreventionAndDetection"


def ident(kind: str, number: int = 1) -> str:
    return new_id(kind, lambda: START, lambda n: bytes([number] * n))


def refused(code: str, act: Callable[[], object]) -> None:
    with pytest.raises(Refusal) as caught:
        act()
    assert caught.value.code == code, str(caught.value)


class Desk(Stage):
    """An owner with a list, and a bank that asks it."""

    def __init__(self, **limits: Any) -> None:
        super().__init__("bureau", "bank", "other")
        self.publish()
        self.agree(1, **limits)

    def publish(self, version: int = 1, **extra: Any) -> None:
        columns = [
            {"name": name, "type": "text", "role": "identifier", "sensitivity": 1, "control": "X"}
            for name in ("account", "reason")
        ]
        body = {"asset": LIST, "version": version, "kind": "list", "title": "T", "description": ""}
        body |= {"keywords": [], "schema": columns, "rows": 9, "root": HEX, "offer": {}, "profile": HEX}
        self.act("bureau", "asset.publish", {**body, "distribution": [], **extra})

    def agree(self, number: int, **limits: Any) -> None:
        negotiation = {"negotiation": ident("negotiation", number)}
        granted = {"uses": 100, "expires": EXPIRES, **limits}
        asked = {"asset": LIST, "version": 1, "provider": self.did("bureau"), "offer": {}, "limits": granted}
        self.act("bank", "negotiation.request", negotiation | asked)
        agreement = {"id": ident("agreement", number), "policy": {}, "limits": granted}
        approval = {"approver": "ann", "role": "steward", "decision": "approve", "reason": "fine"}
        self.act(
            "bureau", "negotiation.agree", negotiation | {"agreement": agreement, "approvals": [approval]}
        )
        self.act("bank", "negotiation.verify", negotiation)
        self.act("bureau", "negotiation.finalize", negotiation)

    def open(self, by: str = "bureau", release: int = 1, **changes: Any) -> Entry:
        body = {
            "service": SERVICE,
            "release": release,
            "asset": LIST,
            "version": 1,
            "keys": [{"column": "account", "rules": ["trim", "upper"]}],
            "record": ["reason"],
            "record_bytes": 64,
            "entries": 9,
            "protocol": {"name": "pir/keyword", "version": 1},
            "epoch": 1,
            "manifest": HEX,
            "hint": {"digest": HEX, "bytes": 4096},
            "price": 3,
            "rates": {"minute": 60},
            "purposes": [PURPOSE],
        }
        return self.act(by, "lookup.service", {**body, **changes})

    def ticket(self, count: int, total: int, owed: int, by: str = "bank", **changes: Any) -> dict[str, Any]:
        body = {
            "v": 1,
            "net": NET,
            "ticket": ident("ticket", total % 200 + 1),
            "service": SERVICE,
            "release": 1,
            "agreement": ident("agreement"),
            "purpose": PURPOSE,
            "count": count,
            "total": total,
            "fee": 3 * count,
            "owed": owed,
            "request": HEX,
            "time": format_time(START),
            **changes,
        }
        return {**body, "sig": base64url.encode(self.members[by].tx.sign(ticket_message(body)))}

    def report(self, count: int, last: dict[str, Any], by: str = "bureau", **changes: Any) -> Entry:
        body = {
            "service": SERVICE,
            "agreement": last["agreement"],
            "recipient": self.did("bank"),
            "purpose": last["purpose"],
            "count": count,
            "fee": 3 * count,
            "tickets": 1,
            "root": HEX,
            "last": last,
        }
        return self.act(by, "lookup.receipt", {**body, **changes})

    def account(self, purpose: str = PURPOSE) -> Any:
        return self.state.rows("lookup_accounts")[f"{ident('agreement')} {SERVICE} {purpose}"]

    def agreement(self) -> Any:
        return self.state.rows("agreements")[ident("agreement")]


@pytest.fixture
def desk() -> Desk:
    made = Desk()
    made.open()
    return made


def test_receipts_count_queries_tickets_and_fees_by_account(desk: Desk) -> None:
    desk.report(5, desk.ticket(2, 5, 15), tickets=3)
    desk.report(1, desk.ticket(1, 6, 18))
    desk.report(4, desk.ticket(4, 4, 12, purpose="dpv:ServiceProvision"))
    kept = {name: desk.account()[name] for name in ("queries", "tickets", "fee", "total", "receipts")}
    assert kept == {"queries": 6, "tickets": 4, "fee": 18, "total": 6, "receipts": 2}
    assert desk.account("dpv:ServiceProvision")["fee"] == 12
    assert (desk.agreement()["uses"], desk.agreement()["points"]) == (10, 30)
    assert desk.state.rows("budgets")[LIST]["uses"] == 10


def test_tickets_that_never_came_are_not_charged_for(desk: Desk) -> None:
    desk.report(1, desk.ticket(1, 7, 21))
    assert desk.account()["queries"] == 1
    refused("lookup.wrong-count", lambda: desk.report(2, desk.ticket(1, 8, 24)))


def test_an_owner_charges_for_nothing_that_was_not_signed_for(desk: Desk) -> None:
    last = desk.ticket(2, 5, 15)
    refused("lookup.wrong-count", lambda: desk.report(6, last))
    refused("lookup.wrong-count", lambda: desk.report(1, last))
    refused("lookup.wrong-count", lambda: desk.report(5, last, tickets=6))
    refused("lookup.wrong-fee", lambda: desk.report(5, last, fee=16))
    refused("lookup.wrong-fee", lambda: desk.report(5, last, fee=5))
    desk.report(5, last)
    refused("ticket.stale", lambda: desk.report(2, last))
    refused("ticket.stale", lambda: desk.report(1, desk.ticket(1, 4, 12)))


@pytest.mark.parametrize(
    "changed",
    [{"count": 3}, {"total": 6}, {"owed": 16}, {"request": "cd" * 32}, {"ticket": ident("ticket", 99)}],
    ids=lambda changed: next(iter(changed)),
)
def test_a_changed_ticket_counts_nothing(desk: Desk, changed: dict[str, Any]) -> None:
    last = desk.ticket(2, 5, 15) | changed
    refused("ticket.bad-signature", lambda: desk.report(5, last))


def test_a_ticket_counts_for_its_signer_its_account_and_its_network(desk: Desk) -> None:
    refused("ticket.bad-signature", lambda: desk.report(1, desk.ticket(1, 1, 3, by="other")))
    refused("ticket.wrong-net", lambda: desk.report(1, desk.ticket(1, 1, 3, net="elsewhere")))
    refused("ticket.wrong-release", lambda: desk.report(1, desk.ticket(1, 1, 3, release=2)))
    refused("ticket.wrong-total", lambda: desk.report(1, desk.ticket(2, 1, 6)))
    refused("ticket.wrong-account", lambda: desk.report(1, desk.ticket(1, 1, 3), purpose="dpv:Other"))
    refused(
        "ticket.wrong-consumer", lambda: desk.report(1, desk.ticket(1, 1, 3), recipient=desk.did("other"))
    )
    refused("entry.not-permitted", lambda: desk.report(1, desk.ticket(1, 1, 3), by="bank"))
    late = desk.ticket(1, 1, 3, time=EXPIRES)
    refused("agreement.expired", lambda: desk.report(1, late))


def test_a_ticket_signed_by_an_algorithm_that_was_voted_out_counts_nothing(desk: Desk) -> None:
    ticket, bank = desk.ticket(1, 1, 3), desk.did("bank")
    assert check_ticket(desk.state, ticket, bank) == ticket
    voted = {**desk.state.rows("params")[ALGORITHMS_KEY], "allowed": []}
    later = desk.state.put("params", ALGORITHMS_KEY, voted, index=0)
    refused("ticket.bad-signature", lambda: check_ticket(later, ticket, bank))


def test_a_query_costs_what_was_agreed_or_else_what_the_service_states(desk: Desk) -> None:
    service = desk.state.rows("lookups")[SERVICE]
    assert price_of(desk.agreement(), service) == 3
    assert price_of({"limits": {"price": 0}}, service) == 0


def test_what_was_answered_is_reported_after_a_revocation_and_a_withdrawal(desk: Desk) -> None:
    desk.act("bureau", "agreement.revoke", {"agreement": ident("agreement"), "reason": "x"})
    desk.act("bureau", "lookup.withdraw", {"service": SERVICE, "reason": "x"})
    desk.report(1, desk.ticket(1, 1, 3))
    assert desk.account()["queries"] == 1


@pytest.mark.parametrize(
    ("limits", "code"),
    [
        ({"uses": 4}, "agreement.uses-exhausted"),
        ({"points": 14, "price": 3}, "agreement.points-exhausted"),
        ({"epsilon_micro": 1, "delta_exponent": 6}, "agreement.epsilon-exhausted"),
        ({"approval": {"per_job": True, "organisations": []}}, "lookup.approval-needed"),
    ],
)
def test_no_receipt_passes_a_limit(limits: dict[str, Any], code: str) -> None:
    desk = Desk(**limits)
    desk.open()
    refused(code, lambda: desk.report(5, desk.ticket(5, 5, 15)))


def test_no_receipt_passes_a_limit_of_the_asset(desk: Desk) -> None:
    desk.act("bureau", "asset.budget", {"asset": LIST, "budget": {"uses": 4}, "reason": "x"})
    refused("asset.uses-exhausted", lambda: desk.report(5, desk.ticket(5, 5, 15)))


def test_a_service_follows_its_list_release_by_release(desk: Desk) -> None:
    desk.publish(2)
    refused("asset.version-not-current", lambda: desk.open(release=2))
    refused("lookup.wrong-release", lambda: desk.open(release=3, version=2))
    desk.open(release=2, version=2, epoch=2)
    refused("lookup.wrong-epoch", lambda: desk.open(release=3, version=2, epoch=1))
    row = desk.state.rows("lookups")[SERVICE]
    assert (row["release"], row["version"], row["status"]) == (2, 2, "open")
    desk.report(1, desk.ticket(1, 1, 3))


def test_a_service_is_its_owners_and_names_columns_of_its_asset(desk: Desk) -> None:
    refused("lookup.foreign-name", lambda: desk.open(by="bank", release=2))
    refused("lookup.unknown-column", lambda: desk.open(release=2, record=["balance"]))
    refused("lookup.unknown-column", lambda: desk.open(release=2, keys=[{"column": "x", "rules": []}]))
    for changes in ({"record_bytes": 15}, {"record_bytes": 257}, {"purposes": []}, {"secret": 1}):
        refused("entry.malformed-body", lambda changes=changes: desk.open(release=2, **changes))
    desk.act("bureau", "asset.withdraw", {"asset": LIST, "reason": "x"})
    refused("asset.withdrawn", lambda: desk.open(release=2))


def test_a_service_is_withdrawn_once_by_its_owner_and_opens_again(desk: Desk) -> None:
    body = {"service": SERVICE, "reason": "x"}
    refused("entry.not-permitted", lambda: desk.act("bank", "lookup.withdraw", body))
    desk.act("bureau", "lookup.withdraw", body)
    refused("lookup.withdrawn", lambda: desk.act("bureau", "lookup.withdraw", body))
    desk.open(release=2)
    assert desk.state.rows("lookups")[SERVICE]["status"] == "open"


def test_a_receipt_is_found_by_service_agreement_and_both_sides(desk: Desk) -> None:
    entry = desk.report(1, desk.ticket(1, 1, 3))
    assert {SERVICE, ident("agreement"), desk.did("bank"), desk.did("bureau")} <= subjects(entry)
    assert canonical.encode(entry.body)
