"""Telling the own analysts what became of what this organisation asked for, as the ledger says it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from exchange.node.ledger_client import LedgerClient
from exchange.node.notices import Notices
from exchange.node.people import Role
from exchange.store import NoticeRepository

__all__ = ["OutcomeNotices"]

_NEGOTIATION = ("OFFERED", "FINALIZED", "TERMINATED")
_JOB = ("COMPLETED", "FAILED", "REFUSED", "ABORTED", "REVOKED", "EXPIRED")


class OutcomeNotices:
    """Tells of each outcome once, a node's restarts included.

    What had ended before this node told anybody anything is not told afterwards.
    """

    def __init__(self, ledger: LedgerClient, did: str, notices: Notices, kept: NoticeRepository) -> None:
        self._ledger, self._did, self._notices, self._kept = ledger, did, notices, kept
        self._size = -1
        self._told: set[tuple[str, str]] | None = None

    def tell(self) -> None:
        """Tell what is new."""
        size = self._ledger.final_size
        if size == self._size:
            return
        outcomes = dict(self._outcomes())
        if self._told is None:
            self._told = self._kept.told({kind for kind, _ in outcomes}) or set(outcomes)
        for (kind, subject), facts in outcomes.items():
            if (kind, subject) not in self._told:
                self._told.add((kind, subject))
                self._notices.tell(kind, subject, roles=[Role.ANALYST.value], facts=facts)
        self._size = size

    def _outcomes(self) -> Iterator[tuple[tuple[str, str], Mapping[str, str]]]:
        for row in self._ledger.final_rows("negotiations"):
            if row["consumer"] == self._did and row["state"] in _NEGOTIATION:
                facts = {"asset": row["asset"], "reason": str(row.get("reason", ""))[:500]}
                yield (f"negotiation.{row['state'].lower()}", row["negotiation"]), facts
        for row in self._ledger.final_rows("jobs"):
            if row["submitter"] == self._did and row["state"] in _JOB:
                yield (f"job.{row['state'].lower()}", row["job"]), {"reason": _why(row)[:500]}


def _why(row: Mapping[str, Any]) -> str:
    refused = [reason for refusal in row["refusals"].values() for reason in refusal["reasons"]]
    return "; ".join(refused) or str((row.get("failure") or {}).get("reason", ""))
