"""Order by compare-and-swap on the last sequence of a JetStream stream. Needs the extra ``nats``.

The stream ``parley-<space>`` has one message per part of a batch, on the subject ``parley.<space>.<height>``.
Headers say what each message is:

| header | value |
| --- | --- |
| ``Parley-Head`` | the next free height after this message |
| ``Parley-Start`` | where the order starts |
| ``Parley-Part`` | ``<number>/<parts>``, from 1; the last part orders the batch; ``0/0`` begins an order |
| ``Nats-Expected-Last-Sequence`` | the message before; another writer's in between has ours refused |
| ``Nats-Msg-Id`` | ``<writer>-<number>``: a message sent twice is stored once |

So the last message of the stream says which height is next, and the parts of an ordered batch follow one
another. A proposer that dies leaves parts without a last one; they order nothing, and the next writer goes on
after them. What a server did not acknowledge is sent again; what stays unknown is reported as
``StoreUnavailable``, and ``follow`` tells later.
"""

from __future__ import annotations

import secrets
import ssl
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from nats.js.api import RawStreamMsg
from sqlalchemy import Connection

from ledger.errors import OrderConflict, StoreCorrupt
from ledger.orderers import Faults
from ledger.orderers.jetstream import Stream
from ledger.orderers.nats_monitoring import check_servers

__all__ = ["NatsOrderer"]

_HEADER_BYTES = 4096
_MAX_PART = 1024 * 1024
_ATTEMPTS = 3


@dataclass(frozen=True)
class _End:
    """The last message: its sequence, and what it says of the order."""

    sequence: int
    head: int
    start: int


