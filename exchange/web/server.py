"""The WSGI server in front of hub and node: cheroot with our TLS, limits and no request log.

Cheroot's own TLS adapter shakes hands in the thread that accepts connections, so one silent caller would hold
up everyone. Here the worker thread does it. The DER certificate of the caller is ``parley.peer`` in the WSGI
environment; a caller who is no longer trusted is disconnected before its next request is read.
"""

from __future__ import annotations

import contextlib
import json
import logging
import ssl
import threading
import time
from http import HTTPStatus
from socket import SHUT_WR, socket
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self

import cheroot.errors
import cheroot.makefile
import cheroot.server
import cheroot.ssl
import cheroot.wsgi

from exchange.tls import ServerContext, UntrustedPeer

if TYPE_CHECKING:
    from _typeshed.wsgi import WSGIApplication

__all__ = ["BODY_LIMIT", "PEER", "THREADS", "Server", "serve"]

_log = logging.getLogger(__name__)

PEER = "parley.peer"
"""Key of the WSGI environment under which the caller's DER certificate stands."""

THREADS = 40
"""Each member's mirror keeps one request waiting for the next checkpoint; the rest need threads too."""

BODY_LIMIT = 64 * 1024 * 1024
"""Largest request body, in bytes."""

_HEADER_LIMIT = 64 * 1024
_IDLE_S = 60.0  # longer than a long poll
_HANDSHAKE_S = 5.0
_DISCARD_S = 1.0
_STOP_S = 5.0


class _Request(cheroot.server.HTTPRequest):
    """Answers protocol errors as problem details and refuses bodies of undeclared length."""

    def read_request_headers(self) -> bool:
        accepted = bool(super().read_request_headers())  # type: ignore[no-untyped-call]
        if accepted and self.chunked_read:
            self.simple_response("411 Length Required")
            return False
        return accepted

    def simple_response(self, status: str | int, msg: str = "") -> None:
        number = int(str(status)[:3])
        problem = {
            "type": "about:blank",
            "title": HTTPStatus(number).phrase,
            "status": number,
            "code": f"http.{number}",
            "retryable": number == HTTPStatus.SERVICE_UNAVAILABLE,
        }
        body = json.dumps(problem).encode()
        head = (
            f"{self.server.protocol} {number} {HTTPStatus(number).phrase}\r\n"
            f"Content-Type: application/problem+json\r\n"
            f"Content-Length: {len(body)}\r\nConnection: close\r\n\r\n"
        )
        self.close_connection = True
        self.sent_headers = True
        self.conn.wfile.write(head.encode("ascii") + body)
        if number in (HTTPStatus.LENGTH_REQUIRED, HTTPStatus.REQUEST_ENTITY_TOO_LARGE):
            self._discard_body()

    def _discard_body(self) -> None:
        """Read what the caller is still sending: closing on unread bytes would destroy our answer."""
        deadline = time.monotonic() + _DISCARD_S
        with contextlib.suppress(OSError):
            self.conn.socket.settimeout(_DISCARD_S)
            self.conn.socket.shutdown(SHUT_WR)
            while time.monotonic() < deadline and self.conn.socket.recv(65536):
                pass


class _Connection(cheroot.server.HTTPConnection):
    """Shakes hands on first use, in the worker's thread, and looks at the caller before each request."""

    RequestHandlerClass = _Request

    def communicate(self) -> bool:
        context = self.server.ssl_adapter.context
        try:
            if not self.ssl_env:
                self.socket.settimeout(_HANDSHAKE_S)
                self.socket.do_handshake()
                self.socket.settimeout(self.server.timeout)
            peer = context.verified_peer(self.socket)
        except UntrustedPeer as error:
            _log.info("refused a connection: %s", error.args[0])
            return False
        except (ssl.SSLError, OSError) as error:
            _log.info("a connection failed in its TLS handshake: %s", type(error).__name__)
            return False
        self.ssl_env = {"wsgi.url_scheme": "https", "HTTPS": "on", PEER: peer}
        return bool(super().communicate())  # type: ignore[no-untyped-call]


