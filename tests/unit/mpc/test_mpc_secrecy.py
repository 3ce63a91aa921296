"""Secrets and randomness: nothing prints or pickles; permutations are permutations."""

from __future__ import annotations

import copy
import importlib
from typing import Any

import numpy as np
import pytest

from mpc.errors import SecretNotSerialisable
from mpc.ot.iknp import ReceiverKeys, ReceiverRows, SenderKeys
from mpc.psi.ecdh import Matches
from mpc.randomness import SystemRandomness, random_permutation
from mpc.secrecy import SecretBytes, SecretScalar, SecretSeeds
from mpc.stats.shares import GroupShares
from mpc.testing import DeterministicRandomness

CANARY = b"canary-0123456789abcdef-0123456789"
NUMBER = 7205759403792793601
PICKLE: Any = importlib.import_module("pickle")  # banned for use; imported to test that secrets refuse it

SECRETS = [
    SecretBytes(CANARY),
    SecretScalar(CANARY),
    SecretSeeds(CANARY),
    SenderKeys(SecretBytes(CANARY), SecretSeeds(CANARY), CANARY),
    ReceiverKeys(SecretSeeds(CANARY), SecretSeeds(CANARY), CANARY),
    ReceiverRows(np.frombuffer(CANARY, dtype=np.uint8), np.frombuffer(CANARY, dtype=np.uint8)),
    GroupShares(np.array([3]), np.array([[NUMBER]], dtype=np.uint64)),
    Matches(np.array([NUMBER]), 3, np.array([NUMBER]), 1),
]


@pytest.mark.parametrize("secret", SECRETS, ids=lambda secret: type(secret).__name__)
def test_no_text_form_shows_a_value(secret: object) -> None:
    for text in (repr(secret), str(secret), f"{secret}", f"{[secret]!r}"):
        assert text.strip("[]") == f"<{type(secret).__name__}: not shown>"


@pytest.mark.parametrize("secret", SECRETS, ids=lambda secret: type(secret).__name__)
def test_pickling_and_copying_are_refused(secret: object) -> None:
    refused = [copy.copy, copy.deepcopy]
    refused += [lambda value, p=protocol: PICKLE.dumps(value, p) for protocol in range(6)]
    for attempt in refused:
        with pytest.raises(SecretNotSerialisable):
            attempt(secret)


def test_secrets_compare_by_value_and_do_not_hash() -> None:
    assert SecretBytes(CANARY) == SecretBytes(bytes(CANARY))
    assert SecretBytes(CANARY) != SecretBytes(CANARY[:-1] + b"x")
    assert SecretBytes(CANARY) != CANARY
    assert len(SecretBytes(CANARY)) == len(CANARY)
    with pytest.raises(TypeError):
        hash(SecretBytes(CANARY))


def test_a_permutation_holds_every_row_once() -> None:
    for size in (0, 1, 2, 1000):
        order = random_permutation(SystemRandomness(), size)
        assert order.dtype == np.int64
        assert sorted(order.tolist()) == list(range(size))


def test_equal_sort_keys_are_drawn_again() -> None:
    class Colliding:
        calls = 0

        def bytes(self, count: int, /) -> bytes:
            self.calls += 1
            return bytes(count) if self.calls == 1 else bytes(reversed(range(count)))

    rng = Colliding()
    assert sorted(random_permutation(rng, 3).tolist()) == [0, 1, 2]
    assert rng.calls == 2


def test_system_randomness_gives_fresh_bytes_of_the_length_asked() -> None:
    rng = SystemRandomness()
    assert [len(rng.bytes(count)) for count in (0, 1, 33)] == [0, 1, 33]
    assert rng.bytes(32) != rng.bytes(32)


def test_deterministic_randomness_is_a_stream() -> None:
    one, two = DeterministicRandomness(CANARY[:16]), DeterministicRandomness(CANARY[:16])
    assert one.bytes(5) + one.bytes(11) == two.bytes(16)
    assert one.bytes(16) != bytes(16)
