"""How many items two parties share, and nothing about which (ECDH-PSI cardinality) on ristretto255.

    left, items X, key a                          right, items Y, key b
      1. terms               |X|  <--------------->  |Y|  terms
      2. masked              H(x)^a, in secret order  --->
                             <---  H(y)^b, in secret order  masked
      3. double-masked       nothing, for each chunk  <--->
      4. sorted              T(H(y)^ba), sorted  --->
                             <---  T(H(x)^ab), sorted  sorted
      5. confirm             transcript hash  <--->  transcript hash

As `mpc.psi.ecdh`, but the tags of a party's own list come back sorted, all of them together. Tags are
pseudorandom to whoever lacks the other key, so the sorted list says nothing of which tag belongs to which
item: a party counts the tags that are in both lists, and that is all it can do. A party that is no receiver
gets no tags.

Not here: a threshold that hides the number from the receiver itself. A receiver that refuses a number below
its minimum has seen it.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np
from numpy.typing import NDArray

from mpc import ristretto255, wire
from mpc.channel import Channel
from mpc.domain import Usage, separation_tag
from mpc.errors import MalformedMessage, ResultSizeRefused
from mpc.psi.masking import (
    CHUNK_ROWS,
    OWN_TAG_BYTES,
    TAG_BYTES,
    Masking,
    Progress,
    Receivers,
    Tags,
    Terms,
    chunk_count,
    in_chunk,
    masking_bytes,
    masking_rounds,
    match,
    with_positions,
)
from mpc.psi.own_set import MAX_ROWS, Duplicates, OwnSet
from mpc.psi.spool import Spool
from mpc.randomness import Randomness
from mpc.spec import Adversary, ProtocolSpec
from mpc.transcript import CONFIRMATION_BYTES, ConfirmedChannel, protocol_run

SPEC: Final = ProtocolSpec(
    name="psi/cardinality",
    version=1,
    roles=("left", "right"),
    adversary=Adversary.SEMI_HONEST,
    corruptions="one of two",
    leaks={
        "left": ("the number of distinct items in the other party's set",),
        "right": ("the number of distinct items in the other party's set",),
    },
    cost=(
        "2 rounds for each 8,192 items of the smaller set, 1 for each 8,192 more of the larger, 1 for each "
        "8,192 tags of the longest list that is told, and 2; bytes and work as psi/ecdh"
    ),
    source=(
        "Huberman, Franklin, Hogg 1999; Agrawal, Evfimievski, Srikant 2003, intersection size; "
        "De Cristofaro, Gasti, Tsudik 2012; group: RFC 9496; hash to the group: RFC 9380"
    ),
    summary="Two parties, or one of them, learn how many items they share, and not which.",
)

_TERMS_BYTES: Final = 24


@dataclass(frozen=True)
class Cardinality:
    """What a receiver gets: the number of shared items and the size of the other party's set."""

    shared: int
    peer_items: int


