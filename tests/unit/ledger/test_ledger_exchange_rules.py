"""Assets, negotiations, agreements and jobs: every rule and every refusal."""

from collections.abc import Callable
from datetime import timedelta
from itertools import product
from typing import Any

import pytest

from ledger.entries import Entry, new_id
from ledger.errors import Refusal
from ledger.rules import RULES, jobs, negotiation
from ledger.rules.jobs import JobEvent, JobState
from ledger.rules.negotiation import NegotiationEvent, NegotiationState, Role
from ledger.testing import START, Stage
from ledger.times import format_time

HEX = "ab" * 32
LOANS = "lender/loans"
TAXES = "bureau/taxes"
EXPIRES = format_time(START + timedelta(days=30))


def ident(kind: str, number: int = 1) -> str:
    return new_id(kind, lambda: START, lambda n: bytes([number] * n))


def refused(code: str, act: Callable[[], object]) -> None:
    with pytest.raises(Refusal) as caught:
        act()
    assert caught.value.code == code, str(caught.value)


class Exchange(Stage):
    """A stage with the acts of a data exchange as methods."""

    def __init__(self) -> None:
        super().__init__("lender", "bureau", "analyst", "regulator")

    def row(self, table: str, key: str) -> Any:
        return self.state.get(table, key)

    def publish(self, name: str = "lender", asset: str = LOANS, **changes: Any) -> Entry:
        body = {
            "asset": asset,
            "version": 1,
            "kind": "table",
            "title": "Loans",
            "description": "",
            "keywords": ["credit"],
            "schema": [
                {
                    "name": "id",
                    "type": "string",
                    "role": "identifier",
                    "sensitivity": 3,
                    "control": "AFTER_JOIN",
                }
            ],
            "rows": 10,
            "root": HEX,
            "offer": {"@type": "Offer"},
            "profile": HEX,
            "distribution": ["sql"],
        }
        return self.act(name, "asset.publish", {**body, **changes})

    def request(self, number: int = 1, name: str = "analyst", **changes: Any) -> Entry:
        asset = changes.get("asset", LOANS)
        body = {
            "negotiation": ident("negotiation", number),
            "asset": asset,
            "version": 1,
            "provider": self.did(asset.split("/")[0]),
            "offer": {},
            "limits": {"uses": 3, "expires": EXPIRES},
        }
        return self.act(name, "negotiation.request", {**body, **changes})

    def offer(
        self, number: int = 1, name: str = "lender", consumer: str = "analyst", **changes: Any
    ) -> Entry:
        body = {
            "negotiation": ident("negotiation", number),
            "asset": LOANS,
            "version": 1,
            "consumer": self.did(consumer),
            "offer": {},
            "limits": {"uses": 2, "expires": EXPIRES},
            "round": 1,
        }
        return self.act(name, "negotiation.offer", {**body, **changes})

    def agree(self, number: int = 1, name: str = "lender", **changes: Any) -> Entry:
        agreement = {
            "id": ident("agreement", number),
            "policy": {},
            "limits": {"uses": 3, "expires": EXPIRES},
        }
        approval = {"approver": "ann", "role": "steward", "decision": "approve", "reason": "fine"}
        body = {"negotiation": ident("negotiation", number), "agreement": {**agreement, **changes}}
        return self.act(name, "negotiation.agree", {**body, "approvals": [approval]})

    def step(self, event: str, number: int = 1, name: str = "analyst", **more: Any) -> Entry:
        return self.act(name, f"negotiation.{event}", {"negotiation": ident("negotiation", number), **more})

    def agreed(self, number: int, owner: str, asset: str, **changes: Any) -> None:
        self.publish(owner, asset)
        self.request(number, asset=asset)
        self.agree(number, owner, **changes)
        self.step("verify", number)
        self.step("finalize", number, owner)

    def submit(self, number: int = 1, **changes: Any) -> Entry:
        pair = [self.did("lender"), self.did("bureau")]
        body = {
            "job": ident("job", number),
            "spec": HEX,
            "purpose": "dpv:X",
            "agreements": [ident("agreement", 1), ident("agreement", 2)],
            "parties": [*pair, self.did("analyst")],
            "steps": [
                {"id": "match", "component": "psi/ecdh", "version": 1, "parties": pair},
                {"id": "report", "component": "report/table", "version": 1, "parties": [self.did("analyst")]},
            ],
        }
        return self.act("analyst", "job.submit", {**body, **changes})

    def start(self, name: str, *agreements: int, number: int = 1, **changes: Any) -> Entry:
        body = {
            "job": ident("job", number),
            "spec": HEX,
            "agreements": [ident("agreement", agreement) for agreement in agreements],
        }
        return self.act(name, "job.start", {**body, **changes})

    def refuse(self, name: str, number: int = 1, **changes: Any) -> Entry:
        body = {
            "job": ident("job", number),
            "spec": HEX,
            "code": "policy.purpose",
            "reasons": ["not covered"],
        }
        return self.act(name, "job.refuse", {**body, **changes})

    def receipt(self, name: str, step: str = "match", attempt: int = 1, **changes: Any) -> Entry:
        body = {
            "job": ident("job"),
            "step": step,
            "attempt": attempt,
            "role": "left",
            "protocol": {"name": "psi/ecdh", "version": 1},
            "inputs": [{"asset": LOANS, "version": 1, "root": HEX}],
            "params": HEX,
            "code": HEX,
            "engine": "parley 0.1.0",
            "output": HEX,
            "bytes_sent": 1,
            "bytes_received": 2,
            "rounds": 3,
            "duration_ms": 4,
            "peers": [],
        }
        return self.act(name, "receipt.step", {**body, **changes})

    def release(self, name: str, step: str = "match", **changes: Any) -> Entry:
        body = {
            "job": ident("job"),
            "step": step,
            "recipient": self.did("analyst"),
            "digest": HEX,
            "cohort": 10,
        }
        return self.act(name, "job.release", {**body, **changes})

    def running(self) -> None:
        self.agreed(1, "lender", LOANS)
        self.agreed(2, "bureau", TAXES)
        self.submit()
        self.start("lender", 1)
        self.start("bureau", 2)


