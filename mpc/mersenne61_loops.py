"""The compiled loops of `mpc.mersenne61`. Importing this starts the compiler, half a second."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final, cast

import numpy as np
from llvmlite import ir
from numba.core import types
from numba.extending import intrinsic
from numpy.typing import NDArray

from mpc.compiling import compiled

_Elements = NDArray[np.uint64]

_PRIME: Final = 2**61 - 1
_P: Final = np.uint64(_PRIME)


def _fold(_: object, left: object, right: object) -> object:
    """The product of two elements in 128 bits, folded once: between 0 and 2p."""

    def generate(_context: object, builder: Any, _signature: object, operands: Any) -> object:  # noqa: ANN401  # llvmlite has no types
        wide = ir.IntType(128)
        product = builder.mul(*(builder.zext(operand, wide) for operand in operands))
        low = builder.and_(product, ir.Constant(wide, _PRIME))
        return builder.trunc(builder.add(low, builder.lshr(product, ir.Constant(wide, 61))), ir.IntType(64))

    return types.uint64(types.uint64, types.uint64), generate


_folded_product: Final = cast("Callable[[Any, Any], Any]", intrinsic(_fold))


@compiled
def _multiply(left: np.uint64, right: np.uint64) -> np.uint64:
    folded: np.uint64 = _folded_product(left, right)
    return folded - _P if folded >= _P else folded


@compiled
def _add(left: np.uint64, right: np.uint64) -> np.uint64:
    total = left + right
    return total - _P if total >= _P else total


@compiled
def _subtract(left: np.uint64, right: np.uint64) -> np.uint64:
    return left - right if left >= right else left + _P - right


@compiled
def _inverse(element: np.uint64) -> np.uint64:
    """By Fermat: the power p - 2, of whose 61 bits all but the second lowest are set."""
    result, square = np.uint64(1), element
    for bit in range(61):
        if bit != 1:
            result = _multiply(result, square)
        square = _multiply(square, square)
    return result


@compiled
def divided_differences(left: _Elements, right: _Elements, inverse_step: np.uint64) -> _Elements:
    """As the function of that name in `mpc.mersenne61`, with the inverse of the step."""
    out = np.empty_like(left)
    for cell in range(len(left)):
        out[cell] = _multiply(_subtract(right[cell], left[cell]), inverse_step)
    return out


@compiled
def evaluate(coefficients: _Elements, point: np.uint64) -> _Elements:
    """As the function of that name in `mpc.mersenne61`."""
    out: _Elements = coefficients[-1].copy()
    for degree in range(len(coefficients) - 2, -1, -1):
        for cell in range(len(out)):
            out[cell] = _add(_multiply(out[cell], point), coefficients[degree, cell])
    return out


@compiled
def interpolate(points: _Elements, values: _Elements) -> _Elements:
    """As the function of that name in `mpc.mersenne61`."""
    count, size = points.shape
    out = np.zeros((count, size), np.uint64)
    master = np.empty(size + 1, np.uint64)
    quotient = np.empty(size, np.uint64)
    for row in range(count):
        # The polynomial with all points as roots, multiplied up one root at a time.
        master[:] = 0
        master[0] = 1
        for at in range(size):
            for degree in range(at + 1, 0, -1):
                master[degree] = _subtract(master[degree - 1], _multiply(master[degree], points[row, at]))
            master[0] = _subtract(np.uint64(0), _multiply(master[0], points[row, at]))
        for at in range(size):
            # Without one root, by Horner; its value at that root is what Lagrange divides by.
            point = points[row, at]
            quotient[size - 1] = master[size]
            weight = master[size]
            for degree in range(size - 2, -1, -1):
                quotient[degree] = _add(master[degree + 1], _multiply(quotient[degree + 1], point))
                weight = _add(_multiply(weight, point), quotient[degree])
            scale = _multiply(values[row, at], _inverse(weight))
            for degree in range(size):
                out[row, degree] = _add(out[row, degree], _multiply(quotient[degree], scale))
    return out


@compiled
def evaluate_in_rows(coefficients: _Elements, rows: NDArray[np.int64], points: _Elements) -> _Elements:
    """As the function of that name in `mpc.mersenne61`."""
    out = np.empty_like(points)
    for at in range(len(points)):
        value = np.uint64(0)
        for degree in range(coefficients.shape[1] - 1, -1, -1):
            value = _add(_multiply(value, points[at]), coefficients[rows[at], degree])
        out[at] = value
    return out
