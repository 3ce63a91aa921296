"""Time stamps of outside authorities on checkpoints (RFC 3161).

What is stamped is the text of a checkpoint note as it is signed: the lines origin, size and root in base64,
each ended by a newline, without any signature line. The message imprint is their SHA-256. A token therefore
shows that the log's first ``size`` entries existed when the authority looked at its clock, whoever cosigned
them later, and whatever the members' keys are worth by then.

A reader trusts the root certificates it brings along. Intermediate certificates are taken from anywhere, but
only those that a trusted certificate issued: the library beneath takes every certificate it is given for a
trust anchor.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from datetime import datetime

import rfc3161_client
from cryptography import x509
from cryptography.exceptions import InvalidSignature
from rfc3161_client import HashAlgorithm, TimestampRequestBuilder, TimeStampResponse, VerifierBuilder

from ledger.errors import InvalidTimestamp

__all__ = ["MAX_RESPONSE_SIZE", "Stamp", "StampRequest", "Timestamp", "check", "load_certificates", "request"]

MAX_RESPONSE_SIZE = 64 * 1024
"""Bytes of an authority's answer; a token with its certificate takes about two thousand."""

_MAX_CERTIFICATES = 16


@dataclass(frozen=True)
class StampRequest:
    """What is sent to an authority, and the nonce that its answer has to repeat."""

    body: bytes
    nonce: int


@dataclass(frozen=True)
class Stamp:
    """An authority's answer as it is kept.

    Attributes:
        size: of the checkpoint.
        authority: where it was asked for.
        response: the ``TimeStampResp``, DER.
        certificates: the authority's root and any intermediate certificates, PEM.
    """

    size: int
    authority: str
    response: bytes = field(repr=False)
    certificates: bytes = field(repr=False)


@dataclass(frozen=True)
class Timestamp:
    """What a token says: who vouches, for which moment."""

    authority: str
    time: datetime


def request(text: str) -> StampRequest:
    """Make a request for a checkpoint's text, with a fresh nonce, that asks for the signing certificate."""
    made = TimestampRequestBuilder(text.encode(), HashAlgorithm.SHA256).build()
    if made.nonce is None:
        raise InvalidTimestamp("expected a request with a nonce")
    return StampRequest(made.as_bytes(), made.nonce)


def check(
    text: str,
    response: bytes,
    roots: Sequence[x509.Certificate],
    *,
    others: Iterable[x509.Certificate] = (),
    nonce: int | None = None,
) -> Timestamp:
    """Check an authority's answer.

    Args:
        text: the checkpoint's text.
        response: the ``TimeStampResp``, DER.
        roots: self-signed certificates that the reader trusts.
        others: certificates that may lead from a root to the signer; not trusted.
        nonce: of the request, by who has just made it.

    Raises:
        InvalidTimestamp: it is not a token over this text by an authority under one of the roots.
    """
    if not roots:
        raise InvalidTimestamp("expected the root certificate of a time stamp authority")
    try:
        parsed = rfc3161_client.decode_timestamp_response(response)
        time = parsed.tst_info.gen_time
        verifier = VerifierBuilder(
            intermediates=_issued(roots, others, time), roots=list(roots), nonce=nonce
        ).build()
        verifier.verify_message(parsed, text.encode())
        return Timestamp(_signer(parsed), time)
    except (rfc3161_client.VerificationError, ValueError) as exc:
        raise InvalidTimestamp(f"the time stamp does not verify: {_first_line(exc)}") from exc


def load_certificates(pem: bytes) -> list[x509.Certificate]:
    """Read a file of certificates.

    Raises:
        InvalidTimestamp: it holds none, too many, or something else.
    """
    try:
        found = x509.load_pem_x509_certificates(pem)
    except ValueError as exc:
        raise InvalidTimestamp("expected certificates in PEM") from exc
    if len(found) > _MAX_CERTIFICATES:
        raise InvalidTimestamp(f"expected at most {_MAX_CERTIFICATES} certificates, got {len(found)}")
    return found


def _issued(
    roots: Sequence[x509.Certificate], others: Iterable[x509.Certificate], time: datetime
) -> list[x509.Certificate]:
    """Those of ``others`` that lead back to a root and may issue certificates at ``time``."""
    accepted: list[x509.Certificate] = []
    waiting = [other for other in others if other not in roots and _may_issue(other, time)]
    while new := [one for one in waiting if any(_is_issued_by(one, by) for by in (*roots, *accepted))]:
        accepted += new
        waiting = [one for one in waiting if one not in new]
    return accepted


def _may_issue(certificate: x509.Certificate, time: datetime) -> bool:
    try:
        constraints = certificate.extensions.get_extension_for_class(x509.BasicConstraints).value
        usage = certificate.extensions.get_extension_for_class(x509.KeyUsage).value
    except (x509.ExtensionNotFound, ValueError):
        return False
    is_valid = certificate.not_valid_before_utc <= time <= certificate.not_valid_after_utc
    return constraints.ca and usage.key_cert_sign and is_valid


def _is_issued_by(certificate: x509.Certificate, issuer: x509.Certificate) -> bool:
    try:
        certificate.verify_directly_issued_by(issuer)
    except (InvalidSignature, TypeError, ValueError):
        return False
    return True


def _signer(response: TimeStampResponse) -> str:
    """The subject of the certificate that signed the token, which ``verify_message`` has looked at."""
    (signer,) = response.signed_data.signer_infos
    certificates = [x509.load_der_x509_certificate(raw) for raw in response.signed_data.certificates]
    (found,) = (
        one.subject.rfc4514_string()
        for one in certificates
        if (one.issuer, one.serial_number) == (signer.issuer, signer.serial_number)
    )
    return found


def _first_line(error: Exception) -> str:
    return str(error).partition(": ErrorStack")[0][:200]
