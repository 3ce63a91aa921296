"""The calls about consent of data subjects."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from exchange.sdk.connection import Connection, Json

__all__ = ["ConsentCalls"]

_CARRIERS = ("steward", "approver", "analyst", "administrator")
_ANY = ("auditor", "analyst", "steward", "approver", "administrator")


class ConsentCalls(Connection):
    """What a node does for data subjects, and an owner with what they said."""

    def give_consent(self, signed: Mapping[str, object]) -> Json:
        """Carry a consent to the ledger; ``signed`` is from ``exchange.credentials.consents.give``."""
        return self._object("POST", "/v1/consents", role=self._one_of(*_CARRIERS), json=dict(signed))

    def withdraw_consent(self, signed: Mapping[str, object]) -> Json:
        """Carry a withdrawal to the ledger; ``signed`` is from ``exchange.credentials.consents.withdraw``."""
        role = self._one_of(*_CARRIERS)
        return self._object("POST", "/v1/consents/withdrawals", role=role, json=dict(signed))

    def consents(self, *, subject: str | None = None, asset: str | None = None) -> Json:
        """List consents on the ledger, and which assets need one."""
        params = {name: one for name, one in {"subject": subject, "asset": asset}.items() if one is not None}
        return self._object("GET", "/v1/consents", role=self._one_of(*_ANY), params=params)

    def require_consent(self, asset: str, column: str, reason: str, *, required: bool = True) -> Json:
        """Say whether rows of an own asset are used only with consent; ``column`` finds a subject's row."""
        body = {"asset": asset, "column": column, "reason": reason, "required": required}
        return self._object("POST", "/v1/consents/rules", role="steward", json=body)

    def bind_subjects(self, subjects: Sequence[Mapping[str, object]]) -> Json:
        """Bind pseudonyms to rows; each is from ``exchange.credentials.consents.identify``."""
        body = {"subjects": [dict(one) for one in subjects]}
        return self._object("POST", "/v1/consents/subjects", role="steward", json=body)
