"""The hub's two Flask applications: for members, who show a certificate, and for its operator."""

from __future__ import annotations

from flask import Blueprint, Flask, Response, json

from exchange.hub.api.about import about_blueprint, health_blueprint, metrics_blueprint, status_blueprint
from exchange.hub.api.access import Access
from exchange.hub.api.catalog import catalog_blueprint
from exchange.hub.api.dids import dids_blueprint
from exchange.hub.api.jobs import jobs_blueprint
from exchange.hub.api.ledger import ledger_blueprint
from exchange.hub.api.results import results_blueprint
from exchange.hub.services import HubServices
from exchange.web import openapi, pages, problem

__all__ = ["create_member_app", "create_operator_app"]

_MEMBER_TITLE = "Parley hub, for members"
_OPERATOR_TITLE = "Parley hub, for its operator"


def create_member_app(services: HubServices) -> Flask:
    """Build the application behind mutual TLS."""
    app = Flask("exchange.hub.members", static_folder=None)
    problem.install(app, callers_are_peers=True)
    access = Access(services.members)
    app.register_blueprint(about_blueprint(services, access.caller))
    app.register_blueprint(ledger_blueprint(services, access))
    app.register_blueprint(jobs_blueprint(services, access))
    app.register_blueprint(results_blueprint(services, access))
    app.register_blueprint(catalog_blueprint(services, access))
    return app


def create_operator_app(services: HubServices) -> Flask:
    """Build the application for the operator. It shows what members see too, and changes nothing."""
    app = Flask("exchange.hub.operator", static_folder=None)
    problem.install(app)
    openapi.install(app, _OPERATOR_TITLE)
    app.register_blueprint(status_blueprint(services))
    app.register_blueprint(health_blueprint(services))
    app.register_blueprint(dids_blueprint(services))
    app.register_blueprint(metrics_blueprint(services))
    app.register_blueprint(about_blueprint(services, lambda: None))
    app.register_blueprint(
        _member_interface(openapi.document(create_member_app(services), _MEMBER_TITLE, "mutualTLS"))
    )
    return app


def _member_interface(document: dict[str, object]) -> Blueprint:
    """The members' interface, described where a browser without a certificate can read it."""
    bp = Blueprint("member_interface", __name__, url_prefix="/members")

    @bp.get("/openapi.json")
    @openapi.describe("The members' interface as OpenAPI 3.1", response={"type": "object"}, tags=("about",))
    def as_json() -> Response:
        return Response(json.dumps(document), content_type="application/json")

    @bp.get("/docs")
    @openapi.describe("The members' interface as a page", media="text/html", tags=("about",))
    def as_page() -> Response:
        return pages.render("docs.html", document=document)

    return bp
