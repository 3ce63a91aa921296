"""The card of a request for an agreement: what is asked of which columns, by which techniques."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from exchange.jobs.registry import Registry
from ledger.state import State
from policies import terms
from policies.errors import PoliciesError

__all__ = ["negotiation_card"]


def negotiation_card(
    row: Mapping[str, Any], state: State, registry: Registry, beyond: Sequence[str]
) -> dict[str, Any]:
    """Compute the card of a negotiation from its row, the catalog and the components' declarations.

    Args:
        row: the negotiation's row on the ledger.
        state: this node's own ledger state.
        registry: the components of this build.
        beyond: the clauses in which the request goes beyond the owner's offer.
    """
    asked = terms.from_policy(row["offer"])
    asset = state.get("assets", row["asset"]) or {}
    consumer = state.get("members", row["consumer"]) or {}
    names = {did: str(member["name"]) for did, member in state.rows("members").items()}
    techniques = [one.as_json() for one in registry if one.name in asked.operations]
    before = _last_agreed(row, state)
    return {
        "kind": "negotiation",
        "negotiation": row["negotiation"],
        "asset": row["asset"],
        "version": row["version"],
        "rows": asset.get("rows"),
        "consumer": consumer.get("name", row["consumer"]),
        "terms": asked.as_json(),
        "limits": dict(row["limits"]),
        "beyond_offer": list(beyond),
        "columns": [
            {name: column.get(name) for name in ("name", "role", "sensitivity", "control")}
            for column in asset.get("schema", ())
            if column["name"] in asked.columns
        ],
        "techniques": [
            {name: one[name] for name in ("name", "version", "summary", "output_type", "security")}
            for one in techniques
        ],
        "approval_of_each_job": {
            "per_job": asked.approval == "per-job",
            "organisations": [names.get(did, did) for did in asked.organisations],
        },
        "difference": None if before is None else _difference(before, asked),
    }


def _last_agreed(row: Mapping[str, Any], state: State) -> tuple[str, terms.Terms] | None:
    """The agreement that was given last to the same consumer for the same asset."""
    found = [
        one
        for one in state.rows("agreements").values()
        if (one["asset"], one["consumer"]) == (row["asset"], row["consumer"])
    ]
    for one in sorted(found, key=lambda one: int(one["index"]), reverse=True):
        try:
            return str(one["agreement"]), terms.from_policy(one["policy"])
        except PoliciesError:
            continue
    return None


def _difference(before: tuple[str, terms.Terms], asked: terms.Terms) -> dict[str, Any]:
    name, agreed = before
    old, new = agreed.as_json(), asked.as_json()
    changed = [clause for clause in sorted(old.keys() | new.keys()) if old.get(clause) != new.get(clause)]
    return {
        "since": name,
        "count": len(changed),
        "fields": [
            {"field": clause, "before": old.get(clause), "now": new.get(clause)} for clause in changed
        ],
    }
