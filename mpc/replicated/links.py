"""What three computing parties send each other, in pieces, and the keys each pair has in common.

Key j is known to parties j and j-1, as share j is; party j draws it. Both derive the same AES-128-CTR stream
from key and session and use it in the same order, so that they hold common randomness without a message.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from typing import Final

import numpy as np
from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes
from numpy.typing import NDArray

from mpc import wire
from mpc.domain import Usage, separation_tag
from mpc.errors import InvalidInput, MalformedMessage
from mpc.mesh import ConfirmedMesh
from mpc.randomness import Randomness
from mpc.secrecy import SecretBytes, Unprintable
from mpc.spec import ProtocolSpec

__all__ = ["COMPUTING", "KEY_BYTES", "PIECE_BYTES", "KeyStream", "Links"]

Words = NDArray[np.uint64]

COMPUTING: Final = 3
KEY_BYTES: Final = 16
PIECE_BYTES: Final = 512 * 1024
"""Largest message. A party is at most three pieces ahead of a neighbour, below the window of a channel."""


class KeyStream(Unprintable):
    """The AES-128-CTR stream of one common key in one session."""

    __slots__ = ("_cipher",)

    def __init__(self, key: SecretBytes, spec: ProtocolSpec, session: bytes) -> None:
        tag = separation_tag(spec.name, spec.version, Usage.REPLICATED_KEY, session)
        bound = hashlib.sha256(tag + key.reveal()).digest()[:KEY_BYTES]
        self._cipher = Cipher(algorithms.AES(bound), modes.CTR(bytes(16))).encryptor()

    def words(self, *shape: int) -> Words:
        """The next words of the stream: uint64 of that shape, writable."""
        drawn = np.zeros(shape, dtype="<u8")
        octets = drawn.reshape(-1).view(np.uint8)
        self._cipher.update_into(octets.data, octets.data)
        return drawn.astype(np.uint64, copy=False)


class Links:
    """The messages of one party, counted: ``rounds`` is the number of times that any party waits."""

    def __init__(self, peers: ConfirmedMesh) -> None:
        self.peers, self.rounds = peers, 0

    def exchange(
        self, message: str, sends: Mapping[int, NDArray[np.uint64]], receives: Mapping[int, tuple[int, ...]]
    ) -> dict[int, Words]:
        """Send arrays of words to some parties and receive arrays of known shapes from others.

        One round. Every party of the run calls this at the same point of its program, also those with
        nothing to send or receive.

        Raises:
            MalformedMessage: a piece has another size than the shape says.
        """
        self.rounds += 1
        views = {
            peer: np.ascontiguousarray(words, dtype="<u8").reshape(-1).view(np.uint8)
            for peer, words in sends.items()
        }
        arrived = {peer: np.empty(shape, dtype="<u8") for peer, shape in receives.items()}
        into = {peer: words.reshape(-1).view(np.uint8) for peer, words in arrived.items()}
        longest = max((len(view) for view in (*views.values(), *into.values())), default=0)
        for start in range(0, longest, PIECE_BYTES):
            end = start + PIECE_BYTES
            for peer in sorted(views):
                if start < len(views[peer]):
                    self.peers[peer].send(message, views[peer][start:end].tobytes())
            for peer in sorted(into):
                room = into[peer][start:end]
                if start < len(into[peer]):
                    piece = self.peers[peer].receive(message)
                    if len(piece) != len(room):
                        raise MalformedMessage(f"{message}: expected {len(room)} bytes, got {len(piece)}")
                    room[:] = np.frombuffer(piece, dtype=np.uint8)
        return {peer: words.astype(np.uint64, copy=False) for peer, words in arrived.items()}

    def state(self, numbers: Sequence[int] | None, count: int) -> dict[int, tuple[int, ...]]:
        """Exchange public numbers with every other party; see `mpc.replicated.runtime.Runtime.state`."""
        self.rounds += 1
        if numbers is not None and len(numbers) != count:
            raise InvalidInput(f"expected {count} public numbers, got {len(numbers)}")
        payload = b"".join(map(wire.encode_uint64, numbers or ()))
        self.peers.broadcast("public", payload)
        stated = {} if numbers is None else {self.peers.rank: tuple(numbers)}
        for peer, arrived in self.peers.gather("public").items():
            if arrived:
                reader = wire.Reader("public", arrived)
                stated[peer] = tuple(reader.uint64("number") for _ in range(count))
                reader.finish()
        return dict(sorted(stated.items()))

    def agree_on_keys(self, rng: Randomness) -> dict[int | tuple[int, int], SecretBytes]:
        """Draw and exchange the common keys. One round.

        Key j goes from party j to the party before it, 16 bytes. A party o that does not compute gives keys
        (o, 0) and (o, 1), of the shares 0 and 1 of its inputs, to the holders of those shares: 64 bytes.
        """
        self.rounds += 1
        rank, keys = self.peers.rank, dict[int | tuple[int, int], SecretBytes]()
        if rank >= COMPUTING:
            first, second = rng.bytes(KEY_BYTES), rng.bytes(KEY_BYTES)
            for peer, payload in ((0, first + second), (1, second), (2, first)):
                self.peers[peer].send("keys", payload)
            return {(rank, 0): SecretBytes(first), (rank, 1): SecretBytes(second)}
        before, after = (rank - 1) % COMPUTING, (rank + 1) % COMPUTING
        own = rng.bytes(KEY_BYTES)
        self.peers[before].send("keys", own)
        keys[rank], keys[after] = SecretBytes(own), SecretBytes(self._keys_of(after, 1)[0])
        shares = {0: (0, 1), 1: (1,), 2: (0,)}[rank]
        for owner in range(COMPUTING, self.peers.size):
            for share, key in zip(shares, self._keys_of(owner, len(shares)), strict=True):
                keys[owner, share] = SecretBytes(key)
        return keys

    def _keys_of(self, peer: int, count: int) -> list[bytes]:
        payload = self.peers[peer].receive("keys")
        if len(payload) != KEY_BYTES * count:
            raise MalformedMessage(f"keys: expected {KEY_BYTES * count} bytes, got {len(payload)}")
        return [payload[start : start + KEY_BYTES] for start in range(0, len(payload), KEY_BYTES)]
