"""The page that verifies bundles: in a real Chromium, against what Python says of the same files."""

import base64
import hashlib
import json
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from ledger import base64url, canonical
from ledger.browser import SCRIPTS, page, policy
from ledger.bundle import export, verify
from ledger.bundle.walk import GOVERNANCE
from ledger.checkpoints import cosign
from ledger.commitments import Opening, commit
from ledger.container import pack, unpack
from ledger.entries import Entry
from ledger.errors import InvalidBundle
from ledger.keys import SigningKey
from ledger.membership import GOVERNED_TABLES, genesis_hash
from ledger.notes import Note
from ledger.proofs import Proof
from ledger.rules import RULES
from ledger.rules.act import actor_alone
from ledger.rules.actions import ACTIONS
from ledger.search import Query
from ledger.testing import NET, Consortium, consortium, draft_entry, make_member, rotate_member
from ledger.testing.chromium import Page, chromium
from ledger.testing.damage import damaged
from ledger.tiles import decode_entries, encode_entries

pytestmark = pytest.mark.browser

Members = dict[str, bytes]
Tamper = Callable[[Consortium, Members], bytes]

PAPER = b"a specification, disclosed"
JOB = "job-" + "0" * 26
PRIVATE = "a private remark"


class Governed:
    """A consortium under way: proposals that all members approve, and a batch in which they take effect."""

    def __init__(self, exchange: Consortium) -> None:
        self.exchange, self.number = exchange, 0

    def propose(self, *actions: dict[str, Any], **more: Any) -> str:
        self.number += 1
        proposal = f"proposal-{self.number:026d}"
        body = {"proposal": proposal, "actions": list(actions), **more}
        self.act("lender", "gov.propose", body)
        return proposal

    def enact(self, *actions: dict[str, Any], **more: Any) -> str:
        proposal = self.propose(*actions, **more)
        for name in ("bureau", "regulator", "agency"):
            self.act(name, "gov.vote", {"proposal": proposal, "approve": True})
        self.act("lender", "gov.execute", {"proposal": proposal})
        self.step()
        return proposal

    def step(self) -> None:
        moved = {"endpoint": f"lender.example:{7000 + self.number}"}
        if self.number % 2:
            moved["dataspace"] = "https://lender.example:7500/2025-1"
        self.act("lender", "member.update", moved)

    def act(self, name: str, kind: str, body: dict[str, Any]) -> None:
        assert self.exchange.act(name, kind, body).code is None


def govern(exchange: Consortium) -> None:
    """Take every governance action once, let one proposal lapse, withdraw one, have some refused."""
    governed = Governed(exchange)
    newbank, agency = make_member("newbank"), make_member("agency", role="regulator")
    add = [{"action": "member.add", "enrolment": one.enrolment} for one in (newbank, agency)]
    first, second = governed.propose(*add), governed.propose(*add)
    for proposal in (first, second):
        assert exchange.act("lender", "gov.execute", {"proposal": proposal}).code == "proposal.no-quorum"
        exchange.act("bureau", "gov.vote", {"proposal": proposal, "approve": True})
        exchange.act("regulator", "gov.vote", {"proposal": proposal, "approve": True})
    exchange.log.submit_many([exchange.entry("lender", "gov.execute", {"proposal": first})])
    exchange.act("lender", "gov.execute", {"proposal": second})
    governed.step()
    for member in (newbank, agency):
        exchange.members[member.name] = member
        governed.act(member.name, "member.ack", {})
    exchange.mirrors["agency"] = exchange.new_mirror("agency")
    rotated, rotation = rotate_member(exchange.members["bureau"], "tx", "cosign", "tls", "seal")
    old = exchange.members["bureau"]
    governed.enact({"action": "key.rotate", "rotation": rotation})
    exchange.members["bureau"] = rotated
    stale = draft_entry(old, "member.update", {"endpoint": "bureau.example:1"})
    exchange.log._sequence([Entry.parse(stale.sign(old.kid, old.tx).encode())])
    exchange.mirrors["bureau"] = exchange.new_mirror("bureau")
    did = newbank.did
    governed.enact({"action": "params.set", "quorum": 4, "regulator_veto": "any-regulator"})
    governed.enact({"action": "member.suspend", "member": did})
    assert (
        exchange.act("newbank", "member.update", {"endpoint": "n.example:1"}).code == "entry.actor-not-active"
    )
    governed.enact({"action": "member.resume", "member": did})
    governed.enact({"action": "algorithm.allow", "algorithm": "SM2-SM3"}, reason="as the regulator asks")
    governed.enact({"action": "algorithm.forbid", "algorithm": "SM2-SM3"}, effective_after=1)
    governed.enact({"action": "params.set", "max_clock_skew_s": 60})
    lapsing = governed.enact({"action": "member.suspend", "member": did}, effective_after=20)
    governed.enact({"action": "member.remove", "member": did})
    for _ in range(12):
        governed.step()
    assert exchange.log.state.rows("proposals")[lapsing]["status"] == "lapsed"
    assert (
        exchange.act("bureau", "gov.propose", {"proposal": "x", "actions": []}).code == "entry.malformed-body"
    )
    withdrawn = governed.propose({"action": "params.set", "max_clock_skew_s": 90})
    governed.act("lender", "gov.withdraw", {"proposal": withdrawn})
    assert (
        exchange.act("bureau", "gov.vote", {"proposal": withdrawn, "approve": True}).code == "proposal.closed"
    )


