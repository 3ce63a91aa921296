"""What members leave at the hub for one another: specifications, sealed results, progress.

Every paper is measured against the ledger before it is taken or handed out, so that a member's mistake shows
at once and with both digests. Members repeat the check on their own copy: the hub's word is a convenience.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping
from typing import Any

from exchange.errors import Conflict, Forbidden, InvalidRequest, NotFound
from exchange.store import HubStore
from ledger.rules.approvals import may_approve
from ledger.tables import Row, State
from ledger.times import format_time

__all__ = ["RESULT_LIMIT", "SPEC_LIMIT", "DigestMismatch", "Relay"]

SPEC_LIMIT = 1024 * 1024
"""Largest specification, in bytes."""

RESULT_LIMIT = 64 * 1024 * 1024
"""Largest sealed result, in bytes."""

_OVER = ("COMPLETED", "FAILED", "REFUSED", "ABORTED", "REVOKED", "EXPIRED")


class DigestMismatch(Conflict):
    """Bytes are not those whose digest stands on the ledger."""

    def __init__(self, what: str, expected: str, actual: str) -> None:
        super().__init__(f"{what}: the ledger has digest {expected}, these bytes have {actual}")
        self.expected, self.actual = expected, actual


class Relay:
    """The papers of all jobs.

    Args:
        state: the log's present state.
        store: where the papers lie.
    """

    def __init__(self, state: Callable[[], State], store: HubStore) -> None:
        self._state, self._store = state, store

    def put_spec(self, caller: str, job: str, content: bytes) -> None:
        """Take the specification of a job from its submitter. Doing it again changes nothing.

        Raises:
            NotFound: no such job on the ledger.
            Forbidden: the caller did not submit it.
            DigestMismatch: the submitter signed another specification.
        """
        row = self._job(job)
        if caller != row["submitter"]:
            raise Forbidden(f"expected the submitter of {job}")
        _require_size("specification", content, SPEC_LIMIT)
        _require_digest(f"specification of {job}", content, row["spec"])
        self._store.specs.add(job, content)

    def get_spec(self, caller: str, job: str) -> bytes:
        """Hand the specification of a job to those who take part, own what it asks for, or are to approve it.

        Raises:
            NotFound: no such job, or its submitter has not left the specification yet.
            Forbidden: the caller has no part in it.
        """
        row = self._job(job)
        if caller not in self._concerned(row):
            raise Forbidden(f"expected a party of {job}")
        found = self._store.specs.get(job)
        if found is None:
            raise NotFound(f"the specification of {job} has not been handed in")
        return found.content

    def put_result(
        self, caller: str, job: str, step: str, sender: str, recipient: str, sealed: bytes
    ) -> None:
        """Take what a party releases in a step, sealed to its recipient, before or after its ``job.release``.

        Raises:
            NotFound: no such job, step or recipient on the ledger.
            Forbidden: the caller is not the sender, or no party of the step.
            Conflict: the job is over.
            DigestMismatch: the sender signed the release of other bytes.
        """
        row = self._job(job)
        if caller != sender or sender not in _step_parties(row, step):
            raise Forbidden(f"expected a party of step {step} of {job}, handing in its own result")
        if self._state().get("members", recipient) is None:
            raise NotFound(f"no member {recipient}")
        _require_size("sealed result", sealed, RESULT_LIMIT)
        released = _released(row, step, sender)
        if released is not None:
            _require_digest(f"result of step {step} of {job}", sealed, released)
        elif row["state"] in _OVER:
            raise Conflict(f"{job} is {row['state']}; nothing more is released in it")
        self._store.results.put(job, step, sender, recipient, sealed)

    def get_result(self, caller: str, job: str, step: str, sender: str, recipient: str) -> bytes:
        """Hand a sealed result to its recipient.

        Raises:
            NotFound: no such job, or nothing released by that sender to that recipient.
            Forbidden: the caller is not the recipient.
            DigestMismatch: what lies here is not what the sender released.
        """
        row = self._job(job)
        if caller != recipient:
            raise Forbidden("expected the recipient of the result")
        released = _released(row, step, sender)
        found = self._store.results.get(job, step, sender, recipient)
        if released is None or row["recipients"][step][sender] != recipient or found is None:
            raise NotFound(f"{sender} has released nothing to {recipient} in step {step} of {job}")
        _require_digest(f"result of step {step} of {job}", found.sealed, released)
        return found.sealed

    def tell_progress(
        self, caller: str, job: str, step: str, done: int, total: int, left_s: int | None = None
    ) -> None:
        """Note how far a party says it is with a step, and how many seconds the rest will take.

        Raises:
            NotFound: no such job or step.
            Forbidden: the caller is no party of the step.
            InvalidRequest: more is done than there is.
        """
        if caller not in _step_parties(self._job(job), step):
            raise Forbidden(f"expected a party of step {step} of {job}")
        if done > total:
            raise InvalidRequest("done", f"at most {total}", str(done))
        self._store.progress.tell(job, step, caller, done, total, left_s)

    def describe(self, job: str) -> dict[str, Any]:
        """A job as the ledger has it, and the progress its parties tell.

        Raises:
            NotFound: no such job.
        """
        told = [
            {
                "step": one.step,
                "party": one.party,
                "done": one.done,
                "total": one.total,
                "left_s": one.left_s,
                "updated": format_time(one.updated),
            }
            for one in self._store.progress.of(job)
        ]
        return {**self._job(job), "progress": told}

    def _job(self, job: str) -> Row:
        row = self._state().get("jobs", job)
        if row is None:
            raise NotFound(f"no job {job} on the ledger")
        return row

    def _concerned(self, row: Row) -> set[str]:
        agreements = (self._state().get("agreements", name) for name in row["agreements"])
        owners = {agreement["provider"] for agreement in agreements if agreement is not None}
        return {row["submitter"], *row["parties"]} | owners | may_approve(self._state(), row)


def _step_parties(row: Row, step: str) -> set[str]:
    for known in row["steps"]:
        if known["id"] == step:
            return set(known["parties"])
    raise NotFound(f"no step {step} in {row['job']}")


def _released(row: Mapping[str, Any], step: str, sender: str) -> str | None:
    digest = row["releases"].get(step, {}).get(sender)
    return None if digest is None else str(digest)


def _require_size(what: str, content: bytes, limit: int) -> None:
    if not 0 < len(content) <= limit:
        raise InvalidRequest(what, f"1 to {limit} bytes", f"{len(content)} bytes")


def _require_digest(what: str, content: bytes, expected: str) -> None:
    actual = hashlib.sha256(content).hexdigest()
    if actual != expected:
        raise DigestMismatch(what, expected, actual)
