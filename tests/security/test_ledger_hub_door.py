"""Bad entries at a real hub's door, over HTTP: refused with their code, or recorded with it as designed."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from datetime import timedelta
from typing import Any

import pytest

from exchange.errors import InvalidRequest
from exchange.hub.daemon import Hub
from exchange.hub.testing import NET, Founded, found
from exchange.identity import NodeKeys
from exchange.node.hub_client import HubClient
from ledger.entries import MAX_ENTRY_SIZE, Draft, Entry, new_ulid
from ledger.errors import LedgerError, MalformedEntry, Refusal
from ledger.fsck import check
from ledger.log import Placed
from ledger.membership import Network
from ledger.promises import Promise
from ledger.times import format_time, system_clock

NAMES = ("lender", "bureau")


@pytest.fixture(scope="module")
def founded(tmp_path_factory: pytest.TempPathFactory) -> Founded:
    return found(tmp_path_factory.mktemp("hub"), *NAMES)


@pytest.fixture(scope="module")
def hub(founded: Founded) -> Iterator[Hub]:
    with founded.hub() as running:
        yield running


@pytest.fixture
def client(founded: Founded, hub: Hub) -> Iterator[HubClient]:
    connected = founded.connect(hub, "lender")
    yield connected
    connected.close()


def entry(
    keys: NodeKeys,
    kind: str = "member.update",
    body: dict[str, Any] | None = None,
    *signers: NodeKeys,
    net: str = NET,
    lifetime_s: float = 3600,
    actor: str | None = None,
    seq: str | None = None,
) -> bytes:
    exp = format_time(system_clock() + timedelta(seconds=lifetime_s))
    content = {"endpoint": "a:1"} if body is None else body
    draft = Draft(net, kind, actor or keys.did, content, exp=exp, seq=seq or new_ulid(system_clock))
    for one in signers or (keys,):
        draft = draft.sign(one.kid, one.tx)
    return draft.encode()


Made = Callable[[Founded], bytes]
STRANGER = NodeKeys.generate("stranger", NET, "127.0.0.1")


def lender(founded: Founded) -> NodeKeys:
    return founded.members["lender"]


def bureau(founded: Founded) -> NodeKeys:
    return founded.members["bureau"]


def respelled(founded: Founded) -> bytes:
    return json.dumps(json.loads(entry(lender(founded))), indent=1).encode()


def twice(founded: Founded) -> bytes:
    return entry(lender(founded)).replace(b'{"actor":', b'{"actor":"x","actor":', 1)


MALFORMED: dict[str, Made] = {
    "nothing": lambda _: b"",
    "no JSON": lambda _: b"no entry",
    "an empty object": lambda _: b"{}",
    "a list": lambda _: b"[]",
    "cut off": lambda founded: entry(lender(founded))[:-1],
    "something behind it": lambda founded: entry(lender(founded)) + b"\n",
    "not canonical": respelled,
    "a key twice": twice,
    "not UTF-8": lambda founded: entry(lender(founded)).replace(b"a:1", b"\xff:1"),
    "a float": lambda founded: entry(lender(founded)).replace(b'"v":1', b'"v":1.0'),
    "another version": lambda founded: entry(lender(founded)).replace(b'"v":1', b'"v":2'),
    "an unknown member": lambda founded: entry(lender(founded)).replace(b'"v":1', b'"v":1,"w":1'),
    "no signature": lambda founded: json.dumps(
        {**json.loads(entry(lender(founded))), "sigs": []}, separators=(",", ":"), sort_keys=True
    ).encode(),
    "deep nesting": lambda _: b'{"a":' * 1000 + b"1" + b"}" * 1000,
}
REFUSED: dict[str, tuple[str, Made]] = {
    "another network": ("entry.wrong-net", lambda founded: entry(lender(founded), net="other")),
    "a stranger": ("entry.unknown-actor", lambda _: entry(STRANGER)),
    "by another member": (
        "entry.wrong-signers",
        lambda founded: entry(lender(founded), "member.update", None, bureau(founded)),
    ),
    "one signature too many": (
        "entry.wrong-signers",
        lambda founded: entry(lender(founded), "member.update", None, lender(founded), bureau(founded)),
    ),
    "changed after signing": (
        "entry.bad-signature",
        lambda founded: entry(lender(founded)).replace(b'"a:1"', b'"b:1"'),
    ),
    "a seal": ("entry.not-permitted", lambda founded: entry(lender(founded), "seal", {})),
    "a genesis": ("entry.not-permitted", lambda founded: founded.genesis),
}
RECORDED: dict[str, tuple[str, Made]] = {
    "an unknown type": ("entry.unknown-type", lambda founded: entry(lender(founded), "asset.burn", {})),
    "expired": ("entry.expired", lambda founded: entry(lender(founded), lifetime_s=-60)),
    "expires too late": ("entry.expires-too-late", lambda founded: entry(lender(founded), lifetime_s=90_000)),
    "another body": ("entry.malformed-body", lambda founded: entry(lender(founded), body={"x": 1})),
}


def answers(client: HubClient, raw: bytes) -> list[Placed | LedgerError]:
    """What the hub says of an entry alone, in a batch, and asked for a promise."""
    try:
        alone: Placed | LedgerError = client.submit(raw)
    except LedgerError as error:
        alone = error
    return [alone, *client.submit_many([raw])]


@pytest.mark.parametrize("case", MALFORMED)
def test_what_is_no_entry_is_refused(founded: Founded, hub: Hub, client: HubClient, case: str) -> None:
    raw, size = MALFORMED[case](founded), hub.services.log.size
    for answer in answers(client, raw):
        assert isinstance(answer, MalformedEntry), answer
    with pytest.raises(MalformedEntry):
        client.promise(raw)
    assert hub.services.log.size == size


@pytest.mark.parametrize("case", REFUSED)
def test_what_nobody_can_be_held_to_is_refused(
    founded: Founded, hub: Hub, client: HubClient, case: str
) -> None:
    code, made = REFUSED[case]
    raw, size = made(founded), hub.services.log.size
    for answer in answers(client, raw):
        assert isinstance(answer, Refusal)
        assert answer.code == code
    with pytest.raises(Refusal):
        client.promise(raw)
    assert hub.services.log.size == size


@pytest.mark.parametrize("case", RECORDED)
def test_what_its_signer_is_held_to_is_recorded_with_its_code(
    founded: Founded, hub: Hub, client: HubClient, case: str
) -> None:
    code, made = RECORDED[case]
    raw, size, state = made(founded), hub.services.log.size, hub.services.log.state.root()
    first, again = answers(client, raw)
    assert isinstance(first, Placed)
    assert (first.code, again) == (code, first)
    assert hub.services.log.size == size + 2
    assert hub.services.log.state.root() == state


def test_the_largest_entry_is_taken_and_one_byte_more_is_not(
    founded: Founded, hub: Hub, client: HubClient
) -> None:
    member = lender(founded)
    base = len(entry(member, "asset.burn", {"endpoint": "a:1"}))
    largest = entry(member, "asset.burn", {"endpoint": "a:1" + "x" * (MAX_ENTRY_SIZE - base)})
    larger = largest.replace(b'"a:1', b'"a:1x')
    assert [len(raw) for raw in (largest, larger)] == [MAX_ENTRY_SIZE, MAX_ENTRY_SIZE + 1]
    assert client.submit(largest).code == "entry.unknown-type"
    size = hub.services.log.size
    with pytest.raises(InvalidRequest, match="32769 bytes"):
        client.submit(larger)
    assert isinstance(client.submit_many([larger])[0], MalformedEntry)
    with pytest.raises(InvalidRequest):
        client.promise(larger)
    assert hub.services.log.size == size


def stated(founded: Founded, *signers: NodeKeys, seq: str) -> bytes:
    """A joint statement: the same act whichever of the two signed first."""
    parties = sorted(keys.did for keys in (lender(founded), bureau(founded)))
    body = {"parties": parties, "subject": "a test", "digest": "00" * 32}
    return entry(lender(founded), "evidence.statement", body, *signers, seq=seq)


def test_the_same_act_with_another_signature_list_is_a_replay(
    tmp_path_factory: pytest.TempPathFactory,
) -> None:
    founded = found(tmp_path_factory.mktemp("replay"), *NAMES)
    pairs = [(lender(founded), bureau(founded)), (bureau(founded), lender(founded))]
    one, other = (stated(founded, *pair, seq="first") for pair in pairs)
    assert Entry.parse(one).txid == Entry.parse(other).txid
    third, fourth = (stated(founded, *pair, seq="second") for pair in pairs)
    with founded.hub() as hub:
        client = founded.connect(hub, "bureau")
        placed = client.submit(one)
        assert client.submit(one) == placed
        with pytest.raises(Refusal) as refusal:
            client.submit(other)
        assert refusal.value.code == "entry.replayed"
        both = client.submit_many([third, fourth])  # in the same batch
        assert [isinstance(answer, Placed) for answer in both] == [True, False]
        assert getattr(both[1], "code", None) == "entry.replayed"
        size = hub.services.log.size
        client.close()
    with founded.hub() as hub:  # after a restart
        client = founded.connect(hub, "lender")
        assert client.submit(one) == placed
        for raw in (other, fourth):
            with pytest.raises(Refusal) as refusal:
                client.submit(raw)
            assert refusal.value.code == "entry.replayed"
        assert hub.services.log.size == size
        client.close()
        assert check(hub.services.log._store, founded.genesis) == []


def test_any_member_hands_in_what_another_signed(founded: Founded, hub: Hub) -> None:
    """So a member that is not heard goes through another one."""
    raw = entry(lender(founded))
    other = founded.connect(hub, "bureau")
    promise = Promise.read(other.promise(raw), network(hub))
    placed = other.submit(raw)
    other.close()
    assert (placed.txid, placed.code) == (promise.txid, None)


def network(hub: Hub) -> Network:
    found = Network.of(hub.services.log.state)
    assert found is not None
    return found
