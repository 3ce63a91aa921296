"""Scores of one party's rows by another's neural network, computed by SPU on shares.

    client, rows x            model owner, weights W, b            helper (ABY3 alone)
      1. shares/aby3 or shares/cheetah: the program of the network, one batch of rows after the other
      2. scores       its summand of every output  --->  client
      3. confirm      transcript hash  <--->  transcript hash

Public are the layers, the number of rows and the bound of features; the program is written from them alone.
Numbers are integers in units of 2^-20. Sums of products are in units of 2^-40 and are rounded down to
2^-20, exactly: the engine and numpy get the same integers. The model's owner refuses a network whose sums
could leave 64 bits for features within the bound.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Final

import numpy as np
from numpy.typing import NDArray

from mpc.engines.shares import Program, Sharing, evaluate, stated
from mpc.errors import InputsDisagree, InvalidInput, MalformedMessage, ValueOutOfRange
from mpc.mesh import ConfirmedMesh, Mesh, mesh_run
from mpc.randomness import Randomness
from mpc.secrecy import Unprintable
from mpc.spec import Adversary, ProtocolSpec

__all__ = [
    "ABY3",
    "CHEETAH",
    "FRACTION",
    "MAX_LAYERS",
    "MAX_NUMBERS",
    "MAX_UNITS",
    "Layer",
    "Network",
    "Task",
    "encoded_rows",
    "score",
    "stated_rows",
]

FRACTION: Final = 20
"""Bits behind the binary point of features, weights and scores."""

MAX_LAYERS: Final = 4
MAX_UNITS: Final = 128
"""The most inputs or outputs of a layer."""

MAX_NUMBERS: Final = 20_000
"""The most weights and biases of a network."""

_RANGE: Final = 2**62
"""No sum of products, in units of 2^-40, reaches this."""

_CLIENT, _MODEL_OWNER = 0, 1
_BATCH_ROWS: Final = {Sharing.ABY3: 8_192, Sharing.CHEETAH: 1_024}
_LAYERS: Final = "the layers: how many, of how many units, and after which negative numbers become 0"
_ROWS: Final = "the number of rows, and the bound that the client states for its features"
_WEIGHTS: Final = (
    "of the weights what that many scores tell: with many rows of its choice, a network that scores alike"
)


def _spec(kind: Sharing, corruptions: str, roles: tuple[str, ...], summary: str) -> ProtocolSpec:
    facts = {"client": (_LAYERS, _WEIGHTS), "model_owner": (_LAYERS, _ROWS), "helper": (_LAYERS, _ROWS)}
    inner = kind.spec
    return ProtocolSpec(
        name=f"inference/{kind}",
        version=1,
        roles=roles,
        adversary=Adversary.SEMI_HONEST,
        corruptions=corruptions,
        leaks={role: facts[role] for role in roles},
        cost=f"for each batch of at most {_BATCH_ROWS[kind]:,} rows the cost of {inner.name}, start included",
        source=f"{inner.source}; fixed point: Mohassel, Zhang 2017 (SecureML), with an exact shift",
        summary=summary,
    )


ABY3: Final = _spec(
    Sharing.ABY3,
    "one of three",
    ("client", "model_owner", "helper"),
    "A client gets scores of its rows by another's neural network, computed with a helper on SPU's engine.",
)
CHEETAH: Final = _spec(
    Sharing.CHEETAH,
    "one of two",
    ("client", "model_owner"),
    "A client gets scores of its rows by another's neural network, computed by the two on SPU's engine.",
)
_SPECS: Final = {Sharing.ABY3: ABY3, Sharing.CHEETAH: CHEETAH}


@dataclass(frozen=True)
class Layer:
    """A linear layer; ``is_rectified`` where a rectifier follows it, which makes negative numbers 0."""

    inputs: int
    outputs: int
    is_rectified: bool

    @property
    def numbers(self) -> int:
        """Its weights and biases."""
        return (self.inputs + 1) * self.outputs


@dataclass(frozen=True)
class Task:
    """What is computed; public, and the same at every party.

    Attributes:
        kind: how values are shared.
        layers: of the network, in order.
        rows: that are scored.
        bound: the largest magnitude of a feature.

    Raises:
        InvalidInput: the layers do not follow each other, are too many or too large, or there are no rows.
    """

    kind: Sharing
    layers: tuple[Layer, ...]
    rows: int
    bound: float

    def __post_init__(self) -> None:
        sizes = [size for layer in self.layers for size in (layer.inputs, layer.outputs)]
        if not 1 <= len(self.layers) <= MAX_LAYERS or not 1 <= min(sizes) <= max(sizes) <= MAX_UNITS:
            raise InvalidInput(f"expected 1 to {MAX_LAYERS} layers of 1 to {MAX_UNITS} units, got {sizes}")
        if any(before.outputs != after.inputs for before, after in pairwise(self.layers)):
            raise InvalidInput(f"expected layers with the inputs that the one before puts out, got {sizes}")
        if (numbers := sum(layer.numbers for layer in self.layers)) > MAX_NUMBERS:
            raise InvalidInput(f"expected at most {MAX_NUMBERS} weights and biases, got {numbers}")
        if self.rows < 1 or not 0 < self.bound < math.inf:
            raise InvalidInput(f"expected rows and a bound above 0, got {self.rows} and {self.bound:g}")

    @property
    def outputs(self) -> int:
        """Scores of a row."""
        return self.layers[-1].outputs

    @property
    def batch_rows(self) -> int:
        """Rows of a batch at most: as many as the engine takes, and no more than its memory is good for."""
        products = max(layer.inputs * layer.outputs for layer in self.layers)
        return min(self.kind.most_products // products, _BATCH_ROWS[self.kind])

    def batches(self) -> list[slice]:
        """The rows of each batch."""
        size = self.batch_rows
        return [slice(start, min(start + size, self.rows)) for start in range(0, self.rows, size)]

    def program(self, rows: int) -> Program:
        """Write the program of one batch.

        Its inputs are weights int64[outputs, inputs] and biases int64[outputs] of each layer, of the model's
        owner, and the client's int64[rows, inputs]; its output is int64[rows, outputs]. All are in units of
        2^-20.
        """
        written = Program()
        numbers = [
            (written.input(_MODEL_OWNER, one.outputs, one.inputs), written.input(_MODEL_OWNER, one.outputs))
            for one in self.layers
        ]
        values = written.input(_CLIENT, rows, self.layers[0].inputs)
        for layer, (weights, biases) in zip(self.layers, numbers, strict=True):
            sums = written.step(self.kind.product, values, weights)
            values = written.step("add", written.step("truncate", sums, number=FRACTION), biases)
            if layer.is_rectified:
                negative = written.step("is-negative", values)
                kept = written.step("shift", written.step("scale", negative, number=-1), number=1)
                values = written.step("mul", values, kept)
        return written


@dataclass(frozen=True, repr=False, eq=False)
class Network(Unprintable):
    """The numbers of a network, by layer: float64[outputs, inputs] weights and float64[outputs] biases."""

    weights: tuple[NDArray[np.float64], ...]
    biases: tuple[NDArray[np.float64], ...]

    def encoded(self, task: Task) -> list[NDArray[np.int64]]:
        """The inputs of the model's owner to every program of a task.

        Raises:
            InvalidInput: the layers have other shapes.
            ValueOutOfRange: a number is not finite, or sums could leave 64 bits for features in the bound.
        """
        shapes = [one.shape for pair in zip(self.weights, self.biases, strict=True) for one in pair]
        wanted = [shape for one in task.layers for shape in ((one.outputs, one.inputs), (one.outputs,))]
        if shapes != wanted:
            raise InvalidInput(f"expected weights and biases of the shapes {wanted}, got {shapes}")
        numbers = []
        largest = [math.ceil(task.bound * 2**FRACTION)] * task.layers[0].inputs
        for number, (weights, biases) in enumerate(zip(self.weights, self.biases, strict=True), start=1):
            both = [_encoded(one, f"layer {number}") for one in (weights, biases)]
            sums = [sum(map(int.__mul__, row, largest)) for row in np.abs(both[0]).tolist()]
            if max(sums) >= _RANGE:
                raise ValueOutOfRange(
                    f"layer {number}: expected sums below {_RANGE >> 2 * FRACTION:,} for features within "
                    f"{task.bound:g}, they could be larger"
                )
            # Rounding adds less than 1 to the magnitude.
            largest = [
                (one >> FRACTION) + 1 + bias for one, bias in zip(sums, np.abs(both[1]).tolist(), strict=True)
            ]
            numbers += both
        return numbers


def encoded_rows(features: NDArray[np.float64], task: Task) -> NDArray[np.int64]:
    """The client's features in units of 2^-20.

    Args:
        features: float64[rows, inputs].
        task: what is computed.

    Raises:
        InputsDisagree: there are other rows or features than the task has.
        ValueOutOfRange: features are not finite or beyond the bound. Counts them, shows none.
    """
    for field, wanted, found in zip(
        ("rows", "features"), (task.rows, task.layers[0].inputs), features.shape, strict=True
    ):
        if wanted != found:
            raise InputsDisagree(field, found, wanted)
    beyond = int(np.count_nonzero(~(np.abs(features) <= task.bound)))
    if beyond:
        raise ValueOutOfRange(
            f"expected features within {task.bound:g}, {beyond} of {features.size} are beyond or not finite"
        )
    return _units(features)


def stated_rows(mesh: Mesh, kind: Sharing, rows: int | None) -> int:
    """Tell every party the number of rows, as the client; None at the others, which hear it.

    Raises:
        MalformedMessage: another than one party states a number.
    """
    said = stated(mesh, kind, None if rows is None else (rows,))
    if len(said) != 1 or len(said[0]) != 1:
        raise MalformedMessage("state: expected the number of rows from the client alone")
    return said[0][0]


def score(
    mesh: Mesh,
    task: Task,
    own: Network | NDArray[np.float64] | None,
    base: Path,
    rng: Randomness,
    progress: Callable[[int, int], None] = lambda done, total: None,
) -> NDArray[np.int64] | None:
    """Play one party: the client, rank 0, the model's owner, rank 1, or the helper, rank 2.

    Args:
        mesh: all parties.
        task: what is computed, the same at every party.
        own: the model's owner's network, the client's float64[rows, inputs] features, or nothing.
        base: folder in which the runs' spools are made.
        rng: own randomness.
        progress: told how many of the rows are done.

    Returns:
        The client's int64[rows, outputs] scores, in units of 2^-20; None at the others.

    Raises:
        InvalidInput, InputsDisagree, ValueOutOfRange: an own input is not as the task has it.
        EngineAbsent, EngineRefused, EngineFailed, EnginesDisagree, ProtocolAbort: as `shares.evaluate`.

    Security: semi-honest, as the descriptors say. Leaks: the task to all; to the client the scores.
    Cost: each batch starts the engines, some seconds; then as `shares.evaluate`.
    Source: the composition of `shares.evaluate` with the opening of its output to one party.
    """
    with mesh_run(mesh, _SPECS[task.kind]) as peers:
        entered = own.encoded(task) if isinstance(own, Network) else []
        features = encoded_rows(own, task) if isinstance(own, np.ndarray) else None
        # 1. Compute, a batch at a time; every party keeps a summand.
        summands = []
        for batch in task.batches():
            given = entered if features is None else [features[batch]]
            program = task.program(batch.stop - batch.start)
            summands.append(evaluate(mesh, program, given, task.kind, base, rng))
            progress(batch.stop, task.rows)
        # 2. Open to the client; 3. compare transcripts.
        opened = _opened(peers, np.concatenate(summands))
        peers.confirm()
        return opened


def _opened(peers: ConfirmedMesh, summand: NDArray[np.uint64]) -> NDArray[np.int64] | None:
    if peers.rank != _CLIENT:
        if peers[_CLIENT].swap("scores", summand.astype("<u8").tobytes()):
            raise MalformedMessage("scores: expected nothing of the client")
        return None
    total = summand.copy()
    for peer in peers.peers:
        content = peers[peer].swap("scores", b"", at_most=summand.nbytes)
        if len(content) != summand.nbytes:
            raise MalformedMessage(f"scores: expected {summand.nbytes} bytes, got {len(content)}")
        total += np.frombuffer(content, dtype="<u8").reshape(summand.shape)
    return total.view(np.int64)


def _encoded(numbers: NDArray[np.float64], what: str) -> NDArray[np.int64]:
    """Numbers in units of 2^-20, of a magnitude whose square fits a program."""
    largest = _RANGE >> 2 * FRACTION
    beyond = int(np.count_nonzero(~(np.abs(numbers) < largest)))
    if beyond:
        raise ValueOutOfRange(
            f"{what}: expected finite numbers below {largest:,}, {beyond} of {numbers.size} are not"
        )
    return _units(numbers)


def _units(numbers: NDArray[np.float64]) -> NDArray[np.int64]:
    nearest: NDArray[np.int64] = np.rint(numbers * 2.0**FRACTION).astype(np.int64)
    return nearest
