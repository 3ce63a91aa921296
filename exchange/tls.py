"""Mutual TLS between members, pinned to the certificates that the ledger records.

There is no certificate authority. Every member presents one self-signed P-256 certificate; who is trusted
is the list of those certificates in the ledger's state. A server asks for that list at every connection and
every request, so an admitted member is let in and a removed one is shut out without a restart. A client
accepts one certificate only, the one recorded for the peer it means to reach; host names play no part.

Python's ``ssl`` loads private keys from files alone. The key is therefore written once, under a random
password, to a private temporary directory that is removed before the function returns.
"""

from __future__ import annotations

import ipaddress
import logging
import secrets
import ssl
import tempfile
from collections.abc import Callable, Collection, Sequence
from datetime import datetime, timedelta
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

__all__ = [
    "LIFETIME",
    "ServerContext",
    "UntrustedPeer",
    "client_context",
    "dns_name",
    "self_signed",
    "server_context",
    "to_pem",
]

_log = logging.getLogger(__name__)

LIFETIME = timedelta(days=3653)
"""Ten years: a certificate ends by a ledger entry that names another, not by the calendar."""

_BACKDATED = timedelta(days=1)  # so that a member whose clock is behind can connect and be told about it

Trusted = Callable[[], Collection[bytes]]


class UntrustedPeer(ssl.SSLError):
    """The handshake ended well, but the certificate is not among those trusted now."""


def self_signed(
    name: str, *, uri: str | None = None, hosts: Sequence[str] = (), now: datetime
) -> tuple[bytes, bytes]:
    """Make a P-256 key and a self-signed certificate for both ends of a connection.

    Args:
        name: the DNS name that clients use to address the certificate, e.g. ``lender.parley.internal``.
        uri: the owner's DID.
        hosts: further host names or IP addresses, for programs that insist on checking them.
        now: the present time, with a time zone.

    Returns:
        The private key (PKCS #8, PEM, not encrypted) and the certificate (DER).
    """
    key = ec.generate_private_key(ec.SECP256R1())
    serial = x509.random_serial_number()
    # OpenSSL looks anchors up by subject: two certificates of one owner must not share it.
    subject = x509.Name(
        [
            x509.NameAttribute(NameOID.COMMON_NAME, name[:64]),
            x509.NameAttribute(NameOID.SERIAL_NUMBER, f"{serial:x}"),
        ]
    )
    names: list[x509.GeneralName] = [x509.DNSName(name)]
    names += [_general_name(host) for host in hosts if host != name]
    if uri is not None:
        names.append(x509.UniformResourceIdentifier(uri))
    certificate = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(subject)
        .public_key(key.public_key())
        .serial_number(serial)
        .not_valid_before(now - _BACKDATED)
        .not_valid_after(now + LIFETIME)
        .add_extension(x509.SubjectAlternativeName(names), critical=False)
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(
            x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH, ExtendedKeyUsageOID.CLIENT_AUTH]),
            critical=False,
        )
        .sign(key, hashes.SHA256())
    )
    pem = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    return pem, certificate.public_bytes(serialization.Encoding.DER)


def _general_name(host: str) -> x509.GeneralName:
    try:
        return x509.IPAddress(ipaddress.ip_address(host))
    except ValueError:
        return x509.DNSName(host)


def dns_name(certificate: bytes) -> str:
    """Return the first DNS name of a DER certificate, under which a pinning client addresses it.

    Raises:
        ValueError: not a certificate, or one without a DNS name.
    """
    extensions = x509.load_der_x509_certificate(certificate).extensions
    try:
        names = extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    except x509.ExtensionNotFound:
        raise ValueError("expected a certificate with a DNS name, got one without") from None
    found = names.get_values_for_type(x509.DNSName)
    if not found:
        raise ValueError("expected a certificate with a DNS name, got one without")
    return str(found[0])


def to_pem(certificate: bytes) -> bytes:
    """Return a DER certificate as PEM."""
    return ssl.DER_cert_to_PEM_cert(certificate).encode()


class ServerContext(ssl.SSLContext):
    """A TLS 1.3 server context whose trusted certificates may change while it serves.

    Made by ``server_context``. Whoever accepts connections with it calls ``refresh`` before each handshake
    and ``verified_peer`` after it and again before each request.
    """

    _trusted: Trusted | None
    _admits_strangers: bool
    _anchors: set[bytes]

    def refresh(self) -> None:
        """Add members that were admitted since the last handshake to the handshake's trust anchors."""
        if self._trusted is None:
            return
        for certificate in set(self._trusted()) - self._anchors:
            self._anchors.add(certificate)
            try:
                self.load_verify_locations(cadata=certificate)
            except ssl.SSLError:
                # Shuts out the member that recorded it, and nobody else.
                _log.warning("a member's recorded TLS certificate cannot be read; it cannot connect")

    def verified_peer(self, connection: ssl.SSLSocket) -> bytes | None:
        """Return the DER certificate of the caller, or None where callers need none and it shows none.

        The trust anchors of a context can be added but not taken away, so the set that counts is asked here.

        Raises:
            UntrustedPeer: the caller's certificate is not in the set that is trusted now.
        """
        if self._trusted is None:
            return None
        certificate = connection.getpeercert(binary_form=True)
        if certificate is None and self._admits_strangers:
            return None
        if certificate is None or certificate not in self._trusted():
            raise UntrustedPeer("expected the certificate of a current member, got another one")
        return certificate


def server_context(
    key: bytes, cert: bytes, trusted: Trusted | None, *, admits_strangers: bool = False
) -> ServerContext:
    """Make the context of a server.

    Args:
        key: private key, PEM.
        cert: own certificate, DER.
        trusted: returns the DER certificates that may connect; asked at every handshake and request, so it
            must be cheap. None: any caller may connect and shows no certificate.
        admits_strangers: a caller that shows no certificate may connect too; what it may do is for the
            application to say. A certificate that is shown must be a trusted one all the same.
    """
    context = ServerContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_3
    context.num_tickets = 0  # a resumed session would skip the look at the caller's certificate
    _load_key(context, key, cert)
    context._trusted, context._anchors, context._admits_strangers = trusted, set(), admits_strangers
    if trusted is not None:
        context.verify_mode = ssl.CERT_OPTIONAL if admits_strangers else ssl.CERT_REQUIRED
        context.refresh()
    return context


def client_context(key: bytes | None, cert: bytes | None, peer_der: bytes) -> ssl.SSLContext:
    """Make the context of a client that accepts one server certificate and nothing else.

    Args:
        key: private key, PEM; None for a client that shows no certificate.
        cert: own certificate, DER; None with ``key``.
        peer_der: the certificate recorded for the server.
    """
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.minimum_version = ssl.TLSVersion.TLSv1_3
    context.check_hostname = False
    context.verify_mode = ssl.CERT_REQUIRED
    context.load_verify_locations(cadata=peer_der)
    if key is not None and cert is not None:
        _load_key(context, key, cert)
    return context


def _load_key(context: ssl.SSLContext, key: bytes, cert: bytes) -> None:
    private = serialization.load_pem_private_key(key, password=None)
    password = secrets.token_bytes(32).hex().encode()
    sealed = private.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.BestAvailableEncryption(password),
    )
    with tempfile.TemporaryDirectory() as directory:
        path = Path(directory) / "chain.pem"
        path.touch(mode=0o600)
        path.write_bytes(to_pem(cert) + sealed)
        context.load_cert_chain(path, password=password)
