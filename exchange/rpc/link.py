"""One party's end of a session with one peer: it outlives the streams that carry it.

A stream attaches, moves frames both ways and detaches; whoever speaks gRPC does that. What is kept here is
all that must survive a lost connection. Protocol threads send and receive through ``StepChannel`` and block
on one condition; a failure of any kind wakes them all. An abort ends the run and leaves the stream in place,
so that the abort itself still arrives.
"""

from __future__ import annotations

import hashlib
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Literal

from exchange.rpc.errors import ChannelTimeout
from exchange.rpc.flow import CHUNK_BYTES, Inbox, Outbox
from exchange.rpc.v1.party_pb2 import Abort, Close, Data, Frame
from mpc.channel import ChannelStats
from mpc.errors import ChannelBroken, MalformedMessage, PeerAborted, UnexpectedMessage

__all__ = ["Limits", "Link", "Observer", "StepChannel", "attempt_name", "step_session"]

Observer = Callable[[Literal["sent", "received"], str, bytes], None]
"""Called with the direction, the peer's DID and each frame's bytes; for tests of what a party sees."""

_STEP_DOMAIN = b"parley-step/v1\n"
_ATTEMPT = "#"
"""In no id of a step."""


@dataclass(frozen=True, kw_only=True)
class Limits:
    """How long to wait, in seconds, and how much to take.

    Attributes:
        receive_s: for the peer's next message, or for room to send, while it is connected.
        reconnect_s: for the connection to come back.
        close_s: for the peer to confirm the last frames.
        message_bytes: largest message that is put together.
    """

    receive_s: float = 900.0
    reconnect_s: float = 60.0
    close_s: float = 5.0
    message_bytes: int = 1 << 30


