"""Who vouched for two histories of one log: what is left when more than a third of the members collude.

A cosigned checkpoint states that the log's first ``size`` entries have one Merkle root. Two statements about
one size that name two roots contradict each other, and whoever signed both is named by its own signatures.
Two quorums share more than a third of the members, so two final checkpoints that contradict each other always
name somebody. A checkpoint of a larger size states something about a smaller one through a consistency proof,
which bundles carry for earlier checkpoints.

Everything here works off line, from files.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations

from ledger import canonical
from ledger.bundle.earlier import read_earlier
from ledger.bundle.files import CHECKPOINT
from ledger.checkpoints import cosigners, open_checkpoint
from ledger.container import unpack
from ledger.entries import Entry
from ledger.errors import MalformedNote, NotCanonical, StoreCorrupt
from ledger.membership import Network, quorum_of
from ledger.notes import Vkey
from ledger.state import apply
from ledger.tables import State
from ledger.times import parse_time

__all__ = ["Contradiction", "Keys", "Statement", "contradictions", "read_statements"]


@dataclass(frozen=True)
class Keys:
    """Whose cosignatures count: the log's key and the members' cosigning keys with the sizes they count at.

    Attributes:
        log: the log's verifier key.
        periods: per key the index from which it counts, and until which; None while it does.
    """

    log: Vkey
    periods: Sequence[tuple[Vkey, int, int | None]]

    @classmethod
    def of(cls, state: State) -> Keys:
        """Read them from a state, past keys included; the genesis alone makes one."""
        network = Network.of(state)
        if network is None:
            raise StoreCorrupt("expected a state with a network, found none")
        periods = [
            (Vkey.parse(row["key"]), row["from"], row["until"])
            for row in state.rows("keys").values()
            if row["use"] == "cosign"
        ]
        return cls(network.log, periods)

    @classmethod
    def founded(cls, genesis: bytes) -> Keys:
        """Read the founders' from a genesis entry.

        Raises:
            MalformedEntry, Refusal: it is not a valid genesis.
        """
        entry = Entry.parse(genesis)
        return cls.of(apply(State(), entry, index=0, time=parse_time(entry.exp)))

    def at(self, size: int) -> list[Vkey]:
        """Return the keys that cosign the checkpoint of ``size``."""
        return [
            vkey for vkey, since, until in self.periods if since < size and (until is None or size <= until)
        ]


@dataclass(frozen=True)
class Statement:
    """That the log's first ``size`` entries have this root (hex), by the log and these key names."""

    size: int
    root: str
    names: frozenset[str]


@dataclass(frozen=True)
class Contradiction:
    """Two statements about one size.

    Attributes:
        size: the size.
        roots: the two roots, hex, in order.
        members: how many members cosign at that size.
        only: the key names that vouched for the first root alone, and for the second alone.
        both: the key names that vouched for both. The log's key always did.
    """

    size: int
    roots: tuple[str, str]
    members: int
    only: tuple[tuple[str, ...], tuple[str, ...]]
    both: tuple[str, ...]

    @property
    def finals(self) -> tuple[bool, bool]:
        """Tell which of the two has ``floor(2n/3) + 1`` cosignatures."""
        quorum, both = quorum_of(self.members), len(self.both)
        return (len(self.only[0]) + both >= quorum, len(self.only[1]) + both >= quorum)


def read_statements(data: bytes, keys: Keys) -> list[Statement]:
    """Read what a file states: a checkpoint, a member's evidence file, or an evidence bundle.

    Of a bundle the checkpoints are read, those it proves to be earlier ones included, and nothing else.

    Args:
        data: the file.
        keys: whose signatures count; lines by others are ignored.

    Raises:
        MalformedNote: none of these.
        UnverifiedNote: a checkpoint is not signed by the log, or a line by a known key does not verify.
        InvalidBundle: the container, or a consistency proof in it, does not hold.
    """
    if data.startswith(b"PK"):
        return _of_bundle(unpack(data), keys)
    if data.startswith(b"{"):
        return _of_evidence(data, keys)
    return [_of_note(data, keys)]


def contradictions(statements: Iterable[Statement], keys: Keys) -> list[Contradiction]:
    """Return every contradiction between statements, by size and roots."""
    vouched: dict[int, dict[str, frozenset[str]]] = {}
    for statement in statements:
        roots = vouched.setdefault(statement.size, {})
        roots[statement.root] = roots.get(statement.root, frozenset()) | statement.names
    found: list[Contradiction] = []
    for size, roots in sorted(vouched.items()):
        for (first, by_first), (second, by_second) in combinations(sorted(roots.items()), 2):
            only = (tuple(sorted(by_first - by_second)), tuple(sorted(by_second - by_first)))
            both = tuple(sorted(by_first & by_second))
            found.append(Contradiction(size, (first, second), len(keys.at(size)), only, both))
    return found


def _of_note(data: bytes, keys: Keys) -> Statement:
    checkpoint, note = open_checkpoint(data, keys.log)
    names = frozenset(vkey.name for vkey in cosigners(note, keys.at(checkpoint.size)))
    return Statement(checkpoint.size, checkpoint.root.hex(), names)


def _of_evidence(data: bytes, keys: Keys) -> list[Statement]:
    try:
        facts = canonical.decode(data)
    except NotCanonical as exc:
        raise MalformedNote(f"expected an evidence file: {exc}") from exc
    noted = [facts.get(name) for name in ("checkpoint", "own_checkpoint")] if isinstance(facts, dict) else []
    found = [_of_note(note.encode(), keys) for note in noted if isinstance(note, str)]
    if not found:
        raise MalformedNote("expected an evidence file that holds a checkpoint")
    return found


def _of_bundle(members: Mapping[str, bytes], keys: Keys) -> list[Statement]:
    if CHECKPOINT not in members:
        raise MalformedNote("expected an evidence bundle, found a container without a checkpoint")
    checkpoint, _ = open_checkpoint(members[CHECKPOINT], keys.log)
    last = _of_note(members[CHECKPOINT], keys)
    earlier = read_earlier(members, checkpoint).values()
    return [last, *(Statement(one.size, one.root.hex(), last.names) for one in earlier)]
