"""Entries: the signed envelope of everything that stands on the ledger.

An entry is canonical JSON of at most 32 KiB. Its signed bytes are the line ``dx-tx/v1`` and the envelope
without ``sigs``; the SHA-256 of those is its ``txid``. The log holds the whole envelope, so the evidence
carries who signed. Parsing checks form only; ``ledger.state.apply`` decides whether an entry may do what it
says.
"""

from __future__ import annotations

import hashlib
import re
import secrets
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from typing import Any, cast

from ledger import base64url, canonical
from ledger.algorithms import ALGORITHMS, EDDSA, SIGNATURE_SIZE, Signer
from ledger.algorithms import verify as verify_signature
from ledger.canonical import JsonValue
from ledger.errors import InvalidSignature, MalformedEntry, NotCanonical
from ledger.times import Clock, parse_time

__all__ = ["MAX_ENTRY_SIZE", "Draft", "Entry", "Signature", "named", "new_id", "new_ulid", "subjects"]

MAX_ENTRY_SIZE = 32 * 1024
"""Product limit; the tile format would allow 65,535 bytes. Larger things go in by digest."""

_VERSION = 1
_DOMAIN = b"dx-tx/v1\n"
_MAX_SIGNATURES = 64
_MAX_REFS = 64
_REQUIRED = {"v", "net", "type", "seq", "actor", "exp", "refs", "body", "sigs"}
_TYPE = re.compile(r"(?=.{1,64}\Z)[a-z]+(\.[a-z-]+)*")
_NAME = re.compile(r"[!-~]{1,256}")
_SEQ = re.compile(r"[0-9A-Za-z-]{1,64}")
_DIGEST = re.compile(r"[0-9a-f]{64}")
_CROCKFORD = "0123456789abcdefghjkmnpqrstvwxyz"
_PAIRS = [high + low for high in _CROCKFORD for low in _CROCKFORD]
_SUBJECT_FIELDS = (
    "asset",
    "negotiation",
    "agreement",
    "job",
    "proposal",
    "provider",
    "recipient",
    "notarization",
    "holder",
    "review",
    "credential",
    "definition",
    "eligibility",
    "service",
    "model",
)
_STATED_FIELDS = ("consent", "subject", "controller", "asset")
_MAX_SUBJECTS = 256


@dataclass(frozen=True)
class Signature:
    """One signature of an entry: key id, 64 bytes, and the algorithm's name."""

    kid: str
    value: bytes
    alg: str = EDDSA


