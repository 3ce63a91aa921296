"""Over-threshold intersection of n parties with an aggregator that has no data and not their key.

    parties, sets X_1 … X_n                                  aggregator
      1. terms         capacity, threshold, minimum  --->
      2. key           party 1 to every other party
      3. cells         20 tables, in chunks  --->
                                              <---  the party's hits  4. hits
      5. tags          of the items in these cells  --->
                               <---  which tags k parties have, how many  6. outcome
      7. confirm       transcript hash  <--->  every two

Each table is shares of polynomials that only the parties can compute (`tables`); where k parties hold a point
of one, the aggregator sees it (`reconstruction`) and says so to them, by table and cell. The parties answer
with tags of their items there. These take out cells that fit by chance, let the aggregator count items across
tables, and tell it nothing but which parties hold an item, which the cells have shown already.

The aggregator MUST NOT collude with a party: together they have the key, and can try identifiers against
every table. Parties may collude with each other: they see nothing of the others' tables.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from mpc import wire
from mpc.errors import CohortTooSmall, InputsDisagree, InvalidInput, MalformedMessage
from mpc.items import check_items
from mpc.mersenne61 import PRIME
from mpc.mesh import ConfirmedMesh, Mesh, mesh_run
from mpc.over_threshold.reconstruction import find
from mpc.over_threshold.tables import EMPTY, TABLES, TAG_BYTES, ItemFunctions, cells_of, fill
from mpc.pieces import receive_words, send_words, words_bytes
from mpc.randomness import Randomness
from mpc.secrecy import SecretBytes, Unprintable
from mpc.spec import Adversary, ProtocolSpec
from mpc.transcript import CONFIRMATION_BYTES, ConfirmedChannel

Progress = Callable[[int, int], None]

MIN_PARTIES: Final = 2
MAX_PARTIES: Final = 30
MAX_CAPACITY: Final = 2**21
KEY_BYTES: Final = 32
CHUNK_CELLS: Final = 65_536

SPEC: Final = ProtocolSpec(
    name="psi/over-threshold",
    version=1,
    roles=("party", "aggregator"),
    adversary=Adversary.SEMI_HONEST,
    corruptions="any number of parties, or the aggregator; never the aggregator and a party together",
    leaks={
        "party": ("how many items reach the threshold in all",),
        "aggregator": ("of each item that reaches the threshold, which parties hold it, but not the item",),
    },
    cost=(
        "each party sends 8 bytes for each of 20 * capacity * threshold cells; for each cell the aggregator "
        "computes C(n, 2) + ... + C(n, k-1) products and makes C(n, k) comparisons; 4 rounds between the "
        "aggregator and each party, 3 between parties"
    ),
    source=(
        "Arpaci, Boutaba, Kerschbaum 2025 (hashing, non-interactive deployment); shares of zero: Mahdavi, "
        "Humphries, Kacsmar, Krastnikov, Lukas, Premkumar, Shafieinejad, Oya, Kerschbaum, Blass 2020"
    ),
    summary="Each party learns which of its own items k or more of the parties hold, and of others nothing.",
)


@dataclass(frozen=True)
class Terms:
    """What the parties agree on: the same at all, but for each one's own minimum.

    Attributes:
        capacity: items a party may have at most; sets of any size up to it look the same.
        threshold: k, 2 to the number of parties.
        minimum: fewest items over the threshold with which this party lets the run end.
    """

    capacity: int
    threshold: int
    minimum: int = 1

    def check(self, parties: int) -> None:
        """Refuse terms that a run of so many parties cannot have.

        Raises:
            InvalidInput: naming the field.
        """
        for field, value, low, high in (
            ("parties", parties, MIN_PARTIES, MAX_PARTIES),
            ("capacity", self.capacity, 1, MAX_CAPACITY),
            ("threshold", self.threshold, 2, parties),
        ):
            if not low <= value <= high:
                raise InvalidInput(f"{field}: expected {low} to {high}, got {value}")

    def encode(self) -> bytes:
        """Encode for the wire."""
        return b"".join(map(wire.encode_uint64, (self.capacity, self.threshold, self.minimum)))

    @classmethod
    def decode(cls, payload: bytes) -> Terms:
        """Decode three integers; whether they fit is checked against the own ones."""
        reader = wire.Reader("terms", payload)
        terms = cls(reader.uint64("capacity"), reader.uint64("threshold"), reader.uint64("minimum"))
        reader.finish()
        return terms


@dataclass(frozen=True, repr=False, eq=False)
class OverThreshold(Unprintable):
    """What a party gets.

    Attributes:
        rows: int64[m], ascending: which of its own items reach the threshold.
        total: how many items reach it at any parties.
    """

    rows: NDArray[np.int64]
    total: int


@dataclass(frozen=True, repr=False, eq=False)
class Holders(Unprintable):
    """What the aggregator gets.

    Attributes:
        counts: int64[n + 1], how many items over the threshold have how many holders.
        minimum: the largest that anybody stated; ``counts`` add up to no less.
    """

    counts: NDArray[np.int64]
    minimum: int


def party(
    mesh: Mesh,
    items: Sequence[bytes],
    terms: Terms,
    rng: Randomness,
    *,
    progress: Progress | None = None,
) -> OverThreshold:
    """Play a party: every rank but the last.

    Args:
        mesh: of the n parties and, as its last rank, the aggregator.
        items: own set: distinct non-empty byte strings of at most 1 KiB, at most ``terms.capacity``. Equal
            items must be equal bytes at all parties.
        terms: the same at all parties, but for the minimum.
        rng: own randomness.
        progress: called as ``progress(done, total)`` with cells of all tables.

    Raises:
        InvalidInput: own items or terms are not as stated.
        ProtocolAbort: a message is not as the protocol has it, a peer aborted, terms differ, or fewer items
            than some party's minimum reach the threshold.

    Security: semi-honest; BLAKE2b and AES-128 as pseudorandom functions. The aggregator colludes with nobody.
    Leaks: how many items reach the threshold in all, to every party.
    Cost: `rounds` and `bytes_sent`; 1.2 s for 100,000 items and threshold 3 on one core.
    Source: Arpaci, Boutaba, Kerschbaum 2025.
    """
    with mesh_run(mesh, SPEC) as peers:
        aggregator, parties = peers.size - 1, peers.size - 1
        terms.check(parties)
        check_items(items, terms.capacity)
        # 1. State the terms, and have one key with all other parties.
        peers[aggregator].send("terms", terms.encode())
        key = _common_key(peers, rng)
        # 2. Send the tables; which item stands where stays here.
        functions = ItemFunctions(items, key, SPEC, mesh.session)
        holders, cells = [], cells_of(terms.capacity, terms.threshold)
        for holder, values in fill(functions, terms.capacity, terms.threshold, peers.rank + 1, rng):
            holders.append(holder)
            for chunk in _chunks(cells):
                peers[aggregator].send("cells", wire.encode_array(values[chunk]))
                if progress is not None:
                    progress((len(holders) - 1) * cells + chunk.stop, TABLES * cells)
        # 3. Learn the cells that fit, and name the own items there by their tags.
        hits = _receive_hits(peers[aggregator], TABLES * cells)
        items_hit = np.concatenate(holders)[hits]
        rows = np.unique(items_hit[items_hit != EMPTY]).astype(np.int64)
        send_words(peers[aggregator], "tags", functions.tags[rows].view(np.uint64))
        # 4. Learn which of them other parties name too.
        reader = wire.Reader("outcome", peers[aggregator].receive("outcome"))
        is_over = reader.array("is_over", "u1", (len(rows),))
        total = reader.uint64("total")
        reader.finish()
        if np.any(is_over > 1) or np.count_nonzero(is_over) > total:
            raise MalformedMessage("outcome: more items than in all, or a flag that is none")
        if total < terms.minimum:
            raise CohortTooSmall(terms.minimum, 1)
        peers.confirm()
        return OverThreshold(rows[is_over == 1], total)


def aggregator(mesh: Mesh, terms: Terms, *, progress: Progress | None = None) -> Holders:
    """Play the aggregator, the last rank: find the cells that add up, and count.

    Args:
        mesh: of the n parties and this one.
        terms: as the parties'; a minimum of its own may be larger.
        progress: called as ``progress(done, total)`` with cells of all tables.

    Raises:
        InvalidInput: terms are not as stated.
        ProtocolAbort: a message is not as the protocol has it, a party aborted, terms differ, or fewer items
            than some party's minimum reach the threshold.

    Security: semi-honest; sees pseudorandom shares and random elements.
    Leaks: of each item that reaches the threshold, which parties hold it.
    Cost: `rounds` and `bytes_sent`; `reconstruction.operations` a cell, 2 nanoseconds each. Cells fit
        by chance with probability ``C(n, k) * cells / 2**61`` in all; tags take such cells out.
    Source: Arpaci, Boutaba, Kerschbaum 2025.
    """
    with mesh_run(mesh, SPEC) as peers:
        parties = peers.size - 1
        terms.check(parties)
        # 1. Hear that all have the same terms.
        minimum = terms.minimum
        for peer in peers.peers:
            theirs = Terms.decode(peers[peer].receive("terms"))
            for field in ("capacity", "threshold"):
                if getattr(theirs, field) != getattr(terms, field):
                    raise InputsDisagree(field, getattr(terms, field), getattr(theirs, field))
            minimum = max(minimum, theirs.minimum)
        # 2. Look at the tables chunk by chunk.
        cells = cells_of(terms.capacity, terms.threshold)
        found_at: list[list[NDArray[np.int64]]] = [[] for _ in peers.peers]
        for table in range(TABLES):
            for chunk in _chunks(cells):
                size = chunk.stop - chunk.start
                found = find(
                    [_cells(peers[peer].receive("cells"), size) for peer in peers.peers], terms.threshold
                )
                at = np.flatnonzero(found)
                for peer in peers.peers:
                    own = at[(found[at] >> np.uint64(peer)) & np.uint64(1) == 1]
                    found_at[peer].append(own + (table * cells + chunk.start))
                if progress is not None:
                    progress(table * cells + chunk.stop, TABLES * cells)
        # 3. Tell each party its cells, and count what their items are called.
        hits = [np.concatenate(own) for own in found_at]
        for peer in peers.peers:
            send_words(peers[peer], "hits", hits[peer].astype(np.uint64))
        tags = [_receive_tags(peers[peer], len(hits[peer])) for peer in peers.peers]
        holders, of_tag = _count_holders(tags)
        over = holders >= terms.threshold
        total = int(np.count_nonzero(over))
        if total < minimum:
            raise CohortTooSmall(minimum, 1)
        for peer in peers.peers:
            flags = over[of_tag[peer]].astype(np.uint8)
            peers[peer].send("outcome", wire.encode_array(flags) + wire.encode_uint64(total))
        peers.confirm()
        return Holders(np.bincount(holders[over], minlength=parties + 1).astype(np.int64), minimum)


def rounds(rank: int, parties: int) -> int:
    """Return the receiving phases of a rank, over all its channels, as `ChannelStats` counts them."""
    if rank == parties:
        return 4 * parties
    return 4 + 2 * (parties - 1) + (rank > 0)


def bytes_sent(rank: int, parties: int, terms: Terms, named: int) -> int:
    """Return the payload bytes that a party sends, of whose items ``named`` were hit."""
    cells = sum(
        wire.array_bytes(8, chunk.stop - chunk.start)
        for chunk in _chunks(cells_of(terms.capacity, terms.threshold))
    )
    key = KEY_BYTES * (parties - 1) if rank == 0 else 0
    tags = words_bytes(named * TAG_BYTES // 8)
    return len(terms.encode()) + key + TABLES * cells + tags + CONFIRMATION_BYTES * parties


def aggregator_bytes_sent(hits: Sequence[int], named: Sequence[int]) -> int:
    """Return the payload bytes that the aggregator sends, from each party's cells and items hit."""
    return sum(
        words_bytes(cells) + wire.array_bytes(1, items) + 8 + CONFIRMATION_BYTES
        for cells, items in zip(hits, named, strict=True)
    )