@pytest.fixture(scope="module")
def exchange(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Consortium]:
    folder = tmp_path_factory.mktemp("governed")
    with consortium(folder, "lender", "bureau", "regulator") as made:
        govern(made)
        lender = made.members["lender"].did
        step = {"id": "s", "component": "c", "version": 1, "parties": [lender]}
        body = {"job": JOB, "spec": hashlib.sha256(PAPER).hexdigest(), "purpose": "目的", "agreements": []}
        made.act("bureau", "job.submit", {**body, "parties": [lender], "steps": [step]})
        made.act("bureau", "job.fail", {"job": JOB, "step": None, "code": "x", "reason": "y"})
        made.act("bureau", "job.fail", {"job": JOB, "step": None, "code": "x", "reason": "again"})
        made.settle()
        yield made


@pytest.fixture(scope="module")
def data(exchange: Consortium) -> bytes:
    """A bundle with everything that a bundle can hold, time stamps apart."""
    lender = exchange.members["lender"]
    commitment, salt = commit(PRIVATE.encode())
    draft = draft_entry(lender, "member.update", {"endpoint": "lender.example:7444"})
    raw = replace(draft, commit=commitment).sign(lender.kid, lender.tx).encode()
    txid = exchange.log.submit(raw).txid
    exchange.settle()
    mirror, member = exchange.mirrors["regulator"], exchange.members["regulator"]
    size, state = mirror.final
    return export(
        mirror.store,
        size,
        [record.txid for record in mirror.found(Query(concerning=(JOB,)))],
        tree=mirror.tree,
        state=state,
        did=member.did,
        kid=member.kid,
        key=member.tx,
        attachments={"spec": PAPER},
        disclosed={txid: Opening(PRIVATE.encode(), salt)},
        earlier=[4, 17, 32, size],
        everything=True,
    )


@pytest.fixture(scope="module")
def shown(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Page]:
    folder = tmp_path_factory.mktemp("browser")
    (folder / "verify.html").write_bytes(page())
    with chromium(folder) as browser:
        yield browser.open((folder / "verify.html").as_uri())


def answered(shown: Page, data: bytes, genesis: str = "") -> dict[str, Any]:
    """What the page's own function says of a bundle: a report, or the refusal's member and reason."""
    encoded = base64.b64encode(data).decode()
    call = f"verifyBundle(fromBase64({json.dumps(encoded)}), {json.dumps(genesis)})"
    refusal = "(error) => ({ member: error.member ?? null, reason: error.message })"
    found: dict[str, Any] = shown.run(f"{call}.catch({refusal})")
    return found


def used(shown: Page, file: Path, genesis: str) -> dict[str, str]:
    """What a person sees who chooses a file, types a hash and presses the button."""
    shown.choose("#bundle", file)
    shown.run(f"document.getElementById('genesis').value = {json.dumps(genesis)}")
    shown.run("answer('', '')")
    shown.run("document.getElementById('form').requestSubmit()")
    shown.wait("['accepted', 'refused'].includes(document.getElementById('outcome').dataset.state)")
    found: dict[str, str] = shown.run(
        "({...outcome.dataset, text: outcome.textContent, facts: facts.innerText})"
    )
    return found


