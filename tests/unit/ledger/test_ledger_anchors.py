"""Anchors of one ledger in another: what is taken, and that no second history is."""

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import pytest

from ledger import notes
from ledger.anchoring import anchor_body, anchored_size
from ledger.checkpoints import Checkpoint
from ledger.errors import NotFinal, Refusal
from ledger.keys import SigningKey
from ledger.membership import genesis_hash
from ledger.notes import ED25519, Note, Vkey
from ledger.testing import ORIGIN, Consortium, Stage, consortium


@pytest.fixture(scope="module")
def foreign(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Consortium]:
    """A ledger with a few final checkpoints."""
    with consortium(tmp_path_factory.mktemp("foreign"), "lender", "bureau") as made:
        for port in range(7444, 7448):
            made.act("lender", "member.update", {"endpoint": f"lender.example:{port}"})
            made.settle()
        yield made


def body_at(foreign: Consortium, size: int, after: int = 0) -> dict[str, Any]:
    """An anchor as the log's key holder can make it for any size, without cosignatures."""
    tree = foreign.mirrors["lender"].tree
    checkpoint = Checkpoint(ORIGIN, size, tree.root(size))
    return {
        **signed(foreign, checkpoint),
        "proof": [node.hex() for node in tree.consistency_proof(after, size)] if after else [],
    }


def signed(foreign: Consortium, checkpoint: Checkpoint, key: SigningKey | None = None) -> dict[str, Any]:
    key = key or foreign.hub.cosign
    text = checkpoint.encode()
    return {
        "origin": checkpoint.origin,
        "genesis": genesis_hash(foreign.genesis),
        "log": Vkey(ORIGIN, ED25519, key.public).encode(),
        "size": checkpoint.size,
        "root": checkpoint.root.hex(),
        "checkpoint": Note(text, (notes.sign(text, ORIGIN, key),)).encode().decode(),
        "proof": [],
    }


@pytest.fixture
def stage() -> Stage:
    return Stage("regulator", "agency")


def refused(stage: Stage, body: dict[str, Any], code: str, name: str = "regulator") -> None:
    before = stage.state.root()
    with pytest.raises(Refusal) as caught:
        stage.act(name, "evidence.anchor", body)
    assert caught.value.code == code
    assert stage.state.root() == before


def test_a_ledger_is_anchored_as_it_grows(stage: Stage, foreign: Consortium) -> None:
    first = body_at(foreign, 4)
    assert anchored_size(stage.state, first) == 0
    stage.act("regulator", "evidence.anchor", first)
    stage.act("agency", "evidence.anchor", body_at(foreign, 8, after=4))
    assert anchored_size(stage.state, first) == 8
    (row,) = stage.state.rows("anchors").values()
    assert (row["size"], row["anchored_by"]) == (8, stage.did("agency"))
    assert row["root"] == foreign.mirrors["lender"].tree.root(8).hex()


def test_no_second_history_is_taken_whoever_brings_it(stage: Stage, foreign: Consortium) -> None:
    stage.act("regulator", "evidence.anchor", body_at(foreign, 8))
    refused(stage, body_at(foreign, 8), "anchor.exists")
    refused(stage, body_at(foreign, 6), "anchor.smaller")
    fork = signed(foreign, Checkpoint(ORIGIN, 8, bytes(32)))
    refused(stage, fork, "anchor.fork", "agency")
    longer = signed(foreign, Checkpoint(ORIGIN, 10, bytes(32)))
    honest = body_at(foreign, 10, after=8)
    refused(stage, longer, "anchor.inconsistent", "agency")
    refused(stage, {**longer, "proof": honest["proof"]}, "anchor.inconsistent")
    refused(stage, {**honest, "proof": []}, "anchor.inconsistent")
    refused(stage, body_at(foreign, 10, after=6), "anchor.inconsistent")
    stage.act("agency", "evidence.anchor", honest)


def test_the_log_signed_exactly_what_is_stated(stage: Stage, foreign: Consortium) -> None:
    body = body_at(foreign, 4)
    for change in ({"size": 5}, {"root": "00" * 32}, {"origin": "elsewhere.example/log"}):
        refused(stage, {**body, **change}, "anchor.other-checkpoint")
    refused(stage, {**body, "proof": ["00" * 32]}, "anchor.inconsistent")
    another = SigningKey.generate()
    stranger = Vkey(ORIGIN, ED25519, another.public).encode()
    for change in (
        {"log": stranger},
        {"log": "nonsense"},
        {"log": replace(Vkey.parse(body["log"]), type=4).encode()},
        {"checkpoint": body["checkpoint"].replace("\n4\n", "\n5\n")},
        {"checkpoint": "no note"},
    ):
        refused(stage, {**body, **change}, "anchor.invalid-checkpoint")


@pytest.mark.parametrize(
    "change",
    [
        {"size": 0},
        {"size": "4"},
        {"proof": ["zz"]},
        {"proof": ["00" * 32] * 65},
        {"genesis": "0"},
        {"more": 1},
    ],
)
def test_an_anchor_has_its_shape(stage: Stage, foreign: Consortium, change: dict[str, Any]) -> None:
    refused(stage, {**body_at(foreign, 4), **change}, "entry.malformed-body")


def test_another_log_key_blocks_nobody(stage: Stage, foreign: Consortium) -> None:
    squatter = signed(foreign, Checkpoint(ORIGIN, 99, bytes(32)), SigningKey.generate())
    stage.act("agency", "evidence.anchor", squatter)
    stage.act("regulator", "evidence.anchor", body_at(foreign, 4))
    assert len(stage.state.rows("anchors")) == 2


def test_a_member_makes_the_body_from_its_copy(stage: Stage, foreign: Consortium) -> None:
    mirror = foreign.mirrors["bureau"]
    size, state = mirror.final
    given: dict[str, Any] = {"genesis": genesis_hash(foreign.genesis), "tree": mirror.tree, "state": state}
    stage.act("regulator", "evidence.anchor", body_at(foreign, 4))
    body = anchor_body(mirror.store, size, after=4, **given)
    assert len(Note.parse(body["checkpoint"].encode()).signatures) == 3
    stage.act("regulator", "evidence.anchor", body)
    assert anchored_size(stage.state, body) == size
    with pytest.raises(NotFinal):
        anchor_body(mirror.store, size, after=size + 1, **given)
    with pytest.raises(NotFinal):
        anchor_body(mirror.store, size + 1, **given)
