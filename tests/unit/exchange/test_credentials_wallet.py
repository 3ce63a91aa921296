"""Pseudonyms cannot be linked; a wallet file keeps what cannot be derived, and opens for its owner alone."""

from __future__ import annotations

import copy
import hashlib
import hmac
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from exchange import keyfile
from exchange.credentials.errors import WalletRefused
from exchange.credentials.pseudonyms import pseudonym, root
from exchange.credentials.wallet import Wallet
from exchange.errors import Conflict, KeyFileDamaged, KeyFileExposed, WrongPassphrase
from exchange.keyfile import Cost
from ledger.keys import did_key

CHEAP = Cost(1, 8192)
SEED = bytes(range(32))
OWNER, OTHER = "did:key:z6MkOwner", "did:key:z6MkOther"


def test_a_pseudonym_is_the_same_each_time_and_derived_as_documented() -> None:
    assert pseudonym(SEED, OWNER, 1).public == pseudonym(SEED, OWNER, 1).public
    # HKDF-SHA256 by hand (RFC 5869): extract, then one block of expand
    prk = hmac.digest(b"parley-pseudonym/v1", SEED, hashlib.sha256)
    info = b'{"counterpart":"did:key:z6MkOwner","number":1}'
    assert pseudonym(SEED, OWNER, 1).seed == hmac.digest(prk, info + b"\x01", hashlib.sha256)


@given(st.sets(st.tuples(st.sampled_from([OWNER, OTHER, "x"]), st.integers(0, 50)), min_size=2, max_size=8))
def test_every_counterpart_and_number_has_another_key(names: set[tuple[str, int]]) -> None:
    publics = {pseudonym(SEED, counterpart, number).public for counterpart, number in names}
    assert len(publics | {root(SEED).public}) == len(names) + 1


def test_a_seed_of_another_length_is_refused() -> None:
    with pytest.raises(ValueError, match="32 bytes"):
        pseudonym(b"short", OWNER)


def test_a_wallet_keeps_what_was_given(tmp_path: Path) -> None:
    path = tmp_path / "wallet"
    wallet, first = Wallet.new().naming(OWNER)
    wallet, second = wallet.naming(OWNER)
    assert first != second
    wallet = wallet.consenting("consent-1", OWNER, "lender/loans", 1).keeping("paper", "secret words")
    wallet.create(path, "passphrase", CHEAP)
    read = Wallet.load(path, "passphrase")
    assert read == wallet
    assert did_key(read.consent_key("consent-1").public) == second
    assert read.paper("paper") == "secret words"
    replace(read, papers={}).save(path, "passphrase")
    with pytest.raises(WalletRefused):
        Wallet.load(path, "passphrase").paper("paper")
    assert b"secret words" not in path.read_bytes()


def test_only_what_was_given_can_be_used() -> None:
    wallet, key = Wallet.new().known_to(OWNER)
    assert wallet.known_to(OWNER)[1] == key
    for use in (
        lambda: wallet.key(OWNER, 1),
        lambda: wallet.key(OTHER),
        lambda: wallet.key(OWNER, -1),
        lambda: wallet.consent_key("consent-2"),
    ):
        with pytest.raises(WalletRefused):
            use()


def test_a_wallet_file_is_its_owners_alone(tmp_path: Path) -> None:
    path = tmp_path / "wallet"
    Wallet.new().create(path, "passphrase", CHEAP)
    with pytest.raises(Conflict):
        Wallet.new().create(path, "passphrase", CHEAP)
    with pytest.raises(WrongPassphrase):
        Wallet.load(path, "guess")
    path.chmod(0o644)
    with pytest.raises(KeyFileExposed):
        Wallet.load(path, "passphrase")
    keyfile.write(tmp_path / "other", b'{"v":2}', "passphrase", CHEAP)
    with pytest.raises(KeyFileDamaged):
        Wallet.load(tmp_path / "other", "passphrase")


def test_a_wallet_shows_no_secret_and_is_not_serialised() -> None:
    wallet = Wallet.new().keeping("link", "secret")
    assert "secret" not in repr(wallet)
    assert wallet.seed.hex() not in repr(wallet)
    with pytest.raises(TypeError):
        copy.copy(wallet)
