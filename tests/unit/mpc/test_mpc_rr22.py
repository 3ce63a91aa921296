"""psi/rr22 against psi/ecdh and plain sets; what the network or a dying engine does to it."""

from __future__ import annotations

import os
import signal
import threading
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mpc.channel import Channel
from mpc.engines import rr22, run, spu, tunnel
from mpc.engines.process import EngineProcess
from mpc.engines.tunnel import Kind
from mpc.errors import (
    DuplicateItems,
    EngineFailed,
    EnginesDisagree,
    InvalidInput,
    MpcError,
    PeerAborted,
    ProtocolAbort,
    TranscriptMismatch,
)
from mpc.psi import ecdh
from mpc.randomness import SystemRandomness
from mpc.testing import channel_pair, outcomes, run_pair

pytestmark = pytest.mark.skipif(spu.version() is None, reason="SPU is not installed")

AWKWARD = [
    *("007", "7", "1e5", "100000", "true", "NULL", "NA", "nan", "null", "2020-01-01", "0x10", "-1"),
    *(" 7", "7 ", "a,b", 'say "so"', "two\nlines", "tab\there", "身份证", "p7", "x37", "\u00e9", "e\u0301"),
]
ONLY_LEFT, ONLY_RIGHT = ["left alone", "8"], ["right, alone", "9", "10"]

Party = Callable[[Channel], ecdh.Intersection]


def party(items: Sequence[str], base: Path, **options: object) -> Party:
    texts = pa.array(items, pa.string())
    return lambda channel: rr22.run(channel, texts, base, **options)  # type: ignore[arg-type]


def shuffled(items: Sequence[str], seed: int) -> list[str]:
    return [items[at] for at in np.random.default_rng(seed).permutation(len(items))]


LEFT = shuffled(AWKWARD + ONLY_LEFT, 1)
RIGHT = shuffled(AWKWARD + ONLY_RIGHT, 2)


def test_both_parties_get_what_the_own_protocol_and_plain_sets_give(tmp_path: Path) -> None:
    one, two = run_pair(party(LEFT, tmp_path), party(RIGHT, tmp_path))
    found = [LEFT[row] for row in one.rows]
    assert found == [RIGHT[row] for row in two.rows]
    assert set(found) == set(LEFT) & set(RIGHT)
    assert (one.peer_rows, two.peer_rows) == (len(RIGHT), len(LEFT))
    first, _ = run_pair(
        lambda channel: ecdh.run(channel, [item.encode() for item in LEFT], SystemRandomness()),
        lambda channel: ecdh.run(channel, [item.encode() for item in RIGHT], SystemRandomness()),
    )
    assert sorted(first.rows) == sorted(one.rows)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("receivers", ["left", "right"])
def test_one_receiver_alone_learns_the_intersection(tmp_path: Path, receivers: rr22.Receivers) -> None:
    got = run_pair(party(LEFT, tmp_path, receivers=receivers), party(RIGHT, tmp_path, receivers=receivers))
    receiver = rr22.SPEC.roles.index(receivers)
    own = (LEFT, RIGHT)[receiver]
    assert {own[row] for row in got[receiver].rows} == set(LEFT) & set(RIGHT)
    assert len(got[1 - receiver].rows) == 0


def test_sets_without_a_common_item_and_an_empty_set_have_no_rows(tmp_path: Path) -> None:
    for left, right in ((ONLY_LEFT, ONLY_RIGHT), ([], ONLY_RIGHT)):
        one, two = run_pair(party(left, tmp_path), party(right, tmp_path))
        assert (len(one.rows), len(two.rows), one.peer_rows) == (0, 0, len(right))


@settings(max_examples=50, deadline=None)
@given(st.lists(st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=12), max_size=12))
def test_encodings_are_one_word_each_and_different_for_different_items(items: list[str]) -> None:
    encoded = rr22.encode_items(pa.array(items, pa.string())).to_pylist()
    assert len(set(encoded)) == len(set(items))
    alone = [rr22.encode_items(pa.array([item], pa.string())).to_pylist()[0] for item in items]
    assert encoded == alone
    assert all(word[0] in "px" and word.replace("-", "").replace("_", "").isalnum() for word in encoded)


def test_an_encoding_of_a_part_of_an_array_reads_that_part() -> None:
    whole = pa.array(["身", "a b", "c", "d,e"], pa.string())
    assert rr22.encode_items(whole[1:]).to_pylist() == rr22.encode_items(whole).to_pylist()[1:]


@pytest.mark.parametrize(
    ("items", "error"),
    [(["a", "a"], DuplicateItems), (["a", ""], InvalidInput), (["a", "b" * 1025], InvalidInput)],
)
def test_items_that_are_no_set_are_refused_before_a_message(
    tmp_path: Path, items: list[str], error: type[MpcError]
) -> None:
    channel, _ = channel_pair()
    with pytest.raises(error):
        party(items, tmp_path)(channel)
    assert channel.stats.messages_sent == 0


