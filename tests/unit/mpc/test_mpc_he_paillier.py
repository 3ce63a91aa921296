"""Paillier: what is added under encryption comes out exactly, as another implementation has it."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mpc.errors import InvalidInput, MalformedMessage, SecretNotSerialisable
from mpc.he import paillier
from mpc.he.paillier import CIPHERTEXT_BYTES, MAX_TERMS, SLOTS, Encryptor, PublicKey, SecretKey
from mpc.randomness import SystemRandomness
from mpc.testing import DeterministicRandomness

INT64 = st.integers(-(2**63), 2**63 - 1)
RNG = SystemRandomness()


@pytest.fixture(scope="module")
def key() -> SecretKey:
    return paillier.generate(DeterministicRandomness(bytes(16)))


@settings(max_examples=8)
@given(
    vectors=st.integers(1, 60).flatmap(
        lambda n: st.lists(st.lists(INT64, min_size=n, max_size=n), min_size=1, max_size=4)
    )
)
def test_sums_are_exact(key: SecretKey, vectors: list[list[int]]) -> None:
    encryptor = Encryptor(key.public, RNG)
    encrypted = [encryptor.encrypt(np.array(vector, dtype=np.int64)) for vector in vectors]
    total = paillier.add(key.public, encrypted)
    found = key.decrypt(total, len(vectors[0]), len(vectors))
    assert found == [sum(column) for column in zip(*vectors, strict=True)]


def test_the_largest_number_of_terms_fits_its_slot(key: SecretKey) -> None:
    extremes = np.array([-(2**63), 2**63 - 1] * (SLOTS // 2 + 1), dtype=np.int64)
    one = Encryptor(key.public, RNG).encrypt(extremes)
    found = key.decrypt(paillier.add(key.public, [one] * MAX_TERMS), len(extremes), MAX_TERMS)
    assert found == [MAX_TERMS * int(value) for value in extremes]


def test_the_table_and_the_power_are_the_same_function(key: SecretKey) -> None:
    values = np.arange(5, dtype=np.int64)
    seeds = [DeterministicRandomness(b"0123456789abcdef") for _ in range(2)]
    plain = Encryptor(key.public, seeds[0]).encrypt(values)
    assert Encryptor(key.public, seeds[1], expected=64).encrypt(values) == plain


def test_another_implementation_decrypts_the_same(key: SecretKey) -> None:
    phe = pytest.importorskip("phe", reason="python-paillier is an extra")
    (ours,) = Encryptor(key.public, RNG).encrypt(np.array([7, -9], dtype=np.int64))
    p, q = int.from_bytes(key.encode()[-384:-192], "big"), int.from_bytes(key.encode()[-192:], "big")
    public = phe.PaillierPublicKey(p * q)
    theirs = phe.PaillierPrivateKey(public, p, q)
    plain = theirs.raw_decrypt(int(ours))
    assert plain == 2**63 + 7 + (2**63 - 9 << 72)
    back = paillier.decode_ciphertexts(
        key.public, public.raw_encrypt(plain).to_bytes(CIPHERTEXT_BYTES, "big"), 2
    )
    assert key.decrypt(back, 2, 1) == [7, -9]


def test_equal_values_have_unlike_ciphertexts(key: SecretKey) -> None:
    encryptor = Encryptor(key.public, RNG)
    seen = {int(encryptor.encrypt(np.zeros(1, dtype=np.int64))[0]) for _ in range(4)}
    assert len(seen) == 4


def test_keys_survive_their_encoding_and_do_not_print(key: SecretKey) -> None:
    again = SecretKey.decode(key.encode())
    assert again.public == key.public == PublicKey.decode(key.public.encode())
    assert "not shown" in repr(key)
    with pytest.raises(SecretNotSerialisable):
        key.__reduce_ex__(2)


def test_a_key_of_other_factors_is_refused(key: SecretKey) -> None:
    raw = key.encode()
    with pytest.raises(MalformedMessage, match="factors"):
        SecretKey.decode(raw[:-1] + bytes([raw[-1] ^ 2]))


@pytest.mark.parametrize("change", ["even", "short", "base-zero", "base-large", "cut"])
def test_no_public_key_is_refused(key: SecretKey, change: str) -> None:
    n, h_s = int(key.public.n), int(key.public.h_s)
    changed: dict[str, tuple[int, int]] = {
        "even": (n - 1, h_s),
        "short": (n >> 1 | 1, h_s),
        "base-zero": (n, n),
        "base-large": (n, n * n),
        "cut": (n, h_s),
    }
    modulus, base = changed[change]
    raw = modulus.to_bytes(384, "big") + base.to_bytes(768, "big")
    with pytest.raises(MalformedMessage, match="key"):
        PublicKey.decode(raw[:-1] if change == "cut" else raw)


@pytest.mark.parametrize("bad", ["zero", "multiple", "square"])
def test_what_is_no_unit_is_no_ciphertext(key: SecretKey, bad: str) -> None:
    n = int(key.public.n)
    value = {"zero": 0, "multiple": 5 * n, "square": n * n}[bad]
    with pytest.raises(MalformedMessage, match="no units"):
        paillier.decode_ciphertexts(key.public, value.to_bytes(CIPHERTEXT_BYTES, "big"), 1)


@pytest.mark.parametrize("plain", [2**72, 2**64, 2**71])
def test_a_plaintext_beyond_its_slots_is_refused(key: SecretKey, plain: int) -> None:
    n = key.public.n
    forged: Any = (1 + plain * n) % n**2
    with pytest.raises(MalformedMessage):
        key.decrypt([forged], 1, 1)


def test_vectors_of_other_lengths_or_too_many_are_not_added(key: SecretKey) -> None:
    one = Encryptor(key.public, RNG).encrypt(np.zeros(1, dtype=np.int64))
    with pytest.raises(InvalidInput, match="one length"):
        paillier.add(key.public, [one, one * 2])
    with pytest.raises(InvalidInput, match="1 to 128 vectors"):
        paillier.add(key.public, [one] * (MAX_TERMS + 1))
