"""Evidence at real nodes: time stamps of an outside authority, from the command line into a bundle."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import httpx
import pytest

from exchange.cli import main
from exchange.errors import AuthorityUnreachable, InvalidRequest
from exchange.node.ledger_client import LedgerClient
from exchange.node.timestamps import Timestamps
from exchange.sdk import NodeProblem
from exchange.testing import ConsortiumInProcess
from exchange.tls import client_context
from ledger.browser import page, policy
from ledger.bundle import verify
from ledger.commitments import Opening, commit
from ledger.container import unpack
from ledger.entries import new_id
from ledger.errors import InvalidTimestamp
from ledger.testing.authority import make_authority, make_issuer, serve_authority
from ledger.times import system_clock

NAMES = ("lender", "regulator")


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ConsortiumInProcess]:
    with opened(tmp_path_factory.mktemp("evidence")) as made:
        yield made


@contextmanager
def opened(root: Path) -> Iterator[ConsortiumInProcess]:
    """Run a consortium whose genesis is final, with profiles in ``root/home``."""
    with ConsortiumInProcess(root, NAMES) as made:
        for profile in made.profiles.values():
            profile.save(root / "home")
        for name in NAMES:
            ledger = made.nodes[name].services.ledger
            ledger.wait_until(partial(final_size, ledger), 20, "the genesis")
        yield made


def final_size(ledger: LedgerClient) -> int | None:
    return ledger.final_size or None


def called(running: ConsortiumInProcess, capsys: pytest.CaptureFixture[str], *words: str) -> Any:
    """Run a command as the regulator; returns its envelope."""
    capsys.readouterr()
    main([*words, "--org", "regulator", "--home", str(running.root / "home"), "--format", "json"])
    return json.loads(capsys.readouterr().out)


@pytest.mark.authority
def test_a_checkpoint_is_stamped_and_the_stamp_verifies_offline(
    running: ConsortiumInProcess, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    root = make_issuer("Root")
    authority = make_authority(tmp_path / "authority", root)
    certificates = tmp_path / "root.pem"
    certificates.write_bytes(root.pem)
    other = tmp_path / "other.pem"
    other.write_bytes(make_issuer("Root").pem)
    with serve_authority(authority) as url:
        stamp = ["ledger", "timestamp", "--tsa", url, "--certificates"]
        made = called(running, capsys, *stamp, str(certificates))
        assert made["data"]["authority"] == "CN=Test authority"
        again = called(running, capsys, *stamp, str(certificates))
        assert again["error_code"] == "request.conflict"
        refused = called(running, capsys, *stamp, str(other))
        assert refused["error_code"] == "ledger.invalid-timestamp"
    assert [one["url"] for one in running.client("regulator").timestamps()] == [url]
    path = tmp_path / "evidence.zip"
    path.write_bytes(running.client("regulator").export_bundle())
    genesis = running.nodes["regulator"].services.genesis
    check = ["verify", str(path), "--genesis", genesis, "--format", "json", "--tsa-root"]
    assert main([*check, str(certificates)]) == 0
    report = json.loads(capsys.readouterr().out)["data"]
    assert [stamp["trusted"] for stamp in report["timestamps"]] == [True]
    assert main([*check, str(other)]) == 1
    assert json.loads(capsys.readouterr().out)["error_code"] == "ledger.invalid-bundle"
    assert verify(path.read_bytes()).timestamps[0].size <= report["size"]


@pytest.mark.parametrize(
    "answer",
    [
        httpx.Response(500),
        httpx.Response(200, text="hello"),
        httpx.Response(302, headers={"Location": "https://elsewhere.example/"}),
        httpx.Response(200, headers={"Content-Type": "application/timestamp-reply"}, content=bytes(70_000)),
    ],
    ids=["failure", "page", "redirect", "too-long"],
)
def test_what_is_no_answer_of_an_authority_is_named(
    running: ConsortiumInProcess, answer: httpx.Response
) -> None:
    stamps = Timestamps(running.nodes["lender"].services, httpx.MockTransport(lambda _: answer))
    with pytest.raises(AuthorityUnreachable):
        stamps.stamp("http://tsa.example/", make_issuer("Root").pem)


def test_an_authority_is_named_by_an_address(running: ConsortiumInProcess) -> None:
    stamps = Timestamps(running.nodes["lender"].services)
    for address in (
        "file:///etc/hosts",
        "tsa.example",
        "http://",
        "http://user:pass@tsa.example/",
        "ftp://x/",
    ):
        with pytest.raises(InvalidRequest, match="authority"):
            stamps.stamp(address, make_issuer("Root").pem)
    with pytest.raises(InvalidTimestamp, match="PEM"):
        stamps.stamp("http://tsa.example/", b"x")
    below = make_issuer("Below", make_issuer("Root"))
    with pytest.raises(InvalidRequest, match="root certificate"):
        stamps.stamp("http://tsa.example/", below.pem)
    with pytest.raises(AuthorityUnreachable):
        stamps.stamp("http://127.0.0.1:9/", make_issuer("Root").pem)


def test_a_ledger_is_anchored_in_another_and_verified_from_there(
    running: ConsortiumInProcess, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with opened(tmp_path) as other:
        home = str(other.root / "home")
        first = called(running, capsys, "ledger", "anchor", "--from", "lender", "--from-home", home)
        other.nodes["lender"].services.ledger.write("member.update", {"endpoint": "127.0.0.1:7"})
        second = called(running, capsys, "ledger", "anchor", "--from", "lender", "--from-home", home)
        size = second["data"]["size"]
        assert size > first["data"]["size"]
        again = called(running, capsys, "ledger", "anchor", "--from", "lender", "--from-home", home)
        assert (again["error_code"], "anchor.exists" in again["message"]) == ("ledger.refused", True)
        (row,) = running.client("regulator").anchors()
        assert (row["size"], row["genesis"]) == (size, other.nodes["lender"].services.genesis)
        other.nodes["lender"].services.ledger.write("member.update", {"endpoint": "127.0.0.1:8"})
        bundle, elsewhere = tmp_path / "bundle.zip", tmp_path / "elsewhere.zip"
        words = ["audit", "export", "--org", "lender", "--home", home, "--out", str(bundle)]
        assert main([*words, "--earlier", str(size)]) == 0
        called(running, capsys, "audit", "export", "--entry", second["data"]["txid"], "--out", str(elsewhere))
        pins = ["--genesis", other.nodes["lender"].services.genesis]
        pins += ["--anchor-genesis", running.nodes["lender"].services.genesis]
        check = ["verify", str(bundle), *pins, "--anchored-in", str(elsewhere), "--format", "json"]
        assert main(check) == 0
        anchored = json.loads(capsys.readouterr().out)["data"]["anchored"]
        assert (anchored["size"], anchored["pinned"]) == (size, True)
        with pytest.raises(NodeProblem, match="final here"):
            other.client("lender").offer_anchor(10_000)
        with pytest.raises(NodeProblem, match="another ledger"):
            other.client("lender").anchor(other.client("lender").offer_anchor())


def test_a_checkpoint_travels_as_a_file(
    running: ConsortiumInProcess, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "checkpoint.json"
    called(running, capsys, "ledger", "checkpoint", "--out", str(path))
    own = called(running, capsys, "ledger", "anchor", str(path))
    assert own["error_code"] == "request.invalid"
    altered = {**json.loads(path.read_text()), "genesis": "00" * 32, "size": 1}
    path.write_text(json.dumps(altered))
    refused = called(running, capsys, "ledger", "anchor", str(path))
    assert (refused["error_code"], "anchor.other-checkpoint" in refused["message"]) == (
        "ledger.refused",
        True,
    )
    assert main(["ledger", "anchor", "--org", "regulator"]) == 4


PRIVATE = "annexes 3 and 7 of the Kestrel file"


def test_private_content_is_disclosed_and_erased(
    running: ConsortiumInProcess, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    client = running.client("regulator")
    notarization = new_id("notarization", system_clock)
    asked: dict[str, Any] = {"notarization": notarization, "note": "a public note", "private": PRIVATE}
    made = client.notarize(["00" * 32], **asked)
    assert client.notarize(["00" * 32], **asked) == made
    for other in ("another note", None):
        with pytest.raises(NodeProblem, match="other fingerprints, kind or notes"):
            client.notarize(["00" * 32], **{**asked, "private": other})
    txid = made["proofs"][0]["txid"]
    assert client.private_entries() == [txid]
    path = tmp_path / "disclosed.zip"
    words = ["audit", "export", "--disclose", txid, "--out", str(path)]
    called(running, capsys, *words)
    members = unpack(path.read_bytes())
    (index,) = verify(path.read_bytes()).disclosed
    assert members[f"disclosed/{index}.bin"] == PRIVATE.encode()
    assert not shows(running.root, PRIVATE.encode())
    assert shows(running.root, b"a public note")
    with pytest.raises(NodeProblem) as caught:
        running.client("lender").export_bundle(disclose=[txid])
    assert caught.value.code == "ledger.not-kept"
    called(running, capsys, "ledger", "erase", txid)
    assert called(running, capsys, *words)["error_code"] == "ledger.not-kept"
    assert called(running, capsys, "ledger", "erase", txid)["error_code"] == "ledger.not-kept"
    assert verify(client.export_bundle(entries=[txid]), running.nodes["lender"].services.genesis).pinned
    assert client.compare()["differences"] == []
    assert client.notarize(["00" * 32], **asked) == made


def shows(root: Path, content: bytes) -> bool:
    """Whether any file of the hub or of a node, databases and journals included, has these bytes."""
    return any(content in path.read_bytes() for path in root.rglob("*") if path.is_file())


def test_a_verdict_on_record_can_be_disclosed(running: ConsortiumInProcess) -> None:
    client = running.client("regulator")
    made = client.notarize(["11" * 32], notarization=new_id("notarization", system_clock))
    before = set(client.private_entries())
    client.verify_copy(made["proofs"][0], "11" * 32, record=True)
    (txid,) = set(client.private_entries()) - before
    data = client.export_bundle(disclose=[txid])
    (index,) = verify(data).disclosed
    verdict = json.loads(unpack(data)[f"disclosed/{index}.bin"])
    assert verdict["outcome"] == "authentic"


def test_a_private_note_moves_to_the_entry_that_is_signed_anew(running: ConsortiumInProcess) -> None:
    services = running.nodes["lender"].services
    commitment, salt = commit(PRIVATE.encode())
    old, new = (services.ledger.sign("member.update", {}, commit=commitment) for _ in range(2))
    services.payloads.keep(old, Opening(PRIVATE.encode(), salt))
    services.payloads.move(old, new)
    assert services.payloads.txids() == [new.txid]
    services.payloads.erase(new.txid)
    services.payloads.move(new, old)
    assert services.payloads.txids() == []


def test_the_page_that_verifies_bundles_is_served_and_written(
    running: ConsortiumInProcess, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    profile = running.profiles["regulator"]
    context = client_context(None, None, profile.certificate)
    answer = httpx.get(f"{profile.url}/verify", verify=context, trust_env=False)
    assert (answer.status_code, answer.content) == (200, page())
    assert answer.headers["Content-Security-Policy"] == f"{policy()}; frame-ancestors 'none'"
    path = tmp_path / "verify.html"
    assert main(["verify", "--page", str(path)]) == 0
    assert path.read_bytes() == page()
    assert main(["verify"]) == 4
    assert main(["verify", str(path), "--page", str(path)]) == 4
    capsys.readouterr()
