"""``parley notarize`` from the first file to the printed certificate, with nodes in this process."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from exchange.cli.application import main
from exchange.errors import TimedOut
from exchange.sdk import NodeClient, NodeProblem
from exchange.sdk import notarization as notarizing
from exchange.testing import ConsortiumInProcess
from ledger.container import unpack
from ledger.notarization import Proof

pytestmark = pytest.mark.xdist_group("exchange-notarize-commands")

TEXTS = {"rating.pdf": b"%PDF rating AA", "annex one.txt": b"annex", "empty": b""}


class Desk:
    """A person's machine: files, profiles, and the command line."""

    def __init__(self, running: ConsortiumInProcess, folder: Path, capsys: Any) -> None:
        self.running, self.folder, self._capsys = running, folder, capsys
        for profile in running.profiles.values():
            profile.save(folder / "home")
        for name, content in TEXTS.items():
            (folder / name).write_bytes(content)
        self.genesis = running.client("lender").node()["genesis"]

    def path(self, name: str) -> str:
        return str(self.folder / name)

    def run(self, *words: str) -> tuple[int, Any, str]:
        """Exit code, the JSON result, and what a person reads."""
        code = main([*words, "--format", "json"])
        shown = self._capsys.readouterr()
        return code, json.loads(shown.out) if shown.out else None, shown.err

    def at_node(self, *words: str, org: str = "lender") -> tuple[int, Any, str]:
        return self.run(*words, "--org", org, "--home", self.path("home"))

    def notarize(self, *names: str, **options: str) -> list[dict[str, Any]]:
        extra = [word for name, value in options.items() for word in (f"--{name}", value)]
        files = [self.path(name) for name in names or TEXTS]
        code, answer, error = self.at_node("notarize", *files, "--out", str(self.folder), *extra)
        assert code == 0, error
        data: list[dict[str, Any]] = answer["data"]
        return data


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ConsortiumInProcess]:
    names = ("lender", "bureau", "regulator")
    with ConsortiumInProcess(tmp_path_factory.mktemp("notary"), names=names) as made:
        yield made


@pytest.fixture
def desk(running: ConsortiumInProcess, tmp_path: Path, capsys: Any) -> Desk:
    return Desk(running, tmp_path, capsys)


def test_a_notarized_file_verifies_offline_and_an_altered_copy_does_not(desk: Desk) -> None:
    made = desk.notarize(kind="credit-report", note="季度")
    assert [one["position"] for one in made] == [0, 1, 2]
    assert len({one["evidence"] for one in made}) == 1
    verify = (
        "notarize",
        "verify",
        "--proof",
        desk.path("rating.pdf.parley-proof"),
        "--genesis",
        desk.genesis,
    )
    original = ("--original", desk.path("rating.pdf"))
    code, answer, said = desk.run(*verify, "--copy", desk.path("rating.pdf"), *original)
    assert (code, answer["data"]["outcome"]) == (0, "authentic")
    assert answer["data"]["notarized_by"] == "lender"
    assert "Authentic" in said
    Path(desk.path("forged.pdf")).write_bytes(TEXTS["rating.pdf"].replace(b"AA", b"AB"))
    code, answer, _ = desk.run(*verify, "--copy", desk.path("forged.pdf"), *original)
    assert (code, answer["data"]["outcome"]) == (1, "copy-differs")
    assert answer["data"]["findings"]["ledger-original"] == "same"
    code, answer, said = desk.run(*verify, "--copy", desk.path("rating.pdf"), "--lang", "zh")
    assert (code, answer["data"]["findings"]["original-copy"]) == (0, "not-compared")
    assert "未提供原件" in said


def test_the_first_word_may_be_left_out_or_not(desk: Desk) -> None:
    first = desk.notarize("empty")
    code, answer, _ = desk.at_node("notarize", "files", desk.path("empty"), "--out", desk.path(""))
    assert (code, answer["data"]) == (0, first)
    assert main(["notarize", "--help"]) == 0


def test_running_it_again_gives_the_same_proofs(desk: Desk) -> None:
    first, bytes_before = desk.notarize(), Path(desk.path("empty.parley-proof")).read_bytes()
    Path(desk.path("rating.pdf.parley-proof")).unlink()
    assert desk.notarize() == first
    assert Path(desk.path("empty.parley-proof")).read_bytes() == bytes_before
    other = desk.at_node("notarize", desk.path("empty"), "--out", desk.path(""), "--note", "another")
    assert (other[0], other[1]["error_code"]) == (1, "request.conflict")


