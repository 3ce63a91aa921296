"""Masks that cancel in a sum: keys agreed on by X25519 and HKDF, and streams of AES-256 in counter mode."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey, X25519PublicKey
from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF
from numpy.typing import NDArray

from mpc.errors import MalformedMessage
from mpc.randomness import Randomness
from mpc.secrecy import SecretBytes, Unprintable

Words = NDArray[np.uint64]

KEY_BYTES: Final = 32


@dataclass(frozen=True, repr=False, eq=False)
class KeyPair(Unprintable):
    """An X25519 key of one run."""

    secret: SecretBytes
    public: bytes
    handle: X25519PrivateKey

    @classmethod
    def draw(cls, rng: Randomness) -> KeyPair:
        """Draw a fresh key."""
        return cls.of(SecretBytes(rng.bytes(KEY_BYTES)))

    @classmethod
    def of(cls, secret: SecretBytes) -> KeyPair:
        """The pair that belongs to a secret key."""
        handle = X25519PrivateKey.from_private_bytes(secret.reveal())
        return cls(secret, handle.public_key().public_bytes_raw(), handle)


def shared_key(own: KeyPair, peer: bytes, tag: bytes) -> SecretBytes:
    """Derive the 32-byte key that two holders of X25519 keys share for one purpose.

    Args:
        own: own key.
        peer: the other's public key, as it came.
        tag: of `mpc.domain`; binds session and usage.

    Raises:
        MalformedMessage: the public key has another length or lies in a subgroup of small order.

    Security: computational Diffie-Hellman on Curve25519 with HKDF as a random oracle; both public keys enter.
    Leaks: nothing; local.
    Cost: local; one scalar multiplication, 50 microseconds.
    Source: RFC 7748, section 6.1; RFC 5869.
    """
    try:
        point = own.handle.exchange(X25519PublicKey.from_public_bytes(peer))
    except ValueError:
        raise MalformedMessage("a public key is no point of large order on Curve25519") from None
    both = b"".join(sorted((own.public, peer)))
    return SecretBytes(HKDF(SHA256(), KEY_BYTES, salt=tag, info=both).derive(point))


def stream(seed: SecretBytes, count: int, number: int = 0) -> Words:
    """Expand a 32-byte seed to ``count`` uniform words; streams of different ``number`` are independent.

    Security: AES-256 as a pseudo-random permutation; fewer than 2**64 blocks a number.
    Leaks: nothing; local.
    Cost: local; 0.5 nanoseconds a byte and less with AES instructions.
    Source: NIST SP 800-38A, counter mode.
    """
    counter = number.to_bytes(8, "big") + bytes(8)
    encryptor = Cipher(algorithms.AES(seed.reveal()), modes.CTR(counter)).encryptor()
    return np.frombuffer(encryptor.update(bytes(8 * count)), dtype="<u8")
