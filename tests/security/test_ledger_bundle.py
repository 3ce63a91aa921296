"""Evidence bundles: what verifies, and that nothing altered does."""

import hashlib
import io
import json
import zipfile
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from ledger import base64url, canonical
from ledger.bundle import export, verify
from ledger.commitments import Opening, commit
from ledger.container import pack, unpack
from ledger.entries import Entry
from ledger.errors import InvalidBundle, NotFinal, NotPublished
from ledger.membership import genesis_hash
from ledger.notes import Note
from ledger.proofs import Proof
from ledger.search import Query
from ledger.tables import State
from ledger.testing import Consortium, consortium, draft_entry, make_member
from ledger.testing.members import Member
from ledger.tiles import decode_entries, encode_entries

PAPER = b"a specification, disclosed"
PROPOSAL = "proposal-" + "0" * 26
JOB = "job-" + "0" * 26

Members = dict[str, bytes]


@pytest.fixture(scope="module")
def exchange(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Consortium]:
    """Three founders, a fourth member voted in, a job on record, some more."""
    with consortium(tmp_path_factory.mktemp("bundle"), "lender", "bureau", "regulator") as made:
        newbank = make_member("newbank")
        action = {"action": "member.add", "enrolment": newbank.enrolment}
        made.act("lender", "gov.propose", {"proposal": PROPOSAL, "actions": [action]})
        made.act("bureau", "gov.vote", {"proposal": PROPOSAL, "approve": True})
        made.act("lender", "gov.execute", {"proposal": PROPOSAL})
        made.act("regulator", "gov.vote", {"proposal": PROPOSAL, "approve": True})
        made.act("lender", "gov.execute", {"proposal": PROPOSAL})
        made.members["newbank"] = newbank
        made.act("newbank", "member.ack", {})
        made.mirrors["newbank"] = made.new_mirror("newbank")
        lender = made.members["lender"].did
        step = {"id": "s", "component": "c", "version": 1, "parties": [lender]}
        body = {"job": JOB, "spec": hashlib.sha256(PAPER).hexdigest(), "purpose": "p", "agreements": []}
        made.act("bureau", "job.submit", {**body, "parties": [lender], "steps": [step]})
        made.act("bureau", "job.fail", {"job": JOB, "step": None, "code": "x", "reason": "y"})
        made.act("bureau", "job.fail", {"job": JOB, "step": None, "code": "x", "reason": "again"})
        made.settle()
        yield made


def exported(exchange: Consortium, *, subject: str = JOB, **changes: Any) -> bytes:
    mirror, member = exchange.mirrors["regulator"], exchange.members["regulator"]
    txids = [record.txid for record in mirror.found(Query(concerning=(subject,)))]
    given: dict[str, Any] = {"did": member.did, "kid": member.kid, "key": member.tx}
    given["attachments"] = {"spec": PAPER}
    size, state = mirror.final
    given |= {"tree": mirror.tree, "state": state}
    return export(mirror.store, size, txids, **{**given, **changes})


@pytest.fixture(scope="module")
def data(exchange: Consortium) -> bytes:
    return exported(exchange)


def test_a_bundle_shows_what_happened(exchange: Consortium, data: bytes) -> None:
    report = verify(data, genesis_hash(exchange.genesis))
    assert report.pinned
    assert report.genesis == genesis_hash(exchange.genesis)
    assert report.size == exchange.log.size
    assert report.members == ("bureau", "lender", "newbank", "regulator")
    assert len(report.cosigners) >= 3
    assert report.exporter == "regulator"
    assert report.entries == {
        "gov.execute": 2,
        "gov.genesis": 1,
        "gov.propose": 1,
        "gov.vote": 2,
        "job.fail": 2,
        "job.submit": 1,
        "member.ack": 1,
    }
    assert report.refused == 2
    assert report.attachments == ("spec",)
    assert [key for key in report.keys if key.until is not None] == []
    founders = [key.member for key in report.keys if key.since == 0]
    assert (founders, len(report.keys)) == (["bureau", "lender", "regulator"], 4)
    assert (report.complete, report.replayed, report.disclosed) == (False, False, ())
    assert not verify(data).pinned
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        assert archive.testzip() is None
    assert data == exported(exchange)


