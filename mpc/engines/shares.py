"""Programs on secret columns, played by SPU on shares: three parties by ABY3, two by CHEETAH.

The fast tier of `mpc.replicated`: the same integers modulo 2^64, exact products and comparisons.

    owner of an input                              computing party
      1. hello        engine, program  <------------------->  engine, program
      2. share        its part of every input, by ours or a seed  --->
      3. frame        SPU's own messages, in frames, among the computing parties
      4. confirm      transcript hash  <------------------->  transcript hash

Shares of inputs are made here, with the party's own randomness, in the form SPU computes on; the output stays
shared: every computing party gets one summand, blinded by keys that the computing parties draw in pairs, so
that the summands together say the output and nothing else.

SEMI2K, SPU's default, is not offered: its first party makes the multiplication triples and so can open what
the other hides. See docs/decisions.
"""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path
from typing import Any, Final

import numpy as np
from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes
from numpy.typing import NDArray

from mpc import wire
from mpc.engines import spu
from mpc.engines.programs import OPERATIONS, interpret
from mpc.engines.run import played
from mpc.engines.spool import spool
from mpc.errors import EngineFailed, EngineRefused, EnginesDisagree, InvalidInput, MalformedMessage
from mpc.mesh import ConfirmedMesh, Mesh, mesh_run
from mpc.randomness import Randomness
from mpc.spec import Adversary, ProtocolSpec

__all__ = ["ABY3", "CHEETAH", "Program", "Sharing", "evaluate", "sharing", "stated"]

Words = NDArray[np.uint64]

_SEED_BYTES: Final = 16
_MAX_STATED: Final = 16
_PUBLIC: Final = "the computation: its operations, and the shapes of every input"

ABY3: Final = ProtocolSpec(
    name="shares/aby3",
    version=1,
    roles=("owner", "helper"),
    adversary=Adversary.SEMI_HONEST,
    corruptions="one of the three computing parties, and any that do not compute",
    leaks={"owner": (_PUBLIC,), "helper": (_PUBLIC,)},
    cost="16 bytes an input element; then the engine's: 8 bytes a product and party; seconds to start",
    source="Mohassel, Rindal 2018 (ABY3), semi-honest, as implemented by SPU",
    summary="Programs on secret columns of several owners, computed by three parties on SPU's fast engine.",
)

CHEETAH: Final = ProtocolSpec(
    name="shares/cheetah",
    version=1,
    roles=("owner",),
    adversary=Adversary.SEMI_HONEST,
    corruptions="one of two",
    leaks={"owner": (_PUBLIC,)},
    cost="8 bytes an input element; then the engine's: seconds and megabytes to start, 30 µs a product",
    source="Huang, Lu, Hong, Ding 2022 (Cheetah), semi-honest, as implemented by SPU",
    summary="Programs on secret columns of two owners, computed by the two alone on SPU's engine.",
)


class Sharing(StrEnum):
    """How values are shared, by the name of the protocol."""

    ABY3 = "aby3"
    CHEETAH = "cheetah"

    @property
    def spec(self) -> ProtocolSpec:
        """Its claim."""
        return ABY3 if self is Sharing.ABY3 else CHEETAH

    @property
    def computing(self) -> int:
        """How many parties compute: the first ranks."""
        return 3 if self is Sharing.ABY3 else 2

    @property
    def product(self) -> str:
        """The operation that multiplies matrices; CHEETAH's own product takes more memory than its sums."""
        return "dot" if self is Sharing.ABY3 else "sum-of-products"

    @property
    def most_products(self) -> int:
        """The most products in one operation; beyond, an engine takes more memory than a machine has."""
        return 2**31 if self is Sharing.ABY3 else 2**20


def sharing(name: str) -> Sharing:
    """The sharing of that name.

    Raises:
        EngineRefused: it is SEMI2K, or there is none of that name.
    """
    if name == "semi2k":
        raise EngineRefused("semi2k is refused: its first party makes the triples and could open every value")
    if name not in set(Sharing):
        raise EngineRefused(f"expected one of {', '.join(Sharing)}, got another sharing")
    return Sharing(name)


