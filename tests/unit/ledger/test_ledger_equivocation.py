"""Naming the members that vouched for two histories, from checkpoints, evidence files and bundles."""

from collections.abc import Iterable

import pytest

from ledger import canonical, notes
from ledger.bundle.earlier import earlier_file
from ledger.checkpoints import Checkpoint, cosign, median_time
from ledger.container import pack
from ledger.equivocation import Keys, contradictions, read_statements
from ledger.errors import InvalidBundle, MalformedEntry, MalformedNote, UnverifiedNote
from ledger.merkle import Tree, leaf_hash
from ledger.notes import Note
from ledger.testing import ORIGIN, Stage, make_member, rotate_member

NAMES = ("lender", "bureau", "analyst", "regulator")
STAGE = Stage(*NAMES)
KEYS = Keys.of(STAGE.state)


def tree(mark: str, size: int) -> Tree:
    return Tree(leaf_hash(f"{mark if index > 3 else ''} {index}".encode()) for index in range(size))


def note(root: bytes, size: int, names: Iterable[str], *, signer: str = ORIGIN) -> bytes:
    text = Checkpoint(ORIGIN, size, root).encode()
    lines = [notes.sign(text, signer, STAGE.hub.cosign)]
    lines += [cosign(text, f"example/net/{name}", STAGE.members[name].cosign, 1) for name in names]
    return Note(text, tuple(lines)).encode()


def test_who_signed_two_roots_of_one_size_is_named() -> None:
    one = note(tree("a", 6).root(), 6, ["lender", "bureau", "analyst"])
    two = note(tree("b", 6).root(), 6, ["bureau", "analyst", "regulator"])
    found = contradictions([*read_statements(one, KEYS), *read_statements(two, KEYS)], KEYS)
    assert len(found) == 1
    assert (found[0].size, found[0].members, found[0].finals) == (6, 4, (True, True))
    assert found[0].both == ("example/net/analyst", "example/net/bureau")
    assert sorted(sum(found[0].only, ())) == ["example/net/lender", "example/net/regulator"]
    assert 3 * len(found[0].both) > found[0].members


def test_a_longer_log_that_proves_another_prefix_is_a_contradiction() -> None:
    honest, forked = tree("a", 6), tree("b", 9)
    one = note(honest.root(), 6, ["lender", "bureau", "regulator"])
    two = note(forked.root(), 9, ["bureau", "analyst", "regulator"])
    bundle = pack({"checkpoint": two, **earlier_file(forked, 6, 9)})
    assert contradictions([*read_statements(one, KEYS), *read_statements(two, KEYS)], KEYS) == []
    found = contradictions([*read_statements(one, KEYS), *read_statements(bundle, KEYS)], KEYS)
    assert [one.both for one in found] == [("example/net/bureau", "example/net/regulator")]
    broken = pack({"checkpoint": two, **earlier_file(honest, 4, 6)})
    with pytest.raises(InvalidBundle, match="earlier/4"):
        read_statements(broken, KEYS)


def test_one_history_blames_nobody() -> None:
    grown = tree("a", 9)
    small, large = note(grown.root(6), 6, NAMES), note(grown.root(9), 9, NAMES)
    bundle = pack({"checkpoint": large, **earlier_file(grown, 6, 9)})
    statements = [*read_statements(small, KEYS), *read_statements(bundle, KEYS)]
    assert contradictions(statements, KEYS) == []


def test_only_what_the_log_and_members_signed_counts() -> None:
    root = tree("a", 6).root()
    text = Checkpoint(ORIGIN, 6, root).encode()
    stranger = cosign(text, "example/net/stranger", make_member("stranger").cosign, 1)
    signed = Note.parse(note(root, 6, ["lender"])).with_signature(stranger)
    assert read_statements(signed.encode(), KEYS)[0].names == {"example/net/lender"}
    other = tree("b", 6).root()
    elsewhere = Checkpoint(ORIGIN, 6, other).encode()
    forged = cosign(elsewhere, "example/net/bureau", STAGE.members["bureau"].cosign, 1)
    with pytest.raises(UnverifiedNote, match="bureau"):
        read_statements(signed.with_signature(forged).encode(), KEYS)
    by_another_log = Note(text, (notes.sign(text, ORIGIN, make_member("stranger").cosign),))
    with pytest.raises(UnverifiedNote):
        read_statements(by_another_log.encode(), KEYS)


@pytest.mark.parametrize("data", [b"", b"text", b"{}", b'{"checkpoint":1}', b'{"a": 1}', pack({"a": b""})])
def test_other_files_are_refused(data: bytes) -> None:
    with pytest.raises(MalformedNote):
        read_statements(data, KEYS)


def test_an_evidence_file_holds_both_sides() -> None:
    sides = [note(tree(mark, 6).root(), 6, ["lender", "regulator"]) for mark in "ab"]
    facts = {"checkpoint": sides[0].decode(), "own_checkpoint": sides[1].decode(), "size": 6}
    found = contradictions(read_statements(canonical.encode(facts), KEYS), KEYS)
    assert [one.both for one in found] == [("example/net/lender", "example/net/regulator")]


def test_a_key_counts_at_the_sizes_it_was_valid_for() -> None:
    stage = Stage(*NAMES)
    before = next(vkey for vkey in Keys.of(stage.state).at(2) if vkey.name.endswith("lender"))
    rotated, rotation = rotate_member(stage.members["lender"], "cosign")
    body = {"proposal": "proposal-01arz3ndektsv4rrffq69g5fav", "effective_after": 0, "reason": "-"}
    stage.act("lender", "gov.propose", {**body, "actions": [{"action": "key.rotate", "rotation": rotation}]})
    for name in NAMES[1:]:
        stage.act(name, "gov.vote", {"proposal": body["proposal"], "approve": True})
    stage.act("lender", "gov.execute", {"proposal": body["proposal"]})
    stage.settle(1)
    keys = Keys.of(stage.state)
    assert before in keys.at(2)
    assert before not in keys.at(stage.index + 2)
    assert rotated.record["cosign"] in [vkey.encode() for vkey in keys.at(stage.index + 2)]


@pytest.mark.parametrize(
    ("times", "median"),
    [([5], 5), ([1, 9], 1), ([7, 1, 9], 7), ([0, 100, 101, 102], 100), ([100, 101, 102, 1 << 60], 101)],
)
def test_the_median_of_cosignature_times_is_an_honest_ones(times: list[int], median: int) -> None:
    assert median_time(times) == median


def test_the_genesis_alone_names_the_founders_keys() -> None:
    assert sorted(Keys.founded(STAGE.genesis).at(2), key=str) == sorted(KEYS.at(2), key=str)
    with pytest.raises(MalformedEntry):
        Keys.founded(b"{}")
