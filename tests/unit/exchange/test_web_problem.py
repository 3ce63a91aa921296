from __future__ import annotations

import logging
from typing import Any

import pytest
from flask import Flask
from flask.testing import FlaskClient

from exchange import errors
from exchange.web import problem


@pytest.fixture
def client() -> FlaskClient:
    app = Flask("t")
    problem.install(app, new_request_id=lambda: "request-1")

    @app.get("/invalid")
    def invalid() -> str:
        raise errors.InvalidRequest("columns[0]", "a text", "null")

    @app.get("/refused")
    def refused() -> str:
        raise errors.JobRefused(("purpose differs",), ("policy.purpose",))

    @app.get("/token")
    def token() -> str:
        raise errors.Unauthenticated("no token")

    @app.get("/late")
    def late() -> str:
        raise errors.TimedOut("no quorum yet")

    @app.get("/broken")
    def broken() -> str:
        raise KeyError("canary-secret")

    @app.get("/good")
    def good() -> str:
        return "ok"

    return app.test_client()


def told(client: FlaskClient, path: str, method: str = "GET") -> dict[str, Any]:
    answer = client.open(path, method=method)
    assert answer.content_type == problem.MEDIA_TYPE
    found: dict[str, Any] = answer.get_json(force=True)
    assert found["status"] == answer.status_code
    return found


def test_a_domain_error_is_a_problem_with_its_members(client: FlaskClient) -> None:
    assert told(client, "/invalid") == {
        "type": "urn:parley:problem:request.invalid",
        "title": "The request does not have the stated form",
        "status": 422,
        "detail": "columns[0]: expected a text, got null",
        "instance": "urn:uuid:request-1",
        "code": "request.invalid",
        "retryable": False,
        "field": "columns[0]",
        "expected": "a text",
        "actual": "null",
    }


def test_reasons_of_a_refusal_are_members(client: FlaskClient) -> None:
    found = told(client, "/refused")
    assert (found["status"], found["reasons"], found["codes"]) == (
        409,
        ["purpose differs"],
        ["policy.purpose"],
    )


def test_retryable_is_said(client: FlaskClient) -> None:
    assert told(client, "/late")["retryable"] is True


def test_a_missing_token_names_the_scheme(client: FlaskClient) -> None:
    assert client.get("/token").headers["WWW-Authenticate"] == "Bearer"


def test_an_unknown_address_is_a_problem(client: FlaskClient) -> None:
    found = told(client, "/nothing-here")
    assert (found["status"], found["code"]) == (404, "http.404")


def test_a_wrong_method_is_a_problem_that_names_the_right_one(client: FlaskClient) -> None:
    answer = client.post("/good")
    assert answer.status_code == 405
    assert "GET" in answer.headers["Allow"]
    assert "GET" in told(client, "/good", "POST")["detail"]


def test_an_unexpected_error_shows_its_id_and_nothing_else(
    client: FlaskClient, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.ERROR):
        answer = client.get("/broken")
    assert answer.status_code == 500
    assert "canary-secret" not in answer.text
    assert answer.get_json(force=True)["instance"] == "urn:uuid:request-1"
    assert "request-1" in caplog.text


@pytest.mark.parametrize("path", ["/good", "/invalid", "/broken", "/nothing-here"])
def test_every_answer_has_the_security_headers(client: FlaskClient, path: str) -> None:
    headers = client.get(path).headers
    assert headers["X-Request-Id"] == "request-1"
    for name, value in problem.SECURITY_HEADERS.items():
        assert headers[name] == value


def test_an_answer_may_set_its_own_policy(client: FlaskClient) -> None:
    app = client.application

    @app.get("/own")
    def own() -> tuple[str, int, dict[str, str]]:
        return "ok", 200, {"Cache-Control": "max-age=1"}

    assert client.get("/own").headers["Cache-Control"] == "max-age=1"
