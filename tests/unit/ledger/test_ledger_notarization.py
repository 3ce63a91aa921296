"""Fingerprint batches, their entry, their proofs; streaming; the comparison of three fingerprints."""

from __future__ import annotations

import hashlib
import subprocess
import sys
from dataclasses import replace
from itertools import product
from pathlib import Path
from typing import Any

import pytest

from ledger.commitments import commit
from ledger.entries import Entry, new_id
from ledger.errors import InvalidNotarization, Refusal
from ledger.merkle import Tree, root_of
from ledger.notarization import (
    MAX_FINGERPRINTS,
    NOTARIZE,
    Batch,
    Place,
    Proof,
    notarize_digests,
)
from ledger.rules.evidence import Outcome
from ledger.testing import START, Stage, draft_entry
from ledger.verdicts import Finding, compare

ID = new_id("notarization", lambda: START, lambda n: bytes(n))
VERDICT_ID = new_id("verdict", lambda: START, lambda n: bytes(n))
PLACE = Place("example/net", "ab" * 32, "cd" * 32, 7)


def digests(count: int) -> list[bytes]:
    return [hashlib.sha256(b"report %d" % number).digest() for number in range(count)]


@pytest.mark.parametrize("count", [1, 2, 3, 7, 8, 9, 255, MAX_FINGERPRINTS])
def test_root_and_paths_are_those_of_the_logs_own_tree(count: int) -> None:
    batch = notarize_digests(digests(count), notarization=ID)
    leaves = [
        bytes.fromhex(commit(digest, salt)[0])
        for digest, salt in zip(batch.digests, batch.salts, strict=True)
    ]
    tree = Tree(leaves)
    assert batch.root == tree.root() == root_of(leaves)
    for position in range(count):
        assert list(batch.path(position)) == tree.inclusion_proof(position)


def test_a_batch_of_one_states_the_commitment_itself() -> None:
    batch = notarize_digests(digests(1), notarization=ID)
    assert batch.body() == {
        "notarization": ID,
        "alg": "sha-256",
        "count": 1,
        "root": commit(batch.digests[0], batch.salts[0])[0],
    }
    assert batch.path(0) == ()


def test_a_fingerprint_cannot_be_found_by_guessing_documents() -> None:
    [digest] = digests(1)
    roots = {notarize_digests([digest], notarization=ID).root for _ in range(3)}
    assert len(roots) == 3
    assert not roots & {digest, hashlib.sha256(digest).digest(), hashlib.sha256(b"\x02" + digest).digest()}


def test_the_same_document_twice_has_two_leaves_and_two_proofs() -> None:
    batch = notarize_digests(digests(1) * 2, notarization=ID)
    first, second = (batch.proof(position, PLACE) for position in range(2))
    assert first.digest == second.digest
    assert first.salt != second.salt
    assert batch.levels[0][0] != batch.levels[0][1]


def test_a_batch_survives_its_store() -> None:
    batch = notarize_digests(digests(5), notarization=ID)
    assert Batch.decode(ID, batch.encode()) == batch
    assert len(batch.encode()) == 5 * 64


@pytest.mark.parametrize("count", [0, MAX_FINGERPRINTS + 1])
def test_a_batch_has_one_to_a_thousand_fingerprints(count: int) -> None:
    with pytest.raises(ValueError, match="1 to 1000"):
        notarize_digests(digests(count), notarization=ID)


@pytest.mark.parametrize("wrong", [{"digests": [bytes(31)]}, {"digests": digests(1), "salts": [bytes(16)]}])
def test_fingerprints_and_salts_have_32_bytes(wrong: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match="32"):
        notarize_digests(wrong["digests"], notarization=ID, salts=wrong.get("salts"))


def test_a_proof_is_small_and_has_one_spelling() -> None:
    proof = notarize_digests(digests(MAX_FINGERPRINTS), notarization=ID).proof(999, PLACE)
    data = proof.encode()
    assert len(data) < 1400
    assert Proof.parse(data) == proof
    assert "salt" not in repr(proof)
    for other in (data + b" ", data[:-1], b"[]", b"{}", bytes(20_000), data.replace(b'"v":1', b'"v":2')):
        with pytest.raises(InvalidNotarization):
            Proof.parse(other)


def body(**changes: Any) -> dict[str, Any]:
    return {"notarization": ID, "alg": "sha-256", "count": 1, "root": "ab" * 32, **changes}


def test_a_notarization_leaves_no_row_in_the_state() -> None:
    stage = Stage("lender", "regulator")
    before = stage.state.root()
    entry = stage.act("lender", NOTARIZE, body(kind="credit-report", note="third quarter"))
    stage.act("regulator", NOTARIZE, body(count=MAX_FINGERPRINTS))
    assert stage.state.root() == before
    assert ID in {stage_subject for stage_subject in entry.body.values() if isinstance(stage_subject, str)}