def test_another_genesis_is_not_the_pinned_one(data: bytes) -> None:
    with pytest.raises(InvalidBundle) as caught:
        verify(data, "00" * 32)
    assert caught.value.member == "entries/0.json"


def test_any_changed_byte_is_found_and_named(data: bytes) -> None:
    names = sorted(unpack(data))
    headers = {data.index(name.encode()) + offset for name in names[::8] for offset in range(-30, 10)}
    directory, last = data.index(b"PK\x01\x02"), data.rindex(b"PK\x01\x02")
    sampled = {*range(0, directory, 97), *range(directory, last, 7)}
    places = sorted({*headers, *sampled, *range(directory, directory + 60), *range(last, len(data))})
    for place in places:
        altered = bytearray(data)
        altered[place] ^= 0x55
        with pytest.raises(InvalidBundle) as caught:
            verify(bytes(altered))
        assert caught.value.member in [*names, "container"], place


@pytest.mark.parametrize(
    "change",
    [
        lambda d: d + b"\n",
        lambda d: d[:-1],
        lambda d: b"\n" + d,
        lambda d: b"",
        lambda d: b"PK\x05\x06" + bytes(18),
    ],
    ids=["appended", "cut", "prepended", "empty", "empty-zip"],
)
def test_another_container_is_refused(data: bytes, change: Callable[[bytes], bytes]) -> None:
    with pytest.raises(InvalidBundle):
        verify(change(data))


def test_a_container_has_one_spelling(data: bytes) -> None:
    members = unpack(data)
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in members.items():
            archive.writestr(name, content)
    twice = io.BytesIO()
    with zipfile.ZipFile(twice, "w") as archive:
        archive.writestr("checkpoint", members["checkpoint"])
        with pytest.warns(UserWarning, match="Duplicate"):
            archive.writestr("checkpoint", members["checkpoint"])
    for other in (out.getvalue(), twice.getvalue()):
        with pytest.raises(InvalidBundle) as caught:
            unpack(other)
        assert caught.value.member == "container"
    assert pack(members) == data


def refused(members: Members, named: str, reason: str = "") -> None:
    with pytest.raises(InvalidBundle) as caught:
        verify(pack(members))
    assert reason in caught.value.reason
    assert caught.value.member == named, str(caught.value)


def test_every_file_is_bound_by_the_manifest(data: bytes) -> None:
    members = unpack(data)
    for name in members:
        altered = bytes([*members[name][:-1], members[name][-1] ^ 1])
        with pytest.raises(InvalidBundle) as caught:
            verify(pack({**members, name: altered}))
        expected = {name, "manifest.sig"} if name == "manifest.json" else {name}
        assert caught.value.member in expected
        refused({key: value for key, value in members.items() if key != name}, name)
    refused({**members, "attachments/extra": b"x"}, "attachments/extra")


def colluding(exchange: Consortium, members: Members, name: str = "regulator", **manifest: Any) -> Members:
    """What an exporter can do: put any files into a bundle and sign their manifest."""
    member: Member = exchange.members[name]
    files = {key: value for key, value in members.items() if not key.startswith("manifest.")}
    old = canonical.decode(members["manifest.json"])
    assert isinstance(old, dict)
    content = canonical.encode(
        {
            **old,
            "exporter": {"did": member.did, "kid": member.kid},
            "files": {key: hashlib.sha256(value).hexdigest() for key, value in files.items()},
            **manifest,
        }
    )
    signature = member.tx.sign(b"parley-bundle/v2\n" + content)
    return {**files, "manifest.json": content, "manifest.sig": base64url.encode(signature).encode()}


def index_of(members: Members, kind: str, nth: int = 0) -> int:
    entries = {
        int(name[len("entries/") : -len(".json")]): Entry.parse(raw)
        for name, raw in members.items()
        if name.startswith("entries/")
    }
    return [index for index, entry in sorted(entries.items()) if entry.type == kind][nth]


def without(members: Members, *indexes: int) -> Members:
    gone = {
        f"{kind.format(index)}" for index in indexes for kind in ("entries/{}.json", "proofs/{}.tlog-proof")
    }
    return {name: value for name, value in members.items() if name not in gone}


