"""Calls about budgets, output checks and lineage."""

from __future__ import annotations

from collections.abc import Mapping
from urllib.parse import quote

from exchange.sdk.connection import Connection, Json

__all__ = ["BudgetCalls"]


class BudgetCalls(Connection):
    """The part of ``NodeClient`` that says what may still be spent and what was."""

    def budgets(self) -> list[Json]:
        """List the budgets of the node's own assets and of its agreements."""
        return self._list("GET", "/v1/budgets", "budgets", role=self._one_of("steward", "analyst", "auditor"))

    def set_budget(self, asset: str, reason: str, **limits: object) -> Json:
        """Set or refill the budget of an own asset.

        Args:
            asset: its id.
            reason: why; every member reads it.
            limits: ``uses``, ``epsilon_micro`` with ``delta_exponent``, ``rate``; one that is absent is none.
        """
        path = f"/v1/assets/{quote(asset)}/budget"
        return self._object("POST", path, role="steward", json={**limits, "reason": reason})

    def output_rules(self, asset: str) -> Json:
        """Show the output checks of an own asset."""
        answer = self._object("GET", f"/v1/assets/{quote(asset)}/output-rules", role="steward")
        return dict(answer["rules"])

    def set_output_rules(self, asset: str, rules: Mapping[str, object]) -> Json:
        """Set the output checks of an own asset; what is absent is not checked."""
        path = f"/v1/assets/{quote(asset)}/output-rules"
        return self._object("PUT", path, role="steward", json=dict(rules))

    def releases(self) -> list[Json]:
        """List the newest outputs of the node's own steps and how far each is."""
        role = self._one_of("steward", "approver", "analyst", "auditor")
        return self._list("GET", "/v1/releases", "releases", role=role)

    def lineage(self, subject: str) -> Json:
        """Trace an asset, agreement, job or member forwards and backwards."""
        role = self._one_of("steward", "analyst", "auditor")
        return self._object("GET", "/v1/lineage", role=role, params={"subject": subject})
