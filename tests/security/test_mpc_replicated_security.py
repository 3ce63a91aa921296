"""Replicated sharing: a changed message gives no output, and no computing party sees more than noise."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from mpc import replicated
from mpc.errors import MalformedMessage, MpcError, ProtocolAbort
from mpc.mesh import Mesh
from mpc.randomness import SystemRandomness
from mpc.replicated import SPEC
from mpc.testing import DeterministicRandomness, mesh_of, mesh_outcomes

ROWS = 8
FIRST, SECOND = np.arange(ROWS), np.array([5, -7, 5, 0, 2**40, -1, 3, 3])


def role(mesh: Mesh, first: Any = FIRST, second: Any = SECOND, rng: Any = None) -> list[Any]:
    """An owner at rank 0, a helper at 2, an owner outside at 3: inputs, a product, a comparison, a sort."""
    with replicated.run(mesh, SPEC, rng or DeterministicRandomness(bytes([mesh.rank]) * 16)) as rt:
        rt.state((ROWS,) if rt.rank != 2 else None, 1)
        x = rt.share(0, first if rt.rank == 0 else None, ROWS)
        y = rt.share(3, second if rt.rank == 3 else None, ROWS)
        least = rt.select(rt.less(x, y), x, y)
        (key,), (value,) = rt.sort([x], [rt.mul(least, y)], [4])
        return [rt.open(rt.add(key, value), [0, 3])]


MESSAGES = ["keys", "public", "input", "planes", "product", "shuffle", "open", "confirm", "agreed"]


def test_the_list_of_messages_is_complete() -> None:
    seen: set[str] = set()
    ended = mesh_outcomes([role] * 4, mesh_of(4, tap=lambda *message: seen.add(message[2].split("/")[-1])))
    assert not any(isinstance(end, Exception) for end in ended)
    assert seen == set(MESSAGES)


def tampered(name: str, occurrence: int, change: Callable[[bytes], bytes]) -> list[object]:
    """Change the n-th message of a name on the way, of whoever sends it."""
    seen = []

    def tap(sender: int, receiver: int, label: str, payload: bytes) -> bytes | None:
        if label.endswith(f"/{name}"):
            seen.append(label)
            if len(seen) == occurrence:
                return change(payload)
        return None

    return mesh_outcomes([role] * 4, mesh_of(4, tap=tap, timeout_s=2))


CHANGES: dict[str, Callable[[bytes], bytes]] = {
    "flipped": lambda payload: bytes([payload[0] ^ 1]) + payload[1:],
    "last": lambda payload: payload[:-1] + bytes([payload[-1] ^ 0x80]),
    "truncated": lambda payload: payload[:-1],
    "extended": lambda payload: payload + b"\0",
    "empty": lambda payload: b"",
}


@pytest.mark.parametrize("change", CHANGES)
@pytest.mark.parametrize("occurrence", [1, 2])
@pytest.mark.parametrize("name", MESSAGES[:-2])
def test_a_changed_message_gives_no_output_to_anybody(name: str, occurrence: int, change: str) -> None:
    ended = tampered(name, occurrence, CHANGES[change])
    assert all(isinstance(end, MpcError) for end in ended)
    assert any(isinstance(end, ProtocolAbort) for end in ended)
    # An empty list of public numbers is a statement of its own; the confirmation finds it.
    if change in ("truncated", "extended", "empty") and (name, change) != ("public", "empty"):
        assert any(isinstance(end, MalformedMessage) for end in ended)


@pytest.mark.parametrize("occurrence", range(1, 13))
def test_a_changed_confirmation_gives_no_output_to_anybody(occurrence: int) -> None:
    ended = tampered("confirm", occurrence, CHANGES["flipped"])
    assert all(isinstance(end, ProtocolAbort) for end in ended)


@pytest.mark.parametrize("leaver", range(4))
def test_a_party_that_leaves_in_the_middle_ends_the_run_for_all(leaver: int) -> None:
    def leaves(mesh: Mesh) -> object:
        with replicated.run(mesh, SPEC, SystemRandomness()) as rt:
            x = rt.share(0, FIRST if rt.rank == 0 else None, ROWS)
            if rt.rank == leaver:
                raise OSError("the machine is gone")
            return rt.open(rt.mul(x, x), range(4))

    ended = mesh_outcomes([leaves] * 4, mesh_of(4, timeout_s=2))
    assert all(isinstance(end, Exception) for end in ended)


def views(first: Any, second: Any, seeds: int = 0) -> dict[int, list[tuple[int, str, bytes]]]:
    """What every party receives, by its rank."""
    seen: dict[int, list[tuple[int, str, bytes]]] = {rank: [] for rank in range(4)}

    def tap(sender: int, receiver: int, label: str, payload: bytes) -> None:
        seen[receiver].append((sender, label.split("/")[-1], payload))

    def play(mesh: Mesh) -> list[Any]:
        rng = DeterministicRandomness(bytes([mesh.rank, seeds]) * 8)
        return role(mesh, np.array(first), np.array(second), rng)

    ended = mesh_outcomes([play] * 4, mesh_of(4, tap=tap))
    assert not any(isinstance(end, Exception) for end in ended)
    return seen


def test_labels_and_sizes_of_what_a_party_sees_do_not_depend_on_the_values() -> None:
    one, other = views([0] * ROWS, [0] * ROWS), views(FIRST, SECOND)
    for rank in range(4):
        shapes = [
            sorted((sender, label, len(payload)) for sender, label, payload in seen[rank])
            for seen in (one, other)
        ]
        assert shapes[0] == shapes[1]


@pytest.mark.parametrize("rank", [1, 2])
def test_what_a_computing_party_without_output_sees_is_uniform_and_independent_of_the_values(
    rank: int,
) -> None:
    # Bits of everything a party without output receives, over runs with fresh keys and extreme inputs; opened
    # permutations are among them and are left out: `test_opened_permutations_are_uniform`.
    for first, second in (([0] * ROWS, [0] * ROWS), ([7] * ROWS, [2**62 - 1] * ROWS)):
        bits = [
            np.unpackbits(np.frombuffer(payload, dtype=np.uint8))
            for seeds in range(20)
            for _, label, payload in views(first, second, seeds)[rank]
            if label in ("keys", "input", "planes", "product", "shuffle")
        ]
        drawn = np.concatenate(bits)
        # Five standard deviations of a fair coin, of fixed seeds.
        assert abs(drawn.mean() - 0.5) < 5 * 0.5 / np.sqrt(drawn.size)


def test_opened_permutations_are_uniform_whatever_the_keys_are() -> None:
    places: list[tuple[int, ...]] = []

    def tap(sender: int, receiver: int, label: str, payload: bytes) -> None:
        if label.endswith("/open"):
            opened.append(payload)

    for keys in ([0, 1, 2], [2, 1, 0]):
        heads = []
        for seeds in range(60):
            opened: list[bytes] = []

            def play(mesh: Mesh, keys: list[int] = keys, seeds: int = seeds) -> Any:
                with replicated.run(mesh, SPEC, DeterministicRandomness(bytes([mesh.rank, seeds]) * 8)) as rt:
                    x = rt.share(0, np.array(keys) if rt.rank == 0 else None, 3)
                    (sorted_keys,), _ = rt.sort([x], [], [3])
                    return rt.open(sorted_keys, [0])

            ended = mesh_outcomes([play] * 3, mesh_of(3, tap=tap))
            assert ended[0].tolist() == sorted(keys)  # type: ignore[union-attr]
            # The first opening: three messages, the three shares of the shuffled permutation.
            total = sum(np.frombuffer(payload, dtype="<u8") for payload in opened[:3])
            places.append(tuple(np.asarray(total).tolist()))
            heads.append(places[-1])
        # Six orders, ten each expected: all occur, none above 25 (chance below 1e-4, of fixed seeds).
        counts = [heads.count(one) for one in set(heads)]
        assert len(counts) == 6
        assert max(counts) < 25
