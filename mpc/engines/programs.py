"""Straight-line programs on whole arrays of integers: what they are, and how any array library plays them.

`mpc.engines.shares` builds them and tests play them with numpy; the engine's process loads this file beside
`worker.py` and plays them with jax on SPU's shares. So it imports nothing of this package, and the same lines
say what an operation means in all three places.

A program is a list of steps. Each makes one array of int64 from earlier ones; arithmetic is modulo 2^64, and
what is compared must differ by less than 2^63. Truth values are 0 and 1.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Final

__all__ = ["OPERATIONS", "interpret", "play"]

Arrays = Any  # of numpy or of jax

OPERATIONS: Final[Mapping[str, Callable[..., Arrays]]] = {
    "add": lambda xp, number, a, b: a + b,
    "columns": lambda xp, number, *parts: xp.stack(parts, axis=-1),
    "dot": lambda xp, number, a, b: xp.matmul(a, b.T),
    "is-negative": lambda xp, number, a: (a < 0).astype(xp.int64),
    "is-zero": lambda xp, number, a: (a == 0).astype(xp.int64),
    "largest": lambda xp, number, a: xp.max(a, axis=-1),
    "mul": lambda xp, number, a, b: a * b,
    "outer": lambda xp, number, a, b: (a[:, None, :] * b[None, :, :]).reshape(-1, a.shape[-1]),
    "part": lambda xp, number, a: a[number],
    "rows": lambda xp, number, *parts: xp.stack(parts, axis=0),
    "scale": lambda xp, number, a: a * number,
    "shift": lambda xp, number, a: a + number,
    "smallest": lambda xp, number, a: xp.min(a, axis=-1),
    "sub": lambda xp, number, a, b: a - b,
    "sum": lambda xp, number, a: xp.sum(a, axis=-1),
    "sum-of-products": lambda xp, number, a, b: xp.sum(a[:, None, :] * b[None, :, :], axis=-1),
    "truncate": lambda xp, number, a: a >> number,
}
"""By name: a function of the array library, the step's number and the operands.

``dot`` of [k, n] and [m, n] is [k, m], and ``sum-of-products`` the same without a product of matrices;
``outer`` of them is [k m, n]. ``rows`` and ``columns`` put arrays together along a new first or last axis.
``truncate`` divides by 2 to the power of the number and rounds down; its result enters another step, because
an output is arithmetic shares and a shift leaves shares of bits.
"""


def interpret(xp: Any, steps: Sequence[Mapping[str, Any]], inputs: Sequence[Arrays]) -> Arrays:  # noqa: ANN401
    """Play the steps on inputs; the last step's array is the output.

    Args:
        xp: numpy or jax.numpy.
        steps: ``{"op", "args", "number"}``; arguments count the inputs first, then the steps.
        inputs: int64 arrays.
    """
    values = list(inputs)
    for step in steps:
        operands = [values[at] for at in step["args"]]
        values.append(OPERATIONS[step["op"]](xp, step["number"], *operands))
    return values[-1]


def play(
    task: Mapping[str, Any], link: Callable[[Any], Any], answer: Callable[[Mapping[str, object]], None]
) -> dict[str, object]:
    """Play a program on shares, in the engine's process.

    Takes this party's shares of input k from ``input-k.bin`` and leaves that of the output in ``output.bin``:
    little-endian words, of replicated sharing each element's two in turn.
    """
    del answer
    jax, spu, libspu, frontend = map(importlib.import_module, _MODULES)
    numbers = importlib.import_module("jax.numpy")
    jax.config.update("jax_enable_x64", True)
    protocols = {"aby3": libspu.ProtocolKind.ABY3, "cheetah": libspu.ProtocolKind.CHEETAH}
    config = libspu.RuntimeConfig(protocol=protocols[task["sharing"]], field=libspu.FieldType.FM64)
    form = spu.Io(task["parties"], config)
    shapes = [tuple(shape) for shape in task["inputs"]]
    names = [f"input-{number}" for number in range(len(shapes))]

    def program(*inputs: Arrays) -> Arrays:
        return interpret(numbers, task["steps"], inputs)

    like = [numbers.zeros(shape, dtype=numbers.int64) for shape in shapes]
    executable, _ = frontend.compile(
        frontend.Kind.JAX,
        program,
        like,
        {},
        names,
        [libspu.Visibility.VIS_SECRET] * len(like),
        lambda outputs: ["output"],
    )
    context = link(libspu)
    runtime = spu.Runtime(context, config)
    for name, zeros in zip(names, like, strict=True):
        meta = form.make_shares(jax.device_get(zeros), libspu.Visibility.VIS_SECRET)[0].meta
        runtime.set_var(name, _share(libspu, meta, Path(f"{name}.bin")))
    runtime.run(executable)
    share = runtime.get_var("output")
    meta = libspu.ValueMeta()
    meta.ParseFromString(share.meta)
    with Path("output.bin").open("wb") as out:
        for encoded in share.share_chunks:
            chunk = libspu.ValueChunk()
            chunk.ParseFromString(encoded)
            out.write(chunk.content)
    context.stop_link()
    return {"form": meta.storage_type, "shape": list(meta.shape.dims)}


_MODULES: Final = ("jax", "spu", "spu.libspu", "spu.utils.frontend")
_CHUNK_BYTES: Final = 1 << 27


def _share(libspu: Any, meta: bytes, path: Path) -> Any:  # noqa: ANN401 - SPU's classes have no types
    """A share from this party's words, in the pieces that SPU takes."""
    size = path.stat().st_size
    chunks = []
    with path.open("rb") as words:
        for offset in range(0, size, _CHUNK_BYTES):
            chunk = libspu.ValueChunk()
            chunk.total_bytes, chunk.chunk_offset = size, offset
            chunk.content = words.read(_CHUNK_BYTES)
            chunks.append(chunk.SerializeToString())
    share = libspu.Share()
    share.meta, share.share_chunks = meta, chunks
    return share