@pytest.fixture
def exchange() -> Exchange:
    return Exchange()


def test_versions_of_an_asset_follow_each_other(exchange: Exchange) -> None:
    exchange.publish()
    refused("asset.wrong-version", exchange.publish)
    exchange.publish(version=2)
    exchange.act("lender", "asset.withdraw", {"asset": LOANS, "reason": "old"})
    assert exchange.row("assets", LOANS)["status"] == "withdrawn"
    withdraw = {"asset": LOANS, "reason": "again"}
    refused("asset.withdrawn", lambda: exchange.act("lender", "asset.withdraw", withdraw))
    exchange.publish(version=3)
    row = exchange.row("assets", LOANS)
    assert (row["status"], row["version"], row["owner"]) == ("published", 3, exchange.did("lender"))


QUALITY = {
    "report": HEX,
    "completeness": 900_000,
    "validity": 800_000,
    "uniqueness": 999_999,
    "value": 719_999,
}


def test_the_value_of_an_asset_is_the_product_of_its_quality(exchange: Exchange) -> None:
    exchange.publish(quality=QUALITY, review=HEX)
    assert exchange.row("assets", LOANS)["quality"] == QUALITY
    for value in (719_998, 720_000, 1_000_000):
        wrong = QUALITY | {"value": value}
        refused("asset.wrong-value", lambda wrong=wrong: exchange.publish(version=2, quality=wrong))
    for changed in ({"validity": 1_000_001}, {"validity": -1}, {"report": "x"}, {"odd": 1}):
        odd = QUALITY | changed
        refused("entry.malformed-body", lambda odd=odd: exchange.publish(version=2, quality=odd))


