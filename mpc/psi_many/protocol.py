"""Intersection of n parties' sets by zero sharing and oblivious, programmed pseudorandom functions.

    leader, set X, scalar a                                  party i, set Y, scalar k
      1. size      |X|  <--->  |Y| and its minimum
      2. seed      every two parties: 32 bytes, from the lower rank
      3. blinded   H(x)^a  --->
                                              <---  H(x)^ak  4. evaluated
                        <---  for each y: s_i(y) + F_k(y)  5. hint
      6. matched   F_k's tags of the intersection, if all learn it  --->
      7. confirm   transcript hash  <--->  every two

s_i(y) is party i's share of zero for item y: the sum, over all other parties, of what the two draw from their
seed for y, added at the one and subtracted at the other. F_k(y) hashes H(y)^k. At an item of its own the
leader reads s_i(y) from every hint; the shares of all parties add up to zero where all hold the item, and to
something random where one does not. It reads nothing at other items, because it has F_k at its own alone.

Items that the leader does not hold cost and show nothing, so the party with the smallest set should lead.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes
from numpy.typing import NDArray

from mpc import ristretto255, wire
from mpc.domain import Usage, separation_tag
from mpc.errors import CohortTooSmall, InvalidInput, MalformedMessage
from mpc.items import check_items, digests
from mpc.mersenne61 import PRIME, Elements, elements
from mpc.mesh import ConfirmedMesh, Mesh, mesh_run
from mpc.pieces import receive_words, send_words, words_bytes
from mpc.psi_many.hints import Positions, decode, program, shape_of
from mpc.randomness import Randomness, random_permutation
from mpc.ristretto255 import ELEMENT_BYTES
from mpc.secrecy import SecretScalar, Unprintable
from mpc.spec import Adversary, ProtocolSpec
from mpc.transcript import CONFIRMATION_BYTES, ConfirmedChannel

Progress = Callable[[int, int], None]

MIN_PARTIES: Final = 3
MAX_PARTIES: Final = 30
MAX_ROWS: Final = 2**24
SEED_BYTES: Final = 32
TAG_BYTES: Final = 16
CHUNK_ROWS: Final = 8192
_PAD_BYTES: Final = 8
_LEADER: Final = 0

SPEC: Final = ProtocolSpec(
    name="psi/many",
    version=1,
    roles=("leader", "party"),
    adversary=Adversary.SEMI_HONEST,
    corruptions="any number of parties; with the leader among them, see what they learn",
    leaks={
        "leader": (
            "the number of items of each other party",
            "together with corrupted parties: which of its items all the other parties hold",
        ),
        "party": ("the number of items of the leader",),
    },
    cost=(
        "the leader sends 32 bytes an own item to each party, a party 32 bytes for each item of the leader "
        "and about 15 for each own one; 1 round a chunk of 8,192 items of the leader, and 5; a party hashes "
        "its items to the group and multiplies a point for each of them and of the leader's, the leader n "
        "for each own one"
    ),
    source=(
        "Kolesnikov, Matania, Pinkas, Rosulek, Trieu 2017, augmented semi-honest protocol; pseudorandom "
        "function: Jarecki, Liu 2010; group: RFC 9496"
    ),
    summary="n parties learn which of their items all of them hold; or the first of them alone does.",
)


@dataclass(frozen=True, repr=False, eq=False)
class CommonRows(Unprintable):
    """What a party gets.

    Attributes:
        rows: int64[m], indices into its own items; entry k is the same item at all parties. None where only
            the leader learns the intersection.
    """

    rows: NDArray[np.int64] | None


def leader(
    mesh: Mesh,
    items: Sequence[bytes],
    rng: Randomness,
    *,
    everyone: bool,
    minimum: int = 0,
    progress: Progress | None = None,
) -> CommonRows:
    """Play the leader, rank 0.

    Args:
        mesh: of all n parties.
        items: own set: distinct non-empty byte strings of at most 1 KiB, at most 2**24. Equal items must be
            equal bytes at all parties.
        rng: own randomness.
        everyone: all parties learn the intersection, not the leader alone; the same at all.
        minimum: fewest items with which the run ends well; others may state more.
        progress: called as ``progress(done, total)`` with answers to own items.

    Raises:
        InvalidInput: own items, or the number of parties, are not as stated.
        ProtocolAbort: a message is not as the protocol has it, a peer aborted, or the intersection is smaller
            than some party's minimum.

    Security: semi-honest; one-more Diffie-Hellman in ristretto255, hashes as random oracles, AES-128 as a
        pseudorandom function.
    Leaks: the number of items of each other party. With corrupted parties, it learns which of its items all
        the others hold: as if the corrupted ones had entered every item.
    Cost: `rounds` and `bytes_sent`; 43 microseconds an item and 40 for each other party, on one core. An item
        counts as common by chance with probability 2**-61.
    Source: Kolesnikov, Matania, Pinkas, Rosulek, Trieu 2017.
    """
    with mesh_run(mesh, SPEC) as peers:
        _check(peers, items)
        # 1. Exchange sizes and seeds.
        sizes = {}
        for peer in peers.peers:
            peers[peer].send("size", wire.encode_uint64(len(items)))
        positions = Positions.of(items, _separation(Usage.HINT_POSITION, peers.session))
        shares = _zero_shares(peers, positions, rng)
        for peer in peers.peers:
            sizes[peer], asked = _sizes(peers[peer].receive("size"), 2)
            minimum = max(minimum, asked)
        # 2. Have every party evaluate its function at the own items, the next chunk on its way meanwhile.
        key = ristretto255.random_scalar(rng)
        unblind = SecretScalar(ristretto255.invert_each(key.reveal()))
        evaluated: dict[int, list[bytes]] = {peer: [] for peer in peers.peers}
        chunks = list(_chunks(len(items)))
        for number in range(len(chunks) + 1):
            if number < len(chunks):
                blinded = _masked(items[chunks[number]], key, peers.session)
                for peer in peers.peers:
                    peers[peer].send("blinded", _encode_points(blinded))
            if number > 0:
                for peer in peers.peers:
                    points = _decode_points(peers[peer], "evaluated", chunks[number - 1])
                    evaluated[peer].append(ristretto255.multiply(unblind, points))
                if progress is not None:
                    progress(chunks[number - 1].stop, len(items))
        # 3. Read every hint at the own items and add up the shares of zero.
        tags: dict[int, NDArray[np.uint8]] = {}
        for peer in peers.peers:
            pads, tags[peer] = _outputs(b"".join(evaluated.pop(peer)), peers.session)
            size = math.prod(shape_of(sizes[peer]))
            hint = receive_words(peers[peer], "hint", least=size, most=size)
            programmed = decode(_field(hint).reshape(shape_of(sizes[peer])), positions)
            shares = _added(shares, _subtracted(programmed, pads))
        rows = np.flatnonzero(shares == 0)
        if len(rows) < minimum:
            raise CohortTooSmall(minimum, 1)
        # 4. Name the common items to the others, in one random order, so that all have them aligned.
        rows = rows[random_permutation(rng, len(rows))]
        if everyone:
            for peer in peers.peers:
                send_words(peers[peer], "matched", tags[peer][rows].reshape(-1).view(np.uint64))
        peers.confirm()
        return CommonRows(rows)


def party(
    mesh: Mesh,
    items: Sequence[bytes],
    rng: Randomness,
    *,
    everyone: bool,
    minimum: int = 0,
    progress: Progress | None = None,
) -> CommonRows:
    """Play another party than the leader; arguments, errors and security as for `leader`.

    Leaks: the number of items of the leader. Parties without the leader learn nothing else together.
    Cost: `rounds` and `bytes_sent`; 37 microseconds an item of the leader, 48 an own one, on one core.
    Source: Kolesnikov, Matania, Pinkas, Rosulek, Trieu 2017.
    """
    with mesh_run(mesh, SPEC) as peers:
        _check(peers, items)
        channel = peers[_LEADER]
        # 1. Exchange sizes and seeds.
        channel.send("size", wire.encode_uint64(len(items)) + wire.encode_uint64(minimum))
        (wanted,) = _sizes(channel.receive("size"), 1)
        positions = Positions.of(items, _separation(Usage.HINT_POSITION, peers.session))
        shares = _zero_shares(peers, positions, rng)
        # 2. Evaluate the own function at the leader's items, which are blinded.
        key = ristretto255.random_scalar(rng)
        for chunk in _chunks(wanted):
            points = _decode_points(channel, "blinded", chunk)
            channel.send("evaluated", _encode_points(ristretto255.multiply(key, points)))
            if progress is not None:
                progress(chunk.stop, wanted)
        # 3. Program the shares of zero at the own items, under the own function.
        pads, tags = _outputs(_masked(items, key, peers.session), peers.session)
        hint = program(positions, _added(shares, pads), rng)
        send_words(channel, "hint", hint.reshape(-1))
        # 4. Learn the common items by their tags.
        rows = (
            _rows_of(receive_words(channel, "matched", most=len(items) * TAG_BYTES // 8), tags)
            if everyone
            else None
        )
        if rows is not None and len(rows) < minimum:
            raise CohortTooSmall(minimum, 1)
        peers.confirm()
        return CommonRows(rows)


def rounds(rank: int, parties: int, leader_rows: int, *, everyone: bool) -> int:
    """Return the receiving phases of a rank, over all its channels, as `ChannelStats` counts them."""
    chunks = len(list(_chunks(leader_rows)))
    if rank == _LEADER:
        return (parties - 1) * (3 + max(chunks - 1, min(chunks, 1)))
    with_leader = max(chunks, 1) + 2 + everyone
    return with_leader + 3 * (rank - 1) + 2 * (parties - 1 - rank)


def bytes_sent(rank: int, parties: int, rows: Sequence[int], common: int, *, everyone: bool) -> int:
    """Return the payload bytes that a rank sends; ``rows`` are the items of each rank, ``common`` of all."""
    points = sum(
        wire.array_bytes(1, chunk.stop - chunk.start, ELEMENT_BYTES) for chunk in _chunks(rows[_LEADER])
    )
    after = CONFIRMATION_BYTES * (parties - 1) + SEED_BYTES * (parties - 1 - rank)
    if rank == _LEADER:
        matched = words_bytes(common * TAG_BYTES // 8) if everyone else 0
        return after + (parties - 1) * (8 + points + matched)
    return after + 16 + points + words_bytes(math.prod(shape_of(rows[rank])))


def _check(peers: ConfirmedMesh, items: Sequence[bytes]) -> None:
    if not MIN_PARTIES <= peers.size <= MAX_PARTIES:
        raise InvalidInput(f"parties: expected {MIN_PARTIES} to {MAX_PARTIES}, got {peers.size}")
    check_items(items, MAX_ROWS)


def _sizes(payload: bytes, count: int) -> list[int]:
    reader = wire.Reader("size", payload)
    numbers = [reader.uint64("number") for _ in range(count)]
    reader.finish()
    if numbers[0] > MAX_ROWS:
        raise MalformedMessage(f"size: expected at most {MAX_ROWS} items, got {numbers[0]}")
    return numbers


def _zero_shares(peers: ConfirmedMesh, positions: Positions, rng: Randomness) -> Elements:
    """This party's share of zero for each item: uint64[n]. Exchanges a seed with every other party."""
    higher = [peer for peer in peers.peers if peer > peers.rank]
    seeds = {peer: rng.bytes(SEED_BYTES) for peer in higher}
    for peer in higher:
        peers[peer].send("seed", seeds[peer])
    for peer in sorted(set(peers.peers) - set(higher)):
        seeds[peer] = peers[peer].receive("seed")
        if len(seeds[peer]) != SEED_BYTES:
            raise MalformedMessage(f"seed: expected {SEED_BYTES} bytes, got {len(seeds[peer])}")
    blocks = np.ascontiguousarray(positions.words.T, dtype="<u8").tobytes()
    total = np.zeros(positions.words.shape[1], np.uint64)
    for peer, seed in seeds.items():
        tag = _separation(Usage.ZERO_SHARE, peers.session)
        key = hashlib.blake2b(tag, key=seed, digest_size=16).digest()
        # A pseudorandom permutation of distinct blocks: nothing is encrypted, so no mode is needed.
        drawn = Cipher(algorithms.AES(key), modes.ECB()).encryptor().update(blocks)  # noqa: S305
        share = elements(np.frombuffer(drawn, "<u8")[::2].astype(np.uint64))
        total = _added(total, share) if peer > peers.rank else _subtracted(total, share)
    return total


