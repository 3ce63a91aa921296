"""One party's view of a computation on replicated shares: inputs, linear maps, products, logic, outputs.

Three parties (ranks 0 to 2 of the mesh) compute; parties of higher rank only give inputs and may receive
outputs. Every party of the run, computing or not, MUST make the same calls in the same order with the same
shapes: the program is public, the values are not.

A value x is x_0 + x_1 + x_2 modulo 2^64; party i holds x_i and x_{i+1} (`mpc.replicated.sharing`). Adding and
multiplying by public numbers is local. For a product, party i computes

    z_i = x_i y_i + x_i y_{i+1} + x_{i+1} y_i + alpha_i,      alpha_0 + alpha_1 + alpha_2 = 0

with alpha_i from keys that neighbours have in common, and sends z_i to party i-1: one word a product. The
same with xor and and makes logic, 64 bits to a word. Comparisons, shuffles, sorting and division are in the
modules beside this one and are reached through the methods here.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from contextlib import contextmanager
from fractions import Fraction
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from mpc.errors import InvalidInput, ValueOutOfRange
from mpc.mesh import ConfirmedMesh, Mesh, mesh_run
from mpc.randomness import Randomness
from mpc.replicated import comparison, division, exponential, kernels, logistic, permuting, selection
from mpc.replicated.links import COMPUTING, KeyStream, Links
from mpc.replicated.sharing import Shared, SharedBits, aligned, matched, pack, unpack, words_of
from mpc.spec import ProtocolSpec

__all__ = ["COMPUTING", "LIMIT", "Runtime", "run"]

Words = NDArray[np.uint64]

LIMIT: Final = 2**62
"""Inputs and everything compared stay below this magnitude, so that a difference never wraps."""


class Runtime:
    """One party's end of one run. Made by `run`.

    Attributes:
        rank: of this party in the mesh.
        computes: whether it is one of the three that hold shares.
    """

    def __init__(self, peers: ConfirmedMesh, spec: ProtocolSpec, rng: Randomness) -> None:
        if peers.size < COMPUTING:
            raise InvalidInput(f"expected at least {COMPUTING} parties, got {peers.size}")
        self.rank, self.parties, self.computes = peers.rank, peers.size, peers.rank < COMPUTING
        self.links = Links(peers)
        self._peers = peers
        self.before, self.after = (self.rank - 1) % COMPUTING, (self.rank + 1) % COMPUTING
        keys = self.links.agree_on_keys(rng)
        self._streams = {name: KeyStream(key, spec, peers.session) for name, key in keys.items()}

    @property
    def rounds(self) -> int:
        """Rounds so far: the number of times that messages were exchanged, the same at every party."""
        return self.links.rounds

    # Inputs.

    def state(self, numbers: Sequence[int] | None, count: int) -> dict[int, tuple[int, ...]]:
        """Tell every party public numbers, such as a number of rows, and hear theirs.

        Args:
            numbers: of this party, each from 0 to 2^64 - 1; None where it states nothing.
            count: how many numbers a party that states some has to state.

        Returns:
            By rank, the numbers of each party that stated some, this one included.

        Security: none needed. Leaks: the numbers, to every party. Cost: one round; 8 bytes a number to each
        other party. Source: none.
        """
        return self.links.state(numbers, count)

    def share(
        self,
        owner: int,
        values: NDArray[np.int64] | None,
        rows: int | tuple[int, ...],
        *,
        limit: int = LIMIT,
    ) -> Shared:
        """Share one party's integers among the computing parties.

        Args:
            owner: rank of the party whose values they are.
            values: int64 of that shape at the owner; None at every other party.
            rows: the public shape.
            limit: every magnitude is below it, at most `LIMIT`.

        Raises:
            InvalidInput: values at another party than the owner, or of another shape or type.
            ValueOutOfRange: a magnitude reaches ``limit``; nothing has been sent of them.

        Security: semi-honest, one of three; a computing party sees words that are uniform by themselves.
        Leaks: the shape. Cost: one round; 8 bytes a value from a computing owner, 16 from another.
        Source: Araki, Furukawa, Lindell, Nof, Ohara 2016, with zero shares from common keys.
        """
        shape = (rows,) if isinstance(rows, int) else rows
        self._check_input(owner, values, shape, np.dtype(np.int64))
        if values is not None:
            misfits = int(np.count_nonzero((values >= limit) | (values <= -limit)))
            if misfits:
                raise ValueOutOfRange(f"{misfits} of {values.size} values reach the limit {limit}")
            values = values.view(np.uint64)
        return Shared(self.input_words("input", owner, values, shape, add=True))  # type: ignore[arg-type]

    def share_bits(
        self, owner: int, bits: NDArray[np.bool_] | None, rows: int | tuple[int, ...]
    ) -> SharedBits:
        """Share one party's bits; as `share`, with one bit a value instead of 8 bytes."""
        shape = (rows,) if isinstance(rows, int) else rows
        self._check_input(owner, bits, shape, np.dtype(np.bool_))
        words = None if bits is None else pack(bits)
        shared = self.input_words("input", owner, words, (*shape[:-1], words_of(shape[-1])), add=False)
        return SharedBits(shared, shape[-1])

    def constant(self, values: NDArray[np.int64]) -> Shared:
        """Share values that every party knows. Local."""
        return Shared(self.known(np.asarray(values, dtype=np.int64).view(np.uint64), position=0))

    def constant_bits(self, bits: NDArray[np.bool_]) -> SharedBits:
        """Share bits that every party knows. Local."""
        return SharedBits(self.known(pack(bits), position=0), bits.shape[-1])

    # Linear maps; local.

    def add(self, a: Shared, b: Shared) -> Shared:
        """The sum a + b."""
        return Shared(np.add(*aligned(a.shares, b.shares)))

    def sub(self, a: Shared, b: Shared) -> Shared:
        """The difference a - b."""
        return Shared(np.subtract(*aligned(a.shares, b.shares)))

    def neg(self, a: Shared) -> Shared:
        """The negative of a."""
        return Shared(-a.shares)

    def scale(self, a: Shared, factor: int | NDArray[np.int64]) -> Shared:
        """The product of a and public integers."""
        return Shared(a.shares * np.asarray(factor, dtype=np.int64).view(np.uint64))

    def add_public(self, a: Shared, values: int | NDArray[np.int64]) -> Shared:
        """The sum of a and public integers."""
        return self.add(a, self.constant(np.broadcast_to(np.asarray(values, dtype=np.int64), a.shape).copy()))

    def sum(self, a: Shared) -> Shared:
        """Sums along the last axis, which keeps the length 1."""
        return Shared(a.shares.sum(axis=-1, dtype=np.uint64, keepdims=True))

    def cumsum(self, a: Shared) -> Shared:
        """Running sums along the last axis."""
        return Shared(np.cumsum(a.shares, axis=-1, dtype=np.uint64))

    # Products.

    def mul(self, a: Shared, b: Shared) -> Shared:
        """The products of a and b, modulo 2^64.

        Security: semi-honest, one of three. Leaks: nothing. Cost: one round; 8 bytes a product and party.
        Source: Araki, Furukawa, Lindell, Nof, Ohara 2016, section 2.2.
        """
        x, y = matched(a.shares, b.shares)
        terms = kernels.product_terms(x, y, self.zero(x.shape[1:])) if self.computes else None
        return Shared(self.reshare("product", terms, x.shape[1:]))

    def dot(self, a: Shared, b: Shared) -> Shared:
        """Sums of products along the last axis: [n] and [n] give [1]; [p, n] and [q, n] give [p, q].

        Security: as `mul`. Leaks: nothing. Cost: one round; 8 bytes a result and party, whatever n is.
        Source: as `mul`; the terms are added before they are masked.
        """
        left, right = (one.shares if one.shares.ndim == 3 else one.shares[:, None] for one in (a, b))
        shape = (left.shape[1], right.shape[1])
        terms = None
        if self.computes:
            terms = left[0] @ (right[0] + right[1]).T + left[1] @ right[0].T + self.zero(shape)
        result = Shared(self.reshare("product", terms, shape))
        return result if len(a.shape) > 1 else result.reshape(1)

    # Logic.

    def xor(self, a: SharedBits, b: SharedBits) -> SharedBits:
        """Exclusive or; local."""
        return SharedBits(np.bitwise_xor(*aligned(a.shares, b.shares)), a.rows)

    def not_(self, a: SharedBits) -> SharedBits:
        """Complement; local."""
        ones = self.known(np.full(a.shares.shape[1:], 2**64 - 1, dtype=np.uint64), position=0)
        return SharedBits(a.shares ^ ones, a.rows)

    def and_(self, a: SharedBits, b: SharedBits) -> SharedBits:
        """Conjunction. One round; 8 bytes for 64 bits and party. Security, source: as `mul`."""
        x, y = matched(a.shares, b.shares)
        terms = kernels.and_terms(x, y, self.zero(x.shape[1:], add=False)) if self.computes else None
        return SharedBits(self.reshare("product", terms, x.shape[1:]), a.rows)

    def or_(self, a: SharedBits, b: SharedBits) -> SharedBits:
        """Disjunction; cost as `and_`."""
        return self.xor(self.xor(a, b), self.and_(a, b))

    def is_negative(self, a: Shared, *, bits: int = 64) -> SharedBits:
        """Whether a < 0, for values in [-2^(bits-1), 2^(bits-1)); see `mpc.replicated.comparison.sign`."""
        return comparison.sign(self, a, bits)

    def less(self, a: Shared, b: Shared, *, bits: int = 64) -> SharedBits:
        """Whether a < b, where a - b fits ``bits`` bits; it does for 64 when both are below `LIMIT`."""
        return comparison.sign(self, self.sub(a, b), bits)

    def equal(self, a: Shared, b: Shared, *, bits: int = 64) -> SharedBits:
        """Whether a = b, where both fit ``bits`` bits; see `mpc.replicated.comparison.is_zero`."""
        return comparison.is_zero(self, self.sub(a, b), bits)

    def is_zero(self, a: Shared, *, bits: int = 64) -> SharedBits:
        """Whether a = 0 modulo 2^bits; see `mpc.replicated.comparison.is_zero`."""
        return comparison.is_zero(self, a, bits)

    def to_arithmetic(self, bits: SharedBits) -> Shared:
        """Bits as the integers 0 and 1.

        b_0 xor b_1 is party 0's and b_2 is known to the other two; their exclusive or is u + t - 2 u t.

        Security: semi-honest, one of three. Leaks: nothing. Cost: two rounds; 8 bytes a bit and party, and
        8 more from party 0. Source: Mohassel, Rindal 2018, section 5.4.1.
        """
        first = second = None
        if self.rank == 0:
            first = unpack(bits.shares[0] ^ bits.shares[1], bits.rows).astype(np.uint64)
        if self.rank in (1, 2):
            second = unpack(bits.shares[2 - self.rank], bits.rows).astype(np.uint64)
        u = Shared(self.input_words("input", 0, first, bits.shape, add=True))
        t = Shared(self.known(second, position=2, shape=bits.shape))
        return self.sub(self.add(u, t), self.scale(self.mul(u, t), 2))

    def select(self, bits: SharedBits, a: Shared, b: Shared) -> Shared:
        """A where the bit is 1, b elsewhere. Three rounds: `to_arithmetic` and `mul`."""
        return self.add(b, self.mul(self.to_arithmetic(bits), self.sub(a, b)))

    # Outputs.

    def open(self, a: Shared, to: Collection[int]) -> NDArray[np.int64] | None:
        """Reveal values to some parties.

        Returns:
            int64 of the shape of a at the parties in ``to``; None elsewhere.

        Security: the receivers learn the values; nobody learns anything else. Leaks: the values, to them.
        Cost: one round; 8 bytes a value to a computing party from its predecessor, 16 to another.
        Source: Araki, Furukawa, Lindell, Nof, Ohara 2016.
        """
        words = self._open(a.shares, to, add=True)
        return None if words is None else words.view(np.int64)

    def open_bits(self, a: SharedBits, to: Collection[int]) -> NDArray[np.bool_] | None:
        """Reveal bits to some parties; as `open`, 8 bytes for 64 bits."""
        words = self._open(a.shares, to, add=False)
        return None if words is None else unpack(words, a.rows).astype(np.bool_)

    # Division.

    def quotient(self, a: Shared, divisor: int) -> Shared:
        """A divided by a public number, within 1.5; see `mpc.replicated.division.quotient`."""
        return division.quotient(self, a, divisor)

    def divide(self, a: Shared, b: Shared, *, dividend_bits: int = 61, divisor_bits: int = 29) -> Shared:
        """A divided by b, within 3; see `mpc.replicated.division.divide`."""
        return division.divide(self, a, b, dividend_bits=dividend_bits, divisor_bits=divisor_bits)

    def square_root(self, a: Shared, *, bits: int = 58) -> Shared:
        """The square root; see `mpc.replicated.division.square_root`."""
        return division.square_root(self, a, bits=bits)

    def sigmoid(self, a: Shared, fraction: int) -> Shared:
        """The logistic function less one half; see `mpc.replicated.logistic.sigmoid`."""
        return logistic.sigmoid(self, a, fraction)

    def exponential(self, a: Shared, fraction: int) -> Shared:
        """The exponential function; see `mpc.replicated.exponential.exponential`."""
        return exponential.exponential(self, a, fraction)

    # Picking values.

    def extreme(self, a: Shared, *, bits: int, largest: bool) -> Shared:
        """The smallest or largest along the last axis; see `mpc.replicated.selection.extreme`."""
        return selection.extreme(self, a, bits=bits, largest=largest)

    def place_of_largest(self, a: Shared, *, bits: int) -> Shared:
        """A 1 where the largest along the last axis is; see `mpc.replicated.selection.place_of_largest`."""
        return selection.place_of_largest(self, a, bits=bits)

    def quantile(self, values: Shared, chosen: Shared, part: Fraction, *, bits: int) -> Shared:
        """What a part of the chosen rows does not exceed; see `mpc.replicated.selection.quantile`."""
        return selection.quantile(self, values, chosen, part, bits=bits)

    # Secret permutations.

    def shuffle(self, columns: Sequence[Shared]) -> list[Shared]:
        """Columns in a common order that nobody knows; see `mpc.replicated.permuting.shuffle`."""
        return permuting.shuffle(self, columns)

    def sort(
        self,
        keys: Sequence[Shared],
        columns: Sequence[Shared],
        bits: Sequence[int],
        descending: Sequence[bool] | None = None,
    ) -> tuple[list[Shared], list[Shared]]:
        """Keys and columns in the stable order of the keys; see `mpc.replicated.permuting.sort`."""
        return permuting.sort(self, keys, columns, bits, descending)

    def group_sums(
        self, keys: Sequence[Shared], columns: Sequence[Shared], bits: Sequence[int]
    ) -> permuting.Groups:
        """Sums of columns by equal sorted keys; see `mpc.replicated.permuting.group_sums`."""
        return permuting.group_sums(self, keys, columns, bits)

    # What the modules beside this one are made of.

    def zero(self, shape: tuple[int, ...], *, add: bool = True) -> Words:
        """This computing party's alpha: fresh words, uniform, whose sum (or exclusive or) over all is 0."""
        own, following = self.common(self.rank, shape), self.common(self.after, shape)
        return np.subtract(own, following, out=own) if add else np.bitwise_xor(own, following, out=own)

    def common(self, key: int, shape: tuple[int, ...]) -> Words:
        """Fresh uniform words under a key that this party has in common with a neighbour."""
        return self._streams[key].words(*shape)

    def known(self, words: Words | None, *, position: int, shape: tuple[int, ...] | None = None) -> Words:
        """Shares of words that both holders of one share know: that share is the words, the others are 0."""
        full = (shape if words is None else words.shape) or ()
        shares = np.zeros((2 if self.computes else 0, *full), dtype=np.uint64)
        if words is not None and self.computes and position != (self.rank + 2) % COMPUTING:
            shares[(position - self.rank) % COMPUTING] = words
        return shares

    def reshare(self, message: str, terms: Words | None, shape: tuple[int, ...]) -> Words:
        """Make replicated shares of what each computing party holds one masked term of. One round."""
        if terms is None:
            self.links.exchange(message, {}, {})
            return np.empty((0, *shape), dtype=np.uint64)
        arrived = self.links.exchange(message, {self.before: terms}, {self.after: shape})
        return np.stack([terms, arrived[self.after]])

    def input_words(
        self, message: str, owner: int, words: Words | None, shape: tuple[int, ...], *, add: bool
    ) -> Words:
        """Share the owner's words by addition or by exclusive or. One round; see `share`."""
        if owner >= COMPUTING:
            return self._input_from_outside(message, owner, words, shape, add=add)
        holder, follower = (owner - 1) % COMPUTING, (owner + 1) % COMPUTING
        shares = np.zeros((2 if self.computes else 0, *shape), dtype=np.uint64)
        sends, receives = {}, {}
        if words is not None:
            shares[0] = self.common(owner, shape)
            shares[1] = words - shares[0] if add else words ^ shares[0]
            sends[follower] = shares[1]
        elif self.rank == holder:
            shares[1] = self.common(owner, shape)
        elif self.rank == follower:
            receives[owner] = shape
        for arrived in self.links.exchange(message, sends, receives).values():
            shares[0] = arrived
        return shares

    def confirm(self) -> None:
        """Compare transcripts with every other party; `run` does it before it ends."""
        self._peers.confirm()

    def _input_from_outside(
        self, message: str, owner: int, words: Words | None, shape: tuple[int, ...], *, add: bool
    ) -> Words:
        """Shares 0 and 1 come from keys that the owner gave to their holders; share 2 is sent to its own."""
        own = {name: stream.words(*shape) for name, stream in self._outside(owner).items()}
        sends, receives = {}, {}
        if words is not None:
            rest = words - own[0] - own[1] if add else words ^ own[0] ^ own[1]
            sends = {1: rest, 2: rest}
        elif self.rank in (1, 2):
            receives = {owner: shape}
        arrived = self.links.exchange(message, sends, receives)
        if not self.computes:
            return np.empty((0, *shape), dtype=np.uint64)
        if owner in arrived:
            own[2] = arrived[owner]
        return np.stack([own[self.rank], own[self.after]])

    def _outside(self, owner: int) -> dict[int, KeyStream]:
        named = {share: self._streams.get((owner, share)) for share in (0, 1)}
        return {share: stream for share, stream in named.items() if stream is not None}

    def _open(self, shares: Words, to: Collection[int], *, add: bool) -> Words | None:
        shape = shares.shape[1:]
        combine = np.add if add else np.bitwise_xor
        sends: dict[int, Words] = {}
        receives: dict[int, tuple[int, ...]] = {}
        for receiver in sorted(set(to)):
            if receiver < COMPUTING:
                if self.computes and receiver == self.after:
                    sends[receiver] = shares[0]
                if receiver == self.rank:
                    receives[self.before] = shape
            elif self.rank == 0:
                sends[receiver] = shares[0]
            elif self.rank == 1:
                sends[receiver] = combine(shares[0], shares[1])
            elif receiver == self.rank:
                receives |= {0: shape, 1: shape}
        arrived = self.links.exchange("open", sends, receives)
        if self.rank not in to:
            return None
        total = np.zeros(shape, dtype=np.uint64)
        for part in (*arrived.values(), *shares):
            combine(total, part, out=total)
        return total

    def _check_input(
        self, owner: int, values: NDArray[Any] | None, shape: tuple[int, ...], dtype: np.dtype[Any]
    ) -> None:
        if not 0 <= owner < self.parties:
            raise InvalidInput(f"expected an owner below {self.parties}, got {owner}")
        if (values is not None) != (owner == self.rank):
            raise InvalidInput(f"expected values at party {owner} alone, called at party {self.rank}")
        if values is not None and (values.shape != shape or values.dtype != dtype):
            raise InvalidInput(f"expected {dtype}{list(shape)}, got {values.dtype}{list(values.shape)}")


@contextmanager
def run(mesh: Mesh, spec: ProtocolSpec, rng: Randomness) -> Iterator[Runtime]:
    """Open a run among the parties of ``mesh``; at its end, compare transcripts.

    Nothing of the run may be used before this context has ended without an error.

    Raises:
        InvalidInput: fewer than three parties.
        TranscriptMismatch: at the end, parties saw different messages.
    """
    with mesh_run(mesh, spec) as peers:
        runtime = Runtime(peers, spec, rng)
        yield runtime
        runtime.confirm()
