"""The calls about identity: DIDs, reviews, credentials."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Literal
from urllib.parse import quote

from exchange.sdk.connection import Json
from exchange.sdk.eligibility import EligibilityCalls

__all__ = ["IdentityCalls"]

_REVIEWERS = ("auditor", "approver", "steward", "administrator")
_DECIDERS = ("approver", "administrator")
_ANY = ("auditor", "analyst", "steward", "approver", "administrator")


class IdentityCalls(EligibilityCalls):
    """Who somebody is, and who vouches for it."""

    def did_document(self, did: str) -> Json:
        """Fetch the document of a DID as the node believes it."""
        return self._object("GET", f"/v1/dids/{quote(did, safe=':')}", role=self._one_of(*_ANY))

    # --- reviews

    def open_review(self, *, holder: str | None = None, asset: str | None = None) -> Json:
        """Open a review of another organisation, by DID, or of a data source, by asset id."""
        body = {"holder": holder} if asset is None else {"asset": asset}
        return self._object("POST", "/v1/reviews", role=self._one_of(*_REVIEWERS), json=body)

    def check_review(
        self,
        review: str,
        check: str,
        outcome: Literal["passed", "failed"],
        documents: Sequence[str],
        note: str = "",
    ) -> Json:
        """Keep what was found in a review.

        Args:
            review: its id.
            check: what was checked: ``real-name``, ``licence``, ``source``, ``lawful-basis`` or another.
            outcome: of the check.
            documents: SHA-256 of each document that was looked at.
            note: what was seen; stays at the node.
        """
        body = {"check": check, "outcome": outcome, "documents": list(documents), "note": note}
        path = f"/v1/reviews/{quote(review)}/checks"
        return self._object("POST", path, role=self._one_of(*_REVIEWERS), json=body)

    def conclude_review(self, review: str) -> Json:
        """Put a review on the ledger, as somebody who made none of its checks."""
        path = f"/v1/reviews/{quote(review)}/conclude"
        return self._object("POST", path, role=self._one_of(*_DECIDERS), json={})

    def withdraw_review(self, review: str, reason: str) -> Json:
        """Take a review back."""
        path = f"/v1/reviews/{quote(review)}/withdraw"
        return self._object("POST", path, role=self._one_of(*_DECIDERS), json={"reason": reason})

    def reviews(self, subject: str | None = None) -> list[Json]:
        """List this organisation's reviews, or those on the ledger about a DID or an asset."""
        roles, params = (_REVIEWERS, {}) if subject is None else (_ANY, {"subject": subject})
        return self._list("GET", "/v1/reviews", "reviews", role=self._one_of(*roles), params=params)

    def review_record(self, review: str) -> Json:
        """Show one review of this organisation."""
        return self._object("GET", f"/v1/reviews/{quote(review)}", role=self._one_of(*_REVIEWERS))

    # --- credentials

    def issue_credential(self, kind: str, review: str, claims: Mapping[str, str], *, days: int = 365) -> Json:
        """Issue a credential on a review that passed; the answer holds the document and its entry."""
        body = {"type": kind, "review": review, "claims": dict(claims), "days": days}
        return self._object("POST", "/v1/credentials", role=self._one_of(*_DECIDERS), json=body)

    def receipt_credential(self, job: str) -> Json:
        """Issue the receipt of a completed job."""
        role = self._one_of("auditor", "analyst", "steward")
        return self._object("POST", "/v1/credentials/receipts", role=role, json={"job": job})

    def credentials(self, *, holder: str | None = None, issuer: str | None = None) -> list[Json]:
        """List what the ledger says of credentials."""
        params = {name: did for name, did in {"holder": holder, "issuer": issuer}.items() if did is not None}
        return self._list("GET", "/v1/credentials", "credentials", role=self._one_of(*_ANY), params=params)

    def credential(self, credential: str) -> Json:
        """Fetch a credential that this organisation issued."""
        return self._object("GET", f"/v1/credentials/{quote(credential)}", role=self._one_of(*_ANY))

    def verify_credential(self, credential: str, lists: Sequence[str] = ()) -> Json:
        """Check anybody's credential; documents are given as their JSON texts."""
        body = {"credential": credential, "lists": list(lists)}
        return self._object("POST", "/v1/credentials/verify", role=self._one_of(*_ANY), json=body)

    def change_credential(
        self, credential: str, event: Literal["suspend", "resume", "revoke"], reason: str
    ) -> Json:
        """Suspend, resume or revoke a credential of this organisation."""
        path = f"/v1/credentials/{quote(credential)}/{event}"
        return self._object("POST", path, role=self._one_of(*_DECIDERS), json={"reason": reason})

    def status_list(self, purpose: Literal["revocation", "suspension"]) -> Json:
        """Fetch this organisation's status list as of now."""
        return self._object("GET", f"/v1/status-lists/{purpose}")
