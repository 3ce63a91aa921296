"""Typed views of the governed tables: whose keys count, how many are a quorum, which key was valid when."""

from __future__ import annotations

import bisect
import hashlib
from collections.abc import Iterable, Sequence, Set
from dataclasses import dataclass
from functools import lru_cache
from typing import Literal, TypeVar, cast

from ledger import base64url
from ledger.algorithms import EDDSA
from ledger.checkpoints import cosigners
from ledger.notes import Note, NoteSignature, Vkey
from ledger.tables import Row, State
from ledger.trust import encode_policy

__all__ = [
    "ALGORITHMS_KEY",
    "GOVERNED_TABLES",
    "KEY_USES",
    "NETWORK_KEY",
    "VETOES",
    "VOTING_KEY",
    "Electorate",
    "Electorates",
    "KeyRecord",
    "KeyUse",
    "Network",
    "Veto",
    "VotingRule",
    "active_members",
    "allowed_algorithms",
    "electorate",
    "genesis_hash",
    "key_at",
    "key_row",
    "member_key",
    "passes",
    "quorum_of",
]

T = TypeVar("T")

NETWORK_KEY, VOTING_KEY, ALGORITHMS_KEY = "network", "voting", "algorithms"
GOVERNED_TABLES = ("keys", "members", "params", "pending", "proposals")
"""The tables that governance entries alone write: who shows all of those entries shows these tables whole."""

Veto = Literal["none", "any-regulator", "all-regulators"]
VETOES: tuple[Veto, ...] = ("none", "any-regulator", "all-regulators")
KeyUse = Literal["tx", "cosign", "tls", "seal"]
KEY_USES: tuple[KeyUse, ...] = ("tx", "cosign", "tls", "seal")


@dataclass(frozen=True)
class KeyRecord:
    """An entry signing key as the ledger names it."""

    kid: str
    public: bytes
    alg: str = EDDSA

    @classmethod
    def of(cls, record: Row) -> KeyRecord:
        """Read ``{"kid", "alg", "public"}``."""
        return _key_record(record["kid"], record["public"], record["alg"])


@lru_cache(1024)
def _key_record(kid: str, public: str, alg: str) -> KeyRecord:
    return KeyRecord(kid, base64url.decode(public), alg)


@dataclass(frozen=True)
class Network:
    """The constants of one exchange, set by its genesis; governance changes ``engine`` and the clock skew."""

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
class VotingRule:
    """How many of the members carry a proposal or a checkpoint, and whether regulators must be among them.

    Attributes:
        least: a quorum that governance set; it counts where it is above ``floor(2n/3) + 1``.
        veto: whether any, or all, of the active regulators must agree besides the quorum.
    """

    least: int = 0
    veto: Veto = "none"

    @classmethod
    def of(cls, state: State) -> VotingRule:
        """Read the rule in force."""
        row = state.get("params", VOTING_KEY)
        return cls() if row is None else cls(row["quorum"], cast(Veto, row["veto"]))

    def quorum(self, members: int) -> int:
        """Return how many of ``members`` it takes."""
        return max(quorum_of(members), self.least)

    def regulators_needed(self, regulators: int) -> int:
        """Return how many of ``regulators`` must be among the quorum."""
        return {"none": 0, "any-regulator": 1, "all-regulators": max(1, regulators)}[self.veto]

    def is_met(self, agreed: Iterable[T], members: Set[T], regulators: Set[T]) -> bool:
        """Tell whether those that agreed are enough of ``members``; ``regulators`` are some of them."""
        counted = members & frozenset(agreed)
        needed = self.regulators_needed(len(regulators))
        return len(counted) >= self.quorum(len(members)) and len(counted & regulators) >= needed


