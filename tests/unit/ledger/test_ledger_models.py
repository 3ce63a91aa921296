"""Model versions on the ledger: drafted, published with the last part, withdrawn; receipts of scores."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from ledger import base64url
from ledger.entries import Entry, new_id, subjects
from ledger.errors import Refusal
from ledger.membership import ALGORITHMS_KEY
from ledger.rules.models import check_ticket, ticket_message
from ledger.testing import NET, START, Stage
from ledger.times import format_time

HEX = "ab" * 32
EXPIRES = "2026-12-01T00:00:00Z"
LOANS, INCOMES, MODEL = "lender/loans", "bureau/incomes", "lender/late"
PURPOSE = "dpv:CreditChecking"


def ident(kind: str, number: int = 1) -> str:
    return new_id(kind, lambda: START, lambda n: bytes([number] * n))


def refused(code: str, act: Callable[[], object]) -> None:
    with pytest.raises(Refusal) as caught:
        act()
    assert caught.value.code == code, str(caught.value)


class Registry(Stage):
    """Two owners whose job has trained a model, with an agreement by which the lender uses the bureau's."""

    def __init__(self, component: str = "model/logistic", **limits: Any) -> None:
        super().__init__("lender", "bureau", "helper", "other")
        self.publish("lender", LOANS)
        self.publish("bureau", INCOMES)
        self.agree(**limits)
        self.train(component)

    def publish(self, owner: str, asset: str) -> None:
        columns = [
            {"name": name, "type": "text", "role": "feature", "sensitivity": 1, "control": "X"}
            for name in ("id", "income")
        ]
        body = {"asset": asset, "version": 1, "kind": "table", "title": "T", "description": ""}
        body |= {"keywords": [], "schema": columns, "rows": 9, "root": HEX, "offer": {}, "profile": HEX}
        self.act(owner, "asset.publish", {**body, "distribution": []})

    def agree(self, **limits: Any) -> None:
        negotiation = {"negotiation": ident("negotiation")}
        granted = {"uses": 100, "expires": EXPIRES, **limits}
        asked = {"asset": INCOMES, "version": 1, "provider": self.did("bureau"), "offer": {}}
        self.act("lender", "negotiation.request", negotiation | asked | {"limits": granted})
        agreement = {"id": ident("agreement"), "policy": {}, "limits": granted}
        approval = {"approver": "ann", "role": "steward", "decision": "approve", "reason": "fine"}
        self.act(
            "bureau", "negotiation.agree", negotiation | {"agreement": agreement, "approvals": [approval]}
        )
        self.act("lender", "negotiation.verify", negotiation)
        self.act("bureau", "negotiation.finalize", negotiation)

    def train(self, component: str) -> None:
        job, parties = {"job": ident("job")}, [self.did(name) for name in ("lender", "bureau", "helper")]
        step = {"id": "train", "component": component, "version": 1, "parties": parties}
        body = job | {"spec": HEX, "purpose": "p", "agreements": [], "parties": parties, "steps": [step]}
        self.act("lender", "job.submit", body)
        for name in ("bureau", "helper"):
            self.act(name, "job.start", job | {"spec": HEX, "agreements": []})
        self.receive(*parties)

    def receive(self, *parties: str) -> None:
        receipt: dict[str, Any] = {"job": ident("job"), "step": "train", "attempt": 1, "role": "r"}
        receipt |= {"protocol": {"name": "x", "version": 1}, "inputs": [], "params": HEX, "code": HEX}
        receipt |= {"engine": "own", "output": HEX, "bytes_sent": 0, "bytes_received": 0, "rounds": 0}
        for name in ("lender", "bureau", "helper"):
            if self.did(name) in parties:
                self.act(name, "receipt.step", receipt | {"duration_ms": 1, "peers": []})

    def complete(self) -> None:
        self.act("lender", "job.complete", {"job": ident("job"), "output": HEX})

    def draft(self, by: str = "lender", **changes: Any) -> Entry:
        parties = [self.did("lender"), self.did("bureau")]
        body = part(LOANS) | {"job": ident("job"), "step": "train", "parties": parties}
        return self.act(by, "model.draft", body | {"purposes": [PURPOSE]} | changes)

    def file(self, by: str = "bureau", asset: str = INCOMES, **changes: Any) -> Entry:
        return self.act(by, "model.part", part(asset) | changes)

    def withdraw(self, by: str) -> Entry:
        return self.act(by, "model.withdraw", {"model": MODEL, "version": 1, "reason": "a test"})

    def row(self, version: int = 1) -> Any:
        return self.state.rows("models")[f"{MODEL} {version}"]

    def ticket(self, number: int, count: int, total: int, by: str = "lender", **changes: Any) -> Any:
        body = {"v": 1, "net": NET, "model": MODEL, "version": 1, "agreement": ident("agreement")}
        body |= {"purpose": PURPOSE, "number": number, "count": count, "total": total}
        body |= {"time": format_time(START), **changes}
        return {**body, "sig": base64url.encode(self.members[by].tx.sign(ticket_message(body)))}

    def report(self, count: int, last: Any, by: str = "bureau", **changes: Any) -> Entry:
        body = {name: last[name] for name in ("model", "version", "agreement", "purpose")}
        body |= {"recipient": self.did("lender"), "count": count, "calls": 1}
        return self.act(by, "model.receipt", body | {"since": format_time(START), "last": last, **changes})


