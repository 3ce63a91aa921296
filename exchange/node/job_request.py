"""A job as an owner's node judges it: what was asked, and the ledger state and moment it is judged by.

Checks read a ``Request`` and answer with reasons; they share nothing else. A reason that is ``pending`` is no
refusal: somebody still has to act, and the same request may pass later unchanged.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from exchange.jobs.registry import Registry
from exchange.jobs.spec import JobSpec, Step
from ledger.state import State
from policies.sentences import Finding

__all__ = ["Check", "Reason", "Request", "draft_row"]


@dataclass(frozen=True)
class Reason:
    """One cause of refusal: a stable code, a sentence, and whether somebody's act may still lift it.

    ``finding`` is what an evaluation found, where a clause of a policy is the cause.
    """

    code: str
    text: str
    pending: bool = False
    finding: Finding | None = None


@dataclass(frozen=True, kw_only=True)
class Request:
    """A job and what it is judged by.

    Args:
        spec: the specification.
        raw: its bytes, whose digest the submitter signed.
        job: the job's row in this node's own ledger state; for a draft, the row it would have.
        state: this node's own recomputed state, as far as a quorum has cosigned it.
        me: the owner who decides.
        registry: the components this build can run.
        now: aware time of the decision.
    """

    spec: JobSpec
    raw: bytes
    job: Mapping[str, Any]
    state: State
    me: str
    registry: Registry
    now: datetime

    def mine(self) -> tuple[str, ...]:
        """The assets of the job that the deciding owner owns, sorted."""
        return tuple(asset for asset in self.spec.assets() if self.owner(asset) == self.me)

    def owner(self, asset: str) -> str | None:
        """Who owns an asset; ``None`` where it is not published."""
        row = self.state.get("assets", asset)
        return None if row is None else str(row["owner"])

    def agreement(self, asset: str) -> Mapping[str, Any] | None:
        """The row of the agreement that the job names for an asset."""
        return self.state.get("agreements", self.spec.agreements.get(asset, ""))

    def steps_with(self, asset: str) -> tuple[Step, ...]:
        """The steps that read an asset."""
        return tuple(
            step for step in self.spec.steps if any(given.asset == asset for given in step.inputs.values())
        )


def draft_row(spec: JobSpec, submitter: str) -> dict[str, Any]:
    """The row that a specification would have on the ledger once ``submitter`` had submitted it."""
    return {
        "job": spec.job,
        "spec": spec.digest(),
        "purpose": spec.purpose,
        "agreements": sorted(spec.agreements.values()),
        "parties": list(spec.parties()),
        "steps": spec.summary(),
        "submitter": submitter,
        "state": "SUBMITTED",
        **{name: {} for name in ("starts", "refusals", "receipts", "attempts", "releases", "recipients")},
    }


Check = Callable[[Request], list[Reason]]