@dataclass(frozen=True)
class Entry:
    """A parsed entry. ``raw`` is what was received, and what the log hashes."""

    raw: bytes
    v: int
    net: str
    type: str
    seq: str
    actor: str
    exp: str
    refs: tuple[str, ...]
    body: dict[str, Any]
    commit: str | None
    sigs: tuple[Signature, ...]
    txid: str
    signed_bytes: bytes
    _verified: set[tuple[str, str, bytes]] = field(default_factory=set, repr=False, compare=False)

    @classmethod
    def parse(cls, raw: bytes) -> Entry:
        """Parse an envelope.

        Raises:
            MalformedEntry: too large, not canonical, or not an envelope.
        """
        if len(raw) > MAX_ENTRY_SIZE:
            raise MalformedEntry(f"expected at most {MAX_ENTRY_SIZE} bytes, got {len(raw)}")
        try:
            envelope = canonical.decode(raw)
        except NotCanonical as exc:
            raise MalformedEntry(f"an entry is canonical JSON: {exc}") from exc
        if not isinstance(envelope, dict) or set(envelope) - {"commit"} != _REQUIRED:
            raise MalformedEntry(f"expected the members {sorted(_REQUIRED)} and at most commit")
        if type(envelope["v"]) is not int or envelope["v"] != _VERSION:
            raise MalformedEntry(f"v: expected {_VERSION}")
        body = envelope["body"]
        if not isinstance(body, dict):
            raise MalformedEntry("body: expected an object")
        sigs = _signatures(envelope.pop("sigs"))
        exp = _matching(envelope, "exp", _NAME)
        try:
            parse_time(exp)
        except ValueError as exc:
            raise MalformedEntry(f"exp: {exc}") from exc
        signed = _DOMAIN + canonical.encode_checked(envelope)
        entry = cls.__new__(cls)
        # A frozen dataclass sets each field by a call of its own; entries are made by the thousand.
        entry.__dict__.update(
            raw=raw,
            v=_VERSION,
            net=_matching(envelope, "net", _NAME),
            type=_matching(envelope, "type", _TYPE),
            seq=_matching(envelope, "seq", _SEQ),
            actor=_matching(envelope, "actor", _NAME),
            exp=exp,
            refs=_references(envelope["refs"]),
            body=body,
            commit=_commitment(envelope["commit"]) if "commit" in envelope else None,
            sigs=sigs,
            txid=hashlib.sha256(signed).hexdigest(),
            signed_bytes=signed,
            _verified=set(),
        )
        return entry

    def verify(self, kid: str, public: bytes, alg: str = EDDSA) -> None:
        """Check that the key ``kid`` signed this entry.

        Raises:
            InvalidSignature: it did not, or with another algorithm.
            MalformedEntry: no signature by that key id is attached.
            AlgorithmUnavailable: this installation cannot check it.
        """
        if (kid, alg, public) in self._verified:
            return
        verify_signature(alg, public, self.signed_bytes, self.signature_by(kid, alg))
        self.mark_verified(kid, public, alg)

    def signature_by(self, kid: str, alg: str = EDDSA) -> bytes:
        """Return the signature bytes of a key id.

        Raises:
            MalformedEntry: no signature by that key id is attached.
            InvalidSignature: it was made with another algorithm.
        """
        for signature in self.sigs:
            if signature.kid == kid:
                if signature.alg != alg:
                    raise InvalidSignature(f"expected a signature by {alg}")
                return signature.value
        raise MalformedEntry("the entry has no signature by the expected key id")

    def mark_verified(self, kid: str, public: bytes, alg: str = EDDSA) -> None:
        """Remember that this signature was checked, so that nobody checks it again."""
        self._verified.add((kid, alg, public))


@dataclass(frozen=True)
class Draft:
    """An entry in the making: sign with each key needed, then ``encode``."""

    net: str
    type: str
    actor: str
    body: dict[str, Any]
    exp: str
    seq: str
    refs: tuple[str, ...] = ()
    commit: str | None = None
    sigs: tuple[Signature, ...] = ()

    def signed_bytes(self) -> bytes:
        """Return what every signer signs."""
        return _DOMAIN + canonical.encode(self._envelope())

    def sign(self, kid: str, key: Signer) -> Draft:
        """Return the draft with a signature by ``key`` added."""
        return self.with_signature(Signature(kid, key.sign(self.signed_bytes()), key.alg))

    def with_signature(self, signature: Signature) -> Draft:
        """Return the draft with a signature that was made elsewhere added."""
        return replace(self, sigs=(*self.sigs, signature))

    def encode(self) -> bytes:
        """Return the entry's bytes.

        Raises:
            MalformedEntry: the result would not parse, for instance because it is too large.
        """
        sigs = [
            {"kid": signature.kid, "alg": signature.alg, "sig": base64url.encode(signature.value)}
            for signature in self.sigs
        ]
        try:
            raw = canonical.encode({**self._envelope(), "sigs": sigs})
        except NotCanonical as exc:
            raise MalformedEntry(f"an entry is canonical JSON: {exc}") from exc
        return Entry.parse(raw).raw

    def _envelope(self) -> dict[str, object]:
        envelope: dict[str, object] = {
            "v": _VERSION,
            "net": self.net,
            "type": self.type,
            "seq": self.seq,
            "actor": self.actor,
            "exp": self.exp,
            "refs": list(self.refs),
            "body": self.body,
        }
        if self.commit is not None:
            envelope["commit"] = {"alg": "sha-256", "salted": self.commit}
        return envelope


def new_ulid(clock: Clock, entropy: Callable[[int], bytes] = secrets.token_bytes) -> str:
    """Return a ULID in lower case: 48 bits of milliseconds, 80 random bits, 26 characters."""
    number = int(clock().timestamp() * 1000) << 80 | int.from_bytes(entropy(10), "big")
    return "".join(_PAIRS[number >> shift & 1023] for shift in range(120, -1, -10))


