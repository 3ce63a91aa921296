"""What passes over the channel: no identifier, no hash of one, no measure, one shape for any groups."""

from __future__ import annotations

import hashlib
import struct
from typing import Any

import numpy as np
import pytest

from mpc import ristretto255
from mpc.domain import Usage, separation_tag
from mpc.errors import MpcError
from mpc.psi import cardinality, ecdh
from mpc.psi.masking import Receivers
from mpc.stats import group_sums
from mpc.testing import DeterministicRandomness, channel_pair, outcomes, run_pair

SEEDS = (b"0123456789abcdef", b"fedcba9876543210")


def transcript(first: Any, second: Any) -> list[tuple[str, str, bytes]]:
    messages: list[tuple[str, str, bytes]] = []
    run_pair(first, second, channel_pair(tap=lambda *message: messages.append(message)))
    return messages


def psi(
    left: list[bytes], right: list[bytes], seeds: tuple[bytes, bytes] = SEEDS
) -> list[tuple[str, str, bytes]]:
    return transcript(
        lambda ch: ecdh.run(ch, left, DeterministicRandomness(seeds[0])),
        lambda ch: ecdh.run(ch, right, DeterministicRandomness(seeds[1])),
    )


def sums(measures: Any, groups: list[int], k: int) -> list[tuple[str, str, bytes]]:
    x, g = np.array(measures, dtype=np.int64), np.array(groups, dtype=np.int64)
    return transcript(
        lambda ch: group_sums.measure_holder(ch, x, min_cohort=2, rng=DeterministicRandomness(SEEDS[0])),
        lambda ch: group_sums.group_holder(ch, g, k, min_cohort=2, rng=DeterministicRandomness(SEEDS[1])),
    )


def shape(messages: list[tuple[str, str, bytes]]) -> list[tuple[str, str, int]]:
    return sorted((way, label, len(payload)) for way, label, payload in messages)


def test_no_identifier_nor_a_hash_of_one_is_on_the_channel() -> None:
    left = [b"110101%012d" % row for row in range(40)]
    right = [b"110101%012d" % row for row in range(20, 60)]
    bytes_seen = b"".join(payload for _, _, payload in psi(left, right))
    for item in {*left, *right}:
        forms = [item, item.hex().encode()]
        for name in ("md5", "sha1", "sha256", "sha512", "sha3_256", "blake2b", "blake2s"):
            digest = hashlib.new(name, item, usedforsecurity=False).digest()
            forms += [digest[:12], digest.hex()[:24].encode()]
        assert not any(form in bytes_seen for form in forms)


def test_no_point_repeats_between_parties_or_runs() -> None:
    items = [b"%d" % row for row in range(8)]

    def points(seeds: tuple[bytes, bytes]) -> set[bytes]:
        bodies = [payload[32:] for _, label, payload in psi(items, items, seeds) if label.endswith("/masked")]
        return {body[at : at + 32] for body in bodies for at in range(0, len(body), 32)}

    first, second = points(SEEDS), points((b"another seed 000", b"another seed 111"))
    assert len(first) == len(second) == 16
    assert not first & second


def test_the_order_on_the_channel_does_not_follow_the_row_order() -> None:
    left = [b"%d" % row for row in range(64)]
    sent: dict[str, bytes] = {label: payload for way, label, payload in psi(left, left) if way == "0->1"}
    masked = sent["psi/ecdh/2/masked"][32:]
    rng = DeterministicRandomness(SEEDS[0])
    key = ristretto255.random_scalar(rng)
    separation = separation_tag("psi/ecdh", 2, Usage.HASH_TO_GROUP, b"test session")
    in_row_order = ristretto255.hash_to_group(left, separation, key)
    assert masked != in_row_order
    assert {masked[at : at + 32] for at in range(0, 2048, 32)} == {
        in_row_order[at : at + 32] for at in range(0, 2048, 32)
    }


def test_psi_messages_have_the_same_shape_whatever_is_shared() -> None:
    items = [b"%d" % row for row in range(20)]
    none = psi(items[:10], items[10:])
    every = psi(items[:10], items[:10])
    assert shape(none) == shape(every)


def told(message: str, messages: list[tuple[str, str, bytes]]) -> dict[str, bytes]:
    return {way: payload for way, label, payload in messages if label.endswith(f"/{message}")}


