"""Sums over many parties by additively homomorphic encryption: a reader gets the totals, and nobody else any.

    reader: key pair                       owners 1..n, vectors v_i
      1. key                  n, h_s  --->  all owners
      2. encrypted                          Enc(v_i)  --->  owner 1, from every other owner
      3.                                    owner 1: C = product of all Enc(v_i)
      4. confirm              every pair compares transcripts
      5. C goes to the reader as owner 1's output; the reader decrypts it

The reader never receives the ciphertext of one owner, and owner 1, who does, has no key. So one of the two
together with the other could read every vector: they must not collude.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from mpc import wire
from mpc.errors import InputsDisagree, InvalidInput, MalformedMessage
from mpc.he import paillier
from mpc.mesh import ConfirmedMesh, Mesh, mesh_run
from mpc.randomness import Randomness
from mpc.spec import Adversary, ProtocolSpec
from mpc.transcript import CONFIRMATION_BYTES

__all__ = ["MAX_OWNERS", "SPEC", "bytes_sent", "decrypt", "owner", "reader", "rounds"]

MAX_OWNERS: Final = 30
MAX_VALUES: Final = 2**20
_KEY_BYTES: Final = (3 * paillier.KEY_BITS) // 8

SPEC: Final = ProtocolSpec(
    name="he/sums",
    version=1,
    roles=("owner", "reader"),
    adversary=Adversary.SEMI_HONEST,
    corruptions="owners, or the reader and owners but the first; never the reader with the first owner",
    leaks={
        "owner": ("the number of values, and the number of owners",),
        "reader": ("the number of owners",),
    },
    cost=(
        "3 rounds with the first owner and with the reader, 2 between other parties; 768 bytes of ciphertext "
        "for each 42 values of an owner, to the first; 1,152 bytes of key to each owner; 1.2 ms at an owner "
        "(7.5 below 64 ciphertexts) and 11 ms at the reader for each ciphertext"
    ),
    source=(
        "Paillier 1999; Damgård, Jurik, Nielsen 2010; the pattern of aggregator and key holder: "
        "Private Join and Compute, Ion et al. 2020"
    ),
    summary="Vectors of many owners are added under encryption; the reader, who has the key, gets totals.",
)


def owner(mesh: Mesh, values: NDArray[np.int64], rng: Randomness) -> bytes:
    """Play an owner; ranks 0 to n - 2, of which rank 0 adds. The reader has the last rank.

    Args:
        mesh: to all parties.
        values: int64[count], the own vector; every owner has as many values.
        rng: own randomness.

    Returns:
        Rank 0: the encrypted totals, for `decrypt` at the reader. The others: nothing, as b"".

    Raises:
        InvalidInput: no value, or too many. InputsDisagree: an owner has another number of values.
        ProtocolAbort: a message is not as the protocol has it, or a party aborted.

    Security: semi-honest; the reader and rank 0 do not collude. DCR, see `paillier.Encryptor.encrypt`.
    Leaks: the number of values and of owners.
    Cost: `rounds`, `bytes_sent`; one encryption for 42 values.
    Source: Paillier 1999; Damgård, Jurik, Nielsen 2010.
    """
    with mesh_run(mesh, SPEC) as peers:
        _check_size(peers)
        if not 0 < len(values) <= MAX_VALUES:
            raise InvalidInput(f"expected 1 to {MAX_VALUES} values, got {len(values)}")
        public = paillier.PublicKey.decode(peers[peers.size - 1].receive("key"))
        expected = paillier.ciphertexts_for(len(values))
        own = paillier.Encryptor(public, rng, expected=expected).encrypt(values)
        if peers.rank > 0:
            _give(peers, len(values), own)
            peers.confirm()
            return b""
        vectors = [own, *(_take(peers, peer, public, len(values)) for peer in range(1, peers.size - 1))]
        total = paillier.add(public, vectors)
        peers.confirm()
        return wire.encode_uint64(len(values)) + paillier.encode_ciphertexts(total)


def reader(mesh: Mesh, rng: Randomness) -> paillier.SecretKey:
    """Play the reader, who has the last rank: make a key for this run and give the public part to all.

    Returns:
        The key, with which `decrypt` opens what rank 0 made.

    Raises:
        ProtocolAbort: a message is not as the protocol has it, or a party aborted.

    Security: as `owner`. Leaks: the number of owners. Cost: one key; 1,152 bytes to each owner.
    Source: as `owner`.
    """
    with mesh_run(mesh, SPEC) as peers:
        _check_size(peers)
        if peers.rank != peers.size - 1:
            raise InvalidInput(f"expected the reader at rank {peers.size - 1}, got {peers.rank}")
        key = paillier.generate(rng)
        peers.broadcast("key", key.public.encode())
        peers.confirm()
        return key


def decrypt(key: paillier.SecretKey, totals: bytes, owners: int) -> list[int]:
    """Open what rank 0 made.

    Args:
        key: the reader's.
        totals: from `owner` at rank 0.
        owners: how many vectors were added.

    Returns:
        The totals, as Python integers.

    Raises:
        MalformedMessage: the bytes are not encrypted totals of that many owners under this key.

    Security: the totals are all that is decrypted. Leaks: nothing; local.
    Cost: 11 ms for 42 values. Source: as `owner`.
    """
    head = wire.Reader("totals", totals)
    count = head.uint64("count")
    if not 0 < count <= MAX_VALUES:
        raise MalformedMessage(f"totals: expected 1 to {MAX_VALUES} values, got {count}")
    return key.decrypt(paillier.decode_ciphertexts(key.public, totals[8:], count), count, owners)


def rounds(rank: int, owners: int) -> int:
    """Return the receiving phases of a party over all its channels, as `ChannelStats` counts them."""
    if rank == owners:
        return 2 * owners
    return 3 * owners if rank == 0 else 6 + 2 * (owners - 2)


def bytes_sent(rank: int, owners: int, values: int) -> int:
    """Return the payload bytes a party sends over all its channels."""
    confirmed = CONFIRMATION_BYTES * owners
    if rank == owners:
        return confirmed + _KEY_BYTES * owners
    ciphertexts = 16 + paillier.ciphertexts_for(values) * paillier.CIPHERTEXT_BYTES
    return confirmed + (8 * (owners - 1) if rank == 0 else ciphertexts)


def _give(peers: ConfirmedMesh, count: int, own: Sequence[Any]) -> None:
    payload = wire.encode_uint64(count) + paillier.encode_ciphertexts(own)
    if peers[0].swap("encrypted", payload):
        raise MalformedMessage("encrypted: expected nothing from the first owner")


def _take(peers: ConfirmedMesh, peer: int, public: paillier.PublicKey, count: int) -> list[Any]:
    payload = peers[peer].swap("encrypted", b"")
    stated = wire.Reader("encrypted", payload).uint64("count")
    if stated != count:
        raise InputsDisagree("values", count, stated)
    return paillier.decode_ciphertexts(public, payload[8:], count)


def _check_size(peers: ConfirmedMesh) -> None:
    if not 3 <= peers.size <= MAX_OWNERS + 1:
        raise InvalidInput(f"expected 2 to {MAX_OWNERS} owners and a reader, got {peers.size} parties")
