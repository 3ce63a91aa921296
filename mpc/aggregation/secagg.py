"""Secure aggregation with drop-outs: the sum of the vectors of all owners that stay long enough, and no more.

    owner u, input x_u                                 aggregator
      1. keys of this run, commitment to b_u   --->
                                               <---    2. everybody's keys
      3. Shamir shares of b_u and s_u, sealed
         to each other owner                   --->
                                               <---    4. the shares sealed to u
      5. x_u + PRG(b_u)
           + sum_(v>u) PRG(k_uv)
           - sum_(v<u) PRG(k_uv)               --->
                                               <---    6. whose vectors came: the survivors
      7. a MAC over that list for each other   --->
                                               <---    8. the MACs for u
      9. of each survivor the share of b, of
         every other the share of s            --->    10. remove the masks that are left

k_uv is derived from the secret masking keys s_u and s_v; it cancels in the sum of u and v. If v has dropped
out, its s_v is put together and k_uv removed. b_u hides x_u even if s_u comes to be put together though x_u
was only late. No owner ever gives both shares of one other owner, and in step 9 none gives any before it has
seen that at least the threshold of owners were told the same survivors.

The aggregator relays the owners' keys: it is trusted to relay them unchanged. Inputs are not checked.
"""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import ChaCha20Poly1305

from mpc import wire
from mpc.aggregation import shamir
from mpc.aggregation.masks import KeyPair, Words, shared_key, stream
from mpc.aggregation.messages import (
    KEYS_BYTES,
    SEALED_BYTES,
    TAG_BYTES,
    Keys,
    decode_numbers,
    decode_rows,
    decode_table,
    encode_numbers,
    encode_rows,
    encode_table,
)
from mpc.aggregation.roll import Roll
from mpc.aggregation.shamir import SHARE_BYTES
from mpc.channel import Channel
from mpc.domain import Usage, separation_tag
from mpc.errors import InvalidInput, MalformedMessage, MpcError, SurvivorsDisagree, TooFewParties
from mpc.randomness import Randomness
from mpc.secrecy import SecretBytes
from mpc.spec import Adversary, ProtocolSpec
from mpc.transcript import CONFIRMATION_BYTES, ConfirmedChannel, protocol_run

MIN_OWNERS: Final = 3
MAX_OWNERS: Final = 100
MAX_WORDS: Final = 2**28
PIECE_WORDS: Final = 131_072
"""A masked vector travels in messages of 1 MiB."""

_NONCE: Final = bytes(12)  # each sealing key is used once

SPEC: Final = ProtocolSpec(
    name="aggregation/secagg",
    version=1,
    roles=("aggregator", "owner"),
    adversary=Adversary.SEMI_HONEST,
    corruptions="the aggregator with fewer owners than the threshold",
    leaks={
        "aggregator": (
            "which owners dropped out, and in which round",
            "the sum of the survivors' vectors; what it adds to own knowledge if it is an owner too",
        ),
        "owner": ("which owners dropped out, and in which round",),
    },
    cost=(
        "5 rounds at an owner, 6 at the aggregator; for n owners and L words an owner sends 8 L + 150 n "
        "bytes and makes n streams of L words; the aggregator makes a stream for each survivor and n more "
        "for each drop-out"
    ),
    source="Bonawitz et al. 2017 (Practical Secure Aggregation), figure 4, complete graph; Shamir 1979",
    summary=(
        "An aggregator learns the sum of the vectors of all owners that did not drop out, modulo 2^64, and "
        "nothing else about any vector, provided that at least the threshold of owners stay to the end."
    ),
)


@dataclass(frozen=True)
class Sum:
    """What the aggregator learns.

    Attributes:
        survivors: numbers of the owners whose vectors are in the sum.
        total: uint64[L], modulo 2^64.
        stayed: numbers of the owners that were there when the run ended.
    """

    survivors: tuple[int, ...]
    total: Words
    stayed: tuple[int, ...]


def default_threshold(owners: int) -> int:
    """More than two thirds of the owners, so that two sets of them share more than a third."""
    return 2 * owners // 3 + 1


