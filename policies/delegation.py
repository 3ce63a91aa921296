"""A person's right to decide, given to another for a while.

Both have the role; what the other gains is the place of the one who delegates, where a stage names people or
a department. A delegated right cannot be passed on: a decision uses the approver's own right, or one that its
holder delegated to the approver directly. Pure: the caller stores delegations and knows the time.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final

from policies.errors import InvalidDecision

__all__ = ["LONGEST", "Delegation", "may_act_for"]

LONGEST: Final = timedelta(days=366)


@dataclass(frozen=True)
class Delegation:
    """``grantor`` lets ``grantee`` decide in ``role`` from ``begins`` on and before ``ends``."""

    grantor: str
    grantee: str
    role: str
    begins: datetime
    ends: datetime

    def __post_init__(self) -> None:
        if self.grantor == self.grantee:
            raise InvalidDecision("grantee", "another person", "the same person")
        if not timedelta(0) < self.ends - self.begins <= LONGEST:
            raise InvalidDecision("ends", f"at most {LONGEST.days} days after the beginning", "another span")

    def covers(self, role: str, now: datetime) -> bool:
        """Whether the right to ``role`` is delegated at ``now``."""
        return role == self.role and self.begins <= now < self.ends


def may_act_for(
    delegations: Iterable[Delegation], grantee: str, grantor: str, role: str, now: datetime
) -> bool:
    """Whether ``grantee`` may use the right of ``grantor`` to ``role`` at ``now``."""
    return any(
        one.grantor == grantor and one.grantee == grantee and one.covers(role, now) for one in delegations
    )
