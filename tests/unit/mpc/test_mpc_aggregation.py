"""Secure aggregation: the sum of those that stay, whoever leaves when; no sum where something is wrong."""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mpc.aggregation import pairwise, secagg, shamir
from mpc.aggregation.masks import KeyPair, shared_key, stream
from mpc.errors import (
    ChannelBroken,
    InvalidInput,
    MalformedMessage,
    MpcError,
    PeerAborted,
    ProtocolAbort,
    SurvivorsDisagree,
    TooFewParties,
)
from mpc.mesh import Mesh, mesh_run
from mpc.secrecy import SecretBytes
from mpc.testing import DeterministicRandomness, channel_pair, run_mesh

SESSION = b"session of many"
STEPS = ["keys", "shares", "masked", "agreement", "openings"]
TO_OWNER = ["all-keys", "sealed-shares", "survivors", "agreements"]


class Gone(Exception):
    """The process of an owner ends."""


def vectors(owners: int, length: int = 5) -> dict[int, Any]:
    draw = np.random.Generator(np.random.PCG64(7))
    return {number: draw.integers(0, 2**64, length, dtype=np.uint64) for number in range(1, owners + 1)}


class Run:
    """One run in threads; ``leaving`` owners end before they send the message named."""

    def __init__(
        self,
        owners: int,
        leaving: Mapping[int, str] | None = None,
        *,
        threshold: int | None = None,
        change: Callable[[int, str, str, bytes], bytes | None] | None = None,
        silent: bool = False,
        inputs: Mapping[int, Any] | None = None,
        patience_s: float = 10.0,
        seed: int = 1,
    ) -> None:
        self.inputs = dict(inputs or vectors(owners))
        self.seen: list[tuple[int, str, str, bytes]] = []
        threshold = threshold or secagg.default_threshold(owners)
        leaving = leaving or {}

        def tap_of(number: int) -> Callable[[str, str, bytes], bytes | None]:
            def tap(way: str, label: str, payload: bytes) -> bytes | None:
                name = label.rsplit("/", 1)[1]
                if way == "1->0" and leaving.get(number) == name:
                    raise Gone
                self.seen.append((number, way, name, payload))
                return None if change is None else change(number, way, name, payload)

            return tap

        self.pairs = {
            number: channel_pair(b"session of %d" % number, tap=tap_of(number)) for number in self.inputs
        }
        self.ends: dict[int, Any] = {}

        def play(number: int) -> None:
            end = self.pairs[number][1]
            try:
                self.ends[number] = secagg.owner(
                    end,
                    self.inputs[number],
                    number=number,
                    owners=owners,
                    threshold=threshold,
                    session=SESSION,
                    rng=DeterministicRandomness(bytes((number, seed)) * 8),
                )
            except Gone:
                if not silent:
                    end.abort("gone")
            except MpcError as error:
                self.ends[number] = error

        threads = [threading.Thread(target=play, args=(number,), daemon=True) for number in self.inputs]
        for thread in threads:
            thread.start()
        try:
            self.sum: secagg.Sum | MpcError = secagg.aggregator(
                {number: pair[0] for number, pair in self.pairs.items()},
                len(next(iter(self.inputs.values()))),
                threshold=threshold,
                session=SESSION,
                patience_s=patience_s,
            )
        except MpcError as error:
            self.sum = error
        for thread in threads:
            thread.join()

    def of(self, numbers: tuple[int, ...]) -> Any:
        return np.sum([self.inputs[number] for number in numbers], axis=0, dtype=np.uint64)


def test_the_aggregator_gets_the_sum_of_all_and_the_owners_learn_who_is_in_it() -> None:
    run = Run(4)
    assert isinstance(run.sum, secagg.Sum)
    assert run.sum.survivors == (1, 2, 3, 4)
    assert np.array_equal(run.sum.total, run.of((1, 2, 3, 4)))
    assert set(run.ends.values()) == {(1, 2, 3, 4)}


