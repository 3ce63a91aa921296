"""Bundles under generated damage: whatever the bytes are, they are a bundle or refused by name."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from ledger import base64url, canonical, commitments
from ledger.bundle import export, verify
from ledger.commitments import Opening
from ledger.container import pack, unpack
from ledger.errors import CommitmentMismatch, InvalidBundle, InvalidTimestamp
from ledger.testing import consortium, draft_entry
from ledger.testing.damage import damaged
from ledger.testing.members import Member
from ledger.timestamps import check, load_certificates

NAMES = st.text(st.characters(codec="ascii", min_codepoint=33, max_codepoint=126), min_size=1, max_size=20)
MEMBERS = st.dictionaries(NAMES.filter(lambda name: "\\" not in name), st.binary(max_size=64), max_size=8)


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Member, dict[str, bytes]]]:
    """A member and the files of a bundle that it exported, with everything that one may hold."""
    with consortium(tmp_path_factory.mktemp("bundle"), "lender", "regulator") as exchange:
        lender = exchange.members["lender"]
        commitment, salt = commitments.commit(b"private")
        draft = draft_entry(lender, "member.update", {"endpoint": "lender.example:7444"})
        raw = draft.__class__(**{**vars(draft), "commit": commitment}).sign(lender.kid, lender.tx).encode()
        txid = exchange.log.submit(raw).txid
        exchange.settle()
        mirror = exchange.mirrors["lender"]
        size, state = mirror.final
        keys: dict[str, Any] = {"did": lender.did, "kid": lender.kid, "key": lender.tx}
        data = export(
            mirror.store,
            size,
            [],
            tree=mirror.tree,
            state=state,
            disclosed={txid: Opening(b"private", salt)},
            earlier=[2],
            everything=True,
            **keys,
        )
        yield lender, unpack(data)


@given(MEMBERS)
def test_a_container_gives_back_its_members(members: dict[str, bytes]) -> None:
    assert unpack(pack(members)) == members


@given(MEMBERS, st.data())
def test_a_damaged_container_is_refused(members: dict[str, bytes], data: st.DataObject) -> None:
    packed = bytearray(pack(members))
    place = data.draw(st.integers(0, len(packed) - 1))
    packed[place] ^= data.draw(st.integers(1, 255))
    with pytest.raises(InvalidBundle):
        unpack(bytes(packed))


@given(st.binary(max_size=200))
def test_other_bytes_are_no_bundle(data: bytes) -> None:
    with pytest.raises(InvalidBundle):
        verify(data)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=150)
@given(st.data())
def test_a_colluding_exporter_is_refused_by_name(
    made: tuple[Member, dict[str, bytes]], data: st.DataObject
) -> None:
    """Any file replaced, its digest in a manifest that a member signed: nothing but a refusal comes out."""
    member, members = made
    name = data.draw(st.sampled_from(sorted(members)))
    altered = {**members, name: data.draw(damaged(members[name]))}
    if name != "manifest.json":
        altered["manifest.json"] = manifest(members, altered)
    if name != "manifest.sig":
        signature = member.tx.sign(b"parley-bundle/v2\n" + altered["manifest.json"])
        altered["manifest.sig"] = base64url.encode(signature).encode()
    if altered == members:
        return
    with pytest.raises(InvalidBundle) as caught:
        verify(pack(altered), replayed=True)
    assert caught.value.member


def manifest(members: dict[str, bytes], altered: dict[str, bytes]) -> bytes:
    old = json.loads(members["manifest.json"])
    files = {
        name: hashlib.sha256(content).hexdigest()
        for name, content in altered.items()
        if not name.startswith("manifest.")
    }
    return canonical.encode({**old, "files": files})


@given(st.binary(max_size=64), st.binary(max_size=64), st.binary(min_size=32, max_size=32))
def test_a_commitment_opens_with_its_payload_alone(payload: bytes, other: bytes, salt: bytes) -> None:
    commitment, _ = commitments.commit(payload, salt)
    commitments.check(commitment, payload, salt)
    if other != payload:
        with pytest.raises(CommitmentMismatch):
            commitments.check(commitment, other, salt)


@given(st.binary(max_size=200))
def test_other_bytes_are_no_time_stamp(data: bytes) -> None:
    with pytest.raises(InvalidTimestamp):
        load_certificates(data)
    with pytest.raises(InvalidTimestamp):
        check("origin\n1\nroot\n", data, [])


def test_the_fixture_is_sound(made: tuple[Member, dict[str, bytes]], tmp_path: Path) -> None:
    assert verify(pack(made[1]), replayed=True).disclosed
