"""Two-party private set intersection by commutative masking (ECDH-PSI) on ristretto255.

Both parties, or one, learn the intersection and nothing else of the other's set but its size. The roles are
symmetric:

    left, items X, key a                          right, items Y, key b
      1. terms               |X|  <--------------->  |Y|  terms
      2. masked              H(x)^a, in secret order  --->
                             <---  H(y)^b, in secret order  masked
      3. double-masked       T(H(y)^ba), y's order  --->
                             <---  T(H(x)^ab), x's order  double-masked
      4. multiplicities      rows of each shared item  <--->  (where items repeat)
      5. confirm             transcript hash  <--->  transcript hash

H hashes into the group and T takes 16 bytes of a hash of the encoding; both are bound to protocol, version
and session. Each party now holds the tags of both lists, and equal tags are equal items. A party that is no
receiver gets no tags of its own items in step 3. Steps 2 and 3 alternate in chunks of `CHUNK_ROWS`, so the
network never holds more than two chunks.

With a folder, both sets and both lists of tags lie on disk in partitions that only this party knows; in
memory are one partition and 24 bytes for each own row.

Two different items get one tag with probability below ``(|X| + |Y|)**2 / 2**129``: 2**-87 for two million
rows.

Not here: the number of shared items alone, `mpc.psi.cardinality`; and sets of more than two parties.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np
from numpy.typing import NDArray

from mpc import ristretto255, wire
from mpc.channel import Channel
from mpc.domain import Usage, separation_tag
from mpc.errors import MalformedMessage, MpcError, ResultSizeRefused
from mpc.psi.masking import (
    OWN_TAG_BYTES,
    TAG_BYTES,
    Masking,
    Progress,
    Receivers,
    Terms,
    masking_bytes,
    masking_rounds,
    match,
)
from mpc.psi.own_set import MAX_ROWS, Duplicates, OwnSet
from mpc.psi.spool import Spool
from mpc.randomness import Randomness
from mpc.secrecy import Unprintable
from mpc.spec import Adversary, ProtocolSpec
from mpc.transcript import CONFIRMATION_BYTES, PIECE_BYTES, protocol_run

_LEAKS: Final = (
    "the number of distinct items in the other party's set",
    "where rows are kept as groups: how many rows the other party has of each shared item",
)
SPEC: Final = ProtocolSpec(
    name="psi/ecdh",
    version=2,
    roles=("left", "right"),
    adversary=Adversary.SEMI_HONEST,
    corruptions="one of two",
    leaks={"left": _LEAKS, "right": _LEAKS},
    cost=(
        "2 rounds for each 8,192 items of the smaller set, 1 for each 8,192 more of the larger, and 2; "
        "each party sends 32 bytes for each own item and, to a receiver, 16 for each item of the other, and "
        "computes one hash to the group and one multiplication for each own item and one multiplication for "
        "each item of the other"
    ),
    source=(
        "Meadows 1986; Huberman, Franklin, Hogg 1999; security by DDH in the random oracle model: "
        "Agrawal, Evfimievski, Srikant 2003; group: RFC 9496; hash to the group: RFC 9380"
    ),
    summary="Two parties, or one of them, learn which of their own rows the other also holds, and no more.",
)

_TERMS_BYTES: Final = 24


@dataclass(frozen=True, repr=False, eq=False)
class Intersection(Unprintable):
    """What a receiver gets: which of its own rows are shared.

    Attributes:
        rows: int64[m], the party's own rows. Aligned: entry k is the same item at both parties. The order is
            that of the tags, so it says nothing of either party's row order.
        peer_rows: size of the other party's set.
    """

    rows: NDArray[np.int64]
    peer_rows: int


@dataclass(frozen=True, repr=False, eq=False)
class Matches(Intersection):
    """An intersection with what joins other than the inner one need.

    Where rows are kept as groups, every pair of a left and a right row of one item is an entry of ``rows``.

    Attributes:
        unmatched: int64[u], own rows of items that the other party has not, ascending.
        shared: number of shared items.
    """

    unmatched: NDArray[np.int64]
    shared: int


def run(
    channel: Channel, items: Sequence[bytes], rng: Randomness, *, progress: Progress | None = None
) -> Matches:
    """Play one party of the intersection of two sets of which both learn the result; see `run_batches`.

    Args:
        channel: to the other party.
        items: own set: n distinct items.
        rng: own randomness.
        progress: see `run_batches`.

    Returns:
        The own rows the peer also holds, aligned with the peer's.

    Security: semi-honest peer; DDH in ristretto255, hashes modelled as random oracles.
    Leaks: to each party, the number of items in the other's set. Nothing else beyond the intersection.
    Cost: `rounds` and `bytes_sent`; 65 microseconds for each row of sets of equal size, divided by the cores.
    Source: Meadows 1986; Huberman, Franklin, Hogg 1999; Agrawal, Evfimievski, Srikant 2003.
    """
    both = run_batches(channel, [items], rng, progress=progress)
    if both is None:
        raise MpcError("a receiver has a result")
    return both


def run_batches(
    channel: Channel,
    batches: Iterable[Sequence[bytes]],
    rng: Randomness,
    *,
    receivers: Receivers = Receivers.BOTH,
    duplicates: Duplicates = Duplicates.REFUSE,
    limits: tuple[int, int] = (0, MAX_ROWS),
    folder: Path | None = None,
    progress: Progress | None = None,
) -> Matches | None:
    """Play one party of the intersection; rank 0 is left, rank 1 is right.

    Args:
        channel: to the other party. Its session must be fresh: keys and hashes are bound to it.
        batches: own items in batches: non-empty byte strings of at most 1 KiB. Both parties must encode equal
            items as equal bytes. At most 2**31 rows.
        rng: own randomness, for the key and the secret order.
        receivers: who learns the result; the same at both.
        duplicates: what an item in several rows means; the same at both.
        limits: the fewest and the most shared items with which this party, if a receiver, goes on.
        folder: a private folder of this run for what does not fit into memory; None: memory.
        progress: called as ``progress(done, total)`` with masked points of both lists, after each chunk.

    Returns:
        The own rows the peer also holds; None where this party is no receiver.

    Raises:
        InvalidInput: own items are not as stated. `DuplicateItems` counts repeats.
        ResultSizeRefused: the number of shared items is outside the limits; there is no result for anybody.
        ProtocolAbort: the peer's messages are not as the protocol has them, or the peer aborted.

    Security: semi-honest peer; DDH in ristretto255, hashes modelled as random oracles.
    Leaks: to each party, the number of items in the other's set; with groups, to each receiver, the rows of
        each shared item. A receiver that refuses a result has computed it.
    Cost: `rounds` and `bytes_sent`; 65 microseconds for each row of sets of equal size, divided by the cores.
    Source: Meadows 1986; Huberman, Franklin, Hogg 1999; Agrawal, Evfimievski, Srikant 2003.
    """
    with protocol_run(channel, SPEC) as peer, ExitStack() as stack:
        # 1. Choose the key, hash and order the own set, exchange the terms.
        key = ristretto255.random_scalar(rng)
        separation = separation_tag(SPEC.name, SPEC.version, Usage.HASH_TO_GROUP, peer.session)
        own = stack.enter_context(OwnSet(batches, separation, rng, duplicates, folder))
        terms = Terms(len(own), receivers, duplicates)
        peer.send("terms", terms.encode())
        peer_items = terms.peers(peer.receive("terms"))
        # 2. and 3. Mask both lists under both keys; who learns the result gets the tags of its own list.
        own_tags = stack.enter_context(Spool(OWN_TAG_BYTES, folder))
        peer_tags = stack.enter_context(Spool(TAG_BYTES, folder))
        told, tells = receivers.has(peer.rank), receivers.has(1 - peer.rank)
        Masking(peer, SPEC, key, own, peer_items, told, tells, progress).run(own_tags, peer_tags)
        if not told:
            peer.confirm()
            return None
        # 4. Compare the lists; a size outside the limits ends the run before there is output.
        shared = match(own_tags, peer_tags)
        if not limits[0] <= len(shared) <= limits[1]:
            raise ResultSizeRefused
        rows = own.rows_of(shared)
        if duplicates is Duplicates.GROUPS:
            counts = own.counts_of(shared)
            theirs = np.ones_like(counts)
            if tells:
                sent = wire.encode_array(counts)
                theirs = _multiplicities(peer.swap("multiplicities", sent, at_most=len(sent)), len(shared))
            rows = _pairs(own, shared, theirs, is_left=peer.rank == 0)
        # 5. Compare transcripts.
        peer.confirm()
        return Matches(rows, peer_items, _unmatched(own, shared), len(shared))


def rounds(own_items: int, peer_items: int, shared_in_groups: int | None = None) -> int:
    """Return the receiving phases of a party with ``own_items`` items, as `ChannelStats` counts them.

    ``shared_in_groups`` is the number of shared items where both are receivers and rows are kept as groups.
    """
    swaps = 0
    if shared_in_groups is not None:
        swaps = max(1, -(-wire.array_bytes(8, shared_in_groups) // PIECE_BYTES))
    return 2 + masking_rounds(own_items, peer_items) + swaps


def bytes_sent(
    own_items: int, peer_items: int, *, tells: bool = True, shared_in_groups: int | None = None
) -> int:
    """Return the payload bytes a party sends; ``tells``: whether the other is a receiver."""
    masked = masking_bytes(own_items, peer_items, tells=tells)
    swapped = 0 if shared_in_groups is None else 8 + wire.array_bytes(8, shared_in_groups)
    return _TERMS_BYTES + masked + swapped + CONFIRMATION_BYTES


def _multiplicities(payload: bytes, shared: int) -> NDArray[np.int64]:
    reader = wire.Reader("multiplicities", payload)
    counts: NDArray[np.int64] = reader.array("counts", "<i8", (shared,))
    reader.finish()
    if np.any(counts < 1) or np.any(counts > MAX_ROWS):
        raise MalformedMessage(f"multiplicities: expected counts from 1 to {MAX_ROWS}")
    return counts


def _pairs(
    own: OwnSet, shared: NDArray[np.int64], theirs: NDArray[np.int64], *, is_left: bool
) -> NDArray[np.int64]:
    """The own row of every pair of rows of each shared item, the left row changing slower."""
    ours = own.counts_of(shared)
    sizes = ours * theirs
    if float((ours.astype(np.float64) * theirs).sum()) > MAX_ROWS:
        raise ResultSizeRefused
    number = np.arange(sizes.sum()) - np.repeat(np.cumsum(sizes) - sizes, sizes)
    right = np.repeat(theirs if is_left else ours, sizes)
    within = number // right if is_left else number % right
    rows: NDArray[np.int64] = own.rows[np.repeat(own.starts[shared], sizes) + within]
    return rows


def _unmatched(own: OwnSet, shared: NDArray[np.int64]) -> NDArray[np.int64]:
    is_shared = np.zeros(len(own), np.bool_)
    is_shared[shared] = True
    return np.sort(own.rows[~np.repeat(is_shared, np.diff(own.starts))])
