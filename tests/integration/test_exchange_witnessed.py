"""A log with outside witnesses: they stand in a member's proofs and policy, beside the quorum."""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import replace

import pytest

from exchange.config import witness_settings
from exchange.hub import setup as hub_setup
from exchange.hub.daemon import Hub
from exchange.identity import NodeKeys
from exchange.local.processes import free_ports
from exchange.sdk import NodeClient
from exchange.testing import CHEAP, ConsortiumInProcess
from exchange.witness import setup
from exchange.witness.daemon import WitnessDaemon
from exchange.witness.keys import WitnessKeys
from ledger.merkle import leaf_hash
from ledger.proofs import Proof, verify_proof
from ledger.trust import TrustPolicy


class Witnessed(ConsortiumInProcess):
    """With a witness that is a mirror too."""

    def form(self) -> None:
        super().form()
        [port] = free_ports(1)
        bind = f"127.0.0.1:{port}"
        directory = self.root / "witness"
        record = setup.init(
            directory, name="w.example", bind=bind, host="127.0.0.1", mirror=True, passphrase="p", cost=CHEAP
        )
        keys = NodeKeys.load(self.root / "hub" / "keys", "correct horse battery staple")
        setup.add(directory, hub_setup.log_vkey(keys, "test.parley/log").encode())
        hub_setup.add_witness(self.root / "hub", record)
        self.witness = WitnessDaemon(
            witness_settings(directory, {}), WitnessKeys.load(directory / "keys", "p")
        )
        self._stack.enter_context(self.witness)


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Witnessed]:
    with Witnessed(tmp_path_factory.mktemp("witnessed"), ("lender", "bureau", "regulator")) as made:
        yield made


@pytest.fixture(scope="module")
def regulator(running: Witnessed) -> NodeClient:
    return running.client("regulator")


def wait_cosigned(hub: Hub) -> None:
    deadline = time.monotonic() + 30
    while not all(copy.size >= 2 for copy in hub.services.witnesses.status()):
        assert time.monotonic() < deadline
        time.sleep(0.1)


def test_proofs_carry_outside_cosignatures_that_a_stricter_policy_can_ask_for(
    running: Witnessed, regulator: NodeClient
) -> None:
    wait_cosigned(running.hub)
    policy = TrustPolicy.parse(regulator.policy())
    proof = Proof.parse(regulator.proof("0"))
    assert proof.extra is not None
    found = verify_proof(proof, leaf_hash(proof.extra), policy)
    outside = {name for name in found.times if "#" in name}
    assert {name.partition("#")[0] for name in outside} == {"w.example", "w.example/mirror"}
    assert len(outside) == 4
    assert not any(policy.is_met([name]) for name in outside)
    name = sorted(outside)[0]
    strict = replace(policy, quorum=name)
    assert verify_proof(proof, leaf_hash(proof.extra), strict).checkpoint.size == found.checkpoint.size


def test_without_its_hub_a_member_proves_by_what_it_holds(running: Witnessed, regulator: NodeClient) -> None:
    running.hub.stop()
    policy = TrustPolicy.parse(regulator.policy())
    proof = Proof.parse(regulator.proof("0"))
    assert proof.extra is not None
    found = verify_proof(proof, leaf_hash(proof.extra), policy)
    assert not any("#" in name for name in [*found.times, *policy.witnesses])
