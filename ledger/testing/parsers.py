"""Everything in the ledger that reads bytes from outside: what it promises, and valid bytes to begin from.

The property tests and the fuzzer both run over ``parsers()``: on any bytes a parser returns a value or raises
one of the errors it names, and nothing else; what it returns is written back as it was read.
"""

from __future__ import annotations

import io
import tempfile
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path
from typing import Any

from ledger import base64url, bundle, canonical
from ledger.bundle.files import DOMAIN, MANIFEST, SIGNATURE, sign_manifest
from ledger.checkpoints import Checkpoint, Cosigner
from ledger.container import pack, unpack
from ledger.entries import Entry
from ledger.errors import (
    InvalidBundle,
    InvalidNotarization,
    InvalidVerdict,
    LedgerError,
    MalformedEntry,
    MalformedKey,
    MalformedNote,
    MalformedPolicy,
    NotCanonical,
    Refusal,
)
from ledger.keys import SigningKey, did_key, public_from_did_key
from ledger.mldsa import MlDsaKey
from ledger.notarization import Place, notarize_digests
from ledger.notarization import Proof as NotarizationProof
from ledger.notes import ED25519, Note, NoteSignature, Vkey, sign
from ledger.proofs import Proof
from ledger.rules import RULES
from ledger.search import Query
from ledger.state import apply
from ledger.tables import State
from ledger.testing.consortium import Consortium, consortium
from ledger.testing.members import Member, draft_entry, rotate_member
from ledger.tiles import decode_entries, encode_entries
from ledger.trust import TrustPolicy, encode_policy
from ledger.uploads import MirrorInfo, Package, UploadHeader
from ledger.verdicts import Verdict
from ledger.witness import AddCheckpoint, parse_lines

__all__ = ["Parser", "parsers"]


@dataclass(frozen=True)
class Parser:
    """One reader of outside bytes.

    Attributes:
        name: as in ``note`` or ``entry``.
        parse: reads bytes.
        refusals: the errors it promises; any other is a fault.
        samples: bytes that it reads.
        encode: writes what ``parse`` returned; None where a value has several spellings.
    """

    name: str
    parse: Callable[[bytes], Any]
    refusals: tuple[type[LedgerError], ...]
    samples: tuple[bytes, ...]
    encode: Callable[[Any], bytes] | None = None

    def check(self, data: bytes) -> None:
        """Read ``data`` and compare what is written with it.

        Raises:
            AssertionError: it is written in another way than it was read.
            Exception: whatever the parser raised beside its promised errors.
        """
        try:
            value = self.parse(data)
        except self.refusals:
            return
        if self.encode is not None and self.encode(value) != data:
            raise AssertionError(f"{self.name}: expected the bytes that were read, got others")


@cache
def parsers() -> tuple[Parser, ...]:
    """Return every parser of the ledger. The samples come from a consortium that lives for this call only."""
    with (
        tempfile.TemporaryDirectory() as folder,
        consortium(Path(folder), "lender", "bureau", "lab") as exchange,
    ):
        for port in (1, 2):
            exchange.act("lender", "member.update", {"endpoint": f"lender.example:{port}"})
        before = exchange.log.state
        _, rotation = rotate_member(exchange.members["bureau"], "tx", "cosign", "tls", "seal")
        exchange.decide(
            {"action": "key.rotate", "rotation": rotation},
            {"action": "params.set", "max_clock_skew_s": 60},
            effective_after=1000,
        )
        exchange.settle()
        return (*_evidence(exchange), *_entries(exchange, before), *_notarization(), *_bundles(exchange))


