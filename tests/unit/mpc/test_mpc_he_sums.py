"""Encrypted sums: exact totals for the reader, no more; and no output after a changed message."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import numpy as np
import pytest
from numpy.typing import NDArray

from mpc.errors import InvalidInput, MalformedMessage, MpcError, ProtocolAbort
from mpc.he import paillier, sums
from mpc.mesh import Mesh
from mpc.randomness import SystemRandomness
from mpc.testing import mesh_of, mesh_outcomes, run_mesh

RNG = SystemRandomness()
Role = Callable[[Mesh], object]


@pytest.fixture(autouse=True)
def _one_key(monkeypatch: pytest.MonkeyPatch) -> None:
    """Making a key takes a second, and no test here is about that."""
    monkeypatch.setattr(paillier, "generate", lambda rng: KEY)


KEY = paillier.generate(RNG)


def roles(vectors: list[NDArray[np.int64]]) -> list[Role]:
    return [
        *(partial(sums.owner, values=vector, rng=RNG) for vector in vectors),
        partial(sums.reader, rng=RNG),
    ]


def vectors_of(owners: int, count: int) -> list[NDArray[np.int64]]:
    generator = np.random.Generator(np.random.PCG64(owners * 1000 + count))
    return [generator.integers(-(2**63), 2**63, count, dtype=np.int64) for _ in range(owners)]


@pytest.mark.parametrize(("owners", "count"), [(2, 1), (3, 43), (5, 2)])
def test_totals_and_costs_are_as_stated(owners: int, count: int) -> None:
    vectors, meshes = vectors_of(owners, count), mesh_of(owners + 1)
    first, *others, key = run_mesh(roles(vectors), meshes)
    assert others == [b""] * (owners - 1)
    assert isinstance(key, paillier.SecretKey)
    assert isinstance(first, bytes)
    expected = [sum(column) for column in zip(*(vector.tolist() for vector in vectors), strict=True)]
    assert sums.decrypt(key, first, owners) == expected
    for mesh in meshes:
        stats = [channel.stats for channel in mesh.channels.values()]
        assert sum(one.rounds for one in stats) == sums.rounds(mesh.rank, owners)
        assert sum(one.bytes_sent for one in stats) == sums.bytes_sent(mesh.rank, owners, count)


def test_nobody_without_the_key_sees_a_value_and_the_reader_sees_no_owners() -> None:
    seen: dict[int, list[bytes]] = {rank: [] for rank in range(4)}

    def tap(sender: int, receiver: int, label: str, payload: bytes) -> bytes | None:
        seen[receiver].append(payload)
        return None

    vectors = [np.full(3, 0x0102030405060708, dtype=np.int64)] * 3
    run_mesh(roles(vectors), mesh_of(4, tap=tap))
    raw = (0x0102030405060708).to_bytes(8, "little")
    for payloads in seen.values():
        assert all(raw not in payload and raw[::-1] not in payload for payload in payloads)
    assert max(len(payload) for payload in seen[3]) == 32  # confirmations alone


def test_owners_with_other_numbers_of_values_do_not_finish() -> None:
    ended = mesh_outcomes(roles([*vectors_of(2, 3), *vectors_of(1, 4)]))
    assert all(isinstance(end, ProtocolAbort) for end in ended)
    assert "values" in str(ended[0])


@pytest.mark.parametrize("count", [0, sums.MAX_VALUES + 1])
def test_too_few_or_too_many_values_are_refused(count: int) -> None:
    ended = mesh_outcomes(roles([np.zeros(count, dtype=np.int64)] * 2))
    assert isinstance(ended[0], InvalidInput)
    assert all(isinstance(end, MpcError) for end in ended)


def test_one_owner_is_no_sum() -> None:
    ended = mesh_outcomes(roles(vectors_of(1, 1)), mesh_of(2))
    assert any(isinstance(end, InvalidInput) and "2 to 30 owners" in str(end) for end in ended)


CHANGES: dict[str, Callable[[bytes], bytes]] = {
    "flip": lambda raw: raw[:-1] + bytes([raw[-1] ^ 1]) if raw else b"\1",
    "cut": lambda raw: raw[:-1] if raw else b"\1",
    "grown": lambda raw: raw + b"\0",
    "zeros": lambda raw: bytes(len(raw)) if raw else b"\1",
    "empty": lambda raw: b"" if raw else b"\1",
}


@pytest.mark.parametrize("change", sorted(CHANGES))
@pytest.mark.parametrize("message", ["key", "encrypted", "confirm", "agreed"])
def test_a_changed_message_ends_the_run_at_every_party(message: str, change: str) -> None:
    hit: list[str] = []

    def tap(sender: int, receiver: int, label: str, payload: bytes) -> bytes | None:
        if label.endswith("/" + message) and not hit and (sender == 1 or message == "key"):
            hit.append(label)
            return CHANGES[change](payload)
        return None

    ended = mesh_outcomes(roles(vectors_of(2, 3)), mesh_of(3, tap=tap, timeout_s=5))
    assert hit
    if message == "agreed":  # an empty message that says the last thing: its sender has its output
        assert any(isinstance(end, MpcError) for end in ended)
    else:
        assert all(isinstance(end, MpcError) for end in ended)


@pytest.mark.parametrize("change", ["count", "cut", "other-key"])
def test_totals_that_are_none_are_refused(change: str) -> None:
    values = np.array([5], dtype=np.int64)
    (one,) = paillier.Encryptor(KEY.public, RNG).encrypt(values)
    raw = (1).to_bytes(8, "little") + paillier.encode_ciphertexts([one])
    assert sums.decrypt(KEY, raw, 1) == [5]
    forged = {
        "count": (2**40).to_bytes(8, "little") + raw[8:],
        "cut": raw[:-1],
        "other-key": raw[:8] + paillier.encode_ciphertexts([one + 1]),
    }
    with pytest.raises(MalformedMessage):
        sums.decrypt(KEY, forged[change], 1)
