"""Which rows train and which test, and what a preparing step leaves, sealed, at an owner's node."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Final, Self

import numpy as np
from numpy.typing import NDArray

from exchange.errors import JobFailed
from exchange.jobs.preparation.fitting import Fitted
from exchange.web.kinds import read_as
from ledger import canonical
from mpc import wire
from mpc.secrecy import Unprintable

__all__ = ["MILLION", "Prepared", "split"]

MILLION: Final = 10**6
_FORMAT: Final = 1
_Rows = NDArray[np.int64]


def split(rows: int, session: bytes, sample_micro: int, test_micro: int) -> tuple[_Rows, _Rows]:
    """Draw which of the aligned rows train and which test, the same at every owner without a message.

    Args:
        rows: aligned rows.
        session: of the step; public, and new for every run of a job.
        sample_micro: part of the rows that is used, in millionths.
        test_micro: part of those that test, in millionths.

    Returns:
        Their places among the aligned rows, ascending: training, then test.
    """
    drawn = hashlib.shake_256(b"rows that train and test" + session).digest(8 * rows)
    order = np.argsort(np.frombuffer(drawn, dtype="<u8"), kind="stable")
    used = rows * sample_micro // MILLION
    tests = used * test_micro // MILLION
    return np.sort(order[tests:used]), np.sort(order[:tests])


@dataclass(frozen=True, repr=False, eq=False)
class Prepared(Unprintable):
    """One owner's part of a preparation.

    Attributes:
        train, test: int64 numbers of its rows, each in the order common to all owners.
        fitted: what was learnt of each column.
    """

    train: _Rows
    test: _Rows
    fitted: Mapping[str, Fitted]

    def encode(self) -> bytes:
        """Encode, for the node's own sealed store."""
        # `repr` gives back the same float.
        texts = {name: {k: repr(v) for k, v in asdict(one).items()} for name, one in self.fitted.items()}
        arrays = (self.train, self.test, np.frombuffer(canonical.encode(texts), dtype=np.uint8))
        return wire.encode_uint64(_FORMAT) + b"".join(wire.encode_array(one) for one in arrays)

    @classmethod
    def decode(cls, local: bytes) -> Self:
        """Decode what ``encode`` made.

        Raises:
            JobFailed: another format.
            MalformedMessage, InvalidRequest: it is something else.
        """
        reader = wire.Reader("prepared rows", local)
        if (version := reader.uint64("format")) != _FORMAT:
            raise JobFailed(f"prepared rows: expected format {_FORMAT}, got {version}")
        train, test = (reader.array(part, "<i8", (None,)) for part in ("train", "test"))
        raw = canonical.decode(reader.array("fitted", "u1", (None,)).tobytes())
        reader.finish()
        fitted = read_as(dict[str, dict[str, str]], raw, "fitted")
        made = {name: Fitted(**{k: float(v) for k, v in one.items()}) for name, one in fitted.items()}
        return cls(train, test, made)
