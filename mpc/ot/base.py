"""Base oblivious transfers on ristretto255 after Chou and Orlandi, for semi-honest parties.

    sender, key a                                  receiver, choices c_1..c_n
      1. offer               A = aG  --->
                             <---  B_i = b_i G + c_i A     2. choice
      3. k0_i = H(i, A, B_i, a B_i)                        k_i = H(i, A, B_i, b_i A)
         k1_i = H(i, A, B_i, a (B_i - A))                  which is k0_i or k1_i, by c_i

The hash takes the index, both messages and a tag bound to the session, because one A serves all transfers:
without the index the keys of two transfers are related (Masny and Rindal 2019; McQuoid, Rosulek, Roy 2021).

Not here: security against a malicious party. The simple form is not enough for that.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from mpc import ristretto255, wire
from mpc.randomness import Randomness
from mpc.ristretto255 import ELEMENT_BYTES
from mpc.secrecy import SecretScalar, SecretSeeds

SEED_BYTES: Final = 16


@dataclass(frozen=True)
class BaseOffer:
    """Sender to receiver: the public key A."""

    point: bytes

    def encode(self) -> bytes:
        """Encode for the wire."""
        return wire.encode_array(np.frombuffer(self.point, dtype=np.uint8))

    @classmethod
    def decode(cls, payload: bytes) -> BaseOffer:
        """Decode; membership of the point is checked by `receiver_choose`, before use."""
        reader = wire.Reader("base offer", payload)
        point = reader.array("point", "u1", (ELEMENT_BYTES,))
        reader.finish()
        return cls(point.tobytes())


@dataclass(frozen=True)
class BaseChoices:
    """Receiver to sender: the points B_i, uint8[n, 32]."""

    points: bytes

    def encode(self) -> bytes:
        """Encode for the wire."""
        return wire.encode_array(np.frombuffer(self.points, dtype=np.uint8).reshape(-1, ELEMENT_BYTES))

    @classmethod
    def decode(cls, payload: bytes, count: int) -> BaseChoices:
        """Decode exactly ``count`` points; membership is checked by `sender_finish`, before use."""
        reader = wire.Reader("base choices", payload)
        points = reader.array("points", "u1", (count, ELEMENT_BYTES))
        reader.finish()
        return cls(points.tobytes())


def sender_offer(rng: Randomness) -> tuple[SecretScalar, BaseOffer]:
    """Draw the sender's key; step 1.

    Security: semi-honest receiver; CDH in the random oracle model.
    Leaks: nothing.
    Cost: local; one multiplication.
    Source: Chou, Orlandi 2015 (The Simplest Protocol for Oblivious Transfer), figure 1.
    """
    key = ristretto255.random_scalar(rng)
    return key, BaseOffer(ristretto255.multiply_base(key))


def receiver_choose(
    choices: NDArray[np.uint8], offer: BaseOffer, tag: bytes, rng: Randomness
) -> tuple[SecretSeeds, BaseChoices]:
    """Choose one seed of each pair; step 2 and the receiver's output.

    Args:
        choices: uint8[n] of 0 and 1.
        offer: the sender's message.
        tag: domain separation tag, bound to protocol and session.
        rng: own randomness.

    Returns:
        The chosen seeds, 16 bytes each, and the message to the sender.

    Raises:
        MalformedMessage: the sender's point is no element of the group.

    Security: perfect against the sender: each B_i is uniform whatever the choice. Both candidates are
        computed each time, so the running time does not depend on the choices.
    Leaks: n.
    Cost: local; 2n multiplications and n additions.
    Source: Chou, Orlandi 2015, figure 1.
    """
    seeds, points = [], []
    for index, choice in enumerate(choices.tolist()):
        key = ristretto255.random_scalar(rng)
        plain = ristretto255.multiply_base(key)
        point = (plain, ristretto255.add(plain, offer.point))[choice]
        seeds.append(_seed(tag, index, offer.point, point, ristretto255.multiply(key, offer.point)))
        points.append(point)
    return SecretSeeds(b"".join(seeds)), BaseChoices(b"".join(points))


def sender_finish(
    key: SecretScalar, offer: BaseOffer, reply: BaseChoices, tag: bytes
) -> tuple[SecretSeeds, SecretSeeds]:
    """Derive both seeds of each pair; step 3 and the sender's output.

    Args:
        key: the scalar of `sender_offer`.
        offer: the message of `sender_offer`.
        reply: the receiver's message.
        tag: domain separation tag, equal to the receiver's.

    Returns:
        The seeds for choice 0 and for choice 1, 16 bytes each.

    Raises:
        MalformedMessage: a point is no element of the group, or equals A.

    Security: semi-honest receiver; CDH in the random oracle model.
    Leaks: nothing.
    Cost: local; 2n multiplications and n subtractions.
    Source: Chou, Orlandi 2015, figure 1.
    """
    zeros, ones = [], []
    for index in range(len(reply.points) // ELEMENT_BYTES):
        point = reply.points[ELEMENT_BYTES * index : ELEMENT_BYTES * (index + 1)]
        shifted = ristretto255.subtract(point, offer.point)
        zeros.append(_seed(tag, index, offer.point, point, ristretto255.multiply(key, point)))
        ones.append(_seed(tag, index, offer.point, point, ristretto255.multiply(key, shifted)))
    return SecretSeeds(b"".join(zeros)), SecretSeeds(b"".join(ones))


def _seed(tag: bytes, index: int, offer: bytes, point: bytes, shared: bytes) -> bytes:
    # Every part has a fixed length, so plain concatenation is unambiguous.
    return hashlib.sha256(tag + index.to_bytes(8, "little") + offer + point + shared).digest()[:SEED_BYTES]
