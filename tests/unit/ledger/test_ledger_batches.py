"""Batches: what a seal states, and that nobody can state otherwise."""

from collections.abc import Callable
from datetime import datetime, timedelta
from typing import Any

import pytest

from ledger import canonical
from ledger.batches import EMPTY_HEAD, Batch, Head, read_seal, seal_batch, split_batches, verify_batch
from ledger.entries import Draft, Entry
from ledger.errors import InvalidBatch, SealAhead
from ledger.testing import NET, START, draft_entry, make_genesis, make_hub, make_member
from ledger.times import format_time

HUB = make_hub()
MEMBERS = [make_member(name) for name in ("lender", "bureau")]
GENESIS = Entry.parse(make_genesis(HUB, MEMBERS))


def nothing(_: frozenset[str]) -> frozenset[str]:
    return frozenset()


def sealed(head: Head, *entries: Entry, time: datetime = START) -> Batch:
    return seal_batch(head, entries, time=time, key=HUB.tx, reference=str(head.height), seen=nothing)


def update(endpoint: str = "x:1", lifetime_s: float = 60, member: int = 0) -> Entry:
    author = MEMBERS[member]
    draft = draft_entry(author, "member.update", {"endpoint": endpoint}, lifetime_s=lifetime_s)
    return Entry.parse(draft.sign(author.kid, author.tx).encode())


FIRST = sealed(EMPTY_HEAD, GENESIS)
SECOND = sealed(FIRST.head, update("a:1"), update("b:1", lifetime_s=-5), update("c:1", member=1))


def check(
    raws: list[bytes], head: Head = FIRST.head, now: datetime | None = START, seen: Any = nothing
) -> Batch:
    batch = None
    for entries in split_batches(raws, head.size):
        batch = verify_batch(head, entries, now=now, seen=seen)
        head = batch.head
    return batch or verify_batch(head, [], now=now, seen=seen)


def differs(what: str, index: int, act: Callable[[], object]) -> None:
    with pytest.raises(InvalidBatch) as caught:
        act()
    assert (caught.value.what, caught.value.index) == (what, index), str(caught.value)


def test_a_seal_verifies_to_the_same_head() -> None:
    first = check(FIRST.raws, EMPTY_HEAD)
    assert (first.head.size, first.head.height, first.codes) == (2, 1, (None,))
    second = check(SECOND.raws)
    assert second.codes == (None, "entry.expired", None)
    assert second.head.state.root() == SECOND.head.state.root()
    assert (second.head.size, second.head.prev_seal) == (SECOND.head.size, SECOND.head.prev_seal)
    assert SECOND.seal.body["refused"] == [[3, "entry.expired"]]


def resealed(**changes: Any) -> list[bytes]:
    """The second batch under a seal that the hub signed over other words."""
    body = {**SECOND.seal.body, **changes}
    draft = Draft(NET, "seal", HUB.did, body, exp=body["time"], seq="seal-1")
    return [*SECOND.raws[:-1], draft.sign(HUB.kid, HUB.tx).encode()]


@pytest.mark.parametrize(
    ("what", "changes"),
    [
        ("seal height", {"height": 2}),
        ("seal first", {"first": 3}),
        ("seal count", {"count": 2}),
        ("seal refused", {"refused": []}),
        ("seal refused", {"refused": [[3, "entry.replayed"]]}),
        ("seal refused", {"refused": [[2, "entry.expired"], [3, "entry.expired"]]}),
        ("seal state", {"state": "00" * 32}),
        ("seal prev_seal", {"prev_seal": "00" * 32}),
        ("seal engine", {"engine": {"kind": "etcd", "ref": "1"}}),
        ("seal", {"surprise": 1}),
        ("seal time", {"time": format_time(START - timedelta(seconds=1))}),
    ],
)
def test_a_seal_that_states_otherwise_is_refused(what: str, changes: dict[str, Any]) -> None:
    differs(what, 5, lambda: check(resealed(**changes)))


def test_a_seal_ahead_within_tolerance_is_taken_and_an_old_one_is_read_again() -> None:
    raws = sealed(FIRST.head, update("a:1", 7000), time=START + timedelta(seconds=120)).raws
    check(raws)
    with pytest.raises(SealAhead, match="at most 2026-11-23T10:01:59Z, got 2026-11-23T10:02:00Z"):
        check(raws, now=START - timedelta(seconds=1))
    check(raws, now=None)


def test_an_entry_appears_once() -> None:
    entry = update()
    differs("txid", 3, lambda: sealed(FIRST.head, entry, entry))
    differs("txid", 2, lambda: check(SECOND.raws, seen=lambda txids: txids))


def test_batches_end_in_one_seal() -> None:
    differs("batch", 2, lambda: check([]))
    differs("batch", 5, lambda: check(SECOND.raws[:-1]))
    differs("seal height", 6, lambda: check([*SECOND.raws, SECOND.raws[-1]]))
    differs("batch", 4, lambda: verify_batch(FIRST.head, list(SECOND.entries[:2]), now=None, seen=nothing))
    inside = [SECOND.seal, SECOND.seal]
    differs("batch", 2, lambda: verify_batch(FIRST.head, inside, now=None, seen=nothing))
    differs("seal count", 2, lambda: check(SECOND.raws[-1:]))
    differs("entry", 3, lambda: check([SECOND.raws[0], b"{}", SECOND.raws[-1]]))


def test_an_altered_order_or_entry_is_found() -> None:
    raws = SECOND.raws
    differs("seal refused", 5, lambda: check([raws[1], raws[0], *raws[2:]]))
    differs("seal count", 4, lambda: check([raws[0], *raws[2:]]))


def test_only_the_hub_seals() -> None:
    value = canonical.decode(SECOND.seal.raw)
    assert isinstance(value, dict)
    draft = Draft(NET, "seal", HUB.did, SECOND.seal.body, exp=SECOND.seal.exp, seq=SECOND.seal.seq)
    forged = draft.sign(HUB.kid, MEMBERS[0].tx).encode()
    member = draft.sign(MEMBERS[0].kid, MEMBERS[0].tx).encode()
    both = draft.sign(HUB.kid, HUB.tx).sign(MEMBERS[0].kid, MEMBERS[0].tx).encode()
    for seal in (forged, member, both):
        differs("seal signature", 5, lambda seal=seal: check([*SECOND.raws[:-1], seal]))
    renamed = Draft(NET, "seal", HUB.did, SECOND.seal.body, exp=SECOND.seal.exp, seq="other")
    seal = renamed.sign(HUB.kid, HUB.tx).encode()
    differs("seal", 5, lambda: check([*SECOND.raws[:-1], seal]))


def test_the_first_batch_is_the_genesis_alone() -> None:
    differs("batch", 0, lambda: sealed(EMPTY_HEAD, update()))
    differs("batch", 0, lambda: sealed(EMPTY_HEAD, GENESIS, update()))


@pytest.mark.parametrize("refused", [[[3]], [["3", "entry.expired"]], [[3, 4]], [{}], [[3, "x", "y"]], ["x"]])
def test_a_refusal_in_a_seal_is_an_index_and_a_code(refused: list[object]) -> None:
    seal = Entry.parse(resealed(refused=refused)[-1])
    differs("seal", 5, lambda: read_seal(seal, 5))
    assert read_seal(SECOND.seal, 5) == SECOND.seal.body
