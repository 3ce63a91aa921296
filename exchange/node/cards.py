"""What people are shown before they decide, computed by their own node from the real thing.

A card says what would happen, in the words of the ledger, the catalog and the components' own declarations.
The submitter's words are on it only as such (``title``). Its digest is part of what is approved.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from exchange.jobs.plans import column_uses
from exchange.jobs.registry import Registry
from exchange.jobs.shapes import differences, shape_digest
from exchange.jobs.spec import JobSpec, Step
from exchange.node.budgets import loss_of
from ledger.rules.budgets import ORDERS, epsilon
from ledger.state import State

__all__ = ["Card", "Estimates", "job_card"]

Card = dict[str, Any]
Estimates = Callable[[JobSpec, State], list[dict[str, Any]]]
"""What each step of a job is expected to cost, for the card."""

_USUAL_DELTA = 6
"""The delta, as 10**-6, at which a loss is shown where no budget says another."""
_LARGEST = 400
"""Differences shown; more are counted."""


def job_card(
    spec: JobSpec,
    job: Mapping[str, Any],
    state: State,
    registry: Registry,
    earlier: JobSpec | None,
    estimates: Estimates,
) -> Card:
    """The card of a job whose specification is known to be what was signed.

    Args:
        spec: the specification.
        job: the job's row on the ledger.
        state: this node's own ledger state.
        registry: the components of this build.
        earlier: the specification that was approved last for the same submitter and assets.
        estimates: what the steps are expected to cost.
    """
    names = {did: str(row["name"]) for did, row in state.rows("members").items()}
    steps = [_step(step, names, registry) for step in spec.steps]
    return {
        "kind": "job",
        "job": spec.job,
        "spec": spec.digest(),
        "shape": shape_digest(spec),
        "title": spec.title,
        "submitter": _named(job["submitter"], names),
        "purpose": spec.purpose,
        "assets": [_asset(asset, spec, state, registry, names) for asset in spec.assets()],
        "steps": steps,
        "learns": _learns(steps, registry),
        "recipients": sorted({name for step in steps for name in step["recipients"]}),
        "estimate": estimates(spec, state),
        "difference": _difference(earlier, spec),
    }


def _named(did: str, names: Mapping[str, str]) -> str:
    return names.get(did, did)


def _asset(
    asset: str, spec: JobSpec, state: State, registry: Registry, names: Mapping[str, str]
) -> dict[str, Any]:
    """The columns of an asset that the job reads, who sees what of them, and what the agreement has left."""
    row = state.get("assets", asset) or {}
    agreement = state.get("agreements", spec.agreements.get(asset, "")) or {}
    limits, budget = agreement.get("limits", {}), state.get("budgets", asset) or {"limits": {}}
    loss = loss_of(spec, asset, registry)
    schema = {column["name"]: column for column in row.get("schema", ())}
    used: dict[str, dict[str, Any]] = {}
    for step in spec.steps:
        for given in step.inputs.values():
            for column in given.columns if given.asset == asset else ():
                known = schema.get(column.name, {})
                used[column.name] = {
                    "name": column.name,
                    "role": known.get("role"),
                    "sensitivity": known.get("sensitivity"),
                    "control": known.get("control"),
                    "decimals": column.decimals,
                    "seen_by": [],
                }
    for use in column_uses(spec, registry):
        seen = {"who": _named(use.viewer, names), "after": [level.value for level in use.needed]}
        if (
            use.asset == asset
            and use.viewer
            and use.column in used
            and seen not in used[use.column]["seen_by"]
        ):
            used[use.column]["seen_by"].append(seen)
    return {
        "asset": asset,
        "owner": _named(str(row.get("owner", "")), names),
        "version": row.get("version"),
        "rows": row.get("rows"),
        "columns": [used[name] for name in sorted(used)],
        "agreement": spec.agreements.get(asset),
        "budget": _spent(agreement, limits, loss),
        "asset_budget": _spent(budget, budget["limits"], loss),
    }


def _spent(row: Mapping[str, Any], limits: Mapping[str, Any], loss: Sequence[int] | None) -> dict[str, Any]:
    """What is spent of a budget, and what will be when the job starts."""
    uses, points = int(row.get("uses", 0)), int(row.get("points", 0))
    found: dict[str, Any] = {"limits": dict(limits), "uses": uses, "uses_after": uses + 1}
    if "points" in limits:
        found |= {"points": points, "points_after": points + int(limits["price"])}
    if loss is not None and any(loss):
        before = row.get("rdp", [0] * len(ORDERS))
        after = [one + more for one, more in zip(before, loss, strict=True)]
        exponent = int(limits.get("delta_exponent", _USUAL_DELTA))
        found |= {
            "delta_exponent": exponent,
            "epsilon_micro": epsilon(before, exponent),
            "epsilon_after_micro": epsilon(after, exponent),
        }
    return found


def _step(step: Step, names: Mapping[str, str], registry: Registry) -> dict[str, Any]:
    declared = registry.get(step.component).as_json()
    return {
        "id": step.id,
        "component": step.component,
        "version": step.version,
        "summary": declared["summary"],
        "output_type": declared["output_type"],
        "security": declared["security"],
        "engine": declared["engine"],
        "parties": {role: _named(did, names) for role, did in step.parties.items()},
        "params": dict(step.params),
        "recipients": [_named(did, names) for did in step.recipients],
    }


def _learns(steps: list[dict[str, Any]], registry: Registry) -> dict[str, list[str]]:
    """What each participant comes to know: what the techniques leak to its role, and what it receives."""
    learnt: dict[str, list[str]] = {}
    for step in steps:
        component = registry.get(step["component"])
        leaks = (step["security"] or {}).get("leaks", {})
        for role, name in step["parties"].items():
            for fact in leaks.get(component.declared(role), ()):
                learnt.setdefault(name, []).append(f"{step['id']}: {fact}")
        for name in step["recipients"]:
            learnt.setdefault(name, []).append(f"{step['id']}: the released {step['output_type']}")
    return {name: sorted(set(facts)) for name, facts in sorted(learnt.items())}


def _difference(earlier: JobSpec | None, spec: JobSpec) -> dict[str, Any] | None:
    if earlier is None:
        return None
    found = differences(earlier, spec)
    return {
        "since": earlier.job,
        "count": len(found),
        "fields": [dataclasses.asdict(one) for one in found[:_LARGEST]],
    }
