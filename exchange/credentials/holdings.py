"""What a state of the ledger says of credentials, for whoever decides on it: enforcement, voters."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime

from exchange.credentials.row_index import RowIndex
from ledger.rules.credentials import REVIEWED
from ledger.tables import Row, State
from ledger.times import parse_time

__all__ = ["held_types", "holds", "is_reviewed", "reviews_of"]

_BY_HOLDER, _BY_ASSET = RowIndex("credentials", "holder"), RowIndex("credentials", "asset")


def holds(state: State, did: str, credential_type: str, now: datetime) -> bool:
    """Whether somebody holds a credential of a type that counts now.

    It counts if it is on the ledger, neither suspended nor revoked, in its time, by an issuer that is an
    active member, and, where its type needs a review, on one that was not withdrawn.

    Args:
        state: the final state of one's own copy.
        did: the holder.
        credential_type: such as ``RegulatedInstitutionCredential``.
        now: aware time in UTC.
    """
    return credential_type in held_types(state, did, now)


def held_types(state: State, did: str, now: datetime) -> frozenset[str]:
    """The types of credential that somebody holds and that count now; see ``holds``."""
    rows = _BY_HOLDER.rows(state, did)
    return frozenset(row["type"] for row in rows if _counts(state, row, now))


def is_reviewed(state: State, asset: str, now: datetime) -> bool:
    """Whether a data source has a ``DataSourceReviewCredential`` that counts now."""
    rows = _BY_ASSET.rows(state, asset)
    return any(row["type"] == "DataSourceReviewCredential" and _counts(state, row, now) for row in rows)


def reviews_of(state: State, subject: str) -> Iterator[Row]:
    """Yield the reviews that stand about an organisation, by DID, or about a data source, by asset id."""
    for row in state.rows("reviews").values():
        if subject in (row.get("holder"), row.get("asset")) and row["status"] == "standing":
            yield row


def _counts(state: State, row: Row, now: datetime) -> bool:
    issuer = state.get("members", row["issuer"])
    if row["status"] != "valid" or issuer is None or issuer["status"] != "active":
        return False
    if row["type"] in REVIEWED:
        review = state.get("reviews", row["review"])
        if review is None or review["status"] != "standing":
            return False
    return parse_time(row["from"]) <= now < parse_time(row["until"])
