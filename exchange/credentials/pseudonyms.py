"""Pseudonymous DIDs of a data subject: one seed, and for every counterpart as many names as wanted (1+N).

HKDF-SHA256 (RFC 5869) takes the wallet's 32-byte seed, the salt ``parley-pseudonym/v1`` and, as ``info``,
the canonical JSON of counterpart and number, to the seed of an Ed25519 key. Without the wallet's seed, two
of these keys are as unrelated as any two: nobody, nor several counterparts together, can tell that one
person is behind them. The root is derived in the same way under a name that no counterpart has; it is shown
to nobody but whom its person chooses.
"""

from __future__ import annotations

from typing import Final

from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from ledger import canonical
from ledger.keys import SEED_SIZE, SigningKey

__all__ = ["pseudonym", "root"]

_SALT: Final = b"parley-pseudonym/v1"


def pseudonym(seed: bytes, counterpart: str, number: int = 0) -> SigningKey:
    """Derive a key for one counterpart.

    Args:
        seed: the wallet's 32 secret bytes.
        counterpart: the DID of whom it is shown to.
        number: from 0; another one is unlinkable to the same counterpart too.
    """
    return _derived(seed, {"counterpart": counterpart, "number": number})


def root(seed: bytes) -> SigningKey:
    """Derive the root identity's key."""
    return _derived(seed, {"root": True})


def _derived(seed: bytes, name: dict[str, object]) -> SigningKey:
    if len(seed) != SEED_SIZE:
        raise ValueError(f"expected a seed of {SEED_SIZE} bytes, got {len(seed)}")
    kdf = HKDF(algorithm=SHA256(), length=SEED_SIZE, salt=_SALT, info=canonical.encode(name))
    return SigningKey.from_seed(kdf.derive(seed))
