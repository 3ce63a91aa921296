"""Budgets on the ledger: spending, exhausting, giving back, refilling; stops; held releases."""

from __future__ import annotations

import math
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import opendp.prelude as dp
import pytest

from ledger.canonical import MAX_INTEGER
from ledger.entries import Entry, new_id
from ledger.errors import Refusal
from ledger.rules import budgets
from ledger.testing import START, Stage
from ledger.times import format_time

HEX = "ab" * 32
EXPIRES = format_time(START + timedelta(days=30))
LOANS = "lender/loans"
ONE_MICRO = [1] * len(budgets.ORDERS)


def ident(kind: str, number: int = 1) -> str:
    return new_id(kind, lambda: START, lambda n: bytes([number] * n))


def refused(code: str, act: Callable[[], object]) -> None:
    with pytest.raises(Refusal) as caught:
        act()
    assert caught.value.code == code, str(caught.value)


def gaussian(rho_micro: int) -> list[int]:
    """The loss of a Gaussian mechanism of ``rho``, zero-concentrated, rounded up."""
    return [-(-order * rho_micro // 4) for order in budgets.ORDERS]


class Market(Stage):
    """Two owners whose assets an analyst uses under agreements with limits."""

    def __init__(self) -> None:
        super().__init__("lender", "bureau", "analyst", "regulator")

    def publish(self, asset: str = LOANS, version: int = 1, **extra: Any) -> Entry:
        column = {"name": "id", "type": "text", "role": "identifier", "sensitivity": 1, "control": "X"}
        body = {"asset": asset, "version": version, "kind": "table", "title": "T", "description": ""}
        body |= {"keywords": [], "schema": [column], "rows": 9, "root": HEX, "offer": {}, "profile": HEX}
        return self.act(asset.split("/")[0], "asset.publish", {**body, "distribution": [], **extra})

    def agree(self, number: int, asset: str = LOANS, asked: Any = None, **limits: Any) -> None:
        owner, negotiation = asset.split("/")[0], ident("negotiation", number)
        granted = {"uses": 9, "expires": EXPIRES, **limits}
        body = {"negotiation": negotiation, "asset": asset, "offer": {}, "limits": asked or granted}
        version = self.state.rows("assets")[asset]["version"]
        self.act("analyst", "negotiation.request", {**body, "version": version, "provider": self.did(owner)})
        agreement = {"id": ident("agreement", number), "policy": {}, "limits": granted}
        approval = {"approver": "ann", "role": "steward", "decision": "approve", "reason": "fine"}
        body = {"negotiation": negotiation, "agreement": agreement, "approvals": [approval]}
        self.act(owner, "negotiation.agree", body)
        self.act("analyst", "negotiation.verify", {"negotiation": negotiation})
        self.act(owner, "negotiation.finalize", {"negotiation": negotiation})

    def submit(self, number: int, *agreements: int) -> None:
        parties = [self.did("lender"), self.did("bureau")]
        body = {"job": ident("job", number), "spec": HEX, "purpose": "p", "parties": parties}
        steps = [{"id": "s", "component": "c", "version": 1, "parties": parties}]
        agreed = [ident("agreement", one) for one in agreements]
        self.act("analyst", "job.submit", {**body, "agreements": agreed, "steps": steps})
        if self.did("bureau") not in {
            (self.state.get("agreements", one) or {}).get("provider") for one in agreed
        }:
            self.act("bureau", "job.start", {"job": ident("job", number), "spec": HEX, "agreements": []})

    def start(self, number: int, *agreements: int, by: str = "lender", rdp: Any = None, **more: Any) -> Entry:
        agreed = [ident("agreement", one) for one in agreements]
        body = {"job": ident("job", number), "spec": HEX, "agreements": agreed, **more}
        if rdp is not None:
            body["spends"] = [{"agreement": agreed[0], "rdp": rdp}]
        return self.act(by, "job.start", body)

    def job(self, number: int, *agreements: int, **more: Any) -> Entry:
        self.submit(number, *agreements)
        return self.start(number, *agreements, **more)

    def end(self, kind: str, number: int = 1, by: str = "lender", **more: Any) -> Entry:
        return self.act(by, kind, {"job": ident("job", number), **more})

    def receipt(self, by: str = "lender", number: int = 1) -> Entry:
        body = {"job": ident("job", number), "step": "s", "attempt": 1, "role": "r", "inputs": []}
        body |= {
            "protocol": {"name": "p", "version": 1},
            "params": HEX,
            "code": HEX,
            "engine": "parley 0.1.0",
            "output": HEX,
        }
        body |= {"bytes_sent": 0, "bytes_received": 0, "rounds": 0, "duration_ms": 0, "peers": []}
        return self.act(by, "receipt.step", body)

    def release(self, by: str = "lender", **more: Any) -> Entry:
        body = {"job": ident("job"), "step": "s", "recipient": self.did("analyst"), "digest": HEX}
        return self.act(by, "job.release", {**body, "cohort": 10, **more})

    def row(self, table: str, key: str) -> Any:
        return self.state.get(table, key)

    def agreement(self, number: int = 1) -> Any:
        return self.row("agreements", ident("agreement", number))

    def state_of(self, number: int = 1) -> str:
        return str(self.row("jobs", ident("job", number))["state"])


@pytest.fixture
def market() -> Market:
    stage = Market()
    stage.publish()
    stage.publish("bureau/taxes")
    return stage


# conversion


@pytest.mark.parametrize("rho_micro", [10, 1_000, 18_000, 250_000, 2_000_000])
@pytest.mark.parametrize("exponent", [3, 6, 9])
def test_the_conversion_is_never_below_the_formula_and_near_it(rho_micro: int, exponent: int) -> None:
    rho, log = rho_micro / 1e6, exponent * math.log(10)
    best = rho + 2 * math.sqrt(rho * log)  # the minimum of rho a + log / (a - 1) over all real orders
    got = budgets.epsilon(gaussian(rho_micro), exponent) / 1e6
    assert best <= got <= 1.12 * best
    fixed = min(rho * order / 4 + log / (order / 4 - 1) for order in budgets.ORDERS)
    assert fixed <= got <= fixed + 5e-6


@pytest.mark.parametrize("rho_micro", [1_000, 18_000, 250_000, 2_000_000])
def test_the_conversion_is_never_below_the_one_of_opendp(rho_micro: int) -> None:
    dp.enable_features("contrib")
    space = dp.atom_domain(T="i64"), dp.absolute_distance(T=float)
    scale = 1 / math.sqrt(2 * rho_micro / 1e6)
    curve = dp.c.make_zCDP_to_approxDP(dp.m.make_gaussian(*space, scale=scale)).map(1.0)
    tight = curve.epsilon(1e-6)
    got = budgets.epsilon(gaussian(rho_micro), 6) / 1e6
    assert tight <= got <= 1.35 * tight


def test_losses_add_and_nothing_is_epsilon_nothing() -> None:
    one, two = gaussian(10_000), gaussian(20_000)
    assert [2 * loss for loss in one] == two
    assert budgets.epsilon([0] * len(budgets.ORDERS), 6) == 0
    assert budgets.epsilon(two, 6) < 2 * budgets.epsilon(one, 6)


# spending


def test_epsilon_is_spent_to_the_limit_and_the_job_beyond_is_refused(market: Market) -> None:
    loss = gaussian(10_000)
    twice = budgets.epsilon([2 * one for one in loss], 6)
    market.agree(1, epsilon_micro=twice, delta_exponent=6)
    market.job(1, 1, rdp=loss)
    market.job(2, 1, rdp=loss)
    before = market.state
    market.submit(3, 1)
    refused("agreement.epsilon-exhausted", lambda: market.start(3, 1, rdp=ONE_MICRO))
    assert market.agreement() == before.get("agreements", ident("agreement"))
    assert market.agreement()["rdp"] == gaussian(20_000)
    market.start(3, 1, rdp=[0] * len(budgets.ORDERS))


def test_of_two_jobs_racing_for_the_last_unit_one_is_refused(market: Market) -> None:
    market.agree(1, uses=1, points=50, price=50, rate={"jobs": 1, "seconds": 60})
    market.submit(1, 1)
    market.submit(2, 1)
    market.start(1, 1)
    before = market.state
    refused("agreement.uses-exhausted", lambda: market.start(2, 1))
    assert market.state is before


def test_all_agreements_of_a_start_are_charged_or_none(market: Market) -> None:
    market.publish("lender/cards")
    market.agree(1)
    market.agree(2, "lender/cards", uses=1)
    market.job(1, 2)
    market.submit(2, 1, 2)
    before = market.state
    refused("agreement.uses-exhausted", lambda: market.start(2, 1, 2))
    assert market.state is before


def test_points_are_charged_by_job(market: Market) -> None:
    market.agree(1, points=25, price=10)
    market.job(1, 1)
    market.job(2, 1)
    market.submit(3, 1)
    refused("agreement.points-exhausted", lambda: market.start(3, 1))
    assert market.agreement()["points"] == 20


def test_the_rate_counts_the_starts_of_a_sliding_span(market: Market) -> None:
    market.agree(1, rate={"jobs": 2, "seconds": 60})
    market.job(1, 1)
    market.now += timedelta(seconds=30)
    market.job(2, 1)
    market.submit(3, 1)
    refused("agreement.rate-exceeded", lambda: market.start(3, 1))
    market.now += timedelta(seconds=30)
    market.start(3, 1)
    assert len(market.agreement()["times"]) == 2


def test_an_exact_job_is_refused_where_epsilon_is_limited(market: Market) -> None:
    market.agree(1, epsilon_micro=10**6, delta_exponent=6)
    market.submit(1, 1)
    refused("budget.spend-missing", lambda: market.start(1, 1))


@pytest.mark.parametrize(
    ("code", "rdp"),
    [
        ("entry.malformed-body", [-1] * len(budgets.ORDERS)),
        ("entry.malformed-body", [True] * len(budgets.ORDERS)),
        ("entry.malformed-body", [1] * (len(budgets.ORDERS) - 1)),
        ("entry.malformed-body", ["1"] * len(budgets.ORDERS)),
        ("budget.overflow", [MAX_INTEGER] * len(budgets.ORDERS)),
    ],
)
def test_negative_overflowing_and_odd_losses_are_refused(market: Market, code: str, rdp: Any) -> None:
    market.agree(1)
    market.job(1, 1, rdp=ONE_MICRO)
    market.submit(2, 1)
    before = market.state
    refused(code, lambda: market.start(2, 1, rdp=rdp))
    assert market.state is before


def test_a_spend_is_of_a_started_agreement_and_stands_once(market: Market) -> None:
    market.agree(1)
    market.submit(1, 1)
    foreign = [{"agreement": ident("agreement", 9), "rdp": ONE_MICRO}]
    refused("budget.spend-unexpected", lambda: market.start(1, 1, spends=foreign))
    twice = [{"agreement": ident("agreement"), "rdp": [n] * len(budgets.ORDERS)} for n in (1, 2)]
    refused("entry.malformed-body", lambda: market.start(1, 1, spends=twice))


@pytest.mark.parametrize(
    "limits",
    [
        {"epsilon_micro": 1},
        {"delta_exponent": 6},
        {"epsilon_micro": 0, "delta_exponent": 6},
        {"epsilon_micro": -5, "delta_exponent": 6},
        {"epsilon_micro": 1, "delta_exponent": 31},
        {"points": 5},
        {"points": 5, "price": 0},
        {"rate": {"jobs": 0, "seconds": 5}},
        {"rate": {"jobs": 1025, "seconds": 5}},
        {"rate": {"jobs": 1}},
        {"rate": 3},
        {"surprise": 1},
    ],
    ids=str,
)
def test_limits_have_their_shape(market: Market, limits: dict[str, Any]) -> None:
    refused("entry.malformed-body", lambda: market.agree(1, **limits))


WIDE = {"uses": 9, "expires": EXPIRES, "epsilon_micro": 10, "delta_exponent": 6, "points": 9, "price": 2}
WIDE |= {"rate": {"jobs": 3, "seconds": 60}}


@pytest.mark.parametrize(
    "change",
    [
        {"uses": 10},
        {"expires": format_time(START + timedelta(days=31))},
        {"epsilon_micro": 11},
        {"delta_exponent": 5},
        {"points": 10},
        {"price": 1},
        {"rate": {"jobs": 4, "seconds": 60}},
        {"rate": {"jobs": 3, "seconds": 59}},
        *({name: None} for name in ("epsilon_micro", "points", "price", "rate")),
    ],
    ids=str,
)
def test_an_agreement_limits_no_less_than_what_was_asked_for(market: Market, change: dict[str, Any]) -> None:
    gone = [name for name, value in change.items() if value is None]
    gone += [{"epsilon_micro": "delta_exponent"}.get(name, name) for name in gone]
    wider = {name: value for name, value in {**WIDE, **change}.items() if name not in gone}
    assert not budgets.is_within(wider, WIDE)
    assert budgets.is_within(WIDE, WIDE)
    if "price" in wider:
        missing = {name: wider[name] for name in wider if name not in ("uses", "expires")}
        expires, uses = wider["expires"], wider["uses"]
        refused(
            "agreement.exceeds-request",
            lambda: market.agree(1, asked=WIDE, **{**missing, "expires": expires, "uses": uses}),
        )


# of an asset, over all its agreements


def test_an_assets_budget_counts_over_all_agreements(market: Market) -> None:
    market.publish(version=2, budget={"uses": 2, "epsilon_micro": 10**7, "delta_exponent": 6})
    market.agree(1)
    market.agree(2)
    market.submit(1, 1)
    refused("budget.spend-missing", lambda: market.start(1, 1))
    market.start(1, 1, rdp=ONE_MICRO)
    market.job(2, 2, rdp=ONE_MICRO)
    market.submit(3, 1)
    refused("asset.uses-exhausted", lambda: market.start(3, 1, rdp=ONE_MICRO))
    assert market.row("budgets", LOANS)["rdp"] == [2] * len(budgets.ORDERS)
    assert "budget" not in market.row("assets", LOANS)


def test_what_was_spent_before_an_asset_had_a_budget_counts(market: Market) -> None:
    market.agree(1)
    market.job(1, 1, rdp=gaussian(10_000))
    allowed = budgets.epsilon(gaussian(15_000), 6)
    body = {"asset": LOANS, "budget": {"epsilon_micro": allowed, "delta_exponent": 6}, "reason": "first"}
    market.act("lender", "asset.budget", body)
    market.submit(2, 1)
    refused("asset.epsilon-exhausted", lambda: market.start(2, 1, rdp=gaussian(10_000)))


def test_a_budget_is_refilled_by_the_owner_alone_and_never_by_a_new_version(market: Market) -> None:
    market.publish(version=2, budget={"uses": 1})
    market.agree(1)
    market.job(1, 1)
    refused("budget.wider", lambda: market.publish(version=3, budget={"uses": 2}))
    refused("budget.wider", lambda: market.publish(version=3, budget={"rate": {"jobs": 1, "seconds": 1}}))
    market.publish(version=3)
    market.submit(2, 1)
    refused("asset.uses-exhausted", lambda: market.start(2, 1))
    body = {"asset": LOANS, "budget": {"uses": 2}, "reason": "another year"}
    refused("entry.not-permitted", lambda: market.act("bureau", "asset.budget", body))
    refused("asset.unknown", lambda: market.act("lender", "asset.budget", {**body, "asset": "lender/no"}))
    refused("entry.malformed-body", lambda: market.act("lender", "asset.budget", {**body, "budget": {}}))
    refused("entry.malformed-body", lambda: market.act("lender", "asset.budget", {**body, "reason": ""}))
    market.act("lender", "asset.budget", body)
    market.start(2, 1)
    row = market.row("budgets", LOANS)
    assert (row["uses"], row["changes"], row["reason"]) == (2, 1, "another year")


# what did not run is given back


def test_a_job_that_another_owner_refuses_gives_back_what_it_spent(market: Market) -> None:
    market.agree(1, uses=1, points=10, price=10)
    market.agree(2, "bureau/taxes")
    market.submit(1, 1, 2)
    market.start(1, 1, rdp=ONE_MICRO)
    assert market.agreement()["uses"] == 1
    refusal = {"spec": HEX, "code": "policy.purpose", "reasons": ["no"]}
    market.end("job.refuse", by="bureau", **refusal)
    row = market.agreement()
    assert (row["uses"], row["points"], set(row["rdp"]), row["open"]) == (0, 0, {0}, [])
    assert market.row("budgets", LOANS)["uses"] == 0
    market.end("job.refuse", **refusal)
    assert market.agreement()["uses"] == 0
    market.job(2, 1)
    assert market.agreement()["uses"] == 1


def test_a_job_that_has_run_gives_nothing_back(market: Market) -> None:
    market.agree(1, uses=1)
    market.job(1, 1)
    market.end("job.fail", step=None, code="x", reason="y")
    assert (market.agreement()["uses"], market.agreement()["open"]) == (1, [])


# stops


@pytest.mark.parametrize("runs", [True, False])
def test_a_revoked_agreement_ends_its_jobs(market: Market, runs: bool) -> None:
    market.agree(1)
    market.agree(2, "bureau/taxes")
    market.submit(1, 1, 2)
    market.start(1, 1)
    if runs:
        market.start(1, 2, by="bureau")
    market.act("lender", "agreement.revoke", {"agreement": ident("agreement"), "reason": "breach"})
    assert market.state_of() == "REVOKED"
    assert market.row("jobs", ident("job"))["stop"]["cause"] == "revoked"
    assert market.agreement()["uses"] == int(runs)
    assert [market.agreement(number).get("open", []) for number in (1, 2)] == [[], []]
    refused("job.illegal-transition", lambda: market.receipt("bureau"))


def test_a_withdrawn_asset_ends_its_jobs_under_every_agreement(market: Market) -> None:
    market.agree(1)
    market.agree(2)
    market.job(1, 1)
    market.job(2, 2)
    market.act("lender", "asset.withdraw", {"asset": LOANS, "reason": "wrong data"})
    assert [market.state_of(number) for number in (1, 2)] == ["REVOKED", "REVOKED"]
    assert market.agreement()["status"] == "final"


@pytest.mark.parametrize("who", ["analyst", "lender", "bureau"])
def test_a_job_is_stopped_by_who_asked_and_by_who_takes_part(market: Market, who: str) -> None:
    market.agree(1)
    market.job(1, 1)
    body = {"cause": "stopped", "reason": "a mistake"}
    refused("entry.not-permitted", lambda: market.end("job.stop", by="regulator", **body))
    market.end("job.stop", by=who, **body)
    assert market.state_of() == "ABORTED"
    refused("job.illegal-transition", lambda: market.end("job.stop", by=who, **body))
    refused("job.unknown", lambda: market.end("job.stop", 5, by=who, **body))


def test_a_job_expires_only_after_its_agreement(market: Market) -> None:
    market.agree(1)
    market.job(1, 1)
    body = {"cause": "expired", "reason": "over"}
    refused("agreement.not-expired", lambda: market.end("job.stop", **body))
    market.receipt()
    market.now = START + timedelta(days=30)
    refused("agreement.expired", market.release)
    market.end("job.stop", **body)
    assert market.state_of() == "EXPIRED"


def test_parties_of_a_stopped_job_say_that_their_part_has_ended(market: Market) -> None:
    market.agree(1)
    market.job(1, 1)
    halt = {"step": "s", "after_ms": 12}
    refused("job.illegal-transition", lambda: market.end("receipt.halt", **halt))
    market.end("job.stop", cause="stopped", reason="x")
    refused("entry.not-permitted", lambda: market.end("receipt.halt", by="regulator", **halt))
    market.end("receipt.halt", **halt)
    refused("receipt.duplicate", lambda: market.end("receipt.halt", **halt))
    assert market.row("jobs", ident("job"))["halts"][market.did("lender")]["after_ms"] == 12


# held releases


REVIEW = {"reviewer": "bob", "role": "approver", "reason": "fine"}


def test_what_is_held_is_released_by_a_persons_word_alone(market: Market) -> None:
    market.agree(1)
    market.job(1, 1)
    refused("job.release-without-receipt", lambda: market.end("job.hold", step="s"))
    market.receipt()
    market.receipt("bureau")
    refused("job.release-review", lambda: market.release(review=REVIEW))
    market.end("job.hold", step="s")
    assert market.state_of() == "RELEASE_REVIEW"
    refused("job.already-held", lambda: market.end("job.hold", step="s"))
    market.end("job.hold", by="bureau", step="s")
    done = {"output": HEX}
    refused("job.illegal-transition", lambda: market.end("job.complete", by="analyst", **done))
    refused("job.release-review", market.release)
    market.release(review=REVIEW)
    assert market.state_of() == "RELEASE_REVIEW"
    market.release("bureau", review=REVIEW)
    assert market.state_of() == "RUNNING"
    market.end("job.complete", by="analyst", **done)


def test_a_held_release_can_be_withheld_or_revoked(market: Market) -> None:
    market.agree(1)
    for number, kind in ((1, "job.fail"), (2, "job.stop")):
        market.job(number, 1)
        market.receipt(number=number)
        market.end("job.hold", number, step="s")
        more = {"step": "s", "code": "release.withheld", "reason": "too telling"}
        more = more if kind == "job.fail" else {"cause": "stopped", "reason": "x"}
        market.end(kind, number, **more)
        assert market.state_of(number) == ("FAILED" if kind == "job.fail" else "ABORTED")
