"""Does this job have a right to this node's data? Decided here, from this node's own copy of the ledger.

The hub's word counts for nothing: the specification must hash to what the submitter signed, and each of this
owner's assets must stand under a final agreement in the state that this node recomputed and a quorum
cosigned. All reasons for a refusal are collected, so that the asking side can mend its request at once.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final

from exchange.errors import InvalidRequest
from exchange.jobs.registry import Registry
from exchange.jobs.spec import JobSpec
from exchange.node.approval_check import approval_reasons
from exchange.node.budgets import budget_reasons
from exchange.node.consent_reasons import consent_reasons
from exchange.node.grants import grant_reasons
from exchange.node.job_request import Check, Reason, Request
from ledger.state import State
from policies import terms

__all__ = ["CHECKS", "Check", "Decision", "Reason", "Request", "decide", "judge", "minimum_cohort"]


@dataclass(frozen=True)
class Decision:
    """What the owner decided: the agreements it spends a use of, or why it does not start the job."""

    agreements: tuple[str, ...]
    reasons: tuple[Reason, ...]

    @property
    def is_permitted(self) -> bool:
        """Nothing stands against the job."""
        return not self.reasons

    @property
    def is_pending(self) -> bool:
        """Nothing stands against the job but what somebody still has to do."""
        return bool(self.reasons) and all(reason.pending for reason in self.reasons)


def decide(
    raw_spec: bytes,
    job: Mapping[str, Any],
    state: State,
    me: str,
    registry: Registry,
    now: datetime,
    *,
    computes_for_members: bool = True,
) -> Decision:
    """Decide whether a submitted job may touch this participant's assets, or have it compute for others.

    Args:
        raw_spec: the specification as the hub relayed it.
        job: the job's row in this node's own ledger state.
        state: this node's own recomputed state, as far as a quorum has cosigned it.
        me: this participant's DID.
        registry: the components this build can run.
        now: aware time of the decision.
        computes_for_members: whether this participant takes part where it has no data.
    """
    actual = hashlib.sha256(raw_spec).hexdigest()
    if actual != job["spec"]:
        text = (
            f"the relayed specification has digest {actual[:16]}…, the submitter signed {job['spec'][:16]}…"
        )
        return _refused(Reason("job.spec-mismatch", text))
    try:
        spec = JobSpec.parse(raw_spec)
        registry.check(spec)
    except InvalidRequest as exc:
        return _refused(Reason("job.spec-invalid", str(exc)))
    differing = _differences(spec, job, registry)
    if differing:
        return _refused(*(Reason("job.spec-mismatch", text) for text in differing))
    if not computes_for_members and me != job["submitter"] and me not in _owners(spec):
        return _refused(Reason("job.not-computing", "this participant does not compute for other members"))
    absent = engine_reasons(spec, me, registry)
    if absent:
        return _refused(*absent)
    return judge(Request(spec=spec, raw=raw_spec, job=job, state=state, me=me, registry=registry, now=now))


def judge(request: Request) -> Decision:
    """Run every check on a request whose specification is known to be what was signed."""
    reasons = tuple(reason for check in CHECKS for reason in check(request))
    if reasons:
        return _refused(*reasons)
    return Decision(tuple(request.spec.agreements[asset] for asset in request.mine()), ())


def _owners(spec: JobSpec) -> set[str]:
    """Who plays a role that reads something."""
    return {step.parties[role] for step in spec.steps for role in step.inputs}


def engine_reasons(spec: JobSpec, me: str, registry: Registry) -> tuple[Reason, ...]:
    """Which engines that a participant's steps run on, and what else of them, are not at its node."""
    reasons = []
    for step in spec.steps:
        component = registry.get(step.component)
        if step.role_of(me) is None:
            continue
        if component.engine.version() is None:
            text = f"runs on {component.engine.name}, which is absent; {component.engine.install}"
            reasons.append(Reason("engine.absent", f"step {step.id} {text}"))
        lacking = component.lacks(step)
        if lacking is not None:
            reasons.append(Reason("app.absent", f"step {step.id}: {lacking}"))
    return tuple(reasons)


def minimum_cohort(spec: JobSpec, job: Mapping[str, Any], state: State, me: str) -> int:
    """The largest minimum cohort that the terms state under which this owner started the job.

    0 where it gave no agreement, or one that no terms express: then the job's own minimum, on which its
    policy was decided, is the only one.
    """
    granted = set(job["starts"].get(me, ()))
    rows = (state.get("agreements", name) for name in spec.agreements.values() if name in granted)
    agreed = (terms.read(row["policy"]) for row in rows if row is not None)
    return max((one.min_cohort for one in agreed if one is not None), default=0)


def _refused(*reasons: Reason) -> Decision:
    return Decision((), reasons)


def _member_reasons(request: Request) -> list[Reason]:
    """Who of the submitter and the parties is no active member at present."""
    job = request.job
    rows = {did: request.state.get("members", did) for did in sorted({job["submitter"], *job["parties"]})}
    return [
        Reason("job.member-not-active", f"{did if row is None else row['name']} is not an active member")
        for did, row in rows.items()
        if row is None or row["status"] != "active"
    ]


def _party_reasons(request: Request) -> list[Reason]:
    """What is wrong with who plays which role and who receives, whoever's assets are concerned."""
    job, reasons = request.job, []
    for step in request.spec.steps:
        if set(step.recipients) - {job["submitter"]}:
            text = f"step {step.id}: only the submitter may receive a release"
            reasons.append(Reason("job.recipient", text))
        component = request.registry.get(step.component)
        for role, party in step.parties.items():
            if role not in step.inputs:
                if party != job["submitter"] and component.declared(role) not in component.helpers:
                    reasons.append(Reason("job.wrong-party", f"step {step.id}: {role} must be the submitter"))
                continue
            asset = step.inputs[role].asset
            owner = request.owner(asset)
            if owner is None:
                reasons.append(Reason("asset.unknown", f"asset {asset} is not published"))
            elif owner != party:
                reasons.append(Reason("job.wrong-party", f"step {step.id}: {role} does not own {asset}"))
    return reasons


def _differences(spec: JobSpec, job: Mapping[str, Any], registry: Registry) -> list[str]:
    """What the signed summary on the ledger and the specification say differently."""
    signed = [{**step, "parties": sorted(step["parties"])} for step in job["steps"]]
    stated = registry.summary(spec)
    pairs = {
        "job": (spec.job, job["job"]),
        "purpose": (spec.purpose, job["purpose"]),
        "agreements": (sorted(spec.agreements.values()), sorted(job["agreements"])),
        "parties": (list(spec.parties()), sorted(job["parties"])),
        "steps": (stated, signed),
    }
    return [
        f"{name} differs between the specification and the ledger" for name, (a, b) in pairs.items() if a != b
    ]


# What an owner's node asks of every job; the reasons come in this order.
CHECKS: Final[tuple[Check, ...]] = (
    _member_reasons,
    _party_reasons,
    grant_reasons,
    budget_reasons,
    approval_reasons,
    consent_reasons,
)
