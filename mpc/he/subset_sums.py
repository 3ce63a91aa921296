"""Sums of encrypted numbers over subsets of rows that only another party knows.

    key holder, V vectors x_1 .. x_n                subset holder, subsets S_k of the rows
      blocks of B rows; W = N / V; vector v:
      X(z) = sum_v z^(vW) sum_i x_i z^i
                        Enc(X)  --->
                                                        P(z) = sum_k z^(kB) sum_{i in S_k} z^(-i)
                                                        Enc(X P) + Enc'(0) + noise
                        <---  its coefficients at 0, B, 2B, ..
      coefficient vW + kB of X P, over all blocks: sum of vector v's x_i, i in S_k

One product gives the sums of W / B subsets for every vector, since |i - j| < B for two rows of a block. The
other coefficients of X P tell of the subsets, so they are not sent. What is sent is hidden in three ways: an
encryption of zero under the key holder's public key makes the second polynomial independent of P; uniform
noise of 2^73 drowns what the noise of a sum, at most 2^27, would tell; and only coefficients at multiples of
B leave.
"""

from __future__ import annotations

import functools
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from mpc.errors import InvalidInput, MalformedMessage
from mpc.he import bfv
from mpc.he.ntt import Products, Transform
from mpc.randomness import Randomness

__all__ = [
    "MAX_ROWS",
    "MAX_VECTORS",
    "MULTIPLIER_BYTES",
    "SUM_BITS",
    "Blocks",
    "SubsetHolder",
    "decrypt",
    "encrypt",
]

_Residues = NDArray[np.uint64]

MAX_ROWS: Final = 2**18
SUM_BITS: Final = bfv.PLAIN_BITS
"""Sums are modulo 2^44; the key holder sees to it that its numbers cannot add up to more."""
FLOOD_BITS: Final = 73
"""With sums of `MAX_ROWS` in 16 overlapping subsets: a statistical distance below 2^-46 for each sum."""
_LEAST_BLOCK: Final = 128
_MOST_TOGETHER: Final = 16
MAX_VECTORS: Final = bfv.DEGREE // _LEAST_BLOCK
MULTIPLIER_BYTES: Final = 512 * 2**20
"""Of the polynomials of the subsets; one layout is used where it takes more for a single vector."""
_ENCRYPTED_MS: Final = 3.0
_RELEASED_MS: Final = 6.5


