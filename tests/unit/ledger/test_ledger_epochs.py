"""A new log epoch: the rule, the files, and a log that goes on where another one stopped."""

from collections.abc import Iterator
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from ledger.archive import begin_anew
from ledger.carried import read_carried, write_carried
from ledger.entries import Draft, Entry
from ledger.epochs import Final, check_founding, confirm, draft_epoch, last_final, log_vkey
from ledger.errors import InvalidBatch, InvalidEpoch, LedgerError, Refusal, StaleHead, StoreCorrupt
from ledger.fsck import check
from ledger.log import Log
from ledger.membership import Network, genesis_hash, key_at
from ledger.notes import ED25519, Vkey
from ledger.state import apply
from ledger.store import LedgerStore, open_engine
from ledger.tables import State
from ledger.testing import ORIGIN, Consortium, Member, consortium, make_hub, make_member
from ledger.testing.epochs import NextEpoch, founding, rekeyed_hub
from ledger.times import format_time

NAMES = ("lender", "bureau", "analyst", "regulator")


def refused(exchange: Consortium, final: Final, raw: bytes, *, seconds: float = 1) -> str:
    time = exchange.clock() + timedelta(seconds=seconds)
    with pytest.raises(Refusal) as caught:
        apply(final.state, Entry.parse(raw), index=0, time=time)
    return caught.value.code


@pytest.fixture(scope="module")
def exchange(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Consortium]:
    with consortium(tmp_path_factory.mktemp("epochs"), *NAMES, roles={"regulator": "regulator"}) as made:
        made.act("lender", "member.update", {"endpoint": "one:1"})
        made.decide({"action": "params.set", "max_clock_skew_s": 300}, effective_after=1000)
        made.settle()
        made.act("bureau", "member.update", {"endpoint": "lost:1"})
        yield made


@pytest.fixture(scope="module")
def final(exchange: Consortium) -> Final:
    return last_final(exchange.hub_store)


def test_the_last_final_checkpoint_is_found_behind_the_head(exchange: Consortium, final: Final) -> None:
    assert final.size == exchange.log.final_size < exchange.log.size
    assert final.state.root() == exchange.mirrors["lender"].final_state.root()
    assert final.genesis == genesis_hash(exchange.genesis)
    assert "lost:1" not in str(dict(final.state.rows("members")))


def test_no_checkpoint_is_final_before_a_quorum_cosigned(tmp_path: Path) -> None:
    with consortium(tmp_path, *NAMES) as made:
        made.mirrors["lender"].sync()
        with pytest.raises(InvalidEpoch, match="a quorum cosigned, found none"):
            last_final(made.hub_store)


def test_the_epoch_keeps_everything_but_places(exchange: Consortium, final: Final) -> None:
    raw = founding(exchange, final, *NAMES[:3])
    state = apply(final.state, Entry.parse(raw), index=0, time=exchange.clock() + timedelta(seconds=1))
    network = Network.of(state)
    assert network is not None
    assert (network.origin, network.log.public) == (f"{ORIGIN}/e2", rekeyed_hub(exchange).cosign.public)
    assert set(state.rows("members")) == set(final.state.rows("members"))
    rows = [row for name in state.table_roots() for row in state.rows(name).values()]
    assert {row["index"] for row in rows} == {0}
    lender = exchange.members["lender"]
    assert key_at(state, lender.did, 0) is not None
    (proposal,) = state.rows("proposals").values()
    assert (proposal["status"], proposal["code"]) == ("lapsed", "epoch.lapsed")
    assert state.rows("pending")["queue"]["changes"] == []
    row = state.rows("params")["network"]
    ended = final.time + timedelta(hours=24)
    assert (row["epoch"], row["floor"]) == (2, format_time(ended))
    assert row["genesis"] == genesis_hash(raw)


def test_a_replaced_key_counts_nowhere_in_the_new_log(tmp_path: Path) -> None:
    from ledger.testing import rotate_member

    with consortium(tmp_path, *NAMES) as made:
        rotated, rotation = rotate_member(made.members["lender"], "tx")
        made.decide({"action": "key.rotate", "rotation": rotation})
        made.act("bureau", "member.update", {"endpoint": "one:1"})
        made.settle()
        final = last_final(made.hub_store)
        old = made.members["lender"]
        made.members["lender"] = rotated
        raw = founding(made, final, *NAMES[:3])
        state = apply(final.state, Entry.parse(raw), index=0, time=made.clock() + timedelta(seconds=1))
        found = key_at(state, rotated.did, 7)
        assert found is not None
        assert found.kid == rotated.kid
        made.members["lender"] = old
        assert refused(made, final, founding(made, final, *NAMES[:3])) == "epoch.wrong-signers"


