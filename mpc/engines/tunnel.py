"""Carries the connections between two engines over a party channel, in frames.

An engine reaches its peer's engine through a socket of the file system in its own spool folder. This end
accepts there, and what comes in goes as frames to the other end, which connects to its own engine:

    engine A --> peer-1.sock | tunnel A  == frames over the channel ==>  tunnel B | own.sock --> engine B

So an engine has no network, and what two engines say to each other is encrypted, relayed, counted and hashed
into the transcript like every other message. One thread reads the sockets and sends; another receives and
writes. A full window stops the first from reading, and an engine that does not read stops the second from
receiving, so nothing piles up here.

Every ten seconds in which nothing comes from the engine, this end says whether it works or rests. Where both
engines rest and nothing is under way, a message was lost in an engine: nothing more will come of the run.

A frame is ``kind`` (1 byte), ``connection`` (4 bytes, little-endian), the bytes carried, and 16 bytes of a
hash over session, direction, number of the frame and its content. A changed, repeated, missing or misplaced
frame ends the run when it arrives, before the engine sees it. Which frames there are depends on timing.
"""

from __future__ import annotations

import hashlib
import hmac
import selectors
import socket
import struct
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from enum import IntEnum
from typing import Final

from mpc.domain import Usage, separation_tag
from mpc.errors import EngineFailed, MalformedMessage
from mpc.spec import ProtocolSpec
from mpc.transcript import ConfirmedChannel

__all__ = ["FRAME_BYTES", "OVERHEAD_BYTES", "Event", "Kind", "Seal", "Tunnel"]

FRAME_BYTES: Final = 256 * 1024
"""Largest frame: what the exchange's channel sends in one piece."""
MAX_CONNECTIONS: Final = 1024
"""Connections of one run; an engine opens one or two and keeps them."""

_HEADER: Final = struct.Struct("<BI")
_CHECK_BYTES: Final = 16
OVERHEAD_BYTES: Final = _HEADER.size + _CHECK_BYTES
_CARRIED_BYTES: Final = FRAME_BYTES - OVERHEAD_BYTES
_BEAT_S: Final = 10.0
_RESTING: Final = 0.01
"""An engine that used less of a core than this since the last beat rests."""
_START_S: Final = 120.0
_CLOSE_S: Final = 1.0
_RETRY_S: Final = 0.02
_MESSAGE: Final = "frame"


class Kind(IntEnum):
    """What a frame says."""

    OPEN = 1  # the sender's engine has opened this connection
    DATA = 2
    CLOSE = 3
    DONE = 4  # the sender's engine has its result and stays until all have
    END = 5  # nothing follows but the confirmation
    ALIVE = 6  # nothing happened for a while, but the sender's engine works
    RESTING = 7  # nothing happened for a while, and the sender's engine waits


Event = Kind | Exception
"""What a tunnel tells its owner: the peer's DONE and END, or why it failed."""


class Seal:
    """Makes or checks the frames of one direction, in order."""

    def __init__(self, spec: ProtocolSpec, session: bytes, sender: int) -> None:
        key = separation_tag(spec.name, spec.version, Usage.ENGINE_FRAME, session)
        self._keyed = hashlib.blake2b(bytes([sender]), key=key, digest_size=_CHECK_BYTES)
        self._number = 0

    def frame(self, kind: Kind, connection: int = 0, carried: bytes = b"") -> bytes:
        """Encode the next frame."""
        content = _HEADER.pack(kind, connection) + carried
        return content + self._check(content)

    def open(self, message: bytes) -> tuple[Kind, int, memoryview]:
        """Decode the next frame: its kind, its connection and what it carries.

        Raises:
            MalformedMessage: it is not the next frame of this direction.
        """
        if not OVERHEAD_BYTES <= len(message) <= FRAME_BYTES:
            raise MalformedMessage(f"expected a frame of {OVERHEAD_BYTES} to {FRAME_BYTES} bytes")
        content = memoryview(message)[:-_CHECK_BYTES]
        if not hmac.compare_digest(self._check(content), message[-_CHECK_BYTES:]):
            raise MalformedMessage("expected the next frame of the tunnel, got another or a changed one")
        code, connection = _HEADER.unpack_from(content)
        carried = content[_HEADER.size :]
        if code not in Kind.__members__.values():
            raise MalformedMessage(f"expected one of {len(Kind)} kinds of frame, got {code}")
        kind = Kind(code)
        if bool(carried) != (kind is Kind.DATA) or (connection and kind >= Kind.DONE):
            raise MalformedMessage(f"expected bytes in data frames alone, got {len(carried)} in {kind.name}")
        return kind, connection, carried

    def _check(self, content: bytes | memoryview) -> bytes:
        state = self._keyed.copy()
        state.update(struct.pack("<Q", self._number))
        state.update(content)
        self._number += 1
        return state.digest()


