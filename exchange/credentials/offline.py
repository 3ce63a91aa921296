"""A credential checked against an evidence bundle: no server, no network, no clock but the reader's.

The bundle shows whose key counted when, and whatever entries its exporter chose. It may leave out that a
credential was revoked. So a credential with a status also needs its status lists, unless the bundle holds the
whole log.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

from exchange.credentials.documents import Document
from exchange.credentials.errors import CredentialInvalid
from exchange.credentials.receipts import Recorded, receipt_of
from exchange.credentials.resolution import Resolver
from exchange.credentials.status import StatusEntry
from exchange.credentials.subjects import ComputationReceipt
from exchange.credentials.verification import Checks, Verified, check_lists, verify
from ledger.offline import Shown
from ledger.rules.credentials import TRANSITIONS
from ledger.state import State

__all__ = ["check_receipt", "verify_shown"]

_JOB = ("job.submit", "receipt.step", "job.complete")
_CHANGES = ("credential.suspend", "credential.resume", "credential.revoke")


def verify_shown(
    document: Mapping[str, Any], shown: Shown, now: datetime, lists: Sequence[Document] = ()
) -> Verified:
    """Check a credential against a bundle that has been checked.

    Args:
        document: the credential.
        shown: the bundle, of the credential's network.
        now: the reader's time.
        lists: status lists that the reader has.

    Raises:
        CredentialInvalid, DidUnresolved: it does not hold.
    """
    by_address = {str(found.get("id")): found for found in lists}

    def list_of(entry: StatusEntry) -> Document:
        if entry.address not in by_address:
            raise CredentialInvalid("status-unknown", f"expected a status list for {entry.purpose}")
        return by_address[entry.address]

    checks = Checks(Resolver(_with_credentials(shown)), now, shown.report.genesis, list_of)
    verified = verify(document, checks)
    if verified.on_ledger and not shown.report.complete:
        check_lists(verified.credential, checks)
    if isinstance(verified.credential.subject, ComputationReceipt):
        entries = [Recorded.shown(entry) for kind in _JOB for entry in shown.of_type(kind)]
        check_receipt(verified.credential.subject, entries, shown.report.genesis)
    return verified


def check_receipt(subject: ComputationReceipt, entries: Sequence[Recorded], genesis: str) -> None:
    """Check that a receipt says what the ledger's entries say.

    Raises:
        CredentialInvalid: it says something else, or the entries do not show the job.
    """
    if receipt_of(subject.job, entries, genesis) != subject:
        raise CredentialInvalid("differs-from-ledger", "expected what the ledger's entries say of the job")


def _with_credentials(shown: Shown) -> State:
    """What the bundle's entries say of credentials, added to what governance made."""
    state = shown.state
    for found in shown.of_type("credential.issue"):
        if found.code is None:
            body = found.entry.body
            row = {**body, "issuer": found.entry.actor, "issued": found.index, "status": "valid"}
            state = state.put("credentials", body["credential"], row, index=found.index)
    changes = [found for kind in _CHANGES for found in shown.of_type(kind) if found.code is None]
    for found in sorted(changes, key=lambda one: one.index):
        name, event = found.entry.body["credential"], found.entry.type.partition(".")[2]
        known = state.get("credentials", name)
        if known is not None:
            after = TRANSITIONS.get((known["status"], event), known["status"])
            state = state.put("credentials", name, {**known, "status": after}, index=found.index)
    return state
