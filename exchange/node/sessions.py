"""Which sessions this node expects, and from whom. A session nobody announced is refused before any data."""

from __future__ import annotations

import threading

__all__ = ["Sessions"]


class Sessions:
    """The open set of (session, peer); thread-safe."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._peers: dict[bytes, str] = {}

    def expect(self, session: bytes, peer: str) -> None:
        """From now on ``peer`` may open ``session``."""
        with self._lock:
            self._peers[session] = peer

    def forget(self, session: bytes) -> None:
        """Nobody may open ``session`` any more."""
        with self._lock:
            self._peers.pop(session, None)

    def expects(self, session: bytes, peer: str) -> bool:
        """Whether exactly this peer may open this session."""
        with self._lock:
            return self._peers.get(session) == peer
