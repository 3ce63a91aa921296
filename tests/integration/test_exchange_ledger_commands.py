"""``parley ledger`` against a running node and against its directory, with what each command prints."""

from __future__ import annotations

import json
import shutil
import sqlite3
import threading
from collections.abc import Callable, Iterator
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from exchange.cli import main
from exchange.testing import ConsortiumInProcess
from ledger.bundle.exporting import cosigned
from ledger.membership import genesis_hash
from ledger.tiles import TILE_WIDTH, encode_entries, tile_path


@pytest.fixture(scope="module")
def running(
    tmp_path_factory: pytest.TempPathFactory, make_question: Callable[..., Any]
) -> Iterator[ConsortiumInProcess]:
    question = make_question(tmp_path_factory.mktemp("commands"))
    with question.running:
        question.publish()
        for profile in question.running.profiles.values():
            profile.save(question.running.root)
        yield question.running


class Shell:
    """Runs ``parley`` in this process as one member."""

    def __init__(self, home: Path, capsys: pytest.CaptureFixture[str]) -> None:
        self.home, self._capsys = home, capsys
        self.err = ""

    def run(self, *words: str, offline: bool = False) -> tuple[int, str]:
        whose = () if offline else ("--org", "regulator", "--home", str(self.home))
        self._capsys.readouterr()
        code = main([*words, *whose])
        shown = self._capsys.readouterr()
        self.err = shown.err
        return code, shown.out

    def json(self, *words: str, code: int = 0, offline: bool = False) -> Any:
        ended, out = self.run(*words, "--format", "json", offline=offline)
        assert ended == code, self.err
        return json.loads(out).get("data")


@pytest.fixture
def shell(running: ConsortiumInProcess, capsys: pytest.CaptureFixture[str]) -> Shell:
    return Shell(running.root, capsys)