@dataclass(frozen=True)
class Electorate:
    """The cosigning keys of the active members at some size, and which of them make a checkpoint final."""

    vkeys: frozenset[Vkey]
    regulators: frozenset[Vkey] = frozenset()
    rule: VotingRule = VotingRule()

    @property
    def quorum(self) -> int:
        """Cosignatures needed."""
        return self.rule.quorum(len(self.vkeys))

    def policy(self, log: Vkey, witnesses: Sequence[Vkey] = ()) -> bytes:
        """Return the rule as a policy file for ``log``; see ``ledger.trust.encode_policy``."""
        return encode_policy(
            log,
            sorted(self.vkeys, key=lambda vkey: vkey.name),
            self.quorum,
            regulators=sorted(self.regulators, key=lambda vkey: vkey.name),
            regulators_needed=self.rule.regulators_needed(len(self.regulators)),
            witnesses=witnesses,
        )

    def cosigners(self, note: Note) -> dict[Vkey, NoteSignature]:
        """Return the members' valid cosignatures on a note.

        Raises:
            UnverifiedNote: a member's cosignature does not verify.
        """
        return cosigners(note, self.vkeys)

    def is_final(self, signed: Iterable[Vkey]) -> bool:
        """Tell whether these signers are a quorum, with the regulators that the rule asks for."""
        return self.rule.is_met(signed, self.vkeys, self.regulators)


class Electorates:
    """The electorate at every size of a log: kept as its changes, recorded in log order."""

    def __init__(self) -> None:
        self._sizes: list[int] = []
        self._electorates: list[Electorate] = []
        self._roots: tuple[bytes | None, ...] = ()

    @property
    def since(self) -> int:
        """The smallest size for which the electorate is known."""
        return self._sizes[0] if self._sizes else 0

    def record(self, state: State, size: int) -> None:
        """Note the electorate after a batch that ends at ``size``."""
        tables = state.table_roots()
        roots = (tables.get("members"), tables.get("params"))
        if roots != self._roots:
            self._sizes.append(size)
            self._electorates.append(electorate(state))
            self._roots = roots

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
    vkeys = {did: Vkey.parse(row["cosign"]) for did, row in active_members(state).items()}
    regulators = frozenset(vkeys[did] for did in _regulators(active_members(state)))
    return Electorate(frozenset(vkeys.values()), regulators, VotingRule.of(state))


def passes(state: State, agreed: Iterable[str]) -> bool:
    """Tell whether the active members among the DIDs that ``agreed`` carry a proposal."""
    members = active_members(state)
    return VotingRule.of(state).is_met(agreed, members.keys(), _regulators(members))


def allowed_algorithms(state: State) -> frozenset[str]:
    """Return the signature algorithms that entries may be signed with."""
    row = state.get("params", ALGORITHMS_KEY)
    return frozenset() if row is None else frozenset(row["allowed"])


def member_key(state: State, did: str) -> KeyRecord | None:
    """Return the entry signing key of a member, whatever its status; None for a stranger."""
    row = state.get("members", did)
    return None if row is None else KeyRecord.of(row["tx"])


def key_row(did: str, use: KeyUse, number: int) -> str:
    """Return under which name the table ``keys`` has a member's n-th key; for ``tx`` it is the key id."""
    return f"{did}#{use}-{number}"


def key_at(state: State, did: str, index: int) -> KeyRecord | None:
    """Return the entry signing key that was a member's at ``index``; None if it had none then.

    Args:
        state: a state that covers ``index``.
        did: the member.
        index: of an entry in the log.
    """
    number = 1
    while (row := state.get("keys", key_row(did, "tx", number))) is not None:
        if row["from"] <= index and (row["until"] is None or index < row["until"]):
            return KeyRecord.of(row["key"])
        number += 1
    return None


def genesis_hash(raw: bytes) -> str:
    """Return the hash by which people pin a network: SHA-256 of its genesis entry."""
    return hashlib.sha256(raw).hexdigest()


def _regulators(members: dict[str, Row]) -> frozenset[str]:
    return frozenset(did for did, row in members.items() if row["role"] == "regulator")
