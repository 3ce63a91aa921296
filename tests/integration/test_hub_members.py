"""A hub in this process, on real TLS and a real database, as its members see it."""

from __future__ import annotations

import hashlib
import os
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import pytest

from exchange.errors import Conflict, HubUnreachable, NotFound
from exchange.hub.daemon import Hub
from exchange.hub.files import GENESIS_FILE
from exchange.hub.testing import Founded, found
from exchange.identity import NodeKeys
from exchange.local.processes import free_ports
from exchange.node.hub_client import HubClient
from exchange.store import open_engine
from exchange.store.testing import postgresql_schema
from ledger.checkpoints import Checkpoint, cosign, open_checkpoint
from ledger.entries import Entry
from ledger.errors import MalformedEntry, MalformedKey, NotPublished, Refusal, UnverifiedNote
from ledger.membership import Network, genesis_hash
from ledger.merkle import leaf_hash
from ledger.mirror import Mirror
from ledger.notes import Note, Vkey
from ledger.store import LedgerStore
from ledger.store import upgrade as upgrade_ledger
from ledger.tiles import decode_entries
from ledger.times import system_clock

NAMES = ("analyst", "bureau", "lender")
MOVE = {"endpoint": "elsewhere.example:7"}


DATABASES = ["sqlite", pytest.param("postgresql", marks=pytest.mark.postgresql)]


@contextmanager
def consortium(database: str, directory: Path) -> Iterator[Founded]:
    if database == "sqlite":
        yield found(directory, *NAMES)
        return
    server = os.environ.get("PARLEY_TEST_POSTGRESQL")
    if not server:
        pytest.skip("PARLEY_TEST_POSTGRESQL names no server")
    with postgresql_schema(server) as url:
        yield found(directory, *NAMES, database=url)


@pytest.fixture(scope="class", params=DATABASES)
def founded(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Founded]:
    """A consortium that the tests of a class share."""
    with consortium(request.param, tmp_path_factory.mktemp("hub") / "data") as made:
        yield made


@pytest.fixture(params=DATABASES)
def fresh(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Founded]:
    """A consortium of one test."""
    with consortium(request.param, tmp_path / "hub") as made:
        yield made


@pytest.fixture(scope="class")
def hub(founded: Founded) -> Iterator[Hub]:
    with founded.hub() as running:
        yield running


@pytest.fixture(scope="class")
def lender(founded: Founded, hub: Hub) -> Iterator[HubClient]:
    client = founded.connect(hub, "lender")
    yield client
    client.close()


def log_key(hub: Hub) -> Vkey:
    network = Network.of(hub.services.log.state)
    assert network is not None
    return network.log


def newest(hub: Hub) -> tuple[Checkpoint, Note]:
    log = hub.services.log
    return open_checkpoint(log.checkpoint((log.size, -1)), log_key(hub))