def test_a_bundle_is_accepted_with_the_same_report(shown: Page, exchange: Consortium, data: bytes) -> None:
    genesis = genesis_hash(exchange.genesis)
    report, found = verify(data, genesis), answered(shown, data, genesis)
    assert "reason" not in found, found
    facts = ("genesis", "pinned", "origin", "size", "cosigned", "exporter")
    for name in (*facts, "refused", "first", "last", "complete"):
        assert found[name] == getattr(report, name), name
    for name in ("members", "cosigners", "disclosed", "attachments"):
        assert found[name] == list(getattr(report, name)), name
    assert found["entries"] == report.entries
    assert report.refused >= 5
    assert not answered(shown, data)["pinned"]


def test_a_person_checks_a_file_in_either_language(
    shown: Page, exchange: Consortium, data: bytes, tmp_path: Path
) -> None:
    good, bad = tmp_path / "good.zip", tmp_path / "bad.zip"
    good.write_bytes(data)
    members = unpack(data)
    bad.write_bytes(pack({**members, "tables.json": b"{}"}))
    genesis = genesis_hash(exchange.genesis)
    for language, holds, refused in (("en", "Every claim holds", "Refused"), ("zh", "全部声明成立", "拒绝")):
        shown.run(f"document.querySelector('[data-language={language}]').click()")
        accepted = used(shown, good, genesis.upper())
        assert (accepted["state"], holds in accepted["text"]) == ("accepted", True)
        assert genesis in accepted["facts"]
        found = used(shown, bad, genesis)
        assert (found["state"], found["member"], refused in found["text"]) == ("refused", "tables.json", True)
        assert used(shown, good, "00" * 32)["member"] == "entries/0.json"
        assert used(shown, good, "not a hash")["member"] == "genesis"
        assert used(shown, good, "")["state"] == "accepted"


def test_a_bundle_of_a_later_epoch_is_left_to_the_command(
    shown: Page, exchange: Consortium, data: bytes, tmp_path: Path
) -> None:
    later = tmp_path / "later.zip"
    later.write_bytes(colluding(exchange, {**unpack(data), "epoch/tables.json": b"[[],{}]"}))
    for language, sentence in (("en", "parley verify only"), ("zh", "后续纪元")):
        shown.run(f"document.querySelector('[data-language={language}]').click()")
        found = used(shown, later, "")
        assert (found["state"], found["member"]) == ("refused", "epoch/tables.json")
        assert sentence in found["text"]
    shown.run("document.querySelector('[data-language=en]').click()")


def test_the_page_connects_to_nowhere(shown: Page) -> None:
    assert [url for url in shown.requests if not url.startswith("file:")] == []
    assert shown.complaints == []
    script = "fetch('http://127.0.0.1:9/').then(() => 'sent', () => 'refused')"
    assert shown.run(script) == "refused"
    shown.run(
        "document.body.append(Object.assign(document.createElement('script'), {text: 'window.evil = 1'}))"
    )
    assert shown.run("window.evil") is None
    shown.run("1")
    assert any("Content Security Policy" in complaint for complaint in shown.complaints)


def test_the_page_is_one_file(tmp_path: Path) -> None:
    html = page().decode()
    assert policy() in html
    assert policy().startswith("default-src 'none'")
    assert html.count("<script>") == html.count("</script>") == 1
    assert "src=" not in html.split("<script>")[0]
    assert not any(name in html for name in ("https://", "http://", "{policy}", "{style}", "{script}"))
    assert len(set(SCRIPTS)) == len(SCRIPTS)


def test_the_page_knows_every_rule_of_governance(shown: Page) -> None:
    governing = {kind for kind in RULES if kind.startswith(GOVERNANCE)}
    assert set(shown.run("Object.keys(RULES)")) == governing
    assert set(shown.run("Object.keys(ACTIONS)")) == set(ACTIONS)
    assert shown.run("GOVERNED") == list(GOVERNED_TABLES)
    several = [kind for kind, rule in RULES.items() if rule.signers is not actor_alone]
    assert several == ["evidence.statement"]


