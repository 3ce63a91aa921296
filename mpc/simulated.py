"""Parties that are simulated in one process: channels in memory between them.

They do not encrypt: whoever runs the process sees what every party has. For tests, and for runs on data that
is made up.
"""

from __future__ import annotations

import queue
from collections.abc import Callable

from mpc.channel import ChannelStats
from mpc.errors import ChannelBroken, PeerAborted, UnexpectedMessage
from mpc.mesh import Mesh

__all__ = ["MemoryChannel", "Tap", "channel_pair", "mesh_of"]

Tap = Callable[[str, str, bytes], bytes | None]
"""Called as ``tap(direction, label, payload)`` for each message, direction ``"0->1"`` or ``"1->0"``.

What it returns, if not None, is delivered in place of the payload, so that a test can play the network.
"""

_Item = tuple[str, bytes] | str  # a labelled message, or the code of an abort


class MemoryChannel:
    """One end of a pair of queues; thread-safe, one reader and one writer an end."""

    def __init__(
        self,
        session: bytes,
        rank: int,
        inbox: queue.SimpleQueue[_Item],
        outbox: queue.SimpleQueue[_Item],
        tap: Tap | None,
        timeout_s: float,
    ) -> None:
        self.session, self.rank, self.peer = session, rank, f"rank {1 - rank}"
        self.stats = ChannelStats()
        self._inbox, self._outbox, self._tap, self._timeout_s = inbox, outbox, tap, timeout_s
        self._aborted = False

    def send(self, label: str, payload: bytes) -> None:
        """Put one message into the peer's queue, after the tap has seen it."""
        self.stats.count_sent(len(payload))
        if self._tap is not None:
            replaced = self._tap(f"{self.rank}->{1 - self.rank}", label, payload)
            payload = payload if replaced is None else replaced
        self._outbox.put((label, payload))

    def receive(self, label: str) -> bytes:
        """Wait for the next message; raises as `mpc.channel.Channel.receive` does."""
        try:
            item = self._inbox.get(timeout=self._timeout_s)
        except queue.Empty as empty:
            raise ChannelBroken(f"no message {label!r} within {self._timeout_s} s") from empty
        if isinstance(item, str):
            raise PeerAborted(item)
        arrived, payload = item
        if arrived != label:
            raise UnexpectedMessage(label, arrived)
        self.stats.count_received(len(payload))
        return payload

    def abort(self, code: str) -> None:
        """Tell the peer once that this run is over."""
        if not self._aborted:
            self._aborted = True
            self._outbox.put(code)


def channel_pair(
    session: bytes = b"test session",
    *,
    peer_session: bytes | None = None,
    tap: Tap | None = None,
    timeout_s: float = 20.0,
) -> tuple[MemoryChannel, MemoryChannel]:
    """Make the two ends of an in-memory channel, ranks 0 and 1.

    Args:
        session: session of rank 0, and of rank 1 unless ``peer_session`` says otherwise.
        peer_session: session of rank 1, for tests of parties that are not in one session.
        tap: sees, and may replace, each message.
        timeout_s: how long a receive waits before it raises `ChannelBroken`.
    """
    to_first: queue.SimpleQueue[_Item] = queue.SimpleQueue()
    to_second: queue.SimpleQueue[_Item] = queue.SimpleQueue()
    return (
        MemoryChannel(session, 0, to_first, to_second, tap, timeout_s),
        MemoryChannel(peer_session or session, 1, to_second, to_first, tap, timeout_s),
    )


def mesh_of(
    size: int,
    session: bytes = b"test session of many",
    *,
    tap: Callable[[int, int, str, bytes], bytes | None] | None = None,
    timeout_s: float = 20.0,
) -> list[Mesh]:
    """Make the meshes of ``size`` parties in memory, by rank; ``tap(sender, receiver, label, payload)``."""
    channels: list[dict[int, MemoryChannel]] = [{} for _ in range(size)]
    for low in range(size):
        for high in range(low + 1, size):
            pair_tap = None if tap is None else _between(low, high, tap)
            pair = channel_pair(b"%d-%d %s" % (low, high, session), tap=pair_tap, timeout_s=timeout_s)
            channels[low][high], channels[high][low] = pair
    return [Mesh(rank, session, channels[rank]) for rank in range(size)]


def _between(low: int, high: int, tap: Callable[[int, int, str, bytes], bytes | None]) -> Tap:
    ends = {"0->1": (low, high), "1->0": (high, low)}
    return lambda direction, label, payload: tap(*ends[direction], label, payload)
