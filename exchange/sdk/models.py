"""Joint models: draft and file versions, and score persons with the other owners at once."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from typing import Any

from exchange.errors import JobFailed, TimedOut
from exchange.sdk.connection import Connection, Json

__all__ = ["ModelCalls"]

_ANY = ("analyst", "steward", "auditor", "approver", "administrator")
_POLL_S = 0.3


class ModelCalls(Connection):
    """Calls on joint models."""

    def models(self) -> list[Json]:
        """List all versions of all models on the ledger."""
        return self._list("GET", "/v1/models", "models", role=self._one_of(*_ANY))

    def model(self, model: str, version: int) -> Json:
        """Show a version, and how far this owner's table for it is."""
        return self._object("GET", f"/v1/models/{model}/{version}", role=self._one_of(*_ANY))

    def draft_model(
        self, model: str, *, job: str, step: str, purposes: Sequence[str], part: Mapping[str, Any]
    ) -> Json:
        """Draft the next version of a model, as its label holder.

        Args:
            model: its id, ``owner/name``.
            job: a completed job.
            step: that trained it with split coefficients.
            purposes: DPV terms.
            part: how this owner's part is served, as the API documents it: ``key`` and more.
        """
        body = {"model": model, "job": job, "step": step, "purposes": list(purposes), "part": dict(part)}
        return self._object("POST", "/v1/models", role="steward", json=body)

    def file_model_part(self, model: str, version: int, part: Mapping[str, Any]) -> Json:
        """File this owner's part of another owner's draft."""
        path = f"/v1/models/{model}/{version}/part"
        return self._object("POST", path, role="steward", json=dict(part))

    def wait_model(self, model: str, version: int, *, timeout_s: float = 600.0) -> Json:
        """Wait until a version is published and this owner's table for it is made.

        Raises:
            JobFailed: the table could not be made, or the version is withdrawn; the text says why.
            TimedOut: it is not done; it goes on.
        """
        deadline = time.monotonic() + timeout_s
        while True:
            found = self.model(model, version)
            table = found["table"] or {"asset_version": 0, "failure": ""}
            if table["failure"] or found["status"] == "withdrawn":
                raise JobFailed(table["failure"] or f"version {version} of {model} is withdrawn")
            if found["status"] == "published" and table["asset_version"]:
                return found
            if time.monotonic() >= deadline:
                raise TimedOut(f"waited {timeout_s:g} s for version {version} of {model}")
            time.sleep(_POLL_S)

    def withdraw_model(self, model: str, version: int, reason: str) -> Json:
        """Withdraw a version, as any of its owners."""
        path = f"/v1/models/{model}/{version}/withdraw"
        return self._object("POST", path, role="steward", json={"reason": reason})

    def score(
        self,
        model: str,
        persons: Sequence[str],
        purpose: str,
        *,
        version: int | None = None,
        wait_ms: int = 500,
    ) -> list[Json]:
        """Score persons, as the label holder.

        Args:
            model: its id.
            persons: identifiers; the other owners of the model come to see them.
            purpose: a DPV term.
            version: of the model; None: the latest that is published.
            wait_ms: how long to wait for the other owners.

        Returns:
            For each person, in order, ``score``, ``probability``, ``fallbacks``, ``missing`` and ``reasons``.
        """
        body = {"persons": list(persons), "purpose": purpose, "version": version, "wait_ms": wait_ms}
        answer = self._object("POST", f"/v1/models/{model}/score", role="analyst", json=body)
        return list(answer["scores"])

    def model_statement(self) -> list[Json]:
        """List how many persons were scored, by agreement, version and purpose, as on the ledger."""
        return self._list("GET", "/v1/models/statement", "accounts", role=self._one_of(*_ANY))

    def score_questions(self) -> list[Json]:
        """List who of this participant asked how often for scores, by day, the latest first."""
        role = self._one_of("auditor", "administrator")
        return self._list("GET", "/v1/models/questions", "questions", role=role)
