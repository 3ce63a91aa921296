"""The page that verifies bundles, given a notarized document: in Chromium, against what Python says."""

from __future__ import annotations

import base64
import hashlib
import json
import re
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, replace
from itertools import product
from pathlib import Path
from typing import Any

import pytest

from ledger.browser import page
from ledger.bundle import export
from ledger.entries import new_id
from ledger.errors import InvalidNotarization
from ledger.membership import genesis_hash
from ledger.notarization import NOTARIZE, Place, Proof, notarize_digests
from ledger.offline import Shown, check_proof
from ledger.testing import NET, consortium
from ledger.testing.chromium import Page, chromium
from ledger.times import system_clock
from ledger.verdicts import compare

pytestmark = pytest.mark.browser

DOCUMENTS = [b"report %d" % number for number in range(5)]


def sha(document: bytes) -> bytes:
    return hashlib.sha256(document).digest()


@dataclass
class Notarized:
    """A bundle that shows an accepted and a refused notarization, and the proofs of both."""

    data: bytes
    genesis: str
    proofs: list[Proof]
    refused: list[Proof]
    folder: Path

    def file(self, name: str, content: bytes) -> Path:
        path = self.folder / name
        path.write_bytes(content)
        return path


@pytest.fixture(scope="module")
def notarized(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Notarized]:
    folder = tmp_path_factory.mktemp("notarized")
    with consortium(folder, "lender", "bureau", "regulator") as made:
        proofs = []
        for changes in ({"note": "第三季度"}, {"count": 0}):
            batch = notarize_digests(
                [sha(one) for one in DOCUMENTS], notarization=new_id("notarization", system_clock)
            )
            placed = made.act("lender", NOTARIZE, {**batch.body(), **changes})
            place = Place(NET, genesis_hash(made.genesis), placed.txid, placed.index)
            proofs.append([batch.proof(position, place) for position in range(len(DOCUMENTS))])
        made.settle()
        mirror, member = made.mirrors["regulator"], made.members["regulator"]
        size, state = mirror.final
        keys = {"did": member.did, "kid": member.kid, "key": member.tx, "tree": mirror.tree, "state": state}
        txids = [proof.place.txid for proof in (proofs[0][0], proofs[1][0])]
        data = export(mirror.store, size, txids, **keys)
        yield Notarized(data, genesis_hash(made.genesis), *proofs, folder)


@pytest.fixture(scope="module")
def shown(tmp_path_factory: pytest.TempPathFactory, notarized: Notarized) -> Iterator[Page]:
    folder = tmp_path_factory.mktemp("browser")
    (folder / "verify.html").write_bytes(page())
    with chromium(folder) as browser:
        opened = browser.open((folder / "verify.html").as_uri())
        data = json.dumps(base64.b64encode(notarized.data).decode())
        opened.run(f"openBundle(fromBase64({data})).then((found) => {{ globalThis.opened = found; }})")
        yield opened


def said(shown: Page, raw: bytes) -> dict[str, Any]:
    """What the page's own functions say of a proof file."""
    read = f"parseNotarized(fromBase64({json.dumps(base64.b64encode(raw).decode())}))"
    call = f"(async () => checkNotarized({read}, opened))().catch((error) => ({{ reason: error.message }}))"
    found: dict[str, Any] = shown.run(call)
    return found


def test_every_document_is_found_with_who_and_when(shown: Page, notarized: Notarized) -> None:
    bundle = Shown.open(notarized.data)
    for proof in notarized.proofs:
        found, expected = said(shown, proof.encode()), check_proof(proof, bundle)
        assert found == {
            "notarizedBy": f"{expected.title} ({expected.name})",
            "notarizedAt": expected.time,
            "note": expected.note,
        }


def test_what_python_refuses_the_page_refuses(shown: Page, notarized: Notarized) -> None:
    bundle, proof = Shown.open(notarized.data), notarized.proofs[2]
    other = notarized.refused[2]
    forged = [
        replace(proof, digest=sha(b"forged")),
        replace(proof, salt=bytes(32)),
        replace(proof, position=3),
        replace(proof, position=5),
        replace(proof, count=6),
        replace(proof, path=proof.path[:-1]),
        replace(proof, path=(*proof.path, bytes(32))),
        replace(proof, notarization=other.notarization),
        replace(proof, place=other.place),
        replace(proof, place=replace(proof.place, genesis="ab" * 32)),
        replace(proof, place=replace(proof.place, net="elsewhere")),
        replace(proof, place=replace(proof.place, index=0)),
        replace(proof, place=replace(proof.place, index=bundle.report.size - 1)),
        replace(proof, place=replace(proof.place, index=10**9)),
        other,
    ]
    for one in forged:
        with pytest.raises(InvalidNotarization):
            check_proof(one, bundle)
        assert "reason" in said(shown, one.encode()), one
    raw = proof.encode()
    for malformed in (
        b"",
        b"{}",
        raw + b" ",
        raw.replace(b'"v":1', b'"v":2'),
        raw.replace(b"sha-256", b"md5"),
    ):
        with pytest.raises(InvalidNotarization):
            Proof.parse(malformed)
        assert "reason" in said(shown, malformed)


