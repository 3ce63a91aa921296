"""Who may talk to the hub, and what a hub or a caller that misbehaves gets out of it."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from http.client import HTTPSConnection
from typing import Any

import pytest

from exchange import tls
from exchange.errors import Conflict, Forbidden, HubUnreachable, InvalidRequest, NotFound
from exchange.hub.app import create_member_app, create_operator_app
from exchange.hub.daemon import Hub
from exchange.hub.testing import Founded, found
from exchange.identity import NodeKeys
from exchange.node.hub_client import HubClient, HubRefused
from exchange.web.openapi import description_of, undescribed
from exchange.web.server import PEER, serve
from ledger.errors import LogClosed, NotPublished, Refusal
from ledger.times import system_clock

NAMES = ("analyst", "lender")


@pytest.fixture(scope="module")
def founded(tmp_path_factory: pytest.TempPathFactory) -> Founded:
    return found(tmp_path_factory.mktemp("hub") / "data", *NAMES)


@pytest.fixture(scope="module")
def hub(founded: Founded) -> Iterator[Hub]:
    with founded.hub() as running:
        yield running


class TestCallers:
    def test_a_certificate_that_is_no_members_is_refused(self, founded: Founded, hub: Hub) -> None:
        stranger = founded.connect_as(hub, NodeKeys.generate("lender", "example", "127.0.0.1"))
        with pytest.raises(HubUnreachable, match="may not know this member's certificate"):
            stranger.hub()
        stranger.close()

    def test_a_member_refuses_another_hub_than_the_pinned_one(self, founded: Founded, hub: Hub) -> None:
        other = NodeKeys.generate("hub", "example", "127.0.0.1")
        client = founded.connect_as(hub, founded.members["lender"], certificate=other.tls_cert)
        with pytest.raises(HubUnreachable, match="expected the hub's pinned certificate"):
            client.hub()
        client.close()

    def test_every_route_of_the_member_listener_asks_for_a_member(self, hub: Hub) -> None:
        app = create_member_app(hub.services)
        asked = 0
        for rule in app.url_map.iter_rules():
            path = rule.rule
            for name in rule.arguments:
                path = path.replace(f"<int:{name}>", "0").replace(f"<path:{name}>", "000")
                path = path.replace(f"<{name}>", "x")
            for method in (rule.methods or set()) - {"HEAD", "OPTIONS"}:
                for environ in ({}, {PEER: b"a certificate of nobody"}):
                    answer = app.test_client().open(
                        path,
                        method=method,
                        environ_overrides=environ,
                        json={"step": "psi", "done": 0, "total": 1} if method == "POST" else None,
                        query_string={"size": 1} if "cosignatures" in path else None,
                    )
                    assert (answer.status_code, answer.get_json()["code"]) == (403, "request.forbidden"), path
                    asked += 1
        assert asked >= 24

    def test_every_route_is_described_and_the_members_ones_name_their_caller(self, hub: Hub) -> None:
        members, operator = create_member_app(hub.services), create_operator_app(hub.services)
        assert undescribed(members) == undescribed(operator) == []
        roles = {
            rule.rule: description.role
            for rule in members.url_map.iter_rules()
            if (description := description_of(members.view_functions[rule.endpoint]))
        }
        assert {path for path, role in roles.items() if role != "member"} == {
            "/v1/hub",
            "/v1/witnesses",
        }


class TestOperator:
    def get(self, founded: Founded, hub: Hub, path: str) -> tuple[int, str, bytes]:
        context = tls.client_context(None, None, founded.hub_keys.tls_cert)
        connection = HTTPSConnection("127.0.0.1", hub.operator_port, context=context, timeout=5)
        connection.request("GET", path)
        answer = connection.getresponse()
        content = answer.read()
        connection.close()
        return answer.status, answer.headers.get_content_type(), content

    @pytest.mark.parametrize("lang", ["en", "zh"])
    def test_the_page_shows_how_the_hub_stands(self, founded: Founded, hub: Hub, lang: str) -> None:
        status, kind, page = self.get(founded, hub, f"/?lang={lang}")
        assert (status, kind) == (200, "text/html")
        assert founded.members["lender"].did.encode() in page
        assert b"hub.example/log" in page

    @pytest.mark.parametrize(
        ("path", "title"),
        [
            ("/openapi.json", "Parley hub, for its operator"),
            ("/members/openapi.json", "Parley hub, for members"),
        ],
    )
    def test_both_interfaces_are_documented(self, founded: Founded, hub: Hub, path: str, title: str) -> None:
        document = json.loads(self.get(founded, hub, path)[2])
        assert (document["openapi"], document["info"]["title"]) == ("3.1.0", title)
        page = self.get(founded, hub, path.replace("openapi.json", "docs"))[2]
        assert title.encode() in page

    def test_health_and_identity_are_open(self, founded: Founded, hub: Hub) -> None:
        assert json.loads(self.get(founded, hub, "/healthz")[2])["healthy"] is True
        assert json.loads(self.get(founded, hub, "/v1/hub")[2])["net"] == "example"

    @pytest.mark.parametrize("path", ["/ledger/checkpoint", "/v1/jobs/x", "/v1/jobs/x/spec", "/v1/catalog"])
    def test_nothing_of_the_members_is_served(self, founded: Founded, hub: Hub, path: str) -> None:
        assert self.get(founded, hub, path)[0] == 404


class TestMisuse:
    @pytest.fixture
    def lender(self, founded: Founded, hub: Hub) -> Iterator[HubClient]:
        client = founded.connect(hub, "lender")
        yield client
        client.close()

    def test_a_body_beyond_its_limit_is_refused(self, lender: HubClient) -> None:
        with pytest.raises(InvalidRequest, match="entry: expected at most 32768 bytes"):
            lender.submit(b"x" * 32769)
        with pytest.raises(InvalidRequest, match="specification: expected at most"):
            lender.put_spec("job-x", bytes(1024 * 1024 + 1))

    @pytest.mark.parametrize("place", ["0", "0000", "x000/000", "000.p/256", "000.p/0", "..%2f000", "000/"])
    def test_a_tile_has_one_address(self, lender: HubClient, place: str) -> None:
        with pytest.raises((NotFound, HubRefused)):
            lender._call("GET", f"/ledger/tile/entries/{place}")

    @pytest.mark.parametrize("query", ["size=-1", "wait=-1", "wait=nan", "size=1&size=2", "colour=red"])
    def test_a_query_of_another_form_is_refused(self, lender: HubClient, query: str) -> None:
        with pytest.raises(InvalidRequest):
            lender._call("GET", f"/ledger/checkpoint?{query}")

    def test_names_that_look_like_paths_reach_nothing(self, lender: HubClient) -> None:
        for job in ("../hub", "..%2Fhub", "a/b", "x?y=1", "x#y"):
            with pytest.raises((NotFound, HubRefused)):
                lender.job(job)


Answer = tuple[int, bytes]


class FakeHub:
    """A server with the hub's certificate that answers whatever it was told to."""

    def __init__(self) -> None:
        self.keys = NodeKeys.generate("hub", "example", "127.0.0.1")
        self.answers: list[Answer] = []
        self.asked = 0

    def __call__(self, environ: dict[str, Any], start_response: Callable[..., object]) -> list[bytes]:
        environ["wsgi.input"].read()
        status, content = self.answers[min(self.asked, len(self.answers) - 1)]
        self.asked += 1
        start_response(f"{status} X", [("Content-Length", str(len(content)))])
        return [content]


