"""Owners' parts of compute jobs as transfer processes.

One process for each job and agreement: requested with ``job.submit``, started with the owner's ``job.start``,
suspended, resumed, and ended with the job. The format says which kind of computation it is, and is none in
which data would move. Files that do move have a format and courses of their own; see ``Courses``.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, Final

from exchange.dataspace.courses import Course, Step
from exchange.dataspace.messages import message
from exchange.dataspace.vocabulary import Kind, Role, TransferEvent
from exchange.node.ledger_client import LedgerClient
from ledger.search import Query

__all__ = ["JobCourses", "compute_format"]

_FORMATS: Final = {"psi": "ComputeJob-PSI"}
_FORMAT: Final = "ComputeJob-MPC"
_ENDED: Final = ("COMPLETED", "REFUSED", "FAILED", "ABORTED", "REVOKED", "EXPIRED")
_TYPES: Final[Mapping[TransferEvent, str]] = {
    TransferEvent.REQUEST: "TransferRequestMessage",
    TransferEvent.START: "TransferStartMessage",
    TransferEvent.SUSPEND: "TransferSuspensionMessage",
    TransferEvent.COMPLETE: "TransferCompletionMessage",
    TransferEvent.TERMINATE: "TransferTerminationMessage",
}


class JobCourses:
    """The parts of jobs that one participant asked for, or owns data in; ids are ``<job>.<agreement>``."""

    kind: Kind = "transfer"

    def __init__(self, ledger: LedgerClient, did: str) -> None:
        self._ledger, self._did = ledger, did

    def course(self, pid: str) -> Course | None:
        """Return the part of a job under one agreement."""
        job, _, agreement = pid.partition(".")
        row, agreed = self._ledger.final("jobs", job), self._ledger.final("agreements", agreement)
        if row is None or agreed is None or agreement not in row["agreements"]:
            return None
        consumer, provider = row["submitter"], agreed["provider"]
        if consumer != agreed["consumer"]:
            return None
        sides = {consumer: Role.CONSUMER, provider: Role.PROVIDER}
        steps = tuple(self._steps(row, agreement, provider, sides, pid))
        if not steps or not steps[0].is_first:
            return None  # asked for in the log of an earlier epoch
        return Course("transfer", pid, consumer, provider, steps)

    def changed(self, since: int) -> Iterator[tuple[str, bool]]:
        """Yield own parts of jobs that moved, and whether each is over."""
        state = self._ledger.state
        for key, row in state.rows("jobs").items():
            if row["index"] < since:
                continue
            for agreement in row["agreements"]:
                agreed = state.get("agreements", agreement)
                if agreed is not None and self._did in (row["submitter"], agreed["provider"]):
                    yield f"{key}.{agreement}", row["state"] in _ENDED

    def _steps(
        self,
        row: Mapping[str, Any],
        agreement: str,
        provider: str,
        sides: Mapping[str, Role],
        pid: str,
    ) -> Iterator[Step]:
        """Yield what the job's entries did to the part, in log order, up to the first that ended the job."""
        query = Query(types=("job.*",), concerning=(row["job"],))
        for record in self._ledger.mirror.found(query):
            if record.code is not None:
                continue
            body, role = record.entry.body, sides.get(record.actor)
            match record.type:
                case "job.submit":
                    yield _request(agreement, compute_format(row, provider), pid)
                case "job.start" if agreement in body["agreements"]:
                    yield _step(TransferEvent.START, Role.PROVIDER, pid)
                case "job.suspend" if body["provider"] == provider:
                    yield _step(TransferEvent.SUSPEND, role, pid, body["reason"])
                case "job.resume" if body["provider"] == provider:
                    yield _step(TransferEvent.START, role, pid)
                case "job.complete":
                    yield _step(TransferEvent.COMPLETE, None, pid)
                    return
                case "job.refuse" | "job.fail":
                    yield _step(TransferEvent.TERMINATE, role, pid, body["code"])
                    return
                case "job.stop":
                    yield _step(TransferEvent.TERMINATE, role, pid, f"job.{body['cause']}")
                    return
        if "stop" in row:  # an agreement or an asset was taken back
            role = sides.get(row["stop"]["party"])
            yield _step(TransferEvent.TERMINATE, role, pid, f"job.{row['stop']['cause']}")


def compute_format(job: Mapping[str, Any], provider: str) -> str:
    """Name the format of an owner's part: that of the last step it takes part in."""
    own = [step["component"] for step in job["steps"] if provider in step["parties"]]
    return _FORMATS.get(own[-1].partition("/")[0], _FORMAT) if own else _FORMAT


def _request(agreement: str, form: str, pid: str) -> Step:
    return Step(
        event=TransferEvent.REQUEST.value,
        senders=frozenset({Role.CONSUMER}),
        path="transfers/request",
        message=message("TransferRequestMessage", consumerPid=pid, agreementId=agreement, format=form),
        is_first=True,
    )


def _step(event: TransferEvent, role: Role | None, pid: str, reason: str | None = None) -> Step:
    """A step by one side; ``role`` is None where either may tell the other, as of what a third party did."""
    reasons = None if reason is None else [reason]
    content = message(_TYPES[event], consumerPid=pid, providerPid=pid, reason=reasons)
    senders = frozenset(Role) if role is None else frozenset({role})
    return Step(event.value, senders, f"transfers/{pid}/{event}", content)