TWIN = {"asset": LOANS, "version": 1, "digest": HEX, "rows": 5, "bytes": 900, "epsilon_micro": 1_000_000}


def test_a_twin_stands_for_the_version_that_is_published(exchange: Exchange) -> None:
    refused("asset.unknown", lambda: exchange.act("lender", "asset.twin", TWIN))
    exchange.publish()
    refused("entry.not-permitted", lambda: exchange.act("bureau", "asset.twin", TWIN))
    later = TWIN | {"version": 2}
    refused("asset.version-not-current", lambda: exchange.act("lender", "asset.twin", later))
    exchange.act("lender", "asset.twin", TWIN)
    stated = {name: TWIN[name] for name in ("digest", "rows", "bytes", "epsilon_micro")}
    assert exchange.row("assets", LOANS)["twin"] == stated
    exchange.act("lender", "asset.twin", TWIN | {"rows": 6})
    assert exchange.row("assets", LOANS)["twin"]["rows"] == 6
    exchange.publish(version=2)
    assert "twin" not in exchange.row("assets", LOANS)
    exchange.act("lender", "asset.withdraw", {"asset": LOANS, "reason": "old"})
    refused("asset.withdrawn", lambda: exchange.act("lender", "asset.twin", later))
    odd = TWIN | {"rows": 0}
    refused("entry.malformed-body", lambda: exchange.act("lender", "asset.twin", odd))


def test_an_asset_belongs_to_its_owner(exchange: Exchange) -> None:
    refused("asset.foreign-name", lambda: exchange.publish("bureau"))
    exchange.publish()
    body = {"asset": LOANS, "reason": "mine"}
    refused("entry.not-permitted", lambda: exchange.act("bureau", "asset.withdraw", body))
    body = {"asset": TAXES, "reason": "none"}
    refused("asset.unknown", lambda: exchange.act("bureau", "asset.withdraw", body))


COLUMN = {"name": "id", "type": "string", "role": "identifier", "sensitivity": "high", "control": "PLAINTEXT"}


@pytest.mark.parametrize(
    "changes",
    [
        {"asset": "Lender/loans"},
        {"version": 0},
        {"version": "1"},
        {"version": True},
        {"title": ""},
        {"keywords": ["a", "a"]},
        {"keywords": "credit"},
        {"schema": []},
        {"schema": [{**COLUMN, "unknown": 1}]},
        {"schema": [{**COLUMN, "sensitivity": None}]},
        {"rows": -1},
        {"root": "AB" * 32},
        {"root": HEX + "\n"},
        {"offer": []},
        {"surprise": 1},
    ],
    ids=str,
)
def test_bodies_have_their_shape(exchange: Exchange, changes: dict[str, Any]) -> None:
    refused("entry.malformed-body", lambda: exchange.publish(**changes))


def test_columns_are_distinct(exchange: Exchange) -> None:
    refused("asset.duplicate-column", lambda: exchange.publish(schema=[COLUMN, {**COLUMN, "role": "label"}]))
    exchange.publish(schema=[{**COLUMN, "description": "the person"}])


def test_a_negotiation_ends_in_an_agreement(exchange: Exchange) -> None:
    exchange.agreed(1, "lender", LOANS)
    row = exchange.row("agreements", ident("agreement"))
    assert (row["uses"], row["status"], row["asset"], row["version"]) == (0, "final", LOANS, 1)
    assert row["consumer"] == exchange.did("analyst")
    assert row["index"] == exchange.index
    assert exchange.row("negotiations", ident("negotiation"))["state"] == "FINALIZED"


