"""Order, back-pressure and repetition of frames, without threads or sockets.

``Outbox`` numbers what is sent and keeps it until the peer has it; ``Inbox`` takes each number once. A window
bounds what is sent and not yet consumed by the peer's protocol, so memory stays bounded at both ends. A frame
that breaks these rules is the peer's fault and ends the run.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass

from exchange.rpc.v1.party_pb2 import Ack, Frame
from mpc.errors import MalformedMessage

__all__ = ["CHUNK_BYTES", "WINDOW_BYTES", "WINDOW_FRAMES", "Inbox", "Outbox"]

CHUNK_BYTES = 256 * 1024
"""Largest piece of a message in one frame."""

WINDOW_BYTES = 64 * CHUNK_BYTES
"""Payload in flight between two protocols: sent by one and not yet received by the other."""

WINDOW_FRAMES = 16 * 1024
"""Frames in flight, so that very small messages are bounded too."""

_REPORT_BYTES = WINDOW_BYTES // 8  # acknowledge often enough that the window never closes on a reader
_REPORT_FRAMES = WINDOW_FRAMES // 8


@dataclass
class _Flight:
    """Numbers and sizes of frames on their way to the peer's protocol."""

    sizes: deque[tuple[int, int]]
    payload: int = 0

    def add(self, sequence: int, size: int) -> None:
        self.sizes.append((sequence, size))
        self.payload += size

    def land(self, consumed: int) -> None:
        while self.sizes and self.sizes[0][0] <= consumed:
            self.payload -= self.sizes.popleft()[1]


class Outbox:
    """What this end sends: numbered, kept until received, counted until consumed."""

    def __init__(self) -> None:
        self._kept: deque[Frame] = deque()
        self._flight = _Flight(deque())
        self._last = 0  # number of the newest frame
        self._cursor = 0  # number of the newest frame given to the present stream

    def has_room(self, size: int) -> bool:
        """Say whether ``size`` more payload bytes fit into the window."""
        flight = self._flight
        return flight.payload + size <= WINDOW_BYTES and len(flight.sizes) < WINDOW_FRAMES

    def push(self, frame: Frame) -> None:
        """Number a frame and queue it."""
        self._last += 1
        frame.sequence = self._last
        self._kept.append(frame)
        self._flight.add(self._last, len(frame.data.chunk))

    @property
    def has_unsent(self) -> bool:
        """Whether the present stream still lacks a frame."""
        return self._cursor < self._last

    @property
    def is_received(self) -> bool:
        """Whether the peer has confirmed every frame."""
        return not self._kept

    @property
    def confirmed(self) -> int:
        """How many frames the peer has confirmed."""
        return self._last - len(self._kept)

    def next_unsent(self) -> Frame:
        """Return the next frame for the present stream."""
        frame = self._kept[len(self._kept) - (self._last - self._cursor)]
        self._cursor += 1
        return frame

    def rewind(self, received: int) -> None:
        """Begin on a new stream behind what the peer's hello says it has.

        Raises:
            MalformedMessage: the peer claims frames that were never sent, or forgets some it confirmed.
        """
        self._confirm(received)
        self._cursor = received

    def acknowledge(self, ack: Ack) -> None:
        """Take the peer's word for what has arrived and what its protocol has taken.

        Raises:
            MalformedMessage: an acknowledgement of frames that were never sent, or one that goes back.
        """
        if ack.consumed > ack.received:
            raise MalformedMessage(f"acknowledged {ack.consumed} frames and received {ack.received}")
        self._confirm(ack.received)
        self._flight.land(ack.consumed)

    def _confirm(self, received: int) -> None:
        first_kept = self._last - len(self._kept) + 1
        if not first_kept - 1 <= received <= self._last:
            raise MalformedMessage(
                f"expected a confirmation of frame {first_kept - 1} to {self._last}, got {received}"
            )
        for _ in range(first_kept, received + 1):
            self._kept.popleft()


class Inbox:
    """What arrives: each number once, in order, and no more than the window allows."""

    def __init__(self) -> None:
        self._waiting: deque[Frame] = deque()
        self._payload = 0
        self.received = 0
        self.consumed = 0
        self._unreported_frames = 0
        self._unreported_bytes = 0
        self._is_hurried = False

    def __bool__(self) -> bool:
        return bool(self._waiting)

    def accept(self, frame: Frame) -> bool:
        """Check a numbered frame's place; False if it has been here before.

        Raises:
            MalformedMessage: a gap.
        """
        if frame.sequence <= self.received:
            return False
        if frame.sequence != self.received + 1:
            raise MalformedMessage(f"expected frame {self.received + 1}, got {frame.sequence}")
        self.received = frame.sequence
        return True

    def put(self, frame: Frame) -> None:
        """Queue an accepted data frame for the protocol.

        Raises:
            MalformedMessage: the chunk is larger than agreed, or the sender does not keep to the window.
        """
        size = len(frame.data.chunk)
        if size > CHUNK_BYTES:
            raise MalformedMessage(f"expected a chunk of at most {CHUNK_BYTES} bytes, got {size}")
        self._payload += size
        self._waiting.append(frame)
        if self._payload > WINDOW_BYTES or len(self._waiting) > WINDOW_FRAMES:
            raise MalformedMessage(f"expected at most {WINDOW_BYTES} bytes in flight, got {self._payload}")

    def peek(self) -> Frame:
        """Return the next data frame and leave it."""
        return self._waiting[0]

    def take(self) -> Frame:
        """Hand the next data frame to the protocol."""
        frame = self._waiting.popleft()
        self._payload -= len(frame.data.chunk)
        self.consumed = frame.sequence
        self._unreported_frames += 1
        self._unreported_bytes += len(frame.data.chunk)
        return frame

    def hurry(self) -> None:
        """Make the next acknowledgement due at once: the peer waits for it."""
        self._is_hurried = True

    @property
    def is_ack_due(self) -> bool:
        """Whether the peer should be told how far this end is."""
        return (
            self._is_hurried
            or self._unreported_frames >= _REPORT_FRAMES
            or self._unreported_bytes >= _REPORT_BYTES
        )

    def ack(self) -> Ack:
        """Make the acknowledgement and count it as given."""
        self._unreported_frames = self._unreported_bytes = 0
        self._is_hurried = False
        return Ack(received=self.received, consumed=self.consumed)