def test_a_browser_without_ed25519_says_so(shown: Page, data: bytes, tmp_path: Path) -> None:
    file = tmp_path / "good.zip"
    file.write_bytes(data)
    shown.run("globalThis.kept = hasEd25519; hasEd25519 = async () => false")
    try:
        found = used(shown, file, "")
    finally:
        shown.run("hasEd25519 = globalThis.kept")
    assert (found["state"], found["member"]) == ("refused", "browser")
    assert "WebCrypto" in found["text"]


# --- the same refusal as Python's, naming the same file


def same(shown: Page, altered: bytes, genesis: str | None = None) -> str:
    with pytest.raises(InvalidBundle) as caught:
        verify(altered, genesis)
    found = answered(shown, altered, genesis or "")
    assert found.get("member", "accepted") == caught.value.member, (found, str(caught.value))
    return caught.value.member


def colluding(exchange: Consortium, members: Members, name: str = "regulator", **manifest: Any) -> bytes:
    """What an exporter can do: put any files into a bundle and sign their manifest."""
    member = exchange.members[name]
    files = {key: value for key, value in members.items() if not key.startswith("manifest.")}
    old = canonical.decode(members["manifest.json"])
    assert isinstance(old, dict)
    digests = {key: hashlib.sha256(value).hexdigest() for key, value in files.items()}
    content = canonical.encode(
        {**old, "exporter": {"did": member.did, "kid": member.kid}, "files": digests, **manifest}
    )
    signature = base64url.encode(member.tx.sign(b"parley-bundle/v2\n" + content)).encode()
    return pack({**files, "manifest.json": content, "manifest.sig": signature})


def index_of(members: Members, kind: str, nth: int = 0) -> int:
    entries = {
        int(name.removeprefix("entries/").removesuffix(".json")): Entry.parse(raw)
        for name, raw in members.items()
        if name.startswith("entries/")
    }
    return [index for index, entry in sorted(entries.items()) if entry.type == kind][nth]


def without(members: Members, *indexes: int) -> Members:
    gone = {f"entries/{index}.json" for index in indexes} | {
        f"proofs/{index}.tlog-proof" for index in indexes
    }
    return {name: value for name, value in members.items() if name not in gone}


def resigned(
    exchange: Consortium, members: Members, kind: str, change: Callable[[dict[str, Any]], None]
) -> bytes:
    """Replace an entry by one that its member signed with something changed."""
    index = index_of(members, kind)
    value = json.loads(members[f"entries/{index}.json"])
    del value["sigs"]
    change(value)
    member = next(one for one in exchange.members.values() if one.did == value["actor"])
    signature = base64url.encode(member.tx.sign(b"dx-tx/v1\n" + canonical.encode(value)))
    value["sigs"] = [{"kid": member.kid, "alg": "EdDSA", "sig": signature}]
    return colluding(exchange, {**members, f"entries/{index}.json": canonical.encode(value)})


def forged_refused(exchange: Consortium, members: Members) -> bytes:
    """Change an entry that stands refused for the shape of its body, which the page leaves to the members."""
    name = next(
        name
        for name, raw in members.items()
        if name.startswith("entries/") and Entry.parse(raw).body.get("proposal") == "x"
    )
    value = json.loads(members[name])
    return colluding(exchange, {**members, name: canonical.encode({**value, "body": {"proposal": "y"}})})


def note_with(members: Members, **changes: Any) -> bytes:
    return replace(Note.parse(members["checkpoint"]), **changes).encode()


def outsider(members: Members) -> bytes:
    """A cosignature by somebody who is no member, added."""
    note = Note.parse(members["checkpoint"])
    return note.with_signature(cosign(note.text, f"{NET}/outsider", SigningKey.generate(), 1)).encode()


def lines(members: Members) -> tuple[Any, ...]:
    return Note.parse(members["checkpoint"]).signatures


def forged_line(members: Members) -> bytes:
    first, second, third, *rest = lines(members)
    return note_with(members, signatures=(first, replace(second, payload=third.payload), third, *rest))


