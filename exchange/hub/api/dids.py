"""The members' DID documents as ``did:web`` below the hub's address, for whoever can connect.

The hub only shows what the ledger says; whoever has a copy of that compares, as ``Resolver`` does.
"""

from __future__ import annotations

from flask import Blueprint, Response, jsonify

from exchange.credentials.dids import member_document, web_did_at
from exchange.errors import NotFound
from exchange.hub.services import HubServices
from exchange.web.openapi import describe

__all__ = ["dids_blueprint"]


def dids_blueprint(services: HubServices) -> Blueprint:
    """The documents by member name."""
    bp = Blueprint("dids", __name__)

    @bp.get("/members/<name>/did.json")
    @describe("A member's DID document as a did:web", response={"type": "object"}, tags=("identity",))
    def document(name: str) -> Response:
        did = web_did_at(services.settings.public_url, "members", name)
        rows = services.log.state.rows("members").values()
        found = next((row for row in rows if row["name"] == name and row["status"] != "removed"), None)
        if did is None or found is None:
            raise NotFound("expected the name of a member, at a hub whose public_url has a host name")
        return jsonify(member_document(found, did))

    return bp