@dataclass
class Program:
    """A program being written; see `mpc.engines.programs`. Values are the numbers that its methods return.

    Attributes:
        owners: rank of the party that enters each input.
        shapes: of each input and each step.
        steps: what is done, in order; the last one's array is the output.
    """

    owners: list[int] = field(default_factory=list)
    shapes: list[tuple[int, ...]] = field(default_factory=list)
    steps: list[dict[str, Any]] = field(default_factory=list)

    def input(self, owner: int, *shape: int) -> int:
        """An array that one party enters; all inputs come before the first step."""
        if self.steps:
            raise InvalidInput("expected every input before the first step")
        self.owners.append(owner)
        self.shapes.append(shape)
        return len(self.shapes) - 1

    def step(self, op: str, *args: int, number: int | None = None) -> int:
        """An operation of `mpc.engines.programs.OPERATIONS` on earlier values.

        Raises:
            InvalidInput: there is no such operation, or its operands do not fit.
        """
        if op not in OPERATIONS or not all(0 <= at < len(self.shapes) for at in args):
            raise InvalidInput(f"expected a known operation on earlier values, got {op} on {args}")
        shapes = [self.shapes[at] for at in args]
        try:
            shape = _shape(op, number, shapes)
        except (TypeError, ValueError, IndexError) as error:
            raise InvalidInput(f"{op}: operands of the shapes {shapes}") from error
        self.steps.append({"op": op, "args": list(args), "number": number})
        self.shapes.append(shape)
        return len(self.shapes) - 1

    @property
    def output_shape(self) -> tuple[int, ...]:
        """Of the last step's array."""
        return self.shapes[-1]

    def encoded(self) -> dict[str, object]:
        """As JSON values."""
        return {"inputs": [list(shape) for shape in self.shapes[: len(self.owners)]], "steps": self.steps}

    def digest(self) -> str:
        """SHA-256 of owners and program: parties compare it before they begin."""
        whole = json.dumps({"owners": self.owners, **self.encoded()}, sort_keys=True)
        return hashlib.sha256(whole.encode()).hexdigest()

    def in_the_clear(self, inputs: Sequence[NDArray[np.int64]]) -> NDArray[np.int64]:
        """What it computes, on plain inputs."""
        result: NDArray[np.int64] = interpret(np, self.steps, inputs)
        return result

    def most_products(self) -> int:
        """The products of its largest operation."""
        sizes = [0]
        for number, step in enumerate(self.steps, len(self.owners)):
            shapes = [self.shapes[at] for at in step["args"]]
            match step["op"]:
                case "dot" | "sum-of-products":
                    sizes.append(shapes[0][0] * math.prod(shapes[1]))
                case "mul" | "outer":
                    sizes.append(math.prod(self.shapes[number]))
                case "is-negative" | "is-zero" | "largest" | "smallest" | "truncate":
                    sizes.append(math.prod(shapes[0]))
        return max(sizes)


def _shape(op: str, number: int | None, shapes: Sequence[tuple[int, ...]]) -> tuple[int, ...]:
    """The shape of an operation's result, without its work where that is more than the result's size."""
    if op in ("dot", "sum-of-products"):
        (left, rows), (right, same) = shapes
        if rows != same:
            raise ValueError("rows differ")
        return (left, right)
    zeros = (np.broadcast_to(np.int64(0), shape) for shape in shapes)
    return tuple(OPERATIONS[op](np, number, *zeros).shape)


def stated(mesh: Mesh, kind: Sharing, numbers: Sequence[int] | None) -> list[tuple[int, ...]]:
    """Tell every party some public numbers and hear theirs, by rank; None has nothing to say.

    For what a program depends on. It is confirmed with the program, whose digest the parties compare.

    Raises:
        MalformedMessage: a party says anything but a few numbers.
    """
    with mesh_run(mesh, kind.spec) as peers:
        said = b"" if numbers is None else b"".join(map(wire.encode_uint64, numbers))
        peers.broadcast("state", said)
        heard = {peers.rank: said, **peers.gather("state")}
        found = []
        for _, content in sorted(heard.items()):
            if len(content) % 8 or len(content) > 8 * _MAX_STATED:
                raise MalformedMessage(
                    f"state: expected at most {_MAX_STATED} numbers, got {len(content)} bytes"
                )
            if content:
                found.append(tuple(int(one) for one in np.frombuffer(content, dtype="<u8")))
        if len({len(one) for one in found}) != 1:
            raise MalformedMessage("state: expected as many numbers of each party")
        return found


