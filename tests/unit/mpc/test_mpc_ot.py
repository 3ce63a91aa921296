"""Base transfers and the extension, step by step."""

from __future__ import annotations

import numpy as np
import pytest

from mpc import ristretto255
from mpc.errors import InvalidInput, MalformedMessage
from mpc.ot import base, iknp
from mpc.secrecy import SecretBytes, SecretSeeds
from mpc.testing import DeterministicRandomness

RNG = b"0123456789abcdef"


def base_transfers(choices: list[int]) -> tuple[bytes, bytes, bytes]:
    rng = DeterministicRandomness(RNG)
    key, offer = base.sender_offer(rng)
    chosen, reply = base.receiver_choose(np.array(choices, dtype=np.uint8), offer, b"tag", rng)
    zeros, ones = base.sender_finish(key, offer, reply, b"tag")
    return chosen.reveal(), zeros.reveal(), ones.reveal()


def test_the_receiver_gets_the_seed_it_chose_and_not_the_other() -> None:
    chosen, zeros, ones = base_transfers([0, 1, 1, 0])
    for index, choice in enumerate([0, 1, 1, 0]):
        at = slice(16 * index, 16 * index + 16)
        assert chosen[at] == (zeros, ones)[choice][at]
        assert chosen[at] != (ones, zeros)[choice][at]


def test_seeds_depend_on_the_tag_and_the_index() -> None:
    rng = DeterministicRandomness(RNG)
    key, offer = base.sender_offer(rng)
    _, reply = base.receiver_choose(np.zeros(1, dtype=np.uint8), offer, b"tag", rng)
    twice = base.BaseChoices(reply.points * 2)
    zeros = base.sender_finish(key, offer, twice, b"tag")[0].reveal()
    other = base.sender_finish(key, offer, twice, b"gat")[0].reveal()
    assert len({zeros[:16], zeros[16:], other[:16], other[16:]}) == 4


def test_a_receivers_point_equal_to_the_offer_is_refused() -> None:
    key, offer = base.sender_offer(DeterministicRandomness(RNG))
    with pytest.raises(MalformedMessage):
        base.sender_finish(key, offer, base.BaseChoices(offer.point), b"tag")


@pytest.mark.parametrize("point", [bytes(32), b"\xff" * 32])
def test_points_outside_the_group_are_refused(point: bytes) -> None:
    rng = DeterministicRandomness(RNG)
    key, offer = base.sender_offer(rng)
    with pytest.raises(MalformedMessage):
        base.receiver_choose(np.zeros(1, dtype=np.uint8), base.BaseOffer(point), b"tag", rng)
    with pytest.raises(MalformedMessage):
        base.sender_finish(key, offer, base.BaseChoices(point), b"tag")


def test_base_messages_come_back_and_refuse_other_counts() -> None:
    offer, choices = base.BaseOffer(b"p" * 32), base.BaseChoices(b"q" * 64)
    assert base.BaseOffer.decode(offer.encode()) == offer
    assert base.BaseChoices.decode(choices.encode(), 2) == choices
    for count in (1, 3):
        with pytest.raises(MalformedMessage):
            base.BaseChoices.decode(choices.encode(), count)
    with pytest.raises(MalformedMessage):
        base.BaseOffer.decode(offer.encode() + b"\0")


def keys() -> tuple[iknp.SenderKeys, iknp.ReceiverKeys]:
    rng = DeterministicRandomness(RNG)
    delta, zeros, ones = rng.bytes(16), rng.bytes(2048), rng.bytes(2048)
    bits = np.unpackbits(np.frombuffer(delta, dtype=np.uint8))
    seeds = b"".join((zeros, ones)[bit][16 * j : 16 * j + 16] for j, bit in enumerate(bits.tolist()))
    hash_key = rng.bytes(16)
    sender = iknp.SenderKeys(SecretBytes(delta), SecretSeeds(seeds), hash_key)
    return sender, iknp.ReceiverKeys(SecretSeeds(zeros), SecretSeeds(ones), hash_key)