def swapped_proofs(exchange: Consortium, members: Members) -> bytes:
    one, two = (f"proofs/{index_of(members, kind)}.tlog-proof" for kind in ("job.submit", "job.fail"))
    return colluding(exchange, {**members, one: members[two], two: members[one]})


def fewer_cosignatures_in_a_proof(exchange: Consortium, members: Members) -> bytes:
    name = f"proofs/{index_of(members, 'job.fail')}.tlog-proof"
    proof = Proof.parse(members[name])
    other = note_with(members, signatures=lines(members)[:2])
    return colluding(exchange, {**members, name: Proof(proof.index, proof.path, other).encode()})


def with_file(name: str, content: bytes) -> Tamper:
    return lambda exchange, members: colluding(exchange, {**members, name: content})


def with_json(name: str, change: Callable[[Any], object]) -> Tamper:
    def tamper(exchange: Consortium, members: Members) -> bytes:
        return colluding(exchange, {**members, name: canonical.encode(change(json.loads(members[name])))})

    return tamper


def leaving_out(kind: str, nth: int = 0) -> Tamper:
    return lambda exchange, members: colluding(exchange, without(members, index_of(members, kind, nth)))


def with_checkpoint(made: Callable[[Members], bytes]) -> Tamper:
    return lambda exchange, members: colluding(exchange, {**members, "checkpoint": made(members)})


def with_seal(change: Callable[[dict[str, Any]], dict[str, Any]]) -> Tamper:
    """The seal of the job's first entry, with another body, signed by the hub or not."""

    def tamper(exchange: Consortium, members: Members) -> bytes:
        index = next(
            n
            for n in range(index_of(members, "job.submit"), exchange.log.size)
            if f"entries/{n}.json" in members and Entry.parse(members[f"entries/{n}.json"]).type == "seal"
        )
        value = json.loads(members[f"entries/{index}.json"])
        value["body"] = change(value["body"])
        del value["sigs"]
        hub = exchange.hub
        signature = base64url.encode(hub.tx.sign(b"dx-tx/v1\n" + canonical.encode(value)))
        value["sigs"] = [{"kid": hub.kid, "alg": "EdDSA", "sig": signature}]
        return colluding(exchange, {**members, f"entries/{index}.json": canonical.encode(value)})

    return tamper


def with_log(change: Callable[[list[bytes]], list[bytes]]) -> Tamper:
    return lambda exchange, members: colluding(
        exchange, {**members, "log/0": encode_entries(change(decode_entries(members["log/0"])))}
    )


