"""Deterministic randomness and a runner over channels in memory, for tests of protocols and of channels.

Nothing here is for production: the randomness is known to whoever knows the seed.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from typing import TypeVar

from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes

from mpc.channel import Channel
from mpc.mesh import Mesh
from mpc.simulated import MemoryChannel, Tap, channel_pair, mesh_of

__all__ = [
    "DeterministicRandomness",
    "MemoryChannel",
    "Tap",
    "channel_pair",
    "mesh_of",
    "mesh_outcomes",
    "outcomes",
    "run_mesh",
    "run_pair",
]

First = TypeVar("First")
Second = TypeVar("Second")


class DeterministicRandomness:
    """A reproducible stream: AES-128-CTR under a 16-byte seed. For tests and vectors only."""

    def __init__(self, seed: bytes) -> None:
        self._stream = Cipher(algorithms.AES(seed), modes.CTR(bytes(16))).encryptor()

    def bytes(self, count: int, /) -> bytes:
        """Return the next ``count`` bytes of the stream."""
        return self._stream.update(bytes(count))


def outcomes(
    first: Callable[[Channel], First],
    second: Callable[[Channel], Second],
    channels: tuple[Channel, Channel] | None = None,
) -> tuple[First | Exception, Second | Exception]:
    """Run two roles to their ends, rank 1 in a thread, and return what each returned or raised.

    A role that raises aborts its channel, so the other does not wait for it.
    """
    own, peer = channels or channel_pair()
    ended: list[Second | Exception] = []
    thread = threading.Thread(target=lambda: ended.append(_play(second, peer)), name="rank 1", daemon=True)
    thread.start()
    outcome = _play(first, own)
    thread.join()
    return outcome, ended[0]


def run_pair(
    first: Callable[[Channel], First],
    second: Callable[[Channel], Second],
    channels: tuple[Channel, Channel] | None = None,
) -> tuple[First, Second]:
    """Run two roles to their ends and return both outputs.

    Raises:
        ExceptionGroup: one or both roles raised; holds each role's exception.
    """
    one, two = outcomes(first, second, channels)
    if isinstance(one, Exception) or isinstance(two, Exception):
        raise ExceptionGroup(
            "a protocol run failed", [end for end in (one, two) if isinstance(end, Exception)]
        )
    return one, two


def mesh_outcomes(
    roles: Sequence[Callable[[Mesh], First]], meshes: Sequence[Mesh] | None = None
) -> list[First | Exception]:
    """Run one role a rank to their ends, each in a thread, and return what each returned or raised."""
    ends = list(meshes or mesh_of(len(roles)))
    ended: dict[int, First | Exception] = {}

    def play(rank: int) -> None:
        ended[rank] = _play_in(roles[rank], ends[rank])

    threads = [threading.Thread(target=play, args=(rank,), daemon=True) for rank in range(len(roles))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return [ended[rank] for rank in range(len(roles))]


def run_mesh(roles: Sequence[Callable[[Mesh], First]], meshes: Sequence[Mesh] | None = None) -> list[First]:
    """Run one role a rank to their ends and return all outputs, by rank.

    Raises:
        ExceptionGroup: one or more roles raised; holds each role's exception.
    """
    ended = mesh_outcomes(roles, meshes)
    raised = [end for end in ended if isinstance(end, Exception)]
    if raised:
        raise ExceptionGroup("a protocol run failed", raised)
    return [end for end in ended if not isinstance(end, Exception)]


def _play_in(role: Callable[[Mesh], First], mesh: Mesh) -> First | Exception:
    try:
        return role(mesh)
    except Exception as error:  # noqa: BLE001  # the caller of mesh_outcomes() gets it
        mesh.abort(getattr(error, "code", "mpc.error"))
        return error


def _play(role: Callable[[Channel], First], channel: Channel) -> First | Exception:
    try:
        return role(channel)
    except Exception as error:  # noqa: BLE001  # the caller of outcomes() gets it
        channel.abort(getattr(error, "code", "mpc.error"))
        return error
