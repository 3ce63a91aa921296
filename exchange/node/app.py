"""The node's Flask application: blueprints over services built elsewhere."""

from __future__ import annotations

from flask import Flask

from exchange.node.api.about import about_blueprint
from exchange.node.api.access import Access
from exchange.node.api.assets import assets_blueprint
from exchange.node.api.audit import audit_blueprint
from exchange.node.api.governance import governance_blueprint
from exchange.node.api.jobs import jobs_blueprint
from exchange.node.api.negotiations import negotiations_blueprint
from exchange.node.audit import Audit
from exchange.node.jobs import Jobs
from exchange.node.negotiations import Negotiations
from exchange.node.people import People
from exchange.node.services import NodeServices
from exchange.web import openapi, problem

__all__ = ["create_app"]


def create_app(services: NodeServices, negotiations: Negotiations, jobs: Jobs) -> Flask:
    """Build the application of one node."""
    app = Flask("exchange.node", static_folder=None)
    problem.install(app)
    openapi.install(app, f"Parley node {services.settings.name}", caller="bearer")
    access = Access(People(services.store.people))
    app.register_blueprint(about_blueprint(services))
    app.register_blueprint(governance_blueprint(services, access))
    app.register_blueprint(assets_blueprint(services, access))
    app.register_blueprint(negotiations_blueprint(services, access, negotiations))
    app.register_blueprint(jobs_blueprint(services, access, jobs))
    app.register_blueprint(audit_blueprint(services, access, Audit(services)))
    return app
