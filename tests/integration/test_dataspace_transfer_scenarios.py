"""The compatibility kit's scenarios of transfer processes: owners' parts of real compute jobs.

The scripts are written as those of negotiations. The kit is a member that asks for jobs; against the
analyst's connector, the bureau's place is taken by a kit too, while the bureau's node computes. What a script
does not tell: ``go`` lets the bureau's node start its part, after which the job runs; ``withhold`` keeps the
specification from the owners, so that they cannot decide yet; ``busy`` turns the other side's message away,
so that the kit's own comes first.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack
from functools import partial
from typing import Any

import pytest

from exchange.dataspace.testing import Kit, Stand
from exchange.dataspace.vocabulary import CONTEXT, TRANSFERS, Role, TransferEvent, TransferState
from exchange.jobs.spec import JobSpec
from exchange.node.duties import DutyKind

pytestmark = [pytest.mark.slow, pytest.mark.xdist_group("dataspace-transfers")]

PROVIDER = {
    "TP:01-01": "K:request C:start C:terminate",
    "TP:01-02": "K:request C:start go C:complete",
    "TP:01-03": "K:request C:start C:suspend C:terminate",
    "TP:01-04": "K:request C:start C:suspend C:restart go C:complete",
    "TP:01-05": "K:request C:terminate",
    "TP:02-01": "K:request C:start K:terminate",
    "TP:02-02": "K:request C:start busy go K:complete",
    "TP:02-03": "K:request C:start K:suspend K:terminate",
    "TP:02-04": "K:request C:start K:suspend K:restart busy go K:complete",
    "TP:02-05": "withhold K:request K:terminate",
    "TP:03-01": "withhold K:request K!complete",
    "TP:03-02": "withhold K:request K!suspend",
    "TP:03-03": "K:request C:start K:suspend K!complete",
    "TP:03-04": "K:request C:start K:terminate K!start",
    "TP:03-05": "K:request C:start K:terminate K!suspend",
    "TP:03-06": "K:request C:start K:terminate K!complete",
}
CONSUMER = {
    "TP_C:01-01": "C:request K:start K:terminate",
    "TP_C:01-02": "C:request busy K:start K:complete",
    "TP_C:01-03": "C:request K:start K:suspend K:terminate",
    "TP_C:01-04": "C:request busy K:start K:suspend K:restart K:complete",
    "TP_C:01-05": "C:request K:terminate",
    "TP_C:02-01": "C:request K:start C:terminate",
    "TP_C:02-02": "C:request K:start C:complete",
    "TP_C:02-03": "C:request K:start C:suspend C:terminate",
    "TP_C:02-04": "C:request K:start C:suspend C:restart C:complete",
    "TP_C:02-05": "C:request C:terminate",
    "TP_C:03-01": "C:request K!complete",
    "TP_C:03-02": "C:request K!suspend",
    "TP_C:03-03": "C:request K:start K:suspend K!complete",
    "TP_C:03-04": "C:request K:start K:terminate K!start",
    "TP_C:03-05": "C:request K:start K:terminate K!suspend",
    "TP_C:03-06": "C:request K:start K:terminate K!complete",
}
PATHS = {
    "request": "request",
    "start": "start",
    "restart": "start",
    "suspend": "suspension",
    "complete": "completion",
    "terminate": "termination",
}
TYPES = {
    "request": "TransferRequestMessage",
    "start": "TransferStartMessage",
    "suspension": "TransferSuspensionMessage",
    "completion": "TransferCompletionMessage",
    "termination": "TransferTerminationMessage",
}


class Parts:
    """The members, the agreements under which jobs run, and which jobs the bureau may start."""

    def __init__(self, question: Any, kits: Mapping[str, Kit]) -> None:
        self.question, self.kits = question, kits
        self.stand: Stand = question.running
        self.may_start: set[str] = set()
        self.held: set[str] = set()
        self.gate("bureau", lambda job: job in self.may_start)
        self.gate("lender", lambda job: job not in self.held)
        self.look = self.stand.nodes["bureau"]._duties.look
        self.agreements = {name: self.agree(name) for name in ("kit", "analyst")}

    def gate(self, name: str, admits: Callable[[str], bool]) -> None:
        """Let a node decide only on the jobs that a test admits."""
        duties = self.stand.nodes[name]._duties
        decide = duties._acts[DutyKind.DECIDE_JOB]

        def gated(job: str) -> None:
            if admits(job):
                decide(job)

        duties._acts = {**duties._acts, DutyKind.DECIDE_JOB: gated}

    def agree(self, consumer: str) -> dict[str, str]:
        """Agreements of both owners with one consumer; asset to agreement."""
        found = {}
        for owner, asset, columns in (
            ("lender", "lender/loans", ["customer_id", "arrears", "balance"]),
            ("bureau", "bureau/people", ["person_id", "band"]),
        ):
            client = self.stand.client(consumer)
            asked = client.request_agreement(self.question.request(asset, columns, uses=100))["negotiation"]
            with ThreadPoolExecutor(1) as pool:
                approved = pool.submit(self.stand.client(owner).approve, asked, "a test")
                if consumer == "kit":
                    self.kits["kit"].until(partial(self.agreed, asked))
                    self.kits["kit"].write("negotiation.verify", {"negotiation": asked})
                found[asset] = approved.result()["agreement"]
            assert self.stand.client(owner).negotiation(asked)["state"] == "FINALIZED"
        return found

    def agreed(self, negotiation: str) -> Mapping[str, Any] | None:
        row = self.kits["kit"].node.services.ledger.final("negotiations", negotiation)
        return row if row is not None and row["state"] == "AGREED" else None


class Scenario:
    """One owner's part of one job, between the kit and a connector under test."""

    def __init__(self, parts: Parts, name: str) -> None:
        self.parts, self.name = parts, name
        self.is_provider = name in PROVIDER
        self.cut = "lender" if self.is_provider else "analyst"
        self.kit = parts.kits["kit" if self.is_provider else "bureau"]
        self.did = parts.stand.did(self.cut)
        self.provider = self.did if self.is_provider else self.kit.did
        self.roles = {"C": Role.PROVIDER, "K": Role.CONSUMER}
        if not self.is_provider:
            self.roles = {"C": Role.CONSUMER, "K": Role.PROVIDER}
        agreements = parts.agreements["kit" if self.is_provider else "analyst"]
        changes: dict[str, Any] = {}
        if name == "TP:01-05":
            changes["purpose"] = "dpv:DirectMarketing"
        self.spec = parts.question.spec(agreements, **changes)
        if self.is_provider:
            self.spec["steps"] = self.spec["steps"][:2]
            self.spec["steps"][1]["recipients"] = [self.kit.did]
        self.job = self.spec["job"]
        self.agreement = agreements["lender/loans" if self.is_provider else "bureau/people"]
        self.pid = f"{self.job}.{self.agreement}"
        self.state: TransferState | None = None
        self.told: dict[str, int] = {}
        self.withholds = False
        if not self.is_provider and ":complete" not in CONSUMER[name]:
            parts.held.add(self.job)  # so that it never runs

    def run(self) -> None:
        for step in {**PROVIDER, **CONSUMER}[self.name].split():
            side, mark, act = step[:1], step[1:2], step[2:]
            if step == "withhold":
                self.withholds = True
            elif step == "busy":
                self.kit.busy.add(f"transfers/{self.pid}/completion")
            elif step == "go":
                self.go()
            elif mark == "!":
                self.refused(act)
            elif side == "K":
                self.kit_does(act)
            else:
                self.connector_does(act)

    def go(self) -> None:
        self.parts.may_start.add(self.job)
        self.parts.look()

    def moved(self, side: str, act: str) -> None:
        event = TransferEvent(PATHS[act])
        self.state = TRANSFERS[self.state, event, self.roles[side]]
        deadline = time.monotonic() + 60
        while side == "C" and self.kit.state(self.did, f"transfers/{self.pid}") != self.state:
            assert time.monotonic() < deadline, (self.name, act, self.state)
            time.sleep(0.05)

    # the connector under test

    def connector_does(self, act: str) -> None:
        client = self.parts.stand.client(self.cut)
        if act == "request":
            client.submit(self.spec)
        elif act == "suspend":
            client.suspend_job(self.job, "a test")
        elif act == "restart":
            client.resume_job(self.job)
        elif act == "terminate" and self.name != "TP:01-05":
            client.stop_job(self.job, "a test")
        elif act == "complete" and self.is_provider:
            self.kit_completes()
        path = f"transfers/{self.pid}/{PATHS[act]}" if act != "request" else "transfers/request"
        self.told[path] = self.told.get(path, 0) + 1
        message = self.kit.wait(path, self.pid, self.told[path])
        assert (message["@type"], message["@context"]) == (TYPES[PATHS[act]], [CONTEXT])
        if act == "request":
            assert message["agreementId"] == self.agreement
            assert message["format"] == "ComputeJob-MPC"
        self.moved("C", act)

    # the kit

    def kit_does(self, act: str) -> None:
        self.sign(act)
        path = f"transfers/{self.pid}/{PATHS[act]}" if act != "request" else "transfers/request"
        answer = self.kit.post(self.did, path, self.message(act))
        assert answer.status_code == (201 if act == "request" else 200), (self.name, act, answer.text)
        self.moved("K", act)
        assert answer.json()["state"] == self.state
        again = self.kit.post(self.did, path, self.message(act))
        assert again.status_code == answer.status_code, (self.name, act, again.text)

    def sign(self, act: str) -> None:
        """Write what stands behind the kit's message."""
        services = self.kit.node.services
        if act == "request":
            spec = JobSpec.from_json(self.spec)
            body = {
                "job": self.job,
                "spec": spec.digest(),
                "purpose": spec.purpose,
                "agreements": sorted(spec.agreements.values()),
                "parties": list(spec.parties()),
                "steps": spec.summary(),
            }
            self.kit.write("job.submit", body)
            if not self.withholds:
                services.hub.put_spec(self.job, spec.encode())
        elif act == "start":
            self.go()
            self.kit.until(lambda: self.kit.did in self.row()["starts"] or None)
        elif act in ("suspend", "restart"):
            reason = {"reason": "a test"} if act == "suspend" else {}
            kind = "job.suspend" if act == "suspend" else "job.resume"
            self.kit.write(kind, {"job": self.job, "provider": self.provider, **reason})
        elif act == "terminate":
            self.kit.write("job.stop", {"job": self.job, "cause": "stopped", "reason": "a test"})
        elif self.is_provider:
            self.kit_completes()
        else:
            self.kit.until(lambda: self.row()["state"] == "COMPLETED" or None)

    def kit_completes(self) -> None:
        """The kit asked for the job, so it closes it when the owners have done their parts."""
        owners = {self.parts.stand.did(name) for name in ("lender", "bureau")}
        self.kit.until(lambda: owners <= set(self.row()["receipts"].get("sums", {})) or None)
        self.kit.write("job.complete", {"job": self.job, "output": "ab" * 32})

    def refused(self, act: str) -> None:
        answer = self.kit.post(self.did, f"transfers/{self.pid}/{PATHS[act]}", self.message(act))
        assert answer.status_code == 400, (self.name, act, answer.text)
        assert answer.json()["@type"] == "TransferError"
        assert self.kit.state(self.did, f"transfers/{self.pid}") == self.state

    def message(self, act: str) -> dict[str, Any]:
        content: dict[str, Any] = {"@context": [CONTEXT], "@type": TYPES[PATHS[act]], "consumerPid": self.pid}
        if act == "request":
            form = "ComputeJob-MPC"
            return {
                **content,
                "callbackAddress": self.kit.base,
                "agreementId": self.agreement,
                "format": form,
            }
        return {**content, "providerPid": self.pid}

    def row(self) -> Mapping[str, Any]:
        return self.kit.row("jobs", self.job)


