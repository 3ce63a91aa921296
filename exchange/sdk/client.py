"""The client of one's own node: one method per route of its API, in the API's words.

TLS is pinned to the certificate in the profile: no certificate authority, no host name, no proxy. Answers are
the API's JSON objects. A problem raises :class:`NodeProblem`; a node that cannot be reached raises
``NodeUnreachable``, one that is too slow ``TimedOut``.
"""

from __future__ import annotations

import base64
import ssl
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from types import TracebackType
from typing import Any, Self
from urllib.parse import quote

import httpx

from exchange.errors import JobFailed, JobRefused, NodeUnreachable, TimedOut, Unauthenticated
from exchange.sdk.problems import NodeProblem
from exchange.sdk.profiles import Profile
from exchange.tls import client_context

__all__ = ["FINISHED", "Json", "NodeClient"]

Json = dict[str, Any]
"""A JSON object as the API documents it."""

FINISHED = frozenset({"COMPLETED", "FAILED", "REFUSED"})
_POLL_S = 0.4
_PAGE = 500
_FINALITY_S = 60.0  # how long a node may wait for the quorum's cosignatures before it answers


class NodeClient:
    """A connection to one node, calling in whatever role each route needs."""

    def __init__(
        self,
        profile: Profile,
        *,
        timeout_s: float = _FINALITY_S,
        transport: httpx.BaseTransport | None = None,
    ) -> None:
        self.profile = profile
        self._http = httpx.Client(
            base_url=profile.url,
            verify=client_context(None, None, profile.certificate),
            timeout=timeout_s,
            trust_env=False,
            transport=transport,
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Close the connection."""
        self._http.close()

    # --- the node and its consortium

    def node(self) -> Json:
        """Describe the node: name, DID, genesis, sizes of its ledger copy."""
        return self._object("GET", "/v1/node")

    def ledger_status(self) -> Json:
        """Describe the node's copy of the ledger."""
        return self._object("GET", "/v1/ledger/status", role="auditor")

    def members(self) -> list[Json]:
        """List the consortium's members."""
        return self._list("GET", "/v1/members", "members", role="auditor")

    def proposals(self) -> list[Json]:
        """List governance proposals."""
        return self._list("GET", "/v1/governance/proposals", "proposals", role="administrator")

    def propose(self, enrolment: Mapping[str, object]) -> Json:
        """Propose to admit the member that signed ``enrolment``."""
        body = {"enrolment": dict(enrolment)}
        return self._object("POST", "/v1/governance/proposals", role="administrator", json=body)

    def vote(self, proposal: str, *, approve: bool) -> Json:
        """Vote on a proposal."""
        path = f"/v1/governance/proposals/{quote(proposal)}/votes"
        return self._object("POST", path, role="administrator", json={"approve": approve})

    # --- assets

    def publish(self, asset: Mapping[str, object]) -> Json:
        """Profile a table at the node and publish it; the API documents the members of ``asset``."""
        return self._object("POST", "/v1/assets", role="steward", json=dict(asset))

    def assets(self) -> list[Json]:
        """List the node's own assets."""
        return self._list("GET", "/v1/assets", "assets", role="steward")

    def withdraw(self, asset: str, reason: str) -> Json:
        """Withdraw an asset: no new jobs; history stays."""
        path = f"/v1/assets/{quote(asset)}/withdraw"
        return self._object("POST", path, role="steward", json={"reason": reason})

    def catalog(self, words: str = "") -> Json:
        """Search the consortium's catalog; a DCAT document."""
        return self._object("GET", "/v1/catalog", role="analyst", params={"q": words})

    def dataset(self, asset: str) -> Json:
        """Show one asset's DCAT record."""
        return self._object("GET", f"/v1/catalog/{quote(asset)}", role="analyst")

    # --- agreements

    def request_agreement(self, terms: Mapping[str, object]) -> Json:
        """Ask the owner of an asset for an agreement."""
        return self._object("POST", "/v1/negotiations", role="analyst", json=dict(terms))

    def negotiations(self) -> list[Json]:
        """List the negotiations this node takes part in."""
        return self._list("GET", "/v1/negotiations", "negotiations", role="analyst")

    def negotiation(self, negotiation: str) -> Json:
        """Show one negotiation."""
        return self._object("GET", f"/v1/negotiations/{quote(negotiation)}", role="analyst")

    def approve(self, negotiation: str, reason: str) -> Json:
        """Approve a request at the owner's node."""
        path = f"/v1/negotiations/{quote(negotiation)}/approve"
        return self._object("POST", path, role="steward", json={"reason": reason})

    def reject(self, negotiation: str, reason: str) -> Json:
        """Reject a request at the owner's node."""
        path = f"/v1/negotiations/{quote(negotiation)}/reject"
        return self._object("POST", path, role="steward", json={"reason": reason})

    def agreements(self) -> list[Json]:
        """List the agreements this node is a side of."""
        return self._list("GET", "/v1/agreements", "agreements", role="analyst")

    def revoke(self, agreement: str, reason: str) -> Json:
        """Revoke an agreement at the owner's node."""
        path = f"/v1/agreements/{quote(agreement)}/revoke"
        return self._object("POST", path, role="steward", json={"reason": reason})

    # --- jobs

    def submit(self, spec: Mapping[str, object]) -> Json:
        """Submit a job; the answer names it and its spec's digest."""
        return self._object("POST", "/v1/jobs", role="analyst", json={"spec": dict(spec)})

    def jobs(self) -> list[Json]:
        """List the jobs this node takes part in."""
        return self._list("GET", "/v1/jobs", "jobs", role="analyst")

    def job(self, job: str) -> Json:
        """Show one job: state, steps, progress, refusals."""
        return self._object("GET", f"/v1/jobs/{quote(job)}", role="analyst")

    def wait_job(
        self, job: str, on_progress: Callable[[Json], None] | None = None, *, timeout_s: float = 300.0
    ) -> Json:
        """Wait until a job ends.

        Args:
            job: its id.
            on_progress: called with the job at every look.
            timeout_s: how long to wait, in seconds.

        Returns:
            The completed job.

        Raises:
            JobRefused: an owner's node refused it; carries that node's reasons and codes.
            JobFailed: it ended without a result.
            TimedOut: it is still under way.
        """
        deadline = time.monotonic() + timeout_s
        while True:
            seen = self.job(job)
            if on_progress is not None:
                on_progress(seen)
            if seen["state"] == "COMPLETED":
                return seen
            if seen["state"] in FINISHED:
                raise _ended(job, seen)
            if time.monotonic() > deadline:
                raise TimedOut(f"job {job} is still {seen['state']} after {timeout_s:g} s")
            time.sleep(_POLL_S)

    def result(self, job: str) -> tuple[Json, dict[str, bytes]]:
        """Fetch a result: the opened document and its files by name."""
        answer = self._object("GET", f"/v1/jobs/{quote(job)}/result", role="analyst")
        files = {str(name): base64.b64decode(text) for name, text in answer.get("files", {}).items()}
        return dict(answer["result"]), files

    # --- audit

    def entries(
        self,
        *,
        asset: str | None = None,
        participant: str | None = None,
        agreement: str | None = None,
        job: str | None = None,
        type_: str | None = None,
    ) -> Iterator[Json]:
        """Search the node's copy of the ledger, oldest entry first, page by page."""
        wanted = {"asset": asset, "participant": participant, "agreement": agreement, "job": job}
        params: dict[str, str | int] = {name: value for name, value in wanted.items() if value is not None}
        if type_ is not None:
            params["type"] = type_
        params["limit"] = _PAGE
        while True:
            page = self._list("GET", "/v1/audit/entries", "entries", role="auditor", params=params)
            yield from page
            if len(page) < _PAGE:
                return
            params["after"] = int(page[-1]["index"])

    def export_bundle(
        self,
        *,
        assets: Sequence[str] = (),
        participants: Sequence[str] = (),
        jobs: Sequence[str] = (),
        agreements: Sequence[str] = (),
    ) -> bytes:
        """Export an evidence bundle for everything that concerns the named things."""
        body = {
            "assets": list(assets),
            "participants": list(participants),
            "jobs": list(jobs),
            "agreements": list(agreements),
        }
        return self._send("POST", "/v1/audit/bundle", role="auditor", json=body).content

    def compare(self) -> Json:
        """Fetch the hub's whole log again and compare it with the node's own copy."""
        return self._object("POST", "/v1/audit/compare", role="auditor", json={})

    # --- one request

    def _object(self, method: str, path: str, *, role: str | None = None, **request: Any) -> Json:  # noqa: ANN401  # httpx's own arguments
        answer = self._send(method, path, role=role, **request)
        body = _body(answer)
        if not isinstance(body, dict):
            raise NodeProblem.of(answer.status_code, body)
        return body

    def _list(
        self,
        method: str,
        path: str,
        name: str,
        *,
        role: str | None = None,
        **request: Any,  # noqa: ANN401  # httpx's own arguments
    ) -> list[Json]:
        body = _body(self._send(method, path, role=role, **request))
        found = body.get(name, body.get("items")) if isinstance(body, dict) else body
        return list(found) if isinstance(found, list) else []

    def _send(self, method: str, path: str, *, role: str | None, **request: Any) -> httpx.Response:  # noqa: ANN401  # httpx's own arguments
        try:
            answer = self._http.request(method, path, headers=self._authorization(role), **request)
        except httpx.TimeoutException as error:
            raise TimedOut(
                f"{self.profile.org}'s node at {self.profile.url} gave no answer in time"
            ) from error
        except httpx.TransportError as error:
            raise NodeUnreachable(_unreachable(self.profile, error)) from error
        if answer.is_success:
            return answer
        raise NodeProblem.of(answer.status_code, _body(answer))

    def _authorization(self, role: str | None) -> dict[str, str]:
        if role is None:
            return {}
        token = self.profile.tokens.get(role)
        if token is None:
            held = ", ".join(sorted(self.profile.tokens)) or "none"
            raise Unauthenticated(
                f"expected a token for the role {role} in {self.profile.org}'s profile, "
                f"found tokens for: {held}"
            )
        return {"Authorization": f"Bearer {token}"}


def _body(answer: httpx.Response) -> object:
    try:
        return answer.json()
    except ValueError:
        return None


def _unreachable(profile: Profile, error: Exception) -> str:
    where = f"expected {profile.org}'s node at {profile.url}"
    cause: BaseException | None = error
    while cause is not None:
        if isinstance(cause, ssl.SSLCertVerificationError):
            return f"{where}, got a server with another certificate than the one in the profile"
        if isinstance(cause, ssl.SSLError):
            return f"{where}, got a server that does not speak TLS 1.3 there"
        cause = cause.__cause__ or cause.__context__
    return f"{where}, got no connection ({error})"


def _ended(job: str, seen: Mapping[str, Any]) -> JobRefused | JobFailed:
    if seen["state"] == "REFUSED":
        refusals = seen.get("refusals") or {}
        found = list(refusals.values()) if isinstance(refusals, dict) else list(refusals)
        reasons = [str(reason) for one in found for reason in one.get("reasons", [])]
        return JobRefused(
            tuple(reasons) or (f"job {job} was refused",), tuple(str(one.get("code", "")) for one in found)
        )
    failure = seen.get("failure") or {}
    return JobFailed(f"job {job} ended as {seen['state']}: {failure.get('reason', 'no reason was given')}")
