"""Whether a credential holds: form, proof, issuer, network, time, status; all of them, or it does not.

A credential whose digest is on the ledger was signed before its entry was written. So its key has to have
counted at that entry, not now, and a change of keys takes nothing away from what was issued before. One that
is not on the ledger is held to the key that counts now.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any

from exchange.credentials import data_integrity, model
from exchange.credentials.dids import did_of
from exchange.credentials.documents import Document
from exchange.credentials.errors import CredentialInvalid
from exchange.credentials.model import Credential
from exchange.credentials.resolution import Resolver
from exchange.credentials.status import StatusEntry, is_set, read_list
from ledger.tables import Row

__all__ = ["Checks", "Verified", "check_lists", "verify"]

Lists = Callable[[StatusEntry], Document]
"""Gets the status list that an entry names, or raises."""


@dataclass(frozen=True)
class Checks:
    """What a credential is held against.

    Attributes:
        resolver: whose key is whose; with a ledger's state, what that says of the credential counts too.
        now: the present time.
        genesis: hash of the network's first entry.
        lists: gets status lists; without it, a credential with a status that is not on the ledger is refused.
    """

    resolver: Resolver
    now: datetime
    genesis: str
    lists: Lists | None = None


@dataclass(frozen=True)
class Verified:
    """A credential that holds.

    Attributes:
        credential: what it says.
        on_ledger: whether its digest is on the ledger.
    """

    credential: Credential
    on_ledger: bool


def verify(document: Mapping[str, Any], checks: Checks) -> Verified:
    """Check a credential.

    Raises:
        CredentialInvalid: it does not hold; ``reason`` says which check failed. DidUnresolved: its issuer's
            key cannot be found.
    """
    credential = model.read(document)
    row = _row(credential, checks.resolver)
    resolver = checks.resolver if row is None else replace(checks.resolver, at=row["issued"])
    proof = data_integrity.verify(document, resolver, now=checks.now)
    if did_of(proof.method) != credential.issuer:
        raise CredentialInvalid("wrong-issuer", "expected a proof by the issuer, got somebody else's")
    if credential.subject.genesis != checks.genesis:
        raise CredentialInvalid("wrong-network", "expected a credential of this network")
    if checks.now < credential.valid_from:
        raise CredentialInvalid("not-yet-valid", "expected a credential that counts already")
    if checks.now >= credential.valid_until:
        raise CredentialInvalid("expired", "expected a credential that has not expired")
    if row is None:
        check_lists(credential, checks)
    elif row["status"] != "valid":
        raise CredentialInvalid(row["status"], f"the ledger has it as {row['status']}")
    return Verified(credential, row is not None)


def _row(credential: Credential, resolver: Resolver) -> Row | None:
    """What the ledger says of a credential; refused where it says something else than the document."""
    state = resolver.state
    row = None if state is None else state.get("credentials", credential.id)
    if row is None:
        return None
    issuer = resolver.state.get("members", row["issuer"]) if resolver.state else None
    if issuer is None or issuer["status"] == "removed":
        raise CredentialInvalid("issuer-removed", "expected an issuer that is still a member")
    if row["digest"] != model.digest(credential.document) or row["issuer"] != credential.issuer:
        raise CredentialInvalid("altered", "expected the document whose digest is on the ledger")
    return row


def check_lists(credential: Credential, checks: Checks) -> None:
    """Check that no status list has a credential as revoked or suspended.

    Raises:
        CredentialInvalid: one has, or one that counts now is not to be had.
    """
    for entry in credential.status:
        if checks.lists is None:
            raise CredentialInvalid("status-unknown", "expected its status list, got none")
        current = replace(checks.resolver, at=None)
        bits = read_list(checks.lists(entry), entry, credential.issuer, current, checks.now)
        if is_set(bits, entry.index):
            raise CredentialInvalid(
                {"revocation": "revoked"}.get(entry.purpose, "suspended"), "its issuer says so"
            )