@pytest.mark.parametrize("step", STEPS)
def test_owners_may_leave_at_any_step(step: str) -> None:
    run = Run(6, {2: step, 5: step}, threshold=4)
    is_in = step in ("agreement", "openings")
    expected = (1, 2, 3, 4, 5, 6) if is_in else (1, 3, 4, 6)
    assert isinstance(run.sum, secagg.Sum)
    assert run.sum.survivors == expected
    assert np.array_equal(run.sum.total, run.of(expected))


def test_owners_leave_one_after_the_other() -> None:
    run = Run(7, dict(zip((1, 3, 7), ("keys", "masked", "openings"), strict=True)), threshold=4)
    assert isinstance(run.sum, secagg.Sum)
    assert run.sum.survivors == (2, 4, 5, 6, 7)
    assert np.array_equal(run.sum.total, run.of((2, 4, 5, 6, 7)))


def test_an_owner_that_falls_silent_is_left_behind_and_told() -> None:
    run = Run(4, {3: "masked"}, silent=True, patience_s=1.0)
    assert isinstance(run.sum, secagg.Sum)
    assert run.sum.survivors == (1, 2, 4)
    with pytest.raises(PeerAborted, match="dropped-out"):
        run.pairs[3][1].receive("aggregation/secagg/1/survivors")


@pytest.mark.parametrize("step", STEPS)
def test_too_few_survivors_have_no_output(step: str) -> None:
    run = Run(5, {2: step, 4: step}, threshold=4)
    assert isinstance(run.sum, TooFewParties)
    assert all(isinstance(run.ends[number], MpcError) for number in (1, 3, 5))


def test_an_aggregator_that_tells_different_survivors_gets_no_shares() -> None:
    lists = {}

    def lie(number: int, way: str, name: str, payload: bytes) -> bytes | None:
        if name == "survivors":
            lists[number] = payload
            if number in (1, 2, 3):
                short = np.array([1, 2, 3, 4], dtype=np.int64)
                return payload[:16] + (4).to_bytes(8, "little") + short.tobytes()
        if name == "agreements" and number in (1, 2, 3):
            # the tags of the first four, as if the fifth had left
            tags = 8 * 4 + 8 * 4
            return payload[:16] + (3).to_bytes(8, "little") + payload[24:48] + payload[tags - 8 :]
        return None

    run = Run(5, threshold=3, change=lie)
    assert isinstance(run.sum, ProtocolAbort)
    assert not any(name == "openings" for number, _, name, _ in run.seen if number in (1, 2, 3))


def test_different_survivors_are_found_by_the_tags() -> None:
    def lie(number: int, way: str, name: str, payload: bytes) -> bytes | None:
        if name == "survivors" and number == 1:
            kept = np.array([1, 2, 3], dtype=np.int64)
            return payload[:16] + (3).to_bytes(8, "little") + kept.tobytes()
        return None

    def both(number: int, way: str, name: str, payload: bytes) -> bytes | None:
        changed = lie(number, way, name, payload)
        if name == "agreement" and number == 1:  # as many rows as the aggregator expects
            return payload[:16] + (3).to_bytes(8, "little") + payload[24:] + bytes(32)
        if name == "agreements" and number == 1:  # without the fourth
            head = payload[:16] + (2).to_bytes(8, "little") + payload[24:40]
            rows = payload[48:]
            return head + rows[:16] + (2).to_bytes(8, "little") + rows[24 : 32 + 64]
        return changed

    run = Run(4, threshold=3, change=both)
    assert isinstance(run.ends[1], SurvivorsDisagree)


CHANGES: dict[str, Callable[[bytes], bytes]] = {
    "flip": lambda raw: raw[:-1] + bytes((raw[-1] ^ 1,)),
    "truncate": lambda raw: raw[:-1],
    "extend": lambda raw: raw + b"\0",
    "empty": lambda raw: b"",
    "zero": lambda raw: bytes(len(raw)),
}