def test_an_exporter_may_leave_out_what_it_was_not_asked_for(exchange: Consortium, data: bytes) -> None:
    members = unpack(data)
    fewer = without(members, index_of(members, "job.fail"))
    report = verify(pack(colluding(exchange, fewer)))
    assert report.entries["job.fail"] == 1


@pytest.mark.parametrize(
    ("kind", "nth"), [("gov.propose", 0), ("gov.vote", 1), ("gov.execute", 1), ("member.ack", 0)]
)
def test_no_governance_that_took_effect_can_be_left_out(
    exchange: Consortium, data: bytes, kind: str, nth: int
) -> None:
    members = unpack(data)
    fewer = without(members, index_of(members, kind, nth))
    with pytest.raises(InvalidBundle):
        verify(pack(colluding(exchange, fewer)))


def test_leaving_out_the_last_governance_entry_is_shown_by_the_tables(
    exchange: Consortium, data: bytes
) -> None:
    members = unpack(data)
    index = index_of(members, "member.ack")
    fewer = without(members, index, index + 1)
    policy = members["policy"].decode().split("\n")
    lines = [line for line in policy if "newbank" not in line]
    names = "example/net/bureau example/net/lender example/net/regulator"
    fewer["policy"] = "\n".join([*lines[:-2], f"group members 3 {names}", *lines[-2:]]).encode()
    refused(colluding(exchange, fewer), "tables.json", "the governance entries shown do not lead to")


def test_a_colluding_exporter_cannot_change_an_entry(exchange: Consortium, data: bytes) -> None:
    members = unpack(data)
    index = index_of(members, "job.fail")
    forged = exchange.entry("bureau", "job.fail", {"job": JOB, "step": None, "code": "x", "reason": "forged"})
    name = f"entries/{index}.json"
    refused(colluding(exchange, {**members, name: forged}), f"proofs/{index}.tlog-proof")


def test_proofs_cannot_be_swapped(exchange: Consortium, data: bytes) -> None:
    members = unpack(data)
    one, two = (f"proofs/{index_of(members, kind)}.tlog-proof" for kind in ("job.submit", "job.fail"))
    refused(
        colluding(exchange, {**members, one: members[two], two: members[one]}),
        one,
        "expected a proof of index",
    )


def test_a_proof_under_another_checkpoint_is_refused(exchange: Consortium, data: bytes) -> None:
    members = unpack(data)
    name = f"proofs/{index_of(members, 'job.fail')}.tlog-proof"
    proof = Proof.parse(members[name])
    fewer = Note.parse(proof.checkpoint)
    other = Note(fewer.text, fewer.signatures[:2]).encode()
    changed = Proof(proof.index, proof.path, other).encode()
    refused(colluding(exchange, {**members, name: changed}), name)


def test_fewer_cosignatures_than_the_quorum_are_refused(exchange: Consortium, data: bytes) -> None:
    members = unpack(data)
    note = Note.parse(members["checkpoint"])
    fewer = Note(note.text, note.signatures[:3]).encode()
    changed = {**members, "checkpoint": fewer}
    refused(colluding(exchange, changed), "checkpoint", "expected 3 cosignatures of 4 members, got 2")


@pytest.mark.parametrize("what", ["text", "log", "member"])
def test_a_forged_checkpoint_is_refused(exchange: Consortium, data: bytes, what: str) -> None:
    members = unpack(data)
    note = Note.parse(members["checkpoint"])
    lines = list(note.signatures)
    if what == "text":
        note = Note(note.text.replace(f"\n{exchange.log.size}\n", "\n9999\n"), note.signatures)
    elif what == "log":
        note = Note(note.text, tuple(lines[1:]))
    else:
        forged = type(lines[1])(lines[1].name, lines[1].key_id, lines[2].payload)
        note = Note(note.text, (lines[0], forged, *lines[2:]))
    refused(colluding(exchange, {**members, "checkpoint": note.encode()}), "checkpoint")


