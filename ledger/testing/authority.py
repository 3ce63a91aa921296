"""A time stamp authority for tests: real RFC 3161 answers by ``openssl ts``, over HTTP on loopback."""

from __future__ import annotations

import shutil
import subprocess
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

__all__ = ["Authority", "Issuer", "make_authority", "make_issuer", "serve_authority"]

_CONFIGURATION = """
[tsa]
default_tsa = authority
[authority]
serial = {folder}/serial
signer_cert = {folder}/signer.pem
signer_key = {folder}/signer.key
signer_digest = sha256
default_policy = 1.2.3.4.1
digests = sha256
accuracy = secs:1
ess_cert_id_alg = sha256
"""


@dataclass(frozen=True)
class Issuer:
    """A certificate authority: its key and its certificate."""

    key: ec.EllipticCurvePrivateKey
    certificate: x509.Certificate

    @property
    def pem(self) -> bytes:
        """Its certificate, PEM."""
        return self.certificate.public_bytes(serialization.Encoding.PEM)


@dataclass(frozen=True)
class Authority:
    """A signer below some root, with its configuration in ``folder``."""

    folder: Path
    certificates: bytes

    def answer(self, query: bytes) -> bytes:
        """Answer a ``TimeStampReq``. Not with ``-chain``: OpenSSL orders that set in a way DER forbids."""
        asked, answered = self.folder / "query", self.folder / "answer"
        asked.write_bytes(query)
        command = ["openssl", "ts", "-reply", "-config", str(self.folder / "tsa.cnf")]
        command += ["-queryfile", str(asked), "-out", str(answered)]
        subprocess.run(command, check=True, capture_output=True)  # noqa: S603 - our own files
        return answered.read_bytes()


def make_issuer(name: str, parent: Issuer | None = None) -> Issuer:
    """Make a certificate authority; self-signed without a parent."""
    key = ec.generate_private_key(ec.SECP256R1())
    usage = _usage(key_cert_sign=True, crl_sign=True)
    return Issuer(key, _certificate(name, key, parent, ca=True, usage=usage))


def make_authority(folder: Path, issuer: Issuer, *others: Issuer, name: str = "Test authority") -> Authority:
    """Make a time stamp authority under ``issuer``; ``others`` are certificates it hands out with that."""
    if shutil.which("openssl") is None:
        pytest.skip("there is no openssl program")
    folder.mkdir()
    key = ec.generate_private_key(ec.SECP256R1())
    certificate = _certificate(
        name, key, issuer, ca=False, usage=_usage(digital_signature=True), stamping=True
    )
    (folder / "serial").write_text("01\n")
    (folder / "signer.pem").write_bytes(certificate.public_bytes(serialization.Encoding.PEM))
    private = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    (folder / "signer.key").write_bytes(private)
    (folder / "tsa.cnf").write_text(_CONFIGURATION.format(folder=folder))
    return Authority(folder, b"".join(one.pem for one in (issuer, *others)))


@contextmanager
def serve_authority(authority: Authority) -> Iterator[str]:
    """Serve an authority on loopback; gives its address."""

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            query = self.rfile.read(int(self.headers["Content-Length"]))
            body = authority.answer(query)
            self.send_response(200)
            self.send_header("Content-Type", "application/timestamp-reply")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, format: str, *args: object) -> None:
            """Log nothing."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, args=(0.05,))
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}/"
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def _certificate(
    name: str,
    key: ec.EllipticCurvePrivateKey,
    parent: Issuer | None,
    *,
    ca: bool,
    usage: x509.KeyUsage,
    stamping: bool = False,
) -> x509.Certificate:
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
    signer, issuer = (key, subject) if parent is None else (parent.key, parent.certificate.subject)
    now = datetime.now(UTC)
    builder = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(days=1))
        .not_valid_after(now + timedelta(days=30))
        .add_extension(x509.BasicConstraints(ca=ca, path_length=None), critical=True)
        .add_extension(usage, critical=True)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
        .add_extension(
            x509.AuthorityKeyIdentifier.from_issuer_public_key(signer.public_key()), critical=False
        )
    )
    if stamping:
        purpose = x509.ExtendedKeyUsage([ExtendedKeyUsageOID.TIME_STAMPING])
        builder = builder.add_extension(purpose, critical=True)
    return builder.sign(signer, hashes.SHA256())


def _usage(
    *, digital_signature: bool = False, key_cert_sign: bool = False, crl_sign: bool = False
) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=digital_signature,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        key_cert_sign=key_cert_sign,
        crl_sign=crl_sign,
        encipher_only=False,
        decipher_only=False,
    )