class TestLedger:
    def test_an_entry_is_sequenced_and_becomes_final_with_a_quorum(
        self, founded: Founded, hub: Hub, lender: HubClient
    ) -> None:
        raw = founded.entry("lender", "member.update", MOVE)
        placed = lender.submit(raw)
        assert (placed.txid, placed.code) == (Entry.parse(raw).txid, None)
        founded.cosign(hub, "lender", "bureau")
        assert hub.services.log.final_size <= placed.index
        founded.cosign(hub, "analyst")
        assert hub.services.log.final_size > placed.index
        checkpoint, note = open_checkpoint(lender.checkpoint(), log_key(hub))
        assert checkpoint.size == hub.services.log.final_size
        assert len(note.signatures) == 1 + 3

    def test_members_hand_in_cosignatures_over_the_wire(
        self, founded: Founded, hub: Hub, lender: HubClient
    ) -> None:
        lender.submit(founded.entry("lender", "member.update", MOVE))
        checkpoint, note = newest(hub)
        now = int(time.time())
        for name in NAMES:
            line = cosign(note.text, f"example/{name}", founded.members[name].cosign, now).encode()
            for _ in range(2):
                lender.add_cosignature(checkpoint.size, line)
        assert hub.services.log.final_size == checkpoint.size

    def test_a_cosignature_by_another_key_is_refused(
        self, founded: Founded, hub: Hub, lender: HubClient
    ) -> None:
        lender.submit(founded.entry("lender", "member.update", MOVE))
        checkpoint, note = newest(hub)
        final = hub.services.log.final_size
        forged = cosign(note.text, "example/lender", founded.members["bureau"].cosign, 1_800_000_000)
        with pytest.raises(UnverifiedNote):
            lender.add_cosignature(checkpoint.size, forged.encode())
        with pytest.raises(NotPublished):
            lender.add_cosignature(checkpoint.size + 1, forged.encode())
        assert hub.services.log.final_size == final

    def test_handing_an_entry_in_again_answers_its_first_place(
        self, founded: Founded, lender: HubClient
    ) -> None:
        raw = founded.entry("lender", "member.update", MOVE)
        first = lender.submit(raw)
        assert lender.submit(raw) == first

    def test_an_entry_that_is_not_valid_is_placed_with_its_code(
        self, founded: Founded, lender: HubClient
    ) -> None:
        placed = lender.submit(
            founded.entry("lender", "asset.withdraw", {"asset": "lender/x", "reason": "y"})
        )
        assert placed.code == "asset.unknown"
        assert placed.index > 0

    def test_what_is_no_members_entry_is_refused_at_the_door(
        self, founded: Founded, hub: Hub, lender: HubClient
    ) -> None:
        size = hub.services.log.size
        with pytest.raises(MalformedEntry, match="canonical JSON"):
            lender.submit(b"{}  ")
        stranger = Founded(
            founded.settings, founded.hub_keys, {"x": NodeKeys.generate("x", "example", "h")}, b""
        )
        with pytest.raises(Refusal) as caught:
            lender.submit(stranger.entry("x", "member.update", MOVE))
        assert caught.value.code == "entry.unknown-actor"
        assert hub.services.log.size == size

    def test_a_waiting_reader_is_woken_by_an_entry_and_by_a_cosignature(
        self, founded: Founded, hub: Hub, lender: HubClient
    ) -> None:
        def wait_from(known: tuple[int, int]) -> tuple[threading.Thread, list[bytes]]:
            answers: list[bytes] = []
            waiting = threading.Thread(
                target=lambda: answers.append(lender.checkpoint(known=known, wait_s=20))
            )
            waiting.start()
            time.sleep(0.2)
            assert not answers
            return waiting, answers

        started = time.monotonic()
        size = hub.services.log.size
        waiting, answers = wait_from((size, len(newest(hub)[1].signatures) - 1))
        hub.services.log.submit(founded.entry("bureau", "member.update", MOVE))
        waiting.join()
        assert open_checkpoint(answers[0], log_key(hub))[0].size > size
        waiting, answers = wait_from((hub.services.log.size, 0))
        founded.cosign(hub, "bureau")
        waiting.join()
        assert len(Note.parse(answers[0]).signatures) == 2
        assert time.monotonic() - started < 5

    def test_a_reader_that_waits_in_vain_is_answered_in_time(self, hub: Hub, lender: HubClient) -> None:
        checkpoint, note = newest(hub)
        started = time.monotonic()
        lender.checkpoint(known=(checkpoint.size, len(note.signatures) - 1), wait_s=0.3)
        assert 0.3 <= time.monotonic() - started < 3

    def test_entries_and_hashes_are_read_as_tiles(
        self, founded: Founded, hub: Hub, lender: HubClient
    ) -> None:
        lender.submit(founded.entry("lender", "member.update", MOVE))
        size = hub.services.log.size
        raws = decode_entries(lender.entry_bundle(0, size))
        assert raws[0] == founded.genesis
        assert lender.tile(0, 0, size) == b"".join(leaf_hash(raw) for raw in raws)
        with pytest.raises(NotPublished):
            lender.entry_bundle(0, size + 1)
        with pytest.raises(NotPublished):
            lender.tile(0, 7, 256)

    def test_members_mirror_recompute_and_cosign_over_the_wire(
        self, founded: Founded, hub: Hub, tmp_path: Path
    ) -> None:
        mirrors, clients = {}, {}
        for name in NAMES:
            engine = open_engine(f"sqlite:///{tmp_path}/{name}.sqlite")
            upgrade_ledger(engine)
            clients[name] = founded.connect(hub, name)
            mirrors[name] = Mirror(
                LedgerStore(engine),
                clients[name],
                founded.genesis,
                founded.members[name].cosign,
                evidence=tmp_path / name,
            )
        placed = clients["lender"].submit(founded.entry("lender", "member.update", MOVE))
        for name in NAMES:
            mirrors[name].sync()
        assert mirrors["analyst"].wait_final(placed.txid, 5, sync=True).index == placed.index
        assert mirrors["analyst"].state.root() == hub.services.log.state.root()
        assert mirrors["analyst"].compare(clients["analyst"]) == []
        for name in NAMES:
            clients[name].close()
            mirrors[name].store.engine.dispose()

    def test_many_members_hand_in_at_once(self, founded: Founded, hub: Hub, lender: HubClient) -> None:
        raws = [founded.entry(name, "member.update", MOVE) for name in NAMES for _ in range(8)]
        codes: list[str | None] = []
        threads = [
            threading.Thread(target=lambda raw=raw: codes.append(lender.submit(raw).code)) for raw in raws
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert codes == [None] * len(raws)


SPEC = b'{"job":"what the analyst asks"}'


@pytest.fixture(scope="class")
def job(founded: Founded, hub: Hub) -> str:
    """A job of the analyst with the lender, submitted."""
    job, lender = "job-" + "0" * 26, founded.members["lender"].did
    steps = [{"id": "psi", "component": "psi/ecdh", "version": 1, "parties": [lender]}]
    body = {
        "job": job,
        "spec": hashlib.sha256(SPEC).hexdigest(),
        "purpose": "dpv:Purpose",
        "agreements": [],
        "parties": [lender],
        "steps": steps,
    }
    assert hub.services.log.submit(founded.entry("analyst", "job.submit", body)).code is None
    return job


@pytest.fixture(scope="class")
def analyst(founded: Founded, hub: Hub) -> Iterator[HubClient]:
    client = founded.connect(hub, "analyst")
    yield client
    client.close()


class TestPapers:
    def test_a_swapped_specification_is_refused_with_both_digests(
        self, job: str, analyst: HubClient, lender: HubClient
    ) -> None:
        with pytest.raises(Conflict) as caught:
            analyst.put_spec(job, b"another")
        for content in (SPEC, b"another"):
            assert hashlib.sha256(content).hexdigest() in str(caught.value)
        with pytest.raises(NotFound):
            lender.get_spec(job)

    def test_a_specification_is_relayed(self, job: str, analyst: HubClient, lender: HubClient) -> None:
        with pytest.raises(NotFound, match="not been handed in"):
            lender.get_spec(job)
        analyst.put_spec(job, SPEC)
        assert lender.get_spec(job) == SPEC

    def test_progress_is_shown_with_the_job(self, job: str, analyst: HubClient, lender: HubClient) -> None:
        lender.progress(job, "psi", 3, 10, 7)
        shown = analyst.job(job)
        assert shown["state"] == "SUBMITTED"
        assert [(told["step"], told["done"], told["left_s"]) for told in shown["progress"]] == [("psi", 3, 7)]

    def test_the_catalog_is_dcat_and_searched(self, founded: Founded, hub: Hub, analyst: HubClient) -> None:
        asset = {
            "asset": "lender/loans",
            "version": 1,
            "kind": "table",
            "title": "Consumer loans",
            "description": "",
            "keywords": [],
            "schema": [
                {"name": "id", "type": "text", "role": "identifier", "sensitivity": "low", "control": "x"}
            ],
            "rows": 1,
            "root": "0" * 64,
            "offer": {"@type": "Offer"},
            "profile": "0" * 64,
            "distribution": ["ComputeJob-PSI"],
        }
        placed = hub.services.log.submit(founded.entry("lender", "asset.publish", asset))
        assert placed.code is None
        (found_one,) = analyst.catalog("loans")["dcat:dataset"]
        assert (found_one["@id"], found_one["dct:publisher"]["foaf:nick"]) == ("lender/loans", "lender")
        assert analyst.catalog("nothing")["dcat:dataset"] == []


class TestAbout:
    def test_the_hub_says_who_it_is(self, founded: Founded, lender: HubClient) -> None:
        about = lender.hub()
        assert (about["name"], about["net"], about["origin"]) == ("hub", "example", "hub.example/log")
        assert about["genesis"] == genesis_hash(founded.genesis)

    def test_a_clock_is_compared_with_the_hubs(self, lender: HubClient) -> None:
        assert abs(lender.skew(system_clock())) < 3
        assert 3597 < lender.skew(system_clock() + timedelta(hours=1)) < 3603


class TestLife:
    def test_a_hub_starts_again_with_the_same_log(self, fresh: Founded) -> None:
        with fresh.hub() as first:
            first.services.log.submit(fresh.entry("lender", "member.update", MOVE))
            fresh.cosign(first, *NAMES)
            checkpoint, size = first.services.log.checkpoint((0, 0)), first.services.log.final_size
        with fresh.hub() as second:
            client = fresh.connect(second, "bureau")
            assert client.checkpoint() == checkpoint
            assert second.services.log.final_size == size
            assert client.submit(fresh.entry("bureau", "member.update", MOVE)).code is None
            client.close()

    def test_a_member_that_is_cut_off_reconnects_by_itself(self, fresh: Founded) -> None:
        bind = f"127.0.0.1:{free_ports(1)[0]}"
        fresh = replace(fresh, settings=replace(fresh.settings, member_bind=bind))
        with fresh.hub() as first:
            client = fresh.connect(first, "lender")
            assert client.hub()["name"] == "hub"
        with pytest.raises(HubUnreachable, match=bind):
            client.hub()
        with fresh.hub():
            assert client.hub()["name"] == "hub"
        client.close()

    def test_a_waiting_reader_does_not_hold_up_the_end(self, fresh: Founded) -> None:
        with fresh.hub() as hub:
            client = fresh.connect(hub, "lender")
            known = (hub.services.log.size, 0)
            waiting = threading.Thread(target=lambda: client.checkpoint(known=known, wait_s=25))
            waiting.start()
            time.sleep(0.2)
            started = time.monotonic()
        assert time.monotonic() - started < 4
        waiting.join()
        client.close()

    def test_a_hub_without_a_genesis_does_not_start(self, fresh: Founded) -> None:
        (fresh.settings.directory / GENESIS_FILE).unlink()
        with pytest.raises(Conflict, match="expected a genesis"):
            fresh.hub()

    def test_a_hub_does_not_serve_another_genesis_than_its_logs(self, fresh: Founded, tmp_path: Path) -> None:
        with fresh.hub():
            pass
        other = found(tmp_path / "other", *NAMES)
        (fresh.settings.directory / GENESIS_FILE).write_bytes(other.genesis)
        with pytest.raises(Conflict, match="the database holds that of"):
            fresh.hub()

    def test_a_hub_with_other_keys_does_not_start(self, fresh: Founded, tmp_path: Path) -> None:
        other = found(tmp_path / "other", *NAMES)
        with pytest.raises(MalformedKey):
            Hub(fresh.settings, other.hub_keys)

    def test_an_address_in_use_leaves_nothing_running(self, fresh: Founded, hub: Hub, tmp_path: Path) -> None:
        before = set(threading.enumerate())
        other = found(tmp_path / "other", *NAMES)
        settings = replace(other.settings, operator_bind=f"127.0.0.1:{hub.operator_port}")
        with pytest.raises(OSError, match="in use"):
            Hub(settings, other.hub_keys).start()
        assert not {thread for thread in set(threading.enumerate()) - before if thread.is_alive()}