def part(asset: str) -> dict[str, Any]:
    return {
        "model": MODEL,
        "version": 1,
        "part": HEX,
        "asset": asset,
        "key": "id",
        "rules": ["trim"],
        "columns": ["income"],
        "fallback": "mean",
        "rates": {"minute": 60},
    }


@pytest.fixture
def registry() -> Registry:
    made = Registry()
    made.complete()
    return made


@pytest.fixture
def published(registry: Registry) -> Registry:
    registry.draft()
    registry.file()
    return registry


def test_a_version_is_published_with_the_last_owners_part(registry: Registry) -> None:
    registry.draft()
    assert (registry.row()["status"], list(registry.row()["parts"])) == ("draft", [registry.did("lender")])
    entry = registry.file()
    assert registry.row()["status"] == "published"
    assert registry.row()["parts"][registry.did("bureau")]["columns"] == ["income"]
    assert {MODEL, INCOMES} <= subjects(entry)


def test_a_part_may_say_how_many_columns_are_named_as_reasons(registry: Registry) -> None:
    registry.draft()
    for wrong in (0, 9, "1"):
        refused("entry.malformed-body", lambda wrong=wrong: registry.file(reasons=wrong))
    registry.file(reasons=8)
    filed = registry.row()["parts"]
    assert filed[registry.did("bureau")]["reasons"] == 8
    assert "reasons" not in filed[registry.did("lender")]


def test_nobody_files_for_another_or_twice_or_without_a_draft(registry: Registry) -> None:
    refused("model.unknown", registry.file)
    registry.draft()
    refused("entry.not-permitted", lambda: registry.file("helper"))
    refused("entry.not-permitted", lambda: registry.file("bureau", LOANS))
    refused("model.unknown-column", lambda: registry.file(columns=["debt"]))
    refused("model.already-filed", lambda: registry.file("lender", LOANS))
    refused("entry.malformed-body", lambda: registry.file(coefficients=["1"]))


def test_a_draft_is_the_label_holders_on_a_completed_job_that_trained() -> None:
    registry = Registry()
    refused("model.job-not-completed", registry.draft)
    registry.complete()
    refused("model.foreign-name", lambda: registry.draft("bureau"))
    turned = [registry.did("bureau"), registry.did("lender")]
    refused("entry.not-permitted", lambda: registry.draft(parties=turned))
    other = [registry.did("lender"), registry.did("other")]
    refused("model.unknown-party", lambda: registry.draft(parties=other))
    refused("model.wrong-step", lambda: registry.draft(step="match"))
    refused("model.wrong-version", lambda: registry.draft(version=2))
    registry.draft()
    refused("model.exists", registry.draft)
    registry.draft(version=2)