def test_policy_and_tables_are_recomputed(exchange: Consortium, data: bytes) -> None:
    members = unpack(data)
    policy = members["policy"].replace(b"group members 3", b"group members 1")
    refused(colluding(exchange, {**members, "policy": policy}), "policy")
    tables = json.loads(members["tables.json"])
    for change in ({**tables, "jobs": "00" * 32}, {**tables, "jobs": "zz"}, [1]):
        changed = {**members, "tables.json": canonical.encode(change)}
        refused(colluding(exchange, changed), "tables.json")


def test_attachments_are_stated_by_an_entry(exchange: Consortium, data: bytes) -> None:
    members = unpack(data)
    changed = {**members, "attachments/spec": b"another paper"}
    refused(colluding(exchange, changed), "attachments/spec", "no entry shown states")
    refused(colluding(exchange, {**members, "notes.txt": b"x"}), "notes.txt")


def test_only_a_member_signs_a_bundle(exchange: Consortium, data: bytes) -> None:
    members = unpack(data)
    stranger = make_member("stranger")
    refused(
        colluding(exchange, members, exporter={"did": stranger.did, "kid": stranger.kid}), "manifest.json"
    )
    lender = exchange.members["lender"]
    claimed = colluding(exchange, members, exporter={"did": lender.did, "kid": lender.kid})
    refused(claimed, "manifest.sig")
    assert verify(pack(colluding(exchange, members, "lender"))).exporter == "lender"


@pytest.mark.parametrize(
    "manifest",
    [{"v": 1}, {"size": 4}, {"genesis": "00" * 32}, {"files": []}, {"exporter": None}, {"more": 1}],
)
def test_another_manifest_is_refused(exchange: Consortium, data: bytes, manifest: dict[str, Any]) -> None:
    with pytest.raises(InvalidBundle):
        verify(pack(colluding(exchange, unpack(data), **manifest)))


def test_seals_that_are_missing_or_malformed_are_refused(exchange: Consortium, data: bytes) -> None:
    members = unpack(data)
    seal = index_of(members, "job.fail") + 1
    refused(colluding(exchange, without(members, seal)), f"entries/{seal - 1}.json", "a later one")
    last = exchange.log.size - 1
    refused(colluding(exchange, without(members, last)), f"entries/{last - 1}.json", "found none")
    name = f"entries/{seal}.json"
    for body in ({}, {"first": "x"}, {**Entry.parse(members[name]).body, "refused": [[1]]}):
        value = json.loads(members[name])
        forged = canonical.encode({**value, "body": body})
        refused(colluding(exchange, {**members, name: forged}), name, "seal")
    odd = {**members, "entries/007.json": members[name]}
    refused(colluding(exchange, odd), "entries/007.json")


def test_an_export_is_checked_before_it_is_handed_out(exchange: Consortium) -> None:
    lender = exchange.members["lender"]
    with pytest.raises(InvalidBundle, match=r"manifest\.sig"):
        exported(exchange, key=lender.tx)
    with pytest.raises(InvalidBundle, match="attachments/unbound"):
        exported(exchange, attachments={"unbound": b"x"})


def test_only_final_entries_are_exported(exchange: Consortium) -> None:
    mirror, member = exchange.mirrors["regulator"], exchange.members["regulator"]
    size, state = mirror.final
    keys = {"did": member.did, "kid": member.kid, "key": member.tx, "tree": mirror.tree, "state": state}
    (first,) = mirror.store.records(0, 1)
    for final_size in (size - 1, 0):
        with pytest.raises(NotFinal):
            export(mirror.store, final_size, [], **keys)  # type: ignore[arg-type]
    with pytest.raises(NotPublished, match="1 of the entries"):
        export(mirror.store, size, ["00" * 32, first.txid], **keys)  # type: ignore[arg-type]
    for earlier in (size + 1, -1, 0):
        with pytest.raises(NotPublished, match=f"earlier sizes of 1 to {size}"):
            export(mirror.store, size, [], earlier=[earlier], **keys)  # type: ignore[arg-type]


def test_an_entry_that_is_not_final_yet_is_not_exported(tmp_path: Path) -> None:
    with consortium(tmp_path, "lender", "regulator") as exchange:
        exchange.settle()
        mirror, member = exchange.mirrors["regulator"], exchange.members["regulator"]
        size, state = mirror.final
        late = exchange.act("lender", "gov.vote", {"proposal": PROPOSAL, "approve": True})
        exchange.settle()
        keys = {"did": member.did, "kid": member.kid, "key": member.tx, "tree": mirror.tree, "state": state}
        with pytest.raises(NotFinal, match="1 of the entries"):
            export(mirror.store, size, [late.txid], **keys)  # type: ignore[arg-type]


