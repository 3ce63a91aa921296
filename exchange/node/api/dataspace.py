"""What this node's Dataspace Protocol connector does, and the catalogs of other members' connectors."""

from __future__ import annotations

from flask import Blueprint, Response, jsonify

from exchange.dataspace.connector import Connector, announced
from exchange.errors import NotFound
from exchange.node.api.access import Access
from exchange.node.people import Role
from exchange.node.services import NodeServices
from exchange.web.openapi import describe
from ledger.times import format_time

__all__ = ["dataspace_blueprint"]


def dataspace_blueprint(services: NodeServices, access: Access, connector: Connector | None) -> Blueprint:
    """Routes about the connector; ``connector`` is None where the node has none."""
    bp = Blueprint("dataspace", __name__, url_prefix="/v1/dataspace")

    @bp.get("")
    @describe(
        "The connector's address, and for each process what was exchanged and what is waited for",
        role="any",
        response={"type": "object"},
        tags=("dataspace",),
    )
    def show() -> Response:
        access.require()
        names = {row["did"]: row["name"] for row in services.ledger.final_rows("members")}
        processes = [
            {
                "kind": one.kind,
                "pid": one.pid,
                "peer": names.get(one.peer, one.peer),
                "state": one.state,
                "steps": one.position,
                "tries": one.tries,
                "problem": one.problem,
                "waiting_for": names.get(one.peer, one.peer) if one.state.endswith("ING") else None,
                "since": format_time(one.updated),
            }
            for one in services.store.dataspace.all()
        ]
        return jsonify(address=announced(services), processes=processes)

    @bp.get("/catalogs/<member>")
    @describe(
        "The catalog of another member, asked of its connector; the member by name or DID",
        role="analyst",
        response={"type": "object"},
        tags=("dataspace",),
    )
    def catalog(member: str) -> Response:
        access.require(Role.ANALYST, Role.STEWARD)
        rows = services.ledger.final_rows("members")
        did = next((row["did"] for row in rows if member in (row["did"], row["name"])), None)
        if did is None or connector is None or connector.connectors.address(did) is None:
            raise NotFound(f"no connector of {member}, or none of this node")
        return jsonify(connector.connectors.catalog(did))

    return bp
