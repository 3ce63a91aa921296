"""The compatibility kit's scenarios of metadata, catalog and contract negotiation, against running nodes.

A script is what the kit's diagram shows, in order: ``K:`` is a message by the kit, ``C:`` one by the
connector under test, ``K!`` one by the kit that must be turned away and change nothing. The kit is a member:
before a ``K:`` message it signs the ledger entry, and it sends each twice. What the connector sends is
compared with its own entry on the kit's copy of the ledger.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any

import pytest

from exchange.dataspace.testing import Kit, Stand, on_the_wire, terms_of
from exchange.dataspace.vocabulary import CONTEXT
from ledger.entries import new_id
from ledger.rules.negotiation import TRANSITIONS, NegotiationEvent, NegotiationState, Role
from ledger.times import system_clock
from policies import terms

pytestmark = pytest.mark.xdist_group("dataspace")

PROVIDER = {
    "CN:01-01": "K:request C:offer K:terminate",
    "CN:01-02": "K:request C:offer K:counter C:terminate",
    "CN:01-03": "K:request C:offer K:accept C:agree K:verify C:finalize",
    "CN:01-04": "K:request C:agree K:verify C:finalize",
    "CN:02-01": "K:request C:terminate",
    "CN:02-02": "K:request K:terminate",
    "CN:02-03": "K:request C:agree K:terminate",
    "CN:02-04": "K:request C:offer K:terminate",
    "CN:02-05": "K:request C:offer C:terminate",
    "CN:02-06": "K:request C:offer K:accept C:terminate",
    "CN:02-07": "K:request C:agree withdraw K:verify C:terminate",
    "CN:03-01": "K:request C:agree K:verify C:finalize K!terminate",
    "CN:03-02": "K:request C:offer K!verify",
    "CN:03-03": "K:request C:offer K:accept K!verify",
    "CN:03-04": "K:request C:offer K:counter K!counter",
}
CONSUMER = {
    "CN_C:01-01": "C:request K:offer C:accept K:agree C:verify K:finalize",
    "CN_C:01-02": "C:request K:offer C:counter K:terminate",
    "CN_C:01-03": "C:request K:offer C:terminate",
    "CN_C:01-04": "C:request K:agree C:verify K:finalize",
    "CN_C:02-01": "C:request K:terminate",
    "CN_C:02-02": "C:request C:terminate",
    "CN_C:02-03": "C:request K:agree-less C:terminate",
    "CN_C:02-04": "C:request K:offer K:terminate",
    "CN_C:02-05": "C:request K:offer C:accept K:terminate",
    "CN_C:02-06": "C:request K:agree C:verify K:terminate",
    "CN_C:03-01": "C:request K!finalize",
    "CN_C:03-02": "C:request K:offer K!agree",
    "CN_C:03-03": "C:request K:offer K!finalize",
    "CN_C:03-04": "C:request K:offer C:accept K!finalize",
    "CN_C:03-05": "C:request K:offer C:accept K!offer",
    "CN_C:03-06": "C:request K:offer C:accept busy K:agree K!finalize",
}
PATHS = {
    "request": "request",
    "counter": "request",
    "offer": "offers",
    "accept": "events",
    "agree": "agreement",
    "verify": "agreement/verification",
    "finalize": "events",
    "terminate": "termination",
}
TYPES = {
    "request": "ContractRequestMessage",
    "counter": "ContractRequestMessage",
    "offer": "ContractOfferMessage",
    "accept": "ContractNegotiationEventMessage",
    "agree": "ContractAgreementMessage",
    "verify": "ContractAgreementVerificationMessage",
    "finalize": "ContractNegotiationEventMessage",
    "terminate": "ContractNegotiationTerminationMessage",
}


class Scenario:
    """One negotiation between the kit and a connector under test."""

    def __init__(self, stand: Stand, kit: Kit, name: str) -> None:
        self.stand, self.kit, self.name = stand, kit, name
        is_provider = name in PROVIDER
        self.cut = "lender" if is_provider else "analyst"
        self.did = stand.did(self.cut)
        self.roles = {"C": Role.PROVIDER, "K": Role.CONSUMER}
        if not is_provider:
            self.roles = {"C": Role.CONSUMER, "K": Role.PROVIDER}
        self.provider = self.did if is_provider else kit.did
        self.consumer = kit.did if is_provider else self.did
        self.asset = "lender/loans" if is_provider else "kit/rows"
        if "withdraw" in self.script():
            self.asset = "lender/passing"
        self.pid, self.round, self.uses = "", 0, 4
        self.state: NegotiationState | None = None
        self.told: dict[str, int] = {}
        self.agreement: dict[str, Any] = {}

    def script(self) -> list[str]:
        return {**PROVIDER, **CONSUMER}[self.name].split()

    def run(self) -> None:
        for step in self.script():
            side, mark, act = step[:1], step[1:2], step[2:]
            if step == "withdraw":
                self.client().withdraw(self.asset, "a test")
            elif step == "busy":
                self.kit.busy.add(f"negotiations/{self.pid}/agreement/verification")
            elif mark == "!":
                self.refused(act)
            elif side == "K":
                self.kit_does(act)
            else:
                self.connector_does(act)

    def client(self) -> Any:
        return self.stand.client(self.cut)

    def moved(self, side: str, act: str) -> None:
        event = {"counter": NegotiationEvent.REQUEST, "agree-less": NegotiationEvent.AGREE}.get(act)
        self.state = TRANSITIONS[self.state, event or NegotiationEvent(act), self.roles[side]]
        if act in ("request", "counter", "offer"):
            self.round += 1
        deadline = time.monotonic() + 10
        while side == "C" and self.kit.state(self.did, f"negotiations/{self.pid}") != self.state:
            assert time.monotonic() < deadline, (self.name, act, self.state)
            time.sleep(0.02)

    # the connector under test

    def connector_does(self, act: str) -> None:
        client = self.client()
        if act == "request":
            asked = {
                "asset": self.asset,
                "purpose": "dpv:CustomerSolvencyMonitoring",
                "operations": ["psi/ecdh"],
                "columns": list(terms_of(1).columns),
                "uses": self.uses,
                "expires": "2099-01-01T00:00:00Z",
                "min_cohort": 10,
                "output_types": ["aggregate"],
            }
            self.pid = client.request_agreement(asked)["negotiation"]
        elif act in ("offer", "counter"):
            self.uses -= 1
            client.counter(self.pid, {"uses": self.uses}, as_owner=act == "offer")
        elif act == "accept":
            client.accept(self.pid, self.round)
        elif act == "agree":
            ThreadPoolExecutor(1).submit(client.approve, self.pid, "a test")
        elif act == "terminate" and self.state not in ("VERIFIED", "AGREED"):
            client.reject(self.pid, "a test")
        first = self.state is None
        path = f"negotiations/{PATHS[act]}" if first else f"negotiations/{self.pid}/{PATHS[act]}"
        self.told[path] = self.told.get(path, 0) + 1
        message = self.kit.wait(path, self.pid, self.told[path])
        assert message["@type"] == TYPES[act]
        assert message["@context"] == [CONTEXT]
        self.compare(act, message)
        self.moved("C", act)

    def compare(self, act: str, message: Mapping[str, Any]) -> None:
        """The message says what the entry says."""
        number = self.round + 1 if act in ("request", "offer", "counter") else self.round

        def arrived() -> Mapping[str, Any] | None:
            row = ledger.final("negotiations", self.pid)
            return (
                row
                if row and row.get("round", 1) >= number and (act != "agree" or "agreement" in row)
                else None
            )

        ledger = self.kit.node.services.ledger
        row = ledger.wait_until(arrived, 10, "the entry behind the message")
        if act in ("request", "offer", "counter"):
            offer = {name: value for name, value in message["offer"].items() if name != "@id"}
            assert offer == on_the_wire(row["offer"])
        elif act == "agree":
            assert message["agreement"] == on_the_wire(row["agreement"]["policy"])
            assert message["agreement"]["@id"] == row["agreement"]["id"]

    # the kit

    def kit_does(self, act: str) -> None:
        event = {"counter": "request", "agree-less": "agree"}.get(act, act)
        self.pid = self.pid or new_id("negotiation", system_clock)
        message = self.message(act)
        self.kit.write(f"negotiation.{event}", self.body(act))
        first = self.state is None
        path = f"negotiations/{PATHS[event]}" if first else f"negotiations/{self.pid}/{PATHS[event]}"
        answer = self.kit.post(self.did, path, message)
        assert answer.status_code == (201 if first else 200), (self.name, act, answer.text)
        self.moved("K", act)
        assert answer.json()["state"] == self.state
        again = self.kit.post(self.did, path, message)
        assert (again.status_code, again.json()) == (answer.status_code, answer.json()), (self.name, act)

    def refused(self, act: str) -> None:
        """Nothing is on the ledger behind it, and the process is in no state for it."""
        answer = self.kit.post(self.did, f"negotiations/{self.pid}/{PATHS[act]}", self.message(act))
        assert answer.status_code == 400, (self.name, act, answer.text)
        error = answer.json()
        assert error["@type"] == "ContractNegotiationError"
        assert error["consumerPid"] == error["providerPid"] == self.pid
        assert self.kit.state(self.did, f"negotiations/{self.pid}") == self.state

    def message(self, act: str) -> dict[str, Any]:
        event = {"agree-less": "agree"}.get(act, act)
        content: dict[str, Any] = {"@context": [CONTEXT], "@type": TYPES[event]}
        own = "consumerPid" if self.roles["K"] is Role.CONSUMER else "providerPid"
        if self.state is None:
            content |= {own: self.pid, "callbackAddress": self.kit.base}
        else:
            content |= {"consumerPid": self.pid, "providerPid": self.pid}
        if act in ("request", "counter", "offer"):
            self.uses -= 0 if act == "request" else 1
            number = self.round + 1
            uid = f"{self.asset}:1" if act == "request" else f"{self.pid}:{number}"
            offer = on_the_wire(terms.to_offer(terms_of(self.uses), self.provider, self.consumer, self.asset))
            content["offer"] = {**offer, "@id": f"urn:parley:offer:{uid}"}
        elif event == "agree":
            agreed = terms_of(1 if act == "agree-less" else self.uses)
            policy = terms.to_agreement(
                agreed,
                new_id("agreement", system_clock),
                self.provider,
                self.consumer,
                self.asset,
                timestamp=system_clock(),
            )
            self.agreement = {"id": policy["@id"], "policy": policy, "limits": agreed.limits()}
            content["agreement"] = on_the_wire(policy)
        elif event in ("accept", "finalize"):
            content["eventType"] = "ACCEPTED" if event == "accept" else "FINALIZED"
        elif event == "terminate":
            content |= {"code": "test", "reason": ["a test"]}
        return content

    def body(self, act: str) -> dict[str, Any]:
        body: dict[str, Any] = {"negotiation": self.pid}
        if act in ("request", "counter", "offer"):
            offered = terms_of(self.uses)
            body |= {
                "asset": self.asset,
                "version": 1,
                "offer": terms.to_offer(offered, self.provider, self.consumer, self.asset),
                "limits": offered.limits(),
                "round": self.round + 1,
            }
            body |= {"consumer": self.consumer} if act == "offer" else {"provider": self.provider}
        elif act in ("agree", "agree-less"):
            approval = {"approver": "kit", "role": "steward", "decision": "approve", "reason": "a test"}
            body |= {"agreement": self.agreement, "approvals": [approval]}
        elif act == "accept":
            body["round"] = self.round
        elif act == "terminate":
            body["reason"] = "a test"
        return body


@pytest.fixture(scope="module")
def played(dataspace: tuple[Stand, Kit]) -> Iterator[dict[str, Future[None]]]:
    """All scenarios, played at the same time."""
    pool = ThreadPoolExecutor(8)
    yield {name: pool.submit(Scenario(*dataspace, name).run) for name in (*PROVIDER, *CONSUMER)}
    pool.shutdown(cancel_futures=True)


@pytest.mark.parametrize("name", [*PROVIDER, *CONSUMER])
def test_negotiation(name: str, played: dict[str, Future[None]]) -> None:
    played[name].result(timeout=90)


@pytest.mark.parametrize("name", ["MET:01-01"])
def test_metadata(name: str, dataspace: tuple[Stand, Kit]) -> None:
    running, kit = dataspace
    answer = kit.anonymous(running.did("lender"), "/.well-known/dspace-version")
    assert answer.status_code == 200
    versions = answer.json()["protocolVersions"]
    assert [(one["version"], one["path"], one["binding"]) for one in versions] == [
        ("2025-1", "/2025-1", "HTTPS")
    ]


@pytest.mark.parametrize("name", ["CAT:01-01"])
def test_catalog(name: str, dataspace: tuple[Stand, Kit]) -> None:
    running, kit = dataspace
    asked = {"@context": [CONTEXT], "@type": "CatalogRequestMessage"}
    answer = kit.post(running.did("lender"), "catalog/request", asked)
    assert answer.status_code == 200
    shown = answer.json()
    assert (shown["@type"], shown["participantId"]) == ("Catalog", running.did("lender"))
    assert "lender/loans" in [one["@id"] for one in shown["dataset"]]
    for one in shown["dataset"]:
        check_dataset(one)


@pytest.mark.parametrize("name", ["CAT:01-02"])
def test_dataset(name: str, dataspace: tuple[Stand, Kit]) -> None:
    running, kit = dataspace
    answer = kit.get(running.did("lender"), "catalog/datasets/lender/loans")
    assert answer.status_code == 200
    assert answer.json()["@context"] == [CONTEXT]
    check_dataset(answer.json())


@pytest.mark.parametrize("name", ["CAT:01-03"])
def test_dataset_that_is_not_there(name: str, dataspace: tuple[Stand, Kit]) -> None:
    running, kit = dataspace
    answer = kit.get(running.did("lender"), "catalog/datasets/lender/nothing")
    assert (answer.status_code, answer.json()["@type"]) == (404, "CatalogError")


def check_dataset(one: Mapping[str, Any]) -> None:
    """A dataset has an offer without a target, and compute formats only."""
    assert one["@type"] == "Dataset"
    assert one["hasPolicy"]
    assert all(offer["@type"] == "Offer" and "target" not in offer for offer in one["hasPolicy"])
    assert one["distribution"]
    assert all(item["format"].startswith("ComputeJob-") for item in one["distribution"])
    assert all(item["accessService"] for item in one["distribution"])