class Link:
    """A session with one peer. ``channel`` gives the protocols of its steps their channels.

    Attributes:
        session: 32 bytes, see ``SessionKey``.
        peer: DID of the other party.
        wire_sent: bytes of frames given to the transport, repetitions included.
        wire_received: bytes of frames that came from it.
    """

    def __init__(
        self,
        session: bytes,
        peer: str,
        *,
        limits: Limits,
        observer: Observer | None,
        on_close: Callable[[Link], None],
    ) -> None:
        self.session, self.peer = session, peer
        self.wire_sent = self.wire_received = 0
        self.limits, self._observer, self._on_close = limits, observer, on_close
        self._state = threading.Condition()
        self._outbox, self._inbox = Outbox(), Inbox()
        self._stream = 0  # number of the present stream; 0 while detached
        self._streams = 0
        self._detached_at = time.monotonic()
        self._failure: Exception | None = None
        self._is_dead = False  # failed in a way that no frame can mend
        self._is_peer_closed = self._is_closing = self._is_over = False

    def channel(self, step: str, rank: int) -> StepChannel:
        """Return the channel of one step.

        Args:
            step: the step's id, or `attempt_name`; steps of one link are run one after the other.
            rank: which of the protocol's roles this end plays.
        """
        return StepChannel(self, step, rank)

    def close(self) -> None:
        """Wait until the peer has everything that was sent, then end the session at this end."""
        with self._state:
            if self._is_closing:
                return
            self._is_closing = True
            self._outbox.push(Frame(session=self.session, close=Close()))
            self._state.notify_all()
            self._state.wait_for(self._is_settled, self.limits.close_s)
            self._is_over = True
            self._state.notify_all()
        self._on_close(self)

    def _is_settled(self) -> bool:
        everything_said = self._outbox.is_received and not self._inbox.is_ack_due
        return everything_said or self._is_dead or (self._is_peer_closed and self._stream == 0)

    # What the transport calls.

    @property
    def is_over(self) -> bool:
        """Whether no stream is needed any more."""
        return self._is_over or self._is_dead

    @property
    def is_peer_closed(self) -> bool:
        """Whether the peer has said that it sends nothing more."""
        return self._is_peer_closed

    @property
    def is_attached(self) -> bool:
        """Whether a stream carries it at this moment."""
        return self._stream != 0

    @property
    def received(self) -> int:
        """What a hello says about frames received."""
        return self._inbox.received

    @property
    def confirmed(self) -> int:
        """How many frames the peer has confirmed."""
        return self._outbox.confirmed

    def attach(self, received: int) -> int:
        """Take a new stream into use, in place of any other.

        Args:
            received: from the peer's hello.

        Returns:
            The stream's number, for the calls below.

        Raises:
            MalformedMessage: the peer confirms what was never sent.
        """
        with self._state:
            self._outbox.rewind(received)
            self._streams += 1
            self._stream = self._streams
            self._state.notify_all()
            return self._stream

    def detach(self, stream: int) -> None:
        """Say that a stream has ended."""
        with self._state:
            if stream == self._stream:
                self._stream = 0
                self._detached_at = time.monotonic()
                self._state.notify_all()

    def fail(self, failure: Exception) -> None:
        """End the session with an error that all waiting threads raise; the first failure counts."""
        with self._state:
            self._failure = self._failure or failure
            self._is_dead = True
            self._state.notify_all()

    def outgoing(self, stream: int) -> Iterator[Frame]:
        """Yield the frames for a stream until it ends or the session is over."""
        while (frame := self._next_outgoing(stream)) is not None:
            self.observe("sent", frame)
            yield frame

    def _next_outgoing(self, stream: int) -> Frame | None:
        with self._state:
            self._state.wait_for(
                lambda: (
                    stream != self._stream
                    or self._outbox.has_unsent
                    or self._inbox.is_ack_due
                    or self.is_over
                )
            )
            if stream != self._stream or self._is_dead:
                return None
            if self._inbox.is_ack_due:
                frame = Frame(session=self.session, ack=self._inbox.ack())
                self._state.notify_all()
                return frame
            return self._outbox.next_unsent() if self._outbox.has_unsent else None

    def incoming(self, stream: int, frame: Frame) -> None:
        """Take one frame from a stream.

        Raises:
            MalformedMessage: the frame breaks the rules; the session has failed with the same error.
        """
        self.observe("received", frame)
        with self._state:
            if stream != self._stream:
                return
            try:
                self._sort_in(frame)
            except MalformedMessage as error:
                self._failure = self._failure or error
                self._is_dead = True
                raise
            finally:
                self._state.notify_all()

    def _sort_in(self, frame: Frame) -> None:
        if frame.session != self.session:
            raise MalformedMessage("expected a frame of this session, got one of another")
        kind = frame.WhichOneof("content")
        if kind == "ack":
            self._outbox.acknowledge(frame.ack)
        elif kind not in ("data", "abort", "close"):
            raise MalformedMessage(f"expected data, ack, abort or close, got {kind or 'nothing'}")
        elif not self._inbox.accept(frame):
            return
        elif kind == "data":
            self._inbox.put(frame)
        elif kind == "abort":
            self._failure = self._failure or PeerAborted(frame.abort.code)
            self._inbox.hurry()
        else:
            self._is_peer_closed = True
            self._inbox.hurry()

    def observe(self, direction: Literal["sent", "received"], frame: Frame) -> None:
        """Count a frame that crosses the wire and show it to the observer."""
        if direction == "sent":
            self.wire_sent += frame.ByteSize()
        else:
            self.wire_received += frame.ByteSize()
        if self._observer is not None:
            self._observer(direction, self.peer, frame.SerializeToString())

    # What the channels call.

    def push(self, step: str, data: Data) -> None:
        """Send one piece, waiting for room in the window."""
        with self._state:
            self._wait(lambda: self._outbox.has_room(len(data.chunk)), "took nothing of what waits for it")
            if self._is_peer_closed:
                raise ChannelBroken(f"{self.peer} has closed the session")
            self._outbox.push(Frame(session=self.session, step=step, data=data))
            self._state.notify_all()

    def pull(self, step: str) -> Data:
        """Wait for the next piece of a step."""
        with self._state:
            self._wait(lambda: bool(self._inbox) or self._is_peer_closed, "sent nothing")
            if not self._inbox:
                raise ChannelBroken(f"{self.peer} has closed the session")
            arrived = self._inbox.peek().step
            if arrived != step:
                if arrived.partition(_ATTEMPT)[0] == step.partition(_ATTEMPT)[0]:
                    raise ChannelBroken(f"{self.peer} has begun another attempt at the step")
                raise UnexpectedMessage(f"of step {step}", f"of step {arrived}")
            frame = self._inbox.take()
            if self._inbox.is_ack_due:
                self._state.notify_all()
            return frame.data

    def abort(self, step: str, code: str) -> None:
        """Tell the peer that the run is over, past the window; this end is over too."""
        with self._state:
            if self._failure is None and not self._is_closing:
                self._outbox.push(Frame(session=self.session, step=step, abort=Abort(code=code)))
                self._failure = ChannelBroken(f"this end aborted: {code}")
                self._state.notify_all()

    def _wait(self, ready: Callable[[], bool], silence: str) -> None:
        """Wait under the lock until ``ready``; raise on failure, long silence or long separation."""
        silent_from = time.monotonic()
        while True:
            if self._failure is not None:
                raise self._failure
            if self._is_closing:
                raise ChannelBroken("this end has closed the session")
            if ready():
                return
            now = time.monotonic()
            if self._stream == 0 and not self._is_peer_closed:
                left = self._detached_at + self.limits.reconnect_s - now
                if left <= 0:
                    raise ChannelBroken(f"no connection to {self.peer} for {self.limits.reconnect_s:g} s")
            else:
                left = silent_from + self.limits.receive_s - now
                if left <= 0:
                    raise ChannelTimeout(f"{self.peer} {silence} for {self.limits.receive_s:g} s")
            self._state.wait(left)


