"""RFC 3161 time stamps against a real authority: openssl ts."""

from pathlib import Path

import pytest
from cryptography import x509

from ledger.errors import InvalidTimestamp, StaleHead
from ledger.store import LedgerStore
from ledger.testing import throw_away_engine
from ledger.testing.authority import Authority, Issuer, make_authority, make_issuer
from ledger.timestamp_store import TimestampStore
from ledger.timestamps import Stamp, check, load_certificates, request

pytestmark = pytest.mark.authority

TEXT = "example.org/net/log\n7\nAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=\n"


@pytest.fixture(scope="module")
def root() -> Issuer:
    return make_issuer("Root")


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory, root: Issuer) -> Authority:
    return make_authority(tmp_path_factory.mktemp("authority") / "a", root)


def refused(text: str, response: bytes, roots: list[x509.Certificate], match: str, **more: object) -> None:
    with pytest.raises(InvalidTimestamp, match=match):
        check(text, response, roots, **more)  # type: ignore[arg-type]  # keywords by name


def test_an_authority_stamps_a_checkpoint(authority: Authority, root: Issuer) -> None:
    made = request(TEXT)
    stamped = check(TEXT, authority.answer(made.body), [root.certificate], nonce=made.nonce)
    assert stamped.authority == "CN=Test authority"
    assert stamped.time.tzinfo is not None


def test_altered_text_wrong_nonce_and_wrong_root_are_refused(authority: Authority, root: Issuer) -> None:
    made = request(TEXT)
    response = authority.answer(made.body)
    refused(TEXT.replace("7", "8"), response, [root.certificate], "Mismatch between messages")
    refused(TEXT, response, [root.certificate], "Nonce mismatch", nonce=made.nonce + 1)
    refused(TEXT, response, [make_issuer("Root").certificate], "certificates")
    refused(TEXT, response, [], "expected the root certificate")


def test_every_changed_byte_of_the_signed_part_is_refused(authority: Authority, root: Issuer) -> None:
    response = authority.answer(request(TEXT).body)
    for place in range(0, len(response), 23):
        altered = bytearray(response)
        altered[place] ^= 0x01
        try:
            found = check(TEXT, bytes(altered), [root.certificate])
        except InvalidTimestamp:
            continue
        assert found == check(TEXT, response, [root.certificate]), place


@pytest.mark.parametrize("response", [b"", b"0", bytes(64), b"\x30\x03\x02\x01\x02" * 9])
def test_what_is_no_answer_is_refused(root: Issuer, response: bytes) -> None:
    refused(TEXT, response, [root.certificate], "does not verify")


def test_a_refusal_of_the_authority_is_no_time_stamp(authority: Authority, root: Issuer) -> None:
    response = authority.answer(request(TEXT).body[:-4])
    refused(TEXT, response, [root.certificate], "does not verify")


def test_an_intermediate_counts_only_below_a_trusted_root(tmp_path: Path, root: Issuer) -> None:
    middle = make_issuer("Middle", root)
    response = make_authority(tmp_path / "m", middle, root).answer(request(TEXT).body)
    refused(TEXT, response, [root.certificate], "certificates")
    assert check(TEXT, response, [root.certificate], others=[middle.certificate, root.certificate])
    stranger = make_issuer("Stranger")
    below = make_issuer("Below", stranger)
    forged = make_authority(tmp_path / "s", below).answer(request(TEXT).body)
    refused(TEXT, forged, [root.certificate], "certif", others=[stranger.certificate, below.certificate])
    direct = make_authority(tmp_path / "d", stranger).answer(request(TEXT).body)
    refused(TEXT, direct, [root.certificate], "certif", others=[stranger.certificate])


def test_a_leaf_certificate_issues_nothing(authority: Authority, root: Issuer, tmp_path: Path) -> None:
    (signer,) = load_certificates((authority.folder / "signer.pem").read_bytes())
    made = make_issuer("Own")
    response = make_authority(tmp_path / "o", made).answer(request(TEXT).body)
    refused(TEXT, response, [root.certificate], "certif", others=[signer, made.certificate])


def test_certificates_are_read_from_pem(root: Issuer) -> None:
    assert load_certificates(root.pem * 2) == [root.certificate] * 2
    with pytest.raises(InvalidTimestamp, match="in PEM"):
        load_certificates(b"no certificate")
    with pytest.raises(InvalidTimestamp, match="at most 16"):
        load_certificates(root.pem * 17)


def test_stamps_are_kept_once_per_size_and_authority(tmp_path: Path) -> None:
    with throw_away_engine("sqlite", tmp_path) as engine:
        store = TimestampStore(LedgerStore(engine))
        kept = [
            Stamp(7, "http://a", b"1", b"c"),
            Stamp(7, "http://b", b"2", b"c"),
            Stamp(9, "http://a", b"3", b"c"),
        ]
        for stamp in reversed(kept):
            store.add(stamp)
        assert store.all() == kept
        with pytest.raises(StaleHead):
            store.add(kept[0])
        assert "response" not in repr(kept[0])