def owner(
    channel: Channel,
    vector: Words,
    *,
    number: int,
    owners: int,
    threshold: int,
    session: bytes,
    rng: Randomness,
    on_survivors: Callable[[tuple[int, ...]], None] = lambda survivors: None,
) -> tuple[int, ...]:
    """Play an owner.

    Args:
        channel: to the aggregator, which waits longer than the aggregator's patience; its session is fresh.
        vector: uint64[L], own input; sums are modulo 2^64.
        number: of this owner, from 1 to ``owners``.
        owners: how many there are, 3 to 100. With two the sum tells each the other's vector.
        threshold: fewest survivors, more than half of the owners; the same at all.
        session: of this run, the same at all parties and never used before.
        rng: own randomness.
        on_survivors: told their numbers once they are agreed, before this owner opens anything.

    Returns:
        The numbers of the survivors, this owner among them.

    Raises:
        InvalidInput: own arguments are not as stated.
        TooFewParties: fewer than ``threshold`` owners are left.
        SurvivorsDisagree: others were told other survivors.
        ProtocolAbort: a message is not as the protocol has it, or the aggregator gave this owner up.

    Security: semi-honest aggregator with fewer than ``threshold`` owners; CDH, AES-256, ChaCha20-Poly1305.
    Leaks: to this party, who dropped out.
    Cost: `rounds` and `bytes_sent`; 4 nanoseconds a word and owner.
    Source: Bonawitz et al. 2017, figure 4.
    """
    with protocol_run(channel, SPEC, common=session) as peer:
        _check(owners, threshold, len(vector))
        if vector.ndim != 1 or vector.dtype != np.uint64 or not 1 <= number <= owners:
            raise InvalidInput(
                f"expected uint64[L] and a number from 1 to {owners}, got {vector.dtype} and {number}"
            )
        # 1. Keys of this run.
        sealing, masking = KeyPair.draw(rng), KeyPair.draw(rng)
        own_seed = SecretBytes(rng.bytes(shamir.SECRET_BYTES))
        own_keys = Keys(sealing.public, masking.public, _commitment(own_seed, number, session))
        peer.send("keys", encode_rows([own_keys.row()], KEYS_BYTES))
        # 2. Everybody's keys.
        everyone = range(1, owners + 1)
        keys = _read_keys(peer.receive("all-keys"), everyone, threshold)
        if keys.get(number) != own_keys:
            raise MalformedMessage("all-keys: own keys are not as they were sent")
        # 3. Shares of both secrets, sealed to each other owner.
        seeds = shamir.share(own_seed, threshold, owners, rng)
        secrets = shamir.share(masking.secret, threshold, owners, rng)
        others = [other for other in keys if other != number]
        agreed = {
            other: _key(Usage.AGGREGATION_SEALING, sealing, keys[other].sealing, session) for other in others
        }
        parcels = [
            _cipher(agreed[other], number, other).encrypt(_NONCE, seeds[other - 1] + secrets[other - 1], None)
            for other in others
        ]
        peer.send("shares", encode_rows(parcels, SEALED_BYTES))
        # 4. The shares sealed to this owner.
        table = decode_table("sealed-shares", peer.receive("sealed-shares"), others, SEALED_BYTES)
        _require(threshold, len(table) + 1)
        held = {other: _open(agreed[other], other, number, parcel) for other, parcel in table.items()}
        held[number] = seeds[number - 1] + secrets[number - 1]
        # 5. The masked vector, with a hash of all messages so far.
        masked = vector + stream(own_seed, len(vector))
        for other in table:
            key = _key(Usage.AGGREGATION_MASK, masking, keys[other].masking, session)
            (np.add if number < other else np.subtract)(masked, stream(key, len(vector)), out=masked)
        for piece in _pieces(len(vector)):
            peer.send("masked", wire.encode_array(masked[piece]))
        peer.send_confirmation()
        # 6. to 8. The survivors, and that all were told the same.
        survivors = decode_numbers("survivors", peer.receive("survivors"), sorted(held))
        _require(threshold, len(survivors))
        if number not in survivors:
            raise MalformedMessage("survivors: expected this owner among them")
        fellows = [other for other in survivors if other != number]
        tags = [_tag(agreed[other], number, survivors) for other in fellows]
        peer.send("agreement", encode_rows(tags, TAG_BYTES))
        told = decode_table("agreements", peer.receive("agreements"), fellows, TAG_BYTES)
        _require(threshold, len(told) + 1)
        for other, tag in told.items():
            if not hmac.compare_digest(tag, _tag(agreed[other], other, survivors)):
                raise SurvivorsDisagree(f"owner {other} was told other survivors")
        on_survivors(survivors)
        # 9. Of each survivor the share of its seed, of every other the share of its masking key.
        opened = [
            held[other][:SHARE_BYTES] if other in survivors else held[other][SHARE_BYTES:]
            for other in sorted(held)
        ]
        peer.send("openings", encode_rows(opened, SHARE_BYTES))
        peer.confirm()
        return survivors


