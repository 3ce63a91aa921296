"""A member's connection to the hub: pinned mutual TLS, the log's source, and what members leave for others.

One certificate is accepted as the hub's, the one the genesis names. Nothing the hub answers is believed here:
the mirror recomputes the log, and who fetches a paper compares its digest with the ledger. Every call may be
repeated without harm (an entry counts once by its ``txid``), so a call that broke off is tried again.
"""

from __future__ import annotations

import json
import math
import ssl
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import datetime
from typing import Any
from urllib.parse import quote

import httpx

from exchange.errors import (
    Conflict,
    ExchangeError,
    Forbidden,
    HubUnreachable,
    InvalidRequest,
    NotFound,
    TimedOut,
)
from exchange.identity import NodeKeys
from exchange.tls import client_context
from ledger.errors import (
    LedgerError,
    LogClosed,
    MalformedEntry,
    MalformedNote,
    NotPublished,
    Refusal,
    StoreUnavailable,
    UnverifiedNote,
)
from ledger.log import Placed
from ledger.tiles import encode_entries, tile_path
from ledger.times import parse_time

__all__ = ["HubClient", "HubRefused"]

_CONNECT_S = 5.0
_ANSWER_S = 15.0
_UPLOAD_S = 120.0
_KEPT_S = 30.0  # shorter than the hub keeps an idle connection
_CONNECTIONS = 32
_PAUSES_S = (0.1, 0.4)
_LONGEST_DETAIL = 1000

_PAPER_LIMIT = 65 * 1024 * 1024
_BUNDLE_LIMIT = 256 * (32 * 1024 + 2)
_PROMISE_LIMIT = 4096
_ANSWER_LIMIT = 8 * 1024 * 1024

_PLAIN: tuple[type[ExchangeError] | type[LedgerError], ...] = (
    Conflict,
    Forbidden,
    LogClosed,
    MalformedEntry,
    MalformedNote,
    NotFound,
    NotPublished,
    StoreUnavailable,
    TimedOut,
    UnverifiedNote,
)
_BY_CODE = {kind.code: kind for kind in _PLAIN}


class HubRefused(ExchangeError):
    """The hub answered that it does not do what was asked; ``code`` is the hub's own."""

    code = "hub.refused"
    blame = "caller"

    def __init__(self, code: str, message: str) -> None:
        super().__init__(message)
        self.code = code  # type: ignore[misc]  # an answer's own code stands in for the class's


