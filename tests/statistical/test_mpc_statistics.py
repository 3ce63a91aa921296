"""What must look random does: bits are balanced and independent of the secret; permutations are uniform.

Every check is a two-sided test at five standard deviations, a false-alarm rate of 5.8e-7, or at six where 24
are made at once (4.7e-8 together). The seeds are fixed, so a run that passes once always passes, and a
failure names its seed.
"""

from __future__ import annotations

from collections import Counter
from itertools import permutations

import numpy as np
import pytest

from mpc.ot import iknp
from mpc.randomness import random_permutation
from mpc.secrecy import SecretBytes, SecretSeeds
from mpc.stats import group_sums
from mpc.testing import DeterministicRandomness, run_pair

SIGMAS = 5.0
SIGMAS_OF_MANY = 6.0
SEED = bytes.fromhex("6d70632d73746174697374696373abcd")


def assert_balanced(bits: np.ndarray, what: str) -> None:
    deviation = (int(np.count_nonzero(bits)) - bits.size / 2) / (bits.size / 4) ** 0.5
    assert abs(deviation) < SIGMAS, f"{what}: {deviation:.1f} standard deviations with seed {SEED.hex()}"


def unpacked(array: np.ndarray) -> np.ndarray:
    return np.unpackbits(np.ascontiguousarray(array).view(np.uint8))


@pytest.mark.parametrize("choice", [0, 1])
def test_columns_are_balanced_whatever_is_chosen(choice: int) -> None:
    rng = DeterministicRandomness(SEED)
    keys = iknp.ReceiverKeys(SecretSeeds(rng.bytes(2048)), SecretSeeds(rng.bytes(2048)), rng.bytes(16))
    _, columns = iknp.receiver_extend(keys, 0, np.full(4096, choice, dtype=np.uint8))
    assert_balanced(unpacked(columns.bits), "column bits")


def test_columns_do_not_agree_with_the_choices() -> None:
    rng = DeterministicRandomness(SEED)
    keys = iknp.ReceiverKeys(SecretSeeds(rng.bytes(2048)), SecretSeeds(rng.bytes(2048)), rng.bytes(16))
    choices = np.unpackbits(np.frombuffer(rng.bytes(512), dtype=np.uint8))
    _, columns = iknp.receiver_extend(keys, 0, choices)
    agreement = np.unpackbits(columns.bits, axis=1) ^ choices
    assert_balanced(agreement, "agreement of all columns and choices")
    for column in agreement[:4]:
        assert_balanced(column, "agreement of one column and the choices")


def test_corrections_hide_the_correlations() -> None:
    rng = DeterministicRandomness(SEED)
    keys = iknp.SenderKeys(SecretBytes(rng.bytes(16)), SecretSeeds(rng.bytes(2048)), rng.bytes(16))
    columns = iknp.Columns(np.frombuffer(rng.bytes(128 * 64), dtype=np.uint8).reshape(128, 64))
    for value in (0, 1, 2**64 - 1):
        correlations = np.full((512, 4), value, dtype=np.uint64)
        _, corrections = iknp.sender_correlate(keys, 0, 0, columns, correlations)
        assert_balanced(unpacked(corrections.words), f"correction bits for {value}")


def test_each_share_alone_is_balanced() -> None:
    groups, measures = np.arange(600, dtype=np.int64) % 300, np.zeros((600, 4), dtype=np.int64)
    shares = run_pair(
        lambda ch: group_sums.measure_holder(ch, measures, min_cohort=1, rng=DeterministicRandomness(SEED)),
        lambda ch: group_sums.group_holder(
            ch, groups, 300, min_cohort=1, rng=DeterministicRandomness(SEED[::-1])
        ),
    )
    for share in shares:
        assert_balanced(unpacked(share.shares), "share bits")


def test_permutations_of_four_are_equally_likely() -> None:
    rng, draws = DeterministicRandomness(SEED), 24_000
    seen = Counter(tuple(random_permutation(rng, 4).tolist()) for _ in range(draws))
    expected = draws / 24
    for order in permutations(range(4)):
        deviation = (seen[order] - expected) / (expected * (1 - 1 / 24)) ** 0.5
        assert abs(deviation) < SIGMAS_OF_MANY, (
            f"{order}: {deviation:.1f} standard deviations, seed {SEED.hex()}"
        )