def _common_key(peers: ConfirmedMesh, rng: Randomness) -> SecretBytes:
    others = range(1, peers.size - 1)
    if peers.rank:
        key = peers[0].receive("key")
        if len(key) != KEY_BYTES:
            raise MalformedMessage(f"key: expected {KEY_BYTES} bytes, got {len(key)}")
        return SecretBytes(key)
    drawn = rng.bytes(KEY_BYTES)
    for peer in others:
        peers[peer].send("key", drawn)
    return SecretBytes(drawn)


def _cells(payload: bytes, size: int) -> NDArray[np.uint64]:
    reader = wire.Reader("cells", payload)
    values = reader.array("values", "<u8", (size,))
    reader.finish()
    if np.any(values >= PRIME):
        raise MalformedMessage("cells: a value is no element of the field")
    return values


def _receive_hits(channel: ConfirmedChannel, cells: int) -> NDArray[np.int64]:
    hits = receive_words(channel, "hits", most=cells)
    if np.any(hits[1:] <= hits[:-1]) or (len(hits) and hits[-1] >= cells):
        raise MalformedMessage(f"hits: expected ascending cells below {cells}")
    return hits.astype(np.int64)


def _receive_tags(channel: ConfirmedChannel, most: int) -> NDArray[np.uint64]:
    words = receive_words(channel, "tags", most=most * TAG_BYTES // 8)
    if len(words) % 2:
        raise MalformedMessage(f"tags: expected whole tags, got {len(words)} words")
    tags = words.reshape(-1, 2)
    if len(np.unique(tags, axis=0)) != len(tags):
        raise MalformedMessage(f"tags: expected {len(tags)} different ones")
    return tags


def _count_holders(tags: Sequence[NDArray[np.uint64]]) -> tuple[NDArray[np.int64], list[NDArray[np.int64]]]:
    """How many parties have each distinct tag, and which of these each party's tags are."""
    _, number, holders = np.unique(np.concatenate(tags), axis=0, return_inverse=True, return_counts=True)
    ends = np.cumsum([len(one) for one in tags])
    return holders, np.split(number.reshape(-1), ends[:-1])


def _chunks(cells: int) -> list[slice]:
    return [slice(start, min(start + CHUNK_CELLS, cells)) for start in range(0, cells, CHUNK_CELLS)]
