"""Members with fixed keys, their entries, and the validity function on its own."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

from ledger import base64url
from ledger.entries import Draft, Entry, new_ulid
from ledger.keys import SigningKey, did_key
from ledger.notes import COSIGNATURE_V1, ED25519, Vkey
from ledger.rules.enrolment import enrolment_message
from ledger.state import GENESIS, apply
from ledger.tables import State
from ledger.times import format_time

__all__ = [
    "NET",
    "ORIGIN",
    "START",
    "ManualClock",
    "Member",
    "Stage",
    "draft_entry",
    "make_genesis",
    "make_hub",
    "make_member",
]

NET = "example/net"
ORIGIN = "example.org/net/log"
START = datetime(2026, 11, 23, 10, 0, 0, tzinfo=UTC)


class ManualClock:
    """A clock that stands until told otherwise."""

    def __init__(self, now: datetime = START) -> None:
        self.now = now

    def __call__(self) -> datetime:
        """Return the time it shows."""
        return self.now

    def advance(self, seconds: float) -> None:
        """Move the clock."""
        self.now += timedelta(seconds=seconds)


@dataclass(frozen=True)
class Member:
    """An organisation with its keys; for the hub, ``cosign`` is the log key."""

    name: str
    tx: SigningKey
    cosign: SigningKey
    record: dict[str, Any]
    enrolment: dict[str, Any]

    @property
    def did(self) -> str:
        """Its DID."""
        return did_key(self.tx.public)

    @property
    def kid(self) -> str:
        """The id of its entry key."""
        return self.did + "#tx-1"


def _key(label: str) -> SigningKey:
    return SigningKey.from_seed(hashlib.sha256(label.encode()).digest())


def _key_record(key: SigningKey) -> dict[str, str]:
    return {"kid": did_key(key.public) + "#tx-1", "alg": "EdDSA", "public": base64url.encode(key.public)}


def make_member(name: str, /, *, net: str = NET, role: str = "participant", **changes: Any) -> Member:  # noqa: ANN401
    """Make a member and its signed enrolment; ``changes`` replace members of the record before signing."""
    tx, cosign = _key(f"{name}/tx"), _key(f"{name}/cosign")
    record = {
        "did": did_key(tx.public),
        "name": name,
        "title": name.title(),
        "role": role,
        "tx": _key_record(tx),
        "cosign": Vkey(f"{net}/{name}", COSIGNATURE_V1, cosign.public).encode(),
        "tls": base64url.encode(b"certificate of " + name.encode()),
        "seal": base64url.encode(hashlib.sha256(f"{name}/seal".encode()).digest()),
        "endpoint": f"{name}.example:7443",
        **changes,
    }
    message = enrolment_message(record)
    proofs = {"tx": base64url.encode(tx.sign(message)), "cosign": base64url.encode(cosign.sign(message))}
    return Member(name, tx, cosign, record, {"v": 1, "member": record, "proofs": proofs})


def make_hub(name: str = "hub") -> Member:
    """Make a hub: its entry key, its log key and its record in the genesis."""
    tx, log = _key(f"{name}/tx"), _key(f"{name}/log")
    record = {
        "did": did_key(tx.public),
        "name": name,
        "tx": _key_record(tx),
        "tls": base64url.encode(b"certificate of " + name.encode()),
    }
    return Member(name, tx, log, record, {})


def make_genesis(hub: Member, members: Sequence[Member], /, **changes: Any) -> bytes:  # noqa: ANN401
    """Make a genesis signed by the hub and all founders; ``changes`` replace members of its body."""
    body = {
        "name": NET,
        "origin": ORIGIN,
        "log": Vkey(ORIGIN, ED25519, hub.cosign.public).encode(),
        "hub": hub.record,
        "members": [member.enrolment for member in members],
        "params": {"max_clock_skew_s": 120},
        "engine": "sql",
        **changes,
    }
    draft = Draft(NET, GENESIS, hub.did, body, exp=format_time(START), seq="genesis")
    for signer in (hub, *members):
        draft = draft.sign(signer.kid, signer.tx)
    return draft.encode()


def draft_entry(
    member: Member,
    kind: str,
    body: dict[str, Any],
    *,
    now: datetime = START,
    lifetime_s: float = 3600,
) -> Draft:
    """Draft a member's entry, unsigned."""
    exp = format_time(now + timedelta(seconds=lifetime_s))
    return Draft(NET, kind, member.did, body, exp=exp, seq=new_ulid(lambda: now))


class Stage:
    """The validity function without a log: entries by members, applied one after the other."""

    def __init__(self, *names: str) -> None:
        self.hub = make_hub()
        self.members = {name: make_member(name) for name in names}
        self.now = START
        self.index = 0
        self.genesis = make_genesis(self.hub, list(self.members.values()))
        self.state = apply(State(), Entry.parse(self.genesis), index=0, time=START)

    def did(self, name: str) -> str:
        """Return a member's DID."""
        return self.members[name].did

    def act(self, name: str, kind: str, body: dict[str, Any]) -> Entry:
        """Sign an entry as ``name`` and apply it.

        Raises:
            Refusal: the validity function refuses it; the state stays.
        """
        member = self.members[name]
        draft = draft_entry(member, kind, body, now=self.now)
        return self.apply(Entry.parse(draft.sign(member.kid, member.tx).encode()))

    def apply(self, entry: Entry) -> Entry:
        """Apply an entry made elsewhere."""
        self.index += 1
        self.state = apply(self.state, entry, index=self.index, time=self.now)
        return entry
