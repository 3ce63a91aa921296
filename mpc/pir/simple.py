"""SimplePIR: a client reads one column of a matrix of bytes, and the server cannot tell which.

    server, D uint8[columns, rows] (a row of D here is a column of the paper), public A uint32[n, columns]
      once a version: hint H = A D                      --->  client, column c
      query:   v = s A + e + 2**24 * unit(c)            <---  secret s, small errors e, fresh for each query
      answer:  round(v D / 2**16)                       --->  D[c] = round((answer * 2**16 - s H) / 2**24)

All modulo q = 2**32. The query is learning-with-errors samples, which nobody tells from uniform words; the
server's work is one multiplication and one addition a byte, so its time is that of reading the matrix.

Parameters: n = 1024 and q = 2**32 are the paper's; the errors' standard deviation is 16 and not its 6.4, for
which the paper says 128 bits but the lattice estimator of today about 120 (its authors raised n to 1408 in
Tiptoe, Menon and Wu the deviation to 11 in YPIR). With 16 the primal attack takes about 2**133 operations, by
the estimator's cost model (docs/decisions/0030-anonymous-queries.md). The plaintext modulus is 256, a byte,
read as -128 to 127 where errors multiply it, and the paper's bound allows it for all widths in use. Answers
are rounded to 16 bits, which costs 2**-8 of the room for errors and halves them (modulus switching:
Brakerski, Vaikuntanathan 2011).

Not here: protection against a server that answers from another matrix than the hint's; `mpc.pir.build` adds
checksums, which tell damage, not malice.
"""

from __future__ import annotations

import importlib
import math
from decimal import Decimal, localcontext
from functools import cache, partial
from types import ModuleType
from typing import Final

import numpy as np
from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes
from numpy.typing import NDArray

from mpc.cores import over_slices
from mpc.errors import InvalidInput
from mpc.randomness import Randomness

Words = NDArray[np.uint32]

DIMENSION: Final = 1024
MODULUS_BITS: Final = 32
PLAINTEXT_MODULUS: Final = 256
DEVIATION: Final = Decimal(16)
SEED_BYTES: Final = 16
BLOCK: Final = 256
"""Queries that one pass over the matrix answers."""