TAMPERED: dict[str, Tamper] = {
    "appended": lambda _, members: pack(members) + b"\n",
    "cut": lambda _, members: pack(members)[:-1],
    "empty": lambda _, members: b"",
    "prepended": lambda _, members: b"\n" + pack(members),
    "unsigned-manifest": lambda _, members: pack({**members, "manifest.sig": b"AA"}),
    "signature-no-base64": lambda _, members: pack({**members, "manifest.sig": b"=?"}),
    "manifest-not-canonical": lambda _, members: pack(
        {**members, "manifest.json": members["manifest.json"].replace(b'"v":2', b'"v": 2')}
    ),
    "manifest-no-json": lambda _, members: pack({**members, "manifest.json": b"{"}),
    "manifest-version": lambda exchange, members: colluding(exchange, members, v=1),
    "manifest-size": lambda exchange, members: colluding(exchange, members, size=4),
    "manifest-genesis": lambda exchange, members: colluding(exchange, members, genesis="00" * 32),
    "manifest-files": lambda exchange, members: colluding(exchange, members, files=[]),
    "manifest-more": lambda exchange, members: colluding(exchange, members, more=1),
    "exporter-stranger": lambda exchange, members: colluding(
        exchange, members, exporter={"did": make_member("x").did, "kid": make_member("x").kid}
    ),
    "exporter-claimed": lambda exchange, members: colluding(
        exchange,
        members,
        exporter={"did": exchange.members["lender"].did, "kid": exchange.members["lender"].kid},
    ),
    "file-missing": lambda _, members: pack({n: c for n, c in members.items() if n != "policy"}),
    "file-unlisted": lambda _, members: pack({**members, "attachments/extra": b"x"}),
    "file-unknown": with_file("notes.txt", b"x"),
    "index-with-zeros": with_file("entries/007.json", b"{}"),
    "entry-forged": lambda exchange, members: resigned(
        exchange, members, "job.fail", lambda value: value["body"].update(reason="forged")
    ),
    "entry-unsigned": lambda exchange, members: colluding(
        exchange,
        {
            **members,
            (name := f"entries/{index_of(members, 'job.fail')}.json"): canonical.encode(
                {**(value := json.loads(members[name])), "body": {**value["body"], "reason": "forged"}}
            ),
        },
    ),
    "entry-no-envelope": lambda exchange, members: colluding(
        exchange, {**members, f"entries/{index_of(members, 'job.fail')}.json": b"{}"}
    ),
    "references-of-another-form": lambda exchange, members: resigned(
        exchange, members, "job.fail", lambda value: value.update(refs=["another"])
    ),
    "commitment-of-another-form": lambda exchange, members: resigned(
        exchange, members, "job.fail", lambda value: value.update(commit={"alg": "sha-256", "salted": "00"})
    ),
    "time-that-is-none": lambda exchange, members: resigned(
        exchange, members, "job.fail", lambda value: value.update(exp="2026-02-30T00:00:00Z")
    ),
    "refused-for-its-body-and-forged": forged_refused,
    "vote-for-another": lambda exchange, members: resigned(
        exchange, members, "gov.vote", lambda value: value["body"].update(approve=False)
    ),
    "vote-left-out": leaving_out("gov.vote"),
    "acknowledgement-left-out": leaving_out("member.ack"),
    "proposal-left-out": leaving_out("gov.propose", 2),
    "execution-left-out": leaving_out("gov.execute", 2),
    "update-left-out": leaving_out("member.update", -1),
    "seal-left-out": lambda exchange, members: colluding(
        exchange, without(members, index_of(members, "seal", -1))
    ),
    "seal-of-another-batch": with_seal(lambda body: {**body, "count": body["count"] + 1}),
    "seal-malformed": with_seal(lambda body: {"first": 1}),
    "seal-refusing-the-valid": with_seal(
        lambda body: {**body, "refused": [[body["first"], "entry.bad-signature"]]}
    ),
    "seal-of-no-time": with_seal(lambda body: {**body, "time": "2026-02-30T00:00:00Z"}),
    "seal-of-no-engine": with_seal(lambda body: {**body, "engine": "sql"}),
    "proofs-swapped": swapped_proofs,
    "proof-missing": lambda exchange, members: colluding(
        exchange, {n: c for n, c in members.items() if n != "proofs/0.tlog-proof"}
    ),
    "proof-of-another-checkpoint": fewer_cosignatures_in_a_proof,
    "proof-malformed": with_file("proofs/0.tlog-proof", b"x"),
    "checkpoint-text": with_checkpoint(
        lambda members: note_with(
            members, text=Note.parse(members["checkpoint"]).text.replace("log\n", "log\n9")
        )
    ),
    "checkpoint-no-log": with_checkpoint(lambda members: note_with(members, signatures=lines(members)[1:])),
    "checkpoint-few": with_checkpoint(lambda members: note_with(members, signatures=lines(members)[:3])),
    "checkpoint-forged-member": with_checkpoint(forged_line),
    "checkpoint-malformed": with_file("checkpoint", b"hello\n"),
    "policy": lambda exchange, members: colluding(
        exchange, {**members, "policy": members["policy"].replace(b" 3 ", b" 1 ") + b"\n"}
    ),
    "tables-root": with_json("tables.json", lambda tables: {**tables, "jobs": "00" * 32}),
    "tables-no-hex": with_json("tables.json", lambda tables: {**tables, "jobs": "zz"}),
    "tables-spelling": with_json("tables.json", lambda tables: {**tables, "jobs": tables["jobs"].upper()}),
    "earlier-spelling": with_json("earlier/17.json", lambda value: {**value, "root": value["root"].upper()}),
    "tables-list": with_json("tables.json", lambda tables: [1]),
    "attachment": with_file("attachments/spec", b"another paper"),
    "payload": lambda exchange, members: colluding(
        exchange, {n: (b"another" if n.endswith(".bin") else c) for n, c in members.items()}
    ),
    "salt": lambda exchange, members: colluding(
        exchange, {n: (bytes(32) if n.endswith(".salt") else c) for n, c in members.items()}
    ),
    "salt-missing": lambda exchange, members: colluding(
        exchange, {n: c for n, c in members.items() if not n.endswith(".salt")}
    ),
    "payload-of-nothing": lambda exchange, members: colluding(
        exchange, {**members, "disclosed/0.bin": b"x", "disclosed/0.salt": bytes(32)}
    ),
    "earlier-root": with_json("earlier/17.json", lambda value: {**value, "root": "00" * 32}),
    "earlier-proof": with_json("earlier/17.json", lambda value: {**value, "proof": value["proof"][:-1]}),
    "earlier-power-of-two": with_json("earlier/32.json", lambda value: {**value, "proof": []}),
    "earlier-malformed": with_file("earlier/17.json", b"[]"),
    "log-swapped": with_log(lambda log: [*log[:5], log[6], log[5], *log[7:]]),
    "log-cut": with_log(lambda log: log[:-1]),
    "log-more": with_log(lambda log: [*log, log[-1]]),
    "log-another-file": lambda exchange, members: colluding(exchange, {**members, "log/1": members["log/0"]}),
    "log-malformed": with_file("log/0", b"\xff\xff"),
}