def evaluate(
    mesh: Mesh,
    program: Program,
    own: Sequence[NDArray[np.int64]],
    kind: Sharing,
    base: Path,
    rng: Randomness,
    *,
    memory_limit: int | None = None,
) -> Words:
    """Play one party of a program.

    Args:
        mesh: all parties; the first two or three compute, the others enter inputs and wait.
        program: the same at every party.
        own: this party's inputs in the order of the program.
        kind: how values are shared.
        base: folder in which the run's spool is made.
        rng: own randomness, for shares.
        memory_limit: most bytes the engine may have; from the program's size by default.

    Returns:
        uint64 of the output's shape: this party's summand of the output modulo 2^64; zeros where it does not
        compute.

    Raises:
        EngineAbsent: SPU is not installed here.
        EngineRefused: the program is too large for this sharing, or there are other parties than it takes.
        EnginesDisagree: the parties have different programs or versions of SPU.
        EngineFailed: the engine ended without a result.
        ProtocolAbort: a message is not as the protocol has it, or another party aborted.

    Security: semi-honest, as the descriptors say; AES-128 as a pseudorandom function; SPU's implementation.
    Leaks: nothing; the program is public.
    Cost: 8 bytes an input element to two of three computing parties (ABY3) or to one (CHEETAH), then what
        the engine sends.
    Source: Mohassel, Rindal 2018; Huang, Lu, Hong, Ding 2022.
    """
    version = spu.required_version()
    _check(mesh, program, own, kind)
    with mesh_run(mesh, kind.spec) as peers, spool(base) as folder:
        # 1. Compare what must be equal.
        asked = f"{version} {program.digest()[:32]}"
        peers.broadcast("hello", asked.encode())
        for answered in peers.gather("hello").values():
            if answered != asked.encode():
                raise EnginesDisagree(asked, answered.decode(errors="replace"))
        # 2. Share the inputs, and keys that blind the output.
        mask = _share_inputs(peers, program, own, kind, folder, rng)
        # 3. Let the engines compute.
        computes = peers.rank < kind.computing
        result = np.zeros(program.output_shape, dtype=np.uint64)
        if computes:
            others = {rank: peers[rank] for rank in range(kind.computing) if rank != peers.rank}
            task = {"task": "compute", "rank": peers.rank, "sharing": kind.value, **program.encoded()}
            limit = memory_limit or _memory_bytes(program)
            with played(folder, task, others, kind.spec, memory_bytes=limit) as answer:
                result = _summand(answer, folder / "output.bin", program.output_shape, kind) + mask
        # 4. Compare transcripts.
        peers.confirm()
        return result


def _check(mesh: Mesh, program: Program, own: Sequence[NDArray[np.int64]], kind: Sharing) -> None:
    if mesh.size < kind.computing or (kind is Sharing.CHEETAH and mesh.size != kind.computing):
        raise EngineRefused(f"{kind} takes {kind.computing} computing parties, got {mesh.size} parties")
    wanted = [program.shapes[at] for at, owner in enumerate(program.owners) if owner == mesh.rank]
    if [one.shape for one in own] != wanted or any(one.dtype != np.int64 for one in own):
        raise InvalidInput(f"expected inputs int64 of the shapes {wanted}, got {[one.shape for one in own]}")
    if not program.steps or not program.owners:
        raise InvalidInput("expected a program with an input and a step")
    largest = program.most_products()
    if largest > kind.most_products:
        raise EngineRefused(
            f"{kind} takes at most {kind.most_products} products or comparisons in one operation, "
            f"got {largest}; use fewer rows, groups or figures"
        )