@pytest.mark.parametrize(
    ("code", "changes"),
    [
        ("asset.unknown", {"asset": TAXES}),
        ("asset.version-not-current", {"version": 2}),
        ("negotiation.wrong-provider", {"provider": "did:key:zOther"}),
        ("agreement.expired", {"limits": {"uses": 1, "expires": format_time(START)}}),
        ("entry.malformed-body", {"limits": {"uses": 0, "expires": EXPIRES}}),
        ("entry.malformed-body", {"limits": {"uses": 1, "expires": "2026-13-01T00:00:00Z"}}),
        ("entry.malformed-body", {"negotiation": "negotiation-1"}),
    ],
)
def test_requests_that_are_refused(exchange: Exchange, code: str, changes: dict[str, Any]) -> None:
    exchange.publish()
    refused(code, lambda: exchange.request(**changes))


def test_requests_have_their_own_id_and_another_members_asset(exchange: Exchange) -> None:
    exchange.publish()
    refused("negotiation.own-asset", lambda: exchange.request(name="lender"))
    exchange.request()
    refused("negotiation.exists", exchange.request)
    exchange.act("lender", "asset.withdraw", {"asset": LOANS, "reason": "old"})
    refused("asset.withdrawn", lambda: exchange.request(2))
    refused("asset.withdrawn", exchange.agree)


@pytest.mark.parametrize(
    ("code", "limits"),
    [
        ("agreement.exceeds-request", {"uses": 4, "expires": EXPIRES}),
        ("agreement.exceeds-request", {"uses": 3, "expires": format_time(START + timedelta(days=31))}),
        ("agreement.expired", {"uses": 3, "expires": format_time(START)}),
    ],
)
def test_an_agreement_stays_within_the_request(exchange: Exchange, code: str, limits: dict[str, Any]) -> None:
    exchange.publish()
    exchange.request()
    refused(code, lambda: exchange.agree(limits=limits))
    exchange.agree(limits={"uses": 2, "expires": EXPIRES})


def test_agreement_ids_are_used_once(exchange: Exchange) -> None:
    exchange.agreed(1, "lender", LOANS)
    exchange.request(2)
    refused("agreement.exists", lambda: exchange.agree(2, id=ident("agreement", 1)))
    exchange.request(3)
    for number in (2, 3):
        exchange.agree(number, id=ident("agreement", 9))
        exchange.step("verify", number)
    exchange.step("finalize", 2, "lender")
    refused("agreement.exists", lambda: exchange.step("finalize", 3, "lender"))


def test_strangers_do_not_move_a_negotiation(exchange: Exchange) -> None:
    exchange.publish()
    exchange.request()
    refused("entry.not-permitted", lambda: exchange.step("terminate", name="bureau", reason="x"))
    refused("negotiation.unknown", lambda: exchange.step("verify", 5))


def test_terminating_keeps_the_reason(exchange: Exchange) -> None:
    exchange.publish()
    exchange.request()
    exchange.step("terminate", name="lender", reason="no")
    assert exchange.row("negotiations", ident("negotiation"))["reason"] == "no"
    refused("negotiation.illegal-transition", exchange.agree)


def test_offers_and_requests_answer_each_other_until_one_is_accepted(exchange: Exchange) -> None:
    exchange.publish()
    exchange.request()
    exchange.offer(round=2)
    row = exchange.row("negotiations", ident("negotiation"))
    assert (row["state"], row["round"], row["limits"]["uses"]) == ("OFFERED", 2, 2)
    exchange.request(round=3, limits={"uses": 9, "expires": EXPIRES})
    exchange.offer(round=4, limits={"uses": 1, "expires": EXPIRES})
    exchange.step("accept", round=4)
    assert exchange.row("negotiations", ident("negotiation"))["state"] == "ACCEPTED"
    limits = {"uses": 2, "expires": EXPIRES}
    refused("agreement.exceeds-request", lambda: exchange.agree(limits=limits))
    exchange.agree(limits={"uses": 1, "expires": EXPIRES})
    exchange.step("verify")
    exchange.step("finalize", name="lender")
    row = exchange.row("agreements", ident("agreement"))
    assert (row["consumer"], row["provider"]) == (exchange.did("analyst"), exchange.did("lender"))
    assert row["limits"] == {"uses": 1, "expires": EXPIRES}


