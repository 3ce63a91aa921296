"""Time stamps in evidence bundles: what counts, and that nothing altered does."""

import hashlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from ledger import base64url, canonical
from ledger.bundle import export, verify
from ledger.checkpoints import Checkpoint
from ledger.container import pack, unpack
from ledger.errors import InvalidBundle
from ledger.testing import ORIGIN, Consortium, consortium
from ledger.testing.authority import Authority, Issuer, make_authority, make_issuer
from ledger.timestamps import Stamp, load_certificates, request

pytestmark = pytest.mark.authority

Members = dict[str, bytes]


@pytest.fixture(scope="module")
def root() -> Issuer:
    return make_issuer("Root")


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory, root: Issuer) -> Authority:
    return make_authority(tmp_path_factory.mktemp("stamps") / "authority", root)


@pytest.fixture(scope="module")
def exchange(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Consortium]:
    with consortium(tmp_path_factory.mktemp("bundle"), "lender", "regulator") as made:
        for port in range(7444, 7449):
            made.act("lender", "member.update", {"endpoint": f"lender.example:{port}"})
        made.settle()
        yield made


def text_at(exchange: Consortium, size: int) -> str:
    return Checkpoint(ORIGIN, size, exchange.mirrors["lender"].tree.root(size)).encode()


def stamp(exchange: Consortium, authority: Authority, size: int, url: str = "http://tsa") -> Stamp:
    response = authority.answer(request(text_at(exchange, size)).body)
    return Stamp(size, url, response, authority.certificates)


def exported(exchange: Consortium, **changes: Any) -> bytes:
    mirror, member = exchange.mirrors["lender"], exchange.members["lender"]
    size, state = mirror.final
    given: dict[str, Any] = {"tree": mirror.tree, "state": state, "did": member.did, "kid": member.kid}
    return export(mirror.store, size, [], **{**given, "key": member.tx, **changes})


def colluding(exchange: Consortium, members: Members) -> bytes:
    member = exchange.members["lender"]
    files = {name: content for name, content in members.items() if not name.startswith("manifest.")}
    manifest = canonical.decode(members["manifest.json"])
    assert isinstance(manifest, dict)
    manifest["files"] = {name: hashlib.sha256(content).hexdigest() for name, content in files.items()}
    content = canonical.encode(manifest)
    signature = base64url.encode(member.tx.sign(b"parley-bundle/v2\n" + content)).encode()
    return pack({**files, "manifest.json": content, "manifest.sig": signature})


def refused(data: bytes, named: str, *roots: Issuer) -> None:
    with pytest.raises(InvalidBundle) as caught:
        verify(data, tsa_roots=[root.certificate for root in roots])
    assert caught.value.member == named, str(caught.value)


def test_a_stamp_on_an_earlier_checkpoint_counts(
    exchange: Consortium, authority: Authority, root: Issuer
) -> None:
    data = exported(exchange, timestamps=[stamp(exchange, authority, 4)])
    (found,) = verify(data, tsa_roots=[root.certificate]).timestamps
    assert (found.size, found.authority, found.trusted) == (4, "CN=Test authority", True)
    (unpinned,) = verify(data).timestamps
    assert not unpinned.trusted
    newest = exported(exchange, timestamps=[stamp(exchange, authority, exchange.log.size)])
    assert verify(newest, tsa_roots=[root.certificate]).timestamps[0].size == exchange.log.size


def test_of_each_authority_the_first_stamp_that_covers_the_entries_is_shown(
    exchange: Consortium, authority: Authority
) -> None:
    stamps = [stamp(exchange, authority, size, url) for size in (4, 6, 8) for url in ("http://a", "http://b")]
    found = verify(exported(exchange, timestamps=stamps)).timestamps
    assert [one.size for one in found] == [4, 4]
    mirror = exchange.mirrors["lender"]
    record = mirror.store.records(6, 7)[0]
    member = exchange.members["lender"]
    size, state = mirror.final
    keys: dict[str, Any] = {"did": member.did, "kid": member.kid, "key": member.tx}
    data = export(mirror.store, size, [record.txid], tree=mirror.tree, state=state, timestamps=stamps, **keys)
    assert [one.size for one in verify(data).timestamps] == [8, 8]


