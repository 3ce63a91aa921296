"""n parties: payloads of any size are swapped, and what the network changes ends the run at both ends."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from mpc.errors import InvalidInput, MalformedMessage, PeerAborted, ProtocolAbort, TranscriptMismatch
from mpc.mesh import Mesh, mesh_run
from mpc.spec import Adversary, ProtocolSpec
from mpc.testing import mesh_of, mesh_outcomes, run_mesh
from mpc.transcript import PIECE_BYTES

SPEC = ProtocolSpec(
    name="test/mesh",
    version=1,
    roles=("party",),
    adversary=Adversary.SEMI_HONEST,
    corruptions="none",
    leaks={"party": ()},
    cost="",
    source="",
    summary="",
)


def _swapping(sizes: list[int]) -> list[Callable[[Mesh], dict[int, bytes]]]:
    def role(mesh: Mesh) -> dict[int, bytes]:
        with mesh_run(mesh, SPEC) as peers:
            peers.broadcast("hello", bytes([peers.rank]))
            assert peers.gather("hello") == {peer: bytes([peer]) for peer in peers.peers}
            own = bytes([peers.rank]) * sizes[peers.rank]
            got = peers.swap("load", dict.fromkeys(peers.peers, own))
            peers.confirm()
            return got

    return [role] * len(sizes)


@pytest.mark.parametrize("sizes", [[0, 1], [5, PIECE_BYTES, 3 * PIECE_BYTES + 7], [PIECE_BYTES + 1, 0, 2, 9]])
def test_payloads_of_any_size_are_swapped(sizes: list[int]) -> None:
    for rank, got in enumerate(run_mesh(_swapping(sizes))):
        assert got == {peer: bytes([peer]) * size for peer, size in enumerate(sizes) if peer != rank}


def test_a_size_that_nobody_sends_is_refused_when_it_is_announced() -> None:
    messages = []

    def tap(sender: int, receiver: int, label: str, payload: bytes) -> bytes | None:
        if (sender, receiver) != (0, 2) or not label.endswith("load"):
            return None
        messages.append(label)
        return b"\xff" * 7 + b"\x7f" + payload[8:] if len(messages) == 1 else None

    ended = mesh_outcomes(_swapping([5, 5, 3 * PIECE_BYTES]), mesh_of(3, tap=tap, timeout_s=5))
    assert isinstance(ended[2], MalformedMessage)
    assert "are announced" in str(ended[2])
    assert len(messages) == 1


@pytest.mark.parametrize(
    "change", [lambda raw: raw[:-1], lambda raw: raw + b"\0", lambda raw: raw[:7], lambda _: b""]
)
@pytest.mark.parametrize("at", [1, 2])
def test_a_piece_of_another_size_is_refused(at: int, change: Callable[[bytes], bytes]) -> None:
    seen = []

    def tap(sender: int, receiver: int, label: str, payload: bytes) -> bytes | None:
        if (sender, receiver) == (0, 2) and label.endswith("load"):
            seen.append(label)
            if len(seen) == at:
                return change(payload)
        return None

    ended = mesh_outcomes(_swapping([2 * PIECE_BYTES] * 3), mesh_of(3, tap=tap, timeout_s=5))
    assert isinstance(ended[2], MalformedMessage)
    assert all(isinstance(end, ProtocolAbort) for end in ended)


def test_a_change_that_nothing_else_finds_is_found_by_the_confirmation() -> None:
    def tap(sender: int, receiver: int, label: str, payload: bytes) -> bytes | None:
        return payload[:-1] + b"\xff" if (sender, receiver) == (1, 2) and label.endswith("load") else None

    ended = mesh_outcomes(_swapping([9, 9, 9]), mesh_of(3, tap=tap))
    assert any(isinstance(end, TranscriptMismatch) for end in ended[1:])
    assert all(isinstance(end, TranscriptMismatch | PeerAborted) for end in ended)


def test_parties_of_different_common_sessions_do_not_finish() -> None:
    meshes = mesh_of(3)
    meshes[2] = Mesh(2, b"another", meshes[2].channels)
    ended = mesh_outcomes(_swapping([1, 1, 1]), meshes)
    assert all(isinstance(end, ProtocolAbort) for end in ended)


def test_a_mesh_has_a_channel_to_each_other_party() -> None:
    whole = mesh_of(3)[1]
    with pytest.raises(InvalidInput, match="each other rank"):
        Mesh(1, b"s", {2: whole.channels[2]})
