"""This organisation as an issuer of credentials, and as one that verifies anybody's.

A credential is signed and kept here before its digest goes to the ledger. What its status is, the ledger
says; the status lists for outsiders are made from that at each request.
"""

from __future__ import annotations

import secrets
from collections.abc import Mapping
from datetime import timedelta
from typing import Literal

from exchange.credentials import data_integrity, model, status
from exchange.credentials.documents import Document
from exchange.credentials.errors import CredentialInvalid
from exchange.credentials.offline import check_receipt
from exchange.credentials.receipts import Recorded, receipt_of
from exchange.credentials.status import LIST_SIZE, PURPOSES, StatusEntry
from exchange.credentials.subjects import KINDS, ComputationReceipt, Subject, read_subject
from exchange.credentials.verification import Checks, Verified, verify
from exchange.errors import Conflict, InvalidRequest, NotFound
from exchange.node.identities import fetch_status_list, resolver
from exchange.node.ledger_client import FinalEntry
from exchange.node.services import NodeServices
from ledger.entries import new_ulid
from ledger.rules.credentials import REVIEWED
from ledger.search import Query
from ledger.tables import Row
from ledger.times import format_time

__all__ = ["LONGEST_DAYS", "Credentials"]

LONGEST_DAYS = 3 * 366
_KIND, _ALL = "credential", "all"

Event = Literal["suspend", "resume", "revoke"]


