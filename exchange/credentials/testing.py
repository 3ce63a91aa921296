"""For tests: an issuer with a known key, its row on a ledger, and credentials by it."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

from exchange.credentials import model
from exchange.credentials.data_integrity import secure
from exchange.credentials.documents import Document
from exchange.credentials.resolution import Resolver
from exchange.credentials.status import StatusEntry
from exchange.credentials.subjects import Membership
from ledger import base64url
from ledger.keys import SigningKey, did_key
from ledger.membership import key_row
from ledger.tables import State

__all__ = ["GENESIS", "HOLDER", "ISSUER", "METHOD", "NOW", "Party", "credential", "issuer_state", "resolver"]

NOW = datetime(2026, 11, 26, 12, tzinfo=UTC)
GENESIS = "5a" * 32


@dataclass(frozen=True)
class Party:
    """A key and the DID that it makes."""

    key: SigningKey
    did: str

    @classmethod
    def of(cls, seed: int) -> Party:
        """The party of a number."""
        key = SigningKey.from_seed(bytes([seed] * 32))
        return cls(key, did_key(key.public))

    def member(self, status: str = "active") -> dict[str, Any]:
        """Its row among the members."""
        key = {"kid": f"{self.did}#tx-1", "alg": "EdDSA", "public": base64url.encode(self.key.public)}
        return {"did": self.did, "tx": key, "seal": base64url.encode(bytes(32)), "status": status}


ISSUER, HOLDER = Party.of(1), Party.of(2)
METHOD = f"{ISSUER.did}#tx-1"


def issuer_state() -> State:
    """A ledger of which the issuer is a member."""
    row = ISSUER.member()
    state = State().put("members", ISSUER.did, row, index=0)
    key = {"key": row["tx"], "from": 0, "until": None}
    return state.put("keys", key_row(ISSUER.did, "tx", 1), key, index=0)


def resolver(state: State | None = None) -> Resolver:
    """Finds keys by that ledger."""
    return Resolver(issuer_state() if state is None else state)


def credential(
    *,
    number: int = 1,
    issuer: str = ISSUER.did,
    key: SigningKey = ISSUER.key,
    method: str = METHOD,
    valid_from: datetime = NOW - timedelta(days=1),
    valid_until: datetime = NOW + timedelta(days=365),
    status: tuple[StatusEntry, ...] = (),
) -> Document:
    """A membership credential of the holder."""
    subject = Membership(HOLDER.did, GENESIS, "Holder Ltd", "participant")
    identifier = f"urn:parley:credential:{number}"
    draft = model.draft(identifier, "MembershipCredential", issuer, subject, valid_from, valid_until, status)
    return secure(draft, key, method, NOW - timedelta(hours=1))
