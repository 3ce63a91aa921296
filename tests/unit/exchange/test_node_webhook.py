"""The webhook calls one address, signed, with ids alone; it tries again and gives up in the end."""

from __future__ import annotations

import hashlib
import hmac
import json
import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from flask import Flask, Response, request

from exchange.config.kinds import web_hook
from exchange.config.problems import Unfit
from exchange.errors import Conflict
from exchange.node.notices import Notices
from exchange.node.webhook import SIGNATURE, Webhook, read_secret, signature
from exchange.store import NodeStore, StoreUnavailable, open_node_store
from exchange.tls import self_signed, server_context
from exchange.web.server import Server
from ledger.times import system_clock

SECRET = b"0123456789abcdef" * 2
START = datetime(2026, 11, 23, 10, tzinfo=UTC)


class Receiver:
    """An HTTPS server that keeps what it is sent and answers as told."""

    def __init__(self) -> None:
        self.calls: list[tuple[str, bytes, str]] = []
        self.answers: list[Response | int] = []
        app = Flask("receiver")

        @app.post("/hook")
        def hook() -> Any:
            self.calls.append((request.path, request.get_data(), request.headers[SIGNATURE]))
            answer = self.answers.pop(0) if self.answers else 204
            return answer if isinstance(answer, Response) else ("", answer)

        key, self.certificate = self_signed("receiver.internal", now=system_clock())
        self.server = Server(app, "127.0.0.1:0", server_context(key, self.certificate, None))

    @property
    def url(self) -> str:
        return f"https://127.0.0.1:{self.server.port}/hook"


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    made = Receiver()
    with made.server:
        yield made


@pytest.fixture
def store(tmp_path: Path) -> Iterator[NodeStore]:
    opened = open_node_store(f"sqlite:///{tmp_path}/node.sqlite", clock=lambda: START)
    yield opened
    opened.close()


class Clock:
    """A clock that a test moves."""

    def __init__(self) -> None:
        self.now = START

    def __call__(self) -> datetime:
        return self.now


def test_a_notice_is_called_out_with_ids_alone_and_a_signature(receiver: Receiver, store: NodeStore) -> None:
    webhook = Webhook(receiver.url, receiver.certificate, SECRET, store.webhook_calls, Clock())
    notices = Notices(store.notices, lambda: START)
    notices.on_notice(webhook.owe)
    notices.tell("approval.opened", "approval-1", roles=["steward"], facts={"requester": "did:key:zAnalyst"})
    webhook.call_due()
    ((_, body, header),) = receiver.calls
    sent = json.loads(body)
    assert set(sent) == {"id", "kind", "subject"}
    assert (sent["kind"], sent["subject"]) == ("approval.opened", "approval-1")
    stamp, mac = header.removeprefix("t=").split(",v1=")
    assert int(stamp) == int(START.timestamp())
    assert mac == hmac.new(SECRET, stamp.encode() + b"." + body, hashlib.sha256).hexdigest()
    webhook.call_due()
    assert len(receiver.calls) == 1
    webhook.stop()


def test_a_signature_is_over_time_and_body() -> None:
    values = {signature(SECRET, 1, b"a"), signature(SECRET, 2, b"a"), signature(SECRET, 1, b"b")}
    values.add(signature(bytes(32), 1, b"a"))
    assert len(values) == 4


def test_a_call_that_fails_is_tried_again_later_each_time(receiver: Receiver, store: NodeStore) -> None:
    clock = Clock()
    webhook = Webhook(receiver.url, receiver.certificate, SECRET, store.webhook_calls, clock)
    receiver.answers = [500, 503]
    webhook.owe("notice-1", "approval.opened", "approval-1")
    for waits, calls in ((0, 1), (4, 1), (1, 2), (9, 2), (1, 3), (3600, 3)):
        clock.now += timedelta(seconds=waits)
        webhook.call_due()
        assert len(receiver.calls) == calls
    assert store.webhook_calls.next_due() is None
    webhook.stop()


