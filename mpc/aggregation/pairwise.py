"""Additive shares of zero from pairwise keys: what each adds to its own vector cancels in the sum of all.

Every two parties agree on a key; the lower rank adds the key's stream, the higher subtracts it. The masked
vectors of all parties but one are uniform, whatever they hold; only the sum of all says anything. Every party
must take part to the end: `mpc.aggregation.secagg` is for those that may not.

Vectors are uint64[n], modulo 2^64, or uint64[n, 2], modulo 2^128 with the low word first.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping
from typing import Final

import numpy as np

from mpc import wire
from mpc.aggregation.masks import KEY_BYTES, KeyPair, Words, shared_key, stream
from mpc.domain import Usage, separation_tag
from mpc.errors import InvalidInput
from mpc.mesh import ConfirmedMesh
from mpc.randomness import Randomness
from mpc.secrecy import SecretBytes
from mpc.spec import ProtocolSpec

MESSAGE: Final = "mask-key"
MESSAGE_BYTES: Final = wire.array_bytes(1, KEY_BYTES)


def agree(
    peers: ConfirmedMesh, among: Collection[int], spec: ProtocolSpec, rng: Randomness
) -> dict[int, SecretBytes]:
    """Agree on a key with each other party of ``among``, by rank; one message each way.

    Raises:
        MalformedMessage: a public key is no point of large order.

    Security: semi-honest parties over authenticated channels; a key is known to its two holders alone.
    Leaks: nothing.
    Cost: one round; 56 bytes to each other party; a scalar multiplication for each.
    Source: Bonawitz et al. 2017 (Practical Secure Aggregation), section 4.
    """
    own = KeyPair.draw(rng)
    others = [peer for peer in peers.peers if peer in among]
    for peer in others:
        peers[peer].send(MESSAGE, wire.encode_array(np.frombuffer(own.public, dtype=np.uint8)))
    tag = separation_tag(spec.name, spec.version, Usage.AGGREGATION_MASK, peers.session)
    seeds = {}
    for peer in others:
        reader = wire.Reader(MESSAGE, peers[peer].receive(MESSAGE))
        public = reader.array("key", "u1", (KEY_BYTES,))
        reader.finish()
        seeds[peer] = shared_key(own, public.tobytes(), tag)
    return seeds


def zero_share(seeds: Mapping[int, SecretBytes], rank: int, number: int, shape: tuple[int, ...]) -> Words:
    """This party's share of zero; the shares of all parties of one number add up to it.

    Args:
        seeds: from `agree`.
        rank: own.
        number: of this sharing; MUST NOT be used twice with the same seeds.
        shape: ``(n,)`` modulo 2^64 or ``(n, 2)`` modulo 2^128.

    Security: uniform to whoever lacks one seed of an honest pair; AES-256 as a pseudo-random permutation.
    Leaks: nothing; local.
    Cost: local; one stream for each other party.
    Source: Bonawitz et al. 2017, section 4.1.
    """
    total = np.zeros(shape, dtype=np.uint64)
    for peer, seed in sorted(seeds.items()):
        mask = stream(seed, math.prod(shape), number).reshape(shape)
        total = add(total, mask if rank < peer else negate(mask))
    return total


def add(one: Words, other: Words) -> Words:
    """Add two vectors of one shape, modulo 2^64 or 2^128."""
    if one.shape != other.shape:
        raise InvalidInput(f"expected vectors of one shape, got {one.shape} and {other.shape}")
    total = one + other
    if total.ndim == 2:
        total[:, 1] += total[:, 0] < one[:, 0]
    return total


def negate(vector: Words) -> Words:
    """The additive inverse, modulo 2^64 or 2^128."""
    inverse = np.uint64(0) - vector
    if inverse.ndim == 2:
        inverse[:, 1] -= vector[:, 0] != 0
    return inverse
