"""Compile plain Python with numba, and keep what was compiled where there is a place for it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, ParamSpec, TypeVar, cast

from numba import njit

__all__ = ["compiled"]

_Parameters = ParamSpec("_Parameters")
_Result = TypeVar("_Result")


def compiled(
    function: Callable[_Parameters, _Result],
    signature: Any = None,  # noqa: ANN401 - numba's types
    **options: Any,  # noqa: ANN401 - numba's options
) -> Callable[_Parameters, _Result]:
    """Compile a function that runs without the interpreter lock.

    Args:
        function: what numba can compile.
        signature: numba's type of it, to compile at once; without one it is compiled when it is first called.
        options: further options of numba.
    """
    options = {"nogil": True, **options}
    try:
        made = njit(signature, cache=True, **options)(function)
    except RuntimeError:  # nowhere to keep it: a read-only installation, no home folder
        made = njit(signature, **options)(function)
    return cast("Callable[_Parameters, _Result]", made)