def aggregator(
    channels: Mapping[int, Channel],
    length: int,
    *,
    threshold: int,
    session: bytes,
    patience_s: float,
) -> Sum:
    """Play the aggregator: a party without data, or one of the owners, which then adds its own vector itself.

    Args:
        channels: to the owners, by their numbers from 1.
        length: L, words of every vector.
        threshold: as at the owners.
        session: as at the owners.
        patience_s: how long each round waits for the slowest owner before it goes on without it.

    Returns:
        The sum over the survivors.

    Raises:
        InvalidInput: own arguments are not as stated.
        TooFewParties: fewer than ``threshold`` owners are left.
        ProtocolAbort: a message is not as the protocol has it.

    Security: see `owner`. Which owners drop out is not hidden.
    Leaks: to this party, who dropped out and when, and the sum over the survivors.
    Cost: `rounds` and `bytes_sent`; 2 nanoseconds a word and survivor, and as much a word, survivor and
        drop-out. The owners' vectors are in memory until all have come.
    Source: Bonawitz et al. 2017, figure 4.
    """
    owners = len(channels)
    _check(owners, threshold, length)
    if sorted(channels) != list(range(1, owners + 1)):
        raise InvalidInput(f"expected channels to the owners 1 to {owners}, got {len(channels)} others")
    roll = Roll(channels, SPEC, session, threshold, patience_s)
    try:
        return _aggregate(roll, length, threshold, session)
    except MpcError as error:
        roll.abort(error.code)
        raise


def _aggregate(roll: Roll, length: int, threshold: int, session: bytes) -> Sum:
    # 1. and 2. Keys.
    rows = roll.gather(lambda peer: decode_rows("keys", peer.receive("keys"), 1, KEYS_BYTES)[0])
    keys = {number: Keys.of(row) for number, row in rows.items()}
    roll.send("all-keys", dict.fromkeys(keys, encode_table(rows, KEYS_BYTES)))
    # 3. and 4. Sealed shares, each to whom it is for.
    width = len(keys) - 1
    parcels = roll.gather(lambda peer: decode_rows("shares", peer.receive("shares"), width, SEALED_BYTES))
    sealed = {number: _passed_on(number, parcels, list(keys), SEALED_BYTES) for number in parcels}
    roll.send("sealed-shares", sealed)
    # 5. and 6. Masked vectors.
    vectors = roll.gather(lambda peer: _receive_vector(peer, length))
    survivors = tuple(vectors)
    total = np.zeros(length, dtype=np.uint64)
    for vector in vectors.values():
        total += vector
    vectors.clear()
    roll.send("survivors", dict.fromkeys(survivors, encode_numbers(survivors)))
    # 7. and 8. Agreement on the survivors.
    tags = roll.gather(
        lambda peer: decode_rows("agreement", peer.receive("agreement"), len(survivors) - 1, TAG_BYTES)
    )
    roll.send("agreements", {number: _passed_on(number, tags, survivors, TAG_BYTES) for number in tags})
    # 9. and 10. Remove the masks that are left.
    openings = roll.gather(
        lambda peer: decode_rows("openings", peer.receive("openings"), len(parcels), SHARE_BYTES)
    )
    for at, number in enumerate(sorted(parcels)):
        opened = shamir.reconstruct({holder: openings[holder][at] for holder in sorted(openings)[:threshold]})
        for mask in _masks_left(number, opened, keys, survivors, session, length):
            total -= mask
    # No output before the transcripts of as many owners as the threshold are known to be the same.
    stayed = roll.gather(ConfirmedChannel.confirm)
    return Sum(survivors, total, tuple(stayed))


def _masks_left(
    number: int,
    opened: SecretBytes,
    keys: Mapping[int, Keys],
    survivors: Sequence[int],
    session: bytes,
    length: int,
) -> Iterator[Words]:
    """What the secret that was put together for one owner explains of the sum of masked vectors."""
    if number in survivors:
        if not hmac.compare_digest(_commitment(opened, number, session), keys[number].commitment):
            raise MalformedMessage("openings: the shares of a seed do not give what was committed to")
        yield stream(opened, length)
        return
    masking = KeyPair.of(opened)
    if masking.public != keys[number].masking:
        raise MalformedMessage("openings: the shares of a masking key do not give the key")
    for other in survivors:
        key = _key(Usage.AGGREGATION_MASK, masking, keys[other].masking, session)
        yield stream(key, length) if other < number else np.uint64(0) - stream(key, length)