def test_comparisons_come_to_the_same(shown: Page) -> None:
    digests = [sha(b"a"), sha(b"b"), sha(b"c")]
    for ledger, original, copy in product([*digests, None], [*digests, None], digests):
        words = [None if one is None else one.hex() for one in (ledger, original, copy)]
        found = shown.run(f"compareThree(...{json.dumps(words)})")
        expected = compare(ledger, original, copy)
        assert found == {
            "ledgerOriginal": expected.ledger_original,
            "ledgerCopy": expected.ledger_copy,
            "originalCopy": expected.original_copy,
            "outcome": expected.outcome,
        }


def used(shown: Page, notarized: Notarized, language: str, **files: Path) -> dict[str, str]:
    """What a person sees who chooses files and presses the button."""
    shown.run(f"document.querySelector('[data-language={language}]').click()")
    shown.run("document.getElementById('form').reset()")
    shown.run(f"document.getElementById('genesis').value = {json.dumps(notarized.genesis)}")
    for name, path in files.items():
        shown.choose(f"#{name}", path)
    shown.run("document.getElementById('form').requestSubmit()")
    shown.wait("['accepted', 'refused'].includes(document.getElementById('outcome').dataset.state)")
    found: dict[str, str] = shown.run(
        "({...outcome.dataset, text: outcome.textContent, facts: facts.innerText})"
    )
    return found


def test_a_person_checks_a_copy_in_either_language(shown: Page, notarized: Notarized) -> None:
    proof = notarized.proofs[1]
    files = {
        "bundle": notarized.file("evidence.zip", notarized.data),
        "proof": notarized.file("report.parley-proof", proof.encode()),
    }
    good, bad = notarized.file("good.txt", DOCUMENTS[1]), notarized.file("bad.txt", DOCUMENTS[1] + b".")
    for language, authentic, altered, absent in (
        ("en", "Authentic", "The copy differs", "no original"),
        ("zh", "一致", "不一致", "无原件"),
    ):
        found = used(shown, notarized, language, **files, copy=good, original=good)
        assert (found["state"], found["member"]) == ("accepted", "")
        assert authentic in found["text"]
        assert "Lender (lender)" in found["facts"]
        assert "第三季度" in found["facts"]
        found = used(shown, notarized, language, **files, copy=bad)
        assert (found["state"], found["member"]) == ("refused", "copy-differs")
        assert altered in found["text"]
        assert absent in found["facts"]
    assert used(shown, notarized, "en", **files, copy=good, original=bad)["member"] == "original-differs"
    forged = notarized.file("forged", replace(proof, digest=sha(b"x")).encode())
    assert used(shown, notarized, "en", **{**files, "proof": forged}, copy=good)["member"] == "unproven"
    silent = notarized.file("silent", replace(proof, place=replace(proof.place, index=1)).encode())
    bundle = Shown.open(notarized.data)
    assert bundle.is_silent_on(Proof.parse(silent.read_bytes())) == (bundle.entry(1) is None)
    for wrong in ({"proof": files["proof"]}, {"copy": good}, {"original": good}):
        found = used(shown, notarized, "en", bundle=files["bundle"], **wrong)
        assert (found["state"], found["member"]) == ("refused", "proof")
    broken = notarized.file("broken", b"{}")
    assert used(shown, notarized, "en", **{**files, "proof": broken}, copy=good)["member"] == "proof"
    assert used(shown, notarized, "en", bundle=files["bundle"])["state"] == "accepted"


def test_no_two_scripts_declare_one_name() -> None:
    """They share one scope, in which a second declaration would silently replace the first."""
    script = page().decode().split("<script>")[1]
    names = re.findall(r"^(?:async )?(?:function|const|let|class) +(\w+)", script, re.MULTILINE)
    assert len(names) > 60
    assert [name for name, times in Counter(names).items() if times > 1] == []