class _Tls(cheroot.ssl.Adapter):
    """Gives cheroot sockets on which the handshake has not yet happened."""

    def __init__(self, context: ServerContext) -> None:
        self.context = context

    def bind(self, sock: socket) -> socket:
        return sock

    def wrap(self, sock: socket) -> tuple[ssl.SSLSocket, dict[str, Any]]:
        self.context.refresh()
        wrapped = self.context.wrap_socket(sock, server_side=True, do_handshake_on_connect=False)
        return wrapped, {}

    def get_environ(self) -> dict[str, Any]:
        return {}

    def makefile(self, sock: socket, mode: str = "r", bufsize: int = -1) -> Any:  # noqa: ANN401
        maker = cheroot.makefile.StreamReader if "r" in mode else cheroot.makefile.StreamWriter
        return maker(sock, mode, bufsize)


class _Wsgi(cheroot.wsgi.Server):
    ConnectionClass = _Connection
    max_request_header_size = _HEADER_LIMIT
    keep_alive_conn_limit = 1024
    expiration_interval = 0.2  # also the longest time that stop waits for the accepting thread

    @staticmethod
    def bind_socket(socket_: socket, bind_addr: tuple[str, int]) -> socket:
        try:
            socket_.bind(bind_addr)
        except OSError:
            socket_.close()
            raise
        return socket_

    def error_log(self, msg: str = "", level: int = logging.INFO, traceback: bool = False) -> None:
        # A caller that goes away in the middle of an answer is no fault of ours and needs no traceback.
        fault = level > logging.WARNING
        _log.log(level if fault else logging.DEBUG, "%s", msg, exc_info=traceback and fault)


class Server:
    """A running or stoppable WSGI server; a context manager starts it and stops it.

    Args:
        app: the WSGI application.
        bind: ``host:port``; port 0 takes a free one.
        context: decides who may connect.
        threads: requests served at the same time, waiting ones included.
        body_limit: largest request body, in bytes; beyond it the answer is 413.
    """

    def __init__(
        self,
        app: WSGIApplication,
        bind: str,
        context: ServerContext,
        *,
        threads: int = THREADS,
        body_limit: int = BODY_LIMIT,
    ) -> None:
        host, _, port = bind.rpartition(":")
        self._wsgi = _Wsgi((host.strip("[]"), int(port)), app, numthreads=threads, request_queue_size=128)
        self._wsgi.ssl_adapter = _Tls(context)
        self._wsgi.timeout = _IDLE_S
        self._wsgi.shutdown_timeout = _STOP_S
        self._wsgi.max_request_body_size = body_limit
        self._thread: threading.Thread | None = None

    @property
    def port(self) -> int:
        """The port it listens on."""
        return int(self._wsgi.bind_addr[1])

    def start(self) -> None:
        """Bind, listen and return; requests are served by threads.

        Raises:
            OSError: the address cannot be bound.
        """
        self._wsgi.prepare()
        self._thread = threading.Thread(target=self._wsgi.serve, name=f"web-{self.port}")
        self._thread.start()

    def stop(self) -> None:
        """Stop accepting and let the requests in progress finish. Doing it twice is harmless.

        After five seconds their connections are closed, but a view that is still waiting is waited for: end
        the long polls first.
        """
        if self._thread is None:
            return
        self._wsgi.stop()
        self._thread.join()
        self._thread = None

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()


def serve(
    app: WSGIApplication,
    bind: str,
    context: ServerContext,
    *,
    threads: int = THREADS,
    body_limit: int = BODY_LIMIT,
) -> Server:
    """Make a server for ``app``; the caller starts and stops it."""
    return Server(app, bind, context, threads=threads, body_limit=body_limit)
