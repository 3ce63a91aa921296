"""A hub that cheats: forged rows, split views, rollbacks, wrong seals. Each leaves evidence."""

import json
import sqlite3
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

from ledger import base64url, checkpoints, merkle, notes
from ledger.batches import seal_batch
from ledger.entries import Draft, Entry
from ledger.errors import Divergence, StaleHead
from ledger.log import Log
from ledger.mirror import Mirror
from ledger.notes import Note
from ledger.store import LedgerStore
from ledger.testing import NET, ORIGIN, Consortium, InMemorySource, consortium
from ledger.tiles import decode_entries, encode_entries

NAMES = ("lender", "bureau", "analyst", "regulator")


@pytest.fixture
def exchange(tmp_path: Path) -> Iterator[Consortium]:
    with consortium(tmp_path, *NAMES) as made:
        yield made


class CheatingHub(InMemorySource):
    """Serves any list of entries under a checkpoint it signs with the real log key."""

    def __init__(self, exchange: Consortium, raws: list[bytes]) -> None:
        super().__init__(exchange.log)
        self.key, self.raws = exchange.hub.cosign, raws
        self.cosigned: list[int] = []

    def checkpoint(self, *, known: tuple[int, int] = (0, 0), wait_s: float = 0.0) -> bytes:
        root = merkle.root_of([merkle.leaf_hash(raw) for raw in self.raws])
        text = checkpoints.Checkpoint(ORIGIN, len(self.raws), root).encode()
        return Note(text, (notes.sign(text, ORIGIN, self.key),)).encode()

    def entry_bundle(self, number: int, width: int) -> bytes:
        return encode_entries(self.raws[number * 256 : number * 256 + width])

    def add_cosignature(self, size: int, line: str) -> None:
        self.cosigned.append(size)


def raws_of(log: Log) -> list[bytes]:
    return decode_entries(log.entry_bundle(0, log.size))


def update(exchange: Consortium, endpoint: str, name: str = "lender") -> bytes:
    return exchange.entry(name, "member.update", {"endpoint": endpoint})


def reseal(exchange: Consortium, prefix: list[bytes], *entries: bytes, **changes: Any) -> list[bytes]:
    """Append entries and a seal that the hub signs, with any of its statements replaced."""
    with ExitStack() as stack:
        store = exchange.new_store()
        log = stack.enter_context(
            Log.create(store, prefix[0], exchange.hub.cosign, exchange.hub.tx, clock=exchange.clock)
        )
        head = log._head
        parsed = [Entry.parse(raw) for raw in entries]
        batch = seal_batch(
            head,
            parsed,
            time=exchange.clock(),
            key=exchange.hub.tx,
            reference="1",
            seen=lambda _: frozenset(),
        )
    body = {**batch.seal.body, **changes}
    draft = Draft(NET, "seal", exchange.hub.did, body, exp=body["time"], seq="seal-1")
    return [*prefix, *entries, draft.sign(exchange.hub.kid, exchange.hub.tx).encode()]


def caught(mirror: Mirror, kind: str, source: CheatingHub | None = None) -> dict[str, Any]:
    """Sync, expect the divergence, and read its evidence."""
    before = (mirror.size, mirror.final_size, mirror.store.head())
    with pytest.raises(Divergence) as divergence:
        mirror.sync()
    assert divergence.value.kind == kind, str(divergence.value)
    assert (mirror.size, mirror.final_size, mirror.store.head()) == before
    if source is not None:
        assert len(source.cosigned) <= 1
    facts: dict[str, Any] = json.loads(Path(divergence.value.evidence).read_bytes())
    assert facts["kind"] == kind
    notes.verify(Note.parse(facts["checkpoint"].encode()), [mirror.network.log])
    return facts


def test_an_honest_list_of_entries_is_taken(exchange: Consortium) -> None:
    raws = reseal(exchange, raws_of(exchange.log), update(exchange, "a:1"))
    source = CheatingHub(exchange, raws)
    mirror = exchange.new_mirror("lender", source=source)
    mirror.sync()
    assert (mirror.size, source.cosigned[0]) == (4, 4)


