"""Networks on shares: exact integers of a stated error, opened to the client alone; SPU has the same."""

from __future__ import annotations

import itertools
import os
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from mpc.engines import networks, spu
from mpc.engines.networks import FRACTION, Layer, Network, Task, encoded_rows, score, stated_rows
from mpc.engines.process import EngineProcess
from mpc.engines.shares import Program, Sharing
from mpc.engines.testing import ClearEngine
from mpc.errors import (
    EngineFailed,
    EnginesDisagree,
    InputsDisagree,
    InvalidInput,
    MalformedMessage,
    MpcError,
    PeerAborted,
    SecretNotSerialisable,
    ValueOutOfRange,
)
from mpc.mesh import Mesh
from mpc.randomness import SystemRandomness
from mpc.testing import mesh_of, mesh_outcomes, run_mesh

ROWS, BOUND = 40, 3.0
LAYERS = (Layer(5, 7, True), Layer(7, 4, False), Layer(4, 6, True), Layer(6, 2, False))
RNG = np.random.default_rng(11)
NETWORK = Network(
    tuple(RNG.normal(size=(one.outputs, one.inputs)) for one in LAYERS),
    tuple(RNG.normal(size=one.outputs) for one in LAYERS),
)
FEATURES = RNG.uniform(-BOUND, BOUND, (ROWS, 5))
needs_spu = pytest.mark.skipif(spu.version() is None, reason="SPU is not installed")


def task(kind: Sharing = Sharing.ABY3, rows: int = ROWS) -> Task:
    return Task(kind, LAYERS, rows, BOUND)


def forward(features: NDArray[np.float64]) -> NDArray[np.float64]:
    values = features
    for layer, weights, biases in zip(LAYERS, NETWORK.weights, NETWORK.biases, strict=True):
        values = values @ weights.T + biases
        if layer.is_rectified:
            values = np.maximum(values, 0)
    return values


def largest_error() -> float:
    """By how much a score may be wrong: half a unit of a number and one of a rounded sum, carried on."""
    unit, values = 2.0**-FRACTION, np.full(5, BOUND)
    errors = np.full(5, unit / 2)
    for weights, biases in zip(NETWORK.weights, NETWORK.biases, strict=True):
        errors = np.abs(weights) @ errors + unit / 2 * (values + errors).sum() + 3 * unit / 2
        values = np.abs(weights) @ values + np.abs(biases)
    return float(errors.max())


def in_the_clear(kind: Sharing) -> NDArray[np.int64]:
    asked = task(kind)
    return asked.program(ROWS).in_the_clear([*NETWORK.encoded(asked), encoded_rows(FEATURES, asked)])


def party(asked: Task, own: Any, base: Path) -> Callable[[Mesh], NDArray[np.int64] | None]:
    return lambda mesh: score(mesh, asked, own, base, SystemRandomness())


def parties(asked: Task, base: Path) -> list[Callable[[Mesh], NDArray[np.int64] | None]]:
    return [party(asked, own, base) for own in (FEATURES, NETWORK, None)][: asked.kind.computing]


@pytest.mark.parametrize("kind", Sharing)
def test_a_program_gives_the_scores_of_the_network_to_the_stated_error(kind: Sharing) -> None:
    found = in_the_clear(kind) * 2.0**-FRACTION
    error = np.abs(found - forward(FEATURES)).max()
    assert error <= largest_error()
    assert error < 1e-4
    assert np.ptp(found) > 1


def test_both_sharings_have_the_same_integers() -> None:
    assert np.array_equal(in_the_clear(Sharing.ABY3), in_the_clear(Sharing.CHEETAH))


def test_a_shift_rounds_down() -> None:
    program = Program()
    one, zeros = program.input(0, 4), program.input(0, 4)
    program.step("add", program.step("truncate", one, number=2), zeros)
    found = program.in_the_clear([np.array([7, -7, -8, 3]), np.zeros(4, np.int64)])
    assert found.tolist() == [1, -2, -2, 0]
    assert program.most_products() == 4


