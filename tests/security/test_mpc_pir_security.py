"""Anonymous query: the network changes, drops, repeats or exchanges messages; what the owner sees."""

from __future__ import annotations

import hashlib
import math
import sys
from collections.abc import Callable
from pathlib import Path
from types import FrameType
from typing import Any

import numpy as np
import pytest

import mpc
from mpc import ristretto255
from mpc.channel import Channel
from mpc.errors import MpcError, ProtocolAbort, TranscriptMismatch
from mpc.oprf import rfc9497
from mpc.pir import build, kernels, keyword
from mpc.pir.client import ListClient
from mpc.pir.server import ListServer
from mpc.secrecy import SecretBytes, SecretScalar
from mpc.testing import DeterministicRandomness, MemoryChannel, channel_pair, outcomes

PACKAGE = str(Path(mpc.__file__).parent)
KEY = rfc9497.derive_key(SecretBytes(b"\5" * 32), b"grey list 1")
KEYS = [b"110101%012d" % number for number in range(40)]
MESSAGES = [("0->1", "blinded"), ("1->0", "evaluated"), ("0->1", "query"), ("1->0", "answer")]
CONFIRMATIONS = [("0->1", "confirm"), ("1->0", "confirm")]
CHANGES: dict[str, Callable[[bytes], bytes]] = {
    "first-bit": lambda payload: bytes([payload[0] ^ 1]) + payload[1:],
    "middle-bit": lambda payload: flipped(payload, len(payload) // 2, 0x10),
    "last-bit": lambda payload: flipped(payload, len(payload) - 1, 1),
    "truncated": lambda payload: payload[:-1],
    "extended": lambda payload: payload + b"\0",
    "empty": lambda payload: b"",
    "zeros": lambda payload: bytes(len(payload)),
}


def flipped(payload: bytes, at: int, mask: int) -> bytes:
    return payload[:at] + bytes([payload[at] ^ mask]) + payload[at + 1 :]


def rng(seed: int = 0) -> DeterministicRandomness:
    return DeterministicRandomness(bytes([seed] * 16))


@pytest.fixture(scope="module")
def ends(tmp_path_factory: pytest.TempPathFactory) -> tuple[ListClient, ListServer]:
    directory: Path = tmp_path_factory.mktemp("list") / "1"
    records = np.arange(16 * len(KEYS), dtype=np.int64).astype(np.uint8).reshape(-1, 16)
    build.build(
        directory, [(KEYS, records)], KEY, list_id="grey", epoch=1, planned=40, record_bytes=16, rng=rng()
    )
    return ListClient.load(directory), ListServer(directory, KEY)


def run(
    ends: tuple[ListClient, ListServer], keys: list[bytes], channels: Any = None, seed: int = 1
) -> tuple[Any, Any]:
    client, server = ends

    def first(channel: Channel) -> list[bytes | None]:
        return keyword.client(channel, client, keys, rng(seed))

    return outcomes(first, lambda channel: keyword.server(channel, server, rng(seed + 1)), channels)


@pytest.mark.parametrize("change", CHANGES)
@pytest.mark.parametrize(("way", "message"), [*MESSAGES, *CONFIRMATIONS])
def test_a_changed_message_aborts_the_run(
    ends: tuple[ListClient, ListServer], way: str, message: str, change: str
) -> None:
    def tap(direction: str, label: str, payload: bytes) -> bytes | None:
        hit = direction == way and label == f"pir/keyword/1/{message}"
        return CHANGES[change](payload) if hit else None

    found = run(ends, KEYS[:2], channel_pair(tap=tap, timeout_s=5))
    receiver, sender = (found[1], found[0]) if way == "0->1" else found
    assert isinstance(receiver, ProtocolAbort)
    if message == "confirm":
        assert isinstance(receiver, TranscriptMismatch)
    else:
        assert isinstance(sender, ProtocolAbort)


class Faulty:
    """A client's end of a channel that drops, repeats or exchanges what it sends at one place."""

    def __init__(self, channel: MemoryChannel, fault: str, at: int) -> None:
        self._channel, self._fault, self._at, self._sent = channel, fault, at, 0
        self._held: tuple[str, bytes] | None = None

    def __getattr__(self, name: str) -> Any:
        return getattr(self._channel, name)

    def send(self, label: str, payload: bytes) -> None:
        number, self._sent = self._sent, self._sent + 1
        if number == self._at:
            if self._fault == "repeat":
                self._channel.send(label, payload)
            else:
                self._held = (label, payload)
                return
        self._channel.send(label, payload)
        if self._held is not None and self._fault == "exchange":
            held, self._held = self._held, None
            self._channel.send(*held)


@pytest.mark.parametrize("fault", ["drop", "repeat", "exchange"])
@pytest.mark.parametrize("at", [0, 1, 2])
def test_messages_that_are_dropped_repeated_or_exchanged_abort(
    ends: tuple[ListClient, ListServer], monkeypatch: pytest.MonkeyPatch, fault: str, at: int
) -> None:
    monkeypatch.setattr(keyword, "PIECE_BYTES", 300)
    own, peer = channel_pair(timeout_s=0.5)
    client, server = run(ends, KEYS[:4], (Faulty(own, fault, at), peer))
    assert isinstance(server, MpcError)
    # The repeated last query arrives where the last message, the confirmation, should: nobody else sees it.
    assert isinstance(client, MpcError) or (fault, at) == ("repeat", 2)


def test_runs_of_different_sessions_do_not_fit(ends: tuple[ListClient, ListServer]) -> None:
    channels = channel_pair(b"lookup 1", peer_session=b"lookup 2", timeout_s=5)
    assert all(isinstance(end, TranscriptMismatch) for end in run(ends, KEYS[:1], channels))


def seen(ends: tuple[ListClient, ListServer], keys: list[bytes], seed: int = 1) -> list[tuple[str, bytes]]:
    messages: list[tuple[str, bytes]] = []
    channels = channel_pair(tap=lambda way, label, payload: messages.append((f"{way} {label}", payload)))
    run(ends, keys, channels, seed)
    return messages


def test_sizes_and_labels_do_not_depend_on_the_keys(ends: tuple[ListClient, ListServer]) -> None:
    def shape(keys: list[bytes]) -> list[tuple[str, int]]:
        return [(label, len(payload)) for label, payload in seen(ends, keys)]

    assert shape(KEYS[:3]) == shape([b"nobody", b"", b"x" * 500]) == shape([KEYS[7]] * 3)


def executed(work: Callable[[], object]) -> list[tuple[str, int]]:
    """Every line of the package that some work executes in this thread, in order, loops included."""
    lines: list[tuple[str, int]] = []

    def follow(frame: FrameType, event: str, _: object) -> Any:
        if not frame.f_code.co_filename.startswith(PACKAGE):
            return None
        if event == "line":
            lines.append((frame.f_code.co_filename, frame.f_lineno))
        return follow

    before = sys.gettrace()
    sys.settrace(follow)
    try:
        work()
    finally:
        sys.settrace(before)
    return lines


def of_owner_and_client(
    ends: tuple[ListClient, ListServer], keys: list[bytes]
) -> tuple[list[tuple[str, int]], list[tuple[str, int]], list[bytes | None]]:
    """The lines that the owner and the client execute for some keys, and the records found."""
    client, server = ends
    blinding, request = client.blind(keys, rng(7))
    evaluated = server.evaluate(request, rng(8))
    pending, queries = client.query(client.labels(blinding, evaluated), rng(9))
    answers = server.answer(queries)
    found: list[bytes | None] = []

    def opened() -> None:
        client.labels(blinding, evaluated)
        found.extend(client.recover(pending, answers))

    owner = executed(lambda: (server.evaluate(request, rng(8)), server.answer(queries)))
    return owner, executed(opened), found


def test_a_hit_and_a_miss_are_the_same_operations(
    ends: tuple[ListClient, ListServer], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Line by line, each multiplication of the matrix by the query included: nothing is left to a clock."""
    for name in ("accumulate", "_multiply_one", "_multiply_fours"):
        monkeypatch.setattr(kernels, name, getattr(kernels, name).py_func)
    shape = ends[1].manifest.shape
    absent = [b"110101%012d" % number for number in range(1000, 1006)]
    with np.errstate(over="ignore"):
        runs = {key: of_owner_and_client(ends, [key]) for key in (*KEYS[:6], *absent)}
        several = of_owner_and_client(ends, [KEYS[0], absent[0]])
    assert [found != [None] for _, _, found in runs.values()] == [True] * 6 + [False] * 6
    owner, asker, _ = runs[KEYS[0]]
    assert len(owner) > shape.columns // 8 * shape.rows
    for other_owner, other_asker, _ in runs.values():
        assert other_owner == owner
        assert other_asker == asker
    assert several[0] != owner
    assert several[1] != asker


def test_no_key_nor_a_hash_of_one_is_on_the_channel(ends: tuple[ListClient, ListServer]) -> None:
    passed = b"".join(payload for _, payload in seen(ends, KEYS[:10]))
    outputs = rfc9497.outputs(KEY, KEYS[:10])
    for number, key in enumerate(KEYS[:10]):
        forms = [key, key.hex().encode(), outputs[64 * number :][:16], outputs[64 * number + 16 :][:16]]
        for name in ("md5", "sha1", "sha256", "sha512", "blake2b"):
            forms.append(hashlib.new(name, key, usedforsecurity=False).digest()[:12])
        assert not any(form in passed for form in forms)


def test_the_owner_sees_what_any_other_key_would_have_given(ends: tuple[ListClient, ListServer]) -> None:
    """For the element that was sent, and any key, there is a blind that would have sent it."""
    client, _ = ends
    blinding, request = client.blind([KEYS[0]], rng(9))
    order = 2**252 + 27742317777372353535851937790883648493
    separation = b"HashToGroup-OPRFV1-\1-ristretto255-SHA512"
    base = ristretto255.hash_to_group([b"base"], separation)
    # Discrete logarithms are unknown, so keys are played by known multiples of one element.
    one, two = (SecretScalar(number.to_bytes(32, "little")) for number in (12345, 67890))
    blind = int.from_bytes(blinding.scalars.reveal(), "little")
    sent = ristretto255.multiply(SecretScalar(blind.to_bytes(32, "little")), ristretto255.multiply(one, base))
    other = SecretScalar((blind * 12345 * pow(67890, -1, order) % order).to_bytes(32, "little"))
    assert ristretto255.multiply(other, ristretto255.multiply(two, base)) == sent
    assert len(request.elements) == 32


@pytest.mark.parametrize("keys", [KEYS[:1], [b"nobody"]], ids=["hit", "miss"])
def test_queries_and_elements_look_uniform(ends: tuple[ListClient, ListServer], keys: list[bytes]) -> None:
    client, server = ends
    blinding, request = client.blind(keys, rng(3))
    labels = client.labels(blinding, server.evaluate(request, rng(4)))
    queries = [client.query(labels, rng(seed))[1].vectors for seed in range(5, 65)]
    nibbles = np.concatenate(queries).view(np.uint8).reshape(-1) >> 4
    shares = np.bincount(nibbles, minlength=16) / len(nibbles)
    assert np.abs(shares - 1 / 16).max() < 5 * math.sqrt(1 / 16 / len(nibbles))
    elements = b"".join(client.blind(keys, rng(seed))[1].elements for seed in range(5, 25))
    assert len({elements[at : at + 32] for at in range(0, len(elements), 32)}) == 20
    ones = np.unpackbits(np.frombuffer(elements, dtype=np.uint8)).mean()
    assert abs(ones - 0.5) < 0.05


def test_two_runs_for_one_key_share_nothing(ends: tuple[ListClient, ListServer]) -> None:
    first, second = (seen(ends, KEYS[:1], seed) for seed in (11, 21))
    for (label, one), (_, two) in zip(first, second, strict=True):
        if not label.endswith("confirm"):
            words = np.frombuffer(one[-32:], dtype="<u4") == np.frombuffer(two[-32:], dtype="<u4")
            assert not words.any(), label
