"""Budgets at the owner's node: what a job would spend, whether it may, and how far each budget is.

The ledger refuses what passes a limit; this node says so before it writes, with every reason, and states the
privacy loss that it lets a job spend.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from exchange.jobs.registry import Registry
from exchange.jobs.spec import JobSpec
from exchange.node.job_request import Reason, Request
from ledger.rules.budgets import ORDERS, epsilon
from ledger.state import State

__all__ = ["budget_reasons", "loss_of", "shown", "spends"]


def loss_of(spec: JobSpec, asset: str, registry: Registry) -> list[int] | None:
    """The privacy loss of all releases that an asset goes into; None where one of them is exact."""
    total = [0] * len(ORDERS)
    for step in spec.steps:
        component = registry.get(step.component)
        is_told = bool(step.recipients) or component.tells_parties
        if not is_told or all(given.asset != asset for given in step.inputs.values()):
            continue
        loss = component.spends(step)
        if loss is None:
            return None
        total = [one + more for one, more in zip(total, loss, strict=True)]
    return total


def spends(spec: JobSpec, agreements: Sequence[str], registry: Registry) -> list[dict[str, object]]:
    """What ``job.start`` states of each of ``agreements`` whose asset's releases all carry noise."""
    losses = {spec.agreements[asset]: loss_of(spec, asset, registry) for asset in sorted(spec.agreements)}
    return [
        {"agreement": agreement, "rdp": losses[agreement]}
        for agreement in agreements
        if losses[agreement] is not None
    ]


def budget_reasons(request: Request) -> list[Reason]:
    """A check of ``enforcement``: what the budgets of this owner's agreements and assets do not cover."""
    reasons = []
    for asset in request.mine():
        agreement = request.agreement(asset)
        if agreement is None or asset not in request.spec.agreements:
            continue
        loss = loss_of(request.spec, asset, request.registry)
        row = request.state.get("budgets", asset) or {"limits": {}}
        for whose, name, spent, limits in (
            ("agreement", str(agreement["agreement"]), agreement, agreement["limits"]),
            ("asset", asset, row, row["limits"]),
        ):
            reasons += _loss_reasons(whose, name, spent, limits, loss)
        uses = row["limits"].get("uses")
        if uses is not None and row["uses"] >= uses:
            reasons.append(Reason("asset.uses-exhausted", f"all {uses} uses of asset {asset} are spent"))
        price = agreement["limits"].get("price", 0)
        left = agreement["limits"].get("points", price) - agreement.get("points", 0)
        if price > left:
            text = f"a job costs {price} points, {left} are left of agreement {agreement['agreement']}"
            reasons.append(Reason("agreement.points-exhausted", text))
    return reasons


def _loss_reasons(
    whose: str, name: str, row: Mapping[str, Any], limits: Mapping[str, Any], loss: Sequence[int] | None
) -> list[Reason]:
    if "epsilon_micro" not in limits:
        return []
    if loss is None:
        text = f"{whose} {name} limits epsilon, and the job releases an exact answer"
        return [Reason("budget.epsilon-required", text)]
    spent = row.get("rdp", [0] * len(ORDERS))
    would = epsilon([one + more for one, more in zip(spent, loss, strict=True)], limits["delta_exponent"])
    if would <= limits["epsilon_micro"]:
        return []
    text = f"epsilon of {whose} {name} would be {would} of {limits['epsilon_micro']} millionths"
    return [Reason(f"{whose}.epsilon-exhausted", text)]


def shown(state: State, me: str) -> list[dict[str, object]]:
    """The budgets of this participant's assets and of the agreements it is a side of."""
    found: list[dict[str, object]] = []
    for name, row in state.rows("budgets").items():
        if (state.get("assets", name) or {}).get("owner") == me:
            found.append(_line("asset", name, name, row))
    for name, row in state.rows("agreements").items():
        if me in (row["provider"], row["consumer"]):
            found.append(_line("agreement", name, str(row["asset"]), row))
    return found


def _line(kind: str, name: str, asset: str, row: Mapping[str, Any]) -> dict[str, object]:
    limits = row["limits"]
    line: dict[str, object] = {"kind": kind, "id": name, "asset": asset, "uses": row["uses"]}
    line["uses_limit"] = limits.get("uses")
    exponent = limits.get("delta_exponent", 6)
    line["epsilon_micro"] = epsilon(row.get("rdp", [0] * len(ORDERS)), exponent)
    line["epsilon_limit_micro"] = limits.get("epsilon_micro")
    line["delta_exponent"] = exponent
    line["points"], line["points_limit"] = row.get("points", 0), limits.get("points")
    line["rate"] = limits.get("rate")
    line["expires"] = limits.get("expires")
    line["under_way"] = list(row.get("open", ()))
    if kind == "asset":
        line["changes"], line["reason"] = row["changes"], row["reason"]
    return line