CHANGES: list[tuple[dict[str, Any], str]] = [
    ({"epoch": 1}, "epoch.wrong-number"),
    ({"epoch": 3}, "epoch.wrong-number"),
    ({"name": "another/net"}, "entry.wrong-net"),
    ({"origin": ORIGIN}, "epoch.wrong-origin"),
    ({"origin": f"{ORIGIN}/e3"}, "epoch.wrong-origin"),
    ({"log": "no key"}, "epoch.invalid-log-key"),
    ({"log": Vkey("elsewhere", ED25519, make_hub("x").cosign.public).encode()}, "epoch.invalid-log-key"),
    ({"extra": 1}, "entry.malformed-body"),
]


@pytest.mark.parametrize(("changes", "code"), CHANGES, ids=lambda value: str(value)[:40])
def test_a_wrong_statement_is_refused(
    exchange: Consortium, final: Final, changes: dict[str, Any], code: str
) -> None:
    assert refused(exchange, final, founding(exchange, final, *NAMES[:3], **changes)) == code


@pytest.mark.parametrize(
    ("changes", "code"),
    [
        ({"state": "0" * 64}, "epoch.wrong-state"),
        ({"origin": "elsewhere"}, "epoch.wrong-checkpoint"),
        ({"size": 1}, "epoch.wrong-checkpoint"),
        ({"checkpoint": "no checkpoint"}, "epoch.wrong-checkpoint"),
        ({"time": "2099-01-01T00:00:00Z"}, "epoch.too-early"),
    ],
)
def test_a_wrong_statement_on_the_log_before_is_refused(
    exchange: Consortium, final: Final, changes: dict[str, Any], code: str
) -> None:
    previous = {**final.body(), **changes}
    assert refused(exchange, final, founding(exchange, final, *NAMES[:3], previous=previous)) == code


@pytest.mark.parametrize(
    ("signers", "code"),
    [
        ((), "epoch.no-quorum"),
        (("lender", "bureau"), "epoch.no-quorum"),
    ],
)
def test_too_few_signatures_are_refused(
    exchange: Consortium, final: Final, signers: tuple[str, ...], code: str
) -> None:
    assert refused(exchange, final, founding(exchange, final, *signers)) == code


def test_a_stranger_may_not_sign_and_the_hub_must(exchange: Consortium, final: Final) -> None:
    hub, stranger = rekeyed_hub(exchange), make_member("stranger")
    draft = draft_epoch(final, hub.record, hub.cosign, exchange.clock)
    members = [exchange.members[name] for name in NAMES]

    def signed(*signers: Member) -> bytes:
        made = draft
        for signer in signers:
            made = made.sign(signer.kid, signer.tx)
        return made.encode()

    assert refused(exchange, final, signed(hub, *members, stranger)) == "epoch.wrong-signers"
    assert refused(exchange, final, signed(*members)) == "epoch.wrong-signers"
    forged = replace(members[0], tx=stranger.tx)
    assert refused(exchange, final, signed(hub, forged, *members[1:])) == "entry.bad-signature"


def test_the_regulators_veto_holds_for_an_epoch_too(tmp_path: Path) -> None:
    with consortium(tmp_path, *NAMES, roles={"regulator": "regulator"}) as made:
        made.decide({"action": "params.set", "regulator_veto": "any-regulator"})
        made.act("bureau", "member.update", {"endpoint": "one:1"})
        made.settle()
        found = last_final(made.hub_store)
        assert refused(made, found, founding(made, found, "lender", "bureau", "analyst")) == "epoch.no-quorum"
        raw = founding(made, found, "lender", "bureau", "regulator")
        assert check_founding(found.state, Entry.parse(raw), time=made.clock() + timedelta(seconds=1))


def test_the_log_key_must_be_new(exchange: Consortium, final: Final) -> None:
    raw = founding(exchange, final, *NAMES[:3], hub=exchange.hub)
    assert refused(exchange, final, raw) == "epoch.log-key-reused"
    lender = replace(exchange.hub, cosign=exchange.members["lender"].cosign)
    assert refused(exchange, final, founding(exchange, final, *NAMES[:3], hub=lender)) == "member.duplicate"