def test_another_root_is_refused(exchange: Consortium, authority: Authority) -> None:
    data = exported(exchange, timestamps=[stamp(exchange, authority, 4)])
    refused(data, "timestamps/4-0.tsr", make_issuer("Root"))


def test_certificates_in_the_bundle_vouch_for_nobody(
    exchange: Consortium, root: Issuer, tmp_path: Path
) -> None:
    own = make_authority(tmp_path / "own", make_issuer("Own root"))
    data = exported(exchange, timestamps=[stamp(exchange, own, 4)])
    assert not verify(data).timestamps[0].trusted
    refused(data, "timestamps/4-0.tsr", root)


def test_a_stamp_on_another_text_is_refused(exchange: Consortium, authority: Authority, root: Issuer) -> None:
    good = stamp(exchange, authority, 4)
    data = exported(exchange, timestamps=[good])
    members = unpack(data)
    other = authority.answer(request(text_at(exchange, 6)).body)
    refused(colluding(exchange, {**members, "timestamps/4-0.tsr": other}), "timestamps/4-0.tsr", root)
    moved = {**members, "timestamps/6-0.tsr": good.response, "timestamps/6-0.pem": good.certificates}
    refused(colluding(exchange, moved), "timestamps/6-0.tsr", root)


def test_asking_for_a_root_asks_for_a_stamp(exchange: Consortium, root: Issuer) -> None:
    refused(exported(exchange), "timestamps/0-0.tsr", root)


@pytest.mark.parametrize("name", ["timestamps/4-0.tsr", "timestamps/4-0.pem", "earlier/4.json"])
def test_nothing_of_a_stamp_may_be_missing(
    exchange: Consortium, authority: Authority, root: Issuer, name: str
) -> None:
    members = unpack(exported(exchange, timestamps=[stamp(exchange, authority, 4)]))
    del members[name]
    named = name.replace("earlier/4.json", "timestamps/4-0.tsr")
    refused(colluding(exchange, members), named, root)


def test_an_earlier_checkpoint_is_a_prefix(exchange: Consortium) -> None:
    members = unpack(exported(exchange, earlier=[4, exchange.log.size]))
    assert verify(colluding(exchange, members))
    own = canonical.decode(members["earlier/4.json"])
    assert isinstance(own, dict)
    proof = own["proof"]
    assert isinstance(proof, list)
    for change in (
        {**own, "root": "00" * 32},
        {**own, "proof": proof[:-1]},
        {**own, "proof": [*proof, "00" * 32]},
        {**own, "proof": ["00"]},
        {**own, "proof": ["zz"]},
        {**own, "proof": ["00" * 32] * 65},
        {**own, "proof": 1},
        {"root": own["root"]},
        [],
    ):
        altered = {**members, "earlier/4.json": canonical.encode(change)}
        refused(colluding(exchange, altered), "earlier/4.json")
    beyond = {**members, "earlier/99.json": members["earlier/4.json"]}
    refused(colluding(exchange, beyond), "earlier/99.json")


def test_certificates_must_be_some(exchange: Consortium, authority: Authority) -> None:
    members = unpack(exported(exchange, timestamps=[stamp(exchange, authority, 4)]))
    refused(colluding(exchange, {**members, "timestamps/4-0.pem": b"x"}), "timestamps/4-0.pem")
    (signer,) = load_certificates((authority.folder / "signer.pem").read_bytes())
    assert signer.subject != signer.issuer
    leaf = (authority.folder / "signer.pem").read_bytes()
    refused(colluding(exchange, {**members, "timestamps/4-0.pem": leaf}), "timestamps/4-0.tsr")