def test_a_forged_entry_on_record_as_refused_spoils_no_bundle(tmp_path: Path) -> None:
    with consortium(tmp_path, "lender", "regulator") as exchange:
        lender = exchange.members["lender"]
        draft = draft_entry(lender, "gov.vote", {"proposal": PROPOSAL, "approve": True})
        forged = Entry.parse(draft.sign(lender.kid, exchange.hub.tx).encode())
        exchange.log._sequence([forged])
        exchange.settle()
        report = verify(exported(exchange, subject=lender.did, attachments={}))
    assert (report.entries["gov.vote"], report.refused) == (1, 1)


def test_a_state_of_another_size_gives_no_bundle(exchange: Consortium) -> None:
    other = exchange.mirrors["lender"].state.put("jobs", JOB, {}, index=0)
    with pytest.raises(InvalidBundle, match=r"tables\.json"):
        exported(exchange, state=other)
    with pytest.raises(NotFinal, match="an empty one"):
        exported(exchange, state=State())


def test_a_whole_log_is_replayed(exchange: Consortium) -> None:
    whole = exported(exchange, everything=True)
    assert verify(whole).complete
    assert verify(whole, replayed=True).replayed
    members = unpack(whole)
    entries = decode_entries(members["log/0"])
    assert len(entries) == exchange.log.size


def test_a_bundle_without_the_log_is_not_replayed(data: bytes) -> None:
    with pytest.raises(InvalidBundle, match="export the bundle with everything"):
        verify(data, replayed=True)


@pytest.mark.parametrize("change", ["cut", "swapped", "more", "another-file"])
def test_a_log_that_is_not_under_the_checkpoint_is_refused(exchange: Consortium, change: str) -> None:
    members = unpack(exported(exchange, everything=True))
    entries = decode_entries(members["log/0"])
    if change == "another-file":
        return refused(colluding(exchange, {**members, "log/1": members["log/0"]}), "log/1")
    altered = {
        "cut": entries[:-1],
        "swapped": [*entries[:1], entries[2], entries[1], *entries[3:]],
        "more": [*entries, entries[-1]],
    }[change]
    named = "checkpoint" if change == "swapped" else "log/0"
    return refused(colluding(exchange, {**members, "log/0": encode_entries(altered)}), named)


def test_private_content_is_shown_with_its_salt(tmp_path: Path) -> None:
    with consortium(tmp_path, "lender", "regulator") as exchange:
        lender = exchange.members["lender"]
        commitment, salt = commit(b"the exact question")
        draft = draft_entry(lender, "member.update", {"endpoint": "lender.example:7444"})
        raw = replace(draft, commit=commitment).sign(lender.kid, lender.tx).encode()
        txid = exchange.log.submit(raw).txid
        exchange.settle()
        opening = Opening(b"the exact question", salt)
        given = {"subject": lender.did, "attachments": {}}
        data = exported(exchange, disclosed={txid: opening}, **given)
        (index,) = verify(data).disclosed
        members = unpack(data)
        assert members[f"disclosed/{index}.bin"] == opening.payload
        for name in (f"disclosed/{index}.bin", f"disclosed/{index}.salt"):
            altered = {**members, name: bytes([members[name][0] ^ 1]) + members[name][1:]}
            refused(colluding(exchange, altered), f"disclosed/{index}.bin")
            fewer = {key: value for key, value in members.items() if key != name}
            refused(colluding(exchange, fewer), name, "a payload and its salt")
        stray = {f"disclosed/0.{kind}": members[f"disclosed/{index}.{kind}"] for kind in ("bin", "salt")}
        refused(colluding(exchange, {**members, **stray}), "disclosed/0.bin", "commits to one")
        with pytest.raises(InvalidBundle, match="disclosed"):
            exported(exchange, disclosed={txid: Opening(b"another question", salt)}, **given)
        assert b"exact question" not in exported(exchange, **given)
