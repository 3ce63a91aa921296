"""Errors over HTTP: RFC 9457 problem details, made in one place for every application.

A domain error shows what ``exchange.errors.public_face`` says; an error of HTTP itself shows its status;
anything else shows a request id and nothing more, and the log has the rest under that id.
"""

from __future__ import annotations

import logging
import uuid
from collections.abc import Callable
from dataclasses import replace
from http import HTTPStatus

from flask import Flask, Response, g, json
from werkzeug.exceptions import HTTPException, MethodNotAllowed

from exchange.errors import PublicFace, public_face
from exchange.logs import whereabouts

__all__ = ["MEDIA_TYPE", "SECURITY_HEADERS", "install", "problem"]

_log = logging.getLogger(__name__)

MEDIA_TYPE = "application/problem+json"

SECURITY_HEADERS = {
    "Cache-Control": "no-store",
    "Content-Security-Policy": "default-src 'none'; frame-ancestors 'none'",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
}
"""On every answer that does not set its own: nothing is stored, framed, sniffed or loaded from elsewhere."""


def _new_request_id() -> str:
    return str(uuid.uuid4())


def install(
    app: Flask, *, callers_are_peers: bool = False, new_request_id: Callable[[], str] = _new_request_id
) -> None:
    """Give ``app`` the error handler, a request id per request and the security headers.

    The id is ``X-Request-Id`` on every answer, ``instance`` in a problem, and stands in the log.

    Args:
        app: the application.
        callers_are_peers: the caller is the other party of a protocol, so what a peer has done wrong is
            answered as the caller's mistake, not as that of somebody behind this server.
        new_request_id: names a request.
    """

    @app.before_request
    def _name_request() -> None:
        g.request_id = new_request_id()

    @app.errorhandler(Exception)
    def _on_error(error: Exception) -> Response:
        if isinstance(error, HTTPException):
            return _http_problem(error)
        face = public_face(error)
        if callers_are_peers and face.status == HTTPStatus.BAD_GATEWAY:
            face = replace(face, status=HTTPStatus.UNPROCESSABLE_ENTITY)
        if face.code == "exchange.internal":
            _log.error("request %s broke: %s", g.request_id, whereabouts(error))
        elif face.status >= 500:
            _log.warning("request %s: %s", g.request_id, face.code)
        return problem(face)

    @app.after_request
    def _harden(response: Response) -> Response:
        response.headers["X-Request-Id"] = g.request_id
        if response.status_code == 204:
            response.headers.pop("Content-Type", None)  # there is no content
        for name, value in SECURITY_HEADERS.items():
            response.headers.setdefault(name, value)
        return response


def problem(face: PublicFace) -> Response:
    """Render the public face of an error as problem details."""
    members = face.extra | {
        "type": f"urn:parley:problem:{face.code}",
        "title": face.title,
        "status": face.status,
        "detail": face.detail,
        "instance": f"urn:uuid:{g.request_id}",
        "code": face.code,
        "retryable": face.retryable,
    }
    response = Response(json.dumps(members), face.status, content_type=MEDIA_TYPE)
    if face.status == 401:
        response.headers["WWW-Authenticate"] = "Bearer"
    return response


def _http_problem(error: HTTPException) -> Response:
    status = error.code or 500
    if status < 400:  # a redirect is no problem
        return Response(error.get_response().get_data(), status, error.get_response().headers)
    detail = f"expected another request than the one received: {error.name}"
    if status == 404:
        detail = "expected an address of this interface (see /openapi.json), got an unknown one"
    if isinstance(error, MethodNotAllowed):
        detail = f"expected {' or '.join(sorted(error.valid_methods or ()))}, got another method"
    face = PublicFace(status, error.name, f"http.{status}", detail, status == 503, 4 if status < 500 else 1)
    response = problem(face)
    if isinstance(error, MethodNotAllowed):
        response.headers["Allow"] = ", ".join(sorted(error.valid_methods or ()))
    return response