def run(
    channel: Channel,
    batches: Iterable[Sequence[bytes]],
    rng: Randomness,
    *,
    receivers: Receivers = Receivers.BOTH,
    duplicates: Duplicates = Duplicates.REFUSE,
    limits: tuple[int, int] = (0, MAX_ROWS),
    folder: Path | None = None,
    progress: Progress | None = None,
) -> Cardinality | None:
    """Play one party; rank 0 is left, rank 1 is right. Arguments as `mpc.psi.ecdh.run_batches`.

    Returns:
        The number of shared items; None where this party is no receiver.

    Raises:
        InvalidInput: own items are not as stated. `DuplicateItems` counts repeats.
        ResultSizeRefused: the number is outside the limits; there is no result for anybody.
        ProtocolAbort: the peer's messages are not as the protocol has them, or the peer aborted.

    Security: semi-honest peer; DDH in ristretto255, hashes modelled as random oracles.
    Leaks: to each party, the number of items in the other's set.
    Cost: `rounds` and `bytes_sent`; 65 microseconds for each row of sets of equal size, divided by the cores.
    Source: Agrawal, Evfimievski, Srikant 2003, intersection size protocol.
    """
    with protocol_run(channel, SPEC) as peer, ExitStack() as stack:
        # 1. Choose the key, hash and order the own set, exchange the terms.
        key = ristretto255.random_scalar(rng)
        separation = separation_tag(SPEC.name, SPEC.version, Usage.HASH_TO_GROUP, peer.session)
        own = stack.enter_context(OwnSet(batches, separation, rng, duplicates, folder))
        terms = Terms(len(own), receivers, duplicates)
        peer.send("terms", terms.encode())
        peer_items = terms.peers(peer.receive("terms"))
        # 2. and 3. Mask both lists under both keys; the tags stay with who computed them.
        own_tags = stack.enter_context(Spool(OWN_TAG_BYTES, folder))
        peer_tags = stack.enter_context(Spool(TAG_BYTES, folder))
        told, tells = receivers.has(peer.rank), receivers.has(1 - peer.rank)
        Masking(peer, SPEC, key, own, peer_items, False, False, progress).run(own_tags, peer_tags)
        # 4. Give each receiver the tags of its own list, sorted.
        _swap_sorted(peer, peer_tags, peer_items if tells else 0, own_tags, len(own) if told else 0)
        shared = len(match(own_tags, peer_tags)) if told else 0
        if told and not limits[0] <= shared <= limits[1]:
            raise ResultSizeRefused
        # 5. Compare transcripts.
        peer.confirm()
        return Cardinality(shared, peer_items) if told else None


def rounds(own_items: int, peer_items: int, *, told: bool = True, tells: bool = True) -> int:
    """Return the receiving phases; ``told``: whether this party is a receiver, ``tells``: the other is."""
    return 2 + masking_rounds(own_items, peer_items) + _turns(own_items, peer_items, told, tells)


def bytes_sent(own_items: int, peer_items: int, *, told: bool = True, tells: bool = True) -> int:
    """Return the payload bytes a party sends; arguments as `rounds`."""
    turns = _turns(own_items, peer_items, told, tells)
    tags = sum(
        wire.array_bytes(1, in_chunk(peer_items if tells else 0, turn), TAG_BYTES) for turn in range(turns)
    )
    return _TERMS_BYTES + masking_bytes(own_items, peer_items, tells=False) + tags + CONFIRMATION_BYTES


def _turns(own_items: int, peer_items: int, told: bool, tells: bool) -> int:
    return max(chunk_count(own_items) if told else 0, chunk_count(peer_items) if tells else 0)


def _swap_sorted(
    peer: ConfirmedChannel, peer_tags: Spool, peer_items: int, own_tags: Spool, own_items: int
) -> None:
    """Send the tags of the other's list in chunks of one size, and receive those of the own list likewise."""
    sent, last = _sorted_chunks(peer_tags), b""
    for turn in range(_turns(own_items, peer_items, True, True)):
        chunk = next(sent) if in_chunk(peer_items, turn) else b""
        peer.send("sorted", Tags(chunk).encode())
        received = Tags.decode("sorted", peer.receive("sorted"), in_chunk(own_items, turn)).tags
        tags = [received[at : at + TAG_BYTES] for at in range(0, len(received), TAG_BYTES)]
        if any(one >= other for one, other in zip([last, *tags], tags, strict=False) if one):
            raise MalformedMessage("sorted: expected tags in ascending order, each once")
        last = tags[-1] if tags else last
        if tags:
            own_tags.append(with_positions(received, turn * CHUNK_ROWS))


def _sorted_chunks(tags: Spool) -> Iterator[bytes]:
    held = np.empty((0, TAG_BYTES), np.uint8)
    for part in tags.parts():
        held = np.concatenate([held, _in_order(part)])
        full = len(held) // CHUNK_ROWS * CHUNK_ROWS
        for start in range(0, full, CHUNK_ROWS):
            yield held[start : start + CHUNK_ROWS].tobytes()
        held = held[full:]
    yield held.tobytes()


def _in_order(part: NDArray[np.uint8]) -> NDArray[np.uint8]:
    words = part.view(">u8").astype(np.uint64)
    ordered: NDArray[np.uint8] = part[np.lexsort((words[:, 1], words[:, 0]))]
    return ordered