class NatsOrderer:
    """One order in a JetStream stream with three replicas, in files that are synced at every write.

    Args:
        servers: client URLs of the cluster's servers.
        monitors: monitoring URLs of all servers of the cluster; each is asked whether it syncs every write.
        space: names the order; the hash of the genesis, so that two ledgers never meet.
        tls: for servers that begin with TLS (``handshake_first``), with the client certificate if they ask
            for one. Without it, ``tls`` URLs are held to the system's authorities.
        patience_s: how long a request is repeated before it fails; elections take some seconds.

    Raises:
        EngineUnusable: a server does not sync every write or did not say so, or the stream is not one that
            keeps what it acknowledged.
        StoreUnavailable: the cluster does not answer.
    """

    kind = "nats"
    faults: Faults = "crash"
    max_batch = 16 * 1024 * 1024

    def __init__(
        self,
        servers: Sequence[str],
        monitors: Sequence[str],
        space: str,
        *,
        tls: ssl.SSLContext | None = None,
        patience_s: float = 10.0,
    ) -> None:
        if tls is None and any(server.startswith("tls:") for server in servers):
            tls = ssl.create_default_context()
        names = check_servers(monitors, tls=tls, patience_s=patience_s)
        self._subject = f"parley.{space}"
        self._stream = Stream(
            f"parley-{space}", f"{self._subject}.*", servers, hosts=names, tls=tls, patience_s=patience_s
        )
        self._end: _End | None = None

    def reference(self, height: int) -> str:
        """Return the height: sequences are known only after the seal is signed."""
        return str(height)

    def begin(self, height: int) -> None:
        """Put a message that starts an order; see ``Orderer.begin``."""
        end = self._read_end()
        if end.start == height:
            return
        if end.sequence and not end.start < end.head < height:
            raise OrderConflict(f"expected an order that starts at {height}, it started at {end.start}")
        headers = {"Parley-Head": str(height), "Parley-Start": str(height), "Parley-Part": "0/0"}
        sequence = self._stream.append(
            f"{self._subject}.{height - 1}", b"", headers, after=end.sequence, name=secrets.token_hex(16)
        )
        if sequence is None:
            raise OrderConflict("another writer began an order")
        self._end = _End(sequence, height, height)
        self._stream.purge(sequence)

    def propose(self, height: int, batch: bytes, connection: Connection) -> None:
        """Put the parts one after another; see ``Orderer.propose``."""
        size = min(self._stream.max_payload, _MAX_PART) - _HEADER_BYTES
        parts = [batch[start : start + size] for start in range(0, max(len(batch), 1), size)]
        end = self._end
        if end is None or end.head != height:
            end = self._read_end()
        for _ in range(_ATTEMPTS):
            if end.head != height:
                raise OrderConflict(f"expected height {end.head}, got {height}")
            if self._put(height, parts, end):
                return
            end = self._read_end()
        raise OrderConflict(f"other writers came between the parts of the batch at height {height}")

    def follow(self, height: int) -> Iterator[tuple[int, bytes]]:
        """Yield batches in order."""
        end = self._read_end()
        first = self._stream.get(0)
        if first is None:
            return
        for following in range(max(height, end.start, _height(first)), end.head):
            last = self._stream.last(f"{self._subject}.{following}")
            if last is not None:
                yield following, self._assemble(following, last)

    def head(self) -> int:
        """Return the next free height."""
        return self._read_end().head

    def trim(self, below: int) -> None:
        """Purge the messages before the first batch that is kept."""
        end = self._read_end()
        kept = min(below, end.head - 1)
        last = self._stream.last(f"{self._subject}.{kept}") if kept > end.start else None
        if last is not None:
            self._stream.purge(_sequence(last) - max(_part(last)[1] - 1, 0))

    def close(self) -> None:
        """End the connection and its thread."""
        self._stream.close()

    def _put(self, height: int, parts: Sequence[bytes], end: _End) -> bool:
        """Append a batch after ``end``; False if that is not the end any more."""
        self._end, sequence, writer = None, end.sequence, secrets.token_hex(16)
        for number, part in enumerate(parts, 1):
            headers = {
                "Parley-Head": str(height + (number == len(parts))),
                "Parley-Start": str(end.start),
                "Parley-Part": f"{number}/{len(parts)}",
            }
            appended = self._stream.append(
                f"{self._subject}.{height}", part, headers, after=sequence, name=f"{writer}-{number}"
            )
            if appended is None:
                return False
            sequence = appended
        self._end = _End(sequence, height + 1, end.start)
        return True

    def _read_end(self) -> _End:
        last = self._stream.last(f"{self._subject}.*")
        if last is None:
            return _End(0, 0, 0)
        return _End(_sequence(last), _number(last, "Parley-Head"), _number(last, "Parley-Start"))

    def _assemble(self, height: int, last: RawStreamMsg) -> bytes:
        number, count = _part(last)
        if number != count:
            raise StoreCorrupt(f"nats: batch {height}: expected its last part, found part {number}")
        writer = _header(last, "Nats-Msg-Id").partition("-")[0]
        first = _sequence(last) - count + 1
        found: list[bytes] = []
        for position in range(1, count):
            message = self._stream.get(first + position - 1)
            if message is None or _header(message, "Nats-Msg-Id") != f"{writer}-{position}":
                raise StoreCorrupt(f"nats: batch {height}: part {position} of {count} is missing")
            found.append(message.data or b"")
        return b"".join([*found, last.data or b""])


def _sequence(message: RawStreamMsg) -> int:
    return message.seq or 0


def _height(message: RawStreamMsg) -> int:
    height = (message.subject or "").rpartition(".")[2]
    if not (height.isascii() and height.isdigit()):
        raise StoreCorrupt(f"nats: message {message.seq}: expected a subject that ends with a height")
    return int(height)


def _header(message: RawStreamMsg, name: str) -> str:
    return str((message.headers or {}).get(name, ""))


def _number(message: RawStreamMsg, name: str) -> int:
    value = _header(message, name)
    if not (value.isascii() and value.isdigit()):
        raise StoreCorrupt(f"nats: message {message.seq}: expected a number as {name}, found another value")
    return int(value)


def _part(message: RawStreamMsg) -> tuple[int, int]:
    number, _, count = _header(message, "Parley-Part").partition("/")
    if not (number.isascii() and number.isdigit() and count.isascii() and count.isdigit()):
        raise StoreCorrupt(f"nats: message {message.seq}: expected a part and a count as Parley-Part")
    return int(number), int(count)
