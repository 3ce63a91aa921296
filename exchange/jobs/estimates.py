"""What a step is expected to cost each of its roles, from the cost formula of its protocol.

Bytes and rounds follow from the sizes exactly; where a size is not known before the step has run, a bound or
a stated assumption stands for it. Work is in nanoseconds of the machine on which the protocols' costs were
measured; a node scales it by what its own steps have taken.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from exchange.jobs.spec import Step

__all__ = ["Estimate", "Estimator", "FollowingEstimator"]


@dataclass(frozen=True)
class Estimate:
    """What one role of one step is expected to cost.

    Attributes:
        sent_bytes: payload this role sends, as receipts count it.
        received_bytes: payload it receives.
        rounds: receiving phases.
        work_ns: local computation on the reference machine, in nanoseconds.
        memory_bytes: largest arrays held at once.
        assumes: what the figures take for granted, in a few words; empty: nothing.
    """

    sent_bytes: int
    received_bytes: int
    rounds: int
    work_ns: int
    memory_bytes: int
    assumes: str = ""


Estimator = Callable[[Step, Mapping[str, int]], Mapping[str, Estimate]]
"""From a step and the rows of each role's input, the estimate of each role."""
FollowingEstimator = Callable[[Step, Sequence[Step], Mapping[str, int]], Mapping[str, Estimate]]
"""The same from a step, those that it follows in its own order, and the rows of each role's input."""
