"""The calls about approvals: requests, decisions, rules, delegations, notices."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from urllib.parse import quote

from exchange.sdk.connection import Connection, Json

__all__ = ["ApprovalCalls"]

_DECIDERS = ("steward", "approver")
_ANYBODY = ("steward", "approver", "analyst", "auditor", "administrator")


class ApprovalCalls(Connection):
    """For those who decide; ``role`` picks one of several tokens, else the first that the profile holds."""

    def approvals(self, *, pending: bool = True, kind: str = "", role: str | None = None) -> list[Json]:
        """List the requests that wait for people, or the latest of all."""
        params = {"state": "pending" if pending else "all", "kind": kind}
        return self._list("GET", "/v1/approvals", "approvals", role=self._decider(role), params=params)

    def approval(self, request: str, *, role: str | None = None) -> Json:
        """Show a request: its card, its rule, its decisions, what is missing."""
        return self._object("GET", f"/v1/approvals/{quote(request)}", role=self._decider(role))

    def approve_request(
        self,
        request: str,
        reason: str,
        *,
        binding: str | None = None,
        behalf: str = "",
        role: str | None = None,
    ) -> Json:
        """Approve a request as it was shown; without ``binding`` as it is shown now."""
        return self._decided(request, "approve", reason, binding, behalf, role)

    def reject_request(
        self,
        request: str,
        reason: str,
        *,
        binding: str | None = None,
        behalf: str = "",
        role: str | None = None,
    ) -> Json:
        """Reject a request; arguments as for ``approve_request``."""
        return self._decided(request, "reject", reason, binding, behalf, role)

    def approval_rules(self, scope: str = "") -> Json:
        """Show the built-in rules and every own version."""
        params = {"scope": scope}
        return self._object("GET", "/v1/approval-rules", role=self._one_of(*_ANYBODY), params=params)

    def set_approval_rule(self, scope: str, rule: Mapping[str, object] | None, reason: str) -> Json:
        """Set the rule of a scope; None lets the built-in one hold again."""
        body = {"scope": scope, "rule": None if rule is None else dict(rule), "reason": reason}
        return self._object("POST", "/v1/approval-rules", role="administrator", json=body)

    def delegations(self) -> list[Json]:
        """List who may decide in whose place."""
        return self._list("GET", "/v1/delegations", "delegations", role=self._one_of(*_ANYBODY))

    def delegate(self, grantee: str, role: str, ends: str, *, begins: str = "") -> Json:
        """Let another person with the same role decide in the caller's place until ``ends``."""
        body = {"grantee": grantee, "role": role, "ends": ends, "begins": begins}
        body = {name: value for name, value in body.items() if value}
        return self._object("POST", "/v1/delegations", role=role, json=body)

    def end_delegation(self, delegation: str, *, role: str | None = None) -> None:
        """Take a delegation back."""
        path = f"/v1/delegations/{quote(delegation)}/end"
        self._send("POST", path, role=role or self._one_of(*_ANYBODY), json={})

    def permissions(self) -> list[Json]:
        """List the standing permissions for repetitions of jobs."""
        return self._list("GET", "/v1/permissions", "permissions", role=self._one_of(*_ANYBODY))

    def propose_permission(
        self,
        job: str,
        *,
        bound: str = "shape",
        times: int = 0,
        until: str | None = None,
        role: str | None = None,
    ) -> Json:
        """Propose to approve repetitions of a job: ``times`` of them, ``until`` a time, or both.

        People approve the answer's ``request``.
        """
        body = {"job": job, "bound": bound, "times": times, "until": until}
        return self._object("POST", "/v1/permissions", role=self._decider(role), json=body)

    def revoke_permission(self, permission: str, reason: str, *, role: str | None = None) -> Json:
        """End a permission."""
        path = f"/v1/permissions/{quote(permission)}/revoke"
        return self._object("POST", path, role=self._decider(role), json={"reason": reason})

    def notices(
        self, *, after: int = 0, unread: bool = False, wait_s: int = 0, role: str | None = None
    ) -> list[Json]:
        """List the caller's notices behind position ``after``; with ``wait_s`` wait for the first."""
        params = {"after": after, "unread": str(unread).lower(), "wait_s": wait_s}
        return self._list(
            "GET", "/v1/notices", "notices", role=role or self._one_of(*_ANYBODY), params=params
        )

    def mark_read(self, notices: Sequence[str], *, role: str | None = None) -> None:
        """Note that the caller has read notices."""
        role = role or self._one_of(*_ANYBODY)
        self._send("POST", "/v1/notices/read", role=role, json={"notices": list(notices)})

    def _decided(
        self, request: str, verdict: str, reason: str, binding: str | None, behalf: str, role: str | None
    ) -> Json:
        shown = binding or str(self.approval(request, role=role)["binding"])
        body = {"reason": reason, "binding": shown, "behalf": behalf}
        path = f"/v1/approvals/{quote(request)}/{verdict}"
        return self._object("POST", path, role=self._decider(role), json=body)

    def _decider(self, role: str | None) -> str:
        return role or self._one_of(*_DECIDERS)
