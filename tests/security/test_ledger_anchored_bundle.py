"""A ledger anchored in another one: what the two bundles prove together, and which forgeries they do not."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from ledger.anchoring import anchor_body
from ledger.bundle import export, verify
from ledger.errors import InvalidBundle
from ledger.membership import genesis_hash
from ledger.testing import Consortium, consortium


@pytest.fixture
def lenders(tmp_path: Path) -> Iterator[Consortium]:
    """The ledger that is anchored."""
    (tmp_path / "lenders").mkdir()
    with consortium(tmp_path / "lenders", "lender", "bureau") as made:
        grow(made, "lender")
        yield made


@pytest.fixture
def agencies(tmp_path: Path) -> Iterator[Consortium]:
    """The ledger in which it is anchored."""
    (tmp_path / "agencies").mkdir()
    with consortium(tmp_path / "agencies", "regulator", "agency") as made:
        grow(made, "agency")
        yield made


def grow(exchange: Consortium, name: str, port: int = 7444) -> None:
    exchange.act(name, "member.update", {"endpoint": f"{name}.example:{port}"})
    exchange.settle()


def anchor(
    lenders: Consortium, agencies: Consortium, after: int = 0, name: str = "lender"
) -> tuple[int, str]:
    """Anchor as the regulator; returns the size and the entry's txid."""
    mirror = lenders.mirrors[name]
    size, state = mirror.final
    genesis = genesis_hash(lenders.genesis)
    body = anchor_body(mirror.store, size, genesis=genesis, tree=mirror.tree, state=state, after=after)
    placed = agencies.act("regulator", "evidence.anchor", body)
    assert placed.code is None
    agencies.settle()
    return size, placed.txid


def exported(exchange: Consortium, name: str, *txids: str, **given: Any) -> bytes:
    mirror, member = exchange.mirrors[name], exchange.members[name]
    size, state = mirror.final
    keys: dict[str, Any] = {"did": member.did, "kid": member.kid, "key": member.tx}
    return export(mirror.store, size, txids, tree=mirror.tree, state=state, **keys, **given)


def test_a_checkpoint_is_found_in_the_other_ledger(lenders: Consortium, agencies: Consortium) -> None:
    size, first = anchor(lenders, agencies)
    grow(lenders, "bureau", 7445)
    elsewhere = exported(agencies, "agency", first)
    data = exported(lenders, "lender", earlier=[size])
    pins = {"anchored_in": elsewhere, "anchor_genesis": genesis_hash(agencies.genesis)}
    anchored = verify(data, genesis_hash(lenders.genesis), **pins).anchored  # type: ignore[arg-type]
    assert anchored is not None
    assert (anchored.size, anchored.pinned, anchored.cosigners) == (size, True, ("agency", "regulator"))
    assert verify(data).anchored is None
    later, second = anchor(lenders, agencies, after=size)
    both = exported(agencies, "regulator", first, second)
    assert verify(data, anchored_in=both).anchored.size == later  # type: ignore[union-attr]
    assert lenders.log.size == later


def test_a_proof_of_growth_is_needed(lenders: Consortium, agencies: Consortium) -> None:
    size, txid = anchor(lenders, agencies)
    grow(lenders, "bureau", 7445)
    elsewhere = exported(agencies, "agency", txid)
    refused(exported(lenders, "lender"), f"earlier/{size}.json", elsewhere)


def refused(data: bytes, named: str, elsewhere: bytes, genesis: str | None = None) -> None:
    with pytest.raises(InvalidBundle) as caught:
        verify(data, anchored_in=elsewhere, anchor_genesis=genesis)
    assert caught.value.member == named, str(caught.value)


def test_the_other_bundle_is_verified_too(lenders: Consortium, agencies: Consortium) -> None:
    _, txid = anchor(lenders, agencies)
    data, elsewhere = exported(lenders, "lender"), exported(agencies, "agency", txid)
    assert verify(data, anchored_in=elsewhere).anchored
    refused(data, "anchored-in/entries/0.json", elsewhere, "00" * 32)
    refused(data, "anchored-in/container", elsewhere[:-1])
    refused(data, "anchored-in", exported(agencies, "agency"))
    refused(data, "anchored-in", data)


def test_a_fork_is_shown_by_the_anchor(lenders: Consortium, agencies: Consortium, tmp_path: Path) -> None:
    """A quorum of the lenders shows the regulator's ledger one history, and readers another."""
    _, txid = anchor(lenders, agencies)
    (tmp_path / "fork").mkdir()
    with consortium(tmp_path / "fork", "lender", "bureau") as fork:
        assert fork.genesis == lenders.genesis
        grow(fork, "lender", 7999)
        assert fork.log.size == lenders.log.size
        data = exported(fork, "lender")
        elsewhere = exported(agencies, "agency", txid)
        assert verify(data, genesis_hash(lenders.genesis)).pinned
        (index,) = [i for i in range(agencies.log.size) if f"entries/{i}.json".encode() in elsewhere][-2:-1]
        refused(data, f"anchored-in/entries/{index}.json", elsewhere)
        forged = anchor_of(fork)
        assert agencies.act("agency", "evidence.anchor", forged).code == "anchor.fork"
        grow(fork, "lender", 8000)
        assert agencies.act("agency", "evidence.anchor", anchor_of(fork)).code == "anchor.inconsistent"


def anchor_of(exchange: Consortium) -> dict[str, Any]:
    mirror = exchange.mirrors["lender"]
    size, state = mirror.final
    genesis = genesis_hash(exchange.genesis)
    return anchor_body(mirror.store, size, genesis=genesis, tree=mirror.tree, state=state)


def test_a_refused_anchor_counts_for_nothing(lenders: Consortium, agencies: Consortium) -> None:
    size, _ = anchor(lenders, agencies)
    body = {**anchor_of(lenders), "root": "00" * 32}
    placed = agencies.act("regulator", "evidence.anchor", body)
    assert placed.code == "anchor.other-checkpoint"
    agencies.settle()
    refused(
        exported(lenders, "lender", earlier=[size]), "anchored-in", exported(agencies, "agency", placed.txid)
    )
