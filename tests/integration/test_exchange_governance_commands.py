"""``parley gov`` and ``parley node rotate-keys`` against a running consortium."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from exchange.cli import main
from exchange.identity import NodeKeys
from exchange.keyring import KeyRingFile
from exchange.node.setup import KEYS_FILE
from exchange.testing import ConsortiumInProcess

pytestmark = pytest.mark.xdist_group("exchange-governance-commands")

PASSPHRASE = "correct horse battery staple"
Run = Callable[..., tuple[int, Any]]


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ConsortiumInProcess]:
    root = tmp_path_factory.mktemp("governance-commands")
    with ConsortiumInProcess(root, names=("lender", "bureau", "regulator")) as made:
        for profile in made.profiles.values():
            profile.save(root)
        ledgers = [node.services.ledger for node in made.nodes.values()]
        for ledger in ledgers:
            ledger.wait_until(lambda ledger=ledger: ledger.final_size or None, 20, "the genesis to be final")
        yield made


@pytest.fixture
def run(running: ConsortiumInProcess, capsys: pytest.CaptureFixture[str]) -> Run:
    def call(*words: str, org: str | None = "lender") -> tuple[int, Any]:
        whose = () if org is None else ("--org", org, "--home", str(running.root))
        capsys.readouterr()
        code = main([*words, *whose, "--format", "json"])
        shown = capsys.readouterr().out
        return code, json.loads(shown).get("data") if shown else None

    return call


def enrolment(folder: Path) -> Path:
    keys = NodeKeys.generate("newbank", "test.parley", "127.0.0.1")
    path = folder / "enrolment.json"
    path.write_text(json.dumps(keys.enrolment(keys.member_record("participant", "New Bank", "127.0.0.1:1"))))
    return path


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (("suspend", "bureau"), {"action": "member.suspend"}),
        (("remove", "bureau"), {"action": "member.remove"}),
        (("quorum", "3"), {"action": "params.set", "quorum": 3}),
        (("veto", "all-regulators"), {"action": "params.set", "regulator_veto": "all-regulators"}),
        (("skew", "60"), {"action": "params.set", "max_clock_skew_s": 60}),
        (("allow", "SM2-SM3"), {"action": "algorithm.allow", "algorithm": "SM2-SM3"}),
        (("engine", "etcd"), {"action": "engine.switch", "engine": "etcd"}),
    ],
    ids=lambda value: value[0] if isinstance(value, tuple) else "",
)
def test_each_change_is_proposed(
    running: ConsortiumInProcess, run: Run, words: tuple[str, ...], expected: dict[str, Any]
) -> None:
    code, made = run("gov", "propose", *words, "--effective-after", "7", "--reason", "a test")
    assert code == 0
    code, listed = run("gov", "list")
    row = next(one for one in listed if one["proposal"] == made["proposal"])
    assert row["actions"][0].items() >= expected.items()
    assert (row["effective_after"], row["reason"], row["status"]) == (7, "a test", "open")
    if "member" in row["actions"][0]:
        assert row["actions"][0]["member"] == running.did("bureau")
    assert run("gov", "withdraw", made["proposal"])[0] == 0


@pytest.mark.parametrize(
    "words", [("resume", "bureau"), ("forbid", "EdDSA"), ("quorum", "9"), ("suspend", "nobody")]
)
def test_what_cannot_be_done_is_refused_at_once(run: Run, words: tuple[str, ...]) -> None:
    assert run("gov", "propose", *words)[0] != 0


def test_a_member_is_admitted_by_votes(run: Run, tmp_path: Path) -> None:
    code, made = run("gov", "propose", "add", str(enrolment(tmp_path)))
    assert code == 0
    for org in ("bureau", "regulator"):
        assert run("gov", "vote", made["proposal"], "--approve", org=org)[0] == 0
    broken = tmp_path / "broken.json"
    broken.write_text("[]")
    assert run("gov", "propose", "add", str(broken))[0] != 0


def test_a_rotation_is_made_at_the_node_and_proposed(
    running: ConsortiumInProcess, run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PARLEY_PASSPHRASE", PASSPHRASE)
    directory, out = running.root / "bureau", tmp_path / "rotation.json"
    rotate = ("node", "rotate-keys", "--dir", str(directory), "--out", str(out))
    code, made = run(*rotate, org=None)
    assert (code, made["keys"]) == (0, ["tx", "cosign", "seal"])
    assert run(*rotate, org=None)[0] != 0
    profiles = ("--use", "tls", "--use", "tx", "--profiles", str(running.root), "--discard")
    assert run(*rotate, *profiles, org=None)[0] == 0
    assert set(json.loads(out.read_text())["new"]) == {"tls", "tx"}
    assert len(KeyRingFile(directory / KEYS_FILE, PASSPHRASE).read().sets) == 2
    assert run("gov", "propose", "rotate", str(out))[0] == 0
    assert run("gov", "list", org="bureau")[0] == 0
