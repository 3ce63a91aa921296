"""The client of one's own node: one method per route of its API, in the API's words.

TLS is pinned to the certificate in the profile: no certificate authority, no host name, no proxy. Answers are
the API's JSON objects. A problem raises :class:`NodeProblem`; a node that cannot be reached raises
``NodeUnreachable``, one that is too slow ``TimedOut``.
"""

from __future__ import annotations

import base64
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any
from urllib.parse import quote

from exchange.errors import JobFailed, JobRefused, TimedOut
from exchange.sdk.approvals import ApprovalCalls
from exchange.sdk.assets import AssetCalls
from exchange.sdk.budgets import BudgetCalls
from exchange.sdk.connection import Json
from exchange.sdk.deliveries import DeliveryCalls
from exchange.sdk.evidence import EvidenceCalls
from exchange.sdk.explorer import ExplorerCalls
from exchange.sdk.identity import IdentityCalls
from exchange.sdk.lookups import LookupCalls
from exchange.sdk.models import ModelCalls
from exchange.sdk.people import PeopleCalls
from exchange.sdk.policies import PolicyCalls
from exchange.sdk.queries import QueryCalls
from exchange.sdk.sign_in import SignInCalls
from exchange.sdk.submissions import SubmissionCalls

__all__ = ["FINISHED", "Json", "NodeClient"]

FINISHED = frozenset({"COMPLETED", "FAILED", "REFUSED", "ABORTED", "REVOKED", "EXPIRED"})
_POLL_S = (0.05, 0.4)


