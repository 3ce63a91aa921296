"""A hub that shows its members two histories: neither is final, and the consortium goes on in a new epoch."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

from exchange.cli import main
from exchange.config import hub_settings, node_settings
from exchange.hub.daemon import Hub
from exchange.hub.files import KEYS_FILE
from exchange.identity import NodeKeys
from exchange.local.processes import free_ports
from exchange.node.daemon import Node
from exchange.sdk import NodeClient
from exchange.testing import ConsortiumInProcess
from ledger import canonical
from ledger.bundle.exporting import cosigned
from ledger.carried import write_carried
from ledger.membership import genesis_hash
from ledger.notes import Note
from ledger.store import LedgerStore, open_engine
from ledger.tiles import encode_entries, tile_path
from tests.integration.conftest import Question

pytestmark = pytest.mark.xdist_group("exchange-epoch")

PASSPHRASE = "correct horse battery staple"
NAMES = ("lender", "bureau", "analyst", "regulator")
Run = Callable[..., Any]
KILLED = """
import os, sys
from exchange.cli import main
from exchange.node import epochs
epochs.begin_anew = lambda *_: os._exit(9)
main(sys.argv[1:])
"""
"""Ends between the archive and the new beginning."""


class Operated:
    """The processes of a consortium, started and stopped as its operators see fit."""

    def __init__(self, made: ConsortiumInProcess) -> None:
        self.made, self.nodes = made, dict[str, Node]()
        self._stack = ExitStack()

    def start(self, names: Sequence[str] = NAMES, hub_directory: Path | None = None) -> Hub:
        hub = self._stack.enter_context(
            self.made.open_hub() if hub_directory is None else opened(hub_directory)
        )
        self.nodes = {name: self._stack.enter_context(self.made.open_node(name)) for name in names}
        for node in self.nodes.values():
            ledger = node.services.ledger
            ledger.wait_until(lambda ledger=ledger: ledger.final_size or None, 30, "a final checkpoint")
        return hub

    def client(self, name: str) -> NodeClient:
        return self._stack.enter_context(NodeClient(self.made.profiles[name]))

    def stop(self) -> None:
        self._stack.close()


def _keep_tiles(directory: Path, out: Path) -> None:
    """Write the log of a node, which has less than a tile, as a folder of tiles."""
    engine = open_engine(node_settings(directory, {}).database)
    store = LedgerStore(engine)
    size = next(iter(store.cosigned_sizes()))
    path = out / "tile" / "entries" / tile_path(0, size)
    path.parent.mkdir(parents=True)
    path.write_bytes(encode_entries(store.raws(0, size)))
    (out / "checkpoint").write_bytes(cosigned(store, size).encode())
    engine.dispose()


def opened(directory: Path) -> Hub:
    return Hub(hub_settings(directory, {}), NodeKeys.load(directory / KEYS_FILE, PASSPHRASE))


@pytest.fixture(scope="module")
def split(
    tmp_path_factory: pytest.TempPathFactory, make_question: Callable[..., Question]
) -> Iterator[Operated]:
    """Two halves that cosigned two histories of one size; everybody is stopped."""
    root = tmp_path_factory.mktemp("epoch")
    question = make_question(root)
    operated = Operated(question.running)
    question.running.form()
    hub = operated.start()
    question.running.nodes = operated.nodes
    question.publish()
    agreed = question.agree()
    assert len(agreed) == 2
    for node in operated.nodes.values():
        ledger = node.services.ledger
        ledger.wait_until(lambda ledger=ledger: ledger.final_size == hub.services.log.size, 30, "all final")
    operated.stop()
    question.running.__exit__(None, None, None)
    honest = Path(hub_settings(root / "hub", {}).database.removeprefix("sqlite:///"))
    shutil.copy(honest, root / "before.sqlite")
    for half, side in ((("lender", "bureau"), "a"), (("analyst", "regulator"), "b")):
        shutil.copy(root / "before.sqlite", honest)
        hub = operated.start(half)
        entry = operated.nodes[half[0]].services.ledger.sign("member.update", {"endpoint": f"{side}:1"})
        hub.services.log.submit(entry.raw)
        size = hub.services.log.size
        for name in half:
            ledger = operated.nodes[name].services.ledger
            ledger.wait_until(
                lambda size=size, ledger=ledger: ledger.mirror.store.cosignatures(size) or None, 30, "a side"
            )
        assert hub.services.log.final_size < size
        operated.stop()
        shutil.copy(honest, root / f"{side}.sqlite")
    shutil.copy(root / "a.sqlite", honest)
    yield operated
    operated.stop()


@pytest.fixture
def run(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Run:
    monkeypatch.setenv("PARLEY_PASSPHRASE", PASSPHRASE)

    def call(*words: object, code: int = 0) -> Any:
        capsys.readouterr()
        assert main([*map(str, words), "--format", "json"]) == code
        shown = capsys.readouterr()
        return shown.err + shown.out if code else json.loads(shown.out)["data"]

    return call


def test_a_split_ends_in_a_new_epoch(split: Operated, run: Run, tmp_path: Path) -> None:
    root = split.made.root
    first = genesis_hash((root / "hub/genesis.json").read_bytes())

    # 1. The other half, shown the first half's history, stops trusting the hub and keeps the evidence.
    split.start()
    for name in ("analyst", "regulator"):
        ledger = split.nodes[name].services.ledger
        ledger.wait_until(lambda ledger=ledger: ledger.divergence, 30, "the difference")
        (evidence,) = (root / name / "evidence").iterdir()
        assert "split-view" in evidence.name
        assert json.loads(evidence.read_bytes())["own_checkpoint"]
    assert all(split.nodes[name].services.ledger.divergence is None for name in ("lender", "bureau"))
    split.stop()

    # 2. By file: the hub drafts, each member signs by its own copy, the hub installs, everybody joins.
    draft, epoch, carried = tmp_path / "draft", tmp_path / "epoch.json", tmp_path / "carried"
    made = run("hub", "new-epoch", "--dir", root / "hub", "--out", draft)
    mark = root / "lender/cosigned.json"
    cosigned_last = mark.read_bytes()
    mark.write_bytes(canonical.encode({**json.loads(cosigned_last), "size": made["size"] + 100}))
    words = ("node", "sign-epoch", "--dir", root / "lender", "--draft", draft, "--out", tmp_path / "none")
    assert "expected the copy of which this node cosigned" in run(*words, code=1)
    mark.write_bytes(cosigned_last)
    signed = []
    for name in ("lender", "analyst", "regulator"):
        out = tmp_path / f"signed-{name}"
        run("node", "sign-epoch", "--dir", root / name, "--draft", draft, "--out", out)
        signed += ["--signed", out]
    where = ("--out", epoch, "--carried", carried)
    refused = run("hub", "install-epoch", "--dir", root / "hub", *signed[:4], *where, code=1)
    assert "epoch.no-quorum" in refused
    installed = run("hub", "install-epoch", "--dir", root / "hub", *signed, *where)
    again = run("hub", "install-epoch", "--dir", root / "hub", *signed, *where)
    assert again == installed
    bundles = {}
    killed = [sys.executable, "-P", "-c", KILLED, "node", "join-epoch", "--epoch", str(epoch)]
    assert subprocess.run([*killed, "--dir", root / "lender"], check=False).returncode == 9
    for name in NAMES:
        joined = run("node", "join-epoch", "--dir", root / name, "--epoch", epoch)
        assert joined["genesis"] == installed["genesis"]
        assert run("node", "join-epoch", "--dir", root / name, "--epoch", epoch) == joined
        bundles[name] = joined["bundle"]
        report = run("verify", bundles[name], "--genesis", first)
        assert report["size"] == made["size"]

    # 3. The new log goes on with members, assets and agreements, and writes; the dropped entries are gone.
    hub = split.start()
    lender, analyst = split.client("lender"), split.client("analyst")
    assert {member["name"] for member in analyst.members()} == set(NAMES)
    assert {member["endpoint"] for member in analyst.members()}.isdisjoint({"a:1", "b:1"})
    assert {analyst.dataset(asset)["@id"] for asset in ("lender/loans", "bureau/people")}
    assert [asset["asset"] for asset in lender.assets()] == ["lender/loans"]
    assert len(analyst.agreements()) == 2
    size = hub.services.log.size
    lender.withdraw("lender/loans", "a test of writing in the second epoch")
    assert hub.services.log.final_size > size
    found = list(lender.entries(type_="asset.withdraw"))
    assert [entry["index"] for entry in found] == [size]
    for node in split.nodes.values():
        ledger = node.services.ledger
        ledger.wait_until(lambda ledger=ledger: ledger.final_size == hub.services.log.size, 30, "all final")
        assert ledger.divergence is None
    evidence = tmp_path / "second.zip"
    evidence.write_bytes(lender.export_bundle(assets=["lender/loans"]))
    split.stop()

    # 4. Everything checks: databases, archives, and the evidence back to the first genesis.
    assert run("hub", "fsck", "--dir", root / "hub")["sound"]
    for name in NAMES:
        assert run("ledger", "fsck", "--dir", root / name)["sound"]
        assert run("ledger", "replay", "--dir", root / name)["sound"]
    report = run("verify", evidence, "--previous", bundles["bureau"], "--genesis", first)
    assert (report["epoch"], report["follows"]) == (2, first)
    assert run("verify", evidence, "--genesis", installed["genesis"])["epoch"] == 2
    run("verify", evidence, "--genesis", first, code=1)


def test_another_operator_takes_over_from_a_members_copy(split: Operated, run: Run, tmp_path: Path) -> None:
    root, hub = split.made.root, tmp_path / "hub"
    member, operator = (f"127.0.0.1:{port}" for port in free_ports(2))
    binds = ("--member-bind", member, "--operator-bind", operator, "--host", "127.0.0.1")
    named = ("--net", "test.parley", "--origin", "test.parley/other")
    cheap = ("--passphrase-kind", "random")
    run("hub", "init", "--dir", hub, *named, *binds, "--out", tmp_path / "hub.json", *cheap)
    draft, epoch, carried = tmp_path / "draft", tmp_path / "epoch.json", tmp_path / "carried"
    run("hub", "new-epoch", "--dir", hub, "--copy", root / "bureau", "--out", draft)
    signed = []
    for name in ("lender", "bureau", "analyst"):
        out = tmp_path / f"signed-{name}"
        run("node", "sign-epoch", "--dir", root / name, "--draft", draft, "--out", out)
        signed += ["--signed", out]
    where = ("--copy", root / "bureau", "--out", epoch, "--carried", carried)
    installed = run("hub", "install-epoch", "--dir", hub, *signed, *where)
    join = ("--epoch", epoch, "--hub-url", f"https://{member}")
    for name in NAMES[1:]:
        run("node", "join-epoch", "--dir", root / name, *join)

    # A member that cannot go by its own copy pins the entry and brings the file.
    pinned = ("node", "join-epoch", "--dir", root / "lender", *join, "--pin", installed["genesis"])
    assert "--carried" in run(*pinned, code=4)
    wrong = (*pinned[:-1], "0" * 64, "--carried", carried)
    assert "--pin" in run(*wrong, code=4)
    forged = tmp_path / "forged"
    forged.write_bytes(carried.read_bytes().replace(b'"Lender"', b'"Lander"'))
    assert "state root" in run(*pinned, "--carried", forged, code=1)
    joined = run(*pinned, "--carried", carried)
    assert (joined["genesis"], joined["bundle"]) == (installed["genesis"], None)

    log = split.start(hub_directory=hub).services.log
    for node in split.nodes.values():
        ledger = node.services.ledger
        ledger.wait_until(lambda ledger=ledger: ledger.final_size == log.size, 30, "all final")
    assert Note.parse(log.checkpoint()).text.startswith("test.parley/log/e3\n")
    assert len(split.client("analyst").agreements()) == 2
    split.stop()
    _keep_tiles(root / "bureau", tmp_path / "tiles")
    replay = ("ledger", "replay", "--tiles", tmp_path / "tiles", "--genesis", installed["genesis"])
    assert run(*replay, "--carried", carried)["sound"]
    assert "nothing-carried" in run(*replay, code=1)
    assert run("hub", "fsck", "--dir", hub)["sound"]
    assert all(run("ledger", "fsck", "--dir", root / name)["sound"] for name in NAMES)


def test_a_node_that_joins_the_network_later_begins_with_the_file(
    split: Operated, run: Run, tmp_path: Path
) -> None:
    """It has no log to go by: it pins the entry of the epoch and brings what that began with."""
    node, epoch = tmp_path / "newbank", split.made.root / "bureau/genesis.json"
    ports = [f"127.0.0.1:{port}" for port in free_ports(2)]
    binds = ("--api-bind", ports[0], "--party-bind", ports[1])
    named = ("--name", "newbank", "--net", "test.parley", "--passphrase-kind", "random")
    run("node", "init", "--dir", node, *named, *binds, "--out", tmp_path / "enrolment.json")
    hub = json.loads(epoch.read_bytes())["body"]["hub"]
    (tmp_path / "hub.json").write_text(json.dumps({**hub, "net": "test.parley"}), encoding="utf-8")
    record = ("--hub-record", tmp_path / "hub.json", "--hub-url", "https://127.0.0.1:1")
    run("node", "join", "--dir", node, *record, "--genesis", epoch)
    engine = open_engine(node_settings(split.made.root / "bureau", {}).database)
    carried = LedgerStore(engine).carried()
    engine.dispose()
    file = tmp_path / "carried"
    file.write_bytes(b"".join(write_carried(carried)))
    join = ("node", "join-epoch", "--dir", node, "--epoch", epoch)
    assert "expected a copy of the log before" in run(*join, code=1)
    joined = run(*join, "--carried", file, "--pin", genesis_hash(epoch.read_bytes()))
    assert (joined["archive"], joined["bundle"]) == (None, None)
    engine = open_engine(node_settings(node, {}).database)
    assert LedgerStore(engine).carried().root() == carried.root()
    engine.dispose()


def test_the_old_log_is_kept_whole_and_private(split: Operated) -> None:
    from ledger.fsck import check

    for name in ("hub", *NAMES):
        archive = split.made.root / name / "epoch-1.sqlite"
        assert archive.stat().st_mode & 0o777 == 0o600
        assert name == "hub" or archive.with_suffix(".cosigned.json").exists()
        engine = open_engine(f"sqlite:///{archive}")
        genesis = (archive.parent / "epoch-1.json").read_bytes()
        assert check(LedgerStore(engine), genesis) == []
        engine.dispose()
    settings = node_settings(split.made.root / "lender", {})
    assert settings.hub is not None
    assert genesis_hash(settings.hub.genesis.read_bytes())
