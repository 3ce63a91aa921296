"""The published vector of ``eddsa-jcs-2022``: every intermediate value, signing and verifying."""

import json
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from exchange.credentials import data_integrity
from exchange.credentials.errors import ProofInvalid
from exchange.credentials.multibase import decode58, encode58, multikey, public_of
from exchange.credentials.resolution import Resolver
from ledger.keys import SigningKey
from ledger.times import parse_time

VECTOR: dict[str, Any] = json.loads((Path(__file__).parent / "eddsa_jcs_2022.json").read_text("utf-8"))
NOW = datetime(2026, 11, 26, tzinfo=UTC)
KEY = SigningKey.from_seed(bytes.fromhex(VECTOR["secret_hex"]))


def test_keys_are_written_as_multikeys() -> None:
    assert multikey(KEY.public) == VECTOR["publicKeyMultibase"]
    assert public_of(VECTOR["publicKeyMultibase"]) == KEY.public
    assert decode58(VECTOR["secretKeyMultibase"]) == b"\x80\x26" + KEY.seed


def test_both_digests_are_the_published_ones() -> None:
    digests = data_integrity.hash_data(VECTOR["credential"], VECTOR["options"]).hex()
    assert digests == VECTOR["options_hash"] + VECTOR["credential_hash"]


def test_signing_gives_the_published_proof() -> None:
    method, created = VECTOR["options"]["verificationMethod"], parse_time(VECTOR["options"]["created"])
    secured = data_integrity.secure(VECTOR["credential"], KEY, method, created)
    assert secured["proof"] == {**VECTOR["options"], "proofValue": VECTOR["proofValue"]}
    assert encode58(bytes.fromhex(VECTOR["signature"])) == VECTOR["proofValue"]


def test_the_published_proof_verifies_and_no_member_can_change() -> None:
    secured = {**VECTOR["credential"], "proof": {**VECTOR["options"], "proofValue": VECTOR["proofValue"]}}
    proof = data_integrity.verify(secured, Resolver(), now=NOW)
    assert proof.method == VECTOR["options"]["verificationMethod"]
    for name, value in VECTOR["credential"].items():
        altered = {**secured, name: [*value, "x"] if isinstance(value, list) else {"changed": name}}
        with pytest.raises(ProofInvalid):
            data_integrity.verify(altered, Resolver(), now=NOW)