def _evidence(exchange: Consortium) -> tuple[Parser, ...]:
    """The C2SP formats."""
    checkpoint = exchange.log.checkpoint()
    note, hashes = Note.parse(checkpoint), (bytes(32), bytes([255] * 32))
    log = Vkey("example.org/é", ED25519, SigningKey.from_seed(bytes(32)).public)
    strong = Cosigner("witness.example/w", MlDsaKey.from_seed(bytes(32)))
    strange = Note(note.text + "extension\n", (NoteSignature("日志", b"\xff\x00ab", b"x"),))
    line = sign(note.text, log.name, SigningKey.from_seed(bytes(32)))
    policy = encode_policy(log, [strong.vkey], 1)
    nested = b"# a comment\n" + policy.replace(b"quorum members", b"group g any members\n\tquorum  g \n")
    uploads = (
        UploadHeader("example.org/log", 3, 258, b"ticket").encode()
        + Package((b"", b"entry"), hashes).encode(),
    )
    return (
        Parser("note", Note.parse, (MalformedNote,), (checkpoint, strange.encode()), Note.encode),
        Parser(
            "signature line",
            _text(NoteSignature.parse, MalformedNote),
            (MalformedNote,),
            (line.encode().encode(), strange.signatures[0].encode().encode()),
            lambda value: value.encode().encode(),
        ),
        Parser(
            "verifier key",
            _text(Vkey.parse, MalformedKey),
            (MalformedKey,),
            (log.encode().encode(), strong.vkey.encode().encode()),
            lambda value: value.encode().encode(),
        ),
        Parser(
            "checkpoint",
            _text(Checkpoint.parse, MalformedNote),
            (MalformedNote,),
            (note.text.encode(), strange.text.encode()),
            lambda value: value.encode().encode(),
        ),
        Parser(
            "proof",
            Proof.parse,
            (MalformedNote,),
            (Proof(7, hashes, checkpoint, b"extra").encode(), Proof(0, (), checkpoint).encode()),
            Proof.encode,
        ),
        Parser("policy", _policy, (MalformedPolicy,), (policy, nested)),
        Parser(
            "tiles", decode_entries, (MalformedNote,), (encode_entries([b"", b"a" * 300]),), encode_entries
        ),
        Parser(
            "witness request",
            AddCheckpoint.parse,
            (MalformedNote,),
            (AddCheckpoint(3, hashes, checkpoint).encode(), AddCheckpoint(0, (), checkpoint).encode()),
            AddCheckpoint.encode,
        ),
        Parser(
            "witness answer",
            parse_lines,
            (MalformedNote,),
            (strong.cosign(note.text, 5).encode().encode() + line.encode().encode(),),
            lambda lines: "".join(line.encode() for line in lines).encode(),
        ),
        Parser(
            "upload", _upload, (MalformedNote,), uploads, lambda parts: b"".join(p.encode() for p in parts)
        ),
        Parser(
            "mirror info",
            MirrorInfo.parse,
            (MalformedNote,),
            (MirrorInfo(300, 256, b"ticket").encode(), MirrorInfo(0, 0).encode()),
            MirrorInfo.encode,
        ),
    )


def _entries(exchange: Consortium, state: State) -> tuple[Parser, ...]:
    """Envelopes, and what the validity function makes of any body that a member may sign in ``state``."""
    records = exchange.hub_store.records(0, exchange.log.size)
    raws = tuple(record.raw for record in records)
    lender = exchange.members["lender"]
    acts = [record.type.encode() + b"\n" + canonical.encode(record.entry.body) for record in records]
    acts += [kind.encode() + b"\n{}" for kind in RULES]
    keys = (exchange.members["lender"].did.encode(), did_key(bytes(32)).encode())
    return (
        Parser("canonical", canonical.decode, (NotCanonical,), raws, canonical.encode),
        Parser("base64url", _text(_base64url, MalformedKey), (MalformedKey,), (b"AP8_-w",), _base64url_of),
        Parser("entry", Entry.parse, (MalformedEntry,), raws, lambda entry: entry.raw),
        Parser(
            "did:key",
            _text(public_from_did_key, MalformedKey),
            (MalformedKey,),
            keys,
            lambda public: did_key(public).encode(),
        ),
        Parser("act", _act(state, lender, exchange), (Refusal, MalformedEntry, NotCanonical), tuple(acts)),
    )


def _notarization() -> tuple[Parser, ...]:
    identifier = "notarization-01arz3ndektsv4rrffq69g5fav"
    batch = notarize_digests([bytes([number] * 32) for number in range(5)], notarization=identifier)
    proof = batch.proof(3, Place("example/net", "ab" * 32, "cd" * 32, 7))
    key = SigningKey.from_seed(bytes(32))
    verdict = Verdict(
        verdict="verdict-01arz3ndektsv4rrffq69g5fav",
        genesis="ab" * 32,
        proof=proof,
        actor=did_key(key.public),
        time_on_record="2026-11-23T10:00:00Z",
        original=proof.digest,
        copy=bytes(32),
        reason=None,
        size=9,
        time="2026-11-23T10:00:01Z",
        operator="ann",
        challenge=None,
        salt=bytes(32),
        did=did_key(key.public),
        kid=f"{did_key(key.public)}#tx-1",
    ).sign(key)
    unproven = replace(verdict, actor=None, time_on_record=None, original=None, reason="no such entry")
    return (
        Parser(
            "notarization proof",
            NotarizationProof.parse,
            (InvalidNotarization,),
            (proof.encode(),),
            NotarizationProof.encode,
        ),
        Parser(
            "verdict", Verdict.parse, (InvalidVerdict,), (verdict.encode(), unproven.encode()), Verdict.encode
        ),
    )


