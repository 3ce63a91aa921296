"""The closed set of signature algorithms, and checking many signatures at once."""

import os
import signal
from dataclasses import replace
from importlib.util import find_spec
from typing import Any

import pytest

from ledger import algorithms
from ledger.algorithms import ALGORITHMS, EDDSA, SM2_SM3, Sm2Key, verify
from ledger.entries import Entry
from ledger.errors import AlgorithmUnavailable, InvalidSignature, MalformedEntry
from ledger.keys import SigningKey
from ledger.testing import Stage, draft_entry
from ledger.verification import Claim, Verifier, check_claims

needs_sm2 = pytest.mark.skipif(find_spec("gmssl_pyx") is None, reason="no SM2 provider installed")


def test_the_set_is_closed() -> None:
    assert set(ALGORITHMS) == {EDDSA, SM2_SM3}
    with pytest.raises(InvalidSignature, match="expected an algorithm of"):
        verify("none", bytes(32), b"", bytes(64))
    with pytest.raises(TypeError):
        ALGORITHMS["none"] = ALGORITHMS[EDDSA]  # type: ignore[index]


@needs_sm2
def test_sm2_signs_and_verifies() -> None:
    key = Sm2Key.generate()
    signature = key.sign(b"message")
    assert len(signature) == 64
    verify(SM2_SM3, key.public, b"message", signature)
    assert "secret" not in repr(key)
    with pytest.raises(TypeError):
        key.__reduce__()


@needs_sm2
@pytest.mark.parametrize(
    "what", ["message", "r", "s", "key", "zero", "order", "short", "key-size", "no-point"]
)
def test_sm2_refuses_what_was_not_signed(what: str) -> None:
    key = Sm2Key.generate()
    message, public, signature = b"message", key.public, key.sign(b"message")
    match what:
        case "message":
            message = b"massage"
        case "r":
            signature = bytes([signature[0] ^ 1]) + signature[1:]
        case "s":
            signature = signature[:-1] + bytes([signature[-1] ^ 1])
        case "key":
            public = Sm2Key.generate().public
        case "zero":
            signature = bytes(32) + signature[32:]
        case "order":
            signature = b"\xff" * 32 + signature[32:]
        case "short":
            signature = signature[:-1]
        case "key-size":
            public = public[:-1]
        case _:
            public = b"\x01" * 64
    with pytest.raises(InvalidSignature):
        verify(SM2_SM3, public, message, signature)


@needs_sm2
def test_the_published_example_verifies() -> None:
    """GB/T 32918.5, annex A: the signature over the recommended curve, with the default id."""
    public = bytes.fromhex(
        "09f9df311e5421a150dd7d161e4bc5c672179fad1833fc076bb08ff356f35020"
        "ccea490ce26775a52dc6ea718cc1aa600aed05fbf35e084a6632f6072da9ad13"
    )
    signature = bytes.fromhex(
        "f5a03b0648d2c4630eeac513e1bb81a15944da3827d5b74143ac7eaceee720b3"
        "b1b6aa29df212fd8763182bc0d421ca1bb9038fd1f7f42d4840b69c485bbc1aa"
    )
    verify(SM2_SM3, public, b"message digest", signature)


def test_without_a_provider_nobody_is_judged(monkeypatch: pytest.MonkeyPatch) -> None:
    def missing(name: str) -> Any:
        raise ModuleNotFoundError(name)

    algorithms._gmssl.cache_clear()
    monkeypatch.setattr(algorithms, "import_module", missing)
    signature = (1).to_bytes(32, "big") * 2
    with pytest.raises(AlgorithmUnavailable, match="pip install"):
        verify(SM2_SM3, bytes(64), b"message", signature)
    assert check_claims([Claim(SM2_SM3, bytes(64), b"message", signature)]) == b"\0"


def signed(stage: Stage, number: int) -> Entry:
    member = stage.members[("lender", "bureau")[number % 2]]
    draft = draft_entry(member, "member.update", {"endpoint": f"h{number}:1"})
    return Entry.parse(draft.sign(member.kid, member.tx).encode())


def test_an_algorithm_out_of_the_set_is_no_entry() -> None:
    raw = signed(Stage("lender", "bureau"), 0).raw
    with pytest.raises(MalformedEntry, match="alg of EdDSA"):
        Entry.parse(raw.replace(b'"alg":"EdDSA"', b'"alg":"RS256"'))


def test_a_key_counts_with_its_own_algorithm_only() -> None:
    stage = Stage("lender")
    entry = signed(stage, 0)
    member = stage.members["lender"]
    other = Entry.parse(entry.raw.replace(b'"alg":"EdDSA"', b'"alg":"SM2-SM3"'))
    with pytest.raises(InvalidSignature, match="by EdDSA"):
        other.verify(member.kid, member.tx.public)


@pytest.mark.parametrize("processes", [0, 1])
def test_many_signatures_are_judged_like_one(processes: int) -> None:
    stage = Stage("lender", "bureau")
    entries = [signed(stage, number) for number in range(200)]
    forged = replace(entries[7], sigs=(replace(entries[7].sigs[0], value=entries[9].sigs[0].value),))
    entries[7] = replace(forged, _verified=set())
    stranger = SigningKey.generate()
    entries[100] = Entry.parse(
        draft_entry(stage.members["lender"], "member.update", {"endpoint": "x:1"})
        .sign("did:key:zNobody#tx-1", stranger)
        .encode()
    )
    verifier = Verifier(processes)
    verifier.mark(stage.state, entries)
    verifier.close()
    verifier.close()
    assert [number for number, entry in enumerate(entries) if not entry._verified] == [7, 100]


def test_a_killed_worker_costs_time_only() -> None:
    stage = Stage("lender", "bureau")
    entries = [signed(stage, number) for number in range(100)]
    verifier = Verifier(1)
    for _ in range(2):
        verifier.mark(stage.state, entries)
        process, _pipe = verifier._workers[0] if verifier._workers else (None, None)
        if process is not None:
            os.kill(int(process.pid or 0), signal.SIGKILL)
            process.join()
        for entry in entries:
            entry._verified.clear()
    verifier.mark(stage.state, entries)
    assert all(entry._verified for entry in entries)
    verifier.close()