@dataclass(frozen=True)
class Blocks:
    """How rows, vectors and subsets lie in polynomials.

    Attributes:
        rows: of the key holder.
        vectors: that lie side by side, a power of two.
        size: rows of a block, a power of two.
    """

    rows: int
    vectors: int
    size: int

    def __post_init__(self) -> None:
        if not 1 <= self.rows <= MAX_ROWS:
            raise InvalidInput(f"rows: expected 1 to {MAX_ROWS}, got {self.rows}")
        if (self.vectors, self.size) not in _LAYOUTS:
            raise InvalidInput(f"layout: {self.vectors} vectors in blocks of {self.size} rows")

    @classmethod
    def of(cls, rows: int, subsets: int, vectors: int) -> Blocks:
        """The blocks with which sums of some vectors over so many subsets take the least time.

        Vectors lie side by side as far as the polynomials of the subsets stay within `MULTIPLIER_BYTES`;
        these grow with the vectors. More vectors than that take several turns.
        """

        def cost(blocks: Blocks) -> float:
            return _ENCRYPTED_MS * blocks.count + _RELEASED_MS * blocks.products(subsets)

        # All layouts with up to V vectors take together less than twice what that with V takes.
        largest = MULTIPLIER_BYTES // (2 * bfv.MULTIPLIER_BYTES * rows * subsets // bfv.DEGREE + 1)
        side_by_side = min(
            1 << (vectors - 1).bit_length(), 1 << max(largest.bit_length() - 1, 0), MAX_VECTORS
        )
        return min((cls(rows, *one) for one in _LAYOUTS if one[0] == side_by_side), key=cost)

    def turns(self, vectors: int) -> int:
        """How often so many vectors take what fits side by side."""
        return -(-vectors // self.vectors)

    @property
    def count(self) -> int:
        """Ciphertexts of the vectors."""
        return -(-self.rows // self.size)

    def rows_of(self, number: int) -> slice:
        """The rows of a block."""
        return slice(number * self.size, min((number + 1) * self.size, self.rows))

    @property
    def together(self) -> int:
        """Subsets of one product."""
        return bfv.DEGREE // self.vectors // self.size

    def products(self, subsets: int) -> int:
        """Products that make the sums over so many subsets."""
        return -(-subsets // self.together)

    @property
    def product_bytes(self) -> int:
        """Of one product, as it is released."""
        return 8 * (bfv.DEGREE // self.size + bfv.DEGREE)


_LAYOUTS: Final = [
    (1 << vectors, 1 << size)
    for vectors in range(MAX_VECTORS.bit_length())
    for size in range(_LEAST_BLOCK.bit_length() - 1, bfv.DEGREE.bit_length())
    if bfv.DEGREE <= 1 << (vectors + size) << (_MOST_TOGETHER.bit_length() - 1)
    and 1 << (vectors + size) <= bfv.DEGREE
]
"""Vectors and rows of a block that fit a polynomial, with at most 16 subsets in a product."""


def encrypt(key: bfv.SecretKey, blocks: Blocks, part: NDArray[np.int64]) -> bytes:
    """Encrypt one block of some vectors.

    Args:
        key: of the key holder.
        blocks: the layout.
        part: int64[vectors, rows of the block], between 0 and 2^`SUM_BITS` - 1; there may be fewer vectors
            than fit, and fewer rows in the last block.

    Security, Leaks, Source: as `mpc.he.bfv.SecretKey.encrypt`. Cost: 3 ms.
    """
    coefficients = np.zeros((blocks.vectors, bfv.DEGREE // blocks.vectors), dtype=np.uint64)
    coefficients[: len(part), : part.shape[1]] = part.astype(np.uint64)
    return key.encrypt(coefficients.reshape(-1))


def decrypt(key: bfv.SecretKey, blocks: Blocks, released: bytes, subsets: int) -> NDArray[np.int64]:
    """Open released products.

    Args:
        key: of the key holder.
        blocks: the layout.
        released: products, one after the other.
        subsets: how many sums of each vector the products hold, at least one.

    Returns:
        int64[vectors, subsets], modulo 2^`SUM_BITS`; for as many vectors as fit.

    Raises:
        MalformedMessage: another size, or no ciphertexts of this encryption.

    Security: the sums are all that can be opened. Leaks: nothing; local. Cost: 0.6 ms a product.
    Source: as the module.
    """
    products, shown = blocks.products(subsets), bfv.DEGREE // blocks.size
    if len(released) != products * blocks.product_bytes:
        expected = products * blocks.product_bytes
        raise MalformedMessage(f"sums: expected {expected} bytes, got {len(released)}")
    words = np.frombuffer(released, dtype="<u8").reshape(products, -1)
    opened = [key.decrypt(one[:shown], one[shown:]).reshape(blocks.vectors, -1) for one in words]
    sums: NDArray[np.int64] = np.concatenate(opened, axis=1)[:, :subsets].astype(np.int64)
    return sums


class SubsetHolder:
    """The party that has the subsets: parts of the rows, by several features.

    Args:
        public: the key holder's public key.
        codes: integers[features, rows]; the subsets of a feature are the rows with code 0, 1 and so on.
        counts: how many subsets each feature has; rows with higher codes are in none.
        rng: own randomness, for the noise.
    """

    def __init__(
        self, public: bytes, codes: NDArray[np.uint8], counts: Sequence[int], rng: Randomness
    ) -> None:
        if len(codes) != len(counts):
            raise InvalidInput(f"codes: expected {len(counts)} features, got {len(codes)}")
        self._codes, self._counts, self._rng = codes, tuple(counts), rng
        self._key = bfv.PublicKey(public)
        self._zeros: list[Any] = []
        self._transforms = tuple(_transform(prime) for prime in bfv.primes())
        self._multipliers: dict[Blocks, _Residues] = {}

    def products(self, blocks: Blocks) -> int:
        """Products of a layout that make all sums."""
        return blocks.products(sum(self._counts))

    def prepare(self, products: int) -> None:
        """Make the encryptions of zero for so many products, while there is nothing else to do."""
        while len(self._zeros) < products:
            self._zeros.append(self._key.zero())

    def start(self, blocks: Blocks) -> Products:
        """A total of nothing, to `add` to."""
        return Products(self._transforms, self.products(blocks), 2)

    def add(self, total: Products, blocks: Blocks, first: int, ciphertexts: Sequence[bytes]) -> None:
        """Add the sums over some encrypted blocks, of which the first has that number.

        Raises:
            MalformedMessage: no ciphertexts of this encryption.

        Cost: 2 ms a block, and 0.05 ms a product; the first time a layout is used its polynomials are made.
        """
        if blocks not in self._multipliers:
            self._multipliers[blocks] = self._made(blocks)
        vectors = np.stack([bfv.residues(one) for one in ciphertexts])
        for vector in vectors:
            for polynomial in vector:
                self._transform(polynomial)
        total.add(vectors, self._multipliers[blocks][first : first + len(vectors)])

    def release(self, total: Products, blocks: Blocks) -> bytes:
        """What the key holder gets of a total, which is used up.

        Security: semi-honest. To the key holder, sums and nothing else: ring-LWE for the second polynomial;
        for the first a statistical distance below 2^-46 a sum. Leaks: nothing else. Cost: 6 ms a product, of
        which `prepare` takes 3.6 beforehand. Source: Gentry 2009, section 21.1 (noise flooding); Brakerski,
        Vaikuntanathan 2011.
        """
        found, values = [], total.values()
        self.prepare(len(values))
        for one in values:
            noise = self._noise(bfv.DEGREE // blocks.size)
            first, second = bfv.released(one, self._zeros.pop(), noise, blocks.size)
            found += [first.tobytes(), second.tobytes()]
        return b"".join(found)

    def _transform(self, polynomial: _Residues) -> None:
        """Transform uint64[primes, degree] in place."""
        for values, transform in zip(polynomial, self._transforms, strict=True):
            transform.forward(values)

    def _made(self, blocks: Blocks) -> _Residues:
        """The transformed polynomials of a layout: uint64[blocks, products, primes, degree]."""
        shape = (blocks.count, self.products(blocks), len(self._transforms), bfv.DEGREE)
        found = np.zeros(shape, dtype=np.uint64)
        limits = np.array(self._counts, dtype=np.int64)[:, None]
        starts = np.concatenate([[0], np.cumsum(self._counts)])[:-1]
        for number, made in enumerate(found):
            part = self._codes[:, blocks.rows_of(number)].astype(np.int64)
            feature, row = np.nonzero(part < limits)
            subset = starts[feature] + part[feature, row]
            power = (subset % blocks.together) * blocks.size - row
            for at, prime in enumerate(bfv.primes()):
                sign = np.where(power < 0, np.uint64(prime - 1), np.uint64(1))
                made[subset // blocks.together, at, power % bfv.DEGREE] = sign
            for polynomial in made:
                self._transform(polynomial)
        return found

    def _noise(self, count: int) -> NDArray[np.uint64]:
        """Uniform noise of `FLOOD_BITS` and a sign for each released coefficient, modulo each prime."""
        width = FLOOD_BITS // 8 + 1
        raw, shift = self._rng.bytes(width * count), 1 << FLOOD_BITS
        drawn = [
            int.from_bytes(raw[at : at + width], "little") % (2 * shift) - shift
            for at in range(0, len(raw), width)
        ]
        return np.array([[one % prime for one in drawn] for prime in bfv.primes()], dtype=np.uint64)


@functools.cache
def _transform(prime: int) -> Transform:
    return Transform(bfv.DEGREE, prime)