def test_a_provider_offers_unasked(exchange: Exchange) -> None:
    exchange.publish()
    body = {
        "negotiation": ident("negotiation"),
        "asset": LOANS,
        "version": 1,
        "consumer": "did:key:zStranger",
        "offer": {},
        "limits": {"uses": 1, "expires": EXPIRES},
        "round": 1,
    }
    refused("negotiation.unknown-consumer", lambda: exchange.act("lender", "negotiation.offer", body))
    refused("negotiation.own-asset", lambda: exchange.offer(consumer="lender"))
    refused("negotiation.wrong-provider", lambda: exchange.offer(name="bureau"))
    refused("negotiation.wrong-round", lambda: exchange.offer(round=2))
    exchange.offer()
    refused("negotiation.illegal-transition", exchange.agree)
    refused("negotiation.illegal-transition", lambda: exchange.offer(round=2))
    exchange.step("accept", round=1)
    refused("negotiation.illegal-transition", lambda: exchange.step("terminate", reason="late"))
    exchange.agree(limits={"uses": 2, "expires": EXPIRES})


def test_an_answer_to_another_round_than_the_last_is_refused(exchange: Exchange) -> None:
    exchange.publish()
    exchange.request()
    refused("negotiation.exists", exchange.request)
    refused("negotiation.wrong-round", lambda: exchange.offer(round=3))
    exchange.offer(round=2)
    refused("negotiation.wrong-round", lambda: exchange.step("accept", round=1))
    refused("negotiation.wrong-round", lambda: exchange.request(round=2))
    exchange.request(round=3)
    exchange.offer(round=4)
    refused("negotiation.wrong-round", lambda: exchange.step("accept", round=2))
    assert exchange.row("negotiations", ident("negotiation"))["state"] == "OFFERED"


def test_of_two_counter_offers_to_one_request_the_first_counts(exchange: Exchange) -> None:
    exchange.publish()
    exchange.request()
    exchange.offer(round=2, limits={"uses": 1, "expires": EXPIRES})
    refused("negotiation.illegal-transition", lambda: exchange.offer(round=2))
    assert exchange.row("negotiations", ident("negotiation"))["limits"]["uses"] == 1


def test_a_counter_offer_keeps_asset_and_sides(exchange: Exchange) -> None:
    exchange.publish()
    exchange.publish(asset="lender/cards")
    exchange.request()
    refused("negotiation.wrong-asset", lambda: exchange.offer(round=2, asset="lender/cards"))
    refused("negotiation.wrong-consumer", lambda: exchange.offer(round=2, consumer="bureau"))
    expired = {"uses": 1, "expires": format_time(START)}
    refused("agreement.expired", lambda: exchange.offer(round=2, limits=expired))
    exchange.publish(version=2)
    refused("asset.version-not-current", lambda: exchange.offer(round=2))
    exchange.offer(round=2, version=2)
    refused("entry.not-permitted", lambda: exchange.request(name="bureau", round=3, version=2))
    assert exchange.row("negotiations", ident("negotiation"))["version"] == 2


def test_every_pair_outside_the_negotiation_table_is_refused() -> None:
    for state, event, role in product((None, *NegotiationState), NegotiationEvent, Role):
        if (state, event, role) in negotiation.TRANSITIONS:
            assert negotiation.next_state(state, event, role) == negotiation.TRANSITIONS[state, event, role]
        else:
            with pytest.raises(Refusal):
                negotiation.next_state(state, event, role)
    finals = {NegotiationState.FINALIZED, NegotiationState.TERMINATED}
    assert finals.isdisjoint(state for state, _, _ in negotiation.TRANSITIONS)