@pytest.mark.parametrize("case", TAMPERED)
def test_what_was_tampered_with_is_named_as_by_python(
    shown: Page, exchange: Consortium, data: bytes, case: str
) -> None:
    same(shown, TAMPERED[case](exchange, unpack(data)))


def test_another_genesis_is_refused(shown: Page, data: bytes) -> None:
    assert same(shown, data, "00" * 32) == "entries/0.json"


def test_lines_by_outsiders_count_for_nothing(shown: Page, exchange: Consortium, data: bytes) -> None:
    members = unpack(data)
    note = outsider(members)
    proofs = {
        name: replace(Proof.parse(content), checkpoint=note).encode()
        for name, content in members.items()
        if name.startswith("proofs/")
    }
    altered = colluding(exchange, {**members, **proofs, "checkpoint": note})
    assert answered(shown, altered)["cosigners"] == list(verify(altered).cosigners)


def test_any_changed_byte_is_found_by_both(shown: Page, data: bytes) -> None:
    directory = data.index(b"PK\x01\x02")
    for place in {*range(0, directory, directory // 12), *range(directory, len(data), 4999), len(data) - 1}:
        altered = bytearray(data)
        altered[place] ^= 0x55
        same(shown, bytes(altered))


def test_canonical_json_is_read_as_by_python(shown: Page) -> None:
    good = [
        {"a": [1, -2, None, True, 'é\u2028\x7f\n"\\']},
        [],
        {},
        "𝄞",
        2**53 - 1,
        -(2**53 - 1),
        {"10": 1, "9": 2},
    ]
    bad = [
        *(b'{"b":1,"a":2}', b'{"a":1,"a":1}', b"1.0", b"-0", b"1e2", b'"\\u0041"', b'"\\ud800"', b"[ ]"),
        *(b"9007199254740992", b'"e\xcc\x81"', b'{"a b":1}', b'{"":1}', b"[" * 17 + b"]" * 17, b"NaN"),
        *(b"\xef\xbb\xbf1", b"nul", b"", b'"\xff"'),
    ]
    for raw in [*(canonical.encode(value) for value in good), *bad]:
        encoded = json.dumps(base64.b64encode(raw).decode())
        call = f"try {{ decodeCanonical(fromBase64({encoded})); true }} catch {{ false }}"
        assert shown.run(call) == (raw not in bad), raw


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=40)
@given(draw=st.data())
def test_generated_damage_is_judged_alike(
    shown: Page, exchange: Consortium, data: bytes, draw: st.DataObject
) -> None:
    members = unpack(data)
    name = draw.draw(st.sampled_from(sorted(name for name in members if not name.startswith("manifest"))))
    altered = colluding(exchange, {**members, name: draw.draw(damaged(members[name]))})
    try:
        verify(altered)
    except InvalidBundle:
        same(shown, altered)
    else:
        assert "reason" not in answered(shown, altered)
