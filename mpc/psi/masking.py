"""What the two-party intersections on ristretto255 share: terms, masks under two keys, and lists of tags.

Two parties mask their hashed items under a key each, send them, and mask what they received again. An item
that both have ends as one point at both, whichever key came first; what is compared are tags of the points.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from enum import Enum
from typing import Final

import numpy as np
from numpy.typing import NDArray

from mpc import ristretto255, wire
from mpc.domain import Usage, separation_tag
from mpc.errors import InputsDisagree, MalformedMessage
from mpc.psi.own_set import MAX_ROWS, Duplicates, OwnSet
from mpc.psi.spool import Spool
from mpc.secrecy import SecretScalar
from mpc.spec import ProtocolSpec
from mpc.transcript import ConfirmedChannel

Progress = Callable[[int, int], None]

CHUNK_ROWS: Final = 8192
TAG_BYTES: Final = 16
_POSITION_BYTES: Final = 8
OWN_TAG_BYTES: Final = TAG_BYTES + _POSITION_BYTES
"""A tag of an own item and the item's position in the secret order."""


class Receivers(Enum):
    """Who learns the result, by rank."""

    BOTH = (0, 1)
    LEFT = (0,)
    RIGHT = (1,)

    def has(self, rank: int) -> bool:
        """Whether the party of that rank learns it."""
        return rank in self.value


@dataclass(frozen=True)
class Terms:
    """First message of each party: how many items its set has, and what it takes the run to be."""

    items: int
    receivers: Receivers
    duplicates: Duplicates

    def encode(self) -> bytes:
        """Encode for the wire."""
        words = (self.items, list(Receivers).index(self.receivers), list(Duplicates).index(self.duplicates))
        return b"".join(map(wire.encode_uint64, words))

    def peers(self, payload: bytes) -> int:
        """Read the other party's terms and return the size of its set.

        Raises:
            MalformedMessage: another form, or more items than `MAX_ROWS`.
            InputsDisagree: the other party takes the run to be another.
        """
        reader = wire.Reader("terms", payload)
        items, receivers, duplicates = (reader.uint64(name) for name in ("items", "receivers", "duplicates"))
        reader.finish()
        if items > MAX_ROWS:
            raise MalformedMessage(f"terms: expected at most {MAX_ROWS} items, got {items}")
        own = list(Receivers).index(self.receivers), list(Duplicates).index(self.duplicates)
        for name, ours, theirs in zip(("receivers", "duplicates"), own, (receivers, duplicates), strict=True):
            if ours != theirs:
                raise InputsDisagree(f"terms: number of the choice of {name}", ours, theirs)
        return items


@dataclass(frozen=True)
class MaskedItems:
    """H(x)^k for a chunk of the sender's items, in its secret order: uint8[c, 32]."""

    points: bytes

    def encode(self) -> bytes:
        """Encode for the wire."""
        return wire.encode_array(_rows_of(self.points, ristretto255.ELEMENT_BYTES))

    @classmethod
    def decode(cls, payload: bytes, rows: int) -> MaskedItems:
        """Decode a chunk of exactly ``rows`` points; membership is checked by `double_mask`, before use."""
        reader = wire.Reader("masked", payload)
        points = reader.array("points", "u1", (rows, ristretto255.ELEMENT_BYTES))
        reader.finish()
        return cls(points.tobytes())


@dataclass(frozen=True)
class Tags:
    """Tags of points under both keys: uint8[c, 16]; none where the receiver is not to learn them."""

    tags: bytes

    def encode(self) -> bytes:
        """Encode for the wire."""
        return wire.encode_array(_rows_of(self.tags, TAG_BYTES))

    @classmethod
    def decode(cls, message: str, payload: bytes, rows: int) -> Tags:
        """Decode a message of exactly ``rows`` tags."""
        reader = wire.Reader(message, payload)
        tags = reader.array("tags", "u1", (rows, TAG_BYTES))
        reader.finish()
        return cls(tags.tobytes())


NO_TAGS: Final = Tags(b"")


def mask(uniform: bytes, key: SecretScalar) -> MaskedItems:
    """Bring a chunk of own hashed items into the group and mask them.

    Args:
        uniform: 64 bytes for each item, in the secret order.
        key: own scalar, for one run only.

    Security: semi-honest peer; DDH, with the hash modelled as a random oracle.
    Leaks: the number of items.
    Cost: local; 29 microseconds an item and core.
    Source: Agrawal, Evfimievski, Srikant 2003, intersection protocol.
    """
    return MaskedItems(ristretto255.from_uniform(uniform, key))


def double_mask(masked: MaskedItems, key: SecretScalar, tag_key: bytes) -> Tags:
    """Mask a chunk of the peer's points a second time, and take tags of the points.

    Raises:
        MalformedMessage: a point is no element of the group, or the identity.

    Security: semi-honest peer; DDH. The tag is all that leaves, so the point itself stays here.
    Leaks: which tags belong to which of the receiver's points, to whoever gets them in that order.
    Cost: local; 28 microseconds a point and core.
    Source: Agrawal, Evfimievski, Srikant 2003, intersection protocol.
    """
    points = ristretto255.multiply(key, masked.points)
    keyed, width = hashlib.blake2b(digest_size=TAG_BYTES, key=tag_key), ristretto255.ELEMENT_BYTES

    def tag(point: bytes) -> bytes:
        state = keyed.copy()
        state.update(point)
        return state.digest()

    return Tags(b"".join(tag(points[at : at + width]) for at in range(0, len(points), width)))


