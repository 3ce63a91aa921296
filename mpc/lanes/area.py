"""The work area of the kernels: slots of field elements, those of constants filled.

A *slot* is the place of one element a lane, a *point* is four slots with the extended coordinates X, Y, Z, T.
"""

from __future__ import annotations

from typing import Final

import numpy as np
from numpy.typing import NDArray

from mpc.lanes.emit import BITS, LANES, LIMBS

STARTS: Final = (0, 26, 51, 77, 102, 128, 153, 179, 204, 230)
"""The bit at which each limb starts."""
ENTRIES: Final = 9
"""Multiples of a point in the table: 0 to 8, which signed digits of four bits need."""

_P: Final = 2**255 - 19
_EDWARDS_D: Final = -121665 * pow(121666, -1, _P) % _P
_CONSTANTS: Final = (
    0,
    1,
    2,
    _P - 1,
    _EDWARDS_D,
    2 * _EDWARDS_D % _P,
    pow(2, (_P - 1) // 4, _P),
    54469307008909316920995813868745141605393597292927456921205312896311721017578,
    (1 - _EDWARDS_D**2) % _P,
    (_EDWARDS_D - 1) ** 2 % _P,
    25063068953384623474111414158702152701244531502492656460079210482610430750235,
)
"""In the order of the slots; names and the two long ones are of RFC 9496, section 4.1."""
ZERO: Final = 0
ONE: Final = 1
TWO: Final = 2
MINUS_ONE: Final = 3
D: Final = 4
TWO_D: Final = 5
SQRT_M1: Final = 6
INVSQRT_A_MINUS_D: Final = 7
ONE_MINUS_D_SQ: Final = 8
D_MINUS_ONE_SQ: Final = 9
SQRT_AD_MINUS_ONE: Final = 10

POINT: Final = 11
CHOSEN: Final = 15
TABLE: Final = 19
INPUT: Final = TABLE + 4 * ENTRIES
VALID: Final = INPUT + 2
POWER: Final = VALID + 1
"""Scratch of powers and absolute values: 3 slots."""
ROOT: Final = POWER + 3
"""Scratch of square roots: 4 slots."""
SCRATCH: Final = ROOT + 4
"""Scratch of everything else: 6 slots."""
LEFT: Final = SCRATCH + 3
RIGHT: Final = SCRATCH + 4
"""The two factors of T of the point that was computed last."""
_SLOTS: Final = SCRATCH + 6


def work_area() -> NDArray[np.uint64]:
    """A work area of its own for one thread, uint64[slots, 10, LANES]."""
    area = np.zeros((_SLOTS, LIMBS, LANES), np.uint64)
    for slot, value in enumerate(_CONSTANTS):
        limbs = [(value >> start) & (2**bits - 1) for start, bits in zip(STARTS, BITS, strict=True)]
        area[slot] = np.array(limbs, np.uint64)[:, None]
    return area