_SCALE: Final = np.uint32(2**MODULUS_BITS // PLAINTEXT_MODULUS)
_ROUNDING_BITS: Final = 16
_DIMENSION_BLOCK: Final = 64
_LEAST_COLUMNS: Final = 1024
_LEAST_SAMPLES: Final = 4096


def kernels() -> ModuleType:
    """Import `mpc.pir.kernels` on first use: numba takes half a second that a description need not wait."""
    return importlib.import_module("mpc.pir.kernels")


def largest_modulus(columns: int, deviation: float = float(DEVIATION), log2_failure: float = -40.0) -> int:
    """Return the largest plaintext modulus with which an entry decodes but with probability 2**log2_failure.

    The error of an entry is a sum of ``columns`` errors, each times at most p / 2, and must stay below
    q / 2p: p**2 <= q / (sigma * sqrt(2 columns ln(2 / delta))).

    Source: Henzinger and others 2023, section 4.2 and appendix C; reproduces their table of parameters.
    """
    logarithm = math.log(2) * (1 - log2_failure)
    return math.isqrt(int(2**MODULUS_BITS / (deviation * math.sqrt(2 * columns * logarithm))))


def log2_failure(columns: int, rows: int) -> float:
    """Return the logarithm of the bound on the probability that an answer decodes wrongly anywhere.

    As `largest_modulus`, with the room that rounding leaves.
    """
    room = 2.0 ** (MODULUS_BITS - 9) - 2.0 ** (_ROUNDING_BITS - 1)
    exponent = room**2 / (2 * columns * (float(DEVIATION) * PLAINTEXT_MODULUS / 2) ** 2)
    return math.log2(2 * rows) - exponent / math.log(2)


def public_matrix(seed: bytes, columns: int, start: int = 0, stop: int = DIMENSION) -> Words:
    """Expand rows ``start`` to ``stop`` of the public matrix A: uint32[stop - start, columns].

    Security: AES-128 in counter mode under a public key, as FrodoKEM expands its matrix: an ideal cipher.
    Leaks: nothing; public.
    Cost: local; 0.25 ns a byte, 15 ms for 16,384 columns.
    Source: Alkim and others, FrodoKEM 2021, section 2.2.4.
    """
    if len(seed) != SEED_BYTES:
        raise InvalidInput(f"expected a seed of {SEED_BYTES} bytes, got {len(seed)}")
    row_bytes = 4 * columns
    counter = (start * row_bytes // 16).to_bytes(16, "big")
    out = np.empty((stop - start) * row_bytes, dtype=np.uint8)
    stream = Cipher(algorithms.AES(seed), modes.CTR(counter)).encryptor()
    stream.update_into(bytes(len(out)), out.data)
    return out.view("<u4").astype(np.uint32, copy=False).reshape(-1, columns)


def hint(seed: bytes, matrix: NDArray[np.uint8], out: Words) -> None:
    """Compute the hint H = A D into ``out``, uint32[1024, rows], a block of rows at a time.

    Security: public, computed from public A and a matrix of sealed records.
    Leaks: the product determines nearly all of the matrix: whoever must not have that must not have the hint.
    Cost: local; 1024 multiplications a byte of the matrix, 22 ns a byte and core.
    Source: Henzinger and others 2023, section 4.
    """
    columns = matrix.shape[0]
    for start in range(0, DIMENSION, _DIMENSION_BLOCK):
        a = public_matrix(seed, columns, start, start + _DIMENSION_BLOCK)
        _multiply(a, matrix.view(np.int8), out[start : start + _DIMENSION_BLOCK])


def patch_hint(
    seed: bytes,
    width: int,
    out: Words,
    columns: NDArray[np.int64],
    rows: NDArray[np.int64],
    differences: NDArray[np.int16],
) -> None:
    """Turn the hint of a matrix into that of a changed one.

    Args:
        seed: of the public matrix.
        width: number of columns of the matrix.
        out: uint32[1024, rows], changed in place.
        columns: int64[c], column of each change.
        rows: int64[c], its first row.
        differences: int16[c, l], new bytes less old bytes, both signed.

    Security: public. Leaks: nothing; local.
    Cost: local; 1024 multiplications a changed byte, and the expansion of A.
    Source: the product is linear.
    """
    words = differences.astype(np.int32).view(np.uint32)
    for block in range(0, DIMENSION, _DIMENSION_BLOCK):
        a = public_matrix(seed, width, block, block + _DIMENSION_BLOCK)

        def patched(part: slice, a: Words = a, block: int = block) -> None:
            kernels().patch(a[part], out, columns, rows, words, block + part.start, block + part.stop)

        over_slices(patched, _DIMENSION_BLOCK)


def encrypt_zeros(seed: bytes, columns: int, count: int, rng: Randomness) -> tuple[Words, Words]:
    """Make ``count`` queries that choose nothing yet; the client's work that does not depend on the choice.

    Args:
        seed: of the public matrix.
        columns: of the matrix.
        count: number of queries.
        rng: 48 bytes for each query, which AES-256 in counter mode expands to secret and errors.

    Returns:
        The secrets, uint32[count, 1024], and the queries, uint32[count, columns].

    Security: the queries are samples of learning with errors, with secrets and errors used once.
    Leaks: nothing; local.
    Cost: local; the expansion of A, and 1024 multiplications and one error of 0.1 microseconds a column.
    Source: Henzinger and others 2023, section 4; Regev 2005.
    """
    secrets = np.empty((count, DIMENSION), dtype=np.uint32)
    vectors = np.zeros((count, columns), dtype=np.uint32)
    for number in range(count):
        stream = Cipher(algorithms.AES(rng.bytes(32)), modes.CTR(rng.bytes(16))).encryptor()
        secrets[number] = np.frombuffer(stream.update(bytes(4 * DIMENSION)), dtype="<u4")
        words = np.frombuffer(stream.update(bytes(16 * columns)), dtype="<u8").reshape(-1, 2)
        over_slices(partial(_add_errors, words, vectors[number]), columns, _LEAST_SAMPLES)
    for start in range(0, DIMENSION, _DIMENSION_BLOCK):
        block = slice(start, start + _DIMENSION_BLOCK)
        _multiply(
            np.ascontiguousarray(secrets[:, block]), public_matrix(seed, columns, start, block.stop), vectors
        )
    return secrets, vectors


def masks(secrets: Words, hint: Words) -> Words:
    """Compute what the secrets add to the answers: uint32[q, rows].

    Security: secret. Leaks: nothing; local.
    Cost: local; one pass over the hint, or 1024 multiplications a row and query.
    Source: Henzinger and others 2023, section 4.
    """
    out = np.zeros((len(secrets), hint.shape[1]), dtype=np.uint32)
    _multiply(secrets, hint, out)
    return out


def choose(vectors: Words, columns: NDArray[np.int64]) -> Words:
    """Return the queries that choose one column each: uint32[q, columns]."""
    chosen = vectors.copy()
    chosen[np.arange(len(chosen)), columns] += _SCALE
    return chosen


def answer(vectors: Words, matrix: NDArray[np.uint8]) -> NDArray[np.uint16]:
    """Multiply the matrix by q queries; the server's work.

    Args:
        vectors: uint32[q, columns].
        matrix: uint8[columns, rows].

    Returns:
        uint16[q, rows].

    Security: the server sees uniform words, by learning with errors.
    Leaks: to the client, the column it chose, whole.
    Cost: local; one multiplication and addition a byte and query: the time to read the matrix for one to
        three queries, 45 picoseconds a byte, query and core for many.
    Source: Henzinger and others 2023, section 4.
    """
    answers = np.empty((len(vectors), matrix.shape[1]), dtype=np.uint16)
    for start in range(0, len(vectors), BLOCK):
        block = slice(start, start + BLOCK)
        products = np.zeros((len(vectors[block]), matrix.shape[1]), dtype=np.uint32)
        _multiply(vectors[block], matrix.view(np.int8), products)
        products += np.uint32(1 << (_ROUNDING_BITS - 1))
        answers[block] = products >> np.uint32(_ROUNDING_BITS)
    return answers


def recover(answers: NDArray[np.uint16], masks: Words) -> NDArray[np.uint8]:
    """Decode the chosen columns: uint8[q, rows].

    Security: local. Leaks: nothing; local.
    Cost: local; a few operations a row.
    Source: Henzinger and others 2023, section 4.
    """
    noisy = (answers.astype(np.uint32) << np.uint32(_ROUNDING_BITS)) - masks
    return ((noisy + _SCALE // np.uint32(2)) // _SCALE).astype(np.uint8)


def _multiply(x: Words, y: NDArray[np.int8] | Words, out: Words) -> None:
    accumulate = kernels().accumulate
    left, right = (np.require(array, requirements=("C", "W")) for array in (x, y))  # one compiled variant
    over_slices(
        lambda part: accumulate(left, right, out, part.start, part.stop), out.shape[1], _LEAST_COLUMNS
    )


def _patch_slice(
    a: Words,
    out: Words,
    columns: NDArray[np.int64],
    rows: NDArray[np.int64],
    differences: Words,
    block: int,
    part: slice,
) -> None:
    start, stop = block + part.start, block + part.stop
    kernels().patch(a[part], out, columns, rows, differences, start, stop)


def _add_errors(words: NDArray[np.uint64], out: Words, part: slice) -> None:
    kernels().gaussian(words, *_thresholds(), out, part.start, part.stop)


@cache
def _thresholds() -> tuple[NDArray[np.uint64], NDArray[np.uint64]]:
    """Return 2**127 P(|X| <= k) for a discrete Gaussian X, as upper 64 and lower 63 bits.

    Exact to 2**-126 each, so a query of 2**17 errors is within 2**-100 of the distribution.
    """
    with localcontext() as context:
        context.prec = 60
        weights = [(-Decimal(k * k) / (2 * DEVIATION * DEVIATION)).exp() for k in range(20 * int(DEVIATION))]
        total = weights[0] + 2 * sum(weights[1:])
        reached, sums = Decimal(0), []
        for k, weight in enumerate(weights):
            reached += weight if k == 0 else 2 * weight
            sums.append(int(reached / total * 2**127))
    short = [value for value in sums if value < 2**127 - 1]
    high = np.array([value >> 63 for value in short], dtype=np.uint64)
    return high, np.array([value & (2**63 - 1) for value in short], dtype=np.uint64)
