"""The OpenAPI 3.1 document of a Flask application, and its page for people.

Each view carries a ``Description``; the document is made from those and from the application's own routes,
so it cannot name an address that does not exist. ``undescribed`` lists the routes without one, for a test.
"""

from __future__ import annotations

import importlib.metadata
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, TypeVar

from flask import Flask, Response, json
from werkzeug.routing import Rule as Route

from exchange.web import pages
from exchange.web.fields import schema

__all__ = ["Description", "describe", "description_of", "document", "install", "undescribed"]

View = TypeVar("View", bound=Callable[..., Any])
Caller = Literal["bearer", "mutualTLS"]

_DISTRIBUTION = "parley-exchange"
_ATTRIBUTE = "_openapi_description"
_PAGE = "text/html"
_EMPTY = 204


@dataclass(frozen=True)
class Description:
    """What one view does, for whom, and what goes in and out.

    Attributes:
        summary: one sentence, English.
        role: who may call it; None: anyone who can connect.
        request: dataclass of the JSON body.
        query: dataclass of the query parameters.
        response: dataclass of the JSON answer, or a JSON Schema, or None for an answer that is no JSON.
        status: status of the good answer.
        media: media type of the good answer.
        request_media: media type of the body, where it is not the JSON that ``request`` describes.
        tags: headings under which the page lists it.
    """

    summary: str
    role: str | None = None
    request: type | None = None
    query: type | None = None
    response: type | Mapping[str, object] | None = None
    status: int = 200
    media: str = "application/json"
    request_media: str = "application/json"
    tags: Sequence[str] = ()

    def __call__(self, view: View) -> View:
        """Attach this description to a view."""
        setattr(view, _ATTRIBUTE, self)
        return view


describe = Description
"""``@describe("Publish an asset", role="steward", ...)`` above a view."""


def description_of(view: Callable[..., Any]) -> Description | None:
    """Return what ``describe`` attached to a view."""
    found: Description | None = getattr(view, _ATTRIBUTE, None)
    return found


def install(app: Flask, title: str, *, caller: Caller = "bearer") -> None:
    """Add ``/openapi.json`` and ``/docs`` to ``app``; views added later are in them too.

    Args:
        app: the application.
        title: name of the interface.
        caller: how callers with a role show who they are.
    """

    @app.get("/openapi.json")
    @describe("This interface as an OpenAPI 3.1 document", response={"type": "object"}, tags=("about",))
    def openapi_document() -> Response:
        return Response(json.dumps(document(app, title, caller)), content_type="application/json")

    @app.get("/docs")
    @describe("This interface as a page, English or Chinese (?lang=zh)", media="text/html", tags=("about",))
    def openapi_page() -> Response:
        return pages.render("docs.html", document=document(app, title, caller))


def undescribed(app: Flask) -> list[str]:
    """Return the routes whose view has no description."""
    return [rule.rule for rule in _routes(app) if description_of(app.view_functions[rule.endpoint]) is None]


def document(app: Flask, title: str, caller: Caller = "bearer") -> dict[str, Any]:
    """Make the OpenAPI document from the routes of ``app`` and their descriptions; pages are not in it."""
    paths: dict[str, dict[str, Any]] = {}
    for rule in _routes(app):
        found = description_of(app.view_functions[rule.endpoint])
        if found is None or found.media == _PAGE:
            continue
        for method in sorted((rule.methods or set()) - {"HEAD", "OPTIONS"}):
            paths.setdefault(_template(rule), {})[method.lower()] = _operation(rule, found, caller)
    scheme = {"type": "http", "scheme": "bearer"} if caller == "bearer" else {"type": "mutualTLS"}
    return {
        "openapi": "3.1.0",
        "info": {"title": title, "version": importlib.metadata.version(_DISTRIBUTION)},
        "paths": dict(sorted(paths.items())),
        "components": {"schemas": {"Problem": _PROBLEM}, "securitySchemes": {caller: scheme}},
    }


def _routes(app: Flask) -> list[Route]:
    return [rule for rule in app.url_map.iter_rules() if rule.endpoint != "static"]


def _template(rule: Route) -> str:
    return re.sub(r"<(?:[^:<>]+:)?([^<>]+)>", r"{\1}", rule.rule)


def _operation(rule: Route, found: Description, caller: Caller) -> dict[str, Any]:
    operation: dict[str, Any] = {
        "operationId": rule.endpoint,
        "summary": found.summary,
        "tags": list(found.tags),
        "parameters": _parameters(rule, found),
        "responses": {
            str(found.status): _answer(found),
            "default": {
                "description": "a problem",
                "content": {"application/problem+json": {"schema": {"$ref": "#/components/schemas/Problem"}}},
            },
        },
    }
    if found.role is not None:
        operation["security"] = [{caller: [found.role]}]
    if found.request is not None or found.request_media != "application/json":
        content = _content(found.request_media, found.request)
        operation["requestBody"] = {"required": True, "content": content}
    return operation


def _answer(found: Description) -> dict[str, Any]:
    if found.status == _EMPTY:
        return {"description": "done"}
    return {"description": "done", "content": _content(found.media, found.response)}


def _parameters(rule: Route, found: Description) -> list[dict[str, Any]]:
    in_path = [
        {"name": name, "in": "path", "required": True, "schema": {"type": "string"}}
        for name in sorted(rule.arguments)
    ]
    if found.query is None:
        return in_path
    declared = schema(found.query)
    return in_path + [
        {"name": name, "in": "query", "required": name in declared["required"], "schema": kind}
        for name, kind in declared["properties"].items()
    ]


def _content(media: str, shape: type | Mapping[str, object] | None) -> dict[str, Any]:
    if shape is None:
        return {media: {}}
    return {media: {"schema": schema(shape) if isinstance(shape, type) else dict(shape)}}


_PROBLEM = {
    "type": "object",
    "description": "RFC 9457 problem details; further members name the field, or the reasons of a refusal",
    "properties": {
        "type": {"type": "string", "format": "uri"},
        "title": {"type": "string"},
        "status": {"type": "integer"},
        "detail": {"type": "string"},
        "instance": {"type": "string", "format": "uri"},
        "code": {"type": "string", "description": "stable; decide on this one"},
        "retryable": {"type": "boolean"},
    },
    "required": ["type", "title", "status", "code", "retryable"],
}