def _bundles(exchange: Consortium) -> tuple[Parser, ...]:
    """The container, and a bundle of which one file is replaced by an exporter who signs anything."""
    mirror, member = exchange.mirrors["lab"], exchange.members["lab"]
    key = _ed25519(member)
    size, state = mirror.final
    txids = [record.txid for record in mirror.found(Query(concerning=(exchange.members["lender"].did,)))]
    data = bundle.export(
        mirror.store,
        size,
        txids,
        tree=mirror.tree,
        state=state,
        did=member.did,
        kid=member.kid,
        key=key,
    )
    members = unpack(data)
    files = tuple(name.encode() + b"\n" + content for name, content in members.items())
    return (
        Parser("container", unpack, (InvalidBundle,), (data,), pack),
        Parser("bundle", _replaced(members, member, key), (InvalidBundle,), files),
    )


def _text(parse: Callable[[str], Any], refusal: type[LedgerError]) -> Callable[[bytes], Any]:
    """Read UTF-8 first: what is no text is refused before such a parser sees it."""

    def read(data: bytes) -> Any:  # noqa: ANN401
        try:
            text = data.decode()
        except UnicodeDecodeError as exc:
            raise refusal("expected UTF-8") from exc
        return parse(text)

    return read


def _base64url(text: str) -> bytes:
    try:
        return base64url.decode(text)
    except ValueError as exc:
        raise MalformedKey("expected base64url") from exc


def _base64url_of(data: bytes) -> bytes:
    return base64url.encode(data).encode()


def _policy(data: bytes) -> TrustPolicy:
    policy = TrustPolicy.parse(data)
    if TrustPolicy.parse(policy.encode()) != policy:
        raise AssertionError("policy: expected the policy that was written, got another")
    return policy


def _upload(data: bytes) -> tuple[UploadHeader | Package, ...]:
    stream = io.BytesIO(data)
    header = UploadHeader.read(stream.read)
    package = Package.read(stream.read, min(header.end - header.start, 2))
    if stream.read(1):
        raise MalformedNote("expected nothing after the package")
    return header, package


def _act(state: State, member: Member, exchange: Consortium) -> Callable[[bytes], Any]:
    def read(data: bytes) -> State:
        kind, _, raw = data.partition(b"\n")
        body: Any = canonical.decode(raw)
        draft = draft_entry(member, "x", {}, now=exchange.clock.now)
        draft = replace(draft, type=kind.decode(errors="replace"), body=body)
        entry = Entry.parse(draft.sign(member.kid, member.tx).encode())
        return apply(state, entry, index=exchange.log.size, time=exchange.clock.now)

    return read


def _ed25519(member: Member) -> SigningKey:
    if not isinstance(member.tx, SigningKey):
        raise TypeError("expected a member with an Ed25519 key")
    return member.tx


def _replaced(members: dict[str, bytes], member: Member, key: SigningKey) -> Callable[[bytes], Any]:
    def read(data: bytes) -> object:
        raw, _, content = data.partition(b"\n")
        names = sorted(members)
        name = raw.decode(errors="replace")
        name = name if name in members else names[sum(raw) % len(names)]
        files = {key: value for key, value in members.items() if key not in (MANIFEST, SIGNATURE)}
        if name == MANIFEST:
            signature = base64url.encode(key.sign(DOMAIN + content)).encode()
            return bundle.verify(pack({**members, MANIFEST: content, SIGNATURE: signature}))
        if name == SIGNATURE:
            return bundle.verify(pack({**members, SIGNATURE: content}))
        manifest: Any = canonical.decode(members[MANIFEST])
        signed = sign_manifest(
            {**files, name: content},
            manifest["genesis"],
            manifest["size"],
            did=member.did,
            kid=member.kid,
            key=key,
        )
        return bundle.verify(pack(signed))

    return read
