"""DID documents: this node's own for whoever can connect, anybody's for its people."""

from __future__ import annotations

from flask import Blueprint, Response, jsonify

from exchange.credentials.dids import member_document, path_of_web, web_did_at
from exchange.credentials.errors import DidUnresolved
from exchange.credentials.resolution import Resolver
from exchange.errors import NotFound
from exchange.node.api.access import Access
from exchange.node.identities import resolver
from exchange.node.services import NodeServices
from exchange.web.openapi import describe

__all__ = ["dids_blueprint"]

_TAGS = ("identity",)
_DOCUMENT = {
    "type": "object",
    "properties": {"id": {"type": "string"}, "verificationMethod": {"type": "array"}},
    "required": ["id", "verificationMethod"],
}


def dids_blueprint(services: NodeServices, access: Access) -> Blueprint:
    """Routes for DID documents."""
    bp = Blueprint("dids", __name__)

    @bp.get("/.well-known/did.json")
    @describe(
        "This node's DID document as a did:web, where it has a public host name",
        response=_DOCUMENT,
        tags=_TAGS,
    )
    def own() -> Response:
        did = web_did_at(services.settings.public_url)
        member = services.ledger.next_state.get("members", services.keys.did)
        if did is None or member is None or path_of_web(did) != "/.well-known/did.json":
            raise NotFound("this node has no did:web: its public_url names no host, or it is no member")
        return jsonify(member_document(member, did))

    @bp.get("/v1/dids/<path:did>")
    @describe(
        "The DID document of a DID, as this node believes it", role="any", response=_DOCUMENT, tags=_TAGS
    )
    def document(did: str) -> Response:
        access.require()
        found: Resolver = resolver(services)
        try:
            return jsonify(found.document(did))
        except DidUnresolved as error:
            raise NotFound(str(error)) from error

    return bp
