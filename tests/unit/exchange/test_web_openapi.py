from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

import pytest
from flask import Flask
from flask.testing import FlaskClient

from exchange.web import openapi, pages
from exchange.web.fields import Rule
from exchange.web.openapi import describe


@dataclass(frozen=True)
class Vote:
    """A vote."""

    approve: bool
    reason: Annotated[str, Rule("why", maximum=500)] = ""


@dataclass(frozen=True)
class Search:
    """A search."""

    q: str
    limit: int = 20


@pytest.fixture
def app() -> Flask:
    app = Flask("t", static_folder=None)
    openapi.install(app, "Test <node>")

    @app.post("/v1/proposals/<path:proposal>/votes")
    @describe(
        "Vote on a proposal",
        role="administrator",
        request=Vote,
        status=201,
        response={"type": "object"},
        tags=("governance",),
    )
    def vote(proposal: str) -> str:
        return proposal

    @app.get("/v1/search")
    @describe("Search", query=Search)
    def search() -> str:
        return ""

    @app.get("/")
    @describe("The status page", media="text/html")
    def status() -> object:
        sections = [
            pages.Section("Members", [["lender", "<b>active</b>"]], ("name", "state"), note="two & three"),
            pages.Section("Nothing", []),
        ]
        return pages.render_status("Node lender", sections, pages.language())

    return app


@pytest.fixture
def client(app: Flask) -> FlaskClient:
    return app.test_client()


def test_the_document_comes_from_routes_and_descriptions(client: FlaskClient) -> None:
    found = client.get("/openapi.json").get_json()
    assert found["openapi"] == "3.1.0"
    assert set(found["paths"]) == {
        "/openapi.json",
        "/v1/search",
        "/v1/proposals/{proposal}/votes",
    }
    operation = found["paths"]["/v1/proposals/{proposal}/votes"]["post"]
    assert operation["summary"] == "Vote on a proposal"
    assert operation["security"] == [{"bearer": ["administrator"]}]
    assert operation["parameters"] == [
        {"name": "proposal", "in": "path", "required": True, "schema": {"type": "string"}}
    ]
    assert set(operation["responses"]) == {"201", "default"}
    body = operation["requestBody"]["content"]["application/json"]["schema"]
    assert body["required"] == ["approve"]
    assert body["properties"]["reason"]["maxLength"] == 500


def test_query_parameters_are_listed(client: FlaskClient) -> None:
    operation = client.get("/openapi.json").get_json()["paths"]["/v1/search"]["get"]
    assert [(p["name"], p["in"], p["required"]) for p in operation["parameters"]] == [
        ("q", "query", True),
        ("limit", "query", False),
    ]
    assert "security" not in operation


def test_a_view_without_description_is_found(app: Flask) -> None:
    assert openapi.undescribed(app) == []
    app.add_url_rule("/forgotten", view_func=lambda: "x", endpoint="forgotten")
    assert openapi.undescribed(app) == ["/forgotten"]


def test_the_description_of_a_view_can_be_asked(app: Flask) -> None:
    found = openapi.description_of(app.view_functions["vote"])
    assert found is not None
    assert (found.role, found.request) == ("administrator", Vote)


def test_a_hub_says_that_callers_show_a_certificate() -> None:
    app = Flask("t", static_folder=None)

    @app.get("/x")
    @describe("X", role="member")
    def x() -> str:
        return ""

    found = openapi.document(app, "Hub", "mutualTLS")
    assert found["components"]["securitySchemes"] == {"mutualTLS": {"type": "mutualTLS"}}
    assert found["paths"]["/x"]["get"]["security"] == [{"mutualTLS": ["member"]}]


@pytest.mark.parametrize("path", ["/", "/docs"])
@pytest.mark.parametrize(
    ("query", "accepted", "language"),
    [
        ("", "", "en"),
        ("", "zh-CN,zh;q=0.9", "zh-CN"),
        ("", "fr", "en"),
        ("?lang=zh", "en", "zh-CN"),
        ("?lang=en", "zh", "en"),
        ("?lang=xx", "zh", "en"),
    ],
)
def test_pages_speak_the_asked_language(
    client: FlaskClient, path: str, query: str, accepted: str, language: str
) -> None:
    page = client.get(path + query, headers={"Accept-Language": accepted}).text
    assert f'<html lang="{language}">' in page


def test_the_docs_page_lists_every_operation_and_runs_no_script(client: FlaskClient) -> None:
    answer = client.get("/docs")
    for text in ("Vote on a proposal", "administrator", "/v1/search", "maxLength", "Test &lt;node&gt;"):
        assert text in answer.text
    assert "<script" not in answer.text
    assert "http" not in answer.text.replace("https", "http").split("<main>")[0]
    policy = answer.headers["Content-Security-Policy"]
    assert "default-src 'none'" in policy
    assert "style-src 'sha256-" in policy


def test_the_status_page_escapes_what_it_shows(client: FlaskClient) -> None:
    page = client.get("/").text
    assert "&lt;b&gt;active&lt;/b&gt;" in page
    assert "two &amp; three" in page
    assert '<th scope="col">state</th>' in page
    assert "<p>none</p>" in page