def rounds(role: str) -> int:
    """Return the receiving phases of ``owner`` or of ``aggregator`` with each owner."""
    return {"owner": 5, "aggregator": 6}[role]


def bytes_sent(role: str, owners: int, length: int, dropped: int = 0) -> int:
    """Return the payload bytes that an owner sends, or the aggregator to each survivor.

    ``dropped`` owners sealed their shares and sent no vector.
    """
    left = owners - dropped
    if role == "owner":
        masked = sum(wire.array_bytes(8, piece.stop - piece.start) for piece in _pieces(length))
        return (
            wire.array_bytes(1, 1, KEYS_BYTES)
            + wire.array_bytes(1, owners - 1, SEALED_BYTES)
            + masked
            + wire.array_bytes(1, left - 1, TAG_BYTES)
            + wire.array_bytes(1, owners, SHARE_BYTES)
            + 2 * CONFIRMATION_BYTES
        )

    def table(count: int, width: int) -> int:
        return wire.array_bytes(8, count) + wire.array_bytes(1, count, width)

    return (
        table(owners, KEYS_BYTES)
        + table(owners - 1, SEALED_BYTES)
        + wire.array_bytes(8, left)
        + table(left - 1, TAG_BYTES)
        + CONFIRMATION_BYTES
    )


def _check(owners: int, threshold: int, length: int) -> None:
    if not MIN_OWNERS <= owners <= MAX_OWNERS or not owners // 2 < threshold <= owners:
        raise InvalidInput(
            f"expected {MIN_OWNERS} to {MAX_OWNERS} owners and a threshold of more than half of them, "
            f"got {owners} and {threshold}"
        )
    if not 1 <= length <= MAX_WORDS:
        raise InvalidInput(f"expected 1 to {MAX_WORDS} words, got {length}")


def _require(threshold: int, left: int) -> None:
    if left < threshold:
        raise TooFewParties(threshold, left)


def _read_keys(payload: bytes, everyone: Sequence[int], threshold: int) -> dict[int, Keys]:
    rows = decode_table("all-keys", payload, everyone, KEYS_BYTES)
    _require(threshold, len(rows))
    keys = {number: Keys.of(row) for number, row in rows.items()}
    public = [key for one in keys.values() for key in (one.sealing, one.masking)]
    if len(set(public)) != len(public):
        raise MalformedMessage("all-keys: a public key stands there twice")
    return keys


def _pieces(length: int) -> list[slice]:
    return [slice(at, min(at + PIECE_WORDS, length)) for at in range(0, length, PIECE_WORDS)]


def _receive_vector(peer: ConfirmedChannel, length: int) -> Words:
    vector = np.empty(length, dtype=np.uint64)
    for piece in _pieces(length):
        reader = wire.Reader("masked", peer.receive("masked"))
        vector[piece] = reader.array("words", "<u8", (piece.stop - piece.start,))
        reader.finish()
    peer.check_confirmation()
    return vector


def _passed_on(number: int, sent: Mapping[int, Sequence[bytes]], known: Sequence[int], width: int) -> bytes:
    """Of what every owner sent for each other of ``known``, what is for this one."""
    at = list(known).index(number)
    rows = {
        sender: parts[at - (number > sender)]  # nobody sends itself anything
        for sender, parts in sent.items()
        if sender != number
    }
    return encode_table(rows, width)


def _key(usage: Usage, own: KeyPair, peer: bytes, session: bytes) -> SecretBytes:
    return shared_key(own, peer, separation_tag(SPEC.name, SPEC.version, usage, session))


def _cipher(key: SecretBytes, sender: int, recipient: int) -> ChaCha20Poly1305:
    return ChaCha20Poly1305(hmac.digest(key.reveal(), bytes((sender, recipient)), "sha256"))


def _open(key: SecretBytes, sender: int, recipient: int, parcel: bytes) -> bytes:
    try:
        return _cipher(key, sender, recipient).decrypt(_NONCE, parcel, None)
    except InvalidTag:
        raise MalformedMessage(f"sealed-shares: what owner {sender} sealed does not open") from None


def _tag(key: SecretBytes, sender: int, survivors: Sequence[int]) -> bytes:
    """The sender's word to one other owner about whom it was told to have survived."""
    return hmac.digest(key.reveal(), b"survivors" + bytes((sender, *survivors)), "sha256")


def _commitment(seed: SecretBytes, number: int, session: bytes) -> bytes:
    tag = separation_tag(SPEC.name, SPEC.version, Usage.AGGREGATION_COMMITMENT, session)
    return hashlib.sha256(tag + bytes((number,)) + seed.reveal()).digest()
