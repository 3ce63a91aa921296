"""Shamir's secret sharing of 32-byte secrets over the prime field of 2^256 + 297."""

from __future__ import annotations

import functools
import math
from collections.abc import Mapping
from typing import Final

from mpc.errors import InvalidInput, MalformedMessage
from mpc.randomness import Randomness
from mpc.secrecy import SecretBytes

PRIME: Final = 2**256 + 297
SECRET_BYTES: Final = 32
SHARE_BYTES: Final = 33


def share(secret: SecretBytes, threshold: int, count: int, rng: Randomness) -> list[bytes]:
    """Split a 32-byte secret for holders 1 to ``count``; any ``threshold`` of them can put it together.

    Raises:
        InvalidInput: the secret has another length, or not ``1 <= threshold <= count``.

    Security: perfect; fewer than ``threshold`` shares are independent of the secret.
    Leaks: nothing; local.
    Cost: local; ``threshold * count`` multiplications.
    Source: Shamir 1979 (How to Share a Secret).
    """
    if len(secret) != SECRET_BYTES or not 1 <= threshold <= count:
        raise InvalidInput(f"expected {SECRET_BYTES} bytes and 1 <= threshold <= {count}, got {threshold}")
    polynomial = [int.from_bytes(secret.reveal(), "big"), *(_element(rng) for _ in range(threshold - 1))]
    shares = []
    for holder in range(1, count + 1):
        value = 0
        for coefficient in reversed(polynomial):
            value = (value * holder + coefficient) % PRIME
        shares.append(value.to_bytes(SHARE_BYTES, "big"))
    return shares


def reconstruct(shares: Mapping[int, bytes]) -> SecretBytes:
    """Put a secret together from the shares of as many holders as its threshold.

    Raises:
        MalformedMessage: a share is no field element, or together they give no 32-byte secret.

    Security: none needed; whoever holds the shares is meant to learn the secret. Shares that were changed
        give another secret: compare with a commitment.
    Leaks: the secret, to the caller.
    Cost: local; one multiplication a share, after the weights of this set of holders.
    Source: Shamir 1979; Lagrange interpolation at 0.
    """
    total = 0
    for weight, raw in zip(_weights(tuple(shares)), shares.values(), strict=True):
        value = int.from_bytes(raw, "big")
        if len(raw) != SHARE_BYTES or value >= PRIME:
            raise MalformedMessage("a share is no element of the field")
        total += weight * value
    secret = total % PRIME
    if secret >> 8 * SECRET_BYTES:
        raise MalformedMessage("the shares do not belong together")
    return SecretBytes(secret.to_bytes(SECRET_BYTES, "big"))


@functools.lru_cache(maxsize=16)
def _weights(holders: tuple[int, ...]) -> tuple[int, ...]:
    """The Lagrange coefficients at 0 for these holders."""
    weights = []
    for holder in holders:
        others = [other for other in holders if other != holder]
        above, below = math.prod(others), math.prod(other - holder for other in others)
        weights.append(above * pow(below, -1, PRIME) % PRIME)
    return tuple(weights)


def _element(rng: Randomness) -> int:
    while True:
        value = int.from_bytes(rng.bytes(SHARE_BYTES), "big") >> 7
        if value < PRIME:
            return value
