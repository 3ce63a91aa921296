"""Any subset of any batch verifies; nothing with a changed byte does."""

from __future__ import annotations

import hashlib
import json
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ledger.entries import Entry, new_id
from ledger.errors import InvalidNotarization, InvalidVerdict
from ledger.notarization import NOTARIZE, Place, Proof, notarize_digests
from ledger.testing import START, draft_entry, make_member
from ledger.verdicts import Verdict, compare

MEMBER = make_member("lender")
ID = new_id("notarization", lambda: START)


def on_record(count: int) -> tuple[list[Proof], Entry]:
    """All proofs of a batch, and its entry at index 5."""
    digests = [hashlib.sha256(b"%d" % number).digest() for number in range(count)]
    batch = notarize_digests(digests, notarization=ID)
    raw = draft_entry(MEMBER, NOTARIZE, batch.body()).sign(MEMBER.kid, MEMBER.tx).encode()
    entry = Entry.parse(raw)
    place = Place(entry.net, "ab" * 32, entry.txid, 5)
    return [batch.proof(position, place) for position in range(count)], entry


PROOFS = {count: on_record(count) for count in (1, 2, 3, 6, 31, 64, 1000)}


@settings(max_examples=60, deadline=None)
@given(st.data())
def test_any_subsets_proofs_verify(data: st.DataObject) -> None:
    proofs, entry = PROOFS[data.draw(st.sampled_from(sorted(PROOFS)))]
    for position in data.draw(st.sets(st.integers(0, len(proofs) - 1), min_size=1, max_size=20)):
        Proof.parse(proofs[position].encode()).check(entry, 5)


@settings(max_examples=400, deadline=None)
@given(st.data())
def test_no_proof_with_a_changed_byte_verifies(data: st.DataObject) -> None:
    proofs, entry = PROOFS[data.draw(st.sampled_from(sorted(PROOFS)))]
    raw = bytearray(proofs[data.draw(st.integers(0, len(proofs) - 1))].encode())
    genesis = range(raw.index(b'"genesis"'), raw.index(b'"index"'))
    place = data.draw(st.integers(0, len(raw) - 1).filter(lambda place: place not in genesis))
    raw[place] ^= data.draw(st.integers(1, 255))
    with pytest.raises(InvalidNotarization):
        Proof.parse(bytes(raw)).check(entry, 5)


@settings(max_examples=60, deadline=None)
@given(st.data())
def test_a_proof_verifies_at_its_own_position_only(data: st.DataObject) -> None:
    proofs, entry = PROOFS[data.draw(st.sampled_from([2, 3, 6, 31, 64, 1000]))]
    own, other = data.draw(st.permutations(range(len(proofs))).map(lambda order: order[:2]))
    for forged in (
        replace(proofs[own], position=other),
        replace(proofs[own], digest=proofs[other].digest),
        replace(proofs[own], salt=proofs[other].salt),
    ):
        with pytest.raises(InvalidNotarization):
            forged.check(entry, 5)


@settings(max_examples=200, deadline=None)
@given(
    st.binary(max_size=400)
    | st.recursive(
        st.none() | st.booleans() | st.integers() | st.text(),
        lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=12), inner, max_size=6),
        max_leaves=12,
    ).map(lambda value: json.dumps(value).encode())
)
def test_foreign_bytes_are_refused_with_one_kind_of_error(data: bytes) -> None:
    with pytest.raises(InvalidNotarization):
        Proof.parse(data)
    with pytest.raises(InvalidVerdict):
        Verdict.parse(data)


SHA = st.sampled_from([hashlib.sha256(bytes([number])).digest() for number in range(3)])


@given(SHA | st.none(), SHA | st.none(), SHA)
def test_swapping_original_and_copy_only_swaps_their_names(
    ledger: bytes | None, original: bytes | None, copy: bytes
) -> None:
    found = compare(ledger, original, copy)
    if original is not None:
        swapped = compare(ledger, copy, original)
        assert (swapped.ledger_original, swapped.ledger_copy) == (found.ledger_copy, found.ledger_original)
        assert swapped.original_copy == found.original_copy
