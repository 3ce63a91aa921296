from __future__ import annotations

import json
import logging
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from datetime import UTC, datetime
from http.client import HTTPSConnection
from typing import Any

import pytest

from exchange import tls
from exchange.web.server import PEER, Server, serve

KEY, DER = tls.self_signed("hub.parley.internal", now=datetime.now(UTC))


class App:
    """Echoes the length of the body; ``/wait`` answers when ``release`` is set."""

    def __init__(self) -> None:
        self.release = threading.Event()
        self.waiting = threading.Semaphore(0)
        self.peers: list[object] = []

    def __call__(self, environ: dict[str, Any], start_response: Callable[..., object]) -> list[bytes]:
        self.peers.append(environ[PEER])
        if environ["PATH_INFO"] == "/wait":
            self.waiting.release()
            self.release.wait(5)
        if environ["PATH_INFO"] == "/broken":
            raise RuntimeError("a detail that stays here")
        body = str(len(environ["wsgi.input"].read())).encode()
        start_response("200 OK", [("Content-Length", str(len(body)))])
        return [body]


@pytest.fixture
def app() -> App:
    return App()


@pytest.fixture
def server(app: App) -> Iterator[Server]:
    context = tls.server_context(KEY, DER, None)
    with serve(app, "127.0.0.1:0", context, threads=6, body_limit=1000) as running:  # type: ignore[arg-type]
        yield running
        app.release.set()


def call(
    server: Server, method: str = "GET", path: str = "/", body: object = None, **options: Any
) -> tuple[int, str, bytes]:
    context = tls.client_context(None, None, DER)
    with closing(HTTPSConnection("127.0.0.1", server.port, context=context, timeout=5)) as connection:
        connection.request(method, path, body=body, **options)  # type: ignore[arg-type]
        response = connection.getresponse()
        return response.status, response.headers.get_content_type(), response.read()


def test_it_serves_and_names_no_peer_without_client_certificates(server: Server, app: App) -> None:
    assert call(server, "POST", body=b"12345") == (200, "text/plain", b"5")
    assert app.peers == [None]


def test_a_body_over_the_limit_is_413_before_it_is_read(server: Server, app: App) -> None:
    status, kind, body = call(server, "POST", body=b"x" * 1001)
    assert (status, kind) == (413, "application/problem+json")
    assert json.loads(body)["code"] == "http.413"
    assert app.peers == []


def test_a_body_at_the_limit_is_accepted(server: Server) -> None:
    assert call(server, "POST", body=b"x" * 1000)[2] == b"1000"


def test_a_body_of_undeclared_length_is_411(server: Server, app: App) -> None:
    status, _, body = call(server, "POST", body=iter([b"abc"]), encode_chunked=True)
    assert status == 411
    assert json.loads(body)["status"] == 411
    assert app.peers == []


def test_as_many_requests_wait_as_there_are_threads(server: Server, app: App) -> None:
    callers = [threading.Thread(target=call, args=(server, "GET", "/wait")) for _ in range(5)]
    for caller in callers:
        caller.start()
    for _ in callers:
        assert app.waiting.acquire(timeout=5)
    assert call(server)[0] == 200
    app.release.set()
    for caller in callers:
        caller.join()


def test_a_caller_that_never_shakes_hands_holds_up_nobody(server: Server) -> None:
    with socket.create_connection(("127.0.0.1", server.port)):
        time.sleep(0.05)
        started = time.monotonic()
        assert call(server)[0] == 200
        assert time.monotonic() - started < 2


def test_a_caller_without_tls_gets_no_answer(server: Server, app: App) -> None:
    with socket.create_connection(("127.0.0.1", server.port), timeout=5) as plain:
        plain.sendall(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
        received = b""
        try:
            while piece := plain.recv(1000):
                received += piece
        except ConnectionResetError:
            pass
    assert b"HTTP" not in received
    assert app.peers == []


def test_nothing_that_a_caller_sends_is_logged(server: Server, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    call(server, "POST", "/canary-path?canary-query=1", body=b"canary-body")
    call(server, "POST", "/canary-path", body=b"canary-body" * 200)
    assert "canary" not in caplog.text


def test_a_broken_application_shows_no_detail(server: Server) -> None:
    status, kind, body = call(server, path="/broken")
    assert (status, kind) == (500, "application/problem+json")
    assert b"detail" not in body


def test_stop_lets_a_request_finish_and_leaves_no_thread(app: App) -> None:
    before = set(threading.enumerate())
    context = tls.server_context(KEY, DER, None)
    server = serve(app, "127.0.0.1:0", context, threads=3)  # type: ignore[arg-type]
    server.start()
    answers: list[int] = []
    caller = threading.Thread(target=lambda: answers.append(call(server, "GET", "/wait")[0]))
    caller.start()
    assert app.waiting.acquire(timeout=5)
    threading.Timer(0.1, app.release.set).start()
    server.stop()
    server.stop()
    caller.join()
    assert answers == [200]
    for thread in set(threading.enumerate()) - before:
        thread.join(2)
    assert not set(threading.enumerate()) - before
    with pytest.raises(ConnectionRefusedError):
        call(server)


def test_an_address_in_use_is_an_error_of_start(server: Server, app: App) -> None:
    other = serve(app, f"127.0.0.1:{server.port}", tls.server_context(KEY, DER, None))  # type: ignore[arg-type]
    with pytest.raises(OSError, match="in use"):
        other.start()