def test_the_hub_must_be_no_member_and_the_actor(exchange: Consortium, final: Final) -> None:
    other = make_hub("other")
    raw = founding(exchange, final, *NAMES[:3], hub=other)
    assert apply(final.state, Entry.parse(raw), index=0, time=exchange.clock() + timedelta(seconds=1))
    renamed = replace(other, record={**other.record, "name": "lender"})
    assert refused(exchange, final, founding(exchange, final, *NAMES[:3], hub=renamed)) == "epoch.invalid-hub"
    lender = exchange.members["lender"]
    record = {**{name: lender.record[name] for name in ("did", "tx", "tls")}, "name": "hub"}
    hub = replace(lender, record=record, cosign=make_hub("y").cosign)
    assert refused(exchange, final, founding(exchange, final, *NAMES[1:], hub=hub)) == "epoch.invalid-hub"
    draft = draft_epoch(final, other.record, other.cosign, exchange.clock)
    draft = replace(draft, actor=exchange.hub.did).sign(other.kid, other.tx)
    assert refused(exchange, final, draft.encode()) == "epoch.wrong-actor"


def test_it_stands_at_index_0_alone(exchange: Consortium, final: Final) -> None:
    entry = Entry.parse(founding(exchange, final, *NAMES[:3]))
    time = exchange.clock() + timedelta(seconds=1)
    for state, index, code in (
        (final.state, 5, "epoch.not-first"),
        (State(), 0, "epoch.nothing-carried"),
    ):
        with pytest.raises(Refusal) as caught:
            apply(state, entry, index=index, time=time)
        assert caught.value.code == code
    with pytest.raises(Refusal) as caught:
        apply(final.state, Entry.parse(exchange.genesis), index=0, time=time)
    assert caught.value.code == "genesis.not-first"
    with pytest.raises(Refusal):
        exchange.log.submit(entry.raw)


def test_a_checkpoint_without_a_quorum_is_refused(exchange: Consortium, final: Final) -> None:
    bare = final.note.text + "\n" + "".join(line.encode() for line in final.note.signatures[:2])
    previous = {**final.body(), "checkpoint": bare}
    raw = founding(exchange, final, *NAMES[:3], previous=previous)
    assert refused(exchange, final, raw) == "epoch.checkpoint-not-final"


def test_a_member_confirms_by_its_own_copy_alone(exchange: Consortium, final: Final) -> None:
    entry = Entry.parse(founding(exchange, final))
    store = exchange.mirrors["lender"].store
    assert confirm(store, entry).size == final.size
    for changes, message in (
        ({"state": "0" * 64}, "state: expected"),
        ({"time": "2026-11-23T09:00:00Z"}, "time: expected"),
        ({"genesis": "0" * 64}, "expected the log of genesis"),
        ({"size": 10**6}, "expected a copy of at least"),
        ({"size": final.size - 1}, "expected a checkpoint of"),
    ):
        previous = {**final.body(), **changes}
        with pytest.raises(InvalidEpoch, match=message):
            confirm(store, Entry.parse(founding(exchange, final, previous=previous)))
    with pytest.raises(InvalidEpoch, match="expected an entry that begins an epoch"):
        confirm(store, Entry.parse(exchange.genesis))


def test_an_epoch_that_drops_final_entries_is_not_confirmed(tmp_path: Path) -> None:
    with consortium(tmp_path, *NAMES) as made:
        made.settle()
        early = last_final(made.hub_store)
        made.act("lender", "member.update", {"endpoint": "one:1"})
        made.settle()
        entry = Entry.parse(founding(made, early, *NAMES[:3]))
        with pytest.raises(InvalidEpoch, match="a quorum cosigned"):
            confirm(made.mirrors["bureau"].store, entry)


def test_a_copy_with_another_history_does_not_confirm(exchange: Consortium, tmp_path: Path) -> None:
    roles = {"regulator": "regulator"}
    with consortium(tmp_path, *NAMES, roles=roles) as made:  # the same genesis and keys, another entry
        made.act("analyst", "member.update", {"endpoint": "two:2"})
        made.settle()
        found = last_final(made.hub_store)
        entry = Entry.parse(founding(made, found, *NAMES[:3]))
        with pytest.raises(InvalidEpoch, match=r"not one of this copy"):
            confirm(exchange.hub_store, entry)


