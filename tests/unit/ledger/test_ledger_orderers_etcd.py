"""The etcd orderer against servers that misbehave in ways a real cluster rarely does."""

import base64
import json
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest

from ledger.errors import EngineUnusable, OrderConflict, StoreCorrupt, StoreUnavailable
from ledger.orderers.etcd import EtcdOrderer

Answer = tuple[int, dict[str, Any]] | None
Gateway = Callable[[str, dict[str, Any]], Answer]
NO_CONNECTION: Any = None


@contextmanager
def server(answer: Gateway) -> Iterator[str]:
    """Run an etcd gateway that answers with status and document, or hangs up."""

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            answered = answer(self.path, body)
            if answered is None:
                self.close_connection = True
                return
            status, document = answered
            raw = json.dumps(document).encode()
            self.send_response(status)
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


class Fake:
    """Answers reads with ``values`` and transactions with ``succeeded``; ``before`` may answer first."""

    def __init__(self, version: str = "3.4.23") -> None:
        self.version, self.succeeded = version, True
        self.values: dict[str, bytes] = {}
        self.asked: list[str] = []
        self.before: Callable[[str, dict[str, Any]], Answer | bool] = lambda path, body: True

    def __call__(self, path: str, body: dict[str, Any]) -> Answer:
        if path == "/v3/maintenance/status":
            return 200, {"version": self.version}
        self.asked.append(path)
        first = self.before(path, body)
        if first is not True:
            return first  # type: ignore[return-value]
        if path == "/v3/kv/range":
            return 200, {"header": {"revision": "9"}, **self.read(body)}
        responses = [
            {"response_range": self.read(op["request_range"])}
            for op in body["success" if self.succeeded else "failure"]
            if "request_range" in op
        ]
        return 200, {"header": {"revision": "9"}, "succeeded": self.succeeded, "responses": responses}

    def read(self, request: dict[str, Any]) -> dict[str, Any]:
        start = base64.b64decode(request["key"]).decode()
        end = base64.b64decode(request.get("range_end", "")).decode() or start + "\0"
        found = sorted((key, value) for key, value in self.values.items() if start <= key < end)
        return {
            "kvs": [
                {"key": base64.b64encode(key.encode()).decode(), "value": base64.b64encode(value).decode()}
                for key, value in found
            ]
        }


@contextmanager
def orderer(*fakes: Gateway, patience_s: float = 0.5) -> Iterator[EtcdOrderer]:
    with contextmanager(_servers)(fakes) as endpoints:
        opened = EtcdOrderer(endpoints, "net", patience_s=patience_s)
        try:
            yield opened
        finally:
            opened.close()


def _servers(fakes: tuple[Gateway, ...]) -> Iterator[list[str]]:
    if not fakes:
        yield []
        return
    with server(fakes[0]) as first, contextmanager(_servers)(fakes[1:]) as rest:
        yield [first, *rest]


@pytest.mark.parametrize("version", ["3.5.0", "3.5.1", "3.5.2", "3.5.0-rc.1", ""])
def test_a_version_that_loses_data_is_refused(version: str) -> None:
    with pytest.raises(EngineUnusable, match=r"expected a version other than 3\.5\.0, 3\.5\.1, 3\.5\.2"):
        with orderer(Fake(), Fake(version)):
            pass


@pytest.mark.parametrize("version", ["3.4.23", "3.5.3", "3.5.21", "3.6.0"])
def test_other_versions_are_taken(version: str) -> None:
    with orderer(Fake(version)) as opened:
        assert opened.head() == 0


def test_a_server_that_was_away_at_first_is_asked_for_its_version_before_its_first_use() -> None:
    def hangs_up(path: str, body: dict[str, Any]) -> Answer:
        return NO_CONNECTION

    late = Fake("3.5.1")
    current: list[Gateway] = [hangs_up]
    first = Fake()
    with orderer(first, lambda path, body: current[0](path, body)) as opened:
        assert opened.head() == 0
        current[0] = late
        first.before = lambda path, body: (503, {"error": "no leader", "code": 14})
        with pytest.raises(EngineUnusable):
            opened.head()


def test_no_server_at_all_is_told() -> None:
    with pytest.raises(StoreUnavailable, match="ConnectError"):
        EtcdOrderer(["http://127.0.0.1:9"], "net", patience_s=0.2)
    with pytest.raises(EngineUnusable, match="at least one endpoint"):
        EtcdOrderer([], "net")


@pytest.mark.parametrize(
    "answer", [(503, {"error": "etcdserver: no leader", "code": 14}), (504, {}), NO_CONNECTION]
)
def test_another_server_is_asked_when_one_fails(answer: Answer) -> None:
    broken, sound = Fake(), Fake()
    sound.values["parley/net/head"] = b"4"
    broken.before = lambda path, body: answer
    with orderer(broken, sound, patience_s=3.0) as opened:
        assert opened.head() == 4


def test_an_answer_that_was_lost_is_found_out() -> None:
    fake = Fake()

    def carry_out_and_hang_up(path: str, body: dict[str, Any]) -> Answer:
        put = body["success"][0]["request_put"]
        fake.values[base64.b64decode(put["key"]).decode()] = base64.b64decode(put["value"])
        fake.succeeded = False
        fake.before = lambda path, body: True
        return NO_CONNECTION

    fake.before = carry_out_and_hang_up
    with orderer(fake) as opened:
        opened.propose(0, b"mine", connection=NO_CONNECTION)
    assert fake.asked == ["/v3/kv/txn"] * 2


def test_another_writers_batch_is_a_conflict() -> None:
    fake = Fake()
    fake.values[f"parley/net/b/{0:016x}"] = b"somebody 0\ntheirs"
    fake.succeeded = False
    with orderer(fake) as opened, pytest.raises(OrderConflict):
        opened.propose(0, b"mine", connection=NO_CONNECTION)


def test_what_stays_unknown_is_told() -> None:
    fake = Fake()
    with orderer(fake, patience_s=0.3) as opened:
        fake.before = lambda path, body: NO_CONNECTION
        with pytest.raises(StoreUnavailable, match="not known whether") as told:
            opened.propose(0, b"mine", connection=NO_CONNECTION)
    assert told.value.retryable


def test_a_refusal_is_not_repeated() -> None:
    fake = Fake()
    fake.before = lambda path, body: (429, {"error": "etcdserver: mvcc: database space exceeded", "code": 8})
    with orderer(fake, patience_s=60.0) as opened, pytest.raises(StoreUnavailable, match="space exceeded"):
        opened.propose(0, b"mine", connection=NO_CONNECTION)
    assert len(fake.asked) == 1


@pytest.mark.parametrize(
    "values",
    [
        {"parley/net/head": b"five"},
        {"parley/net/b/0000000000000000": b"writer many\nbatch"},
        {"parley/net/b/0000000000000000": b"writer 2\n", "parley/net/p/0000000000000000/writer/0001": b"x"},
    ],
)
def test_values_that_are_not_ours_are_told(values: dict[str, bytes]) -> None:
    fake = Fake()
    fake.values = values
    with orderer(fake) as opened, pytest.raises(StoreCorrupt):
        list(opened.follow(opened.head()))
