"""Unbalanced intersection: what is found, kept tags, epochs, refusals, cost formulas."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from mpc.channel import Channel
from mpc.errors import InvalidInput, InvalidProof, MalformedMessage, MpcError, PeerAborted, ResultSizeRefused
from mpc.oprf import rfc9497
from mpc.psi import unbalanced
from mpc.psi.unbalanced import Found, KeptTags
from mpc.secrecy import SecretBytes
from mpc.testing import DeterministicRandomness, channel_pair, outcomes, run_pair

SEEDS = (b"0123456789abcdef", b"fedcba9876543210")
SET = [b"%d" % number for number in range(50)]


def key(epoch: int = 1) -> rfc9497.KeyPair:
    return rfc9497.derive_key(SecretBytes(b"\7" * 32), b"list, epoch %d" % epoch)


@pytest.fixture(scope="module")
def prepared() -> KeptTags:
    return unbalanced.prepare(key(), [SET[:20], SET[20:]])


def server(prepared: KeptTags, pair: rfc9497.KeyPair | None = None) -> Callable[[Channel], int]:
    rng = DeterministicRandomness(SEEDS[0])
    return lambda channel: unbalanced.serve(channel, pair or key(), prepared, rng)


def client(items: list[bytes], kept: KeptTags | None = None, **options: Any) -> Callable[[Channel], Found]:
    rng = DeterministicRandomness(SEEDS[1])
    return lambda channel: unbalanced.ask(channel, items, kept, rng, **options)


def test_the_client_finds_its_rows_and_the_server_learns_their_number(prepared: KeptTags) -> None:
    asked, found = run_pair(server(prepared), client([b"7", b"x", b"49", b"7", b"50"]))
    assert asked == 5
    assert found.rows.tolist() == [0, 2, 3]
    assert found.server_items == 50


def test_kept_tags_are_loaded_once_a_version(prepared: KeptTags) -> None:
    channels = channel_pair()
    _, first = run_pair(server(prepared), client([b"7"]), channels)
    assert channels[0].stats.bytes_sent > 50 * unbalanced.TAG_BYTES
    kept = KeptTags.decode(first.kept.encode())
    channels = channel_pair()
    _, second = run_pair(server(prepared), client([b"7", b"50"], kept), channels)
    assert second.rows.tolist() == [0]
    assert channels[0].stats.bytes_sent == unbalanced.bytes_sent(0, 2, 0)
    newer = unbalanced.prepare(key(), [SET, [b"50"]])
    _, third = run_pair(server(newer), client([b"7", b"50"], kept))
    assert third.rows.tolist() == [0, 1]


def test_a_new_epoch_has_other_tags_altogether(prepared: KeptTags) -> None:
    other = unbalanced.prepare(key(2), [SET])
    assert other.version != prepared.version
    assert not {row.tobytes() for row in other.tags} & {row.tobytes() for row in prepared.tags}
    _, found = run_pair(server(other, key(2)), client([b"7", b"x"], prepared))
    assert found.rows.tolist() == [0]
    assert found.kept.public == key(2).public


@pytest.mark.parametrize("items", [[], [b"x"], [b"%d" % number for number in range(45, 60)]])
@pytest.mark.parametrize("has", [False, True])
@pytest.mark.parametrize("chunk", [7, 50, 64])
def test_bytes_and_rounds_are_as_declared(
    prepared: KeptTags, items: list[bytes], has: bool, chunk: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(unbalanced, "CHUNK_TAGS", chunk)
    channels = channel_pair()
    run_pair(server(prepared), client(items, prepared if has else None), channels)
    for rank, channel in enumerate(channels):
        assert channel.stats.bytes_sent == unbalanced.bytes_sent(rank, len(items), 0 if has else 50)
        assert channel.stats.rounds == unbalanced.rounds(rank, len(items), 0 if has else 50)


def test_repeated_items_of_the_server_count_once() -> None:
    assert unbalanced.prepare(key(), [[b"a", b"b"], [b"a"]]).tags.shape == (2, unbalanced.TAG_BYTES)
    _, found = run_pair(server(unbalanced.prepare(key(), [])), client([b"a"]))
    assert found.rows.tolist() == []


def test_sizes_outside_the_limits_are_refused(prepared: KeptTags) -> None:
    for limits in ((2, 5), (0, 0)):
        first, second = outcomes(server(prepared), client([b"7"], limits=limits))
        assert isinstance(second, ResultSizeRefused)
        assert isinstance(first, PeerAborted)


def test_a_server_that_evaluates_under_another_key_is_found_out(prepared: KeptTags) -> None:
    """It states the public key of the epoch, but its secret is another: the proof does not hold."""
    forged = rfc9497.KeyPair(key(2).secret, key().public)
    first, second = outcomes(server(prepared, forged), client([b"7"]))
    assert isinstance(second, InvalidProof)
    assert isinstance(first, PeerAborted)


def test_tags_of_another_key_are_not_served(prepared: KeptTags) -> None:
    first, second = outcomes(server(prepared, key(2)), client([b"7"]))
    assert isinstance(first, InvalidInput)
    assert isinstance(second, PeerAborted)


@pytest.mark.parametrize("item", [b"", b"x" * 1025])
def test_items_of_other_lengths_are_refused(item: bytes) -> None:
    with pytest.raises(InvalidInput):
        unbalanced.prepare(key(), [[b"a", item]])
    with pytest.raises(InvalidInput):
        client([b"a", item])(channel_pair()[1])


def test_kept_tags_of_another_form_are_refused(prepared: KeptTags) -> None:
    encoded = prepared.encode()
    swapped = encoded[:-24] + encoded[-12:] + encoded[-24:-12]
    for changed in (encoded[:-1], b"x" + encoded[1:], b"", encoded[:20], swapped):
        with pytest.raises(MalformedMessage):
            KeptTags.decode(changed)


def test_tags_with_equal_first_halves_are_told_apart() -> None:
    tags = np.array([[1] * 8 + [0, 0, 0, low] for low in (1, 2, 5)] + [[2] * 12], np.uint8)
    wanted = np.array([[1] * 8 + [0, 0, 0, low] for low in (5, 3, 1)] + [[9] * 12], np.uint8)
    assert unbalanced._look_up(tags, wanted).tolist() == [0, 2]
    assert unbalanced._look_up(tags[:0], wanted).tolist() == []


MESSAGES = [
    ("1->0", "ask"),
    ("0->1", "offer"),
    ("0->1", "tags"),
    ("1->0", "next"),
    ("1->0", "blinded"),
    ("0->1", "evaluated"),
    ("1->0", "confirm"),
    ("0->1", "confirm"),
]
CHANGES: dict[str, Callable[[bytes], bytes]] = {
    "first": lambda payload: bytes([(payload or b"\1")[0] ^ 1]) + payload[1:],
    "last": lambda payload: payload[:-1] + bytes([(payload or b"\1")[-1] ^ 1]),
    "cut": lambda payload: payload[:-1] if payload else b"x",
    "longer": lambda payload: payload + b"\0",
    "zeros": lambda payload: bytes(len(payload) or 1),
}


@pytest.mark.parametrize("change", CHANGES)
@pytest.mark.parametrize(("way", "message"), MESSAGES)
def test_a_changed_message_ends_the_run(prepared: KeptTags, way: str, message: str, change: str) -> None:
    def tap(direction: str, label: str, payload: bytes) -> bytes | None:
        hit = direction == way and label == f"psi/unbalanced/1/{message}"
        return CHANGES[change](payload) if hit else None

    ends = outcomes(server(prepared), client([b"7", b"x"]), channel_pair(tap=tap, timeout_s=5))
    receiver, sender = (ends[1], ends[0]) if way == "0->1" else ends
    assert isinstance(receiver, MpcError)
    if message != "confirm":
        assert isinstance(sender, MpcError)


def test_what_the_server_sees_has_one_shape_and_never_repeats(prepared: KeptTags) -> None:
    def seen(items: list[bytes], seed: bytes) -> list[bytes]:
        payloads: list[bytes] = []

        def tap(way: str, label: str, payload: bytes) -> None:
            if way == "1->0" and label.endswith("blinded"):
                payloads.append(payload)

        rng = DeterministicRandomness(seed)
        run_pair(
            server(prepared),
            lambda channel: unbalanced.ask(channel, items, None, rng),
            channel_pair(tap=tap),
        )
        return payloads

    hit, miss, again = seen([b"7"], SEEDS[0]), seen([b"no such item"], SEEDS[0]), seen([b"7"], SEEDS[1])
    assert {len(payload) for payload in (*hit, *miss, *again)} == {len(hit[0])}
    assert len({*hit, *miss, *again}) == 3
