"""ML-DSA-44 (FIPS 204), for cosignatures that a quantum computer cannot forge.

Through ``cryptography``, which loads only when such a key is used. Signing is randomised, so two signatures
of one message differ.
"""

from __future__ import annotations

import secrets
from dataclasses import dataclass, field

from ledger.errors import InvalidSignature, MalformedKey

__all__ = [
    "MLDSA44_PUBLIC_SIZE",
    "MLDSA44_SEED_SIZE",
    "MLDSA44_SIGNATURE_SIZE",
    "MlDsaKey",
    "verify_mldsa44",
]

MLDSA44_SEED_SIZE = 32
MLDSA44_PUBLIC_SIZE = 1312
MLDSA44_SIGNATURE_SIZE = 2420


@dataclass(frozen=True)
class MlDsaKey:
    """An ML-DSA-44 key pair. Its ``repr`` shows the public half only."""

    seed: bytes = field(repr=False)
    public: bytes

    @classmethod
    def generate(cls) -> MlDsaKey:
        """Draw a new key."""
        return cls.from_seed(secrets.token_bytes(MLDSA44_SEED_SIZE))

    @classmethod
    def from_seed(cls, seed: bytes) -> MlDsaKey:
        """Derive the pair from its 32-byte seed (FIPS 204, algorithm 6)."""
        from cryptography.hazmat.primitives.asymmetric import mldsa

        if len(seed) != MLDSA44_SEED_SIZE:
            raise MalformedKey(f"expected a seed of {MLDSA44_SEED_SIZE} bytes, got {len(seed)}")
        return cls(seed, mldsa.MLDSA44PrivateKey.from_seed_bytes(seed).public_key().public_bytes_raw())

    def sign(self, message: bytes) -> bytes:
        """Sign ``message`` with an empty context; 2,420 bytes."""
        from cryptography.hazmat.primitives.asymmetric import mldsa

        return mldsa.MLDSA44PrivateKey.from_seed_bytes(self.seed).sign(message)

    def __reduce__(self) -> tuple[object, ...]:
        raise TypeError("signing keys are not serialised; store the seed encrypted")


def verify_mldsa44(public: bytes, message: bytes, signature: bytes) -> None:
    """Check an ML-DSA-44 signature with an empty context.

    Raises:
        InvalidSignature: wrong lengths, or the signature does not verify.
    """
    from cryptography import exceptions
    from cryptography.hazmat.primitives.asymmetric import mldsa

    if len(public) != MLDSA44_PUBLIC_SIZE or len(signature) != MLDSA44_SIGNATURE_SIZE:
        raise InvalidSignature(
            f"expected a key of {MLDSA44_PUBLIC_SIZE} bytes and a signature of {MLDSA44_SIGNATURE_SIZE}"
        )
    try:
        mldsa.MLDSA44PublicKey.from_public_bytes(public).verify(signature, message)
    except exceptions.InvalidSignature as exc:
        raise InvalidSignature("the signature does not verify under the key") from exc