class HubClient:
    """The hub, as one member sees it. Safe to use from several threads.

    Args:
        url: ``https://host:port`` of the member listener.
        keys: this member's; its TLS certificate says who is calling.
        certificate: the hub's, DER; no other is accepted.
        pause: waits between attempts.
    """

    def __init__(
        self, url: str, keys: NodeKeys, certificate: bytes, *, pause: Callable[[float], None] = time.sleep
    ) -> None:
        self._url, self._pause, self._certificate = url, pause, certificate
        self._closed = threading.Event()
        self._lock, self._in_flight = threading.Lock(), 0
        self._clients: dict[bytes, httpx.Client] = {}
        self.use(keys)

    def use(self, keys: NodeKeys) -> None:
        """Show another certificate from now on; calls under way go on with the one they began with."""
        if keys.tls_cert not in self._clients:
            self._clients[keys.tls_cert] = self._client(keys)
        self._http = self._clients[keys.tls_cert]

    def close(self) -> None:
        """Let calls after this one fail, and close all connections when none is in use any more.

        A connection is never closed under a thread that waits on it: that thread would go on reading and
        writing whatever the process opens next under the same descriptor.
        """
        with self._lock:
            self._closed.set()
            self._close_if_idle()

    def _close_if_idle(self) -> None:
        if self._closed.is_set() and not self._in_flight:
            for client in self._clients.values():
                client.close()

    @contextmanager
    def _in_use(self) -> Iterator[None]:
        with self._lock:
            if self._closed.is_set():
                raise HubUnreachable(f"the connection to the hub at {self._url} is closed")
            self._in_flight += 1
        try:
            yield
        finally:
            with self._lock:
                self._in_flight -= 1
                self._close_if_idle()

    # the log's source

    def checkpoint(self, *, known: tuple[int, int] = (0, 0), wait_s: float = 0.0) -> bytes:
        """The newest checkpoint with its cosignatures; waits for one that differs from ``known``.

        Args:
            known: size and number of cosignatures that the caller has.
            wait_s: how long the hub may wait before it answers with what there is.
        """
        size, cosignatures = known
        params: dict[str, str | int] = {"size": size, "cosignatures": cosignatures}
        params["wait"] = f"{max(wait_s, 0):.3f}"
        return self._call("GET", "/ledger/checkpoint", params=params, wait_s=wait_s)

    def checkpoint_of(self, size: int) -> bytes:
        """The log's checkpoint of one size, with the cosignatures of outside witnesses only."""
        return self._call("GET", f"/ledger/checkpoint/{size}")

    def entry_bundle(self, number: int, width: int) -> bytes:
        """Bundle ``number`` of the log's entries, as far as ``width``."""
        return self._call("GET", f"/ledger/tile/entries/{tile_path(number, width)}", limit=_BUNDLE_LIMIT)

    def tile(self, level: int, number: int, width: int) -> bytes:
        """Tile ``number`` of the hashes at ``level``, as far as ``width``."""
        return self._call("GET", f"/ledger/tile/{level}/{tile_path(number, width)}")

    def submit(self, raw: bytes) -> Placed:
        """Hand in an entry; returns where it stands once it is sequenced.

        Raises:
            MalformedEntry, Refusal: the hub does not take it; it does not stand in the log.
        """
        answer = self._json("POST", "/ledger/entries", content=raw)
        index, txid, code = (answer.get(name) for name in ("index", "txid", "code"))
        if not isinstance(index, int) or not isinstance(txid, str) or not isinstance(code, str | None):
            raise self._unfit("where the entry stands")
        return Placed(index, txid, code)

    def promise(self, raw: bytes) -> bytes:
        """Have the hub promise an entry; see ``ledger.promises``."""
        return self._call("POST", "/ledger/promises", content=raw, limit=_PROMISE_LIMIT)

    def submit_many(self, raws: Sequence[bytes]) -> list[Placed | LedgerError]:
        """Hand in up to 1,000 entries at once; returns for each, in order, what ``submit`` would say."""
        body = encode_entries(raws)
        answers = self._json("POST", "/ledger/entries/bundle", content=body).get("entries")
        if not isinstance(answers, list) or len(answers) != len(raws):
            raise self._unfit("an answer for each entry")
        return [self._placed_or_error(answer) for answer in answers]

    def _placed_or_error(self, answer: object) -> Placed | LedgerError:
        match answer:
            case {"error": str(code), "detail": str(detail)}:
                kind = _BY_CODE.get(code)
                if kind is not None and issubclass(kind, LedgerError):
                    return kind(detail)
                return Refusal(code, detail)
            case {"index": int(index), "txid": str(txid), "code": str() | None as code}:
                return Placed(index, txid, code)
        raise self._unfit("where each entry stands")

    def add_cosignature(self, size: int, line: str) -> None:
        """Hand in this member's cosignature of the checkpoint of ``size``."""
        self._call("POST", "/ledger/cosignatures", params={"size": size}, content=line.encode())

    # papers

    def put_spec(self, job: str, content: bytes) -> None:
        """Leave the specification of a job this member has submitted."""
        self._call("PUT", f"/v1/jobs/{_part(job)}/spec", content=content)

    def get_spec(self, job: str) -> bytes:
        """Fetch the specification of a job; compare its digest with the ledger's.

        Raises:
            NotFound: its submitter has not left it yet.
        """
        return self._call("GET", f"/v1/jobs/{_part(job)}/spec", limit=_PAPER_LIMIT)

    def put_result(self, job: str, step: str, sender: str, recipient: str, sealed: bytes) -> None:
        """Leave what this member releases in a step, sealed to its recipient."""
        self._call("PUT", _result_path(job, step, sender, recipient), content=sealed)

    def get_result(self, job: str, step: str, sender: str, recipient: str) -> bytes:
        """Fetch what was released to this member; compare its digest with the ledger's.

        Raises:
            NotFound: nothing has been.
        """
        return self._call("GET", _result_path(job, step, sender, recipient), limit=_PAPER_LIMIT)

    def progress(self, job: str, step: str, done: int, total: int, left_s: int | None = None) -> None:
        """Tell how far this member is with a step, and how many seconds the rest will take."""
        told = {"step": step, "done": done, "total": total, "left_s": left_s}
        self._call("POST", f"/v1/jobs/{_part(job)}/progress", content=json.dumps(told).encode())

    def job(self, job: str) -> dict[str, Any]:
        """A job as the hub shows it, with the progress its parties tell under ``progress``."""
        return self._json("GET", f"/v1/jobs/{_part(job)}")

    def catalog(self, words: str = "") -> dict[str, Any]:
        """The catalog as the hub shows it, as DCAT."""
        return self._json("GET", "/v1/catalog", params={"q": words})

    # about the hub

    def hub(self) -> dict[str, Any]:
        """What the hub says of itself: name, network, origin, genesis, time, version."""
        return self._json("GET", "/v1/hub")

    def witnesses(self) -> list[dict[str, Any]]:
        """Outside witnesses and mirrors: kind, name, verifier keys, entries they cosigned, last problem."""
        copies = self._json("GET", "/v1/witnesses").get("copies")
        if not isinstance(copies, list) or not all(isinstance(copy, dict) for copy in copies):
            raise self._unfit("a list of witnesses")
        return copies

    def skew(self, now: datetime) -> float:
        """Seconds by which ``now`` is ahead of the hub's clock; exact to about one second."""
        try:
            return (now - parse_time(str(self.hub().get("time")))).total_seconds()
        except ValueError:
            raise self._unfit("the hub's time") from None

    # one call

    def _client(self, keys: NodeKeys) -> httpx.Client:
        return httpx.Client(
            base_url=self._url,
            verify=client_context(keys.tls_key, keys.tls_cert, self._certificate),
            headers={"Accept-Encoding": "identity"},  # entries are read as they come, and the cores are few
            limits=httpx.Limits(
                max_connections=_CONNECTIONS,
                max_keepalive_connections=_CONNECTIONS,
                keepalive_expiry=_KEPT_S,
            ),
            trust_env=False,
        )

    def _json(self, method: str, path: str, **request: Any) -> dict[str, Any]:  # noqa: ANN401
        raw = self._call(method, path, **request)
        try:
            answer = json.loads(raw)
        except ValueError:
            answer = None
        if not isinstance(answer, dict):
            raise self._unfit("a JSON object")
        return answer

    def _unfit(self, expected: str) -> HubUnreachable:
        return HubUnreachable(f"expected {expected} from {self._url}, got something else; is it a hub?")

    def _call(
        self,
        method: str,
        path: str,
        *,
        params: Mapping[str, str | int] | None = None,
        content: bytes | None = None,
        wait_s: float = 0.0,
        limit: int = _ANSWER_LIMIT,
    ) -> bytes:
        for pause_s in (*_PAUSES_S, math.inf):
            try:
                return self._attempt(method, path, params, content, wait_s, limit)
            except (HubUnreachable, LogClosed, StoreUnavailable):
                if pause_s == math.inf or self._closed.is_set():
                    raise
                self._pause(pause_s)
        raise AssertionError("the last attempt returns or raises")

    def _attempt(
        self,
        method: str,
        path: str,
        params: Mapping[str, str | int] | None,
        content: bytes | None,
        wait_s: float,
        limit: int,
    ) -> bytes:
        timeout = httpx.Timeout(_ANSWER_S + wait_s, connect=_CONNECT_S, write=_UPLOAD_S)
        headers = {} if content is None else {"Content-Type": "application/octet-stream"}
        try:
            with (
                self._in_use(),
                self._http.stream(
                    method, path, params=params, content=content, headers=headers, timeout=timeout
                ) as response,
            ):
                body = _read(response, limit)
        except (httpx.HTTPError, OSError) as error:
            raise HubUnreachable(self._reason(error)) from error
        if self._closed.is_set():
            raise HubUnreachable(f"the connection to the hub at {self._url} was closed meanwhile")
        if response.is_success:
            return body
        raise _problem(response.status_code, body)

    def _reason(self, error: Exception) -> str:
        cause: BaseException | None = error
        while cause is not None:
            if isinstance(cause, ssl.SSLCertVerificationError):
                return f"expected the hub's pinned certificate at {self._url}, got another one"
            cause = cause.__cause__ or cause.__context__
        if isinstance(error, httpx.ReadError | httpx.RemoteProtocolError):
            return f"the hub at {self._url} broke off; it may not know this member's certificate"
        return f"the hub at {self._url} does not answer: {type(error).__name__}"


