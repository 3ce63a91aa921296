"""A completed job as a credential, made from the ledger's entries: whoever has them can make it too."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from exchange.credentials.errors import CredentialInvalid
from exchange.credentials.subjects import ComputationReceipt, JobInput, JobStep
from ledger.entries import Entry
from ledger.offline import ShownEntry
from ledger.store import Record

__all__ = ["Recorded", "receipt_of"]


@dataclass(frozen=True)
class Recorded:
    """A valid or refused entry at its place."""

    index: int
    txid: str
    type: str
    actor: str
    body: Mapping[str, Any]
    code: str | None

    @classmethod
    def of(cls, record: Record) -> Recorded:
        """From one's own copy of the log."""
        return cls._at(record.entry, record.index, record.code)

    @classmethod
    def shown(cls, shown: ShownEntry) -> Recorded:
        """From an evidence bundle."""
        return cls._at(shown.entry, shown.index, shown.code)

    @classmethod
    def _at(cls, entry: Entry, index: int, code: str | None) -> Recorded:
        return cls(index, entry.txid, entry.type, entry.actor, entry.body, code)


def receipt_of(job: str, entries: Iterable[Recorded], genesis: str) -> ComputationReceipt:
    """Say what a completed job was.

    Args:
        job: its id.
        entries: of the ledger, at least all that name the job.
        genesis: hash of the network's first entry.

    Raises:
        CredentialInvalid: the entries do not show its submission and its completion.
    """
    valid = sorted((one for one in entries if one.code is None and one.body.get("job") == job), key=_place)
    submitted = next((one for one in valid if one.type == "job.submit"), None)
    completed = next((one for one in valid if one.type == "job.complete"), None)
    if submitted is None or completed is None:
        raise CredentialInvalid("job-not-shown", f"expected the submission and the completion of {job}")
    last = {
        (one.body["step"], one.actor): one
        for one in valid
        if one.type == "receipt.step" and one.index < completed.index
    }
    inputs = {
        (item["asset"], item["version"], item["root"]) for one in last.values() for item in one.body["inputs"]
    }
    return ComputationReceipt(
        id=f"urn:parley:job:{job}",
        genesis=genesis,
        job=job,
        submitter=submitted.actor,
        purpose=submitted.body["purpose"],
        spec=submitted.body["spec"],
        agreements=tuple(submitted.body["agreements"]),
        steps=tuple(_step(last[key]) for key in sorted(last)),
        inputs=tuple(JobInput(*item) for item in sorted(inputs)),
        result=completed.body["output"],
        completed=completed.index,
        txid=completed.txid,
    )


def _place(recorded: Recorded) -> int:
    return recorded.index


def _step(receipt: Recorded) -> JobStep:
    body = receipt.body
    protocol = f"{body['protocol']['name']} {body['protocol']['version']}"
    return JobStep(
        body["step"], receipt.actor, protocol, body["code"], body["params"], body["output"], receipt.txid
    )