def test_a_private_note_stays_at_the_node(desk: Desk) -> None:
    words = ("--private-note", "for client 4711", "--kind", "annex")
    code, answer, _ = desk.at_node("notarize", desk.path("empty"), "--out", desk.path(""), *words)
    assert code == 0
    [made] = answer["data"]
    [entry] = [e for e in desk.running.client("bureau").entries() if e["txid"] == made["txid"]]
    assert entry["body"]["kind"] == "annex"
    assert "4711" not in str(entry)
    assert made["txid"] in desk.running.client("lender").private_entries()


def test_files_of_one_name_are_refused_before_anything_is_sent(desk: Desk) -> None:
    (desk.folder / "second").mkdir()
    (desk.folder / "second" / "empty").write_bytes(b"x")
    code, answer, _ = desk.at_node("notarize", desk.path("empty"), desk.path("second/empty"))
    assert (code, answer["error_code"]) == (4, "request.invalid")


def test_more_files_than_an_entry_holds_become_several_entries(
    desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(notarizing, "MAX_FINGERPRINTS", 2)
    made = desk.notarize()
    assert [one["position"] for one in made] == [0, 1, 0]
    assert len({one["txid"] for one in made}) == 2


@pytest.mark.parametrize(
    ("failure", "attempts", "code"),
    [
        (NodeProblem(503, "hub.unreachable", "gone", {}, retryable=True), 2, 0),
        (TimedOut("slow"), 2, 0),
        (NodeProblem(409, "request.conflict", "no", {}), 1, 1),
    ],
)
def test_a_lost_answer_is_asked_for_again(
    desk: Desk, monkeypatch: pytest.MonkeyPatch, failure: Exception, attempts: int, code: int
) -> None:
    monkeypatch.setattr(notarizing, "_PAUSE_S", 0.0)
    ask, asked = NodeClient.notarize, []

    def loses_the_first_answer(self: NodeClient, *args: Any, **named: Any) -> dict[str, Any]:
        asked.append(ask(self, *args, **named))
        if len(asked) == 1:
            raise failure
        return asked[-1]

    monkeypatch.setattr(NodeClient, "notarize", loses_the_first_answer)
    words = (desk.path("rating.pdf"), "--out", desk.path(""), "--note", str(code))
    assert desk.at_node("notarize", *words)[0] == code
    assert len(asked) == attempts
    assert len({answer["txid"] for answer in asked}) == 1


def test_a_node_signs_and_records_a_verdict_that_others_check(desk: Desk) -> None:
    desk.notarize()
    proof, copy = desk.path("rating.pdf.parley-proof"), desk.path("rating.pdf")
    asked = ("notarize", "verify", "--proof", proof, "--copy", copy, "--out", desk.path(""))
    code, answer, _ = desk.at_node(
        *asked, "--record", "--challenge", "tender 9", "--genesis", desk.genesis, org="regulator"
    )
    assert (code, answer["data"]["verifier"]) == (0, "regulator")
    verdict = answer["data"]["verdict"]
    check = ("notarize", "check", verdict, "--genesis", desk.genesis)
    code, again, _ = desk.run(*check, "--copy", copy, "--challenge", "tender 9")
    assert (code, again["data"]["outcome"]) == (0, "authentic")
    assert (again["data"]["verifier"], again["data"]["index"]) == ("regulator", answer["data"]["index"])
    for more in (("--copy", desk.path("empty")), ("--challenge", "tender 8")):
        code, refused, _ = desk.run(*check, *more)
        assert (code, refused["error_code"]) == (1, "ledger.invalid-verdict")
    altered = Path(verdict).read_bytes().replace(b"tender 9", b"tender 8")
    Path(verdict).write_bytes(altered)
    code, refused, _ = desk.run(*check)
    assert (code, refused["error_code"]) == (1, "ledger.invalid-verdict")


def test_a_forged_proof_is_unproven_both_ways(desk: Desk) -> None:
    desk.notarize()
    path = desk.folder / "rating.pdf.parley-proof"
    forged = {**json.loads(path.read_bytes()), "digest": "ab" * 32}
    path.write_bytes(json.dumps(forged, sort_keys=True, separators=(",", ":")).encode())
    asked = ("notarize", "verify", "--proof", str(path), "--copy", desk.path("rating.pdf"))
    code, answer, _ = desk.run(*asked)
    assert (code, answer["data"]["outcome"]) == (1, "unproven")
    code, answer, _ = desk.at_node(*asked, "--out", desk.path(""), org="bureau")
    assert (code, answer["data"]["outcome"]) == (1, "unproven")
    code, answer, _ = desk.run("notarize", "check", answer["data"]["verdict"], "--genesis", desk.genesis)
    assert (code, answer["data"]["outcome"]) == (1, "unproven")
    path.write_bytes(b"{}")
    code, answer, _ = desk.run(*asked)
    assert (code, answer["error_code"]) == (1, "ledger.invalid-notarization")


def test_evidence_that_is_absent_foreign_or_altered_is_refused(desk: Desk) -> None:
    [made] = desk.notarize("rating.pdf")
    asked = ("notarize", "verify", "--proof", made["proof"], "--copy", desk.path("rating.pdf"))
    code, answer, _ = desk.run(*asked, "--genesis", "ab" * 32)
    assert (code, answer["error_code"]) == (1, "ledger.invalid-bundle")
    evidence = Path(made["evidence"])
    good = evidence.read_bytes()
    evidence.write_bytes(good.replace(b'"count":1', b'"count":2', 1))
    code, answer, _ = desk.run(*asked)
    assert (code, answer["error_code"]) == (1, "ledger.invalid-bundle")
    evidence.unlink()
    code, answer, _ = desk.run(*asked)
    assert (code, answer["error_code"]) == (4, "request.invalid")
    code, _, _ = desk.at_node("notarize", "evidence", made["notarization"], "--out", str(evidence))
    assert code == 0
    assert unpack(evidence.read_bytes())["entries/0.json"] == unpack(good)["entries/0.json"]
    assert desk.run(*asked)[0] == 0
    assert desk.run(*asked, "--record")[0] == 4
    [other] = desk.notarize("empty", note="elsewhere")
    code, answer, _ = desk.run(*asked, "--evidence", other["evidence"])
    assert (code, answer["error_code"]) == (4, "request.invalid")


def test_a_certificate_states_what_was_checked_and_runs_nothing(desk: Desk) -> None:
    name = "<script>alert(1)</script>.pdf"
    (desk.folder / "a").mkdir()
    document = desk.folder / "a" / name.replace("/", "")
    document.write_bytes(b"x")
    [made] = desk.notarize(f"a/{document.name}", note="<b>季度</b>")
    out = desk.path("certificate.html")
    base = ("notarize", "certificate", "--proof", made["proof"], "--out", out)
    code, _, _ = desk.run(*base, "--document", str(document), "--genesis", desk.genesis)
    assert code == 0
    page = Path(out).read_text("utf-8")
    proof = Proof.parse(Path(made["proof"]).read_bytes())
    for text in (proof.digest.hex(), proof.place.txid, desk.genesis, "&lt;b&gt;季度", made["time"], "lender"):
        assert text in page
    assert proof.salt.hex() not in page
    assert "<script" not in page
    assert "<b>季度" not in page
    assert re.findall(r"""(?:src|href)\s*=|url\(|@import""", page) == []
    code, answer, _ = desk.run(*base, "--document", desk.path("empty"))
    assert (code, answer["error_code"]) == (4, "request.invalid")


def test_a_certificate_with_a_verdict_names_who_verified(desk: Desk) -> None:
    first, second = desk.notarize("rating.pdf", "empty")
    asked = ("notarize", "verify", "--proof", first["proof"], "--copy", desk.path("empty"))
    _, answer, _ = desk.at_node(*asked, "--out", desk.path(""), "--record", org="bureau")
    verdict, out = answer["data"]["verdict"], desk.path("certificate.html")
    words = ("notarize", "certificate", "--verdict", verdict, "--out", out, "--proof")
    assert desk.run(*words, first["proof"])[0] == 0
    page = Path(out).read_text("utf-8")
    assert "送验件被改动" in page
    assert "bureau" in page
    code, answer, _ = desk.run(*words, second["proof"])
    assert (code, answer["error_code"]) == (4, "request.invalid")


def test_a_forgotten_batch_still_verifies(desk: Desk) -> None:
    [made] = desk.notarize("annex one.txt", note="forget me")
    assert desk.at_node("notarize", "forget", made["notarization"])[0] == 0
    asked: Callable[[], tuple[int, Any, str]] = lambda: desk.run(  # noqa: E731
        "notarize", "verify", "--proof", made["proof"], "--copy", desk.path("annex one.txt")
    )
    assert asked()[0] == 0
    code, answer, _ = desk.at_node("notarize", desk.path("annex one.txt"), "--note", "forget me")
    assert (code, answer["error_code"]) == (1, "request.conflict")