def attempt_name(step: str, attempt: int) -> str:
    """What names the frames of one attempt at a step; those of the first have the step's own id."""
    return step if attempt == 1 else f"{step}{_ATTEMPT}{attempt}"


def step_session(session: bytes, step: str) -> bytes:
    """What names the channel of one step of a session, connected or not."""
    return hashlib.sha256(_STEP_DOMAIN + session + step.encode()).digest()


class StepChannel:
    """The channel of one step: ``mpc.channel.Channel`` over a link."""

    def __init__(self, link: Link, step: str, rank: int) -> None:
        self._link, self._step, self._rank = link, step, rank
        self._session = step_session(link.session, step)
        self._stats = ChannelStats()

    @property
    def session(self) -> bytes:
        """32 bytes, equal at both ends, different for each step, attempt and job."""
        return self._session

    @property
    def rank(self) -> int:
        """Which of the protocol's roles this end plays."""
        return self._rank

    @property
    def peer(self) -> str:
        """DID of the other party."""
        return self._link.peer

    @property
    def stats(self) -> ChannelStats:
        """Payload bytes, messages and rounds of this step."""
        return self._stats

    def send(self, label: str, payload: bytes) -> None:
        """Send one message; waits only while the window is full.

        Raises:
            PeerAborted, ChannelBroken: as for ``receive``.
        """
        view = memoryview(payload).cast("B")
        for start in range(0, max(len(view), 1), CHUNK_BYTES):
            chunk = bytes(view[start : start + CHUNK_BYTES])
            is_last = start + CHUNK_BYTES >= len(view)
            self._link.push(self._step, Data(label=label if start == 0 else "", chunk=chunk, last=is_last))
        self._stats.count_sent(len(view))

    def receive(self, label: str) -> bytes:
        """Wait for the next message, which must carry ``label``.

        Raises:
            UnexpectedMessage: the next message carries another label, or belongs to another step.
            PeerAborted: the peer stopped the run.
            ChannelBroken: the session is closed, the connection stayed away, or nothing came in time.
        """
        data = self._link.pull(self._step)
        if data.label != label:
            raise UnexpectedMessage(label, data.label)
        payload = bytearray(data.chunk)
        while not data.last:
            data = self._link.pull(self._step)
            payload += data.chunk
            if len(payload) > self._link.limits.message_bytes:
                raise MalformedMessage(
                    f"expected a message of at most {self._link.limits.message_bytes} bytes, got a longer one"
                )
        self._stats.count_received(len(payload))
        return bytes(payload)

    def abort(self, code: str) -> None:
        """Tell the peer that this run is over and why. Never raises; later calls have no effect."""
        self._link.abort(self._step, code)
