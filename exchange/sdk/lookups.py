"""Look keys up in other members' lists, without telling them the keys; open such a service on an own list."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from typing import Any

from exchange.errors import JobFailed, TimedOut
from exchange.sdk.connection import Connection, Json

__all__ = ["LookupCalls"]

_ANY = ("analyst", "steward", "auditor", "approver", "administrator")
_POLL_S = 0.3
_BATCH_S = 600.0


class LookupCalls(Connection):
    """Calls on anonymous lookups."""

    def lookup(
        self,
        services: Sequence[str] | Mapping[str, str],
        keys: Sequence[str | Sequence[str]],
        purpose: str,
    ) -> list[Json]:
        """Ask services about keys.

        Args:
            services: their ids, or the agreement to use by id.
            keys: a text each; of services with several key columns a list of texts in their order.
            purpose: a DPV term.

        Returns:
            For each service, in order, ``outcome`` and, where it answered, ``records``: for each key
            ``{"found", "record"}``.
        """
        named = services if isinstance(services, Mapping) else dict.fromkeys(services)
        targets = [
            {"service": service} | ({} if agreement is None else {"agreement": agreement})
            for service, agreement in named.items()
        ]
        values = [[key] if isinstance(key, str) else list(key) for key in keys]
        body = {"services": targets, "keys": values, "purpose": purpose}
        answer = self._object("POST", "/v1/lookups", role="analyst", json=body, timeout=_BATCH_S)
        return list(answer["answers"])

    def lookup_services(self) -> list[Json]:
        """List the services of all members on the ledger."""
        return self._list("GET", "/v1/lookups/services", "services", role=self._one_of(*_ANY))

    def own_lookup_services(self) -> list[Json]:
        """List the services of this participant, with how far their next release is."""
        return self._list("GET", "/v1/lookups/services/own", "services", role=self._one_of(*_ANY))

    def open_lookup(self, request: Mapping[str, Any], *, timeout_s: float = 3600.0) -> Json:
        """Open a service, or its next release, and wait until it is on the ledger.

        Args:
            request: as the API documents it: service, asset, keys, record, purposes and more.
            timeout_s: how long to wait.

        Raises:
            JobFailed: it could not be built; the text says why.
            TimedOut: it is not done; it goes on.
        """
        made = self._object("POST", "/v1/lookups/services", role="steward", json=dict(request))
        deadline = time.monotonic() + timeout_s
        while made["state"] == "building":
            if time.monotonic() >= deadline:
                raise TimedOut(f"waited {timeout_s:g} s for {made['service']} to be built")
            time.sleep(_POLL_S)
            made = self.lookup_service(str(made["service"]))
        if made["state"] == "failed":
            raise JobFailed(str(made["failure"]))
        return made

    def lookup_service(self, service: str) -> Json:
        """Show a service of this participant."""
        return self._object("GET", f"/v1/lookups/services/{service}", role=self._one_of(*_ANY))

    def withdraw_lookup(self, service: str, reason: str) -> Json:
        """Close a service of this participant."""
        path = f"/v1/lookups/services/{service}/withdraw"
        return self._object("POST", path, role="steward", json={"reason": reason})

    def lookup_statement(self) -> list[Json]:
        """List what was asked and is owed, by agreement, service and purpose."""
        return self._list("GET", "/v1/lookups/statement", "accounts", role=self._one_of(*_ANY))

    def lookup_questions(self) -> list[Json]:
        """List who of this participant asked which service how often, the latest first."""
        role = self._one_of("auditor", "administrator")
        return self._list("GET", "/v1/lookups/questions", "questions", role=role)