@pytest.mark.parametrize(("transfers", "words"), [(1, 1), (8, 2), (13, 3), (200, 4)])
def test_the_receiver_gets_the_correlation_where_it_chose_it(transfers: int, words: int) -> None:
    sender, receiver = keys()
    rng = np.random.default_rng(7)
    choices = rng.integers(0, 2, transfers, dtype=np.uint8)
    correlations = rng.integers(0, 2**64, (transfers, words), dtype=np.uint64)
    kept, columns = iknp.receiver_extend(receiver, 3, choices)
    pads, corrections = iknp.sender_correlate(sender, 3, 1000, columns, correlations)
    outputs = iknp.receiver_correlate(receiver, kept, 1000, corrections)
    assert np.array_equal(outputs - pads, correlations * choices[:, None])


def test_a_wrong_chunk_or_transfer_number_gives_noise_not_a_sum() -> None:
    sender, receiver = keys()
    choices = np.ones(8, dtype=np.uint8)
    correlations = np.zeros((8, 1), dtype=np.uint64)
    kept, columns = iknp.receiver_extend(receiver, 0, choices)
    for chunk, first in ((1, 0), (0, 8)):
        pads, corrections = iknp.sender_correlate(sender, chunk, first, columns, correlations)
        outputs = iknp.receiver_correlate(receiver, kept, 0, corrections)
        assert np.count_nonzero(outputs - pads) == 8


def test_transpose_matches_the_definition() -> None:
    columns = np.frombuffer(DeterministicRandomness(RNG).bytes(128 * 5), dtype=np.uint8).reshape(128, 5)
    bits = np.unpackbits(columns, axis=1)
    assert np.array_equal(np.unpackbits(iknp.transpose(columns), axis=1), bits.T)


def test_expansion_of_two_chunks_does_not_overlap() -> None:
    seeds = SecretSeeds(bytes(16))
    first, second = iknp.expand(seeds, 0, 4096), iknp.expand(seeds, 1, 4096)
    blocks = [chunk.reshape(-1, 16)[row].tobytes() for chunk in (first, second) for row in range(256)]
    assert len(set(blocks)) == 512


def test_hash_blocks_differ_by_transfer_block_and_row() -> None:
    rows = np.zeros((4, 16), dtype=np.uint8)
    rows[3] = 1
    hashed = iknp.correlation_hash(bytes(16), rows, 10, 5)
    assert hashed.shape == (4, 5)
    assert len(set(hashed.ravel().tolist())) == 20
    assert np.array_equal(iknp.correlation_hash(bytes(16), rows[1:], 11, 3), hashed[1:, :3])


def test_extension_messages_refuse_other_shapes() -> None:
    columns = iknp.Columns(np.zeros((128, 2), dtype=np.uint8)).encode()
    assert iknp.Columns.decode(columns, 16).bits.shape == (128, 2)
    for transfers in (8, 17):
        with pytest.raises(MalformedMessage):
            iknp.Columns.decode(columns, transfers)
    corrections = iknp.Corrections(np.zeros((2, 3), dtype=np.uint64)).encode()
    for shape in ((3, 3), (2, 2)):
        with pytest.raises(MalformedMessage):
            iknp.Corrections.decode(corrections, *shape)


def test_bulk_functions_refuse_ragged_elements_and_long_separation() -> None:
    scalar = ristretto255.random_scalar(DeterministicRandomness(RNG))
    with pytest.raises(InvalidInput):
        ristretto255.multiply(scalar, bytes(33))
    with pytest.raises(InvalidInput):
        ristretto255.add(bytes(64), bytes(32))
    with pytest.raises(InvalidInput):
        ristretto255.hash_to_group([b"a"], bytes(256))
    assert ristretto255.multiply(scalar, b"") == ristretto255.hash_to_group([], b"tag") == b""
