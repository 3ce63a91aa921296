"""Put together the founders' signatures on one genesis draft."""

from __future__ import annotations

from collections.abc import Sequence

from exchange.errors import InvalidRequest
from ledger import canonical
from ledger.canonical import JsonValue

__all__ = ["merge"]


def merge(signed: Sequence[bytes]) -> bytes:
    """Join copies of one draft, each signed by another founder, into one draft with all signatures.

    Raises:
        InvalidRequest: the copies differ in more than their signatures.
    """
    drafts = [_draft(raw) for raw in signed]
    body, signatures = drafts[0][0], dict[str, JsonValue]()
    for other, sigs in drafts:
        if other != body:
            raise InvalidRequest("--signed", "copies of one draft", "drafts that differ")
        signatures |= sigs
    return canonical.encode({**body, "sigs": [signatures[kid] for kid in sorted(signatures)]})


def _draft(raw: bytes) -> tuple[dict[str, JsonValue], dict[str, JsonValue]]:
    """Split a draft into what is signed and its signatures by key id."""
    value = canonical.decode(raw)
    sigs = value.pop("sigs", None) if isinstance(value, dict) else None
    if not isinstance(value, dict) or not isinstance(sigs, list):
        raise InvalidRequest("--signed", "a genesis draft with its signatures", type(value).__name__)
    return value, {str(one["kid"]): one for one in sigs if isinstance(one, dict)}