def new_id(kind: str, clock: Clock, entropy: Callable[[int], bytes] = secrets.token_bytes) -> str:
    """Return a fresh id like ``job-01j…``."""
    return f"{kind}-{new_ulid(clock, entropy)}"


def subjects(entry: Entry) -> frozenset[str]:
    """Return the DIDs and ids an entry names, at most 256; also for an entry that is refused."""
    return named(entry.actor, entry.body)


def named(actor: str, body: dict[str, Any]) -> frozenset[str]:
    """Return the ``subjects`` of an entry that is known by its actor and its body alone."""
    return frozenset(sorted({actor, *_named_in(body)})[:_MAX_SUBJECTS])


def _named_in(body: dict[str, Any]) -> Iterator[str]:
    agreement = body.get("agreement")
    candidates = [body.get(name) for name in _SUBJECT_FIELDS]
    candidates += _items(body.get("agreements")) + _items(body.get("parties"))
    candidates += [_at(agreement, "id")]
    candidates += [_at(body.get("statement"), name) for name in _STATED_FIELDS]
    candidates += [_at(item, "asset") for item in _items(body.get("inputs"))]
    candidates += [_at(_at(item, "member"), "did") for item in _items(body.get("members"))]
    for action in _items(body.get("actions")):
        candidates += [_at(_at(_at(action, "enrolment"), "member"), "did")]
        candidates += [_at(action, "member"), _at(_at(action, "rotation"), "did")]
    for candidate in candidates:
        if isinstance(candidate, str) and _NAME.fullmatch(candidate):
            yield candidate


def _items(value: object) -> list[object]:
    return value if isinstance(value, list) else []


def _at(value: object, key: str) -> object:
    return value.get(key) if isinstance(value, dict) else None


def _matching(envelope: dict[str, JsonValue], name: str, pattern: re.Pattern[str]) -> str:
    value = envelope[name]
    if not isinstance(value, str) or pattern.fullmatch(value) is None:
        raise MalformedEntry(f"{name}: expected text of the form {pattern.pattern}")
    return value


def _references(value: JsonValue) -> tuple[str, ...]:
    if not isinstance(value, list) or len(value) > _MAX_REFS:
        raise MalformedEntry(f"refs: expected a list of at most {_MAX_REFS} txids")
    if not value:
        return ()
    if any(not isinstance(item, str) or _DIGEST.fullmatch(item) is None for item in value):
        raise MalformedEntry("refs: expected txids in lower hex")
    return tuple(cast(list[str], value))


def _commitment(value: JsonValue) -> str:
    if not isinstance(value, dict) or set(value) != {"alg", "salted"} or value["alg"] != "sha-256":
        raise MalformedEntry("commit: expected alg sha-256 and salted")
    salted = value["salted"]
    if not isinstance(salted, str) or _DIGEST.fullmatch(salted) is None:
        raise MalformedEntry("commit.salted: expected 64 hex digits")
    return salted


def _signatures(value: JsonValue) -> tuple[Signature, ...]:
    if not isinstance(value, list) or not 1 <= len(value) <= _MAX_SIGNATURES:
        raise MalformedEntry(f"sigs: expected 1 to {_MAX_SIGNATURES} signatures")
    found: dict[str, Signature] = {}
    for item in value:
        if not isinstance(item, dict) or set(item) != {"kid", "alg", "sig"}:
            raise MalformedEntry("sigs: expected kid, alg and sig")
        kid, alg, sig = item["kid"], item["alg"], item["sig"]
        if not isinstance(alg, str) or alg not in ALGORITHMS:
            raise MalformedEntry(f"sigs: expected an alg of {', '.join(ALGORITHMS)}")
        if not isinstance(kid, str) or _NAME.fullmatch(kid) is None or not isinstance(sig, str):
            raise MalformedEntry("sigs: expected a key id and base64url")
        try:
            value_bytes = base64url.decode(sig)
        except ValueError as exc:
            raise MalformedEntry(f"sigs: {exc}") from exc
        if len(value_bytes) != SIGNATURE_SIZE or kid in found:
            raise MalformedEntry(f"sigs: expected one signature of {SIGNATURE_SIZE} bytes per key id")
        found[kid] = Signature(kid, value_bytes, alg)
    return tuple(found.values())
