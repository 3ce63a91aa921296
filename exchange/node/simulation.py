"""Would this job pass, and if not, which clause stands against it? Asked ahead; nothing is written.

Every owner's decision is taken as that owner's node would take it: by the same checks, on this node's own
copy of the ledger, which is the same at every member. What only an owner's own node knows (its people's
answers, its data) is not in it, and a reason that waits for people is told apart from a refusal.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Literal

from exchange.errors import Conflict, InvalidRequest
from exchange.jobs.registry import Registry
from exchange.jobs.spec import JobSpec
from exchange.node.enforcement import Decision, decide
from exchange.node.grants import compliance
from exchange.node.job_request import Reason, Request, draft_row
from ledger.state import State
from ledger.times import format_time
from policies.report import ComplianceReport
from policies.sentences import Language, say

__all__ = ["OwnerVerdict", "Simulation", "Verdict", "simulate"]

Verdict = Literal["permitted", "pending", "refused"]


@dataclass(frozen=True)
class OwnerVerdict:
    """What one owner's node would decide, and what each of its policies says."""

    owner: str
    name: str
    assets: tuple[str, ...]
    decision: Decision
    reports: Mapping[str, ComplianceReport]

    @property
    def verdict(self) -> Verdict:
        """Permitted, refused, or waiting for people alone."""
        if self.decision.is_permitted:
            return "permitted"
        return "pending" if self.decision.is_pending else "refused"

    def as_json(self, language: Language) -> dict[str, object]:
        """Write the verdict as JSON."""
        return {
            "owner": self.owner,
            "name": self.name,
            "assets": list(self.assets),
            "verdict": self.verdict,
            "reasons": [reason_json(reason, language) for reason in self.decision.reasons],
            "reports": {asset: report.as_json(language) for asset, report in self.reports.items()},
        }


@dataclass(frozen=True)
class Simulation:
    """The verdicts of all owners on one specification at one moment."""

    spec: JobSpec
    now: datetime
    owners: tuple[OwnerVerdict, ...]
    reasons: tuple[Reason, ...]

    @property
    def verdict(self) -> Verdict:
        """The strictest of the owners' verdicts."""
        found = {owner.verdict for owner in self.owners}
        if self.reasons or "refused" in found:
            return "refused"
        return "pending" if "pending" in found else "permitted"

    def as_json(self, language: Language = "en") -> dict[str, object]:
        """Write the simulation as JSON."""
        return {
            "job": self.spec.job,
            "spec": self.spec.digest(),
            "at": format_time(self.now),
            "verdict": self.verdict,
            "reasons": [reason_json(reason, language) for reason in self.reasons],
            "owners": [owner.as_json(language) for owner in self.owners],
        }


def reason_json(reason: Reason, language: Language) -> dict[str, object]:
    """Write a reason as JSON; what a policy's clause says is said in the language asked for."""
    text = reason.text if reason.finding is None else say(reason.finding, language)
    clause = None if reason.finding is None else reason.finding.path
    return {"code": reason.code, "clause": clause, "text": text, "pending": reason.pending}


def simulate(spec: JobSpec, submitter: str, state: State, registry: Registry, now: datetime) -> Simulation:
    """Decide for every owner of a job's assets, without writing anything.

    Args:
        spec: a draft, or the specification of a job on the ledger.
        submitter: who would submit it.
        state: this node's own recomputed state.
        registry: the components this build can run.
        now: the moment to decide for; budgets are those of ``state``.

    Raises:
        Conflict: the job is on the ledger with another specification.
    """
    job = state.get("jobs", spec.job)
    if job is not None and job["spec"] != spec.digest():
        raise Conflict(f"job {spec.job} was submitted with another specification")
    row = draft_row(spec, submitter) if job is None else job
    try:
        registry.check(spec)
    except InvalidRequest as exc:
        return Simulation(spec, now, (), (Reason("job.spec-invalid", str(exc)),))
    if job is None:
        row = {**row, "steps": registry.summary(spec)}
    owned: dict[str, list[str]] = {}
    unknown = []
    for asset in spec.assets():
        published = state.get("assets", asset)
        if published is None:
            unknown.append(Reason("asset.unknown", f"asset {asset} is not published"))
        elif published["owner"] != row["submitter"]:
            owned.setdefault(str(published["owner"]), []).append(asset)
    owners = tuple(
        _of_owner(owner, assets, spec, row, state, registry, now) for owner, assets in owned.items()
    )
    return Simulation(spec, now, owners, tuple(unknown))


def _of_owner(
    owner: str,
    assets: list[str],
    spec: JobSpec,
    row: Mapping[str, Any],
    state: State,
    registry: Registry,
    now: datetime,
) -> OwnerVerdict:
    raw = spec.encode()
    request = Request(spec=spec, raw=raw, job=row, state=state, me=owner, registry=registry, now=now)
    reports = {asset: report for asset in assets if (report := compliance(asset, request)) is not None}
    name = str((state.get("members", owner) or {}).get("name", owner))
    return OwnerVerdict(owner, name, tuple(assets), decide(raw, row, state, owner, registry, now), reports)