def test_the_carried_state_goes_through_a_file(final: Final) -> None:
    lines = list(write_carried(final.state))
    assert read_carried(lines).root() == final.state.root()
    assert read_carried(iter(b"".join(lines).splitlines(keepends=True))).root() == final.state.root()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda lines: [], "line 1"),
        (lambda lines: [b'["other","x"]\n', *lines[1:]], "line 1: expected"),
        (lambda lines: lines[:-1], "expected rows with the state root"),
        (lambda lines: [*lines, lines[-1]], "ascending"),
        (lambda lines: [lines[0], lines[2], lines[1], *lines[3:]], "ascending"),
        (lambda lines: [*lines[:-1], lines[-1].rstrip(b"\n")], "the line's end"),
        (lambda lines: [*lines[:-1], b"[1, 2, 3]\n"], "line"),
        (lambda lines: [*lines[:-1], b"[1,2,3]\n"], "a table, a key and a row"),
        (lambda lines: [lines[0], lines[1].replace(b'"index":0', b'"index":1'), *lines[2:]], "state root"),
    ],
)
def test_a_changed_file_is_refused(final: Final, change: Any, message: str) -> None:
    with pytest.raises(InvalidEpoch, match=message):
        read_carried(change(list(write_carried(final.state))))


@pytest.fixture
def second(tmp_path: Path) -> Iterator[NextEpoch]:
    with consortium(tmp_path, *NAMES) as made:
        made.act("lender", "member.update", {"endpoint": "one:1"})
        made.settle()
        made.log.close()
        begun = NextEpoch(made, tmp_path, NAMES[:3])
        yield begun
        begun.log.close()


def test_the_new_log_goes_on_and_checks_itself(second: NextEpoch) -> None:
    floor = 24 * 3600 - 60
    assert second.log.submit(second.entry("bureau", lifetime_s=floor + 1)).code is None
    second.settle()
    assert all(mirror.final_size == second.log.size for mirror in second.mirrors.values())
    for store in (second.exchange.hub_store, *second.stores.values()):
        assert check(store, second.genesis) == []
    second.log.close()
    again = Log.open(
        second.exchange.hub_store, second.hub.cosign, second.hub.tx, clock=second.exchange.clock, linger_s=0.0
    )
    assert again.state.root() == second.mirrors["lender"].state.root()
    again.close()
    assert second.new_mirror("lender").final_state.root() == again.state.root()


def test_an_entry_that_may_stand_in_the_old_log_is_refused(second: NextEpoch) -> None:
    floor = 24 * 3600 - 60
    assert second.log.submit(second.entry("bureau", lifetime_s=floor)).code == "entry.previous-epoch"
    assert second.log.submit(second.entry("bureau", lifetime_s=3600)).code == "entry.previous-epoch"
    raw = second.entry("bureau", lifetime_s=24 * 3600 + 1)
    assert second.log.submit(raw).code == "entry.expires-too-late"


def test_an_entry_of_the_old_log_is_refused(tmp_path: Path) -> None:
    with consortium(tmp_path, *NAMES) as made:
        old = made.entry("lender", "member.update", {"endpoint": "one:1"})
        assert made.log.submit(old).code is None
        made.settle()
        made.log.close()
        begun = NextEpoch(made, tmp_path, NAMES[:3])
        assert begun.log.submit(old).code == "entry.previous-epoch"
        begun.log.close()


def test_the_archive_is_the_old_log_whole(second: NextEpoch, tmp_path: Path) -> None:
    for name in ("hub", *NAMES):
        engine = open_engine(f"sqlite:///{tmp_path / f'{name}-1.sqlite'}")
        store = LedgerStore(engine)
        assert check(store, second.exchange.genesis) == []
        assert last_final(store).size == second.final.size
        engine.dispose()


def test_genesis_and_database_must_be_of_one_epoch(second: NextEpoch) -> None:
    with pytest.raises(LedgerError, match="expected the log of this genesis"):
        second.new_mirror("lender", genesis=second.exchange.genesis)
    with pytest.raises(LedgerError, match="expected the state that the previous log leaves"):
        second.new_mirror("lender", store=second.exchange.new_store())


