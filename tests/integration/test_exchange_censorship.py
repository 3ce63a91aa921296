"""A hub that leaves one member's entries out: what that member notices, keeps, and does about it."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from exchange.cli import main
from exchange.errors import TimedOut
from exchange.node import ledger_client
from exchange.node.hub_client import HubClient
from exchange.testing import ConsortiumInProcess
from ledger import canonical, notes
from ledger.algorithms import Signer
from ledger.bundle.exporting import cosigned
from ledger.checkpoints import Checkpoint, cosign
from ledger.entries import Entry
from ledger.membership import Network, electorate, genesis_hash
from ledger.notes import Note
from ledger.promises import make_promise, verify_overdue
from ledger.sequencer import Placed
from ledger.times import system_clock


class CensoringHub(HubClient):
    """The hub as the lender sees it: it takes entries, promises them for an hour ago, and sequences none."""

    network: Network
    hub_key: Signer

    def submit(self, raw: bytes) -> Placed:
        return Placed(7, Entry.parse(raw).txid, None)

    def promise(self, raw: bytes) -> bytes:
        then = system_clock() - timedelta(hours=1)
        return make_promise(self.network, Entry.parse(raw).txid, then, self.hub_key).raw


@pytest.fixture(scope="module")
def running(
    tmp_path_factory: pytest.TempPathFactory, make_question: Callable[..., Any]
) -> Iterator[ConsortiumInProcess]:
    question = make_question(
        tmp_path_factory.mktemp("censored"), options={"lender": {"connect": CensoringHub}}
    )
    with question.running as running:
        for profile in running.profiles.values():
            profile.save(running.root)
        yield running


def hub_key(running: ConsortiumInProcess) -> Signer:
    return running.hub.services.log._hub_key


def wait_for(found: Callable[[], Any]) -> Any:
    deadline = time.monotonic() + 30
    while not (value := found()):
        assert time.monotonic() < deadline
        time.sleep(0.1)
    return value


def test_a_censored_member_gets_evidence_and_goes_through_another(
    running: ConsortiumInProcess,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setattr(ledger_client, "_PROMISE_AFTER_S", 0.2)
    lender = running.nodes["lender"].services
    monkeypatch.setattr(CensoringHub, "network", lender.ledger.mirror.network, raising=False)
    monkeypatch.setattr(CensoringHub, "hub_key", hub_key(running), raising=False)
    monkeypatch.setattr(lender.ledger, "_final_timeout_s", 1.0)
    with pytest.raises(TimedOut):
        lender.ledger.write("member.update", {"endpoint": "moved:1"})
    bureau = running.nodes["bureau"].services.ledger
    bureau.write("member.update", {"endpoint": "elsewhere:1"})

    client = running.client("lender")
    overdue = wait_for(lambda: client.ledger_status()["overdue"])
    evidence = Path(overdue[0]["evidence"]).read_bytes()
    mirror = running.nodes["regulator"].services.ledger.mirror
    size = int(json.loads(evidence)["size"])
    wait_for(lambda: mirror.final_size >= size)
    raws, voters = mirror.store.raws(0, size), electorate(mirror.final_state)
    promise = verify_overdue(evidence, mirror.network, lambda _: voters, raws)
    assert promise.txid == overdue[0]["txid"]

    out = tmp_path / "pending"
    home = ("--home", str(running.root))
    assert main(["ledger", "pending", "--out", str(out), "--org", "lender", *home]) == 0
    file = out / f"{promise.txid}.entry"
    assert main(["ledger", "submit", str(file), "--org", "bureau", *home]) == 0
    placed = wait_for(lambda: lender.ledger.mirror.final_entry(promise.txid))
    assert placed.code is None
    monkeypatch.setenv("COLUMNS", "400")
    assert main(["ledger", "status", "--org", "lender", *home]) == 0
    assert "overdue-promise" in capsys.readouterr().out.replace("\n", "")


def test_an_entry_that_is_none_is_not_relayed(
    running: ConsortiumInProcess, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "x.entry"
    file.write_bytes(b"no entry")
    assert main(["ledger", "submit", str(file), "--org", "bureau", "--home", str(running.root)]) != 0
    assert "ledger.malformed-entry" in capsys.readouterr().err


def test_blame_needs_no_server(
    running: ConsortiumInProcess, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    mirror = wait_for(lambda: running.nodes["lender"].services.ledger.mirror)
    note = cosigned(mirror.store, mirror.final_size)
    first, second = tmp_path / "a", tmp_path / "b"
    first.write_bytes(note.encode())
    second.write_bytes(cosigned(mirror.store, mirror.final_size).encode())
    genesis = str(running.root / "hub" / "genesis.json")
    assert main(["ledger", "blame", str(first), str(second), "--genesis-file", genesis]) == 0
    bundle = tmp_path / "bundle.zip"
    bundle.write_bytes(running.client("regulator").export_bundle(everything=True))
    assert main(["ledger", "blame", str(first), "--bundle", str(bundle)]) == 0
    second.write_bytes(b"no checkpoint")
    assert main(["ledger", "blame", str(second), "--genesis-file", genesis]) == 1
    assert main(["ledger", "blame", str(first), "--genesis-file", genesis, "--genesis", "00" * 32]) == 1
    assert main(["ledger", "blame", str(first)]) == 4
    assert "--genesis-file" in capsys.readouterr().err


def test_blame_names_who_signed_both(
    running: ConsortiumInProcess, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    mirror = running.nodes["regulator"].services.ledger.mirror
    note = cosigned(mirror.store, mirror.final_size)
    checkpoint = replace(Checkpoint.parse(note.text), root=bytes(32))
    text, log_key = checkpoint.encode(), running.hub.services.log._log_key
    lines = [notes.sign(text, checkpoint.origin, log_key)]
    for name in ("analyst", "bureau"):
        keys = running.nodes[name].keys
        lines.append(cosign(text, f"{mirror.network.name}/{name}", keys.cosign, 1))
    shown = {"checkpoint": Note(text, tuple(lines)), "own_checkpoint": note}
    evidence = {name: one.encode().decode() for name, one in shown.items()}
    file = tmp_path / "divergence.json"
    file.write_bytes(canonical.encode(evidence))
    genesis = running.root / "hub" / "genesis.json"
    pinned = ("--genesis-file", str(genesis), "--genesis", genesis_hash(genesis.read_bytes()))
    assert main(["ledger", "blame", str(file), *pinned, "--format", "json"]) == 1
    found = json.loads(capsys.readouterr().out)["data"]["contradictions"][0]
    signed = {line.name for line in note.signatures[1:]}
    both = sorted(signed & {f"{mirror.network.name}/{name}" for name in ("analyst", "bureau")})
    assert (found["both"], found["size"], found["members"]) == (both, mirror.final_size, 4)
    assert main(["ledger", "blame", str(file), *pinned]) == 1
    assert "analyst" in capsys.readouterr().out
