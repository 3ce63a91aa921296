"""Every protocol of the package under one network that does what it likes, and what each run costs and shows.

The network does one thing to one message: it flips a bit, cuts, lengthens, drops, repeats, exchanges with the
next, or puts in its place what was sent there in another session. Whoever gets something else than was sent
to it aborts, with an error of the package, and so does everybody else, without output. The one exception is
stated in `mpc.transcript`: where the very last message does not arrive, its sender has its output already.
"""

from __future__ import annotations

import importlib.util
import sys
import threading
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import mpc
from mpc.aggregation import secagg
from mpc.channel import Channel
from mpc.engines import shares, spu
from mpc.errors import InvalidProof, MalformedMessage, MpcError, ProtocolAbort
from mpc.he import paillier
from mpc.mesh import Mesh
from mpc.randomness import SystemRandomness
from mpc.testing import DeterministicRandomness, mesh_of, mesh_outcomes


def _load() -> Any:
    path = Path(__file__).with_name("mpc_runs.py")
    spec = importlib.util.spec_from_file_location("mpc_runs", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules["mpc_runs"] = module  # dataclasses look their module up
    spec.loader.exec_module(module)
    return module


def slow(argument: str) -> Any:
    return pytest.param(argument, marks=pytest.mark.slow)


runs = _load()
ENGINES = {name for name, run in runs.RUNS.items() if run.spec.name == "psi/rr22"}
NAMES = [name for name in runs.RUNS if name not in ENGINES]
# What four owners say to each other is what two say, and parties outside are in the replicated run.
OFTEN = [slow(name) if name == "stats/joint of four" else name for name in NAMES]
IS_TENSEAL_HERE = importlib.util.find_spec("tenseal") is not None
PATIENT_S, WAITS_S, HASTY_S = 20.0, 1.0, 0.4
"""How long a party waits for a message: that will come, that may not, and that will not."""
LIMIT_S = 60.0
"""A case that takes longer hangs."""


@pytest.fixture(autouse=True)
def _light(monkeypatch: pytest.MonkeyPatch) -> None:
    """No search for primes and no engine's process: what is asked here is of our own messages."""
    monkeypatch.setattr(paillier, "generate", lambda rng: runs.paillier_key(rng.bytes(1)[0] & 1))
    monkeypatch.setattr(shares, "played", runs.linear_engine)
    monkeypatch.setattr(spu, "required_version", lambda: "0.9.5")


# The network.


@dataclass(frozen=True)
class Message:
    """A message on its way: between whom, its number among those of one direction, and what it is."""

    sender: int
    receiver: int
    number: int
    label: str
    payload: bytes

    @property
    def name(self) -> str:
        return self.label.rsplit("/", 1)[1]

    def __str__(self) -> str:
        return f"{self.name} ({self.sender}->{self.receiver}, {self.number})"


Stream = Sequence[tuple[str, bytes]]
"""What passes in one direction, in order: labels and payloads."""
Fault = Callable[[Stream, int, bytes], Stream]
"""Turns a stream, the number of the message and what was there in another session into another stream."""


def instead(change: Callable[[bytes], bytes]) -> Fault:
    def fault(stream: Stream, at: int, other: bytes) -> Stream:
        label, payload = stream[at]
        return [*stream[:at], (label, change(payload)), *stream[at + 1 :]]

    return fault


def flip(place: Callable[[int], int]) -> Fault:
    def flipped(payload: bytes) -> bytes:
        if not payload:
            return payload
        at = place(len(payload))
        return payload[:at] + bytes([payload[at] ^ 1]) + payload[at + 1 :]

    return instead(flipped)


FAULTS: Mapping[str, Fault] = {
    "flip-first": flip(lambda size: 0),
    "flip-middle": flip(lambda size: size // 2),
    "flip-last": flip(lambda size: size - 1),
    "truncate": instead(lambda payload: payload[:-1]),
    "extend": instead(lambda payload: payload + b"\0"),
    "empty": instead(lambda payload: b""),
    "replay": lambda stream, at, other: [*stream[:at], (stream[at][0], other), *stream[at + 1 :]],
    "duplicate": lambda stream, at, other: [*stream[: at + 1], *stream[at:]],
    "swap": lambda stream, at, other: [*stream[:at], *stream[at : at + 2][::-1], *stream[at + 2 :]],
    "drop": lambda stream, at, other: [*stream[:at], *stream[at + 1 :]],
}
LACKING = ("drop", "swap")
"""After these a party may wait for what does not come."""


class Line:
    """One direction between two parties, which the network may meddle with."""

    def __init__(self, at: int | None, fault: Fault | None, other: bytes) -> None:
        self._at, self._fault, self._other = at, fault, other
        self.sent: list[tuple[str, bytes]] = []
        self._delivered = 0

    def passes(self, label: str, payload: bytes) -> Stream:
        """What arrives once this is sent; a fault that needs the next message waits for it."""
        self.sent.append((label, payload))
        if self._fault is None or self._at is None or len(self.sent) <= self._at:
            stream: Stream = self.sent
        else:
            stream = self._fault(self.sent, self._at, self._other)
            if self._fault is FAULTS["swap"] and len(self.sent) == self._at + 1:
                stream = stream[: self._at]
        arrives = stream[self._delivered :]
        self._delivered = max(len(stream), self._delivered)
        return arrives


class Meddled:
    """A party's end of a channel whose outgoing messages go through a `Line`."""

    def __init__(self, channel: Channel, line: Line) -> None:
        self._channel, self._line = channel, line

    def __getattr__(self, name: str) -> Any:
        return getattr(self._channel, name)

    def send(self, label: str, payload: bytes) -> None:
        for item in self._line.passes(label, payload):
            self._channel.send(*item)


@dataclass(frozen=True)
class Played:
    """What came of a run: by rank what each returned or raised, the messages, and the channels."""

    ended: list[Any]
    messages: list[Message]
    meshes: list[Mesh]


def role(run: Any, secret: int, seed: int, timeout_s: float) -> Callable[[Mesh], object]:
    def play_one(mesh: Mesh) -> object:
        rng = DeterministicRandomness(bytes((mesh.rank, seed)) * 8)
        return run.play(runs.Place(mesh, run.secrets[secret], rng, timeout_s))

    return play_one


def play(
    run: Any,
    *,
    secret: int = 0,
    seed: int = 0,
    session: bytes = runs.SESSION,
    at: Message | None = None,
    fault: Fault | None = None,
    other: bytes = b"",
    timeout_s: float = PATIENT_S,
) -> Played | None:
    """Play a run over a network that does ``fault`` to message ``at``; None where it hangs."""
    lines: dict[tuple[int, int], Line] = {}
    meshes = []
    for mesh in mesh_of(run.parties, session, timeout_s=timeout_s):
        ends = {}
        for peer, channel in mesh.channels.items():
            is_hit = at is not None and (at.sender, at.receiver) == (mesh.rank, peer)
            lines[mesh.rank, peer] = Line(at.number, fault, other) if at and is_hit else Line(None, None, b"")
            ends[peer] = Meddled(channel, lines[mesh.rank, peer])
        meshes.append(Mesh(mesh.rank, mesh.session, ends))

    ended: list[Any] = []
    roles = [role(run, secret, seed, timeout_s)] * run.parties
    thread = threading.Thread(target=lambda: ended.extend(mesh_outcomes(roles, meshes)), daemon=True)
    thread.start()
    thread.join(LIMIT_S)
    if thread.is_alive():
        return None
    messages = [
        Message(sender, receiver, number, label, payload)
        for (sender, receiver), line in sorted(lines.items())
        for number, (label, payload) in enumerate(line.sent)
    ]
    return Played(ended, messages, meshes)


@cache
def honest(name: str, secret: int = 0, seed: int = 0, session: bytes = runs.SESSION) -> Played:
    played = play(runs.RUNS[name], secret=secret, seed=seed, session=session)
    assert played is not None
    for end in played.ended:
        if isinstance(end, Exception):
            raise end
    return played


def stream_of(played: Played, sender: int, receiver: int) -> Stream:
    return [
        (one.label, one.payload)
        for one in played.messages
        if (one.sender, one.receiver) == (sender, receiver)
    ]


MANY = 12


def some(messages: Sequence[Message]) -> list[Message]:
    """All of a few messages; of many, the first and the last of each name, and others in between."""
    if len(messages) <= MANY:
        return list(messages)
    names: dict[str, list[Message]] = {}
    for message in messages:
        names.setdefault(message.name, []).append(message)
    ends = [one for group in names.values() for one in dict.fromkeys((group[0], group[-1]))]
    between = [one for one in messages if one not in ends]
    more = max(MANY - len(ends), 0)
    return ends + between[:: len(between) // more + 1 if more else len(messages)][:more]


# What must come of it.


def affected(name: str, message: Message, delivered: Stream) -> Message | None:
    """The first message in whose place something else arrives; None where all arrive and are read."""
    played = honest(name)
    line = [
        one for one in played.messages if (one.sender, one.receiver) == (message.sender, message.receiver)
    ]
    for one, arrives in zip(line, [*delivered, *[None] * len(line)], strict=False):
        if arrives != (one.label, one.payload):
            return one
    return None


def misconduct(name: str, message: Message, fault: Fault, waits_s: float = WAITS_S) -> str | None:
    """Play a run with one fault; what is wrong with how it ended, or None."""
    run, expected = runs.RUNS[name], honest(name)
    there = stream_of(honest(name, seed=1, session=b"another session"), message.sender, message.receiver)
    other = there[message.number][1] if message.number < len(there) else b""
    stream = stream_of(expected, message.sender, message.receiver)
    hit = affected(name, message, fault(stream, message.number, other))
    if hit is None and fault is not FAULTS["duplicate"]:
        return None  # nothing else arrives than was sent
    played = play(run, at=message, fault=fault, other=other, timeout_s=PATIENT_S if hit is None else waits_s)
    if played is None:
        return f"{message}: hangs"
    for rank, end in enumerate(played.ended):
        if isinstance(end, Exception) and not isinstance(end, MpcError):
            return f"{message}: rank {rank} raised {end!r}"
    outputs = [runs.shown(end) for end in expected.ended]
    ended = [end if isinstance(end, MpcError) else runs.shown(end) for end in played.ended]
    if hit is None:
        return None if ended == outputs else f"{message}: another output"
    if run.drop_outs:
        return _wrong_sum(message, hit, played.ended)
    if not isinstance(ended[message.receiver], MpcError):
        return f"{message}: its receiver has output"
    for rank, end in enumerate(ended):
        if not isinstance(end, MpcError) and (hit.name != run.last or end != outputs[rank]):
            return f"{message}: rank {rank} has output"
    return None


def _wrong_sum(message: Message, hit: Message, ended: Sequence[Any]) -> str | None:
    """Where parties may drop out: the receiver has no output, and a sum is that of whom it names."""
    if hit.receiver and not isinstance(ended[hit.receiver], MpcError):
        return f"{message}: its receiver has output"
    total = ended[0]
    if isinstance(total, MpcError):
        return None
    assert isinstance(total, secagg.Sum)
    if len(total.survivors) < runs.THRESHOLD:
        return f"{message}: a sum of too few"
    expected = sum((runs.vector(owner, 0) for owner in total.survivors), np.zeros(runs.WORDS, np.uint64))
    if total.total.tolist() != expected.tolist():
        return f"{message}: another sum"
    told = [end for end in ended[1:] if not isinstance(end, MpcError)]
    return None if all(one == total.survivors for one in told) else f"{message}: other survivors"


def misconducts(name: str, messages: Sequence[Message], kind: str) -> list[str]:
    # Cases that wait for a message that does not come wait together.
    workers, waits_s = (8, HASTY_S) if kind in LACKING else (1, WAITS_S)
    with ThreadPoolExecutor(workers) as pool:
        found = pool.map(lambda message: misconduct(name, message, FAULTS[kind], waits_s), messages)
        return [one for one in found if one is not None]


def skip_what_is_absent(name: str) -> None:
    if name == "he/scoring" and not IS_TENSEAL_HERE:
        pytest.skip("TenSEAL is an extra")


def test_every_protocol_has_a_run() -> None:
    assert {run.spec.name for run in runs.RUNS.values()} == {spec.name for spec in mpc.PROTOCOLS}


@pytest.mark.parametrize("kind", [slow(kind) if kind == "empty" else kind for kind in FAULTS])
@pytest.mark.parametrize("name", OFTEN)
def test_what_the_network_does_to_a_message_ends_the_run_without_output(name: str, kind: str) -> None:
    skip_what_is_absent(name)
    assert misconducts(name, some(honest(name).messages), kind) == []


@pytest.mark.slow
@pytest.mark.parametrize("kind", FAULTS)
@pytest.mark.parametrize("name", NAMES)
def test_it_is_so_for_every_single_message(name: str, kind: str) -> None:
    skip_what_is_absent(name)
    assert misconducts(name, honest(name).messages, kind) == []


@pytest.mark.parametrize("name", NAMES)
def test_parties_in_different_sessions_have_no_output(name: str) -> None:
    skip_what_is_absent(name)
    run = runs.RUNS[name]
    stranger = mesh_of(run.parties, b"session of attempt 2")[run.parties - 1]
    meshes = mesh_of(run.parties, b"session of attempt 1", timeout_s=WAITS_S)
    for channel, other in zip(meshes[-1].channels.values(), stranger.channels.values(), strict=True):
        channel.session = other.session
    meshes[-1] = Mesh(run.parties - 1, stranger.session, meshes[-1].channels)
    ended = mesh_outcomes([role(run, 0, 0, WAITS_S)] * run.parties, meshes)
    assert isinstance(ended[-1], MpcError)
    if run.drop_outs:
        assert not isinstance(ended[0], secagg.Sum) or run.parties - 1 not in ended[0].survivors
    else:
        assert all(isinstance(end, MpcError) for end in ended)


@pytest.mark.skipif(spu.version() is None, reason="SPU is not installed")
@pytest.mark.parametrize("message", ["hello", "confirm"])
def test_an_engines_run_ends_without_output_too(message: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """`tests/unit/mpc/test_mpc_rr22.py` does the same to frames, of which no two runs have as many."""
    monkeypatch.undo()

    def tap(sender: int, receiver: int, label: str, payload: bytes) -> bytes | None:
        is_hit = sender == 0 and label.endswith(f"/{message}")
        return bytes([payload[0] ^ 1]) + payload[1:] if is_hit else None

    run = runs.RUNS["psi/rr22"]
    ended = mesh_outcomes(
        [lambda mesh: run.play(runs.Place(mesh, run.secrets[0], SystemRandomness(), PATIENT_S))] * 2,
        mesh_of(2, tap=tap),
    )
    assert isinstance(ended[1], ProtocolAbort)
    assert isinstance(ended[0], MpcError) or message == "confirm"


# Numbers and points that are not what they should be.

NUMBERS = {"none": 0, "large": 2**40, "sign": 2**63, "largest": 2**64 - 1}
HEADER_WORDS = 4


def words_of(message: Message) -> list[int]:
    """Where whole words stand in front of what a message carries: counts, types and shapes."""
    return list(range(0, min(len(message.payload) - 7, 8 * HEADER_WORDS), 8))


def put(at: int, what: bytes) -> Callable[[bytes], bytes]:
    return lambda payload: payload[:at] + what + payload[at + len(what) :]


@pytest.mark.parametrize("number", ["none", "largest", *map(slow, ("large", "sign"))])
@pytest.mark.parametrize("name", OFTEN)
def test_a_count_that_is_none_ends_the_run_at_once(name: str, number: str) -> None:
    """Nobody makes room for it, or waits for as much."""
    skip_what_is_absent(name)
    word = NUMBERS[number].to_bytes(8, "little")
    firsts = {message.name: message for message in reversed(honest(name).messages)}
    cases = [(message, at) for message in firsts.values() for at in words_of(message)]
    with ThreadPoolExecutor(4) as pool:
        found = pool.map(lambda case: misconduct(name, case[0], instead(put(case[1], word)), HASTY_S), cases)
        assert [one for one in found if one is not None] == []


ELEMENTS = {
    "identity": bytes(32),
    "beyond-the-field": (2**255 - 18).to_bytes(32, "little"),
    "negative": (1).to_bytes(32, "little"),
    "minus-one": (2**255 - 20).to_bytes(32, "little"),
    "no-square": bytes.fromhex("26948d35ca62e643e26a83177332e6b6afeb9d08e4268b650f1f5bbd8d81d371"),
    "top-bit": bytes(31) + b"\x80",
}
"""RFC 9496, appendix A.2, and the identity, which no protocol sends."""
CURVE = {
    "zero": bytes(32),
    "one": (1).to_bytes(32, "little"),
    "order-8": bytes.fromhex("e0eb7a7c3b41b8ae1656e3faf19fc46ada098deb9c32b1fd866205165f49b800"),
    "minus-one": (2**255 - 20).to_bytes(32, "little"),
    "beyond-the-field": (2**255 - 19).to_bytes(32, "little"),
}
"""The points of small order of Curve25519, in two of their encodings: RFC 7748, section 6.1."""
PLACES = [
    pytest.param(name, label, at, points[point], id=f"{name}-{label}-{at}-{point}")
    for name, run in runs.RUNS.items()
    for field, points in (("elements", ELEMENTS), ("curve", CURVE))
    for label, places in getattr(run, field).items()
    for at in places
    for point in points
]


@pytest.mark.parametrize(("name", "label", "at", "element"), PLACES)
def test_a_point_outside_the_group_is_refused_where_it_arrives(
    name: str, label: str, at: int, element: bytes
) -> None:
    message = next(one for one in honest(name).messages if one.name == label)
    assert len(message.payload) >= at + 32
    played = play(
        runs.RUNS[name],
        at=message,
        fault=instead(put(at, element)),
        timeout_s=PATIENT_S,
    )
    assert played is not None
    refused = [end for end in played.ended if isinstance(end, MalformedMessage | InvalidProof)]
    assert refused
    assert runs.RUNS[name].drop_outs or all(isinstance(end, MpcError) for end in played.ended)


# What a run costs.


@pytest.mark.parametrize("name", [name for name in NAMES if runs.RUNS[name].sent or runs.RUNS[name].largest])
def test_measured_rounds_and_bytes_are_the_declared_ones(name: str) -> None:
    skip_what_is_absent(name)
    run = runs.RUNS[name]
    for rank, mesh in enumerate(honest(name).meshes):
        stats = [channel.stats for channel in mesh.channels.values()]
        sent = sum(one.bytes_sent for one in stats)
        if run.rounds is not None:
            assert sum(one.rounds for one in stats) == run.rounds(rank), rank
        if run.sent is not None:
            assert sent == run.sent(rank), rank
        else:
            assert 0.3 * run.largest(rank) < sent <= run.largest(rank), rank


# What a run shows.


def shape(messages: Sequence[Message]) -> list[tuple[int, int, int, str, int]]:
    return [(one.sender, one.receiver, one.number, one.label, len(one.payload)) for one in messages]


@pytest.mark.parametrize("name", NAMES)
def test_labels_and_sizes_do_not_depend_on_secrets(name: str) -> None:
    skip_what_is_absent(name)
    one, other = (shape(honest(name, secret).messages) for secret in range(2))
    share = runs.RUNS[name].sizes_vary
    assert [place for *place, _ in one] == [place for *place, _ in other]
    for (*place, label, first), (*_, second) in zip(one, other, strict=True):
        is_by_chance = label.rsplit("/", 1)[1] in runs.RUNS[name].by_chance
        assert is_by_chance or abs(first - second) <= share * first, (place, label)


SEEDS = range(16)
SIGMAS = 6.0
"""Two-sided, for some 60 checks with fixed seeds: a false alarm in 10^7."""


@pytest.mark.parametrize("secret", range(2))
@pytest.mark.parametrize("name", [name for name in NAMES if runs.RUNS[name].uniform])
def test_what_should_be_uniform_is_whatever_the_secrets_are(name: str, secret: int) -> None:
    run = runs.RUNS[name]
    seen: dict[str, list[bytes]] = {label: [] for label in run.uniform}
    for seed in SEEDS:
        for message in honest(name, secret, seed).messages:
            if message.name in seen:
                seen[message.name].append(message.payload[run.uniform[message.name] :])
    for label, bodies in seen.items():
        bits = np.unpackbits(np.frombuffer(b"".join(bodies), np.uint8)).reshape(-1, 8)
        assert len(bits) >= 200, label
        deviation = (bits.mean(axis=0) - 0.5) / (0.5 / len(bits) ** 0.5)
        assert np.abs(deviation).max() < SIGMAS, (label, deviation)
