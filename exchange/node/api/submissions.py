"""Entries on their way to the ledger: own ones that are not final yet; handing in another member's."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

from flask import Blueprint, Response, jsonify

from exchange.errors import InvalidRequest
from exchange.node.api.access import Access
from exchange.node.people import Role
from exchange.node.services import NodeServices
from exchange.web.fields import Rule, body
from exchange.web.openapi import describe
from ledger import base64url
from ledger.entries import MAX_ENTRY_SIZE

__all__ = ["submissions_blueprint"]

_LONGEST = MAX_ENTRY_SIZE * 4 // 3 + 1
_TAGS = ("ledger",)


@dataclass(frozen=True)
class SignedEntry:
    """A signed entry, of this member or of another."""

    entry: Annotated[str, Rule("the entry's bytes, base64url without padding", maximum=_LONGEST)]


@dataclass(frozen=True)
class PlacedAnswer:
    """Where the entry stands; ``code`` says why it was refused, null where it is valid."""

    index: int
    txid: str
    code: str | None


def submissions_blueprint(services: NodeServices, access: Access) -> Blueprint:
    """Routes around a hub that leaves a member's entries out."""
    bp = Blueprint("submissions", __name__, url_prefix="/v1/ledger")

    @bp.get("/pending")
    @describe(
        "This member's signed entries that are not known to be final, as any member can hand them in",
        role="administrator",
        response={"type": "object"},
        tags=_TAGS,
    )
    def pending() -> Response:
        access.require(Role.ADMINISTRATOR)
        found = services.ledger.pending()
        return jsonify(
            entries=[
                {"txid": one.txid, "type": one.type, "entry": base64url.encode(one.raw)} for one in found
            ]
        )

    @bp.post("/entries")
    @describe(
        "Hand in a signed entry of any member; answers when the hub has sequenced it",
        role="administrator",
        request=SignedEntry,
        response=PlacedAnswer,
        tags=_TAGS,
    )
    def submit() -> Response:
        access.require(Role.ADMINISTRATOR)
        try:
            raw = base64url.decode(body(SignedEntry).entry)
        except ValueError:
            raise InvalidRequest("entry", "base64url without padding", "something else") from None
        placed = services.ledger.relay(raw)
        return jsonify(index=placed.index, txid=placed.txid, code=placed.code)

    return bp
