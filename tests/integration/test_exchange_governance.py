"""Governance through the nodes: a member is suspended, keys are rotated while everybody runs."""

import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from exchange.errors import Conflict
from exchange.keyring import KeyRing, KeyRingFile
from exchange.local.processes import await_ready, launch, parley, stop_all
from exchange.node import setup
from exchange.sdk import NodeClient, NodeProblem
from exchange.testing import ConsortiumInProcess

pytestmark = pytest.mark.xdist_group("exchange-governance")

PASSPHRASE = "correct horse battery staple"
ALL = ("tx", "cosign", "seal", "tls")


@pytest.fixture
def running(tmp_path: Path) -> Iterator[ConsortiumInProcess]:
    with ConsortiumInProcess(tmp_path) as made:
        yield made


def until(found: Callable[[], Any], what: str, timeout_s: float = 20.0) -> Any:
    deadline = time.monotonic() + timeout_s
    while not (value := found()):
        assert time.monotonic() < deadline, what
        time.sleep(0.05)
    return value


def carried(
    running: ConsortiumInProcess, by: str, voters: tuple[str, ...], *actions: Mapping[str, Any]
) -> str:
    """Propose as ``by``, let the voters approve, wait until it has taken effect."""
    proposal: str = running.client(by).propose(list(actions), reason="a test")["proposal"]
    for name in voters:
        node = running.client(name)
        until(lambda node=node: any(row["proposal"] == proposal for row in node.proposals()), "the proposal")
        with suppress(NodeProblem):  # the others' votes may have sufficed meanwhile
            node.vote(proposal, approve=True)
    until(lambda: row_of(running.client(by), proposal)["status"] == "effective", "the effect")
    return proposal


def row_of(node: NodeClient, proposal: str) -> dict[str, Any]:
    return next(row for row in node.proposals() if row["proposal"] == proposal)


def member(node: NodeClient, name: str) -> dict[str, Any]:
    return next(row for row in node.members() if row["name"] == name)


def test_a_suspended_member_is_shut_out_and_comes_back(running: ConsortiumInProcess) -> None:
    bureau = running.did("bureau")
    suspend = {"action": "member.suspend", "member": bureau}
    carried(running, "lender", ("analyst", "regulator"), suspend)
    assert member(running.client("analyst"), "bureau")["status"] == "suspended"
    resume = {"action": "member.resume", "member": bureau}
    carried(running, "analyst", ("lender", "regulator"), resume)
    until(lambda: member(running.client("bureau"), "bureau")["status"] == "active", "its own copy")


def test_a_proposal_is_withdrawn_by_its_node(running: ConsortiumInProcess) -> None:
    lender = running.client("lender")
    proposal = lender.propose([{"action": "params.set", "quorum": 4}], effective_after=10)["proposal"]
    with pytest.raises(NodeProblem):
        running.client("bureau").withdraw_proposal(proposal)
    lender.withdraw_proposal(proposal)
    assert row_of(lender, proposal)["status"] == "withdrawn"
    with pytest.raises(NodeProblem):
        lender.withdraw_proposal("proposal-" + "0" * 26)
    with pytest.raises(NodeProblem) as caught:
        lender.propose([{"action": "params.set", "quorum": 2}])
    assert caught.value.extras.get("reason") == "params.quorum-too-low"


def test_a_node_goes_on_with_its_new_keys_when_the_ledger_names_them(running: ConsortiumInProcess) -> None:
    directory = running.root / "lender"
    file = KeyRingFile(directory / setup.KEYS_FILE, PASSPHRASE)
    old = running.nodes["lender"].keys
    seen = threading.Event()
    running.nodes["lender"]._on_rotation = seen.set
    rotation, _ = setup.rotate_keys(directory, ALL, PASSPHRASE)
    with pytest.raises(Conflict):
        setup.rotate_keys(directory, ALL, PASSPHRASE)
    rotation, new = setup.rotate_keys(directory, ALL, PASSPHRASE, discard=True)
    assert file.read().sets == (old, new)
    carried(running, "bureau", ("analyst", "regulator"), {"action": "key.rotate", "rotation": rotation})
    assert seen.wait(20)
    running.nodes["lender"].stop()

    running.profiles["lender"] = running.profiles["lender"].trusting(new.tls_cert)
    with running.open_node("lender") as node:
        assert node.keys == new
        assert (new.did, new.kid) == (old.did, f"{old.did}#tx-2")
        suspend = {"action": "params.set", "max_clock_skew_s": 100}
        carried(running, "lender", ("bureau", "analyst", "regulator"), suspend)
        assert node.services.keys.storage_key(b"x") == old.storage_key(b"x")


def test_a_node_that_was_down_during_its_rotation_finds_its_way_back(running: ConsortiumInProcess) -> None:
    directory = running.root / "lender"
    rotation, new = setup.rotate_keys(directory, ALL, PASSPHRASE)
    running.nodes["lender"].stop()
    carried(running, "bureau", ("analyst", "regulator"), {"action": "key.rotate", "rotation": rotation})
    seen = threading.Event()
    running.options = {"lender": {"on_rotation": seen.set}}
    with running.open_node("lender") as node:
        assert node.keys != new
        assert seen.wait(20)
    with running.open_node("lender") as node:
        assert node.keys == new


@pytest.mark.slow
def test_the_daemon_changes_keys_by_itself(tmp_path: Path) -> None:
    running = ConsortiumInProcess(tmp_path)
    running.form()
    directory = tmp_path / "lender"
    (tmp_path / "logs").mkdir()
    with running.open_hub(), running._stack:
        for name in ("bureau", "analyst", "regulator"):
            running.nodes[name] = running._stack.enter_context(running.open_node(name))
        command = parley("node", "run", "--dir", str(directory))
        process, child = launch(command, name="lender", logs=tmp_path / "logs", passphrase=PASSPHRASE)
        try:
            await_ready("lender", process)
            rotation, new = setup.rotate_keys(directory, ("tx", "cosign", "seal"), PASSPHRASE)
            action = {"action": "key.rotate", "rotation": rotation}
            carried(running, "bureau", ("analyst", "regulator"), action)
            file = KeyRingFile(directory / setup.KEYS_FILE, PASSPHRASE)
            until(lambda: file.read() == KeyRing((new,)), "the old keys to go")
            proposed = {"action": "params.set", "max_clock_skew_s": 100}
            carried(running, "lender", ("bureau", "analyst", "regulator"), proposed)
        finally:
            stop_all([process])
            child.wait()
