"""Intersection of two sets into secret shares, with a helper that learns its size alone.

    left, set X, columns u           right, set Y, columns v             helper
      1. size        either of the two to both others
      2. key         left to right
      3. tags        of X, shuffled  --->             of Y, shuffled  --->
         the helper sees which tags are equal, and stops if they are too few
      4. for v: mask-seed to right, order-seed and translation to the helper; the helper's arrangement to
         right; right's masked rows to the helper. For u the same, left and right in each other's place.
      5. confirm     every two

The output has one row for each row of the left, in the left's shuffled order: its columns where the right
has the item too, zeros elsewhere. The left's columns are shared between left and helper, the right's between
right and helper. The helper also knows, of each row of the shuffled list, whether it matched, but not whose
it is. Left and right learn neither which rows match nor how many. Step 4 is `selection`.

The helper MUST NOT collude with either: with the key and the tags they could try identifiers, and with the
dealer's masks open the columns.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from mpc import wire
from mpc.circuit_psi import selection
from mpc.circuit_psi.selection import NONE, Words
from mpc.domain import Usage, separation_tag
from mpc.errors import CohortTooSmall, InvalidInput, MalformedMessage
from mpc.items import check_items, digests
from mpc.mesh import ConfirmedMesh, Mesh, mesh_run
from mpc.pieces import receive_words, send_words, words_bytes
from mpc.randomness import Randomness, random_permutation
from mpc.secrecy import Unprintable
from mpc.spec import Adversary, ProtocolSpec
from mpc.transcript import CONFIRMATION_BYTES

MAX_ROWS: Final = 2**24
MAX_COLUMNS: Final = 64
KEY_BYTES: Final = 32
TAG_BYTES: Final = 16
LEFT, RIGHT, HELPER = range(3)

SPEC: Final = ProtocolSpec(
    name="psi/shared",
    version=1,
    roles=("left", "right", "helper"),
    adversary=Adversary.SEMI_HONEST,
    corruptions="one of three",
    leaks={
        "left": ("the numbers of rows and columns of the right", "that the minimum is reached"),
        "right": ("the numbers of rows and columns of the left", "that the minimum is reached"),
        "helper": (
            "the numbers of rows and columns of both",
            "how many rows match, but not which",
        ),
    },
    cost=(
        "16 bytes a row of each side to the helper; for each column of a side 16 bytes a row of the left and "
        "8 a row of that side, and 8 of each once; 5 rounds; no operation with public keys"
    ),
    source=(
        "Mohassel, Rindal, Rosulek 2020 (joins with shuffled tags); permutation into shares: Chase, Ghosh, "
        "Poburinnaya 2020, with a third party as dealer"
    ),
    summary="Columns of two sides over their common rows, as shares; neither learns which rows these are.",
)


@dataclass(frozen=True)
class Size:
    """What left and right tell: how many rows and columns, and the fewest matches to go on with."""

    rows: int
    columns: int
    minimum: int

    def encode(self) -> bytes:
        """Encode for the wire."""
        return b"".join(map(wire.encode_uint64, (self.rows, self.columns, self.minimum)))

    @classmethod
    def decode(cls, payload: bytes) -> Size:
        """Decode; refuses sizes beyond the limits."""
        reader = wire.Reader("size", payload)
        size = cls(reader.uint64("rows"), reader.uint64("columns"), reader.uint64("minimum"))
        reader.finish()
        if size.rows > MAX_ROWS or size.columns > MAX_COLUMNS:
            raise MalformedMessage(f"size: {size.rows} rows of {size.columns} columns are too many")
        return size


@dataclass(frozen=True, repr=False, eq=False)
class SharedRows(Unprintable):
    """One party's part of the n rows of the output, n the left's number of rows.

    Attributes:
        left: uint64[n, m], own share of the left's columns; left and helper.
        right: uint64[n, m], own share of the right's columns; right and helper.
        order: int64[n], the left's own row behind each row; left.
        is_member: bool[n], whether each row matched; helper.
    """

    left: Words | None = None
    right: Words | None = None
    order: NDArray[np.int64] | None = None
    is_member: NDArray[np.bool_] | None = None


def owner(
    mesh: Mesh,
    items: Sequence[bytes],
    columns: NDArray[np.int64],
    rng: Randomness,
    *,
    minimum: int = 0,
) -> SharedRows:
    """Play left, rank 0, or right, rank 1.

    Args:
        mesh: of three.
        items: own set: n distinct non-empty byte strings of at most 1 KiB, at most 2**24. Equal items must be
            equal bytes at both.
        columns: int64[n, m], m at most 64; 0 columns are fine.
        rng: own randomness.
        minimum: fewest matches with which the run goes on.

    Raises:
        InvalidInput: own input is not as stated.
        ProtocolAbort: a message is not as the protocol has it, a peer aborted, or too few rows match.

    Security: semi-honest, one of three; BLAKE2b and AES-256 as pseudorandom functions.
    Leaks: the other's numbers of rows and columns, and that the minimum is reached.
    Cost: `rounds` and `bytes_sent`; 2 microseconds a row, and 0.1 a row and column.
    Source: Mohassel, Rindal, Rosulek 2020; Chase, Ghosh, Poburinnaya 2020.
    """
    with mesh_run(mesh, SPEC) as peers:
        _check(peers, items, columns)
        # 1. Say the sizes.
        other = RIGHT if peers.rank == LEFT else LEFT
        own = Size(len(items), columns.shape[1], minimum)
        peers.broadcast("size", own.encode())
        theirs = Size.decode(peers[other].receive("size"))
        # 2. and 3. Name the own items to the helper, under a key it does not have, in a secret order.
        order = random_permutation(rng, len(items))
        tags = _tags([items[row] for row in order], _common_key(peers, rng), peers.session)
        send_words(peers[HELPER], "tags", tags)
        # 4. Deal for the right's columns, then hold the own, or the other way round.
        chosen = own.rows if peers.rank == LEFT else theirs.rows
        shares = None
        for side in (RIGHT, LEFT):
            if side == peers.rank and own.columns:
                shares = _hold(peers, other, columns[order], chosen)
            elif side == other and theirs.columns:
                _deal(peers, other, theirs, chosen, rng)
        peers.confirm()
        if peers.rank == LEFT:
            return SharedRows(left=shares, order=order)
        return SharedRows(right=shares)


def helper(mesh: Mesh, *, minimum: int = 0) -> SharedRows:
    """Play the helper, rank 2.

    Args:
        mesh: of three.
        minimum: fewest matches with which the run goes on; left and right may state more.

    Raises:
        ProtocolAbort: as for `owner`.

    Security: semi-honest, one of three.
    Leaks: the numbers of rows and columns of both, and how many rows match.
    Cost: `rounds` and `bytes_sent`; 1 microsecond a row, and 0.1 a row and column.
    Source: as for `owner`.
    """
    with mesh_run(mesh, SPEC) as peers:
        if peers.size != 3:
            raise InvalidInput(f"parties: expected 3, got {peers.size}")
        # 1. to 3. Hear sizes and tags, and match them.
        sizes = [Size.decode(peers[side].receive("size")) for side in (LEFT, RIGHT)]
        tags = [_receive_tags(peers, side, sizes[side].rows) for side in (LEFT, RIGHT)]
        matches = match(tags[LEFT], tags[RIGHT])
        is_member = matches != NONE
        minimum = max(minimum, *(size.minimum for size in sizes))
        if np.count_nonzero(is_member) < minimum:
            raise CohortTooSmall(minimum, 1)
        # 4. Choose the matching rows of each side.
        own = np.where(is_member, np.arange(len(matches)), NONE)
        right = _choose(peers, RIGHT, sizes[RIGHT], matches) if sizes[RIGHT].columns else None
        left = _choose(peers, LEFT, sizes[LEFT], own) if sizes[LEFT].columns else None
        peers.confirm()
        return SharedRows(left, right, None, is_member)


def match(left: Words, right: Words) -> NDArray[np.int64]:
    """Find where each tag of the left is in the right's list, or `NONE`: int64[n].

    Raises:
        MalformedMessage: a list holds a tag twice, so it is not of a set.
    """
    tags = np.concatenate([left, right])
    by_tag = np.lexsort((tags[:, 1], tags[:, 0]))  # stable: of two equal tags the left's comes first
    in_order = tags[by_tag]
    at = np.flatnonzero(np.all(in_order[1:] == in_order[:-1], axis=1))
    ours, theirs = by_tag[at], by_tag[at + 1]
    if np.any(ours >= len(left)) or np.any(theirs < len(left)):
        raise MalformedMessage("a list of tags holds one tag twice")
    found = np.full(len(left), NONE, np.int64)
    found[ours] = theirs - len(left)
    return found


def rounds(rank: int, left: Size, right: Size) -> int:
    """Return the receiving phases of a rank, over both its channels, as `ChannelStats` counts them."""
    of_left, of_right = int(left.columns > 0), int(right.columns > 0)
    return (5 + 2 * of_left, 5 + of_right, 6 + of_left + of_right)[rank]


def bytes_sent(rank: int, left: Size, right: Size) -> int:
    """Return the payload bytes that a rank sends."""
    own, other = (left, right) if rank == LEFT else (right, left)
    confirmations = 2 * CONFIRMATION_BYTES
    if rank == HELPER:
        return confirmations + sum(
            words_bytes(side.rows + left.rows) for side in (left, right) if side.columns
        )
    sent = confirmations + 2 * len(own.encode()) + words_bytes(own.rows * TAG_BYTES // 8)
    if rank == LEFT:
        sent += KEY_BYTES
    if own.columns:
        sent += words_bytes((own.rows + left.rows) * own.columns)
    if other.columns:
        sent += 2 * KEY_BYTES + words_bytes(left.rows * other.columns)
    return sent


def _check(peers: ConfirmedMesh, items: Sequence[bytes], columns: NDArray[np.int64]) -> None:
    if peers.size != 3 or peers.rank == HELPER:
        raise InvalidInput(f"expected rank 0 or 1 of 3, got {peers.rank} of {peers.size}")
    check_items(items, MAX_ROWS)
    if columns.ndim != 2 or len(columns) != len(items) or columns.shape[1] > MAX_COLUMNS:
        raise InvalidInput(
            f"columns: expected {len(items)} rows of at most {MAX_COLUMNS}, got {columns.shape}"
        )


def _common_key(peers: ConfirmedMesh, rng: Randomness) -> bytes:
    if peers.rank == LEFT:
        key = rng.bytes(KEY_BYTES)
        peers[RIGHT].send("key", key)
        return key
    return _seed(peers, LEFT, "key")


def _seed(peers: ConfirmedMesh, peer: int, message: str) -> bytes:
    seed = peers[peer].receive(message)
    if len(seed) != KEY_BYTES:
        raise MalformedMessage(f"{message}: expected {KEY_BYTES} bytes, got {len(seed)}")
    return seed


def _tags(items: Sequence[bytes], key: bytes, session: bytes) -> Words:
    """What the two call an item towards the helper: uint64[n, 2]."""
    separation = separation_tag(SPEC.name, SPEC.version, Usage.ITEM_TAG, session)
    secret = hashlib.blake2b(separation, key=key).digest()
    return digests(items, secret, TAG_BYTES).view("<u8").astype(np.uint64)


def _receive_tags(peers: ConfirmedMesh, side: int, rows: int) -> Words:
    count = rows * TAG_BYTES // 8
    return receive_words(peers[side], "tags", least=count, most=count).reshape(-1, 2)


def _deal(peers: ConfirmedMesh, holder: int, size: Size, chosen: int, rng: Randomness) -> None:
    mask_seed, order_seed = rng.bytes(KEY_BYTES), rng.bytes(KEY_BYTES)
    peers[holder].send("mask-seed", mask_seed)
    peers[HELPER].send("order-seed", order_seed)
    translated = selection.translation(mask_seed, order_seed, size.rows, chosen, size.columns)
    send_words(peers[HELPER], "translation", translated)


def _hold(peers: ConfirmedMesh, dealer: int, values: NDArray[np.int64], chosen: int) -> Words:
    rows, columns = values.shape
    a, r = selection.masks(_seed(peers, dealer, "mask-seed"), rows, chosen, columns)
    placed = _permutation(peers, rows + chosen)
    send_words(peers[HELPER], "masked", selection.masked(values, placed, a))
    return r


def _permutation(peers: ConfirmedMesh, size: int) -> NDArray[np.int64]:
    words = receive_words(peers[HELPER], "arrangement", least=size, most=size)
    if np.any(words >= size) or np.any(np.bincount(words.astype(np.int64), minlength=size) != 1):
        raise MalformedMessage(f"arrangement: expected a permutation of {size}")
    return words.astype(np.int64)


def _choose(peers: ConfirmedMesh, holder: int, size: Size, choice: NDArray[np.int64]) -> Words:
    dealer, chosen = LEFT + RIGHT - holder, len(choice)
    shuffled = selection.order(_seed(peers, dealer, "order-seed"), size.rows, chosen)
    count = chosen * size.columns
    translated = receive_words(peers[dealer], "translation", least=count, most=count)
    placed = selection.arrangement(choice, size.rows, shuffled)
    send_words(peers[holder], "arrangement", placed.astype(np.uint64))
    count = (size.rows + chosen) * size.columns
    sent = receive_words(peers[holder], "masked", least=count, most=count)
    return selection.opened(sent.reshape(-1, size.columns), shuffled, translated.reshape(-1, size.columns))