@pytest.fixture(scope="module")
def folder(running: ConsortiumInProcess, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The log as tiles in a folder, up to the final checkpoint of one member."""
    out = tmp_path_factory.mktemp("tiles")
    mirror = running.nodes["lender"].services.ledger.mirror
    size = mirror.final_size
    (out / "checkpoint").write_bytes(cosigned(mirror.store, size).encode())
    for number in range(-(-size // TILE_WIDTH)):
        start, width = number * TILE_WIDTH, min(TILE_WIDTH, size - number * TILE_WIDTH)
        path = out / "tile" / "entries" / tile_path(number, width)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(encode_entries(mirror.store.raws(start, start + width)))
    return out


def test_status_says_who_cosigned(shell: Shell) -> None:
    found = shell.json("ledger", "status")
    assert (found["quorum"], len(found["cosigners"]), found["divergence"]) == (3, 4, None)
    code, text = shell.run("ledger", "status")
    assert code == 0
    assert "test.parley/bureau" in text
    assert "final_size" in text


def test_show_decodes_an_entry(shell: Shell) -> None:
    genesis = shell.json("ledger", "show", "0")
    assert (genesis["type"], genesis["final"], genesis["batch"]["height"]) == ("gov.genesis", True, 0)
    assert shell.json("ledger", "show", genesis["txid"]) == genesis
    code, _ = shell.run("ledger", "show", "99999")
    assert code == 4
    assert "no entry 99999" in shell.err


def test_members_and_proposals(shell: Shell) -> None:
    assert {row["name"]: row["since"] for row in shell.json("ledger", "members")} == dict.fromkeys(
        ("lender", "bureau", "analyst", "regulator"), 0
    )
    assert shell.json("ledger", "proposals") == []
    code, out = shell.run("ledger", "members", "--format", "jsonl")
    assert code == 0
    assert [json.loads(line)["data"]["role"] for line in out.splitlines()].count("regulator") == 1


def test_a_proof_is_written_and_checked_offline(shell: Shell, tmp_path: Path) -> None:
    proof, policy = tmp_path / "entry.tlog-proof", tmp_path / "policy"
    made = shell.json("ledger", "prove", "1", "--out", str(proof), "--policy", str(policy))
    assert made == {"proof": str(proof), "bytes": proof.stat().st_size, "policy": str(policy)}
    checked = ("ledger", "prove", "--check", str(proof), "--policy", str(policy))
    found = shell.json(*checked, offline=True)
    assert (found["index"], found["origin"]) == (1, "test.parley/log")
    assert len(found["cosigned"]) >= 3
    content = proof.read_bytes()
    for position in (30, 60, len(content) // 2, len(content) - 30):
        changed = bytearray(content)
        changed[position] ^= 1
        proof.write_bytes(changed)
        assert shell.run(*checked, offline=True)[0] == 1, position
        assert "[ledger." in shell.err
    proof.write_bytes(content)
    policy.write_text("quorum none\n")
    assert shell.run(*checked, offline=True)[0] == 1
    policy.write_text("nonsense\n")
    assert shell.run(*checked, offline=True)[0] == 1


@pytest.mark.parametrize(
    "words",
    [
        ("prove",),
        ("prove", "1"),
        ("prove", "1", "--check", __file__),
        ("prove", "--check", __file__),
        ("replay",),
        ("replay", "--dir", ".", "--tiles", "x"),
        ("fsck",),
        ("fsck", "--dir", "/no/such/folder"),
    ],
)
def test_arguments_that_do_not_fit_end_with_4(shell: Shell, words: tuple[str, ...]) -> None:
    assert shell.run("ledger", *words, offline=True)[0] == 4


def test_fsck_is_clean_beside_the_running_node(running: ConsortiumInProcess, shell: Shell) -> None:
    for name in running.names:
        found = shell.json("ledger", "fsck", "--dir", str(running.root / name), offline=True)
        assert found == {"problems": [], "sound": True}
    assert shell.run("hub", "fsck", "--dir", str(running.root / "hub"), offline=True)[0] == 0


def test_fsck_names_what_was_altered_in_a_copy(
    running: ConsortiumInProcess, shell: Shell, tmp_path: Path
) -> None:
    copy = tmp_path / "copy"
    shutil.copytree(running.root / "lender", copy)
    with sqlite3.connect(copy / "node.sqlite") as database:
        database.execute("UPDATE ledger_entries SET actor = 'did:x' WHERE \"index\" = 1")
    database.close()
    found = shell.json("ledger", "fsck", "--dir", str(copy), code=1, offline=True)
    assert found["sound"] is False
    assert "ledger_entries index 1: actor" in [one["where"] for one in found["problems"]]
    difference = shell.json("ledger", "replay", "--dir", str(copy), code=1, offline=True)
    assert (difference["index"], difference["what"]) == (1, "stored actor")
    code, text = shell.run("ledger", "fsck", "--dir", str(copy), offline=True)
    assert code == 1
    assert "actor" in text


def test_replay_recomputes_the_own_copy(running: ConsortiumInProcess, shell: Shell) -> None:
    services = running.nodes["lender"].services
    found = shell.json("ledger", "replay", "--dir", str(running.root / "lender"), offline=True)
    assert (found["sound"], found["final"], found["genesis"]) == (True, True, services.genesis)
    assert found["entries"] >= found["checkpoint"] > 0
    assert found["per_second"] > 0
    code, out = shell.run(
        "ledger", "replay", "--dir", str(running.root / "lender"), "--format", "jsonl", offline=True
    )
    lines = [json.loads(line) for line in out.splitlines()]
    assert code == 0
    assert lines[0]["data"].keys() == {"entries", "of", "per_second"}
    assert lines[-1]["terminal"] is True


def test_replay_recomputes_a_log_from_a_folder_and_an_address(
    running: ConsortiumInProcess, shell: Shell, folder: Path
) -> None:
    genesis = genesis_hash(running.nodes["lender"].services.ledger.mirror.genesis)
    handler = partial(SimpleHTTPRequestHandler, directory=str(folder))
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        address = f"http://127.0.0.1:{server.server_port}"
        found = [
            shell.json("ledger", "replay", "--tiles", place, "--genesis", genesis, offline=True)
            for place in (str(folder), address)
        ]
        server.shutdown()
        thread.join()
    for one in found:
        assert (one["sound"], one["final"], one["entries"]) == (True, True, one["checkpoint"])
    assert found[0]["state"] == found[1]["state"]
    assert shell.run("ledger", "replay", "--tiles", address, offline=True)[0] == 2


def test_replay_names_a_difference_in_tiles(shell: Shell, folder: Path, tmp_path: Path) -> None:
    wrong = shell.json(
        "ledger", "replay", "--tiles", str(folder), "--genesis", "00" * 32, code=1, offline=True
    )
    assert (wrong["index"], wrong["what"]) == (0, "genesis")
    shell.run("ledger", "replay", "--tiles", str(folder), offline=True)
    assert "whose log" in shell.err
    copy = Path(shutil.copytree(folder, tmp_path / "tiles"))
    bundle = next(path for path in (copy / "tile" / "entries").rglob("*") if path.is_file())
    content = bytearray(bundle.read_bytes())
    content[-2] ^= 1
    bundle.write_bytes(content)
    assert shell.json("ledger", "replay", "--tiles", str(copy), code=1, offline=True)["sound"] is False
    bundle.write_bytes(content[:-10])
    assert shell.run("ledger", "replay", "--tiles", str(copy), offline=True)[0] == 1
    bundle.unlink()
    assert shell.run("ledger", "replay", "--tiles", str(copy), offline=True)[0] == 4
    assert shell.run("ledger", "replay", "--tiles", str(tmp_path / "none"), offline=True)[0] == 4
    (copy / "checkpoint").write_bytes(b"nothing")
    assert shell.run("ledger", "replay", "--tiles", str(copy), offline=True)[0] == 1


def test_export_is_the_same_as_audit_export(shell: Shell, tmp_path: Path) -> None:
    wanted = ("--asset", "lender/loans", "--since", "2020-01-01T00:00:00Z")
    for group in ("audit", "ledger"):
        out = tmp_path / f"{group}.zip"
        assert shell.run(group, "export", *wanted, "--out", str(out))[0] == 0
        assert shell.run("verify", str(out), offline=True)[0] == 0
    code, _ = shell.run("ledger", "export", "--since", "never", "--out", str(tmp_path / "x"))
    assert code == 4


def test_search_takes_every_condition(shell: Shell) -> None:
    found = shell.json(
        "audit", "search", "--type", "asset.*", "--actor", "lender", "--newest", "--limit", "1"
    )
    assert [one["type"] for one in found] == ["asset.publish"]
    assert shell.json("audit", "search", "--refused") == []
    assert len(shell.json("audit", "search", "--limit", "3")) == 3
    assert shell.json("audit", "search", "--until", "2020-01-01T00:00:00Z") == []


def test_commands_speak_chinese(shell: Shell) -> None:
    for name in ("show", "prove", "members", "proposals", "export", "fsck", "replay"):
        code, text = shell.run("ledger", name, "--help", "--lang", "zh", offline=True)
        assert code == 0
        assert any("\u4e00" <= letter <= "\u9fff" for letter in text)
