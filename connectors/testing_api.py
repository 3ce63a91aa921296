"""A JSON API on this machine for tests of connectors: real sockets, and TLS with a certificate of its own."""

from __future__ import annotations

import json
import ssl
import tempfile
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from ipaddress import IPv4Address
from pathlib import Path
from types import TracebackType
from typing import Self
from urllib.parse import parse_qsl

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

__all__ = ["Answer", "Asked", "JsonApi"]


@dataclass(frozen=True)
class Asked:
    """A request as it arrived."""

    path: str
    query: Mapping[str, str]
    headers: Mapping[str, str]


@dataclass(frozen=True)
class Answer:
    """What to answer: ``body`` as it is where it is bytes, else as JSON."""

    body: object = None
    status: int = 200
    headers: Mapping[str, str] = field(default_factory=dict)


class JsonApi:
    """A server that answers each request by a function. A context manager starts and stops it.

    Attributes:
        asked: the requests so far.
        ca: the certificate, in PEM, with which a client can check it; None without TLS.
    """

    def __init__(self, answer: Callable[[Asked], Answer], *, tls: bool = True) -> None:
        self.asked: list[Asked] = []
        self.ca: str | None = None
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), _handler(self.asked, answer))
        if tls:
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            self.ca, key = _certificate()
            with tempfile.TemporaryDirectory() as folder:
                file = Path(folder) / "server.pem"
                file.touch(mode=0o600)
                file.write_text(self.ca + key)
                context.load_cert_chain(file)
            self._server.socket = context.wrap_socket(self._server.socket, server_side=True)
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.01,), daemon=True)

    @property
    def place(self) -> str:
        """``host:port``, as an operator lists it."""
        return f"127.0.0.1:{self._server.server_port}"

    @property
    def url(self) -> str:
        """The address, without a path."""
        return f"{'http' if self.ca is None else 'https'}://{self.place}"

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()


def _handler(asked: list[Asked], answer: Callable[[Asked], Answer]) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"
        timeout = 5

        def do_GET(self) -> None:
            path, _, query = self.path.partition("?")
            request = Asked(path, dict(parse_qsl(query, keep_blank_values=True)), dict(self.headers))
            asked.append(request)
            given = answer(request)
            content = given.body if isinstance(given.body, bytes) else json.dumps(given.body).encode()
            self.send_response(given.status)
            sized = {} if "Transfer-Encoding" in given.headers else {"Content-Length": str(len(content))}
            for name, value in (sized | dict(given.headers)).items():
                self.send_header(name, value)
            self.end_headers()
            try:
                self.wfile.write(content)
            except (ConnectionError, ssl.SSLError):
                self.close_connection = True  # the client has had enough

        def log_message(self, *_: object) -> None:
            """Say nothing: requests hold credentials."""

    return Handler


def _certificate() -> tuple[str, str]:
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "api.example")])
    now = datetime.now(UTC)
    addresses = [x509.IPAddress(IPv4Address("127.0.0.1")), x509.DNSName("api.example")]
    made = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(minutes=5))
        .not_valid_after(now + timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName(addresses), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .sign(key, hashes.SHA256())
    )
    secret = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    return made.public_bytes(serialization.Encoding.PEM).decode(), secret.decode()
