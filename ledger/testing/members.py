"""Members with fixed keys, their entries, and the validity function on its own."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

from ledger import base64url, canonical
from ledger.algorithms import Signer
from ledger.entries import Draft, Entry, new_ulid
from ledger.keys import SigningKey, did_key
from ledger.notes import COSIGNATURE_V1, ED25519, Vkey
from ledger.rules.enrolment import enrolment_message
from ledger.rules.rotation import rotation_message
from ledger.state import GENESIS, apply, settle
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
    "rotate_member",
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
    tx: Signer
    cosign: SigningKey
    record: dict[str, Any]
    enrolment: dict[str, Any]

    @property
    def did(self) -> str:
        """Its DID."""
        did: str = self.record["did"]
        return did

    @property
    def kid(self) -> str:
        """The id of its entry key."""
        kid: str = self.record["tx"]["kid"]
        return kid


def _key(label: str) -> SigningKey:
    return SigningKey.from_seed(hashlib.sha256(label.encode()).digest())


def _key_record(key: SigningKey) -> dict[str, str]:
    return {"kid": did_key(key.public) + "#tx-1", "alg": "EdDSA", "public": base64url.encode(key.public)}


def make_member(
    name: str,
    /,
    *,
    net: str = NET,
    role: str = "participant",
    cosign_key: SigningKey | None = None,
    **changes: Any,  # noqa: ANN401
) -> Member:
    """Make a member and its signed enrolment; ``changes`` replace members of the record before signing."""
    tx, cosign = _key(f"{name}/tx"), cosign_key or _key(f"{name}/cosign")
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


def rotate_member(
    member: Member,
    /,
    *uses: str,
    tx: Signer | None = None,
    net: str = NET,
    **changes: Any,  # noqa: ANN401
) -> tuple[Member, dict[str, Any]]:
    """Make new keys for some uses of a member and the rotation that they sign.

    Args:
        member: as it is before.
        uses: of ``tx``, ``cosign``, ``tls`` and ``seal``.
        tx: the new entry key, for one of another algorithm.
        net: the network's name.
        changes: replace members of the rotation before it is signed.
    """
    kid, number = member.kid.rpartition("-")[0], int(member.kid.rpartition("-")[2]) + 1
    label = hashlib.sha256(canonical.encode(member.record)).hexdigest()
    tx = (tx or _key(f"{label}/tx")) if "tx" in uses else member.tx
    cosign = _key(f"{label}/cosign") if "cosign" in uses else member.cosign
    record = {
        "tx": {"kid": f"{kid}-{number}", "alg": tx.alg, "public": base64url.encode(tx.public)},
        "cosign": Vkey(f"{net}/{member.name}", COSIGNATURE_V1, cosign.public).encode(),
        "tls": base64url.encode(b"certificate " + label.encode()),
        "seal": base64url.encode(hashlib.sha256(f"{label}/seal".encode()).digest()),
    }
    new = {use: record[use] for use in uses}
    rotation: dict[str, Any] = {
        "v": 1,
        "net": net,
        "did": member.did,
        "old": {"kid": member.kid, "cosign": member.record["cosign"]},
        "new": new,
        **changes,
    }
    message = rotation_message(rotation)
    proofs = {"tx": base64url.encode(tx.sign(message))}
    if "cosign" in uses:
        proofs["cosign"] = base64url.encode(cosign.sign(message))
    rotated = Member(member.name, tx, cosign, {**member.record, **new}, member.enrolment)
    return rotated, {**rotation, "proofs": proofs}


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

    def __init__(self, *names: str, roles: Mapping[str, str] | None = None) -> None:
        self.hub = make_hub()
        self.members = {
            name: make_member(name, role=(roles or {}).get(name, "participant")) for name in names
        }
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

    def settle(self, entries: int = 0) -> None:
        """Let ``entries`` pass and carry out what is due at the beginning of the next batch."""
        self.index += entries
        self.state = settle(self.state, self.index + 1)

    def apply(self, entry: Entry) -> Entry:
        """Apply an entry made elsewhere, as a batch of its own."""
        self.index += 1
        state = settle(self.state, self.index)
        self.state = apply(state, entry, index=self.index, time=self.now)
        return entry