@pytest.mark.parametrize("change", CHANGES)
@pytest.mark.parametrize("name", [*STEPS, *TO_OWNER, "confirm"])
def test_a_changed_message_never_gives_another_sum(name: str, change: str) -> None:
    hit = []

    def tamper(number: int, way: str, message: str, payload: bytes) -> bytes | None:
        if number == 2 and message == name:
            hit.append(name)
            return CHANGES[change](payload)
        return None

    run = Run(4, threshold=3, change=tamper, patience_s=3)
    assert hit
    if isinstance(run.sum, secagg.Sum):
        # Told something wrong, owner 2 leaves by itself, and is in the sum or not.
        assert isinstance(run.ends[2], ProtocolAbort)
        assert name not in ("masked", "shares", "openings")
        assert np.array_equal(run.sum.total, run.of(run.sum.survivors))
    else:
        assert isinstance(run.sum, ProtocolAbort)


def test_messages_do_not_depend_on_vectors_but_for_uniform_words() -> None:
    runs = [
        Run(3, inputs={n: np.full(300, value * n, dtype=np.uint64) for n in (1, 2, 3)}, seed=seed)
        for value, seed in ((0, 1), (5, 1), (0, 2))
    ]

    def shape(run: Run) -> Any:
        return sorted((number, way, name, len(payload)) for number, way, name, payload in run.seen)

    assert shape(runs[0]) == shape(runs[1]) == shape(runs[2])
    first, other = (
        {(n, name): p for n, way, name, p in run.seen if way == "1->0" and name != "confirm"}
        for run in runs[:2]
    )
    assert {key for key in first if first[key] != other[key]} == {(n, "masked") for n in (1, 2, 3)}
    for run in runs:
        for _, _, name, payload in run.seen:
            if name == "masked":
                bits = np.unpackbits(np.frombuffer(payload[24:], dtype=np.uint8))
                assert abs(bits.mean() - 0.5) < 0.03  # 19,200 bits: eight deviations