def test_parties_that_ask_for_different_receivers_or_versions_stop(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ended = outcomes(party(LEFT, tmp_path, receivers="left"), party(RIGHT, tmp_path))
    assert all(isinstance(end, EnginesDisagree | PeerAborted) for end in ended)
    versions = iter(["0.9.5", "0.9.6"])
    monkeypatch.setattr(spu, "required_version", lambda: next(versions))
    ended = outcomes(party(LEFT, tmp_path), party(RIGHT, tmp_path))
    assert any(isinstance(end, EnginesDisagree) and "0.9.6" in str(end) for end in ended)


class Network:
    """Does something to a frame of rank 0 that carries bytes, or to another message of it."""

    def __init__(self, how: str) -> None:
        self.how, self.kept, self.is_done = how, b"", False

    def __call__(self, direction: str, label: str, payload: bytes) -> bytes | None:
        if direction != "0->1" or self.is_done:
            return None
        if self.how == label.rpartition("/")[2]:
            self.is_done = True
            return bytes([payload[0] ^ 1]) + payload[1:]
        if not label.endswith("/frame") or payload[0] != Kind.DATA:
            return None
        if self.how == "repeat":
            self.is_done, self.kept = bool(self.kept), self.kept or payload
            return self.kept if self.is_done else None
        if self.how in ("flip", "truncate", "drop"):
            self.is_done = True
            changed = payload[:40] + bytes([payload[40] ^ 1]) + payload[41:]
            return {"flip": changed, "truncate": payload[:-1], "drop": b""}[self.how]
        return None


@pytest.mark.parametrize("how", ["flip", "truncate", "drop", "repeat", "hello", "confirm"])
def test_whatever_the_network_does_both_abort_without_output(tmp_path: Path, how: str) -> None:
    channels = channel_pair(tap=Network(how))
    ended = outcomes(party(LEFT, tmp_path), party(RIGHT, tmp_path), channels)
    kinds = ProtocolAbort if how != "hello" else MpcError
    assert isinstance(ended[1], kinds)
    if how == "confirm":
        assert isinstance(ended[1], TranscriptMismatch)
    else:
        assert isinstance(ended[0], MpcError)
    assert list(tmp_path.iterdir()) == []


def test_a_killed_engine_ends_the_run_at_both_and_leaves_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    started: list[int] = []
    original = EngineProcess.__init__

    def noted(self: EngineProcess, folder: Path, task: Any, *args: Any, **named: Any) -> None:
        original(self, folder, task, *args, **named)
        if task["task"] == "psi":
            started.append(self.pid)

    monkeypatch.setattr(EngineProcess, "__init__", noted)

    def killer() -> None:
        until = time.monotonic() + 10
        while not started and time.monotonic() < until:
            time.sleep(0.005)
        os.kill(started[0], signal.SIGKILL)

    thread = threading.Thread(target=killer)
    thread.start()
    ended = outcomes(party(LEFT, tmp_path), party(RIGHT, tmp_path))
    thread.join()
    assert {type(end) for end in ended} == {EngineFailed, PeerAborted}
    assert not any(Path(f"/proc/{pid}").exists() for pid in started)
    assert list(tmp_path.iterdir()) == []


@pytest.fixture
def soon_stalled(monkeypatch: pytest.MonkeyPatch) -> None:
    """Engines are taken to wait for each other after seconds."""
    monkeypatch.setattr(tunnel, "_BEAT_S", 0.2)
    monkeypatch.setattr(tunnel, "_RESTING", 0.2)  # the kernel counts in hundredths of a second
    monkeypatch.setattr(run, "_STALLED_S", 3.0)
    monkeypatch.setattr(run, "_LOOK_S", 0.2)


@pytest.mark.usefixtures("soon_stalled")
def test_a_greeting_that_overtakes_the_answer_to_ones_own_is_not_lost(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    held: list[tuple[tunnel.Tunnel, Kind, int, bytes]] = []
    asked: list[int] = []
    deliver = tunnel.Tunnel._deliver

    def overtaking(self: tunnel.Tunnel, kind: Kind, number: int, carried: memoryview) -> None:
        if self._peer.rank == 0 or len(asked) == 2:
            return deliver(self, kind, number, carried)
        if number % 2 == self._peer.rank:
            return held.append((self, kind, number, bytes(carried)))
        asked.append(number)
        deliver(self, kind, number, carried)
        if len(asked) == 2:
            time.sleep(0.1)  # until the engine has taken the second one
            for one in held:
                deliver(*one[:3], memoryview(one[3]))
        return None

    monkeypatch.setattr(tunnel.Tunnel, "_deliver", overtaking)
    one, two = run_pair(party(LEFT, tmp_path), party(RIGHT, tmp_path))
    assert {LEFT[row] for row in one.rows} == {RIGHT[row] for row in two.rows} == set(LEFT) & set(RIGHT)


@pytest.mark.usefixtures("soon_stalled")
def test_engines_that_wait_for_each_other_end_the_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    lost: list[int] = []
    deliver = tunnel.Tunnel._deliver

    def losing(self: tunnel.Tunnel, kind: Kind, number: int, carried: memoryview) -> None:
        # What is this long is the protocol's: the engines greet in short messages, and repeat those.
        if lost or len(carried) > 4096:
            lost.append(number)
        else:
            deliver(self, kind, number, carried)

    monkeypatch.setattr(tunnel.Tunnel, "_deliver", losing)
    ended = outcomes(party(LEFT, tmp_path), party(RIGHT, tmp_path))
    assert any(isinstance(end, EngineFailed) and "wait for each other" in str(end) for end in ended)
    assert all(isinstance(end, EngineFailed | PeerAborted) for end in ended)
    assert list(tmp_path.iterdir()) == []


def test_a_transcript_does_not_show_how_many_items_are_shared(tmp_path: Path) -> None:
    sizes = []
    for right in ([*RIGHT], [f"other {number}" for number in range(len(RIGHT))]):
        channels = channel_pair()
        options = {"receivers": "left"}
        run_pair(party(LEFT, tmp_path, **options), party(right, tmp_path, **options), channels)
        sizes.append(channels[1].stats.bytes_sent)
    assert abs(sizes[0] - sizes[1]) < 4096
