"""What the parties of an evaluation release: the public sizes, and shares that say nothing alone."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from exchange.errors import JobFailed
from exchange.jobs.evaluation.grouping import By
from exchange.jobs.spec import Step
from exchange.web.kinds import read_as
from federated.vertical import Family
from federated.vertical.evaluation import Evaluation, Sizes, opened
from federated.vertical.scoring import PART_LIMIT, SCORE_FRACTION
from ledger import canonical
from mpc import wire

__all__ = ["EvaluationRelease", "Head", "combined"]


@dataclass(frozen=True)
class Head:
    """Public sizes, and from the label's owner the unit of a linear regression's label; elsewhere 0 and 1."""

    family: str
    rows: int
    owners: int
    bins: int
    label_mean: str = "0"
    label_deviation: str = "1"

    def sizes(self, by: By | None) -> Sizes:
        """As the protocol takes them, with the groups of the step."""
        return Sizes(
            Family(self.family), self.rows, self.owners, self.bins, None if by is None else by.grouping
        )


@dataclass(frozen=True)
class EvaluationRelease:
    """One party's release; `combined` needs those of all."""

    head: Head
    shares: NDArray[np.uint64]

    def encode(self) -> bytes:
        """Encode, for sealing."""
        head = np.frombuffer(canonical.encode(vars(self.head)), dtype=np.uint8)
        return wire.encode_array(head) + wire.encode_array(self.shares)

    @classmethod
    def decode(cls, release: bytes, by: By | None) -> EvaluationRelease:
        """Decode what ``encode`` made in a step with such groups; anything else raises a domain error."""
        reader = wire.Reader("release", release)
        head = read_as(Head, canonical.decode(reader.array("head", "u1", (None,)).tobytes()), "release")
        shares = reader.array("shares", "<u8", (head.sizes(by).results,))
        reader.finish()
        return cls(head, shares)


def combined(step: Step, releases: Mapping[str, bytes]) -> tuple[Sizes, Evaluation]:
    """Put the releases of all parties together.

    Raises:
        JobFailed: one is missing, or they are not of one run.
    """
    if set(releases) != set(step.parties):
        raise JobFailed(f"step {step.id}: expected the shares of {len(step.parties)} parties")
    by = By.of(step)
    parts = {role: EvaluationRelease.decode(release, by) for role, release in releases.items()}
    found = {part.head.sizes(by) for part in parts.values()}
    if len(found) != 1:
        raise JobFailed(f"step {step.id}: the parties state different sizes")
    sizes, head = found.pop(), parts["owner-1"].head
    total = np.zeros(sizes.results, dtype=np.uint64)
    for part in parts.values():
        total += part.shares
    labels = np.abs(total.view(np.int64)[: sizes.bins])
    largest = 1 if sizes.family is Family.LOGISTIC else PART_LIMIT << SCORE_FRACTION
    # Shares of different runs sum to uniform words, of a magnitude of 2^63.
    if labels.max() > largest * sizes.rows:
        raise JobFailed(f"step {step.id}: the shares of the parties are not of one run")
    mean, deviation = float(head.label_mean), float(head.label_deviation)
    return sizes, opened(sizes, total.view(np.int64), mean=mean, deviation=deviation)
