"""Sums over secret subsets under BFV: exact, of the stated size, hidden otherwise, garbage refused."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from mpc.errors import InvalidInput, MalformedMessage
from mpc.he import bfv
from mpc.he.subset_sums import FLOOD_BITS, MAX_ROWS, MAX_VECTORS, Blocks, SubsetHolder, decrypt, encrypt
from mpc.testing import DeterministicRandomness

pytest.importorskip("tenseal")

RNG = np.random.default_rng(5)
ROWS = 1500
COUNTS = (7, 3, 0, 12)
CODES = np.stack([RNG.integers(0, count + 1, ROWS) for count in COUNTS]).astype(np.uint8)
SUBSETS = sum(COUNTS)
BLOCKS = Blocks(ROWS, 1, 512)


@pytest.fixture(scope="module")
def key() -> bfv.SecretKey:
    return bfv.SecretKey()


@pytest.fixture(scope="module")
def holder(key: bfv.SecretKey) -> SubsetHolder:
    return SubsetHolder(key.public(), CODES, COUNTS, DeterministicRandomness(bytes(16)))


def encrypted(key: bfv.SecretKey, values: Any, blocks: Blocks = BLOCKS) -> list[bytes]:
    rows = np.atleast_2d(values)
    return [encrypt(key, blocks, rows[:, blocks.rows_of(number)]) for number in range(blocks.count)]


def released(holder: SubsetHolder, ciphertexts: list[bytes], blocks: Blocks = BLOCKS) -> bytes:
    total = holder.start(blocks)
    for first in range(0, len(ciphertexts), 2):
        holder.add(total, blocks, first, ciphertexts[first : first + 2])
    return holder.release(total, blocks)


def plain_sums(values: Any) -> Any:
    return np.concatenate(
        [
            [int(values[codes == code].sum()) % 2**44 for code in range(count)]
            for codes, count in zip(CODES, COUNTS, strict=True)
        ]
    )


@pytest.mark.parametrize("largest", [2, 2**33, 2**44 - 1])
def test_sums_over_subsets_are_exact_modulo_the_plaintext_modulus(
    key: bfv.SecretKey, holder: SubsetHolder, largest: int
) -> None:
    values = RNG.integers(0, largest, ROWS, endpoint=True)
    ciphertexts = encrypted(key, values)
    assert {len(one) for one in ciphertexts} == {bfv.CIPHERTEXT_BYTES}
    answer = released(holder, ciphertexts)
    assert len(answer) == BLOCKS.products(SUBSETS) * BLOCKS.product_bytes
    np.testing.assert_array_equal(decrypt(key, BLOCKS, answer, SUBSETS), [plain_sums(values)])


@pytest.mark.parametrize(("vectors", "size"), [(2, 256), (3, 512), (8, 128), (5, 1024)])
def test_vectors_that_lie_side_by_side_do_not_mix(
    key: bfv.SecretKey, holder: SubsetHolder, vectors: int, size: int
) -> None:
    blocks = Blocks(ROWS, 1 << (vectors - 1).bit_length(), size)
    values = RNG.integers(0, 2**44, (vectors, ROWS))
    answer = released(holder, encrypted(key, values, blocks), blocks)
    assert len(answer) == blocks.products(SUBSETS) * blocks.product_bytes
    np.testing.assert_array_equal(
        decrypt(key, blocks, answer, SUBSETS)[:vectors], [plain_sums(one) for one in values]
    )


def test_empty_subsets_sum_to_zero(key: bfv.SecretKey) -> None:
    nobody = np.full((1, ROWS), 9, dtype=np.uint8)
    holder = SubsetHolder(key.public(), nobody, [5], DeterministicRandomness(bytes(16)))
    answer = released(holder, encrypted(key, RNG.integers(0, 99, ROWS)))
    assert decrypt(key, BLOCKS, answer, 5).tolist() == [[0] * 5]


def test_what_is_released_twice_has_nothing_in_common(key: bfv.SecretKey, holder: SubsetHolder) -> None:
    ciphertexts = encrypted(key, RNG.integers(0, 99, ROWS))
    first, second = (np.frombuffer(released(holder, ciphertexts), dtype="<u8") for _ in range(2))
    assert len(np.intersect1d(first, second)) == 0


def test_noise_fills_its_range_and_the_modulus_has_room_for_it(holder: SubsetHolder) -> None:
    drawn = np.concatenate([holder._noise(16)[0] for _ in range(40)])
    assert drawn.min() < bfv.primes()[0] // 20
    assert drawn.max() > bfv.primes()[0] // 20 * 19
    most = MAX_ROWS * bfv.DEGREE // 512 * (bfv.NOISE_BOUND + 1) + bfv.NOISE_BOUND * (2 * bfv.DEGREE + 1)
    assert most < 2 ** (FLOOD_BITS - 46)
    first, second = bfv.primes()
    assert 2 ** (FLOOD_BITS + 1) < first * second // 2 ** (bfv.PLAIN_BITS + 1)


def test_blocks_take_the_least_time_and_refuse_too_many_rows() -> None:
    assert Blocks.of(30_000, 310, 1) == Blocks(30_000, 1, 512)
    assert Blocks.of(3_000, 310, 7) == Blocks(3_000, 8, 128)
    assert Blocks.of(30_000, 310, 7).vectors == 1
    assert Blocks.of(30_000, 310, 7).turns(7) == 7
    assert Blocks.of(100, 3, 1) == Blocks(100, 1, 512)
    assert Blocks.of(MAX_ROWS, 1, 1).size == bfv.DEGREE
    assert Blocks.of(MAX_ROWS // 2, 1, MAX_VECTORS) == Blocks(MAX_ROWS // 2, MAX_VECTORS, 128)
    for rows in (0, MAX_ROWS + 1):
        with pytest.raises(InvalidInput, match=f"rows: expected 1 to {MAX_ROWS}"):
            Blocks(rows, 1, 512)
    for vectors, size in ((3, 512), (1, 256), (2, 8192), (1, 0), (128, 64)):
        with pytest.raises(InvalidInput, match="layout"):
            Blocks(5, vectors, size)
    assert Blocks.of(5, 1, 3 * MAX_VECTORS).turns(3 * MAX_VECTORS) == 3


def test_a_number_beyond_the_range_is_refused_before_it_is_encrypted(key: bfv.SecretKey) -> None:
    for bad in (2**44, -1):
        with pytest.raises(InvalidInput, match="coefficients below"):
            encrypt(key, BLOCKS, np.full((1, 9), bad))


def _flipped(raw: bytes, at: int) -> bytes:
    return raw[:at] + bytes([raw[at] ^ 0xFF]) + raw[at + 1 :]


@pytest.mark.parametrize("kind", ["cut", "longer", "parameters", "form", "size", "degree", "modulus"])
def test_what_is_no_fresh_ciphertext_is_refused(key: bfv.SecretKey, holder: SubsetHolder, kind: str) -> None:
    whole = encrypted(key, np.ones(ROWS, dtype=np.int64))[0]
    damaged = {
        "cut": whole[:-1],
        "longer": whole + b"\0",
        "parameters": _flipped(whole, 3),
        "form": whole[:32] + b"\1" + whole[33:],
        "size": _flipped(whole, 33),
        "degree": _flipped(whole, 42),
        "modulus": _flipped(whole, 49),
    }[kind]
    with pytest.raises(MalformedMessage, match="ciphertext"):
        holder.add(holder.start(BLOCKS), BLOCKS, 0, [damaged])


def test_keys_and_answers_of_another_form_are_refused(key: bfv.SecretKey, holder: SubsetHolder) -> None:
    public = key.public()
    for bad in (public[:-1], b"", _flipped(public, 2), _flipped(public, len(public) - 1)):
        with pytest.raises(MalformedMessage, match="key"):
            bfv.PublicKey(bad)
    answer = released(holder, encrypted(key, np.ones(ROWS, dtype=np.int64)))
    for bad in (answer[:-8], answer + bytes(8), b"\xff" * len(answer)):
        with pytest.raises(MalformedMessage):
            decrypt(key, BLOCKS, bad, SUBSETS)


def test_secret_keys_do_not_print_and_codes_have_to_fit(key: bfv.SecretKey) -> None:
    assert repr(key) == "<SecretKey: not shown>"
    with pytest.raises(InvalidInput, match="codes: expected 2 features"):
        SubsetHolder(key.public(), CODES, [1, 2], DeterministicRandomness(bytes(16)))
