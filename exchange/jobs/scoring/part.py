"""One owner's part of the scores of some rows, as it stays sealed at the owner's node."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from exchange.web.kinds import read_as
from federated.vertical import Family
from ledger import canonical
from mpc import wire
from mpc.secrecy import Unprintable

__all__ = ["ScorePart", "Unit"]

_Ints = NDArray[np.int64]


@dataclass(frozen=True)
class Unit:
    """What fitted values mean: the family, and at the label's owner the label's mean and deviation.

    They stand for the family's inverse link of them, times the deviation, and the mean more.
    """

    family: str
    label_mean: str
    label_deviation: str


@dataclass(frozen=True, repr=False, eq=False)
class ScorePart(Unprintable):
    """One owner's part of the fitted values.

    Attributes:
        unit: of fitted values.
        rows: int64[scored], numbers of this owner's rows, in the common order.
        parts: int64[scored], with `federated.vertical.scoring.SCORE_FRACTION` fractional bits.
    """

    unit: Unit
    rows: _Ints
    parts: _Ints

    @property
    def family(self) -> Family:
        """Of the model."""
        return Family(self.unit.family)

    def encode(self) -> bytes:
        """Encode, for the node's own sealed store."""
        head = np.frombuffer(canonical.encode(vars(self.unit)), dtype=np.uint8)
        return b"".join(wire.encode_array(one) for one in (head, self.rows, self.parts))

    @classmethod
    def decode(cls, raw: bytes) -> ScorePart:
        """Decode what ``encode`` made; anything else raises a domain error."""
        reader = wire.Reader("score part", raw)
        head = reader.array("unit", "u1", (None,)).tobytes()
        rows = reader.array("rows", "<i8", (None,))
        parts = reader.array("parts", "<i8", rows.shape)
        reader.finish()
        return cls(read_as(Unit, canonical.decode(head), "score part"), rows, parts)