@pytest.mark.parametrize(
    "changes",
    [
        {"refused": [[2, "entry.expired"]]},
        {"state": "00" * 32},
        {"height": 7},
        {"count": 9},
        {"prev_seal": "00" * 32},
        {"engine": {"kind": "etcd", "ref": "1"}},
        {"time": "2020-01-01T00:00:00Z"},
    ],
    ids=lambda changes: next(iter(changes)),
)
def test_a_seal_that_lies_is_caught(exchange: Consortium, changes: dict[str, Any]) -> None:
    source = CheatingHub(
        exchange, reseal(exchange, raws_of(exchange.log), update(exchange, "a:1"), **changes)
    )
    facts = caught(exchange.new_mirror("lender", source=source), "invalid-batch", source)
    assert "seal" in facts["expected"]
    assert [base64url.decode(raw) for raw in facts["entries"]] == source.raws
    assert source.cosigned == []


def test_an_entry_that_nobody_signed_is_caught(exchange: Consortium) -> None:
    member = exchange.members["lender"]
    entry = Entry.parse(update(exchange, "a:1"))
    forged = Draft(NET, entry.type, member.did, {"endpoint": "evil:1"}, exp=entry.exp, seq="1")
    raw = forged.sign(member.kid, exchange.hub.tx).encode()
    prefix = raws_of(exchange.log)
    honest = reseal(exchange, prefix, raw)
    assert Entry.parse(honest[-1]).body["refused"] == [[2, "entry.bad-signature"]]
    source = CheatingHub(exchange, reseal(exchange, prefix, raw, refused=[]))
    caught(exchange.new_mirror("lender", source=source), "invalid-batch", source)


def test_an_entry_sequenced_twice_is_caught(exchange: Consortium) -> None:
    raw = update(exchange, "a:1")
    exchange.log.submit(raw)
    mirror = exchange.mirrors["lender"]
    mirror.sync()
    exchange.act("bureau", "member.update", {"endpoint": "b:1"})
    raws = raws_of(exchange.log)
    raws[4] = raw
    source = CheatingHub(exchange, raws)
    again = exchange.new_mirror("lender", store=mirror.store, source=source)
    facts = caught(again, "invalid-batch", source)
    assert "txid" in facts["expected"]


def test_a_member_is_not_given_another_genesis(exchange: Consortium) -> None:
    raws = raws_of(exchange.log)
    founder = Entry.parse(raws[0])
    other = Draft(NET, founder.type, founder.actor, founder.body, exp=founder.exp, seq="other")
    for signer in (exchange.hub, *exchange.members.values()):
        other = other.sign(signer.kid, signer.tx)
    with Log.create(exchange.new_store(), other.encode(), exchange.hub.cosign, exchange.hub.tx) as log:
        source = CheatingHub(exchange, raws_of(log))
    facts = caught(exchange.new_mirror("lender", source=source), "invalid-batch", source)
    assert "genesis" in facts["expected"]


def test_two_views_of_one_size_are_never_both_cosigned(exchange: Consortium) -> None:
    prefix = raws_of(exchange.log)
    one = CheatingHub(exchange, reseal(exchange, prefix, update(exchange, "a:1")))
    two = CheatingHub(exchange, reseal(exchange, prefix, update(exchange, "b:1")))
    mirror = exchange.new_mirror("lender", source=one)
    mirror.sync()
    again = exchange.new_mirror("lender", store=mirror.store, source=two)
    facts = caught(again, "split-view", two)
    assert two.cosigned == []
    own, shown = (Note.parse(facts[name].encode()).text for name in ("own_checkpoint", "checkpoint"))
    assert own.split("\n")[:2] == shown.split("\n")[:2]
    assert own != shown


def test_a_rewritten_past_under_a_longer_log_is_caught(exchange: Consortium) -> None:
    prefix = raws_of(exchange.log)
    first = CheatingHub(exchange, reseal(exchange, prefix, update(exchange, "a:1")))
    mirror = exchange.new_mirror("lender", source=first)
    mirror.sync()
    longer = reseal(
        exchange, prefix, update(exchange, "b:1"), update(exchange, "c:1"), update(exchange, "d:1")
    )
    caught(exchange.new_mirror("lender", store=mirror.store, source=CheatingHub(exchange, longer)), "root")


def test_a_rollback_is_caught(exchange: Consortium) -> None:
    old = raws_of(exchange.log)
    exchange.log.submit(update(exchange, "a:1"))
    mirror = exchange.mirrors["lender"]
    mirror.sync()
    source = CheatingHub(exchange, old)
    facts = caught(exchange.new_mirror("lender", store=mirror.store, source=source), "rollback", source)
    assert facts["expected"] == "at least size 4"


