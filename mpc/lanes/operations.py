"""Operations of the kernels on slots of a work area, and how kernels are compiled.

Each operation is a compiled function of its own that is never inlined: what is compiled stays small.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar, cast

from llvmlite import ir
from numba import types
from numba.extending import intrinsic

from mpc import compiling
from mpc.lanes import emit
from mpc.lanes.emit import WORD, Builder, Value, load, store

Function = TypeVar("Function", bound=Callable[..., Any])


def step(slots: int) -> Callable[[Function], Function]:
    """Compile a function of an address and slots, for calls from compiled code alone."""
    signature = types.void(*[types.intp] * (1 + slots))
    return compiled(signature, no_cpython_wrapper=True, no_cfunc_wrapper=True)


def compiled(signature: Value, **options: bool) -> Callable[[Function], Function]:
    """Compile for one signature, and keep what is compiled beside the module or in the user's cache."""

    def decorate(python: Function) -> Function:
        return cast(Function, compiling.compiled(python, signature, error_model="numpy", **options))

    return decorate


def _operation(inputs: int, emitter: Callable[..., list[Value]]) -> Callable[..., None]:
    """An intrinsic ``(base, out, *slots)`` that applies an emitter to ``inputs`` slots of a work area."""

    def body(b: Builder, base: Value, out: Value, *slots: Value) -> None:
        store(b, base, out, emitter(b, *(load(b, base, slot) for slot in slots)))

    def codegen(context: Value, b: Builder, signature: Value, arguments: Value) -> Value:
        b.call(function(b.module, emitter.__name__, 2 + inputs, body), arguments)
        return context.get_dummy_value()

    signature = types.void(*[types.intp] * (2 + inputs)), codegen

    def one(typingctx: Value, base: Value, out: Value, x: Value) -> Value:
        return signature

    def two(typingctx: Value, base: Value, out: Value, x: Value, y: Value) -> Value:
        return signature

    def three(typingctx: Value, base: Value, out: Value, x: Value, y: Value, z: Value) -> Value:
        return signature

    return cast(Callable[..., None], intrinsic((one, two, three)[inputs - 1]))


def function(module: Value, name: str, arguments: int, body: Callable[..., None]) -> Value:
    """The function of that name in a module of compiled code; ``body`` writes it if it is not there."""
    name = f"parley.{name}"
    if name not in module.globals:
        made = ir.Function(module, ir.FunctionType(ir.VoidType(), [WORD] * arguments), name)
        made.linkage = "linkonce_odr"
        made.attributes.add("noinline")
        b = ir.IRBuilder(made.append_basic_block())
        body(b, *made.args)
        b.ret_void()
    return module.globals[name]


# Operations on slots of the work area at the address given first; the second argument is the slot written.

mul = _operation(2, emit.product)
sqr = _operation(1, emit.square)
add = _operation(2, emit.plus)
sub = _operation(2, emit.minus)
freeze = _operation(1, emit.frozen)
mask_odd = _operation(1, emit.odd)
mask_same = _operation(2, emit.same)
choose = _operation(3, emit.select)
conjoin = _operation(2, emit.both)
disjoin = _operation(2, emit.either)
without = _operation(2, emit.without)
