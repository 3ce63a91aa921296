"""Who is at the other end: certificates, clocks and hellos, the same for both ends of a stream."""

from __future__ import annotations

import ssl
from collections.abc import Callable, Iterable, Mapping
from datetime import UTC, datetime, timedelta
from typing import NoReturn, Protocol

import grpc
from cryptography import x509

from exchange import tls
from exchange.rpc.errors import ClockSkew
from exchange.rpc.v1.party_pb2 import Frame, Hello
from mpc.errors import MalformedMessage

__all__ = [
    "CHANNEL_OPTIONS",
    "MAX_SKEW_S",
    "Clock",
    "Members",
    "PartyKeys",
    "channel_to",
    "check_clock",
    "hello",
    "member_at",
    "pem_bundle",
    "refuse",
]

MAX_SKEW_S = 120.0
"""Largest difference of two nodes' clocks, in seconds: entries of the ledger carry times, too."""

Clock = Callable[[], datetime]
Members = Callable[[], Mapping[str, bytes]]
"""Returns the present members' DER certificates by DID."""

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_FRAME_LIMIT = 1024 * 1024  # a frame is 256 KiB and some words

CHANNEL_OPTIONS = (
    ("grpc.max_receive_message_length", _FRAME_LIMIT),
    ("grpc.max_send_message_length", _FRAME_LIMIT),
    ("grpc.keepalive_time_ms", 10_000),
    ("grpc.keepalive_timeout_ms", 10_000),
    ("grpc.keepalive_permit_without_calls", 1),
    ("grpc.http2.max_pings_without_data", 0),
    ("grpc.http2.min_ping_interval_without_data_ms", 5_000),
    ("grpc.enable_retries", 0),
    ("grpc.http2.lookahead_bytes", 4 * 1024 * 1024),
)
"""For both ends: small frames only, and a dead connection is noticed within 20 seconds."""


class PartyKeys(Protocol):
    """What the transport needs of a node's keys."""

    @property
    def did(self) -> str:
        """The node's DID."""

    @property
    def tls_key(self) -> bytes:
        """Private key, PEM."""

    @property
    def tls_cert(self) -> bytes:
        """Certificate, DER, as on the ledger."""


def hello(keys: PartyKeys, session: bytes, link: bytes, received: int, now: datetime) -> Frame:
    """Make the first frame of a stream."""
    time_ms = (now - _EPOCH) // timedelta(milliseconds=1)
    return Frame(session=session, hello=Hello(sender=keys.did, time_ms=time_ms, link=link, received=received))


def check_clock(peer: str, theirs: Hello, own: datetime, max_skew_s: float) -> None:
    """Compare the peer's clock with one's own.

    Raises:
        ClockSkew: they differ by more than ``max_skew_s``.
        MalformedMessage: what the peer sent is no time.
    """
    try:
        time = _EPOCH + timedelta(milliseconds=theirs.time_ms)
    except OverflowError as exc:
        raise MalformedMessage("expected a time in the hello, got a number out of range") from exc
    if abs((time - own).total_seconds()) > max_skew_s:
        raise ClockSkew(peer, own, time, max_skew_s)


def channel_to(endpoint: str, keys: PartyKeys, certificate: bytes) -> grpc.Channel:
    """Make a connection that accepts this certificate at the other end and no other.

    Raises:
        ValueError: the certificate cannot be read.
    """
    credentials = grpc.ssl_channel_credentials(
        pem_bundle([certificate]), keys.tls_key, pem_bundle([keys.tls_cert])
    )
    options = (
        *CHANNEL_OPTIONS,
        ("grpc.ssl_target_name_override", tls.dns_name(certificate)),
        ("grpc.use_local_subchannel_pool", 1),
        ("grpc.enable_http_proxy", 0),
    )
    return grpc.secure_channel(endpoint, credentials, options)


def member_at(context: grpc.ServicerContext, members: Members) -> str:
    """Return the present member whose certificate the caller has shown, or end the call."""
    shown = context.auth_context().get("x509_pem_cert", [])
    certificate = ssl.PEM_cert_to_DER_cert(shown[0].decode()) if shown else None
    for did, recorded in members().items():
        if recorded == certificate:
            return did
    refuse(context, grpc.StatusCode.PERMISSION_DENIED, "the certificate is not a current member's")


def refuse(context: grpc.ServicerContext, status: grpc.StatusCode, reason: str) -> NoReturn:
    """End the call; gRPC raises an exception of its own to leave the handler."""
    context.abort(status, reason)
    raise AssertionError("abort returned")


def pem_bundle(certificates: Iterable[bytes]) -> bytes:
    """Return the certificates as PEM, without those that cannot be read: gRPC would refuse all for one."""
    return b"".join(tls.to_pem(certificate) for certificate in certificates if _is_readable(certificate))


def _is_readable(certificate: bytes) -> bool:
    try:
        x509.load_der_x509_certificate(certificate)
    except ValueError:
        return False
    return True
