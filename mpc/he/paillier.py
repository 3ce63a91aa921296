"""Paillier's cryptosystem in the variant of Damgård, Jurik and Nielsen, with many integers in one ciphertext.

    n = pq, p = q = 3 mod 4;  h = -x^2 mod n;  h_s = h^n mod n^2
    Enc(m) = (1 + mn) h_s^r mod n^2          r of 512 bits
    Dec(c) = L(c^lambda mod n^2) / lambda mod n,  L(u) = (u - 1) / n,  through the Chinese remainder theorem

Encryption raises one fixed base to a short exponent, so a table of its powers makes it a product of 64
numbers. Ciphertexts are Paillier's own: any implementation of the scheme decrypts them. A plaintext of 3,072
bits holds `SLOTS` signed 64-bit integers, each in a slot with room for the sum of `MAX_TERMS` of them.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Final

import gmpy2
import numpy as np
from gmpy2 import mpz
from numpy.typing import NDArray

from mpc.errors import InvalidInput, MalformedMessage
from mpc.randomness import Randomness
from mpc.secrecy import Unprintable

__all__ = [
    "CIPHERTEXT_BYTES",
    "KEY_BITS",
    "MAX_TERMS",
    "SLOTS",
    "Encryptor",
    "PublicKey",
    "SecretKey",
    "add",
    "ciphertexts_for",
    "generate",
]

KEY_BITS: Final = 3072
"""128 bits of security: NIST SP 800-57 part 1, table 2."""
EXPONENT_BITS: Final = 512
"""Of the encryption's randomness: four times the security level, against generic discrete logarithms."""
_MODULUS_BYTES: Final = KEY_BITS // 8
CIPHERTEXT_BYTES: Final = 2 * _MODULUS_BYTES
MAX_TERMS: Final = 128
_SLOT_BYTES: Final = 9
SLOTS: Final = (KEY_BITS - 1) // (8 * _SLOT_BYTES)
_OFFSET: Final = 2**63
_PRIME_ROUNDS: Final = 40
_TABLE_FROM: Final = 64
"""Ciphertexts from which on the table of powers, worth some 80 encryptions, pays."""
_WINDOW_BITS: Final = 8


@dataclass(frozen=True)
class PublicKey:
    """Modulus ``n`` and the base ``h_s`` of the randomness, an n-th residue modulo n^2."""

    n: Any
    h_s: Any

    def __post_init__(self) -> None:
        if self.n.bit_length() != KEY_BITS or self.n % 2 == 0:
            raise MalformedMessage(f"key: expected an odd modulus of {KEY_BITS} bits")
        if not 1 < self.h_s < self.n**2 or gmpy2.gcd(self.h_s, self.n) != 1:
            raise MalformedMessage("key: expected a unit modulo n^2 as base")

    def encode(self) -> bytes:
        """Encode for the wire: n in 384 bytes, h_s in 768, big-endian."""
        return _to_bytes(self.n, _MODULUS_BYTES) + _to_bytes(self.h_s, CIPHERTEXT_BYTES)

    @classmethod
    def decode(cls, payload: bytes) -> PublicKey:
        """Decode; refuses another length, an even or shorter modulus and a base that is no unit."""
        if len(payload) != _MODULUS_BYTES + CIPHERTEXT_BYTES:
            raise MalformedMessage(
                f"key: expected {_MODULUS_BYTES + CIPHERTEXT_BYTES} bytes, got {len(payload)}"
            )
        return cls(_from_bytes(payload[:_MODULUS_BYTES]), _from_bytes(payload[_MODULUS_BYTES:]))

    def check(self, ciphertexts: Sequence[Any]) -> None:
        """Check that each is a unit modulo n^2, as every ciphertext is.

        Raises:
            MalformedMessage: some are not.
        """
        square = self.n**2
        misfits = sum(not 0 < one < square or gmpy2.gcd(one, self.n) != 1 for one in ciphertexts)
        if misfits:
            raise MalformedMessage(f"{misfits} of {len(ciphertexts)} ciphertexts are no units modulo n^2")


