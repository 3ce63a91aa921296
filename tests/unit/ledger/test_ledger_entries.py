"""The envelope: what parses, what does not, and what an entry is about."""

import hashlib
from datetime import UTC, datetime
from typing import Any

import pytest

from ledger import canonical, entries
from ledger.entries import Draft, Entry
from ledger.errors import InvalidSignature, MalformedEntry
from ledger.keys import SigningKey

KEY = SigningKey.from_seed(bytes(32))
ACTOR = "did:key:z6MkexampleA"
KID = ACTOR + "#tx-1"


def draft(**changes: Any) -> Draft:
    fields: dict[str, Any] = {
        "net": "example/net",
        "type": "asset.publish",
        "actor": ACTOR,
        "body": {"asset": "lender/loans"},
        "exp": "2026-11-24T00:00:00Z",
        "seq": "01j00000000000000000000000",
    }
    return Draft(**{**fields, **changes})


def signed(**changes: Any) -> bytes:
    return draft(**changes).sign(KID, KEY).encode()


def test_parse_returns_what_was_signed() -> None:
    raw = signed(refs=("ab" * 32,), commit="cd" * 32)
    entry = Entry.parse(raw)
    assert (entry.raw, entry.type, entry.commit) == (raw, "asset.publish", "cd" * 32)
    assert entry.txid == hashlib.sha256(entry.signed_bytes).hexdigest()
    assert entry.signed_bytes.startswith(b"dx-tx/v1\n{")
    entry.verify(KID, KEY.public)


def test_the_txid_does_not_depend_on_signatures() -> None:
    one = Entry.parse(signed())
    two = Entry.parse(draft().sign(KID, KEY).sign("other", SigningKey.from_seed(bytes([1] * 32))).encode())
    assert one.txid == two.txid
    assert one.raw != two.raw


def test_a_signature_by_another_key_is_refused() -> None:
    entry = Entry.parse(signed())
    with pytest.raises(InvalidSignature):
        entry.verify(KID, SigningKey.from_seed(bytes([1] * 32)).public)
    with pytest.raises(MalformedEntry):
        entry.verify("another kid", KEY.public)


def altered(**changes: Any) -> bytes:
    value = canonical.decode(signed())
    assert isinstance(value, dict)
    for name, change in changes.items():
        if change is ...:
            del value[name]
        else:
            value[name] = change
    return canonical.encode(value)


SIG = {"kid": "k", "alg": "EdDSA", "sig": "A" * 86}


@pytest.mark.parametrize(
    "changes",
    [
        {"v": 2},
        {"v": True},
        {"net": ...},
        {"extra": 1},
        {"net": "with space"},
        {"type": "Asset"},
        {"type": 1},
        {"seq": ""},
        {"actor": ""},
        {"exp": "tomorrow"},
        {"refs": "x"},
        {"refs": ["xyz"]},
        {"refs": ["ab" * 32] * 65},
        {"body": []},
        {"commit": None},
        {"commit": {"alg": "md5", "salted": "ab" * 32}},
        {"commit": {"alg": "sha-256", "salted": "xy"}},
        {"sigs": []},
        {"sigs": [{"kid": "k"}]},
        {"sigs": [{**SIG, "alg": "none"}]},
        {"sigs": [{**SIG, "sig": "AAA"}]},
        {"sigs": [{**SIG, "sig": "A" * 85 + "B"}]},
        {"sigs": [{**SIG, "kid": ""}]},
        {"sigs": [SIG, SIG]},
        {"sigs": [{**SIG, "kid": str(i)} for i in range(65)]},
    ],
    ids=str,
)
def test_another_envelope_is_refused(changes: dict[str, Any]) -> None:
    with pytest.raises(MalformedEntry):
        Entry.parse(altered(**changes))


def test_an_entry_is_limited_in_size() -> None:
    assert Entry.parse(signed(body={"x": "a" * 32_000}))
    with pytest.raises(MalformedEntry, match="at most 32768 bytes"):
        signed(body={"x": "a" * 33_000})


def test_other_encodings_and_values_are_refused() -> None:
    with pytest.raises(MalformedEntry, match="canonical"):
        Entry.parse(signed() + b"\n")
    with pytest.raises(MalformedEntry, match="members"):
        Entry.parse(b"[]")
    with pytest.raises(MalformedEntry, match="canonical"):
        draft(body={"x": 1.5}).with_signature(entries.Signature(KID, bytes(64))).encode()


def test_ids_sort_by_time_and_carry_randomness() -> None:
    early = entries.new_id("job", lambda: datetime(2026, 1, 1, tzinfo=UTC), lambda n: b"\xff" * n)
    late = entries.new_id("job", lambda: datetime(2026, 1, 2, tzinfo=UTC), lambda n: b"\x00" * n)
    assert early < late
    assert len(early) == len("job-") + 26
    assert entries.new_ulid(lambda: datetime(1970, 1, 1, tzinfo=UTC), bytes) == "0" * 26


def test_subjects_are_the_ids_an_entry_names() -> None:
    body = {
        "job": "job-1",
        "agreements": ["agreement-1", 5],
        "parties": ["did:a"],
        "agreement": {"id": "agreement-2"},
        "inputs": [{"asset": "lender/loans"}, "odd"],
        "actions": [{"enrolment": {"member": {"did": "did:b"}}}],
        "members": [{"member": {"did": "did:c"}}, {"member": []}],
        "asset": {"odd": 1},
        "reason": "free text",
    }
    expected = {ACTOR, "job-1", "agreement-1", "agreement-2", "did:a", "did:b", "did:c", "lender/loans"}
    assert entries.subjects(Entry.parse(signed(body=body))) == expected
