"""The calls about eligibility checks by predicate proofs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from urllib.parse import quote

from exchange.sdk.connection import Json
from exchange.sdk.consents import ConsentCalls

__all__ = ["EligibilityCalls"]

_VERIFIERS = ("analyst", "steward", "approver")
_ANY = ("auditor", "analyst", "steward", "approver", "administrator")
_MAKING_S = 180.0  # looking for safe primes takes seconds, and longer on a busy machine


class EligibilityCalls(ConsentCalls):
    """What an issuer of attributes, and what a verifier of predicates asks its node."""

    def define_attributes(self, name: str, version: str, attributes: Sequence[str]) -> Json:
        """Make a key for attributes and put it on the ledger."""
        body = {"name": name, "version": version, "attributes": list(attributes)}
        path = "/v1/eligibility/definitions"
        return self._object("POST", path, role="steward", json=body, timeout=_MAKING_S)

    def definitions(self) -> list[Json]:
        """List all keys for attributes on the ledger."""
        return self._list("GET", "/v1/eligibility/definitions", "definitions", role=self._one_of(*_ANY))

    def retire_definition(self, definition: str, reason: str) -> Json:
        """Take a key out of use."""
        path = f"/v1/eligibility/definitions/{quote(definition)}/retire"
        return self._object("POST", path, role="steward", json={"reason": reason})

    def offer_attributes(self, definition: str) -> Json:
        """Offer a credential under a definition; the answer is for its holder."""
        return self._object("POST", "/v1/eligibility/offers", role="steward", json={"definition": definition})

    def issue_attributes(
        self, offer: str, request: str, values: Mapping[str, int | str], valid_until: str
    ) -> Json:
        """Sign a holder's attributes; the node does not keep them."""
        body = {"offer": offer, "request": request, "values": dict(values), "valid_until": valid_until}
        return self._object("POST", "/v1/eligibility/credentials", role="steward", json=body)

    def ask_eligibility(
        self,
        purpose: str,
        predicates: Sequence[Mapping[str, object]],
        *,
        reveal: Sequence[Mapping[str, object]] = (),
        expires_s: int = 86_400,
    ) -> Json:
        """Ask for a proof.

        Args:
            purpose: a DPV term.
            predicates: each ``{"definition", "attribute", "operator", "value"}``.
            reveal: attributes to be shown, each ``{"definition", "attribute"}``.
            expires_s: seconds until the request expires.
        """
        body = {
            "purpose": purpose,
            "predicates": [dict(one) for one in predicates],
            "reveal": [dict(one) for one in reveal],
            "expires_s": expires_s,
        }
        return self._object("POST", "/v1/eligibility/requests", role=self._one_of(*_VERIFIERS), json=body)

    def conclude_eligibility(
        self,
        eligibility: str,
        presentation: str | None,
        *,
        holder: str | None = None,
        sig: str | None = None,
    ) -> Json:
        """Check a holder's answer and put pass or fail on the ledger; None: it gave none."""
        body = {"presentation": presentation, "holder": holder, "sig": sig}
        path = f"/v1/eligibility/requests/{quote(eligibility)}/conclude"
        return self._object("POST", path, role=self._one_of(*_VERIFIERS), json=body)

    def eligibility(self) -> list[Json]:
        """List concluded checks on the ledger."""
        return self._list("GET", "/v1/eligibility", "eligibility", role=self._one_of(*_ANY))
