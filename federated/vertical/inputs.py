"""Columns and labels of the owners, checked, in fixed point, and shared."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from federated.vertical.settings import FEATURE_FRACTION, LIMIT, Layout
from mpc.errors import InvalidInput, ValueOutOfRange
from mpc.replicated import Runtime, Shared
from mpc.replicated.sharing import concatenate

__all__ = ["shared_features", "shared_label"]

Floats = NDArray[np.float64]


def shared_features(rt: Runtime, layout: Layout, features: Floats | None) -> Shared:
    """Share the columns of all owners under a column of ones.

    Args:
        rt: the run; the ranks of the owners come first.
        layout: rows and columns of every owner.
        features: float64[columns, rows] of this owner, standardised; None where it has none.

    Returns:
        Shared int64[1 + columns, rows], with `FEATURE_FRACTION` fractional bits.

    Raises:
        InvalidInput: an array that does not fit the layout.
        ValueOutOfRange: a value that is not finite or too large, before anything is sent of it.

    Security: as `Runtime.share`. Leaks: nothing else. Cost: the same. Source: none.
    """
    ones = np.full((1, layout.shared_rows), 2**FEATURE_FRACTION, dtype=np.int64)
    parts = [rt.constant(ones)]
    for owner, count in enumerate(layout.columns):
        if not count:
            continue
        encoded = None
        if owner == rt.rank:
            encoded = _encode(features, (count, layout.shared_rows), FEATURE_FRACTION, "features")
        parts.append(rt.share(owner, encoded, (count, layout.shared_rows), limit=LIMIT << FEATURE_FRACTION))
    return concatenate(parts)


def shared_label(rt: Runtime, layout: Layout, label: Floats | None, fraction: int) -> Shared:
    """Share the label of rank 0: int64[rows] with ``fraction`` fractional bits; as `shared_features`."""
    encoded = None
    if rt.rank == 0:
        encoded = _encode(label, (layout.shared_rows,), fraction, "label")
    return rt.share(0, encoded, layout.shared_rows, limit=LIMIT << fraction)


def _encode(values: Floats | None, shape: tuple[int, ...], fraction: int, what: str) -> NDArray[np.int64]:
    if values is None or values.shape != shape:
        raise InvalidInput(f"{what}: expected an array of shape {shape}")
    misfits = int(np.count_nonzero(~(np.abs(values) < LIMIT)))
    if misfits:
        raise ValueOutOfRange(f"{what}: {misfits} of {values.size} values are not below {LIMIT}")
    encoded: NDArray[np.int64] = np.rint(values * 2.0**fraction).astype(np.int64)
    return encoded
