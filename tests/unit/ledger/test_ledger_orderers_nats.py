"""What a NATS cluster's monitoring must say before the orderer trusts it."""

import json
import threading
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest

from ledger.errors import EngineUnusable
from ledger.orderers.nats_monitoring import check_servers

NAMES = ("a", "b", "c")


def settings(name: str, **changes: Any) -> dict[str, Any]:
    others = [{"name": other} for other in NAMES if other != name]
    meta = {"leader": "a", "cluster_size": 3, "replicas": others}
    config = {"sync_interval": 120_000_000_000, "sync_always": True}
    return {"server_name": name, "jetstream": {"config": config, "meta": meta}} | changes


@contextmanager
def monitored(*documents: Any) -> Iterator[list[str]]:
    """Serve each document as one server's /varz; None answers with 404."""
    with ExitStack() as stack:
        yield [stack.enter_context(_serving(document)) for document in documents]


@contextmanager
def _serving(document: Any) -> Iterator[str]:
    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            raw = document if isinstance(document, bytes) else json.dumps(document).encode()
            self.send_response(200 if document is not None and self.path == "/varz" else 404)
            self.send_header("Content-Length", str(len(raw)))
            self.end_headers()
            self.wfile.write(raw)

        def log_message(self, *_: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as running:
        thread = threading.Thread(target=running.serve_forever, args=(0.01,))
        thread.start()
        try:
            yield f"http://127.0.0.1:{running.server_port}"
        finally:
            running.shutdown()
            thread.join()


def checked(*documents: Any) -> frozenset[str]:
    with monitored(*documents) as urls:
        return check_servers(urls, tls=None, patience_s=0.3)


def test_three_servers_that_sync_every_write_are_taken() -> None:
    assert checked(*(settings(name) for name in NAMES)) == {"a", "b", "c"}


def test_servers_that_list_replicas_at_the_leader_alone_are_taken() -> None:
    followers = [settings(name) for name in ("b", "c")]
    for follower in followers:
        follower["jetstream"]["meta"] = {"leader": "a"}
    assert checked(settings("a"), *followers) == {"a", "b", "c"}


@pytest.mark.parametrize(
    ("third", "words"),
    [
        (None, "settings at /varz, got HTTPStatusError"),
        (b"<html>", "settings at /varz, got JSONDecodeError"),
        ([], "another document"),
        ({}, "another document"),
        (settings("c", jetstream={}), "a server with JetStream"),
        (settings("c", jetstream={"config": {"sync_interval": 1}}), "sync_interval: always"),
        (settings("c", jetstream={"config": {"sync_always": "true"}}), "sync_interval: always"),
        (settings("b"), "none for c"),
        (settings("c", jetstream={"config": {"sync_always": True}, "meta": {}}), ""),
    ],
)
def test_a_server_that_may_lose_data_is_refused(third: Any, words: str) -> None:
    documents = [settings("a"), settings("b"), third]
    if not words:
        assert checked(*documents) == {"a", "b", "c"}
        return
    with pytest.raises(EngineUnusable, match=words):
        checked(*documents)


def test_a_server_that_does_not_answer_is_refused() -> None:
    with monitored(settings("a"), settings("b")) as urls:
        with pytest.raises(EngineUnusable, match=r"127\.0\.0\.1:9: .*ConnectError"):
            check_servers([*urls, "http://127.0.0.1:9"], tls=None, patience_s=0.3)


def test_a_server_that_nobody_asked_is_refused() -> None:
    with pytest.raises(EngineUnusable, match="every server of the cluster, got none for c"):
        checked(settings("a"), settings("b"))


def test_a_single_server_is_refused() -> None:
    with pytest.raises(EngineUnusable, match="at least 3 servers, got 1"):
        checked(settings("a", jetstream={"config": {"sync_always": True}}))
    with pytest.raises(EngineUnusable, match="at least 3 servers, got 0"):
        checked()


def test_three_servers_that_are_no_cluster_are_refused() -> None:
    alone = [settings(name, jetstream={"config": {"sync_always": True}}) for name in NAMES]
    with pytest.raises(EngineUnusable, match="servers of one cluster"):
        checked(*alone)


def test_a_cluster_with_more_servers_than_were_asked_is_refused() -> None:
    documents = [settings(name) for name in NAMES]
    documents[0]["jetstream"]["meta"]["cluster_size"] = 5
    with pytest.raises(EngineUnusable, match="at least 5 servers, got 3"):
        checked(*documents)
