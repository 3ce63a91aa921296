"""Long arrays of 64-bit words, sent one way in pieces that fit a channel's window many times."""

from __future__ import annotations

from typing import Final

import numpy as np
from numpy.typing import NDArray

from mpc import wire
from mpc.errors import MalformedMessage
from mpc.transcript import ConfirmedChannel

PIECE_WORDS: Final = 65_536


def send_words(channel: ConfirmedChannel, message: str, words: NDArray[np.uint64]) -> None:
    """Send how many there are, then the words of an array of any shape, in C order."""
    flat = words.reshape(-1)
    channel.send(message, wire.encode_uint64(len(flat)))
    for start in range(0, len(flat), PIECE_WORDS):
        channel.send(message, wire.encode_array(flat[start : start + PIECE_WORDS]))


def receive_words(
    channel: ConfirmedChannel, message: str, *, least: int = 0, most: int
) -> NDArray[np.uint64]:
    """Receive what `send_words` sent: uint64[n].

    Raises:
        MalformedMessage: there are fewer than ``least`` or more than ``most``, or a piece has another size.
    """
    reader = wire.Reader(message, channel.receive(message))
    count = reader.uint64("count")
    reader.finish()
    if not least <= count <= most:
        raise MalformedMessage(f"{message}: expected {least} to {most} words, got {count}")
    words = np.empty(count, np.uint64)
    for start in range(0, count, PIECE_WORDS):
        size = min(PIECE_WORDS, count - start)
        reader = wire.Reader(message, channel.receive(message))
        words[start : start + size] = reader.array("words", "<u8", (size,))
        reader.finish()
    return words


def words_bytes(count: int) -> int:
    """Return the payload bytes of so many words, for cost formulas."""
    pieces = range(0, count, PIECE_WORDS)
    return 8 + sum(wire.array_bytes(8, min(PIECE_WORDS, count - start)) for start in pieces)
