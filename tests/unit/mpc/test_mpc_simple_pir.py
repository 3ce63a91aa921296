"""SimplePIR: the paper's parameters, the sampler, exact products, and columns that come back."""

from __future__ import annotations

import math

import numpy as np
import pytest
from cryptography.hazmat.primitives.ciphers import Cipher, algorithms
from nacl.bindings import crypto_shorthash_siphash24

from mpc.errors import InvalidInput
from mpc.pir import kernels, simple
from mpc.pir.manifest import MAX_COLUMNS
from mpc.testing import DeterministicRandomness

SEED = b"sixteen byte key"


def rng(seed: int = 0) -> DeterministicRandomness:
    return DeterministicRandomness(bytes([seed] * 16))


def words(seed: int, *shape: int) -> np.ndarray:
    count = math.prod(shape)
    return np.frombuffer(rng(seed).bytes(4 * count), dtype="<u4").reshape(shape).astype(np.uint32)


def matrix(columns: int = 64, rows: int = 100, seed: int = 9) -> np.ndarray:
    return np.frombuffer(rng(seed).bytes(columns * rows), dtype=np.uint8).reshape(columns, rows).copy()


def signed(database: np.ndarray) -> np.ndarray:
    return database.view(np.int8).astype(np.int32).view(np.uint32)


def hint_of(database: np.ndarray) -> np.ndarray:
    out = np.zeros((simple.DIMENSION, database.shape[1]), dtype=np.uint32)
    simple.hint(SEED, database, out)
    return out


@pytest.mark.parametrize(
    ("log2_columns", "modulus"),
    [(13, 991), (14, 833), (15, 701), (16, 589), (17, 495), (18, 416), (19, 350), (20, 294), (21, 247)],
)
def test_the_bound_reproduces_the_papers_table(log2_columns: int, modulus: int) -> None:
    # pir/params.csv of the authors' implementation, q = 2**32, sigma = 6.4; the table rounds up in places.
    assert abs(simple.largest_modulus(2**log2_columns, 6.4) - modulus) <= 1


def test_a_byte_is_within_the_bound_for_every_width_in_use() -> None:
    assert simple.largest_modulus(MAX_COLUMNS) > simple.PLAINTEXT_MODULUS
    assert simple.log2_failure(MAX_COLUMNS, 2**18) < -70
    assert simple.log2_failure(2**14, 2**15) < -700


