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
from typing import Any

from exchange.errors import InvalidRequest
from exchange.jobs.registry import Registry
from exchange.jobs.spec import JobSpec, Step
from ledger.state import State
from policies import column_control, odrl, terms
from policies.errors import PoliciesError
from policies.evaluate import evaluate

__all__ = ["Decision", "Reason", "decide"]


@dataclass(frozen=True)
class Reason:
    """One cause of refusal: a stable code and a sentence."""

    code: str
    text: str


@dataclass(frozen=True)
class Decision:
    """What the owner decided: the agreements it spends a use of, or why it refuses."""

    agreements: tuple[str, ...]
    reasons: tuple[Reason, ...]

    @property
    def is_permitted(self) -> bool:
        """Nothing stands against the job."""
        return not self.reasons


def decide(
    raw_spec: bytes,
    job: Mapping[str, Any],
    state: State,
    me: str,
    registry: Registry,
    now: datetime,
) -> Decision:
    """Decide whether a submitted job may touch this participant's assets.

    Args:
        raw_spec: the specification as the hub relayed it.
        job: the job's row in this node's own ledger state.
        state: this node's own recomputed state, as far as a quorum has cosigned it.
        me: this participant's DID.
        registry: the components this build can run.
        now: aware time of the decision.
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
    differing = _differences(spec, job)
    if differing:
        return _refused(*(Reason("job.spec-mismatch", text) for text in differing))

    mine = [asset for asset in spec.assets() if _owner(state, asset) == me]
    reasons = _party_reasons(spec, job, state)
    for asset in mine:
        reasons += _asset_reasons(asset, spec, job, state, me, registry, now)
    if reasons:
        return _refused(*reasons)
    return Decision(tuple(spec.agreements[asset] for asset in mine), ())


def minimum_cohort(spec: JobSpec, job: Mapping[str, Any], state: State, me: str) -> int:
    """The largest minimum cohort this owner started the job under; 0 where it gave no agreement."""
    granted = set(job["starts"].get(me, ()))
    rows = (state.get("agreements", name) for name in spec.agreements.values() if name in granted)
    return max((terms.from_policy(row["policy"]).min_cohort for row in rows if row is not None), default=0)


def _refused(*reasons: Reason) -> Decision:
    return Decision((), reasons)


def _owner(state: State, asset: str) -> str | None:
    row = state.get("assets", asset)
    return None if row is None else str(row["owner"])


def _party_reasons(spec: JobSpec, job: Mapping[str, Any], state: State) -> list[Reason]:
    """What is wrong with who plays which role and who receives, whoever's assets are concerned."""
    reasons = []
    for step in spec.steps:
        if set(step.recipients) - {job["submitter"]}:
            text = f"step {step.id}: only the submitter may receive a release"
            reasons.append(Reason("job.recipient", text))
        for role, party in step.parties.items():
            if role not in step.inputs:
                if party != job["submitter"]:
                    reasons.append(Reason("job.wrong-party", f"step {step.id}: {role} must be the submitter"))
                continue
            asset = step.inputs[role].asset
            owner = _owner(state, asset)
            if owner is None:
                reasons.append(Reason("asset.unknown", f"asset {asset} is not published"))
            elif owner != party:
                reasons.append(Reason("job.wrong-party", f"step {step.id}: {role} does not own {asset}"))
    return reasons


def _differences(spec: JobSpec, job: Mapping[str, Any]) -> list[str]:
    """What the signed summary on the ledger and the specification say differently."""
    signed = [{**step, "parties": sorted(step["parties"])} for step in job["steps"]]
    pairs = {
        "job": (spec.job, job["job"]),
        "purpose": (spec.purpose, job["purpose"]),
        "agreements": (sorted(spec.agreements.values()), sorted(job["agreements"])),
        "parties": (list(spec.parties()), sorted(job["parties"])),
        "steps": (spec.summary(), signed),
    }
    return [
        f"{name} differs between the specification and the ledger" for name, (a, b) in pairs.items() if a != b
    ]


