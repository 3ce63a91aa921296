"""Entries on their way round: drafts that several parties sign, each at its own place.

A draft is ``{"entry": <the entry without signatures>, "sigs": [...]}`` in canonical JSON.
"""

from __future__ import annotations

from dataclasses import replace

from exchange.errors import InvalidRequest
from ledger import base64url, canonical
from ledger.entries import Draft, Entry
from ledger.errors import LedgerError, MalformedEntry, NotCanonical

__all__ = ["assembled", "decode_draft", "encode_draft"]


def encode_draft(draft: Draft) -> bytes:
    """Write a draft with the signatures it has."""
    envelope = canonical.decode(draft.signed_bytes().partition(b"\n")[2])
    sigs = [
        {"kid": signature.kid, "alg": signature.alg, "sig": base64url.encode(signature.value)}
        for signature in draft.sigs
    ]
    return canonical.encode({"entry": envelope, "sigs": sigs})


def decode_draft(raw: bytes, entry_type: str) -> Draft:
    """Read a draft of an entry of this type.

    Raises:
        InvalidRequest: it is none.
    """
    try:
        document = canonical.decode(raw)
        if not isinstance(document, dict) or set(document) != {"entry", "sigs"}:
            raise InvalidRequest("draft", "the members entry and sigs", "another form")
        entry, sigs = document["entry"], document["sigs"]
        if not isinstance(entry, dict) or "sigs" in entry:
            raise InvalidRequest("draft: entry", "an entry without signatures", "another form")
        parsed = Entry.parse(canonical.encode({**entry, "sigs": sigs}))
    except (NotCanonical, LedgerError) as error:
        raise InvalidRequest("draft", f"a drafted {entry_type}", str(error)) from error
    if parsed.type != entry_type:
        raise InvalidRequest("draft: type", entry_type, parsed.type)
    return Draft(
        parsed.net,
        parsed.type,
        parsed.actor,
        parsed.body,
        parsed.exp,
        parsed.seq,
        parsed.refs,
        sigs=parsed.sigs,
    )


def assembled(draft: Draft) -> bytes:
    """Return the entry's bytes, its signatures in the order of their key ids, however they came in.

    Raises:
        InvalidRequest: the entry would not parse.
    """
    in_order = tuple(sorted(draft.sigs, key=lambda signature: signature.kid))
    try:
        return replace(draft, sigs=in_order).encode()
    except MalformedEntry as error:
        raise InvalidRequest("draft", "an entry", str(error)) from error
