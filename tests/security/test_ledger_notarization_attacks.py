"""Proofs and verdicts against an evidence bundle: no forged, moved or replayed one holds."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest

from ledger import canonical
from ledger.bundle import export
from ledger.container import pack, unpack
from ledger.entries import Entry, new_id
from ledger.errors import InvalidBundle, InvalidNotarization, InvalidVerdict
from ledger.keys import SigningKey
from ledger.membership import genesis_hash
from ledger.notarization import NOTARIZE, Batch, Place, Proof, notarize_digests
from ledger.offline import Shown, check_proof, check_verdict
from ledger.rules.evidence import Outcome
from ledger.search import Query
from ledger.testing import Consortium, consortium, draft_entry, rotate_member
from ledger.testing.members import NET, Member
from ledger.times import format_time, system_clock
from ledger.verdicts import VERDICT, Verdict

DOCUMENTS = [b"report %d: the firm owes nothing" % number for number in range(5)]
CHALLENGE = "tender 2026-118"


def fingerprint(document: bytes) -> bytes:
    return hashlib.sha256(document).digest()


@dataclass
class Scene:
    """A consortium, two batches on record, one more that the ledger refused, and verdicts."""

    made: Consortium
    batches: list[Batch]
    places: list[Place]

    def bundle(self, exporter: str = "regulator") -> bytes:
        mirror, member = self.made.mirrors[exporter], self.made.members[exporter]
        found = list(mirror.found(Query((NOTARIZE, VERDICT))))
        txids = [record.txid for record in found]
        size, state = mirror.final
        keys = {"did": member.did, "kid": member.kid, "key": member.tx}
        return export(mirror.store, size, txids, tree=mirror.tree, state=state, **keys)

    def proof(self, batch: int, position: int) -> Proof:
        return self.batches[batch].proof(position, self.places[batch])


def notarize(made: Consortium, name: str, documents: list[bytes], **body: Any) -> tuple[Batch, Place]:
    batch = notarize_digests([fingerprint(one) for one in documents], notarization=ident("notarization"))
    placed = made.act(name, NOTARIZE, {**batch.body(), **body})
    return batch, Place(NET, genesis_hash(made.genesis), placed.txid, placed.index)


def ident(kind: str) -> str:
    return new_id(kind, system_clock)


@pytest.fixture(scope="module")
def scene(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Scene]:
    with consortium(tmp_path_factory.mktemp("notary"), "lender", "bureau", "regulator") as made:
        pairs = [
            notarize(made, "lender", DOCUMENTS, kind="credit-report", note="third quarter"),
            notarize(made, "bureau", DOCUMENTS[::-1]),
            notarize(made, "bureau", DOCUMENTS, count=0),
        ]
        made.settle()
        yield Scene(made, [batch for batch, _ in pairs], [place for _, place in pairs])


@pytest.fixture(scope="module")
def shown(scene: Scene) -> Shown:
    return Shown.open(scene.bundle(), genesis_hash(scene.made.genesis))


def refused(field: str, check: Callable[[], object]) -> None:
    with pytest.raises((InvalidNotarization, InvalidVerdict)) as caught:
        check()
    assert caught.value.field == field, str(caught.value)


# --- proofs


def test_every_document_is_found_with_who_and_when(scene: Scene, shown: Shown) -> None:
    for batch, name in ((0, "lender"), (1, "bureau")):
        for position in range(len(DOCUMENTS)):
            found = check_proof(Proof.parse(scene.proof(batch, position).encode()), shown)
            assert (found.name, found.title, found.net) == (name, name.title(), NET)
            assert found.time == format_time(scene.made.clock())
    assert check_proof(scene.proof(0, 0), shown).kind == "credit-report"
    assert check_proof(scene.proof(1, 0), shown).note is None


def test_a_proof_of_another_batch_is_refused(scene: Scene, shown: Shown) -> None:
    moved = replace(scene.proof(0, 2), place=scene.places[1])
    refused("notarization", lambda: check_proof(moved, shown))
    refused("path", lambda: check_proof(replace(moved, notarization=scene.batches[1].notarization), shown))


def test_a_swapped_index_or_position_is_refused(scene: Scene, shown: Shown) -> None:
    proof = scene.proof(0, 2)
    elsewhere = replace(proof.place, index=scene.places[1].index)
    refused("txid", lambda: check_proof(replace(proof, place=elsewhere), shown))
    refused("txid", lambda: check_proof(replace(proof, place=replace(proof.place, index=0)), shown))
    refused("index", lambda: check_proof(replace(proof, place=replace(proof.place, index=999)), shown))
    for position in (0, 1, 3, 4, 5, 999):
        refused("path", lambda position=position: check_proof(replace(proof, position=position), shown))


def test_a_count_that_is_not_the_entrys_is_refused(scene: Scene, shown: Shown) -> None:
    for count in (1, 4, 6, 1001, 2**53 - 1):
        refused("count", lambda count=count: check_proof(replace(scene.proof(0, 2), count=count), shown))


def test_a_seal_or_a_governance_entry_is_no_notarization(scene: Scene, shown: Shown) -> None:
    genesis = Entry.parse(scene.made.genesis)
    place = replace(scene.places[0], txid=genesis.txid, index=0)
    refused("notarization", lambda: check_proof(replace(scene.proof(0, 0), place=place), shown))


def test_an_entry_that_the_ledger_refused_proves_nothing(scene: Scene, shown: Shown) -> None:
    refused("index", lambda: check_proof(scene.proof(2, 0), shown))


def test_an_inner_node_cannot_pass_for_a_document(scene: Scene, shown: Shown) -> None:
    """Two leaves as the "document" of their parent: the prefixes keep them apart."""
    batch, whole = scene.batches[0], scene.proof(0, 0)
    left, right = batch.levels[0][:2]
    forged = replace(whole, digest=right, salt=left, path=whole.path[1:])
    refused("path", lambda: check_proof(forged, shown))


def test_another_genesis_is_refused_on_both_sides(scene: Scene, shown: Shown) -> None:
    proof = scene.proof(0, 0)
    foreign = replace(proof, place=replace(proof.place, genesis="ab" * 32))
    refused("genesis", lambda: check_proof(foreign, shown))
    with pytest.raises(InvalidBundle):
        Shown.open(scene.bundle(), "ab" * 32)


def test_a_bundle_with_a_forged_checkpoint_is_never_opened(scene: Scene) -> None:
    members = unpack(scene.bundle())
    lines = members["checkpoint"].split(b"\n")
    lines[2] = b"A" * 43 + b"="
    with pytest.raises(InvalidBundle):
        Shown.open(pack({**members, "checkpoint": b"\n".join(lines)}), genesis_hash(scene.made.genesis))


# --- verdicts


def judge(scene: Scene, proof: Proof, copy: bytes, original: bytes | None = None, **changes: Any) -> Verdict:
    member: Member = scene.made.members["regulator"]
    verdict = Verdict(
        **{
            "verdict": ident("verdict"),
            "genesis": genesis_hash(scene.made.genesis),
            "proof": proof,
            "actor": scene.made.members["lender"].did,
            "time_on_record": format_time(scene.made.clock()),
            "original": None if original is None else fingerprint(original),
            "copy": fingerprint(copy),
            "reason": None,
            "size": scene.made.mirrors["regulator"].final_size,
            "time": format_time(scene.made.clock()),
            "operator": "vera",
            "challenge": CHALLENGE,
            "salt": b"s" * 32,
            "did": member.did,
            "kid": member.kid,
            **changes,
        }
    )
    return verdict.sign(member.tx)


def test_a_verdict_holds_for_its_copy_and_challenge(scene: Scene, shown: Shown) -> None:
    copy, original = DOCUMENTS[2], DOCUMENTS[2]
    verdict = Verdict.parse(judge(scene, scene.proof(0, 2), copy, original).encode())
    assert verdict.comparison.outcome == Outcome.AUTHENTIC
    assert check_verdict(verdict, shown, copy=fingerprint(copy), challenge=CHALLENGE) is None


def test_one_changed_bit_of_a_copy_is_found(scene: Scene, shown: Shown) -> None:
    for bit in range(8 * len(DOCUMENTS[2])):
        copy = bytearray(DOCUMENTS[2])
        copy[bit // 8] ^= 1 << bit % 8
        verdict = judge(scene, scene.proof(0, 2), bytes(copy), DOCUMENTS[2])
        assert verdict.comparison.outcome == Outcome.COPY_DIFFERS
    check_verdict(verdict, shown)


def test_a_verdict_replayed_for_another_copy_or_occasion_is_refused(scene: Scene, shown: Shown) -> None:
    verdict = judge(scene, scene.proof(0, 2), DOCUMENTS[2])
    altered = fingerprint(DOCUMENTS[2] + b" today")
    refused("copy", lambda: check_verdict(verdict, shown, copy=altered))
    refused("challenge", lambda: check_verdict(verdict, shown, challenge="tender 2026-119"))
    refused("sig", lambda: check_verdict(replace(verdict, challenge="tender 2026-119"), shown))
    refused("sig", lambda: check_verdict(replace(verdict, copy=altered), shown, copy=altered))
    refused("sig", lambda: check_verdict(replace(verdict, time="2030-01-01T00:00:00Z"), shown))


def test_an_outcome_that_does_not_follow_is_refused(scene: Scene) -> None:
    document = judge(scene, scene.proof(0, 2), b"another text").as_json()
    for changes in (
        {"outcome": "authentic"},
        {"findings": {**document["findings"], "ledger-copy": "same"}},
        {"reason": "no such entry"},
        {"notarized": None},
        {"challenge": 7},
        {"extra": 1},
    ):
        with pytest.raises(InvalidVerdict):
            Verdict.parse(canonical.encode({**document, **changes}))
    with pytest.raises(InvalidVerdict):
        Verdict.parse(bytes(20_000))


def test_a_colluding_verifier_is_contradicted_by_the_ledger(scene: Scene, shown: Shown) -> None:
    """Its signature is good; the proof inside and the bundle show that what it signed is not so."""
    proof, copy = scene.proof(0, 2), DOCUMENTS[2]
    forged = replace(proof, digest=fingerprint(b"forged report"))
    refused("proof", lambda: check_verdict(judge(scene, forged, b"forged report"), shown))
    refused("reason", lambda: check_verdict(unproven(scene, proof), shown))
    refused(
        "notarized",
        lambda: check_verdict(judge(scene, proof, copy, actor=scene.made.members["bureau"].did), shown),
    )
    late = judge(scene, proof, copy, time_on_record="2020-01-01T00:00:00Z")
    refused("notarized", lambda: check_verdict(late, shown))


def unproven(scene: Scene, proof: Proof, **changes: Any) -> Verdict:
    nothing = {"actor": None, "time_on_record": None, "reason": "not on record", **changes}
    return Verdict.parse(judge(scene, proof, b"forged report", **nothing).encode())


def test_a_true_unproven_verdict_holds(scene: Scene, shown: Shown) -> None:
    proof = scene.proof(0, 2)
    for place in (
        replace(proof.place, genesis="ab" * 32),
        replace(proof.place, index=0),
        replace(proof.place, index=shown.report.size - 1),
        replace(proof.place, index=10**9),
    ):
        verdict = unproven(scene, replace(proof, place=place))
        assert verdict.comparison.outcome == Outcome.UNPROVEN
        check_verdict(verdict, shown)
    check_verdict(unproven(scene, replace(proof, digest=fingerprint(b"forged report"))), shown)
    check_verdict(unproven(scene, proof, size=proof.place.index), shown)


def test_a_bundle_that_leaves_the_entry_out_confirms_no_verdict(scene: Scene) -> None:
    mirror, member = scene.made.mirrors["regulator"], scene.made.members["regulator"]
    size, state = mirror.final
    keys = {"did": member.did, "kid": member.kid, "key": member.tx}
    silent = Shown.open(export(mirror.store, size, [], tree=mirror.tree, state=state, **keys))
    proof = scene.proof(0, 2)
    assert silent.is_silent_on(proof)
    refused("index", lambda: check_verdict(unproven(scene, proof), silent))
    refused("index", lambda: check_verdict(judge(scene, proof, DOCUMENTS[2]), silent))
    refused("index", lambda: check_proof(proof, silent))


def test_only_a_member_signs_verdicts(scene: Scene, shown: Shown) -> None:
    proof = scene.proof(0, 2)
    lender = scene.made.members["lender"]
    verdict = judge(scene, proof, DOCUMENTS[2])
    refused("sig", lambda: check_verdict(verdict.sign(SigningKey.generate()), shown))
    refused(
        "sig", lambda: check_verdict(judge(scene, proof, DOCUMENTS[2], did=lender.did, kid=lender.kid), shown)
    )
    refused("verifier", lambda: check_verdict(judge(scene, proof, DOCUMENTS[2], kid=lender.kid), shown))
    refused(
        "verifier", lambda: check_verdict(judge(scene, proof, DOCUMENTS[2], did="did:key:zStranger"), shown)
    )
    refused("size", lambda: check_verdict(judge(scene, proof, DOCUMENTS[2], size=10**6), shown))
    refused("genesis", lambda: check_verdict(judge(scene, proof, DOCUMENTS[2], genesis="ab" * 32), shown))


def test_a_verdict_on_record_is_found_and_binds_the_document(tmp_path: Path) -> None:
    with consortium(tmp_path, "lender", "bureau", "regulator") as made:
        batch, place = notarize(made, "lender", DOCUMENTS)
        made.settle()
        scene = Scene(made, [batch], [place])
        verdict = judge(scene, scene.proof(0, 1), DOCUMENTS[1])
        other = judge(scene, scene.proof(0, 2), DOCUMENTS[2])
        indexes = [record(made, one, signer) for one, signer in ((verdict, "bureau"), (verdict, "regulator"))]
        record(made, replace(other, operator="somebody else").sign(made.members["regulator"].tx), "regulator")
        made.settle()
        shown = Shown.open(scene.bundle())
        assert check_verdict(verdict, shown) == indexes[1]
        refused("record", lambda: check_verdict(other, shown))


def test_a_verdict_outlives_its_key_and_a_retired_key_signs_no_new_one(tmp_path: Path) -> None:
    with consortium(tmp_path, "lender", "bureau", "regulator", "analyst") as made:
        batch, place = notarize(made, "lender", DOCUMENTS)
        made.settle()
        scene = Scene(made, [batch], [place])
        old = judge(scene, scene.proof(0, 1), DOCUMENTS[1])
        retired = made.members["regulator"]
        rotated, signed = rotate_member(retired, "tx")
        made.decide({"action": "key.rotate", "rotation": signed})
        made.members["regulator"] = rotated
        made.act("lender", "member.update", {"endpoint": "lender.example:1"})
        made.settle()
        new = judge(scene, scene.proof(0, 1), DOCUMENTS[1])
        shown = Shown.open(scene.bundle())
        assert (old.kid, new.kid) == (retired.kid, made.members["regulator"].kid)
        for verdict in (old, new):
            check_verdict(verdict, shown)
        late = judge(scene, scene.proof(0, 1), DOCUMENTS[1], kid=retired.kid).sign(retired.tx)
        refused("verifier", lambda: check_verdict(late, shown))
        early = judge(scene, scene.proof(0, 1), DOCUMENTS[1], size=old.size)
        refused("verifier", lambda: check_verdict(early, shown))
        made.decide({"action": "member.remove", "member": retired.did})
        made.act("lender", "member.update", {"endpoint": "lender.example:2"})
        made.settle()
        after = judge(scene, scene.proof(0, 1), DOCUMENTS[1], size=made.mirrors["lender"].final_size)
        shown = Shown.open(scene.bundle("lender"))
        check_verdict(new, shown)
        refused("verifier", lambda: check_verdict(after, shown))


def record(made: Consortium, verdict: Verdict, name: str) -> int:
    member = made.members[name]
    draft = draft_entry(member, VERDICT, verdict.body(), now=made.clock())
    draft = replace(draft, commit=verdict.commitment())
    return made.log.submit(draft.sign(member.kid, member.tx).encode()).index