class NodeClient(
    ApprovalCalls,
    AssetCalls,
    BudgetCalls,
    DeliveryCalls,
    EvidenceCalls,
    ExplorerCalls,
    IdentityCalls,
    LookupCalls,
    ModelCalls,
    PeopleCalls,
    PolicyCalls,
    QueryCalls,
    SignInCalls,
    SubmissionCalls,
):
    """A connection to one node, calling in whatever role each route needs."""

    # --- the node and its consortium

    def node(self) -> Json:
        """Describe the node: name, DID, genesis, sizes of its ledger copy."""
        return self._object("GET", "/v1/node")

    def members(self) -> list[Json]:
        """List the consortium's members."""
        return self._list("GET", "/v1/members", "members", role="auditor")

    def proposals(self) -> list[Json]:
        """List governance proposals."""
        return self._list("GET", "/v1/governance/proposals", "proposals", role="administrator")

    def propose(
        self, actions: Sequence[Mapping[str, object]], *, effective_after: int = 0, reason: str = ""
    ) -> Json:
        """Propose a change of members, keys or parameters.

        Args:
            actions: one to eight, for instance ``{"action": "member.suspend", "member": DID}``.
            effective_after: entries between the execution and the effect.
            reason: why, for those who vote.
        """
        body = {"actions": [dict(one) for one in actions], "effective_after": effective_after}
        body |= {"reason": reason} if reason else {}
        return self._object("POST", "/v1/governance/proposals", role="administrator", json=body)

    def withdraw_proposal(self, proposal: str) -> Json:
        """Take back an open proposal of this organisation."""
        path = f"/v1/governance/proposals/{quote(proposal)}/withdraw"
        return self._object("POST", path, role="administrator", json={})

    def vote(self, proposal: str, *, approve: bool) -> Json:
        """Vote on a proposal."""
        path = f"/v1/governance/proposals/{quote(proposal)}/votes"
        return self._object("POST", path, role="administrator", json={"approve": approve})

    # --- agreements

    def request_agreement(self, terms: Mapping[str, object]) -> Json:
        """Ask the owner of an asset for an agreement."""
        return self._object("POST", "/v1/negotiations", role="analyst", json=dict(terms))

    def negotiations(self) -> list[Json]:
        """List the negotiations this node takes part in."""
        return self._list("GET", "/v1/negotiations", "negotiations", role="analyst")

    def negotiation(self, negotiation: str) -> Json:
        """Show one negotiation, with its rounds under ``history``."""
        return self._object("GET", f"/v1/negotiations/{quote(negotiation)}", role="analyst")

    def offer(self, asset: str, consumer: str, terms: Mapping[str, object]) -> Json:
        """Offer an own asset to a member, by name or DID, that has not asked."""
        body = {"asset": asset, "consumer": consumer, "terms": dict(terms)}
        return self._object("POST", "/v1/offers", role="steward", json=body)

    def counter(self, negotiation: str, changes: Mapping[str, object], *, as_owner: bool) -> Json:
        """Answer the other side's last proposal with other terms; ``changes`` are the clauses that differ."""
        path = f"/v1/negotiations/{quote(negotiation)}/counter"
        role = "steward" if as_owner else "analyst"
        return self._object("POST", path, role=role, json={"terms": dict(changes)})

    def accept(self, negotiation: str, number: int) -> Json:
        """Take the owner's offer of round ``number`` as it is."""
        path = f"/v1/negotiations/{quote(negotiation)}/accept"
        return self._object("POST", path, role="analyst", json={"round": number})

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

    def wait_agreement(self, agreement: str, *, timeout_s: float = 60.0) -> Json:
        """Wait until an agreement is at this node, whose copy of the ledger may be behind its owner's.

        Raises:
            TimedOut: it does not arrive.
        """
        deadline = time.monotonic() + timeout_s
        pause_s, longest_s = _POLL_S
        while True:
            for row in self.agreements():
                if row["agreement"] == agreement:
                    return row
            if time.monotonic() >= deadline:
                raise TimedOut(f"waited {timeout_s:g} s for {agreement}")
            time.sleep(pause_s)
            pause_s = min(longest_s, 2 * pause_s)

    def revoke(self, agreement: str, reason: str) -> Json:
        """Revoke an agreement at the owner's node."""
        path = f"/v1/agreements/{quote(agreement)}/revoke"
        return self._object("POST", path, role="steward", json={"reason": reason})

    # --- the Dataspace Protocol

    def dataspace(self) -> Json:
        """Show the node's connector: its address, its processes, what each waits for."""
        return self._object("GET", "/v1/dataspace", role=self._one_of("auditor", "steward", "analyst"))

    def member_catalog(self, member: str) -> Json:
        """Ask another member's connector for its catalog; ``member`` is a name or a DID."""
        path = f"/v1/dataspace/catalogs/{quote(member)}"
        return self._object("GET", path, role=self._one_of("analyst", "steward"))

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
        pause_s, longest_s = _POLL_S
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
            time.sleep(pause_s)
            pause_s = min(1.2 * pause_s, longest_s)

    def suspend_job(self, job: str, reason: str) -> Json:
        """Pause own parts of a job until ``resume_job``: an owner its own part, who asked for it all."""
        path = f"/v1/jobs/{quote(job)}/suspend"
        return self._object("POST", path, role=self._one_of("analyst", "steward"), json={"reason": reason})

    def resume_job(self, job: str) -> Json:
        """Let the parts of a job go on that this organisation has paused."""
        path = f"/v1/jobs/{quote(job)}/resume"
        return self._object("POST", path, role=self._one_of("analyst", "steward"))

    def stop_job(self, job: str, reason: str) -> Json:
        """Stop a job at every party, as its submitter, a party or an owner of its data."""
        path = f"/v1/jobs/{quote(job)}/stop"
        return self._object("POST", path, role=self._one_of("analyst", "steward"), json={"reason": reason})

    def result(self, job: str) -> tuple[Json, dict[str, bytes]]:
        """Fetch a result: the opened document and its files by name."""
        answer = self._object("GET", f"/v1/jobs/{quote(job)}/result", role="analyst")
        files = {str(name): base64.b64decode(text) for name, text in answer.get("files", {}).items()}
        return dict(answer["result"]), files

    # --- notarization

    def notarize(
        self,
        digests: Sequence[str],
        *,
        notarization: str,
        kind: str | None = None,
        note: str | None = None,
        private: str | None = None,
    ) -> Json:
        """Put up to 1,000 fingerprints on the ledger under one entry.

        Args:
            digests: SHA-256 of each document, lower-case hex.
            notarization: an id of your own, ``new_id("notarization", clock)``; repeat the call with the same
                one if it failed, and nothing happens twice.
            kind: what sort of documents; every member can read it.
            note: words about them; every member can read them.
            private: words that stay at the node; the entry holds a salted commitment to them, so that they
                can be disclosed later, or erased.

        Returns:
            The place of the entry, and ``proofs``: one for each digest.
        """
        body = {"notarization": notarization, "digests": list(digests), "kind": kind, "note": note}
        if private is not None:
            body["private"] = private
        return self._object("POST", "/v1/notarizations", role=self._one_of("steward", "analyst"), json=body)

    def proofs(self, notarization: str) -> Json:
        """Fetch the proofs of a notarization made at this node once more."""
        path = f"/v1/notarizations/{quote(notarization)}/proof"
        return self._object("GET", path, role=self._one_of("steward", "analyst"))

    def notarization_evidence(self, notarization: str, *, index: int | None = None) -> bytes:
        """Export the bundle that shows a notarization, and verdicts on record about it, offline.

        ``index`` is of an entry to show too; that refutes a proof which names it falsely.
        """
        path = f"/v1/notarizations/{quote(notarization)}/evidence"
        params = {} if index is None else {"index": index}
        return self._send(
            "GET", path, role=self._one_of("steward", "analyst", "auditor"), params=params
        ).content

    def forget_notarization(self, notarization: str) -> None:
        """Drop the node's fingerprints and salts of a notarization; proofs handed out stay valid."""
        self._send("DELETE", f"/v1/notarizations/{quote(notarization)}", role="steward")

    def verify_copy(
        self,
        proof: Mapping[str, object],
        copy: str,
        *,
        original: str | None = None,
        challenge: str | None = None,
        record: bool = False,
    ) -> Json:
        """Compare ledger, original and copy at the node, which signs what it finds.

        Args:
            proof: the object that a ``.parley-proof`` file holds.
            copy: SHA-256 of the copy presented, lower-case hex.
            original: that of the original, if it is at hand.
            challenge: words of your own that show the verdict is fresh.
            record: put the verdict on the ledger too.
        """
        body = {
            "proof": dict(proof),
            "copy": copy,
            "original": original,
            "challenge": challenge,
            "record": record,
        }
        role = self._one_of("auditor", "steward", "analyst")
        return self._object("POST", "/v1/verifications", role=role, json=body)


def _ended(job: str, seen: Mapping[str, Any]) -> JobRefused | JobFailed:
    if seen["state"] == "REFUSED":
        refusals = seen.get("refusals") or {}
        found = list(refusals.values()) if isinstance(refusals, dict) else list(refusals)
        reasons = [str(reason) for one in found for reason in one.get("reasons", [])]
        return JobRefused(
            tuple(reasons) or (f"job {job} was refused",), tuple(str(one.get("code", "")) for one in found)
        )
    failure = seen.get("failure") or seen.get("stop") or {}
    return JobFailed(f"job {job} ended as {seen['state']}: {failure.get('reason', 'no reason was given')}")
