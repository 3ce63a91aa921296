"""Calls about policies: whether a job would pass, and what an agreement says."""

from __future__ import annotations

from collections.abc import Mapping
from urllib.parse import quote

from exchange.sdk.connection import Connection, Json

__all__ = ["PolicyCalls"]


class PolicyCalls(Connection):
    """The part of ``NodeClient`` that asks ahead."""

    def simulate(
        self,
        *,
        spec: Mapping[str, object] | None = None,
        job: str | None = None,
        at: str | None = None,
        language: str = "en",
    ) -> Json:
        """Say whether a job would pass at each owner, and if not, which clause stands against it.

        Args:
            spec: a draft's specification; either this or ``job``.
            job: the id of a job on the ledger.
            at: the moment to decide for, like ``2026-12-31T00:00:00Z``; now where it is None.
            language: of what policies say, ``en`` or ``zh``.
        """
        stated = {"spec": None if spec is None else dict(spec), "job": job, "at": at}
        asked = {name: value for name, value in stated.items() if value is not None}
        return self._object(
            "POST", "/v1/policy/simulations", role=self._reader(), json={**asked, "language": language}
        )

    def agreement_policy(self, agreement: str, language: str = "en") -> Json:
        """Explain an agreement's policy in words."""
        path = f"/v1/agreements/{quote(agreement)}/policy"
        return self._object("GET", path, role=self._reader(), params={"language": language})

    def _reader(self) -> str:
        return self._one_of("analyst", "steward", "approver", "auditor")