@pytest.mark.parametrize("kind", Sharing)
def test_scores_of_all_batches_are_opened_to_the_client_alone(
    kind: Sharing, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    engine = ClearEngine()
    monkeypatch.setattr(networks, "evaluate", engine)
    monkeypatch.setattr(networks, "_BATCH_ROWS", dict.fromkeys(Sharing, 16))
    seen: dict[int, list[bytes]] = {}

    def tap(sender: int, receiver: int, label: str, payload: bytes) -> bytes | None:
        if label.endswith("/scores"):
            seen.setdefault(receiver, []).append(payload[8:])
        return None

    told, *others = run_mesh(parties(task(kind), tmp_path), mesh_of(kind.computing, tap=tap, timeout_s=10))
    assert engine.shapes == [(16, 2), (16, 2), (8, 2)]
    assert told is not None
    assert np.array_equal(told, in_the_clear(kind))
    assert others == [None] * (kind.computing - 1)
    assert all(len(one) == told.nbytes and one != told.tobytes() for one in seen[0])
    assert [one for rank, found in seen.items() if rank for one in found if one] == []


def test_a_batch_has_as_many_rows_as_the_engine_takes() -> None:
    wide = (Layer(100, 100, True), Layer(100, 1, False))
    assert Task(Sharing.CHEETAH, wide, 10_000, 1.0).batch_rows == 2**20 // 10_000
    assert Task(Sharing.ABY3, wide, 10_000, 1.0).batches() == [slice(0, 8192), slice(8192, 10_000)]
    for kind in Sharing:
        asked = Task(kind, wide, 10_000, 1.0)
        assert asked.program(asked.batch_rows).most_products() <= kind.most_products


def test_every_party_hears_the_clients_number_of_rows_and_nobody_elses() -> None:
    def says(rows: int | None) -> Callable[[Mesh], int]:
        return lambda mesh: stated_rows(mesh, Sharing.ABY3, rows)

    assert run_mesh([says(40), says(None), says(None)]) == [40, 40, 40]
    for said in ((40, 40, None), (None, None, None)):
        ended = mesh_outcomes([says(one) for one in said])
        assert all(isinstance(end, MalformedMessage | PeerAborted) for end in ended)


@pytest.mark.parametrize(
    "layers",
    [
        (),
        (Layer(3, 4, True), Layer(5, 1, False)),
        (Layer(1, 129, False),),
        (Layer(0, 3, False),),
        (Layer(1, 1, False),) * 5,
        (Layer(128, 100, True), Layer(100, 100, False)),
    ],
    ids=["none", "no-chain", "too-wide", "empty", "too-many", "too-many-numbers"],
)
def test_layers_that_do_not_fit_are_refused(layers: tuple[Layer, ...]) -> None:
    with pytest.raises(InvalidInput):
        Task(Sharing.ABY3, layers, 1, 1.0)


@pytest.mark.parametrize(("rows", "bound"), [(0, 1.0), (1, 0.0), (1, float("inf")), (1, float("nan"))])
def test_no_rows_and_no_bound_are_refused(rows: int, bound: float) -> None:
    with pytest.raises(InvalidInput, match="expected rows and a bound above 0"):
        Task(Sharing.ABY3, LAYERS, rows, bound)


@pytest.mark.parametrize("worst", [np.nan, np.inf, -(2.0**22), 1e300])
def test_weights_that_no_program_can_take_are_counted_and_refused(worst: float) -> None:
    weights = tuple(one.copy() for one in NETWORK.weights)
    weights[1][2, :2] = worst
    with pytest.raises(ValueOutOfRange, match="layer 2: expected finite numbers below 4,194,304, 2 of 28"):
        Network(weights, NETWORK.biases).encoded(task())


def test_a_network_whose_sums_could_leave_64_bits_is_refused_and_the_largest_that_cannot_is_exact() -> None:
    """Sums of 2^22 are refused; just below, the worst row is computed without a wrong bit."""
    asked = Task(Sharing.ABY3, (Layer(2, 1, True), Layer(1, 1, False)), 1, 1024.0)

    def of(weight: float) -> Network:
        return Network((np.full((1, 2), weight), np.full((1, 1), 0.5)), (np.zeros(1), np.zeros(1)))

    with pytest.raises(
        ValueOutOfRange, match="layer 1: expected sums below 4,194,304 for features within 1024"
    ):
        of(2048.0).encoded(asked)
    rows = encoded_rows(np.full((1, 2), 1024.0), asked)
    found = asked.program(1).in_the_clear([*of(2047.5).encoded(asked), rows])
    assert found[0, 0] * 2.0**-FRACTION == 2 * 2047.5 * 1024 / 2


def test_arrays_of_other_shapes_are_refused() -> None:
    with pytest.raises(InvalidInput, match="of the shapes"):
        Network(NETWORK.weights[:3], NETWORK.biases[:3]).encoded(task())
    with pytest.raises(InputsDisagree, match="features: own side has 4, the other party has 5"):
        encoded_rows(FEATURES[:, :4], task())
    with pytest.raises(InputsDisagree, match="rows"):
        encoded_rows(FEATURES[:3], task())


@pytest.mark.parametrize("worst", [BOUND * 1.001, -1e300, np.inf, np.nan])
def test_a_feature_beyond_the_bound_ends_the_run_at_all_and_is_not_shown(
    worst: float, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(spu, "required_version", lambda: "0.9.5")
    beyond = FEATURES.copy()
    beyond[3, 1] = worst
    roles = [party(task(), own, tmp_path) for own in (beyond, NETWORK, None)]
    ended = mesh_outcomes(roles, mesh_of(3, timeout_s=10))
    assert isinstance(ended[0], ValueOutOfRange)
    assert str(ended[0]) == "expected features within 3, 1 of 200 are beyond or not finite"
    assert all(isinstance(end, PeerAborted) for end in ended[1:])


def test_the_numbers_of_a_network_are_not_shown_and_not_copied() -> None:
    assert repr(NETWORK) == "<Network: not shown>"
    with pytest.raises(SecretNotSerialisable):
        NETWORK.__reduce_ex__(4)


def test_parties_with_other_versions_of_the_engine_stop(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    versions = itertools.chain(["0.9.4"], itertools.repeat("0.9.5"))
    monkeypatch.setattr(spu, "required_version", lambda: next(versions))
    ended = mesh_outcomes(parties(task(), tmp_path), mesh_of(3, timeout_s=10))
    assert any(isinstance(end, EnginesDisagree) for end in ended)
    assert all(isinstance(end, EnginesDisagree | PeerAborted) for end in ended)


def test_parties_with_other_layers_stop(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(spu, "required_version", lambda: "0.9.5")
    other = Task(Sharing.CHEETAH, (*LAYERS[:3], Layer(6, 2, True)), ROWS, BOUND)
    roles = [party(task(Sharing.CHEETAH), FEATURES, tmp_path), party(other, NETWORK, tmp_path)]
    ended = mesh_outcomes(roles, mesh_of(2, timeout_s=10))
    assert all(isinstance(end, EnginesDisagree | PeerAborted) for end in ended)


@pytest.mark.parametrize("change", [lambda content: content[:-8], lambda content: content + bytes(8)])
def test_summands_of_another_length_end_the_run_at_all(
    change: Callable[[bytes], bytes], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(networks, "evaluate", ClearEngine())

    def network(sender: int, receiver: int, label: str, payload: bytes) -> bytes | None:
        if (sender, receiver) != (2, 0) or not label.endswith("/scores"):
            return None
        changed = change(payload[8:])
        return len(changed).to_bytes(8, "little") + changed

    ended = mesh_outcomes(parties(task(), tmp_path), mesh_of(3, tap=network, timeout_s=5))
    assert isinstance(ended[0], MalformedMessage)
    assert all(isinstance(end, MpcError) for end in ended)


@needs_spu
@pytest.mark.slow
@pytest.mark.parametrize("kind", Sharing)
def test_the_engine_computes_the_same_integers_as_numpy(
    kind: Sharing, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(networks, "_BATCH_ROWS", dict.fromkeys(Sharing, 24))
    told, *others = run_mesh(parties(task(kind), tmp_path), mesh_of(kind.computing, timeout_s=300))
    assert told is not None
    assert np.array_equal(told, in_the_clear(kind))
    assert others == [None] * (kind.computing - 1)
    assert list(tmp_path.iterdir()) == []


@needs_spu
def test_a_killed_engine_ends_the_run_at_all_and_leaves_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    original = EngineProcess.__init__
    killed: list[int] = []

    def killing(self: EngineProcess, folder: Path, given: Any, *args: Any, **named: Any) -> None:
        original(self, folder, given, *args, **named)
        if not killed and given["task"] == "compute":
            killed.append(self.pid)
            os.kill(self.pid, signal.SIGKILL)

    monkeypatch.setattr(EngineProcess, "__init__", killing)
    ended = mesh_outcomes(parties(task(), tmp_path), mesh_of(3, timeout_s=300))
    assert {type(end) for end in ended} == {EngineFailed, PeerAborted}
    assert list(tmp_path.iterdir()) == []