@pytest.mark.parametrize(
    "changes",
    [
        {"count": 0},
        {"count": MAX_FINGERPRINTS + 1},
        {"count": True},
        {"count": "1"},
        {"root": "AB" * 32},
        {"root": "ab" * 31},
        {"alg": "md5"},
        {"notarization": "job-" + "0" * 26},
        {"kind": ""},
        {"note": "n" * 257},
        {"files": ["secret.pdf"]},
    ],
)
def test_another_body_is_refused(changes: dict[str, Any]) -> None:
    with pytest.raises(Refusal) as caught:
        Stage("lender").act("lender", NOTARIZE, body(**changes))
    assert caught.value.code == "entry.malformed-body"


def test_a_verdict_on_record_needs_its_commitment() -> None:
    found = {"verdict": VERDICT_ID, "notarization": ID, "entry": "ab" * 32, "outcome": "authentic"}
    stage = Stage("lender")
    with pytest.raises(Refusal) as caught:
        stage.act("lender", "evidence.verdict", found)
    assert caught.value.code == "evidence.no-commitment"
    with pytest.raises(Refusal) as caught:
        stage.act("lender", "evidence.verdict", {**found, "outcome": "fine"})
    assert caught.value.code == "entry.malformed-body"
    lender = stage.members["lender"]
    draft = replace(draft_entry(lender, "evidence.verdict", found, now=stage.now), commit="cd" * 32)
    stage.apply(Entry.parse(draft.sign(lender.kid, lender.tx).encode()))


A, B, C = digests(3)
SAME, DIFFERENT = Finding.SAME, Finding.DIFFERENT
NOT_COMPARED, UNPROVEN = Finding.NOT_COMPARED, Finding.UNPROVEN


@pytest.mark.parametrize(
    ("ledger", "original", "copy", "pairs", "outcome"),
    [
        (A, A, A, (SAME, SAME, SAME), Outcome.AUTHENTIC),
        (A, A, B, (SAME, DIFFERENT, DIFFERENT), Outcome.COPY_DIFFERS),
        (A, B, A, (DIFFERENT, SAME, DIFFERENT), Outcome.ORIGINAL_DIFFERS),
        (A, B, B, (DIFFERENT, DIFFERENT, SAME), Outcome.LEDGER_DIFFERS),
        (A, B, C, (DIFFERENT, DIFFERENT, DIFFERENT), Outcome.ALL_DIFFER),
        (A, None, A, (NOT_COMPARED, SAME, NOT_COMPARED), Outcome.AUTHENTIC),
        (A, None, B, (NOT_COMPARED, DIFFERENT, NOT_COMPARED), Outcome.COPY_DIFFERS),
        (None, A, A, (UNPROVEN, UNPROVEN, SAME), Outcome.UNPROVEN),
        (None, A, B, (UNPROVEN, UNPROVEN, DIFFERENT), Outcome.UNPROVEN),
        (None, None, B, (NOT_COMPARED, UNPROVEN, NOT_COMPARED), Outcome.UNPROVEN),
    ],
)
def test_each_outcome_names_what_stands_apart(
    ledger: bytes | None, original: bytes | None, copy: bytes, pairs: tuple[Finding, ...], outcome: Outcome
) -> None:
    found = compare(ledger, original, copy)
    assert (found.ledger_original, found.ledger_copy, found.original_copy) == pairs
    assert found.outcome == outcome


def test_only_three_equal_fingerprints_are_authentic_three_ways() -> None:
    for ledger, original, copy in product([A, B, None], [A, B], [A, B]):
        authentic = compare(ledger, original, copy).outcome == Outcome.AUTHENTIC
        assert authentic == (ledger == original == copy)


def test_a_large_file_is_fingerprinted_in_little_memory(tmp_path: Path) -> None:
    """200 MB, most of it a hole, by a process that may not have that much."""
    path = tmp_path / "large.bin"
    with path.open("wb") as file:
        file.truncate(200_000_000)
        file.seek(100_000_000)
        file.write(b"in the middle")
    code = """
import resource, sys
from pathlib import Path
from ledger.notarization import fingerprint_file
used = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
resource.setrlimit(resource.RLIMIT_AS, (used + 40_000_000,) * 2)
print(fingerprint_file(Path(sys.argv[1])).hex())
"""
    done = subprocess.run(
        [sys.executable, "-P", "-c", code, str(path)], capture_output=True, text=True, check=True
    )
    expected = hashlib.sha256(bytes(100_000_000) + b"in the middle")
    expected.update(bytes(200_000_000 - 100_000_013))
    assert done.stdout.strip() == expected.hexdigest()
