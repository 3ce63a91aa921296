"""Notarization through nodes: proofs, retries, signed verdicts, and every bad input by name."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from exchange.errors import LedgerRefused
from exchange.node.notarizations import Fingerprints, Notarizations
from exchange.sdk import NodeProblem
from exchange.testing import ConsortiumInProcess
from ledger import canonical
from ledger.entries import Entry, new_id
from ledger.notarization import NOTARIZE, Proof
from ledger.offline import Shown, check_proof, check_verdict
from ledger.times import system_clock
from ledger.verdicts import VERDICT, Verdict

pytestmark = pytest.mark.xdist_group("exchange-notarization")

REPORT = b"rating of firm 4711: AA"
UNUSED = "notarization-" + "0" * 26
REPORTS = [b"rating of firm %d: AA" % number for number in range(7)]


def sha(document: bytes) -> str:
    return hashlib.sha256(document).hexdigest()


def fresh() -> str:
    return new_id("notarization", system_clock)


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ConsortiumInProcess]:
    with ConsortiumInProcess(tmp_path_factory.mktemp("notary")) as made:
        yield made


@pytest.fixture(scope="module")
def notarized(running: ConsortiumInProcess) -> dict[str, Any]:
    client = running.client("lender")
    return client.notarize(
        [sha(one) for one in REPORTS], notarization=fresh(), kind="credit-report", note="第三季度"
    )


def code_of(caught: pytest.ExceptionInfo[NodeProblem]) -> tuple[int, str]:
    return caught.value.status, caught.value.code


def test_each_document_has_a_proof_that_verifies_offline(
    running: ConsortiumInProcess, notarized: dict[str, Any]
) -> None:
    genesis = running.client("lender").node()["genesis"]
    for org in ("lender", "bureau"):
        shown = Shown.open(running.client(org).notarization_evidence(notarized["notarization"]), genesis)
        for report, proof in zip(REPORTS, notarized["proofs"], strict=True):
            assert proof["digest"] == sha(report)
            found = check_proof(Proof.parse(canonical.encode(proof)), shown)
            assert (found.name, found.kind, found.note) == ("lender", "credit-report", "第三季度")
            assert found.time == notarized["time"]


def test_asking_again_answers_the_same_and_writes_nothing(
    running: ConsortiumInProcess, notarized: dict[str, Any]
) -> None:
    client, before = running.client("lender"), len(list(running.client("regulator").entries(type_=NOTARIZE)))
    again = client.notarize(
        [sha(one) for one in REPORTS],
        notarization=notarized["notarization"],
        kind="credit-report",
        note="第三季度",
    )
    assert again == notarized == client.proofs(notarized["notarization"])
    assert len(list(running.client("regulator").entries(type_=NOTARIZE))) == before
    with pytest.raises(NodeProblem) as caught:
        client.notarize([sha(b"another")], notarization=notarized["notarization"])
    assert code_of(caught) == (409, "request.conflict")


def test_a_request_that_died_before_it_was_sent_is_finished_by_asking_again(
    running: ConsortiumInProcess, monkeypatch: pytest.MonkeyPatch
) -> None:
    services = running.nodes["lender"].services
    asked = Fingerprints(fresh(), (hashlib.sha256(REPORT).digest(),), None, None)
    with monkeypatch.context() as patched:
        patched.setattr(services.ledger, "send", lambda _: (_ for _ in ()).throw(ConnectionResetError()))
        with pytest.raises(ConnectionResetError):
            Notarizations(services).notarize(asked)
    with pytest.raises(NodeProblem) as caught:
        running.client("lender").proofs(asked.notarization)
    assert code_of(caught) == (409, "request.conflict")
    done = running.client("lender").notarize([sha(REPORT)], notarization=asked.notarization)
    kept = services.store.notarizations.find(asked.notarization)
    assert kept is not None
    assert done["txid"] == Entry.parse(kept.entry).txid


def test_an_entry_that_expired_before_it_was_sent_is_signed_anew(
    running: ConsortiumInProcess, monkeypatch: pytest.MonkeyPatch
) -> None:
    services = running.nodes["lender"].services
    asked = Fingerprints(fresh(), (hashlib.sha256(REPORT).digest(),), None, None)
    notarizations = Notarizations(services)
    with monkeypatch.context() as patched:
        patched.setattr(services.ledger, "_clock", lambda: datetime.now(UTC) - timedelta(hours=5))
        kept = notarizations._keep(asked)
    done = notarizations.notarize(asked)
    assert done.place.txid != Entry.parse(kept.entry).txid
    assert notarizations.find(asked.notarization) == done == notarizations.notarize(asked)


def test_only_stale_entries_are_signed_anew(
    running: ConsortiumInProcess, monkeypatch: pytest.MonkeyPatch
) -> None:
    services = running.nodes["lender"].services

    def refuse(entry: Entry) -> None:
        raise LedgerRefused(entry.type, "entry.malformed-body")

    monkeypatch.setattr(services.ledger, "send", refuse)
    with pytest.raises(LedgerRefused):
        Notarizations(services).notarize(Fingerprints(fresh(), (bytes(32),), None, None))


def test_a_forgotten_batch_is_gone_and_its_proofs_stay_good(running: ConsortiumInProcess) -> None:
    client = running.client("lender")
    made = client.notarize([sha(REPORT)], notarization=fresh())
    client.forget_notarization(made["notarization"])
    kept = running.nodes["lender"].services.store.notarizations.find(made["notarization"])
    assert kept is not None
    assert kept.leaves == b""
    for status, again in (
        (404, lambda: client.proofs(made["notarization"])),
        (409, lambda: client.notarize([sha(REPORT)], notarization=made["notarization"])),
        (404, lambda: client.forget_notarization(fresh())),
        (404, lambda: client.proofs(fresh())),
        (404, lambda: client.notarization_evidence(fresh())),
    ):
        with pytest.raises(NodeProblem) as caught:
            again()
        assert caught.value.status == status
    assert client.verify_copy(made["proofs"][0], sha(REPORT))["outcome"] == "authentic"


@pytest.mark.parametrize(
    ("digests", "notarization"),
    [
        ([], UNUSED),
        ([sha(b"%d" % number) for number in range(1001)], UNUSED),
        (["ab"], UNUSED),
        ([sha(REPORT).upper()], UNUSED),
        ([sha(REPORT)], "notarization-1"),
        ([sha(REPORT)], "job-" + "0" * 26),
    ],
)
def test_another_form_is_refused(running: ConsortiumInProcess, digests: list[str], notarization: str) -> None:
    with pytest.raises(NodeProblem) as caught:
        running.client("lender").notarize(digests, notarization=notarization)
    assert code_of(caught) == (422, "request.invalid")


def test_a_thousand_fingerprints_fit_one_entry_and_the_same_one_may_repeat(
    running: ConsortiumInProcess,
) -> None:
    client, digests = running.client("bureau"), [sha(b"%d" % (number // 2)) for number in range(1000)]
    made = client.notarize(digests, notarization=fresh())
    assert made["count"] == 1000
    proofs = [Proof.of(proof) for proof in made["proofs"]]
    assert len({proof.salt for proof in proofs}) == 1000
    record = running.nodes["bureau"].services.ledger.mirror.store.find(made["txid"])
    assert record is not None
    for proof in proofs:
        proof.check(record.entry, record.index)
    assert len(record.raw) < 1000


@pytest.mark.parametrize(
    ("copy", "original", "outcome"),
    [
        (REPORTS[3], REPORTS[3], "authentic"),
        (REPORTS[3], None, "authentic"),
        (REPORTS[3].replace(b"AA", b"AB"), REPORTS[3], "copy-differs"),
        (REPORTS[3], REPORTS[3] + b" ", "original-differs"),
        (b"forged", b"forged", "ledger-differs"),
        (b"one", b"two", "all-differ"),
    ],
)
def test_another_members_node_signs_what_a_copy_is(
    running: ConsortiumInProcess,
    notarized: dict[str, Any],
    copy: bytes,
    original: bytes | None,
    outcome: str,
) -> None:
    client = running.client("regulator")
    answer = client.verify_copy(
        notarized["proofs"][3],
        sha(copy),
        original=None if original is None else sha(original),
        challenge="tender 7",
        record=True,
    )
    assert answer["outcome"] == outcome
    if original is None:
        assert answer["findings"]["ledger-original"] == "not-compared"
    verdict = Verdict.parse(canonical.encode(answer["verdict"]))
    shown = Shown.open(client.notarization_evidence(notarized["notarization"]))
    recorded = check_verdict(verdict, shown, copy=hashlib.sha256(copy).digest(), challenge="tender 7")
    assert recorded == answer["index"]
    on_ledger = [entry for entry in client.entries(type_=VERDICT) if entry["index"] == recorded]
    assert on_ledger[0]["name"] == "regulator"
    assert sha(copy) not in str(on_ledger)


def test_a_proof_that_does_not_hold_gets_a_signed_verdict_and_not_an_error(
    running: ConsortiumInProcess, notarized: dict[str, Any]
) -> None:
    client, proof = running.client("analyst"), notarized["proofs"][2]
    for changes, reason in (
        ({"digest": sha(b"forged")}, "path"),
        ({"genesis": "ab" * 32}, "genesis"),
        ({"txid": "ab" * 32}, "txid"),
        ({"txid": "ab" * 32, "index": 10**9}, "txid"),
        ({"index": 0}, "txid"),
        ({"position": 3}, "path"),
    ):
        answer = client.verify_copy({**proof, **changes}, sha(b"forged"))
        assert (answer["outcome"], answer["reason"].partition(":")[0]) == ("unproven", reason)
        verdict = Verdict.parse(canonical.encode(answer["verdict"]))
        index = changes.get("index", proof["index"]) % 10**9
        bundle = client.notarization_evidence(proof["notarization"], index=index)
        assert check_verdict(verdict, Shown.open(bundle)) is None
    for malformed in ({}, {**proof, "path": ["zz"]}, {**proof, "count": 0}, {**proof, "extra": 1}):
        with pytest.raises(NodeProblem) as caught:
            client.verify_copy(malformed, sha(b"forged"))
        assert code_of(caught) == (422, "request.invalid")


@pytest.mark.parametrize("role", ["auditor", "approver", "administrator"])
def test_who_may_not_notarize(running: ConsortiumInProcess, role: str) -> None:
    body = {"notarization": fresh(), "digests": [sha(REPORT)]}
    with pytest.raises(NodeProblem) as caught:
        running.client("lender")._object("POST", "/v1/notarizations", role=role, json=body)
    assert code_of(caught) == (403, "request.forbidden")


def test_nothing_at_the_hub_tells_a_fingerprint(running: ConsortiumInProcess) -> None:
    """Not the database file of the hub, nor another member's, holds a fingerprint or a salt."""
    made = running.client("lender").notarize([sha(REPORT)], notarization=fresh())
    running.client("regulator").verify_copy(made["proofs"][0], sha(b"a copy"), record=True)
    secrets = [made["proofs"][0]["digest"], made["proofs"][0]["salt"], sha(b"a copy")]
    for directory in (running.root / "hub", running.root / "bureau"):
        for path in Path(directory).rglob("*"):
            if path.is_file():
                content = path.read_bytes()
                for secret in secrets:
                    assert secret.encode() not in content, path
                    assert bytes.fromhex(secret) not in content, path