def _masked(items: Sequence[bytes], key: SecretScalar, session: bytes) -> bytes:
    """H(x) times the key, for each item."""
    return ristretto255.hash_to_group(items, _separation(Usage.HASH_TO_GROUP, session), key)


def _outputs(points: bytes, session: bytes) -> tuple[Elements, NDArray[np.uint8]]:
    """The function's output for each point: an element as pad, uint64[n], and a tag, uint8[n, 16]."""
    each = (points[at : at + ELEMENT_BYTES] for at in range(0, len(points), ELEMENT_BYTES))
    table = digests(each, _separation(Usage.DOUBLE_MASKED_TAG, session), _PAD_BYTES + TAG_BYTES)
    pads = table[:, :_PAD_BYTES].copy().view("<u8").reshape(-1).astype(np.uint64)
    return elements(pads), table[:, _PAD_BYTES:].copy()


def _rows_of(words: NDArray[np.uint64], tags: NDArray[np.uint8]) -> NDArray[np.int64]:
    """The own rows with these tags, in their order."""
    own = np.ascontiguousarray(tags).view(">u8").astype(np.uint64)
    if len(words) % 2:
        raise MalformedMessage(f"matched: expected whole tags, got {len(words)} words")
    named = words.astype("<u8").view(">u8").astype(np.uint64).reshape(-1, 2)
    order = np.lexsort((own[:, 1], own[:, 0]))
    firsts = own[order, 0]
    at = np.minimum(np.searchsorted(firsts, named[:, 0]), max(len(order) - 1, 0))
    rows = order[at] if len(order) else np.zeros(0, np.int64)
    if len(rows) != len(named) or np.any(own[rows] != named) or len(np.unique(rows)) != len(rows):
        raise MalformedMessage("matched: a tag is of no own item, or comes twice")
    return rows.astype(np.int64)