def test_every_pair_outside_the_job_table_is_refused() -> None:
    for state, event in product(JobState, JobEvent):
        if (state, event) in jobs.TRANSITIONS:
            assert jobs.next_state(state, event) == jobs.TRANSITIONS[state, event]
        else:
            with pytest.raises(Refusal):
                jobs.next_state(state, event)
    assert {JobState.COMPLETED, JobState.FAILED}.isdisjoint(state for state, _ in jobs.TRANSITIONS)


def test_only_the_provider_revokes_and_only_once(exchange: Exchange) -> None:
    exchange.agreed(1, "lender", LOANS)
    body = {"agreement": ident("agreement"), "reason": "breach"}
    refused("entry.not-permitted", lambda: exchange.act("analyst", "agreement.revoke", body))
    exchange.act("lender", "agreement.revoke", body)
    assert exchange.row("agreements", ident("agreement"))["status"] == "revoked"
    refused("agreement.revoked", lambda: exchange.act("lender", "agreement.revoke", body))
    unknown = {"agreement": ident("agreement", 5), "reason": "x"}
    refused("agreement.unknown", lambda: exchange.act("lender", "agreement.revoke", unknown))


def test_a_job_runs_when_every_provider_has_started_it(exchange: Exchange) -> None:
    exchange.agreed(1, "lender", LOANS)
    exchange.agreed(2, "bureau", TAXES)
    exchange.submit()
    exchange.start("lender", 1)
    assert exchange.row("jobs", ident("job"))["state"] == "SUBMITTED"
    refused("job.already-started", lambda: exchange.start("lender", 1))
    exchange.start("bureau", 2)
    row = exchange.row("jobs", ident("job"))
    assert row["state"] == "RUNNING"
    assert row["starts"] == {
        exchange.did("lender"): [ident("agreement", 1)],
        exchange.did("bureau"): [ident("agreement", 2)],
    }
    assert exchange.row("agreements", ident("agreement", 1))["uses"] == 1


def test_uses_are_spent_to_the_last_and_never_beyond(exchange: Exchange) -> None:
    exchange.agreed(1, "lender", LOANS)
    for number in (1, 2, 3):
        exchange.submit(number, agreements=[ident("agreement")])
        exchange.start("lender", 1, number=number)
    exchange.submit(4, agreements=[ident("agreement")])
    refused("agreement.uses-exhausted", lambda: exchange.start("lender", 1, number=4))
    assert exchange.row("agreements", ident("agreement"))["uses"] == 3


def test_starts_that_are_refused(exchange: Exchange) -> None:
    exchange.agreed(1, "lender", LOANS)
    exchange.agreed(2, "bureau", TAXES)
    exchange.agreed(3, "lender", "lender/cards")
    exchange.submit()
    refused("job.unknown", lambda: exchange.start("lender", 1, number=9))
    refused("job.wrong-spec", lambda: exchange.start("lender", 1, spec="cd" * 32))
    refused("job.no-agreement", lambda: exchange.start("lender"))
    refused("agreement.unknown", lambda: exchange.start("lender", 9))
    refused("job.agreement-not-listed", lambda: exchange.start("lender", 3))
    refused("entry.not-permitted", lambda: exchange.start("lender", 2))
    both = [ident("agreement", 1), ident("agreement", 3)]
    exchange.submit(2, agreements=both)
    refused("job.agreements-missing", lambda: exchange.start("lender", 1, number=2))
    exchange.start("lender", 1, 3, number=2)


def test_a_party_that_only_computes_starts_with_no_agreement(exchange: Exchange) -> None:
    exchange.agreed(1, "lender", LOANS)
    exchange.submit(agreements=[ident("agreement", 1)])
    exchange.start("lender", 1)
    assert exchange.row("jobs", ident("job"))["state"] == "SUBMITTED"
    refused("job.no-agreement", lambda: exchange.start("analyst"))
    refused("job.no-agreement", lambda: exchange.start("regulator"))
    exchange.start("bureau")
    row = exchange.row("jobs", ident("job"))
    assert (row["state"], row["starts"][exchange.did("bureau")]) == ("RUNNING", [])
    refused("job.already-started", lambda: exchange.start("bureau"))