def primal_attack(dimension: int, log2_modulus: int, deviation: float) -> tuple[int, float]:
    """Block size and log2 of operations of the primal attack, by the geometric series assumption.

    Alkim, Ducas, Poppelmann, Schwabe 2016, with the cost of a sieve that the lattice estimator (Albrecht,
    Player, Scott 2015, as of 2024) uses by default, fitted to what its documentation prints.
    """
    for block in range(100, 600):
        root = ((math.pi * block) ** (1 / block) * block / (2 * math.pi * math.e)) ** (1 / (2 * (block - 1)))
        for samples in range(dimension // 2, 3 * dimension, 8):
            size = samples + dimension + 1
            reached = (2 * block - size - 1) * math.log2(root) + samples / size * log2_modulus
            if math.log2(deviation) + math.log2(block) / 2 <= reached:
                return block, 0.2924 * block + math.log2(5.46 * size) + 12
    raise AssertionError("no block size suffices")


def test_the_primal_attack_costs_more_than_2_to_the_128() -> None:
    # docs/schemes/hes.rst of the estimator: n = 1024, q = 2**27, sigma = 3: block size 374, 2**136.7.
    block, cost = primal_attack(1024, 27, 3.0)
    assert abs(block - 374) <= 8
    assert cost == pytest.approx(136.7, abs=1)
    assert primal_attack(simple.DIMENSION, simple.MODULUS_BITS, float(simple.DEVIATION))[1] > 132
    assert primal_attack(1024, 32, 11.0)[1] == pytest.approx(128, abs=1)  # YPIR
    assert primal_attack(1024, 32, 6.4)[1] == pytest.approx(121, abs=1)  # SimplePIR


def test_the_sampler_has_the_distributions_moments_and_tails() -> None:
    high, low = simple._thresholds()
    out = np.zeros(200_000, dtype=np.uint32)
    uniform = np.frombuffer(rng().bytes(16 * len(out)), dtype="<u8").reshape(-1, 2)
    kernels.gaussian(uniform, high, low, out, 0, len(out))
    drawn = out.view(np.int32)
    assert abs(drawn.mean()) < 5 * 16 / math.sqrt(len(drawn))
    assert drawn.std() == pytest.approx(16, rel=0.01)
    weight = sum(math.exp(-k * k / (2 * 16**2)) for k in range(-300, 301))
    for k in range(-40, 41):
        share = math.exp(-k * k / (2 * 16**2)) / weight
        assert abs((drawn == k).mean() - share) < 5 * math.sqrt(share / len(drawn))
    assert 100 > np.abs(drawn).max() > 60
    assert 200 < len(high) < 220


@pytest.mark.parametrize(
    ("uniform", "drawn"),
    [((0, 0), 0), ((2**64 - 1, 2**64 - 1), None), ((2**64 - 1, 2**64 - 2), None)],
)
def test_the_ends_of_the_sampler(uniform: tuple[int, int], drawn: int | None) -> None:
    high, low = simple._thresholds()
    out = np.zeros(1, dtype=np.uint32)
    kernels.gaussian(np.array([uniform], dtype=np.uint64), high, low, out, 0, 1)
    largest = len(high) if uniform[1] % 2 == 0 else -len(high)
    assert out.view(np.int32)[0] == (largest if drawn is None else drawn)


@pytest.mark.parametrize("queries", [1, 3, 4, 7])
@pytest.mark.parametrize("kind", ["i1", "u4"])
def test_products_are_exact_modulo_2_to_the_32(queries: int, kind: str) -> None:
    left, right = words(1, queries, 136), words(2, 136, 2500).astype(kind)
    out = words(3, queries, 2500)
    expected = (
        (out.astype(object) + left.astype(object) @ right.astype(object)) % 2**32 if queries == 1 else None
    )
    wanted = out + np.einsum("qw,wm->qm", left, right.astype(np.uint32))
    if expected is not None:
        assert (expected == wanted).all()
    kernels.accumulate(left, right, out, 0, 1000)
    kernels.accumulate(left, right, out, 1000, 2500)
    assert (out == wanted).all()


def test_every_column_comes_back() -> None:
    database = matrix()
    hint = hint_of(database)
    assert (hint == simple.public_matrix(SEED, 64) @ signed(database)).all()
    columns = np.arange(64)
    secrets, vectors = simple.encrypt_zeros(SEED, 64, 64, rng())
    answers = simple.answer(simple.choose(vectors, columns), database)
    assert answers.shape == (64, 100)
    assert answers.dtype == np.uint16
    assert (simple.recover(answers, simple.masks(secrets, hint)) == database).all()


def test_the_noise_is_what_the_bound_allows() -> None:
    database = np.full((256, 8), 128, dtype=np.uint8)
    secrets, vectors = simple.encrypt_zeros(SEED, 256, 200, rng())
    exact = vectors @ signed(database) - simple.masks(secrets, hint_of(database))
    deviation = exact.view(np.int32)[:, 0].astype(float).std()
    assert deviation == pytest.approx(16 * 128 * 16, rel=0.2)


def test_the_hint_follows_changes() -> None:
    before, after = matrix(), matrix()
    hint = hint_of(before)
    columns, rows = np.array([3, 3, 60]), np.array([0, 40, 95])
    fresh = matrix(3, 5, seed=8)
    for column, row, new in zip(columns, rows, fresh, strict=True):
        after[column, row : row + 5] = new
    old = np.stack([before[c, r : r + 5] for c, r in zip(columns, rows, strict=True)])
    differences = fresh.view(np.int8).astype(np.int16) - old.view(np.int8)
    simple.patch_hint(SEED, 64, hint, columns, rows, differences)
    assert (hint == hint_of(after)).all()


def test_rows_of_the_public_matrix_do_not_depend_on_how_they_are_made() -> None:
    whole = simple.public_matrix(SEED, 48)
    assert (simple.public_matrix(SEED, 48, 100, 164) == whole[100:164]).all()
    assert (simple.public_matrix(b"another 16 bytes", 48) != whole).mean() > 0.99
    with pytest.raises(InvalidInput, match="16 bytes, got 3"):
        simple.public_matrix(b"abc", 48)


def test_a_query_is_uniform_and_does_not_depend_on_the_column() -> None:
    # The column is added last, to words that do not depend on it: with the same randomness one word differs.
    _, vectors = simple.encrypt_zeros(SEED, 64, 2, rng())
    one, two = (simple.choose(vectors, np.array([c, c])) for c in (5, 50))
    assert ((one != two).sum(axis=1) == 2).all()
    _, many = simple.encrypt_zeros(SEED, 64, 500, rng(1))
    for chosen in (many, simple.choose(many, np.full(500, 7))):
        shares = np.bincount((chosen[:, 7] >> 28).astype(int), minlength=16) / 500
        assert np.abs(shares - 1 / 16).max() < 5 * math.sqrt(1 / 16 / 500)


@pytest.mark.parametrize("size", [0, 1, 7, 8, 16, 63, 64, 65, 200])
def test_seal_is_siphash_and_chacha20_of_other_implementations(size: int) -> None:
    key = words(4, 1, 12)
    record = matrix(1, size)
    sealed = np.empty((1, 8 + size), dtype=np.uint8)
    kernels.seal(key, record, sealed, 0, 1)
    tag = crypto_shorthash_siphash24(record.tobytes(), key[0, :4].tobytes())
    assert sealed[0, :8].tobytes() == tag
    stream = Cipher(algorithms.ChaCha20(key[0, 4:].tobytes(), bytes(8) + tag), mode=None).encryptor()
    assert sealed[0, 8:].tobytes() == stream.update(record.tobytes())
    records, opened = np.empty((1, size), dtype=np.uint8), np.empty(1, dtype=np.bool_)
    kernels.unseal(key[0], sealed, records, opened)
    assert opened.all()
    assert (records == record).all()