def _added(left: Elements, right: Elements) -> Elements:
    total: Elements = left + right
    return np.where(total >= PRIME, total - np.uint64(PRIME), total)


def _subtracted(left: Elements, right: Elements) -> Elements:
    return _added(left, np.where(right > 0, np.uint64(PRIME) - right, right))


def _field(words: NDArray[np.uint64]) -> Elements:
    if np.any(words >= PRIME):
        raise MalformedMessage("hint: a word is no element of the field")
    return words


def _encode_points(points: bytes) -> bytes:
    return wire.encode_array(np.frombuffer(points, np.uint8).reshape(-1, ELEMENT_BYTES))


def _decode_points(channel: ConfirmedChannel, message: str, chunk: slice) -> bytes:
    """A chunk of points; `ristretto255.multiply` checks that they are some, before use."""
    reader = wire.Reader(message, channel.receive(message))
    points = reader.array("points", "u1", (chunk.stop - chunk.start, ELEMENT_BYTES))
    reader.finish()
    return points.tobytes()


def _separation(usage: Usage, session: bytes) -> bytes:
    return separation_tag(SPEC.name, SPEC.version, usage, session)


def _chunks(rows: int) -> Iterator[slice]:
    return (slice(start, min(start + CHUNK_ROWS, rows)) for start in range(0, rows, CHUNK_ROWS))