def test_a_log_that_moved_meanwhile_is_not_taken_away(exchange: Consortium, final: Final) -> None:
    head = exchange.hub_store.head()
    assert head is not None
    with pytest.raises(StaleHead):
        begin_anew(exchange.hub_store, replace(head, size=head.size - 1), final.state)
    assert exchange.hub_store.head() == head
    assert check(exchange.hub_store, exchange.genesis) == []


def test_a_third_log_follows_the_second_alone(second: NextEpoch) -> None:
    final = last_final(second.exchange.hub_store)
    third = replace(second.exchange.hub, cosign=make_hub("hub-3").cosign)
    made = second.exchange
    time = made.clock() + timedelta(seconds=1)
    raw = founding(made, final, *NAMES[:3], hub=third)
    state = apply(final.state, Entry.parse(raw), index=0, time=time)
    network = Network.of(state)
    assert network is not None
    assert network.origin == f"{ORIGIN}/e3" == log_vkey(final.state, third.cosign).name
    for changes, code in (
        ({"epoch": 2}, "epoch.wrong-number"),
        ({"previous": {**final.body(), "genesis": "0" * 64}}, "epoch.other-log"),
    ):
        with pytest.raises(Refusal) as caught:
            apply(
                final.state,
                Entry.parse(founding(made, final, *NAMES[:3], hub=third, **changes)),
                index=0,
                time=time,
            )
        assert caught.value.code == code
    for hub in (made.hub, second.hub):
        with pytest.raises(Refusal) as caught:
            apply(final.state, Entry.parse(founding(made, final, *NAMES[:3], hub=hub)), index=0, time=time)
        assert caught.value.code == "epoch.log-key-reused"


def test_a_refused_entry_begins_no_log(tmp_path: Path) -> None:
    with consortium(tmp_path, *NAMES) as made:
        made.settle()
        final = last_final(made.hub_store)
        raw = founding(made, final, "lender")
        store = made.new_store()
        with store.transaction() as connection:
            from ledger import canonical
            from ledger.schema import CARRIED
            from ledger.tables import changes

            connection.execute(
                CARRIED.insert(),
                [
                    {"table": table, "key": key, "row": canonical.encode(dict(row))}
                    for table, key, row in changes(State(), final.state)
                ],
            )
        hub = rekeyed_hub(made)
        made.clock.advance(60)
        with pytest.raises(InvalidBatch, match=r"epoch\.no-quorum"):
            Log.create(store, raw, hub.cosign, hub.tx, clock=made.clock, linger_s=0.0)


@pytest.mark.parametrize("statement", ["update ledger_carried set row = '{}'", "delete from ledger_carried"])
def test_a_changed_carried_row_is_found(second: NextEpoch, statement: str) -> None:
    from sqlalchemy import text

    store = second.stores["lender"]
    with store.engine.begin() as connection:
        connection.execute(text(f"{statement} where key = 'voting'"))
    (problem,) = check(store, second.genesis)
    assert problem.where == "ledger_carried"
    assert "row" in problem.expected
    with pytest.raises((StoreCorrupt, Refusal)):
        second.new_mirror("lender")


def test_a_first_log_carries_nothing(tmp_path: Path) -> None:
    from sqlalchemy import text

    with consortium(tmp_path, *NAMES) as made:
        with made.hub_store.engine.begin() as connection:
            connection.execute(text("insert into ledger_carried values ('params', 'x', X'7b7d')"))
        assert [problem.where for problem in check(made.hub_store, made.genesis)] == ["ledger_carried"]
        with pytest.raises(StoreCorrupt, match="ledger_carried: expected the state root"):
            made.reopen()


def test_a_draft_may_be_checked_before_members_sign(exchange: Consortium, final: Final) -> None:
    time = exchange.clock() + timedelta(seconds=1)
    entry = Entry.parse(founding(exchange, final))
    assert check_founding(final.state, entry, time=time, signed=False) is final.state
    with pytest.raises(InvalidEpoch, match=r"epoch\.no-quorum"):
        check_founding(final.state, entry, time=time)
    with pytest.raises(InvalidEpoch, match="expected an entry of type"):
        check_founding(final.state, Entry.parse(exchange.genesis), time=time)
    assert isinstance(draft_epoch(final, exchange.hub.record, rekeyed_hub(exchange).cosign), Draft)