@pytest.mark.parametrize(("owners", "length"), [(3, 1), (5, secagg.PIECE_WORDS + 3)])
def test_measured_rounds_and_bytes_are_the_declared_ones(owners: int, length: int) -> None:
    run = Run(owners, inputs=vectors(owners, length))
    for number, (aggregator, owner) in run.pairs.items():
        assert owner.stats.bytes_sent == secagg.bytes_sent("owner", owners, length), number
        assert aggregator.stats.bytes_sent == secagg.bytes_sent("aggregator", owners, length)
        assert (owner.stats.rounds, aggregator.stats.rounds) == (
            secagg.rounds("owner"),
            secagg.rounds("aggregator"),
        )
    run = Run(owners, {1: "masked"}, inputs=vectors(owners, length), threshold=owners // 2 + 1)
    assert run.pairs[2][1].stats.bytes_sent == secagg.bytes_sent("owner", owners, length, dropped=1)


@pytest.mark.parametrize(
    ("owners", "threshold", "length", "words"),
    [(2, 2, 3, "3 to 100"), (4, 2, 3, "half"), (3, 4, 3, "half"), (101, 80, 3, "100"), (3, 2, 0, "words")],
)
def test_arguments_out_of_range_are_refused(owners: int, threshold: int, length: int, words: str) -> None:
    channels = {number: channel_pair()[0] for number in range(1, owners + 1)}
    with pytest.raises(InvalidInput, match=words):
        secagg.aggregator(channels, length, threshold=threshold, session=SESSION, patience_s=1)


@settings(max_examples=8, deadline=None)
@given(st.integers(3, 6), st.integers(1, 9), st.data())
def test_the_sum_is_that_of_the_survivors(owners: int, length: int, data: st.DataObject) -> None:
    spare = owners - (owners // 2 + 1)
    gone = data.draw(st.lists(st.integers(1, owners), max_size=spare, unique=True))
    leaving = {number: data.draw(st.sampled_from(STEPS)) for number in gone}
    run = Run(owners, leaving, threshold=owners // 2 + 1, inputs=vectors(owners, length))
    assert isinstance(run.sum, secagg.Sum)
    assert np.array_equal(run.sum.total, run.of(run.sum.survivors))


# pairwise


@pytest.mark.parametrize("shape", [(7,), (5, 2)])
def test_shares_of_zero_cancel_and_are_fresh_for_each_number(shape: tuple[int, ...]) -> None:
    def role(mesh: Mesh) -> list[Any]:
        with mesh_run(mesh, secagg.SPEC) as peers:
            if peers.rank == 2:
                return []
            rng = DeterministicRandomness(bytes((peers.rank,)) * 16)
            seeds = pairwise.agree(peers, {0, 1, 3}, secagg.SPEC, rng)
        return [pairwise.zero_share(seeds, peers.rank, number, shape) for number in (0, 1)]

    ended = run_mesh([role] * 4)
    for number in (0, 1):
        total = np.zeros(shape, dtype=np.uint64)
        for rank in (0, 1, 3):
            total = pairwise.add(total, ended[rank][number])
        assert not total.any()
    assert not np.array_equal(ended[0][0], ended[0][1])


@given(st.lists(st.integers(0, 2**128 - 1), min_size=2, max_size=2))
def test_wide_words_add_and_negate_modulo_2_to_the_128(values: list[int]) -> None:
    one, other = (np.array([[v % 2**64, v >> 64]], dtype=np.uint64) for v in values)

    def value(words: Any) -> int:
        return int(words[0, 0]) + (int(words[0, 1]) << 64)

    assert value(pairwise.add(one, other)) == sum(values) % 2**128
    assert value(pairwise.negate(one)) == -values[0] % 2**128


# what both are built from


@given(st.binary(min_size=32, max_size=32), st.integers(1, 6), st.data())
@settings(max_examples=20, deadline=None)
def test_any_threshold_of_shares_gives_the_secret(secret: bytes, threshold: int, data: st.DataObject) -> None:
    shares = shamir.share(SecretBytes(secret), threshold, 6, DeterministicRandomness(bytes(16)))
    some = data.draw(st.permutations(range(1, 7)))[:threshold]
    assert shamir.reconstruct({holder: shares[holder - 1] for holder in some}).reveal() == secret


def test_one_share_fewer_says_nothing() -> None:
    secrets = [bytes(32), b"\xff" * 32]
    for secret in secrets:
        shares = shamir.share(SecretBytes(secret), 3, 3, DeterministicRandomness(b"7" * 16))
        two = {1: int.from_bytes(shares[0], "big"), 2: int.from_bytes(shares[1], "big")}
        # For any other secret there is exactly one third share that explains the two.
        other = int.from_bytes(secrets[1 - secrets.index(secret)], "big")
        third = (other - 3 * two[1] + 3 * two[2]) % shamir.PRIME
        explained = {**{n: v.to_bytes(33, "big") for n, v in two.items()}, 3: third.to_bytes(33, "big")}
        assert shamir.reconstruct(explained).reveal() == secrets[1 - secrets.index(secret)]


@pytest.mark.parametrize(
    "raw", [shamir.PRIME.to_bytes(33, "big"), bytes(32), b"\x01" + b"\xff" * 32, b"\x02" + bytes(32)]
)
def test_a_share_outside_the_field_is_refused(raw: bytes) -> None:
    with pytest.raises(MalformedMessage):
        shamir.reconstruct({1: raw, 2: bytes(33)})


@pytest.mark.parametrize("public", [bytes(32), (1).to_bytes(32, "little"), bytes(31)])
def test_keys_of_small_order_are_refused(public: bytes) -> None:
    own = KeyPair.draw(DeterministicRandomness(bytes(16)))
    with pytest.raises(MalformedMessage):
        shared_key(own, public, bytes(32))


def test_streams_are_those_of_aes_in_counter_mode_and_differ_by_number() -> None:
    seed = SecretBytes(bytes(32))
    # FIPS 197 / NIST SP 800-38A: the block of AES-256 under the zero key for the zero counter.
    assert stream(seed, 2).tobytes().hex() == "dc95c078a2408989ad48a21492842087"
    assert not np.array_equal(stream(seed, 4, 1), stream(seed, 4, 2))


def test_a_channel_that_breaks_is_a_drop_out() -> None:
    pair = channel_pair(timeout_s=0.05)
    with pytest.raises(ChannelBroken):
        pair[0].receive("nothing comes")
