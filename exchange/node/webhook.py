"""Calling the organisation's own systems when there is a notice for people.

One HTTPS address, which the operator's settings name; redirects and proxies are not followed. The body has
ids alone: whoever wants to know more asks the node's API with a token. Each call carries
``Parley-Signature: t=TIME,v1=HEX``, HMAC-SHA-256 with the shared secret over ``TIME.BODY``, so that the
receiver knows who calls and how old the call is. A call that fails is tried again, later each time, and given
up after a day; the notice itself stays.
"""

from __future__ import annotations

import hashlib
import hmac
import json
import logging
import ssl
import threading
from collections.abc import Callable
from datetime import datetime, timedelta
from pathlib import Path
from typing import Final

import httpx

from exchange.errors import Conflict
from exchange.store import StoreUnavailable, WebhookCall, WebhookCallRepository
from exchange.tls import client_context

__all__ = ["SIGNATURE", "Webhook", "read_secret", "signature"]

_log = logging.getLogger(__name__)

SIGNATURE: Final = "Parley-Signature"
_LEAST_SECRET: Final = 32
_TIMEOUT_S: Final = 10.0
_FIRST_WAIT: Final = timedelta(seconds=5)
_LONGEST_WAIT: Final = timedelta(hours=2)
_ATTEMPTS: Final = 20
_BATCH: Final = 50
_LOOK_S: Final = 60.0


def read_secret(path: Path) -> bytes:
    """Read the shared secret.

    Raises:
        Conflict: the file is missing, open to others, or too short.
    """
    try:
        mode, secret = path.stat().st_mode, path.read_bytes().strip()
    except OSError:
        raise Conflict(f"webhook_secret: expected a readable file, found none at {path}") from None
    if mode & 0o077:
        raise Conflict(f"webhook_secret: expected a file closed to others, found mode {mode & 0o777:o}")
    if len(secret) < _LEAST_SECRET:
        raise Conflict(f"webhook_secret: expected at least {_LEAST_SECRET} bytes, found {len(secret)}")
    return secret


def signature(secret: bytes, time: int, body: bytes) -> str:
    """The value of the header by which a receiver knows a call."""
    mac = hmac.digest(secret, f"{time}.".encode() + body, hashlib.sha256).hex()
    return f"t={time},v1={mac}"


class Webhook:
    """Makes the calls in a thread of its own. Register ``owe`` with ``Notices.on_notice``.

    Args:
        url: where to.
        certificate: the one accepted there, DER; None: one by the public authorities.
        secret: shared with the receiver.
        calls: those owed.
        clock: aware time in UTC.
    """

    def __init__(
        self,
        url: str,
        certificate: bytes | None,
        secret: bytes,
        calls: WebhookCallRepository,
        clock: Callable[[], datetime],
    ) -> None:
        self._url, self._secret, self._calls, self._clock = url, secret, calls, clock
        context = (
            ssl.create_default_context() if certificate is None else client_context(None, None, certificate)
        )
        self._http = httpx.Client(verify=context, timeout=_TIMEOUT_S, trust_env=False, follow_redirects=False)
        self._wanted, self._stopping = threading.Event(), threading.Event()
        self._thread = threading.Thread(target=self._run, name="webhook", daemon=True)

    def start(self) -> None:
        """Begin with what is owed from before."""
        self._wanted.set()
        self._thread.start()

    def stop(self) -> None:
        """End after the call in hand."""
        self._stopping.set()
        self._wanted.set()
        if self._thread.is_alive():
            self._thread.join()
        self._http.close()

    def owe(self, notice: str, kind: str, subject: str) -> None:
        """Have a call made about a notice."""
        self._calls.owe(WebhookCall(notice, kind, subject, 0, self._clock()))
        self._wanted.set()

    def call_due(self) -> None:
        """Make the calls that are due."""
        for call in self._calls.due(self._clock(), _BATCH):
            if self._stopping.is_set():
                return
            if self._called(call):
                self._calls.settle(call.notice)
            elif call.attempts + 1 >= _ATTEMPTS:
                _log.error("the webhook gives up notice %s after %d calls", call.notice, call.attempts + 1)
                self._calls.settle(call.notice)
            else:
                wait = min(_FIRST_WAIT * 2**call.attempts, _LONGEST_WAIT)
                self._calls.put_off(call.notice, self._clock() + wait)

    def _called(self, call: WebhookCall) -> bool:
        body = json.dumps({"id": call.notice, "kind": call.kind, "subject": call.subject}).encode()
        headers = {
            "Content-Type": "application/json",
            SIGNATURE: signature(self._secret, int(self._clock().timestamp()), body),
        }
        try:
            with self._http.stream("POST", self._url, content=body, headers=headers) as answer:
                pass  # the status is all that counts: what else is answered is not read
        except httpx.HTTPError as error:
            _log.warning("the webhook does not answer: %s", type(error).__name__)
            return False
        if not answer.is_success:
            _log.warning("the webhook answers %d", answer.status_code)
        return answer.is_success

    def _run(self) -> None:
        while not self._stopping.is_set():
            try:
                self._wanted.wait(self._until_next())
                self._wanted.clear()
                if not self._stopping.is_set():
                    self.call_due()
            except StoreUnavailable as error:
                _log.warning("the webhook waits: %s", error.code)
                self._stopping.wait(_FIRST_WAIT.total_seconds())

    def _until_next(self) -> float:
        due = self._calls.next_due()
        if due is None:
            return _LOOK_S
        return min(max((due - self._clock()).total_seconds(), 0.0), _LOOK_S)