class Tunnel:
    """One engine's way to the engine of one other party.

    Args:
        peer: the channel, used by this tunnel alone until both ends have said END.
        spec: of the protocol the engine plays.
        door: listening socket of the file system that the engine dials for this peer.
        engine: path of the socket on which the engine listens.
        tell: called from the tunnel's threads with each `Event`.
        spent: tells how much processor time the engine has used, in seconds.
    """

    def __init__(
        self,
        peer: ConfirmedChannel,
        spec: ProtocolSpec,
        door: socket.socket,
        engine: str,
        tell: Callable[[Event], None],
        spent: Callable[[], float],
    ) -> None:
        self._peer, self._door, self._engine, self._tell, self._spent = peer, door, engine, tell, spent
        self._still_since = self._last_beat = time.monotonic()
        self._spent_before = 0.0
        self._outgoing = Seal(spec, peer.session, peer.rank)
        self._incoming = Seal(spec, peer.session, 1 - peer.rank)
        self._wake, self._woken = socket.socketpair()
        self._selector = selectors.DefaultSelector()
        self._lock = threading.Lock()
        self._made: list[socket.socket] = []
        self._open: dict[int, socket.socket] = {}
        self._seen: set[int] = set()
        self._accepted = 0
        self._unwatched: list[tuple[int, socket.socket]] = []
        self._to_say: list[Kind] = []
        self._is_closed = False
        self._threads = [
            threading.Thread(target=self._guarded, args=(work,), name=f"tunnel-{name}", daemon=True)
            for name, work in (("out", self._carry_out), ("in", self._carry_in))
        ]

    @property
    def still_s(self) -> float:
        """For how many seconds both engines have rested with nothing under way between them."""
        return time.monotonic() - self._still_since

    def start(self) -> None:
        """Begin to carry."""
        self._selector.register(self._door, selectors.EVENT_READ)
        self._selector.register(self._woken, selectors.EVENT_READ)
        for thread in self._threads:
            thread.start()

    def say(self, kind: Kind) -> None:
        """Send DONE or END after what has been read so far; END ends the sending thread."""
        with self._lock:
            self._to_say.append(kind)
        self._rouse()

    def join(self) -> None:
        """Wait for both threads; both ends have said END."""
        for thread in self._threads:
            thread.join()

    def close(self) -> None:
        """Close every socket; an engine on them hears it at once. Harmless when repeated.

        A thread that waits for the channel ends with the channel.
        """
        with self._lock:
            self._is_closed = True
        self._rouse()
        sender = self._threads[0]
        if sender.is_alive():
            sender.join(_CLOSE_S)
        with self._lock:
            for connection in (*self._made, self._door, self._wake, self._woken):
                _hang_up(connection)
                connection.close()

    def _rouse(self) -> None:
        with suppress(OSError):
            self._wake.send(b"\0")

    def _guarded(self, work: Callable[[], None]) -> None:
        try:
            work()
        except Exception as error:  # noqa: BLE001  # the owner raises it
            if not self._is_closed:
                self._tell(error)

    # Out: from the engine's sockets to the channel.

    def _carry_out(self) -> None:
        with self._selector:
            while not self._is_closed:
                ready = [key for key, _ in self._selector.select(_BEAT_S)]
                if not ready:
                    self._send(Kind.RESTING if self._engine_rests() else Kind.ALIVE)
                for key in ready:
                    if key.fileobj is self._door:
                        self._accept()
                    elif key.fileobj is self._woken:
                        if self._say_what_is_due():
                            return
                    else:
                        self._forward(key.data, key.fileobj)  # type: ignore[arg-type]

    def _engine_rests(self) -> bool:
        now, spent = time.monotonic(), self._spent()
        works = spent - self._spent_before > _RESTING * (now - self._last_beat)
        self._last_beat, self._spent_before = now, spent
        return not works

    def _send(self, kind: Kind, connection: int = 0, carried: bytes = b"") -> None:
        if kind is not Kind.RESTING:
            self._still_since = time.monotonic()
        self._peer.send(_MESSAGE, self._outgoing.frame(kind, connection, carried))

    def _accept(self) -> None:
        opened, _ = self._door.accept()
        number = 2 * self._accepted + self._peer.rank
        self._accepted += 1
        self._add(number, opened)
        self._selector.register(opened, selectors.EVENT_READ, number)
        self._send(Kind.OPEN, number)

    def _forward(self, number: int, connection: socket.socket) -> None:
        try:
            carried = connection.recv(_CARRIED_BYTES)
        except OSError:
            carried = b""
        if carried:
            self._send(Kind.DATA, number, carried)
            return
        self._selector.unregister(connection)
        with self._lock:
            was_open = self._open.pop(number, None) is not None
        connection.close()
        if was_open:
            self._send(Kind.CLOSE, number)

    def _say_what_is_due(self) -> bool:
        """Register what the peer has opened, say what the owner wants said; True after END."""
        self._woken.recv(4096)
        with self._lock:
            due, self._to_say = self._to_say, []
            unwatched, self._unwatched = self._unwatched, []
        for number, connection in unwatched:
            self._selector.register(connection, selectors.EVENT_READ, number)
        for kind in due:
            self._send(kind)
        return Kind.END in due

    def _add(self, number: int, connection: socket.socket) -> None:
        with self._lock:
            if self._is_closed:
                connection.close()
                raise EngineFailed("the run is over")
            self._made.append(connection)
            self._open[number] = connection
            self._seen.add(number)

    # In: from the channel to the engine's sockets.

    def _carry_in(self) -> None:
        while True:
            kind, number, carried = self._incoming.open(self._peer.receive(_MESSAGE))
            if kind is not Kind.RESTING:
                self._still_since = time.monotonic()
            if kind is Kind.OPEN:
                self._dial(number)
            elif kind is Kind.DATA or kind is Kind.CLOSE:
                self._deliver(kind, number, carried)
            elif kind is Kind.DONE or kind is Kind.END:
                self._tell(kind)
                if kind is Kind.END:
                    return

    def _dial(self, number: int) -> None:
        if number % 2 == self._peer.rank or number in self._seen or len(self._seen) >= MAX_CONNECTIONS:
            raise MalformedMessage(f"expected a new connection of the other party, got number {number}")
        connection = socket.socket(socket.AF_UNIX)
        until = time.monotonic() + _START_S
        while True:
            try:
                connection.connect(self._engine)
            except OSError as waiting:
                if self._is_closed or time.monotonic() > until:
                    connection.close()
                    raise EngineFailed("the engine does not listen") from waiting
                time.sleep(_RETRY_S)
            else:
                break
        self._add(number, connection)
        with self._lock:
            self._unwatched.append((number, connection))
        self._rouse()

    def _deliver(self, kind: Kind, number: int, carried: memoryview) -> None:
        if number not in self._seen:
            raise MalformedMessage(f"expected a connection that was opened, got number {number}")
        with self._lock:
            connection = self._open.get(number)
            if kind is Kind.CLOSE:
                self._open.pop(number, None)
        if connection is None:
            return  # our engine has closed it meanwhile
        if kind is Kind.CLOSE:
            _hang_up(connection)
        else:
            with suppress(OSError):  # the same, a moment later
                connection.sendall(carried)


def _hang_up(connection: socket.socket) -> None:
    """Shut down, so that the sending thread sees the end and closes it."""
    with suppress(OSError):
        connection.shutdown(socket.SHUT_RDWR)