def _asset_reasons(
    asset: str,
    spec: JobSpec,
    job: Mapping[str, Any],
    state: State,
    me: str,
    registry: Registry,
    now: datetime,
) -> list[Reason]:
    """Every reason against the job's use of one of this owner's assets."""
    published = state.get("assets", asset)
    agreement_id = spec.agreements.get(asset, "")
    agreement = state.get("agreements", agreement_id)
    if agreement is None:
        text = f"no final agreement {agreement_id or 'named'} for asset {asset} on this node's own ledger"
        return [Reason("agreement.missing", text)]
    expected = {
        "provider": me,
        "consumer": job["submitter"],
        "asset": asset,
        "version": published["version"] if published else None,
        "status": "final",
    }
    wrong = [
        Reason(
            f"agreement.{name}",
            f"agreement {agreement_id}: {name} is {agreement[name]}, the job needs {value}",
        )
        for name, value in expected.items()
        if agreement[name] != value
    ]
    if published is None or published["status"] != "published":
        wrong.append(Reason("asset.withdrawn", f"asset {asset} is withdrawn"))
    if wrong or published is None:
        return wrong
    steps = [step for step in spec.steps if any(given.asset == asset for given in step.inputs.values())]
    facts = _facts(asset, spec, job, steps, agreement, registry, now)
    try:
        report = evaluate(odrl.Policy.parse(agreement["policy"]), facts)
    except PoliciesError as exc:
        return [Reason("policy.invalid", str(exc))]
    reasons = [Reason(code, text) for code, text in zip(report.codes, report.reasons, strict=True)]
    reasons += _column_reasons(asset, steps, published["schema"], registry)
    return reasons


def _facts(
    asset: str,
    spec: JobSpec,
    job: Mapping[str, Any],
    steps: list[Step],
    agreement: Mapping[str, Any],
    registry: Registry,
    now: datetime,
) -> dict[str, object]:
    return {
        "action": "use",
        "purpose": spec.purpose,
        "recipient": job["submitter"],
        "dateTime": now,
        "count": int(agreement["uses"]) + 1,
        "technique": {step.component for step in steps},
        "columns": {
            column.name
            for step in steps
            for given in step.inputs.values()
            if given.asset == asset
            for column in given.columns
        },
        "minCohort": _declared_cohort(steps),
        "outputType": {registry.get(step.component).output_type for step in steps if step.recipients},
    }


def _declared_cohort(steps: list[Step]) -> int:
    """The smallest group the job may release; where it groups nothing, its bound on the intersection."""
    for name in ("min_cohort", "minimum_matches"):
        bounds = [int(str(step.params[name])) for step in steps if name in step.params]
        if bounds:
            return min(bounds)
    return 0


def _column_reasons(
    asset: str, steps: list[Step], schema: list[Mapping[str, Any]], registry: Registry
) -> list[Reason]:
    """Column control and catalog roles, checked on every use a step makes of a column of the asset."""
    levels = {column["name"]: column["control"] for column in schema}
    roles = {column["name"]: column["role"] for column in schema}
    uses: list[column_control.ColumnUse] = []
    reasons: list[Reason] = []
    for step in steps:
        for role, given in step.inputs.items():
            declared = registry.get(step.component).roles[role]
            if given.asset != asset or declared is None:
                continue
            for column in given.columns:
                if column.name not in roles:
                    text = f"asset {asset} has no column {column.name}; it has {', '.join(sorted(roles))}"
                    reasons.append(Reason("column.unknown", text))
                elif roles[column.name] not in declared.column_roles:
                    text = (
                        f"step {step.id}: column {column.name} is {roles[column.name]}, {role} takes "
                        + " or ".join(sorted(declared.column_roles))
                    )
                    reasons.append(Reason("column.role", text))
                else:
                    uses.append(column_control.ColumnUse(column.name, declared.level))
    try:
        column_control.check(uses, levels)
    except PoliciesError as exc:
        reasons.append(Reason(exc.code, str(exc)))
    return reasons