class SecretKey(Unprintable):
    """The factors of the modulus, with what decryption needs of them."""

    __slots__ = ("_hp", "_hq", "_p", "_p_inverse", "_q", "public")

    def __init__(self, p: Any, q: Any, public: PublicKey) -> None:  # noqa: ANN401  # gmpy2 has no types
        self._p, self._q, self.public = p, q, public
        self._hp, self._hq = self._scale(p), self._scale(q)
        self._p_inverse = gmpy2.invert(p, q)

    def _scale(self, prime: Any) -> Any:  # noqa: ANN401
        power = gmpy2.powmod(1 + self.public.n, prime - 1, prime**2)
        return gmpy2.invert((power - 1) // prime, prime)

    def encode(self) -> bytes:
        """Encode, for sealing in the key holder's own store."""
        half = _MODULUS_BYTES // 2
        return self.public.encode() + _to_bytes(self._p, half) + _to_bytes(self._q, half)

    @classmethod
    def decode(cls, raw: bytes) -> SecretKey:
        """Decode what ``encode`` made.

        Raises:
            MalformedMessage: the bytes are of another form or the factors are not the modulus's.
        """
        half = _MODULUS_BYTES // 2
        public = PublicKey.decode(raw[: -2 * half])
        p, q = _from_bytes(raw[-2 * half : -half]), _from_bytes(raw[-half:])
        if p * q != public.n:
            raise MalformedMessage("secret key: the factors do not make up the modulus")
        return cls(p, q, public)

    def decrypt(self, ciphertexts: Sequence[Any], count: int, terms: int) -> list[int]:
        """Decrypt sums of ``terms`` encryptions of vectors of ``count`` integers.

        Returns:
            The sums, each between -terms * 2^63 and terms * (2^63 - 1).

        Raises:
            MalformedMessage: another number of ciphertexts, no ciphertexts, or slots beyond such sums.

        Security: the key holder alone can. Do not show it anything else of what was decrypted.
        Leaks: nothing; local. Cost: 11 ms a ciphertext on one core.
        Source: Paillier 1999, section 7 (Chinese remaindering).
        """
        if len(ciphertexts) != ciphertexts_for(count):
            raise MalformedMessage(f"expected {ciphertexts_for(count)} ciphertexts, got {len(ciphertexts)}")
        self.public.check(ciphertexts)
        found: list[int] = []
        for number, ciphertext in enumerate(ciphertexts):
            width = min(SLOTS, count - number * SLOTS)
            plain = self._plain(ciphertext)
            if plain.bit_length() > 8 * _SLOT_BYTES * width:
                raise MalformedMessage(f"ciphertext {number} holds more than {width} slots")
            raw = int(plain).to_bytes(_SLOT_BYTES * width, "little")
            slots = [raw[at : at + _SLOT_BYTES] for at in range(0, len(raw), _SLOT_BYTES)]
            found += [int.from_bytes(slot, "little") - terms * _OFFSET for slot in slots]
        if any(not -terms * _OFFSET <= one <= terms * (_OFFSET - 1) for one in found):
            raise MalformedMessage(f"a slot holds more than a sum of {terms} integers of 64 bits")
        return found

    def _plain(self, ciphertext: Any) -> Any:  # noqa: ANN401
        p, q = self._p, self._q
        mp = (gmpy2.powmod(ciphertext, p - 1, p**2) - 1) // p * self._hp % p
        mq = (gmpy2.powmod(ciphertext, q - 1, q**2) - 1) // q * self._hq % q
        return mp + p * ((mq - mp) * self._p_inverse % q)


class Encryptor:
    """Encrypts under one public key, with a table of powers where many ciphertexts are to be made."""

    def __init__(self, public: PublicKey, rng: Randomness, *, expected: int = 0) -> None:
        self.public, self._rng = public, rng
        self._square = public.n**2
        self._table = self._powers() if expected >= _TABLE_FROM else None

    def encrypt(self, values: NDArray[np.int64]) -> list[Any]:
        """Encrypt a vector of signed 64-bit integers, `SLOTS` in a ciphertext.

        Args:
            values: int64[count].

        Returns:
            ``ciphertexts_for(count)`` ciphertexts.

        Security: indistinguishable under chosen plaintexts by the decisional composite residuosity
        assumption and that h_s^r with a short r looks like any n-th residue's power.
        Leaks: the count. Cost: 1.2 ms a ciphertext with the table, 7.5 ms without, on one core.
        Source: Damgård, Jurik, Nielsen 2010; short exponents: Koshiba, Kurosawa 2004; fixed-base table:
        Brickell, Gordon, McCurley, Wilson 1992.
        """
        n, square = self.public.n, self._square
        return [(1 + plain * n) % square * self._random_power() % square for plain in _packed(values)]

    def _random_power(self) -> Any:  # noqa: ANN401
        exponent = self._rng.bytes(EXPONENT_BITS // 8)
        if self._table is None:
            return gmpy2.powmod(self.public.h_s, mpz(int.from_bytes(exponent, "little")), self._square)
        power = mpz(1)
        for row, digit in zip(self._table, exponent, strict=True):
            power = power * row[digit] % self._square
        return power

    def _powers(self) -> list[list[Any]]:
        table, base = [], self.public.h_s
        for _ in range(EXPONENT_BITS // _WINDOW_BITS):
            row = [mpz(1)]
            for _ in range(2**_WINDOW_BITS - 1):
                row.append(row[-1] * base % self._square)
            table.append(row)
            base = row[-1] * base % self._square
        return table


def generate(rng: Randomness) -> SecretKey:
    """Generate a key of `KEY_BITS` bits.

    Security: as `Encryptor.encrypt`; factoring n breaks it. Primes are wrong with probability below 4^-40.
    Leaks: nothing; local. Cost: about a second on one core; it varies with the search for primes.
    Source: Damgård, Jurik, Nielsen 2010, section 5.1.
    """
    while True:
        p, q = _prime(rng), _prime(rng)
        n = p * q
        if p != q and n.bit_length() == KEY_BITS and gmpy2.gcd(p - 1, q - 1) == 2:
            break
    x = mpz(int.from_bytes(rng.bytes(_MODULUS_BYTES + 16), "little")) % n
    h = n - x**2 % n
    return SecretKey(p, q, PublicKey(n, gmpy2.powmod(h, n, n**2)))


def add(public: PublicKey, vectors: Sequence[Sequence[Any]]) -> list[Any]:
    """Add encrypted vectors of one length, ciphertext by ciphertext.

    Raises:
        InvalidInput: more than `MAX_TERMS` vectors, or of different lengths.

    Security: nothing is decrypted; the result is as fresh as the freshest of its terms.
    Leaks: nothing; local. Cost: 15 microseconds a ciphertext. Source: Paillier 1999, section 8.
    """
    if not 0 < len(vectors) <= MAX_TERMS:
        raise InvalidInput(f"expected 1 to {MAX_TERMS} vectors to add, got {len(vectors)}")
    if len({len(vector) for vector in vectors}) != 1:
        raise InvalidInput("expected encrypted vectors of one length")
    square = public.n**2
    total = list(vectors[0])
    for vector in vectors[1:]:
        total = [one * other % square for one, other in zip(total, vector, strict=True)]
    return total


def ciphertexts_for(count: int) -> int:
    """How many ciphertexts hold ``count`` integers."""
    return -(-count // SLOTS)


def encode_ciphertexts(ciphertexts: Sequence[Any]) -> bytes:
    """Encode for the wire: 768 bytes each, big-endian."""
    return b"".join(_to_bytes(one, CIPHERTEXT_BYTES) for one in ciphertexts)


def decode_ciphertexts(public: PublicKey, payload: bytes, count: int) -> list[Any]:
    """Decode the ciphertexts of ``count`` integers; refuses another length and values that are no units."""
    expected = ciphertexts_for(count) * CIPHERTEXT_BYTES
    if len(payload) != expected:
        raise MalformedMessage(f"expected {expected} bytes of ciphertexts, got {len(payload)}")
    starts = range(0, len(payload), CIPHERTEXT_BYTES)
    ciphertexts = [_from_bytes(payload[at : at + CIPHERTEXT_BYTES]) for at in starts]
    public.check(ciphertexts)
    return ciphertexts


def _packed(values: NDArray[np.int64]) -> Iterator[Any]:
    shifted = (values.astype(np.int64).view(np.uint64) ^ np.uint64(_OFFSET)).astype("<u8")
    slots = np.zeros((len(values), _SLOT_BYTES), dtype=np.uint8)
    slots[:, :8] = shifted.view(np.uint8).reshape(-1, 8)
    for at in range(0, len(values), SLOTS):
        yield mpz(int.from_bytes(slots[at : at + SLOTS].tobytes(), "little"))


def _prime(rng: Randomness) -> Any:  # noqa: ANN401
    size = _MODULUS_BYTES // 2
    while True:
        # The two highest bits make the product of two of them as long as it has to be.
        candidate = mpz(int.from_bytes(rng.bytes(size), "little") | (3 << (8 * size - 2)) | 3)
        if math.gcd(int(candidate), 3 * 5 * 7 * 11 * 13) == 1 and gmpy2.is_prime(candidate, _PRIME_ROUNDS):
            return candidate


def _to_bytes(value: Any, size: int) -> bytes:  # noqa: ANN401
    return int(value).to_bytes(size, "big")


def _from_bytes(raw: bytes) -> Any:  # noqa: ANN401
    return mpz(int.from_bytes(raw, "big"))
