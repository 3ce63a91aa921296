"""Whether this owner's agreements cover what a job does with this owner's assets, clause by clause.

Agreement, published asset, policy, catalog roles and column control are each read from this node's own
recomputed state; what the job does comes from its compiled plan.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from exchange.errors import InvalidRequest
from exchange.jobs.plans import column_uses, steps_on
from exchange.node.facts import facts_of
from exchange.node.job_request import Reason, Request
from policies import column_control, terms
from policies.column_control import ColumnUse
from policies.errors import InvalidPolicy, PoliciesError
from policies.odrl import Policy
from policies.prepared import prepare
from policies.report import ComplianceReport
from policies.sentences import say

__all__ = ["check_same", "compliance", "grant_reasons"]


def grant_reasons(request: Request) -> list[Reason]:
    """Every reason against the job's use of this owner's assets."""
    mine = request.mine()
    if not mine:
        return []
    try:
        uses = column_uses(request.spec, request.registry)
    except InvalidRequest as exc:
        return [Reason("job.plan-invalid", str(exc))]
    return [reason for asset in mine for reason in _asset_reasons(asset, request, uses)]


def compliance(asset: str, request: Request) -> ComplianceReport | None:
    """Evaluate the agreement that covers an asset; ``None`` where there is none that can be read."""
    agreement = request.agreement(asset)
    if agreement is None:
        return None
    try:
        return _evaluated(asset, agreement, request, column_uses(request.spec, request.registry))
    except (InvalidRequest, PoliciesError):
        return None


def _asset_reasons(asset: str, request: Request, uses: Sequence[ColumnUse]) -> list[Reason]:
    published, agreement = request.state.get("assets", asset), request.agreement(asset)
    name = request.spec.agreements.get(asset, "")
    if agreement is None:
        text = f"no final agreement {name or 'named'} for asset {asset} on this node's own ledger"
        return [Reason("agreement.missing", text)]
    wrong = _unusable(asset, name, request, agreement, published)
    if wrong or published is None:
        return wrong
    try:
        report = _evaluated(asset, agreement, request, uses)
    except PoliciesError as exc:
        return [Reason("policy.invalid", str(exc))]
    reasons = [
        Reason(finding.code, say(finding), _is_pending(finding.code, finding.right), finding)
        for finding in report.refusals
    ]
    return reasons + _column_reasons(asset, published["schema"], request, uses)


def _unusable(
    asset: str,
    name: str,
    request: Request,
    agreement: Mapping[str, Any],
    published: Mapping[str, Any] | None,
) -> list[Reason]:
    """Why an agreement is none for this job, whatever its policy says."""
    expected = {
        "provider": request.me,
        "consumer": request.job["submitter"],
        "asset": asset,
        "version": published["version"] if published else None,
        "status": "final",
    }
    wrong = [
        Reason(
            f"agreement.{field}", f"agreement {name}: {field} is {agreement[field]}, the job needs {value}"
        )
        for field, value in expected.items()
        if agreement[field] != value
    ]
    if published is None or published["status"] != "published":
        wrong.append(Reason("asset.withdrawn", f"asset {asset} is withdrawn"))
    return wrong


def _evaluated(
    asset: str, agreement: Mapping[str, Any], request: Request, uses: Sequence[ColumnUse]
) -> ComplianceReport:
    """Evaluate an agreement's policy.

    Raises:
        PoliciesError: the policy cannot be read, or says other than the agreement and its limits.
    """
    prepared = prepare(agreement["policy"])
    check_same(prepared.policy, agreement)
    steps = steps_on(asset, request.spec, request.registry)
    own = [use for use in uses if use.asset == asset]
    return prepared.evaluate(facts_of(asset, agreement, request, steps, own))


def check_same(policy: Policy, agreement: Mapping[str, Any]) -> None:
    """Check that the policy is of this agreement and that the ledger counts what its terms say.

    A policy that says more than terms can is decided on clause by clause, with the ledger's own counts.
    """
    stated: dict[str, tuple[object, object]] = {
        "$.@id": (policy.uid, agreement["agreement"]),
        "$.assigner": (policy.assigner, agreement["provider"]),
        "$.assignee": (policy.assignee, agreement["consumer"]),
        "$.target": (policy.target, agreement["asset"]),
    }
    agreed = terms.read(agreement["policy"])
    if agreed is not None:
        stated["limits"] = (agreed.limits(), dict(agreement["limits"]))
    for path, (actual, expected) in stated.items():
        if actual != expected:
            raise InvalidPolicy(path, f"{expected} as in the agreement", f"{actual}")


def _is_pending(code: str, right: object) -> bool:
    """Whether only a consent is missing, which people may still give."""
    owed = right if isinstance(right, tuple) else (right,)
    return code == "policy.obligation" and all(str(act).startswith("obtainConsent") for act in owed)


def _column_reasons(
    asset: str, schema: list[Mapping[str, Any]], request: Request, uses: Sequence[ColumnUse]
) -> list[Reason]:
    """Catalog roles of the columns that steps read, and column control on the whole plan."""
    roles = {column["name"]: column["role"] for column in schema}
    reasons: list[Reason] = []
    for step in request.steps_with(asset):
        for role, given in step.inputs.items():
            component = request.registry.get(step.component)
            declared = component.roles[component.declared(role)]
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
    own = [use for use in uses if use.asset == asset and use.column in roles]
    try:
        column_control.check(own, column_control.levels_of(schema))
    except PoliciesError as exc:
        reasons.append(Reason(exc.code, str(exc)))
    return reasons
