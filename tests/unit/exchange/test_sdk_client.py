import base64
import json
import ssl
import threading
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import httpx
import pytest

from exchange.errors import JobFailed, JobRefused, NodeUnreachable, TimedOut, Unauthenticated
from exchange.sdk import NodeClient, NodeProblem, Profile
from exchange.tls import self_signed, server_context

Answer = Callable[[httpx.Request], httpx.Response]
_, CERTIFICATE = self_signed("node.parley.internal", now=datetime.now(UTC))
TOKENS = {role: f"{role}-token" for role in ("steward", "analyst", "auditor", "administrator")}


def client(answer: Answer) -> NodeClient:
    profile = Profile("lender", "https://127.0.0.1:1", CERTIFICATE, TOKENS)
    return NodeClient(profile, transport=httpx.MockTransport(answer))


def test_each_route_is_called_with_its_roles_token() -> None:
    seen: list[tuple[str, str, str | None]] = []

    def answer(request: httpx.Request) -> httpx.Response:
        seen.append((request.method, request.url.path, request.headers.get("Authorization")))
        return httpx.Response(200, json={"proposal": "p", "result": {}, "files": {}})

    with client(answer) as node:
        node.node()
        node.publish({})
        node.withdraw("lender/loans", "r")
        node.request_agreement({})
        node.approve("n", "r")
        node.submit({})
        node.compare()
        node.propose([])
    assert seen == [
        ("GET", "/v1/node", None),
        ("POST", "/v1/assets", "Bearer steward-token"),
        ("POST", "/v1/assets/lender/loans/withdraw", "Bearer steward-token"),
        ("POST", "/v1/negotiations", "Bearer analyst-token"),
        ("POST", "/v1/negotiations/n/approve", "Bearer steward-token"),
        ("POST", "/v1/jobs", "Bearer analyst-token"),
        ("POST", "/v1/audit/compare", "Bearer auditor-token"),
        ("POST", "/v1/governance/proposals", "Bearer administrator-token"),
    ]


def test_a_role_without_a_token_is_not_tried() -> None:
    profile = Profile("lender", "https://127.0.0.1:1", CERTIFICATE, {})
    node = NodeClient(profile, transport=httpx.MockTransport(lambda _: httpx.Response(200, json={})))
    with node, pytest.raises(Unauthenticated, match="steward"):
        node.publish({})


def test_a_problem_document_becomes_an_error_with_its_members() -> None:
    body = {"code": "request.invalid", "detail": "name: expected a, got b", "status": 422, "field": "name"}
    with client(lambda _: httpx.Response(422, json=body)) as node, pytest.raises(NodeProblem) as caught:
        node.publish({})
    assert (caught.value.status, caught.value.code) == (422, "request.invalid")
    assert caught.value.extras == {"field": "name"}


def test_an_agreement_is_waited_for_until_it_has_arrived() -> None:
    known: list[dict[str, str]] = []

    def answer(_: httpx.Request) -> httpx.Response:
        known.append({"agreement": f"agreement-{len(known)}"})
        return httpx.Response(200, json={"agreements": known})

    with client(answer) as node:
        assert node.wait_agreement("agreement-2") == {"agreement": "agreement-2"}
        assert len(known) == 3
        with pytest.raises(TimedOut, match="waited 0 s for agreement-9"):
            node.wait_agreement("agreement-9", timeout_s=0)


def test_entries_are_read_page_by_page() -> None:
    rows = [{"index": number} for number in range(1203)]
    asked: list[int] = []

    def answer(request: httpx.Request) -> httpx.Response:
        after = int(request.url.params.get("cursor", -1))
        asked.append(after)
        assert request.url.params["asset"] == "lender/loans"
        page = [row for row in rows if row["index"] > after][: int(request.url.params["limit"])]
        following = page[-1]["index"] if page and page[-1] != rows[-1] else None
        return httpx.Response(200, json={"entries": page, "cursor": following})

    with client(answer) as node:
        assert list(node.entries(asset="lender/loans")) == rows
    assert asked == [-1, 499, 999]


def test_waiting_reports_each_look_and_returns_the_completed_job() -> None:
    states = iter(["SUBMITTED", "RUNNING", "COMPLETED"])
    seen: list[str] = []
    with client(lambda _: httpx.Response(200, json={"state": next(states)})) as node:
        node.wait_job("job-1", lambda job: seen.append(job["state"]))
    assert seen == ["SUBMITTED", "RUNNING", "COMPLETED"]


def test_a_refused_job_raises_with_the_owners_reasons() -> None:
    refusal = {"party": "did", "name": "lender", "code": "policy.purpose", "reasons": ["purpose not agreed"]}
    job = {"state": "REFUSED", "refusals": [refusal]}
    with client(lambda _: httpx.Response(200, json=job)) as node, pytest.raises(JobRefused) as caught:
        node.wait_job("job-1")
    assert (caught.value.reasons, caught.value.codes) == (("purpose not agreed",), ("policy.purpose",))


def test_a_failed_job_raises_with_its_reason() -> None:
    job = {"state": "FAILED", "refusals": [], "failure": {"reason": "peer is gone"}}
    with (
        client(lambda _: httpx.Response(200, json=job)) as node,
        pytest.raises(JobFailed, match="peer is gone"),
    ):
        node.wait_job("job-1")


def test_waiting_ends_in_time() -> None:
    with client(lambda _: httpx.Response(200, json={"state": "RUNNING"})) as node, pytest.raises(TimedOut):
        node.wait_job("job-1", timeout_s=0.0)


def test_a_result_comes_with_its_files() -> None:
    files = {"table.csv": base64.b64encode(b"a,b\n").decode()}
    body = {"result": {"matched": 3}, "files": files}
    with client(lambda _: httpx.Response(200, json=body)) as node:
        assert node.result("job-1") == ({"matched": 3}, {"table.csv": b"a,b\n"})


class Node(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        body = json.dumps({"name": "lender"}).encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: object) -> None:
        pass


@pytest.fixture
def served() -> Iterator[tuple[str, bytes]]:
    key, certificate = self_signed("lender.parley.internal", now=datetime.now(UTC))
    server = ThreadingHTTPServer(("127.0.0.1", 0), Node)
    context: ssl.SSLContext = server_context(key, certificate, None)
    server.socket = context.wrap_socket(server.socket, server_side=True)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    yield f"https://127.0.0.1:{server.server_port}", certificate
    server.shutdown()
    server.server_close()
    thread.join()


def test_the_pinned_certificate_is_accepted(served: tuple[str, bytes]) -> None:
    with Profile("lender", *served, {}).client() as node:
        assert node.node() == {"name": "lender"}


def test_another_certificate_is_refused_and_named(served: tuple[str, bytes]) -> None:
    url, _ = served
    with (
        Profile("lender", url, CERTIFICATE, {}).client() as node,
        pytest.raises(NodeUnreachable, match="another certificate"),
    ):
        node.node()


def test_a_wrong_port_names_the_address(tmp_path: Path) -> None:
    with (
        Profile("lender", "https://127.0.0.1:9", CERTIFICATE, {}).client() as node,
        pytest.raises(NodeUnreachable, match=r"127\.0\.0\.1:9"),
    ):
        node.node()


def test_no_call_hides_another() -> None:
    owners: dict[str, list[str]] = {}
    for part in NodeClient.__mro__[:-1]:
        for name in vars(part):
            if not name.startswith("__"):
                owners.setdefault(name, []).append(part.__name__)
    assert {name: parts for name, parts in owners.items() if len(parts) > 1} == {}
