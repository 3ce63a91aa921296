"""Programs on shares: what they mean in the clear, what is refused, and SPU's answers against both tiers."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from mpc import replicated
from mpc.engines import shares, spu
from mpc.engines.shares import Program, Sharing, evaluate, sharing
from mpc.errors import EngineRefused, EnginesDisagree, InvalidInput, MalformedMessage, MpcError, PeerAborted
from mpc.mesh import Mesh
from mpc.randomness import SystemRandomness
from mpc.testing import mesh_of, mesh_outcomes, run_mesh

ROWS = 60
Array = NDArray[np.int64]
needs_spu = pytest.mark.skipif(spu.version() is None, reason="SPU is not installed")


def columns() -> tuple[Array, Array, Array]:
    """Indicators [3, rows] and amounts of one owner, amounts of the other; some of them large."""
    rng = np.random.default_rng(5)
    groups = (np.arange(3)[:, None] == rng.integers(0, 3, ROWS)).astype(np.int64)
    amounts = rng.integers(-(2**28), 2**28, ROWS)
    return groups, amounts, rng.integers(-(10**6), 10**6, ROWS)


def grouped(kind: Sharing) -> Program:
    """By group: rows where the first amount is above the second, sums, a sum of products, the largest."""
    program = Program()
    groups, first, second = program.input(0, 3, ROWS), program.input(0, ROWS), program.input(1, ROWS)
    chosen = program.step("mul", groups, program.step("is-negative", program.step("sub", second, first)))
    counts = program.step("sum", chosen)
    values = program.step("rows", first, second, program.step("mul", first, second))
    product = "dot" if kind is Sharing.ABY3 else "sum-of-products"
    sums = program.step(product, chosen, values)
    best = program.step("largest", program.step("mul", chosen, second))
    parts = [program.step("part", sums, number=number) for number in range(3)]
    program.step("rows", counts, best, *parts)
    return program


def party(
    program: Program, rank: int, kind: Sharing, base: Path, own: Sequence[Array]
) -> Callable[[Mesh], shares.Words]:
    return lambda mesh: evaluate(mesh, program, own if rank < 2 else [], kind, base, SystemRandomness())


def opened(program: Program, kind: Sharing, parties: int, base: Path) -> Array:
    groups, first, second = columns()
    inputs: list[list[Array]] = [[groups, first], [second], [], []]
    roles = [party(program, rank, kind, base, inputs[rank]) for rank in range(parties)]
    summands = run_mesh(roles, mesh_of(parties, timeout_s=300))
    assert all(np.any(one) == (rank < kind.computing) for rank, one in enumerate(summands))
    assert list(base.iterdir()) == []
    return np.sum(summands, axis=0, dtype=np.uint64).view(np.int64)


def test_a_program_means_in_the_clear_what_its_steps_say() -> None:
    groups, first, second = columns()
    chosen = groups * (first > second)
    expected = [
        chosen.sum(axis=1),
        (chosen * second).max(axis=1),
        *(chosen @ np.stack([first, second, first * second]).T),
    ]
    for kind in Sharing:
        assert np.array_equal(grouped(kind).in_the_clear(columns()), expected)


@needs_spu
@pytest.mark.slow
@pytest.mark.parametrize(("kind", "parties"), [(Sharing.ABY3, 4), (Sharing.CHEETAH, 2)])
def test_the_engine_computes_what_plaintext_says(tmp_path: Path, kind: Sharing, parties: int) -> None:
    assert np.array_equal(
        opened(grouped(kind), kind, parties, tmp_path), grouped(kind).in_the_clear(columns())
    )


@needs_spu
@pytest.mark.slow
def test_the_engine_and_the_own_protocol_agree(tmp_path: Path) -> None:
    groups, first, second = columns()
    program = Program()
    chosen, left, right = program.input(0, 3, ROWS), program.input(0, ROWS), program.input(1, ROWS)
    higher = program.step("is-negative", program.step("sub", right, left))
    program.step("sum", program.step("mul", chosen, program.step("mul", left, higher)))

    def own_tier(mesh: Mesh) -> Array | None:
        with replicated.run(mesh, replicated.SPEC, SystemRandomness()) as rt:
            mine = rt.share(0, first if rt.rank == 0 else None, ROWS)
            theirs = rt.share(1, second if rt.rank == 1 else None, ROWS)
            kept = rt.mul(mine, rt.to_arithmetic(rt.less(theirs, mine)))
            sums = [rt.sum(rt.mul(rt.share(0, row if rt.rank == 0 else None, ROWS), kept)) for row in groups]
            totals = [rt.open(one, {0}) for one in sums]
        return None if totals[0] is None else np.array([int(one[0]) for one in totals if one is not None])

    reference = run_mesh([own_tier] * 3)[0]
    assert reference is not None
    assert np.array_equal(opened(program, Sharing.ABY3, 3, tmp_path), reference)


def test_semi2k_is_refused_by_name_and_nothing_offers_it() -> None:
    with pytest.raises(EngineRefused, match="its first party makes the triples"):
        sharing("semi2k")
    with pytest.raises(EngineRefused, match="expected one of"):
        sharing("securenn")
    assert [sharing(kind.value) for kind in Sharing] == [Sharing.ABY3, Sharing.CHEETAH]


def test_a_program_that_would_exhaust_the_memory_is_refused_before_a_message(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(spu, "required_version", lambda: "0.9.5")
    program = Program()
    rows = program.input(0, 8, 200_000)
    program.step("sum-of-products", rows, rows)
    mesh = mesh_of(2)[0]
    with pytest.raises(EngineRefused, match="1048576 products"):
        evaluate(
            mesh, program, [np.zeros((8, 200_000), np.int64)], Sharing.CHEETAH, tmp_path, SystemRandomness()
        )
    assert mesh.channels[1].stats.messages_sent == 0


@pytest.mark.parametrize(
    ("kind", "parties", "own"),
    [
        (Sharing.CHEETAH, 3, [np.zeros(4, np.int64)]),
        (Sharing.ABY3, 2, [np.zeros(4, np.int64)]),
        (Sharing.ABY3, 3, [np.zeros(5, np.int64)]),
        (Sharing.ABY3, 3, [np.zeros(4)]),
        (Sharing.ABY3, 3, []),
    ],
    ids=["three-for-two", "two-for-three", "other-rows", "floats", "nothing"],
)
def test_other_parties_or_inputs_than_the_program_has_are_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: Sharing, parties: int, own: list[Array]
) -> None:
    monkeypatch.setattr(spu, "required_version", lambda: "0.9.5")
    program = Program()
    program.step("sum", program.input(0, 4))
    with pytest.raises((EngineRefused, InvalidInput)):
        evaluate(mesh_of(parties)[0], program, own, kind, tmp_path, SystemRandomness())


def test_a_step_that_does_not_exist_or_does_not_fit_is_refused() -> None:
    program = Program()
    short, long = program.input(0, 3), program.input(0, 4)
    with pytest.raises(InvalidInput):
        program.step("add", short, long)
    with pytest.raises(InvalidInput):
        program.step("exp", short)
    with pytest.raises(InvalidInput):
        program.step("sum", 7)
    program.step("sum", short)
    with pytest.raises(InvalidInput):
        program.input(0, 3)


def small() -> Program:
    program = Program()
    program.step("sum", program.input(0, 4))
    return program


def test_parties_with_different_programs_stop(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(spu, "required_version", lambda: "0.9.5")
    other = Program()
    other.step("sum", other.step("scale", other.input(0, 4), number=2))
    values = [np.arange(4, dtype=np.int64)]
    roles = [
        party(one, rank, Sharing.ABY3, tmp_path, values if rank == 0 else [])
        for rank, one in enumerate((small(), small(), other))
    ]
    ended = mesh_outcomes(roles)
    assert all(isinstance(end, EnginesDisagree | PeerAborted) for end in ended)


@pytest.mark.parametrize("change", [lambda content: content[:-1], lambda content: content + b"\0"])
def test_shares_of_another_length_abort_at_all(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, change: Callable[[bytes], bytes]
) -> None:
    monkeypatch.setattr(spu, "required_version", lambda: "0.9.5")

    def network(sender: int, receiver: int, label: str, payload: bytes) -> bytes | None:
        if (sender, receiver) != (0, 1) or not label.endswith("/share"):
            return None
        changed = change(payload[8:])
        return len(changed).to_bytes(8, "little") + changed

    values = [np.arange(4, dtype=np.int64)]
    roles = [party(small(), rank, Sharing.ABY3, tmp_path, values if rank == 0 else []) for rank in range(3)]
    monkeypatch.setattr(shares, "played", _no_engine)
    ended = mesh_outcomes(roles, mesh_of(3, tap=network, timeout_s=5))
    assert isinstance(ended[1], MalformedMessage)
    assert all(isinstance(end, MpcError) for end in ended)


def _no_engine(*args: object, **named: object) -> object:
    raise PeerAborted("mpc.malformed-message")


def test_what_each_party_gets_of_an_input_is_uniform_and_says_nothing_alone() -> None:
    zeros, large = np.zeros(4096, np.uint64), np.full(4096, 2**63 - 1, np.uint64)
    for kind in Sharing:
        for values in (zeros, large):
            parts = shares._parts(values, kind, SystemRandomness())
            sizes = [len(parts[rank]) for rank in range(kind.computing)]
            assert sizes == (
                [16, 8 * 4096] if kind is Sharing.CHEETAH else [32, 8 * 4096 + 16, 8 * 4096 + 16]
            )
            for part in parts.values():
                ones = int(np.unpackbits(np.frombuffer(part[-8 * 4096 :], np.uint8)).sum())
                assert abs(ones - 4 * len(part[-8 * 4096 :])) < 6 * (2 * len(part)) ** 0.5