def test_bytes_changed_in_the_hubs_database_are_caught_by_every_reader(exchange: Consortium) -> None:
    exchange.log.submit(update(exchange, "a:1"))
    exchange.settle()
    lender = exchange.mirrors["lender"]
    database = sqlite3.connect(str(exchange.hub_store.engine.url.database))
    with database:
        database.execute("UPDATE ledger_entries SET raw = replace(raw, 'a:1', 'b:1') WHERE \"index\" = 2")
        database.execute('UPDATE ledger_entries SET raw = cast(raw AS blob) WHERE "index" = 2')
    database.close()
    caught(exchange.new_mirror("bureau"), "root")
    differences = lender.compare(exchange.log)
    assert [difference.where for difference in differences] == ["entry 2"]
    assert "leaf hash" in str(differences[0])


def test_compare_names_what_is_missing_or_unreadable(exchange: Consortium) -> None:
    exchange.log.submit(update(exchange, "a:1"))
    lender = exchange.mirrors["lender"]
    lender.sync()
    raws = raws_of(exchange.log)

    def differences(source: CheatingHub) -> list[str]:
        return [difference.where for difference in lender.compare(source)]

    assert differences(CheatingHub(exchange, raws[:3])) == ["entry 3"]
    swapped = [raws[0], raws[2], raws[1], raws[3]]
    assert differences(CheatingHub(exchange, swapped)) == ["checkpoint at size 4", "entry 1", "entry 2"]

    class Cut(CheatingHub):
        def entry_bundle(self, number: int, width: int) -> bytes:
            return super().entry_bundle(number, width)[:-1]

    assert differences(Cut(exchange, raws)) == ["entries 0 to 3"]


def test_the_same_fault_leaves_one_file(exchange: Consortium) -> None:
    source = CheatingHub(exchange, reseal(exchange, raws_of(exchange.log), update(exchange, "a:1"), height=7))
    mirror = exchange.new_mirror("lender", source=source)
    for _ in range(3):
        caught(mirror, "invalid-batch")
    files = list(exchange.evidence("lender").iterdir())
    assert len(files) == 1
    assert files[0].stat().st_mode & 0o777 == 0o600
    assert exchange.evidence("lender").stat().st_mode & 0o777 == 0o700


def test_two_processes_on_one_store_cosign_one_root(exchange: Consortium) -> None:
    prefix = raws_of(exchange.log)
    store = exchange.new_store()
    one = CheatingHub(exchange, reseal(exchange, prefix, update(exchange, "a:1")))
    two = CheatingHub(exchange, reseal(exchange, prefix, update(exchange, "b:1")))
    first = exchange.new_mirror("lender", store=store, source=one)
    second = exchange.new_mirror("lender", store=store, source=two)
    first.sync()
    with pytest.raises(StaleHead):
        second.sync()
    assert (one.cosigned[:1], two.cosigned) == ([4], [])
    caught(second, "split-view", two)
    assert len(dict(store.checkpoints())) == 1
    assert list(store.cosignatures(4)) == [f"{NET}/lender"]


class Killed(BaseException):
    """The process ends here."""


def kill_after(store: LedgerStore, method: str) -> None:
    """End the process right after a method of the store has done its work."""
    original = getattr(store, method)

    def fail(*args: Any, **kwargs: Any) -> None:
        original(*args, **kwargs)
        raise Killed

    setattr(store, method, fail)


def test_no_crash_lets_a_member_cosign_two_roots(exchange: Consortium) -> None:
    prefix = raws_of(exchange.log)
    one = CheatingHub(exchange, reseal(exchange, prefix, update(exchange, "a:1")))
    two = CheatingHub(exchange, reseal(exchange, prefix, update(exchange, "b:1")))
    for method in ("move_head", "append", "put_checkpoint", "add_cosignatures"):
        store = exchange.new_store()
        doomed = exchange.new_mirror("lender", store=store, source=one)
        kill_after(store, method)
        with pytest.raises(Killed):
            doomed.sync()
        again = exchange.new_mirror("lender", store=LedgerStore(store.engine), source=two)
        if method == "add_cosignatures":
            caught(again, "split-view", two)
            assert two.cosigned == []
        else:
            again.sync()
            assert one.cosigned == []
            assert list(dict(store.checkpoints())) == [4]
            two.cosigned.clear()