class Credentials:
    """What this organisation vouches for."""

    def __init__(self, services: NodeServices) -> None:
        self._services, self._vault = services, services.store.vault

    def issue_reviewed(
        self, kind: str, review: str, claims: Mapping[str, str], days: int
    ) -> tuple[Document, FinalEntry]:
        """Vouch for what a review of this organisation found.

        Args:
            kind: a type that needs a review.
            review: the concluded review; whom or what it is about is taken from there.
            claims: what else the credential says, by its type.
            days: how long it counts.

        Raises:
            NotFound: this organisation has concluded no such review. InvalidRequest: another type, or claims
            that the type does not have.
        """
        if kind not in REVIEWED:
            raise InvalidRequest("type", f"one of {', '.join(REVIEWED)}", repr(kind))
        row = self._services.ledger.final("reviews", review)
        if row is None or row["reviewer"] != self._services.keys.did:
            raise NotFound(f"this organisation has concluded no review {review}")
        about = REVIEWED[kind]
        if about not in row:
            raise InvalidRequest("review", f"the review of a {about}", "another one")
        if row["outcome"] != "passed" or row["status"] != "standing":
            raise Conflict(f"{review} is {row['outcome']} and {row['status']}")
        holder = row["holder"] if about == "holder" else self._owner(row["asset"])
        subject = self._subject(kind, holder, row, claims)
        more = {"review": review} | ({"asset": row["asset"]} if about == "asset" else {})
        return self._issue(kind, subject, holder, days, more)

    def issue_receipt(self, job: str, days: int) -> tuple[Document, FinalEntry]:
        """Vouch for a completed job, as the ledger has it; asking again gives the first receipt.

        Raises:
            NotFound: no such job on this node's own copy of the ledger. Conflict: it is not completed.
        """
        known = self._vault.find("receipt", job)
        if known is not None:
            row = self._services.ledger.final("credentials", known["credential"])
            if row is not None:
                return self.document(row["credential"]), FinalEntry(int(row["issued"]), known["txid"])
        row = self._services.ledger.awaited("jobs", job)
        if row is None:
            raise NotFound(f"no job {job} on the ledger")
        if row["state"] != "COMPLETED":
            raise Conflict(f"job {job} is {row['state']}")
        subject = receipt_of(job, self._of_job(job), self._services.genesis)
        kind = "ComputationReceiptCredential"
        document, entry = self._issue(kind, subject, row["submitter"], days, {}, listed=False)
        self._vault.add("receipt", job, {"credential": document["id"], "txid": entry.txid})
        return document, entry

    def change(self, credential: str, event: Event, reason: str) -> FinalEntry:
        """Suspend, resume or revoke a credential of this organisation.

        Raises:
            NotFound: it has issued no such credential. LedgerRefused: its status does not allow it.
        """
        row = self._services.ledger.final("credentials", credential)
        if row is None or row["issuer"] != self._services.keys.did:
            raise NotFound(f"this organisation has issued no credential {credential}")
        body = {"credential": credential, "reason": reason}
        return self._services.ledger.write(f"credential.{event}", body)

    def listed(self, holder: str | None = None, issuer: str | None = None) -> list[Row]:
        """Return what the ledger says of credentials, of a holder and by an issuer if given."""
        return [
            row
            for row in self._services.ledger.final_rows("credentials")
            if holder in (None, row["holder"]) and issuer in (None, row["issuer"])
        ]

    def document(self, credential: str) -> Document:
        """Return a credential that this organisation issued.

        Raises:
            NotFound: it has issued no such credential.
        """
        found = self._vault.find(_KIND, credential)
        if found is None:
            raise NotFound(f"this organisation keeps no credential {credential}")
        return found

    def verify(self, document: Document, lists: tuple[Document, ...] = ()) -> Verified:
        """Check anybody's credential against this node's own copy of the ledger.

        Args:
            document: the credential.
            lists: status lists that came with it; others are got from its issuer's node.

        Raises:
            CredentialInvalid, DidUnresolved: it does not hold.
        """
        by_address = {str(found.get("id")): found for found in lists}

        def list_of(entry: StatusEntry) -> Document:
            given = by_address.get(entry.address)
            if given is not None:
                return given
            issuer = str(document.get("issuer"))
            return fetch_status_list(self._services, issuer, entry.address)

        checks = Checks(resolver(self._services), self._services.clock(), self._services.genesis, list_of)
        verified = verify(document, checks)
        if isinstance(verified.credential.subject, ComputationReceipt):
            check_receipt(
                verified.credential.subject, self._of_job(verified.credential.subject.job), checks.genesis
            )
        return verified

    def status_list(self, purpose: str) -> Document:
        """Sign the status list for a purpose, as the ledger has it now.

        Raises:
            NotFound: no such purpose.
        """
        if purpose not in PURPOSES:
            raise NotFound(f"expected a list for one of {', '.join(PURPOSES)}")
        wanted = {"revocation": "revoked", "suspension": "suspended"}[purpose]
        rows = self.listed(issuer=self._services.keys.did)
        places = {int(row["place"]) for row in rows if row["status"] == wanted}
        keys = self._services.keys
        address, now = self._address(purpose), self._services.clock()
        return status.sign_list(address, purpose, places, keys.did, keys.tx, keys.kid, now)

    def _issue(
        self,
        kind: str,
        subject: Subject,
        holder: str,
        days: int,
        more: Mapping[str, str],
        *,
        listed: bool = True,
    ) -> tuple[Document, FinalEntry]:
        keys, now = self._services.keys, self._services.clock()
        identifier = f"urn:parley:credential:{new_ulid(self._services.clock)}"
        until, place = now + timedelta(days=days), self._free_place()
        purposes = PURPOSES if listed else ()
        entries = tuple(StatusEntry(purpose, place, self._address(purpose)) for purpose in purposes)
        draft = model.draft(identifier, kind, keys.did, subject, now, until, entries)
        document = data_integrity.secure(draft, keys.tx, keys.kid, now)
        model.read(document)
        self._vault.add(_KIND, identifier, document, parent=_ALL)
        body = {
            "credential": identifier,
            "type": kind,
            "holder": holder,
            "digest": model.digest(document),
            "from": format_time(now),
            "until": format_time(until),
            "place": place,
            **more,
        }
        return document, self._services.ledger.write("credential.issue", body)

    def _subject(self, kind: str, holder: str, row: Row, claims: Mapping[str, str]) -> Subject:
        about: dict[str, object] = {"id": holder}
        if kind == "DataSourceReviewCredential":
            about = {"id": f"urn:parley:asset:{row['asset']}", "asset": row["asset"], "owner": holder}
        known = {*about, "genesis"}
        if known & set(claims):
            raise InvalidRequest("claims", f"none of {', '.join(sorted(known))}", "one of them")
        try:
            return read_subject(kind, {**claims, **about, "genesis": self._services.genesis})
        except CredentialInvalid as error:
            fields = ", ".join(sorted(set(KINDS[kind].__annotations__) - known))
            raise InvalidRequest("claims", f"the claims {fields} of {kind}", str(error)) from error

    def _owner(self, asset: str) -> str:
        name = asset.partition("/")[0]
        for row in self._services.ledger.final_rows("members"):
            if row["name"] == name:
                return str(row["did"])
        raise NotFound(f"no member {name}, whose data source was reviewed")

    def _of_job(self, job: str) -> list[Recorded]:
        return [
            Recorded.of(record) for record in self._services.ledger.mirror.found(Query(concerning=(job,)))
        ]

    def _free_place(self) -> int:
        taken = {int(row["place"]) for row in self.listed(issuer=self._services.keys.did)}
        while (place := secrets.randbelow(LIST_SIZE)) in taken:
            pass
        return place

    def _address(self, purpose: str) -> str:
        settings = self._services.settings
        return f"{settings.public_url or f'https://{settings.api_bind}'}/v1/status-lists/{purpose}"