@pytest.fixture(scope="module")
def parts(tmp_path_factory: pytest.TempPathFactory, make_question: Callable[..., Any]) -> Iterator[Parts]:
    names = ("lender", "bureau", "analyst", "kit")
    question = make_question(tmp_path_factory.mktemp("parts"), names=names, connectors=names, kind=Stand)
    with question.running, ExitStack() as stack:
        question.publish(uses=200)
        kits = {name: Kit(question.running.nodes[name]) for name in ("kit", "bureau")}
        kits["kit"].announce()
        for kit in kits.values():
            stack.enter_context(kit)
        question.running.settle(kits["kit"], assets=2)
        yield Parts(question, kits)


@pytest.fixture(scope="module")
def played(parts: Parts) -> Iterator[dict[str, Future[None]]]:
    """All scenarios, played at the same time."""
    pool = ThreadPoolExecutor(6)
    yield {name: pool.submit(Scenario(parts, name).run) for name in (*PROVIDER, *CONSUMER)}
    pool.shutdown(cancel_futures=True)


@pytest.mark.parametrize("name", [*PROVIDER, *CONSUMER])
def test_transfer(name: str, played: dict[str, Future[None]]) -> None:
    played[name].result(timeout=120)


def test_a_suspended_job_begins_no_step_until_it_goes_on(parts: Parts) -> None:
    lender, analyst = parts.stand.client("lender"), parts.stand.client("analyst")
    kit = parts.kits["bureau"]
    spec = parts.question.spec(parts.agreements["analyst"])
    job = analyst.submit(spec)["job"]
    kit.until(lambda: parts.stand.did("lender") in kit.row("jobs", job)["starts"] or None)
    assert lender.suspend_job(job, "a question first")["suspended"] == [parts.stand.did("lender")]
    parts.may_start.add(job)
    parts.look()
    kit.until(lambda: kit.row("jobs", job)["state"] == "RUNNING" or None)
    assert analyst.job(job)["waiting_for"] == "lender to resume it"
    time.sleep(1.0)
    assert kit.row("jobs", job)["receipts"] == {}
    assert lender.resume_job(job)["resumed"] == [parts.stand.did("lender")]
    assert analyst.wait_job(job, timeout_s=60)["state"] == "COMPLETED"
