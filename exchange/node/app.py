"""The node's Flask application: blueprints over services built elsewhere."""

from __future__ import annotations

from flask import Flask

from exchange.dataspace.connector import Connector
from exchange.lookup.lookups import Lookups
from exchange.node.anchors import Anchors
from exchange.node.api.about import about_blueprint
from exchange.node.api.approval_rules import approval_rules_blueprint
from exchange.node.api.approvals import approvals_blueprint
from exchange.node.api.assets import assets_blueprint
from exchange.node.api.audit import audit_blueprint
from exchange.node.api.budgets import budgets_blueprint
from exchange.node.api.catalog import catalog_blueprint
from exchange.node.api.consents import consents_blueprint
from exchange.node.api.credentials import credentials_blueprint
from exchange.node.api.dataspace import dataspace_blueprint
from exchange.node.api.deliveries import deliveries_blueprint
from exchange.node.api.dids import dids_blueprint
from exchange.node.api.eligibility import eligibility_blueprint
from exchange.node.api.evidence import evidence_blueprint
from exchange.node.api.explorer import explorer_blueprint
from exchange.node.api.governance import governance_blueprint
from exchange.node.api.jobs import jobs_blueprint
from exchange.node.api.lookup_page import lookup_page_blueprint
from exchange.node.api.lookups import lookups_blueprint
from exchange.node.api.metrics import metrics_blueprint
from exchange.node.api.models import models_blueprint
from exchange.node.api.negotiations import negotiations_blueprint
from exchange.node.api.notarizations import notarizations_blueprint
from exchange.node.api.notices import notices_blueprint
from exchange.node.api.people_routes import people_blueprints
from exchange.node.api.permissions import permissions_blueprint
from exchange.node.api.policies import policies_blueprint
from exchange.node.api.queries import queries_blueprint
from exchange.node.api.reviews import reviews_blueprint
from exchange.node.api.submissions import submissions_blueprint
from exchange.node.audit import Audit
from exchange.node.credentials import Credentials
from exchange.node.deliveries import Deliveries
from exchange.node.eligibility import Eligibility
from exchange.node.explorer import Explorer
from exchange.node.jobs import Jobs
from exchange.node.negotiations import Negotiations
from exchange.node.notarizations import Notarizations
from exchange.node.queries import Queries
from exchange.node.reviews import Reviews
from exchange.node.services import NodeServices
from exchange.node.timestamps import Timestamps
from exchange.scoring.scoring import Scoring
from exchange.web import openapi, problem

__all__ = ["create_app"]


def create_app(
    services: NodeServices,
    negotiations: Negotiations,
    jobs: Jobs,
    lookups: Lookups,
    scoring: Scoring,
    connector: Connector | None = None,
) -> Flask:
    """Build the application of one node; ``connector`` is that of the Dataspace Protocol, if it has one."""
    app = Flask("exchange.node", static_folder=None)
    problem.install(app)
    openapi.install(app, f"Parley node {services.settings.name}", caller="bearer")
    access, blueprints = people_blueprints(services)
    for blueprint in blueprints:
        app.register_blueprint(blueprint)
    app.register_blueprint(about_blueprint(services))
    app.register_blueprint(dids_blueprint(services, access))
    app.register_blueprint(reviews_blueprint(services, access, Reviews(services)))
    app.register_blueprint(credentials_blueprint(access, Credentials(services)))
    app.register_blueprint(consents_blueprint(services, access))
    app.register_blueprint(eligibility_blueprint(access, Eligibility(services)))
    app.register_blueprint(governance_blueprint(services, access))
    app.register_blueprint(assets_blueprint(services, access))
    app.register_blueprint(catalog_blueprint(services, access))
    app.register_blueprint(negotiations_blueprint(services, access, negotiations))
    app.register_blueprint(dataspace_blueprint(services, access, connector))
    app.register_blueprint(jobs_blueprint(services, access, jobs))
    app.register_blueprint(policies_blueprint(services, access))
    app.register_blueprint(queries_blueprint(access, Queries(services)))
    app.register_blueprint(approvals_blueprint(services, access))
    app.register_blueprint(approval_rules_blueprint(services, access))
    app.register_blueprint(permissions_blueprint(services, access))
    app.register_blueprint(notices_blueprint(services, access))
    app.register_blueprint(budgets_blueprint(services, access))
    app.register_blueprint(deliveries_blueprint(access, Deliveries(services)))
    app.register_blueprint(lookups_blueprint(access, lookups))
    app.register_blueprint(lookup_page_blueprint(access, lookups, services.settings.title))
    app.register_blueprint(models_blueprint(access, scoring))
    app.register_blueprint(notarizations_blueprint(access, Notarizations(services)))
    app.register_blueprint(metrics_blueprint(services, access))
    app.register_blueprint(explorer_blueprint(access, Explorer(services)))
    app.register_blueprint(submissions_blueprint(services, access))
    app.register_blueprint(audit_blueprint(services, access, Audit(services)))
    app.register_blueprint(
        evidence_blueprint(access, Timestamps(services), Anchors(services), services.payloads)
    )
    return app