def test_a_step_that_trained_nothing_is_no_model() -> None:
    registry = Registry("psi/many")
    registry.complete()
    refused("model.wrong-step", registry.draft)


def test_any_owner_withdraws_once_and_nobody_else(published: Registry) -> None:
    refused("entry.not-permitted", lambda: published.withdraw("helper"))
    published.withdraw("bureau")
    assert (published.row()["status"], published.row()["by"]) == ("withdrawn", published.did("bureau"))
    refused("model.withdrawn", lambda: published.withdraw("lender"))


def test_no_part_is_filed_for_a_withdrawn_draft(registry: Registry) -> None:
    registry.draft()
    registry.withdraw("lender")
    refused("model.withdrawn", registry.file)


def test_a_receipt_charges_for_what_was_signed_for_and_no_more(published: Registry) -> None:
    refused("model.wrong-count", lambda: published.report(6, published.ticket(2, 3, 5)))
    refused("model.wrong-count", lambda: published.report(2, published.ticket(2, 3, 5)))
    refused("model.wrong-count", lambda: published.report(5, published.ticket(2, 3, 5), calls=3))
    last = published.ticket(2, 3, 5)
    published.report(4, last, calls=2)
    refused("ticket.stale", lambda: published.report(1, last))
    published.report(1, published.ticket(3, 1, 6))
    [row] = published.state.rows("model_accounts").values()
    assert {name: row[name] for name in ("persons", "calls", "number", "total", "receipts")} == {
        "persons": 5,
        "calls": 3,
        "number": 3,
        "total": 6,
        "receipts": 2,
    }
    assert published.state.rows("agreements")[ident("agreement")]["uses"] == 5


def test_a_receipt_spends_the_agreements_points() -> None:
    made = Registry(price=3, points=10)
    made.complete()
    made.draft()
    made.file()
    refused("agreement.points-exhausted", lambda: made.report(4, made.ticket(1, 4, 4)))
    made.report(3, made.ticket(1, 3, 3))
    assert made.state.rows("agreements")[ident("agreement")]["points"] == 9


def test_a_ticket_of_another_form_signer_or_account_counts_nothing(published: Registry) -> None:
    refused("ticket.bad-signature", lambda: published.report(1, published.ticket(1, 1, 1, by="other")))
    refused("ticket.bad-signature", lambda: published.report(2, {**published.ticket(1, 1, 2), "count": 2}))
    refused("ticket.wrong-net", lambda: published.report(1, published.ticket(1, 1, 1, net="elsewhere")))
    refused("ticket.wrong-total", lambda: published.report(1, published.ticket(1, 2, 1)))
    refused("ticket.wrong-account", lambda: published.report(1, published.ticket(1, 1, 1), purpose="dpv:A"))
    refused("entry.not-permitted", lambda: published.report(1, published.ticket(1, 1, 1), by="lender"))
    refused("agreement.expired", lambda: published.report(1, published.ticket(1, 1, 1, time=EXPIRES)))
    refused("model.unknown", lambda: published.report(1, published.ticket(1, 1, 1, version=2)))


def test_a_ticket_signed_by_an_algorithm_that_was_voted_out_counts_nothing(published: Registry) -> None:
    ticket, lender = published.ticket(1, 1, 1), published.did("lender")
    assert check_ticket(published.state, ticket, lender) == ticket
    voted = {**published.state.rows("params")[ALGORITHMS_KEY], "allowed": []}
    later = published.state.put("params", ALGORITHMS_KEY, voted, index=0)
    refused("ticket.bad-signature", lambda: check_ticket(later, ticket, lender))


def test_what_was_answered_is_reported_after_a_withdrawal(published: Registry) -> None:
    published.withdraw("bureau")
    published.act("bureau", "agreement.revoke", {"agreement": ident("agreement"), "reason": "x"})
    published.report(1, published.ticket(1, 1, 1))
