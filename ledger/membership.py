"""Typed views of the tables ``params`` and ``members``: whose keys count, and how many are a quorum."""

from __future__ import annotations

import bisect
import hashlib
from collections.abc import Iterable
from dataclasses import dataclass

from ledger import base64url
from ledger.checkpoints import cosigners
from ledger.notes import Note, NoteSignature, Vkey
from ledger.tables import Row, State, Table

__all__ = [
    "Electorate",
    "Electorates",
    "KeyRecord",
    "Network",
    "active_members",
    "electorate",
    "genesis_hash",
    "member_key",
    "quorum_of",
]

NETWORK_KEY = "network"


@dataclass(frozen=True)
class KeyRecord:
    """An entry signing key as the ledger names it."""

    kid: str
    public: bytes

    @classmethod
    def of(cls, record: Row) -> KeyRecord:
        """Read ``{"kid", "alg", "public"}``."""
        return cls(record["kid"], base64url.decode(record["public"]))


@dataclass(frozen=True)
class Network:
    """The constants of one exchange, set by its genesis."""

    name: str
    origin: str
    log: Vkey
    hub_did: str
    hub_key: KeyRecord
    engine: str
    max_clock_skew_s: int

    @classmethod
    def of(cls, state: State) -> Network | None:
        """Read them from the state; None before the genesis."""
        row = state.get("params", NETWORK_KEY)
        if row is None:
            return None
        hub = row["hub"]
        return cls(
            row["name"],
            row["origin"],
            Vkey.parse(row["log"]),
            hub["did"],
            KeyRecord.of(hub["tx"]),
            row["engine"],
            row["max_clock_skew_s"],
        )


@dataclass(frozen=True)
class Electorate:
    """The cosigning keys of the active members at some size, and how many of them make a checkpoint final."""

    vkeys: frozenset[Vkey]

    @property
    def quorum(self) -> int:
        """Cosignatures needed."""
        return quorum_of(len(self.vkeys))

    def cosigners(self, note: Note) -> dict[Vkey, NoteSignature]:
        """Return the members' valid cosignatures on a note.

        Raises:
            UnverifiedNote: a member's cosignature does not verify.
        """
        return cosigners(note, self.vkeys)

    def is_final(self, signed: Iterable[Vkey]) -> bool:
        """Tell whether these signers are a quorum."""
        return len(self.vkeys.intersection(signed)) >= self.quorum


class Electorates:
    """The electorate at every size of a log: kept as its changes, recorded in log order."""

    def __init__(self) -> None:
        self._sizes: list[int] = []
        self._electorates: list[Electorate] = []
        self._members: Table | None = None

    def record(self, state: State, size: int) -> None:
        """Note the electorate after a batch that ends at ``size``."""
        members = state.rows("members")
        if members is not self._members:
            self._sizes.append(size)
            self._electorates.append(electorate(state))
            self._members = members

    def at(self, size: int) -> Electorate:
        """Return who makes the checkpoint of ``size`` final; nobody before the genesis."""
        position = bisect.bisect_right(self._sizes, size)
        return self._electorates[position - 1] if position else Electorate(frozenset())


def quorum_of(members: int) -> int:
    """Return ``floor(2n/3) + 1``: two such sets share more than a third of the members."""
    return 2 * members // 3 + 1


def active_members(state: State) -> dict[str, Row]:
    """Return the rows of the members that count, by DID."""
    return {did: row for did, row in state.rows("members").items() if row["status"] == "active"}


def electorate(state: State) -> Electorate:
    """Return who makes a checkpoint of this state final."""
    return Electorate(frozenset(Vkey.parse(row["cosign"]) for row in active_members(state).values()))


def member_key(state: State, did: str) -> KeyRecord | None:
    """Return the entry signing key of a member, admitted or active; None for a stranger."""
    row = state.get("members", did)
    return None if row is None else KeyRecord.of(row["tx"])


def genesis_hash(raw: bytes) -> str:
    """Return the hash by which people pin a network: SHA-256 of its genesis entry."""
    return hashlib.sha256(raw).hexdigest()