def test_an_agreement_is_for_its_consumer(exchange: Exchange) -> None:
    exchange.agreed(1, "lender", LOANS)
    body = {
        "job": ident("job"),
        "spec": HEX,
        "purpose": "p",
        "agreements": [ident("agreement")],
        "parties": [exchange.did("lender")],
        "steps": [{"id": "s", "component": "c", "version": "1", "parties": [exchange.did("lender")]}],
    }
    exchange.act("bureau", "job.submit", body)
    refused("agreement.wrong-consumer", lambda: exchange.start("lender", 1))


@pytest.mark.parametrize("how", ["revoked", "expired", "withdrawn"])
def test_no_start_on_an_agreement_that_ended(exchange: Exchange, how: str) -> None:
    exchange.agreed(1, "lender", LOANS)
    exchange.submit(agreements=[ident("agreement")])
    if how == "revoked":
        exchange.act("lender", "agreement.revoke", {"agreement": ident("agreement"), "reason": "x"})
    elif how == "withdrawn":
        exchange.act("lender", "asset.withdraw", {"asset": LOANS, "reason": "x"})
    else:
        exchange.now = START + timedelta(days=30)
    code = "asset.withdrawn" if how == "withdrawn" else f"agreement.{how}"
    refused(code, lambda: exchange.start("lender", 1))
    assert exchange.row("agreements", ident("agreement"))["uses"] == 0


def test_jobs_that_cannot_be_submitted(exchange: Exchange) -> None:
    refused("job.unknown-party", lambda: exchange.submit(parties=["did:key:zNobody"]))
    step = {"id": "s", "component": "c", "version": 1, "parties": [exchange.did("regulator")]}
    refused("job.unknown-party", lambda: exchange.submit(steps=[step]))
    own = {**step, "parties": [exchange.did("lender")]}
    twin = {**own, "component": "other"}
    refused("job.duplicate-step", lambda: exchange.submit(steps=[own, twin]))
    exchange.submit()
    refused("job.exists", exchange.submit)


def test_an_uncovered_job_is_on_record_with_its_refusals(exchange: Exchange) -> None:
    exchange.submit(agreements=[])
    refused("entry.not-permitted", lambda: exchange.refuse("regulator"))
    refused("job.wrong-spec", lambda: exchange.refuse("lender", spec="cd" * 32))
    exchange.refuse("lender")
    exchange.refuse("bureau")
    refused("job.already-refused", lambda: exchange.refuse("lender"))
    row = exchange.row("jobs", ident("job"))
    assert row["state"] == "REFUSED"
    assert row["refusals"][exchange.did("lender")] == {"code": "policy.purpose", "reasons": ["not covered"]}
    assert set(row["refusals"]) == {exchange.did("lender"), exchange.did("bureau")}


def test_a_provider_that_is_no_party_may_refuse(exchange: Exchange) -> None:
    exchange.agreed(1, "lender", LOANS)
    step = {"id": "s", "component": "c", "version": 1, "parties": [exchange.did("bureau")]}
    exchange.submit(agreements=[ident("agreement")], parties=[exchange.did("bureau")], steps=[step])
    exchange.refuse("lender")
    refused("job.illegal-transition", lambda: exchange.start("lender", 1))


def test_a_running_job_is_not_refused(exchange: Exchange) -> None:
    exchange.running()
    refused("job.illegal-transition", lambda: exchange.refuse("lender"))


