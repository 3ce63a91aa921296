"""Errors of this package. ``reason`` is stable and says which check failed; no message holds a claim."""

from __future__ import annotations

from exchange.errors import ExchangeError

__all__ = ["CredentialInvalid", "DidUnresolved", "PredicatesUnavailable", "ProofInvalid", "WalletRefused"]


class CredentialInvalid(ExchangeError):
    """A credential does not hold. ``reason`` says which check failed."""

    code = "credential.invalid"
    blame = "caller"

    def __init__(self, reason: str, message: str) -> None:
        super().__init__(message)
        self.reason = reason


class ProofInvalid(CredentialInvalid):
    """The proof of a document does not hold, so nothing that it says is believed."""

    code = "credential.proof-invalid"


class DidUnresolved(ExchangeError):
    """A DID leads to no document that may be believed."""

    code = "did.unresolved"
    blame = "caller"


class WalletRefused(ExchangeError):
    """The wallet holds no such thing, or holds it already."""

    code = "wallet.refused"
    blame = "caller"


class PredicatesUnavailable(ExchangeError):
    """Predicate proofs need a package that is not installed here."""

    code = "predicates.unavailable"
    blame = "operator"
