"""Which people stand behind released figures, and by how many two releases differ.

Against differencing (tracker attacks, Denning, Denning, Schwartz 1979): two sums over cohorts that differ by
one person give away that person's value. A cohort is kept as keyed hashes of the owner's own identifiers, so
that it means the same people in every version of the data and nothing outside the node.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from exchange.errors import InvalidRequest
from exchange.jobs.keyed_hashes import keyed_hashes
from mpc.secrecy import Unprintable

__all__ = ["LEFT_OUT", "NOBODY", "Cohort", "smallest_difference"]

LEFT_OUT = -1
"""Group of people about whom no figure is released."""

_MAGIC = b"cohort/1"


@dataclass(frozen=True, repr=False, eq=False)
class Cohort(Unprintable):
    """People and the released group of each; one group where the figures are about all of them.

    Attributes:
        people: uint64[n], keyed hashes, ascending and distinct.
        groups: int32[n], number of each one's group, or ``LEFT_OUT``.
    """

    people: NDArray[np.uint64]
    groups: NDArray[np.int32]

    @classmethod
    def of(
        cls, identifiers: Sequence[bytes] | pa.LargeBinaryArray, groups: NDArray[np.int64], key: bytes
    ) -> Cohort:
        """Hash the identifiers of the people behind a release, with a key of this node."""
        texts = identifiers if isinstance(identifiers, pa.Array) else pa.array(identifiers, pa.large_binary())
        people, first = np.unique(keyed_hashes(texts, key), return_index=True)
        return cls(people, groups.astype(np.int32)[first])

    def encode(self) -> bytes:
        """Encode, for sealing in the node's own store."""
        return _MAGIC + self.people.astype("<u8").tobytes() + self.groups.astype("<i4").tobytes()

    @classmethod
    def decode(cls, raw: bytes) -> Cohort:
        """Decode what ``encode`` made.

        Raises:
            InvalidRequest: the bytes have another form.
        """
        body = raw[len(_MAGIC) :]
        if raw[: len(_MAGIC)] != _MAGIC or len(body) % 12:
            raise InvalidRequest(
                "cohort", "a kept cohort of this build", f"{len(raw)} bytes of something else"
            )
        split = len(body) // 12 * 8
        people = np.frombuffer(body[:split], dtype="<u8").astype(np.uint64)
        return cls(people, np.frombuffer(body[split:], dtype="<i4").astype(np.int32))


NOBODY = Cohort(np.zeros(0, np.uint64), np.zeros(0, np.int32))
"""Of an output that is compared with none."""


def smallest_difference(new: Cohort, old: Cohort) -> int:
    """By how few people, but not by none, a figure of one release differs from a figure of the other.

    Figures are the groups of each release and all its groups together.

    Returns:
        The smallest number of people in exactly one of two figures' cohorts, over all pairs of figures, of
        those pairs that are not about the same people; 0 where there is none.
    """
    shared = _shared(new, old)
    ours, theirs = _sizes(new), _sizes(old)
    differences = ours[:, None] + theirs[None, :] - 2 * shared
    differences = differences[np.ix_(ours > 0, theirs > 0)]
    telling = differences[differences > 0]
    return int(telling.min()) if telling.size else 0


def _numbers(cohort: Cohort) -> tuple[NDArray[np.int64], int]:
    """The groups renumbered without gaps, those left out as the last number; and how many there are."""
    released = np.unique(cohort.groups[cohort.groups != LEFT_OUT])
    numbers = np.searchsorted(released, cohort.groups)
    return np.where(cohort.groups == LEFT_OUT, len(released), numbers), len(released)


def _sizes(cohort: Cohort) -> NDArray[np.int64]:
    """People in each group, then in all groups together."""
    numbers, count = _numbers(cohort)
    sizes = np.bincount(numbers, minlength=count + 1)[:count]
    return np.append(sizes, sizes.sum())


def _shared(new: Cohort, old: Cohort) -> NDArray[np.int64]:
    """How many people each figure of ``new`` has in common with each figure of ``old``."""
    (ours, rows), (theirs, columns) = _numbers(new), _numbers(old)
    _, at_new, at_old = np.intersect1d(new.people, old.people, assume_unique=True, return_indices=True)
    cells = ours[at_new] * (columns + 1) + theirs[at_old]
    table = np.bincount(cells, minlength=(rows + 1) * (columns + 1)).reshape(rows + 1, columns + 1)
    inside = table[:rows, :columns]
    with_all = np.vstack([inside, inside.sum(axis=0, keepdims=True)])
    return np.hstack([with_all, with_all.sum(axis=1, keepdims=True)])