def test_it_gives_up_after_twenty_calls(receiver: Receiver, store: NodeStore) -> None:
    clock = Clock()
    webhook = Webhook(receiver.url, receiver.certificate, SECRET, store.webhook_calls, clock)
    receiver.answers = [500] * 30
    webhook.owe("notice-1", "approval.opened", "approval-1")
    for _ in range(25):
        webhook.call_due()
        clock.now += timedelta(hours=3)
    assert len(receiver.calls) == 20
    assert store.webhook_calls.next_due() is None
    webhook.stop()


def test_a_redirect_is_not_followed(receiver: Receiver, store: NodeStore) -> None:
    webhook = Webhook(receiver.url, receiver.certificate, SECRET, store.webhook_calls, Clock())
    receiver.answers = [Response("", 307, {"Location": "https://127.0.0.1:1/elsewhere"})]
    webhook.owe("notice-1", "approval.opened", "approval-1")
    webhook.call_due()
    assert len(receiver.calls) == 1
    assert store.webhook_calls.next_due() is not None
    webhook.stop()


def test_another_certificate_is_sent_nothing(receiver: Receiver, store: NodeStore) -> None:
    _, other = self_signed("receiver.internal", now=system_clock())
    for accepted in (other, None):
        webhook = Webhook(receiver.url, accepted, SECRET, store.webhook_calls, Clock())
        webhook.owe("notice-1", "approval.opened", "approval-1")
        webhook.call_due()
        webhook.stop()
    assert receiver.calls == []


def test_what_was_owed_before_a_restart_is_called_by_the_thread(receiver: Receiver, store: NodeStore) -> None:
    before = Webhook(receiver.url, receiver.certificate, SECRET, store.webhook_calls, system_clock)
    before.owe("notice-1", "approval.opened", "approval-1")
    before.stop()
    after = Webhook(receiver.url, receiver.certificate, SECRET, store.webhook_calls, system_clock)
    after.start()
    deadline = time.monotonic() + 20
    while not receiver.calls and time.monotonic() < deadline:
        time.sleep(0.02)
    after.stop()
    assert [json.loads(body)["id"] for _, body, _ in receiver.calls] == ["notice-1"]


def test_a_database_that_was_away_for_a_moment_does_not_end_it(
    receiver: Receiver, store: NodeStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("exchange.node.webhook._FIRST_WAIT", timedelta(0))
    look, failures = store.webhook_calls.next_due, [StoreUnavailable("away"), StoreUnavailable("away")]

    def next_due() -> datetime | None:
        if failures:
            raise failures.pop()
        return look()

    monkeypatch.setattr(store.webhook_calls, "next_due", next_due)
    webhook = Webhook(receiver.url, receiver.certificate, SECRET, store.webhook_calls, system_clock)
    webhook.owe("notice-1", "approval.opened", "approval-1")
    webhook.start()
    deadline = time.monotonic() + 20
    while not receiver.calls and time.monotonic() < deadline:
        time.sleep(0.02)
    webhook.stop()
    assert not failures
    assert [json.loads(body)["id"] for _, body, _ in receiver.calls] == ["notice-1"]


@pytest.mark.parametrize(
    "value",
    [
        "http://hooks.example:443/x",
        "https://hooks.example/x",
        "https://user:word@hooks.example:443/x",
        "https://hooks.example:443",
        "https://hooks.example:443/x?token=1",
        "https://hooks.example:443/x#y",
        7,
    ],
)
def test_an_address_of_another_form_is_refused(value: object, tmp_path: Path) -> None:
    with pytest.raises(Unfit):
        web_hook(value, tmp_path)


def test_a_secret_is_long_and_closed_to_others(tmp_path: Path) -> None:
    path = tmp_path / "secret"
    with pytest.raises(Conflict, match="found none"):
        read_secret(path)
    path.write_bytes(SECRET)
    path.chmod(0o644)
    with pytest.raises(Conflict, match="mode 644"):
        read_secret(path)
    path.chmod(0o600)
    assert read_secret(path) == SECRET
    path.write_bytes(b"short")
    with pytest.raises(Conflict, match="at least 32"):
        read_secret(path)