@pytest.fixture(scope="module")
def fake() -> FakeHub:
    return FakeHub()


@pytest.fixture
def member(fake: FakeHub, founded: Founded) -> Iterator[HubClient]:
    fake.asked = 0
    context = tls.server_context(fake.keys.tls_key, fake.keys.tls_cert, None)
    with serve(fake, "127.0.0.1:0", context, threads=2) as server:  # type: ignore[arg-type]
        url = f"https://127.0.0.1:{server.port}"
        client = HubClient(url, founded.members["lender"], fake.keys.tls_cert, pause=lambda _: None)
        yield client
        client.close()


def problem(code: str, **members: object) -> bytes:
    return json.dumps({"code": code, "detail": "what is wrong", **members}).encode()


class TestMisbehavingHub:
    @pytest.mark.parametrize(
        ("status", "content", "expected"),
        [
            (404, problem("request.not-found"), NotFound),
            (403, problem("request.forbidden"), Forbidden),
            (409, problem("request.conflict"), Conflict),
            (422, problem("ledger.not-published"), NotPublished),
            (422, problem("entry.wrong-net"), Refusal),
            (422, problem("request.invalid", field="a", expected="b", actual="c"), InvalidRequest),
            (418, problem("unheard.of"), HubRefused),
            (500, b"<html>", HubRefused),
            (500, b"[1]", HubRefused),
            (302, b"", HubRefused),
        ],
    )
    def test_its_refusals_become_errors(
        self, fake: FakeHub, member: HubClient, status: int, content: bytes, expected: type[Exception]
    ) -> None:
        fake.answers = [(status, content)]
        with pytest.raises(expected):
            member.get_spec("job-x")
        assert fake.asked == 1

    def test_a_refusal_keeps_the_hubs_code(self, fake: FakeHub, member: HubClient) -> None:
        fake.answers = [(418, problem("unheard.of"))]
        with pytest.raises(HubRefused, match="what is wrong") as caught:
            member.hub()
        assert (caught.value.code, HubRefused.code) == ("unheard.of", "hub.refused")

    def test_a_passing_failure_is_tried_again(self, fake: FakeHub, member: HubClient) -> None:
        busy = (503, problem("ledger.log-closed"))
        fake.answers = [busy, busy, (200, b'{"name":"hub"}')]
        assert member.hub() == {"name": "hub"}
        assert fake.asked == 3

    def test_a_lasting_failure_is_told(self, fake: FakeHub, member: HubClient) -> None:
        fake.answers = [(503, problem("ledger.log-closed"))]
        with pytest.raises(LogClosed):
            member.hub()
        assert fake.asked == 3

    @pytest.mark.parametrize("content", [b"", b"[]", b"\xff", b"1"])
    def test_an_answer_that_is_no_object_is_an_error(
        self, fake: FakeHub, member: HubClient, content: bytes
    ) -> None:
        fake.answers = [(200, content)]
        with pytest.raises(HubUnreachable, match="expected a JSON object"):
            member.hub()

    @pytest.mark.parametrize("content", [b"{}", b'{"index":"1","txid":"x","code":null}', b'{"index":1}'])
    def test_a_place_of_another_form_is_an_error(
        self, fake: FakeHub, member: HubClient, content: bytes
    ) -> None:
        fake.answers = [(200, content)]
        with pytest.raises(HubUnreachable, match="expected where the entry stands"):
            member.submit(b"entry")

    def test_a_time_that_is_none_is_an_error(self, fake: FakeHub, member: HubClient) -> None:
        fake.answers = [(200, b'{"time":"noon"}')]
        with pytest.raises(HubUnreachable, match="expected the hub's time"):
            member.skew(system_clock())

    def test_an_endless_answer_does_not_fill_the_members_memory(
        self, fake: FakeHub, member: HubClient
    ) -> None:
        fake.answers = [(200, b" " * (9 * 1024 * 1024))]
        with pytest.raises(HubUnreachable):
            member.hub()

    def test_a_closed_connection_says_so(self, fake: FakeHub, member: HubClient) -> None:
        member.close()
        with pytest.raises(HubUnreachable, match="is closed"):
            member.hub()
        assert fake.asked == 0