@dataclass(frozen=True)
class Masking:
    """The part that the protocols have in common: both lists go over, masked, and come back as tags.

    Args:
        peer: the other party.
        spec: the protocol, which enters every hash.
        key: own scalar.
        own: own set.
        peer_items: size of the other's.
        told: whether this party gets the tags of its own items, in their order.
        tells: whether the other party gets those of its items.
        progress: called with masked points of both lists after each chunk.
    """

    peer: ConfirmedChannel
    spec: ProtocolSpec
    key: SecretScalar
    own: OwnSet
    peer_items: int
    told: bool
    tells: bool
    progress: Progress | None

    def run(self, own_tags: Spool, peer_tags: Spool) -> None:
        """Exchange all chunks; fill the spools with own tags and positions, and with the other's tags.

        Raises:
            ProtocolAbort: a message is not as the protocol has it.
        """
        tag_key = separation_tag(
            self.spec.name, self.spec.version, Usage.DOUBLE_MASKED_TAG, self.peer.session
        )
        chunks, total = self.own.chunks(CHUNK_ROWS), len(self.own) + self.peer_items
        for number in range(max(chunk_count(len(self.own)), chunk_count(self.peer_items))):
            own_rows, peer_rows = in_chunk(len(self.own), number), in_chunk(self.peer_items, number)
            if own_rows:
                self.peer.send("masked", mask(next(chunks), self.key).encode())
            if peer_rows:
                masked = MaskedItems.decode(self.peer.receive("masked"), peer_rows)
                tags = double_mask(masked, self.key, tag_key)
                # An answer without tags is sent all the same: it says that the next chunk may come.
                self.peer.send("double-masked", (tags if self.tells else NO_TAGS).encode())
                peer_tags.append(_rows_of(tags.tags, TAG_BYTES))
            if own_rows:
                answer = self.peer.receive("double-masked")
                reply = Tags.decode("double-masked", answer, own_rows if self.told else 0)
                if self.told:
                    own_tags.append(with_positions(reply.tags, number * CHUNK_ROWS))
            if self.progress is not None:
                done = (number + 1) * CHUNK_ROWS
                self.progress(min(done, len(self.own)) + min(done, self.peer_items), total)


def match(own_tags: Spool, peer_tags: Spool) -> NDArray[np.int64]:
    """Find the positions of own items whose tag the peer also has, sorted by tag.

    Args:
        own_tags: records of a tag and a position.
        peer_tags: records of a tag.

    Returns:
        int64[m], positions in the own list, aligned with what the peer computes.

    Raises:
        MalformedMessage: one list holds a tag twice, so it is not the list of a set.

    Security: local.
    Leaks: nothing beyond the output.
    Cost: local; one sort of each partition of both lists, 0.4 microseconds a row.
    Source: Agrawal, Evfimievski, Srikant 2003, intersection protocol.
    """
    found = [_match(own, peer) for own, peer in zip(own_tags.parts(), peer_tags.parts(), strict=True)]
    return np.concatenate(found)


def masking_rounds(own_items: int, peer_items: int) -> int:
    """Return the receiving phases of `Masking.run`, as `ChannelStats` counts them after another round."""
    own, peer = chunk_count(own_items), chunk_count(peer_items)
    # Where only the peer has chunks left we answer each, and the first of them arrives with the last reply.
    return 2 * min(own, peer) + max(own - peer, 0) + max(peer - own - 1, 0)


def masking_bytes(own_items: int, peer_items: int, *, tells: bool) -> int:
    """Return the payload bytes that a party with ``own_items`` items sends in `Masking.run`."""
    width = ristretto255.ELEMENT_BYTES
    points = sum(wire.array_bytes(1, rows, width) for rows in _chunk_sizes(own_items))
    tags = sum(wire.array_bytes(1, rows if tells else 0, TAG_BYTES) for rows in _chunk_sizes(peer_items))
    return points + tags


def chunk_count(rows: int) -> int:
    """How many chunks a list of so many rows takes."""
    return -(-rows // CHUNK_ROWS)


def in_chunk(rows: int, number: int) -> int:
    """How many of so many rows are in the chunk of that number."""
    return max(0, min(rows - number * CHUNK_ROWS, CHUNK_ROWS))


def _chunk_sizes(rows: int) -> Iterator[int]:
    return (in_chunk(rows, number) for number in range(chunk_count(rows)))


def _match(own: NDArray[np.uint8], peer: NDArray[np.uint8]) -> NDArray[np.int64]:
    tags = np.concatenate([own[:, :TAG_BYTES], peer]).view(">u8").astype(np.uint64)
    by_tag = np.lexsort((tags[:, 1], tags[:, 0]))  # stable: of two equal tags the own one comes first
    in_order = tags[by_tag]
    at = np.flatnonzero(np.all(in_order[1:] == in_order[:-1], axis=1))
    first, second = by_tag[at], by_tag[at + 1]
    if np.any(first >= len(own)) or np.any(second < len(own)):
        raise MalformedMessage("a list of tags holds one tag twice")
    positions = np.ascontiguousarray(own[first, TAG_BYTES:]).view("<i8").reshape(-1)
    return positions.astype(np.int64)


def with_positions(tags: bytes, start: int) -> NDArray[np.uint8]:
    """Records of tags of own items and their positions, which count from ``start``: uint8[n, 24]."""
    rows = _rows_of(tags, TAG_BYTES)
    positions = np.arange(start, start + len(rows), dtype="<i8").view(np.uint8).reshape(-1, _POSITION_BYTES)
    return np.concatenate([rows, positions], axis=1)


def _rows_of(data: bytes, width: int) -> NDArray[np.uint8]:
    return np.frombuffer(data, dtype=np.uint8).reshape(-1, width)