def _share_inputs(
    peers: ConfirmedMesh,
    program: Program,
    own: Sequence[NDArray[np.int64]],
    kind: Sharing,
    folder: Path,
    rng: Randomness,
) -> Words:
    """Exchange parts of every input, write this party's for its engine; return the blinding of the output."""
    computing = range(kind.computing)
    parts: dict[int, list[bytes]] = {rank: [] for rank in range(peers.size)}
    for values in own:
        for rank, part in _parts(values.view(np.uint64), kind, rng).items():
            parts[rank].append(part)
    keys = {rank: rng.bytes(_SEED_BYTES) for rank in computing if peers.rank < rank}
    if peers.rank in computing:
        for rank, key in keys.items():
            parts[rank].append(key)
    own_parts = parts[peers.rank]
    received = peers.swap("share", {rank: b"".join(parts[rank]) for rank in peers.peers})
    if peers.rank not in computing:
        if any(received.values()):
            raise MalformedMessage("share: expected nothing for a party that does not compute")
        return np.zeros(program.output_shape, dtype=np.uint64)
    readers = {rank: _Reader(content) for rank, content in received.items()}
    readers[peers.rank] = _Reader(b"".join(own_parts))
    for number, owner in enumerate(program.owners):
        shape = program.shapes[number]
        words = _received(readers[owner], math.prod(shape), peers.rank, kind)
        words.tofile(folder / f"input-{number}.bin")
    mask = np.zeros(program.output_shape, dtype=np.uint64)
    for rank in computing:
        if rank < peers.rank:
            mask -= _expand(readers[rank].take(_SEED_BYTES), mask.shape)
        elif rank > peers.rank:
            mask += _expand(keys[rank], mask.shape)
    for reader in readers.values():
        reader.finish()
    return mask


_DRAWN: Final[Mapping[Sharing, Sequence[Sequence[bool]]]] = {
    Sharing.CHEETAH: ((True,), (False,)),
    Sharing.ABY3: ((True, True), (True, False), (False, True)),
}
"""Which of its parts of an input a computing party draws from a seed, by rank."""


def _parts(values: Words, kind: Sharing, rng: Randomness) -> dict[int, bytes]:
    """What each computing party gets of an input: seeds where a part is drawn, the last part itself."""
    first = rng.bytes(_SEED_BYTES)
    if kind is Sharing.CHEETAH:
        rest = values - _expand(first, values.shape)
        return {0: first, 1: rest.tobytes()}
    second = rng.bytes(_SEED_BYTES)
    rest = values - _expand(first, values.shape) - _expand(second, values.shape)
    return {0: first + second, 1: second + rest.tobytes(), 2: rest.tobytes() + first}


def _received(reader: _Reader, count: int, rank: int, kind: Sharing) -> Words:
    """This party's words of an input in SPU's form: of replicated sharing, own and next part in turn."""
    taken = [
        _expand(reader.take(_SEED_BYTES), (count,)) if is_drawn else reader.words(count)
        for is_drawn in _DRAWN[kind][rank]
    ]
    return np.stack(taken, axis=-1)


class _Reader:
    """Takes bytes in order from what one party sent."""

    def __init__(self, content: bytes) -> None:
        self._content, self._at = content, 0

    def take(self, count: int) -> bytes:
        taken = self._content[self._at : self._at + count]
        self._at += count
        if len(taken) != count:
            raise MalformedMessage(f"share: ends before {self._at} bytes")
        return taken

    def words(self, count: int) -> Words:
        return np.frombuffer(self.take(8 * count), dtype="<u8").astype(np.uint64, copy=False)

    def finish(self) -> None:
        if self._at != len(self._content):
            raise MalformedMessage(f"share: {len(self._content) - self._at} trailing bytes")


def _expand(seed: bytes, shape: tuple[int, ...]) -> Words:
    """Words from AES-128 in counter mode, as many as the shape has."""
    stream = Cipher(algorithms.AES(seed), modes.CTR(bytes(16))).encryptor()
    return (
        np.frombuffer(stream.update(bytes(8 * math.prod(shape))), dtype="<u8")
        .reshape(shape)
        .astype(np.uint64)
    )


def _summand(answer: Mapping[str, Any], path: Path, shape: tuple[int, ...], kind: Sharing) -> Words:
    """This party's summand of the output, from the engine's file."""
    width = 2 if kind is Sharing.ABY3 else 1
    words = np.fromfile(path, dtype="<u8") if path.exists() else np.zeros(0, dtype="<u8")
    if not str(answer.get("form")).startswith(f"{kind}.AShr<") or len(words) != width * math.prod(shape):
        raise EngineFailed("the engine's result is no arithmetic share of the output's shape")
    return words.reshape(*shape, width)[..., 0].astype(np.uint64)


def _memory_bytes(program: Program) -> int:
    """Eight GiB, and a hundred bytes for each element of the largest array that is not an input's product."""
    return 8 * 1024**3 + 128 * max(math.prod(shape) for shape in program.shapes)
