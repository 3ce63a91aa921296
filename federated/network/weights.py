"""The weights of a network: where they start, how they lie in one array, and who is told which."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from federated.network.settings import WEIGHT_LIMIT, Settings
from federated.vertical.settings import WEIGHT_FRACTION, Layout
from mpc.replicated import Runtime, Shared
from mpc.replicated.sharing import concatenate
from mpc.secrecy import Unprintable

__all__ = ["OwnWeights", "initial", "own_weights"]

Floats = NDArray[np.float64]


@dataclass(frozen=True, repr=False, eq=False)
class OwnWeights(Unprintable):
    """What one owner has of a split network.

    Attributes:
        columns: float64[units, columns], of its own columns.
        intercepts: float64[units], of the hidden units, at rank 0; elsewhere empty.
        output: float64[1 + units], the intercept first, at rank 0; elsewhere empty.
    """

    columns: Floats
    intercepts: Floats
    output: Floats

    @property
    def numbers(self) -> Floats:
        """All of them: of each hidden unit the intercept and the columns, then the output."""
        hidden = np.hstack([self.intercepts[:, None], self.columns]) if self.intercepts.size else self.columns
        return np.concatenate([hidden.reshape(-1), self.output])


def initial(layout: Layout, settings: Settings, seed: bytes) -> NDArray[np.int64]:
    """The weights before the first step, public and the same at all parties.

    They are normal with variance two over the inputs of a unit; intercepts are 0.

    Args:
        layout: columns of every owner.
        settings: units.
        seed: public, equal at all parties.

    Returns:
        int64[weights] with `WEIGHT_FRACTION` fractional bits: of each hidden unit the intercept and the
        columns of all owners, then the intercept and the units of the output.

    Security: none needed. Leaks: nothing; local. Cost: local. Source: He, Zhang, Ren, Sun 2015.
    """
    generator = np.random.Generator(np.random.PCG64(int(hashlib.sha256(b"weights" + seed).hexdigest(), 16)))
    columns, units = sum(layout.columns), settings.units
    hidden = np.zeros((units, 1 + columns))
    hidden[:, 1:] = generator.normal(0, np.sqrt(2 / columns), (units, columns))
    output = np.concatenate([[0.0], generator.normal(0, np.sqrt(2 / units), units)])
    start = np.concatenate([hidden.reshape(-1), output]).clip(-WEIGHT_LIMIT, WEIGHT_LIMIT)
    encoded: NDArray[np.int64] = np.rint(start * 2.0**WEIGHT_FRACTION).astype(np.int64)
    return encoded


def own_weights(rt: Runtime, layout: Layout, settings: Settings, weights: Shared) -> OwnWeights | None:
    """Tell every owner the weights of its own columns, and rank 0 the intercepts and those of the output.

    Returns:
        None at a party that is no owner.

    Security: as `Runtime.open`. Leaks: nothing else. Cost: one round an owner that has any; 8 bytes a
    weight, 16 to a party that does not compute. Source: none.
    """
    split = settings.hidden(layout)
    hidden = weights[:split].reshape(settings.units, layout.coefficients)
    own = None
    for rank, count in enumerate(layout.columns):
        # The intercepts are just before the columns of rank 0.
        places = layout.places(rank)
        asked = hidden[:, places.start - (rank == 0) : places.stop]
        told = asked.reshape(asked.size)
        if rank == 0:
            told = concatenate([told, weights[split:]])
        opened = rt.open(told, [rank]) if settings.told(layout, rank) else None
        if rank == rt.rank:
            own = _own(opened, settings.units, count, has_output=rank == 0)
    return own


def _own(opened: NDArray[np.int64] | None, units: int, count: int, *, has_output: bool) -> OwnWeights:
    nothing: NDArray[Any] = np.zeros(0, dtype=np.int64)
    values = (nothing if opened is None else opened) * 2.0**-WEIGHT_FRACTION
    hidden = values[: units * (count + has_output)].reshape(units, count + has_output)
    if not has_output:
        return OwnWeights(hidden, np.zeros(0), np.zeros(0))
    return OwnWeights(hidden[:, 1:], hidden[:, 0], values[hidden.size :])