def _result_path(job: str, step: str, sender: str, recipient: str) -> str:
    return "/v1/results/" + "/".join(_part(part) for part in (job, step, sender, recipient))


def _part(value: str) -> str:
    return quote(value, safe=":")


def _read(response: httpx.Response, limit: int) -> bytes:
    """Read an answer; a hub cannot fill this node's memory with one."""
    body = bytearray()
    for piece in response.iter_raw():
        body += piece
        if len(body) > limit:
            raise httpx.ReadError(f"expected at most {limit} bytes")
    return bytes(body)


def _problem(status: int, body: bytes) -> ExchangeError | LedgerError:
    """The error that an answer stands for."""
    try:
        problem = json.loads(body)
    except ValueError:
        problem = None
    if not isinstance(problem, dict):
        problem = {}
    code = str(problem.get("code", f"http.{status}"))
    detail = str(problem.get("detail", problem.get("title", f"the hub answered {status}")))[:_LONGEST_DETAIL]
    if code == InvalidRequest.code:
        named = (str(problem.get(name, ""))[:_LONGEST_DETAIL] for name in ("field", "expected", "actual"))
        return InvalidRequest(*named)
    if code.startswith("entry."):
        return Refusal(code, detail)
    kind = _BY_CODE.get(code)
    return HubRefused(code, detail) if kind is None else kind(detail)