@pytest.mark.parametrize(("receivers", "way"), [(Receivers.LEFT, "0->1"), (Receivers.RIGHT, "1->0")])
def test_who_is_no_receiver_sees_no_tag_of_its_own_items(receivers: Receivers, way: str) -> None:
    items = [b"%d" % row for row in range(20)]

    def party(own: list[bytes], seed: bytes) -> Any:
        return lambda ch: ecdh.run_batches(ch, [own], DeterministicRandomness(seed), receivers=receivers)

    messages = transcript(party(items[:15], SEEDS[0]), party(items[5:], SEEDS[1]))
    sizes = {way: len(payload) for way, payload in told("double-masked", messages).items()}
    assert sizes[way] == 32
    assert sizes["1->0" if way == "0->1" else "0->1"] == 32 + 15 * 16


def test_a_cardinality_comes_with_sorted_tags_whatever_is_shared() -> None:
    items = [b"%d" % row for row in range(40)]

    def party(own: list[bytes], seed: bytes) -> Any:
        return lambda ch: cardinality.run(ch, [own], DeterministicRandomness(seed))

    some = transcript(party(items[:20], SEEDS[0]), party(items[10:30], SEEDS[1]))
    none = transcript(party(items[:20], SEEDS[0]), party(items[20:], SEEDS[1]))
    assert shape(some) == shape(none)
    for payload in told("sorted", some).values():
        tags = [payload[at : at + 16] for at in range(32, len(payload), 16)]
        assert tags == sorted(tags)
    assert {len(payload) for payload in told("double-masked", some).values()} == {32}


def test_the_tags_of_a_cardinality_do_not_follow_the_order_of_the_items() -> None:
    """The same sets in another row order give the same sorted tags, under the same keys."""
    items = [b"%d" % row for row in range(30)]

    def party(own: list[bytes], seed: bytes) -> Any:
        return lambda ch: cardinality.run(ch, [own], DeterministicRandomness(seed))

    one = transcript(party(items[:20], SEEDS[0]), party(items[10:], SEEDS[1]))
    two = transcript(party(items[:20][::-1], SEEDS[0]), party(items[10:][::-1], SEEDS[1]))
    assert told("sorted", one) == told("sorted", two)


def test_no_measure_is_on_the_channel() -> None:
    measures = [[10_000_000_000_000 + 7919 * row, -(10**15) - row] for row in range(30)]
    messages = sums(measures, [row % 3 for row in range(30)], 3)
    bytes_seen = b"".join(payload for _, _, payload in messages)
    columns = np.array(measures, dtype=np.int64)
    values = [value for row in measures for value in row]
    values += [int(columns[np.arange(30) % 3 == group, at].sum()) for group in range(3) for at in range(2)]
    for value in values:
        assert struct.pack("<q", value) not in bytes_seen
        assert struct.pack(">q", value) not in bytes_seen


def test_group_columns_with_equal_counts_give_transcripts_of_one_shape() -> None:
    measures = [[row, row] for row in range(12)]
    one = sums(measures, [0, 1, 2] * 4, 3)
    two = sums(measures, [0] * 4 + [2] * 4 + [1] * 4, 3)
    assert shape(one) == shape(two)
    sent_one = {label: payload for way, label, payload in one if way == "1->0"}
    sent_two = {label: payload for way, label, payload in two if way == "1->0"}
    # Of what the group holder sends, only the masked choice bits and the transcript hash depend on groups.
    differing = {label.rsplit("/", 1)[1] for label in sent_one if sent_one[label] != sent_two[label]}
    assert differing == {"columns", "confirm"}


def test_a_suppressed_group_leaves_no_trace_but_its_absence() -> None:
    measures = [[row] for row in range(6)]
    one = sums(measures, [0, 0, 0, 0, 0, 1], 3)
    two = sums(measures, [0, 0, 0, 0, 0, 2], 3)
    sent_one = [payload for way, _, payload in one if way == "1->0"]
    sent_two = [payload for way, _, payload in two if way == "1->0"]
    assert sent_one == sent_two


def test_errors_hold_no_item_and_no_value() -> None:
    canary, number = b"canary-identifier", 4_611_686_018_427_387_905
    first, _ = outcomes(
        lambda ch: ecdh.run(ch, [canary, canary], DeterministicRandomness(SEEDS[0])),
        lambda ch: ecdh.run(ch, [b"x"], DeterministicRandomness(SEEDS[1])),
    )
    second, _ = outcomes(
        lambda ch: group_sums.measure_holder(
            ch, np.full((3, 1), number), min_cohort=1, rng=DeterministicRandomness(SEEDS[0])
        ),
        lambda ch: group_sums.group_holder(
            ch, np.zeros(3, np.int64), 1, min_cohort=1, rng=DeterministicRandomness(SEEDS[1])
        ),
    )
    for error in (first, second):
        assert isinstance(error, MpcError)
        text = repr(error) + str(vars(error))
        assert canary.decode() not in text
        assert str(number) not in text