def test_receipts_are_per_party_step_and_attempt(exchange: Exchange) -> None:
    exchange.running()
    first = exchange.receipt("lender")
    refused("receipt.duplicate", lambda: exchange.receipt("lender"))
    exchange.receipt("bureau")
    refused("entry.not-permitted", lambda: exchange.receipt("analyst"))
    refused("job.unknown-step", lambda: exchange.receipt("lender", "nowhere"))
    assert exchange.row("jobs", ident("job"))["receipts"]["match"][exchange.did("lender")] == first.txid
    second = exchange.receipt("lender", attempt=2)
    assert exchange.row("jobs", ident("job"))["receipts"]["match"][exchange.did("lender")] == second.txid


def test_no_receipt_before_the_job_runs(exchange: Exchange) -> None:
    exchange.submit()
    refused("job.illegal-transition", lambda: exchange.receipt("lender"))


def test_a_release_follows_its_receipt_once(exchange: Exchange) -> None:
    exchange.running()
    refused("job.release-without-receipt", lambda: exchange.release("lender"))
    exchange.receipt("lender")
    refused("job.unknown-party", lambda: exchange.release("lender", recipient="did:key:zNobody"))
    exchange.release("lender")
    refused("job.already-released", lambda: exchange.release("lender"))
    row = exchange.row("jobs", ident("job"))
    assert row["releases"] == {"match": {exchange.did("lender"): HEX}}
    assert row["recipients"] == {"match": {exchange.did("lender"): exchange.did("analyst")}}


def test_a_job_completes_with_all_receipts(exchange: Exchange) -> None:
    exchange.running()
    done = {"job": ident("job"), "output": HEX}
    exchange.receipt("lender")
    exchange.receipt("bureau")
    refused("job.receipts-missing", lambda: exchange.act("analyst", "job.complete", done))
    exchange.receipt("analyst", "report", inputs=[])
    refused("entry.not-permitted", lambda: exchange.act("lender", "job.complete", done))
    exchange.act("analyst", "job.complete", done)
    row = exchange.row("jobs", ident("job"))
    assert (row["state"], row["output"]) == ("COMPLETED", HEX)
    refused("job.illegal-transition", lambda: exchange.act("analyst", "job.complete", done))


def test_any_party_can_fail_a_job(exchange: Exchange) -> None:
    exchange.running()
    body = {"job": ident("job"), "step": "match", "code": "mpc.abort", "reason": "a check failed"}
    refused("entry.not-permitted", lambda: exchange.act("regulator", "job.fail", body))
    exchange.act("bureau", "job.fail", body)
    assert exchange.row("jobs", ident("job"))["failure"]["party"] == exchange.did("bureau")
    again = {**body, "step": None}
    refused("job.illegal-transition", lambda: exchange.act("bureau", "job.fail", again))


def test_a_column_may_have_levels_of_single_participants(exchange: Exchange) -> None:
    column = {"name": "id", "type": "string", "role": "identifier", "sensitivity": 3, "control": "AFTER_JOIN"}
    did = exchange.did("analyst")
    exchange.publish(schema=[{**column, "controls": {did: "ENCRYPTED_ONLY"}}])
    assert exchange.row("assets", LOANS)["schema"][0]["controls"] == {did: "ENCRYPTED_ONLY"}
    for wrong in (
        {},
        {"analyst": "PLAINTEXT"},
        {did: 1},
        {did: ""},
        [did],
        {f"did:key:z{i}": "A" for i in range(65)},
    ):
        odd = [{**column, "controls": wrong}]
        refused("entry.malformed-body", lambda odd=odd: exchange.publish(version=2, schema=odd))


@pytest.mark.parametrize("kind", sorted(RULES))
def test_no_rule_takes_an_empty_or_odd_body(exchange: Exchange, kind: str) -> None:
    if kind == "member.ack":
        return
    refused("entry.malformed-body", lambda: exchange.act("lender", kind, {}))
    refused(
        "entry.malformed-body", lambda: exchange.act("lender", kind, {"job": 1, "asset": [], "odd": None})
    )
