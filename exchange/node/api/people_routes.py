"""All routes about people of one node, and the check of callers for all other routes."""

from __future__ import annotations

from flask import Blueprint

from exchange.node.api.access import Access
from exchange.node.api.account import account_blueprint
from exchange.node.api.account_desk import Desk
from exchange.node.api.departments import departments_blueprint
from exchange.node.api.people import people_blueprint
from exchange.node.api.provider import provider_blueprint
from exchange.node.api.sign_in import sign_in_blueprint
from exchange.node.api.tokens import tokens_blueprint
from exchange.node.people.building import build
from exchange.node.services import NodeServices

__all__ = ["people_blueprints"]


def people_blueprints(services: NodeServices) -> tuple[Access, list[Blueprint]]:
    """Build what checks callers, and the routes for people."""
    settings, key = services.settings, services.keys.storage_key(b"people sign-in")
    built = build(settings, services.store.people, key, services.clock)
    access = Access(built.tokens, built.sessions, f"__Host-parley-{settings.name}")
    desk = Desk(access, built, settings.title)
    return access, [
        people_blueprint(access, built.people, built.tokens, built.sign_in),
        sign_in_blueprint(access, built.sign_in, built.sessions),
        departments_blueprint(access, built.departments),
        tokens_blueprint(access, built.tokens),
        account_blueprint(access, built, desk),
        provider_blueprint(access, built, desk),
    ]
