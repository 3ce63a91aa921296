from __future__ import annotations

import ssl
from datetime import UTC, datetime

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import load_pem_private_key

from exchange import tls

NOW = datetime(2026, 11, 23, 10, 0, tzinfo=UTC)


def test_self_signed_certificate_names_its_owner_for_ten_years() -> None:
    key, der = tls.self_signed(
        "lender.parley.internal", uri="did:key:z6MkTest", hosts=("127.0.0.1", "lender.example"), now=NOW
    )
    certificate = x509.load_der_x509_certificate(der)
    names = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    assert names.get_values_for_type(x509.DNSName) == ["lender.parley.internal", "lender.example"]
    assert names.get_values_for_type(x509.UniformResourceIdentifier) == ["did:key:z6MkTest"]
    assert [str(a) for a in names.get_values_for_type(x509.IPAddress)] == ["127.0.0.1"]
    assert certificate.not_valid_before_utc < NOW < certificate.not_valid_after_utc
    assert certificate.not_valid_after_utc - NOW == tls.LIFETIME
    assert isinstance(private := load_pem_private_key(key, None), ec.EllipticCurvePrivateKey)
    assert private.public_key() == certificate.public_key()
    certificate.verify_directly_issued_by(certificate)


def test_certificate_cannot_sign_others() -> None:
    _, der = tls.self_signed("lender.parley.internal", now=NOW)
    constraints = x509.load_der_x509_certificate(der).extensions.get_extension_for_class(
        x509.BasicConstraints
    )
    assert constraints.critical
    assert not constraints.value.ca


def test_dns_name_is_the_first_one() -> None:
    _, der = tls.self_signed("lender.parley.internal", hosts=("other.example",), now=NOW)
    assert tls.dns_name(der) == "lender.parley.internal"


def test_dns_name_refuses_what_is_no_certificate() -> None:
    with pytest.raises(ValueError, match=r"."):
        tls.dns_name(b"not a certificate")


def test_contexts_speak_tls_1_3_only() -> None:
    key, der = tls.self_signed("lender.parley.internal", now=NOW)
    server = tls.server_context(key, der, lambda: [der])
    client = tls.client_context(key, der, der)
    assert server.minimum_version == client.minimum_version == ssl.TLSVersion.TLSv1_3
    assert server.verify_mode == client.verify_mode == ssl.CERT_REQUIRED


def test_server_context_without_members_asks_for_no_certificate() -> None:
    key, der = tls.self_signed("lender.parley.internal", now=NOW)
    assert tls.server_context(key, der, None).verify_mode == ssl.CERT_NONE


def test_an_unreadable_member_certificate_does_not_stop_the_server() -> None:
    key, der = tls.self_signed("lender.parley.internal", now=NOW)
    members = [b"not a certificate"]
    context = tls.server_context(key, der, lambda: members)
    members.append(der)
    context.refresh()
    assert context.get_ca_certs(binary_form=True) == []  # an end-entity certificate is no CA
    assert context.cert_store_stats()["x509"] == 1
